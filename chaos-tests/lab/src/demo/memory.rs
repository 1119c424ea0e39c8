//! The scenes without packets: the same line up to the maps, which are in the agents' memory, and the datapath's own
//! logic asked about each request.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::Show;
use super::hops::{Asked, End, follow};
use super::pick::{askable, client_pod, hello_pods};
use crate::cluster::Cluster;
use crate::cluster::builtin::{DEMO_NAMESPACE, HELLO, NOBODY};
use crate::cluster::traffic::From;
use crate::kubelet::Kubelet;
use crate::table::Table;
use crate::workload::Protocol;
use crate::{dns, latency, topology as topo};

/// Requests to each service.
const REQUESTS: u16 = 12;
/// Source ports of asked requests count up from here.
const FIRST_SRC_PORT: u16 = 20_000;
/// How long decisions may take to follow a removed backend.
const FOLLOW_MAX: Duration = Duration::from_secs(2);
/// Measured writes to the store.
const LATENCY_ROUNDS: u32 = 20;

/// Plays every scene.
pub(super) fn play(cluster: &mut Cluster, show: &mut Show) {
    let c = cluster;
    let names = match c.start_dns() {
        Ok(at) => at,
        Err(error) => return show.scene("the name server starts", || Err(error)),
    };
    show.scene("requests by name: pod -> ClusterIP -> pod, decided", || by_name(c, names));
    show.scene("node -> pod, on the same node and across nodes, decided", || node_to_pod(c));
    show.scene("pod -> outside the cluster, decided", || pod_to_outside(c));
    show.scene("a service without endpoints refuses, decided", || refusal(c, names));
    show.scene("a backend is removed, decisions follow", || backend_removed(c, names));
    show.scene("the store stops, decisions continue", || store_stopped(c, names));
    show.scene("an agent is killed (-9) and back from its checkpoint", || agent_killed(c, names));
    show.scene("from a write in the store to the maps of every node", || {
        latency::demo(c, LATENCY_ROUNDS)
    });
}

fn resolve(names: std::net::SocketAddr, name: &str) -> Result<Ipv4Addr> {
    let full = format!("{name}.svc.{}.", topo::CLUSTER_DOMAIN);
    let found = dns::ask(names, &full)?;
    found.first().copied().with_context(|| format!("{full} has no address"))
}

/// Ends of `count` requests that differ in their source port.
fn ends(
    cluster: &Cluster,
    from: &From,
    ip: Ipv4Addr,
    port: u16,
    protocol: Protocol,
) -> Result<BTreeMap<String, u64>> {
    let mut by = BTreeMap::new();
    for number in 0..REQUESTS {
        let asked = Asked { ip, port, protocol, src_port: FIRST_SRC_PORT + number };
        match follow(cluster, from, asked)? {
            End::Pod(pod) => *by.entry(pod).or_default() += 1,
            End::Node(node) => *by.entry(host_pod(cluster, &node)?).or_default() += 1,
            other => bail!("a request to {ip}:{port} ended so: {other:?}"),
        }
    }
    Ok(by)
}

/// The pod that takes what ends at a node's own stack.
fn host_pod(cluster: &Cluster, node: &str) -> Result<String> {
    let mut pods = cluster.kubelet.pods().values();
    let found = pods.find(|pod| pod.plan.host_network && pod.plan.node == node);
    Ok(found.with_context(|| format!("no pod uses {node}'s network"))?.plan.key.to_string())
}

fn by_name(cluster: &Cluster, names: std::net::SocketAddr) -> Result<String> {
    let client = client_pod(cluster)?;
    let from = From::Pod(client.plan.key.clone());
    let nodes: BTreeMap<String, &str> =
        cluster.kubelet.pods().values().map(|p| (p.plan.key.to_string(), &*p.plan.node)).collect();
    let mut table = Table::new(&["SERVICE", "ADDRESS", "PORT", "SAME NODE", "OTHER NODES", "PODS"]);
    let (mut near, mut far) = (0, 0);
    for service in askable(cluster).iter().filter(|s| !s.headless) {
        let name = format!("{}.{}", service.name, service.namespace);
        let ip = resolve(names, &name)?;
        let port = u16::try_from(service.port)?;
        let by = ends(cluster, &from, ip, port, service.protocol)?;
        let here = |pod: &String| nodes.get(pod).is_some_and(|n| *n == client.plan.node);
        let same: u64 = by.iter().filter(|(pod, _)| here(pod)).map(|(_, n)| n).sum();
        let other = by.values().sum::<u64>() - same;
        (near, far) = (near + same, far + other);
        table.row([
            name,
            ip.to_string(),
            port.to_string(),
            same.to_string(),
            other.to_string(),
            by.values().map(u64::to_string).collect::<Vec<_>>().join("+"),
        ]);
    }
    print!("{}", table.render());
    ensure!(near + far > 0, "no service with endpoints was found");
    Ok(format!(
        "from pod {} on {}: {near} requests end on the same node, {far} on other nodes",
        client.plan.key, client.plan.node
    ))
}

fn node_to_pod(cluster: &Cluster) -> Result<String> {
    let mut pairs = 0;
    for node in cluster.nodes() {
        for key in hello_pods(cluster)? {
            let ip = cluster.kubelet.pods()[&key].ip.context("a pod without an address")?;
            let by = ends(cluster, &From::Node(node.clone()), ip, 8080, Protocol::Tcp)?;
            ensure!(by.keys().eq([&key.to_string()]), "{node} -> {key} ended at {by:?}");
            pairs += 1;
        }
    }
    Ok(format!("{pairs} pairs of node and pod, all lead there"))
}

fn pod_to_outside(cluster: &Cluster) -> Result<String> {
    let from = From::Pod(client_pod(cluster)?.plan.key.clone());
    let asked = Asked {
        ip: topo::CLIENT_IP,
        port: topo::CLIENT_PORT,
        protocol: Protocol::Tcp,
        src_port: FIRST_SRC_PORT,
    };
    let end = follow(cluster, &from, asked)?;
    ensure!(end == End::Outside, "ended so: {end:?}");
    Ok(format!("{}:{} leads out by the node's stack", topo::CLIENT_IP, topo::CLIENT_PORT))
}

fn refusal(cluster: &Cluster, names: std::net::SocketAddr) -> Result<String> {
    let from = From::Pod(client_pod(cluster)?.plan.key.clone());
    let ip = resolve(names, &format!("{NOBODY}.{DEMO_NAMESPACE}"))?;
    let asked = Asked { ip, port: 80, protocol: Protocol::Tcp, src_port: FIRST_SRC_PORT };
    let end = follow(cluster, &from, asked)?;
    ensure!(end == End::Refused, "ended so: {end:?}");
    Ok(format!("{NOBODY}.{DEMO_NAMESPACE}:80: refused"))
}

fn hello_ends(cluster: &Cluster, names: std::net::SocketAddr) -> Result<BTreeMap<String, u64>> {
    let from = From::Pod(hello_pods(cluster)?.remove(0));
    let ip = resolve(names, &format!("{HELLO}.{DEMO_NAMESPACE}"))?;
    ends(cluster, &from, ip, 80, Protocol::Tcp)
}

fn backend_removed(cluster: &mut Cluster, names: std::net::SocketAddr) -> Result<String> {
    let pods = hello_pods(cluster)?;
    let victim = pods[pods.len() - 1].clone();
    let started = Instant::now();
    Kubelet::hold_back(&cluster.layout, &victim, true)?;
    cluster.reconcile()?;
    cluster.wait_in_maps()?;
    let followed = started.elapsed();
    let after = hello_ends(cluster, names)?;
    Kubelet::hold_back(&cluster.layout, &victim, false)?;
    cluster.reconcile()?;
    cluster.wait_in_maps()?;
    ensure!(!after.contains_key(&victim.to_string()), "{victim} still gets requests: {after:?}");
    ensure!(followed < FOLLOW_MAX, "followed only after {followed:?}");
    Ok(format!("{victim} marked not ready: in every map after {} ms", followed.as_millis()))
}

fn store_stopped(cluster: &mut Cluster, names: std::net::SocketAddr) -> Result<String> {
    cluster.stop_control_plane()?;
    let meanwhile = hello_ends(cluster, names);
    cluster.start_control_plane()?;
    let meanwhile: u64 = meanwhile?.values().sum();
    cluster.wait_in_maps()?;
    Ok(format!("{meanwhile} requests by name without a store, none refused"))
}

fn agent_killed(cluster: &mut Cluster, names: std::net::SocketAddr) -> Result<String> {
    let pod = hello_pods(cluster)?.remove(0);
    let node = cluster.kubelet.pods()[&pod].plan.node.clone();
    cluster.kill_agent(&node)?;
    let restarted = Instant::now();
    cluster.start_agent(&node)?;
    let took = restarted.elapsed();
    cluster.wait_in_maps()?;
    let by = hello_ends(cluster, names)?;
    Ok(format!(
        "{node}: agent back after {} ms, requests lead to {} pods",
        took.as_millis(),
        by.len()
    ))
}
