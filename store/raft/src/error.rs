//! What can go wrong in consensus.

use thiserror::Error;

/// A consensus node could not be built or has become inoperable. The member must stop.
#[derive(Debug, Error)]
pub enum RaftError {
    /// The configuration contradicts itself (zero id, heartbeat not below election timeout, ...).
    #[error("the consensus configuration is not valid")]
    Config(#[source] raft::Error),
    /// An input was refused in a state where that means a broken invariant.
    #[error("the consensus node refused an input")]
    Step(#[source] raft::Error),
    /// What was restored does not fit together.
    #[error(
        "the log begins at entry {first} but the state ends at entry {base}: \
         entries in between are missing"
    )]
    Gap {
        /// Index of the last entry contained in the restored state.
        base: u64,
        /// Index of the first entry of the restored log.
        first: u64,
    },
    /// The log holds an entry of a kind this version cannot apply.
    #[error("log entry {index} cannot be applied by this version")]
    Kind {
        /// Index of the entry.
        index: u64,
        /// The kind found.
        source: EntryKindError,
    },
}

/// Why a proposal was not taken. Nothing was appended: it is safe to say so to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProposeError {
    /// This member does not lead.
    #[error("this member is not the leader")]
    NotLeader,
    /// Too many bytes are waiting to be committed.
    #[error("too many bytes are waiting to be committed")]
    Overloaded,
}

/// The stored number of an entry kind is not known to this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("entry kind {found} is unknown (known: 1 normal)")]
pub struct EntryKindError {
    /// The number found.
    pub found: u8,
}
