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
        match request.get_ref().action() {
            AlarmAction::Activate => Err(status(ApiError::NotCapable)),
            AlarmAction::Get | AlarmAction::Deactivate => {
                let alarms = Vec::new();
                Ok(Response::new(AlarmResponse { header: self.core.header(), alarms }))
            }
        }
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
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
            is_learner: self.core.is_learner(),
            storage_version: CLUSTER_VERSION.to_owned(),
            db_size_quota: self.core.limits.quota_bytes as i64,
            downgrade_info: Some(DowngradeInfo::default()),
        }))
    }

    /// There is nothing to defragment: freed memory is free at once.
    async fn defragment(
        &self,
        _: Request<DefragmentRequest>,
    ) -> Result<Response<DefragmentResponse>, Status> {
        Ok(Response::new(DefragmentResponse { header: self.core.header() }))
    }

    async fn hash(&self, _: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        let found = self.at_leisure(|core| core.state.view().hash_kv(0)).await?;
        Ok(Response::new(HashResponse { header: self.core.header(), hash: found.hash }))
    }

    async fn hash_kv(
        &self,
        request: Request<HashKvRequest>,
    ) -> Result<Response<HashKvResponse>, Status> {
        let revision = request.get_ref().revision;
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
        _: Request<SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        Err(status(ApiError::NotCapable))
    }

    async fn move_leader(
        &self,
        request: Request<MoveLeaderRequest>,
    ) -> Result<Response<MoveLeaderResponse>, Status> {
        self.core.move_leader(request.get_ref().target_id).await.map_err(status)?;
        Ok(Response::new(MoveLeaderResponse { header: self.core.header() }))
    }

    async fn downgrade(
        &self,
        _: Request<DowngradeRequest>,
    ) -> Result<Response<DowngradeResponse>, Status> {
        Err(status(ApiError::NotCapable))
    }
}
