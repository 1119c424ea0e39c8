//! A lie planted in a correct history is found, by the checker whose matter it is.

use crate::generate::{Rng, generate};
use skein_chaos_model::history::{Event, Received};
use skein_chaos_model::{Answer, Checker, History, Operation, Outcome, Request, check};

/// Plants a lie somewhere; `None` when the history has no place for it.
type Lie = fn(&mut History, &mut Rng) -> Option<()>;

const SEEDS: u64 = 60;
/// Of the seeds; fewer would mean that the lie is hardly ever told.
const PLANTED_MIN: u64 = 20;

fn found_by(checker: Checker, lie: Lie) {
    let mut planted = 0;
    for seed in 0..SEEDS {
        let mut history = generate(seed, 80);
        if lie(&mut history, &mut Rng(seed ^ 0x5eed)).is_none() {
            continue;
        }
        planted += 1;
        let verdict = check(&history);
        let found = verdict.violations.iter().any(|violation| violation.checker == checker);
        assert!(found, "seed {seed}: {:#?}", verdict);
    }
    assert!(planted >= PLANTED_MIN, "planted in {planted} histories only");
}

fn pick<T>(items: Vec<T>, rng: &mut Rng) -> Option<T> {
    let index = rng.below(items.len().max(1) as u64) as usize;
    items.into_iter().nth(index)
}

fn answers(history: &mut History, wanted: fn(&Operation) -> bool) -> Vec<(u64, &mut Answer)> {
    let operations = history.operations.iter_mut().filter(|operation| wanted(operation));
    operations
        .filter_map(|operation| match &mut operation.outcome {
            Outcome::Done { answer, .. } => Some((operation.called, answer)),
            _ => None,
        })
        .collect()
}

fn is_put(operation: &Operation) -> bool {
    matches!(operation.request, Request::Put { .. })
        && matches!(operation.outcome, Outcome::Done { answer: Answer::Put { .. }, .. })
}

/// A linearizable read, not of one of the first revisions.
fn is_read(operation: &Operation) -> bool {
    matches!(operation.request, Request::Range { revision: 0, serializable: false, .. })
        && operation
            .answer()
            .is_some_and(|(_, answer)| answer.revision().is_some_and(|revision| revision > 5))
}

#[test]
fn one_revision_for_two_writes() {
    found_by(Checker::Order, |history, _| {
        let mut puts = answers(history, is_put);
        let first = puts.first()?.1.clone();
        *puts.get_mut(1)?.1 = first;
        Some(())
    });
}

#[test]
fn a_read_of_the_past() {
    found_by(Checker::Order, |history, rng| {
        let (_, answer) = pick(answers(history, is_read), rng)?;
        *answer = Answer::Range { revision: 1, kvs: Vec::new() };
        Some(())
    });
}

#[test]
fn a_member_that_goes_back() {
    found_by(Checker::Order, |history, _| {
        let end = history.healed?.at;
        let mut back = history.operations.last()?.clone();
        back.called = end + 100;
        let Request::Range { serializable, .. } = &mut back.request else { return None };
        *serializable = true;
        let answer = Answer::Range { revision: 1, kvs: Vec::new() };
        back.outcome = Outcome::Done { at: end + 110, answer };
        history.operations.push(back);
        Some(())
    });
}

#[test]
fn a_value_that_another_read_contradicts() {
    found_by(Checker::Order, |history, rng| {
        let reads = answers(history, is_read);
        let seen = reads.into_iter().filter_map(|(_, answer)| match answer {
            Answer::Range { kvs, .. } => kvs.first_mut(),
            _ => None,
        });
        let kv = pick(seen.collect(), rng)?;
        kv.modified += 1_000;
        Some(())
    });
}

#[test]
fn a_key_that_a_read_leaves_out() {
    found_by(Checker::Linear, |history, rng| {
        let reads = answers(history, is_read).into_iter().filter_map(|(_, answer)| match answer {
            Answer::Range { kvs, .. } if !kvs.is_empty() => Some(kvs),
            _ => None,
        });
        pick(reads.collect(), rng)?.pop();
        Some(())
    });
}

#[test]
fn a_serializable_read_of_a_state_that_never_was() {
    found_by(Checker::Linear, |history, rng| {
        let stale = answers(history, Operation::is_serializable);
        let kvs = stale.into_iter().filter_map(|(_, answer)| match answer {
            Answer::Range { kvs, revision } if !kvs.is_empty() && *revision > 1 => Some(kvs),
            _ => None,
        });
        pick(kvs.collect(), rng)?.remove(0);
        Some(())
    });
}

#[test]
fn a_compare_that_did_not_hold() {
    found_by(Checker::Linear, |history, rng| {
        let failed = answers(history, |o| matches!(o.request, Request::Txn { .. }));
        let failed = failed.into_iter().filter_map(|(_, answer)| match answer {
            Answer::Txn { succeeded, answers, .. } if *succeeded => Some((succeeded, answers)),
            _ => None,
        });
        let (succeeded, answers) = pick(failed.collect(), rng)?;
        *succeeded = false;
        answers.remove(0);
        Some(())
    });
}

#[test]
fn a_grant_of_a_lease_that_there_is() {
    found_by(Checker::Linear, |history, rng| {
        let commits = history.commits.clone();
        let granted: Vec<(Request, u64)> = history
            .operations
            .iter()
            .filter_map(|operation| match operation.answer()? {
                (at, Answer::Granted { .. }) => Some((operation.request.clone(), at)),
                _ => None,
            })
            .collect();
        let again = |operation: &Operation| {
            granted
                .iter()
                .any(|(request, at)| *request == operation.request && *at < operation.called)
        };
        let refused = history.operations.iter_mut().filter(|operation| again(operation));
        let refused = refused.filter_map(|operation| match &mut operation.outcome {
            Outcome::Done { answer, .. } => Some((operation.called, answer)),
            _ => None,
        });
        let refused = refused.collect();
        let (called, answer) = pick(refused, rng)?;
        let before = commits.iter().rfind(|commit| commit.at < called);
        let revision = before.map_or(1, |commit| commit.events[0].revision);
        *answer = Answer::Granted { revision };
        Some(())
    });
}

#[test]
fn an_acknowledged_write_that_is_gone() {
    found_by(Checker::Durable, |history, rng| {
        let revisions = answers(history, is_put).into_iter().filter_map(|(_, a)| a.revision());
        let lost = pick(revisions.collect(), rng)?;
        history.commits.retain(|commit| commit.events[0].revision != lost);
        Some(())
    });
}

#[test]
fn two_members_that_disagree() {
    found_by(Checker::Durable, |history, rng| {
        let mut other = pick(history.commits.clone(), rng)?;
        other.member = 2;
        other.events[0].key.push('x');
        history.commits.push(other);
        Some(())
    });
}

#[test]
fn a_final_state_that_lacks_a_key() {
    found_by(Checker::Durable, |history, _| {
        history.dumps.first_mut()?.kvs.pop()?;
        Some(())
    });
}

#[test]
fn a_hash_of_another_state() {
    found_by(Checker::Hash, |history, rng| {
        let index = rng.below(history.hashes.len() as u64) as usize;
        history.hashes[index].hash ^= 4;
        Some(())
    });
}

#[test]
fn a_lease_that_goes_early() {
    found_by(Checker::Lease, |history, _| {
        let at = history.healed?.at;
        let grant = history.operations.iter().find(|operation| {
            matches!(operation.request, Request::Grant { .. })
                && matches!(operation.outcome, Outcome::Done { answer: Answer::Granted { .. }, .. })
        })?;
        let mut told = grant.clone();
        let Request::Grant { id, .. } = told.request else { return None };
        told.called = at + 100;
        told.request = Request::KeepAlive { id };
        told.outcome = Outcome::Done { at: at + 200, answer: Answer::KeptAlive { ttl: 0 } };
        history.operations.push(told);
        Some(())
    });
}

#[test]
fn a_key_that_goes_before_its_lease() {
    found_by(Checker::Lease, |history, _| {
        let at = history.healed?.at;
        let attached = history.dumps.first()?.kvs.iter().find(|kv| kv.lease != 0)?.clone();
        // An unanswered delete could have done it.
        history.operations.retain(|operation| {
            operation.outcome != Outcome::Unknown
                || !matches!(operation.request, Request::Delete(_) | Request::Grant { .. })
        });
        let granted = history.operations.iter().any(|operation| {
            matches!(operation.request, Request::Grant { id, .. } if id == attached.lease)
                && operation.answer().is_some()
        });
        if !granted {
            return None;
        }
        let revision = history.dumps.first()?.revision + 1;
        let event = Event { revision, key: attached.key, kv: None, prev: None };
        let events = vec![event];
        history.commits.push(skein_chaos_model::history::Commit { member: 1, at, events });
        Some(())
    });
}

#[test]
fn no_answer_after_healing() {
    found_by(Checker::Progress, |history, _| {
        history.operations.last_mut()?.outcome = Outcome::Unknown;
        Some(())
    });
}

/// The messages with events of the watch of everything.
fn messages(history: &mut History) -> Vec<(usize, &mut Vec<Event>)> {
    let received = history.watches[0].received.iter_mut().enumerate();
    received
        .filter_map(|(place, received)| match received {
            Received::Events(events) => Some((place, events)),
            _ => None,
        })
        .collect()
}

#[test]
fn a_lost_event() {
    found_by(Checker::Watch, |history, rng| {
        let (_, events) = pick(messages(history), rng)?;
        let index = rng.below(events.len() as u64) as usize;
        events.remove(index);
        Some(())
    });
}

#[test]
fn an_event_told_twice() {
    found_by(Checker::Watch, |history, rng| {
        let (place, events) = pick(messages(history), rng)?;
        let again = Received::Events(events.clone());
        history.watches[0].received.insert(place + 1, again);
        Some(())
    });
}

#[test]
fn events_out_of_order() {
    found_by(Checker::Watch, |history, rng| {
        let several: Vec<_> = messages(history)
            .into_iter()
            .filter(|(_, events)| {
                events.first().map(|e| e.revision) != events.last().map(|e| e.revision)
            })
            .collect();
        pick(several, rng)?.1.reverse();
        Some(())
    });
}

#[test]
fn an_event_of_another_value() {
    found_by(Checker::Watch, |history, rng| {
        let (_, events) = pick(messages(history), rng)?;
        match &mut events[0].kv {
            Some(kv) => kv.version += 1,
            None => events[0].key.push('x'),
        }
        Some(())
    });
}

#[test]
fn a_previous_value_that_was_not() {
    found_by(Checker::Watch, |history, rng| {
        let with_prev = messages(history)
            .into_iter()
            .filter_map(|(_, events)| events.iter_mut().find_map(|event| event.prev.as_mut()));
        pick(with_prev.collect(), rng)?.value.push('x');
        Some(())
    });
}

#[test]
fn a_bookmark_too_early() {
    found_by(Checker::Watch, |history, rng| {
        let (place, events) = pick(messages(history), rng)?;
        let revision = events.last()?.revision;
        history.watches[0].received.insert(place, Received::Progress { revision });
        Some(())
    });
}

#[test]
fn a_resumed_watch_with_a_gap() {
    found_by(Checker::Watch, |history, rng| {
        let (place, events) = pick(messages(history), rng)?;
        let revision = events.last()?.revision + 3;
        history.watches[0].received.insert(place + 1, Received::From { revision });
        Some(())
    });
}

#[test]
fn a_watch_that_ends_without_a_compaction() {
    found_by(Checker::Watch, |history, _| {
        history.watches[0].received.push(Received::Compacted { revision: 1 });
        Some(())
    });
}

#[test]
fn a_watch_that_stops_short() {
    found_by(Checker::Watch, |history, _| {
        let place = messages(history).last()?.0;
        history.watches[0].received.truncate(place);
        Some(())
    });
}
