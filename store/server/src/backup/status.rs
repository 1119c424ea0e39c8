//! What `etcdutl snapshot status` tells of a file.

use std::collections::HashSet;
use std::path::Path;

use bytes::Bytes;
use prost::Message;
use skein_store_api::pb::mvccpb::KeyValue;

use super::BackupError;
use super::buckets::{self, RevisionKey};
use super::file::{SnapshotFile, hex};

/// What is in a snapshot file; the numbers are those of `etcdutl`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// CRC-32C over the names of all buckets, their keys and values.
    pub hash: u32,
    /// The newest revision in the history.
    pub revision: i64,
    /// Number of keys that exist at it.
    pub total_key: usize,
    /// Bytes of the database, without the SHA-256.
    pub total_size: u64,
    /// The version of etcd's storage format; empty when it is older than 3.6.
    pub version: String,
}

/// Reads the whole file: its structure, its SHA-256 if it has one, and every record.
///
/// # Errors
/// What is wrong with it, and where.
pub fn status(path: &Path) -> Result<Status, BackupError> {
    let file = SnapshotFile::open(path)?;
    if file.has_hash() {
        file.check_hash()?;
    }
    read(&file)
}

/// [`status`] of a file that must have its SHA-256, as one has that was just received.
///
/// # Errors
/// What is wrong with it, and where.
pub fn verify(path: &Path) -> Result<Status, BackupError> {
    let file = SnapshotFile::open(path)?;
    file.check_hash()?;
    read(&file)
}

fn read(file: &SnapshotFile) -> Result<Status, BackupError> {
    let structure = file.structure();
    file.bolt.check().map_err(&structure)?;
    let mut status = Status {
        hash: 0,
        revision: 0,
        total_key: 0,
        total_size: file.bolt.bytes(),
        version: String::new(),
    };
    let mut keys = HashSet::new();
    for bucket in file.bolt.buckets().map_err(&structure)? {
        status.hash = crc32c::crc32c_append(status.hash, &bucket.name);
        for entry in file.bolt.entries(&bucket).map_err(&structure)? {
            let entry = entry.map_err(&structure)?;
            status.hash = crc32c::crc32c_append(status.hash, &entry.key);
            status.hash = crc32c::crc32c_append(status.hash, &entry.value);
            if bucket.name == buckets::KEY {
                let wrong = |what| BackupError::Record {
                    path: file.path().to_owned(),
                    bucket: buckets::KEY,
                    key: hex(&entry.key),
                    what,
                };
                let revision = RevisionKey::decode(&entry.key).ok_or(wrong("not a revision"))?;
                let kv = KeyValue::decode(entry.value).map_err(|_| wrong("not a KeyValue"))?;
                status.revision = revision.main;
                count(&mut keys, revision, &kv.key);
            } else if bucket.name == buckets::META && entry.key == buckets::STORAGE_VERSION {
                status.version = String::from_utf8_lossy(&entry.value).into_owned();
            }
        }
    }
    status.total_key = keys.len();
    Ok(status)
}

fn count(keys: &mut HashSet<Bytes>, revision: RevisionKey, key: &Bytes) {
    if revision.tombstone {
        keys.remove(key);
    } else if !keys.contains(key) {
        // A copy, so that a key does not keep its whole page in memory.
        keys.insert(Bytes::copy_from_slice(key));
    }
}
