//! Names and numbers that cannot hold what a key cannot hold.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::error::KeyReason;
use crate::path;

/// Bytes of a DNS label (RFC 1123), the bound of namespaces, services and pools.
const LABEL_BYTES_MAX: usize = 63;
/// Bytes of a DNS subdomain, the bound of node, pod and slice names.
const SUBDOMAIN_BYTES_MAX: usize = 253;
/// Bytes of a cluster's name, Cilium's bound.
const CLUSTER_BYTES_MAX: usize = 32;

/// A name that Kubernetes (or Cilium, for clusters) would not take either.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is not a valid {what}: {rule}")]
pub struct NameError {
    /// What was to be named.
    pub what: &'static str,
    /// What stood there, cut to 253 bytes.
    pub text: String,
    /// The rule it breaks.
    pub rule: &'static str,
}

#[derive(Clone, Copy)]
enum Shape {
    Label,
    Subdomain,
}

impl Shape {
    const fn rule(self) -> &'static str {
        match self {
            Self::Label => {
                "must be lowercase letters, digits and '-', begin and end alphanumeric, and not be too long"
            }
            Self::Subdomain => {
                "must be lowercase letters, digits, '-' and '.', every part between dots begin and end alphanumeric, and not be too long"
            }
        }
    }

    fn admits(self, text: &str, bytes_max: usize) -> bool {
        let fits = !text.is_empty() && text.len() <= bytes_max;
        match self {
            Self::Label => fits && is_label(text),
            Self::Subdomain => fits && text.split('.').all(is_label),
        }
    }
}

fn is_label(text: &str) -> bool {
    let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    let bytes = text.as_bytes();
    bytes.iter().all(inner)
        && bytes.first().is_some_and(|first| *first != b'-')
        && bytes.last().is_some_and(|last| *last != b'-')
}

/// Reads a name without a copy in between: slices hold hundreds of thousands of them.
struct NameVisitor<N>(PhantomData<N>);

impl<N: FromStr<Err = NameError>> Visitor<'_> for NameVisitor<N> {
    type Value = N;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<N, E> {
        text.parse().map_err(E::custom)
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $shape:expr, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes a text that keeps the rule of this name.
            pub fn new(text: &str) -> Result<Self, NameError> {
                if $shape.admits(text, $max) {
                    return Ok(Self(text.into()));
                }
                let text = text.chars().take(SUBDOMAIN_BYTES_MAX).collect();
                Err(NameError { what: $what, text, rule: $shape.rule() })
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(NameVisitor(PhantomData))
            }
        }
    };
}

name!(
    /// A cluster: up to 32 bytes, a DNS label.
    ClusterName, "cluster name", Shape::Label, CLUSTER_BYTES_MAX
);
name!(
    /// A node, by the name of its Node object.
    NodeName, "node name", Shape::Subdomain, SUBDOMAIN_BYTES_MAX
);
name!(
    /// A Kubernetes namespace.
    Namespace, "namespace", Shape::Label, LABEL_BYTES_MAX
);
name!(
    /// A Service within its namespace.
    ServiceName, "service name", Shape::Label, LABEL_BYTES_MAX
);
name!(
    /// An EndpointSlice within its namespace.
    SliceName, "slice name", Shape::Subdomain, SUBDOMAIN_BYTES_MAX
);
name!(
    /// A Pod within its namespace.
    PodName, "pod name", Shape::Subdomain, SUBDOMAIN_BYTES_MAX
);
name!(
    /// An IPAM pool.
    PoolName, "pool name", Shape::Label, LABEL_BYTES_MAX
);
name!(
    /// What a leader is elected for.
    ElectionName, "election name", Shape::Label, LABEL_BYTES_MAX
);

/// The number of a cluster in a mesh, 0 to 255; 0 means "not in a mesh".
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct ClusterId(u8);

impl ClusterId {
    /// Every `u8` is a cluster id.
    pub const fn new(id: u8) -> Self {
        Self(id)
    }

    /// The number.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A security identity: a set of labels as a number of 24 bits, since it travels as the VNI of the
/// tunnel. Never 0. Numbers below 256 are reserved; an allocated one is
/// `cluster id << 16 | 256..=65535` (Cilium's split for up to 255 clusters).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct IdentityId(u32);

impl IdentityId {
    /// The node itself.
    pub const HOST: Self = Self(1);
    /// Everything outside the cluster.
    pub const WORLD: Self = Self(2);
    /// A pod whose network is not ours.
    pub const UNMANAGED: Self = Self(3);
    /// The health endpoint of a node.
    pub const HEALTH: Self = Self(4);
    /// A pod whose labels are not known yet.
    pub const INIT: Self = Self(5);
    /// Another node of the cluster.
    pub const REMOTE_NODE: Self = Self(6);
    /// The Kubernetes API server.
    pub const KUBE_APISERVER: Self = Self(7);

    /// The first number that is allocated rather than reserved.
    pub const LOCAL_MIN: u32 = 256;
    /// The last number within one cluster.
    pub const LOCAL_MAX: u32 = 65_535;
    /// The last number of all: a VNI has 24 bits.
    pub const MAX: u32 = 0x00ff_ffff;

    /// Takes a number from 1 to [`IdentityId::MAX`].
    pub const fn new(id: u32) -> Option<Self> {
        if id == 0 || id > Self::MAX { None } else { Some(Self(id)) }
    }

    /// The identity `local` (256 to 65535) of a cluster.
    pub const fn allocated(cluster: ClusterId, local: u32) -> Option<Self> {
        if local < Self::LOCAL_MIN || local > Self::LOCAL_MAX {
            return None;
        }
        Some(Self((cluster.0 as u32) << 16 | local))
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// True for the numbers with a fixed meaning.
    pub const fn is_reserved(self) -> bool {
        self.0 < Self::LOCAL_MIN
    }

    /// The cluster that allocated this identity.
    pub const fn cluster(self) -> ClusterId {
        ClusterId((self.0 >> 16) as u8)
    }

    /// Cilium's word for a reserved identity.
    pub const fn reserved_name(self) -> Option<&'static str> {
        match self {
            Self::HOST => Some("host"),
            Self::WORLD => Some("world"),
            Self::UNMANAGED => Some("unmanaged"),
            Self::HEALTH => Some("health"),
            Self::INIT => Some("init"),
            Self::REMOTE_NODE => Some("remote-node"),
            Self::KUBE_APISERVER => Some("kube-apiserver"),
            Self(_) => None,
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, KeyReason> {
        let what = "identity (1 to 16777215)";
        u32::try_from(path::decimal(text, what)?)
            .ok()
            .and_then(Self::new)
            .ok_or_else(|| KeyReason::Number { what, text: text.to_owned() })
    }
}

impl fmt::Display for IdentityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl<'de> Deserialize<'de> for IdentityId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = u32::deserialize(deserializer)?;
        Self::new(id).ok_or_else(|| {
            serde::de::Error::custom(format_args!("{id} is not an identity (1 to 16777215)"))
        })
    }
}

/// A lease of the store, shown as etcd shows it: hexadecimal, no leading zeros. Never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(i64);

impl LeaseId {
    /// Takes the number of a granted lease; 0 means "no lease" in the API and is none.
    pub const fn new(id: i64) -> Option<Self> {
        if id == 0 { None } else { Some(Self(id)) }
    }

    /// The number as the API takes it.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The lease behind its hexadecimal text.
    pub fn parse_hex(text: &str) -> Result<Self, KeyReason> {
        u64::from_str_radix(text, 16)
            .ok()
            .and_then(|bits| Self::new(bits.cast_signed()))
            .filter(|lease| lease.to_string() == text)
            .ok_or_else(|| KeyReason::Number { what: "lease", text: text.to_owned() })
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_rules() {
        assert!(NodeName::new("node-1.zone-a").is_ok());
        for bad in ["", "a/b", "A", "-a", "a-", "a..b", ".a", "a_b", &"a".repeat(254)] {
            assert!(NodeName::new(bad).is_err(), "{bad:?}");
        }
        assert!(ServiceName::new("a.b").is_err());
        assert!(ClusterName::new(&"a".repeat(33)).is_err());
        assert!(ClusterName::new(&"a".repeat(32)).is_ok());
    }

    #[test]
    fn identities_carry_their_cluster() {
        let id = IdentityId::allocated(ClusterId::new(3), 256).unwrap();
        assert_eq!(id.get(), 3 << 16 | 256);
        assert_eq!(id.cluster().get(), 3);
        assert!(!id.is_reserved());
        assert!(IdentityId::allocated(ClusterId::new(0), 255).is_none());
        assert!(IdentityId::new(0).is_none());
        assert!(IdentityId::new(IdentityId::MAX + 1).is_none());
        assert_eq!(IdentityId::INIT.reserved_name(), Some("init"));
    }

    #[test]
    fn leases_are_hexadecimal() {
        let lease = LeaseId::new(0x32_6963).unwrap();
        assert_eq!(lease.to_string(), "326963");
        assert_eq!(LeaseId::parse_hex("326963"), Ok(lease));
        assert!(LeaseId::parse_hex("0").is_err());
        assert!(LeaseId::parse_hex("0326963").is_err());
        assert!(LeaseId::parse_hex("ABC").is_err());
    }
}
