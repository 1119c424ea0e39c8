//! Constants of one node, in the object's read-only data.

use crate::addr::ip_be;
use crate::bytes::layout;

/// Symbol of the [`NodeConfig`] in the object's read-only data; the loader overrides it before load.
pub const NODE_CONFIG: &str = "NODE_CONFIG";

/// Link-local address that a pod sees as its peer when a service sends it back to itself. It never
/// leaves the node. Same value as Cilium's default, so that policies written for one fit the other.
pub const HAIRPIN_IP_BE: u32 = ip_be([169, 254, 42, 1]);

/// Bits of [`NodeConfig::flags`].
pub mod flags {
    /// Translate service addresses at the socket (cgroup hooks).
    pub const SOCKET_LB: u32 = 1 << 0;
    /// Translate service addresses per packet (tc hooks, conntrack).
    pub const PACKET_LB: u32 = 1 << 1;
    /// Reach pods of other nodes through the VXLAN device; without it the stack routes natively.
    pub const TUNNEL: u32 = 1 << 2;
    /// Also compare the source MAC of a pod's frames with the one in the interface map.
    pub const CHECK_MAC: u32 = 1 << 3;
    /// All known bits.
    pub const ALL: u32 = SOCKET_LB | PACKET_LB | TUNNEL | CHECK_MAC;
}

/// What a node's programs need to know about the node. Overridden once, before load; the verifier
/// then removes the branches of modes that are off.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// Network namespace cookie of the node's own namespace (`SO_NETNS_COOKIE`). Sockets of another
    /// namespace below the node's cgroup are pods'.
    pub netns_cookie: u64,
    /// [`crate::LAYOUT_VERSION`] of the loader, so that a dump of the object shows it.
    pub layout_version: u32,
    /// Bits of [`flags`].
    pub flags: u32,
    /// Address of the node on the native network; the tunnel's outer source.
    pub node_ip_be: u32,
    /// Address of `skein_host`, the pods' gateway.
    pub router_ip_be: u32,
    /// Peer address for hairpin flows, normally [`HAIRPIN_IP_BE`].
    pub hairpin_ip_be: u32,
    /// Largest IP packet, in bytes, that the pod network carries unfragmented.
    pub mtu: u32,
    /// Interface index of the VXLAN device; 0 without [`flags::TUNNEL`].
    pub overlay_ifindex: u32,
    /// Interface index of `skein_host`.
    pub host_ifindex: u32,
    /// Security identity of this node towards its own pods, normally [`crate::identity::HOST`].
    pub node_identity: u32,
    /// Zero; keeps the size a multiple of eight.
    pub reserved: u32,
}

layout!(NodeConfig, 48, [8, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4]);

impl NodeConfig {
    /// What the object holds before a loader overrides it: every mode off.
    pub const EMPTY: Self = Self {
        netns_cookie: 0,
        layout_version: crate::LAYOUT_VERSION,
        flags: 0,
        node_ip_be: 0,
        router_ip_be: 0,
        hairpin_ip_be: HAIRPIN_IP_BE,
        mtu: 1500,
        overlay_ifindex: 0,
        host_ifindex: 0,
        node_identity: crate::identity::HOST,
        reserved: 0,
    };
}
