//! Waiting in line for a key prefix, which locks and elections have in common.
//!
//! Everyone in line owns a key `<name>/<lease in hex>`; the one with the lowest create revision is
//! in front. A key goes with its lease, so nobody waits for the dead.

use std::sync::Arc;

use bytes::Bytes;
use skein_store_api::ApiError;
use skein_store_api::pb::etcdserverpb::range_request::{SortOrder, SortTarget};
use skein_store_api::pb::etcdserverpb::request_op::Request;
use skein_store_api::pb::etcdserverpb::response_op::Response;
use skein_store_api::pb::etcdserverpb::{
    Compare, DeleteRangeRequest, LeaseGrantRequest, PutRequest, RangeRequest, RequestOp,
    ResponseHeader, TxnRequest, TxnResponse, compare,
};
use skein_store_api::pb::mvccpb::KeyValue;
use skein_store_api::wire::{key_value, prefix_end};
use skein_store_mvcc::{Command, Response as Outcome};

use super::lease;
use crate::core::{Core, stopped};
use crate::state::ConnectionId;

/// Time to live of the lease that is granted to who brings none, in seconds; as etcd.
const SESSION_TTL_SECONDS: i64 = 60;

/// A place in line.
pub(super) struct Place {
    pub(super) key: Bytes,
    pub(super) create_revision: i64,
    pub(super) lease: i64,
}

/// Lines up under `name` and waits to be in front. Giving up (dropping the future) leaves the line.
///
/// # Errors
/// [`ApiError::LeaseNotFound`] when the lease is unknown or ends while waiting, and what changes
/// answer.
pub(super) async fn wait_in_line(
    core: &Arc<Core>,
    name: &Bytes,
    lease: i64,
    value: Bytes,
) -> Result<(Place, ResponseHeader), ApiError> {
    let lease = match lease {
        0 => {
            let request = LeaseGrantRequest { ttl: SESSION_TTL_SECONDS, id: 0 };
            lease::grant(core, request).await?.id
        }
        lease => lease,
    };
    let key = Bytes::from([name, format!("/{lease:x}").as_bytes()].concat());
    let create_revision = line_up(core, &key, lease, value).await?;
    let mut leave = Leave { core, key: Some(key.clone()) };
    wait_for_front(core, name, &key, create_revision).await?;
    leave.key = None;
    let header = core.header_at(core.state.revision());
    Ok((Place { key, create_revision, lease }, header))
}

/// Who is in front under `name`.
pub(super) fn front(core: &Core, name: &Bytes) -> Result<Option<(Bytes, KeyValue)>, ApiError> {
    let request = RangeRequest {
        sort_order: SortOrder::Ascend.into(),
        sort_target: SortTarget::Create.into(),
        limit: 1,
        ..line(name)
    };
    let found = core.state.view().range(&request)?.kvs.into_iter().next();
    found.map(|record| Ok((record.clone(), decode(&record)?))).transpose()
}

/// Changes `key` if it is still the one created at `create_revision`; whether it was.
pub(super) async fn change_if_held(
    core: &Core,
    key: &Bytes,
    create_revision: i64,
    change: Request,
) -> Result<TxnResponse, ApiError> {
    let txn = TxnRequest {
        compare: vec![created_at(key, create_revision)],
        success: vec![RequestOp { request: Some(change) }],
        failure: Vec::new(),
    };
    propose(core, txn).await
}

/// Creates the key, or finds it from an earlier attempt with the same lease.
async fn line_up(core: &Core, key: &Bytes, lease: i64, value: Bytes) -> Result<i64, ApiError> {
    let put = PutRequest { key: key.clone(), value: value.clone(), lease, ..Default::default() };
    let get = RangeRequest { key: key.clone(), ..Default::default() };
    let txn = TxnRequest {
        compare: vec![created_at(key, 0)],
        success: vec![RequestOp { request: Some(Request::RequestPut(put.clone())) }],
        failure: vec![RequestOp { request: Some(Request::RequestRange(get)) }],
    };
    let answer = propose(core, txn).await?;
    if answer.succeeded {
        return Ok(answer.header.map_or(0, |header| header.revision));
    }
    let found = answer.responses.into_iter().next().and_then(|op| op.response);
    let Some(Response::ResponseRange(found)) = found else { return Err(ApiError::Corrupt) };
    let found = decode(found.kvs.first().ok_or(ApiError::Corrupt)?)?;
    if found.value != value {
        change_if_held(core, key, found.create_revision, Request::RequestPut(put)).await?;
    }
    Ok(found.create_revision)
}

async fn wait_for_front(
    core: &Core,
    name: &Bytes,
    key: &Bytes,
    create_revision: i64,
) -> Result<(), ApiError> {
    let ahead = RangeRequest { max_create_revision: create_revision - 1, ..line(name) };
    let own = RangeRequest { key: key.clone(), ..Default::default() };
    let sleeper = core.state.sleeper(ConnectionId::default());
    let mut stopping = core.stopping.clone();
    loop {
        // Before looking, so that no change between looking and sleeping is missed.
        let moved = sleeper.moved();
        let view = core.state.view();
        let held = view.range(&own)?.kvs.first().map(decode).transpose()?;
        if held.is_none_or(|kv| kv.create_revision != create_revision) {
            // The lease ended while its owner waited: the place is gone.
            return Err(ApiError::LeaseNotFound);
        }
        if view.range(&ahead)?.kvs.is_empty() {
            return Ok(());
        }
        drop(view);
        tokio::select! {
            // Both arms may be dropped: neither holds anything.
            () = stopped(&mut stopping) => return Err(ApiError::Stopped),
            () = moved => {}
        }
    }
}

/// Removes a key from the line when whoever waited for it is gone.
struct Leave<'a> {
    core: &'a Core,
    key: Option<Bytes>,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            let delete = DeleteRangeRequest { key, ..Default::default() };
            // If it is not taken, the key goes with its lease.
            self.core.propose_unattended(&Command::DeleteRange(delete));
        }
    }
}

fn line(name: &Bytes) -> RangeRequest {
    let prefix = Bytes::from([name, &b"/"[..]].concat());
    RangeRequest { range_end: prefix_end(&prefix), key: prefix, ..Default::default() }
}

fn created_at(key: &Bytes, revision: i64) -> Compare {
    Compare {
        result: compare::CompareResult::Equal.into(),
        target: compare::CompareTarget::Create.into(),
        key: key.clone(),
        target_union: Some(compare::TargetUnion::CreateRevision(revision)),
        range_end: Bytes::new(),
    }
}

fn decode(record: &Bytes) -> Result<KeyValue, ApiError> {
    // The machine wrote it; if it cannot be read, memory is damaged.
    key_value(record).map_err(|_| ApiError::Corrupt)
}

async fn propose(core: &Core, txn: TxnRequest) -> Result<TxnResponse, ApiError> {
    match core.propose(Command::Txn(txn)).await?.response {
        Outcome::Txn(response) => Ok(response),
        _ => Err(ApiError::Corrupt),
    }
}
