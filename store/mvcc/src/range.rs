//! Range: which records of which keys a request gets, and in which order.

use std::cmp::Ordering;

use bytes::Bytes;
use skein_store_api::ApiError;
use skein_store_api::pb::etcdserverpb::range_request::{SortOrder, SortTarget};
use skein_store_api::pb::etcdserverpb::{RangeRequest, RangeResponse};

use crate::history::Version;
use crate::key::{Key, KeyRange};
use crate::record;
use crate::view::View;

impl View {
    /// Answers a range request. The header holds the view's revision only.
    ///
    /// The order of etcd is kept to the letter, including that a sort target without a sort order
    /// sorts what a limit already cut.
    ///
    /// # Errors
    /// [`ApiError::FutureRevision`], [`ApiError::Compacted`].
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, ApiError> {
        let revision = self.read_revision(request.revision)?;
        let range = KeyRange::new(&request.key, &request.range_end);
        let mut response = RangeResponse { header: self.header(), ..Default::default() };
        if request.count_only {
            response.count = self.count(&range, revision) as i64;
            return Ok(response);
        }
        let limit = usize::try_from(request.limit).ok().filter(|&limit| limit > 0);
        let fetched = match limit {
            // One more than asked for tells whether there is more.
            Some(limit) if cuts_early(request) => limit.saturating_add(1),
            _ => usize::MAX,
        };
        let mut found: Vec<_> = self.scan(&range, revision).take(fetched).collect();
        response.count = match found.len() < fetched {
            true => found.len() as i64,
            false => self.count(&range, revision) as i64,
        };
        found.retain(|(_, version)| passes(request, version));
        sort(request, &mut found);
        if let Some(limit) = limit
            && found.len() > limit
        {
            found.truncate(limit);
            response.more = true;
        }
        response.kvs = found.iter().map(|(_, version)| present(request, version)).collect();
        Ok(response)
    }

    /// Answers a range request in pieces of about `piece_bytes` bytes of records each, all at the
    /// same revision. Merged in order they are the one answer; header, `more` and `count` are in
    /// the last piece, as etcd sends them.
    ///
    /// The request must have passed [`crate::check::range_stream`].
    ///
    /// # Errors
    /// [`ApiError::FutureRevision`], [`ApiError::Compacted`].
    pub fn range_stream(
        &self,
        request: RangeRequest,
        piece_bytes: usize,
    ) -> Result<RangePieces, ApiError> {
        let revision = self.read_revision(request.revision)?;
        let left = usize::try_from(request.limit).ok().filter(|&limit| limit > 0);
        Ok(RangePieces {
            view: self.clone(),
            next: KeyRange::new(&request.key, &request.range_end),
            request,
            revision,
            piece_bytes,
            left: left.unwrap_or(usize::MAX),
            done: false,
        })
    }
}

/// The pieces of a streamed range.
#[derive(Debug)]
pub struct RangePieces {
    view: View,
    request: RangeRequest,
    revision: i64,
    piece_bytes: usize,
    /// What is not yet sent.
    next: KeyRange,
    /// How many more records the request's limit allows.
    left: usize,
    done: bool,
}

impl Iterator for RangePieces {
    type Item = RangeResponse;

    fn next(&mut self) -> Option<RangeResponse> {
        if self.done {
            return None;
        }
        if self.request.count_only {
            return Some(self.last(Vec::new(), false));
        }
        let mut kvs = Vec::new();
        let mut bytes = 0;
        let mut records = self.view.scan(&self.next, self.revision);
        while let Some((key, version)) = records.next() {
            let kv = present(&self.request, version);
            bytes += kv.len();
            kvs.push(kv);
            self.left -= 1;
            if self.left > 0 && bytes < self.piece_bytes {
                continue;
            }
            let more = records.next().is_some();
            if self.left == 0 || !more {
                drop(records);
                return Some(self.last(kvs, more));
            }
            let resume = key_after(key);
            drop(records);
            self.next = KeyRange::new(&resume, &self.request.range_end);
            return Some(RangeResponse { kvs, ..Default::default() });
        }
        drop(records);
        Some(self.last(kvs, false))
    }
}

impl RangePieces {
    fn last(&mut self, kvs: Vec<Bytes>, more: bool) -> RangeResponse {
        self.done = true;
        let whole = KeyRange::new(&self.request.key, &self.request.range_end);
        let count = self.view.count(&whole, self.revision) as i64;
        RangeResponse { header: self.view.header(), kvs, more, count }
    }
}

/// The smallest key behind `key`.
fn key_after(key: &[u8]) -> Vec<u8> {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next
}

/// Whether the order is the one that keys are kept in. A target without an order counts as such.
pub(crate) fn is_default_order(request: &RangeRequest) -> bool {
    match request.sort_order() {
        SortOrder::None => true,
        SortOrder::Ascend => request.sort_target() == SortTarget::Key,
        SortOrder::Descend => false,
    }
}

pub(crate) fn has_filters(request: &RangeRequest) -> bool {
    request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0
}

/// Whether the limit applies while keys are read, rather than to the sorted or filtered result.
fn cuts_early(request: &RangeRequest) -> bool {
    is_default_order(request) && !has_filters(request)
}

fn passes(request: &RangeRequest, version: &Version) -> bool {
    let (created, modified) = (version.create, version.rev.main);
    (request.max_mod_revision == 0 || modified <= request.max_mod_revision)
        && (request.min_mod_revision == 0 || modified >= request.min_mod_revision)
        && (request.max_create_revision == 0 || created <= request.max_create_revision)
        && (request.min_create_revision == 0 || created >= request.min_create_revision)
}

fn sort(request: &RangeRequest, found: &mut [(&Key, &Version)]) {
    let target = request.sort_target();
    match request.sort_order() {
        SortOrder::None | SortOrder::Ascend if target == SortTarget::Key => {}
        SortOrder::None | SortOrder::Ascend => found.sort_by(|a, b| compare(target, a, b)),
        SortOrder::Descend => found.sort_by(|a, b| compare(target, b, a)),
    }
}

fn compare(target: SortTarget, a: &(&Key, &Version), b: &(&Key, &Version)) -> Ordering {
    match target {
        SortTarget::Key => a.0.cmp(b.0),
        SortTarget::Version => a.1.version.cmp(&b.1.version),
        SortTarget::Create => a.1.create.cmp(&b.1.create),
        SortTarget::Mod => a.1.rev.main.cmp(&b.1.rev.main),
        SortTarget::Value => record::value(&a.1.kv()).cmp(record::value(&b.1.kv())),
    }
}

/// The record as the request wants it. Without values the lease is left out as well, unless the
/// values were needed to sort: what etcd 3.7 answers from its index alone.
fn present(request: &RangeRequest, version: &Version) -> Bytes {
    let kv = version.kv();
    match (request.keys_only, request.sort_target()) {
        (false, _) => kv,
        (true, SortTarget::Value) => record::without_value(&kv, version.lease),
        (true, _) => record::keys_only(&kv),
    }
}
