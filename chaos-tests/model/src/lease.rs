//! Leases do not expire early.
//!
//! A grant or a renewal that was answered with success took effect after its call, so the lease
//! lives until its time to live after that call at least, whoever leads by then. That it is gone
//! shows in three ways: a renewal says so, a put with it is refused, its keys are deleted though no
//! client asked for that.

use std::collections::BTreeMap;

use crate::history::{Answer, Commit, Event, History, Op, Operation, Refusal, Request, Span};
use crate::linear::claim;
use crate::{Checker, Outcome, Violation};

/// By how much members' clocks may run faster than the history's, as a part: ten times what a
/// quartz may be off, so that only a wrong decision counts as early.
pub const DRIFT_PART: u64 = 1_000;

/// Microseconds after which a lease of `ttl` seconds may be gone.
pub fn earliest(ttl: i64) -> u64 {
    let whole = u64::try_from(ttl).unwrap_or(0).saturating_mul(1_000_000);
    whole - whole / DRIFT_PART
}

/// Looks at every lease.
pub fn check(history: &History) -> Vec<Violation> {
    let mut granted: BTreeMap<i64, i64> = BTreeMap::new();
    for operation in &history.operations {
        if let Request::Grant { id, ttl } = operation.request {
            granted.insert(id, ttl);
        }
    }
    let mut gone = told_gone(history);
    gone.extend(expired_keys(history));
    gone.iter().filter_map(|gone| early(history, &granted, gone)).collect()
}

/// A lease was seen to be gone.
struct Gone {
    lease: i64,
    /// When it was looked at first.
    from: u64,
    /// When it was certainly gone.
    by: u64,
    how: String,
}

fn early(history: &History, granted: &BTreeMap<i64, i64>, gone: &Gone) -> Option<Violation> {
    let Gone { lease, from, by, how } = gone;
    let ttl = *granted.get(lease)?;
    let renewals: Vec<_> =
        history.operations.iter().filter(|operation| renews(operation, *lease)).collect();
    // Before it was granted it was missing, too.
    let existed = renewals.iter().filter_map(|renewal| renewal.answer()).any(|(at, _)| at < *from);
    if !existed || revoked_by_a_client(history, *lease, *by) {
        return None;
    }
    let latest = renewals.iter().map(|renewal| renewal.called).filter(|called| called <= by).max();
    let called = latest.filter(|&called| *by < called + earliest(ttl))?;
    let what = format!(
        "lease {lease} of {ttl} s was gone at {by} ({how}), but a grant or renewal called at \
         {called} succeeded"
    );
    Some(Violation::new(Checker::Lease, what))
}

fn renews(operation: &Operation, lease: i64) -> bool {
    match (&operation.request, operation.answer()) {
        (Request::Grant { id, .. }, Some((_, Answer::Granted { .. }))) => *id == lease,
        (Request::KeepAlive { id }, Some((_, Answer::KeptAlive { ttl }))) => {
            *id == lease && *ttl > 0
        }
        _ => false,
    }
}

fn revoked_by_a_client(history: &History, lease: i64, by: u64) -> bool {
    history.operations.iter().any(|operation| {
        operation.called <= by
            && operation.request == Request::Revoke { id: lease }
            && operation.outcome != Outcome::Failed
    })
}

fn told_gone(history: &History) -> Vec<Gone> {
    let mut gone = Vec::new();
    for operation in &history.operations {
        match (&operation.request, operation.answer()) {
            (Request::KeepAlive { id }, Some((at, Answer::KeptAlive { ttl: 0 }))) => {
                let how = "a renewal said so".to_owned();
                gone.push(Gone { lease: *id, from: operation.called, by: at, how });
            }
            (Request::Put { lease, .. }, Some((at, Answer::Refused(Refusal::LeaseNotFound)))) => {
                let how = "a put was refused".to_owned();
                gone.push(Gone { lease: *lease, from: operation.called, by: at, how });
            }
            _ => {}
        }
    }
    gone
}

/// Deletes that no client can have caused, with the lease that the key was attached to.
fn expired_keys(history: &History) -> Vec<Gone> {
    let claimed: BTreeMap<i64, ()> = history
        .operations
        .iter()
        .filter_map(|operation| claim(&operation.request, operation.answer()?.1))
        .map(|revision| (revision, ()))
        .collect();
    let mut leases: BTreeMap<String, i64> = BTreeMap::new();
    let mut gone = Vec::new();
    for commit in crate::durable::first_commits(history).values() {
        for event in &commit.events {
            match &event.kv {
                Some(kv) => {
                    leases.insert(event.key.clone(), kv.lease);
                }
                None => {
                    let lease = leases.remove(&event.key).unwrap_or(0);
                    if lease != 0
                        && !claimed.contains_key(&event.revision)
                        && !may_delete(history, event, commit)
                    {
                        let how = format!("{:?} was deleted in {}", event.key, event.revision);
                        gone.push(Gone { lease, from: commit.at, by: commit.at, how });
                    }
                }
            }
        }
    }
    gone
}

/// Whether an operation with an open end can have caused this delete.
fn may_delete(history: &History, event: &Event, commit: &Commit) -> bool {
    let hits = |span: &Span| span.contains(&event.key);
    history.operations.iter().any(|operation| {
        operation.outcome == Outcome::Unknown
            && operation.called <= commit.at
            && match &operation.request {
                Request::Delete(span) => hits(span),
                Request::Txn { then, otherwise, .. } => then
                    .iter()
                    .chain(otherwise)
                    .any(|op| matches!(op, Op::Delete(span) if hits(span))),
                _ => false,
            }
    })
}
