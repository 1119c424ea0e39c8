//! Local copies of what the store holds, kept by listing once and watching from there.
//!
//! This crate decides and never waits: no runtime, no socket, no clock. `skein-store-client` feeds it.
//!
//! * [`Syncer`] is the list-watch machine for a set of ranges: it says when to list and from which
//!   revisions to watch, drops what was already delivered, and notices a store that was replaced.
//! * [`SyncEvent`] is what it tells the owner of a copy.
//! * [`Table`] is a typed copy of one range with cheap immutable snapshots.
//! * [`Delta`] tracks what separates a desired state from an actual one.
//! * [`RetryQueue`] says when failed items are due again.
//!
//! Reading order: `event`, `syncer`, `table`, `delta`, `retry`.

#![deny(missing_docs)]

mod delta;
mod event;
mod retry;
mod syncer;
mod table;

pub use delta::Delta;
pub use event::{Change, Entry, ResetReason, ResumePoint, Snapshot, SyncEvent};
pub use retry::{RetryLimits, RetryQueue};
pub use skein_store_schema::KeyRange;
pub use syncer::{Next, RangesError, Step, Syncer, WatchBody, WatchMessage};
pub use table::{Applied, Row, Table, TableChange};
