//! End-to-end tests: real binaries, real kernel programs, real packets. Each has a name; a table and an exit code tell
//! the outcome, and a last line in the form of `cargo test`'s.

mod addresses;
mod faults;
mod packets;
mod services;
mod teardown;
mod tools;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;

use crate::cli::{self, LabArgs};
use crate::cluster::{Cluster, teardown as removal};
use crate::progress::Progress;
use crate::spec::{Datapath, Routing, Spec};
use crate::{interrupt, privilege};

/// Pods pinned to nodes, and services over them.
const MANIFESTS: &str = include_str!("e2e/manifests.yaml");

/// Flags of `skein-lab e2e`.
#[derive(Args, Clone, Debug)]
pub struct E2eArgs {
    /// Only tests whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Only this group of tests.
    #[arg(long)]
    group: Option<String>,
    /// List the tests and end.
    #[arg(long)]
    list: bool,
    /// Leave the lab up after the first failure.
    #[arg(long)]
    keep: bool,
    /// Name of the labs, one after the other.
    #[arg(long, default_value = "e2e")]
    name: String,
    /// Directory of Skein's binaries; default: where this one is.
    #[arg(long)]
    binaries: Option<PathBuf>,
}

/// One test: what it needs is up, what it returns is shown beside its name.
#[derive(Clone, Copy)]
pub(crate) struct Test {
    name: &'static str,
    run: fn(&mut Cluster) -> Result<String>,
}

/// Tests that share one cluster.
struct Group {
    name: &'static str,
    routing: Routing,
    socket_lb: bool,
    packet_lb: bool,
    tests: Vec<Test>,
}

fn groups() -> Vec<Group> {
    let group = |name, routing, socket_lb, packet_lb, tests| Group {
        name,
        routing,
        socket_lb,
        packet_lb,
        tests,
    };
    let basics = || [packets::TESTS, services::TESTS].concat();
    vec![
        group(
            "tunnel",
            Routing::Tunnel,
            true,
            true,
            [&basics()[..], addresses::TESTS, faults::TESTS].concat(),
        ),
        group("native", Routing::Native, true, true, basics()),
        group("socket-only", Routing::Tunnel, true, false, basics()),
        group("packet-only", Routing::Tunnel, false, true, basics()),
    ]
}

struct Outcome {
    group: &'static str,
    name: &'static str,
    took: Duration,
    result: Result<String>,
}

/// Runs the tests.
///
/// # Errors
/// The machine lacks what they need; they never pass without having run.
pub fn run(args: &E2eArgs) -> Result<ExitCode> {
    if args.list {
        for group in groups() {
            group.tests.iter().for_each(|test| println!("{}::{}", group.name, test.name));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let missing = privilege::missing();
    if !missing.is_empty() {
        bail!("these tests need what is missing here: {}", missing.join("; "));
    }
    interrupt::tear_down_on_signal(&args.name);
    removal::down(&args.name, removal::Logs::Remove)?;
    let mut outcomes = Vec::new();
    for group in groups() {
        if args.group.as_ref().is_some_and(|wanted| wanted != group.name) {
            continue;
        }
        run_group(&group, args, &mut outcomes)?;
    }
    if args.group.is_none() {
        let test = Test { name: teardown::NAME, run: |_| bail!("runs without a cluster") };
        if selected(&test, args) {
            record(&mut outcomes, "removal", test.name, teardown::run);
        }
    }
    Ok(report(&outcomes))
}

fn selected(test: &Test, args: &E2eArgs) -> bool {
    args.only.as_ref().is_none_or(|part| test.name.contains(part))
}

fn run_group(group: &Group, args: &E2eArgs, outcomes: &mut Vec<Outcome>) -> Result<()> {
    let tests: Vec<&Test> = group.tests.iter().filter(|t| selected(t, args)).collect();
    if tests.is_empty() {
        return Ok(());
    }
    println!("\ngroup {} ({} tests)", group.name, tests.len());
    let folder = std::env::temp_dir().join(format!("skein-lab-{}-manifests", args.name));
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("e2e.yaml"), MANIFESTS)?;
    let spec = spec(group, args, &folder)?;
    let mut cluster = match Cluster::up(&spec, &mut Progress::new()) {
        Ok(cluster) => cluster,
        Err(error) => {
            let error = cli::failed_up(&args.name, error);
            record(outcomes, group.name, "the cluster comes up", || Err(error));
            return Ok(());
        }
    };
    let mut failed = false;
    for test in tests {
        failed |= !record(outcomes, group.name, test.name, || (test.run)(&mut cluster));
        if failed && args.keep {
            bail!("left up after a failure; `skein-lab down --name {}` removes it", args.name);
        }
    }
    drop(cluster);
    let logs = if failed { removal::Logs::Keep } else { removal::Logs::Remove };
    if let Some(kept) = removal::down(&args.name, logs)? {
        println!("  logs are kept in {}", kept.display());
    }
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

fn spec(group: &Group, args: &E2eArgs, folder: &std::path::Path) -> Result<Spec> {
    let lab = LabArgs {
        name: args.name.clone(),
        nodes: 3,
        routing: group.routing,
        manifests: vec![folder.to_owned()],
        binaries: args.binaries.clone(),
    };
    let mut spec = lab.spec(Datapath::Ebpf)?;
    (spec.socket_lb, spec.packet_lb) = (group.socket_lb, group.packet_lb);
    Ok(spec)
}

fn record(
    outcomes: &mut Vec<Outcome>,
    group: &'static str,
    name: &'static str,
    run: impl FnOnce() -> Result<String>,
) -> bool {
    let started = Instant::now();
    let result = run();
    let held = result.is_ok();
    let mark = if held { "ok" } else { "FAILED" };
    println!("  {mark:<6} {name} ({:.1} s)", started.elapsed().as_secs_f64());
    if let Err(error) = &result {
        println!("         {error:#}");
    }
    outcomes.push(Outcome { group, name, took: started.elapsed(), result });
    held
}

fn report(outcomes: &[Outcome]) -> ExitCode {
    let mut by_group: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    println!("\nresults");
    for outcome in outcomes {
        let counts = by_group.entry(outcome.group).or_default();
        let (mark, text) = match &outcome.result {
            Ok(seen) => {
                counts.0 += 1;
                ("ok", seen.clone())
            }
            Err(error) => {
                counts.1 += 1;
                ("FAILED", format!("{error:#}"))
            }
        };
        let took = outcome.took.as_secs_f64();
        println!(
            "  {mark:<6} {:<11} {:<55} {took:6.1} s\n         {text}",
            outcome.group, outcome.name
        );
    }
    let passed: usize = by_group.values().map(|c| c.0).sum();
    let failed: usize = by_group.values().map(|c| c.1).sum();
    let verdict = if failed == 0 && passed > 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {verdict}. {passed} passed; {failed} failed");
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
