//! Telling what was done: counters and events.

use skein_bpf_abi::maps::control::{TRACE_FORWARD, TRACE_SOCKET};
use skein_bpf_abi::{Direction, Event, EventKind, Outcome, Reason};

use crate::flow::{Flow, Tuple};
use crate::plan::Plan;
use crate::tables::Tables;

/// Counts the outcome of a packet and reports it: drops and refusals always, the rest on demand.
#[inline(always)]
pub fn packet<T: Tables>(tables: &T, flow: &Flow, plan: &Plan, direction: Direction, ifindex: u32) {
    tables.count(plan.reason, direction, flow.len);
    let kind = match plan.reason.outcome() {
        Outcome::Drop | Outcome::Refuse => EventKind::Drop,
        Outcome::Forward | Outcome::Note if tables.trace_mask() & TRACE_FORWARD != 0 => {
            EventKind::Trace
        }
        Outcome::Forward | Outcome::Note => return,
    };
    let mut event = of_tuple(&flow.tuple, plan.reason, direction, kind);
    event.timestamp_ns = tables.now_ns();
    event.proto = flow.proto;
    event.ifindex = ifindex;
    event.src_identity = plan.src_identity;
    event.dst_identity = plan.dst_identity;
    event.tcp_flags = flow.tcp_flags;
    event.length = flow.len;
    event.endpoint_id = plan.endpoint_id;
    fill_nat(&mut event, &flow.tuple, &plan.to);
    send(tables, &event, direction);
}

/// Counts a frame that could not be parsed. Frames of other protocols are counted without an event:
/// a host sends them all the time.
#[inline(always)]
pub fn unparsed<T: Tables>(
    tables: &T,
    reason: Reason,
    len: u32,
    direction: Direction,
    ifindex: u32,
) {
    tables.count(reason, direction, len);
    if matches!(reason, Reason::NotIpv4) {
        return;
    }
    let mut event = of_tuple(&Tuple::default(), reason, direction, EventKind::Drop);
    event.timestamp_ns = tables.now_ns();
    event.ifindex = ifindex;
    event.length = len;
    send(tables, &event, direction);
}

/// Counts a socket call and reports it: refusals always, translations on demand.
#[inline(always)]
pub fn socket<T: Tables>(
    tables: &T,
    reason: Reason,
    direction: Direction,
    proto: u8,
    asked: &Tuple,
    given: &Tuple,
) {
    tables.count(reason, direction, 0);
    let kind = match reason.outcome() {
        Outcome::Drop | Outcome::Refuse => EventKind::Drop,
        Outcome::Forward | Outcome::Note if tables.trace_mask() & TRACE_SOCKET != 0 => {
            EventKind::Socket
        }
        Outcome::Forward | Outcome::Note => return,
    };
    let mut event = of_tuple(asked, reason, direction, kind);
    event.timestamp_ns = tables.now_ns();
    event.proto = proto;
    fill_nat(&mut event, asked, given);
    send(tables, &event, direction);
}

#[inline(always)]
fn of_tuple(tuple: &Tuple, reason: Reason, direction: Direction, kind: EventKind) -> Event {
    Event {
        kind: kind as u8,
        reason: reason as u8,
        direction: direction as u8,
        src_be: tuple.src_be,
        dst_be: tuple.dst_be,
        src_port_be: tuple.src_port_be,
        dst_port_be: tuple.dst_port_be,
        ..Event::default()
    }
}

/// The address that the translation changed: the new destination, or for an answer the new source.
#[inline(always)]
fn fill_nat(event: &mut Event, from: &Tuple, to: &Tuple) {
    if to.dst_be != from.dst_be || to.dst_port_be != from.dst_port_be {
        event.nat_be = to.dst_be;
        event.nat_port_be = to.dst_port_be;
    } else if to.src_be != from.src_be || to.src_port_be != from.src_port_be {
        event.nat_be = to.src_be;
        event.nat_port_be = to.src_port_be;
    }
}

#[inline(always)]
fn send<T: Tables>(tables: &T, event: &Event, direction: Direction) {
    if !tables.emit(event) {
        tables.count(Reason::EventLost, direction, 0);
    }
}
