//! Service addresses.
//!
//! Every service address has a wildcard entry (port 0, protocol 0) besides one entry for each port.
//! The wildcard is asked first: without it an address is no service and the lookup ends; with it, an
//! unknown port is refused, not routed in a loop.

use super::{MapKind, MapRole, MapSpec};
use crate::bytes::layout;

/// Static's name.
pub const NAME: &str = "skein_frontend";
/// Entries: 50,000 services with two ports and one wildcard each, and some external addresses.
pub const MAX_ENTRIES: u32 = 262_144;
/// What a loader expects.
pub const SPEC: MapSpec =
    MapSpec::new::<FrontendKey, Frontend>(NAME, MapKind::Hash, MAX_ENTRIES, MapRole::Desired);

/// [`FrontendKey::scope`]: clients inside the cluster, and everybody as long as no service has two
/// scopes.
pub const SCOPE_CLUSTER: u8 = 0;
/// [`FrontendKey::scope`]: clients outside the cluster.
pub const SCOPE_EXTERNAL: u8 = 1;

/// [`Frontend::flags`] of a wildcard: ports without an entry are not the service's business (a node
/// address with node ports) and pass untranslated. Without it they are refused.
pub const FLAG_PASS_UNKNOWN: u32 = 1 << 0;

/// Key.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrontendKey {
    /// Service address.
    pub addr_be: u32,
    /// Service port; 0 in the wildcard.
    pub port_be: u16,
    /// IP protocol; 0 in the wildcard.
    pub proto: u8,
    /// One of `SCOPE_*`.
    pub scope: u8,
}

impl FrontendKey {
    /// The wildcard of an address.
    #[must_use]
    #[inline(always)]
    pub const fn wildcard(addr_be: u32) -> Self {
        Self { addr_be, port_be: 0, proto: 0, scope: SCOPE_CLUSTER }
    }
}

/// Value.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frontend {
    /// Service id, first half of the slot key; 0 in the wildcard.
    pub service: u32,
    /// Slots 0 to `count - 1` exist. 0: refuse.
    pub count: u32,
    /// Bits named `FLAG_*` here.
    pub flags: u32,
}

layout!(FrontendKey, 8, [4, 2, 1, 1]);
layout!(Frontend, 12, [4, 4, 4]);
