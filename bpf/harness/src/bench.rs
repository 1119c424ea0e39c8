//! Cost of a packet in each tc program, with services of different number.
//!
//! Every packet runs once (`repeat` 1): a repeated run would see the packet that the run before it
//! rewrote. Packets go to random services, because the same one again would be answered by the
//! processor's cache. The figure of the empty program, measured the same way, is taken off.

use std::fmt::Write as _;

use anyhow::Result;
use skein_bpf_abi::addr::port_be;
use skein_bpf_abi::maps::backends::{Backend, BackendKey};
use skein_bpf_abi::maps::frontends::{Frontend, FrontendKey};
use skein_bpf_abi::programs::{EMPTY, HOST_EGRESS, NETDEV_INGRESS, POD_INGRESS};
use skein_bpf_abi::proto::TCP;
use skein_bpf_logic::flow::tcp::{ACK, SYN};
use skein_bpf_logic::host::{Frame, Memory};
use skein_bpf_logic::testing::sample::{self, NODE, POD_A, POD_B, POD_R, TARGET};

use crate::kernel::Kernel;

/// Numbers of services that are compared.
const SERVICES: [u32; 3] = [10, 1_000, 50_000];
/// Packets of one measurement.
const PACKETS: u32 = 20_000;
/// Measurements; the median is shown.
const ROUNDS: usize = 5;
/// Bounds of the map of flows: room for all packets of all rounds.
const FLOWS: [(&str, u32); 2] = [("skein_ct", 524_288), ("skein_sockrev", 1024)];

/// One line of the table: what is measured, and the cost in nanoseconds for each number of services.
type Row = (&'static str, Vec<u64>);

/// Measures and renders the table.
///
/// # Errors
///
/// A kernel that refuses.
pub fn run() -> Result<String> {
    let mut columns = Vec::new();
    for services in SERVICES {
        columns.push(measure(services)?);
    }
    let names = columns[0].iter().map(|(name, _)| *name);
    let rows: Vec<Row> = names
        .enumerate()
        .map(|(i, name)| (name, columns.iter().map(|column| column[i].1).collect()))
        .collect();
    Ok(render(&rows))
}

fn render(rows: &[Row]) -> String {
    let mut text = String::from("nanoseconds per packet, empty program taken off (median of 5)\n");
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{:<44}{:>10}{:>10}{:>10}", "services", "10", "1,000", "50,000");
    for (name, values) in rows {
        let _ = write!(text, "{name:<44}");
        for value in values {
            let _ = write!(text, "{value:>10}");
        }
        text.push('\n');
    }
    text
}

/// Address of the n-th service.
fn vip(n: u32) -> u32 {
    (0x0a60_0000 + n).to_be()
}

fn node(services: u32) -> Memory {
    let mut memory = sample::node();
    memory.frontends.clear();
    memory.slots.clear();
    memory.backends.clear();
    for n in 0..services {
        memory.frontends.insert(FrontendKey::wildcard(vip(n)), Frontend::default());
        let addr_be = if n.is_multiple_of(2) { POD_B } else { POD_R };
        // Ports differ, so that no two services share a reply tuple.
        let port = 1024 + u16::try_from(n % 50_000).unwrap_or(0);
        let backend = Backend { addr_be, port_be: port_be(port), proto: TCP, flags: 0 };
        memory.backends.insert(BackendKey { id: n + 1 }, backend);
        sample::service_without_sweep(&mut memory, n + 1, vip(n), 80, TCP, &[n + 1]);
    }
    memory
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        u32::try_from(((self.0 >> 32) * u64::from(bound)) >> 32).unwrap_or(0)
    }
}

fn measure(services: u32) -> Result<Vec<(&'static str, u64)>> {
    let mut kernel = Kernel::load(&sample::node().config, &FLOWS)?;
    kernel.fill(&node(services))?;
    let mut random = Random(1);
    let mut samples: Vec<(&'static str, Vec<u64>)> = Vec::new();
    for _ in 0..ROUNDS {
        kernel.forget_flows()?;
        let flows: Vec<_> = (0..PACKETS)
            .map(|n| {
                let port = 1024 + u16::try_from(n).unwrap_or(0);
                sample::tuple(POD_A, port, vip(random.below(services)), 80)
            })
            .collect();
        let new: Vec<Frame> = flows.iter().map(|flow| sample::tcp(*flow, SYN)).collect();
        let known: Vec<Frame> = flows.iter().map(|flow| sample::tcp(*flow, ACK)).collect();
        let direct = vec![sample::tcp(sample::tuple(POD_A, 5000, POD_B, TARGET), ACK)];
        let outside = vec![sample::tcp(sample::tuple(POD_A, 5000, sample::WORLD, 80), ACK)];
        let from_host = vec![sample::tcp(sample::tuple(NODE, 5000, POD_B, TARGET), ACK)];
        let base = mean(&mut kernel, EMPTY, &new)?;
        let mut add = |name, value: u64| {
            let value = value.saturating_sub(base);
            match samples.iter_mut().find(|(known, _)| *known == name) {
                Some((_, values)) => values.push(value),
                None => samples.push((name, vec![value])),
            }
        };
        add("pod ingress: new flow to a service", mean(&mut kernel, POD_INGRESS, &new)?);
        // The second packet of a flow still writes: it shows that the flow is established.
        mean(&mut kernel, POD_INGRESS, &known)?;
        add("pod ingress: known flow to a service", mean(&mut kernel, POD_INGRESS, &known)?);
        let answers = answers(&kernel)?;
        add(
            "netdev ingress: answer of a service flow",
            mean(&mut kernel, NETDEV_INGRESS, &answers)?,
        );
        add("pod ingress: pod to pod, no service", mean(&mut kernel, POD_INGRESS, &direct)?);
        add("pod ingress: pod to outside", mean(&mut kernel, POD_INGRESS, &outside)?);
        add("host egress: node to pod, no service", mean(&mut kernel, HOST_EGRESS, &from_host)?);
    }
    Ok(samples.into_iter().map(|(name, values)| (name, median(values))).collect())
}

/// Answers of the flows that the map knows, as they come from other nodes.
fn answers(kernel: &Kernel) -> Result<Vec<Frame>> {
    let flows = kernel.conntrack()?;
    let replies = flows.iter().filter(|(key, _)| key.kind == 1 && key.src_be == POD_R);
    Ok(replies
        .take(PACKETS as usize)
        .map(|(key, _)| {
            let tuple = skein_bpf_logic::Tuple {
                src_be: key.src_be,
                dst_be: key.dst_be,
                src_port_be: key.src_port_be,
                dst_port_be: key.dst_port_be,
            };
            sample::tcp(tuple, ACK)
        })
        .collect())
}

/// Mean time of a run over all frames, each repeated as a fresh packet until there are enough.
fn mean(kernel: &mut Kernel, program: &str, frames: &[Frame]) -> Result<u64> {
    let mut total = 0;
    let mut count = 0;
    for frame in frames.iter().cycle().take(PACKETS as usize) {
        total += kernel.time_ns(program, frame, 1)?;
        count += 1;
    }
    Ok(total / count.max(1))
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}
