//! Typed keys and values for everything Skein keeps in the store.
//!
//! One module per kind under [`kinds`]; each has a key type ([`StoreKey`]), its codec, a value type
//! ([`StoreValue`]), its codec, and a [`Doc`] that says who writes it, who reads it and how long it lives.
//! `docs/schema.md` is rendered from those by [`doc::render`].
//!
//! # Keys
//!
//! Keys are text. Every segment is a validated name, a number or an address, so no segment can hold a
//! slash or be empty and nothing needs escaping; the slash of a CIDR is written as `-`. Two keys of one
//! kind sort as their encodings do, except for the kinds whose last segment is a number or an address
//! (Cilium's layout writes those unpadded).
//!
//! # Values
//!
//! Skein's own values are JSON objects that carry `"v"`, the format version. A reader refuses a version
//! it does not know and names both numbers; fields it does not know are ignored, so a version may gain
//! optional fields. Values under `cilium/` are Cilium's formats to the letter and carry no version.
//!
//! ```
//! use skein_store_schema::{StoreKey, kinds::service::ServiceKey};
//! let key = ServiceKey { namespace: "shop".parse()?, name: "cart".parse()? };
//! assert_eq!(key.encode(), "skein/state/services/v1/shop/cart");
//! assert_eq!(ServiceKey::decode(key.encode().as_bytes())?, key);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(missing_docs)]

mod any;
mod cilium;
pub mod doc;
mod envelope;
mod error;
mod ids;
pub mod kinds;
mod labels;
mod net;
mod path;
mod range;

pub use any::{Described, Key, describe};
pub use doc::{Doc, Lifetime, Writer};
pub use error::{KeyReason, SchemaError, ValueReason};
pub use ids::{
    ClusterId, ClusterName, ElectionName, IdentityId, LeaseId, NameError, Namespace, NodeName,
    PodName, PoolName, ServiceName, SliceName,
};
pub use labels::{Label, LabelError, LabelSet};
pub use net::{MacAddr, PortNumber, Protocol};
pub use range::KeyRange;

use std::fmt::{Debug, Display};
use std::hash::Hash;

/// The key type of one kind. It fixes where the kind lives and which value belongs to it.
pub trait StoreKey: Clone + Eq + Ord + Hash + Debug + Display + Send + Sync + 'static {
    /// What is stored under such a key.
    type Value: StoreValue;

    /// The prefix below which every key of this kind lies. It ends with a slash, unless the kind is one
    /// single key. Kinds of one agent share theirs; see [`StoreKey::decode`].
    const PREFIX: &'static str;

    /// Who writes the kind, who reads it, how long it lives.
    const DOC: Doc;

    /// The key as it is stored.
    fn encode(&self) -> String;

    /// The key behind a stored text, or why it is none of this kind.
    fn parse(text: &str) -> Result<Self, KeyReason>;

    /// A key and a value as documentation shows them.
    fn example() -> (Self, Self::Value);

    /// Whether the value may stand under this key; Cilium's values repeat parts of their key.
    fn agrees(&self, _value: &Self::Value) -> Result<(), ValueReason> {
        Ok(())
    }

    /// Decodes a stored key. Keys of other kinds below the same prefix yield
    /// [`KeyReason::OtherKind`], which a watcher of a shared prefix skips.
    fn decode(raw: &[u8]) -> Result<Self, SchemaError> {
        std::str::from_utf8(raw)
            .map_err(|_| KeyReason::NotUtf8)
            .and_then(Self::parse)
            .map_err(|reason| SchemaError::key(raw, reason))
    }

    /// Decodes a stored pair and checks that value and key agree.
    fn decode_entry(raw_key: &[u8], raw_value: &[u8]) -> Result<(Self, Self::Value), SchemaError> {
        let key = Self::decode(raw_key)?;
        let value = Self::Value::decode(raw_value)
            .and_then(|value| key.agrees(&value).map(|()| value))
            .map_err(|reason| SchemaError::value(raw_key, reason))?;
        Ok((key, value))
    }

    /// The range that holds every key of this kind.
    fn range() -> KeyRange {
        if Self::PREFIX.ends_with('/') {
            KeyRange::prefix(Self::PREFIX)
        } else {
            KeyRange::single(Self::PREFIX)
        }
    }
}

/// The value type of one kind.
pub trait StoreValue: Clone + PartialEq + Debug + Send + Sync + 'static {
    /// The bytes as they are stored.
    fn encode(&self) -> Vec<u8>;

    /// The value behind stored bytes. Total: any bytes yield a value or a reason.
    fn decode(raw: &[u8]) -> Result<Self, ValueReason>;
}
