//! A watch stream straight on the machine's event log: cursors, without a transport.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use futures::StreamExt;
use skein_store_api::error::cancel_reason;
use skein_store_api::pb::etcdserverpb as pb;
use skein_store_api::pb::etcdserverpb::watch_create_request::FilterType;
use skein_store_api::pb::etcdserverpb::watch_request::RequestUnion;
use skein_store_api::wire;
use skein_store_mvcc::{Batch, Compacted, KeyRange, Machine, Poll, WatchCursor, WatchSpec};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

use super::memory::named;
use super::{Answer, Header, WatchFrame, WatchStream, decode};

/// Frames and requests on their way.
const QUEUE: usize = 1024;

/// Bytes of events taken from the log at once.
const BATCH_BYTES: usize = 64 << 10;

/// The id of answers that concern no watch.
const NO_WATCH: i64 = -1;

/// Opens a stream on `machine`, which signals `moved` whenever it has applied something.
pub(super) fn open(machine: Arc<RwLock<Machine>>, mut moved: watch::Receiver<()>) -> WatchStream {
    let (requests, mut incoming) = mpsc::channel::<pb::WatchRequest>(QUEUE);
    let (outgoing, frames) = mpsc::channel::<Answer<WatchFrame>>(QUEUE);
    let mut session = Session { machine, cursors: BTreeMap::new(), next_id: 0 };
    tokio::spawn(async move {
        loop {
            let produced = tokio::select! {
                // Both may be dropped: neither has taken anything when it is not chosen.
                request = incoming.recv() => match request {
                    Some(request) => session.request(request),
                    None => return,
                },
                changed = moved.changed() => match changed {
                    Ok(()) => Vec::new(),
                    Err(_) => return,
                },
            };
            for frame in produced.into_iter().chain(session.deliver()) {
                if outgoing.send(Ok(frame)).await.is_err() {
                    return;
                }
            }
        }
    });
    WatchStream::new(requests, ReceiverStream::new(frames).boxed())
}

struct Session {
    machine: Arc<RwLock<Machine>>,
    cursors: BTreeMap<i64, WatchCursor>,
    next_id: i64,
}

impl Session {
    fn request(&mut self, request: pb::WatchRequest) -> Vec<WatchFrame> {
        match request.request_union {
            Some(RequestUnion::CreateRequest(request)) => self.create(&request),
            Some(RequestUnion::CancelRequest(request)) => self.cancel(request.watch_id),
            // Progress belongs to a running member.
            Some(RequestUnion::ProgressRequest(_)) | None => Vec::new(),
        }
    }

    fn create(&mut self, request: &pb::WatchCreateRequest) -> Vec<WatchFrame> {
        let range = KeyRange::of_watch(&request.key, &request.range_end);
        let refusal = if request.start_revision < 0 {
            Some(skein_store_api::ApiError::Compacted.message())
        } else if range.is_empty() {
            Some(cancel_reason::EMPTY_WATCH_RANGE)
        } else if request.watch_id != 0 && self.cursors.contains_key(&request.watch_id) {
            Some(cancel_reason::DUPLICATE_WATCH_ID)
        } else {
            None
        };
        if let Some(reason) = refusal {
            let frame = WatchFrame { created: true, canceled: true, ..self.frame(NO_WATCH) };
            return vec![WatchFrame { cancel_reason: reason.to_owned(), ..frame }];
        }
        let id = self.id(request.watch_id);
        let filters = |filter: FilterType| request.filters.contains(&(filter as i32));
        let spec = WatchSpec {
            range,
            start_revision: request.start_revision,
            prev_kv: request.prev_kv,
            no_put: filters(FilterType::Noput),
            no_delete: filters(FilterType::Nodelete),
        };
        let created = WatchFrame { created: true, ..self.frame(id) };
        let log = self.read(|machine| machine.events().clone());
        match WatchCursor::start(&log, spec) {
            Ok(cursor) => {
                self.cursors.insert(id, cursor);
                vec![created]
            }
            Err(compacted) => vec![created, self.lost(id, compacted)],
        }
    }

    fn id(&mut self, proposed: i64) -> i64 {
        if proposed != 0 {
            return proposed;
        }
        while self.cursors.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }

    fn cancel(&mut self, id: i64) -> Vec<WatchFrame> {
        match self.cursors.remove(&id) {
            Some(_) => vec![WatchFrame { canceled: true, ..self.frame(id) }],
            None => Vec::new(),
        }
    }

    /// What every watch has to be told by now.
    fn deliver(&mut self) -> Vec<WatchFrame> {
        let mut cursors = std::mem::take(&mut self.cursors);
        let mut frames = Vec::new();
        cursors.retain(|&id, cursor| {
            loop {
                match self.poll(cursor) {
                    Ok(batch) => {
                        let caught_up = batch.caught_up;
                        frames.extend(self.events(id, batch));
                        if caught_up {
                            return true;
                        }
                    }
                    Err(compacted) => {
                        frames.push(self.lost(id, compacted));
                        return false;
                    }
                }
            }
        });
        self.cursors = cursors;
        frames
    }

    fn poll(&self, cursor: &mut WatchCursor) -> Result<Batch, Compacted> {
        let (log, view) = self.read(|machine| (machine.events().clone(), machine.view().clone()));
        match cursor.poll(&log, BATCH_BYTES) {
            Poll::Batch(batch) => Ok(batch),
            Poll::Behind => cursor.poll_history(&view, BATCH_BYTES),
        }
    }

    fn events(&self, id: i64, batch: Batch) -> Option<WatchFrame> {
        let records = wire::watch_events(&batch.events).ok()?;
        let events = records.into_iter().map(decode::event).collect::<Vec<_>>();
        let header = named(Header { revision: batch.revision, ..Default::default() });
        (!events.is_empty()).then(|| WatchFrame { header, events, ..self.frame(id) })
    }

    fn lost(&self, id: i64, compacted: Compacted) -> WatchFrame {
        let compact_revision = compacted.compact_revision;
        WatchFrame { canceled: true, compact_revision, ..self.frame(id) }
    }

    fn frame(&self, watch_id: i64) -> WatchFrame {
        let revision = self.read(|machine| machine.view().revision());
        let header = named(Header { revision, ..Default::default() });
        WatchFrame { header, watch_id, ..Default::default() }
    }

    fn read<T>(&self, read: impl FnOnce(&Machine) -> T) -> T {
        read(&self.machine.read().unwrap_or_else(PoisonError::into_inner))
    }
}
