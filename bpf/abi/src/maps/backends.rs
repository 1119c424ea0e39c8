//! Backends by id. A backend that leaves its service's slots stays here while connections drain.

use super::{MapKind, MapRole, MapSpec};
use crate::bytes::layout;

/// Static's name.
pub const NAME: &str = "skein_backend";
/// Entries: 100,000 endpoints with two ports each, and draining ones.
pub const MAX_ENTRIES: u32 = 262_144;
/// What a loader expects.
pub const SPEC: MapSpec =
    MapSpec::new::<BackendKey, Backend>(NAME, MapKind::Hash, MAX_ENTRIES, MapRole::Desired);

/// [`Backend::flags`]: takes no new flows; open ones continue.
pub const FLAG_TERMINATING: u8 = 1 << 0;

/// Key.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendKey {
    /// Backend id, from 1; 0 means none.
    pub id: u32,
}

/// Value.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backend {
    /// Address.
    pub addr_be: u32,
    /// Port.
    pub port_be: u16,
    /// IP protocol.
    pub proto: u8,
    /// Bits named `FLAG_*` here.
    pub flags: u8,
}

layout!(BackendKey, 4, [4]);
layout!(Backend, 8, [4, 2, 1, 1]);
