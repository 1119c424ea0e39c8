//! Service addresses at the socket: the call is translated once, the packets never.

use skein_bpf_abi::config::flags;
use skein_bpf_abi::maps::frontends::{self, FrontendKey, SCOPE_CLUSTER};
use skein_bpf_abi::maps::sock_reverse::{SockReverse, SockReverseKey};
use skein_bpf_abi::{Direction, Reason, proto};

use crate::backend::{self, Chosen};
use crate::flow::Tuple;
use crate::report;
use crate::tables::Tables;

/// Lookups for one call: a reader that meets a service while it is changed tries once more.
const CHOICE_TRIES: u32 = 2;

/// Destination of a socket call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Address.
    pub addr_be: u32,
    /// Port.
    pub port_be: u16,
    /// IP protocol.
    pub proto: u8,
}

/// What becomes of a socket call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Goes on as it is.
    Untouched,
    /// Goes on to this address and port.
    Translated(u32, u16),
    /// Fails with "connection refused".
    Refused,
}

/// Who calls: a pod's socket or one of the node itself.
#[inline(always)]
pub fn direction<T: Tables>(tables: &T, netns_cookie: u64) -> Direction {
    if netns_cookie == tables.netns_cookie() { Direction::HostSocket } else { Direction::PodSocket }
}

/// A call that names a destination. `number` picks the backend: random for a connection, the same
/// for all datagrams of an unconnected socket, so that a conversation stays with one backend.
#[inline(always)]
pub fn forward<T: Tables>(
    tables: &T,
    target: &Target,
    cookie: u64,
    number: u32,
    direction: Direction,
) -> Verdict {
    if !tables.has(flags::SOCKET_LB) || (target.proto != proto::TCP && target.proto != proto::UDP) {
        return Verdict::Untouched;
    }
    let Some(wildcard) = tables.frontend(&FrontendKey::wildcard(target.addr_be)) else {
        return Verdict::Untouched;
    };
    let asked = Tuple { dst_be: target.addr_be, dst_port_be: target.port_be, ..Tuple::default() };
    let refusal = match choose(tables, target, number) {
        Choice::Backend(service, chosen) => {
            let given = chosen.backend;
            if remember(tables, target, cookie, service, &chosen) {
                let to = Tuple { dst_be: given.addr_be, dst_port_be: given.port_be, ..asked };
                let reason = Reason::SocketTranslated;
                report::socket(tables, reason, direction, target.proto, &asked, &to);
                return Verdict::Translated(given.addr_be, given.port_be);
            }
            Reason::ConntrackFull
        }
        Choice::UnknownPort if wildcard.flags & frontends::FLAG_PASS_UNKNOWN != 0 => {
            return Verdict::Untouched;
        }
        Choice::UnknownPort => Reason::UnknownServicePort,
        Choice::NoBackend => Reason::NoBackend,
        Choice::Changing => Reason::ServiceChanging,
    };
    report::socket(tables, refusal, direction, target.proto, &asked, &asked);
    Verdict::Refused
}

enum Choice {
    Backend(u32, Chosen),
    UnknownPort,
    NoBackend,
    Changing,
}

#[inline(always)]
fn choose<T: Tables>(tables: &T, target: &Target, number: u32) -> Choice {
    let key = FrontendKey {
        addr_be: target.addr_be,
        port_be: target.port_be,
        proto: target.proto,
        scope: SCOPE_CLUSTER,
    };
    for _ in 0..CHOICE_TRIES {
        let Some(frontend) = tables.frontend(&key) else { return Choice::UnknownPort };
        if frontend.count == 0 {
            return Choice::NoBackend;
        }
        if let Some(chosen) = backend::at(tables, &frontend, number) {
            return Choice::Backend(frontend.service, chosen);
        }
    }
    Choice::Changing
}

/// Keeps what the socket asked for, so that it never sees the backend's address. An unchanged entry
/// is not written again: unconnected sockets come here with each datagram.
#[inline(always)]
fn remember<T: Tables>(
    tables: &T,
    target: &Target,
    cookie: u64,
    service: u32,
    chosen: &Chosen,
) -> bool {
    let given = Target {
        addr_be: chosen.backend.addr_be,
        port_be: chosen.backend.port_be,
        proto: target.proto,
    };
    let key = reverse_key(&given, cookie);
    let value = SockReverse {
        addr_be: target.addr_be,
        port_be: target.port_be,
        reserved: 0,
        service,
        backend: chosen.id,
    };
    if let Some(known) = tables.sock_reverse(&key)
        && known == value
    {
        return true;
    }
    tables.sock_reverse_insert(&key, &value)
}

#[inline(always)]
const fn reverse_key(peer: &Target, cookie: u64) -> SockReverseKey {
    SockReverseKey {
        cookie,
        addr_be: peer.addr_be,
        port_be: peer.port_be,
        proto: peer.proto,
        reserved: 0,
    }
}

/// A call that shows the peer's address to the program: the service address, if the socket asked for
/// one.
#[inline(always)]
pub fn reverse<T: Tables>(tables: &T, peer: &Target, cookie: u64, direction: Direction) -> Verdict {
    if !tables.has(flags::SOCKET_LB) {
        return Verdict::Untouched;
    }
    let Some(asked) = tables.sock_reverse(&reverse_key(peer, cookie)) else {
        return Verdict::Untouched;
    };
    tables.count(Reason::SocketReverse, direction, 0);
    Verdict::Translated(asked.addr_be, asked.port_be)
}

/// The IPv4 address inside an IPv6 socket address given as four words in memory order, if it is a
/// mapped one (`::ffff:a.b.c.d`).
#[must_use]
#[inline(always)]
pub const fn mapped_v4(words: [u32; 4]) -> Option<u32> {
    if words[0] == 0 && words[1] == 0 && words[2] == MAPPED_PREFIX { Some(words[3]) } else { None }
}

/// Third word of every mapped address.
pub const MAPPED_PREFIX: u32 = 0x0000_ffffu32.to_be();
