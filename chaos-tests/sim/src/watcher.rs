//! Watchers: each follows some keys, from one member after the other.

use skein_chaos_model::history::{Event, Received, Watch};
use skein_store_mvcc::{EventLog, KeyRange, Poll, View, WatchCursor, WatchSpec};

use crate::translate;

/// Bytes of events in one message: small, so that there are many messages.
const MESSAGE_BYTES: usize = 600;

pub(crate) struct Watcher {
    pub(crate) watch: Watch,
    /// The member that it is connected to.
    pub(crate) member: Option<u64>,
    pub(crate) cursor: Option<WatchCursor>,
    /// Counts connections: what an earlier one still carries is lost.
    pub(crate) epoch: u64,
    /// When its last message arrives.
    pub(crate) last_arrival: u64,
    /// Where it goes on; 0 is "from now on".
    next: i64,
}

impl Watcher {
    pub(crate) fn new(watch: Watch, start: i64) -> Self {
        Self { watch, member: None, cursor: None, epoch: 0, last_arrival: 0, next: start }
    }

    fn spec(&self) -> WatchSpec {
        let end = self.watch.span.end.clone().unwrap_or_default();
        WatchSpec {
            range: KeyRange::of_watch(self.watch.span.key.as_bytes(), end.as_bytes()),
            start_revision: self.next,
            prev_kv: self.watch.prev_kv,
            no_put: false,
            no_delete: false,
        }
    }

    /// Connects to a member, or is told that it must start over.
    pub(crate) fn connect(&mut self, member: u64, log: &EventLog) {
        match WatchCursor::start(log, self.spec()) {
            Ok(cursor) => {
                if self.next == 0 {
                    self.next = cursor.next_revision();
                }
                self.watch.received.push(Received::From { revision: self.next });
                self.member = Some(member);
                self.cursor = Some(cursor);
            }
            Err(compacted) => {
                let revision = compacted.compact_revision;
                self.receive(Received::Compacted { revision });
            }
        }
    }

    /// The connection is gone, with what was under way.
    pub(crate) fn disconnect(&mut self) {
        self.member = None;
        self.cursor = None;
        self.epoch += 1;
    }

    /// A message arrives.
    pub(crate) fn receive(&mut self, received: Received) {
        match &received {
            Received::Events(events) => self.next = last(events) + 1,
            Received::Progress { revision } => self.next = self.next.max(revision + 1),
            Received::Compacted { revision } => {
                self.next = *revision;
                self.disconnect();
            }
            Received::From { .. } => {}
        }
        self.watch.received.push(received);
    }

    /// What the member has for it now.
    pub(crate) fn poll(&mut self, log: &EventLog, view: &View) -> Vec<Received> {
        let mut messages = Vec::new();
        let Some(cursor) = &mut self.cursor else { return messages };
        loop {
            let batch = match cursor.poll(log, MESSAGE_BYTES) {
                Poll::Batch(batch) => batch,
                Poll::Behind => match cursor.poll_history(view, MESSAGE_BYTES) {
                    Ok(batch) => batch,
                    Err(compacted) => {
                        let revision = compacted.compact_revision;
                        messages.push(Received::Compacted { revision });
                        self.cursor = None;
                        return messages;
                    }
                },
            };
            if !batch.events.is_empty() {
                messages.push(Received::Events(translate::events(&batch)));
            }
            if batch.caught_up {
                return messages;
            }
        }
    }

    /// Whether a bookmark of the newest revision would be true.
    pub(crate) fn is_caught_up(&self, log: &EventLog) -> bool {
        self.cursor.as_ref().is_some_and(|cursor| cursor.is_caught_up(log))
    }
}

fn last(events: &[Event]) -> i64 {
    events.last().map_or(0, |event| event.revision)
}
