//! Watchers: positions in the shared event log.
//!
//! ```text
//!  WatchCursor::start ──> poll ──> Batch (events in order, whole revisions)
//!                          │ ├──> Behind ──> poll_history(view) ──> Batch, or Compacted
//!                          │ │                      (until the log has what comes next)
//!                          └─┴── again when the log's head has moved
//! ```

use bytes::Bytes;

use crate::events::{Blocks, EventLog};
use crate::history::Rev;
use crate::key::KeyRange;
use crate::record;
use crate::view::View;

/// Most revisions that one poll looks at, so that a watcher of a quiet range far behind does not
/// hold its thread for long: about a millisecond of comparing keys.
const SCAN_REVISIONS_MAX: usize = 4096;

/// Blocks copied under the log's lock at once: a few microseconds for the writer to wait.
const BLOCKS_PER_LOCK: usize = 256;

/// Most changes of history that one poll looks at; each is a lookup of its key.
const SCAN_CHANGES_MAX: usize = 4096;

/// What a watcher wants to see.
#[derive(Clone, Debug)]
pub struct WatchSpec {
    /// The watched keys; see [`KeyRange::of_watch`].
    pub range: KeyRange,
    /// The first revision to deliver; 0 means what happens from now on. May lie in the future.
    pub start_revision: i64,
    /// Whether events carry the value before them.
    pub prev_kv: bool,
    /// Leaves out puts (NOPUT).
    pub no_put: bool,
    /// Leaves out deletes (NODELETE).
    pub no_delete: bool,
}

impl WatchSpec {
    fn wants(&self, key: &[u8], is_delete: bool) -> bool {
        let filtered = if is_delete { self.no_delete } else { self.no_put };
        !filtered && self.range.contains(key)
    }
}

/// The position lies before what compaction kept: the watcher must start over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("mvcc: required revision has been compacted")]
pub struct Compacted {
    /// The oldest revision that a watch can start from.
    pub compact_revision: i64,
}

/// Events for one watcher, in order. A revision's events are never divided between batches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Encoded events, for the `events` of a watch response.
    pub events: Vec<Bytes>,
    /// Sum of the events' lengths in bytes.
    pub bytes: usize,
    /// Revision of the last event, for the header of a watch response; 0 without events.
    pub revision: i64,
    /// Everything up to this revision is delivered, whether it held an event for the watcher or
    /// not. The watcher goes on behind it.
    pub through: i64,
    /// Whether `through` was the newest revision: nothing more to poll until the log moves. Never
    /// set by [`WatchCursor::poll_history`]: poll the log next.
    pub caught_up: bool,
}

/// The outcome of [`WatchCursor::poll`].
#[derive(Clone, Debug, PartialEq)]
pub enum Poll {
    /// Progress, with or without events.
    Batch(Batch),
    /// The log no longer holds what comes next: go on with [`WatchCursor::poll_history`].
    Behind,
}

/// One watcher's position. Costs nothing while it is not polled; holds no part of the log.
#[derive(Clone, Debug)]
pub struct WatchCursor {
    spec: WatchSpec,
    next: i64,
}

impl WatchCursor {
    /// A watcher of `log` according to `spec`.
    ///
    /// # Errors
    /// [`Compacted`] when the start revision lies before the last compaction.
    pub fn start(log: &EventLog, spec: WatchSpec) -> Result<WatchCursor, Compacted> {
        let head = log.head();
        let compact_revision = log.compact_revision();
        let next = if spec.start_revision == 0 { head + 1 } else { spec.start_revision };
        if next < compact_revision {
            return Err(Compacted { compact_revision });
        }
        Ok(WatchCursor { spec, next })
    }

    /// The first revision that is not yet delivered.
    pub fn next_revision(&self) -> i64 {
        self.next
    }

    /// Whether everything up to the newest revision of `log` is delivered, so that a progress
    /// notification may name it.
    pub fn is_caught_up(&self, log: &EventLog) -> bool {
        self.next > log.head()
    }

    /// Takes what comes next from the log: whole revisions until `max_bytes` of events are
    /// reached, at least one.
    pub fn poll(&mut self, log: &EventLog, max_bytes: usize) -> Poll {
        let mut batch = Batch { through: self.next - 1, ..Default::default() };
        let mut scanned = 0;
        loop {
            let (blocks, head) = match log.blocks(self.next, BLOCKS_PER_LOCK) {
                Blocks::Found(blocks, head) => (blocks, head),
                Blocks::Behind if scanned == 0 => return Poll::Behind,
                Blocks::Behind => return Poll::Batch(batch),
            };
            batch.caught_up = blocks.is_empty();
            for block in &blocks {
                let before = batch.events.len();
                for record in &block.records {
                    if self.spec.wants(&record.key, record.is_delete) {
                        batch.push(record.event(self.spec.prev_kv).clone());
                    }
                }
                self.pass(&mut batch, block.revision, before);
                if batch.bytes >= max_bytes {
                    batch.caught_up = self.next > head;
                    return Poll::Batch(batch);
                }
            }
            scanned += blocks.len();
            batch.caught_up |= self.next > head;
            if batch.caught_up || scanned >= SCAN_REVISIONS_MAX {
                return Poll::Batch(batch);
            }
        }
    }

    /// Takes what comes next from the history in `view`, for a watcher that is behind the log.
    ///
    /// Costs a descent of the tree and a lookup for every change it passes. The view should be
    /// taken for this call and dropped behind it.
    ///
    /// # Errors
    /// [`Compacted`] when compaction has overtaken the watcher.
    pub fn poll_history(&mut self, view: &View, max_bytes: usize) -> Result<Batch, Compacted> {
        if self.next < view.compact_revision {
            return Err(Compacted { compact_revision: view.compact_revision });
        }
        let mut batch = Batch { through: self.next - 1, ..Default::default() };
        let mut before = 0;
        let mut current = None;
        for (passed, (&rev, change)) in
            view.changes.iter_from(&Rev::first_of(self.next)).enumerate()
        {
            if let Some(done) = current.filter(|&done| done != rev.main) {
                self.pass(&mut batch, done, before);
                before = batch.events.len();
                if batch.bytes >= max_bytes || passed >= SCAN_CHANGES_MAX {
                    return Ok(batch);
                }
            }
            current = Some(rev.main);
            if self.spec.wants(&change.key, change.delta < 0) {
                batch.extend(history_event(view, &change.key, rev, self.spec.prev_kv));
            }
        }
        // Every revision up to the view's is passed, also one that left no change behind. Whether
        // there is more by now only the log can tell.
        self.pass(&mut batch, view.revision.max(self.next - 1), before);
        Ok(batch)
    }

    fn pass(&mut self, batch: &mut Batch, revision: i64, events_before: usize) {
        batch.through = revision;
        self.next = revision + 1;
        if batch.events.len() > events_before {
            batch.revision = revision;
        }
    }
}

impl Batch {
    fn push(&mut self, event: Bytes) {
        self.bytes += event.len();
        self.events.push(event);
    }

    fn extend(&mut self, event: Option<Bytes>) {
        if let Some(event) = event {
            self.push(event);
        }
    }
}

fn history_event(view: &View, key: &[u8], rev: Rev, with_prev: bool) -> Option<Bytes> {
    let history = view.index.get(key)?;
    let version = history.change(rev)?;
    // What compaction does not keep must not show, whether it has left memory yet or not.
    let told = with_prev && rev.main > view.compact_revision;
    Some(match history.at(rev.main - 1).filter(|_| told) {
        Some(prev) => record::with_prev(&version.event, &prev.kv()),
        None => version.event.clone(),
    })
}
