//! ICMP errors about service flows.

use skein_bpf_abi::config::HAIRPIN_IP_BE;
use skein_bpf_abi::{Direction, Reason};

use super::super::Runner;
use super::super::sample::{self, *};
use super::{Scenario, ends};
use crate::flow::Tuple;
use crate::flow::tcp::{ACK, SYN};
use crate::host::Frame;

pub(super) const ALL: &[(&str, Scenario)] = &[
    ("an error from a backend reaches the client's socket", from_backend),
    ("an error from a router on the way", from_router),
    ("an error from a client reaches the backend", from_client),
    ("an error of a pod that is its own backend", hairpin),
    ("an error that no service concerns", unrelated),
];

/// Outer addresses and inner tuple after translation.
fn translated(
    runner: &mut dyn Runner,
    direction: Direction,
    frame: Frame,
    reason: Reason,
) -> (u32, u32, Tuple) {
    let (seen, after) = runner.send(direction, frame);
    assert_eq!(seen, reason);
    assert!(checksums_are_right(&after));
    let inner_header = &after.0[42..62];
    assert_eq!(crate::host::sum_of(0, inner_header), 0xffff, "inner header checksum");
    let outer = tuple_of(&after);
    (outer.src_be, outer.dst_be, inner_of(&after))
}

fn from_backend(runner: &mut dyn Runner) {
    let client = sample::tuple(POD_A, 5000, VIP, PORT_DNS);
    let (_, there) = runner.send(Direction::FromPod, udp(client));
    let error = icmp_error(POD_R, POD_A, 3, 3, &there);
    let seen = translated(runner, Direction::FromNetdev, error, Reason::ToPod);
    assert_eq!(seen, (VIP, POD_A, client));
}

fn from_router(runner: &mut dyn Runner) {
    let client = sample::tuple(POD_A, 40000, VIP, PORT_WEB);
    let (_, there) = runner.send(Direction::FromPod, tcp(client, SYN));
    let error = icmp_error(NEIGHBOUR, POD_A, 3, 4, &there);
    let seen = translated(runner, Direction::FromHost, error, Reason::ToPod);
    assert_eq!(seen, (NEIGHBOUR, POD_A, client));
}

fn from_client(runner: &mut dyn Runner) {
    let client = sample::tuple(POD_A, 40000, VIP, PORT_LOCAL);
    let (_, there) = runner.send(Direction::FromPod, tcp(client, SYN));
    let back = tuple_of(&there).reversed();
    let (_, answer) = runner.send(Direction::FromPod, tcp(back, ACK));
    let error = icmp_error(POD_A, VIP, 3, 3, &answer);
    let seen = translated(runner, Direction::FromPod, error, Reason::ToPod);
    assert_eq!(seen, (POD_A, POD_B, back));
}

fn hairpin(runner: &mut dyn Runner) {
    let client = sample::tuple(POD_A, 5000, VIP, PORT_SELF);
    let (_, there) = runner.send(Direction::FromPod, udp(client));
    let error = icmp_error(POD_A, HAIRPIN_IP_BE, 3, 3, &there);
    let seen = translated(runner, Direction::FromPod, error, Reason::ToSelf);
    assert_eq!(seen, (VIP, POD_A, client));
}

fn unrelated(runner: &mut dyn Runner) {
    let direct = udp(sample::tuple(POD_A, 5000, POD_R, 6000));
    let error = icmp_error(POD_R, POD_A, 3, 3, &direct);
    let (reason, after) = runner.send(Direction::FromNetdev, error.clone());
    assert_eq!((reason, &after.0[14..]), (Reason::ToPod, &error.0[14..]));
    let about_service = udp(sample::tuple(VIP, 1, POD_A, 2));
    let error = icmp_error(POD_A, VIP, 3, 3, &about_service);
    ends(runner, Direction::FromPod, error, Reason::UnsupportedServiceProtocol);
}
