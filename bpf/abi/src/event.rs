//! Records of the event ring buffer.

use crate::bytes::layout;

/// What an [`Event`] reports.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A packet or a call was dropped or refused; `reason` says why. Always written.
    Drop = 1,
    /// A packet was forwarded; `reason` says which way. Written while
    /// [`crate::maps::control::TRACE_FORWARD`] is set.
    Trace = 2,
    /// A socket call was translated. Written while [`crate::maps::control::TRACE_SOCKET`] is set.
    Socket = 3,
}

impl EventKind {
    /// The kind with this number, if it is one.
    #[must_use]
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            1 => Some(Self::Drop),
            2 => Some(Self::Trace),
            3 => Some(Self::Socket),
            _ => None,
        }
    }

    /// Name as shown to people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Trace => "trace",
            Self::Socket => "socket",
        }
    }
}

/// One record. The tuple is the one the sender used; `nat_*` is where it went, or zero when it was
/// not translated.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub timestamp_ns: u64,
    /// An [`EventKind`].
    pub kind: u8,
    /// A [`crate::Reason`].
    pub reason: u8,
    /// A [`crate::Direction`].
    pub direction: u8,
    /// IP protocol number.
    pub proto: u8,
    /// Device whose hook saw the packet; 0 for socket calls.
    pub ifindex: u32,
    /// Identity of the sender.
    pub src_identity: u32,
    /// Identity of the receiver; 0 when not known.
    pub dst_identity: u32,
    /// Source address.
    pub src_be: u32,
    /// Destination address.
    pub dst_be: u32,
    /// Source port; 0 without ports.
    pub src_port_be: u16,
    /// Destination port; ICMP: type in the first byte, code in the second.
    pub dst_port_be: u16,
    /// Address after translation: the backend, or for a reply the service address.
    pub nat_be: u32,
    /// Port after translation.
    pub nat_port_be: u16,
    /// TCP flags byte of the packet; 0 otherwise.
    pub tcp_flags: u8,
    /// Zero.
    pub reserved: u8,
    /// Length of the packet in bytes, Ethernet header included; 0 for socket calls.
    pub length: u32,
    /// Endpoint id of the local pod concerned; 0 for none.
    pub endpoint_id: u32,
    /// Zero; keeps the size a multiple of eight.
    pub reserved2: u32,
}

layout!(Event, 56, [8, 1, 1, 1, 1, 4, 4, 4, 4, 4, 2, 2, 4, 2, 1, 1, 4, 4, 4]);
