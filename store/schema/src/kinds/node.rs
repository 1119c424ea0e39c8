//! `cilium/state/nodes/v1/<cluster>/<node>`: a node as every node sees it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::cilium::{cilium_json_value, ip_or_empty, null_when_empty};
use crate::path::{self, key_order};
use crate::{
    ClusterName, Doc, KeyRange, KeyReason, Lifetime, NodeName, StoreKey, ValueReason, Writer,
};

pub use crate::cilium::GoCidr;

/// A node of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NodeKey {
    /// The cluster that the node belongs to.
    pub cluster: ClusterName,
    /// The node.
    pub node: NodeName,
}

key_order!(NodeKey, |k| [k.cluster.as_str(), k.node.as_str()]);

impl NodeKey {
    /// The nodes of one cluster.
    pub fn cluster_range(cluster: &ClusterName) -> KeyRange {
        KeyRange::prefix(format!("{}{cluster}/", Self::PREFIX))
    }
}

impl StoreKey for NodeKey {
    type Value = Node;
    const PREFIX: &'static str = "cilium/state/nodes/v1/";
    const DOC: Doc = Doc {
        kind: "Node",
        layout: "cilium/state/nodes/v1/<cluster>/<node>",
        scope: "one node: its addresses and its block of pod addresses",
        cardinality: "5,000",
        writer: Writer::ControlPlane,
        readers: "every agent (routes, tunnels, ipcache); peers of a Cluster Mesh",
        lifetime: Lifetime::Durable,
        value: "Cilium's node record: Go field names, CIDRs as `{IP, Mask}` with the mask in base64",
        absence: "the node does not exist, has no block yet, or its agent has not reported: nobody routes to it",
    };

    fn encode(&self) -> String {
        format!("{}{}/{}", Self::PREFIX, self.cluster, self.node)
    }

    fn parse(text: &str) -> Result<Self, KeyReason> {
        let [cluster, node] = path::split(text, Self::PREFIX, Self::DOC.layout)?;
        Ok(Self { cluster: cluster.parse()?, node: node.parse()? })
    }

    fn example() -> (Self, Node) {
        let key = Self {
            cluster: ClusterName::new("default").expect("a label"),
            node: NodeName::new("node-1").expect("a label"),
        };
        let mut node = Node::new(key.cluster.clone(), key.node.clone());
        node.ip_addresses = vec![
            NodeAddress { kind: AddressKind::InternalIp, ip: IpAddr::from([172, 18, 0, 2]) },
            NodeAddress { kind: AddressKind::CiliumInternalIp, ip: IpAddr::from([10, 1, 0, 1]) },
        ];
        node.ipv4_alloc_cidr = "10.1.0.0/24".parse().ok().map(GoCidr);
        node.ipv4_health_ip = Some(IpAddr::from([10, 1, 0, 2]));
        node.source = "custom-resource".to_owned();
        (key, node)
    }

    fn agrees(&self, value: &Node) -> Result<(), ValueReason> {
        if value.name != self.node {
            return Err(ValueReason::field("Name", "differs from the key"));
        }
        if value.cluster != self.cluster {
            return Err(ValueReason::field("Cluster", "differs from the key"));
        }
        Ok(())
    }
}

/// What an address of a node is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AddressKind {
    /// The address by which nodes reach each other; endpoint of the tunnel.
    #[serde(rename = "InternalIP")]
    InternalIp,
    /// An address reachable from outside.
    #[serde(rename = "ExternalIP")]
    ExternalIp,
    /// The router address inside the node's block.
    #[serde(rename = "CiliumInternalIP")]
    CiliumInternalIp,
    /// A kind that this build does not use.
    #[serde(untagged)]
    Other(String),
}

/// One address of a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeAddress {
    /// What it is for.
    #[serde(rename = "Type")]
    pub kind: AddressKind,
    /// The address.
    #[serde(rename = "IP")]
    pub ip: IpAddr,
}

/// Cilium's node record. Fields this build has no use for are kept on read so that a mirror stays true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Node {
    /// The node; equal to the key's.
    pub name: NodeName,
    /// The cluster; equal to the key's.
    pub cluster: ClusterName,
    /// Every address with its kind.
    #[serde(rename = "IPAddresses", default, with = "null_when_empty")]
    pub ip_addresses: Vec<NodeAddress>,
    /// The node's block of IPv4 pod addresses.
    #[serde(rename = "IPv4AllocCIDR", default)]
    pub ipv4_alloc_cidr: Option<GoCidr>,
    /// Further IPv4 blocks.
    #[serde(rename = "IPv4SecondaryAllocCIDRs", default, with = "null_when_empty")]
    pub ipv4_secondary_alloc_cidrs: Vec<GoCidr>,
    /// The node's block of IPv6 pod addresses.
    #[serde(rename = "IPv6AllocCIDR", default)]
    pub ipv6_alloc_cidr: Option<GoCidr>,
    /// Further IPv6 blocks.
    #[serde(rename = "IPv6SecondaryAllocCIDRs", default, with = "null_when_empty")]
    pub ipv6_secondary_alloc_cidrs: Vec<GoCidr>,
    /// The address that answers health probes.
    #[serde(rename = "IPv4HealthIP", default, with = "ip_or_empty")]
    pub ipv4_health_ip: Option<IpAddr>,
    /// The same for IPv6.
    #[serde(rename = "IPv6HealthIP", default, with = "ip_or_empty")]
    pub ipv6_health_ip: Option<IpAddr>,
    /// Source address of ingress proxies.
    #[serde(rename = "IPv4IngressIP", default, with = "ip_or_empty")]
    pub ipv4_ingress_ip: Option<IpAddr>,
    /// The same for IPv6.
    #[serde(rename = "IPv6IngressIP", default, with = "ip_or_empty")]
    pub ipv6_ingress_ip: Option<IpAddr>,
    /// The cluster's number in the mesh, 0 without a mesh.
    #[serde(rename = "ClusterID", default)]
    pub cluster_id: u32,
    /// Where the record came from (`local`, `kvstore`, `custom-resource`).
    #[serde(default)]
    pub source: String,
    /// Index of the IPsec key, 0 for none.
    #[serde(default)]
    pub encryption_key: u8,
    /// Labels of the Node object.
    #[serde(default, with = "null_when_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the Node object that Cilium passes on.
    #[serde(default, with = "null_when_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Public key of WireGuard in base64, empty for none.
    #[serde(default)]
    pub wireguard_pub_key: String,
    /// Identity of the boot, empty when unknown.
    #[serde(rename = "BootID", default)]
    pub boot_id: String,
}

cilium_json_value!(Node);

impl Node {
    /// A record with a name and nothing else.
    pub fn new(cluster: ClusterName, name: NodeName) -> Self {
        Self {
            name,
            cluster,
            ip_addresses: Vec::new(),
            ipv4_alloc_cidr: None,
            ipv4_secondary_alloc_cidrs: Vec::new(),
            ipv6_alloc_cidr: None,
            ipv6_secondary_alloc_cidrs: Vec::new(),
            ipv4_health_ip: None,
            ipv6_health_ip: None,
            ipv4_ingress_ip: None,
            ipv6_ingress_ip: None,
            cluster_id: 0,
            source: String::new(),
            encryption_key: 0,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            wireguard_pub_key: String::new(),
            boot_id: String::new(),
        }
    }

    /// The addresses of one kind, in the order of the record.
    pub fn addresses(&self, kind: &AddressKind) -> impl Iterator<Item = IpAddr> {
        self.ip_addresses.iter().filter(move |address| address.kind == *kind).map(|a| a.ip)
    }

    /// The first IPv4 address by which other nodes reach this one.
    pub fn internal_ipv4(&self) -> Option<std::net::Ipv4Addr> {
        self.first_ipv4(&AddressKind::InternalIp)
    }

    /// The router address inside the node's IPv4 block.
    pub fn router_ipv4(&self) -> Option<std::net::Ipv4Addr> {
        self.first_ipv4(&AddressKind::CiliumInternalIp)
    }

    fn first_ipv4(&self, kind: &AddressKind) -> Option<std::net::Ipv4Addr> {
        self.addresses(kind).find_map(|ip| match ip {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(_) => None,
        })
    }

    /// The node's IPv4 block.
    pub fn ipv4_block(&self) -> Option<ipnet::Ipv4Net> {
        match self.ipv4_alloc_cidr?.0 {
            ipnet::IpNet::V4(cidr) => Some(cidr),
            ipnet::IpNet::V6(_) => None,
        }
    }
}
