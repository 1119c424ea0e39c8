//! Bugs put into a world on purpose, to see that each checker can fail.

use skein_chaos_model::Checker;

/// A bug. Each sits at a seam of the world, so that the members' code stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// Linearizable reads are served without asking anybody.
    ReadWithoutIndex,
    /// Every seventh proposal is made twice.
    ProposedTwice,
    /// Syncs of all disks do nothing.
    SyncLies,
    /// A watch loses one event.
    WatchLoses,
    /// A watch repeats a message.
    WatchRepeats,
    /// Bookmarks name the newest revision, delivered or not.
    BookmarkEarly,
    /// A value is changed on its way from the leader to one member.
    EntryChanged,
    /// One member's clock runs ten times as fast.
    ClockRuns,
    /// The last partition is never mended.
    NeverMended,
}

/// All of them, with the checkers of which at least one must notice.
pub const ALL: &[(Planted, &[Checker])] = &[
    (Planted::ReadWithoutIndex, &[Checker::Order]),
    (Planted::ProposedTwice, &[Checker::Linear]),
    (Planted::SyncLies, &[Checker::Durable]),
    (Planted::WatchLoses, &[Checker::Watch]),
    (Planted::WatchRepeats, &[Checker::Watch]),
    (Planted::BookmarkEarly, &[Checker::Watch]),
    (Planted::EntryChanged, &[Checker::Hash]),
    (Planted::ClockRuns, &[Checker::Lease]),
    (Planted::NeverMended, &[Checker::Progress]),
];
