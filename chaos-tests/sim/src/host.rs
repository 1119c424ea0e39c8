//! One member's machine: its disk, its clock, and the process on it while there is one.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use skein_store_api::ApiError;
use skein_store_api::pb::etcdserverpb::Member;
use skein_store_mvcc::{SnapshotChunks, WatchCursor};
use skein_store_raft::Message;
use skein_store_server::log::Owner;
use skein_store_server::replica::{
    OpenError, Outlet, Proposal, Replica, ReplicaConfig, receive_snapshot,
};
use skein_store_server::{Clock, Reply};

use crate::disk::SimDisk;
use crate::rng::Rng;

/// Size of a log segment in bytes: so small that members roll to the next one all the time.
const SEGMENT_BYTES: u64 = 16 << 10;

/// Ticks without a leader before an election, as etcd's defaults have it.
const ELECTION_TICKS: usize = 10;

/// No user is simulated.
const SIMPLE_TOKEN_TTL: Duration = Duration::ZERO;

/// By how much a new leader lengthens every lease: an election timeout, as the store has it.
const EXTEND_LEASES: Duration = Duration::from_secs(1);

/// Ticks made up for after a pause, as the store's driver does.
const MAX_LATE_TICKS: u32 = 3;

const CLUSTER: u64 = 0x51e1;

const SNAPSHOT_DIR: &str = "/data/snap";

/// A member as others know it.
pub(crate) fn founder(id: u64) -> Member {
    Member { id, peer_ur_ls: vec![format!("http://{id}")], ..Default::default() }
}

/// What reaches a member from outside.
#[derive(Debug)]
pub(crate) enum Input {
    Tick,
    Message(Message),
    Forward {
        from: u64,
        proposals: Vec<Proposal>,
    },
    Refused {
        sequences: Vec<u64>,
        error: ApiError,
    },
    /// A leader's snapshot arrives whole.
    Snapshot {
        from: u64,
        message: Message,
        chunks: Vec<Bytes>,
    },
    /// A snapshot for that member arrived there, or did not.
    SnapshotSent {
        to: u64,
        arrived: bool,
    },
    /// A client's operation, by its place in the history.
    Ask(usize),
}

/// What a member lets out, in order.
#[derive(Debug)]
pub(crate) enum Output {
    Send(Message),
    SendSnapshot(Message, Vec<Bytes>),
    Forward { leader: u64, proposals: Vec<Proposal> },
    Refuse { member: u64, sequences: Vec<u64>, error: ApiError },
    Outcome { sequence: u64, reply: Reply },
    Confirmed(u64),
}

/// Keeps what a member lets out.
#[derive(Default)]
pub(crate) struct Outbox(pub(crate) Vec<Output>);

impl Outlet for Outbox {
    fn send(&mut self, message: Message) {
        self.0.push(Output::Send(message));
    }

    fn send_snapshot(&mut self, message: Message, chunks: SnapshotChunks) {
        self.0.push(Output::SendSnapshot(message, chunks.collect()));
    }

    fn forward(&mut self, leader: u64, proposals: Vec<Proposal>) {
        self.0.push(Output::Forward { leader, proposals });
    }

    fn refuse(&mut self, member: u64, sequences: Vec<u64>, error: ApiError) {
        self.0.push(Output::Refuse { member, sequences, error });
    }

    fn outcome(&mut self, sequence: u64, reply: Reply) {
        self.0.push(Output::Outcome { sequence, reply });
    }

    fn confirmed(&mut self, read: u64) {
        self.0.push(Output::Confirmed(read));
    }
}

pub(crate) struct Host {
    pub(crate) id: u64,
    pub(crate) disk: SimDisk,
    pub(crate) core: Option<Replica>,
    /// Counts starts.
    pub(crate) life: u64,
    /// Microseconds by which a second of its clock differs from the world's.
    pub(crate) drift_us: i64,
    clock_ms: Arc<AtomicU64>,
    /// Until then it waits for its disk.
    pub(crate) busy_until: u64,
    /// Until then it stands still.
    pub(crate) paused_until: u64,
    /// A turn is planned already.
    pub(crate) turn_planned: bool,
    pub(crate) inbox: VecDeque<Input>,
    /// Operations that wait for an outcome or a confirmation, by their number.
    pub(crate) waiting: BTreeMap<u64, usize>,
    next_number: u64,
    /// How far what it applied was recorded.
    pub(crate) recorded: Option<WatchCursor>,
    /// A bit of its disk was flipped: it may refuse to start.
    pub(crate) flipped: bool,
    /// It refused to start, for good.
    pub(crate) gone: bool,
    seed: u64,
    /// Log entries between its snapshots.
    snapshot_count: u64,
}

impl Host {
    pub(crate) fn new(id: u64, disk: SimDisk, mut rng: Rng, drift_us: i64) -> Self {
        Self {
            id,
            disk,
            core: None,
            life: 0,
            drift_us,
            clock_ms: Arc::default(),
            busy_until: 0,
            paused_until: 0,
            turn_planned: false,
            inbox: VecDeque::new(),
            waiting: BTreeMap::new(),
            next_number: 0,
            recorded: None,
            flipped: false,
            gone: false,
            seed: rng.number(),
            snapshot_count: [5, 20, 60, 200][rng.below(4) as usize],
        }
    }

    /// A process begins.
    pub(crate) fn start(&mut self, founders: &[u64]) -> Result<(), OpenError> {
        self.life += 1;
        let config = ReplicaConfig {
            owner: self.owner(),
            log_dir: PathBuf::from("/data/log"),
            snapshot_dir: PathBuf::from(SNAPSHOT_DIR),
            segment_bytes: SEGMENT_BYTES,
            snapshot_count: self.snapshot_count,
            election_ticks: ELECTION_TICKS,
            seed: self.seed ^ self.life,
            incarnation: self.life,
            extend_leases: EXTEND_LEASES,
            simple_token_ttl: SIMPLE_TOKEN_TTL,
            force_new_cluster: false,
            founders: founders.iter().map(|&id| founder(id)).collect(),
        };
        let hands = Arc::clone(&self.clock_ms);
        let clock: Clock = Arc::new(move || hands.load(Ordering::Relaxed));
        self.core = Some(Replica::open(&config, Arc::new(self.disk.clone()), clock)?);
        self.next_number = self.life << 32;
        Ok(())
    }

    fn owner(&self) -> Owner {
        Owner { cluster_id: CLUSTER, member_id: self.id }
    }

    /// Keeps a leader's snapshot and hands it to the replica; whether that went well.
    pub(crate) fn receive(&mut self, message: Message, chunks: Vec<Bytes>) -> bool {
        let owner = self.owner();
        let Some(core) = &mut self.core else { return false };
        let chunks = chunks.into_iter().map(Ok);
        let dir = Path::new(SNAPSHOT_DIR);
        match receive_snapshot(&self.disk, dir, owner, message, chunks) {
            Ok(received) => {
                core.install(received);
                true
            }
            Err(_) => false,
        }
    }

    /// The process is gone: the operations of which nobody knows what became of them, and the
    /// members whose snapshots were under way.
    pub(crate) fn end(&mut self) -> (Vec<usize>, Vec<u64>) {
        self.core = None;
        self.recorded = None;
        self.busy_until = 0;
        let (mut left, mut senders) = (Vec::new(), Vec::new());
        for input in self.inbox.drain(..) {
            match input {
                Input::Ask(operation) => left.push(operation),
                Input::Snapshot { from, .. } => senders.push(from),
                _ => {}
            }
        }
        left.extend(std::mem::take(&mut self.waiting).into_values());
        (left, senders)
    }

    /// A number that this member has never used.
    pub(crate) fn number(&mut self, operation: usize) -> u64 {
        self.next_number += 1;
        self.waiting.insert(self.next_number, operation);
        self.next_number
    }

    /// Turns the hands of its clock.
    pub(crate) fn set_clock(&self, now: u64) {
        let drift = (now as i64 / 1_000_000) * self.drift_us;
        let own = now as i64 + drift;
        self.clock_ms.store(u64::try_from(own).unwrap_or(0) / 1_000, Ordering::Relaxed);
    }

    /// Everything that gathered, with no more ticks than a process makes up for.
    pub(crate) fn take_inputs(&mut self) -> Vec<Input> {
        let mut ticks = 0;
        let mut inputs: Vec<Input> = self.inbox.drain(..).collect();
        inputs.retain(|input| {
            ticks += u32::from(matches!(input, Input::Tick));
            !matches!(input, Input::Tick) || ticks <= MAX_LATE_TICKS
        });
        inputs
    }

    pub(crate) fn is_up(&self) -> bool {
        self.core.is_some()
    }

    pub(crate) fn leads(&self) -> bool {
        self.core.as_ref().is_some_and(Replica::leads)
    }
}
