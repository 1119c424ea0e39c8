//! Maintenance: status, hashes, and what a cluster of one can answer of the rest.

use std::pin::Pin;
use std::sync::Arc;

use skein_store_api::ApiError;
use skein_store_api::pb::etcdserverpb::alarm_request::AlarmAction;
use skein_store_api::pb::etcdserverpb::*;
use skein_store_rpc::etcdserverpb::maintenance_server::Maintenance;
use skein_store_rpc::status;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use crate::ETCD_VERSION;
use crate::auth::Sender;
use crate::core::{CLUSTER_VERSION, Core};

pub(crate) struct MaintenanceService {
    core: Arc<Core>,
}

impl MaintenanceService {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
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

#[tonic::async_trait]
impl Maintenance for MaintenanceService {
    type SnapshotStream = Pin<Box<dyn Stream<Item = Result<SnapshotResponse, Status>> + Send>>;

    /// No alarm can be raised in this version, so none is ever active.
    async fn alarm(
        &self,
        request: Request<AlarmRequest>,
    ) -> Result<Response<AlarmResponse>, Status> {
        let (sender, request) = Sender::of(request);
        let judged = match request.action() {
            AlarmAction::Get => self.core.identified(&sender).await,
            _ => self.core.admin(&sender).await,
        };
        judged.map_err(status)?;
        match request.action() {
            AlarmAction::Activate => Err(status(ApiError::NotCapable)),
            AlarmAction::Get | AlarmAction::Deactivate => {
                let alarms = Vec::new();
                Ok(Response::new(AlarmResponse { header: self.core.header(), alarms }))
            }
        }
    }

    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        self.core.identified(&Sender::of(request).0).await.map_err(status)?;
        let position = self.core.state.position();
        let bytes = self.core.state.bytes() as i64;
        let no_leader = (position.leader == 0).then(|| ApiError::NoLeader.to_string());
        Ok(Response::new(StatusResponse {
            header: self.core.header(),
            version: ETCD_VERSION.to_owned(),
            db_size: bytes,
            leader: position.leader,
            raft_index: position.commit,
            raft_term: position.term,
            raft_applied_index: position.applied,
            errors: no_leader.into_iter().collect(),
            db_size_in_use: bytes,
            is_learner: false,
            storage_version: CLUSTER_VERSION.to_owned(),
            db_size_quota: self.core.limits.quota_bytes as i64,
            downgrade_info: Some(DowngradeInfo::default()),
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
        Err(status(ApiError::NotCapable))
    }

    async fn move_leader(
        &self,
        request: Request<MoveLeaderRequest>,
    ) -> Result<Response<MoveLeaderResponse>, Status> {
        let (sender, request) = Sender::of(request);
        self.core.admin(&sender).await.map_err(status)?;
        if !self.core.state.leads() {
            return Err(status(ApiError::NotLeader));
        }
        if request.target_id != self.core.member.id {
            return Err(status(ApiError::BadLeaderTransferee));
        }
        Ok(Response::new(MoveLeaderResponse { header: self.core.header() }))
    }

    async fn downgrade(
        &self,
        request: Request<DowngradeRequest>,
    ) -> Result<Response<DowngradeResponse>, Status> {
        self.core.admin(&Sender::of(request).0).await.map_err(status)?;
        Err(status(ApiError::NotCapable))
    }
}
