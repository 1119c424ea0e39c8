//! A node with two pods, a neighbour with one, and a handful of services.

use std::vec::Vec;

use skein_bpf_abi::addr::{Mac, ip_be, port_be};
use skein_bpf_abi::config::flags;
use skein_bpf_abi::maps::backends::{Backend, BackendKey};
use skein_bpf_abi::maps::endpoints::{Endpoint, EndpointKey};
use skein_bpf_abi::maps::frontends::{Frontend, FrontendKey};
use skein_bpf_abi::maps::ifaces::{Iface, IfaceKey};
use skein_bpf_abi::maps::ipcache::{self, CidrKey, Ipcache, IpcacheKey};
use skein_bpf_abi::maps::slots::{Slot, SlotKey};
use skein_bpf_abi::proto::{TCP, UDP};
use skein_bpf_abi::{NodeConfig, identity};

use crate::flow::Tuple;
use crate::host::{Frame, FrameBuilder, Memory};
use crate::packet::{self, Packet};

/// The node.
pub const NODE: u32 = ip_be([192, 168, 50, 1]);
/// Its router address.
pub const ROUTER: u32 = ip_be([10, 1, 0, 1]);
/// The neighbour.
pub const NEIGHBOUR: u32 = ip_be([192, 168, 50, 2]);
/// A pod of the node.
pub const POD_A: u32 = ip_be([10, 1, 0, 10]);
/// Another pod of the node.
pub const POD_B: u32 = ip_be([10, 1, 0, 11]);
/// A pod of the neighbour, known by address.
pub const POD_R: u32 = ip_be([10, 2, 0, 20]);
/// An address of the neighbour's block that is known by its range only.
pub const POD_NEW: u32 = ip_be([10, 2, 0, 21]);
/// An address of the node's block that no pod has.
pub const POD_GONE: u32 = ip_be([10, 1, 0, 99]);
/// Outside the cluster.
pub const WORLD: u32 = ip_be([203, 0, 113, 7]);
/// A service address.
pub const VIP: u32 = ip_be([10, 96, 0, 10]);
/// A service address whose unknown ports pass.
pub const VIP_OPEN: u32 = ip_be([10, 96, 0, 20]);

/// TCP port of [`VIP`] with backends `POD_B` and `POD_R`.
pub const PORT_WEB: u16 = 80;
/// TCP and UDP port of [`VIP`] with the only backend `POD_A`.
pub const PORT_SELF: u16 = 81;
/// TCP and UDP port of [`VIP`] without a backend.
pub const PORT_EMPTY: u16 = 82;
/// UDP port of [`VIP`] with the only backend `POD_R`.
pub const PORT_DNS: u16 = 53;
/// TCP port of [`VIP`] with the only backend `POD_B`.
pub const PORT_LOCAL: u16 = 83;
/// TCP port of [`VIP`] whose backend is the node itself.
pub const PORT_NODE: u16 = 443;
/// A port of [`VIP`] that no service has.
pub const PORT_UNKNOWN: u16 = 9;
/// Port of all pods behind services.
pub const TARGET: u16 = 8080;

/// Device of [`POD_A`]. The first device of a namespace is its loopback, which a test run uses.
pub const DEVICE_A: u32 = 1;
/// Device of [`POD_B`].
pub const DEVICE_B: u32 = 12;
/// MAC inside [`POD_A`].
pub const MAC_A: Mac = [2, 0, 0, 0, 0, 0xa];
/// MAC inside [`POD_B`].
pub const MAC_B: Mac = [2, 0, 0, 0, 0, 0xb];
/// MAC of both host-side devices.
pub const MAC_HOST: Mac = [2, 0, 0, 0, 0, 0xff];

/// Ids of the backends.
pub const BACKEND_B: u32 = 1;
/// See [`BACKEND_B`].
pub const BACKEND_R: u32 = 2;
/// See [`BACKEND_B`].
pub const BACKEND_A: u32 = 3;
/// See [`BACKEND_B`].
pub const BACKEND_NODE: u32 = 4;

/// The node, with every mode on.
#[must_use]
pub fn node() -> Memory {
    let mut memory = Memory::new(NodeConfig {
        netns_cookie: 7,
        flags: flags::ALL,
        node_ip_be: NODE,
        router_ip_be: ROUTER,
        mtu: 1450,
        overlay_ifindex: 20,
        host_ifindex: 21,
        ..NodeConfig::EMPTY
    });
    pod(&mut memory, POD_A, DEVICE_A, 11, 3001, MAC_A);
    pod(&mut memory, POD_B, DEVICE_B, 12, 3002, MAC_B);
    addresses(&mut memory);
    services(&mut memory);
    memory
}

/// Adds a pod of the node.
pub fn pod(memory: &mut Memory, addr_be: u32, ifindex: u32, id: u32, identity: u32, mac: Mac) {
    let endpoint =
        Endpoint { ifindex, identity, endpoint_id: id, flags: 0, pod_mac: mac, host_mac: MAC_HOST };
    memory.endpoints.insert(EndpointKey { addr_be }, endpoint);
    let iface = Iface { addr_be, identity, endpoint_id: id, pod_mac: mac, reserved: [0; 2] };
    memory.ifaces.insert(IfaceKey { ifindex }, iface);
    let known = Ipcache { tunnel_be: NODE, identity, flags: 0 };
    memory.ipcache.insert(IpcacheKey { addr_be }, known);
}

fn addresses(memory: &mut Memory) {
    let remote = Ipcache { tunnel_be: NEIGHBOUR, identity: 3003, flags: 0 };
    memory.ipcache.insert(IpcacheKey { addr_be: POD_R }, remote);
    let own = Ipcache { tunnel_be: 0, identity: identity::HOST, flags: ipcache::FLAG_NODE };
    memory.ipcache.insert(IpcacheKey { addr_be: NODE }, own);
    let other = Ipcache { identity: identity::REMOTE_NODE, ..own };
    memory.ipcache.insert(IpcacheKey { addr_be: NEIGHBOUR }, other);
    for (block, node) in [([10, 1, 0, 0], NODE), ([10, 2, 0, 0], NEIGHBOUR)] {
        let key = CidrKey { prefix_len: 24, addr_be: ip_be(block) };
        let value = Ipcache { tunnel_be: node, identity: identity::WORLD, flags: 0 };
        memory.cidrs.insert(key, value);
    }
}

fn services(memory: &mut Memory) {
    memory.frontends.insert(FrontendKey::wildcard(VIP), Frontend::default());
    let open = Frontend {
        flags: skein_bpf_abi::maps::frontends::FLAG_PASS_UNKNOWN,
        ..Frontend::default()
    };
    memory.frontends.insert(FrontendKey::wildcard(VIP_OPEN), open);
    for (id, addr_be, port) in [
        (BACKEND_B, POD_B, TARGET),
        (BACKEND_R, POD_R, TARGET),
        (BACKEND_A, POD_A, TARGET),
        (BACKEND_NODE, NODE, 6443),
    ] {
        let backend = Backend { addr_be, port_be: port_be(port), proto: TCP, flags: 0 };
        memory.backends.insert(BackendKey { id }, backend);
    }
    service(memory, 1, VIP, PORT_WEB, TCP, &[BACKEND_B, BACKEND_R]);
    service(memory, 2, VIP, PORT_SELF, TCP, &[BACKEND_A]);
    service(memory, 3, VIP, PORT_SELF, UDP, &[BACKEND_A]);
    service(memory, 4, VIP, PORT_EMPTY, TCP, &[]);
    service(memory, 5, VIP, PORT_EMPTY, UDP, &[]);
    service(memory, 6, VIP, PORT_DNS, UDP, &[BACKEND_R]);
    service(memory, 7, VIP, PORT_LOCAL, TCP, &[BACKEND_B]);
    service(memory, 8, VIP, PORT_NODE, TCP, &[BACKEND_NODE]);
    service(memory, 9, VIP_OPEN, PORT_WEB, TCP, &[BACKEND_B]);
}

/// Sets a service port's backends.
pub fn service(memory: &mut Memory, id: u32, vip: u32, port: u16, proto: u8, backends: &[u32]) {
    memory.slots.retain(|key, _| key.service != id);
    service_without_sweep(memory, id, vip, port, proto, backends);
}

/// Sets a service port's backends without looking for slots that it had before.
pub fn service_without_sweep(
    memory: &mut Memory,
    id: u32,
    vip: u32,
    port: u16,
    proto: u8,
    backends: &[u32],
) {
    for (index, backend) in (0..).zip(backends) {
        memory.slots.insert(SlotKey { service: id, index }, Slot { backend: *backend });
    }
    let key = FrontendKey { addr_be: vip, port_be: port_be(port), proto, scope: 0 };
    let count = u32::try_from(backends.len()).unwrap_or(u32::MAX);
    memory.frontends.insert(key, Frontend { service: id, count, flags: 0 });
}

/// A tuple in host-order ports.
#[must_use]
pub fn tuple(src_be: u32, src_port: u16, dst_be: u32, dst_port: u16) -> Tuple {
    Tuple { src_be, dst_be, src_port_be: port_be(src_port), dst_port_be: port_be(dst_port) }
}

/// A frame builder with the sender's MAC.
#[must_use]
pub fn builder(proto: u8, tuple: Tuple) -> FrameBuilder {
    FrameBuilder::new(proto, tuple).macs(mac_of(tuple.src_be), MAC_HOST)
}

/// MAC of a sender.
#[must_use]
pub fn mac_of(addr_be: u32) -> Mac {
    match addr_be {
        POD_A => MAC_A,
        POD_B => MAC_B,
        _ => [2, 0, 0, 0, 0, 1],
    }
}

/// TCP segment with these flags.
#[must_use]
pub fn tcp(tuple: Tuple, flags: u8) -> Frame {
    builder(TCP, tuple).tcp_flags(flags).build()
}

/// UDP datagram.
#[must_use]
pub fn udp(tuple: Tuple) -> Frame {
    builder(UDP, tuple).build()
}

/// ICMP error of this type and code about `about`, as `src` sends it to `dst`: quotes the IP header
/// and eight bytes.
#[must_use]
pub fn icmp_error(src_be: u32, dst_be: u32, icmp_type: u8, code: u8, about: &Frame) -> Frame {
    let quoted: Vec<u8> = about.0.iter().skip(14).take(28).copied().collect();
    let builder = FrameBuilder::icmp(src_be, dst_be, icmp_type, code, &quoted);
    builder.macs(mac_of(src_be), MAC_HOST).build()
}

/// Device that belongs to the frame's source MAC; [`DEVICE_A`] for strangers, which makes them
/// forgers there.
#[must_use]
pub fn device_of_sender(memory: &Memory, frame: &Frame) -> u32 {
    let mac = frame.0.get(packet::ETH_SRC as usize..12);
    let owner = memory.ifaces.iter().find(|(_, iface)| mac == Some(&iface.pod_mac[..]));
    owner.map_or(DEVICE_A, |(key, _)| key.ifindex)
}

/// The tuple that a frame carries; ports are zero where there are none.
#[must_use]
pub fn tuple_of(frame: &Frame) -> Tuple {
    crate::parse::parse(frame).map(|flow| flow.tuple).unwrap_or_default()
}

/// The tuple of the packet that an ICMP error quotes.
#[must_use]
pub fn inner_of(frame: &Frame) -> Tuple {
    crate::parse::parse(frame).map(|flow| flow.inner.tuple).unwrap_or_default()
}

/// Whether every checksum of a whole packet is right.
#[must_use]
pub fn checksums_are_right(frame: &Frame) -> bool {
    let Some(header) = frame.0.get(14..34) else { return false };
    let Some(transport) = frame.0.get(34..) else { return false };
    let proto = header[9];
    let pseudo = if proto == TCP || proto == UDP {
        let len = u16::try_from(transport.len()).unwrap_or(0);
        let src = frame.u32_at(packet::IP + packet::IP_SRC).unwrap_or(0);
        let dst = frame.u32_at(packet::IP + packet::IP_DST).unwrap_or(0);
        let sum = crate::checksum::add_u32(crate::checksum::add_u32(0, src), dst);
        sum + u32::from(u16::from(proto).to_be()) + u32::from(len.to_be())
    } else {
        0
    };
    let unused = proto == UDP && transport.get(6..8) == Some(&[0, 0]);
    crate::host::sum_of(0, header) == 0xffff
        && (unused || crate::host::sum_of(pseudo, transport) == 0xffff)
}
