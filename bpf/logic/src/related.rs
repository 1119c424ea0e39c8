//! ICMP errors about service flows. The packet quoted in the error carries the tuple of the other
//! side of the translation; the receiver must find its own there, or it cannot tell which socket is
//! meant (refused datagrams, path MTU).

use skein_bpf_abi::maps::conntrack::{FLAG_HAIRPIN, KIND_FORWARD, KIND_REPLY};

use crate::conntrack;
use crate::flow::{Flow, Tuple};
use crate::tables::Tables;

/// New tuples of an ICMP error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// Of the error itself.
    pub outer: Tuple,
    /// Of the packet inside.
    pub inner: Tuple,
}

/// An error from a client about an answer that it got from the service: to the backend, about what
/// the backend sent.
#[inline(always)]
pub fn from_client<T: Tables>(tables: &T, flow: &Flow) -> Option<Translation> {
    if !flow.is_error() {
        return None;
    }
    let sent = flow.inner.tuple.reversed();
    let entry = conntrack::live(tables, &conntrack::key(&sent, flow.inner.proto, KIND_FORWARD))?;
    let hairpin_be = tables.hairpin_ip_be();
    let inner = conntrack::reply_tuple(&sent, entry.nat_be, entry.nat_port_be, hairpin_be);
    let outer = Tuple { src_be: inner.dst_be, dst_be: entry.nat_be, ..flow.tuple };
    Some(Translation { outer, inner })
}

/// An error from a backend or from the way there, about what a client sent to the service: to the
/// client, about the packet as the client knows it.
#[inline(always)]
pub fn to_client<T: Tables>(tables: &T, flow: &Flow) -> Option<Translation> {
    if !flow.is_error() {
        return None;
    }
    let quoted = flow.inner.tuple;
    let answer = quoted.reversed();
    let entry = conntrack::live(tables, &conntrack::key(&answer, flow.inner.proto, KIND_REPLY))?;
    let hairpin = entry.flags & FLAG_HAIRPIN != 0;
    let client_be = if hairpin { quoted.dst_be } else { quoted.src_be };
    let inner = Tuple {
        src_be: client_be,
        dst_be: entry.nat_be,
        src_port_be: quoted.src_port_be,
        dst_port_be: entry.nat_port_be,
    };
    // The backend speaks as the service; a router on the way keeps its own address.
    let from_backend = flow.tuple.src_be == quoted.dst_be;
    let src_be = if from_backend { entry.nat_be } else { flow.tuple.src_be };
    Some(Translation { outer: Tuple { src_be, dst_be: client_be, ..flow.tuple }, inner })
}
