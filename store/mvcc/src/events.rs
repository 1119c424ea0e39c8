//! The event log that all watchers share.
//!
//! The machine appends the events of one revision as one block. A watcher is a position in this
//! log ([`crate::watch::WatchCursor`]), so appending costs the same however many watchers there
//! are. The newest blocks stay in memory up to a bound of bytes; a watcher that is further behind
//! reads from the history of a [`crate::View`] until it has caught up.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use bytes::Bytes;

use crate::history::Version;
use crate::key::Key;
use crate::record;

/// Bytes that one event takes in the log beside what it shares with the history: its record and
/// its part of a block.
const RECORD_OVERHEAD_BYTES: usize = size_of::<Record>() + 48;

/// One event.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) key: Key,
    pub(crate) is_delete: bool,
    event: Bytes,
    prev_kv: Option<Bytes>,
    /// The event with the previous value, encoded when the first watcher asks for it.
    with_prev: OnceLock<Bytes>,
}

impl Record {
    pub(crate) fn new(key: Key, version: &Version, prev_kv: Option<Bytes>) -> Record {
        Record {
            key,
            is_delete: !version.is_live(),
            event: version.event.clone(),
            prev_kv,
            with_prev: OnceLock::new(),
        }
    }

    /// The encoded event; the same bytes for every watcher.
    pub(crate) fn event(&self, with_prev: bool) -> &Bytes {
        match &self.prev_kv {
            Some(prev_kv) if with_prev => {
                self.with_prev.get_or_init(|| record::with_prev(&self.event, prev_kv))
            }
            _ => &self.event,
        }
    }

    /// What the record may come to hold in memory. The previous value counts twice: itself, kept
    /// beyond its compaction, and its copy in the event that carries both.
    fn bytes(&self) -> usize {
        let prev = self.prev_kv.as_ref().map_or(0, Bytes::len);
        self.event.len() * 2 + prev * 2 + RECORD_OVERHEAD_BYTES
    }
}

/// The events of one revision.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) revision: i64,
    pub(crate) records: Vec<Record>,
    bytes: usize,
}

/// A handle on the shared log. Clones refer to the same log and may be used from any thread;
/// readers and the machine meet in a lock held for the time of a few pointer copies.
#[derive(Clone, Debug)]
pub struct EventLog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The newest revision whose events are in the log.
    head: AtomicI64,
    compact_revision: AtomicI64,
    window: RwLock<Window>,
}

/// The blocks in memory: one for each revision from `first` on, without a gap.
#[derive(Debug)]
struct Window {
    first: i64,
    blocks: VecDeque<Arc<Block>>,
    bytes: usize,
    limit_bytes: usize,
}

impl Window {
    /// Forgets the oldest blocks above the bound; the newest stays, however large it is.
    fn evict(&mut self) -> Vec<Arc<Block>> {
        let mut evicted = Vec::new();
        while self.bytes > self.limit_bytes && self.blocks.len() > 1 {
            if let Some(block) = self.blocks.pop_front() {
                self.bytes -= block.bytes;
                self.first = block.revision + 1;
                evicted.push(block);
            }
        }
        evicted
    }
}

/// What the log says about a position in it.
pub(crate) enum Blocks {
    /// The blocks from the position on, as many as were asked for, and the newest revision.
    Found(Vec<Arc<Block>>, i64),
    /// The position is older than what is in memory.
    Behind,
}

impl EventLog {
    /// An empty log whose next block is that of `head + 1`.
    pub(crate) fn new(head: i64, compact_revision: i64, limit_bytes: usize) -> EventLog {
        let window = Window { first: head + 1, blocks: VecDeque::new(), bytes: 0, limit_bytes };
        EventLog {
            shared: Arc::new(Shared {
                head: AtomicI64::new(head),
                compact_revision: AtomicI64::new(compact_revision),
                window: RwLock::new(window),
            }),
        }
    }

    /// The newest revision whose events can be read. Cheap: one atomic load.
    pub fn head(&self) -> i64 {
        self.shared.head.load(Ordering::Acquire)
    }

    /// The revision of the last compaction, -1 when there was none.
    pub fn compact_revision(&self) -> i64 {
        self.shared.compact_revision.load(Ordering::Acquire)
    }

    /// Bytes that the log holds in memory, at most.
    pub fn bytes(&self) -> usize {
        self.read().bytes
    }

    /// The oldest revision whose events are in memory.
    pub fn first(&self) -> i64 {
        self.read().first
    }

    pub(crate) fn append(&self, revision: i64, records: Vec<Record>) {
        let bytes = records.iter().map(Record::bytes).sum();
        let block = Arc::new(Block { revision, records, bytes });
        // Positions are found by counting blocks, so there must be one for every revision.
        assert_eq!(revision, self.head() + 1, "no gap in the event log");
        let evicted = {
            let mut window = self.write();
            window.blocks.push_back(block);
            window.bytes += bytes;
            window.evict()
        };
        self.shared.head.store(revision, Ordering::Release);
        // Freeing old blocks takes longer than the lock should be held.
        drop(evicted);
    }

    pub(crate) fn compacted(&self, revision: i64) {
        self.shared.compact_revision.store(revision, Ordering::Release);
    }

    /// Starts over at another state: what came before is only in that state's history.
    pub(crate) fn reset(&self, head: i64, compact_revision: i64) {
        let old = {
            let mut window = self.write();
            window.first = head + 1;
            window.bytes = 0;
            std::mem::take(&mut window.blocks)
        };
        self.shared.compact_revision.store(compact_revision, Ordering::Release);
        self.shared.head.store(head, Ordering::Release);
        drop(old);
    }

    /// At most `most` blocks from revision `from` on.
    pub(crate) fn blocks(&self, from: i64, most: usize) -> Blocks {
        let head = self.head();
        if from > head {
            return Blocks::Found(Vec::new(), head);
        }
        let window = self.read();
        if from < window.first {
            return Blocks::Behind;
        }
        let skip = (from - window.first) as usize;
        Blocks::Found(window.blocks.iter().skip(skip).take(most).cloned().collect(), head)
    }

    // No code that can panic runs under the lock, so a poisoned lock still guards a whole window.
    fn read(&self) -> std::sync::RwLockReadGuard<'_, Window> {
        self.shared.window.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Window> {
        self.shared.window.write().unwrap_or_else(PoisonError::into_inner)
    }
}
