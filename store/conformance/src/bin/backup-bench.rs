//! Backup and restore of 100,000 keys, Skein beside etcd, on this machine.
//!
//! `cargo run --release -p skein-store-conformance --bin backup-bench`. Each store is filled by
//! etcd's benchmark tool, saved by `etcdctl`, its file inspected and restored by `etcdutl` for
//! etcd, by `skeinctl` for Skein, and the restored member started. What the numbers mean is in
//! `docs/benchmarks.md`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use skein_store_conformance::peers;
use skein_store_conformance::process::{self, Process};

/// Runs of each store; the median is told.
const ROUNDS: usize = 5;

const KEYS: u32 = 100_000;
const VALUE_BYTES: u32 = 256;

/// How often a running program is asked for the most memory it has had.
const POLL: Duration = Duration::from_millis(5);

/// A store, and the program that inspects and restores its files.
struct Subject {
    name: &'static str,
    store: PathBuf,
    tool: PathBuf,
}

/// How long something took, and the most memory it had in kB.
#[derive(Clone, Copy, Default)]
struct Cost {
    seconds: f64,
    peak_kb: u64,
}

/// One run of one store.
#[derive(Default)]
struct Run {
    file_bytes: u64,
    /// What the member had before the first snapshot, in kB.
    member_kb: u64,
    save: Cost,
    status: Cost,
    restore: Cost,
    start: Cost,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let subjects = [
        Subject { name: "etcd", store: peers::tool("etcd")?, tool: peers::tool("etcdutl")? },
        Subject { name: "Skein", store: peers::skein_store()?, tool: peers::skeinctl()? },
    ];
    let mut runs = [Vec::new(), Vec::new()];
    for round in 1..=ROUNDS {
        for (subject, runs) in subjects.iter().zip(&mut runs) {
            eprintln!("round {round}: {}", subject.name);
            runs.push(measure(subject).await?);
        }
    }
    println!("| {KEYS} keys of {VALUE_BYTES} B | etcd | Skein |\n|---|---|---|");
    let row = |name: &str, value: fn(&Run) -> f64, unit: &str| {
        let [etcd, skein] = [&runs[0], &runs[1]].map(|runs| median(runs, value));
        println!("| {name} | {etcd:.2} {unit} | {skein:.2} {unit} |");
    };
    row("file", |run| run.file_bytes as f64 / 1e6, "MB");
    row("save, by etcdctl", |run| run.save.seconds, "s");
    row("member's memory before it", |run| mb(run.member_kb), "MB");
    row("member's most memory during it", |run| mb(run.save.peak_kb), "MB");
    row("status", |run| run.status.seconds, "s");
    row("most memory of status", |run| mb(run.status.peak_kb), "MB");
    row("restore", |run| run.restore.seconds, "s");
    row("most memory of restore", |run| mb(run.restore.peak_kb), "MB");
    row("start of the restored member", |run| run.start.seconds, "s");
    row("its most memory", |run| mb(run.start.peak_kb), "MB");
    Ok(())
}

fn mb(kb: u64) -> f64 {
    kb as f64 * 1024.0 / 1e6
}

fn median(runs: &[Run], value: fn(&Run) -> f64) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

async fn measure(subject: &Subject) -> anyhow::Result<Run> {
    let member = Process::start(&subject.store, &[]).await?;
    fill(&member)?;
    let directory = process::directory()?;
    let file = directory.path().join("saved.db");
    let member_kb = memory_kb(member.id(), "VmRSS").context("the member is gone")?;
    // From now on the most is counted anew (proc(5), clear_refs).
    std::fs::write(format!("/proc/{}/clear_refs", member.id()), "5")?;
    let mut save = Command::new(peers::tool("etcdctl")?);
    save.arg(format!("--endpoints={}", member.address())).args(["snapshot", "save"]).arg(&file);
    let mut save = cost(&mut save)?;
    save.peak_kb = memory_kb(member.id(), "VmHWM").context("the member is gone")?;
    drop(member);
    let status = cost(Command::new(&subject.tool).args(["snapshot", "status"]).arg(&file))?;
    let data_dir = process::data_dir(directory.path());
    let mut restore = Command::new(&subject.tool);
    restore.args(["snapshot", "restore"]).arg(&file).arg("--data-dir").arg(&data_dir);
    let restore = cost(&mut restore)?;
    let file_bytes = file_size(&file)?;
    let begun = Instant::now();
    let restored = Process::start_in(&subject.store, directory, &[]).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let peak_kb = memory_kb(restored.id(), "VmHWM").context("the member is gone")?;
    let start = Cost { seconds, peak_kb };
    Ok(Run { file_bytes, member_kb, save, status, restore, start })
}

fn fill(member: &Process) -> anyhow::Result<()> {
    let mut fill = Command::new(peers::tool("benchmark")?);
    fill.arg(format!("--endpoints={}", member.address()));
    fill.args(["--clients=500", "--conns=50", "put", "--key-size=16", "--sequential-keys"]);
    fill.arg(format!("--val-size={VALUE_BYTES}")).arg(format!("--key-space-size={KEYS}"));
    cost(fill.arg(format!("--total={KEYS}"))).map(|_| ())
}

fn file_size(path: &Path) -> anyhow::Result<u64> {
    Ok(std::fs::metadata(path)?.len())
}

/// Runs a command to its end.
fn cost(command: &mut Command) -> anyhow::Result<Cost> {
    let begun = Instant::now();
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let mut peak_kb = 0;
    let status = loop {
        // Gone from /proc once it has ended.
        peak_kb = memory_kb(child.id(), "VmHWM").unwrap_or(0).max(peak_kb);
        match child.try_wait()? {
            Some(status) => break status,
            None => std::thread::sleep(POLL),
        }
    };
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(Cost { seconds: begun.elapsed().as_secs_f64(), peak_kb })
}

/// A line of `/proc/PID/status`.
fn memory_kb(pid: u32, name: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}
