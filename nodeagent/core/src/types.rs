//! The words of the service tables: frontends, slots, backends.
//!
//! These are the meanings; the byte layouts are in `skein-bpf-abi`, and only the agent's edge
//! converts between the two.

use std::net::Ipv4Addr;
use std::sync::Arc;

/// An IP protocol number (IANA), 0 for "any" in a wildcard frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Proto(pub u8);

impl Proto {
    /// Any protocol: only in the wildcard frontend of a VIP.
    pub const ANY: Proto = Proto(0);
    /// TCP.
    pub const TCP: Proto = Proto(6);
    /// UDP.
    pub const UDP: Proto = Proto(17);
    /// SCTP.
    pub const SCTP: Proto = Proto(132);

    /// The name Kubernetes uses, or the number.
    pub fn name(self) -> String {
        match self {
            Proto::ANY => "ANY".into(),
            Proto::TCP => "TCP".into(),
            Proto::UDP => "UDP".into(),
            Proto::SCTP => "SCTP".into(),
            Proto(other) => other.to_string(),
        }
    }
}

/// From where a frontend is meant: two scopes of one address may have different backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Seen from inside the cluster (ClusterIP).
    Cluster,
    /// Seen from outside (NodePort, external and load balancer addresses under a `Local` policy).
    External,
}

/// Key of a frontend. Port 0 with [`Proto::ANY`] is the wildcard of a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frontend {
    /// The virtual address.
    pub addr: Ipv4Addr,
    /// Port, host order.
    pub port: u16,
    /// Protocol.
    pub proto: Proto,
    /// Scope.
    pub scope: Scope,
}

impl Frontend {
    /// The entry that says "this address is a VIP": packets to an unknown port are refused instead
    /// of being routed in a loop.
    pub fn wildcard(addr: Ipv4Addr) -> Frontend {
        Frontend { addr, port: 0, proto: Proto::ANY, scope: Scope::Cluster }
    }

    /// Whether this is a VIP's wildcard.
    pub fn is_wildcard(&self) -> bool {
        self.port == 0 && self.proto == Proto::ANY
    }
}

/// Value of a frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FrontendValue {
    /// Id of the backend list; 0 in a wildcard.
    pub service: u32,
    /// Number of slots a reader may choose from; 0 means refuse.
    pub count: u32,
}

/// A place in a backend list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// Id of the list.
    pub service: u32,
    /// Index, from 0.
    pub index: u32,
}

/// What a backend id stands for. An id never changes its meaning while it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Backend {
    /// Address of the pod (or host).
    pub addr: Ipv4Addr,
    /// Port, host order.
    pub port: u16,
    /// Protocol.
    pub proto: Proto,
}

/// A namespaced name, of a service or a pod. Clones share their text: tables name each service many
/// times.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl ObjectName {
    /// From parts.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> ObjectName {
        ObjectName { namespace: namespace.into(), name: name.into() }
    }
}

impl std::fmt::Display for ObjectName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
