//! Why a stored key or value was refused.

use thiserror::Error;

use crate::ids::NameError;
use crate::labels::LabelError;

/// Bytes of a key shown in an error; a longer key is cut, since it may hold anything.
const SHOWN_KEY_BYTES_MAX: usize = 512;

/// A stored key or value that is not what its kind says.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SchemaError {
    /// The key is malformed or of another kind.
    #[error("key {key:?}: {reason}")]
    Key {
        /// The key as text, unreadable bytes replaced, cut at 512 bytes.
        key: String,
        /// What is wrong with it.
        reason: KeyReason,
    },
    /// The key is fine, the value is not.
    #[error("value of {key:?}: {reason}")]
    Value {
        /// The key as text.
        key: String,
        /// What is wrong with the value.
        reason: ValueReason,
    },
}

impl SchemaError {
    pub(crate) fn key(raw: &[u8], reason: KeyReason) -> Self {
        Self::Key { key: shown(raw), reason }
    }

    pub(crate) fn value(raw_key: &[u8], reason: ValueReason) -> Self {
        Self::Value { key: shown(raw_key), reason }
    }

    /// True when the key belongs to another kind that shares the prefix: not a fault.
    pub fn is_other_kind(&self) -> bool {
        matches!(self, Self::Key { reason: KeyReason::OtherKind, .. })
    }
}

fn shown(raw: &[u8]) -> String {
    String::from_utf8_lossy(&raw[..raw.len().min(SHOWN_KEY_BYTES_MAX)]).into_owned()
}

/// What is wrong with a key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyReason {
    /// The key is not text.
    #[error("is not UTF-8")]
    NotUtf8,
    /// The key lies below a shared prefix but is of another kind, or of none.
    #[error("is of another kind")]
    OtherKind,
    /// The key has too few or too many parts.
    #[error("must have the layout {layout}")]
    Layout {
        /// The layout of the kind.
        layout: &'static str,
    },
    /// One part is not a valid name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// One part is not the number it must be.
    #[error("{text:?} is not a valid {what}")]
    Number {
        /// What the number stands for.
        what: &'static str,
        /// What stood there.
        text: String,
    },
    /// One part is not an address in its shortest form.
    #[error("{text:?} is not an address in canonical form")]
    Address {
        /// What stood there.
        text: String,
    },
    /// One part is not `address-length` with no host bits.
    #[error("{text:?} is not a CIDR in canonical form (10.0.1.0-24)")]
    Cidr {
        /// What stood there.
        text: String,
    },
}

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ValueReason {
    /// The value is not text.
    #[error("is not UTF-8")]
    NotUtf8,
    /// A value of ours without `"v"`.
    #[error("carries no format version; this build knows version {known}")]
    NoVersion {
        /// The version this build reads.
        known: u32,
    },
    /// A value of a version that this build does not know.
    #[error("has format version {found}; this build knows version {known}")]
    Version {
        /// The version found.
        found: u64,
        /// The version this build reads.
        known: u32,
    },
    /// Not JSON, or a field is missing or of the wrong type.
    #[error("{message}")]
    Json {
        /// The parser's words, with line and column.
        message: String,
    },
    /// A field that holds what it must not.
    #[error("field {field}: {problem}")]
    Field {
        /// The path of the field, as in the JSON.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A label string that does not parse.
    #[error(transparent)]
    Labels(#[from] LabelError),
}

impl ValueReason {
    pub(crate) fn field(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Field { field: field.into(), problem: problem.into() }
    }

    pub(crate) fn json(error: &serde_json::Error) -> Self {
        Self::Json { message: error.to_string() }
    }
}
