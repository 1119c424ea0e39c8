//! etcd's snapshot files, out and in: what `etcdctl snapshot save` gets and `etcdutl snapshot
//! restore` takes, so that a store can be backed up with the tools that are known, and moved from
//! etcd to here and back.
//!
//! A snapshot is a bbolt file (`skein-store-bolt`) with etcd's buckets in it (`buckets`), followed
//! by the SHA-256 of all bytes before. `member/snap/db` of an etcd that is not running is the same
//! file without the SHA-256.

mod buckets;
mod error;
mod export;
mod file;
mod import;
mod restore;
mod send;
mod status;

pub use error::BackupError;
pub use restore::{RestoreConfig, Restored, restore};
pub use status::{Status, status, verify};

pub(crate) use send::Sender;
