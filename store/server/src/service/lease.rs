//! Lease: grants and revokes through the log, keep-alives by the leader's clock alone.

use std::pin::Pin;
use std::sync::Arc;

use rand::Rng;
use skein_store_api::ApiError;
use skein_store_api::pb::etcdserverpb::*;
use skein_store_mvcc::{Author, Command, Response as Outcome, check};
use skein_store_rpc::etcdserverpb::lease_server::Lease;
use skein_store_rpc::status;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use crate::auth::Sender;
use crate::core::{Core, REQUIRE_LEADER};

pub(crate) struct LeaseService {
    core: Arc<Core>,
}

impl LeaseService {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    async fn revoke(
        &self,
        sender: &Sender,
        request: LeaseRevokeRequest,
    ) -> Result<LeaseRevokeResponse, ApiError> {
        let author = self.core.identified(sender).await?;
        match self.core.propose_for(author, Command::LeaseRevoke(request)).await?.response {
            Outcome::LeaseRevoke(response) => Ok(response),
            _ => Err(ApiError::Corrupt),
        }
    }

    /// That a lease exists anyone identified may know; its keys are for who may read them.
    async fn told(
        &self,
        sender: &Sender,
        request: LeaseTimeToLiveRequest,
    ) -> Result<LeaseTimeToLiveResponse, ApiError> {
        self.core.linearizable().await?;
        let author = self.core.identified(sender).await?;
        if !request.keys {
            return self.time_to_live(request).await;
        }
        self.core.permitted(author.as_ref(), |permit| permit.lease_read(request.id))?;
        let response = self.time_to_live(request).await?;
        self.core.still_permitted(author.as_ref())?;
        Ok(response)
    }

    async fn leases(&self, sender: &Sender) -> Result<Vec<LeaseStatus>, ApiError> {
        let author = self.core.author(sender).await?;
        self.core.permitted(author.as_ref(), |permit| permit.leases_read())?;
        Ok(self
            .core
            .state
            .glance(|machine| machine.leases().iter().map(|(id, _)| LeaseStatus { id }).collect()))
    }

    async fn time_to_live(
        &self,
        request: LeaseTimeToLiveRequest,
    ) -> Result<LeaseTimeToLiveResponse, ApiError> {
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
    author: Option<Author>,
    mut request: LeaseGrantRequest,
) -> Result<LeaseGrantResponse, ApiError> {
    check::lease_grant(&mut request, core.limits.min_lease_ttl)?;
    let chosen = request.id == 0;
    loop {
        if chosen {
            // Positive, so that it reads the same as a signed and an unsigned number.
            request.id = rand::rng().random_range(1..=i64::MAX);
        }
        let outcome = core.propose_for(author.clone(), Command::LeaseGrant(request)).await;
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
    sender: &Sender,
    request: LeaseKeepAliveRequest,
) -> Result<LeaseKeepAliveResponse, ApiError> {
    let header = core.header();
    let author = core.author(sender).await?;
    core.permitted(author.as_ref(), |permit| {
        permit.identified()?;
        permit.lease_write(request.id)
    })?;
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
        let (sender, request) = Sender::of(request);
        let author = self.core.identified(&sender).await.map_err(status)?;
        let mut response = grant(&self.core, author, request).await.map_err(status)?;
        self.core.fill(&mut response.header);
        Ok(Response::new(response))
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Result<Response<LeaseRevokeResponse>, Status> {
        let (sender, request) = Sender::of(request);
        let mut response = self.revoke(&sender, request).await.map_err(status)?;
        self.core.fill(&mut response.header);
        Ok(Response::new(response))
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<KeepAlives>, Status> {
        let requires_leader = request.metadata().contains_key(REQUIRE_LEADER);
        let (sender, mut requests) = Sender::of(request);
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
                    Some(Ok(request)) => {
                        yield keep_alive(&core, &sender, request).await.map_err(status);
                    }
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
        let (sender, request) = Sender::of(request);
        self.told(&sender, request).await.map(Response::new).map_err(status)
    }

    async fn lease_leases(
        &self,
        request: Request<LeaseLeasesRequest>,
    ) -> Result<Response<LeaseLeasesResponse>, Status> {
        let header = self.core.header();
        let leases = self.leases(&Sender::of(request).0).await.map_err(status)?;
        Ok(Response::new(LeaseLeasesResponse { header, leases }))
    }
}
