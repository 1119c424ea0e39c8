//! Service flows that were translated per packet. Two entries for a flow: the forward one holds the
//! backend, the reply one the service address. Nothing else is tracked.

use super::{MapKind, MapRole, MapSpec};
use crate::bytes::layout;

/// Static's name.
pub const NAME: &str = "skein_ct";
/// Entries, two per flow: 131,072 service flows at a time, about 28 MB (the kernel allocates LRU
/// maps at once).
pub const MAX_ENTRIES: u32 = 262_144;
/// What a loader expects.
pub const SPEC: MapSpec =
    MapSpec::new::<CtKey, Ct>(NAME, MapKind::LruHash, MAX_ENTRIES, MapRole::State);

/// Nanoseconds in a second.
pub const SECOND_NS: u64 = 1_000_000_000;
/// Life of a TCP flow of which only the first packet was seen: the usual limit of SYN retries.
pub const TIMEOUT_TCP_SYN_NS: u64 = 60 * SECOND_NS;
/// Life of an idle TCP flow: longer than the two hours of default TCP keepalive.
pub const TIMEOUT_TCP_NS: u64 = 8000 * SECOND_NS;
/// Life of a TCP flow after RST or FIN from both sides: late segments still find their way.
pub const TIMEOUT_TCP_CLOSE_NS: u64 = 10 * SECOND_NS;
/// Life of an idle UDP flow.
pub const TIMEOUT_UDP_NS: u64 = 60 * SECOND_NS;
/// An entry's time is written at most this often, so that a busy flow does not dirty its cache line
/// with each packet. Small against every life above.
pub const REFRESH_NS: u64 = SECOND_NS;

/// [`CtKey::kind`]: from the client to the service address.
pub const KIND_FORWARD: u8 = 0;
/// [`CtKey::kind`]: from the backend to the client (or to the hairpin address).
pub const KIND_REPLY: u8 = 1;

/// [`Ct::flags`]: a packet without SYN was seen, so the flow is more than a try.
pub const FLAG_ESTABLISHED: u16 = 1 << 0;
/// [`Ct::flags`]: the client sent FIN. Both halves of a flow carry all close flags.
pub const FLAG_CLIENT_FIN: u16 = 1 << 1;
/// [`Ct::flags`]: client and backend are the same pod; the source is translated too.
pub const FLAG_HAIRPIN: u16 = 1 << 2;
/// [`Ct::flags`]: the backend sent FIN.
pub const FLAG_BACKEND_FIN: u16 = 1 << 3;
/// [`Ct::flags`]: either side sent RST.
pub const FLAG_RST: u16 = 1 << 4;
/// [`Ct::flags`]: a younger connection, not of the service, has the tuple of a flow that had ended.
pub const FLAG_SUPERSEDED: u16 = 1 << 5;

/// Key: the tuple as the packet carries it before translation.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CtKey {
    /// Source address.
    pub src_be: u32,
    /// Destination address.
    pub dst_be: u32,
    /// Source port.
    pub src_port_be: u16,
    /// Destination port.
    pub dst_port_be: u16,
    /// IP protocol.
    pub proto: u8,
    /// One of `KIND_*`.
    pub kind: u8,
    /// Zero.
    pub reserved: [u8; 2],
}

/// Value.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ct {
    /// When a packet of this half was last seen (`CLOCK_MONOTONIC`, to within [`REFRESH_NS`]).
    pub last_seen_ns: u64,
    /// Forward: the backend. Reply: the service address.
    pub nat_be: u32,
    /// Forward: the backend's port. Reply: the service port.
    pub nat_port_be: u16,
    /// Bits named `FLAG_*` here.
    pub flags: u16,
    /// Service id.
    pub service: u32,
    /// Backend id.
    pub backend: u32,
}

layout!(CtKey, 16, [4, 4, 2, 2, 1, 1, 2]);
layout!(Ct, 24, [8, 4, 2, 2, 4, 4]);

impl Ct {
    /// Whether a TCP flow has ended: reset, or closed by both sides. A flow closed by one side may
    /// carry data of the other for as long as it likes.
    #[must_use]
    #[inline(always)]
    pub const fn closing(&self) -> bool {
        const BOTH: u16 = FLAG_CLIENT_FIN | FLAG_BACKEND_FIN;
        self.flags & FLAG_RST != 0 || self.flags & BOTH == BOTH
    }

    /// How long the entry lives after `last_seen_ns`, in nanoseconds.
    #[must_use]
    #[inline(always)]
    pub const fn timeout_ns(&self, proto: u8) -> u64 {
        if proto != crate::proto::TCP {
            TIMEOUT_UDP_NS
        } else if self.closing() {
            TIMEOUT_TCP_CLOSE_NS
        } else if self.flags & FLAG_ESTABLISHED != 0 {
            TIMEOUT_TCP_NS
        } else {
            TIMEOUT_TCP_SYN_NS
        }
    }

    /// Whether the entry no longer counts at `now_ns`. A clock that stands behind the entry (another
    /// CPU's view) is not an expiry.
    #[must_use]
    #[inline(always)]
    pub const fn expired(&self, proto: u8, now_ns: u64) -> bool {
        self.flags & FLAG_SUPERSEDED != 0
            || now_ns > self.last_seen_ns && now_ns - self.last_seen_ns > self.timeout_ns(proto)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto;

    #[test]
    fn life_follows_protocol_and_state() {
        let mut entry = Ct { last_seen_ns: 1000, ..Ct::default() };
        assert_eq!(entry.timeout_ns(proto::UDP), TIMEOUT_UDP_NS);
        assert_eq!(entry.timeout_ns(proto::TCP), TIMEOUT_TCP_SYN_NS);
        entry.flags = FLAG_ESTABLISHED;
        assert_eq!(entry.timeout_ns(proto::TCP), TIMEOUT_TCP_NS);
        entry.flags |= FLAG_CLIENT_FIN;
        assert_eq!(entry.timeout_ns(proto::TCP), TIMEOUT_TCP_NS, "half closed");
        entry.flags |= FLAG_BACKEND_FIN;
        assert_eq!(entry.timeout_ns(proto::TCP), TIMEOUT_TCP_CLOSE_NS);
        assert!(!entry.expired(proto::TCP, 1000 + TIMEOUT_TCP_CLOSE_NS));
        assert!(entry.expired(proto::TCP, 1001 + TIMEOUT_TCP_CLOSE_NS));
        assert!(!entry.expired(proto::TCP, 0), "another CPU's clock may stand behind");
        entry.flags |= FLAG_SUPERSEDED;
        assert!(entry.expired(proto::TCP, 0));
    }
}
