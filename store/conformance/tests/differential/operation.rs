//! Random operations: few keys, few leases, all options.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use skein_store_api::pb::etcdserverpb as pb;
use skein_store_conformance::ask::{self, CompareResult, TargetUnion};
use skein_store_conformance::endpoint::{Answer, Endpoint, Headed, Header};

/// Fewer keys than a dozen: up to there etcd's sort is stable, above it equal keys of a custom
/// order come in an order of its own.
const KEYS: [&str; 9] = ["a", "a\0", "aa", "b", "b/1", "b/2", "c", "d", "\u{7f}"];
const VALUES: [&str; 5] = ["", "1", "2", "10", "long enough to be told from the others"];
const LEASES: [i64; 4] = [1, 2, 3, 4];

/// No lease expires while a test runs, in seconds.
const TTL: i64 = 6_000;

/// How deep transactions nest.
const DEPTH_MAX: u32 = 2;

#[derive(Debug, Clone)]
pub(crate) enum Operation {
    Range(pb::RangeRequest),
    Put(pb::PutRequest),
    Delete(pb::DeleteRangeRequest),
    Txn(pb::TxnRequest),
    Compact(pb::CompactionRequest),
    Grant(pb::LeaseGrantRequest),
    Revoke(i64),
    Keys(i64),
}

/// An endless script of operations, determined by its seed and the revisions it learns of.
pub(crate) struct Script {
    random: StdRng,
    revision: i64,
}

impl Script {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), revision: 1 }
    }

    /// Remembers about where the store's revision is, so that old and future ones are asked for.
    pub(crate) fn learn(&mut self, operation: &Operation, answer: &str) {
        if matches!(operation, Operation::Put(_) | Operation::Delete(_) | Operation::Txn(_))
            && answer.starts_with("Ok")
        {
            self.revision += 1;
        }
    }

    pub(crate) fn next(&mut self) -> Operation {
        match self.random.random_range(0..100) {
            0..30 => Operation::Put(self.put()),
            30..55 => Operation::Range(self.range()),
            55..65 => Operation::Delete(self.delete()),
            65..88 => Operation::Txn(self.txn(0)),
            88..90 => Operation::Compact(pb::CompactionRequest {
                revision: self.revision - self.random.random_range(-2..60),
                physical: self.random.random(),
            }),
            90..93 => Operation::Grant(ask::grant(self.lease(), TTL)),
            93..96 => Operation::Revoke(self.lease()),
            _ => Operation::Keys(self.lease()),
        }
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    fn key(&mut self) -> &'static str {
        KEYS.choose(&mut self.random).copied().unwrap_or("a")
    }

    fn value(&mut self) -> &'static str {
        VALUES.choose(&mut self.random).copied().unwrap_or("")
    }

    fn lease(&mut self) -> i64 {
        LEASES.choose(&mut self.random).copied().unwrap_or(1)
    }

    fn end(&mut self) -> &'static str {
        match self.random.random_range(0..4) {
            0 => "",
            1 => ask::FROM_KEY,
            _ => self.key(),
        }
    }

    /// Mostly none; else one near the present.
    fn some_revision(&mut self, percent: u32) -> i64 {
        match self.chance(percent) {
            true => self.revision + self.random.random_range(-40..3),
            false => 0,
        }
    }

    fn put(&mut self) -> pb::PutRequest {
        let key = if self.chance(2) { "" } else { self.key() };
        let mut put = ask::put(key, self.value());
        put.prev_kv = self.chance(30);
        put.lease = if self.chance(25) { self.lease() } else { 0 };
        put.ignore_value = self.chance(8);
        put.ignore_lease = self.chance(8);
        if put.ignore_value && self.chance(80) {
            put.value = Default::default();
        }
        put
    }

    fn range(&mut self) -> pb::RangeRequest {
        let key = if self.chance(30) { ask::FROM_KEY } else { self.key() };
        pb::RangeRequest {
            limit: if self.chance(30) { self.random.random_range(-1..6) } else { 0 },
            revision: self.some_revision(30),
            sort_order: if self.chance(40) { self.random.random_range(0..4) } else { 0 },
            sort_target: if self.chance(40) { self.random.random_range(0..6) } else { 0 },
            serializable: self.chance(20),
            keys_only: self.chance(15),
            count_only: self.chance(15),
            min_mod_revision: self.some_revision(8),
            max_mod_revision: self.some_revision(8),
            min_create_revision: self.some_revision(8),
            max_create_revision: self.some_revision(8),
            ..ask::range(key, self.end())
        }
    }

    fn delete(&mut self) -> pb::DeleteRangeRequest {
        let end = if self.chance(60) { "" } else { self.end() };
        pb::DeleteRangeRequest { prev_kv: self.chance(40), ..ask::delete_range(self.key(), end) }
    }

    /// etcd overlooks that a from-key delete overlaps a put of the same transaction. When the put
    /// then ignores a value that was just deleted, etcd panics: not what Skein is held to.
    fn delete_in_txn(&mut self) -> pb::DeleteRangeRequest {
        let delete = self.delete();
        match delete.range_end == ask::FROM_KEY.as_bytes() {
            true => pb::DeleteRangeRequest { range_end: Default::default(), ..delete },
            false => delete,
        }
    }

    fn txn(&mut self, depth: u32) -> pb::TxnRequest {
        let compares = self.random.random_range(0..3);
        pb::TxnRequest {
            compare: (0..compares).map(|_| self.compare()).collect(),
            success: self.operations(depth),
            failure: self.operations(depth),
        }
    }

    fn operations(&mut self, depth: u32) -> Vec<pb::RequestOp> {
        let count = self.random.random_range(0..4);
        (0..count).map(|_| self.operation(depth)).collect()
    }

    fn operation(&mut self, depth: u32) -> pb::RequestOp {
        match self.random.random_range(0..10) {
            0..4 => ask::op_put_with(self.put()),
            4..6 => ask::op_range(self.range()),
            6..8 => ask::op_delete(self.delete_in_txn()),
            _ if depth < DEPTH_MAX => ask::op_txn(self.txn(depth + 1)),
            _ => ask::op_range(ask::everything()),
        }
    }

    fn compare(&mut self) -> pb::Compare {
        let revision = self.some_revision(80);
        let target = match self.random.random_range(0..5) {
            0 => TargetUnion::Version(self.random.random_range(0..4)),
            1 => TargetUnion::CreateRevision(revision),
            2 => TargetUnion::ModRevision(revision),
            3 => ask::value(self.value()),
            _ => TargetUnion::Lease(if self.chance(50) { self.lease() } else { 0 }),
        };
        let results = [
            CompareResult::Equal,
            CompareResult::Greater,
            CompareResult::Less,
            CompareResult::NotEqual,
        ];
        let result = results.choose(&mut self.random).copied().unwrap_or(CompareResult::Equal);
        match self.chance(30) {
            true => ask::compare_range(self.key(), self.end(), result, target),
            false => ask::compare(self.key(), result, target),
        }
    }
}

impl Operation {
    /// What a store says, as comparable text.
    pub(crate) async fn answer(&self, store: &dyn Endpoint) -> String {
        match self {
            Self::Range(request) => shown(store.range(request.clone()).await),
            Self::Put(request) => shown(store.put(request.clone()).await),
            Self::Delete(request) => shown(store.delete_range(request.clone()).await),
            Self::Txn(request) => shown(store.txn(request.clone()).await),
            Self::Compact(request) => shown(store.compact(*request).await),
            Self::Grant(request) => shown(store.lease_grant(*request).await),
            Self::Revoke(id) => shown(store.lease_revoke(*id).await),
            Self::Keys(id) => {
                let mut answer = store.lease_time_to_live(*id, true).await;
                if let Ok(answer) = &mut answer {
                    answer.keys.sort();
                    // Time passes for one store and not for the other.
                    answer.ttl = answer.ttl.min(0);
                }
                shown(answer)
            }
        }
    }
}

/// An answer as text, without what differs between two clusters.
pub(crate) fn shown<T: Headed + std::fmt::Debug>(mut answer: Answer<T>) -> String {
    if let Ok(answer) = &mut answer {
        let header: Header = answer.header_mut().anonymous();
        *answer.header_mut() = header;
    }
    format!("{answer:?}")
}
