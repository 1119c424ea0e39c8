//! Linearizability of the whole store: keys, transactions, leases, compactions.
//!
//! Revisions couple all keys, so the history is not split by key; they also make the search almost
//! free of choice: an answered write can only stand at the revision that it was given, and an
//! unanswered one only at a revision that nobody was given and whose observed content it explains.
//! What reads of old revisions, serializable reads and members' commits saw is checked when the
//! search reaches the revision that they saw.
//!
//! Leases expire by themselves: for each there is an open revoke that nobody asked for, not earlier
//! than its time to live after the grant was asked for. Whether it came too early in view of the
//! renewals is for [`crate::lease`] to say.

use std::collections::BTreeMap;

use crate::history::{Answer, Event, History, Kv, Operation, Refusal, Request, Span};
use crate::store::Store;
use crate::wgl::{self, Found, Interval, Model, Step};
use crate::{Checker, Violation, lease};

/// Configurations looked at before giving up: far more than a correct history of fifty thousand
/// operations needs, a few seconds of a machine.
pub const STEPS_MAX: usize = 200_000;

/// What the search came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There is an order that explains every answer.
    Explained,
    /// There is none.
    Violated(Violation),
    /// The search met its bound, having come this far.
    Undecided(String),
}

/// Searches an order of all operations.
pub fn check(history: &History) -> Outcome {
    let model = StoreModel::new(history);
    let initial = model.initial();
    if !model.fits(&initial) {
        return violated("something was read at revision 1, before the first write".to_owned());
    }
    match wgl::search(&model, &model.intervals(), STEPS_MAX) {
        Found::Order => Outcome::Explained,
        Found::GaveUp { state, stuck } => Outcome::Undecided(model.explain(&state, &stuck)),
        Found::Nothing { state, stuck } => violated(model.explain(&state, &stuck)),
    }
}

fn violated(what: String) -> Outcome {
    Outcome::Violated(Violation::new(Checker::Linear, what))
}

/// What someone saw of a revision.
enum Seen<'a> {
    Keys(&'a Span, &'a [Kv]),
    Change(&'a Event),
}

struct Candidate {
    request: Request,
    interval: Interval,
    answer: Option<Answer>,
}

struct StoreModel<'a> {
    candidates: Vec<Candidate>,
    /// Revisions that answered writes were given.
    claims: BTreeMap<i64, usize>,
    seen: BTreeMap<i64, Vec<Seen<'a>>>,
    /// The highest revision that anybody was told of.
    last_seen: i64,
    /// Whether members told what they applied.
    tells_commits: bool,
}

impl<'a> StoreModel<'a> {
    fn new(history: &'a History) -> Self {
        let mut model = Self {
            candidates: Vec::new(),
            claims: BTreeMap::new(),
            seen: BTreeMap::new(),
            last_seen: last_seen(history),
            tells_commits: !history.commits.is_empty(),
        };
        for operation in &history.operations {
            model.see(operation);
            model.candidates.extend(candidate(operation));
            model.candidates.extend(expiry(operation));
        }
        for (number, candidate) in model.candidates.iter().enumerate() {
            let claimed =
                candidate.answer.as_ref().and_then(|answer| claim(&candidate.request, answer));
            model.claims.extend(claimed.map(|revision| (revision, number)));
        }
        for event in history.commits.iter().flat_map(|commit| &commit.events) {
            model.seen.entry(event.revision).or_default().push(Seen::Change(event));
        }
        model
    }

    fn see(&mut self, operation: &'a Operation) {
        let Request::Range { span, revision, serializable } = &operation.request else { return };
        let Some((_, Answer::Range { revision: header, kvs })) = operation.answer() else { return };
        if *serializable || *revision != 0 {
            let at = if *revision == 0 { *header } else { *revision };
            self.seen.entry(at).or_default().push(Seen::Keys(span, kvs));
        }
    }

    fn intervals(&self) -> Vec<Interval> {
        self.candidates.iter().map(|candidate| candidate.interval).collect()
    }

    /// Whether a state is what everybody saw of its revision.
    fn fits(&self, state: &Store) -> bool {
        let seen = self.seen.get(&state.revision).map(Vec::as_slice).unwrap_or_default();
        seen.iter().all(|seen| match seen {
            Seen::Keys(span, kvs) => state.get(span) == *kvs,
            Seen::Change(event) => state.keys.get(&event.key) == event.kv.as_ref(),
        })
    }

    fn explain(&self, state: &Store, stuck: &[usize]) -> String {
        let shown = stuck.iter().take(SHOWN_MAX).map(|&number| {
            let Candidate { request, interval, answer } = &self.candidates[number];
            let returned = interval.returned.unwrap_or_default();
            let mut after = state.clone();
            let expected = after.apply(request);
            format!(
                "\n  {request:?} from {} to {returned} was answered {answer:?}, \
                 and would have been {expected:?} there",
                interval.called
            )
        });
        format!(
            "no order explains the answers; the longest one found ends at revision {} \
             (compacted {}), and then none of these fits:{}",
            state.revision,
            state.compacted,
            shown.collect::<String>()
        )
    }
}

/// Operations named in a violation.
const SHOWN_MAX: usize = 8;

impl Model for StoreModel<'_> {
    type State = Store;

    fn initial(&self) -> Store {
        Store::default()
    }

    fn step(&self, state: &Store, number: usize) -> Step<Store> {
        let candidate = &self.candidates[number];
        let claimant = self.claims.get(&(state.revision + 1));
        let taken = claimant.is_some_and(|&claimant| claimant != number);
        if taken && matches!(candidate.request, Request::Put { .. }) && candidate.answer.is_none() {
            return Step::Impossible;
        }
        let mut next = state.clone();
        let answer = next.apply(&candidate.request);
        if candidate.answer.as_ref().is_some_and(|told| !same(&candidate.request, told, &answer)) {
            return Step::Impossible;
        }
        if next == *state {
            // Answers that leave one state as it is, such as a refusal, leave every state so.
            return Step::Unchanged;
        }
        let advances = next.revision != state.revision;
        // Nothing that was seen lies behind the last revision seen. Only the end of a lease may be
        // noticed without it, by a refusal, where nobody told what was applied.
        let unseen = next.revision > self.last_seen
            && (self.tells_commits || !matches!(candidate.request, Request::Revoke { .. }));
        if advances && (taken || unseen || !self.fits(&next)) {
            return Step::Impossible;
        }
        Step::Changed(next, advances)
    }

    /// What changes no revision (the grant or the end of a lease without keys, a compaction) is only
    /// seen by operations on that lease, or by those that old revisions matter to. It can wait until
    /// right before one of them.
    fn is_wanted(&self, number: usize, candidates: &[usize]) -> bool {
        let request = &self.candidates[number].request;
        let mut others = candidates.iter().filter(|&&other| other != number);
        others.any(|&other| {
            let Candidate { request: other, answer, .. } = &self.candidates[other];
            let refused = match answer {
                Some(Answer::Refused(refusal)) => Some(*refusal),
                _ => None,
            };
            match request {
                Request::Grant { id, .. } => lease_of(other) == Some(*id),
                Request::Revoke { id } => {
                    lease_of(other) == Some(*id)
                        && (refused == Some(Refusal::LeaseNotFound)
                            || matches!(other, Request::Grant { .. }))
                }
                Request::Compact { .. } => refused == Some(Refusal::Compacted),
                _ => true,
            }
        })
    }

    fn fingerprint(&self, state: &Store) -> u64 {
        state.fingerprint()
    }
}

fn last_seen(history: &History) -> i64 {
    let answers =
        history.operations.iter().filter_map(|operation| operation.answer()?.1.revision());
    let events = history.commits.iter().flat_map(|commit| &commit.events);
    answers.chain(events.map(|event| event.revision)).max().unwrap_or(1)
}

/// The lease that a request is about.
fn lease_of(request: &Request) -> Option<i64> {
    match request {
        Request::Put { lease, .. } => Some(*lease),
        Request::Grant { id, .. } | Request::Revoke { id } | Request::KeepAlive { id } => Some(*id),
        _ => None,
    }
}

/// The revision that an answered write certainly made.
pub(crate) fn claim(request: &Request, answer: &Answer) -> Option<i64> {
    match (request, answer) {
        (Request::Put { .. }, Answer::Put { revision }) => Some(*revision),
        (Request::Delete(_), Answer::Delete { revision, deleted }) => {
            (*deleted > 0).then_some(*revision)
        }
        (Request::Txn { .. }, Answer::Txn { revision, answers, .. }) => {
            use crate::history::OpAnswer;
            let changes = |answer: &OpAnswer| match answer {
                OpAnswer::Put => true,
                OpAnswer::Deleted(count) => *count > 0,
                OpAnswer::Got(_) => false,
            };
            answers.iter().any(changes).then_some(*revision)
        }
        _ => None,
    }
}

/// Whether an answer is that of the reference. What an old revision held is looked at elsewhere.
fn same(request: &Request, told: &Answer, expected: &Answer) -> bool {
    match (request, told, expected) {
        (
            Request::Range { revision: asked, .. },
            Answer::Range { revision, .. },
            Answer::Range { revision: other, .. },
        ) if *asked != 0 => revision == other,
        _ => told == expected,
    }
}

fn candidate(operation: &Operation) -> Option<Candidate> {
    if operation.is_serializable() || matches!(operation.outcome, crate::Outcome::Failed) {
        return None;
    }
    let answer = operation.answer();
    let (is_read, is_renewal) = match operation.request {
        Request::Range { .. } => (true, false),
        Request::KeepAlive { .. } => (true, true),
        _ => (false, false),
    };
    match answer {
        None if is_read => return None,
        // A lease that is due is refused before it is gone.
        Some((_, Answer::KeptAlive { ttl: 0 })) if is_renewal => return None,
        _ => {}
    }
    Some(Candidate {
        request: operation.request.clone(),
        interval: Interval { called: operation.called, returned: answer.map(|(at, _)| at) },
        answer: answer.map(|(_, answer)| answer.clone()),
    })
}

fn expiry(operation: &Operation) -> Option<Candidate> {
    let Request::Grant { id, ttl } = operation.request else { return None };
    if matches!(operation.outcome, crate::Outcome::Failed) {
        return None;
    }
    let called = operation.called + lease::earliest(ttl);
    let interval = Interval { called, returned: None };
    Some(Candidate { request: Request::Revoke { id }, interval, answer: None })
}
