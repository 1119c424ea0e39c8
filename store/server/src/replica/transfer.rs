//! Snapshots between members, and leadership that moves away from a slow disk.

use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use skein_store_mvcc::Machine;
use skein_store_raft::{Message, SnapshotMeta};

use super::{Outlet, Replica};
use crate::disk::Disk;
use crate::driver::DriverError;
use crate::log::Owner;
use crate::snapshot_file::{self, Position, SnapshotError};
use crate::state::RestoreError;

/// A sync of the log that takes longer than this makes the leader late for its own heartbeats.
const SLOW_SYNC: Duration = Duration::from_millis(500);

/// Slow syncs in a row before leadership moves: one alone may be a hiccup of the disk.
const SLOW_SYNCS: u32 = 3;

/// How slow the disk was lately.
#[derive(Default)]
pub(super) struct SlowDisk {
    in_a_row: u32,
}

/// A leader's snapshot, durable on this member's disk and in memory.
pub struct Received {
    message: Message,
    machine: Machine,
    position: Position,
}

impl Received {
    /// The message that announced it.
    pub fn message(&self) -> &Message {
        &self.message
    }
}

/// Why a snapshot from a leader cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The announcing message names none.
    #[error("the message announces no snapshot")]
    NoSnapshot,
    /// It could not be written, or does not read back.
    #[error("the received snapshot could not be kept")]
    File(#[from] SnapshotError),
    /// It holds no state that this version understands.
    #[error("the received snapshot cannot be restored")]
    Restore(#[from] RestoreError),
}

/// Writes a leader's snapshot to disk and reads it back. It is the newest committed state, so that
/// it counts from then on even if the member stops before it was told to consensus.
///
/// # Errors
/// Nothing was kept then, and the leader will try again.
pub fn receive_snapshot(
    disk: &dyn Disk,
    dir: &Path,
    owner: Owner,
    message: Message,
    chunks: impl Iterator<Item = io::Result<Bytes>>,
) -> Result<Received, ReceiveError> {
    let meta = message.snapshot.as_ref().ok_or(ReceiveError::NoSnapshot)?;
    let position = Position { index: meta.index, term: meta.term };
    snapshot_file::write_checked(disk, dir, owner, position, chunks, |reader| {
        Ok::<_, ReceiveError>(crate::state::restore(reader)?)
    })
    .map(|machine| Received { message, machine, position })
}

impl Replica {
    pub(super) fn send_all(&mut self, messages: Vec<Message>, out: &mut dyn Outlet) {
        for message in messages {
            if message.is_snapshot() {
                self.send_snapshot(message, out);
            } else {
                out.send(message);
            }
        }
    }

    /// The state machine may have moved on since consensus thought of the snapshot: it is taken, and
    /// announced, as it is now, which is just as committed.
    fn send_snapshot(&mut self, mut message: Message, out: &mut dyn Outlet) {
        let Position { index, term } = self.snapshotter.position();
        message.snapshot = Some(SnapshotMeta::new(index, term, self.node.configuration()));
        out.send_snapshot(message, self.state.snapshot());
    }

    /// Consensus took the snapshot: it replaces the log and the state.
    pub(super) fn take_over(&mut self, position: Position) -> Result<(), DriverError> {
        let received = self.received.take().filter(|received| received.position == position);
        let received = received.ok_or(DriverError::SnapshotLost { index: position.index })?;
        self.log.reset(position.index, position.term)?;
        self.state.install(received.machine);
        self.snapshotter.applied(position);
        tracing::info!(index = position.index, term = position.term, "applied snapshot");
        Ok(())
    }

    /// A leader whose disk cannot keep up holds everyone up: another voter does better.
    pub(super) fn hand_over_if_slow(&mut self, sync: Duration) {
        if !self.node.leads() || sync < SLOW_SYNC {
            self.slow_disk.in_a_row = 0;
            return;
        }
        self.slow_disk.in_a_row += 1;
        if self.slow_disk.in_a_row < SLOW_SYNCS {
            return;
        }
        self.slow_disk.in_a_row = 0;
        if let Some(successor) = self.node.successor() {
            let sync_ms = sync.as_millis() as u64;
            tracing::warn!(sync_ms, successor, "the disk is slow, leadership moves");
            self.node.transfer_leader(successor);
        }
    }
}
