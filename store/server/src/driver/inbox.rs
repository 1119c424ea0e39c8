//! What requests and peers hand to the driver: a bounded queue that is emptied in one go, so that
//! many requests become one log batch.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use skein_store_api::ApiError;
use skein_store_raft::Message;
use tokio::sync::oneshot;

use crate::replica::{Proposal, Received};
use crate::state::Reply;

/// Proposals that may wait; beyond it clients are told that there are too many. Far above what
/// one sync can take, so that only a stalled disk meets it.
const MAX_WAITING: usize = 20_000;

/// Bytes of such proposals.
const MAX_WAITING_BYTES: usize = 256 << 20;

/// Bytes of peers' messages that may wait: several times what a leader has in flight to one member.
/// What comes beyond is dropped, as a network may; consensus sends it again.
const MAX_PEER_BYTES: usize = 64 << 20;

/// Who waits for a proposal; nobody for changes that the member makes itself.
type Waiter = Option<oneshot::Sender<Reply>>;

/// Someone who waits until a linearizable read may be served here.
pub(crate) type ReadWaiter = oneshot::Sender<Result<(), ApiError>>;

/// What comes from, or concerns, another member.
pub(crate) enum PeerInput {
    /// A message of consensus.
    Message(Message),
    /// A snapshot of the leader, whole.
    Snapshot(Box<Received>),
    /// A follower passes on what its clients asked for.
    Forwarded { member: u64, proposals: Vec<Proposal> },
    /// The leader did not take what was passed on to it.
    Refused { sequences: Vec<u64>, error: ApiError },
    /// A message could not be delivered.
    Unreachable { member: u64 },
    /// A snapshot arrived, or did not.
    SnapshotSent { member: u64, arrived: bool },
    /// Leadership is to move.
    TransferLeader { to: u64 },
    /// A peer says that this member was removed from the cluster.
    Expelled,
}

impl PeerInput {
    fn bytes(&self) -> usize {
        match self {
            PeerInput::Message(message) => message.size(),
            PeerInput::Forwarded { proposals, .. } => {
                proposals.iter().map(|proposal| proposal.command.len()).sum()
            }
            _ => 0,
        }
    }
}

/// Everything that gathered since the last look.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) proposals: Vec<(Proposal, Waiter)>,
    pub(crate) reads: Vec<ReadWaiter>,
    pub(crate) peers: Vec<PeerInput>,
    pub(crate) snapshot_done: bool,
    pub(crate) stop: bool,
    bytes: usize,
    peer_bytes: usize,
}

impl Work {
    fn is_empty(&self) -> bool {
        let nothing = self.proposals.is_empty() && self.reads.is_empty() && self.peers.is_empty();
        nothing && !self.snapshot_done && !self.stop
    }
}

/// The queue.
#[derive(Default)]
pub(crate) struct Inbox {
    work: Mutex<Work>,
    arrived: Condvar,
    closed: std::sync::atomic::AtomicBool,
}

impl Inbox {
    /// Adds a proposal.
    ///
    /// # Errors
    /// The queue is full, or the driver has stopped; nothing will be done then.
    pub(crate) fn propose(&self, proposal: Proposal, waiter: Waiter) -> Result<(), ApiError> {
        let mut work = self.open()?;
        let bytes = work.bytes + proposal.command.len();
        if work.proposals.len() >= MAX_WAITING || bytes > MAX_WAITING_BYTES {
            return Err(ApiError::TooManyRequests);
        }
        work.bytes = bytes;
        work.proposals.push((proposal, waiter));
        self.wake(work);
        Ok(())
    }

    /// Adds a waiting read.
    ///
    /// # Errors
    /// As [`Inbox::propose`].
    pub(crate) fn read(&self, waiter: ReadWaiter) -> Result<(), ApiError> {
        let mut work = self.open()?;
        if work.reads.len() >= MAX_WAITING {
            return Err(ApiError::TooManyRequests);
        }
        work.reads.push(waiter);
        self.wake(work);
        Ok(())
    }

    /// Adds what a peer sent, unless too much waits already or the driver has stopped.
    pub(crate) fn peer(&self, input: PeerInput) {
        let Ok(mut work) = self.open() else { return };
        let bytes = work.peer_bytes + input.bytes();
        if bytes <= MAX_PEER_BYTES {
            work.peer_bytes = bytes;
            work.peers.push(input);
            self.wake(work);
        }
    }

    /// Tells the driver that the snapshot being written has ended.
    pub(crate) fn snapshot_done(&self) {
        let mut work = self.lock();
        work.snapshot_done = true;
        self.wake(work);
    }

    /// Asks the driver to stop.
    pub(crate) fn stop(&self) {
        let mut work = self.lock();
        work.stop = true;
        self.wake(work);
    }

    /// Takes everything, waiting until `deadline` for something to arrive.
    pub(crate) fn take(&self, deadline: Instant) -> Work {
        let mut work = self.lock();
        while work.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                break;
            }
            let waited = self.arrived.wait_timeout(work, left);
            work = waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
        std::mem::take(&mut *work)
    }

    /// From now on everything is refused; returns what was still waiting.
    pub(crate) fn close(&self) -> Work {
        let mut work = self.lock();
        self.closed.store(true, std::sync::atomic::Ordering::Release);
        std::mem::take(&mut *work)
    }

    fn open(&self) -> Result<MutexGuard<'_, Work>, ApiError> {
        let work = self.lock();
        match self.closed.load(std::sync::atomic::Ordering::Acquire) {
            true => Err(ApiError::Stopped),
            false => Ok(work),
        }
    }

    /// The queue is whole at every point where a holder could panic.
    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn wake(&self, work: MutexGuard<'_, Work>) {
        drop(work);
        self.arrived.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposal(len: usize) -> Proposal {
        let command = bytes::Bytes::from(vec![0; len]);
        Proposal { sequence: 0, command, changes_members: false }
    }

    #[test]
    fn everything_waiting_is_taken_at_once() {
        let inbox = Inbox::default();
        for _ in 0..3 {
            inbox.propose(proposal(1), None).expect("room");
        }
        let work = inbox.take(Instant::now());
        assert_eq!(work.proposals.len(), 3);
        assert!(inbox.take(Instant::now()).is_empty());
    }

    #[test]
    fn a_full_queue_says_so_and_a_closed_one_too() {
        let inbox = Inbox::default();
        for _ in 0..MAX_WAITING {
            inbox.propose(proposal(1), None).expect("room");
        }
        assert_eq!(inbox.propose(proposal(1), None), Err(ApiError::TooManyRequests));
        assert_eq!(inbox.close().proposals.len(), MAX_WAITING);
        assert_eq!(inbox.propose(proposal(1), None), Err(ApiError::Stopped));
    }

    #[test]
    fn bytes_are_bounded_too() {
        let inbox = Inbox::default();
        inbox.propose(proposal(MAX_WAITING_BYTES), None).expect("room");
        assert_eq!(inbox.propose(proposal(1), None), Err(ApiError::TooManyRequests));
        drop(inbox.take(Instant::now()));
        inbox.propose(proposal(1), None).expect("room again");
    }
}
