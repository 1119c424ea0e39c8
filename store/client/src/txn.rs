//! Transactions as plain data.

use etcd_client as etcd;
use skein_store_schema::{KeyRange, LeaseId};
use skein_store_table::Entry;

use crate::convert;

/// A condition on one key. A key that does not exist has version and revisions 0.
#[derive(Debug, Clone)]
pub struct Compare(etcd::Compare);

impl Compare {
    /// The key does not exist.
    pub fn absent(key: impl Into<Vec<u8>>) -> Self {
        Self(etcd::Compare::create_revision(key, etcd::CompareOp::Equal, 0))
    }

    /// The key exists.
    pub fn present(key: impl Into<Vec<u8>>) -> Self {
        Self(etcd::Compare::create_revision(key, etcd::CompareOp::Greater, 0))
    }

    /// The key came to be at this revision and still exists.
    pub fn create_revision(key: impl Into<Vec<u8>>, revision: i64) -> Self {
        Self(etcd::Compare::create_revision(key, etcd::CompareOp::Equal, revision))
    }

    /// The key was last changed at this revision; 0 for absent.
    pub fn mod_revision(key: impl Into<Vec<u8>>, revision: i64) -> Self {
        Self(etcd::Compare::mod_revision(key, etcd::CompareOp::Equal, revision))
    }

    /// The key has this value.
    pub fn value(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self(etcd::Compare::value(key, etcd::CompareOp::Equal, value))
    }
}

/// One operation of a transaction.
#[derive(Debug, Clone)]
pub struct Op(etcd::TxnOp);

impl Op {
    /// Writes a key without lease.
    pub fn put(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self(etcd::TxnOp::put(key, value, None))
    }

    /// Writes a key that dies with a lease.
    pub fn put_leased(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>, lease: LeaseId) -> Self {
        let options = etcd::PutOptions::new().with_lease(lease.get());
        Self(etcd::TxnOp::put(key, value, Some(options)))
    }

    /// Deletes a key; absent is fine.
    pub fn delete(key: impl Into<Vec<u8>>) -> Self {
        Self(etcd::TxnOp::delete(key, None))
    }

    /// Deletes a range.
    pub fn delete_range(range: &KeyRange) -> Self {
        let options = etcd::DeleteOptions::new().with_range(range.end());
        Self(etcd::TxnOp::delete(range.start(), Some(options)))
    }

    /// Reads a key.
    pub fn get(key: impl Into<Vec<u8>>) -> Self {
        Self(etcd::TxnOp::get(key, None))
    }

    /// Reads a range.
    pub fn get_range(range: &KeyRange) -> Self {
        let options = etcd::GetOptions::new().with_range(range.end());
        Self(etcd::TxnOp::get(range.start(), Some(options)))
    }

    /// A transaction within a transaction.
    pub fn txn(txn: Txn) -> Self {
        Self(etcd::TxnOp::txn(txn.into_etcd()))
    }
}

/// If every condition holds, these operations; else those. All or nothing, at one revision.
#[derive(Debug, Clone, Default)]
pub struct Txn {
    when: Vec<Compare>,
    then: Vec<Op>,
    otherwise: Vec<Op>,
}

impl Txn {
    /// A transaction without conditions and operations.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition.
    #[must_use]
    pub fn when(mut self, compare: Compare) -> Self {
        self.when.push(compare);
        self
    }

    /// Adds an operation for the case that all conditions hold.
    #[must_use]
    pub fn then(mut self, op: Op) -> Self {
        self.then.push(op);
        self
    }

    /// Adds several such operations.
    #[must_use]
    pub fn then_all(mut self, ops: impl IntoIterator<Item = Op>) -> Self {
        self.then.extend(ops);
        self
    }

    /// Adds an operation for the case that a condition does not hold.
    #[must_use]
    pub fn otherwise(mut self, op: Op) -> Self {
        self.otherwise.push(op);
        self
    }

    /// The larger of the operation counts of both branches; stores take 128 by default.
    pub fn op_count(&self) -> usize {
        self.then.len().max(self.otherwise.len())
    }

    pub(crate) fn into_etcd(self) -> etcd::Txn {
        let ops = |ops: Vec<Op>| ops.into_iter().map(|op| op.0).collect::<Vec<_>>();
        let mut txn = etcd::Txn::new();
        if !self.when.is_empty() {
            txn = txn.when(self.when.into_iter().map(|compare| compare.0).collect::<Vec<_>>());
        }
        if !self.then.is_empty() {
            txn = txn.and_then(ops(self.then));
        }
        if !self.otherwise.is_empty() {
            txn = txn.or_else(ops(self.otherwise));
        }
        txn
    }
}

/// What one operation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpResult {
    /// Written.
    Put,
    /// How many keys were deleted.
    Deleted(i64),
    /// What was read.
    Read(Vec<Entry>),
    /// What the inner transaction did.
    Txn(TxnOutcome),
}

/// What a transaction did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxnOutcome {
    /// Whether all conditions held.
    pub succeeded: bool,
    /// The revision of the store afterwards: that of the changes, if there were any.
    pub revision: i64,
    /// One for each operation of the branch that was taken.
    pub results: Vec<OpResult>,
}

impl TxnOutcome {
    pub(crate) fn from_etcd(response: &etcd::TxnResponse) -> Self {
        let results = response.op_responses().into_iter().map(|op| match op {
            etcd::TxnOpResponse::Put(_) => OpResult::Put,
            etcd::TxnOpResponse::Delete(deleted) => OpResult::Deleted(deleted.deleted()),
            etcd::TxnOpResponse::Get(mut read) => {
                OpResult::Read(read.take_kvs().into_iter().map(convert::entry).collect())
            }
            etcd::TxnOpResponse::Txn(inner) => OpResult::Txn(Self::from_etcd(&inner)),
        });
        Self {
            succeeded: response.succeeded(),
            revision: response.header().map_or(0, etcd::ResponseHeader::revision),
            results: results.collect(),
        }
    }

    /// The entries that the first reading operation of the taken branch found.
    pub fn read(&self) -> Option<&[Entry]> {
        self.results.iter().find_map(|result| match result {
            OpResult::Read(entries) => Some(entries.as_slice()),
            OpResult::Put | OpResult::Deleted(_) | OpResult::Txn(_) => None,
        })
    }
}
