//! Building a machine from the chunks of a snapshot.

use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use skein_store_api::pb::mvccpb::KeyValue;

use super::chunk::*;
use super::{SNAPSHOT_VERSION, SnapshotError, footer};
use crate::auth::{Auth, AuthChunk};
use crate::cluster::{Cluster, ClusterRecord};
use crate::history::{History, Rev, Version};
use crate::key::Key;
use crate::lease::Leases;
use crate::machine::{Machine, MachineConfig, Parts};
use crate::members::Members;
use crate::record;
use crate::tree::Tree;
use crate::usage::Usage;
use crate::view::{Change, View};

/// The first format that has chunks of cluster, members, users and roles.
const CLUSTER_SINCE_VERSION: u32 = 2;

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
    if !(1..=SNAPSHOT_VERSION).contains(&header.format_version) {
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
            KIND_CLUSTER => build.cluster(&decode(body, chunk)?),
            KIND_AUTH => build.auth(decode(body, chunk)?, chunk)?,
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
    auth: Option<Auth>,
    versions: u64,
    usage: Usage,
    cluster: Option<Cluster>,
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

    fn cluster(&mut self, record: &ClusterRecord) {
        self.cluster = Some(Cluster::restored(record));
    }

    fn auth(&mut self, record: AuthChunk, chunk: u64) -> Result<(), SnapshotError> {
        let auth = Auth::from_chunk(record);
        let what = "unreadable users or roles";
        self.auth = Some(auth.ok_or(SnapshotError::Damaged { chunk, what })?);
        Ok(())
    }

    fn finish(
        mut self,
        header: &Header,
        expected: &Footer,
        chunk: u64,
        config: &MachineConfig,
    ) -> Result<Machine, SnapshotError> {
        let (revision, compacted) = (header.revision, header.compact_revision);
        let view = view_of(self.keys, &mut self.leases, revision, compacted);
        let auth = self.auth.as_ref().map_or(0, Auth::checksum);
        let found = footer(&view, self.versions, self.leases.len(), &self.members);
        if (Footer { auth, ..found }) != *expected {
            return Err(SnapshotError::Damaged { chunk, what: "contents differ from the footer" });
        }
        let cluster = match self.cluster {
            Some(cluster) => cluster,
            None if header.format_version < CLUSTER_SINCE_VERSION => Cluster::default(),
            None => return Err(SnapshotError::Damaged { chunk, what: "no cluster chunk" }),
        };
        let index = header.applied_index;
        let Build { leases, members, auth, usage, .. } = self;
        let auth = auth.unwrap_or_default();
        let parts = Parts { view, leases, members, auth, cluster, usage };
        Ok(Machine::with_state(parts, index, config))
    }
}

/// The view of these keys, which come in order; attaches them to their leases.
pub(crate) fn view_of(
    keys: Vec<(Key, History)>,
    leases: &mut Leases,
    revision: i64,
    compact_revision: i64,
) -> View {
    let mut changes = Vec::new();
    let mut index = Tree::new();
    for (key, history) in keys {
        let watchable = |version: &&Version| version.rev.main >= compact_revision;
        for version in history.versions().filter(watchable) {
            let change = Change { key: key.clone(), delta: version.delta() };
            changes.push((version.rev, change));
        }
        leases.reattach(&key, 0, history.last().lease);
        index.insert(key, Arc::new(history));
    }
    changes.sort_unstable_by_key(|(rev, _)| *rev);
    let mut ordered = Tree::new();
    for (rev, change) in changes {
        ordered.insert(rev, change);
    }
    View { index, changes: ordered, revision, compact_revision }
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
        true => record::put_event(&record::Put::from(&kv)),
    };
    (well_formed && canonical == version.event).then_some((kv.key, version))
}
