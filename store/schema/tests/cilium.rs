//! Values under `cilium/` against the formats that Cilium's own readers and writers use.

use skein_store_schema::StoreValue;
use skein_store_schema::kinds::{
    cluster_config::ClusterConfig,
    cluster_service::ClusterService,
    ip::IpIdentityPair,
    node::{AddressKind, Node},
};

/// A node as a Cilium 1.19 agent writes it: every field, unset ones null, zero or empty.
const NODE: &str = r#"{"Name":"kind-worker","Cluster":"east","IPAddresses":[
  {"Type":"InternalIP","IP":"172.18.0.3"},{"Type":"CiliumInternalIP","IP":"10.244.1.153"},
  {"Type":"Hostname","IP":"10.9.9.9"}],
  "IPv4AllocCIDR":{"IP":"10.244.1.0","Mask":"////AA=="},"IPv4SecondaryAllocCIDRs":null,
  "IPv6AllocCIDR":null,"IPv6SecondaryAllocCIDRs":null,"IPv4HealthIP":"10.244.1.9","IPv6HealthIP":"",
  "IPv4IngressIP":"","IPv6IngressIP":"","ClusterID":3,"Source":"local","EncryptionKey":0,
  "Labels":{"kubernetes.io/os":"linux"},"Annotations":null,"NodeIdentity":0,"WireguardPubKey":"",
  "BootID":"abc"}"#;

#[test]
fn node_records_read_and_write_as_cilium_does() {
    let node = Node::decode(NODE.as_bytes()).unwrap();
    assert_eq!(node.ipv4_block().unwrap().to_string(), "10.244.1.0/24");
    assert_eq!(node.internal_ipv4().unwrap().to_string(), "172.18.0.3");
    assert_eq!(node.router_ipv4().unwrap().to_string(), "10.244.1.153");
    assert_eq!(node.ip_addresses[2].kind, AddressKind::Other("Hostname".to_owned()));
    let mut want: serde_json::Value = serde_json::from_str(NODE).unwrap();
    // Newer writers have dropped this field, and so do we.
    want.as_object_mut().unwrap().remove("NodeIdentity");
    let wrote: serde_json::Value = serde_json::from_slice(&node.encode()).unwrap();
    assert_eq!(wrote, want);
}

#[test]
fn node_records_with_plain_cidrs_and_missing_fields_are_read() {
    let text = r#"{"Name":"n","Cluster":"c","IPv4AllocCIDR":"10.0.0.0/24"}"#;
    let node = Node::decode(text.as_bytes()).unwrap();
    assert_eq!(node.ipv4_block().unwrap().to_string(), "10.0.0.0/24");
}

#[test]
fn ip_pairs_leave_out_what_cilium_leaves_out() {
    let bare = r#"{"IP":"10.0.0.1","Mask":null,"HostIP":"","ID":6,"Key":0,"Metadata":""}"#;
    let pair = IpIdentityPair::decode(bare.as_bytes()).unwrap();
    assert_eq!(pair.host_ip, None);
    assert_eq!(String::from_utf8(pair.encode()).unwrap(), bare);

    let full = r#"{"IP":"10.0.0.1","Mask":null,"HostIP":"172.18.0.2","ID":1234,"Key":0,"Metadata":"","K8sNamespace":"shop","K8sPodName":"cart-1","K8sServiceAccount":"default","NamedPorts":[{"Name":"http","Port":8080,"Protocol":"TCP"}]}"#;
    let pair = IpIdentityPair::decode(full.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(pair.encode()).unwrap(), full);
}

#[test]
fn identity_zero_is_refused() {
    let text = r#"{"IP":"10.0.0.1","Mask":null,"HostIP":"","ID":0,"Key":0,"Metadata":""}"#;
    assert!(IpIdentityPair::decode(text.as_bytes()).is_err());
}

#[test]
fn shared_services_keep_cilium_names() {
    let text = r#"{"cluster":"east","namespace":"shop","name":"cart","frontends":{"10.96.0.20":{"http":{"Protocol":"TCP","Port":80}}},"backends":{"10.1.0.37":{"http":{"Protocol":"TCP","Port":8080}}},"zones":{"10.1.0.37":{"zone":"a","forZones":[{"name":"a"}]}},"labels":null,"selector":{"app":"cart"},"includeExternal":true,"shared":true,"clusterID":3}"#;
    let service = ClusterService::decode(text.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(service.encode()).unwrap(), text);
    let headless = text.replace(r#"{"10.96.0.20":{"http":{"Protocol":"TCP","Port":80}}}"#, "null");
    assert!(ClusterService::decode(headless.as_bytes()).unwrap().frontends.is_empty());
}

#[test]
fn cluster_configs_leave_out_zeros() {
    let text = r#"{"id":3,"capabilities":{"syncedCanaries":true,"maxConnectedClusters":255,"serviceExportsEnabled":false}}"#;
    let config = ClusterConfig::decode(text.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(config.encode()).unwrap(), text);
    assert_eq!(ClusterConfig::default().encode(), br#"{"capabilities":{}}"#);
}
