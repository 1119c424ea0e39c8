//! The list-watch machine.
//!
//! ```text
//!              connected                listed
//!   (no copy) ───────────> Step::List ───────────> Step::Watch ──┐ received: Changes, Progress
//!       ^                      ^                       ^   │     │
//!       │ other store          │ compacted             │   └─────┘
//!       └──────────────────────┴──────── lost ─────────┘  connected (same store, not behind)
//! ```
//!
//! The shell connects, reads the header of a linearizable read, calls [`Syncer::connected`] and does the
//! step it is given. On any failure it calls [`Syncer::lost`] and connects again. Positions are kept for
//! each range, so that a break between two ranges' answers neither loses nor repeats an event.

use skein_store_schema::KeyRange;
use thiserror::Error;

use crate::event::{Change, ResetReason, ResumePoint, Snapshot, SyncEvent};

/// Ranges that cannot be watched together.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RangesError {
    /// There is nothing to watch.
    #[error("no range to watch")]
    None,
    /// Two ranges share keys; their events would be told twice.
    #[error("ranges {first} and {second} overlap")]
    Overlap {
        /// Index of the first.
        first: usize,
        /// Index of the second.
        second: usize,
    },
}

/// What the shell has to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Read all ranges at one revision and call [`Syncer::listed`].
    List,
    /// Watch range `i` from revision `starts[i]` on and call [`Syncer::received`] with what arrives.
    Watch {
        /// First revision wanted, for each range.
        starts: Vec<i64>,
    },
}

/// What to do after a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Read on.
    Continue,
    /// The stream is of no more use: close it, connect again.
    Reconnect,
}

/// One frame of a watch stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchMessage {
    /// Index of the range it is about; none when it is about all of them.
    pub range: Option<usize>,
    /// From the header.
    pub cluster_id: u64,
    /// From the header.
    pub revision: i64,
    /// What it says.
    pub body: WatchBody,
}

/// What a frame of a watch stream says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchBody {
    /// The watch was set up.
    Created,
    /// Changes, in order of revision.
    Changes(Vec<Change>),
    /// Everything up to the header's revision has been sent.
    Progress,
    /// The watch starts at a revision that was compacted away.
    Compacted,
    /// The watch has ended for another reason.
    Cancelled,
}

/// Which part of a store's history a copy holds.
#[derive(Debug, Clone)]
struct Position {
    cluster_id: u64,
    /// For each range the last revision that is complete.
    revisions: Vec<i64>,
}

/// The list-watch machine of one set of ranges.
#[derive(Debug, Clone)]
pub struct Syncer {
    ranges: Vec<KeyRange>,
    position: Option<Position>,
    /// The revision to reach before the copy counts as in sync; none once it does.
    target: Option<i64>,
    /// Changes were told since the last progress.
    changed: bool,
    /// `Lost` was told and nothing since.
    lost: bool,
}

impl Syncer {
    /// A machine that starts from nothing, or from a copy kept elsewhere.
    pub fn new(ranges: Vec<KeyRange>, resume: Option<ResumePoint>) -> Result<Self, RangesError> {
        if ranges.is_empty() {
            return Err(RangesError::None);
        }
        for second in 1..ranges.len() {
            if let Some(first) = (0..second).find(|&i| ranges[i].overlaps(&ranges[second])) {
                return Err(RangesError::Overlap { first, second });
            }
        }
        let position = resume.map(|point| Position {
            cluster_id: point.cluster_id,
            revisions: vec![point.revision; ranges.len()],
        });
        Ok(Self { ranges, position, target: Some(0), changed: false, lost: false })
    }

    /// The watched ranges.
    pub fn ranges(&self) -> &[KeyRange] {
        &self.ranges
    }

    /// A connection stands; `cluster_id` and `revision` are of the header of a linearizable read.
    pub fn connected(&mut self, cluster_id: u64, revision: i64) -> (Vec<SyncEvent>, Step) {
        let mut events = Vec::new();
        if let Some(reason) = self.foreign(cluster_id, revision) {
            self.position = None;
            events.push(SyncEvent::Reset { reason });
        }
        let Some(position) = &self.position else {
            return (events, Step::List);
        };
        let starts = position.revisions.iter().map(|revision| revision + 1).collect();
        self.target = Some(revision);
        self.note_in_sync(&mut events);
        (events, Step::Watch { starts })
    }

    /// All ranges were read at one revision.
    pub fn listed(&mut self, snapshot: Snapshot) -> (Vec<SyncEvent>, Step) {
        let Snapshot { cluster_id, revision, .. } = snapshot;
        let revisions = vec![revision; self.ranges.len()];
        self.position = Some(Position { cluster_id, revisions });
        self.target = None;
        self.lost = false;
        self.changed = false;
        let starts = vec![revision + 1; self.ranges.len()];
        (vec![SyncEvent::Begin(snapshot), SyncEvent::InSync { revision }], Step::Watch { starts })
    }

    /// A frame of the watch stream arrived.
    pub fn received(&mut self, message: WatchMessage) -> (Vec<SyncEvent>, Next) {
        let mut events = Vec::new();
        let Some(position) = &mut self.position else {
            return (events, Next::Reconnect);
        };
        if message.cluster_id != position.cluster_id {
            // The next connection tells the owner; see `connected`.
            return (events, Next::Reconnect);
        }
        match message.body {
            WatchBody::Created => {}
            WatchBody::Cancelled => return (events, Next::Reconnect),
            WatchBody::Compacted => {
                self.position = None;
                return (events, Next::Reconnect);
            }
            WatchBody::Changes(changes) => {
                let Some(at) = message.range.and_then(|i| position.revisions.get_mut(i)) else {
                    return (events, Next::Reconnect);
                };
                let fresh: Vec<_> =
                    changes.into_iter().filter(|change| change.mod_revision() > *at).collect();
                if let Some(last) = fresh.iter().map(Change::mod_revision).max() {
                    *at = last;
                    self.changed = true;
                    events.push(SyncEvent::Changes(fresh));
                }
            }
            WatchBody::Progress => {
                let reach = |at: &mut i64| *at = message.revision.max(*at);
                match message.range {
                    Some(range) => position.revisions.get_mut(range).into_iter().for_each(reach),
                    None => position.revisions.iter_mut().for_each(reach),
                }
                self.note_progress(&mut events);
            }
        }
        self.note_in_sync(&mut events);
        (events, Next::Continue)
    }

    /// The connection broke, or could not be made.
    pub fn lost(&mut self, reason: impl Into<String>) -> Option<SyncEvent> {
        if self.lost {
            return None;
        }
        self.lost = true;
        self.target = Some(self.target.unwrap_or(0));
        Some(SyncEvent::Lost { reason: reason.into() })
    }

    /// True while the shell should ask for progress often: the copy waits to be in sync.
    pub fn is_catching_up(&self) -> bool {
        self.target.is_some()
    }

    /// True when changes were told that no progress has confirmed yet.
    pub fn has_unconfirmed_changes(&self) -> bool {
        self.changed
    }

    /// Where a new machine could go on without missing anything: the position of the range that is
    /// furthest behind.
    pub fn resume_point(&self) -> Option<ResumePoint> {
        let position = self.position.as_ref()?;
        let revision = position.revisions.iter().copied().min()?;
        Some(ResumePoint { cluster_id: position.cluster_id, revision })
    }

    /// Why the answering store cannot be the one that the copy is of.
    fn foreign(&self, cluster_id: u64, revision: i64) -> Option<ResetReason> {
        let position = self.position.as_ref()?;
        if position.cluster_id != cluster_id {
            let was = position.cluster_id;
            return Some(ResetReason::ClusterChanged { was, now: cluster_id });
        }
        let was = position.revisions.iter().copied().max()?;
        (revision < was).then_some(ResetReason::WentBack { was, now: revision })
    }

    /// Tells progress when all ranges stand at the same revision.
    fn note_progress(&mut self, events: &mut Vec<SyncEvent>) {
        let Some(position) = &self.position else { return };
        let revision = position.revisions[0];
        if position.revisions.iter().all(|at| *at == revision) {
            self.changed = false;
            events.push(SyncEvent::Progress { revision });
        }
    }

    fn note_in_sync(&mut self, events: &mut Vec<SyncEvent>) {
        let Some((target, point)) = self.target.zip(self.resume_point()) else { return };
        if point.revision >= target {
            self.target = None;
            self.lost = false;
            events.push(SyncEvent::InSync { revision: point.revision });
        }
    }
}

#[cfg(test)]
mod tests;
