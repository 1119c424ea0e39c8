//! When a snapshot is written, and the thread that writes it.
//!
//! The rule: after `snapshot_count` entries or [`LOG_BYTES`] of log, whichever comes first. A state
//! above [`SMALL_STATE`] also waits until the log has grown by a [`STATE_SHARE`]th of it, so that a
//! large state is not written again and again for little.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use skein_store_raft::Entry;

use super::inbox::Inbox;
use crate::disk::Disk;
use crate::log::Owner;
use crate::snapshot_file::{self, Position, SnapshotError};
use crate::state::State;

/// Log bytes after which a snapshot is due: they are read again at the next start.
const LOG_BYTES: u64 = 64 << 20;

/// State in bytes that is written in a fraction of a second, so that it is never worth waiting.
const SMALL_STATE: u64 = 16 << 20;

/// A snapshot of a larger state may write at most this many times what the log wrote.
const STATE_SHARE: u64 = 4;

type Written = Result<Position, SnapshotError>;

/// Decides and writes; owned by the driver.
pub(crate) struct Snapshotter {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    owner: Owner,
    every: u64,
    entries: u64,
    bytes: u64,
    applied: Position,
    running: Option<JoinHandle<()>>,
    written: Arc<Mutex<Option<Written>>>,
}

impl Snapshotter {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: PathBuf, owner: Owner, every: u64) -> Self {
        Self {
            disk,
            dir,
            owner,
            every,
            entries: 0,
            bytes: 0,
            applied: Position::default(),
            running: None,
            written: Arc::default(),
        }
    }

    /// Entries went into the log.
    pub(super) fn logged(&mut self, entries: &[Entry]) {
        self.entries += entries.len() as u64;
        self.bytes += entries.iter().map(|entry| entry.data.len() as u64).sum::<u64>();
    }

    /// The state contains everything up to this entry.
    pub(super) fn applied(&mut self, entry: &Entry) {
        self.applied = Position { index: entry.index, term: entry.term };
    }

    pub(super) fn start_if_due(&mut self, state: &Arc<State>, inbox: &Arc<Inbox>) {
        let due = self.entries >= self.every || self.bytes >= LOG_BYTES;
        if self.running.is_some() || !due || self.too_soon(state.used()) {
            return;
        }
        let (disk, dir, owner) = (Arc::clone(&self.disk), self.dir.clone(), self.owner);
        let (written, inbox) = (Arc::clone(&self.written), Arc::clone(inbox));
        let (position, state) = (self.applied, Arc::clone(state));
        let snapshot = state.snapshot();
        let write = move || {
            let begun = Instant::now();
            let outcome = snapshot_file::write(&*disk, &dir, owner, position, snapshot);
            state.metrics.snapshot_seconds.observe(begun.elapsed().as_secs_f64());
            let mut slot = written.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            *slot = Some(outcome.map(|()| position));
            drop(slot);
            inbox.snapshot_done();
        };
        // Without a thread the next round tries again.
        self.running = std::thread::Builder::new().name("snapshot".into()).spawn(write).ok();
        if self.running.is_some() {
            self.entries = 0;
            self.bytes = 0;
        }
    }

    fn too_soon(&self, state_bytes: u64) -> bool {
        state_bytes > SMALL_STATE && self.bytes < state_bytes / STATE_SHARE
    }

    /// The writing thread has said that it ended.
    pub(super) fn ended(&mut self) {
        self.join();
    }

    /// The position of a snapshot that became durable since the last call.
    pub(super) fn take_written(&mut self) -> Result<Option<Position>, SnapshotError> {
        let mut slot = self.written.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let written = slot.take().transpose()?;
        if let Some(position) = written {
            tracing::info!(index = position.index, term = position.term, "saved snapshot");
        }
        Ok(written)
    }

    /// Waits for a snapshot that is being written.
    pub(super) fn join(&mut self) {
        if let Some(thread) = self.running.take() {
            // A panic in the thread leaves nothing written, which is what is found then.
            let _ = thread.join();
        }
    }
}
