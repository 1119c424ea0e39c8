//! What one watch stream answers: requests and log positions in, frames out. No I/O.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use skein_store_api::ApiError;
use skein_store_api::error::cancel_reason;
use skein_store_api::pb::etcdserverpb::watch_create_request::FilterType;
use skein_store_api::pb::etcdserverpb::watch_request::RequestUnion;
use skein_store_api::pb::etcdserverpb::{
    ResponseHeader, WatchCreateRequest, WatchRequest, WatchResponse,
};
use skein_store_mvcc::{Batch, Compacted, EventLog, KeyRange, Poll, View, WatchCursor, WatchSpec};

use super::fragment;
use crate::metrics::Metrics;
use crate::overload::{Budget, Share, WATCH_BYTES, WATCH_BYTES_PER_STREAM};

/// Events taken for one frame, in bytes. A watcher that is behind gets several revisions in one
/// frame up to this; a revision is never divided. Also what a stalled stream holds.
const FRAME_BYTES: usize = 256 << 10;

/// The watch id that stands for all watchers of a stream, or for none.
const NO_WATCH_ID: i64 = -1;

/// Where events come from.
pub(super) trait Source {
    fn events(&self) -> &EventLog;
    fn view(&self) -> View;
    fn header(&self, revision: i64) -> ResponseHeader;
    fn metrics(&self) -> &Metrics;
    /// What the watches of all streams may take.
    fn watch_bytes(&self) -> &Budget;
}

struct Watcher {
    /// Of all streams' watches and of this stream's.
    _room: [Share; 2],
    cursor: WatchCursor,
    fragment: bool,
    progress_notify: bool,
    /// An event went out since progress was last told.
    told: bool,
}

/// See the module.
pub(super) struct Session<S: Source> {
    source: S,
    frame_limit: usize,
    watchers: BTreeMap<i64, Watcher>,
    next_id: i64,
    /// The watcher that was looked at last; the next one is first in the next round.
    last: i64,
    outbox: VecDeque<WatchResponse>,
    progress_asked: bool,
    own_bytes: Budget,
}

impl<S: Source> Session<S> {
    /// `frame_limit` bounds frames of watchers that asked for fragments, in bytes.
    pub(super) fn new(source: S, frame_limit: usize) -> Self {
        source.metrics().watch_streams.inc();
        Self {
            source,
            frame_limit,
            watchers: BTreeMap::new(),
            next_id: 0,
            last: NO_WATCH_ID,
            outbox: VecDeque::new(),
            progress_asked: false,
            own_bytes: Budget::new(WATCH_BYTES_PER_STREAM),
        }
    }

    /// The next frame to send. All must be sent before anything else is asked of the session:
    /// clients put fragments together only when nothing comes between them.
    pub(super) fn next_frame(&mut self) -> Option<WatchResponse> {
        self.outbox.pop_front()
    }

    /// Takes in one request. `permitted` says whether its sender may watch what it asks for.
    pub(super) fn request(&mut self, request: WatchRequest, permitted: Result<(), ApiError>) {
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => self.create(create, permitted),
            Some(RequestUnion::CancelRequest(cancel)) => self.cancel(cancel.watch_id),
            Some(RequestUnion::ProgressRequest(_)) => self.progress_asked = true,
            None => {}
        }
    }

    /// Puts at most one batch of events into frames; whether there is more.
    pub(super) fn deliver(&mut self) -> bool {
        let head = self.source.events().head();
        let behind = |(&id, watcher): (&i64, &Watcher)| {
            (watcher.cursor.next_revision() <= head).then_some(id)
        };
        let after = (Bound::Excluded(self.last), Bound::Unbounded);
        let upto = (Bound::Unbounded, Bound::Included(self.last));
        let found = self.watchers.range(after).find_map(behind);
        let Some(id) = found.or_else(|| self.watchers.range(upto).find_map(behind)) else {
            self.answer_progress(head);
            return false;
        };
        self.last = id;
        self.poll(id);
        true
    }

    /// Time has come to tell idle watchers that asked for it how far they are.
    pub(super) fn tell_progress(&mut self) {
        let head = self.source.events().head();
        let mut idle = Vec::new();
        for (&id, watcher) in self.watchers.iter_mut().filter(|(_, w)| w.progress_notify) {
            if watcher.told && watcher.cursor.next_revision() == head + 1 {
                idle.push(id);
            }
            watcher.told = true;
        }
        for id in idle {
            self.send(WatchResponse { watch_id: id, ..self.response(head) });
        }
    }

    fn create(&mut self, request: WatchCreateRequest, permitted: Result<(), ApiError>) {
        let id = match self.admit(&request, permitted) {
            Ok(id) => id,
            Err(reason) => return self.refuse(reason),
        };
        let Some(room) = self.room(&request) else {
            return self.refuse(ApiError::TooManyRequests.message());
        };
        let start = WatchCursor::start(self.source.events(), spec(&request));
        let head = self.source.events().head();
        let begun = match &start {
            // The watch begins right behind the revision that the answer names.
            Ok(cursor) if request.start_revision == 0 => cursor.next_revision() - 1,
            _ => head,
        };
        self.send(WatchResponse { watch_id: id, created: true, ..self.response(begun) });
        match start {
            Err(compacted) => self.compacted(id, compacted),
            Ok(cursor) => {
                self.source.metrics().watchers.inc();
                self.watchers.insert(
                    id,
                    Watcher {
                        _room: room,
                        cursor,
                        fragment: request.fragment,
                        progress_notify: request.progress_notify,
                        told: true,
                    },
                );
            }
        }
    }

    fn room(&self, request: &WatchCreateRequest) -> Option<[Share; 2]> {
        let bytes = WATCH_BYTES + request.key.len() + request.range_end.len();
        Some([self.source.watch_bytes().take(bytes)?, self.own_bytes.take(bytes)?])
    }

    /// The id of a new watcher, or why there will be none.
    fn admit(
        &mut self,
        request: &WatchCreateRequest,
        permitted: Result<(), ApiError>,
    ) -> Result<i64, &'static str> {
        if request.start_revision < 0 {
            return Err(cancel_reason::COMPACTED);
        }
        permitted.map_err(cancel_reason::of_refusal)?;
        if KeyRange::of_watch(&request.key, &request.range_end).is_empty() {
            return Err(cancel_reason::EMPTY_WATCH_RANGE);
        }
        if request.watch_id != 0 {
            return match self.watchers.contains_key(&request.watch_id) {
                true => Err(cancel_reason::DUPLICATE_WATCH_ID),
                false => Ok(request.watch_id),
            };
        }
        while self.watchers.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        Ok(self.next_id - 1)
    }

    fn refuse(&mut self, reason: &'static str) {
        let head = self.source.events().head();
        self.send(WatchResponse {
            watch_id: NO_WATCH_ID,
            created: true,
            canceled: true,
            cancel_reason: reason.to_owned(),
            ..self.response(head)
        });
    }

    /// An unknown id yields nothing, as with etcd.
    fn cancel(&mut self, id: i64) {
        if self.watchers.remove(&id).is_some() {
            self.source.metrics().watchers.dec();
            let head = self.source.events().head();
            self.send(WatchResponse { watch_id: id, canceled: true, ..self.response(head) });
        }
    }

    fn compacted(&mut self, id: i64, compacted: Compacted) {
        if self.watchers.remove(&id).is_some() {
            self.source.metrics().watchers.dec();
        }
        let head = self.source.events().head();
        self.send(WatchResponse {
            watch_id: id,
            canceled: true,
            compact_revision: compacted.compact_revision,
            ..self.response(head)
        });
    }

    fn poll(&mut self, id: i64) {
        let Some(watcher) = self.watchers.get_mut(&id) else { return };
        let batch = match watcher.cursor.poll(self.source.events(), FRAME_BYTES) {
            Poll::Batch(batch) => Ok(batch),
            Poll::Behind => watcher.cursor.poll_history(&self.source.view(), FRAME_BYTES),
        };
        match batch {
            Ok(batch) if batch.events.is_empty() => {}
            Ok(batch) => {
                watcher.told = false;
                let fragment = watcher.fragment;
                self.deliver_batch(id, batch, fragment);
            }
            Err(compacted) => self.compacted(id, compacted),
        }
    }

    fn deliver_batch(&mut self, id: i64, batch: Batch, fragment: bool) {
        self.source.metrics().events_sent.inc_by(batch.events.len() as u64);
        // The last revision delivered, not the store's: clients resume behind it.
        let response = self.response(batch.revision);
        let frame = WatchResponse { watch_id: id, events: batch.events, ..response };
        match fragment {
            true => self.outbox.extend(fragment::split(frame, self.frame_limit)),
            false => self.outbox.push_back(frame),
        }
    }

    /// Everything up to `head` is in frames already, so the answer comes behind it. As with etcd
    /// there is none without watchers, or while one waits for a revision to come.
    fn answer_progress(&mut self, head: i64) {
        if !std::mem::take(&mut self.progress_asked) || self.watchers.is_empty() {
            return;
        }
        if self.watchers.values().all(|watcher| watcher.cursor.next_revision() == head + 1) {
            self.send(WatchResponse { watch_id: NO_WATCH_ID, ..self.response(head) });
        }
    }

    fn response(&self, revision: i64) -> WatchResponse {
        WatchResponse { header: Some(self.source.header(revision)), ..WatchResponse::default() }
    }

    fn send(&mut self, response: WatchResponse) {
        self.outbox.push_back(response);
    }
}

impl<S: Source> Drop for Session<S> {
    fn drop(&mut self) {
        let metrics = self.source.metrics();
        metrics.watch_streams.dec();
        metrics.watchers.dec_by(self.watchers.len() as i64);
    }
}

fn spec(request: &WatchCreateRequest) -> WatchSpec {
    let has = |filter: FilterType| request.filters.contains(&filter.into());
    WatchSpec {
        range: KeyRange::of_watch(&request.key, &request.range_end),
        start_revision: request.start_revision,
        prev_kv: request.prev_kv,
        no_put: has(FilterType::Noput),
        no_delete: has(FilterType::Nodelete),
    }
}

#[cfg(test)]
mod tests;
