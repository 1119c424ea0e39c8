//! Skein's store beside etcd on this machine, in one run.
//!
//! `cargo run --release -p skein-store-conformance --bin store-bench`: durable puts and reads by
//! etcd's own benchmark tool, and watch delivery by a client of this program. Runs of both stores
//! alternate; the tables show medians. What the numbers mean is in `docs/benchmarks.md`.
//!
//! `--members N` measures clusters of N members, all on this machine, 1 by default; `--rounds N`
//! takes the median of N runs, 5 by default; `--only TEXT` leaves out every measurement whose name
//! lacks the text ("put of 256 B, 1 clients", "watch, 100 streams"); `--with NAME=PROGRAM` measures one more store in turn, for example the
//! build before a change.

#[path = "store_bench/cpu.rs"]
mod cpu;
#[path = "store_bench/driven.rs"]
mod driven;
#[path = "store_bench/table.rs"]
mod table;
#[path = "store_bench/watches.rs"]
mod watches;

use std::path::PathBuf;

use anyhow::{Context, bail};
use skein_store_conformance::peers;
use skein_store_conformance::process::Process;

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
struct Options {
    members: usize,
    rounds: usize,
    only: String,
    with: Vec<Subject>,
}

impl Default for Options {
    fn default() -> Self {
        Self { members: 1, rounds: 5, only: String::new(), with: Vec::new() }
    }
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut options = Self::default();
        while let Some(flag) = args.next() {
            let value = args.next().with_context(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--members" => options.members = value.parse()?,
                "--rounds" => options.rounds = value.parse()?,
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
    let bench = Bench { subjects, members: options.members, rounds: options.rounds };
    let tool = peers::tool("benchmark")?;
    let mut driven_rows = Vec::new();
    for load in driven::LOADS {
        let name = format!("{}, {} clients", load.work.name(), load.clients);
        if name.contains(&options.only) {
            let run = async |members: &[Process]| driven::run(&tool, members, load).await;
            driven_rows.extend(bench.measure(&name, run).await?);
        }
    }
    println!("{}", table::render("what", &driven_rows));
    let mut watch_rows = Vec::new();
    for load in watches::LOADS {
        let name = format!("watch, {} streams", load.streams);
        if name.contains(&options.only) {
            let run = async |members: &[Process]| watches::run(members, load).await;
            let name = format!("{name}, {} events/s", load.events_per_second);
            watch_rows.extend(bench.measure(&name, run).await?);
        }
    }
    println!("{}", table::render("watch delivery of 300 B", &watch_rows));
    Ok(())
}

/// Stores that take turns.
struct Bench {
    subjects: Vec<Subject>,
    members: usize,
    rounds: usize,
}

impl Bench {
    /// Measures the stores one after the other, as many times as asked, each run on a fresh cluster.
    async fn measure(
        &self,
        name: &str,
        run: impl AsyncFn(&[Process]) -> anyhow::Result<table::Run>,
    ) -> anyhow::Result<Vec<table::Row>> {
        let mut runs = vec![Vec::new(); self.subjects.len()];
        for round in 1..=self.rounds {
            for (subject, runs) in self.subjects.iter().zip(&mut runs) {
                eprintln!("{name}, round {round}: {}", subject.name);
                let started = Process::start_cluster(&subject.program, self.members).await;
                let members = started.with_context(|| format!("cannot start {}", subject.name))?;
                runs.push(run(&members).await?);
            }
        }
        let each = self.subjects.iter().zip(&runs);
        Ok(each.map(|(subject, runs)| table::Row::new(name, &subject.name, runs)).collect())
    }
}
