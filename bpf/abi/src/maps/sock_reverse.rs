//! What a socket asked for before its call was translated.

use super::{MapKind, MapRole, MapSpec};
use crate::bytes::layout;

/// Static's name.
pub const NAME: &str = "skein_sockrev";
/// Entries: one for each socket and backend that it speaks to. As many flows as conntrack bounds.
pub const MAX_ENTRIES: u32 = 131_072;
/// What a loader expects.
pub const SPEC: MapSpec = MapSpec::new::<SockReverseKey, SockReverse>(
    NAME,
    MapKind::LruHash,
    MAX_ENTRIES,
    MapRole::State,
);

/// Key.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SockReverseKey {
    /// Socket cookie; unique over all namespaces of a running kernel.
    pub cookie: u64,
    /// Backend address.
    pub addr_be: u32,
    /// Backend port.
    pub port_be: u16,
    /// IP protocol.
    pub proto: u8,
    /// Zero.
    pub reserved: u8,
}

/// Value.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SockReverse {
    /// Service address that the program asked for.
    pub addr_be: u32,
    /// Service port.
    pub port_be: u16,
    /// Zero.
    pub reserved: u16,
    /// Service id.
    pub service: u32,
    /// Backend id.
    pub backend: u32,
}

layout!(SockReverseKey, 16, [8, 4, 2, 1, 1]);
layout!(SockReverse, 16, [4, 2, 2, 4, 4]);
