//! Why a backup cannot be made or used.

use std::io;
use std::path::PathBuf;

use skein_store_bolt::{BoltError, WriteError};
use skein_store_mvcc::RebuildError;

use crate::data_dir::DataDirError;
use crate::snapshot_file::SnapshotError;

/// A backup cannot be made, read or restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file operation failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The file's structure is damaged.
    #[error("snapshot file integrity check failed: {}", path.display())]
    Structure {
        /// The file.
        path: PathBuf,
        /// What and where.
        source: BoltError,
    },
    /// A record in the file is not as etcd writes it.
    #[error("{}: bucket {bucket}, key {key}: {what}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Its bucket.
        bucket: &'static str,
        /// The record's key, as text where it is text and in hexadecimal where not.
        key: String,
        /// What does not fit.
        what: &'static str,
    },
    /// The records do not fit together.
    #[error("{} does not hold a history that can be", path.display())]
    History {
        /// The file.
        path: PathBuf,
        /// Which one does not fit.
        source: RebuildError,
    },
    /// The file has no SHA-256 at its end.
    #[error("{}: snapshot missing hash but --skip-hash-check=false", path.display())]
    NoHash {
        /// The file.
        path: PathBuf,
    },
    /// The SHA-256 at the end of the file is not that of what is before it.
    #[error("{}: expected sha256 {expected}, got {found}", path.display())]
    Hash {
        /// The file.
        path: PathBuf,
        /// At the end of the file, in hexadecimal.
        expected: String,
        /// Of what is before it.
        found: String,
    },
    /// The file cannot be written.
    #[error("cannot write a snapshot into {}", dir.display())]
    Write {
        /// The directory it was to be in.
        dir: PathBuf,
        /// Why not.
        source: WriteError,
    },
    /// There is something in the directory that was to be filled.
    #[error("data-dir {path:?} not empty or could not be read")]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// One of the two flags comes without the other.
    #[error("--mark-compacted required if --bump-revision > 0, and only then")]
    BumpWithoutMark,
    /// The revision would be greater than any can be.
    #[error("revision {latest} cannot be increased by {bump}")]
    BumpTooFar {
        /// The newest revision in the file.
        latest: i64,
        /// What was to be added.
        bump: u64,
    },
    /// The initial cluster does not make sense.
    #[error("{0}")]
    Cluster(String),
    /// The data directory cannot be made.
    #[error("the data directory cannot be made")]
    DataDir(#[from] DataDirError),
    /// The state cannot be written into the data directory.
    #[error("the state cannot be written into the data directory")]
    Snapshot(#[from] SnapshotError),
}
