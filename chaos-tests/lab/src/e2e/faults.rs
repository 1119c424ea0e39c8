//! Parts that fail, restart, join and leave while traffic flows.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Test;
use super::tools::{cluster_ip, from, succeed};
use crate::cluster::Cluster;
use crate::traffic::Report;

/// Longest silence on an open connection that a restart may cause.
const SILENCE_MAX_MS: u64 = 1_000;
/// The short outage of the store.
const OUTAGE: Duration = Duration::from_secs(30);
/// Longer than every lease: agents' and the control plane's live for at most a minute.
const OUTAGE_BEYOND_LEASES: Duration = Duration::from_secs(75);

pub(crate) const TESTS: &[Test] = &[
    Test { name: "agent killed (-9) under a long connection", run: agent_killed },
    Test { name: "agent stopped and started under a long connection", run: agent_stopped },
    Test { name: "agent replaced by a newer build under a long connection", run: agent_replaced },
    Test { name: "every agent killed at once", run: all_agents_killed },
    Test { name: "control plane killed and restarted", run: control_plane_restarted },
    Test { name: "a node joins and leaves", run: node_joins_and_leaves },
    Test { name: "store stopped for 30 s", run: store_away },
    Test { name: "store stopped for longer than every lease", run: store_away_longer },
];

/// Keeps one connection open from a1 to a far backend and new ones coming, while `disturb` runs.
fn under_traffic(
    c: &mut Cluster,
    disturb: impl FnOnce(&mut Cluster) -> Result<()>,
) -> Result<(Report, Report)> {
    let (far, all) = (cluster_ip(c, "far")?, cluster_ip(c, "all")?);
    let mut open = c.start_traffic(&from("a1"), &format!("stream {far}:80 --timeout-ms 5000"))?;
    open.wait_connected()?;
    let fresh = c.start_traffic(&from("a1"), &format!("http {all}:80 --count 0 --pause-ms 5"))?;
    let disturbed = disturb(c);
    std::thread::sleep(Duration::from_millis(300));
    let (open, fresh) = (open.finish()?, fresh.finish()?);
    disturbed?;
    ensure!(open.clean(), "the open connection broke: {:?}", open.errors);
    ensure!(
        fresh.clean(),
        "new connections failed: {} of {}: {:?}",
        fresh.sent - fresh.answered,
        fresh.sent,
        fresh.errors
    );
    Ok((open, fresh))
}

fn told(open: &Report, fresh: &Report) -> String {
    format!(
        "{} messages, longest silence {} ms; {} new connections",
        open.answered, open.gap_max_ms, fresh.answered
    )
}

fn agent_killed(c: &mut Cluster) -> Result<String> {
    let (open, fresh) = under_traffic(c, |c| {
        for node in ["node1", "node2"] {
            c.kill_agent(node)?;
            std::thread::sleep(Duration::from_secs(1));
            c.start_agent(node)?;
            c.wait_in_maps()?;
        }
        Ok(())
    })?;
    ensure!(open.gap_max_ms < SILENCE_MAX_MS, "silent for {} ms", open.gap_max_ms);
    Ok(told(&open, &fresh))
}

fn agent_stopped(c: &mut Cluster) -> Result<String> {
    let (open, fresh) = under_traffic(c, |c| {
        c.stop_agent("node1")?;
        std::thread::sleep(Duration::from_secs(1));
        c.start_agent("node1")?;
        c.wait_in_maps()
    })?;
    ensure!(open.gap_max_ms < SILENCE_MAX_MS, "silent for {} ms", open.gap_max_ms);
    Ok(told(&open, &fresh))
}

fn agent_replaced(c: &mut Cluster) -> Result<String> {
    let newer = c.layout.dir().join("newer-agent");
    std::fs::copy(c.spec.binaries.join("skein-agent"), &newer).context("copy the agent")?;
    let (open, fresh) = under_traffic(c, |c| {
        for node in ["node1", "node2"] {
            c.stop_agent(node)?;
            c.start_agent_from(node, &newer)?;
            c.wait_in_maps()?;
        }
        Ok(())
    })?;
    ensure!(open.gap_max_ms < SILENCE_MAX_MS, "silent for {} ms", open.gap_max_ms);
    Ok(told(&open, &fresh))
}

fn all_agents_killed(c: &mut Cluster) -> Result<String> {
    let (open, fresh) = under_traffic(c, |c| {
        for node in c.nodes() {
            c.kill_agent(&node)?;
        }
        std::thread::sleep(Duration::from_secs(2));
        for node in c.nodes() {
            c.start_agent(&node)?;
        }
        c.wait_in_maps()
    })?;
    Ok(told(&open, &fresh))
}

fn control_plane_restarted(c: &mut Cluster) -> Result<String> {
    let (open, fresh) = under_traffic(c, |c| {
        c.kill_control_plane()?;
        std::thread::sleep(Duration::from_secs(1));
        c.start_control_plane()?;
        c.wait_in_maps()
    })?;
    Ok(told(&open, &fresh))
}

fn node_joins_and_leaves(c: &mut Cluster) -> Result<String> {
    let each = cluster_ip(c, "each")?;
    let mut joined = String::new();
    let (open, fresh) = under_traffic(c, |c| {
        joined = c.add_node()?;
        c.start_pods(&mut |_| {})?;
        c.wait_in_maps()
    })?;
    let pods = daemon_pods(c);
    ensure!(pods == 4, "{pods} pods of the daemon set on 4 nodes");
    let report = succeed(c, &from("a1"), &format!("http {each}:80 --count 200"))?;
    ensure!(report.by.len() == 4, "answered by {:?}", report.by);
    under_traffic(c, |c| {
        c.remove_node(&joined)?;
        c.start_pods(&mut |_| {})?;
        c.wait_in_maps()
    })?;
    let report = succeed(c, &from("a1"), &format!("http {each}:80 --count 100"))?;
    ensure!(report.by.len() == 3, "answered by {:?}", report.by);
    Ok(format!("{joined} came and went; {}", told(&open, &fresh)))
}

fn daemon_pods(c: &Cluster) -> usize {
    c.kubelet.pods().keys().filter(|k| k.name.starts_with("each-")).count()
}

fn store_away(c: &mut Cluster) -> Result<String> {
    outage(c, OUTAGE)
}

fn store_away_longer(c: &mut Cluster) -> Result<String> {
    outage(c, OUTAGE_BEYOND_LEASES)
}

fn outage(c: &mut Cluster, how_long: Duration) -> Result<String> {
    let (open, fresh) = under_traffic(c, |c| {
        c.stop_control_plane()?;
        std::thread::sleep(how_long);
        c.start_control_plane()?;
        c.wait_in_maps()
    })?;
    // Names go on, too: the name server answers from what it knew.
    succeed(c, &from("a1"), "http far.e2e:80 --count 5")?;
    Ok(told(&open, &fresh))
}
