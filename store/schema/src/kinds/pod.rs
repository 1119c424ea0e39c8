//! `skein/state/pods/v1/<node>/<ns>/<name>`: a pod, for the agent of its node.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::envelope::{OwnValue, own_value};
use crate::path::{self, key_order};
use crate::{
    Doc, IdentityId, KeyRange, KeyReason, Lifetime, Namespace, NodeName, PodName, PortNumber,
    Protocol, StoreKey, Writer,
};

/// A pod by the node that it is scheduled to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PodKey {
    /// The node that it runs on.
    pub node: NodeName,
    /// Its namespace.
    pub namespace: Namespace,
    /// Its name.
    pub name: PodName,
}

key_order!(PodKey, |k| [k.node.as_str(), k.namespace.as_str(), k.name.as_str()]);

impl PodKey {
    /// The pods of one node: all that its agent watches.
    pub fn node_range(node: &NodeName) -> KeyRange {
        KeyRange::prefix(format!("{}{node}/", Self::PREFIX))
    }
}

impl StoreKey for PodKey {
    type Value = Pod;
    const PREFIX: &'static str = "skein/state/pods/v1/";
    const DOC: Doc = Doc {
        kind: "Pod",
        layout: "skein/state/pods/v1/<node>/<namespace>/<name>",
        scope: "one pod that is scheduled and not finished",
        cardinality: "250,000 (50 to 110 for each node)",
        writer: Writer::ControlPlane,
        readers: "the agent of that node (identity of its endpoints); skeinctl",
        lifetime: Lifetime::Durable,
        value: "uid, labels, identity, container ports",
        absence: "the pod is unknown: an endpoint with its name has identity `init` and is not published",
    };

    fn encode(&self) -> String {
        format!("{}{}/{}/{}", Self::PREFIX, self.node, self.namespace, self.name)
    }

    fn parse(text: &str) -> Result<Self, KeyReason> {
        let [node, namespace, name] = path::split(text, Self::PREFIX, Self::DOC.layout)?;
        Ok(Self { node: node.parse()?, namespace: namespace.parse()?, name: name.parse()? })
    }

    fn example() -> (Self, Pod) {
        let key = Self {
            node: NodeName::new("node-1").expect("a label"),
            namespace: Namespace::new("shop").expect("a label"),
            name: PodName::new("cart-6d8c7").expect("a label"),
        };
        let port = ContainerPort {
            name: "web".to_owned(),
            port: PortNumber::new(8080).expect("not zero"),
            protocol: Protocol::Tcp,
            host_port: None,
        };
        let value = Pod {
            uid: "5f0c6f3e-0d5c-4b0e-9b0a-0b1b7a3f7c11".to_owned(),
            labels: BTreeMap::from([("app".to_owned(), "cart".to_owned())]),
            service_account: "default".to_owned(),
            identity: IdentityId::new(51_234).expect("a valid number"),
            host_network: false,
            ports: vec![port],
        };
        (key, value)
    }
}

/// A declared port of a container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContainerPort {
    /// Its name, possibly empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The port.
    pub port: PortNumber,
    /// The protocol.
    pub protocol: Protocol,
    /// The node's port that leads here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_port: Option<PortNumber>,
}

/// What a node must know of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Tells a pod from another of the same name before it; empty when the source gives none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// The labels of the Pod object.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The service account, empty when the source gives none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub service_account: String,
    /// The identity of its security-relevant labels.
    pub identity: IdentityId,
    /// True when it shares the node's network and has no endpoint.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub host_network: bool,
    /// Declared container ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<ContainerPort>,
}

impl OwnValue for Pod {}
own_value!(Pod);
