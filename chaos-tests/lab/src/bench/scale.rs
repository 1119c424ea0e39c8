//! An agent that starts into a large cluster.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{BenchArgs, fill, median};
use crate::cluster::{Cluster, StoreRole};
use crate::process::memory_kib;
use crate::progress::Progress;

/// What one start showed.
struct Start {
    took: Duration,
    rss_kib: u64,
    peak_kib: u64,
}

pub(super) fn run(args: &BenchArgs) -> Result<String> {
    let spec = args.spec(1)?;
    let mut cluster = Cluster::up_without_pods(&spec, StoreRole::Alone, &mut Progress::quiet())?;
    let node = cluster.nodes().into_iter().next().context("no node")?;
    cluster.stop_agent(&node)?;
    let (entries, backends) = entries(args, &cluster)?;
    eprintln!("  writing {} keys ...", entries.len());
    let revision = cluster.with_store(async |client| fill::put_all(client, &entries).await)?;
    drop(entries);
    let starts = (0..args.runs)
        .map(|_| one_start(&mut cluster, &node, revision))
        .collect::<Result<Vec<Start>>>()?;
    let of = |field: fn(&Start) -> f64| {
        median(&starts.iter().map(field).collect::<Vec<_>>()).unwrap_or_default()
    };
    Ok(format!(
        "### Agent start into a large cluster\n\n\
         `skein-lab bench --only agent-start`: {} services, {backends} backends, {backends} addresses; \
         no checkpoint, no pinned maps; from exec until the agent says that the last revision is in its \
         maps, the transfer from the store included; medians of {} runs.\n\n\
         | time | resident | peak |\n|---|---|---|\n| {:.2} s | {:.0} MB | {:.0} MB |\n",
        args.services,
        starts.len(),
        of(|s| s.took.as_secs_f64()),
        of(|s| s.rss_kib as f64 / 1e3),
        of(|s| s.peak_kib as f64 / 1e3)
    ))
}

fn entries(args: &BenchArgs, cluster: &Cluster) -> Result<(Vec<fill::Entry>, u32)> {
    let mut entries = fill::nodes(&cluster.spec)?;
    for number in 0..args.services {
        let first = number * fill::BACKENDS;
        entries.push(fill::service(number)?);
        entries.push(fill::slice(number, (first..first + fill::BACKENDS).map(fill::pod_ip))?);
    }
    let backends = args.services * fill::BACKENDS;
    for number in 0..backends {
        entries.push(fill::ip(number)?);
    }
    Ok((entries, backends))
}

fn one_start(cluster: &mut Cluster, node: &str, revision: i64) -> Result<Start> {
    // As on a new machine: nothing pinned, nothing remembered.
    let _ = std::fs::remove_dir_all(cluster.layout.node_bpf(node));
    let _ = std::fs::remove_dir_all(cluster.layout.node_state(node));
    let started = Instant::now();
    cluster.start_agent(node)?;
    cluster.agent(node)?.wait_revision(revision)?;
    let took = started.elapsed();
    let pid = cluster.agent_pid(node).context("the agent is not running")?;
    let (peak_kib, rss_kib) = memory_kib(pid).context("the agent's memory")?;
    cluster.stop_agent(node)?;
    Ok(Start { took, rss_kib, peak_kib })
}
