//! What other members call.

use std::path::PathBuf;
use std::sync::Arc;

use skein_store_api::ApiError;
use skein_store_mvcc::HashKv;
use skein_store_rpc::peer::peer_server::Peer;
use skein_store_rpc::peer::{
    Frame, HashReply, HashRequest, InstallEnd, LeasesReply, LeasesRequest, MemberInfo,
    MembersReply, MembersRequest, SendEnd, SnapshotPart,
};
use skein_store_rpc::{api_error, status};
use tokio::sync::Semaphore;
use tokio_stream::StreamExt;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::connect::{CLUSTER, FROM, TO};
use super::snapshot;
use crate::core::{Core, stopped};
use crate::disk::Disk;
use crate::driver::inbox::PeerInput;
use crate::log::Owner;
use crate::replica::{Proposal, receive_snapshot};

/// What a member is told that was removed from the cluster.
pub(super) const REMOVED: &str = "the member was removed from the cluster";

/// Where received snapshots are kept.
#[derive(Clone)]
pub(crate) struct SnapshotPlace {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) owner: Owner,
}

pub(crate) struct PeerService {
    core: Arc<Core>,
    place: SnapshotPlace,
    /// One snapshot at a time is received.
    receiving: Arc<Semaphore>,
}

impl PeerService {
    pub(crate) fn new(core: Arc<Core>, place: SnapshotPlace) -> Self {
        Self { core, place, receiving: Arc::new(Semaphore::new(1)) }
    }

    /// The calling member.
    fn admit(&self, metadata: &MetadataMap) -> Result<u64, Status> {
        let named = |name| {
            let text = metadata.get(name).and_then(|value| value.to_str().ok());
            let id = text.and_then(|text| u64::from_str_radix(text, 16).ok());
            id.ok_or_else(|| Status::invalid_argument(format!("{name} is missing")))
        };
        let (cluster, from, to) = (named(CLUSTER)?, named(FROM)?, named(TO)?);
        if cluster != self.core.member.cluster_id {
            return Err(status(ApiError::ClusterIdMismatch));
        }
        if to != self.core.member.id {
            let text = format!("this is member {:x}, not {to:x}", self.core.member.id);
            return Err(Status::failed_precondition(text));
        }
        if self.core.state.glance(|machine| machine.members().was_removed(from)) {
            return Err(Status::permission_denied(REMOVED));
        }
        Ok(from)
    }

    fn take(&self, from: u64, frame: Frame) {
        let inbox = &self.core.inbox;
        // A member speaks for itself only.
        let own = frame.messages.into_iter().filter(|message| message.from == from);
        own.for_each(|message| inbox.peer(PeerInput::Message(message)));
        if !frame.proposals.is_empty() {
            let proposals = frame.proposals.into_iter().map(|proposal| Proposal {
                sequence: proposal.sequence,
                command: proposal.command,
                changes_members: proposal.changes_members,
            });
            let proposals = proposals.collect();
            inbox.peer(PeerInput::Forwarded { member: from, proposals });
        }
        for refusal in frame.refusals {
            let error = api_error(&Status::unknown(refusal.error));
            let error = error.unwrap_or(ApiError::LeaderChanged);
            inbox.peer(PeerInput::Refused { sequences: refusal.sequences, error });
        }
    }

    async fn lease(&self, request: LeasesRequest) -> Result<LeasesReply, ApiError> {
        let state = &self.core.state;
        if request.renew {
            return Ok(LeasesReply { ttl: self.core.renew_as_leader(request.id).await? });
        }
        self.core.linearizable().await?;
        if !state.leads() {
            return Err(ApiError::NotLeader);
        }
        Ok(LeasesReply { ttl: state.lease_remaining(request.id).unwrap_or(0) })
    }
}

#[tonic::async_trait]
impl Peer for PeerService {
    async fn send(&self, request: Request<Streaming<Frame>>) -> Result<Response<SendEnd>, Status> {
        let from = self.admit(request.metadata())?;
        let mut frames = request.into_inner();
        let mut stopping = self.core.stopping.clone();
        loop {
            let frame = tokio::select! {
                // Both arms may be dropped: a frame half received is sent again by consensus.
                () = stopped(&mut stopping) => return Err(status(ApiError::Stopped)),
                frame = frames.next() => frame,
            };
            match frame {
                Some(frame) => self.take(from, frame?),
                None => return Ok(Response::new(SendEnd {})),
            }
            if self.core.state.glance(|machine| machine.members().was_removed(from)) {
                return Err(Status::permission_denied(REMOVED));
            }
        }
    }

    async fn install(
        &self,
        request: Request<Streaming<SnapshotPart>>,
    ) -> Result<Response<InstallEnd>, Status> {
        let from = self.admit(request.metadata())?;
        let place = Arc::clone(&self.receiving).try_acquire_owned();
        let _one =
            place.map_err(|_| Status::resource_exhausted("another snapshot is coming in"))?;
        let mut parts = request.into_inner();
        let first = parts.next().await.transpose()?;
        let message = first.and_then(|part| part.announcement);
        let message = message.filter(|message| message.from == from);
        let message = message.ok_or_else(|| Status::invalid_argument("no announcement"))?;
        let data = snapshot::receive(parts);
        let SnapshotPlace { disk, dir, owner } = self.place.clone();
        let received = tokio::task::spawn_blocking(move || {
            receive_snapshot(&*disk, &dir, owner, message, data)
        });
        // The task is not aborted; it ends early only with the runtime.
        let received = received.await.map_err(|_| status(ApiError::Stopped))?;
        let received = received.map_err(|error| {
            tracing::warn!(error = crate::chain(&error), "a snapshot was not taken");
            Status::data_loss(crate::chain(&error))
        })?;
        self.core.inbox.peer(PeerInput::Snapshot(Box::new(received)));
        Ok(Response::new(InstallEnd {}))
    }

    async fn members(&self, _: Request<MembersRequest>) -> Result<Response<MembersReply>, Status> {
        let members = self.core.state.glance(|machine| {
            let all = machine.members().iter();
            let told = all.map(|member| MemberInfo {
                id: member.id,
                name: member.name,
                peer_urls: member.peer_ur_ls,
            });
            told.collect()
        });
        Ok(Response::new(MembersReply { cluster_id: self.core.member.cluster_id, members }))
    }

    async fn leases(
        &self,
        request: Request<LeasesRequest>,
    ) -> Result<Response<LeasesReply>, Status> {
        self.admit(request.metadata())?;
        self.lease(request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn hash(&self, request: Request<HashRequest>) -> Result<Response<HashReply>, Status> {
        self.admit(request.metadata())?;
        let (view, revision) = (self.core.state.view(), request.into_inner().revision);
        // Reads the whole history, which may take its time.
        let hash = tokio::task::spawn_blocking(move || view.hash_kv(revision)).await;
        let hash = hash.map_err(|_| status(ApiError::Stopped))?.map_err(status)?;
        let HashKv { hash, compact_revision, .. } = hash;
        Ok(Response::new(HashReply { hash, compact_revision }))
    }
}
