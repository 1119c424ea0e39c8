//! All kinds together: for tools that meet any key.

use std::fmt;

use crate::kinds::{
    agent_status::AgentStatusKey, block::BlockKey, cluster_config::ClusterConfigKey,
    cluster_service::ClusterServiceKey, election::ElectionKey, endpoint_report::EndpointReportKey,
    heartbeat::HeartbeatKey, identity::IdentityKey, ip::IpKey, node::NodeKey,
    node_report::NodeReportKey, pod::PodKey, pool::PoolKey, service::ServiceKey, slice::SliceKey,
};
use crate::{Doc, KeyReason, SchemaError, StoreKey, StoreValue};

macro_rules! keys {
    ($($variant:ident($key:ty)),+ $(,)?) => {
        /// A key of any kind, in the order in which kinds are documented.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum Key {
            $(#[doc = concat!("See [`", stringify!($key), "`].")] $variant($key)),+
        }

        impl Key {
            /// Finds the kind of a stored key.
            ///
            /// # Errors
            /// [`KeyReason::OtherKind`] when no kind lives there; else why the key is malformed.
            pub fn decode(raw: &[u8]) -> Result<Self, SchemaError> {
                $(match <$key>::decode(raw) {
                    Ok(key) => return Ok(Self::$variant(key)),
                    Err(error) if error.is_other_kind() => {}
                    Err(error) => return Err(error),
                })+
                Err(SchemaError::key(raw, KeyReason::OtherKind))
            }

            /// What is known of the key's kind.
            pub fn doc(&self) -> Doc {
                match self {
                    $(Self::$variant(_) => <$key>::DOC),+
                }
            }

            /// Decodes a value that stands under this key and throws it away.
            fn check_value(raw_key: &[u8], raw_value: &[u8]) -> Result<Self, SchemaError> {
                match Self::decode(raw_key)? {
                    $(Self::$variant(_) => {
                        let (key, _) = <$key>::decode_entry(raw_key, raw_value)?;
                        Ok(Self::$variant(key))
                    })+
                }
            }

            /// Every kind with an example, encoded.
            pub fn catalogue() -> Vec<(Doc, String, Vec<u8>)> {
                vec![$({
                    let (key, value) = <$key>::example();
                    (<$key>::DOC, key.encode(), value.encode())
                }),+]
            }
        }

        impl fmt::Display for Key {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant(key) => fmt::Display::fmt(key, f)),+
                }
            }
        }
    };
}

keys! {
    Node(NodeKey),
    Ip(IpKey),
    Identity(IdentityKey),
    ClusterService(ClusterServiceKey),
    ClusterConfig(ClusterConfigKey),
    Heartbeat(HeartbeatKey),
    Service(ServiceKey),
    Slice(SliceKey),
    Pod(PodKey),
    Pool(PoolKey),
    Block(BlockKey),
    NodeReport(NodeReportKey),
    EndpointReport(EndpointReportKey),
    AgentStatus(AgentStatusKey),
    Election(ElectionKey),
}

/// A stored pair that a tool can show.
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    /// The key with its kind.
    pub key: Key,
    /// The value as JSON; a JSON string for the kinds whose values are plain text.
    pub value: serde_json::Value,
}

/// Decodes a stored pair of whatever kind it is.
///
/// # Errors
/// As [`Key::decode`], or why the value is not what its kind says.
pub fn describe(raw_key: &[u8], raw_value: &[u8]) -> Result<Described, SchemaError> {
    let key = Key::check_value(raw_key, raw_value)?;
    let value = match key {
        Key::Identity(_) | Key::Heartbeat(_) => None,
        _ => serde_json::from_slice(raw_value).ok(),
    };
    let text = || String::from_utf8_lossy(raw_value).into_owned().into();
    Ok(Described { key, value: value.unwrap_or_else(text) })
}
