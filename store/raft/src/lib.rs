//! One member's consensus driver around the `raft` crate: inputs in, effects out.
//!
//! [`Node`] is pure: no clock, no thread, no file, no socket. The owner feeds it ticks, proposals
//! and confirmations of what became durable, and performs the [`Effects`] it hands out, in the
//! order stated on its fields. A node with one voter takes the same path as one of seven: propose,
//! persist, commit, apply.
//!
//! Bounds are named in [`limits`]; PreVote and CheckQuorum are always on; election timeouts
//! follow from a seed that the owner gives, so equal inputs give equal effects.

mod configuration;
mod entry;
mod error;
pub mod limits;
mod memory_log;
mod message;
mod node;

pub use configuration::{Change, ConfChange, ConfChangeError, Configuration};
pub use entry::{Entry, EntryKind, HardState};
pub use error::{EntryKindError, MessageError, ProposeError, RaftError};
pub use message::{Message, SnapshotMeta, WireEntry};
pub use node::{
    Effects, Leadership, Node, NodeConfig, NodeStatus, Progress, ReadIndex, ReadTicket, Restored,
};
