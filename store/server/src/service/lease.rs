//! Lease: grants and revokes through the log, keep-alives by the leader's clock alone.

use std::pin::Pin;
use std::sync::Arc;

use rand::Rng;
use skein_store_api::ApiError;
use skein_store_api::pb::etcdserverpb::*;
use skein_store_mvcc::{Command, Response as Outcome, check};
use skein_store_rpc::etcdserverpb::lease_server::Lease;
use skein_store_rpc::status;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use crate::core::{Core, REQUIRE_LEADER};

pub(crate) struct LeaseService {
    core: Arc<Core>,
}

impl LeaseService {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    async fn revoke(&self, request: LeaseRevokeRequest) -> Result<LeaseRevokeResponse, ApiError> {
        match self.core.propose(Command::LeaseRevoke(request)).await?.response {
            Outcome::LeaseRevoke(response) => Ok(response),
            _ => Err(ApiError::Corrupt),
        }
    }

    async fn time_to_live(
        &self,
        request: LeaseTimeToLiveRequest,
    ) -> Result<LeaseTimeToLiveResponse, ApiError> {
        self.core.linearizable().await?;
        let state = &self.core.state;
        let header = self.core.header();
        let found = state.glance(|machine| {
            let lease = machine.leases().get(request.id)?;
            let keys = lease.keys().map(bytes::Bytes::copy_from_slice);
            let keys = if request.keys { keys.collect() } else { Vec::new() };
            Some((lease.granted_ttl(), keys))
        });
        let Some((granted_ttl, keys)) = found else {
            let id = request.id;
            return Ok(LeaseTimeToLiveResponse { header, id, ttl: -1, ..Default::default() });
        };
        let ttl = self.core.lease_seconds(request.id, false).await?;
        Ok(LeaseTimeToLiveResponse { header, id: request.id, ttl, granted_ttl, keys })
    }
}

/// Grants a lease, choosing its id when none is asked for.
pub(super) async fn grant(
    core: &Core,
    mut request: LeaseGrantRequest,
) -> Result<LeaseGrantResponse, ApiError> {
    check::lease_grant(&mut request, core.limits.min_lease_ttl)?;
    let chosen = request.id == 0;
    loop {
        if chosen {
            // Positive, so that it reads the same as a signed and an unsigned number.
            request.id = rand::rng().random_range(1..=i64::MAX);
        }
        let outcome = core.propose(Command::LeaseGrant(request)).await;
        return match outcome {
            Err(ApiError::LeaseExists) if chosen => continue,
            Err(error) => Err(error),
            Ok(applied) => match applied.response {
                Outcome::LeaseGrant(response) => Ok(response),
                _ => Err(ApiError::Corrupt),
            },
        };
    }
}

/// The header is read before the renewal, so that its revision never names something that the
/// renewal came after.
async fn keep_alive(
    core: &Core,
    request: LeaseKeepAliveRequest,
) -> Result<LeaseKeepAliveResponse, ApiError> {
    let header = core.header();
    let ttl = core.lease_seconds(request.id, true).await?;
    Ok(LeaseKeepAliveResponse { header, id: request.id, ttl })
}

/// Answers to keep-alives.
type KeepAlives = Pin<Box<dyn Stream<Item = Result<LeaseKeepAliveResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Lease for LeaseService {
    type LeaseKeepAliveStream = KeepAlives;

    async fn lease_grant(
        &self,
        request: Request<LeaseGrantRequest>,
    ) -> Result<Response<LeaseGrantResponse>, Status> {
        let mut response = grant(&self.core, request.into_inner()).await.map_err(status)?;
        self.core.fill(&mut response.header);
        Ok(Response::new(response))
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Result<Response<LeaseRevokeResponse>, Status> {
        let mut response = self.revoke(request.into_inner()).await.map_err(status)?;
        self.core.fill(&mut response.header);
        Ok(Response::new(response))
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<KeepAlives>, Status> {
        let requires_leader = request.metadata().contains_key(REQUIRE_LEADER);
        let mut requests = request.into_inner();
        let core = Arc::clone(&self.core);
        let answers = async_stream::stream! {
            let ended = core.ended(requires_leader);
            tokio::pin!(ended);
            loop {
                let request = tokio::select! {
                    // Both arms may be dropped: a request half received is received again.
                    reason = &mut ended => {
                        yield Err(status(reason));
                        return;
                    }
                    request = requests.next() => request,
                };
                match request {
                    Some(Ok(request)) => yield keep_alive(&core, request).await.map_err(status),
                    // The client is done, or gone.
                    Some(Err(_)) | None => return,
                }
            }
        };
        Ok(Response::new(Box::pin(answers)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        self.time_to_live(request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn lease_leases(
        &self,
        _: Request<LeaseLeasesRequest>,
    ) -> Result<Response<LeaseLeasesResponse>, Status> {
        let header = self.core.header();
        let leases = self
            .core
            .state
            .glance(|machine| machine.leases().iter().map(|(id, _)| LeaseStatus { id }).collect());
        Ok(Response::new(LeaseLeasesResponse { header, leases }))
    }
}
