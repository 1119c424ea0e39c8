//! What planning costs at the size of a large cluster: 10,000 services with 100,000 endpoints, and
//! the same with 1,000 nodes and 100,000 pods with their addresses.
//!
//! `cargo bench -p skein-controlplane-core`

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use skein_controlplane_core::manifest::{FileId, Format, ManifestSet};
use skein_controlplane_core::plan::{Op, Plan, Unused};
use skein_controlplane_core::{Change, Config, Inputs, Planner, Tables, plan};
use skein_store_schema::kinds::endpoint_report::{EndpointReport, EndpointReportKey};
use skein_store_schema::kinds::node_report::{NodeReport, NodeReportKey, RoutingMode};
use skein_store_schema::{ClusterId, MacAddr, StoreKey, StoreValue};

const SERVICES: usize = 10_000;
const ENDPOINTS_PER_SERVICE: usize = 10;
const NODES: usize = 1_000;
const PODS_PER_NODE: usize = 100;
const RUNS: usize = 11;

fn main() {
    let mut inputs = inputs();
    let mut set = ManifestSet::default();
    let begun = Instant::now();
    put(&mut set, "services.yaml", &services());
    println!("parse services and slices: {:?}", begun.elapsed());
    inputs.sources = set.snapshot();
    fill(&mut inputs, "services and slices");
    rest(&inputs, "services and slices");
    one_service(&mut inputs, &mut set, "services and slices");

    put(&mut set, "nodes.yaml", &nodes());
    put(&mut set, "pods.yaml", &pods());
    inputs.sources = set.snapshot();
    fill(&mut inputs, "nodes and pods");
    report(&mut inputs);
    fill(&mut inputs, "reports");
    rest(&inputs, "everything");
    one_service(&mut inputs, &mut set, "everything");
    one_pod(&mut inputs, &mut set);
}

fn inputs() -> Inputs {
    let config = Config {
        cluster: "default".parse().expect("a name"),
        cluster_id: ClusterId::new(0),
        pool: "default".parse().expect("a name"),
        pool_cidrs: vec!["10.0.0.0/12".parse().expect("a CIDR")],
        block_mask: 24,
        service_cidr: "10.96.0.0/16".parse().expect("a CIDR"),
        identity_grace: 900,
        node_grace: 60,
    };
    Inputs {
        config,
        now: 1_800_000_000,
        sources: ManifestSet::default().snapshot(),
        tables: Tables::default(),
        unused: Unused::new(),
    }
}

fn put(set: &mut ManifestSet, path: &str, text: &str) {
    set.put_file(&FileId { root: 0, path: path.into() }, text, Format::Yaml);
}

fn services() -> String {
    let mut text = String::new();
    for n in 0..SERVICES {
        let address = |e| format!("{{addresses: [10.{}.{}.{e}]}}", n / 256, n % 256);
        let endpoints: Vec<String> = (1..=ENDPOINTS_PER_SERVICE).map(address).collect();
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{n}}}\n\
             spec: {{ports: [{{name: http, port: 80}}]}}\n---\n\
             apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: s{n}-1, labels: {{kubernetes.io/service-name: s{n}}}}}\n\
             addressType: IPv4\nports: [{{name: http, port: 8080}}]\nendpoints: [{}]\n",
            endpoints.join(", ")
        );
    }
    text
}

fn nodes() -> String {
    (0..NODES)
        .map(|n| format!("---\napiVersion: v1\nkind: Node\nmetadata: {{name: n{n}}}\n"))
        .collect()
}

fn pods() -> String {
    let pod = |n: usize| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: p{n}, labels: {{app: a{}}}}}\n\
             spec: {{nodeName: n{}, containers: []}}\n",
            n % 1000,
            n / PODS_PER_NODE
        )
    };
    (0..NODES * PODS_PER_NODE).map(pod).collect()
}

/// Every node and every pod is reported by its agent.
fn report(inputs: &mut Inputs) {
    let blocks: Vec<_> =
        inputs.tables.blocks.iter().map(|(k, b)| (b.node.clone(), k.cidr)).collect();
    for (n, (node, cidr)) in blocks.into_iter().enumerate() {
        let internal = [172, 16, (n / 256) as u8, (n % 256) as u8];
        let value = NodeReport {
            internal_ip: internal.into(),
            external_ips: Vec::new(),
            router_ip: None,
            health_ip: None,
            tunnel_ip: None,
            routing_mode: RoutingMode::Tunnel,
            devices: Vec::new(),
            boot_id: String::new(),
        };
        change(inputs, &NodeReportKey { node: node.clone() }.encode(), Some(&value.encode()));
        let index: usize = node.as_str()[1..].parse().expect("a number");
        for (pod, ip) in cidr.hosts().take(PODS_PER_NODE).enumerate() {
            let value = EndpointReport {
                namespace: "default".parse().expect("a name"),
                pod: format!("p{}", index * PODS_PER_NODE + pod).parse().expect("a name"),
                pod_uid: String::new(),
                container_id: "c".into(),
                mac: MacAddr([2, 0, 0, 0, 0, 1]),
                ifname: "lxc".into(),
            };
            let key = EndpointReportKey { node: node.clone(), ip };
            change(inputs, &key.encode(), Some(&value.encode()));
        }
    }
}

fn change(inputs: &mut Inputs, key: &str, value: Option<&[u8]>) {
    let change = match value {
        Some(value) => Change::Put { value, mod_revision: 1 },
        None => Change::Delete,
    };
    inputs.tables.apply(key.as_bytes(), change).expect("a key of ours");
}

/// Plans and applies until nothing is left, and says what the first round costs.
fn fill(inputs: &mut Inputs, what: &str) {
    let begun = Instant::now();
    let mut next = plan(inputs);
    println!("first plan of {what}: {:?}, {} writes", begun.elapsed(), next.len());
    while !next.is_empty() {
        apply(inputs, &next);
        next = plan(inputs);
    }
}

fn apply(inputs: &mut Inputs, plan: &Plan) {
    for write in plan.writes() {
        match &write.op {
            Op::Put(value) => change(inputs, &write.key, Some(value)),
            Op::Delete => change(inputs, &write.key, None),
        }
    }
}

/// What a round costs when (nearly) everything is as it should be.
fn rest(inputs: &Inputs, what: &str) {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let begun = Instant::now();
            black_box(plan(black_box(inputs)));
            begun.elapsed()
        })
        .collect();
    times.sort();
    println!(
        "plan at rest for the first time, {what}: median {:?}, worst {:?}",
        times[RUNS / 2],
        times[RUNS - 1]
    );
}

/// What a change of one service costs whoever has planned before.
fn one_service(inputs: &mut Inputs, set: &mut ManifestSet, beside: &str) {
    let edit = |port: usize| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: one}}\n\
             spec: {{ports: [{{port: {port}}}]}}\n"
        )
    };
    edits(inputs, set, &format!("one service beside {beside}"), edit);
}

fn one_pod(inputs: &mut Inputs, set: &mut ManifestSet) {
    let edit = |n: usize| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: one, labels: {{app: a{n}}}}}\n\
             spec: {{nodeName: n1, containers: []}}\n"
        )
    };
    edits(inputs, set, "one pod beside everything", edit);
}

/// The plan for each edit, and the empty one once it is written.
fn edits(inputs: &mut Inputs, set: &mut ManifestSet, what: &str, edit: impl Fn(usize) -> String) {
    let mut planner = Planner::default();
    planner.plan(inputs);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for n in 1..=RUNS {
        put(set, "one.yaml", &edit(n));
        inputs.sources = set.snapshot();
        let begun = Instant::now();
        let next = planner.plan(inputs);
        first.push(begun.elapsed());
        assert!(!next.is_empty());
        apply(inputs, &next);
        let begun = Instant::now();
        assert!(planner.plan(inputs).is_empty());
        second.push(begun.elapsed());
    }
    first.sort();
    second.sort();
    let middle = RUNS / 2;
    println!("{what}: plan median {:?}, once written {:?}", first[middle], second[middle]);
}
