//! Ports of IPv4 datagrams in fragments, written by a first fragment that was translated.

use super::{MapKind, MapRole, MapSpec};
use crate::bytes::layout;

/// Static's name.
pub const NAME: &str = "skein_frag";
/// Entries: datagrams under way at a time; a stack gives up on one after 30 s.
pub const MAX_ENTRIES: u32 = 8192;
/// What a loader expects.
pub const SPEC: MapSpec =
    MapSpec::new::<FragmentKey, Fragment>(NAME, MapKind::LruHash, MAX_ENTRIES, MapRole::State);

/// Key: what all fragments of a datagram share (RFC 791).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FragmentKey {
    /// Source address before translation.
    pub src_be: u32,
    /// Destination address before translation.
    pub dst_be: u32,
    /// Identification field.
    pub id_be: u16,
    /// IP protocol.
    pub proto: u8,
    /// Zero.
    pub reserved: u8,
}

/// Value.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    /// Source port.
    pub src_port_be: u16,
    /// Destination port.
    pub dst_port_be: u16,
}

layout!(FragmentKey, 12, [4, 4, 2, 1, 1]);
layout!(Fragment, 4, [2, 2]);
