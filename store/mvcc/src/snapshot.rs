//! Snapshots: the whole state as a stream of chunks.
//!
//! ```text
//! chunk   length of the body in bytes   u32, little-endian
//!         CRC-32C of kind and body      u32, little-endian
//!         kind                          u8
//!         body                          a protobuf message by kind
//!
//! stream  one header (1), any number of keys (2) and leases (3) chunks, one members chunk (7),
//!         one footer (4)
//! ```
//!
//! Only what compaction retains is written, keys in order, so two members at the same index write
//! the same bytes. The footer repeats the totals and the hash of the history: a stream that was
//! cut, reordered or mixed is not taken.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use skein_store_api::pb::etcdserverpb::Member;
use skein_store_api::pb::mvccpb::KeyValue;

use crate::history::{History, Rev, Version};
use crate::key::Key;
use crate::lease::Leases;
use crate::machine::{Machine, MachineConfig};
use crate::members::Members;
use crate::record;
use crate::tree::Tree;
use crate::usage::Usage;
use crate::view::{Change, View};

/// The format that [`Machine::snapshot`] writes. [`restore`] also reads version 1, which knew
/// neither members nor users.
pub const SNAPSHOT_VERSION: u32 = 2;

const OLDEST_VERSION: u32 = 1;

/// A chunk is closed when it holds this many bytes of records: large enough that the checksum and
/// the call per chunk cost nothing, small enough to be sent between other work.
const CHUNK_BYTES: usize = 256 * 1024;

/// Bytes before the body.
const CHUNK_HEAD_BYTES: usize = 9;

/// Keys and leases are written in batches; a lease record is a few bytes.
const LEASES_PER_CHUNK: usize = 4096;

const KIND_HEADER: u8 = 1;
const KIND_KEYS: u8 = 2;
const KIND_LEASES: u8 = 3;
const KIND_FOOTER: u8 = 4;
const KIND_MEMBERS: u8 = 7;

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
        "snapshot has format version {found}, this build reads versions {OLDEST_VERSION} to {SNAPSHOT_VERSION}"
    )]
    UnknownVersion {
        /// The version found.
        found: u32,
    },
}

#[derive(Clone, PartialEq, prost::Message)]
struct Header {
    #[prost(uint32, tag = "1")]
    format_version: u32,
    #[prost(uint64, tag = "2")]
    applied_index: u64,
    #[prost(int64, tag = "3")]
    revision: i64,
    #[prost(sint64, tag = "4")]
    compact_revision: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeysChunk {
    #[prost(message, repeated, tag = "1")]
    versions: Vec<VersionRecord>,
}

/// One version. Versions of one key follow each other, oldest first, also across chunks.
#[derive(Clone, PartialEq, prost::Message)]
struct VersionRecord {
    #[prost(int64, tag = "1")]
    main: i64,
    #[prost(uint32, tag = "2")]
    sub: u32,
    #[prost(bytes = "bytes", tag = "3")]
    event: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LeasesChunk {
    #[prost(message, repeated, tag = "1")]
    leases: Vec<LeaseRecord>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LeaseRecord {
    #[prost(int64, tag = "1")]
    id: i64,
    #[prost(int64, tag = "2")]
    ttl_seconds: i64,
}

/// Written once: a cluster has few members, and removed ids take eight bytes.
#[derive(Clone, PartialEq, prost::Message)]
struct MembersChunk {
    #[prost(message, repeated, tag = "1")]
    members: Vec<Member>,
    #[prost(fixed64, repeated, tag = "2")]
    removed: Vec<u64>,
    #[prost(bytes = "bytes", tag = "3")]
    configuration: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Footer {
    #[prost(uint64, tag = "1")]
    versions: u64,
    #[prost(uint64, tag = "2")]
    leases: u64,
    #[prost(fixed32, tag = "3")]
    hash: u32,
    #[prost(uint64, tag = "4")]
    members: u64,
}

impl Machine {
    /// The state as a stream of chunks. Taken at once and independent of the machine from then
    /// on, so that it can be written from another thread while the machine goes on.
    pub fn snapshot(&self) -> SnapshotChunks {
        SnapshotChunks {
            view: self.view.clone(),
            leases: self.leases.iter().map(|(id, lease)| (id, lease.granted_ttl())).collect(),
            members: self.members.clone(),
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
        let mut next = Next::Members;
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

    fn members(&mut self) -> Bytes {
        self.next = Next::Footer;
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

    fn footer(&mut self) -> Bytes {
        self.next = Next::End;
        frame(KIND_FOOTER, &footer(&self.view, self.versions, self.leases.len(), &self.members))
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
            Next::Footer => Some(self.footer()),
            Next::End => None,
        }
    }
}

fn footer(view: &View, versions: u64, leases: usize, members: &Members) -> Footer {
    // A hash of the newest revision cannot fail.
    let hash = view.hash_kv(0).map_or(0, |hash| hash.hash);
    Footer { versions, leases: leases as u64, hash, members: members.len() as u64 }
}

fn frame(kind: u8, message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut out = Vec::with_capacity(CHUNK_HEAD_BYTES + length);
    out.extend_from_slice(&(length as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.push(kind);
    message.encode_raw(&mut out);
    let checksum = crc32c::crc32c(&out[CHUNK_HEAD_BYTES - 1..]);
    out[4..8].copy_from_slice(&checksum.to_le_bytes());
    out.into()
}

/// Reads a snapshot and builds the machine it was taken from. Reads exactly the stream and nothing
/// behind it.
///
/// # Errors
/// See [`SnapshotError`]. A snapshot is taken whole or not at all.
pub fn restore(mut from: impl Read, config: &MachineConfig) -> Result<Machine, SnapshotError> {
    let mut chunk = 0;
    let (kind, body) = read_chunk(&mut from, chunk)?;
    let header: Header = decode(body, chunk)?;
    if kind != KIND_HEADER {
        return Err(SnapshotError::Damaged { chunk, what: "it does not begin with a header" });
    }
    if !(OLDEST_VERSION..=SNAPSHOT_VERSION).contains(&header.format_version) {
        return Err(SnapshotError::UnknownVersion { found: header.format_version });
    }
    let mut build = Build::default();
    loop {
        chunk += 1;
        let (kind, body) = read_chunk(&mut from, chunk)?;
        match kind {
            KIND_KEYS => build.keys(decode(body, chunk)?, chunk)?,
            KIND_LEASES => build.leases(decode(body, chunk)?, chunk)?,
            KIND_MEMBERS => build.members(decode(body, chunk)?),
            KIND_FOOTER => return build.finish(&header, &decode(body, chunk)?, chunk, config),
            _ => return Err(SnapshotError::Damaged { chunk, what: "unknown kind of chunk" }),
        }
    }
}

fn read_chunk(from: &mut impl Read, chunk: u64) -> Result<(u8, Bytes), SnapshotError> {
    let failed = |source| SnapshotError::Read { chunk, source };
    let mut head = [0; CHUNK_HEAD_BYTES];
    from.read_exact(&mut head).map_err(failed)?;
    let [l0, l1, l2, l3, c0, c1, c2, c3, kind] = head;
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    // Grows with what is really there, so that a damaged length cannot ask for much memory.
    let mut body = Vec::new();
    from.take(length as u64).read_to_end(&mut body).map_err(failed)?;
    if body.len() < length {
        return Err(failed(std::io::ErrorKind::UnexpectedEof.into()));
    }
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&[kind]), &body);
    if checksum != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Err(SnapshotError::Damaged { chunk, what: "checksum mismatch" });
    }
    Ok((kind, body.into()))
}

fn decode<M: Message + Default>(body: Bytes, chunk: u64) -> Result<M, SnapshotError> {
    M::decode(body).map_err(|_| SnapshotError::Damaged { chunk, what: "unreadable record" })
}

#[derive(Default)]
struct Build {
    /// Keys in order, each with its versions in order.
    keys: Vec<(Key, History)>,
    leases: Leases,
    members: Members,
    versions: u64,
    usage: Usage,
}

impl Build {
    fn keys(&mut self, records: KeysChunk, chunk: u64) -> Result<(), SnapshotError> {
        let damaged = |what| SnapshotError::Damaged { chunk, what };
        for record in records.versions {
            let (key, version) = version_of(record).ok_or(damaged("unreadable version"))?;
            self.versions += 1;
            self.usage.version_added(&key, &version);
            match self.keys.last_mut() {
                Some((last, history)) if **last == *key => {
                    if history.last().rev >= version.rev {
                        return Err(damaged("versions out of order"));
                    }
                    history.push(version);
                }
                Some((last, _)) if **last > *key => return Err(damaged("keys out of order")),
                _ => self.keys.push((Key::new(&key), History::new(version))),
            }
        }
        Ok(())
    }

    fn leases(&mut self, records: LeasesChunk, chunk: u64) -> Result<(), SnapshotError> {
        for record in records.leases {
            self.leases
                .grant(record.id, record.ttl_seconds)
                .map_err(|_| SnapshotError::Damaged { chunk, what: "impossible lease" })?;
        }
        Ok(())
    }

    fn members(&mut self, chunk: MembersChunk) {
        chunk.members.iter().for_each(|member| self.members.insert_restored(member));
        chunk.removed.iter().for_each(|&id| self.members.insert_removed(id));
        self.members.set_configuration(Bytes::copy_from_slice(&chunk.configuration));
    }

    fn finish(
        mut self,
        header: &Header,
        expected: &Footer,
        chunk: u64,
        config: &MachineConfig,
    ) -> Result<Machine, SnapshotError> {
        let mut changes = Vec::new();
        let mut index = Tree::new();
        for (key, history) in self.keys {
            let watchable = |version: &&Version| version.rev.main >= header.compact_revision;
            for version in history.versions().filter(watchable) {
                let change = Change { key: key.clone(), delta: version.delta() };
                changes.push((version.rev, change));
            }
            self.leases.reattach(&key, 0, history.last().lease);
            index.insert(key, Arc::new(history));
        }
        changes.sort_unstable_by_key(|(rev, _)| *rev);
        let mut ordered = Tree::new();
        for (rev, change) in changes {
            ordered.insert(rev, change);
        }
        let view = View {
            index,
            changes: ordered,
            revision: header.revision,
            compact_revision: header.compact_revision,
        };
        if footer(&view, self.versions, self.leases.len(), &self.members) != *expected {
            return Err(SnapshotError::Damaged { chunk, what: "contents differ from the footer" });
        }
        let index = header.applied_index;
        let Build { leases, members, usage, .. } = self;
        Ok(Machine::with_state(view, leases, members, usage, index, config))
    }
}

/// Reads a version back from its event. The event is copied, so that it does not keep the whole
/// chunk in memory.
fn version_of(record: VersionRecord) -> Option<(Bytes, Version)> {
    let event = Bytes::copy_from_slice(&record.event);
    let read = skein_store_api::pb::mvccpb::Event::decode(event.clone()).ok()?;
    let kv = KeyValue::decode(read.kv).ok()?;
    let well_formed = kv.mod_revision == record.main && !kv.key.is_empty();
    // The event must be one that `record` wrote, since parts of it are taken by position.
    let version = Version {
        rev: Rev { main: record.main, sub: record.sub },
        create: kv.create_revision,
        version: kv.version,
        lease: kv.lease,
        event,
    };
    let canonical = match version.is_live() {
        false => record::delete_event(&kv.key, kv.mod_revision),
        true => record::put_event(&record::Put {
            key: &kv.key,
            value: &kv.value,
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
            lease: kv.lease,
        }),
    };
    (well_formed && canonical == version.event).then_some((kv.key, version))
}
