//! `skein/state/slices/v1/<ns>/<slice>`: backends of a service.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::envelope::{OwnValue, own_value};
use crate::path::{self, key_order};
use crate::{
    Doc, KeyRange, KeyReason, Lifetime, Namespace, NodeName, PodName, PortNumber, Protocol,
    ServiceName, SliceName, StoreKey, ValueReason, Writer,
};

/// Endpoints in one slice, Kubernetes' own bound (its controller stops at 100). It keeps a value far below
/// the store's request limit of 1.5 MiB.
pub const ENDPOINTS_MAX: usize = 1_000;

/// A slice of a service's backends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SliceKey {
    /// Namespace of slice and service.
    pub namespace: Namespace,
    /// Name of the EndpointSlice.
    pub name: SliceName,
}

key_order!(SliceKey, |k| [k.namespace.as_str(), k.name.as_str()]);

impl SliceKey {
    /// The slices of one namespace.
    pub fn namespace_range(namespace: &Namespace) -> KeyRange {
        KeyRange::prefix(format!("{}{namespace}/", Self::PREFIX))
    }
}

impl StoreKey for SliceKey {
    type Value = Slice;
    const PREFIX: &'static str = "skein/state/slices/v1/";
    const DOC: Doc = Doc {
        kind: "Slice",
        layout: "skein/state/slices/v1/<namespace>/<slice>",
        scope: "one EndpointSlice, up to 100 endpoints (1,000 at most)",
        cardinality: "25,000",
        writer: Writer::ControlPlane,
        readers: "every agent (backends)",
        lifetime: Lifetime::Durable,
        value: "the service it belongs to, its ports with numbers, its endpoints with their conditions; \
                a condition that is not there is `ready: true`, `serving: true`, `terminating: false`",
        absence: "these backends are gone: established connections to them may finish, new ones go elsewhere",
    };

    fn encode(&self) -> String {
        format!("{}{}/{}", Self::PREFIX, self.namespace, self.name)
    }

    fn parse(text: &str) -> Result<Self, KeyReason> {
        let [namespace, name] = path::split(text, Self::PREFIX, Self::DOC.layout)?;
        Ok(Self { namespace: namespace.parse()?, name: name.parse()? })
    }

    fn example() -> (Self, Slice) {
        let namespace = Namespace::new("shop").expect("a label");
        let key = Self { namespace, name: SliceName::new("cart-x7k2p").expect("a label") };
        let mut endpoint = SliceEndpoint::ready_at(IpAddr::from([10, 1, 0, 37]));
        endpoint.node = Some(NodeName::new("node-1").expect("a label"));
        endpoint.pod = Some(PodRef {
            name: PodName::new("cart-6d8c7").expect("a label"),
            uid: "5f0c6f3e-0d5c-4b0e-9b0a-0b1b7a3f7c11".to_owned(),
        });
        let port = SlicePort {
            name: "http".to_owned(),
            port: PortNumber::new(8080).expect("not zero"),
            protocol: Protocol::Tcp,
        };
        let value = Slice {
            service: ServiceName::new("cart").expect("a label"),
            address_type: AddressType::Ipv4,
            ports: vec![port],
            endpoints: vec![endpoint],
        };
        (key, value)
    }
}

/// The family of a slice's addresses. Slices of host names are not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AddressType {
    /// IPv4.
    #[serde(rename = "IPv4")]
    Ipv4,
    /// IPv6.
    #[serde(rename = "IPv6")]
    Ipv6,
}

/// A port that every endpoint of the slice has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SlicePort {
    /// The name of the service port that it stands for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The port of the pods, names resolved.
    pub port: PortNumber,
    /// The protocol.
    pub protocol: Protocol,
}

/// The pod behind an endpoint, in the slice's namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PodRef {
    /// Its name.
    pub name: PodName,
    /// Its uid, empty when unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// One backend.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SliceEndpoint {
    /// Addresses of the slice's family; only the first is used, as in Kubernetes.
    pub addresses: Vec<IpAddr>,
    /// Takes new connections.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub ready: bool,
    /// Answers, ready or terminating.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub serving: bool,
    /// Is being stopped.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub terminating: bool,
    /// The node it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// The zone of that node, empty when unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub zone: String,
    /// The pod behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodRef>,
}

impl SliceEndpoint {
    /// A ready endpoint of which only the address is known.
    pub fn ready_at(address: IpAddr) -> Self {
        Self {
            addresses: vec![address],
            ready: true,
            serving: true,
            terminating: false,
            node: None,
            zone: String::new(),
            pod: None,
        }
    }
}

fn yes() -> bool {
    true
}

fn is_true(flag: &bool) -> bool {
    *flag
}

/// Backends of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    /// The service, in the slice's namespace.
    pub service: ServiceName,
    /// The family of all addresses.
    pub address_type: AddressType,
    /// The ports of every endpoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<SlicePort>,
    /// The endpoints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<SliceEndpoint>,
}

impl OwnValue for Slice {
    fn check(&self) -> Result<(), ValueReason> {
        if self.endpoints.len() > ENDPOINTS_MAX {
            return Err(ValueReason::field("endpoints", format!("more than {ENDPOINTS_MAX}")));
        }
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            let of_family = |ip: &IpAddr| match self.address_type {
                AddressType::Ipv4 => ip.is_ipv4(),
                AddressType::Ipv6 => ip.is_ipv6(),
            };
            if endpoint.addresses.is_empty() || !endpoint.addresses.iter().all(of_family) {
                let field = format!("endpoints[{index}].addresses");
                return Err(ValueReason::field(field, "must be addresses of the slice's family"));
            }
        }
        Ok(())
    }
}

own_value!(Slice);
