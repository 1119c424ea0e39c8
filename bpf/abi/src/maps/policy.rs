//! The slot for policy: who may send what to a pod whose endpoint has `FLAG_POLICY_INGRESS`. The
//! exact entry is asked first, then the identity with port and protocol 0; no entry means no.

use super::{MapKind, MapRole, MapSpec};
use crate::bytes::layout;

/// Static's name.
pub const NAME: &str = "skein_policy";
/// Entries: 250 pods with 256 peers each.
pub const MAX_ENTRIES: u32 = 65_536;
/// What a loader expects.
pub const SPEC: MapSpec =
    MapSpec::new::<PolicyKey, Policy>(NAME, MapKind::Hash, MAX_ENTRIES, MapRole::Desired);

/// [`Policy::verdict`]: deliver.
pub const VERDICT_ALLOW: u32 = 1;
/// [`Policy::verdict`]: drop, even if a broader entry allows.
pub const VERDICT_DENY: u32 = 2;

/// [`PolicyKey::direction`]: packets to the pod.
pub const DIRECTION_INGRESS: u8 = 0;

/// Key.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyKey {
    /// Endpoint id of the local pod.
    pub endpoint_id: u32,
    /// Identity of the peer.
    pub identity: u32,
    /// Destination port; 0 for any.
    pub port_be: u16,
    /// IP protocol; 0 for any.
    pub proto: u8,
    /// One of `DIRECTION_*`.
    pub direction: u8,
}

/// Value.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// One of `VERDICT_*`.
    pub verdict: u32,
}

layout!(PolicyKey, 12, [4, 4, 2, 1, 1]);
layout!(Policy, 4, [4]);
