//! Questions and orders to single members: status, hash, defragmentation, alarms, leadership.

use std::time::Duration;

use etcd_client as etcd;

use crate::connection::Connection;
use crate::convert;
use crate::error::ClientError;
use crate::session::{Effect, Session};

/// What each endpoint answered, in the order of the configuration.
pub type ByEndpoint<T> = Vec<(String, Result<T, ClientError>)>;

/// How one member does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointStatus {
    /// The endpoint that was asked.
    pub endpoint: String,
    /// The store.
    pub cluster_id: u64,
    /// The member.
    pub member_id: u64,
    /// The member that leads; 0 for none.
    pub leader: u64,
    /// The member's version.
    pub version: String,
    /// The version of its data on disk; empty where it tells none.
    pub storage_version: String,
    /// Bytes on disk.
    pub db_size: i64,
    /// Bytes on disk that hold something.
    pub db_size_in_use: i64,
    /// Bytes on disk at which the store stops taking writes; 0 where it tells none.
    pub db_size_quota: i64,
    /// The store's revision as this member knows it.
    pub revision: i64,
    /// The raft term.
    pub raft_term: u64,
    /// The last raft entry that it has.
    pub raft_index: u64,
    /// The last raft entry that was applied.
    pub raft_applied_index: u64,
    /// True while it does not vote.
    pub is_learner: bool,
    /// Alarms and the like.
    pub errors: Vec<String>,
}

/// The hash of all keys and their history up to a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvHash {
    /// The store.
    pub cluster_id: u64,
    /// The member.
    pub member_id: u64,
    /// The hash; comparable between members with the same `compact_revision` and `hash_revision`.
    pub hash: u32,
    /// History before it is not part of the hash.
    pub compact_revision: i64,
    /// Changes after it are not part of the hash.
    pub hash_revision: i64,
}

/// What the store raises an alarm about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlarmKind {
    /// The quota is used up: only reads and deletions are taken.
    NoSpace,
    /// A member's data differs from that of the others.
    Corrupt,
}

/// An alarm that stands until it is disarmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alarm {
    /// The member that raised it.
    pub member_id: u64,
    /// What it is about.
    pub kind: AlarmKind,
}

impl Session {
    /// Asks every endpoint of the configuration by a connection of its own, whether it has a leader or not.
    pub async fn endpoint_statuses(&self) -> ByEndpoint<EndpointStatus> {
        self.ask_each("ask the endpoint for its status", async |connection| {
            let response = connection.client.maintenance_client().status().await?;
            Ok(status(&connection.endpoint, &response))
        })
        .await
    }

    /// Makes every endpoint answer a linearizable read. Returns how long each took.
    pub async fn endpoint_healths(&self) -> ByEndpoint<Duration> {
        self.ask_each("read through the endpoint", async |connection| {
            let begun = tokio::time::Instant::now();
            // Reading is what is asked for here, not what is read: etcdctl asks for this key too.
            match connection.kv().get("health", None).await {
                Err(failure) if is_denied(&failure) => Ok(begun.elapsed()),
                answer => answer.map(|_| begun.elapsed()),
            }
        })
        .await
    }

    /// Asks every endpoint for the hash of its data at a revision; 0 for what it has now.
    pub async fn endpoint_hashes(&self, revision: i64) -> ByEndpoint<KvHash> {
        self.ask_each("hash the endpoint's data", async |connection| {
            let response = connection.client.maintenance_client().hash_kv(revision).await?;
            Ok(KvHash {
                cluster_id: convert::header(response.header()).0,
                member_id: response.header().map_or(0, etcd::ResponseHeader::member_id),
                hash: response.hash(),
                compact_revision: response.compact_version(),
                hash_revision: response.hash_revision(),
            })
        })
        .await
    }

    /// Makes one endpoint after the other give unused space back to its disk, so that never more than one
    /// member is busy with it. Returns how long each took.
    pub async fn defragment_each(&self) -> ByEndpoint<Duration> {
        let mut answers = Vec::new();
        for endpoint in &self.connector().config().endpoints {
            let answer = self
                .ask(endpoint, "defragment the endpoint", &async |connection: &Connection| {
                    let begun = tokio::time::Instant::now();
                    connection.client.maintenance_client().defragment().await?;
                    Ok(begun.elapsed())
                })
                .await;
            answers.push((endpoint.clone(), answer));
        }
        answers
    }

    /// The alarms that stand.
    pub async fn alarms(&self) -> Result<Vec<Alarm>, ClientError> {
        let what = "list alarms";
        self.alarm(what, etcd::AlarmAction::Get, etcd::AlarmType::None, 0, Effect::Read).await
    }

    /// Takes an alarm back. Returns what was disarmed: nothing when it did not stand.
    pub async fn disarm(&self, alarm: Alarm) -> Result<Vec<Alarm>, ClientError> {
        let kind = match alarm.kind {
            AlarmKind::NoSpace => etcd::AlarmType::Nospace,
            AlarmKind::Corrupt => etcd::AlarmType::Corrupt,
        };
        let (what, action) = ("disarm the alarm", etcd::AlarmAction::Deactivate);
        // Disarming twice is as good as once.
        self.alarm(what, action, kind, alarm.member_id, Effect::Read).await
    }

    async fn alarm(
        &self,
        what: &'static str,
        action: etcd::AlarmAction,
        kind: etcd::AlarmType,
        member_id: u64,
        effect: Effect,
    ) -> Result<Vec<Alarm>, ClientError> {
        let response = self
            .call(what, effect, |connection| async move {
                let mut options = etcd::AlarmOptions::new();
                options.with_member(member_id);
                let mut client = connection.client.maintenance_client();
                client.alarm(action, kind, Some(options)).await
            })
            .await?;
        let alarms = response.alarms().iter().filter_map(|alarm| {
            let kind = match alarm.alarm() {
                etcd::AlarmType::None => return None,
                etcd::AlarmType::Nospace => AlarmKind::NoSpace,
                etcd::AlarmType::Corrupt => AlarmKind::Corrupt,
            };
            Some(Alarm { member_id: alarm.member_id(), kind })
        });
        Ok(alarms.collect())
    }

    /// Makes another member lead. Only the leader can do it, so the endpoints are asked who leads first.
    /// Returns the former leader.
    pub async fn move_leader(&self, target: u64) -> Result<u64, ClientError> {
        let what = "move the leadership";
        let statuses = self.endpoint_statuses().await;
        let leads = |answer: &Result<EndpointStatus, ClientError>| {
            answer.as_ref().is_ok_and(|status| status.leader == status.member_id)
        };
        let Some((endpoint, Ok(status))) = statuses.iter().find(|(_, answer)| leads(answer)) else {
            let reason = "no endpoint given is of the leader (name it, or use --cluster)";
            return Err(ClientError::Refused { what, reason: reason.to_owned() });
        };
        self.ask(endpoint, what, &async |connection: &Connection| {
            connection.client.maintenance_client().move_leader(target).await
        })
        .await?;
        Ok(status.member_id)
    }

    async fn ask_each<T>(
        &self,
        what: &'static str,
        question: impl AsyncFn(&Connection) -> Result<T, etcd::Error>,
    ) -> ByEndpoint<T> {
        let endpoints = &self.connector().config().endpoints;
        let ask = endpoints
            .iter()
            .map(async |endpoint| (endpoint.clone(), self.ask(endpoint, what, &question).await));
        futures::future::join_all(ask).await
    }

    /// Puts one question to one endpoint, within the request timeout.
    async fn ask<T>(
        &self,
        endpoint: &str,
        what: &'static str,
        question: &impl AsyncFn(&Connection) -> Result<T, etcd::Error>,
    ) -> Result<T, ClientError> {
        let connection = self.connector().dedicated(endpoint).await?;
        let timeout = self.connector().config().request_timeout;
        match tokio::time::timeout(timeout, question(&connection)).await {
            Ok(answer) => answer.map_err(|error| ClientError::from_etcd(what, &error)),
            Err(_) => {
                let reason = format!("{endpoint}: no answer within {} ms", timeout.as_millis());
                Err(ClientError::Unavailable { what, reason, maybe_applied: true })
            }
        }
    }
}

/// A member that finds out that we lack rights has asked the others: it is well.
fn is_denied(failure: &etcd::Error) -> bool {
    matches!(ClientError::from_etcd("read", failure), ClientError::Denied { .. })
}

fn status(endpoint: &str, response: &etcd::StatusResponse) -> EndpointStatus {
    let (cluster_id, revision) = convert::header(response.header());
    EndpointStatus {
        endpoint: endpoint.to_owned(),
        cluster_id,
        member_id: response.header().map_or(0, etcd::ResponseHeader::member_id),
        leader: response.leader(),
        version: response.version().to_owned(),
        storage_version: response.storage_version().to_owned(),
        db_size: response.db_size(),
        db_size_in_use: response.raft_used_db_size(),
        db_size_quota: response.db_size_quota(),
        revision,
        raft_term: response.raft_term(),
        raft_index: response.raft_index(),
        raft_applied_index: response.raft_applied_index(),
        is_learner: response.is_learner(),
        errors: response.errors().to_vec(),
    }
}
