//! What decisions read and write: the node's constants and its maps.

use skein_bpf_abi::maps::backends::Backend;
use skein_bpf_abi::maps::conntrack::{Ct, CtKey};
use skein_bpf_abi::maps::endpoints::Endpoint;
use skein_bpf_abi::maps::fragments::{Fragment, FragmentKey};
use skein_bpf_abi::maps::frontends::{Frontend, FrontendKey};
use skein_bpf_abi::maps::ifaces::Iface;
use skein_bpf_abi::maps::ipcache::Ipcache;
use skein_bpf_abi::maps::policy::{Policy, PolicyKey};
use skein_bpf_abi::maps::slots::{Slot, SlotKey};
use skein_bpf_abi::maps::sock_reverse::{SockReverse, SockReverseKey};
use skein_bpf_abi::{Direction, Event, NodeConfig, Reason};

/// Constants of the node; one method a field, because the kernel side reads each from read-only data
/// by itself, where the verifier knows its value and prunes what is off.
pub trait Node {
    /// `flags` of [`NodeConfig`].
    fn flags(&self) -> u32;
    /// `netns_cookie` of [`NodeConfig`].
    fn netns_cookie(&self) -> u64;
    /// `node_ip_be` of [`NodeConfig`].
    fn node_ip_be(&self) -> u32;
    /// `router_ip_be` of [`NodeConfig`].
    fn router_ip_be(&self) -> u32;
    /// `hairpin_ip_be` of [`NodeConfig`].
    fn hairpin_ip_be(&self) -> u32;
    /// `overlay_ifindex` of [`NodeConfig`].
    fn overlay_ifindex(&self) -> u32;
    /// `host_ifindex` of [`NodeConfig`].
    fn host_ifindex(&self) -> u32;
    /// `node_identity` of [`NodeConfig`].
    fn node_identity(&self) -> u32;

    /// Whether all bits of `mask` are set in the flags.
    #[inline(always)]
    fn has(&self, mask: u32) -> bool {
        self.flags() & mask == mask
    }

    /// Whether the address is this node's own.
    #[inline(always)]
    fn is_own_address(&self, addr_be: u32) -> bool {
        addr_be == self.router_ip_be() || addr_be == self.node_ip_be()
    }
}

impl Node for NodeConfig {
    fn flags(&self) -> u32 {
        self.flags
    }
    fn netns_cookie(&self) -> u64 {
        self.netns_cookie
    }
    fn node_ip_be(&self) -> u32 {
        self.node_ip_be
    }
    fn router_ip_be(&self) -> u32 {
        self.router_ip_be
    }
    fn hairpin_ip_be(&self) -> u32 {
        self.hairpin_ip_be
    }
    fn overlay_ifindex(&self) -> u32 {
        self.overlay_ifindex
    }
    fn host_ifindex(&self) -> u32 {
        self.host_ifindex
    }
    fn node_identity(&self) -> u32 {
        self.node_identity
    }
}

/// The maps, a clock and a random number. Values are copies: an entry may change or go at any time.
pub trait Tables: Node {
    /// Pod of this node by address.
    fn endpoint(&self, addr_be: u32) -> Option<Endpoint>;
    /// Pod of this node by host-side device.
    fn iface(&self, ifindex: u32) -> Option<Iface>;
    /// Exact address of the cluster.
    fn ipcache(&self, addr_be: u32) -> Option<Ipcache>;
    /// Longest matching range.
    fn cidr(&self, addr_be: u32) -> Option<Ipcache>;
    /// Service address and port.
    fn frontend(&self, key: &FrontendKey) -> Option<Frontend>;
    /// Position in a service's backends.
    fn slot(&self, key: &SlotKey) -> Option<Slot>;
    /// Backend by id.
    fn backend(&self, id: u32) -> Option<Backend>;
    /// Half of a tracked flow, expired or not.
    fn ct(&self, key: &CtKey) -> Option<Ct>;
    /// Creates or replaces half of a flow; false if the map refuses.
    fn ct_insert(&self, key: &CtKey, value: &Ct) -> bool;
    /// Adds flags and sets the time of half of a flow; false if it is not there.
    fn ct_touch(&self, key: &CtKey, now_ns: u64, flags: u16) -> bool;
    /// Ports of a datagram in fragments.
    fn fragment(&self, key: &FragmentKey) -> Option<Fragment>;
    /// Remembers the ports of a datagram in fragments; a full map costs that datagram only.
    fn fragment_insert(&self, key: &FragmentKey, value: &Fragment);
    /// Policy entry.
    fn policy(&self, key: &PolicyKey) -> Option<Policy>;
    /// What a socket asked for.
    fn sock_reverse(&self, key: &SockReverseKey) -> Option<SockReverse>;
    /// Remembers what a socket asked for; false if the map refuses.
    fn sock_reverse_insert(&self, key: &SockReverseKey, value: &SockReverse) -> bool;
    /// Bits `TRACE_*` of the control map.
    fn trace_mask(&self) -> u32;
    /// Adds one packet of `bytes` to a counter.
    fn count(&self, reason: Reason, direction: Direction, bytes: u32);
    /// Writes an event; false if there is no room.
    fn emit(&self, event: &Event) -> bool;
    /// `CLOCK_MONOTONIC` in nanoseconds.
    fn now_ns(&self) -> u64;
    /// A random number.
    fn random(&self) -> u32;
}
