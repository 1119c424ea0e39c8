//! What the operator decides.

use ipnet::Ipv4Net;
use serde::Serialize;
use skein_store_schema::{ClusterId, ClusterName, PoolName};

/// Seconds, as counted by whoever calls the planner; only differences matter.
pub type Seconds = u64;

/// The settings that planners read. They do not change while the process runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Config {
    pub cluster: ClusterName,
    pub cluster_id: ClusterId,
    pub pool: PoolName,
    /// Blocks for nodes are cut out of these.
    pub pool_cidrs: Vec<Ipv4Net>,
    /// Prefix length of a node's block.
    pub block_mask: u8,
    /// Addresses of services.
    pub service_cidr: Ipv4Net,
    /// How long an identity must have been without a pod before its number is freed.
    pub identity_grace: Seconds,
    /// How long a node must have been gone, object and liveness, before its block is freed.
    pub node_grace: Seconds,
}

/// Longest prefix of a block: network, broadcast, router and health addresses leave room for pods.
pub const BLOCK_MASK_MAX: u8 = 28;

/// Settings that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("no pool CIDR is given")]
    NoPool,
    #[error("pool CIDR {cidr} is smaller than one block of /{mask}")]
    PoolTooSmall { cidr: Ipv4Net, mask: u8 },
    #[error("block mask /{mask} is not between /8 and /{BLOCK_MASK_MAX}")]
    BlockMask { mask: u8 },
    #[error("{first} and {second} overlap")]
    Overlap { first: Ipv4Net, second: Ipv4Net },
    #[error("service CIDR {cidr} is not between /8 and /29")]
    ServiceCidr { cidr: Ipv4Net },
}

impl Config {
    /// Checks that the settings fit each other.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.pool_cidrs.is_empty() {
            return Err(ConfigError::NoPool);
        }
        if !(8..=BLOCK_MASK_MAX).contains(&self.block_mask) {
            return Err(ConfigError::BlockMask { mask: self.block_mask });
        }
        if !(8..=29).contains(&self.service_cidr.prefix_len()) {
            return Err(ConfigError::ServiceCidr { cidr: self.service_cidr });
        }
        let small = self.pool_cidrs.iter().find(|c| c.prefix_len() > self.block_mask);
        if let Some(&cidr) = small {
            return Err(ConfigError::PoolTooSmall { cidr, mask: self.block_mask });
        }
        let all: Vec<Ipv4Net> =
            self.pool_cidrs.iter().chain([&self.service_cidr]).map(Ipv4Net::trunc).collect();
        for (n, first) in all.iter().enumerate() {
            if let Some(second) = all[n + 1..].iter().find(|c| overlap(first, c)) {
                return Err(ConfigError::Overlap { first: *first, second: *second });
            }
        }
        Ok(())
    }
}

/// Whether two CIDRs share an address.
pub fn overlap(a: &Ipv4Net, b: &Ipv4Net) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}
