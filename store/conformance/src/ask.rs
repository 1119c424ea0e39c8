//! Requests in few words. Cases set the rest with struct update syntax.

use skein_store_api::pb::etcdserverpb as pb;

pub use pb::compare::{CompareResult, CompareTarget, TargetUnion};
pub use pb::range_request::{SortOrder, SortTarget};

/// The end of a range that has none: every key from its start on.
pub const FROM_KEY: &str = "\0";

/// One key.
pub fn get(key: &str) -> pb::RangeRequest {
    pb::RangeRequest { key: bytes(key), ..Default::default() }
}

/// Keys from `key` up to and without `end`.
pub fn range(key: &str, end: &str) -> pb::RangeRequest {
    pb::RangeRequest { key: bytes(key), range_end: bytes(end), ..Default::default() }
}

/// Every key.
pub fn everything() -> pb::RangeRequest {
    range(FROM_KEY, FROM_KEY)
}

/// Every key, sorted.
pub fn sorted(target: SortTarget, order: SortOrder) -> pb::RangeRequest {
    pb::RangeRequest { sort_order: order as i32, sort_target: target as i32, ..everything() }
}

pub fn put(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest { key: bytes(key), value: bytes(value), ..Default::default() }
}

pub fn delete(key: &str) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest { key: bytes(key), ..Default::default() }
}

pub fn delete_range(key: &str, end: &str) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest { key: bytes(key), range_end: bytes(end), ..Default::default() }
}

pub fn compact(revision: i64) -> pb::CompactionRequest {
    pb::CompactionRequest { revision, physical: true }
}

pub fn grant(id: i64, ttl: i64) -> pb::LeaseGrantRequest {
    pb::LeaseGrantRequest { id, ttl }
}

/// A transaction without compares: always succeeds.
pub fn always(success: Vec<pb::RequestOp>) -> pb::TxnRequest {
    pb::TxnRequest { success, ..Default::default() }
}

pub fn when(
    compare: Vec<pb::Compare>,
    success: Vec<pb::RequestOp>,
    failure: Vec<pb::RequestOp>,
) -> pb::TxnRequest {
    pb::TxnRequest { compare, success, failure }
}

/// One condition on a key.
pub fn compare(key: &str, result: CompareResult, value: TargetUnion) -> pb::Compare {
    let target = match value {
        TargetUnion::Version(_) => CompareTarget::Version,
        TargetUnion::CreateRevision(_) => CompareTarget::Create,
        TargetUnion::ModRevision(_) => CompareTarget::Mod,
        TargetUnion::Value(_) => CompareTarget::Value,
        TargetUnion::Lease(_) => CompareTarget::Lease,
    };
    pb::Compare {
        result: result as i32,
        target: target as i32,
        key: bytes(key),
        target_union: Some(value),
        ..Default::default()
    }
}

/// One condition on every key of a range.
pub fn compare_range(
    key: &str,
    end: &str,
    result: CompareResult,
    value: TargetUnion,
) -> pb::Compare {
    pb::Compare { range_end: bytes(end), ..compare(key, result, value) }
}

/// A value to compare with.
pub fn value(text: &str) -> TargetUnion {
    TargetUnion::Value(bytes(text))
}

pub fn op_range(request: pb::RangeRequest) -> pb::RequestOp {
    op(pb::request_op::Request::RequestRange(request))
}

pub fn op_put(key: &str, value: &str) -> pb::RequestOp {
    op(pb::request_op::Request::RequestPut(put(key, value)))
}

pub fn op_put_with(request: pb::PutRequest) -> pb::RequestOp {
    op(pb::request_op::Request::RequestPut(request))
}

pub fn op_delete(request: pb::DeleteRangeRequest) -> pb::RequestOp {
    op(pb::request_op::Request::RequestDeleteRange(request))
}

pub fn op_txn(request: pb::TxnRequest) -> pb::RequestOp {
    op(pb::request_op::Request::RequestTxn(request))
}

fn op(request: pb::request_op::Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

/// A watch of one key.
pub fn watch(key: &str) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest { key: bytes(key), ..Default::default() }
}

/// A watch of every key.
pub fn watch_everything() -> pb::WatchCreateRequest {
    watch_range(FROM_KEY, FROM_KEY)
}

pub fn watch_range(key: &str, end: &str) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest { range_end: bytes(end), ..watch(key) }
}

pub fn watch_create(request: pb::WatchCreateRequest) -> pb::WatchRequest {
    watch_request(pb::watch_request::RequestUnion::CreateRequest(request))
}

pub fn watch_cancel(watch_id: i64) -> pb::WatchRequest {
    watch_request(pb::watch_request::RequestUnion::CancelRequest(pb::WatchCancelRequest {
        watch_id,
    }))
}

pub fn watch_progress() -> pb::WatchRequest {
    watch_request(pb::watch_request::RequestUnion::ProgressRequest(pb::WatchProgressRequest {}))
}

fn watch_request(union: pb::watch_request::RequestUnion) -> pb::WatchRequest {
    pb::WatchRequest { request_union: Some(union) }
}

fn bytes<T: From<Vec<u8>>>(text: &str) -> T {
    T::from(text.as_bytes().to_vec())
}
