//! Transactions: all compares, nested ones included, are judged against the state before the
//! transaction; then every operation of the chosen branches is checked; only then is anything
//! changed, so that a transaction happens wholly or not at all.

use std::cmp::Ordering;
use std::slice::Iter;

use skein_store_api::ApiError;
use skein_store_api::pb::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use skein_store_api::pb::etcdserverpb::request_op::Request;
use skein_store_api::pb::etcdserverpb::response_op::Response;
use skein_store_api::pb::etcdserverpb::{
    Compare, RequestOp, ResponseHeader, ResponseOp, TxnRequest, TxnResponse,
};

use crate::history::Version;
use crate::key::KeyRange;
use crate::lease::Leases;
use crate::record;
use crate::view::View;
use crate::write::{Write, check_put};

/// Whether a transaction consists of ranges only, so that a view can answer it and nothing needs
/// to be replicated. A nested transaction counts as a write, as in etcd.
pub fn is_read_only(request: &TxnRequest) -> bool {
    every_op(request, |op| matches!(op, Some(Request::RequestRange(_))))
}

/// Whether a transaction consists of serializable ranges only, so that any member may answer it.
pub fn is_serializable(request: &TxnRequest) -> bool {
    every_op(request, |op| matches!(op, Some(Request::RequestRange(range)) if range.serializable))
}

fn every_op(request: &TxnRequest, holds: impl Fn(Option<&Request>) -> bool) -> bool {
    request.success.iter().chain(&request.failure).all(|op| holds(op.request.as_ref()))
}

impl View {
    /// Answers a transaction that [`is_read_only`]; operations that would write are refused.
    ///
    /// # Errors
    /// [`ApiError::FutureRevision`], [`ApiError::Compacted`]; [`ApiError::KeyNotFound`] for an
    /// operation that is no range.
    pub fn txn(&self, request: &TxnRequest) -> Result<TxnResponse, ApiError> {
        let succeeded = self.compares_hold(&request.compare);
        let responses = branch(request, succeeded)
            .iter()
            .map(|op| match &op.request {
                Some(Request::RequestRange(range)) => {
                    let response = Some(Response::ResponseRange(self.range(range)?));
                    Ok(ResponseOp { response })
                }
                _ => Err(ApiError::KeyNotFound),
            })
            .collect::<Result<_, _>>()?;
        Ok(TxnResponse { header: self.header(), succeeded, responses })
    }

    fn compares_hold(&self, compares: &[Compare]) -> bool {
        compares.iter().all(|compare| self.compare_holds(compare))
    }

    /// Every key of the compare's range must satisfy it. When there is none, one record with
    /// zeroes must, except that a value is never equal, or unequal, to one that does not exist.
    fn compare_holds(&self, compare: &Compare) -> bool {
        let range = KeyRange::new(&compare.key, &compare.range_end);
        let mut versions = self.scan(&range, self.revision).map(|(_, version)| version).peekable();
        if versions.peek().is_none() {
            return compare.target() != CompareTarget::Value && holds(compare, None);
        }
        versions.all(|version| holds(compare, Some(version)))
    }
}

fn branch(request: &TxnRequest, succeeded: bool) -> &[RequestOp] {
    if succeeded { &request.success } else { &request.failure }
}

fn holds(compare: &Compare, version: Option<&Version>) -> bool {
    let number = |stored: fn(&Version) -> i64, wanted: Option<i64>| {
        version.map_or(0, stored).cmp(&wanted.unwrap_or(0))
    };
    let union = compare.target_union.as_ref();
    // A union that does not fit the target compares with zero, as etcd does.
    let ordering = match compare.target() {
        CompareTarget::Version => number(|v| v.version, union.and_then(version_of)),
        CompareTarget::Create => number(|v| v.create, union.and_then(create_of)),
        CompareTarget::Mod => number(|v| v.rev.main, union.and_then(mod_of)),
        CompareTarget::Lease => number(|v| v.lease, union.and_then(lease_of)),
        CompareTarget::Value => {
            let kv = version.map(Version::kv).unwrap_or_default();
            let stored = if kv.is_empty() { &[] } else { record::value(&kv) };
            stored.cmp(union.map_or(&[], value_of))
        }
    };
    match compare.result() {
        CompareResult::Equal => ordering == Ordering::Equal,
        CompareResult::NotEqual => ordering != Ordering::Equal,
        CompareResult::Greater => ordering == Ordering::Greater,
        CompareResult::Less => ordering == Ordering::Less,
    }
}

fn version_of(union: &TargetUnion) -> Option<i64> {
    if let TargetUnion::Version(number) = union { Some(*number) } else { None }
}

fn create_of(union: &TargetUnion) -> Option<i64> {
    if let TargetUnion::CreateRevision(number) = union { Some(*number) } else { None }
}

fn mod_of(union: &TargetUnion) -> Option<i64> {
    if let TargetUnion::ModRevision(number) = union { Some(*number) } else { None }
}

fn lease_of(union: &TargetUnion) -> Option<i64> {
    if let TargetUnion::Lease(number) = union { Some(*number) } else { None }
}

fn value_of(union: &TargetUnion) -> &[u8] {
    if let TargetUnion::Value(value) = union { value } else { &[] }
}

/// Which branch each transaction takes: this one's first, then those nested in the branch taken,
/// in order.
fn path(view: &View, request: &TxnRequest, taken: &mut Vec<bool>) {
    let succeeded = view.compares_hold(&request.compare);
    taken.push(succeeded);
    for op in branch(request, succeeded) {
        if let Some(Request::RequestTxn(nested)) = &op.request {
            path(view, nested, taken);
        }
    }
}

fn check(
    view: &View,
    leases: &Leases,
    request: &TxnRequest,
    taken: &mut Iter<'_, bool>,
) -> Result<(), ApiError> {
    let succeeded = taken.next().copied().unwrap_or(false);
    for op in branch(request, succeeded) {
        match &op.request {
            Some(Request::RequestRange(range)) => check_range(view, range.revision)?,
            Some(Request::RequestPut(put)) => check_put(view, leases, put)?,
            Some(Request::RequestTxn(nested)) => check(view, leases, nested, taken)?,
            Some(Request::RequestDeleteRange(_)) | None => {}
        }
    }
    Ok(())
}

/// Inside of a transaction only 0 means the newest revision: a negative one is older than
/// whatever compaction kept.
fn check_range(view: &View, revision: i64) -> Result<(), ApiError> {
    if revision < 0 && revision < view.compact_revision {
        return Err(ApiError::Compacted);
    }
    view.read_revision(revision).map(drop)
}

fn execute(
    write: &mut Write<'_>,
    request: &TxnRequest,
    taken: &mut Iter<'_, bool>,
) -> Result<TxnResponse, ApiError> {
    let succeeded = taken.next().copied().unwrap_or(false);
    let mut responses = Vec::new();
    for op in branch(request, succeeded) {
        let response = match &op.request {
            Some(Request::RequestRange(range)) => {
                Some(Response::ResponseRange(write.view.range(range)?))
            }
            Some(Request::RequestPut(put)) => Some(Response::ResponsePut(write.put(put))),
            Some(Request::RequestDeleteRange(delete)) => {
                Some(Response::ResponseDeleteRange(write.delete_range(delete)))
            }
            Some(Request::RequestTxn(nested)) => {
                Some(Response::ResponseTxn(execute(write, nested, taken)?))
            }
            None => None,
        };
        responses.push(ResponseOp { response });
    }
    // A nested answer carries an empty header, as etcd's does.
    Ok(TxnResponse { header: Some(ResponseHeader::default()), succeeded, responses })
}

impl Write<'_> {
    pub(crate) fn txn(&mut self, request: &TxnRequest) -> Result<TxnResponse, ApiError> {
        let mut taken = Vec::new();
        path(self.view, request, &mut taken);
        check(self.view, self.leases, request, &mut taken.iter())?;
        let mut response = execute(self, request, &mut taken.iter())?;
        response.header = self.view.header();
        Ok(response)
    }
}
