//! Runs the suite: `cargo test -p skein-store-conformance --test conformance [-- BACKEND [CASE]]`.
//!
//! BACKEND is `memory`, `skein`, `etcd` (the pinned one, else Debian's) or `debian`; CASE is a part
//! of a case's name. Without a BACKEND the first three are run.

#[path = "conformance/differences.rs"]
mod differences;

use std::process::ExitCode;
use std::sync::Arc;

use skein_store_conformance::endpoint::memory::MemoryEndpoint;
use skein_store_conformance::peers::{self, Etcd, PeerError};
use skein_store_conformance::process::Process;
use skein_store_conformance::runner::{self, Backend, Report};

/// The last one only when it is named.
const BACKENDS: [&str; 4] = ["memory", "skein", "etcd", "debian"];

fn main() -> anyhow::Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let backend = words.iter().find(|word| BACKENDS.contains(&word.as_str()));
    let filter = words.iter().find(|word| !BACKENDS.contains(&word.as_str()));
    let filter = filter.map_or("", String::as_str);
    let wanted = |name: &str| match backend {
        Some(wanted) => wanted == name,
        None => name != "debian",
    };
    let runtime = tokio::runtime::Runtime::new()?;
    let mut failed = 0;
    for name in BACKENDS.into_iter().filter(|name| wanted(name)) {
        failed += runtime.block_on(run(name, filter))?;
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs one backend and returns how many cases failed; a missing peer that is required counts.
async fn run(name: &str, filter: &str) -> anyhow::Result<usize> {
    let report = match name {
        "memory" => memory(filter).await,
        "skein" => skein(filter).await?,
        _ => match if name == "debian" { peers::debian_etcd() } else { peers::etcd() } {
            Ok(found) => etcd(&found, filter).await?,
            Err(missing) => return Ok(say_missing(&missing)),
        },
    };
    println!("{}", report.render());
    Ok(report.failed())
}

async fn memory(filter: &str) -> Report {
    let backend = Backend {
        name: "the state machine in memory".to_owned(),
        store: Arc::new(MemoryEndpoint::default()),
        member: false,
        differences: &[],
    };
    runner::run(&backend, filter).await
}

async fn skein(filter: &str) -> anyhow::Result<Report> {
    let process = Process::start(&peers::skein_store()?, &[]).await?;
    let backend = Backend {
        name: "skein-store".to_owned(),
        store: Arc::new(process.connect()?),
        member: true,
        differences: differences::SKEIN,
    };
    Ok(runner::run(&backend, filter).await)
}

async fn etcd(found: &Etcd, filter: &str) -> anyhow::Result<Report> {
    let process = Process::start(found.program(), &[]).await?;
    let (name, differences) = match found {
        Etcd::Pinned(_) => ("etcd, as chaos-tests/peers pins it", &[][..]),
        Etcd::Debian(_) => ("etcd, Debian's package: older", differences::DEBIAN),
    };
    let store = Arc::new(process.connect()?);
    let backend = Backend { name: name.to_owned(), store, member: true, differences };
    Ok(runner::run(&backend, filter).await)
}

fn say_missing(missing: &PeerError) -> usize {
    println!("etcd\n  LEFT OUT: there is no real etcd to hold the suite against: {missing}");
    println!("  Install Go (chaos-tests/peers is then built), or Debian's etcd-server.\n");
    usize::from(peers::required())
}
