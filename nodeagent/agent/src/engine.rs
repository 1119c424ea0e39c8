//! The agent's one place of state: what the store says, which endpoints there are, what the maps
//! hold; and the rounds that make the maps equal to what is wanted.
//!
//! The engine is called under one lock and never waits for anything but the maps' system calls.
//! Until the store's first complete view nothing is deleted from a map or changed in it, only what it
//! lacks is added (from the checkpoint); the store away, everything stays as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;
use skein_bpf_abi::MapSpec;
use skein_nodeagent_core::calc::{Calculator, Place};
use skein_nodeagent_core::checkpoint::{self, Checkpoint};
use skein_nodeagent_core::endpoint::{AttachmentKey, Endpoint, Endpoints};
use skein_nodeagent_core::lb::Balancer;
use skein_nodeagent_core::mirror::Mirror;
use skein_nodeagent_core::types::ObjectName;
use skein_store_client::{Change, SyncEvent};
use skein_store_schema::IdentityId;

use crate::convert::{Addresses, LocalPod, LocalPods, Ranges, Sender, Senders};
use crate::maps::{self, MapError, SharedMaps};

/// Errors kept for status; the oldest go first.
const ERRORS_MAX: usize = 16;

/// What a round left to do for the edges.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Routes, masquerading or the block may have changed.
    pub network: bool,
    /// Reports under our prefix may have changed.
    pub reports: bool,
    /// Map entries written or deleted.
    pub changed: usize,
}

/// The engine.
pub struct Engine {
    place: Place,
    calc: Calculator,
    endpoints: Endpoints,
    ifindexes: BTreeMap<AttachmentKey, u32>,
    local: Mirror<Ipv4Addr, LocalPod>,
    senders: Mirror<u32, Sender>,
    maps: Option<SharedMaps>,
    raw: BTreeMap<Box<[u8]>, (Box<[u8]>, i64)>,
    cluster_id: u64,
    progress: Progress,
    problems: BTreeMap<String, String>,
    /// What the maps hold was read anew, or the view of the store became complete: leftovers of an
    /// earlier run may be there.
    sweep_due: bool,
    route_services: bool,
    /// The block of an earlier run, for a start while the store is away.
    last_block: Option<Ipv4Net>,
}

/// How far the engine is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The first complete view of the store was seen in this run.
    pub in_sync: bool,
    /// The store answers.
    pub connected: bool,
    /// Newest change of the store that the maps reflect.
    pub applied_revision: i64,
    /// Newest change of the store that was seen. After a break the ranges catch up one by one: until they
    /// all have, a change of this revision in one of them says nothing about the others.
    pub seen_revision: i64,
    /// Revision up to which the view is complete.
    pub complete_revision: i64,
    /// The programs are in place and the maps were filled once.
    pub datapath_ready: bool,
    /// Changes since the last checkpoint.
    pub dirty: bool,
}

impl Engine {
    /// An engine with restored endpoints and, if there is one, the checkpoint's view of the store.
    /// `route_services`: the node's own flows to service addresses need routes, because no socket
    /// hook translates them.
    pub fn new(
        place: Place,
        endpoints: Endpoints,
        checkpoint: Option<Checkpoint>,
        route_services: bool,
    ) -> Engine {
        let ids = checkpoint.as_ref().map_or((0, 0), |c| (c.next_service_id, c.next_backend_id));
        let mut engine = Engine {
            calc: Calculator::new(place.clone(), Balancer::new(ids.0, ids.1)),
            place,
            endpoints,
            ifindexes: BTreeMap::new(),
            local: Mirror::default(),
            senders: Mirror::default(),
            maps: None,
            raw: BTreeMap::new(),
            cluster_id: 0,
            progress: Progress::default(),
            problems: BTreeMap::new(),
            sweep_due: true,
            route_services,
            last_block: None,
        };
        if let Some(checkpoint) = checkpoint {
            engine.cluster_id = checkpoint.cluster_id;
            engine.progress.complete_revision = checkpoint.revision;
            for entry in checkpoint.entries {
                engine.apply(entry.key, Some((entry.value, entry.mod_revision)));
            }
            engine.progress.applied_revision = checkpoint.revision;
            engine.progress.dirty = false;
        }
        engine
    }

    /// Where a watch can resume, after a checkpoint or a break.
    pub fn resume_point(&self) -> Option<(u64, i64)> {
        (self.progress.complete_revision > 0)
            .then_some((self.cluster_id, self.progress.complete_revision))
    }

    /// Takes one event of the store in; [`Engine::flush`] then makes the maps follow.
    pub fn store_event(&mut self, event: SyncEvent) {
        match event {
            SyncEvent::Begin(snapshot) => {
                let present: BTreeSet<&[u8]> =
                    snapshot.entries.iter().map(|entry| entry.key.as_slice()).collect();
                let known = self.raw.keys().filter(|key| !present.contains(&***key));
                let gone: Vec<Vec<u8>> = known.map(|key| key.to_vec()).collect();
                drop(present);
                gone.into_iter().for_each(|key| self.apply(key, None));
                let (cluster_id, revision) = (snapshot.cluster_id, snapshot.revision);
                for entry in snapshot.entries {
                    self.apply(entry.key, Some((entry.value, entry.mod_revision)));
                }
                self.cluster_id = cluster_id;
                self.progress.applied_revision = revision;
                self.progress.complete_revision = revision;
                self.progress.connected = true;
                self.progress.dirty = true;
            }
            SyncEvent::Changes(changes) => {
                for change in changes {
                    let revision = change.mod_revision();
                    let p = &mut self.progress;
                    p.seen_revision = p.seen_revision.max(revision);
                    if p.in_sync && p.connected {
                        p.applied_revision = p.applied_revision.max(revision);
                    }
                    match change {
                        Change::Put(entry) => {
                            self.apply(entry.key, Some((entry.value, entry.mod_revision)));
                        }
                        Change::Delete { key, .. } => self.apply(key, None),
                    }
                }
                self.progress.dirty = true;
            }
            SyncEvent::InSync { revision } => {
                self.progress.in_sync = true;
                self.progress.connected = true;
                self.complete(revision);
            }
            SyncEvent::Progress { revision } => self.complete(revision),
            SyncEvent::Lost { reason } => {
                if self.progress.connected {
                    tracing::warn!(%reason, "the store is away; the last known state stays in force");
                }
                self.progress.connected = false;
            }
            SyncEvent::Reset { reason } => {
                tracing::warn!(%reason, "another store; waiting for its content");
                self.progress.in_sync = false;
                self.sweep_due = true;
            }
        }
    }

    /// Makes the maps follow everything taken in.
    pub fn flush(&mut self) -> Result<Outcome, MapError> {
        self.calc.settle();
        let changed = self.calc.take_changed();
        let network = changed.network || (self.route_services && changed.service_ips);
        let mut outcome = Outcome { network, ..Outcome::default() };
        for pod in &changed.pods {
            let keys: Vec<AttachmentKey> =
                self.endpoints.of_pod(pod).map(|endpoint| endpoint.attachment.clone()).collect();
            keys.iter().for_each(|key| self.want_endpoint(key));
        }
        let Some(maps) = self.maps.clone() else { return Ok(outcome) };
        let complete = self.progress.in_sync;
        // Endpoints first: a packet for a pod may come as soon as anything else names it. They are
        // this node's own knowledge, so their deletion waits for no store.
        outcome.changed += maps::apply::<LocalPods>(&*maps, &mut self.local, true)?;
        outcome.changed += maps::apply::<Senders>(&*maps, &mut self.senders, true)?;
        let addresses = &mut self.calc.addresses;
        outcome.changed += maps::apply::<Ranges>(&*maps, &mut addresses.ranges, complete)?;
        outcome.changed += maps::apply::<Addresses>(&*maps, &mut addresses.exact, complete)?;
        outcome.changed += self.flush_services(&maps, complete)?;
        Ok(outcome)
    }

    /// The datapath is (again) in place: reads what its maps hold and fills them.
    pub fn adopt(&mut self, adopted: SharedMaps) -> Result<Outcome, MapError> {
        maps::load::<LocalPods>(&*adopted, &mut self.local)?;
        maps::load::<Senders>(&*adopted, &mut self.senders)?;
        maps::load::<Addresses>(&*adopted, &mut self.calc.addresses.exact)?;
        maps::load::<Ranges>(&*adopted, &mut self.calc.addresses.ranges)?;
        self.calc.balancer.load(maps::read_services(&*adopted)?);
        self.sweep_due = true;
        self.maps = Some(adopted);
        let bound: Vec<AttachmentKey> = self.ifindexes.keys().cloned().collect();
        bound.iter().for_each(|key| self.want_endpoint(key));
        self.flush()
    }

    /// The programs are behind every link.
    pub fn datapath_is_ready(&mut self) {
        self.progress.datapath_ready = true;
    }

    /// An endpoint's device has this index: its map entries are wanted.
    pub fn bind(&mut self, key: &AttachmentKey, ifindex: u32) {
        self.ifindexes.insert(key.clone(), ifindex);
        self.want_endpoint(key);
    }

    /// Forgets an endpoint: its entries go with the next flush.
    pub fn unbind(&mut self, endpoint: &Endpoint) {
        if let Some(ifindex) = self.ifindexes.remove(&endpoint.attachment) {
            self.senders.want(ifindex, None);
        }
        self.local.want(endpoint.ip, None);
        self.calc.addresses.set_endpoint(endpoint.ip, None);
    }

    /// Security identity of an endpoint: its pod's if the control plane has said it (for this very
    /// pod, not an earlier one of the name), else `init`.
    pub fn identity_of(&self, endpoint: &Endpoint) -> u32 {
        let known = endpoint.pod().and_then(|pod| self.calc.pod(&pod).cloned());
        let same =
            |uid: &str| uid.is_empty() || endpoint.pod_uid.is_empty() || uid == endpoint.pod_uid;
        if let Some(facts) = known.filter(|facts| same(&facts.uid)) {
            return facts.identity;
        }
        // Not told (yet) after a restart: what the kernel holds for this very endpoint stays.
        let held =
            self.local.actual().get(&endpoint.ip).filter(|pod| pod.endpoint_id == endpoint.id);
        held.filter(|_| !self.progress.in_sync).map_or(IdentityId::INIT.get(), |pod| pod.identity)
    }

    /// A checkpoint's bytes, if the view is complete at a revision and has changed since the last.
    pub fn checkpoint(&mut self) -> Option<Vec<u8>> {
        let p = &mut self.progress;
        if !p.in_sync || !p.dirty || p.complete_revision < p.seen_revision {
            return None;
        }
        p.dirty = false;
        let (next_service_id, next_backend_id) = self.calc.balancer.next_ids();
        let head = Checkpoint {
            cluster_id: self.cluster_id,
            revision: self.progress.complete_revision,
            ranges: ranges_hash(&self.place),
            next_service_id,
            next_backend_id,
            entries: Vec::new(),
        };
        let entries = || self.raw.iter().map(|(k, (v, revision))| (&**k, &**v, *revision));
        Some(head.encode_with(entries))
    }

    /// How full the maps are.
    pub fn sizes(&self) -> Vec<(&'static MapSpec, usize)> {
        use crate::convert::{Backends, Frontends, Layout, Slots};
        let tables = self.calc.balancer.actual();
        vec![
            (Frontends::SPEC, tables.frontends().len()),
            (Slots::SPEC, tables.slots().len()),
            (Backends::SPEC, tables.backends().len()),
            (Addresses::SPEC, self.calc.addresses.exact.actual().len()),
            (Ranges::SPEC, self.calc.addresses.ranges.actual().len()),
            (LocalPods::SPEC, self.local.actual().len()),
            (Senders::SPEC, self.senders.actual().len()),
        ]
    }

    /// What could not be done, by where.
    pub fn problems(&self) -> &BTreeMap<String, String> {
        &self.problems
    }

    /// Notes what could not be done, or that it now is.
    pub fn note(&mut self, place: &str, problem: Option<String>) {
        match problem {
            Some(problem) => {
                if self.problems.get(place) != Some(&problem) {
                    tracing::warn!(place, %problem, "cannot be done");
                }
                self.problems.insert(place.to_owned(), problem);
                while self.problems.len() > ERRORS_MAX {
                    self.problems.pop_first();
                }
            }
            None => {
                if self.problems.remove(place).is_some() {
                    tracing::info!(place, "works again");
                }
            }
        }
    }

    /// The calculation.
    pub fn calc(&self) -> &Calculator {
        &self.calc
    }

    /// Endpoints.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Endpoints, to change them.
    pub fn endpoints_mut(&mut self) -> &mut Endpoints {
        &mut self.endpoints
    }

    /// Index of an endpoint's device.
    pub fn ifindex(&self, key: &AttachmentKey) -> Option<u32> {
        self.ifindexes.get(key).copied()
    }

    /// How far the engine is.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// The maps, once there are any.
    pub fn maps(&self) -> Option<SharedMaps> {
        self.maps.clone()
    }

    /// This node's place.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The block of an earlier run: in force until the store says otherwise.
    pub fn set_last_block(&mut self, block: Option<Ipv4Net>) {
        self.last_block = block;
    }

    /// Whether service addresses need routes.
    pub fn routes_services(&self) -> bool {
        self.route_services
    }

    /// This node's block, once known: restores the addresses in use into the allocator.
    pub fn settle_block(&mut self) -> Option<Ipv4Net> {
        let block = self.calc.own_block().or(self.last_block.filter(|_| !self.progress.in_sync))?;
        match self.endpoints.set_block(block) {
            Ok(conflicts) => {
                let told = conflicts.first().map(ToString::to_string);
                self.note("ipam", told);
                Some(block)
            }
            Err(error) => {
                self.note("ipam", Some(error.to_string()));
                None
            }
        }
    }

    fn apply(&mut self, key: Vec<u8>, value: Option<(Vec<u8>, i64)>) {
        let outcome = self.calc.apply(&key, value.as_ref().map(|(value, _)| value.as_slice()));
        if outcome.is_err() || !self.problems.is_empty() {
            let place = format!("store:{}", String::from_utf8_lossy(&key));
            self.note(&place, outcome.err().map(|error| error.to_string()));
        }
        match value {
            Some((value, revision)) => {
                self.raw.insert(key.into_boxed_slice(), (value.into_boxed_slice(), revision))
            }
            None => self.raw.remove(&*key),
        };
    }

    fn complete(&mut self, revision: i64) {
        let p = &mut self.progress;
        p.complete_revision = p.complete_revision.max(revision);
        p.applied_revision = p.applied_revision.max(revision);
    }

    fn want_endpoint(&mut self, key: &AttachmentKey) {
        let Some(endpoint) = self.endpoints.get(key).cloned() else { return };
        let Some(ifindex) = self.ifindexes.get(key).copied() else { return };
        let identity = self.identity_of(&endpoint);
        let (endpoint_id, pod_mac) = (endpoint.id, endpoint.pod_mac);
        let host_mac = endpoint.host_mac;
        let pod = LocalPod { ifindex, identity, endpoint_id, pod_mac, host_mac };
        self.local.want(endpoint.ip, Some(pod));
        self.senders
            .want(ifindex, Some(Sender { addr: endpoint.ip, identity, endpoint_id, pod_mac }));
        self.calc.addresses.set_endpoint(endpoint.ip, Some(identity));
    }

    fn flush_services(&mut self, maps: &SharedMaps, complete: bool) -> Result<usize, MapError> {
        let balancer = &mut self.calc.balancer;
        let plan = balancer.plan(complete);
        let mut changed = plan.operations();
        if let Err(error) = maps::carry_out(&**maps, &plan) {
            tracing::warn!(%error, "a round over all services failed, going service by service");
            balancer.load(maps::read_services(&**maps)?);
            self.sweep_due = true;
            changed += self.flush_one_by_one(maps, complete)?;
        } else {
            balancer.commit(&plan);
        }
        if complete && self.sweep_due {
            let sweep = self.calc.balancer.plan_sweep();
            maps::carry_out(&**maps, &sweep)?;
            self.calc.balancer.commit(&sweep);
            changed += sweep.operations();
            // What had to wait for leftovers to go stays pending, and so is another round's work.
            self.sweep_due = !self.calc.balancer.pending().is_empty();
        }
        Ok(changed)
    }

    /// A service that does not fit is noted and stays pending; the others are done.
    fn flush_one_by_one(&mut self, maps: &SharedMaps, complete: bool) -> Result<usize, MapError> {
        let mut changed = 0;
        let pending: Vec<ObjectName> = self.calc.balancer.pending().iter().cloned().collect();
        for name in pending {
            let plan = self.calc.balancer.plan_one(&name, complete);
            match maps::carry_out(&**maps, &plan) {
                Ok(()) => {
                    self.calc.balancer.commit(&plan);
                    changed += plan.operations();
                    self.note(&format!("service:{name}"), None);
                }
                Err(error) => {
                    self.note(&format!("service:{name}"), Some(error.to_string()));
                    self.calc.balancer.load(maps::read_services(&**maps)?);
                }
            }
        }
        Ok(changed)
    }
}

/// Identifies what this node watches.
pub fn ranges_hash(place: &Place) -> u64 {
    let ranges = Calculator::ranges(place);
    let starts: Vec<String> =
        ranges.iter().map(|range| String::from_utf8_lossy(range.start()).into_owned()).collect();
    checkpoint::ranges_hash(starts.iter().map(String::as_str))
}

/// Measures rounds: how long the maps took to follow the store.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    /// Time since the start.
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests;
