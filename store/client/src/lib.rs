//! The session through which every part of Skein reads and writes the store, Skein's own or any etcd v3.
//!
//! * [`Session`]: reads, writes, transactions, with failover between endpoints. Cheap to clone.
//! * [`Session::watch_ranges`]: a stream of [`SyncEvent`]s that survives restarts of the store, compaction
//!   and replacement, without losing or repeating an event.
//! * [`Session::lease`]: a lease kept alive by a task, whose loss can be awaited.
//! * [`Session::members`] and what can be done to them, [`Session::endpoint_statuses`] and other questions
//!   to each member, [`Session::users`] and roles: the operator's side.
//! * [`Session::campaign`]: leadership bound to such a lease, and [`Session::fenced`], the only way in which
//!   a leader should write.
//!
//! # What is retried
//!
//! Reads are repeated on other endpoints until the request timeout. A write is repeated only when it
//! certainly was not sent; otherwise its error says that it may have been applied
//! ([`ClientError::Unavailable`] with `maybe_applied`), and the caller decides by reading.
//!
//! # Where a session is connected
//!
//! A failing endpoint is left at once for the next in the session's own ranking; waits between attempts
//! double and are jittered. Some time after its home endpoint serves again a session returns to it, so that
//! a rolling restart leaves the sessions spread over the members as before. With
//! [`SessionConfig::member_refresh`] the endpoints follow the store's member list.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use skein_store_client::{KeyRange, Session, SessionConfig};
//! let session = Session::connect(SessionConfig::new(["127.0.0.1:2379"])).await?;
//! session.put("skein/demo", "1", None).await?;
//! let mut watch = session.watch_ranges(vec![KeyRange::prefix("skein/")], None)?;
//! while let Some(event) = watch.next().await {
//!     println!("{event:?}");
//! }
//! # Ok(())
//! # }
//! ```

#![deny(missing_docs)]

mod auth;
mod config;
mod connection;
mod convert;
mod election;
mod endpoints;
mod error;
mod lease;
mod maintenance;
mod members;
mod placement;
mod session;
mod snapshot;
#[cfg(feature = "testing")]
pub mod testing;
mod txn;
mod watch;

pub use auth::{Access, AuthStatus, Permission};
pub use config::{SessionConfig, TlsConfig};
pub use election::{Fence, Leader, Leadership};
pub use error::{ClientError, ErrorKind};
pub use lease::{Lease, LeaseInfo};
pub use maintenance::{Alarm, AlarmKind, ByEndpoint, EndpointStatus, KvHash};
pub use members::Member;
pub use session::{Page, RangeRequest, Read, Session};
pub use skein_store_schema::{KeyRange, LeaseId};
pub use skein_store_table::{Change, Entry, ResetReason, ResumePoint, Snapshot, SyncEvent};
pub use snapshot::{SnapshotPart, SnapshotStream};
pub use txn::{Compare, Op, OpResult, Txn, TxnOutcome};
pub use watch::WatchStream;
