//! What a watch promises: ordered, unique, reliable, atomic, resumable, with true bookmarks.
//!
//! The measure is what members applied, revision by revision.

use std::collections::BTreeMap;

use crate::history::{Event, History, Kv, Received, Request, Watch};
use crate::{Checker, Violation};

/// Looks at every watch.
pub fn check(history: &History) -> Vec<Violation> {
    if history.commits.is_empty() {
        return Vec::new();
    }
    let truth = Truth::new(history);
    history.watches.iter().flat_map(|watch| Reader::new(&truth, watch).read()).collect()
}

/// All changes by revision, with the value before each.
struct Truth<'a> {
    changes: BTreeMap<i64, Vec<(&'a Event, Option<&'a Kv>)>>,
    /// With compactions about, an event may come without its previous value.
    compacts: bool,
}

impl<'a> Truth<'a> {
    fn new(history: &'a History) -> Self {
        let mut keys: BTreeMap<&str, &Kv> = BTreeMap::new();
        let mut changes = BTreeMap::new();
        for (revision, commit) in crate::durable::first_commits(history) {
            let changed = commit.events.iter().map(|event| {
                let prev = match &event.kv {
                    Some(kv) => keys.insert(&event.key, kv),
                    None => keys.remove(event.key.as_str()),
                };
                (event, prev)
            });
            changes.insert(revision, changed.collect());
        }
        let is_compact = |request: &Request| matches!(request, Request::Compact { .. });
        let compacts = history.operations.iter().any(|operation| is_compact(&operation.request));
        Self { changes, compacts }
    }

    /// The first revision in `from..to` that changed something in the watch's span.
    fn first_in(&self, watch: &Watch, from: i64, to: i64) -> Option<i64> {
        if from >= to {
            return None;
        }
        let mut hits = self.changes.range(from..to).filter(|(_, changes)| {
            changes.iter().any(|(event, _)| watch.span.contains(&event.key))
        });
        hits.next().map(|(&revision, _)| revision)
    }
}

struct Reader<'a> {
    truth: &'a Truth<'a>,
    watch: &'a Watch,
    /// The first revision that is not delivered; `None` while the watch is not on.
    next: Option<i64>,
    found: Vec<Violation>,
}

impl<'a> Reader<'a> {
    fn new(truth: &'a Truth<'a>, watch: &'a Watch) -> Self {
        Self { truth, watch, next: None, found: Vec::new() }
    }

    fn read(mut self) -> Vec<Violation> {
        for received in &self.watch.received {
            match received {
                Received::From { revision } => self.begin(*revision),
                Received::Events(events) => self.events(events),
                Received::Progress { revision } => self.progress(*revision),
                Received::Compacted { revision } => self.compacted(*revision),
            }
        }
        if let Some(next) = self.next {
            let through = self.watch.complete_through;
            self.expect_none(next, through + 1, "the end");
        }
        self.found
    }

    fn say(&mut self, what: String) {
        let what = format!("watch {} of {:?}: {what}", self.watch.id, self.watch.span);
        self.found.push(Violation::new(Checker::Watch, what));
    }

    fn begin(&mut self, revision: i64) {
        if let Some(next) = self.next.filter(|&next| next != revision) {
            self.say(format!("it was resumed at {revision}, having come to {next}"));
        }
        self.next = Some(revision);
    }

    /// Reliable: nothing between was left out.
    fn expect_none(&mut self, from: i64, to: i64, before: &str) {
        if let Some(missed) = self.truth.first_in(self.watch, from, to) {
            self.say(format!("revision {missed} was not delivered before {before}"));
        }
    }

    fn events(&mut self, events: &[Event]) {
        for revision in events.chunk_by(|a, b| a.revision == b.revision) {
            self.revision(revision);
        }
    }

    fn revision(&mut self, events: &[Event]) {
        let revision = events[0].revision;
        let Some(next) = self.next else {
            return self.say(format!("revision {revision} came while it was not on"));
        };
        if revision < next {
            return self.say(format!(
                "revision {revision} came again, or late: everything before {next} was delivered"
            ));
        }
        self.expect_none(next, revision, &format!("revision {revision}"));
        self.compare(revision, events);
        self.next = Some(revision + 1);
    }

    /// Atomic, filtered and true: exactly what changed in the span, in one piece.
    fn compare(&mut self, revision: i64, events: &[Event]) {
        let changes = self.truth.changes.get(&revision).map(Vec::as_slice).unwrap_or_default();
        let wanted: Vec<_> =
            changes.iter().filter(|(event, _)| self.watch.span.contains(&event.key)).collect();
        let same = wanted.len() == events.len()
            && events
                .iter()
                .zip(&wanted)
                .all(|(event, (truth, _))| event.key == truth.key && event.kv == truth.kv);
        if !same {
            return self
                .say(format!("revision {revision} changed {wanted:?}, delivered: {events:?}"));
        }
        for (event, (_, prev)) in events.iter().zip(&wanted) {
            let told = event.prev.as_ref();
            let fine = if self.watch.prev_kv {
                told == *prev || (told.is_none() && self.truth.compacts)
            } else {
                told.is_none()
            };
            if !fine {
                self.say(format!(
                    "revision {revision}: the value before was {prev:?}, told: {told:?}"
                ));
            }
        }
    }

    fn progress(&mut self, revision: i64) {
        let Some(next) = self.next else {
            return self.say(format!("a bookmark {revision} came while it was not on"));
        };
        self.expect_none(next, revision + 1, &format!("the bookmark {revision}"));
        self.next = Some(next.max(revision + 1));
    }

    fn compacted(&mut self, revision: i64) {
        if let Some(next) = self.next.filter(|&next| next >= revision) {
            self.say(format!(
                "it was ended by the compaction of {revision}, though it had come to {next}"
            ));
        }
        self.next = None;
    }
}
