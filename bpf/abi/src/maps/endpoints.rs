//! Pods of this node, by IPv4 address.

use super::{MapKind, MapRole, MapSpec};
use crate::addr::Mac;
use crate::bytes::layout;

/// Static's name.
pub const NAME: &str = "skein_endpoint";
/// Entries: pods on one node. A /20 block, the largest that a node takes, has as many addresses.
pub const MAX_ENTRIES: u32 = 4096;
/// What a loader expects.
pub const SPEC: MapSpec =
    MapSpec::new::<EndpointKey, Endpoint>(NAME, MapKind::Hash, MAX_ENTRIES, MapRole::Desired);

/// [`Endpoint::flags`]: policy for packets to this pod is enforced; without it they are allowed.
pub const FLAG_POLICY_INGRESS: u32 = 1 << 0;

/// Key.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointKey {
    /// The pod's address.
    pub addr_be: u32,
}

/// Value.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Interface index of the host-side device, in the node's namespace.
    pub ifindex: u32,
    /// Security identity.
    pub identity: u32,
    /// Number of the endpoint on this node.
    pub endpoint_id: u32,
    /// Bits named `FLAG_*` here.
    pub flags: u32,
    /// MAC of the device inside the pod: destination of delivered frames.
    pub pod_mac: Mac,
    /// MAC of the host-side device: source of delivered frames.
    pub host_mac: Mac,
}

layout!(EndpointKey, 4, [4]);
layout!(Endpoint, 28, [4, 4, 4, 4, 6, 6]);
