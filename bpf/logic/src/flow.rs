//! What a packet says about the flow that it belongs to.

use skein_bpf_abi::addr::Mac;

/// Addresses and ports, network byte order in memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tuple {
    /// Source address.
    pub src_be: u32,
    /// Destination address.
    pub dst_be: u32,
    /// Source port; 0 without ports.
    pub src_port_be: u16,
    /// Destination port; 0 without ports. ICMP: type and code.
    pub dst_port_be: u16,
}

impl Tuple {
    /// The tuple of the opposite direction.
    #[must_use]
    #[inline(always)]
    pub const fn reversed(self) -> Self {
        Self {
            src_be: self.dst_be,
            dst_be: self.src_be,
            src_port_be: self.dst_port_be,
            dst_port_be: self.src_port_be,
        }
    }
}

/// How much of its datagram a packet holds.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    #[default]
    Whole = 0,
    /// The first fragment, with the ports.
    First = 1,
    /// A later fragment, without ports.
    Later = 2,
}

/// TCP flag bits (RFC 9293).
pub mod tcp {
    /// FIN.
    pub const FIN: u8 = 0x01;
    /// SYN.
    pub const SYN: u8 = 0x02;
    /// RST.
    pub const RST: u8 = 0x04;
    /// ACK.
    pub const ACK: u8 = 0x10;
}

/// The packet inside an ICMP error: the start of the one that could not be delivered.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inner {
    /// Its tuple.
    pub tuple: Tuple,
    /// Offset of its IP header; 0: there is none that could be read.
    pub ip_offset: u16,
    /// Offset of its ports.
    pub l4_offset: u16,
    /// Its protocol, TCP or UDP.
    pub proto: u8,
}

/// A parsed packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Addresses and ports.
    pub tuple: Tuple,
    /// Length of the packet, Ethernet header included.
    pub len: u32,
    /// Offset of the transport header.
    pub l4_offset: u16,
    /// Identification of a datagram in fragments.
    pub ip_id_be: u16,
    /// IP protocol.
    pub proto: u8,
    /// TCP flags byte; 0 otherwise.
    pub tcp_flags: u8,
    /// How much of the datagram this is.
    pub part: Part,
    /// Ethernet source.
    pub src_mac: Mac,
    /// What an ICMP error reports about.
    pub inner: Inner,
}

impl Flow {
    /// Whether services translate this protocol.
    #[must_use]
    #[inline(always)]
    pub const fn has_ports(&self) -> bool {
        self.proto == skein_bpf_abi::proto::TCP || self.proto == skein_bpf_abi::proto::UDP
    }

    /// Whether this is an ICMP error about a TCP or UDP packet.
    #[must_use]
    #[inline(always)]
    pub const fn is_error(&self) -> bool {
        self.inner.ip_offset != 0
    }

    /// Whether this packet opens a TCP connection.
    #[must_use]
    #[inline(always)]
    pub const fn is_syn(&self) -> bool {
        self.tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN
    }

    /// A server accepts a TCP connection.
    #[must_use]
    #[inline(always)]
    pub const fn is_syn_ack(&self) -> bool {
        self.tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN | tcp::ACK
    }
}
