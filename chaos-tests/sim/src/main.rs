//! `skein-sim`: runs seeds, repeats one, lists scenarios, shows that planted bugs are found.

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use skein_chaos_sim::planted;
use skein_chaos_sim::run::{Plan, Report, run};
use skein_chaos_sim::scenario::{self, Scenario};

#[derive(Parser)]
#[command(name = "skein-sim", about = "Simulated clusters of the store, by seed")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Runs seeds and says which are not clean.
    Run {
        /// From the first to before the last, as 0..10000.
        #[arg(long)]
        seeds: String,
        /// This scenario, whatever the seed.
        #[arg(long)]
        scenario: Option<String>,
    },
    /// Runs one seed and prints everything that happens.
    Replay {
        /// The seed.
        seed: u64,
        /// This scenario, whatever the seed.
        #[arg(long)]
        scenario: Option<String>,
        /// Writes the history into this file.
        #[arg(long)]
        history: Option<PathBuf>,
        /// Leaves the events out.
        #[arg(long)]
        quiet: bool,
    },
    /// Lists the scenarios.
    List,
    /// Plants every bug and says after how many seeds it was found.
    Planted,
}

fn main() -> Result<()> {
    match Arguments::parse().verb {
        Verb::Run { seeds, scenario } => run_seeds(&seeds, named(scenario.as_deref())?),
        Verb::Replay { seed, scenario, history, quiet } => {
            let scenario = named(scenario.as_deref())?;
            replay(Plan { scenario, print: !quiet, ..Plan::of_seed(seed) }, history)
        }
        Verb::List => {
            for scenario in scenario::ALL {
                let Scenario { name, members, faults } = scenario;
                println!("{name:<14} {members} members  {faults:?}");
            }
            Ok(())
        }
        Verb::Planted => plant_all(),
    }
}

fn named(name: Option<&str>) -> Result<Option<&'static Scenario>> {
    name.map(|name| scenario::named(name).with_context(|| format!("no scenario {name:?}")))
        .transpose()
}

fn run_seeds(seeds: &str, scenario: Option<&'static Scenario>) -> Result<()> {
    let (from, to) = seeds.split_once("..").context("seeds are given as 0..100")?;
    let (from, to): (u64, u64) = (from.parse()?, to.parse()?);
    let begun = Instant::now();
    let (mut bad, mut operations, mut events) = (0, 0, 0);
    for seed in from..to {
        let plan = Plan { scenario, ..Plan::of_seed(seed) };
        let Ok(report) = std::panic::catch_unwind(|| run(plan)) else {
            bad += 1;
            println!("seed {seed} ends in a panic");
            continue;
        };
        operations += report.history.operations.len();
        events += report.events;
        if !report.is_clean() {
            bad += 1;
            show(seed, &report);
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{} seeds in {seconds:.1} s: {operations} operations, {events} events, {bad} seeds not clean",
        to - from
    );
    if bad > 0 {
        bail!("{bad} seeds are not clean");
    }
    Ok(())
}

fn show(seed: u64, report: &Report) {
    println!("seed {seed} ({}) is not clean:", report.scenario);
    for finding in report.findings().iter().take(4) {
        let mut line: String = finding.chars().take(1_200).collect();
        line = line.replace('\n', "\n    ");
        println!("  {line}");
    }
}

fn replay(plan: Plan, history: Option<PathBuf>) -> Result<()> {
    let report = run(plan);
    if let Some(path) = history {
        let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
        report.history.write(BufWriter::new(file))?;
    }
    println!(
        "trace {:016x} of {} events, scenario {}",
        report.trace, report.events, report.scenario
    );
    if !report.is_clean() {
        show(plan.seed, &report);
        bail!("seed {} is not clean", plan.seed);
    }
    Ok(())
}

/// Seeds in which a planted bug must show.
const PLANTED_SEEDS: u64 = 200;

fn plant_all() -> Result<()> {
    let mut missed = 0;
    for &(bug, checkers) in planted::ALL {
        let found = (0..PLANTED_SEEDS).find_map(|seed| {
            let plan = Plan { planted: Some(bug), ..Plan::of_seed(seed) };
            // A member may well stop hard on what a lying disk gives back.
            let report = std::panic::catch_unwind(|| run(plan)).ok()?;
            let by = report.verdict.violations.iter().find(|v| checkers.contains(&v.checker))?;
            Some((seed, by.to_string()))
        });
        match found {
            Some((seed, by)) => {
                let line: String =
                    by.lines().next().unwrap_or_default().chars().take(160).collect();
                println!("{bug:?} is found by seed {seed}: {line}");
            }
            None => {
                missed += 1;
                println!("{bug:?} is not found in {PLANTED_SEEDS} seeds");
            }
        }
    }
    if missed > 0 {
        bail!("{missed} planted bugs are not found");
    }
    Ok(())
}
