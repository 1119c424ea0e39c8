//! Planning over a store in a map, from manifests and reports to keys and back to nothing to do.

mod world;

use std::net::IpAddr;

use skein_controlplane_core::plan::Note;
use skein_store_schema::MacAddr;
use skein_store_schema::kinds::agent_status::{AgentStatus, AgentStatusKey};
use skein_store_schema::kinds::endpoint_report::{EndpointReport, EndpointReportKey};
use skein_store_schema::kinds::node_report::{NodeReport, NodeReportKey, RoutingMode};
use skein_store_schema::kinds::service::ServiceKey;
use world::World;

fn node(name: &str, ip: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n\
         status: {{addresses: [{{type: InternalIP, address: {ip}}}]}}\n"
    )
}

fn pod(name: &str, node: &str, labels: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\n\
         metadata: {{name: {name}, namespace: shop, uid: uid-{name}, labels: {{{labels}}}}}\n\
         spec: {{nodeName: {node}, containers: [{{name: c, ports: [{{name: http, containerPort: 8080}}]}}]}}\n"
    )
}

fn service(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec: {{{spec}}}\n"
    )
}

fn report_node(world: &mut World, name: &str, ip: &str) {
    let key = NodeReportKey { node: name.parse().unwrap() };
    let value = NodeReport {
        internal_ip: ip.parse().unwrap(),
        external_ips: Vec::new(),
        router_ip: None,
        health_ip: None,
        tunnel_ip: None,
        routing_mode: RoutingMode::Tunnel,
        devices: Vec::new(),
        boot_id: String::new(),
    };
    world.report(&key, &value);
}

fn report_endpoint(world: &mut World, node: &str, ip: &str, pod: &str) {
    let key = EndpointReportKey { node: node.parse().unwrap(), ip: ip.parse().unwrap() };
    let value = EndpointReport {
        namespace: "shop".parse().unwrap(),
        pod: pod.parse().unwrap(),
        pod_uid: format!("uid-{pod}"),
        container_id: "c0".into(),
        mac: MacAddr([2, 0, 0, 0, 0, 1]),
        ifname: "lxc1".into(),
    };
    world.report(&key, &value);
}

fn alive(world: &mut World, node: &str) {
    let key = AgentStatusKey { node: node.parse().unwrap() };
    world.report(&key, &AgentStatus::default());
}

fn two_nodes() -> World {
    let mut world = World::new();
    world.file("nodes.yaml", &(node("n1", "172.18.0.1") + &node("n2", "172.18.0.2")));
    world.settle();
    for (name, ip) in [("n1", "172.18.0.1"), ("n2", "172.18.0.2")] {
        report_node(&mut world, name, ip);
        alive(&mut world, name);
    }
    world.settle();
    world
}

fn reasons(notes: &[Note]) -> Vec<&str> {
    notes.iter().map(|n| n.reason.as_str()).collect()
}

const IPS: &str = "cilium/state/ip/v1/default/";
const IDS: &str = "cilium/state/identities/v1/id/";
const BLOCKS: &str = "skein/ipam/v1/blocks/default/";
const NODES: &str = "cilium/state/nodes/v1/default/";
const SERVICES: &str = "skein/state/services/v1/shop/";

#[test]
fn nodes_get_blocks_and_are_published_when_their_agent_has_reported() {
    let mut world = World::new();
    world.file("nodes.yaml", &node("n1", "172.18.0.1"));
    let plan = world.settle();
    assert_eq!(world.under(BLOCKS), ["10.1.0.0-24"]);
    assert_eq!(world.under(NODES), [""; 0]);
    assert_eq!(reasons(&plan.waiting), ["the report of its agent"]);

    report_node(&mut world, "n1", "172.18.0.1");
    world.settle();
    let text = world.text("cilium/state/nodes/v1/default/n1").unwrap();
    assert!(text.contains(r#""IPv4AllocCIDR":{"IP":"10.1.0.0","Mask":"////AA=="}"#), "{text}");
    assert_eq!(world.under(IPS), ["172.18.0.1"]);
    assert_eq!(
        world.text("cilium/cluster-config/default").unwrap(),
        r#"{"capabilities":{"maxConnectedClusters":255}}"#
    );
}

#[test]
fn the_pool_runs_out_and_recovers_after_the_grace_period() {
    let mut world = World::new();
    let nodes: String = (1..=5).map(|n| node(&format!("n{n}"), &format!("172.18.0.{n}"))).collect();
    world.file("nodes.yaml", &nodes);
    let plan = world.settle();
    assert_eq!(world.under(BLOCKS).len(), 4);
    assert!(reasons(&plan.waiting).contains(&"a block: the cluster pool is exhausted"));

    let fewer: String = (2..=5).map(|n| node(&format!("n{n}"), &format!("172.18.0.{n}"))).collect();
    report_endpoint(&mut world, "n1", "10.1.0.7", "x");
    alive(&mut world, "n1");
    world.file("nodes.yaml", &fewer);
    world.now += 3600;
    world.settle();
    assert_eq!(world.under(BLOCKS).len(), 4, "the agent is alive");
    world.keys.remove("skein/agents/v1/n1/status");
    let plan = world.settle();
    assert_eq!(plan.wake_at, Some(world.now + 60));
    world.now += 59;
    world.settle();
    assert!(world.text("skein/agents/v1/n1/endpoints/10.1.0.7").is_some());
    world.now += 1;
    world.settle();
    assert_eq!(world.under(BLOCKS).len(), 4);
    assert!(world.text(&format!("{BLOCKS}10.1.0.0-24")).unwrap().contains("n5"));
    assert_eq!(world.under("skein/agents/v1/n1/"), [""; 0]);
}

#[test]
fn pods_with_the_same_labels_share_an_identity_that_outlives_them_for_a_while() {
    let mut world = two_nodes();
    world.file(
        "a.yaml",
        &(pod("a", "n1", "app: web") + &pod("b", "n2", "app: web, pod-template-hash: x")),
    );
    world.file("c.yaml", &pod("c", "n2", "app: db"));
    world.settle();
    let ids = world.under(IDS);
    assert_eq!(ids.len(), 2);
    let labels = world.text(&format!("{IDS}{}", ids[0])).unwrap();
    assert!(
        labels.ends_with(
            "k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name=shop;\
             k8s:io.cilium.k8s.policy.cluster=default;\
             k8s:io.cilium.k8s.policy.serviceaccount=default;k8s:io.kubernetes.pod.namespace=shop;"
        ),
        "{labels}"
    );
    assert!(ids.iter().all(|id| id.parse::<u32>().unwrap() >= 256));

    world.remove("c.yaml");
    let plan = world.settle();
    assert_eq!(world.under("skein/state/pods/v1/"), ["n1/shop/a", "n2/shop/b"]);
    assert_eq!(world.under(IDS).len(), 2);
    assert!(!plan.unused.is_empty());
    world.now += 900;
    world.settle();
    assert_eq!(world.under(IDS).len(), 1);
}

#[test]
fn reports_are_believed_only_where_they_can_be_true() {
    let mut world = two_nodes();
    world.file("a.yaml", &(pod("a", "n1", "app: web") + &pod("b", "n2", "app: web")));
    world.settle();
    report_endpoint(&mut world, "n1", "10.1.0.5", "a");
    report_endpoint(&mut world, "n1", "10.1.1.9", "a"); // n2's block
    report_endpoint(&mut world, "n1", "10.1.0.6", "b"); // a pod of n2
    report_endpoint(&mut world, "n1", "10.1.0.255", "a"); // broadcast
    report_endpoint(&mut world, "n1", "10.96.0.10", "a"); // a service's address
    report_endpoint(&mut world, "n1", "172.18.0.2", "a"); // the other node
    report_endpoint(&mut world, "n3", "10.1.0.8", "a"); // no such node
    let plan = world.settle();
    assert_eq!(world.under(IPS), ["10.1.0.5", "172.18.0.1", "172.18.0.2"]);
    assert_eq!(plan.problems.len(), 4, "{:?}", plan.problems);
    assert_eq!(plan.waiting.len(), 2, "{:?}", plan.waiting);
    let pair = world.text(&format!("{IPS}10.1.0.5")).unwrap();
    let id = &world.under(IDS)[0];
    assert!(pair.contains(&format!(r#""HostIP":"172.18.0.1","ID":{id}"#)), "{pair}");
    assert!(pair.contains(r#""NamedPorts":[{"Name":"http","Port":8080,"Protocol":"TCP"}]"#));
    assert!(world.text(&format!("{IPS}172.18.0.2")).unwrap().contains(r#""HostIP":"","ID":6"#));

    world.keys.remove("skein/agents/v1/n1/endpoints/10.1.0.5");
    world.settle();
    assert_eq!(world.under(IPS), ["172.18.0.1", "172.18.0.2"]);
}

#[test]
fn a_pod_created_anew_under_its_name_is_not_its_predecessor() {
    let mut world = two_nodes();
    world.file("a.yaml", &pod("a", "n1", "app: web"));
    report_endpoint(&mut world, "n1", "10.1.0.5", "a");
    world.settle();
    world.file("a.yaml", &pod("a", "n1", "app: web").replace("uid-a", "uid-new"));
    let plan = world.settle();
    assert_eq!(world.under(IPS), ["172.18.0.1", "172.18.0.2"]);
    assert!(plan.problems[0].reason.contains("has uid uid-new"), "{:?}", plan.problems);
}

#[test]
fn a_node_cannot_speak_for_another() {
    let mut world = two_nodes();
    report_node(&mut world, "n2", "172.18.0.1");
    let plan = world.settle();
    assert_eq!(
        reasons(&plan.problems),
        ["report refused: internal address 172.18.0.1 is not one of the Node object's"]
    );
    assert!(world.text(&format!("{NODES}n2")).unwrap().contains("172.18.0.2"), "stays as it was");

    world.file("more.yaml", "apiVersion: v1\nkind: Node\nmetadata: {name: n3}\n");
    report_node(&mut world, "n2", "172.18.0.2");
    report_node(&mut world, "n3", "172.18.0.2");
    let plan = world.settle();
    assert_eq!(
        reasons(&plan.problems),
        ["report refused: internal address 172.18.0.2 is that of node n2"]
    );
    report_node(&mut world, "n3", "10.1.1.4");
    let plan = world.settle();
    assert_eq!(
        reasons(&plan.problems),
        ["report refused: internal address 10.1.1.4 is inside 10.1.0.0/22"]
    );
}

#[test]
fn a_node_that_leaves_takes_its_addresses_along() {
    let mut world = two_nodes();
    world.file("a.yaml", &pod("a", "n1", "app: web"));
    report_endpoint(&mut world, "n1", "10.1.0.5", "a");
    world.settle();
    world.file("nodes.yaml", &node("n2", "172.18.0.2"));
    world.settle();
    assert_eq!(world.under(NODES), ["n2"]);
    assert_eq!(world.under(IPS), ["172.18.0.2"]);
    assert_eq!(world.under(BLOCKS).len(), 2, "kept for the grace period");
    world.file("nodes.yaml", &(node("n1", "172.18.0.1") + &node("n2", "172.18.0.2")));
    world.settle();
    assert!(world.under(IPS).contains(&"10.1.0.5".to_owned()), "back with the same block");
}

fn cluster_ip(world: &World, name: &str) -> Option<IpAddr> {
    let key = ServiceKey { namespace: "shop".parse().unwrap(), name: name.parse().unwrap() };
    world.tables().services.value(&key)?.cluster_ips.first().copied()
}

#[test]
fn services_get_addresses_that_stay() {
    let mut world = World::new();
    world.file(
        "s.yaml",
        &(service("a", "ports: [{port: 80}]")
            + &service("b", "clusterIP: 10.96.0.10, ports: [{port: 80}]")
            + &service("c", "clusterIP: None, ports: [{port: 80}]")
            + &service("d", "type: ExternalName, externalName: example.org")),
    );
    world.settle();
    assert_eq!(world.under(SERVICES), ["a", "b", "c"]);
    let a = cluster_ip(&world, "a").unwrap();
    assert!("10.96.0.0/24".parse::<ipnet::IpNet>().unwrap().contains(&a));
    assert_eq!(cluster_ip(&world, "b"), "10.96.0.10".parse().ok());
    assert_eq!(cluster_ip(&world, "c"), None);

    // Edits of other fields leave the address; another service that names it is refused.
    world.file(
        "s.yaml",
        &(service("a", "ports: [{port: 81}]")
            + &service("b", "clusterIP: 10.96.0.10, ports: [{port: 80}]")
            + &service("e", &format!("clusterIP: {a}, ports: [{{port: 80}}]"))),
    );
    let plan = world.settle();
    assert_eq!(cluster_ip(&world, "a"), Some(a));
    assert_eq!(world.under(SERVICES), ["a", "b"]);
    assert_eq!(reasons(&plan.problems), [format!("its address {a} belongs to Service shop/a")]);

    // Once it is free, it is given.
    world.file("s.yaml", &service("e", &format!("clusterIP: {a}, ports: [{{port: 80}}]")));
    world.settle();
    assert_eq!(cluster_ip(&world, "e"), Some(a));
}

/// Another cluster's address, a node's, the world's: a service must not take them from everybody.
#[test]
fn an_address_outside_of_the_service_network_is_refused() {
    let mut world = World::new();
    for ip in ["172.18.0.1", "8.8.8.8"] {
        world.file("s.yaml", &service("a", &format!("clusterIP: {ip}, ports: [{{port: 80}}]")));
        let plan = world.settle();
        let told = format!("its address {ip} is not in the service network 10.96.0.0/24");
        assert_eq!(reasons(&plan.problems), [told]);
        assert!(world.under(SERVICES).is_empty());
    }
}

#[test]
fn the_service_network_runs_out_with_a_report_for_each() {
    let mut world = World::new();
    let all: String = (0..260).map(|n| service(&format!("s{n}"), "ports: [{port: 80}]")).collect();
    world.file("s.yaml", &all);
    let plan = world.settle();
    assert_eq!(world.under(SERVICES).len(), 254);
    assert_eq!(plan.problems.len(), 6);
    assert_eq!(plan.problems[0].reason, "no address of 10.96.0.0/24 is free");
}

#[test]
fn nothing_is_deleted_while_a_source_is_not_whole() {
    let mut world = two_nodes();
    world.file("s.yaml", &service("a", "ports: [{port: 80}]"));
    world.file("a.yaml", &pod("a", "n1", "app: web"));
    report_endpoint(&mut world, "n1", "10.1.0.5", "a");
    world.settle();
    let before = world.keys.clone();

    // A fresh process that finds a broken file.
    let keys = std::mem::take(&mut world.keys);
    let mut world = World::new();
    world.keys = keys;
    world.file("broken.yaml", "{{{");
    world.now += 10;
    let plan = world.plan();
    assert!(plan.is_empty(), "{plan:?}");
    assert_eq!(world.keys, before);

    // One invalid object holds its own key, the others go.
    world.file("broken.yaml", &service("a", "ports: [{port: 0}]"));
    world.settle();
    assert_eq!(world.under(SERVICES), ["a"]);
    assert_eq!(world.under("skein/state/pods/v1/"), [""; 0]);
    assert_eq!(world.under(NODES), [""; 0]);
}

#[test]
fn global_services_are_shared_with_ready_backends() {
    let mut world = World::new();
    let annotated = service("a", "ports: [{name: http, port: 80}]").replace(
        "namespace: shop}",
        "namespace: shop, annotations: {service.cilium.io/global: \"true\"}}",
    );
    let slice = "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
        metadata: {name: a-1, namespace: shop, labels: {kubernetes.io/service-name: a}}\n\
        addressType: IPv4\nports: [{name: http, port: 8080}]\n\
        endpoints: [{addresses: [10.1.0.5]}, {addresses: [10.1.0.6], conditions: {ready: false}}]\n";
    world.file("s.yaml", &(annotated.clone() + slice));
    world.settle();
    let shared = world.text("cilium/state/services/v1/default/shop/a").unwrap();
    assert!(shared.contains(r#""backends":{"10.1.0.5":{"http":{"Protocol":"TCP","Port":8080}}}"#));
    assert_eq!(world.under("skein/state/slices/v1/"), ["shop/a-1"]);
    world.file("s.yaml", &(service("a", "ports: [{name: http, port: 80}]") + slice));
    world.settle();
    assert_eq!(world.under("cilium/state/services/v1/"), [""; 0]);
}

#[test]
fn the_heart_beats_once_a_minute() {
    let mut world = World::new();
    world.settle();
    let first = world.text("cilium/.heartbeat").unwrap();
    world.now += 59;
    assert!(world.plan().is_empty());
    world.now += 1;
    let plan = world.plan();
    assert_eq!(plan.puts.len(), 1);
    world.apply(&plan);
    assert_ne!(world.text("cilium/.heartbeat").unwrap(), first);
    world.now -= 3600;
    assert_eq!(world.plan().puts.len(), 1, "a clock that was set back does not stop it");
}

#[test]
fn unreadable_keys_are_listed_and_mended_where_they_are_ours() {
    let mut world = two_nodes();
    world.file("s.yaml", &service("a", "ports: [{port: 80}]"));
    world.settle();
    let good = world.text(&format!("{SERVICES}a")).unwrap();
    world.put(&format!("{SERVICES}a"), br#"{"v": 99}"#.to_vec());
    world.put("skein/agents/v1/n1/node", b"nonsense".to_vec());
    let plan = world.plan();
    assert_eq!(plan.problems.len(), 2, "{:?}", plan.problems);
    world.apply(&plan);
    let plan = world.settle();
    assert_eq!(plan.problems.len(), 1);
    assert_eq!(world.text(&format!("{SERVICES}a")).unwrap(), good, "the name leads to the address");
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Nodes(u8),
        Services(Vec<(u8, Option<u8>)>),
        Pods(Vec<(u8, u8, u8)>),
        Break(u8),
        ReportNode(u8, u8),
        ReportEndpoint(u8, u8, u8, u8),
        Forget(usize),
        Share(u8),
        Label(u8),
        Meddle(usize, bool),
        Time(u16),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..7_u8).prop_map(Step::Nodes),
            proptest::collection::vec((0..8_u8, proptest::option::of(0..6_u8)), 0..8)
                .prop_map(Step::Services),
            proptest::collection::vec((0..6_u8, 1..6_u8, 0..3_u8), 0..6).prop_map(Step::Pods),
            (0..3_u8).prop_map(Step::Break),
            (1..6_u8, 1..8_u8).prop_map(|(n, ip)| Step::ReportNode(n, ip)),
            (1..6_u8, 0..4_u8, 0..8_u8, 0..6_u8)
                .prop_map(|(n, block, ip, pod)| Step::ReportEndpoint(n, block, ip, pod)),
            (0..40_usize).prop_map(Step::Forget),
            (0..4_u8).prop_map(Step::Share),
            (0..3_u8).prop_map(Step::Label),
            (0..4_usize, any::<bool>()).prop_map(|(n, gone)| Step::Meddle(100 + n, gone)),
            (0..20_usize, any::<bool>()).prop_map(|(n, gone)| Step::Meddle(n, gone)),
            (0..2000_u16).prop_map(Step::Time),
        ]
    }

    fn take(world: &mut World, step: Step) {
        match step {
            Step::Nodes(bits) => {
                let some = (1..=5).filter(|n| bits & (1 << (n % 3)) != 0);
                let text = some.map(|n| node(&format!("n{n}"), &format!("172.18.0.{n}")));
                world.file("nodes.yaml", &text.collect::<String>());
            }
            Step::Services(list) => {
                let spec = |ip: Option<u8>| {
                    let ip = ip.map(|ip| format!("clusterIP: 10.96.0.{}, ", ip + 1));
                    format!("{}ports: [{{port: 80}}]", ip.unwrap_or_default())
                };
                let text = list.into_iter().map(|(n, ip)| service(&format!("s{n}"), &spec(ip)));
                world.file("services.yaml", &text.collect::<String>());
            }
            Step::Pods(list) => {
                let one = |(n, on, app)| {
                    pod(&format!("p{n}"), &format!("n{on}"), &format!("app: a{app}"))
                };
                world.file("pods.yaml", &list.into_iter().map(one).collect::<String>());
            }
            Step::Break(0) => world.file("nodes.yaml", "{{{"),
            Step::Break(1) => world.file("services.yaml", &service("s1", "ports: [{port: 0}]")),
            Step::Break(_) => world.remove("pods.yaml"),
            Step::ReportNode(n, ip) => {
                report_node(world, &format!("n{n}"), &format!("172.18.0.{ip}"));
            }
            Step::ReportEndpoint(n, block, ip, pod) => {
                let ip = format!("10.1.{block}.{ip}");
                report_endpoint(world, &format!("n{n}"), &ip, &format!("p{pod}"));
            }
            Step::Forget(n) => {
                let reports: Vec<String> = world.under("skein/agents/v1/");
                if let Some(key) = reports.get(n) {
                    world.keys.remove(&format!("skein/agents/v1/{key}"));
                }
            }
            // A service that other clusters may use, with its endpoints.
            Step::Share(n) => {
                let shared = service("g", "ports: [{port: 80}]").replace(
                    "metadata: {",
                    "metadata: {annotations: {service.cilium.io/global: 'true'}, ",
                );
                let slice = format!(
                    "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
                     metadata: {{name: g-1, labels: {{kubernetes.io/service-name: g}}}}\n\
                     addressType: IPv4\nports: [{{port: 8080}}]\nendpoints: [{{addresses: [10.1.0.{n}]}}]\n"
                );
                world.file("shared.yaml", &(shared + &slice));
            }
            // The pods' namespace gets other labels: they need other identities.
            Step::Label(0) => world.remove("namespace.yaml"),
            Step::Label(n) => world.file(
                "namespace.yaml",
                &format!(
                    "apiVersion: v1\nkind: Namespace\n\
                     metadata: {{name: shop, labels: {{team: t{n}}}}}\n"
                ),
            ),
            // Someone else removes or overwrites what is ours: from 100 on, identities.
            Step::Meddle(n, gone) => {
                let (prefix, n) = if n < 100 { ("skein/state/", n) } else { (IDS, n - 100) };
                let ours: Vec<String> = world.under(prefix);
                if let Some(key) = ours.get(n).map(|key| format!("{prefix}{key}")) {
                    if gone {
                        world.keys.remove(&key);
                    } else {
                        world.put(&key, b"nonsense".to_vec());
                    }
                }
            }
            Step::Time(seconds) => world.now += u64::from(seconds),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(150))]

        /// Whatever happens, planning comes to rest, the rest is stable, and no invariant breaks on
        /// the way (checked by the world after every single write).
        #[test]
        fn planning_comes_to_rest_on_a_sound_state(steps in proptest::collection::vec(step(), 1..14)) {
            let mut world = World::new();
            for step in steps {
                take(&mut world, step);
                world.settle();
                prop_assert!(world.plan().is_empty());
                prop_assert_eq!(world.plan(), world.plan());
            }
        }

        /// Reports alone never change anything but the nodes and addresses published from them.
        #[test]
        fn reports_reach_only_nodes_and_addresses(steps in proptest::collection::vec(step(), 1..10)) {
            let mut world = two_nodes();
            world.file("pods.yaml", &pod("p1", "n1", "app: a"));
            world.settle();
            for step in steps {
                if !matches!(step, Step::ReportNode(..) | Step::ReportEndpoint(..)) {
                    continue;
                }
                take(&mut world, step);
                for write in world.plan().writes() {
                    let reached = write.key.starts_with("cilium/state/nodes/")
                        || write.key.starts_with("cilium/state/ip/");
                    prop_assert!(reached, "{}", write.key);
                }
                world.settle();
            }
        }
    }
}
