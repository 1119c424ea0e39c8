//! Counters by reason and direction, per CPU, so that no lock or atomic stands in a packet's way.

use super::{MapKind, MapRole, MapSpec};
use crate::bytes::layout;
use crate::reason::{DIRECTION_SLOTS, Direction, REASON_SLOTS, Reason};

/// Static's name.
pub const NAME: &str = "skein_metrics";
/// Entries: one for each reason and direction.
pub const MAX_ENTRIES: u32 = REASON_SLOTS * DIRECTION_SLOTS;
/// What a loader expects. The key is the index as a `u32`.
pub const SPEC: MapSpec =
    MapSpec::new::<u32, Metric>(NAME, MapKind::PerCpuArray, MAX_ENTRIES, MapRole::Observed);

/// Value, one for each CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metric {
    /// Packets or calls.
    pub packets: u64,
    /// Bytes, Ethernet header included; 0 for socket calls.
    pub bytes: u64,
}

layout!(Metric, 16, [8, 8]);

/// Index of a counter.
#[must_use]
#[inline(always)]
pub const fn index(reason: Reason, direction: Direction) -> u32 {
    reason as u32 * DIRECTION_SLOTS + direction as u32
}
