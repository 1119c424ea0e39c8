//! Ring buffer of [`crate::Event`] records.

use super::{MapKind, MapRole, MapSpec};

/// Static's name.
pub const NAME: &str = "skein_events";
/// Size in bytes, a power of two and a multiple of the page: 16,384 records of 64 bytes (8 of them header), a tenth of a
/// second of a node that drops 160,000 packets a second.
pub const BYTES: u32 = 1 << 20;
/// What a loader expects.
pub const SPEC: MapSpec = MapSpec {
    name: NAME,
    kind: MapKind::RingBuf,
    key_size: 0,
    value_size: 0,
    max_entries: BYTES,
    flags: 0,
    role: MapRole::Observed,
};
