//! Where packets go that no service concerns.

use skein_bpf_abi::config::flags;
use skein_bpf_abi::maps::endpoints::{EndpointKey, FLAG_POLICY_INGRESS};
use skein_bpf_abi::maps::policy::{Policy, PolicyKey, VERDICT_ALLOW, VERDICT_DENY};
use skein_bpf_abi::proto::{TCP, UDP};
use skein_bpf_abi::{Direction, Reason};

use super::super::Runner;
use super::super::sample::{self, *};
use super::{Scenario, becomes, ends};
use crate::flow::tcp::{ACK, SYN};
use crate::host::Frame;

pub(super) const ALL: &[(&str, Scenario)] = &[
    ("pod to pod of the same node", pod_to_pod),
    ("a pod cannot lie about who it is", forged_source),
    ("pod to everywhere else", pod_to_elsewhere),
    ("native routing leaves other nodes to the stack", native),
    ("from the node's stack", from_host),
    ("from the tunnel without metadata", from_tunnel),
    ("from a native device", from_netdev),
    ("frames that are not packets", not_packets),
    ("IP options", options),
    ("policy slot", policy),
];

fn pod_to_pod(runner: &mut dyn Runner) {
    let forth = sample::tuple(POD_A, 40000, POD_B, TARGET);
    let after = becomes(runner, Direction::FromPod, tcp(forth, SYN), Reason::ToPod, forth);
    assert_eq!(&after.0[..6], &MAC_B, "the frame is addressed to the pod");
    assert_eq!(&after.0[6..12], &MAC_HOST);
    let back = forth.reversed();
    let answer = tcp(back, SYN | ACK);
    becomes(runner, Direction::FromPod, answer, Reason::ToPod, back);
    ends(runner, Direction::FromPod, udp(forth), Reason::ToPod);
    let echo = crate::host::FrameBuilder::icmp(POD_A, POD_B, 8, 0, &[1, 2, 3, 4]);
    ends(runner, Direction::FromPod, echo.macs(MAC_A, MAC_HOST).build(), Reason::ToPod);
}

fn forged_source(runner: &mut dyn Runner) {
    let forged = builder(TCP, sample::tuple(POD_B, 1, WORLD, 2)).macs(MAC_A, MAC_HOST).build();
    ends(runner, Direction::FromPod, forged, Reason::InvalidSource);
    let stranger = [2, 9, 9, 9, 9, 9];
    let wrong_mac = builder(TCP, sample::tuple(POD_A, 1, WORLD, 2)).macs(stranger, MAC_HOST);
    ends(runner, Direction::FromPod, wrong_mac.build(), Reason::InvalidSource);
    runner.change(&|memory| memory.config.flags &= !flags::CHECK_MAC);
    ends(runner, Direction::FromPod, wrong_mac.build(), Reason::ToStack);
    runner.change(&|memory| memory.ifaces.clear());
    let unknown = tcp(sample::tuple(POD_A, 1, WORLD, 2), SYN);
    ends(runner, Direction::FromPod, unknown, Reason::UnknownInterface);
}

fn pod_to_elsewhere(runner: &mut dyn Runner) {
    for (dst, reason) in [
        (POD_R, Reason::ToOverlay),
        (POD_NEW, Reason::ToOverlay),
        (POD_GONE, Reason::UnknownEndpoint),
        (WORLD, Reason::ToStack),
        (NEIGHBOUR, Reason::ToStack),
        (ROUTER, Reason::ToStack),
        (NODE, Reason::ToStack),
        (skein_bpf_abi::config::HAIRPIN_IP_BE, Reason::UnknownHairpin),
    ] {
        let to = sample::tuple(POD_A, 40000, dst, 80);
        ends(runner, Direction::FromPod, tcp(to, SYN), reason);
        ends(runner, Direction::FromPod, udp(to), reason);
    }
}

fn native(runner: &mut dyn Runner) {
    runner.change(&|memory| memory.config.flags &= !flags::TUNNEL);
    let to = sample::tuple(POD_A, 40000, POD_R, 80);
    becomes(runner, Direction::FromPod, tcp(to, SYN), Reason::ToStack, to);
    let to = sample::tuple(ROUTER, 40000, POD_R, 80);
    ends(runner, Direction::FromHost, tcp(to, SYN), Reason::UnknownDestination);
}

fn from_host(runner: &mut dyn Runner) {
    let to = sample::tuple(ROUTER, 40000, POD_A, 80);
    let after = becomes(runner, Direction::FromHost, tcp(to, SYN), Reason::ToPod, to);
    assert_eq!(&after.0[..6], &MAC_A);
    for (dst, reason) in [
        (POD_R, Reason::ToOverlay),
        (POD_GONE, Reason::UnknownEndpoint),
        (WORLD, Reason::UnknownDestination),
    ] {
        ends(runner, Direction::FromHost, tcp(sample::tuple(NODE, 1, dst, 2), SYN), reason);
    }
    let forwarded = sample::tuple(WORLD, 1, POD_B, 2);
    becomes(runner, Direction::FromHost, tcp(forwarded, ACK), Reason::ToPod, forwarded);
}

fn from_tunnel(runner: &mut dyn Runner) {
    let to = sample::tuple(POD_R, 40000, POD_A, 80);
    ends(runner, Direction::FromOverlay, tcp(to, SYN), Reason::NoTunnelKey);
}

fn from_netdev(runner: &mut dyn Runner) {
    let known = sample::tuple(POD_R, 40000, POD_A, 80);
    becomes(runner, Direction::FromNetdev, tcp(known, SYN), Reason::ToPod, known);
    let by_range = sample::tuple(POD_NEW, 40000, POD_A, 80);
    becomes(runner, Direction::FromNetdev, tcp(by_range, SYN), Reason::ToPod, by_range);
    // Strangers take the way through the stack, whose masquerading must see both directions.
    let stranger = sample::tuple(WORLD, 40000, POD_A, 80);
    becomes(runner, Direction::FromNetdev, tcp(stranger, SYN), Reason::ToStack, stranger);
    let not_for_pods = sample::tuple(WORLD, 40000, NODE, 22);
    becomes(runner, Direction::FromNetdev, tcp(not_for_pods, SYN), Reason::ToStack, not_for_pods);
    let mut arp = tcp(known, SYN);
    arp.0[12..14].copy_from_slice(&[8, 6]);
    ends(runner, Direction::FromNetdev, arp, Reason::ToStack);
}

fn not_packets(runner: &mut dyn Runner) {
    let good = tcp(sample::tuple(POD_A, 40000, WORLD, 80), SYN);
    let mut ipv6 = good.clone();
    ipv6.0[12..14].copy_from_slice(&[0x86, 0xdd]);
    ends(runner, Direction::FromPod, ipv6, Reason::NotIpv4);
    for length in [34, 36, 46] {
        let cut = Frame(good.0[..length].to_vec());
        ends(runner, Direction::FromPod, cut, Reason::Malformed);
    }
    for (offset, value) in [(14, 0x44), (14, 0x65), (16, 0xff), (14, 0x4f)] {
        let mut bad = good.clone();
        bad.0[offset] = value;
        ends(runner, Direction::FromPod, bad, Reason::Malformed);
    }
}

fn options(runner: &mut dyn Runner) {
    let to = sample::tuple(POD_A, 40000, VIP, PORT_LOCAL);
    let mut frame = tcp(to, SYN);
    // Four "no operation" options behind the header.
    frame.0.splice(34..34, [1, 1, 1, 1]);
    frame.0[14] = 0x46;
    frame.0[17] += 4;
    let (reason, after) = runner.send(Direction::FromPod, frame);
    assert_eq!(reason, Reason::ToPod);
    assert_eq!(tuple_of(&after), sample::tuple(POD_A, 40000, POD_B, TARGET));
    // A refusal of such a packet is not answered: the frame stays as it was.
    let mut refused = tcp(sample::tuple(POD_A, 40000, VIP, PORT_EMPTY), SYN);
    refused.0.splice(34..34, [1, 1, 1, 1]);
    refused.0[14] = 0x46;
    refused.0[17] += 4;
    let (reason, after) = runner.send(Direction::FromPod, refused.clone());
    assert_eq!((reason, after), (Reason::NoBackend, refused));
}

fn policy(runner: &mut dyn Runner) {
    let to = sample::tuple(POD_A, 40000, POD_B, TARGET);
    runner.change(&|memory| {
        let pod = memory.endpoints.get_mut(&EndpointKey { addr_be: POD_B });
        pod.expect("a pod of the sample").flags |= FLAG_POLICY_INGRESS;
    });
    ends(runner, Direction::FromPod, tcp(to, SYN), Reason::PolicyDenied);
    let exact = PolicyKey {
        endpoint_id: 12,
        identity: 3001,
        port_be: to.dst_port_be,
        proto: TCP,
        direction: 0,
    };
    runner.change(&|memory| {
        memory.policies.insert(exact, Policy { verdict: VERDICT_ALLOW });
    });
    ends(runner, Direction::FromPod, tcp(to, SYN), Reason::ToPod);
    ends(runner, Direction::FromPod, udp(to), Reason::PolicyDenied);
    runner.change(&|memory| {
        let any = PolicyKey { port_be: 0, proto: 0, ..exact };
        memory.policies.insert(any, Policy { verdict: VERDICT_ALLOW });
        let datagrams = PolicyKey { proto: UDP, ..exact };
        memory.policies.insert(datagrams, Policy { verdict: VERDICT_DENY });
    });
    ends(runner, Direction::FromPod, udp(to), Reason::PolicyDenied);
    let other_port = sample::tuple(POD_A, 40000, POD_B, 9999);
    ends(runner, Direction::FromPod, udp(other_port), Reason::ToPod);
}
