//! Pods of this node, by host-side device: who may send what.

use super::{MapKind, MapRole, MapSpec};
use crate::addr::Mac;
use crate::bytes::layout;

/// Static's name.
pub const NAME: &str = "skein_iface";
/// Entries: as many as endpoints.
pub const MAX_ENTRIES: u32 = super::endpoints::MAX_ENTRIES;
/// What a loader expects.
pub const SPEC: MapSpec =
    MapSpec::new::<IfaceKey, Iface>(NAME, MapKind::Hash, MAX_ENTRIES, MapRole::Desired);

/// Key.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IfaceKey {
    /// Interface index of the host-side device.
    pub ifindex: u32,
}

/// Value.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Iface {
    /// The only source address that the pod may use.
    pub addr_be: u32,
    /// Security identity.
    pub identity: u32,
    /// Number of the endpoint on this node.
    pub endpoint_id: u32,
    /// The only source MAC that the pod may use (checked with `CHECK_MAC`).
    pub pod_mac: Mac,
    /// Zero.
    pub reserved: [u8; 2],
}

layout!(IfaceKey, 4, [4]);
layout!(Iface, 20, [4, 4, 4, 6, 2]);
