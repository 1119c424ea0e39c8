//! Backends of a service, by position. Positions 0 to `count - 1` are filled, so that a choice is one
//! modulo and one lookup.

use super::{MapKind, MapRole, MapSpec};
use crate::bytes::layout;

/// Static's name.
pub const NAME: &str = "skein_slot";
/// Entries: 100,000 service ports with ten backends each.
pub const MAX_ENTRIES: u32 = 1_048_576;
/// What a loader expects.
pub const SPEC: MapSpec =
    MapSpec::new::<SlotKey, Slot>(NAME, MapKind::Hash, MAX_ENTRIES, MapRole::Desired);

/// Key.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotKey {
    /// Service id.
    pub service: u32,
    /// Position, from 0.
    pub index: u32,
}

/// Value.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// Backend id.
    pub backend: u32,
}

layout!(SlotKey, 8, [4, 4]);
layout!(Slot, 4, [4]);
