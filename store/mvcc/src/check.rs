//! What a request must look like whatever the state is. A member checks this before it proposes,
//! so that nothing malformed takes a place in the log. Rules and order of errors are etcd's.

use std::collections::BTreeSet;

use skein_store_api::ApiError;
use skein_store_api::limits::MAX_LEASE_TTL_SECONDS;
use skein_store_api::pb::etcdserverpb::range_request::{SortOrder, SortTarget};
use skein_store_api::pb::etcdserverpb::request_op::Request;
use skein_store_api::pb::etcdserverpb::{
    DeleteRangeRequest, LeaseGrantRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};

use crate::key::KeyRange;
use crate::range::{has_filters, is_default_order};

/// A range request.
///
/// # Errors
/// [`ApiError::EmptyKey`], [`ApiError::InvalidSortOption`].
pub fn range(request: &RangeRequest) -> Result<(), ApiError> {
    if request.key.is_empty() {
        return Err(ApiError::EmptyKey);
    }
    let known = SortOrder::try_from(request.sort_order).is_ok()
        && SortTarget::try_from(request.sort_target).is_ok();
    if known { Ok(()) } else { Err(ApiError::InvalidSortOption) }
}

/// A range request that is to be answered in pieces.
///
/// # Errors
/// As [`range`]; [`ApiError::RangeStreamSort`] and [`ApiError::RangeStreamFilter`] for what only a
/// whole answer can do.
pub fn range_stream(request: &RangeRequest) -> Result<(), ApiError> {
    range(request)?;
    if !is_default_order(request) {
        return Err(ApiError::RangeStreamSort);
    }
    if has_filters(request) {
        return Err(ApiError::RangeStreamFilter);
    }
    Ok(())
}

/// A put request.
///
/// # Errors
/// [`ApiError::EmptyKey`], [`ApiError::ValueProvided`], [`ApiError::LeaseProvided`].
pub fn put(request: &PutRequest) -> Result<(), ApiError> {
    if request.key.is_empty() {
        return Err(ApiError::EmptyKey);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(ApiError::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(ApiError::LeaseProvided);
    }
    Ok(())
}

/// A delete request.
///
/// # Errors
/// [`ApiError::EmptyKey`].
pub fn delete_range(request: &DeleteRangeRequest) -> Result<(), ApiError> {
    if request.key.is_empty() { Err(ApiError::EmptyKey) } else { Ok(()) }
}

/// A transaction with at most `max_ops` operations in each of its lists; nested transactions share
/// what is left.
///
/// # Errors
/// [`ApiError::TooManyOps`], [`ApiError::DuplicateKey`], [`ApiError::KeyNotFound`] for an empty
/// operation, and what the operations' own checks find.
pub fn txn(request: &TxnRequest, max_ops: usize) -> Result<(), ApiError> {
    operations(request, max_ops)?;
    changes(&request.success)?;
    changes(&request.failure)?;
    Ok(())
}

/// A lease grant, whose id 0 the proposer replaces beforehand. Raises its time to live to
/// `min_ttl_seconds`, which depends on the cluster's election timeout: shorter leases would not
/// outlive a change of leader.
///
/// # Errors
/// [`ApiError::LeaseTtlTooLarge`].
pub fn lease_grant(request: &mut LeaseGrantRequest, min_ttl_seconds: i64) -> Result<(), ApiError> {
    if request.ttl > MAX_LEASE_TTL_SECONDS {
        return Err(ApiError::LeaseTtlTooLarge);
    }
    request.ttl = request.ttl.max(min_ttl_seconds);
    Ok(())
}

fn operations(request: &TxnRequest, max_ops: usize) -> Result<(), ApiError> {
    let longest = request.compare.len().max(request.success.len()).max(request.failure.len());
    let left = max_ops.checked_sub(longest).ok_or(ApiError::TooManyOps)?;
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(ApiError::EmptyKey);
    }
    request.success.iter().chain(&request.failure).try_for_each(|op| operation(op, left))
}

fn operation(op: &RequestOp, max_ops: usize) -> Result<(), ApiError> {
    match &op.request {
        Some(Request::RequestRange(request)) => range(request),
        Some(Request::RequestPut(request)) => put(request),
        Some(Request::RequestDeleteRange(request)) => delete_range(request),
        Some(Request::RequestTxn(request)) => operations(request, max_ops),
        None => Err(ApiError::KeyNotFound),
    }
}

/// The `range_end` that means every key from the start on.
const FROM_KEY: &[u8] = b"\0";

/// What a list of operations changes.
#[derive(Default)]
struct Changes<'a> {
    puts: BTreeSet<&'a [u8]>,
    deletes: Vec<KeyRange>,
}

impl<'a> Changes<'a> {
    fn put(&mut self, key: &'a [u8]) -> Result<(), ApiError> {
        if self.deletes.iter().any(|range| range.contains(key)) || !self.puts.insert(key) {
            return Err(ApiError::DuplicateKey);
        }
        Ok(())
    }
}

/// No key may be put twice, or put and deleted, by what can happen in one transaction. The two
/// branches of a nested transaction exclude each other. The order in which deletes are taken in is
/// etcd's: those of this list first, those of a nested transaction after its puts were compared.
fn changes(ops: &[RequestOp]) -> Result<Changes<'_>, ApiError> {
    let mut all = Changes::default();
    for op in ops {
        if let Some(Request::RequestDeleteRange(delete)) = &op.request
            // etcd takes this end as the key it spells, below every other, and so overlooks that
            // the delete reaches all keys behind its start. Clients may rely on being let through.
            && delete.range_end != FROM_KEY
        {
            all.deletes.push(KeyRange::new(&delete.key, &delete.range_end));
        }
    }
    for op in ops {
        if let Some(Request::RequestTxn(nested)) = &op.request {
            let then = changes(&nested.success)?;
            let otherwise = changes(&nested.failure)?;
            for &key in &then.puts {
                all.put(key)?;
            }
            for &key in otherwise.puts.difference(&then.puts) {
                all.put(key)?;
            }
            all.deletes.extend(then.deletes);
            all.deletes.extend(otherwise.deletes);
        }
    }
    for op in ops {
        if let Some(Request::RequestPut(put)) = &op.request {
            all.put(&put.key)?;
        }
    }
    Ok(all)
}
