//! What can be wrong with a log.

use std::io;
use std::path::PathBuf;

use skein_store_raft::EntryKindError;
use thiserror::Error;

/// The log cannot be opened or written. None of these is repaired by trying again.
#[derive(Debug, Error)]
pub enum LogError {
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
    /// Something that was durable is damaged.
    #[error("{} is damaged at offset {offset}: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Offset in bytes of the first damaged frame.
        offset: u64,
        /// What was expected and not found.
        what: &'static str,
    },
    /// Written by a version of Skein that this one does not understand.
    #[error(
        "{} has format version {found} at offset {offset}; this version reads {known}",
        path.display()
    )]
    UnknownVersion {
        /// The file.
        path: PathBuf,
        /// Offset in bytes of the header or frame.
        offset: u64,
        /// The version found.
        found: u32,
        /// The version that is understood.
        known: u32,
    },
    /// An entry of an unknown kind.
    #[error("{} holds an entry at offset {offset} that cannot be read", path.display())]
    EntryKind {
        /// The file.
        path: PathBuf,
        /// Offset in bytes of the frame.
        offset: u64,
        /// The kind found.
        source: EntryKindError,
    },
    /// The segment belongs to another member or cluster.
    #[error(
        "{} belongs to member {found_member:x} of cluster {found_cluster:x}, not to member \
         {member:x} of cluster {cluster:x}",
        path.display()
    )]
    OtherOwner {
        /// The file.
        path: PathBuf,
        /// Member in the file.
        found_member: u64,
        /// Cluster in the file.
        found_cluster: u64,
        /// Member that opens it.
        member: u64,
        /// Cluster that opens it.
        cluster: u64,
    },
    /// A segment file between others is missing.
    #[error("segment {missing} of the log is missing ({})", path.display())]
    MissingSegment {
        /// Its number.
        missing: u64,
        /// Where it should be.
        path: PathBuf,
    },
    /// The log begins after the place where the snapshot ends.
    #[error("the log begins at entry {first}, but the newest snapshot ends at entry {base}")]
    MissingEntries {
        /// Last index that the snapshot contains.
        base: u64,
        /// First index found.
        first: u64,
    },
    /// An earlier write failed, so nothing more is written.
    #[error("the log stopped after an earlier I/O error")]
    Stopped,
}
