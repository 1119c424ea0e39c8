//! From bytes to a [`Flow`].

use skein_bpf_abi::{Reason, proto};

use crate::flow::{Flow, Inner, Part, Tuple};
use crate::packet::{self, Packet};

/// EtherType of IPv4, as it stands in memory.
const ETHERTYPE_IPV4: u16 = 0x0800u16.to_be();
/// "More fragments" in the flags and fragment offset word, host order.
const MORE_FRAGMENTS: u16 = 0x2000;
/// Offset bits of the same word.
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// Parses a frame.
///
/// # Errors
///
/// [`Reason::NotIpv4`] for another EtherType, [`Reason::Malformed`] for headers that contradict the
/// length or the standard.
#[inline(always)]
pub fn parse<P: Packet>(packet: &P) -> Result<Flow, Reason> {
    let Some(ethertype) = packet.u16_at(packet::ETH_TYPE) else { return Err(Reason::Malformed) };
    if ethertype != ETHERTYPE_IPV4 {
        return Err(Reason::NotIpv4);
    }
    let mut flow = Flow { len: packet.len(), ..Flow::default() };
    match fill(packet, &mut flow) {
        Some(()) => Ok(flow),
        None => Err(Reason::Malformed),
    }
}

#[inline(always)]
fn fill<P: Packet>(packet: &P, flow: &mut Flow) -> Option<()> {
    let ip = packet::IP;
    let header_len = ip_header_len(packet.u8_at(ip)?)?;
    let total_len = u32::from(u16::from_be(packet.u16_at(ip + packet::IP_TOTAL_LEN)?));
    // A total length of zero is a segment above 64 KiB that the stack has yet to cut.
    if total_len != 0 && (total_len < header_len || ip + total_len > flow.len) {
        return None;
    }
    let fragment = u16::from_be(packet.u16_at(ip + packet::IP_FRAGMENT)?);
    flow.part = part(fragment);
    flow.ip_id_be = packet.u16_at(ip + packet::IP_ID)?;
    flow.proto = packet.u8_at(ip + packet::IP_PROTO)?;
    flow.tuple.src_be = packet.u32_at(ip + packet::IP_SRC)?;
    flow.tuple.dst_be = packet.u32_at(ip + packet::IP_DST)?;
    fill_mac(packet, flow)?;
    let l4 = ip + header_len;
    flow.l4_offset = l4 as u16;
    if matches!(flow.part, Part::Later) {
        return Some(());
    }
    match flow.proto {
        proto::TCP => {
            fill_ports(packet, l4, &mut flow.tuple)?;
            flow.tcp_flags = packet.u8_at(l4 + packet::TCP_FLAGS)?;
            packet.u16_at(l4 + packet::TCP_CHECKSUM)?;
        }
        proto::UDP => {
            fill_ports(packet, l4, &mut flow.tuple)?;
            packet.u16_at(l4 + packet::UDP_CHECKSUM)?;
        }
        proto::ICMP => {
            flow.tuple.dst_port_be = packet.u16_at(l4)?;
            fill_inner(packet, l4, flow);
        }
        _ => {}
    }
    Some(())
}

/// Header length in bytes from the first byte of an IPv4 header.
#[inline(always)]
fn ip_header_len(first: u8) -> Option<u32> {
    let len = u32::from(first & 0x0f) * 4;
    if first >> 4 != 4 || len < packet::IP_HEADER_LEN {
        return None;
    }
    Some(len)
}

#[inline(always)]
fn part(fragment: u16) -> Part {
    if fragment & FRAGMENT_OFFSET != 0 {
        Part::Later
    } else if fragment & MORE_FRAGMENTS != 0 {
        Part::First
    } else {
        Part::Whole
    }
}

#[inline(always)]
fn fill_mac<P: Packet>(packet: &P, flow: &mut Flow) -> Option<()> {
    let high = packet.u16_at(packet::ETH_SRC)?.to_ne_bytes();
    let low = packet.u32_at(packet::ETH_SRC + 2)?.to_ne_bytes();
    flow.src_mac = [high[0], high[1], low[0], low[1], low[2], low[3]];
    Some(())
}

#[inline(always)]
fn fill_ports<P: Packet>(packet: &P, l4: u32, tuple: &mut Tuple) -> Option<()> {
    tuple.src_port_be = packet.u16_at(l4 + packet::L4_SRC_PORT)?;
    tuple.dst_port_be = packet.u16_at(l4 + packet::L4_DST_PORT)?;
    Some(())
}

/// Whether an ICMP type reports about another packet (RFC 792): unreachable, time exceeded,
/// parameter problem.
#[inline(always)]
const fn reports(icmp_type: u8) -> bool {
    icmp_type == 3 || icmp_type == 11 || icmp_type == 12
}

/// Reads the packet inside an ICMP error; leaves `inner` empty when there is none to translate.
#[inline(always)]
fn fill_inner<P: Packet>(packet: &P, l4: u32, flow: &mut Flow) {
    let icmp_type = flow.tuple.dst_port_be.to_ne_bytes()[0];
    if !reports(icmp_type) || !matches!(flow.part, Part::Whole) {
        return;
    }
    let ip = l4 + packet::ICMP_HEADER_LEN;
    let mut inner = Inner::default();
    if read_inner(packet, ip, &mut inner).is_some() {
        flow.inner = inner;
    }
}

#[inline(always)]
fn read_inner<P: Packet>(packet: &P, ip: u32, inner: &mut Inner) -> Option<()> {
    let header_len = ip_header_len(packet.u8_at(ip)?)?;
    let fragment = u16::from_be(packet.u16_at(ip + packet::IP_FRAGMENT)?);
    if fragment & FRAGMENT_OFFSET != 0 {
        return None;
    }
    inner.proto = packet.u8_at(ip + packet::IP_PROTO)?;
    if inner.proto != proto::TCP && inner.proto != proto::UDP {
        return None;
    }
    inner.tuple.src_be = packet.u32_at(ip + packet::IP_SRC)?;
    inner.tuple.dst_be = packet.u32_at(ip + packet::IP_DST)?;
    fill_ports(packet, ip + header_len, &mut inner.tuple)?;
    inner.ip_offset = ip as u16;
    inner.l4_offset = (ip + header_len) as u16;
    Some(())
}
