//! The scenes with real packets.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::Show;
use super::pick::{askable, client_pod, headless_port_is_the_pods, hello_pods};
use crate::cluster::Cluster;
use crate::cluster::builtin::{DEMO_NAMESPACE, HELLO, NOBODY};
use crate::cluster::traffic::From;
use crate::kubelet::Kubelet;
use crate::latency;
use crate::table::Table;
use crate::topology as topo;
use crate::traffic::{Report, unix_ms};

/// Requests to each service: enough to see a spread over a handful of backends.
const REQUESTS: u64 = 12;
/// How long traffic runs while the store is stopped.
const STORE_OUTAGE: Duration = Duration::from_secs(3);
/// How long new connections may take to follow a removed backend.
const FOLLOW_MAX_MS: u64 = 2_000;
/// Measured writes to the store.
const LATENCY_ROUNDS: u32 = 20;

/// Plays every scene.
pub(super) fn play(cluster: &mut Cluster, show: &mut Show) {
    let c = cluster;
    show.scene("requests by name: pod -> ClusterIP -> pod", || by_name(c));
    show.scene("short, longer and full names of one service", || name_forms(c));
    show.scene("node -> pod, on the same node and across nodes", || node_to_pod(c));
    show.scene("pod -> outside the cluster", || pod_to_outside(c));
    show.scene("a service without endpoints refuses at once", || refusal(c));
    show.scene("a backend is removed, new connections follow", || backend_removed(c));
    show.scene("the store stops, traffic continues", || store_stopped(c));
    show.scene("an agent is killed (-9), an open connection survives", || agent_killed(c));
    show.scene("from a write in the store to the maps of every node", || {
        latency::demo(c, LATENCY_ROUNDS)
    });
}

fn by_name(cluster: &Cluster) -> Result<String> {
    let client = client_pod(cluster)?;
    let from = From::Pod(client.plan.key.clone());
    let mut table = Table::new(&["SERVICE", "PORT", "ASKED", "SAME NODE", "OTHER NODES", "PODS"]);
    let (mut near, mut far, mut wrong) = (0, 0, Vec::new());
    for service in askable(cluster) {
        // The port of a headless service is the pods' own: it is asked only where both are equal.
        if service.headless && !headless_port_is_the_pods(cluster, &service) {
            continue;
        }
        let report = cluster.traffic(&from, &service.words(REQUESTS))?;
        let (here, there) = split_by_node(cluster, &report, &client.plan.node);
        near += here;
        far += there;
        if !report.clean() {
            wrong.push(format!("{}.{}: {:?}", service.name, service.namespace, report.errors));
        }
        table.row([
            format!("{}.{}", service.name, service.namespace),
            service.port.to_string(),
            format!("{}/{}", report.answered, report.sent),
            here.to_string(),
            there.to_string(),
            report.by.values().map(u64::to_string).collect::<Vec<_>>().join("+"),
        ]);
    }
    print!("{}", table.render());
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    ensure!(near + far > 0, "no service with endpoints was found");
    Ok(format!(
        "asked from pod {} on {}: {near} answers came from the same node, {far} from \
                other nodes",
        client.plan.key, client.plan.node
    ))
}

/// Answers from pods on `node` and from pods elsewhere.
fn split_by_node(cluster: &Cluster, report: &Report, node: &str) -> (u64, u64) {
    let nodes: BTreeMap<String, &str> =
        cluster.kubelet.pods().values().map(|p| (p.plan.key.to_string(), &*p.plan.node)).collect();
    let here = |pod: &String| nodes.get(pod).is_some_and(|n| *n == node);
    let count =
        |near: bool| report.by.iter().filter(|(pod, _)| here(pod) == near).map(|(_, n)| n).sum();
    (count(true), count(false))
}

fn name_forms(cluster: &Cluster) -> Result<String> {
    let pod = hello_pods(cluster)?.remove(0);
    let mut seen = BTreeSet::new();
    let forms = [
        HELLO.to_owned(),
        format!("{HELLO}.{DEMO_NAMESPACE}"),
        format!("{HELLO}.{DEMO_NAMESPACE}.svc.{}", topo::CLUSTER_DOMAIN),
    ];
    for form in &forms {
        let report = cluster.traffic(&From::Pod(pod.clone()), &format!("http {form}:80"))?;
        ensure!(report.clean(), "{form}: {:?}", report.errors);
        seen.extend(report.resolved);
    }
    ensure!(seen.len() == 1, "the forms resolve to different addresses: {seen:?}");
    let address = seen.first().context("no address")?;
    Ok(format!(
        "{} all lead to {address}, by the DNS service at {}",
        forms.join(", "),
        topo::DNS_IP
    ))
}

fn node_to_pod(cluster: &Cluster) -> Result<String> {
    let pods = cluster.kubelet.pods();
    let mut pairs = 0;
    for node in cluster.nodes() {
        for key in hello_pods(cluster)? {
            let ip = pods[&key].ip.context("a pod without an address")?;
            let report = cluster.traffic(&From::Node(node.clone()), &format!("http {ip}:8080"))?;
            ensure!(report.clean(), "{node} -> {key}: {:?}", report.errors);
            pairs += 1;
        }
    }
    Ok(format!("{pairs} pairs of node and pod, all answered"))
}

fn pod_to_outside(cluster: &Cluster) -> Result<String> {
    let pod = client_pod(cluster)?;
    let target = format!("http {}:{} --count 3", topo::CLIENT_IP, topo::CLIENT_PORT);
    let report = cluster.traffic(&From::Pod(pod.plan.key.clone()), &target)?;
    ensure!(report.clean(), "{:?}", report.errors);
    let seen = report.seen_as.unwrap_or_default();
    let node_ip = cluster.spec.node_addresses().into_iter().find(|(n, _)| *n == pod.plan.node);
    let node_ip = node_ip.context("the pod's node is gone")?.1.to_string();
    ensure!(seen.starts_with(&node_ip), "outside saw {seen} instead of the node's {node_ip}");
    Ok(format!(
        "{} ({}) is seen outside as its node's {seen}",
        pod.plan.key,
        pod.ip.map(|ip| ip.to_string()).unwrap_or_default()
    ))
}

fn refusal(cluster: &Cluster) -> Result<String> {
    let pod = client_pod(cluster)?;
    let started = Instant::now();
    let words = format!("http {NOBODY}.{DEMO_NAMESPACE}:80");
    let report = cluster.traffic(&From::Pod(pod.plan.key.clone()), &words)?;
    let refused = report.errors.keys().any(|e| e.contains("refused"));
    ensure!(refused, "expected a refusal, got {:?} {:?}", report.by, report.errors);
    ensure!(
        started.elapsed() < Duration::from_secs(1),
        "refused only after {:?}",
        started.elapsed()
    );
    Ok(format!("{NOBODY}.{DEMO_NAMESPACE}:80: connection refused after {} ms", report.elapsed_ms))
}

fn backend_removed(cluster: &mut Cluster) -> Result<String> {
    let pods = hello_pods(cluster)?;
    let (client, victim) = (From::Pod(pods[0].clone()), pods[pods.len() - 1].clone());
    let words = format!("http {HELLO}.{DEMO_NAMESPACE}:80 --count 0 --pause-ms 1");
    let running = cluster.start_traffic(&client, &words)?;
    std::thread::sleep(Duration::from_millis(500));
    let removed_at = unix_ms();
    Kubelet::hold_back(&cluster.layout, &victim, true)?;
    cluster.reconcile()?;
    std::thread::sleep(Duration::from_secs(1));
    let report = running.finish()?;
    Kubelet::hold_back(&cluster.layout, &victim, false)?;
    cluster.reconcile()?;
    ensure!(report.clean(), "requests failed meanwhile: {:?}", report.errors);
    let Some(last) = report.last_by.get(&victim.to_string()) else {
        bail!("{victim} answered nothing before it was removed: {:?}", report.by)
    };
    let followed = last.saturating_sub(removed_at);
    ensure!(followed < FOLLOW_MAX_MS, "{victim} still got connections {followed} ms later");
    Ok(format!(
        "{victim} marked not ready: its last new connection came {followed} ms after; {} requests \
         meanwhile, none failed",
        report.sent
    ))
}

fn store_stopped(cluster: &mut Cluster) -> Result<String> {
    let client = From::Pod(hello_pods(cluster)?.remove(0));
    let stopped = cluster.stop_control_plane();
    let words = format!("http {HELLO}.{DEMO_NAMESPACE}:80 --count 0 --pause-ms 5");
    let traffic = cluster.start_traffic(&client, &words).and_then(|running| {
        std::thread::sleep(STORE_OUTAGE);
        running.finish()
    });
    cluster.start_control_plane()?;
    stopped?;
    let report = traffic?;
    ensure!(report.clean(), "{:?}", report.errors);
    cluster.wait_in_maps()?;
    Ok(format!(
        "{} requests by name in {:.1} s without a store, none failed; back in step after its restart",
        report.sent,
        STORE_OUTAGE.as_secs_f64()
    ))
}

fn agent_killed(cluster: &mut Cluster) -> Result<String> {
    let pod = hello_pods(cluster)?.remove(0);
    let node = cluster.kubelet.pods()[&pod].plan.node.clone();
    let from = From::Pod(pod);
    let target = format!("{HELLO}.{DEMO_NAMESPACE}:80");
    let mut open = cluster.start_traffic(&from, &format!("stream {target}"))?;
    open.wait_connected()?;
    cluster.kill_agent(&node)?;
    let meanwhile = cluster.traffic(&from, &format!("http {target} --count 50 --pause-ms 10"));
    let restarted = Instant::now();
    cluster.start_agent(&node)?;
    let took = restarted.elapsed();
    cluster.wait_in_maps()?;
    let (open, meanwhile) = (open.finish()?, meanwhile?);
    ensure!(meanwhile.clean(), "new connections failed: {:?}", meanwhile.errors);
    ensure!(open.clean(), "the open connection broke: {:?}", open.errors);
    Ok(format!(
        "on {node}: {} messages on the open connection, longest silence {} ms; {} new connections \
         without an agent; agent back after {} ms",
        open.answered,
        open.gap_max_ms,
        meanwhile.answered,
        took.as_millis()
    ))
}
