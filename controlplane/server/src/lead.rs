//! One term of leadership: keep a copy of the store, plan whenever something changed, write.
//!
//! ```text
//!   source ──┐                              ┌── conflict, error: wait, then plan again
//!   events ──┼─> dirty ─(2 ms)─> plan ─> write ──> wait until the copy shows what was written
//!   time   ──┘                              └── fenced: the term is over
//! ```
//!
//! The copy is listed anew at the start of each term, after the leadership was won, so it holds
//! everything that earlier leaders wrote. Between a write and its appearance in the copy nothing is
//! planned: no plan rests on a state that its own predecessor changed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use skein_controlplane_core::plan::Unused;
use skein_controlplane_core::source::Snapshot;
use skein_controlplane_core::{Change, Config, Inputs, Plan, Planner, Tables, check};
use skein_store_client::{
    Change as StoreChange, ClientError, Leadership, Session, SyncEvent, WatchStream,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::metrics::Metrics;
use crate::status::Board;
use crate::writer::{WriteError, Writer, Written};

/// Changes that arrive within this time are planned together.
const COALESCE: Duration = Duration::from_millis(2);
/// Waits after a round that failed, doubling.
const RETRY_MIN: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// If the copy does not show what was written after this time, planning goes on: the compares of
/// every write protect from doing harm.
const ECHO_TIMEOUT: Duration = Duration::from_secs(5);
/// A sleep that stands for "not before something else happens".
const FOREVER: Duration = Duration::from_secs(86_400);

/// What one term needs.
pub struct Term<'a> {
    pub session: &'a Session,
    pub config: &'a Config,
    pub source: &'a mut watch::Receiver<Option<Snapshot>>,
    pub board: &'a Arc<Board>,
    pub metrics: &'a Arc<Metrics>,
    pub stop: &'a CancellationToken,
}

/// Why a term ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    Stopped,
    /// The lease ran out, or another leads.
    Lost,
    /// The source will never report again.
    SourceGone,
}

impl Term<'_> {
    /// Leads until the end of the term. Leadership is given up in an orderly way where possible.
    ///
    /// # Errors
    /// The ranges cannot be watched: a bug.
    pub async fn lead(mut self, leadership: Leadership) -> Result<End, ClientError> {
        let mut events = self.session.watch_ranges(Tables::ranges(), None)?;
        let writer = Writer {
            session: self.session.clone(),
            fence: leadership.fence().clone(),
            lease: leadership.lease().id(),
            metrics: self.metrics.clone(),
            stop: self.stop.clone(),
        };
        let mut mirror = Mirror::default();
        let mut rounds = Rounds::new(Instant::now());
        self.source.mark_changed();
        let end = loop {
            let sleep = rounds.sleep(&mirror, Instant::now());
            // Every arm may be cancelled: what it waits for stays where it is.
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break End::Stopped,
                () = leadership.lost() => break End::Lost,
                changed = self.source.changed() => match changed {
                    Ok(()) => self.take_source(&mut rounds),
                    Err(_) => break End::SourceGone,
                },
                event = events.next() => match event {
                    Some(event) => self.take_events(event, &mut events, &mut mirror, &mut rounds),
                    None => break End::Stopped,
                },
                () = tokio::time::sleep(sleep) => {}
            }
            if rounds.due(&mirror, Instant::now())
                && self.round(&writer, &mut mirror, &mut rounds).await == Err(WriteEnd::Fenced)
            {
                break End::Lost;
            }
        };
        self.board.update(|status| {
            status.leader = false;
            status.store.in_sync = false;
        });
        if let Err(error) = leadership.resign().await {
            debug!(%error, "leadership runs out by itself");
        }
        Ok(end)
    }

    fn take_source(&mut self, rounds: &mut Rounds) {
        let snapshot = self.source.borrow_and_update().clone();
        if let Some(snapshot) = snapshot {
            self.board.source(&snapshot);
            rounds.source = Some(snapshot);
            rounds.touch(Instant::now());
        }
    }

    /// Takes an event and whatever else is there already.
    fn take_events(
        &self,
        first: SyncEvent,
        events: &mut WatchStream,
        mirror: &mut Mirror,
        rounds: &mut Rounds,
    ) {
        let mut next = Some(first);
        while let Some(event) = next {
            if mirror.take(event) {
                rounds.touch(Instant::now());
            }
            next = events.try_next();
        }
        self.board.update(|status| {
            status.store.in_sync = mirror.in_sync;
            status.error.clone_from(&mirror.lost);
        });
    }

    async fn round(
        &mut self,
        writer: &Writer,
        mirror: &mut Mirror,
        rounds: &mut Rounds,
    ) -> Result<(), WriteEnd> {
        let Some(sources) = rounds.source.clone() else { return Ok(()) };
        rounds.begin();
        let inputs = Inputs {
            config: self.config.clone(),
            now: unix_seconds(),
            sources,
            tables: mirror.tables.clone(),
            unused: std::mem::take(&mut rounds.unused),
        };
        let begun = Instant::now();
        // The first planning of a large cluster takes long, and other tasks should not wait for it.
        let plan = tokio::task::block_in_place(|| rounds.planner.plan(&inputs));
        let took = begun.elapsed().as_secs_f64();
        self.metrics.planned(took);
        self.board.plan(&plan, &inputs.tables, took * 1e3);
        rounds.planned(&plan, inputs.now, Instant::now());
        if plan.is_empty() {
            rounds.done();
            return Ok(());
        }
        let violations = check::plan(&plan);
        for violation in &violations {
            error!(%violation, "the plan breaks a rule and is not written");
        }
        if !violations.is_empty() {
            rounds.failed(Instant::now());
            self.board.update(|status| status.error = violations[0].to_string());
            return Ok(());
        }
        self.write(writer, &plan, mirror, rounds).await
    }

    async fn write(
        &self,
        writer: &Writer,
        plan: &Plan,
        mirror: &mut Mirror,
        rounds: &mut Rounds,
    ) -> Result<(), WriteEnd> {
        let begun = Instant::now();
        let mut written = Written::default();
        let result = writer.write(plan, &mut written).await;
        self.metrics.wrote(begun.elapsed().as_secs_f64());
        debug!(
            planned = plan.len(),
            written = written.keys.len(),
            revision = written.revision,
            "plan written"
        );
        self.board.update(|status| {
            status.store.written_revision = status.store.written_revision.max(written.revision);
        });
        mirror.expect(written, Instant::now());
        match result {
            Ok(()) => {
                rounds.done();
                Ok(())
            }
            // What is left is for the next leader to plan.
            Err(WriteError::Stopped) => Ok(()),
            Err(WriteError::Fenced) => {
                warn!("another process leads now");
                Err(WriteEnd::Fenced)
            }
            Err(error) => {
                warn!(%error, "the plan was not written to its end: planning again");
                rounds.failed(Instant::now());
                Ok(())
            }
        }
    }
}

/// A write that ends the term.
#[derive(Debug, PartialEq, Eq)]
enum WriteEnd {
    Fenced,
}

/// The copy of the store.
#[derive(Default)]
struct Mirror {
    tables: Tables,
    in_sync: bool,
    /// Why the store cannot be reached; empty while it can.
    lost: String,
    /// Keys written and not yet seen in the copy, with the revision of the write.
    unseen: HashMap<String, i64>,
    unseen_since: Option<Instant>,
}

impl Mirror {
    /// Takes an event. True if planning may come to another result.
    fn take(&mut self, event: SyncEvent) -> bool {
        match event {
            SyncEvent::Begin(snapshot) => {
                self.tables = Tables::default();
                self.in_sync = false;
                for entry in &snapshot.entries {
                    let (value, mod_revision) = (entry.value.as_slice(), entry.mod_revision);
                    self.apply(&entry.key, Change::Put { value, mod_revision });
                }
                self.unseen.retain(|_, revision| *revision > snapshot.revision);
                true
            }
            SyncEvent::Changes(changes) => {
                for change in &changes {
                    self.change(change);
                }
                true
            }
            SyncEvent::InSync { revision } => {
                info!(revision, "in sync with the store");
                self.in_sync = true;
                self.lost.clear();
                true
            }
            SyncEvent::Progress { .. } => false,
            SyncEvent::Lost { reason } => {
                warn!(reason, "the store cannot be reached");
                self.in_sync = false;
                self.lost = reason;
                false
            }
            SyncEvent::Reset { reason } => {
                warn!(%reason, "the store is another one");
                self.in_sync = false;
                self.unseen.clear();
                false
            }
        }
    }

    fn change(&mut self, change: &StoreChange) {
        match change {
            StoreChange::Put(entry) => {
                let (value, mod_revision) = (entry.value.as_slice(), entry.mod_revision);
                self.apply(&entry.key, Change::Put { value, mod_revision });
            }
            StoreChange::Delete { key, .. } => self.apply(key, Change::Delete),
        }
        if let Ok(key) = std::str::from_utf8(change.key())
            && self.unseen.get(key).is_some_and(|revision| *revision <= change.mod_revision())
        {
            self.unseen.remove(key);
        }
    }

    fn apply(&mut self, key: &[u8], change: Change<'_>) {
        if let Err(error) = self.tables.apply(key, change) {
            debug!(%error, "a key that is none of ours: left alone");
        }
    }

    /// Remembers what was written, until it is seen.
    fn expect(&mut self, written: Written, now: Instant) {
        self.unseen.extend(written.keys);
        self.unseen_since = Some(now);
    }

    fn is_current(&self, now: Instant) -> bool {
        let waited = self.unseen_since.is_none_or(|at| now.duration_since(at) >= ECHO_TIMEOUT);
        self.in_sync && (self.unseen.is_empty() || waited)
    }
}

/// When to plan.
struct Rounds {
    source: Option<Snapshot>,
    unused: Unused,
    planner: Planner,
    /// Since when something has changed that was not planned for.
    dirty: Option<Instant>,
    /// When time alone calls for a round.
    wake: Option<Instant>,
    /// Not before this: the last round failed.
    not_before: Instant,
    retry: Duration,
}

impl Rounds {
    fn new(now: Instant) -> Rounds {
        Rounds {
            source: None,
            unused: Unused::new(),
            planner: Planner::default(),
            dirty: None,
            wake: None,
            not_before: now,
            retry: RETRY_MIN,
        }
    }

    fn touch(&mut self, now: Instant) {
        self.dirty.get_or_insert(now);
    }

    fn due_at(&self) -> Option<Instant> {
        let dirty = self.dirty.map(|at| at + COALESCE);
        let due = [dirty, self.wake].into_iter().flatten().min()?;
        Some(due.max(self.not_before))
    }

    fn due(&self, mirror: &Mirror, now: Instant) -> bool {
        self.source.is_some() && mirror.is_current(now) && self.due_at().is_some_and(|at| at <= now)
    }

    fn sleep(&self, mirror: &Mirror, now: Instant) -> Duration {
        let current = match mirror.unseen_since.filter(|_| !mirror.unseen.is_empty()) {
            Some(since) => since + ECHO_TIMEOUT,
            None => now,
        };
        let due = self.due_at().filter(|_| mirror.in_sync && self.source.is_some());
        due.map_or(FOREVER, |at| at.max(current).saturating_duration_since(now))
    }

    fn begin(&mut self) {
        self.dirty = None;
        self.wake = None;
    }

    fn planned(&mut self, plan: &Plan, planned_at: u64, now: Instant) {
        self.unused.clone_from(&plan.unused);
        self.wake = plan.wake_at.map(|at| now + Duration::from_secs(at.saturating_sub(planned_at)));
    }

    fn done(&mut self) {
        self.retry = RETRY_MIN;
    }

    fn failed(&mut self, now: Instant) {
        self.not_before = now + self.retry;
        self.retry = (self.retry * 2).min(RETRY_MAX);
        self.touch(now);
    }
}

/// The wall clock: heartbeats show it, and grace periods should survive a change of leader's host
/// as well as they can. A clock that jumps shortens or lengthens a grace period, nothing else.
fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
