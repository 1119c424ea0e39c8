use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::types::{Backend, Frontend, Proto, Scope};

fn place() -> Place {
    Place {
        node: NodeName::new("n1").unwrap(),
        cluster: ClusterName::new("default").unwrap(),
        node_ip: Ipv4Addr::new(172, 18, 0, 1),
        mode: RoutingMode::Tunnel,
    }
}

fn calculator() -> Calculator {
    Calculator::new(place(), Balancer::default())
}

fn service(cluster_ips: serde_json::Value, headless: bool, policy: &str) -> Vec<u8> {
    json!({"v": 1, "type": "ClusterIP", "headless": headless, "cluster_ips": cluster_ips,
        "internal_traffic_policy": policy,
        "ports": [{"name": "http", "port": 80, "protocol": "TCP", "target_port": "web"}]})
    .to_string()
    .into_bytes()
}

fn slice(port: u16, endpoints: serde_json::Value) -> Vec<u8> {
    json!({"v": 1, "service": "cart", "address_type": "IPv4",
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}], "endpoints": endpoints})
    .to_string()
    .into_bytes()
}

const SERVICE: &[u8] = b"skein/state/services/v1/shop/cart";
const SLICE_A: &[u8] = b"skein/state/slices/v1/shop/cart-a";
const SLICE_B: &[u8] = b"skein/state/slices/v1/shop/cart-b";

fn backends_of(calculator: &mut Calculator) -> Option<Vec<(u8, u16)>> {
    calculator.settle();
    let service = calculator.balancer.desired().get(&ObjectName::new("shop", "cart"))?;
    let list = service.lists.values().next().unwrap();
    let frontend = Frontend {
        addr: Ipv4Addr::new(10, 96, 0, 20),
        port: 80,
        proto: Proto::TCP,
        scope: Scope::Cluster,
    };
    assert!(list.frontends.contains(&frontend));
    let short = |backend: &Backend| (backend.addr.octets()[3], backend.port);
    Some(list.backends.iter().map(short).collect())
}

#[test]
fn named_target_ports_may_differ_between_slices() {
    let mut calculator = calculator();
    calculator.apply(SERVICE, Some(&service(json!(["10.96.0.20"]), false, "Cluster"))).unwrap();
    let one = json!([{"addresses": ["10.1.0.1"]}, {"addresses": ["10.1.0.2"], "ready": false}]);
    calculator.apply(SLICE_A, Some(&slice(8080, one))).unwrap();
    let two = json!([{"addresses": ["10.1.0.3"]}]);
    calculator.apply(SLICE_B, Some(&slice(9090, two))).unwrap();
    assert_eq!(backends_of(&mut calculator), Some(vec![(1, 8080), (3, 9090)]));
    calculator.apply(SLICE_B, None).unwrap();
    assert_eq!(backends_of(&mut calculator), Some(vec![(1, 8080)]));
}

#[test]
fn terminating_endpoints_serve_only_when_nobody_is_ready() {
    let mut calculator = calculator();
    calculator.apply(SERVICE, Some(&service(json!(["10.96.0.20"]), false, "Cluster"))).unwrap();
    let draining = json!({"addresses": ["10.1.0.1"], "ready": false, "terminating": true});
    let gone =
        json!({"addresses": ["10.1.0.2"], "ready": false, "serving": false, "terminating": true});
    let both = json!([draining, gone]);
    calculator.apply(SLICE_A, Some(&slice(80, both.clone()))).unwrap();
    assert_eq!(backends_of(&mut calculator), Some(vec![(1, 80)]));
    calculator.apply(SLICE_B, Some(&slice(80, json!([{"addresses": ["10.1.0.9"]}])))).unwrap();
    assert_eq!(backends_of(&mut calculator), Some(vec![(9, 80)]));
}

#[test]
fn local_policy_counts_this_nodes_endpoints_and_headless_has_no_frontend() {
    let mut calculator = calculator();
    calculator.apply(SERVICE, Some(&service(json!(["10.96.0.20"]), false, "Local"))).unwrap();
    let endpoints = json!([{"addresses": ["10.1.0.1"], "node": "n1"},
        {"addresses": ["10.1.0.2"], "node": "n2"}, {"addresses": ["10.1.0.3"]}]);
    calculator.apply(SLICE_A, Some(&slice(80, endpoints))).unwrap();
    assert_eq!(backends_of(&mut calculator), Some(vec![(1, 80)]));
    calculator.apply(SERVICE, Some(&service(json!([]), true, "Cluster"))).unwrap();
    assert_eq!(backends_of(&mut calculator), None);
}

#[test]
fn a_bad_value_leaves_the_last_good_one() {
    let mut calculator = calculator();
    calculator.apply(SERVICE, Some(&service(json!(["10.96.0.20"]), false, "Cluster"))).unwrap();
    assert!(calculator.apply(SERVICE, Some(br#"{"v": 9}"#)).is_err());
    assert_eq!(backends_of(&mut calculator), Some(vec![]));
    assert!(calculator.apply(b"skein/other", Some(b"x")).is_ok());
}

#[test]
fn own_block_comes_from_the_own_node_key() {
    let mut calculator = calculator();
    let node = json!({"Name": "n1", "Cluster": "default",
        "IPAddresses": [{"Type": "InternalIP", "IP": "172.18.0.1"}],
        "IPv4AllocCIDR": {"IP": "10.1.0.0", "Mask": "////AA=="}});
    let key = b"cilium/state/nodes/v1/default/n1";
    calculator.apply(key, Some(node.to_string().as_bytes())).unwrap();
    assert_eq!(calculator.own_block(), Some("10.1.0.0/24".parse().unwrap()));
    assert!(calculator.take_changed().network);
    assert!(!calculator.take_changed().network);
}

proptest! {
    /// Whatever the order of values, and whatever came between, the wants are the same.
    #[test]
    fn order_does_not_matter(order in Just((0usize..6).collect::<Vec<_>>()).prop_shuffle(), noise in 0u8..4) {
        let values: Vec<(&[u8], Vec<u8>)> = vec![
            (SERVICE, service(json!(["10.96.0.20"]), false, "Cluster")),
            (SLICE_A, slice(8080, json!([{"addresses": ["10.1.0.1"]}]))),
            (SLICE_B, slice(8081, json!([{"addresses": ["10.1.0.2"]}]))),
            (b"cilium/state/ip/v1/default/10.1.0.1",
                br#"{"IP":"10.1.0.1","HostIP":"172.18.0.2","ID":300}"#.to_vec()),
            (b"skein/state/pods/v1/n1/shop/cart-0",
                br#"{"v":1,"identity":300}"#.to_vec()),
            (b"cilium/state/nodes/v1/default/n2",
                br#"{"Name":"n2","Cluster":"default","IPAddresses":[{"Type":"InternalIP","IP":"172.18.0.2"}],"IPv4AllocCIDR":{"IP":"10.1.0.0","Mask":"////AA=="}}"#.to_vec()),
        ];
        let mut straight = calculator();
        for (key, value) in &values {
            straight.apply(key, Some(value)).unwrap();
        }
        straight.settle();
        let mut shuffled = calculator();
        for index in order {
            let (key, value) = &values[index];
            for _ in 0..noise {
                shuffled.apply(key, Some(value)).unwrap();
                shuffled.apply(key, None).unwrap();
                shuffled.settle();
            }
            shuffled.apply(key, Some(value)).unwrap();
        }
        shuffled.settle();
        prop_assert_eq!(straight.balancer.desired(), shuffled.balancer.desired());
        prop_assert_eq!(straight.addresses.exact.desired(), shuffled.addresses.exact.desired());
        prop_assert_eq!(straight.addresses.ranges.desired(), shuffled.addresses.ranges.desired());
        prop_assert_eq!(straight.nodes(), shuffled.nodes());
    }
}
