//! Internet checksum arithmetic (RFC 1071, RFC 1624). Words are taken as they stand in memory: the
//! one's complement sum does not care about byte order as long as it is the same everywhere.

/// Adds a four-byte value to a running sum.
#[must_use]
#[inline(always)]
pub const fn add_u32(sum: u32, value: u32) -> u32 {
    sum + (value >> 16) + (value & 0xffff)
}

/// Folds a running sum of up to 2^15 words to 16 bits.
#[must_use]
#[inline(always)]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    sum as u16
}

/// The checksum field after a four-byte value changed (RFC 1624, equation 3).
#[must_use]
#[inline(always)]
pub const fn updated_u32(field: u16, old: u32, new: u32) -> u16 {
    !fold(add_u32(add_u32(!field as u32, !old), new))
}

/// The checksum field after a two-byte value changed (RFC 1624, equation 3).
#[must_use]
#[inline(always)]
pub const fn updated_u16(field: u16, old: u16, new: u16) -> u16 {
    !fold(!field as u32 + !old as u32 + new as u32)
}
