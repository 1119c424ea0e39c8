//! Lock: mutual exclusion among those who wait in line.
//!
//! A lock built on a lease is advisory: its holder may be paused beyond the lease's time. Whoever
//! writes under a lock compares the lock key's create revision in the same transaction.

use std::sync::Arc;

use skein_store_api::ApiError;
use skein_store_api::pb::etcdserverpb::DeleteRangeRequest;
use skein_store_api::pb::v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse};
use skein_store_mvcc::{Command, Response as Outcome};
use skein_store_rpc::v3lockpb::lock_server::Lock;
use tonic::{Request, Response, Status};

use super::queue::{Line, status};
use crate::auth::Sender;
use crate::core::Core;

pub(crate) struct LockService {
    core: Arc<Core>,
}

impl LockService {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    async fn release(
        &self,
        sender: &Sender,
        request: UnlockRequest,
    ) -> Result<UnlockResponse, ApiError> {
        let delete = DeleteRangeRequest { key: request.key, ..Default::default() };
        skein_store_mvcc::check::delete_range(&delete)?;
        let author = self.core.author(sender).await?;
        match self.core.propose_for(author, Command::DeleteRange(delete)).await?.response {
            Outcome::DeleteRange(answer) => Ok(UnlockResponse { header: answer.header }),
            _ => Err(ApiError::Corrupt),
        }
    }
}

#[tonic::async_trait]
impl Lock for LockService {
    async fn lock(&self, request: Request<LockRequest>) -> Result<Response<LockResponse>, Status> {
        let (sender, LockRequest { name, lease }) = Sender::of(request);
        let author = self.core.author(&sender).await.map_err(status)?;
        let line = Line { core: &self.core, author, name: &name };
        let waited = line.wait(lease, bytes::Bytes::new()).await;
        let (place, header) = waited.map_err(status)?;
        Ok(Response::new(LockResponse { header: Some(header), key: place.key }))
    }

    async fn unlock(
        &self,
        request: Request<UnlockRequest>,
    ) -> Result<Response<UnlockResponse>, Status> {
        let (sender, request) = Sender::of(request);
        let mut response = self.release(&sender, request).await.map_err(status)?;
        self.core.fill(&mut response.header);
        Ok(Response::new(response))
    }
}
