//! New connections per second from a pod to a ClusterIP, against the same from pod to pod directly.

use anyhow::{Context, Result, bail, ensure};

use super::{BenchArgs, median};
use crate::cluster::traffic::From;
use crate::cluster::{Cluster, teardown};
use crate::progress::Progress;
use crate::traffic::rate::Pace;
use crate::workload::PodKey;

/// Length of one run, both ways together.
const RUN_MS: u64 = 1_000;
/// The tests' pods: one client, one backend beside it and one on another node.
const MANIFESTS: &str = include_str!("../e2e/manifests.yaml");

pub(super) fn run(args: &BenchArgs) -> Result<String> {
    let mut text = format!(
        "### New connections per second, pod to ClusterIP against pod to pod\n\n\
         `skein-lab bench --only connections`: one client thread; each connection is established, carries one byte \
         there and a line back, and is reset. Directly and by ClusterIP in turn every few connections, medians of {} \
         runs of {RUN_MS} ms. `connect` is the median time of that call alone.\n\n\
         | translation | backend | direct | by ClusterIP | share (min-max) | connect | by ClusterIP |\n\
         |---|---|---|---|---|---|---|\n",
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
        let row = compare(args, &cluster, pod, service)?;
        rows.push_str(&format!("| {name} | {where_} {row}\n"));
    }
    drop(cluster);
    std::fs::remove_dir_all(folder)?;
    Ok(rows)
}

/// The cells of one row, from the rates on.
fn compare(args: &BenchArgs, cluster: &Cluster, pod: &str, service: &str) -> Result<String> {
    let key = |name: &str| PodKey { namespace: "e2e".to_owned(), name: name.to_owned() };
    let ip = cluster.kubelet.pods()[&key(pod)].ip.context("a pod without an address")?;
    let view = cluster.view()?;
    let vip = view
        .services
        .iter()
        .find(|(k, _)| k.namespace.as_str() == "e2e" && k.name.as_str() == service)
        .and_then(|(_, s)| s.cluster_ips.first())
        .context("a service without an address")?;
    let words = format!("rate {ip}:8080 {vip}:80 --for-ms {RUN_MS}");
    let mut runs = Vec::new();
    for _ in 0..args.runs {
        let report = cluster.traffic(&From::Pod(key("a1")), &words)?;
        ensure!(report.clean(), "{words}: {:?}", report.errors);
        let [direct, by_vip] = report.paces[..] else { bail!("{words}: {:?}", report.paces) };
        runs.push((direct, by_vip));
    }
    cells(&runs).context("no run")
}

fn cells(runs: &[(Pace, Pace)]) -> Option<String> {
    let middle =
        |of: &dyn Fn(&(Pace, Pace)) -> f64| median(&runs.iter().map(of).collect::<Vec<_>>());
    let share = |(direct, by_vip): &(Pace, Pace)| 100.0 * by_vip.per_second() / direct.per_second();
    let (low, high) = runs
        .iter()
        .map(share)
        .fold((f64::MAX, f64::MIN), |(low, high), share| (low.min(share), high.max(share)));
    Some(format!(
        "| {:.0}/s | {:.0}/s | {:.1} % ({low:.1}-{high:.1}) | {:.1} µs | {:.1} µs |",
        middle(&|run| run.0.per_second())?,
        middle(&|run| run.1.per_second())?,
        middle(&share)?,
        middle(&|run| run.0.connect_p50_ns as f64 / 1e3)?,
        middle(&|run| run.1.connect_p50_ns as f64 / 1e3)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_of_each_run_and_not_of_the_medians() {
        let pace = |connections| Pace { connections, busy_us: 1_000_000, connect_p50_ns: 30_500 };
        let runs = [(pace(100), pace(90)), (pace(200), pace(190)), (pace(1000), pace(980))];
        let cells = cells(&runs).unwrap();
        assert_eq!(cells, "| 200/s | 190/s | 95.0 % (90.0-98.0) | 30.5 µs | 30.5 µs |");
    }
}
