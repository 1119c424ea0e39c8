//! The answer to a packet that no backend can take: ICMP "port unreachable" from the service
//! address, what kube-proxy answers too. A TCP client in its handshake takes it as a refused
//! connection, a connected UDP client as an error of its next call.
//!
//! The answer is built in place, word by word: the packet behind it is the stack's only copy.

use skein_bpf_abi::proto;

use crate::checksum;
use crate::packet::{self, Packet};

/// What the answer quotes: an IP header without options and eight bytes (RFC 792).
const QUOTED_LEN: u32 = 20 + 8;
/// Offset of the ICMP header in the answer.
const ICMP: u32 = packet::IP + packet::IP_HEADER_LEN;
/// Offset of the quoted packet in the answer.
const QUOTED: u32 = ICMP + packet::ICMP_HEADER_LEN;
/// Length of the answer: Ethernet, IP, ICMP, quoted packet.
pub const ANSWER_LEN: u32 = QUOTED + QUOTED_LEN;

/// Version 4 and a header of five words, with the default type of service.
const VERSION_AND_TOS: u16 = 0x4500u16.to_be();
/// Length field of the answer's IP header.
const TOTAL_LEN: u16 = ((ANSWER_LEN - packet::IP) as u16).to_be();
/// Time to live 64, the usual default of hosts, and the protocol.
const TTL_AND_PROTO: u16 = (64u16 << 8 | proto::ICMP as u16).to_be();
/// Destination unreachable, code "port unreachable".
const TYPE_AND_CODE: u16 = 0x0303u16.to_be();

/// Turns the packet into the answer: back where it came from, on every layer. The packet has an IP
/// header without options and is long enough to quote. `None`: a write was refused and the packet is
/// unusable.
#[inline(always)]
pub fn answer<P: Packet>(packet: &mut P) -> Option<()> {
    done(packet.resize(ANSWER_LEN))?;
    let sum = quote(packet)?;
    let icmp_sum = !checksum::fold(sum + u32::from(TYPE_AND_CODE));
    done(packet.set_u16(ICMP, TYPE_AND_CODE))?;
    done(packet.set_u16(ICMP + packet::ICMP_CHECKSUM, icmp_sum))?;
    done(packet.set_u32(ICMP + 4, 0))?;
    ip_header(packet)?;
    done(packet.swap_macs())
}

/// Copies the packet behind the answer's headers; the one's complement sum of what was copied.
#[inline(always)]
fn quote<P: Packet>(packet: &mut P) -> Option<u32> {
    let mut sum = 0;
    let mut offset = 0;
    while offset < QUOTED_LEN {
        let word = packet.u32_at(packet::IP + offset)?;
        done(packet.set_u32(QUOTED + offset, word))?;
        sum = checksum::add_u32(sum, word);
        offset += 4;
    }
    Some(sum)
}

#[inline(always)]
fn ip_header<P: Packet>(packet: &mut P) -> Option<()> {
    let ip = packet::IP;
    let src_be = packet.u32_at(ip + packet::IP_DST)?;
    let dst_be = packet.u32_at(ip + packet::IP_SRC)?;
    let words = u32::from(VERSION_AND_TOS) + u32::from(TOTAL_LEN) + u32::from(TTL_AND_PROTO);
    let sum = checksum::add_u32(checksum::add_u32(words, src_be), dst_be);
    done(packet.set_u16(ip, VERSION_AND_TOS))?;
    done(packet.set_u16(ip + packet::IP_TOTAL_LEN, TOTAL_LEN))?;
    // Identification, flags and fragment offset.
    done(packet.set_u32(ip + packet::IP_ID, 0))?;
    done(packet.set_u16(ip + packet::IP_TTL, TTL_AND_PROTO))?;
    done(packet.set_u16(ip + packet::IP_CHECKSUM, !checksum::fold(sum)))?;
    done(packet.set_u32(ip + packet::IP_SRC, src_be))?;
    done(packet.set_u32(ip + packet::IP_DST, dst_be))
}

#[inline(always)]
const fn done(written: bool) -> Option<()> {
    if written { Some(()) } else { None }
}
