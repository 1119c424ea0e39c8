//! One member's core: consensus, log, state machine and snapshots, in one thread's hands.
//!
//! No thread, clock or socket in here: the owner feeds inputs, calls [`Replica::work`], and gets
//! what leaves the member through an [`Outlet`]. The driver runs it on a thread of its own, the
//! simulator runs several of them in one thread.
//!
//! ```text
//!   propose, read, step, tick ──> work ──> Outlet: messages, outcomes, confirmed reads
//!                                  │
//!                                  └─> log (one write, one sync), state machine, snapshot files
//! ```

mod apply;
mod changes;
mod force;
mod open;
mod reads;
mod transfer;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use skein_store_api::ApiError;
use skein_store_mvcc::{Lessor, Machine, SnapshotChunks};
use skein_store_raft::{Effects, Leadership, Message, Node, NodeStatus, Progress, ProposeError};

use crate::driver::DriverError;
use crate::driver::snapshotter::Snapshotter;
use crate::log::Log;
use crate::snapshot_file::Position;
use crate::state::{Reply, State};

pub(crate) use apply::record as configuration_record;
pub use open::{OpenError, ReplicaConfig};
pub use transfer::{Received, receive_snapshot};

use changes::Changes;
use reads::Reads;
use transfer::SlowDisk;

/// Proposals in one round, so that a reply never waits for an endless batch.
const MAX_ROUND: usize = 4_096;

/// Bytes of proposals that wait for a leader or for their round. With the inbox in front of it, it
/// bounds what an election of any length can make a member hold.
const MAX_BACKLOG_BYTES: usize = 64 << 20;

/// The same in number of proposals.
const MAX_BACKLOG: usize = 20_000;

/// Where what leaves the member goes.
pub trait Outlet {
    /// A message for the member that it names. It may get lost, but is never kept back for later.
    fn send(&mut self, message: Message);
    /// A snapshot for the member that the message names; [`Replica::snapshot_sent`] tells the end.
    fn send_snapshot(&mut self, message: Message, chunks: SnapshotChunks);
    /// Proposals for the leader, for its [`Replica::forwarded`].
    fn forward(&mut self, leader: u64, proposals: Vec<Proposal>);
    /// Proposals that a member forwarded are not taken: for its [`Replica::refused`].
    fn refuse(&mut self, member: u64, sequences: Vec<u64>, error: ApiError);
    /// What became of the proposal that this member made under this number.
    fn outcome(&mut self, sequence: u64, outcome: Reply);
    /// The read of this number may be served here.
    fn confirmed(&mut self, read: u64);
}

/// A change that waits to be agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The number by which its outcome is told, as in the command's [`skein_store_mvcc::Origin`];
    /// 0 when nobody waits.
    pub sequence: u64,
    /// The encoded command.
    pub command: Bytes,
    /// Whether it adds, removes or promotes a member, which takes a configuration change.
    pub changes_members: bool,
}

/// A proposal on its way, with the member that waits for it.
struct Queued {
    member: u64,
    proposal: Proposal,
}

/// See the module.
pub struct Replica {
    id: u64,
    node: Node,
    log: Log,
    state: Arc<State>,
    snapshotter: Snapshotter,
    backlog: VecDeque<Queued>,
    backlog_bytes: usize,
    changes: Changes,
    reads: Reads,
    received: Option<Received>,
    slow_disk: SlowDisk,
    removed: bool,
}

impl Replica {
    // ---- inputs ----

    /// One heartbeat interval passed.
    pub fn tick(&mut self) {
        self.node.tick();
        self.reads.tick();
        // By this leader at once or not at all: a later one gives every lease its full time.
        let expired = self.state.expired_leases();
        if !expired.is_empty() {
            let _ = self.node.propose(expired);
        }
    }

    /// A peer sent a message other than a snapshot.
    pub fn step(&mut self, message: Message) {
        if let Err(error) = self.node.step(message) {
            tracing::warn!(%error, "a peer's message is not understood");
        }
    }

    /// A client of this member asks for a change. Its outcome is told by [`Outlet::outcome`].
    pub fn propose(&mut self, proposal: Proposal, out: &mut dyn Outlet) {
        let sequence = proposal.sequence;
        if !self.enqueue(Queued { member: self.id, proposal }) {
            out.outcome(sequence, Err(ApiError::TooManyRequests));
        }
    }

    /// A follower passes on what its clients asked for.
    pub fn forwarded(&mut self, member: u64, proposals: Vec<Proposal>, out: &mut dyn Outlet) {
        let leads = self.node.leads();
        let mut refused = Vec::new();
        for proposal in proposals {
            let sequence = proposal.sequence;
            // What it has to pass on itself might go in circles.
            if !leads || !self.enqueue(Queued { member, proposal }) {
                refused.push(sequence);
            }
        }
        let error = if leads { ApiError::TooManyRequests } else { ApiError::LeaderChanged };
        if !refused.is_empty() {
            out.refuse(member, refused, error);
        }
    }

    /// The leader did not take proposals of this member.
    pub fn refused(&mut self, sequences: Vec<u64>, error: ApiError, out: &mut dyn Outlet) {
        sequences.into_iter().for_each(|sequence| out.outcome(sequence, Err(error)));
    }

    /// A linearizable read waits; [`Outlet::confirmed`] tells when it may be served.
    pub fn read(&mut self, read: u64) {
        self.reads.add(read);
    }

    /// A message could not be delivered.
    pub fn unreachable(&mut self, member: u64) {
        self.node.unreachable(member);
    }

    /// The snapshot for that member arrived there, or did not.
    pub fn snapshot_sent(&mut self, member: u64, arrived: bool) {
        self.node.snapshot_sent(member, arrived);
    }

    /// Hands leadership to that member.
    pub fn transfer_leader(&mut self, to: u64) {
        self.node.transfer_leader(to);
    }

    /// A peer says that the cluster goes on without this member.
    pub fn expelled(&mut self) {
        self.removed = true;
    }

    /// A snapshot from the leader was received whole.
    pub fn install(&mut self, received: Received) {
        let message = received.message().clone();
        self.received = Some(received);
        self.step(message);
    }

    /// The thread that writes a snapshot file has ended.
    pub fn snapshot_written(&mut self) {
        self.snapshotter.ended();
    }

    /// Stands for election now, if this member votes alone.
    ///
    /// # Errors
    /// The node is inoperable.
    pub fn campaign_if_alone(&mut self, out: &mut dyn Outlet) -> Result<(), DriverError> {
        self.work(out)?;
        if self.node.configuration().voters == [self.id] {
            self.node.campaign()?;
            self.work(out)?;
        }
        Ok(())
    }

    // ---- work ----

    /// Performs everything that the inputs led to, until nothing is left.
    ///
    /// # Errors
    /// The member must stop; nothing more may be asked of it.
    pub fn work(&mut self, out: &mut dyn Outlet) -> Result<(), DriverError> {
        self.propose_round(out);
        self.propose_change(out);
        self.ask_for_reads();
        while let Some(effects) = self.node.effects()? {
            self.perform(effects, out)?;
        }
        // A snapshot that consensus did not take is of no use any more.
        self.received = None;
        self.release_reads(out);
        if let Some(position) = self.snapshotter.take_written()? {
            self.log.drop_prefix(position.index)?;
        }
        self.state.metrics.log_bytes.set(self.log.disk_bytes() as i64);
        let waiting = self.backlog.len();
        self.state.set_position(self.node.status(), self.node.decides_alone(), waiting);
        Ok(())
    }

    /// Frees a little of what compaction left; whether more is left.
    pub fn scavenge(&mut self) -> bool {
        self.state.scavenge()
    }

    /// Writes a snapshot file if one is due. `start` runs the work: on a thread of its own, which it
    /// returns and after which [`Replica::snapshot_written`] must be called, or at once.
    pub fn snapshot_if_due(&mut self, start: impl FnOnce(SnapshotJob) -> SnapshotStart) {
        self.snapshotter.start_if_due(&self.state, start);
    }

    /// Marks the log's end for the next start, right before a clean stop.
    ///
    /// # Errors
    /// The log could not be written.
    pub fn close(mut self) -> Result<(), DriverError> {
        self.snapshotter.join();
        Ok(self.log.seal()?)
    }

    // ---- looking ----

    /// Whether proposals wait that a call of [`Replica::work`] could take further.
    pub fn has_backlog(&self) -> bool {
        !self.backlog.is_empty() && self.node.status().leader != 0
    }

    /// Whether this member was removed from the cluster: it must stop.
    pub fn is_removed(&self) -> bool {
        self.removed
    }

    /// Where consensus is.
    pub fn status(&self) -> NodeStatus {
        self.node.status()
    }

    /// Whether this member leads.
    pub fn leads(&self) -> bool {
        self.node.leads()
    }

    /// What the leader knows of the others.
    pub fn progress(&self) -> Vec<Progress> {
        self.node.progress()
    }

    /// Looks at the state machine.
    pub fn glance<T>(&self, look: impl FnOnce(&Machine) -> T) -> T {
        self.state.glance(look)
    }

    /// Looks at, or changes, the clocks of the leases.
    pub fn with_lessor<T>(&self, look: impl FnOnce(&mut Lessor, u64) -> T) -> T {
        self.state.with_lessor(look)
    }

    pub(crate) fn state(&self) -> &Arc<State> {
        &self.state
    }

    // ---- inside ----

    /// Whether there was room.
    fn enqueue(&mut self, queued: Queued) -> bool {
        let bytes = self.backlog_bytes + queued.proposal.command.len();
        if bytes > MAX_BACKLOG_BYTES || self.backlog.len() >= MAX_BACKLOG {
            return false;
        }
        if queued.proposal.changes_members {
            return self.changes.add(queued);
        }
        self.backlog_bytes = bytes;
        self.backlog.push_back(queued);
        true
    }

    /// Proposes what gathered, or passes it on to the leader; without one it waits.
    fn propose_round(&mut self, out: &mut dyn Outlet) {
        let leader = self.node.status().leader;
        if leader == 0 || self.backlog.is_empty() {
            return;
        }
        let round = self.backlog.len().min(MAX_ROUND);
        let round: Vec<_> = self.backlog.drain(..round).collect();
        self.backlog_bytes -=
            round.iter().map(|queued| queued.proposal.command.len()).sum::<usize>();
        if !self.node.leads() {
            out.forward(leader, round.into_iter().map(|queued| queued.proposal).collect());
            return;
        }
        let commands = round.iter().map(|queued| queued.proposal.command.clone()).collect();
        if let Err(error) = self.node.propose(commands) {
            self.state.metrics.failed.inc_by(round.len() as u64);
            self.refuse_all(round, refusal(error), out);
        }
    }

    fn refuse_all(&self, refused: Vec<Queued>, error: ApiError, out: &mut dyn Outlet) {
        for Queued { member, proposal } in refused {
            match proposal.sequence {
                0 => {}
                sequence if member == self.id => out.outcome(sequence, Err(error)),
                sequence => out.refuse(member, vec![sequence], error),
            }
        }
    }

    fn perform(&mut self, mut effects: Effects, out: &mut dyn Outlet) -> Result<(), DriverError> {
        self.announce(effects.leadership);
        self.send_all(std::mem::take(&mut effects.messages), out);
        if let Some(hard_state) = effects.hard_state {
            self.log.note(hard_state);
        }
        if let Some(snapshot) = &effects.snapshot {
            self.take_over(Position { index: snapshot.index, term: snapshot.term })?;
        }
        if effects.must_sync {
            self.write(&effects)?;
        }
        self.node.persisted(effects.number);
        if let Some(snapshot) = &effects.snapshot {
            self.node.applied(snapshot.index);
        }
        self.send_all(std::mem::take(&mut effects.persisted_messages), out);
        self.apply(effects.committed, out)?;
        self.reads.confirm(&effects.reads);
        Ok(())
    }

    fn announce(&mut self, leadership: Option<Leadership>) {
        let Some(leadership) = leadership else { return };
        tracing::info!(
            leader = format_args!("{:x}", leadership.leader),
            term = leadership.term,
            leads = leadership.leads,
            "leadership changed"
        );
        self.state.lead(leadership);
        self.reads.ask_again();
        self.slow_disk = SlowDisk::default();
    }

    fn write(&mut self, effects: &Effects) -> Result<(), DriverError> {
        let sync = self.log.append(&effects.entries)?;
        self.state.metrics.fsync_seconds.observe(sync.as_secs_f64());
        self.state.metrics.batch_entries.observe(effects.entries.len() as f64);
        self.snapshotter.logged(&effects.entries);
        self.hand_over_if_slow(sync);
        Ok(())
    }
}

/// What a client is told of a proposal that was not appended.
fn refusal(error: ProposeError) -> ApiError {
    match error {
        ProposeError::NotLeader | ProposeError::Busy => ApiError::LeaderChanged,
        ProposeError::Overloaded => ApiError::TooManyRequests,
    }
}

/// The work of writing one snapshot file.
pub type SnapshotJob = Box<dyn FnOnce() + Send>;

/// Where it runs; nowhere when it is done already, an error when it could not begin.
pub type SnapshotStart = std::io::Result<Option<std::thread::JoinHandle<()>>>;

#[cfg(test)]
mod tests;
