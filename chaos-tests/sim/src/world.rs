//! The world: one queue of events, one clock, one source of chance.
//!
//! ```text
//!   clients ──ask──> host: inbox ──turn──> replica ──> outbox ──> network, clients, watchers
//!                     ▲                                              │
//!   nemesis ──────────┴── cuts, pauses, kills, disks <── chance      └──> recorder ──> checkers
//! ```

use std::collections::BTreeMap;

use skein_chaos_model::history::{Healed, Received, Span, Watch};
use skein_chaos_model::{Answer, Operation, Outcome};

use crate::client::{Client, everything};
use crate::disk::SimDisk;
use crate::host::{Host, Input};
use crate::nemesis::Undo;
use crate::net::Net;
use crate::operator::Replacement;
use crate::planted::Planted;
use crate::recorder::Recorder;
use crate::rng::Rng;
use crate::scenario::Scenario;
use crate::trace::Trace;
use crate::watcher::Watcher;

/// A heartbeat interval in microseconds, etcd's default.
pub(crate) const TICK_US: u64 = 100_000;

/// How long faults happen, in microseconds: a dozen elections, several lives of a lease.
const CHAOS_US: u64 = 15_000_000;

/// After the last fault clients are served again within this time, in microseconds: an election
/// takes two seconds at most when the first vote is split, and a restarted member one more.
const GRACE_US: u64 = 6_000_000;

/// How long clients go on behind the grace.
const AFTER_US: u64 = 2_000_000;

/// Longer than any client waits.
const SETTLE_US: u64 = 6_000_000;

/// Entries by which members may differ when a world ends: leases that expire just then.
const IN_FLIGHT_MAX: u64 = 5;

const CLIENTS: u32 = 5;

/// Something that happens at a time.
#[derive(Debug)]
pub(crate) enum Event {
    Tick { member: u64, life: u64 },
    Arrive { member: u64, input: Input },
    Turn { member: u64 },
    Client { client: usize },
    Reply { operation: usize, told: Told },
    GiveUp { operation: usize },
    Start { member: u64 },
    Fault,
    Undo(Undo),
    Heal,
    Operate,
    Connect { watcher: usize },
    Deliver { watcher: usize, epoch: u64, received: Received },
}

/// What a client hears.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    Answer(Answer),
    Refused,
    ConnectionLost,
}

/// See the module.
pub(crate) struct World {
    pub(crate) now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    events: u64,
    pub(crate) rng: Rng,
    pub(crate) net: Net,
    pub(crate) hosts: BTreeMap<u64, Host>,
    pub(crate) clients: Vec<Client>,
    pub(crate) watchers: Vec<Watcher>,
    pub(crate) recorder: Recorder,
    pub(crate) trace: Trace,
    pub(crate) scenario: &'static Scenario,
    pub(crate) planted: Option<Planted>,
    pub(crate) problems: Vec<String>,
    /// Members that clients do not reach.
    pub(crate) hidden: Option<u64>,
    pub(crate) healed: bool,
    pub(crate) replacement: Option<Replacement>,
    pub(crate) proposals: u64,
}

impl World {
    /// A world of a seed, before anything happened.
    pub(crate) fn new(
        seed: u64,
        scenario: &'static Scenario,
        planted: Option<Planted>,
        trace: Trace,
    ) -> Self {
        let mut rng = Rng::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x5ce1_e700);
        let hosts = (1..=scenario.members).map(|id| {
            let disk = SimDisk::new(rng.fork());
            let drift_us = rng.between(0, 1_000) as i64 - 500;
            let runs = planted == Some(Planted::ClockRuns) && id == 1;
            let drift_us = if runs { 9_000_000 } else { drift_us };
            disk.set_faults(|faults| faults.sync_lies = planted == Some(Planted::SyncLies));
            (id, Host::new(id, disk, rng.fork(), drift_us))
        });
        let mut world = Self {
            hosts: hosts.collect(),
            now: 0,
            queue: BTreeMap::new(),
            events: 0,
            net: Net::default(),
            clients: Vec::new(),
            watchers: Vec::new(),
            recorder: Recorder::default(),
            trace,
            scenario,
            planted,
            problems: Vec::new(),
            hidden: None,
            healed: false,
            replacement: None,
            proposals: 0,
            rng,
        };
        world.populate();
        world
    }

    fn populate(&mut self) {
        for member in self.members() {
            let at = self.rng.between(0, 50_000);
            self.plan(at, Event::Start { member });
        }
        for id in 0..CLIENTS {
            let member = self.rng.between(1, self.scenario.members);
            let client = Client::new(id, member, self.rng.fork());
            self.clients.push(client);
            let at = self.rng.between(500_000, 1_500_000);
            self.plan(at, Event::Client { client: id as usize });
        }
        for id in 0..4 {
            let span =
                if id < 2 { everything() } else { Span::of(format!("k/{}", ["a", "b"][id - 2])) };
            let (prev_kv, received) = (id % 2 == 0, Vec::new());
            let watch = Watch { id: id as u32, span, prev_kv, received, complete_through: 0 };
            // The first sees everything; the others begin wherever they connect.
            self.watchers.push(Watcher::new(watch, i64::from(id == 0) * 2));
            let at = self.rng.between(100_000, 3_000_000);
            self.plan(at, Event::Connect { watcher: id });
        }
        self.plan(2_000_000, Event::Fault);
        self.plan(CHAOS_US, Event::Heal);
    }

    /// Lets everything happen.
    pub(crate) fn run(&mut self) {
        let end = CHAOS_US + GRACE_US + AFTER_US + SETTLE_US;
        while let Some(((at, _), event)) = self.queue.pop_first() {
            if at > end {
                break;
            }
            self.now = at;
            self.happen(event);
        }
        self.finish();
    }

    /// Whether clients still ask.
    pub(crate) fn clients_ask(&self) -> bool {
        self.now < CHAOS_US + GRACE_US + AFTER_US
    }

    pub(crate) fn members(&self) -> Vec<u64> {
        self.hosts.keys().copied().collect()
    }

    pub(crate) fn plan(&mut self, at: u64, event: Event) {
        self.events += 1;
        self.queue.insert((at.max(self.now), self.events), event);
    }

    pub(crate) fn say(&mut self, what: std::fmt::Arguments<'_>) {
        self.trace.line(self.now, what);
    }

    /// The host of a member; every member has one.
    pub(crate) fn host(&mut self, member: u64) -> &mut Host {
        self.hosts.get_mut(&member).expect("every member has a host")
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Tick { member, life } => self.tick(member, life),
            Event::Arrive { member, input } => self.arrive(member, input),
            Event::Turn { member } => self.turn(member),
            Event::Client { client } => self.client_asks(client),
            Event::Reply { operation, told } => self.client_hears(operation, told),
            Event::GiveUp { operation } => self.client_gives_up(operation),
            Event::Start { member } => self.start(member),
            Event::Fault => self.fault(),
            Event::Undo(undo) => self.undo(undo),
            Event::Heal => self.heal(),
            Event::Operate => self.operate(),
            Event::Connect { watcher } => self.watcher_connects(watcher),
            Event::Deliver { watcher, epoch, received } => {
                self.watcher_hears(watcher, epoch, received);
            }
        }
    }

    fn tick(&mut self, member: u64, life: u64) {
        let host = self.host(member);
        if host.life == life && host.is_up() {
            self.plan(self.now + TICK_US, Event::Tick { member, life });
            self.arrive(member, Input::Tick);
        }
    }

    fn heal(&mut self) {
        self.say(format_args!("faults end"));
        self.healed = true;
        let healed = Healed { at: self.now, grace: GRACE_US };
        self.recorder.history.healed = Some(healed);
        if self.planted == Some(Planted::NeverMended) {
            let (one, others) = (vec![1], self.members().split_off(1));
            crate::net::Partition::Split(one, others).apply(&mut self.net);
        } else {
            self.net.heal();
        }
        self.hidden = None;
        for member in self.members() {
            self.undo(Undo::Disk(member));
            self.host(member).paused_until = 0;
            if self.host(member).is_up() {
                self.plan_turn(member);
            } else if !self.host(member).gone {
                self.plan(self.now, Event::Start { member });
            }
        }
    }

    fn finish(&mut self) {
        let mut revisions = Vec::new();
        for host in self.hosts.values() {
            let Some(core) = &host.core else { continue };
            core.glance(|machine| {
                revisions.push((host.id, machine.view().revision(), machine.applied_index()));
                self.recorder.hash(host.id, machine);
                self.recorder.dump(host.id, machine);
            });
        }
        let down: Vec<u64> =
            self.hosts.values().filter(|host| !host.is_up() && !host.gone).map(|h| h.id).collect();
        if !down.is_empty() {
            self.problems.push(format!("members {down:?} do not run at the end"));
        }
        let newest = revisions.iter().map(|at| at.2).max().unwrap_or(0);
        if revisions.iter().any(|at| at.2 + IN_FLIGHT_MAX < newest) {
            self.problems.push(format!(
                "members ended at different (member, revision, index): {revisions:?}"
            ));
        }
        let last = revisions.iter().map(|at| at.1).max().unwrap_or(0);
        for watcher in &mut self.watchers {
            watcher.watch.complete_through = last;
            self.recorder.history.watches.push(watcher.watch.clone());
        }
        self.say(format_args!("ends at revision {last}: {revisions:?}"));
    }

    /// Writes down how an operation ended, if that is not known yet.
    pub(crate) fn settle(&mut self, operation: usize, outcome: Outcome) {
        self.operation(operation).outcome = outcome;
    }

    pub(crate) fn operation(&mut self, operation: usize) -> &mut Operation {
        &mut self.recorder.history.operations[operation]
    }
}
