//! Properties that hold for every input.

use proptest::prelude::*;
use skein_bpf_abi::proto::{TCP, UDP};
use skein_bpf_abi::{Direction, Outcome};
use skein_bpf_logic::backend::{flow_hash, position};
use skein_bpf_logic::checksum;
use skein_bpf_logic::flow::{Tuple, tcp};
use skein_bpf_logic::host::{Egress, Frame, Origin, Packet5, Ran};
use skein_bpf_logic::parse::parse;
use skein_bpf_logic::testing::sample::{self, *};

/// The checksum of RFC 1071 over whole words, computed from scratch.
fn full_sum(words: &[u16]) -> u16 {
    let mut sum: u64 = words.iter().map(|word| u64::from(*word)).sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !u16::try_from(sum).expect("folded")
}

/// One's complement has two zeros; both mean the same checksum.
fn same_sum(a: u16, b: u16) -> bool {
    a == b || (a == 0 && b == 0xffff) || (a == 0xffff && b == 0)
}

fn tuples() -> impl Strategy<Value = Tuple> {
    (any::<u32>(), any::<u32>(), any::<u16>(), any::<u16>()).prop_map(
        |(src_be, dst_be, src_port_be, dst_port_be)| Tuple {
            src_be,
            dst_be,
            src_port_be,
            dst_port_be,
        },
    )
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let frame = Frame(bytes);
        if let Ok(flow) = parse(&frame) {
            prop_assert!(usize::from(flow.l4_offset) <= frame.0.len());
            prop_assert!(usize::from(flow.inner.l4_offset) <= frame.0.len());
        }
    }

    #[test]
    fn any_ipv4_bytes_end_in_one_counted_outcome(
        mut bytes in prop::collection::vec(any::<u8>(), 34..120),
        direction in prop::sample::select(vec![
            Direction::FromPod, Direction::FromOverlay, Direction::FromNetdev, Direction::FromHost,
        ]),
        plausible in any::<bool>(),
    ) {
        bytes[12..14].copy_from_slice(&[8, 0]);
        if plausible {
            bytes[14] = 0x45;
            let total = u16::try_from(bytes.len() - 14).expect("a short frame");
            bytes[16..18].copy_from_slice(&total.to_be_bytes());
            bytes[6..12].copy_from_slice(&MAC_A);
            bytes[26..30].copy_from_slice(&POD_A.to_ne_bytes());
            bytes[30..34].copy_from_slice(&VIP.to_ne_bytes());
        }
        let node = sample::node();
        let ran = node.run(&mut Frame(bytes), direction, DEVICE_A, Some(9));
        let ends: u64 = node
            .metrics()
            .iter()
            .filter(|((reason, _), _)| reason.outcome() != Outcome::Note)
            .map(|(_, metric)| metric.packets)
            .sum();
        prop_assert_eq!(ends, 1);
        let counted = node.metrics().contains_key(&(ran.reason(), direction));
        prop_assert!(counted, "{:?} is not counted", ran);
        if let Ran::Planned(plan) = ran {
            prop_assert!(plan.reason.outcome() != Outcome::Note);
        }
    }

    #[test]
    fn incremental_checksums_equal_full_ones(
        mut words in prop::collection::vec(any::<u16>(), 4..40),
        at in any::<prop::sample::Index>(),
        new in any::<u32>(),
    ) {
        let before = full_sum(&words);
        let at = at.index(words.len() - 1);
        let old = [words[at], words[at + 1]];
        let fresh = [new as u16, (new >> 16) as u16];
        words[at..at + 2].copy_from_slice(&fresh);
        let old_word = u32::from(old[0]) | u32::from(old[1]) << 16;
        prop_assert!(same_sum(checksum::updated_u32(before, old_word, new), full_sum(&words)));
        words[at + 1] = old[1];
        prop_assert!(same_sum(checksum::updated_u16(before, old[0], fresh[0]), full_sum(&words)));
    }

    #[test]
    fn a_position_is_always_a_slot(number in any::<u32>(), count in 1..=u32::MAX) {
        prop_assert!(position(number, count) < count);
    }

    #[test]
    fn every_flow_to_a_service_comes_back_as_it_went(port in 1024..u16::MAX, udp in any::<bool>()) {
        let node = sample::node();
        let (proto, vport) = if udp { (UDP, PORT_DNS) } else { (TCP, PORT_WEB) };
        let client = sample::tuple(POD_A, port, VIP, vport);
        let origin = Origin::Pod { ifindex: DEVICE_A };
        let there = node.send(origin, &Packet5::opening(proto, client));
        prop_assert!(there.tuple.dst_be == POD_B || there.tuple.dst_be == POD_R);
        let answer = Packet5::answer(proto, there.tuple.reversed());
        let back = match there.egress {
            Egress::Pod { ifindex, .. } => node.send(Origin::Pod { ifindex }, &answer),
            Egress::Node { .. } => node.send(Origin::Overlay { identity: 3003 }, &answer),
            other => return Err(TestCaseError::fail(format!("went to {other:?}"))),
        };
        prop_assert_eq!(back.tuple, client.reversed());
        prop_assert_eq!(back.egress, Egress::Pod { endpoint_id: 11, ifindex: DEVICE_A });
    }

    #[test]
    fn a_forged_source_never_leaves(tuple in tuples(), proto in any::<u8>(), flags in any::<u8>()) {
        prop_assume!(tuple.src_be != POD_A);
        let node = sample::node();
        let packet = Packet5 { tuple, proto, tcp_flags: flags };
        let answer = node.send(Origin::Pod { ifindex: DEVICE_A }, &packet);
        prop_assert_eq!(answer.egress, Egress::Dropped);
    }
}

#[test]
fn flows_spread_evenly() {
    /// Backends, and flows for each on average.
    const BACKENDS: u32 = 7;
    const EACH: u32 = 1000;
    let mut hits = [0u32; BACKENDS as usize];
    for n in 0..BACKENDS * EACH {
        // Clients use ports one after the other; nothing else differs.
        let port = u16::try_from(1024 + n).expect("a port");
        let hash = flow_hash(&sample::tuple(POD_A, port, VIP, PORT_WEB), TCP);
        hits[position(hash, BACKENDS) as usize] += 1;
    }
    assert!(hits.iter().all(|hits| (850..1150).contains(hits)), "{hits:?}");
}

#[test]
fn time_ends_flows() {
    use skein_bpf_abi::maps::conntrack::{TIMEOUT_TCP_NS, TIMEOUT_TCP_SYN_NS};
    let mut node = sample::node();
    let client = sample::tuple(POD_A, 40000, VIP, PORT_LOCAL);
    let origin = Origin::Pod { ifindex: DEVICE_A };
    let syn = Packet5::opening(TCP, client);
    let ack = Packet5 { tcp_flags: tcp::ACK, ..syn };
    node.send(origin, &syn);
    sample::service(&mut node, 7, VIP, PORT_LOCAL, TCP, &[BACKEND_R]);
    // A flow that never got further than its first packet is forgotten soon.
    node.set_now_ns(TIMEOUT_TCP_SYN_NS);
    assert_eq!(node.send(origin, &syn).tuple.dst_be, POD_B);
    node.set_now_ns(3 * TIMEOUT_TCP_SYN_NS);
    assert_eq!(node.send(origin, &ack).tuple.dst_be, POD_R);
    // An open one lives on through hours of silence, and its packets keep it alive.
    sample::service(&mut node, 7, VIP, PORT_LOCAL, TCP, &[BACKEND_B]);
    node.set_now_ns(TIMEOUT_TCP_NS);
    assert_eq!(node.send(origin, &ack).tuple.dst_be, POD_R);
    node.set_now_ns(2 * TIMEOUT_TCP_NS - 1);
    assert_eq!(node.send(origin, &ack).tuple.dst_be, POD_R);
    node.set_now_ns(4 * TIMEOUT_TCP_NS);
    assert_eq!(node.send(origin, &ack).tuple.dst_be, POD_B);
}
