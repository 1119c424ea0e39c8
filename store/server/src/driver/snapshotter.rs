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

use crate::disk::Disk;
use crate::log::Owner;
use crate::replica::{SnapshotJob, SnapshotStart};
use crate::snapshot_file::{self, Position, SnapshotError};
use crate::state::State;

/// Log bytes after which a snapshot is due: they are read again at the next start.
const LOG_BYTES: u64 = 64 << 20;

/// State in bytes that is written in a fraction of a second, so that it is never worth waiting.
const SMALL_STATE: u64 = 16 << 20;

/// A snapshot of a larger state may write at most this many times what the log wrote.
const STATE_SHARE: u64 = 4;

type Written = Result<Position, SnapshotError>;

/// Decides and writes; owned by the replica.
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
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        owner: Owner,
        every: u64,
        applied: Position,
    ) -> Self {
        Self {
            disk,
            dir,
            owner,
            every,
            entries: 0,
            bytes: 0,
            applied,
            running: None,
            written: Arc::default(),
        }
    }

    /// Entries went into the log.
    pub(crate) fn logged(&mut self, entries: &[Entry]) {
        self.entries += entries.len() as u64;
        self.bytes += entries.iter().map(|entry| entry.data.len() as u64).sum::<u64>();
    }

    /// The state contains everything up to there.
    pub(crate) fn applied(&mut self, position: Position) {
        self.applied = position;
    }

    /// What the state contains everything up to.
    pub(crate) fn position(&self) -> Position {
        self.applied
    }

    pub(crate) fn start_if_due(
        &mut self,
        state: &Arc<State>,
        start: impl FnOnce(SnapshotJob) -> SnapshotStart,
    ) {
        let due = self.entries >= self.every || self.bytes >= LOG_BYTES;
        if self.running.is_some() || !due || self.too_soon(state.bytes()) {
            return;
        }
        let (disk, dir, owner) = (Arc::clone(&self.disk), self.dir.clone(), self.owner);
        let (position, state) = (self.applied, Arc::clone(state));
        let written = Arc::clone(&self.written);
        let snapshot = state.snapshot();
        let write = move || {
            let begun = Instant::now();
            let outcome = snapshot_file::write(&*disk, &dir, owner, position, snapshot);
            state.metrics.snapshot_seconds.observe(begun.elapsed().as_secs_f64());
            let mut slot = written.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            *slot = Some(outcome.map(|()| position));
        };
        // When it could not begin, the next round tries again.
        if let Ok(thread) = start(Box::new(write)) {
            self.running = thread;
            self.entries = 0;
            self.bytes = 0;
        }
    }

    fn too_soon(&self, state_bytes: u64) -> bool {
        state_bytes > SMALL_STATE && self.bytes < state_bytes / STATE_SHARE
    }

    /// The writing thread has said that it ended.
    pub(crate) fn ended(&mut self) {
        self.join();
    }

    /// The position of a snapshot that became durable since the last call.
    pub(crate) fn take_written(&mut self) -> Result<Option<Position>, SnapshotError> {
        let mut slot = self.written.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let written = slot.take().transpose()?;
        if let Some(position) = written {
            tracing::info!(index = position.index, term = position.term, "saved snapshot");
        }
        Ok(written)
    }

    /// Waits for a snapshot that is being written.
    pub(crate) fn join(&mut self) {
        if let Some(thread) = self.running.take() {
            // A panic in the thread leaves nothing written, which is what is found then.
            let _ = thread.join();
        }
    }
}
