//! Services per packet.

use std::vec::Vec;

use skein_bpf_abi::config::{HAIRPIN_IP_BE, flags};
use skein_bpf_abi::maps::backends::{BackendKey, FLAG_TERMINATING};
use skein_bpf_abi::maps::conntrack::KIND_REPLY;
use skein_bpf_abi::proto::{TCP, UDP};
use skein_bpf_abi::{Direction, Reason};

use super::super::Runner;
use super::super::sample::{self, *};
use super::{Scenario, becomes, ends};
use crate::flow::Tuple;
use crate::flow::tcp::{ACK, FIN, RST, SYN};
use crate::packet::Packet;

pub(super) const ALL: &[(&str, Scenario)] = &[
    ("a flow through a service and back", there_and_back),
    ("new flows spread over backends", spread),
    ("a pod that is its own backend", hairpin),
    ("refusal at once", refusal),
    ("unknown ports that pass", pass_unknown),
    ("a backend leaves", backend_leaves),
    ("a closed flow is chosen again", closed),
    ("a direct connection from the port of a closed flow", superseded),
    ("half of a flow is evicted", evicted),
    ("two services, one reply tuple", collision),
    ("services for the node itself", host_client),
    ("a backend on the node itself", node_backend),
    ("services per packet switched off", switched_off),
    ("datagrams without checksum", without_checksum),
    ("a service that is being changed", changing),
];

fn open(runner: &mut dyn Runner, port: u16, vport: u16, reason: Reason) -> Tuple {
    let (seen, after) =
        runner.send(Direction::FromPod, tcp(sample::tuple(POD_A, port, VIP, vport), SYN));
    assert_eq!(seen, reason);
    assert!(checksums_are_right(&after));
    tuple_of(&after)
}

fn there_and_back(runner: &mut dyn Runner) {
    let client = sample::tuple(POD_A, 40000, VIP, PORT_LOCAL);
    let server = open(runner, 40000, PORT_LOCAL, Reason::ToPod);
    assert_eq!(server, sample::tuple(POD_A, 40000, POD_B, TARGET));
    for flags in [SYN | ACK, ACK, ACK | FIN] {
        let answer = tcp(server.reversed(), flags);
        becomes(runner, Direction::FromPod, answer, Reason::ToPod, client.reversed());
        becomes(runner, Direction::FromPod, tcp(client, ACK), Reason::ToPod, server);
    }
    // The same flow answered by another node, by native routing and through the stack.
    let remote = sample::tuple(POD_A, 5000, VIP, PORT_DNS);
    let there = sample::tuple(POD_A, 5000, POD_R, TARGET);
    becomes(runner, Direction::FromPod, udp(remote), Reason::ToOverlay, there);
    for direction in [Direction::FromNetdev, Direction::FromHost] {
        let answer = udp(there.reversed());
        becomes(runner, direction, answer, Reason::ToPod, remote.reversed());
    }
}

fn spread(runner: &mut dyn Runner) {
    let mut local = 0;
    for port in 30000..30100 {
        let to = sample::tuple(POD_A, port, VIP, PORT_WEB);
        let (reason, after) = runner.send(Direction::FromPod, tcp(to, SYN));
        match tuple_of(&after).dst_be {
            POD_B => local += 1,
            other => assert_eq!((other, reason), (POD_R, Reason::ToOverlay)),
        }
    }
    assert!((25..=75).contains(&local), "{local} of 100 went to one of two backends");
}

fn hairpin(runner: &mut dyn Runner) {
    let client = sample::tuple(POD_A, 40000, VIP, PORT_SELF);
    let seen = Tuple { src_be: HAIRPIN_IP_BE, ..sample::tuple(POD_A, 40000, POD_A, TARGET) };
    for _ in 0..2 {
        becomes(runner, Direction::FromPod, tcp(client, SYN), Reason::ToSelf, seen);
        let answer = tcp(seen.reversed(), SYN | ACK);
        becomes(runner, Direction::FromPod, answer, Reason::ToSelf, client.reversed());
    }
    becomes(runner, Direction::FromPod, udp(client), Reason::ToSelf, seen);
    let answer = udp(seen.reversed());
    becomes(runner, Direction::FromPod, answer, Reason::ToSelf, client.reversed());
}

fn refusal(runner: &mut dyn Runner) {
    for (port, reason) in
        [(PORT_EMPTY, Reason::NoBackend), (PORT_UNKNOWN, Reason::UnknownServicePort)]
    {
        let client = sample::tuple(POD_A, 40000, VIP, port);
        for frame in [tcp(client, SYN), tcp(client, ACK), udp(client)] {
            let (seen, answer) = runner.send(Direction::FromPod, frame.clone());
            assert_eq!(seen, reason);
            assert!(checksums_are_right(&answer));
            assert_eq!(answer.u16_at(34), Some(u16::from_ne_bytes([3, 3])));
            let outer = tuple_of(&answer);
            assert_eq!((outer.src_be, outer.dst_be), (VIP, POD_A), "the service refuses");
            assert_eq!(inner_of(&answer), client, "the client recognises its packet");
            assert_eq!(&answer.0[..6], &MAC_A, "back to the sender");
            assert_eq!(&answer.0[42..], &frame.0[14..42]);
        }
        let reset = tcp(client, RST);
        assert_eq!(runner.send(Direction::FromPod, reset.clone()), (reason, reset));
    }
    let echo = crate::host::FrameBuilder::icmp(POD_A, VIP, 8, 0, &[0; 8]).macs(MAC_A, MAC_HOST);
    let unsupported = Reason::UnsupportedServiceProtocol;
    ends(runner, Direction::FromPod, echo.build(), unsupported);
}

fn pass_unknown(runner: &mut dyn Runner) {
    let known = sample::tuple(POD_A, 40000, VIP_OPEN, PORT_WEB);
    let to = sample::tuple(POD_A, 40000, POD_B, TARGET);
    becomes(runner, Direction::FromPod, tcp(known, SYN), Reason::ToPod, to);
    let unknown = sample::tuple(POD_A, 40000, VIP_OPEN, PORT_UNKNOWN);
    becomes(runner, Direction::FromPod, tcp(unknown, SYN), Reason::ToStack, unknown);
    let echo = crate::host::FrameBuilder::icmp(POD_A, VIP_OPEN, 8, 0, &[0; 8]);
    ends(runner, Direction::FromPod, echo.macs(MAC_A, MAC_HOST).build(), Reason::ToStack);
}

fn backend_leaves(runner: &mut dyn Runner) {
    let client = sample::tuple(POD_A, 40000, VIP, PORT_LOCAL);
    let datagram = sample::tuple(POD_A, 40000, VIP, PORT_DNS);
    let first = open(runner, 40000, PORT_LOCAL, Reason::ToPod);
    ends(runner, Direction::FromPod, udp(datagram), Reason::ToOverlay);
    runner.change(&|memory| {
        service(memory, 7, VIP, PORT_LOCAL, TCP, &[BACKEND_R]);
        service(memory, 6, VIP, PORT_DNS, UDP, &[BACKEND_B]);
        let key = BackendKey { id: BACKEND_B };
        memory.backends.get_mut(&key).expect("a backend of the sample").flags |= FLAG_TERMINATING;
    });
    // The open connection goes on; a new one on the same port goes elsewhere.
    becomes(runner, Direction::FromPod, tcp(client, ACK), Reason::ToPod, first);
    let second = sample::tuple(POD_A, 40000, POD_R, TARGET);
    becomes(runner, Direction::FromPod, tcp(client, SYN), Reason::ToOverlay, second);
    // Datagrams stay with a backend that is there, and leave one that is gone.
    ends(runner, Direction::FromPod, udp(datagram), Reason::ToOverlay);
    runner.change(&|memory| {
        memory.backends.remove(&BackendKey { id: BACKEND_R });
    });
    ends(runner, Direction::FromPod, udp(datagram), Reason::ToPod);
    becomes(runner, Direction::FromPod, tcp(client, ACK), Reason::ToOverlay, second);
    runner.change(&|memory| service(memory, 7, VIP, PORT_LOCAL, TCP, &[]));
    ends(runner, Direction::FromPod, tcp(client, SYN), Reason::NoBackend);
}

fn closed(runner: &mut dyn Runner) {
    let client = sample::tuple(POD_A, 40000, VIP, PORT_LOCAL);
    let first = open(runner, 40000, PORT_LOCAL, Reason::ToPod);
    ends(runner, Direction::FromPod, tcp(client, ACK | FIN), Reason::ToPod);
    runner.change(&|memory| service(memory, 7, VIP, PORT_LOCAL, TCP, &[BACKEND_R]));
    // Closed by one side only: a repeated SYN stays.
    becomes(runner, Direction::FromPod, tcp(client, SYN), Reason::ToPod, first);
    let answer = tcp(first.reversed(), ACK | FIN);
    becomes(runner, Direction::FromPod, answer, Reason::ToPod, client.reversed());
    becomes(runner, Direction::FromPod, tcp(client, ACK), Reason::ToPod, first);
    let second = sample::tuple(POD_A, 40000, POD_R, TARGET);
    becomes(runner, Direction::FromPod, tcp(client, SYN), Reason::ToOverlay, second);
    ends(runner, Direction::FromPod, tcp(client, RST), Reason::ToOverlay);
    runner.change(&|memory| service(memory, 7, VIP, PORT_LOCAL, TCP, &[BACKEND_B]));
    becomes(runner, Direction::FromPod, tcp(client, SYN), Reason::ToPod, first);
}

/// A client may use a service and then one of its backends directly, from the same port.
fn superseded(runner: &mut dyn Runner) {
    let client = sample::tuple(POD_A, 40000, VIP, PORT_LOCAL);
    let direct = open(runner, 40000, PORT_LOCAL, Reason::ToPod);
    let back = direct.reversed();
    becomes(runner, Direction::FromPod, tcp(back, SYN | ACK), Reason::ToPod, client.reversed());
    ends(runner, Direction::FromPod, tcp(client, RST), Reason::ToPod);
    // What was on its way when the flow ended still belongs to it.
    becomes(runner, Direction::FromPod, tcp(back, ACK), Reason::ToPod, client.reversed());
    becomes(runner, Direction::FromPod, tcp(direct, SYN), Reason::ToPod, direct);
    becomes(runner, Direction::FromPod, tcp(back, SYN | ACK), Reason::ToPod, back);
    becomes(runner, Direction::FromPod, tcp(direct, ACK), Reason::ToPod, direct);
    becomes(runner, Direction::FromPod, tcp(back, ACK), Reason::ToPod, back);
    // And the service again, from the same port.
    ends(runner, Direction::FromPod, tcp(direct, RST), Reason::ToPod);
    becomes(runner, Direction::FromPod, tcp(client, SYN), Reason::ToPod, direct);
    becomes(runner, Direction::FromPod, tcp(back, SYN | ACK), Reason::ToPod, client.reversed());
}

fn evicted(runner: &mut dyn Runner) {
    let client = sample::tuple(POD_A, 40000, VIP, PORT_WEB);
    let (_, after) = runner.send(Direction::FromPod, tcp(client, SYN));
    let first = tuple_of(&after);
    let halves: Vec<_> = runner.memory().conntrack().into_iter().map(|(key, _)| key).collect();
    assert_eq!(halves.len(), 2, "one flow has two halves");
    // A packet in the middle of a flow that nobody remembers finds the same backend.
    runner.forget(&halves);
    let (_, after) = runner.send(Direction::FromPod, tcp(client, ACK));
    assert_eq!(tuple_of(&after), first);
    assert_eq!(runner.memory().conntrack().len(), 2);
    // A lost reply half comes back with the next packet that changes what is known of the flow.
    let reply: Vec<_> = halves.into_iter().filter(|key| key.kind == KIND_REPLY).collect();
    runner.forget(&reply);
    runner.send(Direction::FromPod, tcp(client, ACK | FIN));
    assert_eq!(runner.memory().conntrack().len(), 2);
}

fn collision(runner: &mut dyn Runner) {
    runner.change(&|memory| {
        service(memory, 20, VIP_OPEN, PORT_LOCAL, TCP, &[BACKEND_B]);
        service(memory, 21, VIP_OPEN, PORT_WEB, TCP, &[BACKEND_B, BACKEND_R]);
    });
    let first = sample::tuple(POD_A, 40000, VIP, PORT_LOCAL);
    ends(runner, Direction::FromPod, tcp(first, SYN), Reason::ToPod);
    let same_backend = sample::tuple(POD_A, 40000, VIP_OPEN, PORT_LOCAL);
    let reason = Reason::ConntrackCollision;
    ends(runner, Direction::FromPod, tcp(same_backend, SYN), reason);
    let choice = sample::tuple(POD_A, 40000, VIP_OPEN, PORT_WEB);
    let (_, after) = runner.send(Direction::FromPod, tcp(choice, SYN));
    assert_eq!(tuple_of(&after).dst_be, POD_R, "the backend without a collision");
}

fn host_client(runner: &mut dyn Runner) {
    let client = sample::tuple(ROUTER, 40000, VIP, PORT_LOCAL);
    let there = sample::tuple(ROUTER, 40000, POD_B, TARGET);
    becomes(runner, Direction::FromHost, tcp(client, SYN), Reason::ToPod, there);
    let answer = tcp(there.reversed(), SYN | ACK);
    becomes(runner, Direction::FromPod, answer, Reason::ToStack, client.reversed());
    let remote = sample::tuple(ROUTER, 40000, VIP, PORT_DNS);
    let there = sample::tuple(ROUTER, 40000, POD_R, TARGET);
    becomes(runner, Direction::FromHost, udp(remote), Reason::ToOverlay, there);
    let itself = sample::tuple(ROUTER, 40000, VIP, PORT_NODE);
    ends(runner, Direction::FromHost, tcp(itself, SYN), Reason::HostHairpin);
    let empty = sample::tuple(ROUTER, 40000, VIP, PORT_EMPTY);
    let (reason, answer) = runner.send(Direction::FromHost, tcp(empty, SYN));
    assert_eq!(reason, Reason::NoBackend);
    assert_eq!(inner_of(&answer), empty);
}

fn node_backend(runner: &mut dyn Runner) {
    let client = sample::tuple(POD_A, 40000, VIP, PORT_NODE);
    let there = sample::tuple(POD_A, 40000, NODE, 6443);
    becomes(runner, Direction::FromPod, tcp(client, SYN), Reason::ToStack, there);
    let answer = tcp(there.reversed(), SYN | ACK);
    becomes(runner, Direction::FromHost, answer, Reason::ToPod, client.reversed());
}

fn switched_off(runner: &mut dyn Runner) {
    runner.change(&|memory| memory.config.flags &= !flags::PACKET_LB);
    let client = sample::tuple(POD_A, 40000, VIP, PORT_LOCAL);
    becomes(runner, Direction::FromPod, tcp(client, SYN), Reason::ToStack, client);
    assert!(runner.memory().conntrack().is_empty());
}

fn without_checksum(runner: &mut dyn Runner) {
    let client = sample::tuple(POD_A, 5000, VIP, PORT_DNS);
    let frame = builder(UDP, client).without_udp_checksum().build();
    let there = sample::tuple(POD_A, 5000, POD_R, TARGET);
    let after = becomes(runner, Direction::FromPod, frame, Reason::ToOverlay, there);
    assert_eq!(after.u16_at(40), Some(0), "no checksum stays no checksum");
}

fn changing(runner: &mut dyn Runner) {
    runner.change(&|memory| {
        memory.slots.retain(|key, _| key.service != 7);
    });
    let client = sample::tuple(POD_A, 40000, VIP, PORT_LOCAL);
    ends(runner, Direction::FromPod, tcp(client, SYN), Reason::ServiceChanging);
}
