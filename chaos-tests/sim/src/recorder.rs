//! Writes down what members applied and what their states hash to.

use std::collections::{BTreeMap, BTreeSet};

use skein_chaos_model::history::{Commit, Dump, Event, HashSeen};
use skein_chaos_model::{Answer, History};
use skein_store_mvcc::{KeyRange, Machine, Poll, WatchCursor, WatchSpec};

use crate::client::everything;
use crate::translate;

/// Bytes of events taken from a member at once.
const TAKE_BYTES: usize = 1 << 16;

#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) history: History,
    /// What is known of each revision.
    known: BTreeMap<i64, Vec<Event>>,
    hashed: BTreeSet<(u64, i64, i64, u32)>,
}

impl Recorder {
    /// Takes what a member applied since the last time; from its oldest change on at first.
    pub(crate) fn commits(
        &mut self,
        member: u64,
        now: u64,
        machine: &Machine,
        cursor: &mut Option<WatchCursor>,
    ) {
        let from = machine.view().compact_revision().max(1);
        let mut place = match cursor.take() {
            Some(place) if place.next_revision() >= from => place,
            _ => match WatchCursor::start(machine.events(), all_from(from)) {
                Ok(place) => place,
                Err(_) => return,
            },
        };
        loop {
            let batch = match place.poll(machine.events(), TAKE_BYTES) {
                Poll::Batch(batch) => batch,
                Poll::Behind => match place.poll_history(machine.view(), TAKE_BYTES) {
                    Ok(batch) => batch,
                    Err(_) => return,
                },
            };
            let events = translate::events(&batch);
            for events in events.chunk_by(|a, b| a.revision == b.revision) {
                self.commit(member, now, events);
            }
            if batch.caught_up {
                break;
            }
        }
        *cursor = Some(place);
    }

    /// Only what is new, or different, is kept.
    fn commit(&mut self, member: u64, at: u64, events: &[Event]) {
        let known = self.known.get(&events[0].revision);
        let same = known.is_some_and(|known| {
            known.len() == events.len()
                && known.iter().zip(events).all(|(a, b)| (&a.key, &a.kv) == (&b.key, &b.kv))
        });
        if !same {
            self.known.entry(events[0].revision).or_insert_with(|| events.to_vec());
            self.history.commits.push(Commit { member, at, events: events.to_vec() });
        }
    }

    /// Hashes a member's state.
    pub(crate) fn hash(&mut self, member: u64, machine: &Machine) {
        let Ok(hash) = machine.view().hash_kv(0) else { return };
        let (revision, compact_revision, hash) = (hash.revision, hash.compact_revision, hash.hash);
        if self.hashed.insert((member, revision, compact_revision, hash)) {
            let seen = HashSeen { member, revision, compact_revision, hash };
            self.history.hashes.push(seen);
        }
    }

    /// Everything that a member holds at the end.
    pub(crate) fn dump(&mut self, member: u64, machine: &Machine) {
        let all = translate::range(&everything(), 0, true);
        let answer = translate::range_outcome(machine.view().range(&all));
        if let Some(Answer::Range { revision, kvs }) = answer {
            self.history.dumps.push(Dump { member, revision, kvs });
        }
    }
}

fn all_from(start_revision: i64) -> WatchSpec {
    WatchSpec {
        range: KeyRange::of_watch(b"\0", b"\0"),
        start_revision,
        prev_kv: true,
        no_put: false,
        no_delete: false,
    }
}
