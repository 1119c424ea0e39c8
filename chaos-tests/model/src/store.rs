//! The reference: a store so simple that it is right at sight.
//!
//! It keeps the newest state only; what an old revision held is checked while the search passes
//! that revision (see [`crate::linear`]).

use std::hash::{DefaultHasher, Hash, Hasher};

use imbl::OrdMap;

use crate::history::{Answer, Compare, Kv, Op, OpAnswer, Refusal, Request, Span};

/// The state. Cloning it is cheap.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Store {
    /// Revision of the last change.
    pub revision: i64,
    /// Revision of the last compaction, -1 before the first.
    pub compacted: i64,
    /// Every key.
    pub keys: OrdMap<String, Kv>,
    /// Every lease with its time to live in seconds.
    pub leases: OrdMap<i64, i64>,
}

impl Default for Store {
    /// A store as etcd begins: at revision 1 with nothing in it.
    fn default() -> Self {
        Self { revision: 1, compacted: -1, keys: OrdMap::new(), leases: OrdMap::new() }
    }
}

impl Store {
    /// Does what is asked. A read of an old revision is answered with no keys: only whether it may
    /// be answered is decided here.
    pub fn apply(&mut self, request: &Request) -> Answer {
        self.try_apply(request).unwrap_or_else(Answer::Refused)
    }

    /// A number for the state: equal states have equal ones.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    /// Keys in a span, in order.
    pub fn get(&self, span: &Span) -> Vec<Kv> {
        match &span.end {
            None => self.keys.get(&span.key).cloned().into_iter().collect(),
            Some(end) if *end <= span.key => Vec::new(),
            Some(end) => {
                self.keys.range(span.key.clone()..end.clone()).map(|(_, kv)| kv.clone()).collect()
            }
        }
    }

    fn try_apply(&mut self, request: &Request) -> Result<Answer, Refusal> {
        match request {
            Request::Range { span, revision, .. } => {
                let kvs = if *revision == 0 { self.get(span) } else { Vec::new() };
                self.check_revision(*revision)?;
                Ok(Answer::Range { revision: self.revision, kvs })
            }
            Request::Put { key, value, lease } => {
                if *lease != 0 && !self.leases.contains_key(lease) {
                    return Err(Refusal::LeaseNotFound);
                }
                self.revision += 1;
                self.put(key, value, *lease);
                Ok(Answer::Put { revision: self.revision })
            }
            Request::Delete(span) => {
                let deleted = self.delete(span);
                self.revision += i64::from(deleted > 0);
                Ok(Answer::Delete { revision: self.revision, deleted })
            }
            Request::Txn { compares, then, otherwise } => Ok(self.txn(compares, then, otherwise)),
            Request::Grant { id, ttl } => self.grant(*id, *ttl),
            Request::Revoke { id } => self.revoke(*id),
            Request::KeepAlive { id } => {
                Ok(Answer::KeptAlive { ttl: self.leases.get(id).copied().unwrap_or(0) })
            }
            Request::Compact { revision } => self.compact(*revision),
        }
    }

    fn check_revision(&self, revision: i64) -> Result<(), Refusal> {
        if revision > self.revision {
            Err(Refusal::FutureRevision)
        } else if revision > 0 && revision < self.compacted {
            Err(Refusal::Compacted)
        } else {
            Ok(())
        }
    }

    /// Writes a key in the present revision.
    fn put(&mut self, key: &str, value: &str, lease: i64) {
        let (create, version) = match self.keys.get(key) {
            Some(before) => (before.create, before.version + 1),
            None => (self.revision, 1),
        };
        let (key, value, modified) = (key.to_owned(), value.to_owned(), self.revision);
        self.keys.insert(key.clone(), Kv { key, value, create, modified, version, lease });
    }

    fn delete(&mut self, span: &Span) -> i64 {
        let gone = self.get(span);
        for kv in &gone {
            self.keys.remove(&kv.key);
        }
        gone.len() as i64
    }

    fn txn(&mut self, compares: &[Compare], then: &[Op], otherwise: &[Op]) -> Answer {
        let succeeded = compares.iter().all(|compare| self.holds(compare));
        let before = self.revision;
        // Steps write in the revision that the transaction gets if it changes anything.
        self.revision += 1;
        let mut changed = false;
        let mut answers = Vec::new();
        for op in if succeeded { then } else { otherwise } {
            answers.push(match op {
                Op::Put { key, value } => {
                    self.put(key, value, 0);
                    changed = true;
                    OpAnswer::Put
                }
                Op::Delete(span) => {
                    let deleted = self.delete(span);
                    changed |= deleted > 0;
                    OpAnswer::Deleted(deleted)
                }
                Op::Get(span) => OpAnswer::Got(self.get(span)),
            });
        }
        if !changed {
            self.revision = before;
        }
        Answer::Txn { revision: self.revision, succeeded, answers }
    }

    fn holds(&self, compare: &Compare) -> bool {
        match compare {
            Compare::Modified(key, revision) => {
                self.keys.get(key).map_or(0, |kv| kv.modified) == *revision
            }
            Compare::Value(key, value) => self.keys.get(key).is_some_and(|kv| kv.value == *value),
        }
    }

    fn grant(&mut self, id: i64, ttl: i64) -> Result<Answer, Refusal> {
        if self.leases.contains_key(&id) {
            return Err(Refusal::LeaseExists);
        }
        self.leases.insert(id, ttl);
        Ok(Answer::Granted { revision: self.revision })
    }

    fn revoke(&mut self, id: i64) -> Result<Answer, Refusal> {
        self.leases.remove(&id).ok_or(Refusal::LeaseNotFound)?;
        let attached: Vec<String> =
            self.keys.values().filter(|kv| kv.lease == id).map(|kv| kv.key.clone()).collect();
        self.revision += i64::from(!attached.is_empty());
        for key in attached {
            self.keys.remove(&key);
        }
        Ok(Answer::Revoked { revision: self.revision })
    }

    fn compact(&mut self, revision: i64) -> Result<Answer, Refusal> {
        if revision <= self.compacted {
            return Err(Refusal::Compacted);
        }
        if revision > self.revision {
            return Err(Refusal::FutureRevision);
        }
        self.compacted = revision;
        Ok(Answer::Compacted { revision: self.revision })
    }
}
