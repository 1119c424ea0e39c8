//! A sample node, and scenarios that it plays.
//!
//! The scenarios run over memory alone in this crate's tests, and over memory and kernel side by side
//! in the harness, which compares everything that both sides produce.

pub mod sample;
pub mod scenarios;

use skein_bpf_abi::maps::conntrack::CtKey;
use skein_bpf_abi::{Direction, Reason};

use crate::host::{Frame, Memory};

/// Something that takes frames through a node's hooks.
pub trait Runner {
    /// Takes a frame through the hook of `direction`, and says what was counted and what is left of
    /// the frame. Packets from pods enter by the device that the sender in the frame owns.
    fn send(&mut self, direction: Direction, frame: Frame) -> (Reason, Frame);
    /// Changes the node's tables or constants.
    fn change(&mut self, change: &dyn Fn(&mut Memory));
    /// Forgets halves of tracked flows, as evictions do.
    fn forget(&mut self, halves: &[CtKey]);
    /// The node's tables.
    fn memory(&self) -> &Memory;
}

/// Runs over memory alone.
pub struct InMemory(pub Memory);

impl Runner for InMemory {
    fn send(&mut self, direction: Direction, mut frame: Frame) -> (Reason, Frame) {
        let ifindex = sample::device_of_sender(&self.0, &frame);
        let ran = self.0.run(&mut frame, direction, ifindex, None);
        (ran.reason(), frame)
    }
    fn change(&mut self, change: &dyn Fn(&mut Memory)) {
        change(&mut self.0);
    }
    fn forget(&mut self, halves: &[CtKey]) {
        for key in halves {
            self.0.forget_ct(key);
        }
    }
    fn memory(&self) -> &Memory {
        &self.0
    }
}
