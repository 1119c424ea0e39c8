//! Revisions: given once, never going back, in the order of real time.
//!
//! Costs a sort of the history, so it runs first; most of what can go wrong shows here already.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::history::{Answer, History, Kv, OpAnswer, Operation, Request};
use crate::linear::claim;
use crate::{Checker, Violation};

/// Looks at all operations.
pub fn check(history: &History) -> Vec<Violation> {
    let mut found = claims(history);
    found.extend(real_time(history));
    found.extend(member_time(history));
    found.extend(contents(history));
    found
}

fn violation(what: String) -> Violation {
    Violation::new(Checker::Order, what)
}

/// No revision is given to two writes.
fn claims(history: &History) -> Vec<Violation> {
    let mut claimed: BTreeMap<i64, &Operation> = BTreeMap::new();
    let mut found = Vec::new();
    for operation in &history.operations {
        let revision = operation.answer().and_then(|(_, answer)| claim(&operation.request, answer));
        let Some(revision) = revision else { continue };
        if let Some(other) = claimed.insert(revision, operation) {
            found.push(violation(format!(
                "revision {revision} was given to {:?} (client {}) and to {:?} (client {})",
                other.request, other.client, operation.request, operation.client
            )));
        }
    }
    found
}

/// What was answered before a call is not newer than what the call is answered with. Serializable
/// reads may be old, but what they saw was there.
fn real_time(history: &History) -> Vec<Violation> {
    let all: Vec<&Operation> = history.operations.iter().collect();
    let mut found = Vec::new();
    for (operation, floor) in floors(&all) {
        let Some((at, answer)) = operation.answer() else { continue };
        let Some(revision) = answer.revision() else { continue };
        let writes = claim(&operation.request, answer).is_some();
        if !operation.is_serializable() && revision < floor + i64::from(writes) {
            found.push(violation(format!(
                "{:?} of client {} at member {}, called at {} and answered at {at}, was answered \
                 at revision {revision}; revision {floor} had been answered before the call",
                operation.request, operation.client, operation.member, operation.called
            )));
        }
    }
    found
}

/// A member does not go back while it lives.
fn member_time(history: &History) -> Vec<Violation> {
    let mut lives: BTreeMap<(u64, u64), Vec<&Operation>> = BTreeMap::new();
    for operation in &history.operations {
        lives.entry((operation.member, operation.life)).or_default().push(operation);
    }
    let mut found = Vec::new();
    for ((member, life), operations) in lives {
        for (operation, floor) in floors(&operations) {
            let revision = operation.answer().and_then(|(_, answer)| answer.revision());
            if let Some(revision) = revision.filter(|&revision| revision < floor) {
                found.push(violation(format!(
                    "member {member} in its life {life} answered {:?}, called at {}, at revision \
                     {revision} after it had answered at revision {floor}",
                    operation.request, operation.called
                )));
            }
        }
    }
    found
}

/// Each operation with the highest revision answered before its call.
fn floors<'a>(operations: &[&'a Operation]) -> Vec<(&'a Operation, i64)> {
    let mut returns: Vec<(u64, i64)> = operations
        .iter()
        .filter_map(|operation| operation.answer())
        .filter_map(|(at, answer)| Some((at, answer.revision()?)))
        .collect();
    returns.sort_unstable();
    let mut calls = operations.to_vec();
    calls.sort_by_key(|operation| operation.called);
    let mut returns = returns.into_iter().peekable();
    let mut floor = 0;
    let mut out = Vec::with_capacity(calls.len());
    for operation in calls {
        while let Some((_, revision)) = returns.next_if(|&(at, _)| at < operation.called) {
            floor = floor.max(revision);
        }
        out.push((operation, floor));
    }
    out
}

/// Everybody sees the same version of a key, it is the one that was written, and nothing of the
/// future.
fn contents(history: &History) -> Vec<Violation> {
    let mut versions: BTreeMap<(&str, i64), &Kv> = BTreeMap::new();
    let mut found = Vec::new();
    for operation in &history.operations {
        let Some((_, answer)) = operation.answer() else { continue };
        let header = answer.revision().unwrap_or(i64::MAX);
        for kv in keys(answer) {
            if kv.modified > header {
                let what = format!("an answer at revision {header} holds {kv:?}");
                found.push(violation(what));
            }
            match versions.entry((&kv.key, kv.modified)) {
                Entry::Vacant(place) => {
                    place.insert(kv);
                }
                Entry::Occupied(place) if *place.get() != kv => {
                    let what = format!("one version was seen as {:?} and as {kv:?}", place.get());
                    found.push(violation(what));
                }
                Entry::Occupied(_) => {}
            }
        }
    }
    for operation in &history.operations {
        if let Request::Put { key, value, .. } = &operation.request
            && let Some((_, Answer::Put { revision })) = operation.answer()
            && let Some(kv) = versions.get(&(key.as_str(), *revision))
            && kv.value != *value
        {
            let what = format!("revision {revision} was given to {value:?}, but shows {kv:?}");
            found.push(violation(what));
        }
    }
    found
}

fn keys(answer: &Answer) -> impl Iterator<Item = &Kv> {
    let (range, txn): (&[Kv], &[OpAnswer]) = match answer {
        Answer::Range { kvs, .. } => (kvs, &[]),
        Answer::Txn { answers, .. } => (&[], answers),
        _ => (&[], &[]),
    };
    let gets = txn.iter().flat_map(|answer| match answer {
        OpAnswer::Got(kvs) => kvs.as_slice(),
        OpAnswer::Put | OpAnswer::Deleted(_) => &[],
    });
    range.iter().chain(gets)
}
