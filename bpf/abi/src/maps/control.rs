//! What an agent may change while programs run: one entry at index 0.

use super::{MapKind, MapRole, MapSpec};
use crate::bytes::layout;

/// Static's name.
pub const NAME: &str = "skein_control";
/// One entry.
pub const MAX_ENTRIES: u32 = 1;
/// What a loader expects. The key is the index as a `u32`.
pub const SPEC: MapSpec =
    MapSpec::new::<u32, Control>(NAME, MapKind::Array, MAX_ENTRIES, MapRole::Desired);

/// [`Control::events`]: report forwarded packets too (an event for each: for people who watch).
pub const TRACE_FORWARD: u32 = 1 << 0;
/// [`Control::events`]: report translated socket calls.
pub const TRACE_SOCKET: u32 = 1 << 1;

/// Value.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// Bits named `TRACE_*` here. Drops are reported always.
    pub events: u32,
    /// Zero.
    pub reserved: u32,
}

layout!(Control, 8, [4, 4]);
