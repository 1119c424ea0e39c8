//! What every service needs: proposing, waiting for reads, headers.

use std::sync::Arc;
use std::time::Duration;

use skein_store_api::ApiError;
use skein_store_api::pb::etcdserverpb::ResponseHeader;
use skein_store_mvcc::{Applied, Author, Command, Envelope};
use tokio::sync::{oneshot, watch};

use crate::auth::Authenticator;
use crate::driver::inbox::{Inbox, Proposal};
use crate::metrics::Metrics;
use crate::state::State;

/// Resolves when the member stops, or is gone.
pub(crate) async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that the member is gone, which is the same news.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// The version of the cluster and of the stored format, as etcd tells it.
pub(crate) const CLUSTER_VERSION: &str = "3.7.0";

/// Who this member is.
pub(crate) struct MemberInfo {
    pub(crate) id: u64,
    pub(crate) cluster_id: u64,
    pub(crate) name: String,
    pub(crate) peer_urls: Vec<String>,
    pub(crate) client_urls: Vec<String>,
}

/// Bounds of requests.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) max_request_bytes: usize,
    pub(crate) max_txn_ops: usize,
    pub(crate) min_lease_ttl: i64,
    pub(crate) request_timeout: Duration,
    pub(crate) watch_progress_interval: Duration,
    pub(crate) quota_bytes: u64,
}

/// Shared by all services of a member.
pub(crate) struct Core {
    pub(crate) member: MemberInfo,
    pub(crate) limits: Limits,
    pub(crate) state: Arc<State>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) auth: Authenticator,
    /// Becomes true when the member stops; long streams end then.
    pub(crate) stopping: watch::Receiver<bool>,
}

impl Core {
    /// Replicates a change that the member makes by itself, of what belongs to no user.
    ///
    /// # Errors
    /// As [`Core::propose_for`].
    pub(crate) async fn propose(&self, command: Command) -> Result<Applied, ApiError> {
        self.propose_for(None, command).await
    }

    /// Replicates a change on behalf of `author` and waits until it is durable and applied.
    ///
    /// # Errors
    /// The change's own error, or why it was not taken. [`ApiError::Timeout`] leaves open whether
    /// it happens.
    pub(crate) async fn propose_for(
        &self,
        author: Option<Author>,
        command: Command,
    ) -> Result<Applied, ApiError> {
        let command = command.encode_in(&Envelope { origin: None, author });
        if command.len() > self.limits.max_request_bytes {
            return Err(ApiError::RequestTooLarge);
        }
        let (reply, answer) = oneshot::channel();
        self.inbox.propose(Proposal { command, reply: Some(reply) })?;
        match tokio::time::timeout(self.limits.request_timeout, answer).await {
            Ok(Ok(reply)) => reply,
            // The driver went away without an answer: it stopped by an error.
            Ok(Err(_)) => Err(ApiError::Stopped),
            Err(_) => Err(ApiError::Timeout),
        }
    }

    /// Returns once a read of the state here sees every write acknowledged before this call.
    ///
    /// A member that decides alone applies a write before it acknowledges it, so its state already
    /// contains all of them; otherwise the leader is asked for its commit index (ReadIndex).
    ///
    /// # Errors
    /// There is no leader, or it did not answer in time.
    pub(crate) async fn linearizable(&self) -> Result<(), ApiError> {
        if self.state.decides_alone() {
            return Ok(());
        }
        let (reply, answer) = oneshot::channel();
        self.inbox.read(reply)?;
        match tokio::time::timeout(self.limits.request_timeout, answer).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) => Err(ApiError::Stopped),
            Err(_) => Err(ApiError::Timeout),
        }
    }

    /// A header with the newest applied revision.
    pub(crate) fn header(&self) -> Option<ResponseHeader> {
        Some(self.header_at(self.state.revision()))
    }

    /// A header with this revision.
    pub(crate) fn header_at(&self, revision: i64) -> ResponseHeader {
        ResponseHeader {
            cluster_id: self.member.cluster_id,
            member_id: self.member.id,
            revision,
            raft_term: self.state.term(),
        }
    }

    /// Fills in what the state machine does not know, keeping its revision.
    pub(crate) fn fill(&self, header: &mut Option<ResponseHeader>) {
        let revision = match header {
            Some(header) => header.revision,
            None => self.state.revision(),
        };
        *header = Some(self.header_at(revision));
    }

    /// The metrics page, with levels brought up to date.
    pub(crate) fn render_metrics(&self) -> String {
        self.state.refresh_metrics();
        self.metrics.render()
    }
}
