//! The node: inputs to effects.
//!
//! ```text
//!   tick, step, propose, read_index              persisted(n)        applied(i)
//!                  │                                  ▲                  ▲
//!                  ▼                                  │                  │
//!               effects() ──> entries, hard state ──> disk ──> messages  │
//!                         ├─> committed entries ──────────> state machine
//!                         └─> a leader's messages, at once
//! ```

mod progress;
mod timeout;

use bytes::Bytes;
use raft::eraftpb::{self, EntryType, MessageType};
use raft::{Config, RawNode, ReadOnlyOption, SnapshotStatus, StateRole};
use slog::Logger;

use crate::configuration::{ConfChange, Configuration};
use crate::entry::{Entry, HardState};
use crate::error::{MessageError, ProposeError, RaftError};
use crate::limits;
use crate::memory_log::MemoryLog;
use crate::message::{Message, SnapshotMeta};

pub use progress::Progress;
use timeout::ElectionTimeout;

/// What a node is told once, at its start.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// This member, not 0.
    pub id: u64,
    /// Ticks without a leader before an election; the real timeout is once to twice that, drawn anew
    /// from `seed` after every campaign.
    pub election_ticks: usize,
    /// Ticks between a leader's heartbeats.
    pub heartbeat_ticks: usize,
    /// Source of this node's election timeouts.
    pub seed: u64,
    /// Different at every start of the member. Read contexts carry it, so that a late
    /// confirmation of a former life never releases a read of this one.
    pub incarnation: u64,
}

/// What a node finds on disk.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// Last recorded hard state.
    pub hard_state: HardState,
    /// Index and term of the last entry that the restored state machine contains.
    pub base: (u64, u64),
    /// The configuration in force there; empty where the first entries bring it.
    pub configuration: Configuration,
    /// All entries after `base`, in order.
    pub entries: Vec<Entry>,
}

/// Who leads, as this node knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// Member id of the leader, 0 when there is none.
    pub leader: u64,
    /// Whether it is this member.
    pub leads: bool,
    /// Term in which this holds.
    pub term: u64,
}

/// Names one outstanding [`Node::read_index`]; never used twice in a node's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadTicket(pub u64);

/// A confirmed read: linearizable once the state machine has applied `index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadIndex {
    /// Which request this answers.
    pub ticket: ReadTicket,
    /// The index to wait for.
    pub index: u64,
}

/// What the owner must do, in this order: tell others about `leadership`; send `messages`; take over
/// `snapshot`; make `hard_state` and `entries` durable, then call [`Node::persisted`] with `number`
/// and send `persisted_messages`; apply `committed`, then call [`Node::applied`]; release `reads`
/// whose index is applied.
#[derive(Debug)]
pub struct Effects {
    /// Names these effects towards [`Node::persisted`].
    pub number: u64,
    /// Set when leader, role or term changed.
    pub leadership: Option<Leadership>,
    /// To send at once: a leader's, which need not wait for its own disk.
    pub messages: Vec<Message>,
    /// A leader's snapshot replaces state and log; its data came with the message. It must be
    /// durable before anything else of these effects.
    pub snapshot: Option<SnapshotMeta>,
    /// Set when the hard state changed.
    pub hard_state: Option<HardState>,
    /// To append to the log; replaces what the log holds from the first index on.
    pub entries: Vec<Entry>,
    /// Whether entries and hard state must be durable before [`Node::persisted`]. When not, only
    /// the commit index moved, and a later write may carry it.
    pub must_sync: bool,
    /// To send once the above is durable: promises to others.
    pub persisted_messages: Vec<Message>,
    /// To apply to the state machine, in order, each exactly once; configuration changes with
    /// [`Node::change`].
    pub committed: Vec<Entry>,
    /// Confirmed reads.
    pub reads: Vec<ReadIndex>,
}

/// A snapshot of a node's position, for status calls and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeStatus {
    /// Current term.
    pub term: u64,
    /// Known leader, 0 when there is none.
    pub leader: u64,
    /// Highest committed index.
    pub commit: u64,
    /// Highest applied index.
    pub applied: u64,
    /// Highest index in the log.
    pub last: u64,
}

/// One consensus member. See the module drawing for how it is driven.
pub struct Node {
    raw: RawNode<MemoryLog>,
    id: u64,
    incarnation: u64,
    next_ticket: u64,
    told: Option<Leadership>,
    timeout: ElectionTimeout,
}

impl Node {
    /// A node that continues from what was restored.
    ///
    /// # Errors
    /// The configuration is not valid, or the entries do not connect to the restored state.
    pub fn new(config: &NodeConfig, restored: Restored) -> Result<Self, RaftError> {
        let base = restored.base;
        if let Some(first) = restored.entries.first()
            && first.index != base.0 + 1
        {
            return Err(RaftError::Gap { base: base.0, first: first.index });
        }
        let last = base.0 + restored.entries.len() as u64;
        let mut hard_state = restored.hard_state;
        // The state machine may be ahead of a commit index that was written lazily, and a torn
        // tail may have taken uncommitted entries below a term that was recorded.
        hard_state.commit = hard_state.commit.clamp(base.0, last);
        hard_state.term = hard_state.term.max(base.1);
        let entries = restored.entries.into_iter().map(Entry::into_raft).collect();
        let log = MemoryLog::new(hard_state, restored.configuration, base, entries);
        let logger = Logger::root(slog::Discard, slog::o!());
        let raw =
            RawNode::new(&raft_config(config, base.0), log, &logger).map_err(RaftError::Config)?;
        Ok(Self {
            raw,
            id: config.id,
            incarnation: config.incarnation,
            next_ticket: 1,
            told: None,
            timeout: ElectionTimeout::new(config),
        })
    }

    /// One unit of time passed.
    pub fn tick(&mut self) {
        // Whenever raft drew a timeout of its own since, ours counts: it follows from the seed.
        self.raw.raft.set_randomized_election_timeout(self.timeout.ticks());
        self.raw.tick();
        // A tick leaves no time elapsed only where it began a campaign.
        if !self.leads() && self.raw.raft.election_elapsed == 0 {
            self.timeout.draw();
        }
        self.leave_joint();
    }

    /// A peer sent a message. One from a former life of the cluster, or that makes no sense now, is
    /// dropped, as the network might have done.
    ///
    /// # Errors
    /// This version does not understand it; nothing happened.
    pub fn step(&mut self, message: Message) -> Result<(), MessageError> {
        let message = message.into_raft()?;
        // What raft refuses here (a response of a member that is none) it would ignore as well.
        let _ = self.raw.step(message);
        Ok(())
    }

    /// Stands for election now instead of waiting for the timeout: right at the start of a sole
    /// voter, which has nobody to wait for.
    ///
    /// # Errors
    /// The node is inoperable.
    pub fn campaign(&mut self) -> Result<(), RaftError> {
        self.raw.campaign().map_err(RaftError::Step)
    }

    /// Appends one entry per item, in order, as one step. On success they take the consecutive
    /// indexes from the returned one on, in the current term.
    ///
    /// # Errors
    /// This node does not lead, or too much is uncommitted; nothing was appended.
    pub fn propose(&mut self, batch: Vec<Bytes>) -> Result<u64, ProposeError> {
        self.append(batch.into_iter().map(|data| proposal(EntryType::EntryNormal, data)).collect())
    }

    /// Appends a configuration change; the entry has the returned index. One is under way at a time.
    ///
    /// # Errors
    /// As [`Node::propose`], or another change is not applied yet.
    pub fn propose_change(&mut self, change: &ConfChange) -> Result<u64, ProposeError> {
        let joint = self.configuration().is_joint();
        if self.leads() && (self.raw.raft.has_pending_conf() || joint != change.changes.is_empty())
        {
            return Err(ProposeError::Busy);
        }
        self.append(vec![proposal(EntryType::EntryConfChangeV2, change.encode())])
    }

    fn append(&mut self, entries: Vec<eraftpb::Entry>) -> Result<u64, ProposeError> {
        if !self.leads() {
            return Err(ProposeError::NotLeader);
        }
        if self.raw.raft.lead_transferee.is_some() {
            return Err(ProposeError::Busy);
        }
        let first = self.raw.raft.raft_log.last_index() + 1;
        let mut message = eraftpb::Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.id;
        message.set_entries(entries.into());
        match self.raw.step(message) {
            Ok(()) => Ok(first),
            // A leader that was removed from the cluster drops proposals too.
            Err(_) if !self.configuration().contains(self.id) => Err(ProposeError::NotLeader),
            Err(_) => Err(ProposeError::Overloaded),
        }
    }

    /// Asks for the index that a linearizable read must wait for. `None` when nobody can be asked
    /// now. A request may be lost on its way: ask again, which gives another ticket, when no
    /// confirmation comes.
    pub fn read_index(&mut self) -> Option<ReadTicket> {
        let ready = match self.leads() {
            true => self.raw.raft.commit_to_current_term(),
            false => self.raw.raft.leader_id != 0,
        };
        if !ready {
            return None;
        }
        let ticket = ReadTicket(self.next_ticket);
        self.next_ticket += 1;
        self.raw.read_index(self.read_context(ticket));
        Some(ticket)
    }

    /// Hands leadership over to another voter, as soon as that one has the whole log. Does nothing
    /// on a member that does not lead.
    pub fn transfer_leader(&mut self, to: u64) {
        if self.leads() {
            self.raw.transfer_leader(to);
        }
    }

    /// A message could not be delivered to that member.
    pub fn unreachable(&mut self, id: u64) {
        self.raw.report_unreachable(id);
    }

    /// The snapshot for that member arrived there, or did not.
    pub fn snapshot_sent(&mut self, id: u64, arrived: bool) {
        let status = if arrived { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        self.raw.report_snapshot(id, status);
    }

    /// What is to be done now, if anything.
    ///
    /// # Errors
    /// The log holds an entry that this version cannot apply.
    pub fn effects(&mut self) -> Result<Option<Effects>, RaftError> {
        if !self.raw.has_ready() {
            return Ok(None);
        }
        let mut ready = self.raw.ready();
        let snapshot =
            (!ready.snapshot().is_empty()).then(|| SnapshotMeta::from_raft(ready.snapshot()));
        if let Some(snapshot) = &snapshot {
            self.raw.mut_store().restore(snapshot);
        }
        let raft_entries = ready.take_entries();
        self.raw.mut_store().append(&raft_entries);
        let wire = |messages: Vec<_>| messages.into_iter().map(Message::from_raft).collect();
        let effects = Effects {
            number: ready.number(),
            leadership: None,
            messages: wire(ready.take_messages()),
            snapshot,
            hard_state: ready.hs().map(HardState::from_raft),
            entries: convert(raft_entries)?,
            must_sync: ready.must_sync(),
            persisted_messages: wire(ready.take_persisted_messages()),
            committed: convert(ready.take_committed_entries())?,
            reads: self.confirmed(ready.take_read_states()),
        };
        self.raw.advance_append_async(ready);
        let leadership = self.news();
        Ok(Some(Effects { leadership, ..effects }))
    }

    /// The state machine applies the configuration change in the entry at `index`. Not called for a
    /// change that it refuses.
    ///
    /// # Errors
    /// The change contradicts the configuration.
    pub fn change(&mut self, index: u64, change: &ConfChange) -> Result<Configuration, RaftError> {
        let state = self.raw.apply_conf_change(&change.to_raft());
        let state = state.map_err(|source| RaftError::ConfChange { index, source })?;
        let configuration = Configuration::from_raft(&state);
        self.raw.mut_store().configuration = configuration.clone();
        Ok(configuration)
    }

    /// Entries and hard state of the effects named `number`, and of all before, are durable.
    pub fn persisted(&mut self, number: u64) {
        self.raw.on_persist_ready(number);
    }

    /// The state machine contains everything up to `index`.
    pub fn applied(&mut self, index: u64) {
        self.raw.mut_store().applied(index);
        self.raw.advance_apply_to(index);
        self.raw.mut_store().trim(index, limits::CATCH_UP_ENTRIES, limits::CATCH_UP_BYTES);
    }

    /// Whether this node leads and everything it acknowledges is decided by itself alone: then
    /// whatever is applied here includes every write ever acknowledged, and a linearizable read
    /// needs no round.
    pub fn decides_alone(&self) -> bool {
        self.leads()
            && self.raw.raft.prs().conf().voters().is_singleton()
            && self.raw.raft.commit_to_current_term()
    }

    /// Where this node is.
    pub fn status(&self) -> NodeStatus {
        let log = &self.raw.raft.raft_log;
        NodeStatus {
            term: self.raw.raft.term,
            leader: self.raw.raft.leader_id,
            commit: log.committed,
            applied: log.applied,
            last: log.last_index(),
        }
    }

    /// The configuration at the applied index.
    pub fn configuration(&self) -> &Configuration {
        &self.raw.store().configuration
    }

    /// Whether this node leads.
    pub fn leads(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    /// Leaves a joint configuration whose leader went away before it could.
    fn leave_joint(&mut self) {
        if self.leads() && self.configuration().auto_leave {
            // Refused while a change is under way; the next tick tries again.
            let _ = self.propose_change(&ConfChange::default());
        }
    }

    fn news(&mut self) -> Option<Leadership> {
        let now = Leadership {
            leader: self.raw.raft.leader_id,
            leads: self.leads(),
            term: self.raw.raft.term,
        };
        if self.told == Some(now) {
            return None;
        }
        self.told = Some(now);
        Some(now)
    }

    fn read_context(&self, ticket: ReadTicket) -> Vec<u8> {
        let mut context = Vec::with_capacity(CONTEXT_BYTES);
        context.extend_from_slice(&self.id.to_le_bytes());
        context.extend_from_slice(&self.incarnation.to_le_bytes());
        context.extend_from_slice(&ticket.0.to_le_bytes());
        context
    }

    fn confirmed(&self, states: Vec<raft::ReadState>) -> Vec<ReadIndex> {
        states.into_iter().filter_map(|state| self.confirmed_one(&state)).collect()
    }

    fn confirmed_one(&self, state: &raft::ReadState) -> Option<ReadIndex> {
        let (life, ticket) = state.request_ctx.split_at_checked(CONTEXT_BYTES - 8)?;
        let ticket = ReadTicket(u64::from_le_bytes(ticket.try_into().ok()?));
        let ours = self.read_context(ticket);
        (ours[..CONTEXT_BYTES - 8] == *life).then_some(ReadIndex { ticket, index: state.index })
    }
}

/// Member id, incarnation and ticket, eight bytes each.
const CONTEXT_BYTES: usize = 24;

fn proposal(entry_type: EntryType, data: Bytes) -> eraftpb::Entry {
    eraftpb::Entry { entry_type, data, ..Default::default() }
}

fn convert(entries: Vec<eraftpb::Entry>) -> Result<Vec<Entry>, RaftError> {
    entries
        .into_iter()
        .map(|entry| {
            let index = entry.index;
            Entry::from_raft(entry).map_err(|source| RaftError::Kind { index, source })
        })
        .collect()
}

fn raft_config(config: &NodeConfig, applied: u64) -> Config {
    Config {
        id: config.id,
        election_tick: config.election_ticks,
        heartbeat_tick: config.heartbeat_ticks,
        min_election_tick: config.election_ticks,
        max_election_tick: 2 * config.election_ticks.max(1),
        applied,
        max_size_per_msg: limits::MAX_MESSAGE_BYTES,
        max_inflight_msgs: limits::MAX_INFLIGHT_MESSAGES,
        max_uncommitted_size: limits::MAX_UNCOMMITTED_BYTES,
        max_committed_size_per_ready: limits::MAX_COMMITTED_BYTES_PER_STEP,
        check_quorum: true,
        pre_vote: true,
        // Raft 0.7 batches entries into a waiting message without entries even when they begin before
        // that message (Raft::try_batching): the receiver then confirms what it does not have.
        batch_append: false,
        read_only_option: ReadOnlyOption::Safe,
        ..Config::default()
    }
}

#[cfg(test)]
mod tests;
