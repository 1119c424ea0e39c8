//! Datagrams in fragments.

use skein_bpf_abi::proto::UDP;
use skein_bpf_abi::{Direction, Reason};

use super::super::Runner;
use super::super::sample::{self, *};
use super::{Scenario, ends};
use crate::flow::Tuple;
use crate::host::Frame;

pub(super) const ALL: &[(&str, Scenario)] =
    &[("a datagram in fragments through a service and back", service_datagram)];

/// "More fragments" and an offset of zero.
const FIRST: u16 = 0x2000;
/// Last fragment, 24 bytes (header and payload of the first) behind the start.
const LAST: u16 = 3;

fn first(tuple: Tuple, id: u16) -> Frame {
    builder(UDP, tuple).fragment(id, FIRST).build()
}

fn last(tuple: Tuple, id: u16) -> Frame {
    builder(UDP, tuple).fragment(id, LAST).transport((0..40).collect()).build()
}

fn without_ports(tuple: Tuple) -> Tuple {
    Tuple { src_port_be: 0, dst_port_be: 0, ..tuple }
}

fn service_datagram(runner: &mut dyn Runner) {
    let client = sample::tuple(POD_A, 5000, VIP, PORT_DNS);
    let there = sample::tuple(POD_A, 5000, POD_R, TARGET);
    ends(runner, Direction::FromPod, last(client, 7), Reason::FragmentUnknown);

    let (reason, after) = runner.send(Direction::FromPod, first(client, 7));
    assert_eq!((reason, tuple_of(&after)), (Reason::ToOverlay, there));
    let (reason, after) = runner.send(Direction::FromPod, last(client, 7));
    assert_eq!((reason, tuple_of(&after)), (Reason::ToOverlay, without_ports(there)));
    assert_eq!(after.0[34..], last(client, 7).0[34..], "the payload is untouched");
    ends(runner, Direction::FromPod, last(client, 8), Reason::FragmentUnknown);

    let back = there.reversed();
    let (reason, after) = runner.send(Direction::FromNetdev, first(back, 9));
    assert_eq!((reason, tuple_of(&after)), (Reason::ToPod, client.reversed()));
    let (reason, after) = runner.send(Direction::FromNetdev, last(back, 9));
    assert_eq!((reason, tuple_of(&after)), (Reason::ToPod, without_ports(client.reversed())));

    // Fragments that no service concerns pass as they are.
    let direct = sample::tuple(POD_A, 5000, POD_B, 6000);
    ends(runner, Direction::FromPod, last(direct, 10), Reason::ToPod);
}
