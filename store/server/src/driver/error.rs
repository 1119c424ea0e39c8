//! Why a driver stopped by itself.

use skein_store_raft::RaftError;
use thiserror::Error;

use crate::log::LogError;
use crate::snapshot_file::SnapshotError;
use crate::state::ApplyError;

/// The member cannot go on. It stops, and does not answer what it was asked meanwhile.
#[derive(Debug, Error)]
pub enum DriverError {
    /// The log could not be written.
    #[error("the log failed")]
    Log(#[from] LogError),
    /// A snapshot could not be written.
    #[error("writing a snapshot failed")]
    Snapshot(#[from] SnapshotError),
    /// Consensus broke.
    #[error("consensus failed")]
    Raft(#[from] RaftError),
    /// A committed entry could not be applied.
    #[error("a committed entry could not be applied")]
    Apply(#[from] ApplyError),
    /// Consensus took a snapshot whose data is not here.
    #[error("the snapshot up to log entry {index} was taken without its data")]
    SnapshotLost {
        /// Index of the last entry that it contains.
        index: u64,
    },
    /// The cluster goes on without this member.
    #[error("this member was removed from the cluster")]
    Removed,
}
