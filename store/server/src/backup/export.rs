//! From the machine to a file.

use std::io::{Seek, Write};

use prost::Message;
use skein_store_api::pb::etcdserverpb::AlarmMember;
use skein_store_bolt::{WriteError, Writer};
use skein_store_mvcc::{AuthChunk, RecordedChange, View};

use super::buckets::{self, LeaseValue, RevisionKey};
use crate::core::Core;
use crate::snapshot_file::Position;

/// The state of one moment, independent of the machine from then on.
pub(crate) struct Contents {
    view: View,
    /// Ids with times to live in seconds, by id as etcd orders them.
    leases: Vec<(i64, i64)>,
    position: Position,
    members: Vec<MemberValue>,
    /// What the cluster behaves as.
    version: String,
    auth: AuthChunk,
    alarms: Vec<AlarmMember>,
}

/// A value of the bucket `members`, as etcd writes it.
#[derive(serde::Serialize)]
struct MemberValue {
    id: u64,
    #[serde(rename = "peerURLs")]
    peer_urls: Vec<String>,
    name: String,
    #[serde(rename = "clientURLs")]
    client_urls: Vec<String>,
    #[serde(rename = "isLearner", skip_serializing_if = "std::ops::Not::not")]
    is_learner: bool,
}

/// The value of `confState`.
#[derive(serde::Serialize)]
struct ConfState {
    voters: Vec<u64>,
    auto_leave: bool,
}

impl Contents {
    /// Takes what is there now; holds the state's lock for as long as the leases take to copy.
    pub(crate) fn now(core: &Core) -> Self {
        let term = core.state.term();
        let (view, mut leases, index) = core.state.glance(|machine| {
            let leases = machine.leases().iter().map(|(id, lease)| (id, lease.granted_ttl()));
            (machine.view().clone(), leases.collect::<Vec<_>>(), machine.applied_index())
        });
        // The keys of the bucket are unsigned.
        leases.sort_unstable_by_key(|(id, _)| *id as u64);
        let members = core.state.glance(|machine| machine.members().iter().collect::<Vec<_>>());
        let members = members.into_iter().map(|member| MemberValue {
            id: member.id,
            peer_urls: member.peer_ur_ls,
            name: member.name,
            client_urls: member.client_ur_ls,
            is_learner: member.is_learner,
        });
        let members = members.collect();
        let version = core.versions().cluster.to_string();
        let auth = core.state.glance(|machine| machine.auth().chunk());
        let alarms = core.alarms();
        Self { view, leases, position: Position { index, term }, members, version, auth, alarms }
    }

    /// Writes the file; its size in bytes.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn write<W: Write + Seek>(&self, out: W) -> Result<(W, u64), WriteError> {
        let mut file = Writer::new(out)?;
        for bucket in buckets::ALL {
            file.bucket(bucket.as_bytes())?;
            match bucket {
                buckets::KEY => self.write_history(&mut file)?,
                buckets::LEASE => self.write_leases(&mut file)?,
                _ => {
                    for (key, value) in self.records(bucket) {
                        file.put(&key, &value)?;
                    }
                }
            }
        }
        file.finish()
    }

    fn write_history<W: Write + Seek>(&self, file: &mut Writer<W>) -> Result<(), WriteError> {
        for record in self.view.records() {
            let (main, sub) = (record.main, record.sub);
            match record.change {
                RecordedChange::Put(kv) => {
                    file.put(&RevisionKey { main, sub, tombstone: false }.encode(), &kv)?;
                }
                RecordedChange::Delete(key) => {
                    let kv = skein_store_api::pb::mvccpb::KeyValue { key, ..Default::default() };
                    let revision = RevisionKey { main, sub, tombstone: true };
                    file.put(&revision.encode(), &kv.encode_to_vec())?;
                }
            }
        }
        Ok(())
    }

    fn write_leases<W: Write + Seek>(&self, file: &mut Writer<W>) -> Result<(), WriteError> {
        for &(id, ttl_seconds) in &self.leases {
            file.put(&id.to_be_bytes(), &LeaseValue { id, ttl_seconds }.encode_to_vec())?;
        }
        Ok(())
    }

    /// The records of every bucket that is small, in order of their keys.
    fn records(&self, bucket: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
        match bucket {
            buckets::ALARM => {
                let alarm = |alarm: &AlarmMember| (alarm.encode_to_vec(), Vec::new());
                self.alarms.iter().map(alarm).collect()
            }
            buckets::AUTH => vec![
                (buckets::AUTH_ENABLED.into(), vec![u8::from(self.auth.enabled)]),
                (buckets::AUTH_REVISION.into(), self.auth.revision.to_be_bytes().into()),
            ],
            buckets::AUTH_USERS => self
                .auth
                .users
                .iter()
                .map(|user| (user.name.to_vec(), user.encode_to_vec()))
                .collect(),
            buckets::AUTH_ROLES => self
                .auth
                .roles
                .iter()
                .map(|role| (role.name.to_vec(), role.encode_to_vec()))
                .collect(),
            buckets::CLUSTER => {
                vec![(buckets::CLUSTER_VERSION.into(), self.version.clone().into())]
            }
            buckets::MEMBERS => {
                let member =
                    |member: &MemberValue| (format!("{:x}", member.id).into(), json(member));
                self.members.iter().map(member).collect()
            }
            buckets::META => self.meta(),
            _ => Vec::new(),
        }
    }

    fn meta(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let voters = self.members.iter().filter(|member| !member.is_learner);
        let voters = voters.map(|member| member.id).collect();
        let conf_state = json(&ConfState { voters, auto_leave: false });
        let mut records = vec![
            (buckets::CONF_STATE, conf_state),
            (buckets::CONSISTENT_INDEX, self.position.index.to_be_bytes().into()),
            (buckets::STORAGE_VERSION, self.version.clone().into()),
            (buckets::TERM, self.position.term.to_be_bytes().into()),
        ];
        let main = self.view.compact_revision();
        if main >= 0 {
            let revision = RevisionKey { main, sub: 0, tombstone: false }.encode();
            records.push((buckets::FINISHED_COMPACT, revision.clone()));
            records.push((buckets::SCHEDULED_COMPACT, revision));
        }
        records.sort_unstable_by_key(|(key, _)| *key);
        records.into_iter().map(|(key, value)| (key.into(), value)).collect()
    }
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    // Text and numbers in structs; there is nothing in them that JSON does not have.
    serde_json::to_vec(value).unwrap_or_default()
}
