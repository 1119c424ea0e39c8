//! The replicated state machine of the store: keys with their history, leases, watches.
//!
//! Pure: no runtime, no files, no clock, no randomness. The same commands in the same order give
//! the same state, answers and errors on every member, with the semantics of etcd 3.7. What
//! depends on time (when a lease expires) or on a member's leisure (when compacted versions leave
//! memory) cannot influence the outcome of a command.
//!
//! # For a server
//!
//! * [`check`] judges a request before it is proposed; [`Command::encode`] and [`Command::decode`]
//!   are what stands in the log; [`Machine::apply`] is the only thing that changes the state.
//!   Headers in answers hold the revision; the server adds cluster, member and term.
//! * Keep the machine behind a `RwLock` that the apply loop holds for one batch of commands.
//!   Reads of single keys run under the read lock ([`Machine::view`]); ranges, hashes and
//!   snapshots clone the [`View`], which is two reference counts, and run without it.
//! * [`Machine::events`] is shared by all watchers. After a batch, wake them; each polls its own
//!   [`WatchCursor`]. When a poll says [`Poll::Behind`], clone a view and call
//!   [`WatchCursor::poll_history`] until the log takes over again.
//! * The leader feeds [`Applied::lease`] to its [`Lessor`], asks it for [`Lessor::due`] leases and
//!   proposes to revoke them. A new leader starts with [`Lessor::promote`].
//! * [`Machine::apply_for`] judges what a caller may do; reads are judged by [`Machine::permit`].
//!   A member keeps the tokens that [`Applied::auth`] names, and says so in its answers.
//! * When idle, [`Machine::scavenge`] frees what compaction left; `Compact` with `physical`
//!   returns when it has nothing more to do.
//! * [`Machine::snapshot`] streams the state as checksummed chunks from a view; [`restore`] reads
//!   it back. [`View::records`] and [`Rebuild`] are the same for the formats of others.
//!
//! ```
//! use skein_store_mvcc::{Command, KeyRange, Machine, MachineConfig, Poll, Response};
//! use skein_store_mvcc::{WatchCursor, WatchSpec};
//! use skein_store_api::pb::etcdserverpb::{PutRequest, RangeRequest};
//!
//! let mut machine = Machine::new(&MachineConfig::default());
//! let spec = WatchSpec {
//!     range: KeyRange::of_watch(b"", b"\0"),
//!     start_revision: 0,
//!     prev_kv: false,
//!     no_put: false,
//!     no_delete: false,
//! };
//! let mut cursor = WatchCursor::start(machine.events(), spec).unwrap();
//!
//! let put = PutRequest { key: "a".into(), value: "1".into(), ..Default::default() };
//! let applied = machine.apply(1, &Command::Put(put)).unwrap();
//! assert_eq!(applied.revision, 2);
//!
//! let range = RangeRequest { key: "a".into(), ..Default::default() };
//! assert_eq!(machine.view().range(&range).unwrap().count, 1);
//!
//! let Poll::Batch(batch) = cursor.poll(machine.events(), 64 * 1024) else { unreachable!() };
//! assert_eq!((batch.events.len(), batch.revision, batch.caught_up), (1, 2, true));
//! ```
//!
//! # How it is kept
//!
//! One persistent B+-tree (`tree`) holds the keys; each has its versions (`history`), each version
//! its event as it goes to watchers, whose tail is the record that ranges return (`record`). Inner
//! nodes count the keys that exist, so `count` and paging cost O(log n). A second tree orders all
//! changes since the last compaction: it serves watchers that are behind the event log, counts at
//! old revisions, and tells what a compaction frees.

mod alarm;
mod auth;
pub mod check;
mod cluster;
mod command;
mod events;
mod hash;
mod history;
mod key;
mod lease;
mod lessor;
mod machine;
mod members;
mod range;
mod record;
mod snapshot;
mod transfer;
mod tree;
mod txn;
mod usage;
mod version;
mod view;
mod watch;
mod write;

pub use alarm::Alarms;
pub use auth::{Auth, AuthChange, AuthChunk, AuthCommand, Authentication, Permit, ROOT};
pub use cluster::Cluster;
pub use command::{Author, COMMAND_VERSION, Command, CommandError, Envelope, Origin};
pub use events::EventLog;
pub use hash::HashKv;
pub use key::KeyRange;
pub use lease::{Lease, Leases};
pub use lessor::{Lessor, Renewal};
pub use machine::{
    Applied, DEFAULT_EVENT_LOG_BYTES, LeaseChange, Machine, MachineConfig, Response,
};
pub use members::{MemberChange, MemberOp, Members};
pub use range::RangePieces;
pub use snapshot::{SNAPSHOT_VERSION, SnapshotChunks, SnapshotError, restore};
pub use transfer::{Rebuild, RebuildError, Record, RecordedChange};
pub use txn::{is_read_only, is_serializable};
pub use usage::Usage;
pub use version::{ClusterVersion, Downgrade, VersionRequest, Versions};
pub use view::View;
pub use watch::{Batch, Compacted, Poll, WatchCursor, WatchSpec};
