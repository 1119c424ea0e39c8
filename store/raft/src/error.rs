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
    /// A configuration change contradicts the configuration.
    #[error("the configuration change in log entry {index} is impossible")]
    ConfChange {
        /// Index of the entry.
        index: u64,
        /// Why.
        source: raft::Error,
    },
}

/// A peer's message that this version does not understand. It is dropped: consensus lives with
/// lost messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MessageError {
    /// An unknown kind, or one that only the member itself may use.
    #[error("message kind {found} is unknown")]
    Kind {
        /// The number found.
        found: u32,
    },
    /// It carries an entry of unknown kind.
    #[error("a message carries an entry of unknown kind {found}")]
    EntryKind {
        /// The number found.
        found: u32,
    },
    /// A read that says not which.
    #[error("a read carries no context")]
    NoContext,
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
    /// Another configuration change is not applied yet, or leadership is being handed over.
    #[error("another change of the configuration or of leadership is under way")]
    Busy,
}

/// The stored number of an entry kind is not known to this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("entry kind {found} is unknown (known: 1 normal, 3 configuration change)")]
pub struct EntryKindError {
    /// The number found.
    pub found: u8,
}
