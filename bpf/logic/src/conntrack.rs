//! Service flows: which translation a packet belongs to, and keeping that knowledge fresh.
//!
//! A flow has two halves. The forward half is found by the tuple that the client sends, the reply
//! half by the tuple that the backend sends.

use skein_bpf_abi::maps::conntrack::{self, Ct, CtKey, KIND_FORWARD, KIND_REPLY, REFRESH_NS};
use skein_bpf_abi::maps::fragments::{Fragment, FragmentKey};
use skein_bpf_abi::{Direction, Reason, proto};

use crate::flow::{Flow, Part, Tuple, tcp};
use crate::tables::Tables;

/// Key of the half that this tuple belongs to.
#[must_use]
#[inline(always)]
pub const fn key(tuple: &Tuple, proto: u8, kind: u8) -> CtKey {
    CtKey {
        src_be: tuple.src_be,
        dst_be: tuple.dst_be,
        src_port_be: tuple.src_port_be,
        dst_port_be: tuple.dst_port_be,
        proto,
        kind,
        reserved: [0; 2],
    }
}

/// The half of that key, unless its life is over.
#[inline(always)]
pub fn live<T: Tables>(tables: &T, key: &CtKey) -> Option<Ct> {
    let entry = tables.ct(key)?;
    if entry.expired(key.proto, tables.now_ns()) {
        return None;
    }
    Some(entry)
}

/// The tuple with ports: a later fragment takes them from what its first one left behind.
#[inline(always)]
pub fn with_ports<T: Tables>(tables: &T, flow: &Flow) -> Option<Tuple> {
    if !matches!(flow.part, Part::Later) {
        return Some(flow.tuple);
    }
    let ports = tables.fragment(&fragment_key(flow))?;
    Some(Tuple { src_port_be: ports.src_port_be, dst_port_be: ports.dst_port_be, ..flow.tuple })
}

/// Remembers the ports of a first fragment that is being translated.
#[inline(always)]
pub fn remember_ports<T: Tables>(tables: &T, flow: &Flow) {
    if matches!(flow.part, Part::First) {
        let value =
            Fragment { src_port_be: flow.tuple.src_port_be, dst_port_be: flow.tuple.dst_port_be };
        tables.fragment_insert(&fragment_key(flow), &value);
    }
}

#[inline(always)]
const fn fragment_key(flow: &Flow) -> FragmentKey {
    FragmentKey {
        src_be: flow.tuple.src_be,
        dst_be: flow.tuple.dst_be,
        id_be: flow.ip_id_be,
        proto: flow.proto,
        reserved: 0,
    }
}

/// What a packet tells about its connection.
#[inline(always)]
const fn seen_flags(flow: &Flow, kind: u8) -> u16 {
    if flow.proto != proto::TCP || matches!(flow.part, Part::Later) {
        return 0;
    }
    let mut flags = 0;
    if flow.tcp_flags & tcp::SYN == 0 {
        flags |= conntrack::FLAG_ESTABLISHED;
    }
    if flow.tcp_flags & tcp::FIN != 0 {
        flags |= if kind == KIND_FORWARD {
            conntrack::FLAG_CLIENT_FIN
        } else {
            conntrack::FLAG_BACKEND_FIN
        };
    }
    if flow.tcp_flags & tcp::RST != 0 {
        flags |= conntrack::FLAG_RST;
    }
    flags
}

/// Flags that the other half must know too.
const CLOSE_FLAGS: u16 =
    conntrack::FLAG_CLIENT_FIN | conntrack::FLAG_BACKEND_FIN | conntrack::FLAG_RST;

/// Keeps both halves of a live flow up to date; writes nothing while nothing changes and the last
/// write is younger than the refresh interval.
#[inline(always)]
pub fn observe<T: Tables>(tables: &T, flow: &Flow, own: &CtKey, entry: &Ct, other: &CtKey) {
    let now = tables.now_ns();
    let seen = seen_flags(flow, own.kind);
    let news = seen & !entry.flags;
    let stale = now > entry.last_seen_ns && now - entry.last_seen_ns > REFRESH_NS;
    if news == 0 && !stale {
        return;
    }
    tables.ct_touch(own, now, seen);
    if tables.ct_touch(other, now, seen & CLOSE_FLAGS) || own.kind == KIND_REPLY {
        return;
    }
    // The reply half was evicted while the client still sends: write it again.
    let value = reply_half(own, entry, now, entry.flags | seen);
    tables.ct_insert(other, &value);
}

/// The reply half that belongs to a forward half.
#[inline(always)]
const fn reply_half(forward: &CtKey, entry: &Ct, now_ns: u64, flags: u16) -> Ct {
    Ct {
        last_seen_ns: now_ns,
        nat_be: forward.dst_be,
        nat_port_be: forward.dst_port_be,
        flags,
        service: entry.service,
        backend: entry.backend,
    }
}

/// The tuple that the backend answers with: from itself to the client, or to the hairpin address
/// when they are the same pod.
#[must_use]
#[inline(always)]
pub const fn reply_tuple(client: &Tuple, nat_be: u32, nat_port_be: u16, hairpin_be: u32) -> Tuple {
    let dst_be = if nat_be == client.src_be { hairpin_be } else { client.src_be };
    Tuple { src_be: nat_be, dst_be, src_port_be: nat_port_be, dst_port_be: client.src_port_be }
}

/// What creating a flow came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// Both halves are in the map.
    Yes,
    /// The backend already answers another flow with the same tuple.
    Collision,
    /// The map refused.
    Full,
}

/// Creates both halves of a flow from `client` to the backend in `entry`; the reply half first, so
/// that an answer never meets a flow that is only half there.
#[inline(always)]
pub fn create<T: Tables>(
    tables: &T,
    flow: &Flow,
    client: &Tuple,
    mut entry: Ct,
    direction: Direction,
) -> Created {
    let forward = key(client, flow.proto, KIND_FORWARD);
    let hairpin_be = tables.hairpin_ip_be();
    let back = reply_tuple(client, entry.nat_be, entry.nat_port_be, hairpin_be);
    let reply = key(&back, flow.proto, KIND_REPLY);
    if let Some(other) = live(tables, &reply)
        && !other.closing()
        && (other.nat_be != client.dst_be || other.nat_port_be != client.dst_port_be)
    {
        return Created::Collision;
    }
    entry.last_seen_ns = tables.now_ns();
    entry.flags = seen_flags(flow, KIND_FORWARD);
    if back.dst_be == hairpin_be {
        entry.flags |= conntrack::FLAG_HAIRPIN;
    }
    let value = reply_half(&forward, &entry, entry.last_seen_ns, entry.flags);
    if !tables.ct_insert(&reply, &value) || !tables.ct_insert(&forward, &entry) {
        return Created::Full;
    }
    tables.count(Reason::ConntrackCreated, direction, flow.len);
    Created::Yes
}

/// Translation of a packet that answers a service flow: from the service, and for a hairpin back to
/// the pod itself.
#[inline(always)]
pub fn reply<T: Tables>(tables: &T, flow: &Flow, direction: Direction) -> Option<Tuple> {
    if !flow.has_ports() {
        return None;
    }
    let tuple = with_ports(tables, flow)?;
    let own = key(&tuple, flow.proto, KIND_REPLY);
    let entry = live(tables, &own)?;
    if flow.proto == proto::TCP && flow.is_syn_ack() && entry.closing() {
        // A new connection by the service would have made the entry anew, so this one goes to the
        // backend itself, from the port that the ended flow had: its packets stay as they are.
        tables.ct_touch(&own, tables.now_ns(), conntrack::FLAG_SUPERSEDED);
        return None;
    }
    let client_be =
        if entry.flags & conntrack::FLAG_HAIRPIN != 0 { tuple.src_be } else { tuple.dst_be };
    let client = Tuple {
        src_be: client_be,
        dst_be: entry.nat_be,
        src_port_be: tuple.dst_port_be,
        dst_port_be: entry.nat_port_be,
    };
    observe(tables, flow, &own, &entry, &key(&client, flow.proto, KIND_FORWARD));
    remember_ports(tables, flow);
    tables.count(Reason::ReplyTranslated, direction, flow.len);
    Some(client.reversed())
}
