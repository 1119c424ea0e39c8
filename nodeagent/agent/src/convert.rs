//! Between the meanings of the core and the byte layouts of `skein-bpf-abi`. Nothing else in the
//! agent knows a byte order.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use skein_bpf_abi::MapSpec;
use skein_bpf_abi::addr::{ip_be, octets, port_be};
use skein_bpf_abi::maps::{self, backends, endpoints, frontends, ifaces, ipcache, slots};
use skein_nodeagent_core::ipcache::IpEntry;
use skein_nodeagent_core::types::{Backend, Frontend, FrontendValue, Proto, Scope, Slot};

/// A map that the agent fills: its meaning and its bytes.
pub trait Layout {
    /// Meaning of a key.
    type Key;
    /// Meaning of a value.
    type Value;
    /// Layout, name and bound.
    const SPEC: &'static MapSpec;

    /// Appends a key's bytes.
    fn encode_key(key: &Self::Key, out: &mut Vec<u8>);
    /// Appends a value's bytes.
    fn encode_value(value: &Self::Value, out: &mut Vec<u8>);
    /// Reads a key; none if it is of another size or means nothing to this build.
    fn decode_key(raw: &[u8]) -> Option<Self::Key>;
    /// Reads a value.
    fn decode_value(raw: &[u8]) -> Option<Self::Value>;
}

/// An address as maps hold it.
pub fn addr_be(addr: Ipv4Addr) -> u32 {
    ip_be(addr.octets())
}

/// The address that a map holds.
pub fn addr_of(raw: u32) -> Ipv4Addr {
    Ipv4Addr::from(octets(raw))
}

/// The port that a map holds.
pub fn port_of(raw: u16) -> u16 {
    u16::from_be(raw)
}

/// The frontend map.
pub enum Frontends {}

impl Layout for Frontends {
    type Key = Frontend;
    type Value = FrontendValue;
    const SPEC: &'static MapSpec = &frontends::SPEC;

    fn encode_key(key: &Frontend, out: &mut Vec<u8>) {
        let raw = frontends::FrontendKey {
            addr_be: addr_be(key.addr),
            port_be: port_be(key.port),
            proto: key.proto.0,
            scope: match key.scope {
                Scope::Cluster => frontends::SCOPE_CLUSTER,
                Scope::External => frontends::SCOPE_EXTERNAL,
            },
        };
        out.extend_from_slice(&raw.to_bytes());
    }

    fn encode_value(value: &FrontendValue, out: &mut Vec<u8>) {
        let raw = frontends::Frontend { service: value.service, count: value.count, flags: 0 };
        out.extend_from_slice(&raw.to_bytes());
    }

    fn decode_key(raw: &[u8]) -> Option<Frontend> {
        let key = frontends::FrontendKey::from_bytes(raw.try_into().ok()?);
        let scope = match key.scope {
            frontends::SCOPE_CLUSTER => Scope::Cluster,
            frontends::SCOPE_EXTERNAL => Scope::External,
            _ => return None,
        };
        let (addr, port) = (addr_of(key.addr_be), port_of(key.port_be));
        Some(Frontend { addr, port, proto: Proto(key.proto), scope })
    }

    fn decode_value(raw: &[u8]) -> Option<FrontendValue> {
        let value = frontends::Frontend::from_bytes(raw.try_into().ok()?);
        Some(FrontendValue { service: value.service, count: value.count })
    }
}

/// The slot map.
pub enum Slots {}

impl Layout for Slots {
    type Key = Slot;
    type Value = u32;
    const SPEC: &'static MapSpec = &slots::SPEC;

    fn encode_key(key: &Slot, out: &mut Vec<u8>) {
        let raw = slots::SlotKey { service: key.service, index: key.index };
        out.extend_from_slice(&raw.to_bytes());
    }

    fn encode_value(value: &u32, out: &mut Vec<u8>) {
        out.extend_from_slice(&slots::Slot { backend: *value }.to_bytes());
    }

    fn decode_key(raw: &[u8]) -> Option<Slot> {
        let key = slots::SlotKey::from_bytes(raw.try_into().ok()?);
        Some(Slot { service: key.service, index: key.index })
    }

    fn decode_value(raw: &[u8]) -> Option<u32> {
        Some(slots::Slot::from_bytes(raw.try_into().ok()?).backend)
    }
}

/// The backend map.
pub enum Backends {}

impl Layout for Backends {
    type Key = u32;
    type Value = Backend;
    const SPEC: &'static MapSpec = &backends::SPEC;

    fn encode_key(key: &u32, out: &mut Vec<u8>) {
        out.extend_from_slice(&backends::BackendKey { id: *key }.to_bytes());
    }

    fn encode_value(value: &Backend, out: &mut Vec<u8>) {
        let raw = backends::Backend {
            addr_be: addr_be(value.addr),
            port_be: port_be(value.port),
            proto: value.proto.0,
            flags: 0,
        };
        out.extend_from_slice(&raw.to_bytes());
    }

    fn decode_key(raw: &[u8]) -> Option<u32> {
        Some(backends::BackendKey::from_bytes(raw.try_into().ok()?).id)
    }

    fn decode_value(raw: &[u8]) -> Option<Backend> {
        let value = backends::Backend::from_bytes(raw.try_into().ok()?);
        let (addr, port) = (addr_of(value.addr_be), port_of(value.port_be));
        Some(Backend { addr, port, proto: Proto(value.proto) })
    }
}

/// The exact address map.
pub enum Addresses {}

impl Layout for Addresses {
    type Key = Ipv4Addr;
    type Value = IpEntry;
    const SPEC: &'static MapSpec = &ipcache::SPEC;

    fn encode_key(key: &Ipv4Addr, out: &mut Vec<u8>) {
        out.extend_from_slice(&ipcache::IpcacheKey { addr_be: addr_be(*key) }.to_bytes());
    }

    fn encode_value(value: &IpEntry, out: &mut Vec<u8>) {
        let raw = ipcache::Ipcache {
            tunnel_be: value.tunnel.map_or(0, addr_be),
            identity: value.identity,
            flags: if value.is_node { ipcache::FLAG_NODE } else { 0 },
        };
        out.extend_from_slice(&raw.to_bytes());
    }

    fn decode_key(raw: &[u8]) -> Option<Ipv4Addr> {
        Some(addr_of(ipcache::IpcacheKey::from_bytes(raw.try_into().ok()?).addr_be))
    }

    fn decode_value(raw: &[u8]) -> Option<IpEntry> {
        let value = ipcache::Ipcache::from_bytes(raw.try_into().ok()?);
        Some(IpEntry {
            tunnel: (value.tunnel_be != 0).then(|| addr_of(value.tunnel_be)),
            identity: value.identity,
            is_node: value.flags & ipcache::FLAG_NODE != 0,
        })
    }
}

/// The trie of ranges.
pub enum Ranges {}

impl Layout for Ranges {
    type Key = Ipv4Net;
    type Value = IpEntry;
    const SPEC: &'static MapSpec = &ipcache::CIDR_SPEC;

    fn encode_key(key: &Ipv4Net, out: &mut Vec<u8>) {
        let raw = ipcache::CidrKey {
            prefix_len: u32::from(key.prefix_len()),
            addr_be: addr_be(key.network()),
        };
        out.extend_from_slice(&raw.to_bytes());
    }

    fn encode_value(value: &IpEntry, out: &mut Vec<u8>) {
        Addresses::encode_value(value, out);
    }

    fn decode_key(raw: &[u8]) -> Option<Ipv4Net> {
        let key = ipcache::CidrKey::from_bytes(raw.try_into().ok()?);
        Ipv4Net::new(addr_of(key.addr_be), u8::try_from(key.prefix_len).ok()?).ok()
    }

    fn decode_value(raw: &[u8]) -> Option<IpEntry> {
        Addresses::decode_value(raw)
    }
}

/// A pod of this node as the programs deliver to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalPod {
    /// Interface index of the host-side device.
    pub ifindex: u32,
    /// Security identity.
    pub identity: u32,
    /// Number of the endpoint.
    pub endpoint_id: u32,
    /// MAC in the pod.
    pub pod_mac: [u8; 6],
    /// MAC of the host-side device.
    pub host_mac: [u8; 6],
}

/// The endpoint map.
pub enum LocalPods {}

impl Layout for LocalPods {
    type Key = Ipv4Addr;
    type Value = LocalPod;
    const SPEC: &'static MapSpec = &endpoints::SPEC;

    fn encode_key(key: &Ipv4Addr, out: &mut Vec<u8>) {
        out.extend_from_slice(&endpoints::EndpointKey { addr_be: addr_be(*key) }.to_bytes());
    }

    fn encode_value(value: &LocalPod, out: &mut Vec<u8>) {
        let raw = endpoints::Endpoint {
            ifindex: value.ifindex,
            identity: value.identity,
            endpoint_id: value.endpoint_id,
            flags: 0,
            pod_mac: value.pod_mac,
            host_mac: value.host_mac,
        };
        out.extend_from_slice(&raw.to_bytes());
    }

    fn decode_key(raw: &[u8]) -> Option<Ipv4Addr> {
        Some(addr_of(endpoints::EndpointKey::from_bytes(raw.try_into().ok()?).addr_be))
    }

    fn decode_value(raw: &[u8]) -> Option<LocalPod> {
        let value = endpoints::Endpoint::from_bytes(raw.try_into().ok()?);
        Some(LocalPod {
            ifindex: value.ifindex,
            identity: value.identity,
            endpoint_id: value.endpoint_id,
            pod_mac: value.pod_mac,
            host_mac: value.host_mac,
        })
    }
}

/// What a host-side device may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sender {
    /// The pod's address.
    pub addr: Ipv4Addr,
    /// Security identity.
    pub identity: u32,
    /// Number of the endpoint.
    pub endpoint_id: u32,
    /// MAC in the pod.
    pub pod_mac: [u8; 6],
}

/// The interface map.
pub enum Senders {}

impl Layout for Senders {
    type Key = u32;
    type Value = Sender;
    const SPEC: &'static MapSpec = &ifaces::SPEC;

    fn encode_key(key: &u32, out: &mut Vec<u8>) {
        out.extend_from_slice(&ifaces::IfaceKey { ifindex: *key }.to_bytes());
    }

    fn encode_value(value: &Sender, out: &mut Vec<u8>) {
        let raw = ifaces::Iface {
            addr_be: addr_be(value.addr),
            identity: value.identity,
            endpoint_id: value.endpoint_id,
            pod_mac: value.pod_mac,
            reserved: [0; 2],
        };
        out.extend_from_slice(&raw.to_bytes());
    }

    fn decode_key(raw: &[u8]) -> Option<u32> {
        Some(ifaces::IfaceKey::from_bytes(raw.try_into().ok()?).ifindex)
    }

    fn decode_value(raw: &[u8]) -> Option<Sender> {
        let value = ifaces::Iface::from_bytes(raw.try_into().ok()?);
        Some(Sender {
            addr: addr_of(value.addr_be),
            identity: value.identity,
            endpoint_id: value.endpoint_id,
            pod_mac: value.pod_mac,
        })
    }
}

/// Every map that the agent fills.
pub const FILLED: [&MapSpec; 7] = [
    &frontends::SPEC,
    &slots::SPEC,
    &backends::SPEC,
    &ipcache::SPEC,
    &ipcache::CIDR_SPEC,
    &endpoints::SPEC,
    &ifaces::SPEC,
];

const _: () = assert!(maps::ALL.len() >= FILLED.len());

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<L: Layout>(key: L::Key, value: L::Value) -> (Vec<u8>, Vec<u8>)
    where
        L::Key: PartialEq + std::fmt::Debug,
        L::Value: PartialEq + std::fmt::Debug,
    {
        let (mut raw_key, mut raw_value) = (Vec::new(), Vec::new());
        L::encode_key(&key, &mut raw_key);
        L::encode_value(&value, &mut raw_value);
        assert_eq!(raw_key.len(), L::SPEC.key_size as usize);
        assert_eq!(raw_value.len(), L::SPEC.value_size as usize);
        assert_eq!(L::decode_key(&raw_key), Some(key));
        assert_eq!(L::decode_value(&raw_value), Some(value));
        assert_eq!(L::decode_key(&raw_key[1..]), None);
        (raw_key, raw_value)
    }

    #[test]
    fn meanings_survive_and_addresses_stand_in_network_order() {
        let addr = Ipv4Addr::new(10, 96, 0, 1);
        let frontend = Frontend { addr, port: 443, proto: Proto::TCP, scope: Scope::External };
        let (key, _) =
            round_trip::<Frontends>(frontend, FrontendValue { service: 70_000, count: 3 });
        assert_eq!(&key[..6], &[10, 96, 0, 1, 1, 187]);
        round_trip::<Slots>(Slot { service: 7, index: 2 }, 99);
        round_trip::<Backends>(9, Backend { addr, port: 53, proto: Proto::UDP });
        let entry = IpEntry { tunnel: Some(addr), identity: 300, is_node: true };
        round_trip::<Addresses>(addr, entry);
        let (key, _) = round_trip::<Ranges>("10.1.0.0/16".parse().unwrap(), entry);
        assert_eq!(&key[4..], &[10, 1, 0, 0]);
        let (pod_mac, host_mac) = ([1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1]);
        let pod = LocalPod { ifindex: 5, identity: 300, endpoint_id: 1, pod_mac, host_mac };
        round_trip::<LocalPods>(addr, pod);
        round_trip::<Senders>(5, Sender { addr, identity: 300, endpoint_id: 1, pod_mac });
    }
}
