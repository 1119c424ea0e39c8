//! Carrying out a plan's translations on the packet, checksums included.

use skein_bpf_abi::proto;

use crate::flow::{Flow, Part, Tuple};
use crate::packet::{self, L4Checksum, Packet};
use crate::plan::Plan;

/// Makes the packet carry the plan's tuples. False: a write was refused and the packet is unusable.
#[inline(always)]
pub fn rewrite<P: Packet>(packet: &mut P, flow: &Flow, plan: &Plan) -> bool {
    if flow.is_error() && !inner(packet, flow, &plan.inner_to) {
        return false;
    }
    addresses(packet, flow, &plan.to) && ports(packet, flow, &plan.to)
}

/// The transport checksum of a packet that has one within reach.
#[inline(always)]
const fn l4_checksum(flow: &Flow) -> Option<L4Checksum> {
    if matches!(flow.part, Part::Later) {
        return None;
    }
    let l4 = flow.l4_offset as u32;
    match flow.proto {
        proto::TCP => {
            Some(L4Checksum { offset: l4 + packet::TCP_CHECKSUM, pseudo: true, udp: false })
        }
        proto::UDP => {
            Some(L4Checksum { offset: l4 + packet::UDP_CHECKSUM, pseudo: true, udp: true })
        }
        _ => None,
    }
}

#[inline(always)]
fn addresses<P: Packet>(packet: &mut P, flow: &Flow, to: &Tuple) -> bool {
    address(packet, flow, packet::IP_SRC, flow.tuple.src_be, to.src_be)
        && address(packet, flow, packet::IP_DST, flow.tuple.dst_be, to.dst_be)
}

#[inline(always)]
fn address<P: Packet>(packet: &mut P, flow: &Flow, field: u32, old: u32, new: u32) -> bool {
    if old == new {
        return true;
    }
    if let Some(checksum) = l4_checksum(flow)
        && !packet.fix_l4_u32(checksum, old, new)
    {
        return false;
    }
    packet.fix_l3_u32(packet::IP + packet::IP_CHECKSUM, old, new)
        && packet.set_u32(packet::IP + field, new)
}

#[inline(always)]
fn ports<P: Packet>(packet: &mut P, flow: &Flow, to: &Tuple) -> bool {
    let Some(checksum) = l4_checksum(flow) else { return true };
    let checksum = L4Checksum { pseudo: false, ..checksum };
    let l4 = u32::from(flow.l4_offset);
    let from = &flow.tuple;
    port(packet, checksum, l4 + packet::L4_SRC_PORT, from.src_port_be, to.src_port_be)
        && port(packet, checksum, l4 + packet::L4_DST_PORT, from.dst_port_be, to.dst_port_be)
}

#[inline(always)]
fn port<P: Packet>(packet: &mut P, checksum: L4Checksum, offset: u32, old: u16, new: u16) -> bool {
    old == new || (packet.fix_l4_u16(checksum, old, new) && packet.set_u16(offset, new))
}

/// Rewrites the packet inside an ICMP error. A changed address and the inner header checksum that
/// follows it cancel out in the ICMP checksum; ports do not. The inner transport checksum is left:
/// mostly it is not even quoted, and nobody checks it.
#[inline(always)]
fn inner<P: Packet>(packet: &mut P, flow: &Flow, to: &Tuple) -> bool {
    let from = &flow.inner.tuple;
    let ip = u32::from(flow.inner.ip_offset);
    let l4 = u32::from(flow.inner.l4_offset);
    let icmp = u32::from(flow.l4_offset);
    let checksum = L4Checksum { offset: icmp + packet::ICMP_CHECKSUM, pseudo: false, udp: false };
    inner_address(packet, ip, packet::IP_SRC, from.src_be, to.src_be)
        && inner_address(packet, ip, packet::IP_DST, from.dst_be, to.dst_be)
        && port(packet, checksum, l4 + packet::L4_SRC_PORT, from.src_port_be, to.src_port_be)
        && port(packet, checksum, l4 + packet::L4_DST_PORT, from.dst_port_be, to.dst_port_be)
}

#[inline(always)]
fn inner_address<P: Packet>(packet: &mut P, ip: u32, field: u32, old: u32, new: u32) -> bool {
    old == new
        || (packet.fix_l3_u32(ip + packet::IP_CHECKSUM, old, new)
            && packet.set_u32(ip + field, new))
}
