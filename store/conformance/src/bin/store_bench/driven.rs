//! Durable puts and reads of one key, driven by etcd's benchmark tool.

use std::path::Path;

use anyhow::{Context, bail};
use skein_store_conformance::ask;
use skein_store_conformance::endpoint::Endpoint;
use skein_store_conformance::process::Process;

use crate::cpu;
use crate::table::Run;

/// What clients do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    Put,
    LinearizableGet,
    SerializableGet,
}

impl Work {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Work::Put => "put of 256 B",
            Work::LinearizableGet => "linearizable get",
            Work::SerializableGet => "serializable get",
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Work::Put => &["put", "--key-size=16", "--val-size=256", "--sequential-keys"],
            Work::LinearizableGet => &["range", READ_KEY, "--consistency=l"],
            Work::SerializableGet => &["range", READ_KEY, "--consistency=s"],
        }
    }
}

/// How many clients do how much of it.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) work: Work,
    pub(crate) clients: u32,
    total: u32,
}

/// Enough for about three seconds each.
pub(crate) const LOADS: [Load; 9] = [
    Load { work: Work::Put, clients: 1, total: 3_000 },
    Load { work: Work::Put, clients: 100, total: 25_000 },
    Load { work: Work::Put, clients: 1_000, total: 50_000 },
    Load { work: Work::LinearizableGet, clients: 1, total: 5_000 },
    Load { work: Work::LinearizableGet, clients: 100, total: 40_000 },
    Load { work: Work::LinearizableGet, clients: 1_000, total: 60_000 },
    Load { work: Work::SerializableGet, clients: 1, total: 8_000 },
    Load { work: Work::SerializableGet, clients: 100, total: 60_000 },
    Load { work: Work::SerializableGet, clients: 1_000, total: 80_000 },
];

/// The key that is read, with the value that is put.
const READ_KEY: &str = "read";
const READ_BYTES: usize = 256;

/// Clients share at most this many connections, as in etcd's own published runs.
const CONNECTIONS_MAX: u32 = 100;

const KEY_SPACE: u32 = 100_000;

pub(crate) async fn run(tool: &Path, members: &[Process], load: Load) -> anyhow::Result<Run> {
    members[0].connect()?.put(ask::put(READ_KEY, &"v".repeat(READ_BYTES))).await?;
    let endpoints: Vec<_> = members.iter().map(Process::address).collect();
    let before = cpu::used_by(members)?;
    let mut command = tokio::process::Command::new(tool);
    command
        .arg(format!("--endpoints={}", endpoints.join(",")))
        .arg(format!("--clients={}", load.clients))
        .arg(format!("--conns={}", load.clients.min(CONNECTIONS_MAX)))
        .args(load.work.arguments())
        .arg(format!("--total={}", load.total));
    if load.work == Work::Put {
        command.arg(format!("--key-space-size={KEY_SPACE}"));
    }
    let output = command.output().await?;
    let used = cpu::used_by(members)? - before;
    if !output.status.success() {
        bail!("benchmark failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let report = String::from_utf8(output.stdout)?;
    Ok(Run {
        per_second: number_after(&report, "Requests/sec:")?,
        p50_ms: number_after(&report, "50% in")? * 1e3,
        p99_ms: number_after(&report, "99% in")? * 1e3,
        cpu_us: used.as_secs_f64() * 1e6 / f64::from(load.total),
    })
}

/// The number that follows `words` in the tool's report.
fn number_after(report: &str, words: &str) -> anyhow::Result<f64> {
    let (_, behind) =
        report.split_once(words).with_context(|| format!("no {words:?}: {report}"))?;
    let number = behind.split_whitespace().next().context("the report ends too early")?;
    Ok(number.parse()?)
}
