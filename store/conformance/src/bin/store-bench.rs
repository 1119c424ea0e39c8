//! Skein's store beside etcd, one member each, on this machine, in one run.
//!
//! `cargo run --release -p skein-store-conformance --bin store-bench`: durable puts by etcd's own
//! benchmark tool, and watch delivery by a client of this program. Runs of both stores alternate;
//! the tables show medians. What the numbers mean is in `docs/benchmarks.md`.

#[path = "store_bench/cpu.rs"]
mod cpu;
#[path = "store_bench/puts.rs"]
mod puts;
#[path = "store_bench/table.rs"]
mod table;
#[path = "store_bench/watches.rs"]
mod watches;

use std::path::PathBuf;

use anyhow::Context;
use skein_store_conformance::peers;
use skein_store_conformance::process::Process;

/// Runs of each measurement; the median is told.
const ROUNDS: usize = 5;

/// A store to measure.
struct Subject {
    name: &'static str,
    program: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let subjects = [
        Subject { name: "etcd 3.7.1", program: peers::tool("etcd")? },
        Subject { name: "skein-store", program: peers::skein_store()? },
    ];
    let tool = peers::tool("benchmark")?;
    let mut put_rows = Vec::new();
    for load in puts::LOADS {
        let mut runs = [Vec::new(), Vec::new()];
        for round in 0..ROUNDS {
            for (subject, runs) in subjects.iter().zip(&mut runs) {
                eprintln!("puts, {} clients, round {}: {}", load.clients, round + 1, subject.name);
                let process = start(subject).await?;
                runs.push(puts::run(&tool, &process, load).await?);
            }
        }
        put_rows.extend(subjects.iter().zip(&runs).map(|(subject, runs)| {
            table::Row::new(format!("{} clients", load.clients), subject.name, runs)
        }));
    }
    println!("{}", table::render("put of 256 B", &put_rows));
    let mut watch_rows = Vec::new();
    for load in watches::LOADS {
        let mut runs = [Vec::new(), Vec::new()];
        for round in 0..ROUNDS {
            for (subject, runs) in subjects.iter().zip(&mut runs) {
                eprintln!("watch, {} streams, round {}: {}", load.streams, round + 1, subject.name);
                let process = start(subject).await?;
                runs.push(watches::run(&process, load).await?);
            }
        }
        let name = format!("{} streams, {} events/s", load.streams, load.events_per_second);
        watch_rows.extend(
            subjects
                .iter()
                .zip(&runs)
                .map(|(subject, runs)| table::Row::new(name.clone(), subject.name, runs)),
        );
    }
    println!("{}", table::render("watch delivery of 300 B", &watch_rows));
    Ok(())
}

async fn start(subject: &Subject) -> anyhow::Result<Process> {
    let started = Process::start(&subject.program, &[]).await;
    started.with_context(|| format!("cannot start {}", subject.name))
}
