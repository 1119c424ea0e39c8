//! What must hold of every kind: keys round trip, sort as their encodings do, stay in their own range;
//! values round trip, refuse other versions, and decoders take any bytes.

use std::net::IpAddr;

use proptest::prelude::*;
use skein_store_schema::kinds::{
    agent_status::AgentStatusKey, block::BlockKey, cluster_service::ClusterServiceKey,
    election::ElectionKey, endpoint_report::EndpointReportKey, identity::IdentityKey, ip::IpKey,
    node::NodeKey, node_report, node_report::NodeReportKey, pod::PodKey, pool::PoolKey, service::*,
    slice::*,
};
use skein_store_schema::{
    IdentityId, Key, KeyRange, KeyReason, LeaseId, PortNumber, Protocol, SchemaError, StoreKey,
    StoreValue, ValueReason, describe,
};

const LABEL: &str = "[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?";
const SUBDOMAIN: &str = "[a-z0-9]([a-z0-9-]{0,4}[a-z0-9])?(\\.[a-z0-9]{1,3}){0,2}";

fn label<N: std::str::FromStr<Err: std::fmt::Debug> + std::fmt::Debug>() -> impl Strategy<Value = N>
{
    LABEL.prop_map(|text| text.parse().unwrap())
}

fn subdomain<N: std::str::FromStr<Err: std::fmt::Debug> + std::fmt::Debug>()
-> impl Strategy<Value = N> {
    SUBDOMAIN.prop_map(|text| text.parse().unwrap())
}

fn node_key() -> impl Strategy<Value = NodeKey> {
    (label(), subdomain()).prop_map(|(cluster, node)| NodeKey { cluster, node })
}

fn service_key() -> impl Strategy<Value = ServiceKey> {
    (label(), label()).prop_map(|(namespace, name)| ServiceKey { namespace, name })
}

fn slice_key() -> impl Strategy<Value = SliceKey> {
    (label(), subdomain()).prop_map(|(namespace, name)| SliceKey { namespace, name })
}

fn pod_key() -> impl Strategy<Value = PodKey> {
    (subdomain(), label(), subdomain()).prop_map(|(node, namespace, name)| PodKey {
        node,
        namespace,
        name,
    })
}

fn cluster_service_key() -> impl Strategy<Value = ClusterServiceKey> {
    (label(), label(), label()).prop_map(|(cluster, namespace, name)| ClusterServiceKey {
        cluster,
        namespace,
        name,
    })
}

fn endpoint_key() -> impl Strategy<Value = EndpointReportKey> {
    (subdomain(), any::<IpAddr>()).prop_map(|(node, ip)| EndpointReportKey { node, ip })
}

fn block_key() -> impl Strategy<Value = BlockKey> {
    (label(), any::<IpAddr>(), 0_u8..=128).prop_map(|(pool, ip, bits)| {
        let bits = if ip.is_ipv4() { bits % 33 } else { bits };
        BlockKey { pool, cidr: ipnet::IpNet::new(ip, bits).unwrap().trunc() }
    })
}

fn election_key() -> impl Strategy<Value = ElectionKey> {
    let lease = any::<i64>().prop_filter_map("0 is no lease", LeaseId::new);
    (label(), lease).prop_map(|(election, lease)| ElectionKey { election, lease })
}

fn identity_key() -> impl Strategy<Value = IdentityKey> {
    (1..=IdentityId::MAX).prop_map(|id| IdentityKey { id: IdentityId::new(id).unwrap() })
}

/// A key of any kind whose keys vary.
fn any_key() -> impl Strategy<Value = Key> {
    prop_oneof![
        node_key().prop_map(Key::Node),
        any::<IpAddr>().prop_map(|ip| Key::Ip(IpKey { ip })),
        identity_key().prop_map(Key::Identity),
        cluster_service_key().prop_map(Key::ClusterService),
        service_key().prop_map(Key::Service),
        slice_key().prop_map(Key::Slice),
        pod_key().prop_map(Key::Pod),
        label().prop_map(|pool| Key::Pool(PoolKey { pool })),
        block_key().prop_map(Key::Block),
        subdomain().prop_map(|node| Key::NodeReport(NodeReportKey { node })),
        endpoint_key().prop_map(Key::EndpointReport),
        subdomain().prop_map(|node| Key::AgentStatus(AgentStatusKey { node })),
        election_key().prop_map(Key::Election),
    ]
}

fn sorts_as_encoded<K: StoreKey>(a: &K, b: &K) -> bool {
    a.cmp(b) == a.encode().as_bytes().cmp(b.encode().as_bytes())
}

fn port() -> impl Strategy<Value = PortNumber> {
    any::<PortNumber>()
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::Sctp)]
}

fn target_port() -> impl Strategy<Value = TargetPort> {
    prop_oneof![
        port().prop_map(TargetPort::Number),
        LABEL.prop_map(TargetPort::Name),
        // A name of digits must stay a name.
        "[0-9]{1,5}".prop_map(TargetPort::Name),
    ]
}

fn service() -> impl Strategy<Value = Service> {
    let ports = prop::collection::btree_map(
        port(),
        (protocol(), target_port(), prop::option::of(port())),
        0..4,
    );
    (ports, prop::collection::vec(any::<IpAddr>(), 0..3), any::<bool>(), 0_u32..3).prop_map(
        |(ports, ips, headless, affinity)| {
            let mut service = Service {
                headless,
                external_ips: ips.clone(),
                client_ip_affinity_s: std::num::NonZeroU32::new(affinity),
                external_traffic_policy: TrafficPolicy::Local,
                kind: ServiceType::NodePort,
                ..Service::default()
            };
            service.cluster_ips = if headless { Vec::new() } else { ips };
            for (port, (protocol, target_port, node_port)) in ports {
                let name = format!("p{port}");
                service.ports.push(ServicePort { name, port, protocol, target_port, node_port });
            }
            service
        },
    )
}

fn slice() -> impl Strategy<Value = Slice> {
    let endpoint = (
        any::<std::net::Ipv4Addr>(),
        any::<[bool; 3]>(),
        prop::option::of(subdomain()),
        prop::option::of((subdomain(), "[a-f0-9-]{0,12}")),
    )
        .prop_map(|(ip, [ready, serving, terminating], node, pod)| SliceEndpoint {
            ready,
            serving,
            terminating,
            node,
            pod: pod.map(|(name, uid)| PodRef { name, uid }),
            ..SliceEndpoint::ready_at(ip.into())
        });
    (
        label(),
        prop::collection::vec(endpoint, 0..5),
        prop::collection::vec((port(), protocol()), 0..3),
    )
        .prop_map(|(service, endpoints, ports)| Slice {
            service,
            address_type: AddressType::Ipv4,
            ports: ports
                .into_iter()
                .map(|(port, protocol)| SlicePort { name: format!("p{port}"), port, protocol })
                .collect(),
            endpoints,
        })
}

proptest! {
    #[test]
    fn keys_round_trip(key in any_key()) {
        let text = key.to_string();
        prop_assert_eq!(Key::decode(text.as_bytes()).unwrap(), key);
    }

    #[test]
    fn named_keys_sort_as_encoded(
        nodes in [node_key(), node_key()],
        services in [service_key(), service_key()],
        slices in [slice_key(), slice_key()],
        pods in [pod_key(), pod_key()],
        shared in [cluster_service_key(), cluster_service_key()],
    ) {
        prop_assert!(sorts_as_encoded(&nodes[0], &nodes[1]));
        prop_assert!(sorts_as_encoded(&services[0], &services[1]));
        prop_assert!(sorts_as_encoded(&slices[0], &slices[1]));
        prop_assert!(sorts_as_encoded(&pods[0], &pods[1]));
        prop_assert!(sorts_as_encoded(&shared[0], &shared[1]));
    }

    #[test]
    fn a_scope_holds_its_keys_and_no_others(a in pod_key(), b in pod_key()) {
        let range = PodKey::node_range(&a.node);
        prop_assert!(range.contains(a.encode().as_bytes()));
        prop_assert_eq!(range.contains(b.encode().as_bytes()), a.node == b.node);
        let range = node_report::agent_range(&a.node);
        let report = NodeReportKey { node: b.node.clone() }.encode();
        prop_assert_eq!(range.contains(report.as_bytes()), a.node == b.node);
    }

    #[test]
    fn services_round_trip(service in service()) {
        prop_assert_eq!(Service::decode(&service.encode()).unwrap(), service);
    }

    #[test]
    fn slices_round_trip(slice in slice()) {
        prop_assert_eq!(Slice::decode(&slice.encode()).unwrap(), slice);
    }

    #[test]
    fn decoders_take_any_bytes(kind in 0..15_usize, tail in any::<Vec<u8>>(), value in any::<Vec<u8>>()) {
        let mut key = Key::catalogue()[kind].1.clone().into_bytes();
        let _ = describe(&key, &value);
        key.truncate(key.len().saturating_sub(tail.len() % 16));
        key.extend(tail);
        let _ = describe(&key, &value);
    }

    #[test]
    fn decoders_take_damaged_values(kind in 0..15_usize, at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let (_, key, mut value) = Key::catalogue()[kind].clone();
        let at = at.index(value.len());
        value[at] = byte;
        let _ = describe(key.as_bytes(), &value);
        let _ = describe(key.as_bytes(), &value[..at]);
    }
}

#[test]
fn examples_decode_and_carry_versions() {
    for (doc, key, value) in Key::catalogue() {
        let described = describe(key.as_bytes(), &value).unwrap();
        assert_eq!(described.key.to_string(), key);
        assert_eq!(described.key.doc(), doc, "{key} decodes as another kind");
        if key.starts_with("skein/") {
            assert!(value.starts_with(b"{\"v\":1"), "{key} carries no version");
        }
    }
}

#[test]
fn unknown_versions_are_refused_by_number() {
    for (_, key, value) in Key::catalogue() {
        if !key.starts_with("skein/") {
            continue;
        }
        let mut json: serde_json::Value = serde_json::from_slice(&value).unwrap();
        json["v"] = 2.into();
        let error = describe(key.as_bytes(), json.to_string().as_bytes()).unwrap_err();
        let reason = ValueReason::Version { found: 2, known: 1 };
        assert_eq!(error, SchemaError::Value { key: key.clone(), reason });
        assert!(error.to_string().ends_with("has format version 2; this build knows version 1"));

        json.as_object_mut().unwrap().remove("v");
        let error = describe(key.as_bytes(), json.to_string().as_bytes()).unwrap_err();
        assert_eq!(error, SchemaError::Value { key, reason: ValueReason::NoVersion { known: 1 } });
    }
}

#[test]
fn the_version_may_stand_anywhere_and_new_fields_are_ignored() {
    let value = br#"{"type":"ClusterIP","cluster_ips":["10.96.0.1"],"colour":"blue","v":1}"#;
    let service = Service::decode(value).unwrap();
    assert_eq!(service.cluster_ips, ["10.96.0.1".parse::<IpAddr>().unwrap()]);
}

#[test]
fn kinds_do_not_lie_in_each_others_ranges() {
    let folders: Vec<KeyRange> = Key::catalogue()
        .iter()
        .filter(|(_, key, _)| !key.starts_with(node_report::AGENTS_PREFIX))
        .map(|(doc, key, _)| match doc.layout.find('<') {
            Some(at) => KeyRange::prefix(&doc.layout[..at]),
            None => KeyRange::single(key.as_str()),
        })
        .chain([KeyRange::prefix(node_report::AGENTS_PREFIX)])
        .collect();
    assert_eq!(folders.len(), 13);
    for (index, range) in folders.iter().enumerate() {
        assert!(folders[..index].iter().all(|other| !range.overlaps(other)), "{range:?}");
    }
}

#[test]
fn malformed_keys_are_named_with_their_reason() {
    for (key, words) in [
        ("skein/state/services/v1/shop", "layout"),
        ("skein/state/services/v1/shop/cart/x", "layout"),
        ("skein/state/services/v1/Shop/cart", "namespace"),
        ("skein/state/services/v1//cart", "namespace"),
        ("cilium/state/identities/v1/id/0", "identity"),
        ("cilium/state/identities/v1/id/007", "identity"),
        ("cilium/state/ip/v1/default/10.0.0.256", "canonical"),
        ("cilium/state/ip/v1/default/FD00::1", "canonical"),
        ("skein/ipam/v1/blocks/default/10.1.0.1-24", "CIDR"),
        ("skein/ipam/v1/blocks/default/10.1.0.0", "CIDR"),
        ("skein/agents/v1/node_1/status", "node name"),
        ("skein/election/controlplane/0", "lease"),
    ] {
        let error = Key::decode(key.as_bytes()).unwrap_err();
        assert!(!error.is_other_kind(), "{key}");
        let text = error.to_string();
        assert!(text.contains(key) && text.contains(words), "{text}");
    }
}

#[test]
fn keys_of_no_kind_are_told_apart() {
    for key in ["skein/agents/v1/node-1/other", "registry/pods", "cilium/state/ip/v1/other/1.2.3.4"]
    {
        let error = Key::decode(key.as_bytes()).unwrap_err();
        let reason = KeyReason::OtherKind;
        assert_eq!(error, SchemaError::Key { key: key.to_owned(), reason });
    }
}

#[test]
fn a_value_must_agree_with_its_key() {
    let (key, value) = IpKey::example();
    let other = IpKey { ip: "10.1.0.38".parse().unwrap() };
    assert!(IpKey::decode_entry(key.encode().as_bytes(), &value.encode()).is_ok());
    let error = IpKey::decode_entry(other.encode().as_bytes(), &value.encode()).unwrap_err();
    assert!(error.to_string().contains("field IP"), "{error}");
}

#[test]
fn contradictory_services_and_slices_are_refused() {
    let (_, mut service) = ServiceKey::example();
    service.headless = true;
    assert!(Service::decode(&service.encode()).is_err());
    let (_, mut service) = ServiceKey::example();
    service.ports.push(service.ports[0].clone());
    assert!(Service::decode(&service.encode()).is_err());
    let (_, mut slice) = SliceKey::example();
    slice.address_type = AddressType::Ipv6;
    assert!(Slice::decode(&slice.encode()).is_err());
}
