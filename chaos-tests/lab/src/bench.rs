//! Measurements that need a cluster, as markdown. `docs/benchmarks.md` holds a run with the machine it ran on.

mod connections;
mod fill;
mod scale;
mod write_to_map;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;

use crate::cli::LabArgs;
use crate::cluster::teardown;
use crate::spec::{Datapath, Routing, Spec};
use crate::{interrupt, privilege};

/// Name of the benchmarks' labs, one after the other.
const LAB: &str = "bench";

/// Flags of `skein-lab bench`.
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    /// Only this part: `write-to-map`, `agent-start` or `connections`.
    #[arg(long)]
    only: Option<String>,
    /// Repetitions of which the median is taken.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Services in the agent's start and beside those that change, with ten backends each.
    #[arg(long, default_value_t = 10_000)]
    services: u32,
    /// Directory of Skein's binaries; default: where this one is.
    #[arg(long)]
    binaries: Option<PathBuf>,
}

impl BenchArgs {
    fn spec(&self, nodes: u32) -> Result<Spec> {
        let lab = LabArgs {
            name: LAB.to_owned(),
            nodes,
            routing: Routing::Tunnel,
            manifests: Vec::new(),
            binaries: self.binaries.clone(),
        };
        lab.spec(Datapath::Ebpf)
    }
}

/// One measurement: its name on the command line, and what gives its markdown.
type Part = (&'static str, fn(&BenchArgs) -> Result<String>);

/// Runs the measurements and prints markdown on standard output; progress goes to standard error.
///
/// # Errors
/// The machine lacks what they need, or a cluster does not come up.
pub fn run(args: &BenchArgs) -> Result<ExitCode> {
    let missing = privilege::missing();
    if !missing.is_empty() {
        bail!("measuring needs what is missing here: {}", missing.join("; "));
    }
    interrupt::tear_down_on_signal(LAB);
    let parts: [Part; 3] = [
        ("write-to-map", write_to_map::run),
        ("agent-start", scale::run),
        ("connections", connections::run),
    ];
    for (name, measure) in parts {
        if args.only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        teardown::down(LAB, teardown::Logs::Remove)?;
        eprintln!("{name} ...");
        let result = measure(args);
        let logs = if result.is_ok() { teardown::Logs::Remove } else { teardown::Logs::Keep };
        if let Some(kept) = teardown::down(LAB, logs)? {
            eprintln!("logs are kept in {}", kept.display());
        }
        println!("{}", result?);
    }
    Ok(ExitCode::SUCCESS)
}

/// The middle value; of an even number the lower of the two in the middle.
fn median<T: PartialOrd + Copy>(values: &[T]) -> Option<T> {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_a_measured_value() {
        assert_eq!(median(&[3, 1, 2]), Some(2));
        assert_eq!(median(&[4.0, 1.0]), Some(1.0));
        assert_eq!(median::<u8>(&[]), None);
    }
}
