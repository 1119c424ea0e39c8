//! What a node must do, packet by packet. Each scenario starts from the sample node.

mod errors;
mod fragments;
mod routing;
mod services;

use std::vec::Vec;

use skein_bpf_abi::{Direction, Reason};

use super::{Runner, sample};
use crate::flow::Tuple;
use crate::host::Frame;

/// A scenario; it panics when the node does something else.
pub type Scenario = fn(&mut dyn Runner);

/// All scenarios with their names.
#[must_use]
pub fn all() -> Vec<(&'static str, Scenario)> {
    [routing::ALL, services::ALL, fragments::ALL, errors::ALL].concat()
}

/// Sends a frame that must come out translated to `to`, with right checksums.
pub(crate) fn becomes(
    runner: &mut dyn Runner,
    direction: Direction,
    frame: Frame,
    reason: Reason,
    to: Tuple,
) -> Frame {
    let (seen, after) = runner.send(direction, frame);
    assert_eq!(seen, reason);
    assert_eq!(sample::tuple_of(&after), to);
    assert!(sample::checksums_are_right(&after), "a checksum is wrong after {reason:?}");
    after
}

/// Sends a frame whose outcome alone matters.
pub(crate) fn ends(runner: &mut dyn Runner, direction: Direction, frame: Frame, reason: Reason) {
    let (seen, _) = runner.send(direction, frame);
    assert_eq!(seen, reason);
}
