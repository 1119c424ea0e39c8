//! Conversions between what people write and network byte order in memory.

/// Ethernet address.
pub type Mac = [u8; 6];

/// IPv4 address of these octets, as a `_be` field holds it.
#[must_use]
#[inline(always)]
pub const fn ip_be(octets: [u8; 4]) -> u32 {
    u32::from_ne_bytes(octets)
}

/// Octets of a `_be` address.
#[must_use]
#[inline(always)]
pub const fn octets(ip_be: u32) -> [u8; 4] {
    ip_be.to_ne_bytes()
}

/// Port in network byte order, as a `_be` field holds it.
#[must_use]
#[inline(always)]
pub const fn port_be(port: u16) -> u16 {
    port.to_be()
}
