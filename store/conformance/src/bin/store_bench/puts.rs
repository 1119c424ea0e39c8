//! Durable puts, driven by etcd's benchmark tool.

use std::path::Path;

use anyhow::{Context, bail};
use skein_store_conformance::process::Process;

use crate::cpu;
use crate::table::Run;

/// How many clients put how much.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) clients: u32,
    total: u32,
}

/// Enough puts for about three seconds each.
pub(crate) const LOADS: [Load; 3] = [
    Load { clients: 1, total: 3_000 },
    Load { clients: 100, total: 25_000 },
    Load { clients: 1_000, total: 50_000 },
];

/// Clients share at most this many connections, as in etcd's own published runs.
const CONNECTIONS_MAX: u32 = 100;

const KEY_SPACE: u32 = 100_000;

pub(crate) async fn run(tool: &Path, process: &Process, load: Load) -> anyhow::Result<Run> {
    let before = cpu::used(process.id())?;
    let output = tokio::process::Command::new(tool)
        .arg(format!("--endpoints={}", process.address()))
        .arg(format!("--clients={}", load.clients))
        .arg(format!("--conns={}", load.clients.min(CONNECTIONS_MAX)))
        .args(["put", "--key-size=16", "--val-size=256", "--sequential-keys"])
        .arg(format!("--key-space-size={KEY_SPACE}"))
        .arg(format!("--total={}", load.total))
        .output()
        .await?;
    let used = cpu::used(process.id())? - before;
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
