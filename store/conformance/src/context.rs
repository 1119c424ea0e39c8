//! What a case works with: the store under test, and the few calls that nearly every case makes.

use std::sync::Arc;

use crate::ask;
use crate::check::Failure;
use crate::endpoint::{Endpoint, Kv, Ranged, WatchStream};

/// Bound on the rounds of clearing a store. One is enough unless leases expire meanwhile.
const CLEAR_ROUNDS: usize = 5;

/// A case's view of the store under test.
#[derive(Clone)]
pub struct Context {
    pub store: Arc<dyn Endpoint>,
}

impl Context {
    /// Writes a key and returns the revision of the write.
    pub async fn put(&self, key: &str, value: &str) -> Result<i64, Failure> {
        Ok(self.store.put(ask::put(key, value)).await?.header.revision)
    }

    /// Writes each key with its own name, in upper case, as value; returns the last revision.
    pub async fn fill(&self, keys: &[&str]) -> Result<i64, Failure> {
        let mut revision = 0;
        for key in keys {
            revision = self.put(key, &key.to_uppercase()).await?;
        }
        Ok(revision)
    }

    /// Writes a key under a lease and returns the revision of the write.
    pub async fn put_leased(&self, key: &str, lease: i64) -> Result<i64, Failure> {
        let request =
            skein_store_api::pb::etcdserverpb::PutRequest { lease, ..ask::put(key, "leased") };
        Ok(self.store.put(request).await?.header.revision)
    }

    /// One key as it is now.
    pub async fn get(&self, key: &str) -> Result<Option<Kv>, Failure> {
        Ok(self.store.range(ask::get(key)).await?.kvs.pop())
    }

    /// One key that must be there.
    pub async fn kv(&self, key: &str) -> Result<Kv, Failure> {
        let found = self.get(key).await?;
        found.ok_or_else(|| Failure::new(format!("key {key:?} is missing")))
    }

    /// Everything there is now.
    pub async fn everything(&self) -> Result<Ranged, Failure> {
        Ok(self.store.range(ask::everything()).await?)
    }

    /// The store's current revision.
    pub async fn revision(&self) -> Result<i64, Failure> {
        Ok(self.store.range(ask::get("no-such-key")).await?.header.revision)
    }

    /// A new watch stream.
    pub async fn watch(&self) -> Result<WatchStream, Failure> {
        Ok(self.store.watch().await?)
    }

    /// Removes every lease and every key, so that cases do not see each other's.
    pub async fn clear(&self) -> Result<(), Failure> {
        for _ in 0..CLEAR_ROUNDS {
            let leases = self.store.lease_leases().await?.ids;
            for id in &leases {
                // A lease may expire between being listed and being revoked.
                let _ = self.store.lease_revoke(*id).await;
            }
            self.store.delete_range(ask::delete_range(ask::FROM_KEY, ask::FROM_KEY)).await?;
            if leases.is_empty() {
                return Ok(());
            }
        }
        Err(Failure::new("leases kept appearing while the store was cleared"))
    }
}
