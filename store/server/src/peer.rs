//! The other members: sending to them, and serving them on the peer addresses.
//!
//! For each member there is one queue and one task that keeps a connection to it. What cannot be
//! delivered is dropped and reported: consensus sends again what matters. Snapshots travel on
//! connections of their own, so that they never hold up a heartbeat.

pub(crate) mod app;
pub(crate) mod connect;
mod link;
mod service;
mod snapshot;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use skein_store_api::ApiError;
use skein_store_mvcc::SnapshotChunks;
use skein_store_raft::Message;
use skein_store_rpc::peer::peer_client::PeerClient;
use skein_store_rpc::peer::{self, HashReply, HashRequest, LeasesReply, LeasesRequest};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tonic::Status;
use tonic::transport::Channel;

use crate::core::stopped;
use crate::driver::inbox::{Inbox, PeerInput};
use crate::replica::Proposal;
use crate::state::State;
use connect::Caller;
use link::{Item, Link};

/// Snapshots sent at the same time: each reads the whole state once.
const MAX_SNAPSHOTS: usize = 2;

/// Pause between two looks for members without a connection.
const COMPANY_INTERVAL: Duration = Duration::from_secs(1);

/// Where members are reached that this one was told of when it joined, until its own log tells.
pub(crate) type Introduced = HashMap<u64, Vec<String>>;

/// See the module.
pub(crate) struct Peers {
    caller: Caller,
    inbox: Arc<Inbox>,
    state: Arc<State>,
    introduced: Introduced,
    links: Mutex<HashMap<u64, Arc<Link>>>,
    snapshots: Arc<Semaphore>,
    stop: watch::Sender<bool>,
    runtime: Handle,
}

impl Peers {
    /// Nothing is connected before the first message. `runtime` runs the connections.
    pub(crate) fn new(
        caller: Caller,
        inbox: Arc<Inbox>,
        state: Arc<State>,
        introduced: Introduced,
        runtime: Handle,
    ) -> Arc<Self> {
        Arc::new(Self {
            caller,
            inbox,
            state,
            introduced,
            links: Mutex::default(),
            snapshots: Arc::new(Semaphore::new(MAX_SNAPSHOTS)),
            stop: watch::Sender::new(false),
            runtime,
        })
    }

    // ---- for the driver ----

    pub(crate) fn send(self: &Arc<Self>, message: Message) {
        let to = message.to;
        self.push(to, Item::Message(message));
    }

    pub(crate) fn forward(self: &Arc<Self>, leader: u64, proposals: Vec<Proposal>) {
        let sequences: Vec<_> = proposals.iter().map(|proposal| proposal.sequence).collect();
        let wire = proposals.into_iter().map(|proposal| peer::Proposal {
            sequence: proposal.sequence,
            command: proposal.command,
            changes_members: proposal.changes_members,
        });
        if !self.push(leader, Item::Proposals(wire.collect())) {
            // They never left: whoever waits may be told so for sure.
            self.inbox.peer(PeerInput::Refused { sequences, error: ApiError::TooManyRequests });
        }
    }

    pub(crate) fn refuse(self: &Arc<Self>, member: u64, sequences: Vec<u64>, error: ApiError) {
        let error = error.message().to_owned();
        self.push(member, Item::Refusal(peer::Refusal { sequences, error }));
    }

    pub(crate) fn send_snapshot(self: &Arc<Self>, message: Message, chunks: SnapshotChunks) {
        let to = message.to;
        let Ok(place) = Arc::clone(&self.snapshots).try_acquire_owned() else {
            return self.inbox.peer(PeerInput::SnapshotSent { member: to, arrived: false });
        };
        let peers = Arc::clone(self);
        self.runtime.spawn(async move {
            let sent = snapshot::send(&peers, message, chunks).await;
            if let Err(error) = &sent {
                tracing::warn!(to = format_args!("{to:x}"), %error, "a snapshot did not arrive");
            }
            peers.inbox.peer(PeerInput::SnapshotSent { member: to, arrived: sent.is_ok() });
            drop(place);
        });
    }

    /// Ends every connection.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    // ---- for services ----

    /// Keeps a connection to every member, also to those that consensus has nothing to say to: who
    /// is connected tells whether the members may change.
    pub(crate) async fn keep_company(self: Arc<Self>) {
        loop {
            let members = self.state.glance(|machine| machine.members().iter().collect::<Vec<_>>());
            let others = members.into_iter().filter(|member| member.id != self.caller.member());
            others.for_each(|other| drop(self.link(other.id)));
            tokio::time::sleep(COMPANY_INTERVAL).await;
        }
    }

    /// How long this member has been connected to that one; `None` when it is not.
    pub(crate) fn connected_for(&self, member: u64) -> Option<Duration> {
        lock(&self.links).get(&member)?.connected_for()
    }

    /// Asks the leader about a lease.
    ///
    /// # Errors
    /// There is no leader, or it did not answer in `patience`.
    pub(crate) async fn leases(
        &self,
        leader: u64,
        request: LeasesRequest,
        patience: Duration,
    ) -> Result<LeasesReply, ApiError> {
        let request = self.caller.request(leader, request);
        self.ask(leader, patience, async |mut peer| peer.leases(request).await).await
    }

    /// Asks a member for the hash of its history.
    ///
    /// # Errors
    /// It could not tell, or did not answer in `patience`.
    pub(crate) async fn hash(
        &self,
        member: u64,
        revision: i64,
        patience: Duration,
    ) -> Result<HashReply, ApiError> {
        let request = self.caller.request(member, HashRequest { revision });
        self.ask(member, patience, async |mut peer| peer.hash(request).await).await
    }

    async fn ask<R>(
        &self,
        member: u64,
        patience: Duration,
        call: impl AsyncFnOnce(PeerClient<Channel>) -> Result<tonic::Response<R>, Status>,
    ) -> Result<R, ApiError> {
        let urls = self.urls_of(member).ok_or(ApiError::MemberNotFound)?;
        let asked = async {
            let channel = self.caller.reach(member, &urls).await?;
            call(PeerClient::new(channel)).await
        };
        match tokio::time::timeout(patience, asked).await {
            Ok(Ok(reply)) => Ok(reply.into_inner()),
            Ok(Err(status)) => {
                self.caller.forget(member);
                Err(skein_store_rpc::api_error(&status).unwrap_or(ApiError::TimeoutConnectionLost))
            }
            Err(_) => Err(ApiError::Timeout),
        }
    }

    // ---- inside ----

    /// Whether there was room, and a member of that id.
    fn push(self: &Arc<Self>, to: u64, item: Item) -> bool {
        let taken = self.link(to).is_some_and(|link| link.push(item));
        if !taken {
            self.inbox.peer(PeerInput::Unreachable { member: to });
        }
        taken
    }

    fn link(self: &Arc<Self>, to: u64) -> Option<Arc<Link>> {
        let mut links = lock(&self.links);
        if let Some(link) = links.get(&to) {
            return Some(Arc::clone(link));
        }
        self.urls_of(to)?;
        let link = Arc::new(Link::new(to));
        links.insert(to, Arc::clone(&link));
        let (peers, kept) = (Arc::clone(self), Arc::clone(&link));
        let mut stop = self.stop.subscribe();
        self.runtime.spawn(async move {
            tokio::select! {
                // Both arms may be dropped: what is on its way may get lost.
                () = stopped(&mut stop) => {}
                () = kept.run(&peers) => {}
            }
        });
        Some(link)
    }

    /// The link's member left the cluster.
    fn drop_link(&self, to: u64) {
        lock(&self.links).remove(&to);
    }

    /// Where that member is reached; `None` when there is no such member.
    fn urls_of(&self, member: u64) -> Option<Vec<String>> {
        let (known, removed) = self.state.glance(|machine| {
            (machine.members().get(member), machine.members().was_removed(member))
        });
        match known {
            Some(known) => Some(known.peer_ur_ls),
            None if removed => None,
            None => self.introduced.get(&member).cloned(),
        }
    }
}

/// What is behind these locks is whole at every point where a holder could panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
