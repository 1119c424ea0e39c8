//! `cilium/state/ip/v1/default/<ip>`: the identity behind an address.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::cilium::{cilium_json_value, ip_or_empty};
use crate::path::{self, key_text};
use crate::{
    Doc, IdentityId, KeyReason, Lifetime, PortNumber, Protocol, StoreKey, ValueReason, Writer,
};

/// An address. Sorts by address; the store sorts by text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpKey {
    /// The address.
    pub ip: IpAddr,
}

key_text!(IpKey);

impl StoreKey for IpKey {
    type Value = IpIdentityPair;
    const PREFIX: &'static str = "cilium/state/ip/v1/default/";
    const DOC: Doc = Doc {
        kind: "IP",
        layout: "cilium/state/ip/v1/default/<ip>",
        scope: "one address of a pod or of a node; `default` is a constant, not a cluster",
        cardinality: "260,000",
        writer: Writer::ControlPlane,
        readers: "every agent (ipcache); peers of a Cluster Mesh",
        lifetime: Lifetime::Durable,
        value: "Cilium's IPIdentityPair; `HostIP` is the tunnel endpoint behind which the address lives",
        absence: "the address has the identity of its CIDR, in the end `world`",
    };

    fn encode(&self) -> String {
        format!("{}{}", Self::PREFIX, self.ip)
    }

    fn parse(text: &str) -> Result<Self, KeyReason> {
        let [ip] = path::split(text, Self::PREFIX, Self::DOC.layout)?;
        Ok(Self { ip: path::address(ip)? })
    }

    fn example() -> (Self, IpIdentityPair) {
        let key = Self { ip: IpAddr::from([10, 1, 0, 37]) };
        let mut pair =
            IpIdentityPair::new(key.ip, IdentityId::new(51_234).expect("a valid number"));
        pair.host_ip = Some(IpAddr::from([172, 18, 0, 2]));
        pair.k8s_namespace = "shop".to_owned();
        pair.k8s_pod_name = "cart-6d8c7".to_owned();
        pair.named_ports = vec![NamedPort {
            name: "http".to_owned(),
            port: PortNumber::new(8080).expect("not zero"),
            protocol: Protocol::Tcp,
        }];
        (key, pair)
    }

    fn agrees(&self, value: &IpIdentityPair) -> Result<(), ValueReason> {
        if value.ip == self.ip {
            Ok(())
        } else {
            Err(ValueReason::field("IP", "differs from the key"))
        }
    }
}

/// A container port by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct NamedPort {
    /// The name within the pod.
    pub name: String,
    /// The port.
    pub port: PortNumber,
    /// The protocol.
    pub protocol: Protocol,
}

/// Cilium's record of who an address is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpIdentityPair {
    /// The address; equal to the key's.
    #[serde(rename = "IP")]
    pub ip: IpAddr,
    /// Raw mask in base64; today's writers leave it null, and so do we.
    #[serde(rename = "Mask", default)]
    pub mask: Option<String>,
    /// The node behind which the address lives; none when it needs no tunnel.
    #[serde(rename = "HostIP", default, with = "ip_or_empty")]
    pub host_ip: Option<IpAddr>,
    /// The identity.
    #[serde(rename = "ID")]
    pub id: IdentityId,
    /// Index of the IPsec key, 0 for none.
    #[serde(rename = "Key", default)]
    pub key: u8,
    /// Always present, always empty in what we write.
    #[serde(rename = "Metadata", default)]
    pub metadata: String,
    /// Namespace of the pod, empty for addresses of nodes.
    #[serde(rename = "K8sNamespace", default, skip_serializing_if = "String::is_empty")]
    pub k8s_namespace: String,
    /// Name of the pod.
    #[serde(rename = "K8sPodName", default, skip_serializing_if = "String::is_empty")]
    pub k8s_pod_name: String,
    /// Service account of the pod.
    #[serde(rename = "K8sServiceAccount", default, skip_serializing_if = "String::is_empty")]
    pub k8s_service_account: String,
    /// Named ports of the pod, sorted by name.
    #[serde(rename = "NamedPorts", default, skip_serializing_if = "Vec::is_empty")]
    pub named_ports: Vec<NamedPort>,
}

cilium_json_value!(IpIdentityPair);

impl IpIdentityPair {
    /// An address with its identity and nothing else.
    pub fn new(ip: IpAddr, id: IdentityId) -> Self {
        Self {
            ip,
            mask: None,
            host_ip: None,
            id,
            key: 0,
            metadata: String::new(),
            k8s_namespace: String::new(),
            k8s_pod_name: String::new(),
            k8s_service_account: String::new(),
            named_ports: Vec::new(),
        }
    }
}
