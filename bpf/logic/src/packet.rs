//! Reading and changing a packet. Offsets count from the Ethernet header; values are the bytes as
//! they stand (network order in memory).

use skein_bpf_abi::addr::Mac;

/// Offset of the Ethernet source address.
pub const ETH_SRC: u32 = 6;
/// Offset of the EtherType.
pub const ETH_TYPE: u32 = 12;
/// Offset of the IP header; the size of an Ethernet header.
pub const IP: u32 = 14;
/// Offset, from the IP header, of the total length.
pub const IP_TOTAL_LEN: u32 = 2;
/// Offset, from the IP header, of the identification.
pub const IP_ID: u32 = 4;
/// Offset, from the IP header, of flags and fragment offset.
pub const IP_FRAGMENT: u32 = 6;
/// Offset, from the IP header, of the time to live.
pub const IP_TTL: u32 = 8;
/// Offset, from the IP header, of the protocol.
pub const IP_PROTO: u32 = 9;
/// Offset, from the IP header, of the header checksum.
pub const IP_CHECKSUM: u32 = 10;
/// Offset, from the IP header, of the source address.
pub const IP_SRC: u32 = 12;
/// Offset, from the IP header, of the destination address.
pub const IP_DST: u32 = 16;
/// Size of an IP header without options.
pub const IP_HEADER_LEN: u32 = 20;
/// Offset, from the TCP or UDP header, of the source port.
pub const L4_SRC_PORT: u32 = 0;
/// Offset, from the TCP or UDP header, of the destination port.
pub const L4_DST_PORT: u32 = 2;
/// Offset, from the TCP header, of the flags byte.
pub const TCP_FLAGS: u32 = 13;
/// Offset, from the TCP header, of the checksum.
pub const TCP_CHECKSUM: u32 = 16;
/// Offset, from the UDP header, of the checksum.
pub const UDP_CHECKSUM: u32 = 6;
/// Offset, from the ICMP header, of the checksum.
pub const ICMP_CHECKSUM: u32 = 2;
/// Size of an ICMP header; an error's inner packet follows.
pub const ICMP_HEADER_LEN: u32 = 8;

/// Bytes from the start that a program may need: Ethernet, IP with options, ICMP, inner IP with
/// options, inner ports.
pub const HEADERS_MAX: u32 = 14 + 60 + 8 + 60 + 8;

/// Which checksum field a change concerns and how it is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct L4Checksum {
    /// Offset of the field.
    pub offset: u32,
    /// The changed value is part of the pseudo header (an address).
    pub pseudo: bool,
    /// UDP: zero means "no checksum" and stays; a result of zero is written as all ones.
    pub udp: bool,
}

/// A packet that can be read and changed. Reads beyond the end are `None`; writes answer whether
/// they were done.
pub trait Packet {
    /// Length in bytes, Ethernet header included.
    fn len(&self) -> u32;
    /// Whether there is nothing at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Two bytes.
    fn u16_at(&self, offset: u32) -> Option<u16>;
    /// One byte that is not the last one: the verifier does not follow the comparison that a
    /// compiler makes of a check for a single byte, so another must stand behind it.
    #[inline(always)]
    fn u8_at(&self, offset: u32) -> Option<u8> {
        Some(self.u16_at(offset)?.to_ne_bytes()[0])
    }
    /// Four bytes.
    fn u32_at(&self, offset: u32) -> Option<u32>;
    /// Writes two bytes.
    fn set_u16(&mut self, offset: u32, value: u16) -> bool;
    /// Writes four bytes.
    fn set_u32(&mut self, offset: u32, value: u32) -> bool;
    /// Writes destination and source MAC.
    fn set_macs(&mut self, dst: Mac, src: Mac) -> bool;
    /// Exchanges destination and source MAC.
    fn swap_macs(&mut self) -> bool;
    /// Cuts or lengthens the packet; new bytes are zero.
    fn resize(&mut self, len: u32) -> bool;
    /// Adapts an IP header checksum to a changed four-byte value.
    fn fix_l3_u32(&mut self, offset: u32, old: u32, new: u32) -> bool;
    /// Adapts a transport checksum to a changed four-byte value.
    fn fix_l4_u32(&mut self, field: L4Checksum, old: u32, new: u32) -> bool;
    /// Adapts a transport checksum to a changed two-byte value.
    fn fix_l4_u16(&mut self, field: L4Checksum, old: u16, new: u16) -> bool;
}
