//! Why a packet went where it went. Each run of a program ends in exactly one outcome and counts it
//! once, so that packets sent = packets received + packets counted as dropped or refused. Notes are
//! counted besides.

/// Class of a [`Reason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The packet or call went on.
    Forward,
    /// The packet was answered instead of delivered, or the call failed with an error.
    Refuse,
    /// The packet was dropped without an answer.
    Drop,
    /// Not an end: something worth counting happened on the way.
    Note,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal, $outcome:ident;)+) => {
        /// Final outcome of one program run, or a note on the way.
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $($(#[$doc])* $name = $value,)+
        }

        impl Reason {
            /// Every reason, in the order of numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Name as shown to people and used as a metric label.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// Class of the reason.
            #[must_use]
            pub const fn outcome(self) -> Outcome {
                match self { $(Self::$name => Outcome::$outcome,)+ }
            }

            /// The reason with this number, if it is one.
            #[must_use]
            pub const fn from_u8(value: u8) -> Option<Self> {
                match value { $($value => Some(Self::$name),)+ _ => None }
            }
        }
    };
}

reasons! {
    /// Delivered to a pod of this node.
    ToPod = 1, "to-pod", Forward;
    /// Sent to another node through the tunnel.
    ToOverlay = 2, "to-overlay", Forward;
    /// Left to the node's network stack.
    ToStack = 3, "to-stack", Forward;
    /// Sent back to its sender by a service of which the sender is a backend.
    ToSelf = 4, "to-self", Forward;
    /// Socket call translated from a service address to a backend.
    SocketTranslated = 5, "socket-translated", Forward;

    /// Service without a usable backend.
    NoBackend = 16, "no-backend", Refuse;
    /// Service address, but no service on that port and protocol.
    UnknownServicePort = 17, "unknown-service-port", Refuse;

    /// Shorter than its headers say, or an impossible header.
    Malformed = 32, "malformed", Drop;
    /// Not IPv4: pods speak nothing else here.
    NotIpv4 = 33, "not-ipv4", Drop;
    /// Source address or MAC that is not the sender's own.
    InvalidSource = 34, "invalid-source", Drop;
    /// Device without an entry in the interface map.
    UnknownInterface = 35, "unknown-interface", Drop;
    /// Address inside this node's block that no pod has.
    UnknownEndpoint = 36, "unknown-endpoint", Drop;
    /// The node's stack sent a packet to the pod network that no node owns.
    UnknownDestination = 37, "unknown-destination", Drop;
    /// Later fragment of a service flow whose first fragment was not seen.
    FragmentUnknown = 38, "fragment-unknown", Drop;
    /// Protocol that services do not translate, sent to a service address.
    UnsupportedServiceProtocol = 39, "unsupported-service-protocol", Drop;
    /// No connection-tracking entry could be written.
    ConntrackFull = 40, "conntrack-full", Drop;
    /// Every backend tried already has a flow with the same reply tuple.
    ConntrackCollision = 41, "conntrack-collision", Drop;
    /// Slot or backend missing twice: the maps were being changed.
    ServiceChanging = 42, "service-changing", Drop;
    /// Policy says no.
    PolicyDenied = 43, "policy-denied", Drop;
    /// Tunnelled packet without readable tunnel metadata.
    NoTunnelKey = 44, "no-tunnel-key", Drop;
    /// Packet to the hairpin address that belongs to no hairpin flow.
    UnknownHairpin = 45, "unknown-hairpin", Drop;
    /// A helper refused to rewrite the packet.
    RewriteFailed = 46, "rewrite-failed", Drop;
    /// Flow of the node itself to a service whose backend is the node itself, per packet; only the
    /// socket hooks can serve it.
    HostHairpin = 47, "host-hairpin", Drop;

    /// Destination translated from a service address to a backend.
    ServiceTranslated = 64, "service-translated", Note;
    /// Source translated back from a backend to the service address.
    ReplyTranslated = 65, "reply-translated", Note;
    /// A connection-tracking entry was created.
    ConntrackCreated = 66, "conntrack-created", Note;
    /// An event was lost because the ring buffer was full.
    EventLost = 67, "event-lost", Note;
    /// Address inside an ICMP error translated.
    RelatedTranslated = 68, "related-translated", Note;
    /// Peer address of a socket translated back to the service address.
    SocketReverse = 69, "socket-reverse", Note;
}

/// Number of reason slots in the metrics map; all reasons are smaller.
pub const REASON_SLOTS: u32 = 96;

/// Where a program sits.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From a pod of this node.
    FromPod = 0,
    /// From the tunnel.
    FromOverlay = 1,
    /// From a native device.
    FromNetdev = 2,
    /// From the node's own stack towards pods.
    FromHost = 3,
    /// Socket call of a pod.
    PodSocket = 4,
    /// Socket call of the node itself.
    HostSocket = 5,
}

/// Number of direction slots in the metrics map.
pub const DIRECTION_SLOTS: u32 = 8;

impl Direction {
    /// Every direction.
    pub const ALL: &'static [Self] = &[
        Self::FromPod,
        Self::FromOverlay,
        Self::FromNetdev,
        Self::FromHost,
        Self::PodSocket,
        Self::HostSocket,
    ];

    /// Name as shown to people and used as a metric label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FromPod => "from-pod",
            Self::FromOverlay => "from-overlay",
            Self::FromNetdev => "from-netdev",
            Self::FromHost => "from-host",
            Self::PodSocket => "pod-socket",
            Self::HostSocket => "host-socket",
        }
    }

    /// The direction with this number, if it is one.
    #[must_use]
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::FromPod),
            1 => Some(Self::FromOverlay),
            2 => Some(Self::FromNetdev),
            3 => Some(Self::FromHost),
            4 => Some(Self::PodSocket),
            5 => Some(Self::HostSocket),
            _ => None,
        }
    }
}

const _: () = {
    let mut i = 0;
    while i < Reason::ALL.len() {
        assert!((Reason::ALL[i] as u32) < REASON_SLOTS);
        i += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_round_trip() {
        for (i, a) in Reason::ALL.iter().enumerate() {
            assert_eq!(Reason::from_u8(*a as u8), Some(*a));
            for b in &Reason::ALL[i + 1..] {
                assert_ne!(*a as u8, *b as u8);
                assert_ne!(a.name(), b.name());
            }
        }
        for direction in Direction::ALL {
            assert_eq!(Direction::from_u8(*direction as u8), Some(*direction));
            assert!((*direction as u32) < DIRECTION_SLOTS);
        }
    }
}
