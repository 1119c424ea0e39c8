//! The datapath in memory: the same logic as the programs, over ordinary maps, for nodes that may
//! not load eBPF. No packet moves; questions are answered.

use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use skein_bpf_abi::maps::{self, backends, endpoints, frontends, ifaces, ipcache, metrics, slots};
use skein_bpf_abi::{Event, MapSpec, NodeConfig, proto};
use skein_bpf_logic::Tuple;
use skein_bpf_logic::host::{Answer, Memory, Origin, Packet5, SocketAnswer};
use skein_bpf_logic::socket::Target;

use crate::convert::{addr_be, addr_of, port_of};
use crate::maps::{MapError, Maps, RawEntry};

/// Network namespace cookies of a node that has none: its own sockets, and any pod's.
const NODE_COOKIE: u64 = 1;
const POD_COOKIE: u64 = 2;

/// The datapath.
pub struct MemoryDatapath {
    memory: Mutex<Memory>,
    sockets: std::sync::atomic::AtomicU64,
    started: std::time::Instant,
}

/// A packet or a connection to decide about.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// Where it enters.
    pub origin: Origin,
    /// Its source.
    pub src: Ipv4Addr,
    /// Its source port.
    pub src_port: u16,
    /// Its destination.
    pub dst: Ipv4Addr,
    /// Its destination port.
    pub dst_port: u16,
    /// IP protocol.
    pub proto: u8,
}

/// What happens to it.
#[derive(Clone, Copy, Debug)]
pub enum Verdict {
    /// The call was refused at the socket.
    RefusedAtSocket,
    /// The packet goes so; `at_socket` if the destination was translated by a socket hook.
    Packet { answer: Answer, at_socket: bool },
}

impl MemoryDatapath {
    /// An empty node.
    pub fn new(config: NodeConfig) -> MemoryDatapath {
        let config = NodeConfig { netns_cookie: NODE_COOKIE, ..config };
        MemoryDatapath {
            memory: Mutex::new(Memory::new(config)),
            sockets: std::sync::atomic::AtomicU64::new(1),
            started: std::time::Instant::now(),
        }
    }

    /// Decides about a new connection (or the first packet of one).
    pub fn decide(&self, question: &Question) -> Verdict {
        let memory = self.lock();
        memory.set_now_ns(self.started.elapsed().as_nanos() as u64);
        let mut tuple = Tuple {
            src_be: addr_be(question.src),
            dst_be: addr_be(question.dst),
            src_port_be: question.src_port.to_be(),
            dst_port_be: question.dst_port.to_be(),
        };
        let netns_cookie = match question.origin {
            Origin::Pod { .. } => Some(POD_COOKIE),
            Origin::Host => Some(NODE_COOKIE),
            Origin::Overlay { .. } | Origin::Netdev => None,
        };
        let mut at_socket = false;
        if let Some(netns_cookie) = netns_cookie.filter(|_| question.proto != proto::ICMP) {
            let cookie = self.sockets.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let (addr_be, port_be) = (tuple.dst_be, tuple.dst_port_be);
            let target = Target { addr_be, port_be, proto: question.proto };
            match memory.connect(&target, cookie, netns_cookie) {
                SocketAnswer::Untouched => {}
                SocketAnswer::Translated { addr_be, port_be } => {
                    (tuple.dst_be, tuple.dst_port_be) = (addr_be, port_be);
                    at_socket = true;
                }
                SocketAnswer::Refused => return Verdict::RefusedAtSocket,
            }
        }
        let packet = Packet5::opening(question.proto, tuple);
        Verdict::Packet { answer: memory.send(question.origin, &packet), at_socket }
    }

    /// Events since the last call.
    pub fn take_events(&self) -> Vec<Event> {
        self.lock().take_events()
    }

    /// The tuple's addresses and ports as people read them.
    pub fn show(tuple: &Tuple) -> ((Ipv4Addr, u16), (Ipv4Addr, u16)) {
        (
            (addr_of(tuple.src_be), port_of(tuple.src_port_be)),
            (addr_of(tuple.dst_be), port_of(tuple.dst_port_be)),
        )
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Calls `$with` with the typed map behind a layout and its key and value types.
macro_rules! typed {
    ($memory:expr, $map:expr, $with:ident $(, $arg:expr)*) => {
        match $map.name {
            endpoints::NAME => $with!($memory.endpoints, endpoints::EndpointKey, endpoints::Endpoint $(, $arg)*),
            ifaces::NAME => $with!($memory.ifaces, ifaces::IfaceKey, ifaces::Iface $(, $arg)*),
            ipcache::NAME => $with!($memory.ipcache, ipcache::IpcacheKey, ipcache::Ipcache $(, $arg)*),
            ipcache::CIDR_NAME => $with!($memory.cidrs, ipcache::CidrKey, ipcache::Ipcache $(, $arg)*),
            frontends::NAME => $with!($memory.frontends, frontends::FrontendKey, frontends::Frontend $(, $arg)*),
            slots::NAME => $with!($memory.slots, slots::SlotKey, slots::Slot $(, $arg)*),
            backends::NAME => $with!($memory.backends, backends::BackendKey, backends::Backend $(, $arg)*),
            _ => return Err(MapError::Layout { map: $map.name }),
        }
    };
}

macro_rules! dump_typed {
    ($table:expr, $key:ty, $value:ty) => {
        $table.iter().map(|(k, v)| (k.to_bytes().to_vec(), v.to_bytes().to_vec())).collect()
    };
}

macro_rules! write_typed {
    ($table:expr, $key:ty, $value:ty, $spec:expr, $keys:expr, $values:expr) => {{
        let values = $values.chunks_exact(<$value>::SIZE);
        for (key, value) in $keys.chunks_exact(<$key>::SIZE).zip(values) {
            let key: &[u8; <$key>::SIZE] =
                key.try_into().map_err(|_| MapError::Layout { map: $spec.name })?;
            let value: &[u8; <$value>::SIZE] =
                value.try_into().map_err(|_| MapError::Layout { map: $spec.name })?;
            $table.insert(<$key>::from_bytes(*key), <$value>::from_bytes(*value));
        }
    }};
}

macro_rules! delete_typed {
    ($table:expr, $key:ty, $value:ty, $spec:expr, $keys:expr) => {{
        for key in $keys.chunks_exact(<$key>::SIZE) {
            let key: &[u8; <$key>::SIZE] =
                key.try_into().map_err(|_| MapError::Layout { map: $spec.name })?;
            $table.remove(&<$key>::from_bytes(*key));
        }
    }};
}

impl Maps for MemoryDatapath {
    fn dump(&self, map: &'static MapSpec) -> Result<Vec<RawEntry>, MapError> {
        let memory = self.lock();
        if map.name == maps::conntrack::NAME {
            let entries = memory.conntrack();
            return Ok(entries
                .iter()
                .map(|(k, v)| (k.to_bytes().to_vec(), v.to_bytes().to_vec()))
                .collect());
        }
        Ok(typed!(memory, map, dump_typed))
    }

    fn write(&self, map: &'static MapSpec, keys: &[u8], values: &[u8]) -> Result<(), MapError> {
        let mut memory = self.lock();
        if map.name == maps::control::NAME {
            let raw = values.try_into().map_err(|_| MapError::Layout { map: map.name })?;
            memory.trace_mask = maps::control::Control::from_bytes(raw).events;
            return Ok(());
        }
        typed!(memory, map, write_typed, map, keys, values);
        Ok(())
    }

    fn delete(&self, map: &'static MapSpec, keys: &[u8]) -> Result<(), MapError> {
        let mut memory = self.lock();
        typed!(memory, map, delete_typed, map, keys);
        Ok(())
    }

    fn capacity(&self, map: &'static MapSpec) -> u32 {
        map.max_entries
    }

    fn counters(&self) -> Result<Vec<metrics::Metric>, MapError> {
        let mut all = vec![metrics::Metric::default(); metrics::MAX_ENTRIES as usize];
        for ((reason, direction), metric) in self.lock().metrics() {
            if let Some(slot) = all.get_mut(metrics::index(reason, direction) as usize) {
                *slot = metric;
            }
        }
        Ok(all)
    }
}
