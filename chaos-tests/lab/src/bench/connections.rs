//! New connections per second from a pod to a ClusterIP, against the same from pod to pod directly.

use anyhow::{Context, Result, ensure};

use super::{BenchArgs, median};
use crate::cluster::traffic::From;
use crate::cluster::{Cluster, teardown};
use crate::progress::Progress;
use crate::workload::PodKey;

/// Length of one run; runs to the service and directly alternate.
const RUN_MS: u64 = 1_000;
/// The tests' pods: one client, one backend beside it and one on another node.
const MANIFESTS: &str = include_str!("../e2e/manifests.yaml");

pub(super) fn run(args: &BenchArgs) -> Result<String> {
    let mut text = format!(
        "### New connections per second, pod to ClusterIP against pod to pod\n\n\
         `skein-lab bench --only connections`: one client thread, connect and reset, runs of {RUN_MS} ms \
         in turn, medians of {} runs.\n\n\
         | translation | backend | direct | by ClusterIP | share |\n|---|---|---|---|---|\n",
        args.runs
    );
    for (name, socket_lb, packet_lb) in [("socket hook", true, false), ("per packet", false, true)]
    {
        teardown::down(super::LAB, teardown::Logs::Remove)?;
        text.push_str(&one_mode(args, name, socket_lb, packet_lb)?);
    }
    Ok(text)
}

fn one_mode(args: &BenchArgs, name: &str, socket_lb: bool, packet_lb: bool) -> Result<String> {
    let folder = std::env::temp_dir().join("skein-lab-bench-manifests");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("pods.yaml"), MANIFESTS)?;
    let mut spec = args.spec(3)?;
    (spec.socket_lb, spec.packet_lb) = (socket_lb, packet_lb);
    spec.manifests = vec![folder.clone()];
    let cluster = Cluster::up(&spec, &mut Progress::quiet())?;
    let mut rows = String::new();
    for (where_, pod, service) in [("same node", "b1", "near"), ("other node", "b2", "far")] {
        let (direct, vip) = compare(args, &cluster, pod, service)?;
        let share = 100.0 * vip / direct;
        rows.push_str(&format!(
            "| {name} | {where_} | {direct:.0}/s | {vip:.0}/s | {share:.1} % |\n"
        ));
    }
    drop(cluster);
    std::fs::remove_dir_all(folder)?;
    Ok(rows)
}

fn compare(args: &BenchArgs, cluster: &Cluster, pod: &str, service: &str) -> Result<(f64, f64)> {
    let key = |name: &str| PodKey { namespace: "e2e".to_owned(), name: name.to_owned() };
    let ip = cluster.kubelet.pods()[&key(pod)].ip.context("a pod without an address")?;
    let view = cluster.view()?;
    let vip = view
        .services
        .iter()
        .find(|(k, _)| k.namespace.as_str() == "e2e" && k.name.as_str() == service)
        .and_then(|(_, s)| s.cluster_ips.first())
        .context("a service without an address")?;
    let (mut direct, mut by_vip) = (Vec::new(), Vec::new());
    for _ in 0..args.runs {
        direct.push(rate(cluster, &key("a1"), &format!("{ip}:8080"))?);
        by_vip.push(rate(cluster, &key("a1"), &format!("{vip}:80"))?);
    }
    Ok((median(&direct).context("no run")?, median(&by_vip).context("no run")?))
}

fn rate(cluster: &Cluster, from: &PodKey, to: &str) -> Result<f64> {
    let words = format!("rate {to} --for-ms {RUN_MS}");
    let report = cluster.traffic(&From::Pod(from.clone()), &words)?;
    ensure!(report.clean(), "{to}: {:?}", report.errors);
    Ok(report.answered as f64 * 1e3 / report.elapsed_ms as f64)
}
