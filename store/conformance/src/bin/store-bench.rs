//! Skein's store beside etcd, one member each, on this machine, in one run.
//!
//! `cargo run --release -p skein-store-conformance --bin store-bench`: durable puts by etcd's own
//! benchmark tool, and watch delivery by a client of this program. Runs of both stores alternate;
//! the tables show medians. What the numbers mean is in `docs/benchmarks.md`.
//!
//! `--only TEXT` leaves out every measurement whose name lacks the text ("puts, 1 clients",
//! "watch, 100 streams"); `--with NAME=PROGRAM` measures one more store in turn, for example the
//! build before a change.

#[path = "store_bench/cpu.rs"]
mod cpu;
#[path = "store_bench/puts.rs"]
mod puts;
#[path = "store_bench/table.rs"]
mod table;
#[path = "store_bench/watches.rs"]
mod watches;

use std::path::PathBuf;

use anyhow::{Context, bail};
use skein_store_conformance::peers;
use skein_store_conformance::process::Process;

/// Runs of each measurement; the median is told.
const ROUNDS: usize = 5;

/// A store to measure.
struct Subject {
    name: String,
    program: PathBuf,
}

impl Subject {
    fn new(name: &str, program: PathBuf) -> Self {
        Self { name: name.to_owned(), program }
    }
}

/// What the command line asks for; see the module.
#[derive(Default)]
struct Options {
    only: String,
    with: Vec<Subject>,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut options = Self::default();
        while let Some(flag) = args.next() {
            let value = args.next().with_context(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--only" => options.only = value,
                "--with" => {
                    let (name, program) = value.split_once('=').context("--with NAME=PROGRAM")?;
                    options.with.push(Subject::new(name, program.into()));
                }
                _ => bail!("unknown flag {flag}"),
            }
        }
        Ok(options)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    let mut subjects = vec![
        Subject::new("etcd 3.7.1", peers::tool("etcd")?),
        Subject::new("skein-store", peers::skein_store()?),
    ];
    subjects.extend(options.with);
    let tool = peers::tool("benchmark")?;
    let mut put_rows = Vec::new();
    for load in puts::LOADS {
        let name = format!("puts, {} clients", load.clients);
        if !name.contains(&options.only) {
            continue;
        }
        let run = async |process: Process| puts::run(&tool, &process, load).await;
        let runs = in_turn(&subjects, &name, run).await?;
        put_rows.extend(rows(&format!("{} clients", load.clients), &subjects, &runs));
    }
    println!("{}", table::render("put of 256 B", &put_rows));
    let mut watch_rows = Vec::new();
    for load in watches::LOADS {
        let name = format!("watch, {} streams", load.streams);
        if !name.contains(&options.only) {
            continue;
        }
        let run = async |process: Process| watches::run(&process, load).await;
        let runs = in_turn(&subjects, &name, run).await?;
        let load = format!("{} streams, {} events/s", load.streams, load.events_per_second);
        watch_rows.extend(rows(&load, &subjects, &runs));
    }
    println!("{}", table::render("watch delivery of 300 B", &watch_rows));
    Ok(())
}

/// Measures the stores one after the other, [`ROUNDS`] times, each run on a fresh member.
async fn in_turn(
    subjects: &[Subject],
    name: &str,
    run: impl AsyncFn(Process) -> anyhow::Result<table::Run>,
) -> anyhow::Result<Vec<Vec<table::Run>>> {
    let mut runs = vec![Vec::new(); subjects.len()];
    for round in 1..=ROUNDS {
        for (subject, runs) in subjects.iter().zip(&mut runs) {
            eprintln!("{name}, round {round}: {}", subject.name);
            runs.push(run(start(subject).await?).await?);
        }
    }
    Ok(runs)
}

fn rows(load: &str, subjects: &[Subject], runs: &[Vec<table::Run>]) -> Vec<table::Row> {
    let each = subjects.iter().zip(runs);
    each.map(|(subject, runs)| table::Row::new(load, &subject.name, runs)).collect()
}

async fn start(subject: &Subject) -> anyhow::Result<Process> {
    let started = Process::start(&subject.program, &[]).await;
    started.with_context(|| format!("cannot start {}", subject.name))
}
