//! The objects that planners work from: what Kubernetes says, checked and reduced to what counts.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use serde::{Serialize, Serializer};
use skein_store_schema::kinds::node::NodeAddress;
use skein_store_schema::kinds::pod::ContainerPort;
use skein_store_schema::kinds::service::Service;
use skein_store_schema::kinds::slice::Slice;
use skein_store_schema::{Namespace, NodeName, PodName, ServiceName, SliceName};

/// Where an object without a namespace lives, as in Kubernetes.
pub const DEFAULT_NAMESPACE: &str = "default";

/// The kinds that Skein works from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Namespace,
    Node,
    Pod,
    Service,
    EndpointSlice,
}

impl Kind {
    pub const ALL: [Kind; 5] =
        [Kind::Namespace, Kind::Node, Kind::Pod, Kind::Service, Kind::EndpointSlice];

    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Namespace => "Namespace",
            Kind::Node => "Node",
            Kind::Pod => "Pod",
            Kind::Service => "Service",
            Kind::EndpointSlice => "EndpointSlice",
        }
    }

    /// Whether objects of this kind live in namespaces.
    pub const fn is_namespaced(self) -> bool {
        matches!(self, Kind::Pod | Kind::Service | Kind::EndpointSlice)
    }
}

/// Names one object. Sorts by kind, namespace, name. Not validated: an invalid document has a
/// name too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    pub kind: Kind,
    /// Empty for kinds without namespace.
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl ObjectRef {
    /// The namespace is ignored for kinds that have none.
    pub fn new(kind: Kind, namespace: &str, name: &str) -> ObjectRef {
        let namespace = if kind.is_namespaced() { namespace } else { "" };
        ObjectRef { kind, namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.as_str();
        match &*self.namespace {
            "" => write!(f, "{kind} {}", self.name),
            namespace => write!(f, "{kind} {namespace}/{}", self.name),
        }
    }
}

impl Serialize for ObjectRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One object of a source.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    Namespace(NamespaceObject),
    Node(NodeObject),
    Pod(PodObject),
    Service(ServiceObject),
    Slice(SliceObject),
}

impl Object {
    pub fn object_ref(&self) -> ObjectRef {
        match self {
            Object::Namespace(o) => ObjectRef::new(Kind::Namespace, "", o.name.as_str()),
            Object::Node(o) => ObjectRef::new(Kind::Node, "", o.name.as_str()),
            Object::Pod(o) => ObjectRef::new(Kind::Pod, o.namespace.as_str(), o.name.as_str()),
            Object::Service(o) => {
                ObjectRef::new(Kind::Service, o.namespace.as_str(), o.name.as_str())
            }
            Object::Slice(o) => {
                ObjectRef::new(Kind::EndpointSlice, o.namespace.as_str(), o.name.as_str())
            }
        }
    }
}

/// A Namespace: its labels become part of its pods' identities.
#[derive(Clone, Debug, PartialEq)]
pub struct NamespaceObject {
    pub name: Namespace,
    pub labels: BTreeMap<String, String>,
}

/// A Node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeObject {
    pub name: NodeName,
    /// Empty when the manifest has none.
    pub uid: String,
    pub labels: BTreeMap<String, String>,
    /// Addresses of kinds `InternalIP` and `ExternalIP`, in the order of the object.
    pub addresses: Vec<NodeAddress>,
}

/// A Pod.
#[derive(Clone, Debug, PartialEq)]
pub struct PodObject {
    pub namespace: Namespace,
    pub name: PodName,
    /// Empty when the manifest has none.
    pub uid: String,
    pub labels: BTreeMap<String, String>,
    pub service_account: String,
    /// Where it is scheduled, if it is.
    pub node: Option<NodeName>,
    pub host_network: bool,
    /// Declared container ports, sorted.
    pub ports: Vec<ContainerPort>,
    /// It ran to its end (phase `Succeeded` or `Failed`): it has no network any more.
    pub finished: bool,
}

/// A Service that is not of type `ExternalName`, or one that is and gets no key.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceObject {
    pub namespace: Namespace,
    pub name: ServiceName,
    /// As it will be stored, but for the cluster address.
    pub service: Service,
    pub cluster_ip: ClusterIp,
    /// Annotated as shared with other clusters.
    pub global: bool,
    pub labels: BTreeMap<String, String>,
    pub selector: BTreeMap<String, String>,
}

/// What a Service asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterIp {
    /// An address of the service network.
    Any,
    /// This address.
    Fixed(Ipv4Addr),
    /// None: clients reach the endpoints themselves.
    Headless,
    /// A name outside the cluster; nothing for the datapath.
    ExternalName,
}

/// An EndpointSlice.
#[derive(Clone, Debug, PartialEq)]
pub struct SliceObject {
    pub namespace: Namespace,
    pub name: SliceName,
    /// `None` for slices of host names, which get no key.
    pub slice: Option<Slice>,
}

/// The IPv4 address within an address, if it is one.
pub fn ipv4(ip: IpAddr) -> Option<Ipv4Addr> {
    match ip {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    }
}
