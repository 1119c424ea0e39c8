//! The queue towards one member, and the task that empties it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_stream::stream;
use rand::Rng;
use skein_store_raft::Message;
use skein_store_rpc::peer::peer_client::PeerClient;
use skein_store_rpc::peer::{Frame, Proposal, Refusal};
use tokio::sync::Notify;
use tokio_stream::Stream;
use tonic::{Code, Status};

use super::{Peers, lock};
use crate::driver::inbox::PeerInput;

/// Bytes that may wait for one member: what a leader may have in flight to it, several times over.
const MAX_QUEUED_BYTES: usize = 64 << 20;

/// Bytes after which a frame is closed, so that a heartbeat never waits behind more than this.
const FRAME_BYTES: usize = 1 << 20;

/// Pause before a broken connection is tried again: first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// What is sent to a member.
pub(super) enum Item {
    Message(Message),
    Proposals(Vec<Proposal>),
    Refusal(Refusal),
}

impl Item {
    fn size(&self) -> usize {
        match self {
            Item::Message(message) => message.size(),
            Item::Proposals(proposals) => proposals.iter().map(|p| p.command.len() + 32).sum(),
            Item::Refusal(refusal) => refusal.sequences.len() * 8 + 64,
        }
    }
}

#[derive(Default)]
struct Queue {
    items: VecDeque<Item>,
    bytes: usize,
}

/// See the module.
pub(super) struct Link {
    to: u64,
    queue: Mutex<Queue>,
    arrived: Notify,
    connected: Mutex<Option<Instant>>,
}

impl Link {
    pub(super) fn new(to: u64) -> Self {
        Self { to, queue: Mutex::default(), arrived: Notify::new(), connected: Mutex::new(None) }
    }

    /// Whether there was room.
    pub(super) fn push(&self, item: Item) -> bool {
        let mut queue = lock(&self.queue);
        let bytes = queue.bytes + item.size();
        if bytes > MAX_QUEUED_BYTES {
            return false;
        }
        queue.bytes = bytes;
        queue.items.push_back(item);
        drop(queue);
        self.arrived.notify_one();
        true
    }

    pub(super) fn connected_for(&self) -> Option<Duration> {
        lock(&self.connected).map(|since| since.elapsed())
    }

    /// Keeps a connection while the member belongs to the cluster.
    pub(super) async fn run(self: Arc<Self>, peers: &Arc<Peers>) {
        let mut pause = FIRST_PAUSE;
        while let Some(urls) = peers.urls_of(self.to) {
            let begun = Instant::now();
            let ended = self.converse(peers, &urls).await;
            *lock(&self.connected) = None;
            if expelled(&ended) {
                tracing::error!(by = format_args!("{:x}", self.to), "this member was removed");
                peers.inbox.peer(PeerInput::Expelled);
            }
            // What waited was for a connection that is gone; consensus asks again.
            *lock(&self.queue) = Queue::default();
            peers.inbox.peer(PeerInput::Unreachable { member: self.to });
            if begun.elapsed() > MAX_PAUSE {
                pause = FIRST_PAUSE;
            }
            tracing::debug!(to = format_args!("{:x}", self.to), status = %ended, "peer connection ended");
            let jitter = rand::rng().random_range(0.5..1.5);
            tokio::time::sleep(pause.mul_f64(jitter)).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
        peers.drop_link(self.to);
    }

    /// One connection, until it breaks.
    async fn converse(self: &Arc<Self>, peers: &Arc<Peers>, urls: &[String]) -> Status {
        let channel = match peers.caller.connect(urls).await {
            Ok(channel) => channel,
            Err(status) => return status,
        };
        *lock(&self.connected) = Some(Instant::now());
        let request = peers.caller.request(self.to, Arc::clone(self).frames());
        match PeerClient::new(channel).send(request).await {
            Ok(_) => Status::unavailable("the peer closed the connection"),
            Err(status) => status,
        }
    }

    fn frames(self: Arc<Self>) -> impl Stream<Item = Frame> + Send + 'static {
        stream! {
            loop {
                match self.frame() {
                    Some(frame) => yield frame,
                    None => self.arrived.notified().await,
                }
            }
        }
    }

    /// What waits, as far as it fits into one frame.
    fn frame(&self) -> Option<Frame> {
        let mut queue = lock(&self.queue);
        let mut frame = Frame::default();
        let mut bytes = 0;
        while bytes < FRAME_BYTES {
            let Some(item) = queue.items.pop_front() else { break };
            bytes += item.size();
            match item {
                Item::Message(message) => frame.messages.push(message),
                Item::Proposals(proposals) => frame.proposals.extend(proposals),
                Item::Refusal(refusal) => frame.refusals.push(refusal),
            }
        }
        queue.bytes -= bytes;
        (bytes > 0).then_some(frame)
    }
}

/// The peer knows that this member was removed from the cluster.
fn expelled(status: &Status) -> bool {
    status.code() == Code::PermissionDenied && status.message() == super::service::REMOVED
}
