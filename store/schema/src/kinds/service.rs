//! `skein/state/services/v1/<ns>/<name>`: a whole service.

use std::net::IpAddr;
use std::num::NonZeroU32;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::envelope::{OwnValue, own_value};
use crate::path::{self, key_order};
use crate::{
    Doc, KeyRange, KeyReason, Lifetime, Namespace, PortNumber, Protocol, ServiceName, StoreKey,
    ValueReason, Writer,
};

/// A service of this cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServiceKey {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its name.
    pub name: ServiceName,
}

key_order!(ServiceKey, |k| [k.namespace.as_str(), k.name.as_str()]);

impl ServiceKey {
    /// The services of one namespace.
    pub fn namespace_range(namespace: &Namespace) -> KeyRange {
        KeyRange::prefix(format!("{}{namespace}/", Self::PREFIX))
    }
}

impl StoreKey for ServiceKey {
    type Value = Service;
    const PREFIX: &'static str = "skein/state/services/v1/";
    const DOC: Doc = Doc {
        kind: "Service",
        layout: "skein/state/services/v1/<namespace>/<name>",
        scope: "one Service object, ExternalName ones left out; the ClusterIP lives here and nowhere else",
        cardinality: "20,000",
        writer: Writer::ControlPlane,
        readers: "every agent (frontends)",
        lifetime: Lifetime::Durable,
        value: "type, addresses, ports, affinity, traffic policies",
        absence: "no such service: its addresses are free and lead nowhere",
    };

    fn encode(&self) -> String {
        format!("{}{}/{}", Self::PREFIX, self.namespace, self.name)
    }

    fn parse(text: &str) -> Result<Self, KeyReason> {
        let [namespace, name] = path::split(text, Self::PREFIX, Self::DOC.layout)?;
        Ok(Self { namespace: namespace.parse()?, name: name.parse()? })
    }

    fn example() -> (Self, Service) {
        let key = Self {
            namespace: Namespace::new("shop").expect("a label"),
            name: ServiceName::new("cart").expect("a label"),
        };
        let port = ServicePort {
            name: "http".to_owned(),
            port: PortNumber::new(80).expect("not zero"),
            protocol: Protocol::Tcp,
            target_port: TargetPort::Name("web".to_owned()),
            node_port: None,
        };
        let cluster_ips = vec![IpAddr::from([10, 96, 0, 20])];
        (key, Service { cluster_ips, ports: vec![port], ..Service::default() })
    }
}

/// How a service is reached.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub enum ServiceType {
    /// At an address inside the cluster (or headless).
    #[default]
    #[serde(rename = "ClusterIP")]
    ClusterIp,
    /// Also at a port of every node.
    NodePort,
    /// Also at an address given by a load balancer.
    LoadBalancer,
}

/// Which backends a packet may go to.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub enum TrafficPolicy {
    /// Any backend.
    #[default]
    Cluster,
    /// Backends on the node where the packet is handled.
    Local,
}

/// The port of the pods behind a service port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TargetPort {
    /// This port in every pod.
    Number(PortNumber),
    /// The container port of this name, which may differ from pod to pod; slices have it resolved.
    Name(String),
}

/// One port of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServicePort {
    /// Unique in the service; may be empty when it is the only port. Slices name their ports by it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The port of the service's addresses.
    pub port: PortNumber,
    /// The protocol.
    pub protocol: Protocol,
    /// The port of the pods, as the Service object says it.
    pub target_port: TargetPort,
    /// The port of the nodes' addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_port: Option<PortNumber>,
}

/// A service, as much of the Service object as the datapath can use.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Service {
    /// How it is reached.
    #[serde(rename = "type")]
    pub kind: ServiceType,
    /// True for `clusterIP: None`: names resolve to pods, there is nothing to translate.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub headless: bool,
    /// Addresses inside the cluster, one or two families; empty only when headless.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cluster_ips: Vec<IpAddr>,
    /// Addresses that someone else routes to the nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub external_ips: Vec<IpAddr>,
    /// Addresses given by a load balancer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub load_balancer_ips: Vec<IpAddr>,
    /// Sources that may use the load balancer's addresses; empty for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source_ranges: Vec<IpNet>,
    /// The ports, at least one unless headless.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<ServicePort>,
    /// Seconds for which one client keeps its backend; none without affinity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ip_affinity_s: Option<NonZeroU32>,
    /// Backends for packets from inside the cluster.
    #[serde(default)]
    pub internal_traffic_policy: TrafficPolicy,
    /// Backends for packets from outside.
    #[serde(default)]
    pub external_traffic_policy: TrafficPolicy,
    /// True when backends count before they are ready.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub publish_not_ready: bool,
}

impl OwnValue for Service {
    fn check(&self) -> Result<(), ValueReason> {
        if self.headless && !self.cluster_ips.is_empty() {
            return Err(ValueReason::field("cluster_ips", "must be empty when headless"));
        }
        for (index, port) in self.ports.iter().enumerate() {
            let same = |other: &ServicePort| {
                other.name == port.name
                    || (other.port == port.port && other.protocol == port.protocol)
            };
            if self.ports[..index].iter().any(same) {
                let field = format!("ports[{index}]");
                return Err(ValueReason::field(field, "repeats the name or the port of another"));
            }
        }
        Ok(())
    }
}

own_value!(Service);
