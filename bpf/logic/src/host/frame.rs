//! A frame in ordinary memory, and a builder of test frames.

use std::vec;
use std::vec::Vec;

use skein_bpf_abi::addr::Mac;
use skein_bpf_abi::proto;

use crate::checksum;
use crate::flow::Tuple;
use crate::packet::{self, L4Checksum, Packet};

/// An Ethernet frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame(pub Vec<u8>);

impl Frame {
    fn bytes<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let start = usize::try_from(offset).ok()?;
        let bytes = self.0.get(start..start.checked_add(N)?)?;
        bytes.try_into().ok()
    }

    fn put(&mut self, offset: u32, bytes: &[u8]) -> bool {
        let start = offset as usize;
        let Some(place) = self.0.get_mut(start..start + bytes.len()) else { return false };
        place.copy_from_slice(bytes);
        true
    }

    fn fix_l4(&mut self, field: L4Checksum, update: impl Fn(u16) -> u16) -> bool {
        let Some(old) = self.u16_at(field.offset) else { return false };
        if field.udp && old == 0 {
            return true;
        }
        let new = update(old);
        self.set_u16(field.offset, if field.udp && new == 0 { 0xffff } else { new })
    }
}

impl Packet for Frame {
    fn len(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }
    fn u16_at(&self, offset: u32) -> Option<u16> {
        Some(u16::from_ne_bytes(self.bytes(offset)?))
    }
    fn u32_at(&self, offset: u32) -> Option<u32> {
        Some(u32::from_ne_bytes(self.bytes(offset)?))
    }
    fn set_u16(&mut self, offset: u32, value: u16) -> bool {
        self.put(offset, &value.to_ne_bytes())
    }
    fn set_u32(&mut self, offset: u32, value: u32) -> bool {
        self.put(offset, &value.to_ne_bytes())
    }
    fn set_macs(&mut self, dst: Mac, src: Mac) -> bool {
        self.put(0, &dst) && self.put(packet::ETH_SRC, &src)
    }
    fn swap_macs(&mut self) -> bool {
        let (Some(dst), Some(src)) = (self.bytes(0), self.bytes(packet::ETH_SRC)) else {
            return false;
        };
        self.set_macs(src, dst)
    }
    fn resize(&mut self, len: u32) -> bool {
        self.0.resize(len as usize, 0);
        true
    }
    fn fix_l3_u32(&mut self, offset: u32, old: u32, new: u32) -> bool {
        let Some(field) = self.u16_at(offset) else { return false };
        self.set_u16(offset, checksum::updated_u32(field, old, new))
    }
    fn fix_l4_u32(&mut self, field: L4Checksum, old: u32, new: u32) -> bool {
        self.fix_l4(field, |sum| checksum::updated_u32(sum, old, new))
    }
    fn fix_l4_u16(&mut self, field: L4Checksum, old: u16, new: u16) -> bool {
        self.fix_l4(field, |sum| checksum::updated_u16(sum, old, new))
    }
}

/// Builds frames with right lengths and checksums.
#[derive(Clone, Debug)]
pub struct FrameBuilder {
    src_mac: Mac,
    dst_mac: Mac,
    tuple: Tuple,
    proto: u8,
    tcp_flags: u8,
    ip_id: u16,
    fragment: u16,
    payload: Vec<u8>,
    transport: Option<Vec<u8>>,
    udp_checksum: bool,
}

impl FrameBuilder {
    /// A frame of this protocol and tuple, with 16 bytes of payload.
    #[must_use]
    pub fn new(proto: u8, tuple: Tuple) -> Self {
        Self {
            src_mac: [2, 0, 0, 0, 0, 1],
            dst_mac: [2, 0, 0, 0, 0, 2],
            tuple,
            proto,
            tcp_flags: crate::flow::tcp::ACK,
            ip_id: 1,
            fragment: 0,
            payload: (0..16).collect(),
            transport: None,
            udp_checksum: true,
        }
    }

    /// Source and destination MAC.
    #[must_use]
    pub fn macs(mut self, src: Mac, dst: Mac) -> Self {
        self.src_mac = src;
        self.dst_mac = dst;
        self
    }

    /// TCP flags byte.
    #[must_use]
    pub fn tcp_flags(mut self, flags: u8) -> Self {
        self.tcp_flags = flags;
        self
    }

    /// Bytes behind the transport header.
    #[must_use]
    pub fn payload(mut self, payload: Vec<u8>) -> Self {
        self.payload = payload;
        self
    }

    /// Identification, and flags with fragment offset (in units of eight bytes).
    #[must_use]
    pub fn fragment(mut self, ip_id: u16, word: u16) -> Self {
        self.ip_id = ip_id;
        self.fragment = word;
        self
    }

    /// Sends UDP without a checksum.
    #[must_use]
    pub fn without_udp_checksum(mut self) -> Self {
        self.udp_checksum = false;
        self
    }

    /// Everything behind the IP header, as given (later fragments, ICMP errors).
    #[must_use]
    pub fn transport(mut self, bytes: Vec<u8>) -> Self {
        self.transport = Some(bytes);
        self
    }

    /// An ICMP message of this type and code with `body` behind its header.
    #[must_use]
    pub fn icmp(src_be: u32, dst_be: u32, icmp_type: u8, code: u8, body: &[u8]) -> Self {
        let mut message = vec![icmp_type, code, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(body);
        let sum = !sum_of(0, &message);
        message[2..4].copy_from_slice(&sum.to_ne_bytes());
        let tuple = Tuple { src_be, dst_be, ..Tuple::default() };
        Self::new(proto::ICMP, tuple).transport(message)
    }

    /// The frame.
    #[must_use]
    pub fn build(&self) -> Frame {
        let transport = self.transport.clone().unwrap_or_else(|| self.own_transport());
        let mut frame = Vec::with_capacity(34 + transport.len());
        frame.extend_from_slice(&self.dst_mac);
        frame.extend_from_slice(&self.src_mac);
        frame.extend_from_slice(&[8, 0]);
        frame.extend_from_slice(&self.ip_header(transport.len()));
        frame.extend_from_slice(&transport);
        Frame(frame)
    }

    fn ip_header(&self, transport_len: usize) -> [u8; 20] {
        let total = u16::try_from(20 + transport_len).unwrap_or(u16::MAX);
        let mut header = [0; 20];
        header[0] = 0x45;
        header[2..4].copy_from_slice(&total.to_be_bytes());
        header[4..6].copy_from_slice(&self.ip_id.to_be_bytes());
        header[6..8].copy_from_slice(&self.fragment.to_be_bytes());
        header[8] = 64;
        header[9] = self.proto;
        header[12..16].copy_from_slice(&self.tuple.src_be.to_ne_bytes());
        header[16..20].copy_from_slice(&self.tuple.dst_be.to_ne_bytes());
        let sum = !sum_of(0, &header);
        header[10..12].copy_from_slice(&sum.to_ne_bytes());
        header
    }

    fn own_transport(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&self.tuple.src_port_be.to_ne_bytes());
        bytes.extend_from_slice(&self.tuple.dst_port_be.to_ne_bytes());
        let checksum_at = match self.proto {
            proto::TCP => {
                bytes.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1, 0x50, self.tcp_flags]);
                bytes.extend_from_slice(&[0xff, 0xff, 0, 0, 0, 0]);
                Some(16)
            }
            proto::UDP => {
                let len = u16::try_from(8 + self.payload.len()).unwrap_or(u16::MAX);
                bytes.extend_from_slice(&len.to_be_bytes());
                bytes.extend_from_slice(&[0, 0]);
                self.udp_checksum.then_some(6)
            }
            _ => {
                bytes.clear();
                None
            }
        };
        bytes.extend_from_slice(&self.payload);
        if let Some(at) = checksum_at {
            let sum = !sum_of(self.pseudo_header_sum(bytes.len()), &bytes);
            let sum = if self.proto == proto::UDP && sum == 0 { 0xffff } else { sum };
            bytes[at..at + 2].copy_from_slice(&sum.to_ne_bytes());
        }
        bytes
    }

    fn pseudo_header_sum(&self, transport_len: usize) -> u32 {
        let sum = checksum::add_u32(checksum::add_u32(0, self.tuple.src_be), self.tuple.dst_be);
        let len = u16::try_from(transport_len).unwrap_or(u16::MAX);
        sum + u32::from(u16::from(self.proto).to_be()) + u32::from(len.to_be())
    }
}

/// One's complement sum of bytes, on top of a running sum; zero means a right checksum when the
/// field is included and the result is inverted.
pub(crate) fn sum_of(start: u32, bytes: &[u8]) -> u16 {
    let mut sum = u64::from(start);
    for pair in bytes.chunks(2) {
        let word = [pair[0], pair.get(1).copied().unwrap_or(0)];
        sum += u64::from(u16::from_ne_bytes(word));
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    u16::try_from(sum).unwrap_or(u16::MAX)
}
