//! The member's driver: one thread that owns consensus and the log, and applies what commits.
//!
//! ```text
//!   requests ──> inbox ──(all at once)──> propose ──> one log batch, one sync ──> apply ──> replies
//! ```
//!
//! While a sync is under way the next requests gather in the inbox; the slower the disk, the
//! larger the batch. Replies are sent only after the write that contains them is durable.

mod error;
pub(crate) mod inbox;
mod snapshotter;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use skein_store_api::ApiError;
use skein_store_raft::{Effects, Entry, Leadership, Node, ProposeError, ReadIndex, ReadTicket};
use tokio::sync::oneshot;

use crate::log::Log;
use crate::state::State;
pub use error::DriverError;
use inbox::{Inbox, Proposal, ReadWaiter, Reply, Work};
pub(crate) use snapshotter::Snapshotter;

/// Ticks made up for after a pause of the process; time beyond is forgotten, because an election
/// should follow silence, not sleep.
const MAX_LATE_TICKS: u32 = 3;

/// Entries applied under one hold of the state's lock, so that readers wait for microseconds.
const APPLY_STEP: usize = 64;

/// Proposals in one round, so that a reply never waits for an endless batch.
const MAX_ROUND: usize = 4_096;

/// See the module.
pub(crate) struct Driver {
    pub(crate) node: Node,
    pub(crate) log: Log,
    pub(crate) state: Arc<State>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) tick: Duration,
    pub(crate) snapshotter: Snapshotter,
    waiting: VecDeque<Waiting>,
    reads: Vec<(ReadTicket, Vec<ReadWaiter>)>,
    backlog: VecDeque<Proposal>,
}

/// A proposal in the log whose fate is open.
struct Waiting {
    index: u64,
    term: u64,
    reply: Option<oneshot::Sender<Reply>>,
}

impl Driver {
    pub(crate) fn new(
        node: Node,
        log: Log,
        state: Arc<State>,
        inbox: Arc<Inbox>,
        tick: Duration,
        snapshotter: Snapshotter,
    ) -> Self {
        Self {
            node,
            log,
            state,
            inbox,
            tick,
            snapshotter,
            waiting: VecDeque::new(),
            reads: Vec::new(),
            backlog: VecDeque::new(),
        }
    }

    /// Runs until a stop is asked for or something cannot go on. Either way nothing is accepted
    /// afterwards, and everyone who waits is told.
    pub(crate) fn run(mut self) -> Result<(), DriverError> {
        let outcome = self.turns();
        self.state.set_stopped();
        let left = self.inbox.close();
        let proposals = left.proposals.into_iter().chain(self.backlog.drain(..));
        let waiting = self.waiting.drain(..).map(|waiting| waiting.reply);
        for reply in proposals.map(|proposal| proposal.reply).chain(waiting).flatten() {
            let _ = reply.send(Err(ApiError::Stopped));
        }
        self.snapshotter.join();
        outcome.and_then(|()| Ok(self.log.seal()?))
    }

    /// Becomes leader, if it is a sole voter, and applies what the log holds.
    pub(crate) fn start(&mut self) -> Result<(), DriverError> {
        self.node.campaign()?;
        self.perform()
    }

    fn turns(&mut self) -> Result<(), DriverError> {
        let mut next_tick = Instant::now() + self.tick;
        let mut garbage = false;
        loop {
            let busy = garbage || !self.backlog.is_empty();
            let deadline = if busy { Instant::now() } else { next_tick };
            let work = self.inbox.take(deadline);
            if work.stop {
                return Ok(());
            }
            next_tick = self.pass_time(next_tick);
            self.take(work);
            self.perform()?;
            self.snapshot()?;
            garbage = self.state.scavenge();
        }
    }

    fn take(&mut self, work: Work) {
        self.backlog.extend(work.proposals);
        if work.snapshot_done {
            self.snapshotter.ended();
        }
        if !work.reads.is_empty() {
            match self.node.read_index() {
                Some(ticket) => self.reads.push((ticket, work.reads)),
                None => answer_reads(work.reads, Err(ApiError::NoLeader)),
            }
        }
        let round = self.backlog.len().min(MAX_ROUND);
        if round > 0 {
            let batch: Vec<_> = self.backlog.drain(..round).collect();
            self.propose(batch);
        }
    }

    fn propose(&mut self, batch: Vec<Proposal>) {
        let commands: Vec<Bytes> = batch.iter().map(|p| p.command.clone()).collect();
        let first = match self.node.propose(commands) {
            Ok(first) => first,
            Err(error) => return self.refuse(batch, error),
        };
        let term = self.node.status().term;
        let waiting = batch.into_iter().zip(first..);
        self.waiting.extend(waiting.map(|(proposal, index)| Waiting {
            index,
            term,
            reply: proposal.reply,
        }));
    }

    fn refuse(&self, batch: Vec<Proposal>, error: ProposeError) {
        let error = match error {
            ProposeError::NotLeader => ApiError::NoLeader,
            ProposeError::Overloaded => ApiError::TooManyRequests,
        };
        self.state.metrics.failed.inc_by(batch.len() as u64);
        for reply in batch.into_iter().filter_map(|proposal| proposal.reply) {
            let _ = reply.send(Err(error));
        }
    }

    fn pass_time(&mut self, mut next_tick: Instant) -> Instant {
        let now = Instant::now();
        let mut ticks = 0;
        while next_tick <= now && ticks < MAX_LATE_TICKS {
            self.node.tick();
            next_tick += self.tick;
            ticks += 1;
        }
        if ticks > 0 {
            self.backlog.extend(self.state.expired_leases().into_iter().map(own_proposal));
        }
        next_tick.max(now)
    }

    /// Performs effects until there are none.
    fn perform(&mut self) -> Result<(), DriverError> {
        while let Some(effects) = self.node.effects()? {
            self.announce(effects.leadership);
            self.persist(&effects)?;
            self.node.persisted(effects.number);
            self.apply(effects.committed)?;
            self.release(&effects.reads);
        }
        self.state.set_position(self.node.status(), self.node.decides_alone(), self.waiting.len());
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
        if !leadership.leads {
            self.reads.drain(..).for_each(|(_, waiters)| {
                answer_reads(waiters, Err(ApiError::LeaderChanged));
            });
        }
    }

    fn persist(&mut self, effects: &Effects) -> Result<(), DriverError> {
        if let Some(hard_state) = effects.hard_state {
            self.log.note(hard_state);
        }
        if effects.must_sync {
            let sync = self.log.append(&effects.entries)?;
            self.state.metrics.fsync_seconds.observe(sync.as_secs_f64());
            self.state.metrics.batch_entries.observe(effects.entries.len() as f64);
            self.snapshotter.logged(&effects.entries);
        }
        Ok(())
    }

    fn apply(&mut self, committed: Vec<Entry>) -> Result<(), DriverError> {
        for step in committed.chunks(APPLY_STEP) {
            let replies = self.state.apply(step)?;
            if let Some(last) = step.last() {
                self.node.applied(last.index);
                self.snapshotter.applied(last);
            }
            for (entry, reply) in step.iter().zip(replies) {
                self.reply(entry, reply);
            }
        }
        Ok(())
    }

    /// Answers whoever waits for this entry. An entry of another term in its place means that the
    /// proposal was overwritten and never happens.
    fn reply(&mut self, entry: &Entry, reply: Option<Reply>) {
        while self.waiting.front().is_some_and(|waiting| waiting.index <= entry.index) {
            let Some(waiting) = self.waiting.pop_front() else { return };
            let Some(waiter) = waiting.reply else { continue };
            if waiting.index == entry.index && waiting.term == entry.term {
                if let Some(reply) = reply {
                    let _ = waiter.send(reply);
                }
                return;
            }
            let _ = waiter.send(Err(ApiError::LeaderChanged));
        }
    }

    /// Everything up to a confirmed index is applied by now: what is committed is applied in the
    /// same step.
    fn release(&mut self, confirmed: &[ReadIndex]) {
        for read in confirmed {
            debug_assert!(read.index <= self.node.status().applied);
            if let Some(at) = self.reads.iter().position(|(ticket, _)| *ticket == read.ticket) {
                answer_reads(self.reads.swap_remove(at).1, Ok(()));
            }
        }
    }

    fn snapshot(&mut self) -> Result<(), DriverError> {
        if let Some(position) = self.snapshotter.take_written()? {
            self.log.drop_prefix(position.index)?;
        }
        self.state.metrics.log_bytes.set(self.log.disk_bytes() as i64);
        self.snapshotter.start_if_due(&self.state, &self.inbox);
        Ok(())
    }
}

fn own_proposal(command: Bytes) -> Proposal {
    Proposal { command, reply: None }
}

fn answer_reads(waiters: Vec<ReadWaiter>, answer: Result<(), ApiError>) {
    for waiter in waiters {
        let _ = waiter.send(answer);
    }
}

#[cfg(test)]
mod tests;
