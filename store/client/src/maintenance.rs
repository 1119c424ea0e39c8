//! Questions to single members.

use crate::convert;
use crate::error::ClientError;
use crate::session::{Effect, Session};

/// A member of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: u64,
    /// Its name; empty until it has started once.
    pub name: String,
    /// Where the other members reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it; empty until it has started once.
    pub client_urls: Vec<String>,
    /// True while it does not vote.
    pub is_learner: bool,
}

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
    /// Bytes on disk.
    pub db_size: i64,
    /// The store's revision as this member knows it.
    pub revision: i64,
    /// The raft term.
    pub raft_term: u64,
    /// The last raft entry that was applied.
    pub raft_applied_index: u64,
    /// True while it does not vote.
    pub is_learner: bool,
    /// Alarms and the like.
    pub errors: Vec<String>,
}

impl Session {
    /// The members of the store.
    pub async fn members(&self) -> Result<Vec<Member>, ClientError> {
        let response = self
            .call("list members", Effect::Read, |connection| async move {
                connection.client.cluster_client().member_list().await
            })
            .await?;
        let member = |member: &etcd_client::Member| Member {
            id: member.id(),
            name: member.name().to_owned(),
            peer_urls: member.peer_urls().to_vec(),
            client_urls: member.client_urls().to_vec(),
            is_learner: member.is_learner(),
        };
        Ok(response.members().iter().map(member).collect())
    }

    /// Asks every endpoint of the configuration by a connection of its own.
    pub async fn endpoint_statuses(&self) -> Vec<(String, Result<EndpointStatus, ClientError>)> {
        let endpoints = &self.connector().config().endpoints;
        let ask = endpoints.iter().enumerate().map(async |(index, endpoint)| {
            (endpoint.clone(), self.endpoint_status(index, endpoint).await)
        });
        futures::future::join_all(ask).await
    }

    async fn endpoint_status(
        &self,
        index: usize,
        endpoint: &str,
    ) -> Result<EndpointStatus, ClientError> {
        let what = "ask the endpoint for its status";
        let connection = self.connector().dedicated(index).await?;
        let mut client = connection.client.maintenance_client();
        let timeout = self.connector().config().request_timeout;
        let response = match tokio::time::timeout(timeout, client.status()).await {
            Ok(answer) => answer.map_err(|error| ClientError::from_etcd(what, &error))?,
            Err(_) => {
                let reason = format!("{endpoint}: no answer within {} ms", timeout.as_millis());
                return Err(ClientError::Unavailable { what, reason, maybe_applied: false });
            }
        };
        let (cluster_id, revision) = convert::header(response.header());
        Ok(EndpointStatus {
            endpoint: endpoint.to_owned(),
            cluster_id,
            member_id: response.header().map_or(0, etcd_client::ResponseHeader::member_id),
            leader: response.leader(),
            version: response.version().to_owned(),
            db_size: response.db_size(),
            revision,
            raft_term: response.raft_term(),
            raft_applied_index: response.raft_applied_index(),
            is_learner: response.is_learner(),
            errors: response.errors().to_vec(),
        })
    }
}
