//! Splitting and joining keys.

use std::cmp::Ordering;
use std::iter::once;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::error::KeyReason;
use crate::ids::NodeName;
use crate::kinds::node_report::AGENTS_PREFIX;

/// The segments of `text` below `prefix`, exactly `N` of them.
pub(crate) fn split<'a, const N: usize>(
    text: &'a str,
    prefix: &str,
    layout: &'static str,
) -> Result<[&'a str; N], KeyReason> {
    let tail = text.strip_prefix(prefix).ok_or(KeyReason::OtherKind)?;
    let mut segments = tail.split('/');
    let mut found = [""; N];
    for slot in &mut found {
        *slot = segments.next().ok_or(KeyReason::Layout { layout })?;
    }
    match segments.next() {
        None => Ok(found),
        Some(_) => Err(KeyReason::Layout { layout }),
    }
}

/// Compares two keys of the same kind as their encodings compare, without building those.
pub(crate) fn compare(a: &[&str], b: &[&str]) -> Ordering {
    fn bytes<'a>(segments: &'a [&'a str]) -> impl Iterator<Item = u8> + 'a {
        segments.iter().flat_map(|segment| once(b'/').chain(segment.bytes()))
    }
    bytes(a).cmp(bytes(b))
}

/// An address in the one form in which it is written.
pub(crate) fn address(text: &str) -> Result<IpAddr, KeyReason> {
    match text.parse::<IpAddr>() {
        Ok(ip) if ip.to_string() == text => Ok(ip),
        _ => Err(KeyReason::Address { text: text.to_owned() }),
    }
}

/// A CIDR as a segment: `10.0.1.0-24`.
pub(crate) fn cidr_segment(cidr: IpNet) -> String {
    format!("{}-{}", cidr.network(), cidr.prefix_len())
}

/// The CIDR behind a segment, refused unless it is in the form in which it is written.
pub(crate) fn cidr(text: &str) -> Result<IpNet, KeyReason> {
    let refused = || KeyReason::Cidr { text: text.to_owned() };
    let (ip, length) = text.rsplit_once('-').ok_or_else(refused)?;
    let length: u8 = length.parse().map_err(|_| refused())?;
    let cidr = IpNet::new(ip.parse().map_err(|_| refused())?, length).map_err(|_| refused())?;
    if cidr_segment(cidr) == text { Ok(cidr) } else { Err(refused()) }
}

/// A decimal number without sign or leading zeros.
pub(crate) fn decimal(text: &str, what: &'static str) -> Result<u64, KeyReason> {
    match text.parse::<u64>() {
        Ok(number) if number.to_string() == text => Ok(number),
        _ => Err(KeyReason::Number { what, text: text.to_owned() }),
    }
}

/// Splits a key of an agent's folder into the node and what follows.
pub(crate) fn agent_folder(text: &str) -> Result<(&str, &str), KeyReason> {
    text.strip_prefix(AGENTS_PREFIX)
        .and_then(|tail| tail.split_once('/'))
        .ok_or(KeyReason::OtherKind)
}

/// The node whose folder holds the single key `leaf`.
pub(crate) fn agent_leaf(text: &str, leaf: &str) -> Result<NodeName, KeyReason> {
    match agent_folder(text)? {
        (node, rest) if rest == leaf => Ok(node.parse()?),
        _ => Err(KeyReason::OtherKind),
    }
}

/// Gives a key type the order of its encoding, its text and nothing else.
macro_rules! key_order {
    ($key:ty, |$k:ident| [$($segment:expr),+ $(,)?]) => {
        impl Ord for $key {
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                fn segments($k: &$key) -> [&str; [$(stringify!($segment)),+].len()] {
                    [$($segment),+]
                }
                $crate::path::compare(&segments(self), &segments(other))
            }
        }
        impl PartialOrd for $key {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }
        $crate::path::key_text!($key);
    };
}

/// Shows a key as it is stored.
macro_rules! key_text {
    ($key:ty) => {
        impl std::fmt::Display for $key {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&$crate::StoreKey::encode(self))
            }
        }
    };
}

pub(crate) use {key_order, key_text};
