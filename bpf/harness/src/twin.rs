//! Memory and kernel side by side: every frame goes through both, and everything that comes out must
//! be equal - verdict, bytes, counters, events, tracked flows.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::time::{ClockId, clock_gettime};
use skein_bpf_abi::maps::conntrack::{Ct, CtKey};
use skein_bpf_abi::maps::control::TRACE_FORWARD;
use skein_bpf_abi::maps::ifaces::IfaceKey;
use skein_bpf_abi::maps::metrics::Metric;
use skein_bpf_abi::{Direction, Event, Reason};
use skein_bpf_logic::Action;
use skein_bpf_logic::host::{Frame, Memory, Ran};
use skein_bpf_logic::testing::{Runner, sample};

use crate::kernel::{Kernel, TEST_IFINDEX, program_of};

/// Bounds of the twin's maps: what a test needs, so that loading does not take memory for more.
pub const SMALL: [(&str, u32); 3] =
    [("skein_ct", 4096), ("skein_sockrev", 4096), ("skein_frag", 1024)];

/// Return codes of the programs.
const NEXT: i32 = -1;
const SHOT: i32 = 2;
const REDIRECT: i32 = 7;

type Counters = BTreeMap<(Reason, Direction), Metric>;

/// One node, twice.
pub struct Twin {
    memory: Memory,
    kernel: Kernel,
    counted: Counters,
}

impl Twin {
    /// Loads the object and fills its maps.
    ///
    /// # Errors
    ///
    /// What the kernel refuses.
    pub fn new(mut memory: Memory) -> Result<Self> {
        memory.trace_mask = TRACE_FORWARD;
        let kernel = Kernel::load(&memory.config, &SMALL)?;
        kernel.fill(&memory)?;
        Ok(Self { memory, kernel, counted: Counters::new() })
    }

    /// Starts over with another node, reusing the loaded object if its constants fit.
    ///
    /// # Errors
    ///
    /// What the kernel refuses.
    pub fn restart(self, mut memory: Memory) -> Result<Self> {
        memory.trace_mask = TRACE_FORWARD;
        if memory.config != self.memory.config {
            return Self::new(memory);
        }
        self.kernel.forget_flows()?;
        self.kernel.fill(&memory)?;
        let counted = self.kernel.metrics()?;
        Ok(Self { memory, kernel: self.kernel, counted })
    }

    /// Takes a frame through both and compares.
    ///
    /// # Errors
    ///
    /// The first thing that differs.
    pub fn compare(&mut self, direction: Direction, frame: &Frame) -> Result<(Reason, Frame)> {
        self.enter_by_test_device(frame)?;
        let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
        self.memory.set_now_ns(u64::try_from(now.as_nanos())?);
        let before = self.memory.metrics();
        let mut host = frame.clone();
        let ran = self.memory.run(&mut host, direction, TEST_IFINDEX, None);
        let run = self.kernel.run(program_of(direction), frame)?;
        ensure!(
            run.verdict == verdict(ran, direction),
            "verdict: kernel {}, host {ran:?}",
            run.verdict
        );
        ensure!(
            matches!(ran, Ran::Planned(plan) if plan.action == Action::Drop) || run.frame == host,
            "frame: kernel {:02x?}, host {:02x?} ({ran:?})",
            run.frame.0,
            host.0
        );
        self.compare_counters(&before)?;
        let events = (untimed(self.kernel.take_events()?), untimed(self.memory.take_events()));
        ensure!(events.0 == events.1, "events: kernel {:?}, host {:?}", events.0, events.1);
        let flows = (sorted(self.kernel.conntrack()?), sorted(self.memory.conntrack()));
        ensure!(flows.0 == flows.1, "flows: kernel {:?}, host {:?}", flows.0, flows.1);
        Ok((ran.reason(), host))
    }

    /// A test run's packets all enter by one device: it becomes the sender's.
    fn enter_by_test_device(&mut self, frame: &Frame) -> Result<()> {
        let device = sample::device_of_sender(&self.memory, frame);
        let Some(owner) = self.memory.ifaces.get(&IfaceKey { ifindex: device }).copied() else {
            return Ok(());
        };
        let test = IfaceKey { ifindex: TEST_IFINDEX };
        if device != TEST_IFINDEX
            && let Some(other) = self.memory.ifaces.insert(test, owner)
        {
            self.memory.ifaces.insert(IfaceKey { ifindex: device }, other);
            self.kernel.fill(&self.memory)?;
        }
        Ok(())
    }

    fn compare_counters(&mut self, host_before: &Counters) -> Result<()> {
        let kernel = self.kernel.metrics()?;
        let host = self.memory.metrics();
        let of_kernel = difference(&kernel, &self.counted);
        let of_host = difference(&host, host_before);
        ensure!(of_kernel == of_host, "counters: kernel {of_kernel:?}, host {of_host:?}");
        self.counted = kernel;
        Ok(())
    }
}

impl Runner for Twin {
    fn send(&mut self, direction: Direction, frame: Frame) -> (Reason, Frame) {
        self.compare(direction, &frame).expect("kernel and host agree")
    }

    fn change(&mut self, change: &dyn Fn(&mut Memory)) {
        let config = self.memory.config;
        change(&mut self.memory);
        if self.memory.config != config {
            self.kernel = Kernel::load(&self.memory.config, &SMALL).expect("loading again");
            self.counted.clear();
        }
        self.kernel.fill(&self.memory).expect("filling the maps");
    }

    fn forget(&mut self, halves: &[CtKey]) {
        for key in halves {
            self.memory.forget_ct(key);
            self.kernel.forget_ct(*key).expect("deleting half of a flow");
        }
    }

    fn memory(&self) -> &Memory {
        &self.memory
    }
}

/// The return code that belongs to what the host did.
fn verdict(ran: Ran, direction: Direction) -> i32 {
    match ran {
        Ran::Unparsed(_) if direction == Direction::FromNetdev => NEXT,
        Ran::Unparsed(_) => SHOT,
        Ran::Planned(plan) => match plan.action {
            Action::Pass | Action::PassToHost => NEXT,
            Action::Drop => SHOT,
            Action::RedirectPeer
            | Action::Redirect
            | Action::Tunnel
            | Action::RejectOut
            | Action::RejectIn => REDIRECT,
        },
    }
}

fn difference(after: &Counters, before: &Counters) -> Counters {
    let old = |key| before.get(key).copied().unwrap_or_default();
    let changed = after.iter().filter(|(key, value)| **value != old(key));
    changed
        .map(|(key, value)| {
            let packets = value.packets - old(key).packets;
            (*key, Metric { packets, bytes: value.bytes - old(key).bytes })
        })
        .collect()
}

fn untimed(events: Vec<Event>) -> Vec<Event> {
    events.into_iter().map(|event| Event { timestamp_ns: 0, ..event }).collect()
}

fn sorted(flows: Vec<(CtKey, Ct)>) -> BTreeMap<CtKey, Ct> {
    flows.into_iter().map(|(key, ct)| (key, Ct { last_seen_ns: 0, ..ct })).collect()
}
