//! Socket calls over memory.

use skein_bpf_abi::maps::control::TRACE_SOCKET;
use skein_bpf_abi::proto::{ICMP, TCP, UDP};
use skein_bpf_abi::{Direction, EventKind, Reason};
use skein_bpf_logic::host::SocketAnswer;
use skein_bpf_logic::socket::{self, MAPPED_PREFIX, Target, Verdict, mapped_v4};
use skein_bpf_logic::testing::sample::*;

/// Namespace cookie of the sample node.
const NODE_COOKIE: u64 = 7;
/// Some pod's.
const POD_COOKIE: u64 = 8;

fn target(addr_be: u32, port: u16, proto: u8) -> Target {
    Target { addr_be, port_be: port.to_be(), proto }
}

#[test]
fn calls_are_translated_and_translated_back() {
    let mut node = node();
    node.trace_mask = TRACE_SOCKET;
    let web = target(VIP, PORT_WEB, TCP);
    let answer = node.connect(&web, 99, POD_COOKIE);
    let SocketAnswer::Translated { addr_be, port_be } = answer else { panic!("{answer:?}") };
    assert!(addr_be == POD_B || addr_be == POD_R);
    let peer = Target { addr_be, port_be, proto: TCP };
    let shown = socket::reverse(&node, &peer, 99, Direction::PodSocket);
    assert_eq!(shown, Verdict::Translated(VIP, PORT_WEB.to_be()));
    let stranger = socket::reverse(&node, &peer, 100, Direction::PodSocket);
    assert_eq!(stranger, Verdict::Untouched, "another socket's peer is its own business");
    let events = node.take_events();
    assert_eq!(events.len(), 1);
    assert_eq!(EventKind::from_u8(events[0].kind), Some(EventKind::Socket));
    assert_eq!((events[0].dst_be, events[0].nat_be), (VIP, addr_be));
}

#[test]
fn calls_are_refused_or_left_alone() {
    let node = node();
    for (call, answer) in [
        (target(VIP, PORT_EMPTY, TCP), SocketAnswer::Refused),
        (target(VIP, PORT_UNKNOWN, UDP), SocketAnswer::Refused),
        (target(VIP, PORT_WEB, ICMP), SocketAnswer::Untouched),
        (target(VIP_OPEN, PORT_UNKNOWN, TCP), SocketAnswer::Untouched),
        (target(WORLD, 443, TCP), SocketAnswer::Untouched),
        (target(POD_B, TARGET, TCP), SocketAnswer::Untouched),
    ] {
        assert_eq!(node.connect(&call, 1, NODE_COOKIE), answer, "{call:?}");
    }
    let refused = node.metrics();
    assert_eq!(refused[&(Reason::NoBackend, Direction::HostSocket)].packets, 1);
    assert_eq!(refused[&(Reason::UnknownServicePort, Direction::HostSocket)].packets, 1);
    assert_eq!(node.take_events().len(), 2, "refusals are reported without being asked for");
}

#[test]
fn connections_spread() {
    let node = node();
    let web = target(VIP, PORT_WEB, TCP);
    let local = (0..200)
        .filter(|cookie| {
            let answer = node.connect(&web, *cookie, POD_COOKIE);
            matches!(answer, SocketAnswer::Translated { addr_be: POD_B, .. })
        })
        .count();
    assert!((60..140).contains(&local), "{local} of 200 went to one of two backends");
}

#[test]
fn only_mapped_addresses_are_ipv4() {
    assert_eq!(mapped_v4([0, 0, MAPPED_PREFIX, VIP]), Some(VIP));
    assert_eq!(mapped_v4([0, 0, 0, VIP]), None);
    assert_eq!(mapped_v4([1, 0, MAPPED_PREFIX, VIP]), None);
}
