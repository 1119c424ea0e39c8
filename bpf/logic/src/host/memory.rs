//! A node's maps in ordinary memory, and its hooks over them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;
use std::vec::Vec;

use skein_bpf_abi::maps::backends::{self, Backend};
use skein_bpf_abi::maps::conntrack::{self, Ct, CtKey};
use skein_bpf_abi::maps::endpoints::{Endpoint, EndpointKey};
use skein_bpf_abi::maps::fragments::{self, Fragment, FragmentKey};
use skein_bpf_abi::maps::frontends::{Frontend, FrontendKey};
use skein_bpf_abi::maps::ifaces::{Iface, IfaceKey};
use skein_bpf_abi::maps::ipcache::{CidrKey, Ipcache, IpcacheKey};
use skein_bpf_abi::maps::metrics::Metric;
use skein_bpf_abi::maps::policy::{Policy, PolicyKey};
use skein_bpf_abi::maps::slots::{Slot, SlotKey};
use skein_bpf_abi::maps::sock_reverse::{self, SockReverse, SockReverseKey};
use skein_bpf_abi::{Direction, Event, NodeConfig, Reason};

use crate::decide;
use crate::host::Frame;
use crate::parse::parse;
use crate::plan::{Action, Plan};
use crate::reject;
use crate::report;
use crate::rewrite;
use crate::tables::{Node, Tables};

/// Events kept for readers; the oldest go first. As many as the kernel's ring buffer holds.
const EVENTS_MAX: usize = 16_384;

/// Maps that the programs write themselves: bounded, the entry that was written longest ago goes
/// first.
#[derive(Debug)]
pub(crate) struct Bounded<K, V> {
    entries: HashMap<K, V>,
    order: VecDeque<K>,
    max: usize,
}

impl<K: Copy + Eq + Hash, V: Copy> Bounded<K, V> {
    fn new(max: u32) -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new(), max: max as usize }
    }

    fn insert(&mut self, key: K, value: V) {
        if self.entries.insert(key, value).is_some() {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > self.max
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
    }
}

/// One node's maps, constants, clock and random numbers. Map fields that the agent owns are public
/// and filled directly; what the programs write is read by methods.
#[derive(Debug)]
pub struct Memory {
    /// Constants of the node.
    pub config: NodeConfig,
    /// Pods by address.
    pub endpoints: HashMap<EndpointKey, Endpoint>,
    /// Pods by device.
    pub ifaces: HashMap<IfaceKey, Iface>,
    /// Exact addresses.
    pub ipcache: HashMap<IpcacheKey, Ipcache>,
    /// Address ranges; host bits of the key are zero.
    pub cidrs: HashMap<CidrKey, Ipcache>,
    /// Service addresses.
    pub frontends: HashMap<FrontendKey, Frontend>,
    /// Backends by position.
    pub slots: HashMap<SlotKey, Slot>,
    /// Backends by id.
    pub backends: HashMap<backends::BackendKey, Backend>,
    /// Policy.
    pub policies: HashMap<PolicyKey, Policy>,
    /// `TRACE_*` bits of the control map.
    pub trace_mask: u32,
    conntrack: RefCell<Bounded<CtKey, Ct>>,
    fragments: RefCell<Bounded<FragmentKey, Fragment>>,
    sock_reverse: RefCell<Bounded<SockReverseKey, SockReverse>>,
    metrics: RefCell<BTreeMap<(Reason, Direction), Metric>>,
    events: RefCell<VecDeque<Event>>,
    now_ns: Cell<u64>,
    random: Cell<u64>,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// Parsed, decided and, unless dropped, rewritten in place.
    Planned(Plan),
    /// Not a packet that can be decided about.
    Unparsed(Reason),
}

impl Ran {
    /// What was counted.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::Planned(plan) => plan.reason,
            Self::Unparsed(reason) => reason,
        }
    }
}

impl Memory {
    /// An empty node.
    #[must_use]
    pub fn new(config: NodeConfig) -> Self {
        Self {
            config,
            endpoints: HashMap::new(),
            ifaces: HashMap::new(),
            ipcache: HashMap::new(),
            cidrs: HashMap::new(),
            frontends: HashMap::new(),
            slots: HashMap::new(),
            backends: HashMap::new(),
            policies: HashMap::new(),
            trace_mask: 0,
            conntrack: RefCell::new(Bounded::new(conntrack::MAX_ENTRIES)),
            fragments: RefCell::new(Bounded::new(fragments::MAX_ENTRIES)),
            sock_reverse: RefCell::new(Bounded::new(sock_reverse::MAX_ENTRIES)),
            metrics: RefCell::new(BTreeMap::new()),
            events: RefCell::new(VecDeque::new()),
            now_ns: Cell::new(0),
            random: Cell::new(1),
        }
    }

    /// Sets the clock, in nanoseconds from any start; it must not go back.
    pub fn set_now_ns(&self, now_ns: u64) {
        self.now_ns.set(now_ns);
    }

    /// Seeds the random numbers.
    pub fn seed(&self, seed: u64) {
        self.random.set(seed);
    }

    /// All counters that are not zero.
    #[must_use]
    pub fn metrics(&self) -> BTreeMap<(Reason, Direction), Metric> {
        self.metrics.borrow().clone()
    }

    /// Takes the events written so far, oldest first.
    #[must_use]
    pub fn take_events(&self) -> Vec<Event> {
        self.events.borrow_mut().drain(..).collect()
    }

    /// Halves of tracked flows, expired ones included.
    #[must_use]
    pub fn conntrack(&self) -> Vec<(CtKey, Ct)> {
        self.conntrack.borrow().entries.iter().map(|(key, value)| (*key, *value)).collect()
    }

    /// Forgets half of a tracked flow, as an eviction does.
    pub fn forget_ct(&self, key: &CtKey) -> bool {
        let mut map = self.conntrack.borrow_mut();
        map.order.retain(|other| other != key);
        map.entries.remove(key).is_some()
    }

    /// Takes a frame through the hook of `direction`, as the program there does: counts, reports and
    /// rewrites it, or turns it into its refusal. `tunnel_identity` is the network identifier of
    /// overlay packets. Socket directions have no frames; they are treated as the node's own.
    pub fn run(
        &self,
        frame: &mut Frame,
        direction: Direction,
        ifindex: u32,
        tunnel_identity: Option<u32>,
    ) -> Ran {
        let flow = match parse(frame) {
            Ok(flow) => flow,
            Err(reason) => return Ran::Unparsed(self.unparsed(reason, frame, direction, ifindex)),
        };
        let mut plan = match direction {
            Direction::FromPod => decide::pod_ingress(self, &flow, ifindex),
            Direction::FromOverlay => decide::overlay_ingress(self, &flow, tunnel_identity),
            Direction::FromNetdev => decide::netdev_ingress(self, &flow),
            Direction::FromHost | Direction::PodSocket | Direction::HostSocket => {
                decide::host_egress(self, &flow)
            }
        };
        if !apply(frame, &flow, &plan) {
            plan.drop(Reason::RewriteFailed);
        }
        report::packet(self, &flow, &plan, direction, ifindex);
        Ran::Planned(plan)
    }

    /// Native devices carry the host's own traffic too: what is not for pods goes to the stack.
    fn unparsed(
        &self,
        reason: Reason,
        frame: &Frame,
        direction: Direction,
        ifindex: u32,
    ) -> Reason {
        let reason =
            if matches!(direction, Direction::FromNetdev) { Reason::ToStack } else { reason };
        let len = u32::try_from(frame.0.len()).unwrap_or(u32::MAX);
        if matches!(reason, Reason::ToStack) {
            self.count(reason, direction, len);
        } else {
            report::unparsed(self, reason, len, direction, ifindex);
        }
        reason
    }
}

fn apply(frame: &mut Frame, flow: &crate::Flow, plan: &Plan) -> bool {
    use crate::packet::Packet;
    match plan.action {
        Action::Drop => true,
        Action::RejectOut | Action::RejectIn => reject::answer(frame).is_some(),
        Action::Pass | Action::PassToHost | Action::Tunnel => rewrite::rewrite(frame, flow, plan),
        Action::RedirectPeer | Action::Redirect => {
            rewrite::rewrite(frame, flow, plan) && frame.set_macs(plan.dst_mac, plan.src_mac)
        }
    }
}

impl Node for Memory {
    fn flags(&self) -> u32 {
        self.config.flags
    }
    fn netns_cookie(&self) -> u64 {
        self.config.netns_cookie
    }
    fn node_ip_be(&self) -> u32 {
        self.config.node_ip_be
    }
    fn router_ip_be(&self) -> u32 {
        self.config.router_ip_be
    }
    fn hairpin_ip_be(&self) -> u32 {
        self.config.hairpin_ip_be
    }
    fn overlay_ifindex(&self) -> u32 {
        self.config.overlay_ifindex
    }
    fn host_ifindex(&self) -> u32 {
        self.config.host_ifindex
    }
    fn node_identity(&self) -> u32 {
        self.config.node_identity
    }
}

/// Address with the bits behind the prefix cleared, in memory order.
fn masked(addr_be: u32, prefix_len: u32) -> u32 {
    let mask = u32::MAX.checked_shl(32 - prefix_len).unwrap_or(0);
    (u32::from_be(addr_be) & mask).to_be()
}

impl Tables for Memory {
    fn endpoint(&self, addr_be: u32) -> Option<Endpoint> {
        self.endpoints.get(&EndpointKey { addr_be }).copied()
    }
    fn iface(&self, ifindex: u32) -> Option<Iface> {
        self.ifaces.get(&IfaceKey { ifindex }).copied()
    }
    fn ipcache(&self, addr_be: u32) -> Option<Ipcache> {
        self.ipcache.get(&IpcacheKey { addr_be }).copied()
    }
    fn cidr(&self, addr_be: u32) -> Option<Ipcache> {
        (0..=32u32).rev().find_map(|prefix_len| {
            let key = CidrKey { prefix_len, addr_be: masked(addr_be, prefix_len) };
            self.cidrs.get(&key).copied()
        })
    }
    fn frontend(&self, key: &FrontendKey) -> Option<Frontend> {
        self.frontends.get(key).copied()
    }
    fn slot(&self, key: &SlotKey) -> Option<Slot> {
        self.slots.get(key).copied()
    }
    fn backend(&self, id: u32) -> Option<Backend> {
        self.backends.get(&backends::BackendKey { id }).copied()
    }
    fn ct(&self, key: &CtKey) -> Option<Ct> {
        self.conntrack.borrow().entries.get(key).copied()
    }
    fn ct_insert(&self, key: &CtKey, value: &Ct) -> bool {
        self.conntrack.borrow_mut().insert(*key, *value);
        true
    }
    fn ct_touch(&self, key: &CtKey, now_ns: u64, flags: u16) -> bool {
        let mut map = self.conntrack.borrow_mut();
        let Some(entry) = map.entries.get_mut(key) else { return false };
        entry.last_seen_ns = now_ns;
        entry.flags |= flags;
        true
    }
    fn fragment(&self, key: &FragmentKey) -> Option<Fragment> {
        self.fragments.borrow().entries.get(key).copied()
    }
    fn fragment_insert(&self, key: &FragmentKey, value: &Fragment) {
        self.fragments.borrow_mut().insert(*key, *value);
    }
    fn policy(&self, key: &PolicyKey) -> Option<Policy> {
        self.policies.get(key).copied()
    }
    fn sock_reverse(&self, key: &SockReverseKey) -> Option<SockReverse> {
        self.sock_reverse.borrow().entries.get(key).copied()
    }
    fn sock_reverse_insert(&self, key: &SockReverseKey, value: &SockReverse) -> bool {
        self.sock_reverse.borrow_mut().insert(*key, *value);
        true
    }
    fn trace_mask(&self) -> u32 {
        self.trace_mask
    }
    fn count(&self, reason: Reason, direction: Direction, bytes: u32) {
        let mut metrics = self.metrics.borrow_mut();
        let metric = metrics.entry((reason, direction)).or_default();
        metric.packets += 1;
        metric.bytes += u64::from(bytes);
    }
    fn emit(&self, event: &Event) -> bool {
        let mut events = self.events.borrow_mut();
        if events.len() == EVENTS_MAX {
            return false;
        }
        events.push_back(*event);
        true
    }
    fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }
    fn random(&self) -> u32 {
        // SplitMix64: small, seeded, good enough to spread connections.
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed >> 32) as u32
    }
}
