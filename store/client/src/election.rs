//! Leadership by lease, and writes that only the leader can make.
//!
//! Each candidate puts one key below the election's folder, bound to its own lease. The candidate whose
//! key has the lowest create revision leads; its key vanishes with its lease. Whoever follows waits for
//! the keys before its own to go. A leader compares the create revision of its key within every write
//! ([`Session::fenced`]), so one that was paused and replaced writes nothing.

use std::time::Duration;

use skein_store_schema::kinds::election::{Candidate, ElectionKey};
use skein_store_schema::{ElectionName, StoreKey, StoreValue};
use skein_store_table::{Entry, SyncEvent};

use crate::error::ClientError;
use crate::lease::Lease;
use crate::session::{Read, Session};
use crate::txn::{Compare, Op, OpResult, Txn, TxnOutcome};

/// How long a candidate waits for word from the folder before it looks again by itself.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// The condition that makes a write fail once its writer has been replaced.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fence {
    /// The leadership key.
    pub key: String,
    /// The revision at which it was won.
    pub create_revision: i64,
}

/// Leadership, for as long as the lease lives.
#[derive(Debug)]
pub struct Leadership {
    session: Session,
    fence: Fence,
    lease: Lease,
}

/// Who leads an election.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// Its key and when it came to be.
    pub fence: Fence,
    /// Its name.
    pub candidate: Candidate,
}

impl Leadership {
    /// The condition for every write.
    pub fn fence(&self) -> &Fence {
        &self.fence
    }

    /// The lease; other keys may be bound to it.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Returns when leadership can no longer be counted on. Cancel safe. Writes are safe without it: the
    /// fence decides.
    pub async fn lost(&self) {
        self.lease.lost().await;
    }

    /// Gives leadership up at once, so that the next candidate need not wait for the lease to run out.
    pub async fn resign(self) -> Result<(), ClientError> {
        self.session.lease_revoke(self.lease.id()).await
    }
}

impl Session {
    /// Waits to be the leader of an election. Not bounded in time; dropping the future withdraws when
    /// the lease runs out.
    pub async fn campaign(
        &self,
        election: &ElectionName,
        holder: &str,
        ttl_s: i64,
    ) -> Result<Leadership, ClientError> {
        let lease = self.lease(ttl_s).await?;
        let key = ElectionKey { election: election.clone(), lease: lease.id() }.encode();
        let candidate = Candidate { holder: holder.to_owned() };
        self.enrol(&key, &candidate, &lease).await?;
        // Watching before looking: a key that goes in between is noticed.
        let mut folder = self.watch_ranges(vec![ElectionKey::election_range(election)], None)?;
        loop {
            let entries = self.candidates(election).await?;
            let Some(own) = entries.iter().find(|entry| entry.key == key.as_bytes()) else {
                return Err(ClientError::Fenced { key });
            };
            let fence = Fence { key: key.clone(), create_revision: own.create_revision };
            if entries.iter().all(|entry| entry.create_revision >= own.create_revision) {
                return Ok(Leadership { session: self.clone(), fence, lease });
            }
            tokio::select! {
                () = lease.lost() => return Err(ClientError::Fenced { key }),
                () = next_change(&mut folder) => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }

    /// Puts the candidate's key. Repeating is harmless: the key is the candidate's alone.
    async fn enrol(&self, key: &str, who: &Candidate, lease: &Lease) -> Result<(), ClientError> {
        let mut backoff = self.backoff();
        loop {
            let enrolled = Txn::new().when(Compare::absent(key)).then(Op::put_leased(
                key,
                who.encode(),
                lease.id(),
            ));
            match self.txn(enrolled).await {
                Err(error) if error.is_transient() && !lease.is_lost() => {
                    tokio::time::sleep(backoff.next().unwrap_or(LOOK_AGAIN)).await;
                }
                outcome => return outcome.map(|_| ()),
            }
        }
    }

    async fn candidates(&self, election: &ElectionName) -> Result<Vec<Entry>, ClientError> {
        Ok(self.range(&ElectionKey::election_range(election)).await?.entries)
    }

    /// Who leads now.
    pub async fn leader(
        &self,
        election: &ElectionName,
    ) -> Result<Read<Option<Leader>>, ClientError> {
        let snapshot = self.range(&ElectionKey::election_range(election)).await?;
        let first = snapshot.entries.into_iter().min_by_key(|entry| entry.create_revision);
        let value = match first {
            None => None,
            Some(entry) => {
                let (key, candidate) = ElectionKey::decode_entry(&entry.key, &entry.value)?;
                let create_revision = entry.create_revision;
                Some(Leader { fence: Fence { key: key.encode(), create_revision }, candidate })
            }
        };
        Ok(Read { revision: snapshot.revision, value })
    }

    /// Runs a transaction if its writer is still the leader, both in one step.
    ///
    /// # Errors
    /// [`ClientError::Fenced`] when it is not; nothing was written then.
    pub async fn fenced(&self, fence: &Fence, txn: Txn) -> Result<TxnOutcome, ClientError> {
        let guarded = Txn::new()
            .when(Compare::create_revision(fence.key.as_str(), fence.create_revision))
            .then(Op::txn(txn));
        let outer = self.txn(guarded).await?;
        match outer.results.into_iter().next() {
            Some(OpResult::Txn(mut inner)) if outer.succeeded => {
                inner.revision = outer.revision;
                Ok(inner)
            }
            _ => Err(ClientError::Fenced { key: fence.key.clone() }),
        }
    }
}

/// Returns when something in the folder changed.
async fn next_change(folder: &mut crate::watch::WatchStream) {
    while let Some(event) = folder.next().await {
        if matches!(event, SyncEvent::Changes(_) | SyncEvent::Begin(_)) {
            return;
        }
    }
}
