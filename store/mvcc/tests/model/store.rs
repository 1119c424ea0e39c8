//! A store so simple that it is right at sight: a copy of all keys for every revision.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use skein_store_api::ApiError;
use skein_store_api::pb::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use skein_store_api::pb::etcdserverpb::range_request::{SortOrder, SortTarget};
use skein_store_api::pb::etcdserverpb::request_op::Request;
use skein_store_api::pb::etcdserverpb::response_op::Response as OpResponse;
use skein_store_api::pb::etcdserverpb::*;
use skein_store_api::pb::mvccpb::KeyValue;
use skein_store_mvcc::{Command, Response};

pub(crate) type Keys = BTreeMap<Vec<u8>, KeyValue>;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ModelEvent {
    pub(crate) revision: i64,
    pub(crate) is_delete: bool,
    pub(crate) kv: KeyValue,
    pub(crate) prev: Option<KeyValue>,
}

#[derive(Clone)]
pub(crate) struct Model {
    /// The keys at every revision; the newest last. Index 0 is revision 1.
    states: Vec<Keys>,
    pub(crate) events: Vec<ModelEvent>,
    pub(crate) compacted: i64,
    leases: BTreeMap<i64, i64>,
}

pub(crate) fn in_range(key: &[u8], start: &[u8], end: &[u8]) -> bool {
    match end {
        [] => key == start,
        [0] => key >= start,
        end => key >= start && key < end,
    }
}

fn encoded(kv: &KeyValue) -> bytes::Bytes {
    kv.encode_to_vec().into()
}

impl Model {
    pub(crate) fn new() -> Model {
        let states = vec![Keys::new()];
        Model { states, events: Vec::new(), compacted: -1, leases: BTreeMap::new() }
    }

    pub(crate) fn revision(&self) -> i64 {
        self.states.len() as i64
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.states[self.states.len() - 1]
    }

    fn header(&self) -> Option<ResponseHeader> {
        Some(ResponseHeader { revision: self.revision(), ..Default::default() })
    }

    pub(crate) fn apply(&mut self, command: &Command) -> Result<Response, ApiError> {
        // What is not an error changes the copy; an error leaves the original alone.
        let mut next = self.clone();
        let mut keys = next.keys().clone();
        let before = next.events.len();
        let mut response = match command {
            Command::Put(put) => Response::Put(next.put(&mut keys, put)?),
            Command::DeleteRange(delete) => Response::DeleteRange(next.delete(&mut keys, delete)),
            Command::Txn(txn) => {
                let taken = next.branches(txn);
                next.check(txn, &mut taken.iter())?;
                Response::Txn(next.txn(&mut keys, txn, &mut taken.iter())?)
            }
            Command::Compact(compact) => {
                if compact.revision <= next.compacted {
                    return Err(ApiError::Compacted);
                }
                if compact.revision > next.revision() {
                    return Err(ApiError::FutureRevision);
                }
                next.compacted = compact.revision;
                Response::Compact(CompactionResponse::default())
            }
            Command::LeaseGrant(grant) => {
                if next.leases.contains_key(&grant.id) {
                    return Err(ApiError::LeaseExists);
                }
                next.leases.insert(grant.id, grant.ttl);
                let (id, ttl) = (grant.id, grant.ttl);
                Response::LeaseGrant(LeaseGrantResponse { id, ttl, ..Default::default() })
            }
            Command::LeaseRevoke(revoke) => {
                next.leases.remove(&revoke.id).ok_or(ApiError::LeaseNotFound)?;
                for key in next.attached(revoke.id) {
                    let request = DeleteRangeRequest { key: key.into(), ..Default::default() };
                    next.delete(&mut keys, &request);
                }
                Response::LeaseRevoke(LeaseRevokeResponse::default())
            }
            Command::Member(_) => unreachable!("the generator changes no members"),
        };
        if next.events.len() > before {
            next.states.push(keys);
        }
        let header = match &mut response {
            Response::Put(r) => &mut r.header,
            Response::DeleteRange(r) => &mut r.header,
            Response::Txn(r) => &mut r.header,
            Response::Compact(r) => &mut r.header,
            Response::LeaseGrant(r) => &mut r.header,
            Response::LeaseRevoke(r) => &mut r.header,
            Response::Members(_) => unreachable!("nothing asks for members"),
        };
        *header = next.header();
        *self = next;
        Ok(response)
    }

    pub(crate) fn attached(&self, lease: i64) -> BTreeSet<Vec<u8>> {
        self.keys().iter().filter(|(_, kv)| kv.lease == lease).map(|(k, _)| k.clone()).collect()
    }

    pub(crate) fn leases(&self) -> &BTreeMap<i64, i64> {
        &self.leases
    }

    fn check_put(&self, put: &PutRequest) -> Result<(), ApiError> {
        if put.lease != 0 && !self.leases.contains_key(&put.lease) {
            return Err(ApiError::LeaseNotFound);
        }
        let exists = self.keys().contains_key(&put.key[..]);
        if (put.ignore_value || put.ignore_lease) && !exists {
            return Err(ApiError::KeyNotFound);
        }
        Ok(())
    }

    fn put(&mut self, keys: &mut Keys, put: &PutRequest) -> Result<PutResponse, ApiError> {
        self.check_put(put)?;
        let revision = self.revision() + 1;
        let prev = keys.get(&put.key[..]).cloned();
        let mut kv = KeyValue {
            key: put.key.clone(),
            value: put.value.clone(),
            create_revision: prev.as_ref().map_or(revision, |kv| kv.create_revision),
            mod_revision: revision,
            version: prev.as_ref().map_or(1, |kv| kv.version + 1),
            lease: put.lease,
        };
        if let Some(prev) = &prev {
            if put.ignore_value {
                kv.value = prev.value.clone();
            }
            if put.ignore_lease {
                kv.lease = prev.lease;
            }
        }
        keys.insert(put.key.to_vec(), kv.clone());
        let before = self.keys().get(&put.key[..]).cloned();
        self.events.push(ModelEvent { revision, is_delete: false, kv, prev: before });
        let header = Some(ResponseHeader { revision, ..Default::default() });
        let prev_kv = prev.filter(|_| put.prev_kv).as_ref().map(encoded);
        Ok(PutResponse { header, prev_kv })
    }

    fn delete(&mut self, keys: &mut Keys, request: &DeleteRangeRequest) -> DeleteRangeResponse {
        let revision = self.revision() + 1;
        let gone: Vec<Vec<u8>> = keys
            .keys()
            .filter(|key| in_range(key, &request.key, &request.range_end))
            .cloned()
            .collect();
        let mut response = DeleteRangeResponse { deleted: gone.len() as i64, ..Default::default() };
        for key in gone {
            let removed = keys.remove(&key);
            if request.prev_kv {
                response.prev_kvs.extend(removed.as_ref().map(encoded));
            }
            let prev = self.keys().get(&key).cloned();
            let kv = KeyValue { key: key.into(), mod_revision: revision, ..Default::default() };
            self.events.push(ModelEvent { revision, is_delete: true, kv, prev });
        }
        let changed = self.events.last().is_some_and(|event| event.revision == revision);
        let revision = if changed { revision } else { self.revision() };
        response.header = Some(ResponseHeader { revision, ..Default::default() });
        response
    }

    /// Which branch is taken, for this transaction and those inside of the branch taken.
    fn branches(&self, txn: &TxnRequest) -> Vec<bool> {
        let succeeded = txn.compare.iter().all(|compare| self.compare(compare));
        let mut taken = vec![succeeded];
        for op in if succeeded { &txn.success } else { &txn.failure } {
            if let Some(Request::RequestTxn(nested)) = &op.request {
                taken.extend(self.branches(nested));
            }
        }
        taken
    }

    fn compare(&self, compare: &Compare) -> bool {
        let mut matching: Vec<&KeyValue> = self
            .keys()
            .values()
            .filter(|kv| in_range(&kv.key, &compare.key, &compare.range_end))
            .collect();
        let nothing = KeyValue::default();
        if matching.is_empty() {
            if compare.target() == CompareTarget::Value {
                return false;
            }
            matching.push(&nothing);
        }
        matching.into_iter().all(|kv| {
            let ordering = match (compare.target(), compare.target_union.clone()) {
                (CompareTarget::Version, Some(TargetUnion::Version(n))) => kv.version.cmp(&n),
                (CompareTarget::Create, Some(TargetUnion::CreateRevision(n))) => {
                    kv.create_revision.cmp(&n)
                }
                (CompareTarget::Mod, Some(TargetUnion::ModRevision(n))) => kv.mod_revision.cmp(&n),
                (CompareTarget::Lease, Some(TargetUnion::Lease(n))) => kv.lease.cmp(&n),
                (CompareTarget::Value, Some(TargetUnion::Value(value))) => kv.value.cmp(&value),
                (target, union) => panic!("the generator makes no {target:?} with {union:?}"),
            };
            match compare.result() {
                CompareResult::Equal => ordering.is_eq(),
                CompareResult::NotEqual => ordering.is_ne(),
                CompareResult::Greater => ordering.is_gt(),
                CompareResult::Less => ordering.is_lt(),
            }
        })
    }

    fn check(
        &self,
        txn: &TxnRequest,
        taken: &mut std::slice::Iter<'_, bool>,
    ) -> Result<(), ApiError> {
        for op in if *taken.next().unwrap() { &txn.success } else { &txn.failure } {
            match op.request.as_ref().unwrap() {
                Request::RequestRange(range) => {
                    self.state_at(range.revision)?;
                }
                Request::RequestPut(put) => self.check_put(put)?,
                Request::RequestDeleteRange(_) => {}
                Request::RequestTxn(nested) => self.check(nested, taken)?,
            }
        }
        Ok(())
    }

    fn txn(
        &mut self,
        keys: &mut Keys,
        txn: &TxnRequest,
        taken: &mut std::slice::Iter<'_, bool>,
    ) -> Result<TxnResponse, ApiError> {
        let succeeded = *taken.next().unwrap();
        let mut responses = Vec::new();
        for op in if succeeded { &txn.success } else { &txn.failure } {
            let response = match op.request.as_ref().unwrap() {
                Request::RequestRange(range) => {
                    let mut response = match range.revision {
                        0 => range_over(keys, range),
                        _ => range_over(self.state_at(range.revision)?, range),
                    };
                    let revision = self.revision();
                    let changed = self.events.last().is_some_and(|e| e.revision > revision);
                    let revision = revision + i64::from(changed);
                    response.header = Some(ResponseHeader { revision, ..Default::default() });
                    OpResponse::ResponseRange(response)
                }
                Request::RequestPut(put) => OpResponse::ResponsePut(self.put(keys, put)?),
                Request::RequestDeleteRange(delete) => {
                    OpResponse::ResponseDeleteRange(self.delete(keys, delete))
                }
                Request::RequestTxn(nested) => {
                    OpResponse::ResponseTxn(self.txn(keys, nested, taken)?)
                }
            };
            responses.push(ResponseOp { response: Some(response) });
        }
        Ok(TxnResponse { header: Some(Default::default()), succeeded, responses })
    }

    fn state_at(&self, revision: i64) -> Result<&Keys, ApiError> {
        match revision {
            0 => Ok(self.keys()),
            r if r > self.revision() => Err(ApiError::FutureRevision),
            r if r < self.compacted => Err(ApiError::Compacted),
            r => Ok(&self.states[r as usize - 1]),
        }
    }

    pub(crate) fn range(&self, request: &RangeRequest) -> Result<RangeResponse, ApiError> {
        let mut response = range_over(self.state_at(request.revision)?, request);
        response.header = self.header();
        Ok(response)
    }
}

fn range_over(keys: &Keys, request: &RangeRequest) -> RangeResponse {
    let mut found: Vec<&KeyValue> =
        keys.values().filter(|kv| in_range(&kv.key, &request.key, &request.range_end)).collect();
    let count = found.len() as i64;
    if request.count_only {
        return RangeResponse { count, ..Default::default() };
    }
    let limit = if request.limit > 0 { request.limit as usize } else { usize::MAX };
    let (order, target) = (request.sort_order(), request.sort_target());
    let bounds = [
        (request.min_mod_revision, request.max_mod_revision),
        (request.min_create_revision, request.max_create_revision),
    ];
    let unbounded = bounds == [(0, 0), (0, 0)];
    let by_key = target == SortTarget::Key && order != SortOrder::Descend;
    if unbounded && (order == SortOrder::None || by_key) {
        // etcd stops reading here, one key after the limit, whatever it sorts by afterwards.
        found.truncate(limit.saturating_add(1));
    }
    let within = |n: i64, (min, max): (i64, i64)| (min == 0 || n >= min) && (max == 0 || n <= max);
    found.retain(|kv| within(kv.mod_revision, bounds[0]) && within(kv.create_revision, bounds[1]));
    found.sort_by(|a, b| {
        let ordering = match target {
            SortTarget::Key => a.key.cmp(&b.key),
            SortTarget::Version => a.version.cmp(&b.version),
            SortTarget::Create => a.create_revision.cmp(&b.create_revision),
            SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
            SortTarget::Value => a.value.cmp(&b.value),
        };
        if order == SortOrder::Descend { ordering.reverse() } else { ordering }
    });
    let more = found.len() > limit;
    found.truncate(limit);
    let kvs = found.into_iter().cloned().map(|mut kv| {
        if request.keys_only {
            kv.value = Default::default();
            // etcd answers keys from its index, which knows no leases.
            kv.lease = if target == SortTarget::Value { kv.lease } else { 0 };
        }
        encoded(&kv)
    });
    RangeResponse { kvs: kvs.collect(), more, count, ..Default::default() }
}
