//! Snapshots: the whole state as a stream of chunks.
//!
//! ```text
//! chunk   length of the body in bytes   u32, little-endian
//!         CRC-32C of kind and body      u32, little-endian
//!         kind                          u8
//!         body                          a protobuf message by kind
//!
//! stream  one header (1), any number of keys (2) and leases (3) chunks, one chunk each with the
//!         cluster (6), the members (7), users and roles (5), one footer (4); version 1 has none
//!         of these three
//! ```
//!
//! Only what compaction retains is written, keys in order, so two members at the same index write
//! the same bytes. The footer repeats the totals and the hash of the history: a stream that was
//! cut, reordered or mixed is not taken. Version 1 has no users and roles.

mod chunk;
mod read;

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::auth::Auth;
use crate::cluster::Cluster;
use crate::history::{Rev, Version};
use crate::machine::Machine;
use crate::members::Members;
use crate::view::View;
use chunk::*;
pub use read::restore;
pub(crate) use read::view_of;

/// The format that [`Machine::snapshot`] writes. [`restore`] reads it and those before it.
pub const SNAPSHOT_VERSION: u32 = 2;

/// A chunk is closed when it holds this many bytes of records: large enough that the checksum and
/// the call per chunk cost nothing, small enough to be sent between other work.
const CHUNK_BYTES: usize = 256 * 1024;

/// Keys and leases are written in batches; a lease record is a few bytes.
const LEASES_PER_CHUNK: usize = 4096;

/// Why a snapshot cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The stream failed or ended before the footer.
    #[error("snapshot is not readable at chunk {chunk}")]
    Read {
        /// Number of whole chunks before.
        chunk: u64,
        /// The cause.
        source: std::io::Error,
    },
    /// A checksum, a length or a record is wrong.
    #[error("snapshot is damaged at chunk {chunk}: {what}")]
    Damaged {
        /// Number of whole chunks before.
        chunk: u64,
        /// What does not fit.
        what: &'static str,
    },
    /// Written by a newer build.
    #[error(
        "snapshot has format version {found}, this build reads versions up to {SNAPSHOT_VERSION}"
    )]
    UnknownVersion {
        /// The version found.
        found: u32,
    },
}

impl Machine {
    /// The state as a stream of chunks. Taken at once and independent of the machine from then
    /// on, so that it can be written from another thread while the machine goes on.
    pub fn snapshot(&self) -> SnapshotChunks {
        SnapshotChunks {
            view: self.view.clone(),
            leases: self.leases.iter().map(|(id, lease)| (id, lease.granted_ttl())).collect(),
            members: self.members.clone(),
            cluster: self.cluster.clone(),
            auth: self.auth.clone(),
            applied_index: self.applied_index,
            versions: 0,
            next: Next::Header,
        }
    }
}

/// The chunks of a snapshot, in order. One after the other they are the stream that [`restore`]
/// reads.
#[derive(Debug)]
pub struct SnapshotChunks {
    view: View,
    leases: BTreeMap<i64, i64>,
    members: Members,
    cluster: Cluster,
    auth: Auth,
    applied_index: u64,
    versions: u64,
    next: Next,
}

#[derive(Debug)]
enum Next {
    Header,
    /// Keys from this one on, and of this key only the versions from there on.
    Keys(Vec<u8>, Rev),
    /// Leases from this id on.
    Leases(i64),
    Members,
    Cluster,
    Auth,
    Footer,
    End,
}

impl SnapshotChunks {
    /// Index of the last log entry that the snapshot includes.
    pub fn applied_index(&self) -> u64 {
        self.applied_index
    }

    fn keys(&mut self, from: &[u8], from_rev: Rev) -> Bytes {
        let mut chunk = KeysChunk::default();
        let mut bytes = 0;
        let mut next = Next::Leases(i64::MIN);
        let compacted = self.view.compact_revision;
        let versions = self.view.index.iter_from(from).flat_map(|(key, history)| {
            history.retained(compacted).map(move |version| (key, version))
        });
        let sent = |key: &[u8], version: &Version| key == from && version.rev < from_rev;
        for (key, version) in versions.skip_while(|(key, version)| sent(key, version)) {
            if bytes >= CHUNK_BYTES {
                next = Next::Keys(key.to_vec(), version.rev);
                break;
            }
            bytes += version.event.len();
            let Rev { main, sub } = version.rev;
            chunk.versions.push(VersionRecord { main, sub, event: version.event.clone() });
        }
        self.versions += chunk.versions.len() as u64;
        self.next = next;
        frame(KIND_KEYS, &chunk)
    }

    fn lease_chunk(&mut self, from: i64) -> Bytes {
        let mut chunk = LeasesChunk::default();
        let mut next = Next::Cluster;
        for (&id, &ttl_seconds) in self.leases.range(from..) {
            if chunk.leases.len() == LEASES_PER_CHUNK {
                next = Next::Leases(id);
                break;
            }
            chunk.leases.push(LeaseRecord { id, ttl_seconds });
        }
        self.next = next;
        frame(KIND_LEASES, &chunk)
    }

    fn cluster(&mut self) -> Bytes {
        self.next = Next::Members;
        frame(KIND_CLUSTER, &self.cluster.record())
    }

    fn members(&mut self) -> Bytes {
        self.next = Next::Auth;
        let chunk = MembersChunk {
            members: self.members.iter().collect(),
            removed: self.members.removed().collect(),
            configuration: self.members.configuration().clone(),
        };
        frame(KIND_MEMBERS, &chunk)
    }

    fn header(&mut self) -> Bytes {
        self.next = Next::Keys(Vec::new(), Rev::first_of(0));
        let header = Header {
            format_version: SNAPSHOT_VERSION,
            applied_index: self.applied_index,
            revision: self.view.revision,
            compact_revision: self.view.compact_revision,
        };
        frame(KIND_HEADER, &header)
    }

    fn auth_chunk(&mut self) -> Bytes {
        self.next = Next::Footer;
        frame(KIND_AUTH, &self.auth.chunk())
    }

    fn footer(&mut self) -> Bytes {
        self.next = Next::End;
        let totals = footer(&self.view, self.versions, self.leases.len(), &self.members);
        frame(KIND_FOOTER, &Footer { auth: self.auth.checksum(), ..totals })
    }
}

impl Iterator for SnapshotChunks {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        match std::mem::replace(&mut self.next, Next::End) {
            Next::Header => Some(self.header()),
            Next::Keys(from, rev) => Some(self.keys(&from, rev)),
            Next::Leases(from) => Some(self.lease_chunk(from)),
            Next::Members => Some(self.members()),
            Next::Cluster => Some(self.cluster()),
            Next::Auth => Some(self.auth_chunk()),
            Next::Footer => Some(self.footer()),
            Next::End => None,
        }
    }
}

fn footer(view: &View, versions: u64, leases: usize, members: &Members) -> Footer {
    // A hash of the newest revision cannot fail.
    let hash = view.hash_kv(0).map_or(0, |hash| hash.hash);
    Footer { versions, leases: leases as u64, hash, members: members.len() as u64, auth: 0 }
}
