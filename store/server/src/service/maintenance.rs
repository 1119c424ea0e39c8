//! Maintenance: status, alarms, hashes, downgrades, and what a cluster of one can answer of the rest.

use std::pin::Pin;
use std::sync::Arc;

use skein_store_api::ApiError;
use skein_store_api::pb::etcdserverpb::alarm_request::AlarmAction;
use skein_store_api::pb::etcdserverpb::downgrade_request::DowngradeAction;
use skein_store_api::pb::etcdserverpb::*;
use skein_store_mvcc::{
    ClusterVersion, Command, Downgrade, Machine, Response as Outcome, VersionRequest,
};
use skein_store_rpc::etcdserverpb::maintenance_server::Maintenance;
use skein_store_rpc::status;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use crate::ETCD_VERSION;
use crate::auth::Sender;
use crate::backup;
use crate::core::Core;

/// What a store without keys takes for its members, versions and tables, in bytes: a page. Never 0,
/// because etcdctl divides by the size.
const EMPTY_STORE_BYTES: u64 = 4096;

pub(crate) struct MaintenanceService {
    core: Arc<Core>,
    snapshots: Arc<backup::Sender>,
}

impl MaintenanceService {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        let snapshots = Arc::new(backup::Sender::new(core.scratch_dir.clone()));
        Self { core, snapshots }
    }

    /// Runs what reads the whole state on a thread that may take its time.
    async fn at_leisure<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Core) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, Status> {
        let core = Arc::clone(&self.core);
        let done = tokio::task::spawn_blocking(move || work(&core)).await;
        // The task is not aborted; it ends early only with the runtime.
        done.unwrap_or(Err(ApiError::Stopped)).map_err(status)
    }
}

impl MaintenanceService {
    async fn alarms(&self, request: AlarmRequest) -> Result<AlarmResponse, ApiError> {
        if request.action() == AlarmAction::Get {
            self.core.linearizable().await?;
            let kind = request.alarm();
            let get = |machine: &Machine| machine.cluster().alarms.get(kind);
            return Ok(AlarmResponse { header: None, alarms: self.core.state.glance(get) });
        }
        match self.core.propose(Command::Alarm(request)).await?.response {
            Outcome::Alarm(response) => Ok(response),
            _ => Err(ApiError::Corrupt),
        }
    }

    async fn change_version(&self, request: &DowngradeRequest) -> Result<(), ApiError> {
        let target = match request.action() {
            DowngradeAction::Cancel => None,
            DowngradeAction::Validate | DowngradeAction::Enable => {
                let target = ClusterVersion::parse(&request.version)?;
                self.core.linearizable().await?;
                self.core.versions().check_downgrade(target)?;
                Some(target)
            }
        };
        if request.action() == DowngradeAction::Validate {
            return Ok(());
        }
        let request = VersionRequest { set: None, downgrade: Some(Downgrade { target }) };
        match self.core.propose(Command::Version(request)).await {
            // As etcd, which is content when there is nothing to give up.
            Ok(_) | Err(ApiError::NoInflightDowngrade) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// An alarm as etcd writes it among the errors of Status: in protobuf's text format.
fn alarm_text(alarm: &AlarmMember) -> String {
    let kind = alarm.alarm().as_str_name();
    match alarm.member_id {
        0 => format!("alarm:{kind}"),
        id => format!("memberID:{id} alarm:{kind}"),
    }
}

#[tonic::async_trait]
impl Maintenance for MaintenanceService {
    type SnapshotStream = Pin<Box<dyn Stream<Item = Result<SnapshotResponse, Status>> + Send>>;

    async fn alarm(
        &self,
        request: Request<AlarmRequest>,
    ) -> Result<Response<AlarmResponse>, Status> {
        let (sender, request) = Sender::of(request);
        let judged = match request.action() {
            AlarmAction::Get => self.core.identified(&sender).await.map(drop),
            _ => self.core.admin(&sender).await.map(drop),
        };
        judged.map_err(status)?;
        let mut response = self.alarms(request).await.map_err(status)?;
        self.core.fill(&mut response.header);
        Ok(Response::new(response))
    }

    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        self.core.identified(&Sender::of(request).0).await.map_err(status)?;
        let position = self.core.state.position();
        let bytes = (EMPTY_STORE_BYTES + self.core.state.used()) as i64;
        let versions = self.core.versions();
        let no_leader = (position.leader == 0).then(|| ApiError::NoLeader.to_string());
        Ok(Response::new(StatusResponse {
            header: self.core.header(),
            version: ETCD_VERSION.to_owned(),
            db_size: bytes,
            leader: position.leader,
            raft_index: position.commit,
            raft_term: position.term,
            raft_applied_index: position.applied,
            errors: no_leader
                .into_iter()
                .chain(self.core.alarms().iter().map(alarm_text))
                .collect(),
            db_size_in_use: bytes,
            is_learner: self.core.is_learner(),
            storage_version: versions.cluster.to_string(),
            db_size_quota: self.core.quota.told(),
            downgrade_info: Some(DowngradeInfo {
                enabled: versions.downgrade.is_some(),
                target_version: versions.downgrade.map(|to| to.to_string()).unwrap_or_default(),
            }),
        }))
    }

    /// There is nothing to defragment: freed memory is free at once.
    async fn defragment(
        &self,
        request: Request<DefragmentRequest>,
    ) -> Result<Response<DefragmentResponse>, Status> {
        self.core.admin(&Sender::of(request).0).await.map_err(status)?;
        Ok(Response::new(DefragmentResponse { header: self.core.header() }))
    }

    async fn hash(&self, request: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        self.core.admin(&Sender::of(request).0).await.map_err(status)?;
        let found = self.at_leisure(|core| core.state.view().hash_kv(0)).await?;
        Ok(Response::new(HashResponse { header: self.core.header(), hash: found.hash }))
    }

    async fn hash_kv(
        &self,
        request: Request<HashKvRequest>,
    ) -> Result<Response<HashKvResponse>, Status> {
        let (sender, HashKvRequest { revision }) = Sender::of(request);
        self.core.admin(&sender).await.map_err(status)?;
        let found = self.at_leisure(move |core| core.state.view().hash_kv(revision)).await?;
        Ok(Response::new(HashKvResponse {
            header: self.core.header(),
            hash: found.hash,
            compact_revision: found.compact_revision,
            hash_revision: found.revision,
        }))
    }

    async fn snapshot(
        &self,
        request: Request<SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        self.core.admin(&Sender::of(request).0).await.map_err(status)?;
        let place = self.snapshots.place().await.ok_or_else(|| status(ApiError::Stopped))?;
        let (core, snapshots) = (Arc::clone(&self.core), Arc::clone(&self.snapshots));
        let written = tokio::task::spawn_blocking(move || snapshots.write(&core, place)).await;
        // The task is not aborted; it ends early only with the runtime.
        let snapshot = written
            .map_err(|_| status(ApiError::Stopped))?
            .map_err(|error| Status::internal(crate::chain(&error)))?;
        tracing::info!(bytes = snapshot.size(), "sending database snapshot to client");
        Ok(Response::new(Box::pin(snapshot.answers(Arc::clone(&self.core)))))
    }

    async fn move_leader(
        &self,
        request: Request<MoveLeaderRequest>,
    ) -> Result<Response<MoveLeaderResponse>, Status> {
        let (sender, request) = Sender::of(request);
        self.core.admin(&sender).await.map_err(status)?;
        self.core.move_leader(request.target_id).await.map_err(status)?;
        Ok(Response::new(MoveLeaderResponse { header: self.core.header() }))
    }

    async fn downgrade(
        &self,
        request: Request<DowngradeRequest>,
    ) -> Result<Response<DowngradeResponse>, Status> {
        let (sender, request) = Sender::of(request);
        self.core.admin(&sender).await.map_err(status)?;
        self.change_version(&request).await.map_err(status)?;
        let version = self.core.versions().cluster.short();
        Ok(Response::new(DowngradeResponse { header: self.core.header(), version }))
    }
}
