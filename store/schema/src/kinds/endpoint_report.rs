//! `skein/agents/v1/<node>/endpoints/<ip>`: an address that an agent gave to a pod.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::node_report::AGENTS_PREFIX;
use crate::envelope::{OwnValue, own_value};
use crate::path::{self, key_text};
use crate::{
    Doc, KeyRange, KeyReason, Lifetime, MacAddr, Namespace, NodeName, PodName, StoreKey, Writer,
};

/// An address on a node. Sorts by node and address; the store sorts by text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointReportKey {
    /// The node.
    pub node: NodeName,
    /// The address.
    pub ip: IpAddr,
}

key_text!(EndpointReportKey);

impl EndpointReportKey {
    /// The endpoints of one node.
    pub fn node_range(node: &NodeName) -> KeyRange {
        KeyRange::prefix(format!("{AGENTS_PREFIX}{node}/endpoints/"))
    }
}

impl StoreKey for EndpointReportKey {
    type Value = EndpointReport;
    const PREFIX: &'static str = AGENTS_PREFIX;
    const DOC: Doc = Doc {
        kind: "Endpoint report",
        layout: "skein/agents/v1/<node>/endpoints/<ip>",
        scope: "one address that the node's agent gave to a pod",
        cardinality: "250,000",
        writer: Writer::Agent,
        readers: "control plane, which checks it and publishes `cilium/state/ip`; skeinctl",
        lifetime: Lifetime::Durable,
        value: "the pod, the container and the interface that hold the address",
        absence: "no pod on this node has the address",
    };

    fn encode(&self) -> String {
        format!("{AGENTS_PREFIX}{}/endpoints/{}", self.node, self.ip)
    }

    fn parse(text: &str) -> Result<Self, KeyReason> {
        let (node, rest) = path::agent_folder(text)?;
        let ip = rest.strip_prefix("endpoints/").ok_or(KeyReason::OtherKind)?;
        Ok(Self { node: node.parse()?, ip: path::address(ip)? })
    }

    fn example() -> (Self, EndpointReport) {
        let node = NodeName::new("node-1").expect("a label");
        let value = EndpointReport {
            namespace: Namespace::new("shop").expect("a label"),
            pod: PodName::new("cart-6d8c7").expect("a label"),
            pod_uid: "5f0c6f3e-0d5c-4b0e-9b0a-0b1b7a3f7c11".to_owned(),
            container_id: "8f1c2d3e4f50".to_owned(),
            mac: MacAddr([0x0a, 0x58, 10, 1, 0, 37]),
            ifname: "lxc3f2a91c0b7".to_owned(),
        };
        (Self { node, ip: IpAddr::from([10, 1, 0, 37]) }, value)
    }
}

/// Who has an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointReport {
    /// Namespace of the pod, as the runtime said it.
    pub namespace: Namespace,
    /// Name of the pod, as the runtime said it.
    pub pod: PodName,
    /// Uid of the pod, empty when the runtime did not say it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pod_uid: String,
    /// The sandbox container.
    pub container_id: String,
    /// Hardware address of the pod's interface.
    pub mac: MacAddr,
    /// The host's end of the pair.
    pub ifname: String,
}

impl OwnValue for EndpointReport {}
own_value!(EndpointReport);
