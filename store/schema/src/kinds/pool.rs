//! `skein/ipam/v1/pools/<pool>`: addresses that blocks are cut from.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::envelope::{OwnValue, own_value};
use crate::path::{self, key_order};
use crate::{Doc, KeyReason, Lifetime, PoolName, StoreKey, ValueReason, Writer};

/// A pool.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PoolKey {
    /// The pool; the one from flags is called `default`.
    pub pool: PoolName,
}

key_order!(PoolKey, |k| [k.pool.as_str()]);

impl StoreKey for PoolKey {
    type Value = Pool;
    const PREFIX: &'static str = "skein/ipam/v1/pools/";
    const DOC: Doc = Doc {
        kind: "IPAM pool",
        layout: "skein/ipam/v1/pools/<pool>",
        scope: "one pool of pod addresses",
        cardinality: "1 to 10",
        writer: Writer::Operator,
        readers: "control plane (claims); agents (addresses that are inside the cluster); skeinctl",
        lifetime: Lifetime::Durable,
        value: "CIDRs in the order in which they are used, and the length of a node's block",
        absence: "no node can get a block from it",
    };

    fn encode(&self) -> String {
        format!("{}{}", Self::PREFIX, self.pool)
    }

    fn parse(text: &str) -> Result<Self, KeyReason> {
        let [pool] = path::split(text, Self::PREFIX, Self::DOC.layout)?;
        Ok(Self { pool: pool.parse()? })
    }

    fn example() -> (Self, Pool) {
        let key = Self { pool: PoolName::new("default").expect("a label") };
        let cidrs = vec!["10.1.0.0/16".parse().expect("a CIDR")];
        (key, Pool { cidrs, mask_size: 24 })
    }
}

/// Addresses that blocks are cut from. One family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// CIDRs without host bits that do not overlap, in the order in which they are used.
    pub cidrs: Vec<IpNet>,
    /// Prefix length of one block.
    pub mask_size: u8,
}

impl Pool {
    /// How many blocks the pool has. `u64::MAX` when there are more.
    pub fn block_count(&self) -> u64 {
        let of = |cidr: &IpNet| {
            let bits = u32::from(self.mask_size.saturating_sub(cidr.prefix_len()));
            1_u64.checked_shl(bits).unwrap_or(u64::MAX)
        };
        self.cidrs.iter().fold(0, |sum, cidr| sum.saturating_add(of(cidr)))
    }
}

impl OwnValue for Pool {
    fn check(&self) -> Result<(), ValueReason> {
        for (index, cidr) in self.cidrs.iter().enumerate() {
            let refuse = |problem: &str| {
                Err(ValueReason::field(format!("cidrs[{index}]"), format!("{cidr} {problem}")))
            };
            if cidr.trunc() != *cidr {
                return refuse("has host bits");
            }
            if self.mask_size < cidr.prefix_len() || self.mask_size > cidr.max_prefix_len() {
                return refuse("cannot be cut into blocks of mask_size");
            }
            let overlaps = |other: &IpNet| other.contains(cidr) || cidr.contains(other);
            if self.cidrs[..index].iter().any(overlaps) {
                return refuse("overlaps another");
            }
            if cidr.max_prefix_len() != self.cidrs[0].max_prefix_len() {
                return refuse("is of another family than the first");
            }
        }
        Ok(())
    }
}

own_value!(Pool);

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(cidrs: &[&str], mask_size: u8) -> Pool {
        Pool { cidrs: cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect(), mask_size }
    }

    #[test]
    fn blocks_are_counted_over_all_cidrs() {
        assert_eq!(pool(&["10.1.0.0/16", "10.9.0.0/23"], 24).block_count(), 258);
        assert_eq!(pool(&["10.1.0.0/24"], 24).block_count(), 1);
    }

    #[test]
    fn impossible_pools_are_refused() {
        assert!(pool(&["10.1.0.0/16"], 24).check().is_ok());
        assert!(pool(&["10.1.0.0/16"], 15).check().is_err());
        assert!(pool(&["10.1.0.0/16"], 33).check().is_err());
        assert!(pool(&["10.1.0.1/16"], 24).check().is_err());
        assert!(pool(&["10.1.0.0/16", "10.1.4.0/22"], 24).check().is_err());
        assert!(pool(&["10.1.0.0/16", "fd00::/24"], 24).check().is_err());
    }
}
