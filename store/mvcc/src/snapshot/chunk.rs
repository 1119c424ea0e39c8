//! The chunks of a snapshot, and their bytes.

use bytes::Bytes;
use prost::Message;
use skein_store_api::pb::etcdserverpb::Member;

/// Bytes before the body.
pub(super) const CHUNK_HEAD_BYTES: usize = 9;

pub(super) const KIND_HEADER: u8 = 1;
pub(super) const KIND_KEYS: u8 = 2;
pub(super) const KIND_LEASES: u8 = 3;
pub(super) const KIND_FOOTER: u8 = 4;
pub(super) const KIND_MEMBERS: u8 = 7;
pub(super) const KIND_CLUSTER: u8 = 6;
pub(super) const KIND_AUTH: u8 = 5;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Header {
    #[prost(uint32, tag = "1")]
    pub(super) format_version: u32,
    #[prost(uint64, tag = "2")]
    pub(super) applied_index: u64,
    #[prost(int64, tag = "3")]
    pub(super) revision: i64,
    #[prost(sint64, tag = "4")]
    pub(super) compact_revision: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct KeysChunk {
    #[prost(message, repeated, tag = "1")]
    pub(super) versions: Vec<VersionRecord>,
}

/// One version. Versions of one key follow each other, oldest first, also across chunks.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct VersionRecord {
    #[prost(int64, tag = "1")]
    pub(super) main: i64,
    #[prost(uint32, tag = "2")]
    pub(super) sub: u32,
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) event: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct LeasesChunk {
    #[prost(message, repeated, tag = "1")]
    pub(super) leases: Vec<LeaseRecord>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct LeaseRecord {
    #[prost(int64, tag = "1")]
    pub(super) id: i64,
    #[prost(int64, tag = "2")]
    pub(super) ttl_seconds: i64,
}

/// Written once: a cluster has few members, and removed ids take eight bytes.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct MembersChunk {
    #[prost(message, repeated, tag = "1")]
    pub(super) members: Vec<Member>,
    #[prost(fixed64, repeated, tag = "2")]
    pub(super) removed: Vec<u64>,
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) configuration: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Footer {
    #[prost(uint64, tag = "1")]
    pub(super) versions: u64,
    #[prost(uint64, tag = "2")]
    pub(super) leases: u64,
    #[prost(fixed32, tag = "3")]
    pub(super) hash: u32,
    #[prost(uint64, tag = "4")]
    pub(super) members: u64,
    /// Of users and roles; 0 in a format without them.
    #[prost(fixed32, tag = "5")]
    pub(super) auth: u32,
}

pub(super) fn frame(kind: u8, message: &impl Message) -> Bytes {
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
