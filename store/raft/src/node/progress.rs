//! What a leader knows of the others.

use raft::ProgressState;

use super::Node;

/// One member as the leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The member.
    pub id: u64,
    /// Highest index that it is known to hold durably.
    pub matched: u64,
    /// Whether its answers came since the leader last counted its followers.
    pub recently_active: bool,
    /// Whether it is being sent a snapshot.
    pub in_snapshot: bool,
    /// Whether its vote counts.
    pub votes: bool,
}

impl Node {
    /// Every member of the configuration, by id; empty on a member that does not lead.
    pub fn progress(&self) -> Vec<Progress> {
        if !self.leads() {
            return Vec::new();
        }
        let tracker = self.raw.raft.prs();
        let mut all: Vec<_> = tracker
            .iter()
            .map(|(&id, progress)| Progress {
                id,
                matched: progress.matched,
                recently_active: id == self.id || progress.recent_active,
                in_snapshot: progress.state == ProgressState::Snapshot,
                votes: tracker.conf().voters().contains(id),
            })
            .collect();
        all.sort_unstable_by_key(|progress| progress.id);
        all
    }

    /// The voter, this one apart, that needs the least to take over: active, with the longest log.
    pub fn successor(&self) -> Option<u64> {
        let others = self.progress().into_iter();
        others
            .filter(|other| other.id != self.id && other.votes && other.recently_active)
            .max_by_key(|other| other.matched)
            .map(|other| other.id)
    }
}
