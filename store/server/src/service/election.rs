//! Election: whoever is in front of the line leads, and its key's value is what it proclaims.

use std::pin::Pin;
use std::sync::Arc;

use skein_store_api::ApiError;
use skein_store_api::pb::etcdserverpb::request_op::Request as Op;
use skein_store_api::pb::etcdserverpb::{DeleteRangeRequest, PutRequest};
use skein_store_api::pb::v3electionpb::*;
use skein_store_rpc::v3electionpb::election_server::Election;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::queue::{Held, Line, status};
use crate::auth::Sender;
use crate::core::{Core, stopped};
use crate::state::ConnectionId;

/// etcd's texts; they carry no prefix and no code of their own.
const NO_LEADER: &str = "election: no leader";
const NOT_LEADER: &str = "election: not leader";
const NO_LEADER_KEY: &str = "\"leader\" field must be provided";

pub(crate) struct ElectionService {
    core: Arc<Core>,
}

impl ElectionService {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }
}

/// Proclamations, as they are seen.
type Proclaimed = Pin<Box<dyn Stream<Item = Result<LeaderResponse, Status>> + Send>>;

fn leader_key(leader: Option<LeaderKey>) -> Result<LeaderKey, Status> {
    leader.ok_or_else(|| Status::invalid_argument(NO_LEADER_KEY))
}

#[tonic::async_trait]
impl Election for ElectionService {
    type ObserveStream = Proclaimed;

    async fn campaign(
        &self,
        request: Request<CampaignRequest>,
    ) -> Result<Response<CampaignResponse>, Status> {
        let (sender, CampaignRequest { name, lease, value }) = Sender::of(request);
        let author = self.core.author(&sender).await.map_err(status)?;
        let line = Line { core: &self.core, name: &name, author };
        let (place, header) = line.wait(lease, value).await.map_err(status)?;
        let leader =
            LeaderKey { name, key: place.key, rev: place.create_revision, lease: place.lease };
        Ok(Response::new(CampaignResponse { header: Some(header), leader: Some(leader) }))
    }

    async fn proclaim(
        &self,
        request: Request<ProclaimRequest>,
    ) -> Result<Response<ProclaimResponse>, Status> {
        let (sender, ProclaimRequest { leader, value }) = Sender::of(request);
        let LeaderKey { key, rev, lease, .. } = leader_key(leader)?;
        let put = PutRequest { key: key.clone(), value, lease, ..Default::default() };
        let author = self.core.author(&sender).await.map_err(status)?;
        let held = Held { key: &key, create_revision: rev };
        let answer = held.change(&self.core, author, Op::RequestPut(put)).await;
        let mut answer = answer.map_err(status)?;
        if !answer.succeeded {
            return Err(Status::unknown(NOT_LEADER));
        }
        self.core.fill(&mut answer.header);
        Ok(Response::new(ProclaimResponse { header: answer.header }))
    }

    async fn leader(
        &self,
        request: Request<LeaderRequest>,
    ) -> Result<Response<LeaderResponse>, Status> {
        let (sender, LeaderRequest { name }) = Sender::of(request);
        self.core.linearizable().await.map_err(status)?;
        let author = self.core.author(&sender).await.map_err(status)?;
        let line = Line { core: &self.core, name: &name, author };
        let (kv, _) = line.front().map_err(status)?.ok_or_else(|| Status::unknown(NO_LEADER))?;
        Ok(Response::new(LeaderResponse { header: self.core.header(), kv: Some(kv) }))
    }

    /// Tells each leader and its newest proclamation. Of several in quick succession the last one
    /// is told; a watch on the leader's key tells all.
    async fn observe(
        &self,
        request: Request<LeaderRequest>,
    ) -> Result<Response<Proclaimed>, Status> {
        let (sender, LeaderRequest { name }) = Sender::of(request);
        let core = Arc::clone(&self.core);
        let mut stopping = core.stopping.clone();
        let stream = async_stream::stream! {
            let sleeper = core.state.sleeper(ConnectionId::default());
            let mut told = 0;
            loop {
                // Before looking, so that no change between looking and sleeping is missed.
                let moved = sleeper.moved();
                let front = core.author(&sender).await.and_then(|author| {
                    Line { core: &core, name: &name, author }.front()
                });
                match front {
                    Err(error) => {
                        yield Err(status(error));
                        return;
                    }
                    Ok(Some((record, kv))) if kv.mod_revision > told => {
                        told = kv.mod_revision;
                        yield Ok(LeaderResponse { header: core.header(), kv: Some(record) });
                    }
                    Ok(_) => {}
                }
                tokio::select! {
                    // Both arms may be dropped: neither holds anything.
                    () = stopped(&mut stopping) => {
                        yield Err(status(ApiError::Stopped));
                        return;
                    }
                    () = moved => {}
                }
            }
        };
        Ok(Response::new(Box::pin(stream)))
    }

    async fn resign(
        &self,
        request: Request<ResignRequest>,
    ) -> Result<Response<ResignResponse>, Status> {
        let (sender, ResignRequest { leader }) = Sender::of(request);
        let LeaderKey { key, rev, .. } = leader_key(leader)?;
        let delete = DeleteRangeRequest { key: key.clone(), ..Default::default() };
        let author = self.core.author(&sender).await.map_err(status)?;
        let held = Held { key: &key, create_revision: rev };
        let answer = held.change(&self.core, author, Op::RequestDeleteRange(delete)).await;
        let mut header = answer.map_err(status)?.header;
        self.core.fill(&mut header);
        Ok(Response::new(ResignResponse { header }))
    }
}
