//! Reserved security identities, numbered as Cilium numbers them, so that keys and flows can be
//! read by tools that know those numbers.

/// Nothing is known about the address.
pub const UNKNOWN: u32 = 0;
/// The node itself.
pub const HOST: u32 = 1;
/// Anything outside the cluster.
pub const WORLD: u32 = 2;
/// Health endpoint of a node.
pub const HEALTH: u32 = 4;
/// A pod whose labels are not known yet.
pub const INIT: u32 = 5;
/// Another node of the cluster.
pub const REMOTE_NODE: u32 = 6;

/// Bits of an identity that fit the 24 bits of a VXLAN network identifier.
pub const VNI_MASK: u32 = 0x00ff_ffff;
