//! The state machine as driver and readers share it.
//!
//! The driver applies under a short write lock. Readers of one key read under the read lock; all
//! others clone the view, which costs two reference counts, and read without any lock. Watchers
//! touch neither: they have the event log.

mod restore;
mod wake;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use skein_store_api::ApiError;
use skein_store_api::pb::etcdserverpb::LeaseRevokeRequest;
use skein_store_mvcc::{
    Applied, Command, CommandError, Envelope, EventLog, LeaseChange, Lessor, Machine, Origin,
    Renewal, SnapshotChunks, View,
};
use skein_store_raft::{ConfChangeError, Entry, Leadership, NodeStatus};
use thiserror::Error;
use tokio::sync::watch;

use crate::metrics::Metrics;
pub use restore::RestoreError;
pub(crate) use restore::restore;
pub(crate) use wake::{ConnectionId, Sleeper, Wake, Waker};

/// Leases proposed for revocation at one tick; with ten ticks a second twice etcd's rate.
const REVOKES_PER_TICK: usize = 200;

/// Compacted changes freed in one go, under the write lock: well under a millisecond.
const SCAVENGE_STEP: usize = 256;

/// A committed entry could not be applied. Skipping it would let this member's state differ from
/// others', so the member stops.
#[derive(Debug, Error)]
pub enum ApplyError {
    /// Its command is not understood.
    #[error("log entry {index} holds a command that this version cannot apply")]
    Command {
        /// Index of the entry.
        index: u64,
        /// Why.
        source: CommandError,
    },
    /// Its configuration change is not understood.
    #[error("log entry {index} holds a configuration change that this version cannot apply")]
    ConfChange {
        /// Index of the entry.
        index: u64,
        /// Why.
        source: ConfChangeError,
    },
}

/// What became of a command.
pub type Reply = Result<Applied, ApiError>;

/// A monotonic clock in milliseconds, for leases. Given from outside, so that a simulation can turn
/// its hands.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The operating system's clock. It never runs backwards and stands still with nothing but the
/// machine.
pub(crate) fn system_clock() -> Clock {
    let begun = Instant::now();
    Arc::new(move || begun.elapsed().as_millis() as u64)
}

/// See the module.
pub(crate) struct State {
    machine: RwLock<Machine>,
    events: EventLog,
    lessor: Mutex<Lessor>,
    clock: Clock,
    extend_leases: Duration,
    position: Position,
    wake: Wake,
    garbage: watch::Sender<bool>,
    leader_known: watch::Sender<bool>,
    pub(crate) metrics: Arc<Metrics>,
}

/// What the driver last said of itself, readable without a lock.
#[derive(Default)]
struct Position {
    term: AtomicU64,
    leader: AtomicU64,
    commit: AtomicU64,
    applied: AtomicU64,
    last: AtomicU64,
    waiting: AtomicUsize,
    leads: AtomicBool,
    decides_alone: AtomicBool,
}

impl State {
    /// `extend_leases` is added to every lease when this member becomes leader.
    pub(crate) fn new(
        machine: Machine,
        extend_leases: Duration,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            events: machine.events().clone(),
            machine: RwLock::new(machine),
            lessor: Mutex::new(Lessor::new()),
            clock,
            extend_leases,
            position: Position::default(),
            wake: Wake::default(),
            garbage: watch::Sender::new(false),
            leader_known: watch::Sender::new(false),
            metrics,
        }
    }

    // ---- for the driver ----

    /// Applies entries that hold commands, in order; the outcome of each that somebody waits for.
    pub(crate) fn apply(&self, entries: &[Entry]) -> Result<Vec<(Origin, Reply)>, ApplyError> {
        let commands = entries.iter().map(command).collect::<Result<Vec<_>, _>>()?;
        let mut replies = Vec::with_capacity(entries.len());
        let before = self.revision();
        {
            let mut machine = self.write();
            for (entry, command) in entries.iter().zip(&commands) {
                match command {
                    Some((command, _)) => replies.push(machine.apply(entry.index, command)),
                    None => machine.pass(entry.index),
                }
            }
        }
        let mut outcomes = Vec::with_capacity(replies.len());
        for ((command, envelope), reply) in commands.iter().flatten().zip(replies) {
            self.follow_up(command, &reply);
            outcomes.extend(envelope.origin.map(|origin| (origin, reply)));
        }
        if self.revision() != before {
            self.wake.wake();
        }
        Ok(outcomes)
    }

    /// Applies one command of a configuration change.
    pub(crate) fn apply_one(&self, index: u64, command: &Command) -> Reply {
        let reply = self.write().apply(index, command);
        self.follow_up(command, &reply);
        reply
    }

    /// Passes an entry that holds no command.
    pub(crate) fn pass(&self, index: u64) {
        self.write().pass(index);
    }

    /// Keeps consensus' record of who votes.
    pub(crate) fn set_configuration(&self, record: Bytes) {
        self.write().set_configuration(record);
    }

    /// A snapshot from the leader takes the place of the state.
    pub(crate) fn install(&self, mut successor: Machine) {
        {
            let mut machine = self.write();
            successor.succeed(&machine);
            *machine = successor;
        }
        self.garbage.send_replace(true);
        self.wake.wake();
    }

    /// Another member leads, or this one.
    pub(crate) fn lead(&self, leadership: Leadership) {
        let machine = self.read();
        let mut lessor = self.lessor();
        if leadership.leads {
            let leases = machine.leases().iter().map(|(id, lease)| (id, lease.granted_ttl()));
            let extend_ms = self.extend_leases.as_millis() as u64;
            lessor.promote(self.now_ms(), extend_ms, leases);
        } else {
            lessor.demote();
        }
        self.position.leads.store(leadership.leads, Ordering::Release);
        self.leader_known.send_replace(leadership.leader != 0);
        if leadership.leader != 0 {
            self.metrics.leader_changes.inc();
        }
    }

    /// Where consensus is, after a round of the driver.
    pub(crate) fn set_position(&self, status: NodeStatus, decides_alone: bool, waiting: usize) {
        let position = &self.position;
        position.term.store(status.term, Ordering::Release);
        position.leader.store(status.leader, Ordering::Release);
        position.commit.store(status.commit, Ordering::Release);
        position.applied.store(status.applied, Ordering::Release);
        position.last.store(status.last, Ordering::Release);
        position.waiting.store(waiting, Ordering::Relaxed);
        position.decides_alone.store(decides_alone, Ordering::Release);
    }

    /// The driver has ended: there is no leader here any more.
    pub(crate) fn set_stopped(&self) {
        self.position.decides_alone.store(false, Ordering::Release);
        self.position.leader.store(0, Ordering::Release);
    }

    /// Commands that revoke leases whose time is over.
    pub(crate) fn expired_leases(&self) -> Vec<Bytes> {
        let now = self.now_ms();
        let due = self.lessor().due(now, REVOKES_PER_TICK);
        self.metrics.leases_expired.inc_by(due.len() as u64);
        due.into_iter().map(|id| Command::LeaseRevoke(LeaseRevokeRequest { id }).encode()).collect()
    }

    /// Frees some of what compaction left; whether there is more.
    pub(crate) fn scavenge(&self) -> bool {
        if !*self.garbage.borrow() {
            return false;
        }
        let more = self.write().scavenge(SCAVENGE_STEP);
        if !more {
            self.garbage.send_replace(false);
            tracing::info!(
                compact_revision = self.events.compact_revision(),
                "finished scheduled compaction"
            );
        }
        more
    }

    /// The state as it is now, as chunks.
    pub(crate) fn snapshot(&self) -> SnapshotChunks {
        self.read().snapshot()
    }

    // ---- for readers ----

    /// Reads under the lock; only for what takes a few microseconds.
    pub(crate) fn glance<T>(&self, read: impl FnOnce(&Machine) -> T) -> T {
        read(&self.read())
    }

    /// The state as of now, for reads of any length.
    pub(crate) fn view(&self) -> View {
        self.read().view().clone()
    }

    /// The log that watchers read.
    pub(crate) fn events(&self) -> &EventLog {
        &self.events
    }

    /// The newest applied revision.
    pub(crate) fn revision(&self) -> i64 {
        self.events.head()
    }

    /// Bytes of keys and history.
    pub(crate) fn bytes(&self) -> u64 {
        self.read().usage().bytes as u64
    }

    /// Waits until what compaction left is freed.
    pub(crate) async fn scavenged(&self) {
        let mut garbage = self.garbage.subscribe();
        // The sender lives as long as this state does.
        let _ = garbage.wait_for(|garbage| !garbage).await;
    }

    /// Something to be woken by when the revision moves, together with others on `connection`.
    pub(crate) fn sleeper(&self, connection: ConnectionId) -> Sleeper {
        self.wake.sleeper(connection)
    }

    /// Tasks that pass wake-ups on; each must run for watchers to be woken.
    pub(crate) fn wakers(&self) -> Vec<Waker> {
        self.wake.wakers()
    }

    /// Whether a leader is known.
    pub(crate) fn has_leader(&self) -> bool {
        self.position.leader.load(Ordering::Acquire) != 0
    }

    /// Resolves once no leader was known for as long as `patience` without a break.
    pub(crate) async fn leaderless(&self, patience: Duration) {
        let mut known = self.leader_known.subscribe();
        loop {
            // The sender lives as long as this state does.
            let _ = known.wait_for(|known| !known).await;
            if tokio::time::timeout(patience, known.wait_for(|known| *known)).await.is_err() {
                return;
            }
        }
    }

    /// Whether this member leads.
    pub(crate) fn leads(&self) -> bool {
        self.position.leads.load(Ordering::Acquire) && self.has_leader()
    }

    /// Whether whatever is applied here includes every acknowledged write.
    pub(crate) fn decides_alone(&self) -> bool {
        self.position.decides_alone.load(Ordering::Acquire)
    }

    /// The current term.
    pub(crate) fn term(&self) -> u64 {
        self.position.term.load(Ordering::Acquire)
    }

    /// Where consensus was after the driver's last round.
    pub(crate) fn position(&self) -> NodeStatus {
        let position = &self.position;
        NodeStatus {
            term: position.term.load(Ordering::Acquire),
            leader: position.leader.load(Ordering::Acquire),
            commit: position.commit.load(Ordering::Acquire),
            applied: position.applied.load(Ordering::Acquire),
            last: position.last.load(Ordering::Acquire),
        }
    }

    /// A client keeps a lease alive.
    pub(crate) fn renew(&self, id: i64) -> Renewal {
        let now = self.now_ms();
        self.lessor().renew(now, id)
    }

    /// Whole seconds that a lease has left.
    pub(crate) fn lease_remaining(&self, id: i64) -> Option<i64> {
        let now = self.now_ms();
        self.lessor().remaining_seconds(now, id)
    }

    /// Looks at, or changes, the clocks of the leases, told the time.
    pub(crate) fn with_lessor<T>(&self, look: impl FnOnce(&mut Lessor, u64) -> T) -> T {
        let now = self.now_ms();
        look(&mut self.lessor(), now)
    }

    /// Brings levels up to date before they are shown.
    pub(crate) fn refresh_metrics(&self) {
        let position = self.position();
        let metrics = &self.metrics;
        metrics.has_leader.set(i64::from(self.has_leader()));
        metrics.is_leader.set(i64::from(self.leads()));
        metrics.committed.set(position.commit as i64);
        metrics.applied.set(position.applied as i64);
        metrics.pending.set(self.position.waiting.load(Ordering::Relaxed) as i64);
        metrics.revision.set(self.revision());
        metrics.compact_revision.set(self.events.compact_revision());
        self.glance(|machine| {
            metrics.keys.set(machine.view().len() as i64);
            metrics.state_bytes.set(machine.usage().bytes as i64);
            metrics.leases.set(machine.leases().len() as i64);
        });
    }

    /// What a command means beyond the machine: leases' clocks, counters, garbage.
    fn follow_up(&self, command: &Command, reply: &Reply) {
        let Ok(applied) = reply else { return };
        match applied.lease {
            Some(LeaseChange::Granted { id, ttl_seconds }) => {
                self.metrics.leases_granted.inc();
                if self.position.leads.load(Ordering::Acquire) {
                    let now = self.now_ms();
                    self.lessor().grant(now, id, ttl_seconds);
                }
            }
            Some(LeaseChange::Revoked { id }) => {
                self.metrics.leases_revoked.inc();
                self.lessor().revoke(id);
            }
            None => {}
        }
        match command {
            Command::Put(_) => drop(self.metrics.puts.inc()),
            Command::DeleteRange(_) => drop(self.metrics.deletes.inc()),
            Command::Txn(_) => drop(self.metrics.txns.inc()),
            Command::Compact(_) => drop(self.garbage.send_replace(true)),
            Command::LeaseGrant(_) | Command::LeaseRevoke(_) | Command::Member(_) => {}
        }
    }

    fn now_ms(&self) -> u64 {
        (self.clock)()
    }

    // A panic under one of these locks is a broken invariant of the machine: the driver's thread
    // ends, the member reports failure, and readers may finish on what is there.
    fn read(&self) -> RwLockReadGuard<'_, Machine> {
        self.machine.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Machine> {
        self.machine.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn lessor(&self) -> MutexGuard<'_, Lessor> {
        self.lessor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The command in an entry; a leader's first entry of a term has none.
fn command(entry: &Entry) -> Result<Option<(Command, Envelope)>, ApplyError> {
    if entry.data.is_empty() {
        return Ok(None);
    }
    let index = entry.index;
    let decoded = Command::decode(entry.data.clone());
    decoded.map(Some).map_err(|source| ApplyError::Command { index, source })
}
