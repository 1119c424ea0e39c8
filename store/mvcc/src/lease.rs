//! The leases that exist and the keys attached to them: the replicated half of leases.
//!
//! When a lease expires is not part of the replicated state, because members' clocks differ: the
//! leader's [`crate::lessor::Lessor`] decides and proposes a revoke, which then takes its place in
//! the order of all changes like any other.

use std::collections::{BTreeMap, BTreeSet};

use skein_store_api::ApiError;
use skein_store_api::limits::MAX_LEASE_TTL_SECONDS;

use crate::key::Key;

/// Every lease.
#[derive(Clone, Debug, Default)]
pub struct Leases {
    by_id: BTreeMap<i64, Lease>,
}

/// One lease.
#[derive(Clone, Debug)]
pub struct Lease {
    ttl_seconds: i64,
    keys: BTreeSet<Key>,
}

impl Lease {
    /// The time to live that was granted, in seconds.
    pub fn granted_ttl(&self) -> i64 {
        self.ttl_seconds
    }

    /// The attached keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.iter().map(|key| &**key)
    }
}

impl Leases {
    /// The lease of that id.
    pub fn get(&self, id: i64) -> Option<&Lease> {
        self.by_id.get(&id)
    }

    /// Every lease with its id, by id.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &Lease)> {
        self.by_id.iter().map(|(&id, lease)| (id, lease))
    }

    /// Number of leases.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is no lease.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(crate) fn grant(&mut self, id: i64, ttl_seconds: i64) -> Result<(), ApiError> {
        // The proposer chooses an id for requests without one, so 0 never names a lease.
        if id == 0 {
            return Err(ApiError::LeaseNotFound);
        }
        if ttl_seconds > MAX_LEASE_TTL_SECONDS {
            return Err(ApiError::LeaseTtlTooLarge);
        }
        if self.by_id.contains_key(&id) {
            return Err(ApiError::LeaseExists);
        }
        self.by_id.insert(id, Lease { ttl_seconds, keys: BTreeSet::new() });
        Ok(())
    }

    pub(crate) fn remove(&mut self, id: i64) -> Result<BTreeSet<Key>, ApiError> {
        self.by_id.remove(&id).map(|lease| lease.keys).ok_or(ApiError::LeaseNotFound)
    }

    /// Moves `key` from one lease to another; 0 is no lease.
    pub(crate) fn reattach(&mut self, key: &Key, from: i64, to: i64) {
        if from == to {
            return;
        }
        if let Some(lease) = self.by_id.get_mut(&from) {
            lease.keys.remove(key);
        }
        if let Some(lease) = self.by_id.get_mut(&to) {
            lease.keys.insert(key.clone());
        }
    }
}
