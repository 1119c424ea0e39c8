//! Pieces of Cilium's JSON that serde does not write by itself.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A CIDR as Go writes `net.IPNet`: `{"IP": "10.0.1.0", "Mask": "////AA=="}`. The plain form
/// `"10.0.1.0/24"`, which Cilium will write from 1.22 on, is read too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoCidr(pub IpNet);

#[derive(Serialize, Deserialize)]
struct GoCidrFields {
    #[serde(rename = "IP")]
    ip: IpAddr,
    #[serde(rename = "Mask")]
    mask: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum EitherForm {
    Plain(IpNet),
    Fields(GoCidrFields),
}

impl Serialize for GoCidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        GoCidrFields { ip: self.0.addr(), mask: mask_text(self.0) }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for GoCidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match EitherForm::deserialize(deserializer)? {
            EitherForm::Plain(cidr) => Ok(Self(cidr)),
            EitherForm::Fields(GoCidrFields { ip, mask }) => {
                from_mask(ip, &mask).map(Self).map_err(de::Error::custom)
            }
        }
    }
}

impl fmt::Display for GoCidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

fn mask_text(cidr: IpNet) -> String {
    match cidr.netmask() {
        IpAddr::V4(mask) => STANDARD.encode(mask.octets()),
        IpAddr::V6(mask) => STANDARD.encode(mask.octets()),
    }
}

fn from_mask(ip: IpAddr, mask: &str) -> Result<IpNet, String> {
    let refused = || format!("mask {mask:?} is not the mask of a prefix");
    let raw = STANDARD.decode(mask).map_err(|_| refused())?;
    let mask_ip = if let Ok(v4) = <[u8; 4]>::try_from(raw.as_slice()) {
        IpAddr::V4(Ipv4Addr::from(v4))
    } else if let Ok(v6) = <[u8; 16]>::try_from(raw.as_slice()) {
        IpAddr::V6(Ipv6Addr::from(v6))
    } else {
        return Err(refused());
    };
    if ip.is_ipv4() != mask_ip.is_ipv4() {
        return Err(refused());
    }
    IpNet::with_netmask(ip, mask_ip).map_err(|_| refused())
}

/// An address, or the empty string for none.
pub(crate) mod ip_or_empty {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(ip: &Option<IpAddr>, s: S) -> Result<S::Ok, S::Error> {
        match ip {
            Some(ip) => s.collect_str(ip),
            None => s.serialize_str(""),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<IpAddr>, D::Error> {
        match Option::<String>::deserialize(d)? {
            None => Ok(None),
            Some(text) if text.is_empty() => Ok(None),
            Some(text) => text.parse().map(Some).map_err(de::Error::custom),
        }
    }
}

/// A collection for which Go writes `null` when it is empty.
pub(crate) mod null_when_empty {
    use super::*;

    pub(crate) trait Emptiness {
        fn has_none(&self) -> bool;
    }

    impl<T> Emptiness for Vec<T> {
        fn has_none(&self) -> bool {
            self.is_empty()
        }
    }

    impl<K, V> Emptiness for std::collections::BTreeMap<K, V> {
        fn has_none(&self) -> bool {
            self.is_empty()
        }
    }

    pub(crate) fn serialize<T, S>(items: &T, s: S) -> Result<S::Ok, S::Error>
    where
        T: Emptiness + Serialize,
        S: Serializer,
    {
        if items.has_none() { s.serialize_none() } else { items.serialize(s) }
    }

    pub(crate) fn deserialize<'de, T, D>(d: D) -> Result<T, D::Error>
    where
        T: Default + Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
    }
}

/// Makes a serde type a stored value without envelope, as Cilium's values are.
macro_rules! cilium_json_value {
    ($value:ty) => {
        impl $crate::StoreValue for $value {
            fn encode(&self) -> Vec<u8> {
                serde_json::to_vec(self)
                    .expect("a plain struct with text and address keys always serialises")
            }
            fn decode(raw: &[u8]) -> Result<Self, $crate::ValueReason> {
                serde_json::from_slice(raw).map_err(|error| $crate::ValueReason::json(&error))
            }
        }
    };
}

pub(crate) use cilium_json_value;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cidrs_are_written_as_go_writes_them_and_read_in_both_forms() {
        let v4 = GoCidr("10.0.1.0/24".parse().unwrap());
        assert_eq!(serde_json::to_string(&v4).unwrap(), r#"{"IP":"10.0.1.0","Mask":"////AA=="}"#);
        let v6 = GoCidr("fd00::/64".parse().unwrap());
        let text = serde_json::to_string(&v6).unwrap();
        assert_eq!(text, r#"{"IP":"fd00::","Mask":"//////////8AAAAAAAAAAA=="}"#);
        assert_eq!(serde_json::from_str::<GoCidr>(&text).unwrap(), v6);
        assert_eq!(serde_json::from_str::<GoCidr>(r#""10.0.1.0/24""#).unwrap(), v4);
    }

    #[test]
    fn masks_with_holes_or_of_other_families_are_refused() {
        for bad in [
            r#"{"IP":"10.0.1.0","Mask":"/wD/AA=="}"#,
            r#"{"IP":"fd00::","Mask":"////AA=="}"#,
            r#"{"IP":"10.0.1.0","Mask":"?"}"#,
            r#"{"IP":"10.0.1.0","Mask":"//8="}"#,
        ] {
            assert!(serde_json::from_str::<GoCidr>(bad).is_err(), "{bad}");
        }
    }
}
