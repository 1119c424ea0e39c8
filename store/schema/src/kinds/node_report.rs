//! `skein/agents/v1/<node>/node`: a node as its agent sees it.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::envelope::{OwnValue, own_value};
use crate::path::{self, key_order};
use crate::{Doc, KeyRange, KeyReason, Lifetime, MacAddr, NodeName, StoreKey, ValueReason, Writer};

/// The prefix below which each agent has a folder of its own.
pub const AGENTS_PREFIX: &str = "skein/agents/v1/";

/// Everything that one agent writes.
pub fn agent_range(node: &NodeName) -> KeyRange {
    KeyRange::prefix(format!("{AGENTS_PREFIX}{node}/"))
}

/// The report of a node's agent about the node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NodeReportKey {
    /// The node.
    pub node: NodeName,
}

key_order!(NodeReportKey, |k| [k.node.as_str(), "node"]);

impl StoreKey for NodeReportKey {
    type Value = NodeReport;
    const PREFIX: &'static str = AGENTS_PREFIX;
    const DOC: Doc = Doc {
        kind: "Node report",
        layout: "skein/agents/v1/<node>/node",
        scope: "one node",
        cardinality: "5,000",
        writer: Writer::Agent,
        readers: "control plane, which checks it and publishes `cilium/state/nodes`",
        lifetime: Lifetime::Durable,
        value: "addresses and devices as found on the node, and how the agent routes",
        absence: "no agent has run on the node yet: it is not published",
    };

    fn encode(&self) -> String {
        format!("{AGENTS_PREFIX}{}/node", self.node)
    }

    fn parse(text: &str) -> Result<Self, KeyReason> {
        Ok(Self { node: path::agent_leaf(text, "node")? })
    }

    fn example() -> (Self, NodeReport) {
        let key = Self { node: NodeName::new("node-1").expect("a label") };
        let device = Device {
            name: "eth0".to_owned(),
            mac: Some(MacAddr([0x02, 0x42, 0xac, 0x12, 0, 2])),
            mtu: 1500,
            addresses: vec!["172.18.0.2/16".parse().expect("a CIDR")],
        };
        let value = NodeReport {
            internal_ip: IpAddr::from([172, 18, 0, 2]),
            external_ips: Vec::new(),
            router_ip: Some(IpAddr::from([10, 1, 0, 1])),
            health_ip: Some(IpAddr::from([10, 1, 0, 2])),
            tunnel_ip: Some(IpAddr::from([172, 18, 0, 2])),
            routing_mode: RoutingMode::Tunnel,
            devices: vec![device],
            boot_id: "a3d5b0c2-7f0e-4c53-9d0e-2d1b4a1e8f00".to_owned(),
        };
        (key, value)
    }
}

/// How packets travel between nodes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum RoutingMode {
    /// In VXLAN.
    #[default]
    Tunnel,
    /// As they are, over routes.
    Native,
}

/// A network device that leads outside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Its hardware address, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddr>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Its addresses with their prefix lengths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpNet>,
}

/// A node as its agent sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// The address by which other nodes reach this one.
    pub internal_ip: IpAddr,
    /// Addresses reachable from outside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub external_ips: Vec<IpAddr>,
    /// The router address, once the node has a block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router_ip: Option<IpAddr>,
    /// The health address, once the node has a block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_ip: Option<IpAddr>,
    /// The address that tunnels end at; none without tunnels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel_ip: Option<IpAddr>,
    /// How this node sends to others.
    pub routing_mode: RoutingMode,
    /// The devices that lead outside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<Device>,
    /// The kernel's boot id; a new one means that nothing in the kernel survived.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub boot_id: String,
}

impl OwnValue for NodeReport {
    fn check(&self) -> Result<(), ValueReason> {
        if self.internal_ip.is_unspecified() || self.internal_ip.is_loopback() {
            return Err(ValueReason::field("internal_ip", "cannot be reached by other nodes"));
        }
        Ok(())
    }
}

own_value!(NodeReport);
