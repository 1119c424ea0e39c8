//! Where the replica's outlets lead: clients that wait, and peers.

use std::collections::HashMap;
use std::sync::Arc;

use skein_store_api::ApiError;
use skein_store_mvcc::SnapshotChunks;
use skein_store_raft::Message;
use tokio::sync::oneshot;

use super::inbox::ReadWaiter;
use crate::peer::Peers;
use crate::replica::{Outlet, Proposal};
use crate::state::Reply;

/// Who waits for what.
pub(super) struct Exits {
    peers: Arc<Peers>,
    proposals: HashMap<u64, oneshot::Sender<Reply>>,
    reads: HashMap<u64, ReadWaiter>,
    next_read: u64,
}

impl Exits {
    pub(super) fn new(peers: Arc<Peers>) -> Self {
        Self { peers, proposals: HashMap::new(), reads: HashMap::new(), next_read: 1 }
    }

    /// These wait for the outcomes of their proposals.
    pub(super) fn expect(
        &mut self,
        waiting: impl IntoIterator<Item = (u64, Option<oneshot::Sender<Reply>>)>,
    ) {
        let waiting = waiting.into_iter();
        self.proposals.extend(waiting.filter_map(|(sequence, reply)| Some((sequence, reply?))));
    }

    /// This one waits for a read; the number by which it is told.
    pub(super) fn expect_read(&mut self, waiter: ReadWaiter) -> u64 {
        let read = self.next_read;
        self.next_read += 1;
        self.reads.insert(read, waiter);
        read
    }

    /// Forgets those whose time was over.
    pub(super) fn forget_the_impatient(&mut self) {
        self.proposals.retain(|_, reply| !reply.is_closed());
        self.reads.retain(|_, waiter| !waiter.is_closed());
    }

    /// Nobody gets an answer any more.
    pub(super) fn stop(&mut self) {
        self.peers.stop();
        for (_, reply) in self.proposals.drain() {
            let _ = reply.send(Err(ApiError::Stopped));
        }
        for (_, waiter) in self.reads.drain() {
            let _ = waiter.send(Err(ApiError::Stopped));
        }
    }
}

impl Outlet for Exits {
    fn send(&mut self, message: Message) {
        self.peers.send(message);
    }

    fn send_snapshot(&mut self, message: Message, chunks: SnapshotChunks) {
        self.peers.send_snapshot(message, chunks);
    }

    fn forward(&mut self, leader: u64, proposals: Vec<Proposal>) {
        self.peers.forward(leader, proposals);
    }

    fn refuse(&mut self, member: u64, sequences: Vec<u64>, error: ApiError) {
        self.peers.refuse(member, sequences, error);
    }

    fn outcome(&mut self, sequence: u64, outcome: Reply) {
        if let Some(reply) = self.proposals.remove(&sequence) {
            let _ = reply.send(outcome);
        }
    }

    fn confirmed(&mut self, read: u64) {
        if let Some(waiter) = self.reads.remove(&read) {
            let _ = waiter.send(Ok(()));
        }
    }
}
