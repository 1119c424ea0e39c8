//! The node: inputs to effects.
//!
//! ```text
//!   tick, campaign, propose, read_index          persisted(n)        applied(i)
//!                  │                                  ▲                  ▲
//!                  ▼                                  │                  │
//!               effects() ──> entries, hard state ──> disk               │
//!                         └─> committed entries ──────────> state machine
//! ```

use bytes::Bytes;
use raft::eraftpb::{self, ConfState, MessageType};
use raft::{Config, RawNode, ReadOnlyOption, StateRole};
use slog::Logger;

use crate::entry::{Entry, HardState};
use crate::error::{ProposeError, RaftError};
use crate::limits;
use crate::memory_log::MemoryLog;

/// What a node is told once, at its start.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// This member, not 0.
    pub id: u64,
    /// All voting members, this one included.
    pub voters: Vec<u64>,
    /// Ticks without a leader before an election; the real timeout is once to twice that, fixed
    /// for the node's life by `seed`.
    pub election_ticks: usize,
    /// Ticks between a leader's heartbeats.
    pub heartbeat_ticks: usize,
    /// Source of this node's election timeout.
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

/// What the owner must do, in this order: tell others about `leadership`; make `hard_state` and
/// `entries` durable, then call [`Node::persisted`] with `number`; apply `committed`, then call
/// [`Node::applied`]; release `reads` whose index is applied.
#[derive(Debug)]
pub struct Effects {
    /// Names these effects towards [`Node::persisted`].
    pub number: u64,
    /// Set when leader, role or term changed.
    pub leadership: Option<Leadership>,
    /// Set when the hard state changed.
    pub hard_state: Option<HardState>,
    /// To append to the log; replaces what the log holds from the first index on.
    pub entries: Vec<Entry>,
    /// Whether entries and hard state must be durable before [`Node::persisted`]. When not, only
    /// the commit index moved, and a later write may carry it.
    pub must_sync: bool,
    /// To apply to the state machine, in order, each exactly once.
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
        let mut voters = ConfState::default();
        voters.set_voters(config.voters.clone());
        let entries = restored.entries.into_iter().map(Entry::into_raft).collect();
        let log = MemoryLog::new(hard_state, voters, base, entries);
        let logger = Logger::root(slog::Discard, slog::o!());
        let raw =
            RawNode::new(&raft_config(config, base.0), log, &logger).map_err(RaftError::Config)?;
        Ok(Self { raw, id: config.id, incarnation: config.incarnation, next_ticket: 1, told: None })
    }

    /// One unit of time passed.
    pub fn tick(&mut self) {
        self.raw.tick();
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
        if !self.leads() {
            return Err(ProposeError::NotLeader);
        }
        let first = self.raw.raft.raft_log.last_index() + 1;
        let mut message = eraftpb::Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.id;
        message.set_entries(batch.into_iter().map(proposal).collect::<Vec<_>>().into());
        match self.raw.step(message) {
            Ok(()) => Ok(first),
            Err(_) => Err(ProposeError::Overloaded),
        }
    }

    /// Asks for the index that a linearizable read must wait for. `None` when this node cannot
    /// confirm reads now (not leading, or nothing committed in its term yet).
    pub fn read_index(&mut self) -> Option<ReadTicket> {
        if !self.leads() || !self.raw.raft.commit_to_current_term() {
            return None;
        }
        let ticket = ReadTicket(self.next_ticket);
        self.next_ticket += 1;
        self.raw.read_index(self.read_context(ticket));
        Some(ticket)
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
        let raft_entries = ready.take_entries();
        self.raw.mut_store().append(&raft_entries);
        let effects = Effects {
            number: ready.number(),
            leadership: None,
            hard_state: ready.hs().map(HardState::from_raft),
            entries: convert(raft_entries)?,
            must_sync: ready.must_sync(),
            committed: convert(ready.take_committed_entries())?,
            reads: self.confirmed(ready.take_read_states()),
        };
        self.raw.advance_append_async(ready);
        let leadership = self.news();
        Ok(Some(Effects { leadership, ..effects }))
    }

    /// Entries and hard state of the effects named `number`, and of all before, are durable.
    pub fn persisted(&mut self, number: u64) {
        self.raw.on_persist_ready(number);
    }

    /// The state machine contains everything up to `index`.
    pub fn applied(&mut self, index: u64) {
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

    fn leads(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
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

fn proposal(data: Bytes) -> eraftpb::Entry {
    eraftpb::Entry { data, ..Default::default() }
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
    // Raft draws its timeout from the thread's generator out of [min, max): a range of one tick
    // leaves nothing to chance.
    let spread = config.election_ticks.max(1) as u64;
    let timeout = config.election_ticks + (mix(config.seed) % spread) as usize;
    Config {
        id: config.id,
        election_tick: config.election_ticks,
        heartbeat_tick: config.heartbeat_ticks,
        min_election_tick: timeout,
        max_election_tick: timeout + 1,
        applied,
        max_size_per_msg: limits::MAX_MESSAGE_BYTES,
        max_inflight_msgs: limits::MAX_INFLIGHT_MESSAGES,
        max_uncommitted_size: limits::MAX_UNCOMMITTED_BYTES,
        max_committed_size_per_ready: limits::MAX_COMMITTED_BYTES_PER_STEP,
        check_quorum: true,
        pre_vote: true,
        batch_append: true,
        read_only_option: ReadOnlyOption::Safe,
        ..Config::default()
    }
}

/// Spreads neighbouring seeds (the finalizer of SplitMix64, Steele et al., OOPSLA 2014).
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
