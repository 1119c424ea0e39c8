//! Every acknowledged write is present, and all members agree on what each revision changed.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::history::{Answer, Commit, Dump, Event, History, Kv, Op, Operation, Request};
use crate::linear::claim;
use crate::{Checker, Violation};

/// Looks at all commits, acknowledgements and final states.
pub fn check(history: &History) -> Vec<Violation> {
    if history.commits.is_empty() {
        return Vec::new();
    }
    let mut found = forks(history);
    let commits = first_commits(history);
    for operation in &history.operations {
        let Some((_, answer)) = operation.answer() else { continue };
        let Some(revision) = claim(&operation.request, answer) else { continue };
        let events = commits.get(&revision).map(|commit| commit.events.as_slice());
        if !events.is_some_and(|events| is_written(operation, answer, events)) {
            found.push(violation(format!(
                "{:?} of client {} was acknowledged at revision {revision}, which changed {events:?}",
                operation.request, operation.client
            )));
        }
    }
    let acknowledged = acknowledged(history);
    for dump in &history.dumps {
        found.extend(check_dump(dump, &commits, acknowledged));
    }
    found
}

fn violation(what: String) -> Violation {
    Violation::new(Checker::Durable, what)
}

/// The first that was seen of each revision.
pub(crate) fn first_commits(history: &History) -> BTreeMap<i64, &Commit> {
    let mut first = BTreeMap::new();
    for commit in &history.commits {
        if let Some(event) = commit.events.first() {
            first.entry(event.revision).or_insert(commit);
        }
    }
    first
}

/// No revision has two contents.
fn forks(history: &History) -> Vec<Violation> {
    let mut first: BTreeMap<i64, &Commit> = BTreeMap::new();
    let mut found = Vec::new();
    for commit in &history.commits {
        let Some(event) = commit.events.first() else { continue };
        match first.entry(event.revision) {
            Entry::Vacant(place) => {
                place.insert(commit);
            }
            Entry::Occupied(place) if !agree(&place.get().events, &commit.events) => {
                let known = place.get();
                found.push(violation(format!(
                    "members {} and {} disagree on revision {}: {:?} and {:?}",
                    known.member, commit.member, event.revision, known.events, commit.events
                )));
            }
            Entry::Occupied(_) => {}
        }
    }
    found
}

/// Whether events are the same. Compaction may have taken a previous value from one of them.
fn agree(a: &[Event], b: &[Event]) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| {
            (a.revision, &a.key, &a.kv) == (b.revision, &b.key, &b.kv)
                && (a.prev == b.prev || a.prev.is_none() || b.prev.is_none())
        })
}

fn is_written(operation: &Operation, answer: &Answer, events: &[Event]) -> bool {
    let put = |key: &String, value: &String| {
        events.iter().any(|event| {
            event.key == *key && event.kv.as_ref().is_some_and(|kv| kv.value == *value)
        })
    };
    match (&operation.request, answer) {
        (Request::Put { key, value, .. }, _) => put(key, value),
        (Request::Delete(span), Answer::Delete { deleted, .. }) => {
            let gone = |event: &&Event| event.kv.is_none() && span.contains(&event.key);
            events.iter().filter(gone).count() as i64 == *deleted
        }
        (Request::Txn { then, otherwise, .. }, Answer::Txn { succeeded, .. }) => {
            let taken = if *succeeded { then } else { otherwise };
            taken.iter().all(|op| match op {
                Op::Put { key, value } => put(key, value),
                Op::Delete(_) | Op::Get(_) => true,
            })
        }
        _ => true,
    }
}

/// The highest revision that was acknowledged to a writer.
fn acknowledged(history: &History) -> i64 {
    let claims = history
        .operations
        .iter()
        .filter_map(|operation| claim(&operation.request, operation.answer()?.1));
    claims.max().unwrap_or(0)
}

/// A final state is the sum of all changes up to its revision, and none is missing.
fn check_dump(dump: &Dump, commits: &BTreeMap<i64, &Commit>, acknowledged: i64) -> Vec<Violation> {
    let mut found = Vec::new();
    if dump.revision < acknowledged {
        found.push(violation(format!(
            "member {} ends at revision {}, but revision {acknowledged} was acknowledged",
            dump.member, dump.revision
        )));
    }
    let mut keys: BTreeMap<&str, &Kv> = BTreeMap::new();
    for event in commits.range(..=dump.revision).flat_map(|(_, commit)| &commit.events) {
        match &event.kv {
            Some(kv) => keys.insert(&event.key, kv),
            None => keys.remove(event.key.as_str()),
        };
    }
    let known = commits.range(..=dump.revision).count() as i64;
    if known == dump.revision - 1 && !keys.values().copied().eq(&dump.kvs) {
        found.push(violation(format!(
            "member {} ends at revision {} with {:?}; the changes up to there add up to {:?}",
            dump.member, dump.revision, dump.kvs, keys
        )));
    }
    found
}
