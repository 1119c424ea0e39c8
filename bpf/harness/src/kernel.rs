//! The object in the kernel.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow};
use aya::maps::{MapData, RingBuf};
use aya::programs::{CgroupSockAddr, ProgramError, SchedClassifier, TestRun, TestRunOptions};
use aya::{Ebpf, EbpfLoader};
use skein_bpf_abi::config::NODE_CONFIG;
use skein_bpf_abi::maps::conntrack::{self, Ct, CtKey};
use skein_bpf_abi::maps::fragments::{self, Fragment, FragmentKey};
use skein_bpf_abi::maps::metrics::{self, Metric};
use skein_bpf_abi::maps::sock_reverse::{self, SockReverse, SockReverseKey};
use skein_bpf_abi::maps::{
    backends, control, endpoints, events, frontends, ifaces, ipcache, policy, slots,
};
use skein_bpf_abi::{Direction, Event, NodeConfig, Reason, programs};
use skein_bpf_logic::host::{Frame, Memory};

use crate::OBJECT;
use crate::maps;

/// Interface index that a test run gives to its packet: the namespace's loopback device.
pub const TEST_IFINDEX: u32 = 1;

/// Room for a packet that a program made longer.
const OUTPUT_MAX: usize = 4096;

/// The loaded object.
pub struct Kernel {
    ebpf: Ebpf,
}

/// What a test run gave back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Return code of the program.
    pub verdict: i32,
    /// The packet afterwards.
    pub frame: Frame,
}

/// Size of a program as the verifier saw it.
#[derive(Clone, Debug)]
pub struct Size {
    /// Name of the program.
    pub name: &'static str,
    /// Instructions that the verifier walked, over all paths.
    pub verified: u32,
    /// Instructions of the program.
    pub translated: u32,
}

impl Kernel {
    /// Loads the object with these constants and every program in it.
    ///
    /// # Errors
    ///
    /// What the kernel said; a verifier's refusal with its log.
    pub fn load(config: &NodeConfig, bounds: &[(&'static str, u32)]) -> Result<Self> {
        let bytes = config.to_bytes();
        let mut loader = EbpfLoader::new();
        loader.override_global(NODE_CONFIG, &bytes[..], true);
        for (name, max) in bounds {
            loader.map_max_entries(name, *max);
        }
        let mut ebpf = loader.load(OBJECT).context("loading the object")?;
        for name in tc_programs() {
            classifier(&mut ebpf, name)?.load().map_err(|error| refused(name, error))?;
        }
        for name in programs::SOCK_ADDR {
            sock_addr(&mut ebpf, name)?.load().map_err(|error| refused(name, error))?;
        }
        Ok(Self { ebpf })
    }

    /// The library's handle, for attaching.
    pub fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// Makes every map that an agent owns hold what the tables hold.
    ///
    /// # Errors
    ///
    /// A map that refuses.
    pub fn fill(&self, memory: &Memory) -> Result<()> {
        macro_rules! copy {
            ($name:expr, $table:expr) => {
                let entries: Vec<_> =
                    $table.iter().map(|(key, value)| (key.to_bytes(), value.to_bytes())).collect();
                maps::replace(&self.ebpf, $name, &entries)?;
            };
        }
        copy!(endpoints::NAME, memory.endpoints);
        copy!(ifaces::NAME, memory.ifaces);
        copy!(ipcache::NAME, memory.ipcache);
        copy!(ipcache::CIDR_NAME, memory.cidrs);
        copy!(backends::NAME, memory.backends);
        copy!(slots::NAME, memory.slots);
        copy!(frontends::NAME, memory.frontends);
        copy!(policy::NAME, memory.policies);
        let control = control::Control { events: memory.trace_mask, reserved: 0 };
        maps::update(&self.ebpf, control::NAME, &0u32.to_ne_bytes(), &control.to_bytes())
    }

    /// Forgets everything that programs wrote down about flows.
    ///
    /// # Errors
    ///
    /// A map that refuses.
    pub fn forget_flows(&self) -> Result<()> {
        maps::replace::<{ CtKey::SIZE }, { Ct::SIZE }>(&self.ebpf, conntrack::NAME, &[])?;
        maps::replace::<{ FragmentKey::SIZE }, { Fragment::SIZE }>(
            &self.ebpf,
            fragments::NAME,
            &[],
        )?;
        maps::replace::<{ SockReverseKey::SIZE }, { SockReverse::SIZE }>(
            &self.ebpf,
            sock_reverse::NAME,
            &[],
        )
    }

    /// Forgets half of a tracked flow.
    ///
    /// # Errors
    ///
    /// A map that refuses.
    pub fn forget_ct(&self, key: CtKey) -> Result<()> {
        maps::delete(&self.ebpf, conntrack::NAME, &key.to_bytes())
    }

    /// Takes a frame through a tc program once.
    ///
    /// # Errors
    ///
    /// A test run that the kernel refuses.
    pub fn run(&mut self, program: &str, frame: &Frame) -> Result<Run> {
        let mut out = vec![0; OUTPUT_MAX];
        let options = TestRunOptions {
            data_in: Some(&frame.0),
            data_out: Some(&mut out),
            ..TestRunOptions::default()
        };
        let result = classifier(&mut self.ebpf, program)?.test_run(options)?;
        out.truncate(usize::try_from(result.data_size_out)?);
        Ok(Run { verdict: result.return_value.cast_signed(), frame: Frame(out) })
    }

    /// Time of one run as the kernel measures it, in nanoseconds, over `repeat` runs of the same
    /// packet; each run after the first sees what the one before it left.
    ///
    /// # Errors
    ///
    /// A test run that the kernel refuses.
    pub fn time_ns(&mut self, program: &str, frame: &Frame, repeat: u32) -> Result<u64> {
        let options =
            TestRunOptions { data_in: Some(&frame.0), repeat, ..TestRunOptions::default() };
        let result = classifier(&mut self.ebpf, program)?.test_run(options)?;
        Ok(u64::try_from(result.duration.as_nanos())?)
    }

    /// All counters that are not zero, summed over CPUs.
    ///
    /// # Errors
    ///
    /// A map that cannot be read.
    pub fn metrics(&self) -> Result<BTreeMap<(Reason, Direction), Metric>> {
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
        let mut counters = BTreeMap::new();
        for reason in Reason::ALL {
            for direction in Direction::ALL {
                let total = self.metric(metrics::index(*reason, *direction), cpus)?;
                if total.packets != 0 {
                    counters.insert((*reason, *direction), total);
                }
            }
        }
        Ok(counters)
    }

    fn metric(&self, index: u32, cpus: usize) -> Result<Metric> {
        let mut values = vec![0; cpus * Metric::SIZE];
        maps::lookup(&self.ebpf, metrics::NAME, &index.to_ne_bytes(), &mut values)?;
        let (chunks, _) = values.as_chunks::<{ Metric::SIZE }>();
        Ok(chunks.iter().map(|bytes| Metric::from_bytes(*bytes)).fold(
            Metric::default(),
            |sum, one| Metric { packets: sum.packets + one.packets, bytes: sum.bytes + one.bytes },
        ))
    }

    /// Takes the events written so far.
    ///
    /// # Errors
    ///
    /// A ring buffer that cannot be opened.
    pub fn take_events(&mut self) -> Result<Vec<Event>> {
        let map = self.ebpf.map_mut(events::NAME).context("no event ring buffer")?;
        let mut ring: RingBuf<&mut MapData> = RingBuf::try_from(map)?;
        let mut found = Vec::new();
        while let Some(item) = ring.next() {
            let bytes: [u8; Event::SIZE] = (&*item).try_into().context("an event's size")?;
            found.push(Event::from_bytes(bytes));
        }
        Ok(found)
    }

    /// Halves of tracked flows.
    ///
    /// # Errors
    ///
    /// A map that cannot be read.
    pub fn conntrack(&self) -> Result<Vec<(CtKey, Ct)>> {
        let raw = maps::entries::<{ CtKey::SIZE }, { Ct::SIZE }>(&self.ebpf, conntrack::NAME)?;
        Ok(raw.into_iter().map(|(k, v)| (CtKey::from_bytes(k), Ct::from_bytes(v))).collect())
    }

    /// Checks that every map has the type and sizes that the layouts promise.
    ///
    /// # Errors
    ///
    /// The first map that differs.
    pub fn check_maps(&self) -> Result<()> {
        for spec in skein_bpf_abi::maps::ALL {
            let info = maps::data(&self.ebpf, spec.name)?.info()?;
            let actual = (info.map_type()? as u32, info.key_size(), info.value_size());
            let promised = (spec.kind as u32, spec.key_size, spec.value_size);
            anyhow::ensure!(
                actual == promised && info.map_flags() == spec.flags,
                "map {}: kernel has {actual:?} flags {:#x}, layout says {promised:?} flags {:#x}",
                spec.name,
                info.map_flags(),
                spec.flags
            );
        }
        Ok(())
    }

    /// Sizes of all programs.
    ///
    /// # Errors
    ///
    /// A program that cannot be asked.
    pub fn sizes(&mut self) -> Result<Vec<Size>> {
        let names = tc_programs().chain(programs::SOCK_ADDR);
        names
            .map(|name| {
                let program = self.ebpf.program(name).with_context(|| missing(name))?;
                let info = program.info()?;
                let verified = info.verified_instruction_count().unwrap_or(0);
                let translated = info.size_translated().unwrap_or(0) / 8;
                Ok(Size { name, verified, translated })
            })
            .collect()
    }
}

/// Names of all tc programs, the empty one included.
pub fn tc_programs() -> impl Iterator<Item = &'static str> {
    programs::TC.into_iter().chain([programs::EMPTY])
}

/// The program at the hook of a direction.
#[must_use]
pub fn program_of(direction: Direction) -> &'static str {
    match direction {
        Direction::FromPod => programs::POD_INGRESS,
        Direction::FromOverlay => programs::OVERLAY_INGRESS,
        Direction::FromNetdev => programs::NETDEV_INGRESS,
        _ => programs::HOST_EGRESS,
    }
}

fn missing(name: &str) -> String {
    format!("program {name} is not in the object")
}

fn classifier<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier> {
    Ok(ebpf.program_mut(name).with_context(|| missing(name))?.try_into()?)
}

/// A cgroup program of the object.
///
/// # Errors
///
/// A name that the object does not have.
pub fn sock_addr<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut CgroupSockAddr> {
    Ok(ebpf.program_mut(name).with_context(|| missing(name))?.try_into()?)
}

/// The verifier's log, as lines instead of one escaped string; only its end, where the reason is.
fn refused(name: &str, error: ProgramError) -> anyhow::Error {
    /// Lines shown.
    const TAIL: usize = 60;
    if let ProgramError::LoadError { io_error, verifier_log } = error {
        let log = verifier_log.to_string();
        let lines: Vec<_> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n");
        return anyhow!("program {name}: {io_error}\n{tail}");
    }
    anyhow::Error::new(error).context(format!("program {name}"))
}
