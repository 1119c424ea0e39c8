//! What every service needs: proposing, waiting for reads, headers.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prost::Message;
use skein_store_api::ApiError;
use skein_store_api::pb::etcdserverpb::alarm_request::AlarmAction;
use skein_store_api::pb::etcdserverpb::{AlarmMember, AlarmRequest, AlarmType, ResponseHeader};
use skein_store_mvcc::{
    Applied, Author, ClusterVersion, Command, Envelope, MemberOp, Origin, Renewal, Versions,
};
use skein_store_rpc::peer::LeasesRequest;
use tokio::sync::{oneshot, watch};

use crate::auth::Authenticator;
use crate::driver::inbox::{Inbox, PeerInput};
use crate::metrics::Metrics;
use crate::overload::Overload;
use crate::peer::Peers;
use crate::quota::{Full, Quota};
use crate::replica::Proposal;
use crate::state::{Reply, State};

/// Resolves when the member stops, or is gone.
pub(crate) async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that the member is gone, which is the same news.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// Set by clients that would rather fail than be served by a member without a leader.
pub(crate) const REQUIRE_LEADER: &str = "hasleader";

/// Election timeouts without a leader after which streams that require one end, as etcd.
const LEADERLESS_ELECTIONS: u32 = 3;

/// Pause between two looks at who leads, while leadership moves.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// Pause before a leader is looked for again.
const LEADER_PAUSE: Duration = Duration::from_millis(50);

/// Who this member is.
pub(crate) struct MemberInfo {
    pub(crate) id: u64,
    pub(crate) cluster_id: u64,
    pub(crate) cluster_token: String,
    pub(crate) name: String,
    pub(crate) client_urls: Vec<String>,
}

/// Bounds of requests.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) max_request_bytes: usize,
    pub(crate) max_txn_ops: usize,
    pub(crate) min_lease_ttl: i64,
    pub(crate) request_timeout: Duration,
    pub(crate) election_timeout: Duration,
    pub(crate) watch_progress_interval: Duration,
    pub(crate) max_learners: usize,
    pub(crate) strict_reconfig_check: bool,
}

/// Shared by all services of a member.
pub(crate) struct Core {
    pub(crate) member: MemberInfo,
    pub(crate) limits: Limits,
    pub(crate) state: Arc<State>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) peers: Arc<Peers>,
    /// Number of the next proposal; begins where no former life of this member came to.
    pub(crate) sequence: AtomicU64,
    pub(crate) metrics: Arc<Metrics>,
    /// Where files may be written that are gone with the process.
    pub(crate) scratch_dir: PathBuf,
    pub(crate) quota: Quota,
    pub(crate) overload: Overload,
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
        // A learner may tell its own addresses, but serves no writes.
        if self.is_learner() && !matches!(command, Command::Member(MemberOp::Publish(_))) {
            return Err(ApiError::NotSupportedForLearner);
        }
        let needed = ClusterVersion::needed_by(&command);
        if needed > ClusterVersion::OLDEST && needed > self.versions().cluster {
            return Err(ApiError::NotCapable);
        }
        match self.quota.reserve(self.state.used(), &command) {
            // Held until the change is part of what is used.
            Ok(_reserved) => self.replicate(author, command).await,
            Err(Full) => {
                self.raise_no_space().await;
                Err(ApiError::NoSpace)
            }
        }
    }

    /// Lets the cluster know that this member has no room. When that fails the next one who asks
    /// for room tries again.
    async fn raise_no_space(&self) {
        let (kind, member) = (AlarmType::Nospace, self.member.id);
        if self.state.glance(|machine| machine.cluster().alarms.raised(kind, member)) {
            return;
        }
        tracing::warn!(used = self.state.used(), quota = self.quota.told(), "raising NOSPACE");
        let action = AlarmAction::Activate.into();
        let request = AlarmRequest { action, member_id: member, alarm: kind.into() };
        if let Err(error) = self.replicate(None, Command::Alarm(request)).await {
            tracing::warn!(%error, "cannot raise NOSPACE");
        }
    }

    async fn replicate(
        &self,
        author: Option<Author>,
        command: Command,
    ) -> Result<Applied, ApiError> {
        let (proposal, reply, answer) = self.proposal(author, &command)?;
        let term = self.state.term();
        self.inbox.propose(proposal, Some(reply))?;
        match tokio::time::timeout(self.limits.request_timeout, answer).await {
            Ok(Ok(reply)) => reply,
            // The driver went away without an answer: it stopped by an error.
            Ok(Err(_)) => Err(ApiError::Stopped),
            Err(_) if self.state.term() != term => Err(ApiError::TimeoutLeaderFail),
            Err(_) => Err(ApiError::Timeout),
        }
    }

    /// Replicates a change that nobody waits for; it may get lost.
    pub(crate) fn propose_unattended(&self, author: Option<Author>, command: &Command) {
        let command = command.encode_in(&Envelope { origin: None, author });
        let proposal = Proposal { sequence: 0, command, changes_members: false };
        let _ = self.inbox.propose(proposal, None);
    }

    fn proposal(
        &self,
        author: Option<Author>,
        command: &Command,
    ) -> Result<(Proposal, oneshot::Sender<Reply>, oneshot::Receiver<Reply>), ApiError> {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        let origin = Origin { member: self.member.id, sequence };
        let changes_members = matches!(
            command,
            Command::Member(MemberOp::Add(_) | MemberOp::Remove(_) | MemberOp::Promote(_))
        );
        // What stands around a command is not the client's, and must not make it too large.
        let around =
            origin.encoded_len() + 2 + author.as_ref().map_or(0, |author| author.encoded_len() + 2);
        let command = command.encode_in(&Envelope { origin: Some(origin), author });
        if command.len() - around > self.limits.max_request_bytes {
            return Err(ApiError::RequestTooLarge);
        }
        let (reply, answer) = oneshot::channel();
        Ok((Proposal { sequence, command, changes_members }, reply, answer))
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
        if self.is_learner() {
            return Err(ApiError::NotSupportedForLearner);
        }
        let (reply, answer) = oneshot::channel();
        self.inbox.read(reply)?;
        let answered = match tokio::time::timeout(self.limits.request_timeout, answer).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) => Err(ApiError::Stopped),
            Err(_) => {
                self.metrics.slow_reads.inc();
                Err(ApiError::Timeout)
            }
        };
        if answered.is_err() {
            self.metrics.failed_reads.inc();
        }
        answered
    }

    /// What the cluster has agreed to behave as.
    pub(crate) fn versions(&self) -> Versions {
        self.state.glance(|machine| machine.cluster().versions)
    }

    /// The active alarms.
    pub(crate) fn alarms(&self) -> Vec<AlarmMember> {
        self.state.glance(|machine| machine.cluster().alarms.get(AlarmType::None))
    }

    /// Starts a lease over, on the leader. It makes sure first that it still leads: a later leader's
    /// clock started over without this renewal.
    ///
    /// # Errors
    /// This member does not lead, or cannot find out.
    pub(crate) async fn renew_as_leader(&self, lease: i64) -> Result<i64, ApiError> {
        self.linearizable().await?;
        if !self.state.leads() {
            return Err(ApiError::NotLeader);
        }
        match self.state.renew(lease) {
            Renewal::Renewed { ttl_seconds } => Ok(ttl_seconds),
            Renewal::Expired | Renewal::Unknown => Ok(0),
        }
    }

    /// Seconds that a lease has left by the leader's clock, from now on in full if `renew`; 0 when it
    /// is over.
    ///
    /// # Errors
    /// No leader answered in time.
    pub(crate) async fn lease_seconds(&self, id: i64, renew: bool) -> Result<i64, ApiError> {
        let deadline = Instant::now() + self.limits.request_timeout;
        loop {
            let outcome = self.ask_leader(id, renew, deadline).await;
            let again = matches!(
                outcome,
                Err(ApiError::NotLeader
                    | ApiError::NoLeader
                    | ApiError::MemberNotFound
                    | ApiError::TimeoutConnectionLost)
            );
            if !again {
                return outcome;
            }
            if Instant::now() + LEADER_PAUSE >= deadline {
                return Err(ApiError::Timeout);
            }
            tokio::time::sleep(LEADER_PAUSE).await;
        }
    }

    async fn ask_leader(&self, id: i64, renew: bool, deadline: Instant) -> Result<i64, ApiError> {
        let leader = self.state.position().leader;
        if leader != self.member.id {
            let patience = deadline.saturating_duration_since(Instant::now());
            let request = LeasesRequest { id, renew };
            return Ok(self.peers.leases(leader, request, patience).await?.ttl);
        }
        if renew {
            return self.renew_as_leader(id).await;
        }
        self.linearizable().await?;
        Ok(self.state.lease_remaining(id).unwrap_or(0))
    }

    /// Hands leadership to another voter and waits until that one leads.
    ///
    /// # Errors
    /// This member does not lead, the other has no vote, or did not take over in time.
    pub(crate) async fn move_leader(&self, to: u64) -> Result<(), ApiError> {
        if !self.state.leads() {
            return Err(ApiError::NotLeader);
        }
        let target = self.state.glance(|machine| machine.members().get(to));
        if target.is_none_or(|target| target.is_learner) {
            return Err(ApiError::BadLeaderTransferee);
        }
        if to != self.member.id {
            self.inbox.peer(PeerInput::TransferLeader { to });
        }
        let deadline = Instant::now() + self.limits.request_timeout;
        while self.state.position().leader != to {
            if Instant::now() >= deadline {
                return Err(ApiError::Timeout);
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        Ok(())
    }

    /// Resolves when a long stream must end, with the reason: the member stops, or has had no leader
    /// for long although the client requires one.
    pub(crate) async fn ended(&self, requires_leader: bool) -> ApiError {
        let mut stopping = self.stopping.clone();
        let patience = LEADERLESS_ELECTIONS * self.limits.election_timeout;
        tokio::select! {
            // Both arms may be dropped: neither holds anything.
            () = stopped(&mut stopping) => ApiError::Stopped,
            () = self.state.leaderless(patience), if requires_leader => ApiError::NoLeader,
        }
    }

    /// Whether this member has no vote.
    pub(crate) fn is_learner(&self) -> bool {
        let own = self.state.glance(|machine| machine.members().get(self.member.id));
        own.is_some_and(|own| own.is_learner)
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
        self.metrics.quota_bytes.set(self.quota.told());
        self.metrics.show_cluster(self.versions().cluster, &self.alarms());
        self.metrics.render()
    }
}
