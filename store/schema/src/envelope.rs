//! The envelope of Skein's own values: a JSON object whose first field is `"v"`.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::ValueReason;

/// The version that every kind of ours is at.
pub(crate) const VERSION: u32 = 1;

/// How our writers begin a value; readers that see it need no separate look at the version.
const HEAD: &[u8] = b"{\"v\":1,";

/// A value of ours: plain data plus a check that types cannot express.
pub(crate) trait OwnValue: Serialize + DeserializeOwned {
    fn check(&self) -> Result<(), ValueReason> {
        Ok(())
    }
}

/// Only `"v"` of a value; the rest is skipped.
#[derive(Deserialize)]
struct VersionOnly {
    v: Option<serde_json::Value>,
}

pub(crate) fn encode<T: OwnValue>(value: &T) -> Vec<u8> {
    let body = serde_json::to_vec(value)
        .expect("our values are plain structs with text keys, which always serialise");
    let mut bytes = Vec::with_capacity(HEAD.len() + body.len());
    bytes.extend_from_slice(HEAD);
    bytes.extend_from_slice(&body[1..]);
    bytes
}

pub(crate) fn decode<T: OwnValue>(raw: &[u8]) -> Result<T, ValueReason> {
    if !raw.starts_with(HEAD) {
        check_version(raw)?;
    }
    let value: T = serde_json::from_slice(raw).map_err(|error| ValueReason::json(&error))?;
    value.check()?;
    Ok(value)
}

fn check_version(raw: &[u8]) -> Result<(), ValueReason> {
    let found: VersionOnly =
        serde_json::from_slice(raw).map_err(|error| ValueReason::json(&error))?;
    let Some(v) = found.v else {
        return Err(ValueReason::NoVersion { known: VERSION });
    };
    match v.as_u64() {
        Some(v) if v == u64::from(VERSION) => Ok(()),
        Some(found) => Err(ValueReason::Version { found, known: VERSION }),
        None => Err(ValueReason::field("v", "is not a version number")),
    }
}

/// Makes a type with an [`OwnValue`] check a stored value.
macro_rules! own_value {
    ($value:ty) => {
        impl $crate::StoreValue for $value {
            fn encode(&self) -> Vec<u8> {
                $crate::envelope::encode(self)
            }
            fn decode(raw: &[u8]) -> Result<Self, $crate::ValueReason> {
                $crate::envelope::decode(raw)
            }
        }
    };
}

pub(crate) use own_value;
