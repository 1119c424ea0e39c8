//! From a service address to a backend, per packet.

use skein_bpf_abi::maps::conntrack::{Ct, CtKey, KIND_FORWARD, KIND_REPLY};
use skein_bpf_abi::maps::frontends::{self, Frontend, FrontendKey, SCOPE_CLUSTER};
use skein_bpf_abi::{Direction, Reason, proto};

use crate::backend;
use crate::conntrack::{self, Created};
use crate::flow::{Flow, Tuple};
use crate::related;
use crate::tables::Tables;

/// Positions tried for a new flow. The second try also covers a reader that meets a service while it
/// is changed; a third and fourth are for tuples that collide.
const CHOICE_TRIES: u32 = 4;

/// Added to the flow's number for each further try: 2^32 divided by the golden ratio, so that tries
/// land far apart.
const NEXT_TRY: u32 = 0x9e37_79b9;

/// What the service step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The destination is no service, or not on this port: the packet stays as it is.
    Untouched,
    /// The packet is to carry this tuple.
    Translated(Tuple),
    /// An ICMP error about a service flow: the outer and the inner tuple.
    Related(related::Translation),
    /// The packet ends here.
    Ended(Reason),
}

/// Translates a packet on its way from a client.
#[inline(always)]
pub fn forward<T: Tables>(tables: &T, flow: &Flow, direction: Direction) -> Step {
    let Some(wildcard) = tables.frontend(&FrontendKey::wildcard(flow.tuple.dst_be)) else {
        return Step::Untouched;
    };
    let passes_unknown = wildcard.flags & frontends::FLAG_PASS_UNKNOWN != 0;
    if !flow.has_ports() {
        return without_ports(tables, flow, passes_unknown, direction);
    }
    let Some(client) = conntrack::with_ports(tables, flow) else {
        return if passes_unknown { Step::Untouched } else { Step::Ended(Reason::FragmentUnknown) };
    };
    let own = conntrack::key(&client, flow.proto, KIND_FORWARD);
    if let Some(entry) = conntrack::live(tables, &own)
        && keeps_backend(tables, flow, &entry)
    {
        return known(tables, flow, &client, &own, &entry, direction);
    }
    opened(tables, flow, &client, passes_unknown, direction)
}

/// A packet to a service address whose protocol is not translated.
#[inline(always)]
fn without_ports<T: Tables>(
    tables: &T,
    flow: &Flow,
    passes_unknown: bool,
    direction: Direction,
) -> Step {
    if let Some(translation) = related::from_client(tables, flow) {
        tables.count(Reason::RelatedTranslated, direction, flow.len);
        return Step::Related(translation);
    }
    if passes_unknown { Step::Untouched } else { Step::Ended(Reason::UnsupportedServiceProtocol) }
}

/// Whether a packet of a tracked flow stays with its backend. An open TCP connection always does; a
/// new connection on the same tuple, and a datagram, only while the backend takes new flows.
#[inline(always)]
fn keeps_backend<T: Tables>(tables: &T, flow: &Flow, entry: &Ct) -> bool {
    if flow.proto == proto::TCP {
        if !flow.is_syn() {
            return true;
        }
        if entry.closing() {
            return false;
        }
    }
    backend::takes_new(tables, entry.backend, entry.nat_be, entry.nat_port_be)
}

#[inline(always)]
fn known<T: Tables>(
    tables: &T,
    flow: &Flow,
    client: &Tuple,
    own: &CtKey,
    entry: &Ct,
    direction: Direction,
) -> Step {
    let back =
        conntrack::reply_tuple(client, entry.nat_be, entry.nat_port_be, tables.hairpin_ip_be());
    let other = conntrack::key(&back, flow.proto, KIND_REPLY);
    conntrack::observe(tables, flow, own, entry, &other);
    translated(tables, flow, back.reversed(), direction)
}

#[inline(always)]
fn translated<T: Tables>(tables: &T, flow: &Flow, to: Tuple, direction: Direction) -> Step {
    conntrack::remember_ports(tables, flow);
    tables.count(Reason::ServiceTranslated, direction, flow.len);
    Step::Translated(to)
}

/// First packet of a flow, or first after its entry or backend went.
#[inline(always)]
fn opened<T: Tables>(
    tables: &T,
    flow: &Flow,
    client: &Tuple,
    passes_unknown: bool,
    direction: Direction,
) -> Step {
    let key = FrontendKey {
        addr_be: client.dst_be,
        port_be: client.dst_port_be,
        proto: flow.proto,
        scope: SCOPE_CLUSTER,
    };
    let mut number = backend::flow_hash(client, flow.proto);
    let mut reason = Reason::ServiceChanging;
    for _ in 0..CHOICE_TRIES {
        let Some(frontend) = tables.frontend(&key) else {
            let unknown = Step::Ended(Reason::UnknownServicePort);
            return if passes_unknown { Step::Untouched } else { unknown };
        };
        if frontend.count == 0 {
            return Step::Ended(Reason::NoBackend);
        }
        match attempt(tables, flow, client, &frontend, number, direction) {
            Attempt::Done(to) => return translated(tables, flow, to, direction),
            Attempt::Again(why) => reason = why,
        }
        number = number.wrapping_add(NEXT_TRY);
    }
    Step::Ended(reason)
}

enum Attempt {
    Done(Tuple),
    Again(Reason),
}

#[inline(always)]
fn attempt<T: Tables>(
    tables: &T,
    flow: &Flow,
    client: &Tuple,
    frontend: &Frontend,
    number: u32,
    direction: Direction,
) -> Attempt {
    let Some(chosen) = backend::at(tables, frontend, number) else {
        return Attempt::Again(Reason::ServiceChanging);
    };
    let backend = chosen.backend;
    let entry = Ct {
        last_seen_ns: 0,
        nat_be: backend.addr_be,
        nat_port_be: backend.port_be,
        flags: 0,
        service: frontend.service,
        backend: chosen.id,
    };
    match conntrack::create(tables, flow, client, entry, direction) {
        Created::Yes => {
            let hairpin_be = tables.hairpin_ip_be();
            let back = conntrack::reply_tuple(client, entry.nat_be, entry.nat_port_be, hairpin_be);
            Attempt::Done(back.reversed())
        }
        Created::Collision => Attempt::Again(Reason::ConntrackCollision),
        Created::Full => Attempt::Again(Reason::ConntrackFull),
    }
}
