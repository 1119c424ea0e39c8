//! The member's driver: one thread that owns the replica.
//!
//! ```text
//!   requests, peers ──> inbox ──(all at once)──> replica: propose, one log batch, one sync, apply
//!                                                   └──> outcomes to requests, messages to peers
//! ```
//!
//! While a sync is under way the next requests gather in the inbox; the slower the disk, the
//! larger the batch. Outcomes are told only after the write that contains them is durable.

mod error;
mod exits;
pub(crate) mod inbox;
pub(crate) mod snapshotter;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::peer::Peers;
use crate::replica::{Replica, SnapshotStart};
pub use error::DriverError;
use exits::Exits;
use inbox::{Inbox, PeerInput, Work};

/// Ticks made up for after a pause of the process; time beyond is forgotten, because an election
/// should follow silence, not sleep.
const MAX_LATE_TICKS: u32 = 3;

/// See the module.
pub(crate) struct Driver {
    replica: Replica,
    inbox: Arc<Inbox>,
    tick: Duration,
    exits: Exits,
}

impl Driver {
    pub(crate) fn new(
        replica: Replica,
        inbox: Arc<Inbox>,
        peers: Arc<Peers>,
        tick: Duration,
    ) -> Self {
        Self { replica, inbox, tick, exits: Exits::new(peers) }
    }

    /// Applies what the log holds, and leads at once if this member votes alone.
    pub(crate) fn start(&mut self) -> Result<(), DriverError> {
        self.replica.campaign_if_alone(&mut self.exits)
    }

    /// Runs until a stop is asked for or something cannot go on. Either way nothing is accepted
    /// afterwards, and everyone who waits is told.
    pub(crate) fn run(mut self) -> Result<(), DriverError> {
        let outcome = self.turns();
        self.replica.state().set_stopped();
        let left = self.inbox.close();
        self.exits
            .expect(left.proposals.into_iter().map(|(proposal, reply)| (proposal.sequence, reply)));
        self.exits.stop();
        outcome.and_then(|()| self.replica.close())
    }

    fn turns(&mut self) -> Result<(), DriverError> {
        let mut next_tick = Instant::now() + self.tick;
        let mut garbage = false;
        loop {
            let busy = garbage || self.replica.has_backlog();
            let deadline = if busy { Instant::now() } else { next_tick };
            let work = self.inbox.take(deadline);
            if work.stop {
                return Ok(());
            }
            next_tick = self.pass_time(next_tick);
            self.take(work);
            self.replica.work(&mut self.exits)?;
            if self.replica.is_removed() {
                return Err(DriverError::Removed);
            }
            let inbox = &self.inbox;
            self.replica.snapshot_if_due(|job| start_snapshot(Arc::clone(inbox), job));
            garbage = self.replica.scavenge();
        }
    }

    fn take(&mut self, work: Work) {
        if work.snapshot_done {
            self.replica.snapshot_written();
        }
        for input in work.peers {
            self.take_from_peer(input);
        }
        for (proposal, reply) in work.proposals {
            self.exits.expect([(proposal.sequence, reply)]);
            self.replica.propose(proposal, &mut self.exits);
        }
        for waiter in work.reads {
            let read = self.exits.expect_read(waiter);
            self.replica.read(read);
        }
    }

    fn take_from_peer(&mut self, input: PeerInput) {
        match input {
            PeerInput::Message(message) => self.replica.step(message),
            PeerInput::Snapshot(received) => self.replica.install(*received),
            PeerInput::Forwarded { member, proposals } => {
                self.replica.forwarded(member, proposals, &mut self.exits);
            }
            PeerInput::Refused { sequences, error } => {
                self.replica.refused(sequences, error, &mut self.exits);
            }
            PeerInput::Unreachable { member } => self.replica.unreachable(member),
            PeerInput::SnapshotSent { member, arrived } => {
                self.replica.snapshot_sent(member, arrived);
            }
            PeerInput::TransferLeader { to } => self.replica.transfer_leader(to),
            PeerInput::Expelled => self.replica.expelled(),
        }
    }

    fn pass_time(&mut self, mut next_tick: Instant) -> Instant {
        let now = Instant::now();
        let mut ticks = 0;
        while next_tick <= now && ticks < MAX_LATE_TICKS {
            self.replica.tick();
            next_tick += self.tick;
            ticks += 1;
        }
        if ticks > 0 {
            self.exits.forget_the_impatient();
        }
        next_tick.max(now)
    }
}

fn start_snapshot(inbox: Arc<Inbox>, job: crate::replica::SnapshotJob) -> SnapshotStart {
    let work = move || {
        job();
        inbox.snapshot_done();
    };
    std::thread::Builder::new().name("snapshot".into()).spawn(work).map(Some)
}
