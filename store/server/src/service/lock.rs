//! Lock: mutual exclusion among those who wait in line.
//!
//! A lock built on a lease is advisory: its holder may be paused beyond the lease's time. Whoever
//! writes under a lock compares the lock key's create revision in the same transaction.

use std::sync::Arc;

use skein_store_api::ApiError;
use skein_store_api::pb::etcdserverpb::DeleteRangeRequest;
use skein_store_api::pb::v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse};
use skein_store_mvcc::{Command, Response as Outcome};
use skein_store_rpc::status;
use skein_store_rpc::v3lockpb::lock_server::Lock;
use tonic::{Request, Response, Status};

use super::queue;
use crate::core::Core;

pub(crate) struct LockService {
    core: Arc<Core>,
}

impl LockService {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    async fn release(&self, request: UnlockRequest) -> Result<UnlockResponse, ApiError> {
        let delete = DeleteRangeRequest { key: request.key, ..Default::default() };
        skein_store_mvcc::check::delete_range(&delete)?;
        match self.core.propose(Command::DeleteRange(delete)).await?.response {
            Outcome::DeleteRange(answer) => Ok(UnlockResponse { header: answer.header }),
            _ => Err(ApiError::Corrupt),
        }
    }
}

#[tonic::async_trait]
impl Lock for LockService {
    async fn lock(&self, request: Request<LockRequest>) -> Result<Response<LockResponse>, Status> {
        let LockRequest { name, lease } = request.into_inner();
        let waited = queue::wait_in_line(&self.core, &name, lease, bytes::Bytes::new()).await;
        let (place, header) = waited.map_err(status)?;
        Ok(Response::new(LockResponse { header: Some(header), key: place.key }))
    }

    async fn unlock(
        &self,
        request: Request<UnlockRequest>,
    ) -> Result<Response<UnlockResponse>, Status> {
        let mut response = self.release(request.into_inner()).await.map_err(status)?;
        self.core.fill(&mut response.header);
        Ok(Response::new(response))
    }
}
