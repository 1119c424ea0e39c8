//! Correct histories, made by running the reference at the points where operations take effect.

use std::collections::BTreeMap;

use skein_chaos_model::history::{
    Commit, Compare, Dump, Event, HashSeen, Healed, Received, Span, Watch,
};
use skein_chaos_model::store::Store;
use skein_chaos_model::{Answer, History, Kv, Op, Operation, Outcome, Request};

/// A small generator (SplitMix64, Steele et al., OOPSLA 2014).
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    pub(crate) fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

/// How long a lease lives in generated histories, in seconds: longer than any of them lasts, so
/// that no key goes by itself.
const TTL: i64 = 3_600;

pub(crate) const KEYS: [&str; 4] = ["a", "b", "c", "d"];

fn everything() -> Span {
    Span { key: "a".into(), end: Some("z".into()) }
}

fn key(rng: &mut Rng) -> String {
    KEYS[rng.below(KEYS.len() as u64) as usize].to_owned()
}

fn request(rng: &mut Rng, number: u64, store: &Store) -> Request {
    let value = format!("v{number}");
    match rng.below(12) {
        0..4 => {
            let lease = if rng.one_in(4) { rng.below(3) as i64 } else { 0 };
            Request::Put { key: key(rng), value, lease }
        }
        4..7 => {
            let span = if rng.one_in(2) { everything() } else { Span::of(key(rng)) };
            let revision = if rng.one_in(4) { store.revision.max(2) - 1 } else { 0 };
            Request::Range { span, revision, serializable: rng.one_in(3) }
        }
        7 => Request::Delete(Span::of(key(rng))),
        8 => {
            let key = key(rng);
            let modified = store.keys.get(&key).map_or(0, |kv| kv.modified);
            let then = vec![Op::Put { key: key.clone(), value }, Op::Get(everything())];
            let compares = vec![Compare::Modified(key.clone(), modified)];
            Request::Txn { compares, then, otherwise: vec![Op::Get(Span::of(key))] }
        }
        9 => Request::Grant { id: rng.below(4) as i64 + 1, ttl: TTL },
        10 => Request::KeepAlive { id: rng.below(4) as i64 + 1 },
        _ => Request::Compact { revision: store.revision - 1 },
    }
}

/// What a state and its successor differ by.
fn events(before: &Store, after: &Store) -> Vec<Event> {
    let keys = before.keys.keys().chain(after.keys.keys());
    let keys: std::collections::BTreeSet<_> = keys.collect();
    let changed = keys.into_iter().filter(|key| before.keys.get(*key) != after.keys.get(*key));
    changed
        .map(|key| Event {
            revision: after.revision,
            key: key.clone(),
            kv: after.keys.get(key).cloned(),
            prev: before.keys.get(key).cloned(),
        })
        .collect()
}

struct Plan {
    client: u32,
    called: u64,
    point: u64,
    returned: u64,
}

fn plans(rng: &mut Rng, count: u64) -> Vec<Plan> {
    const CLIENTS: usize = 5;
    let mut free = [1u64; CLIENTS];
    let mut plans: Vec<Plan> = (0..count)
        .map(|_| {
            let client = rng.below(CLIENTS as u64) as usize;
            let called = free[client] + rng.below(20);
            let point = called + 1 + rng.below(60);
            let returned = point + 1 + rng.below(60);
            free[client] = returned + 1;
            Plan { client: client as u32, called, point, returned }
        })
        .collect();
    plans.sort_by_key(|plan| (plan.point, plan.client));
    plans
}

/// A correct history of about `count` operations.
pub(crate) fn generate(seed: u64, count: u64) -> History {
    let mut rng = Rng(seed);
    let mut history = History::default();
    let mut store = Store::default();
    let mut states: BTreeMap<i64, Store> = BTreeMap::from([(1, store.clone())]);
    for (number, plan) in plans(&mut rng, count).into_iter().enumerate() {
        let request = request(&mut rng, number as u64, &store);
        let lost = rng.one_in(8);
        let mut answer = None;
        if !lost || rng.one_in(2) {
            let before = store.clone();
            answer = Some(answer_of(&mut rng, &mut store, &states, &request));
            if store.revision > before.revision {
                let events = events(&before, &store);
                history.commits.push(Commit { member: 1, at: plan.point, events });
                states.insert(store.revision, store.clone());
            }
        }
        let outcome = match answer {
            Some(answer) if !lost => Outcome::Done { at: plan.returned, answer },
            _ => Outcome::Unknown,
        };
        let (client, called) = (plan.client, plan.called);
        // A member of its own for each: old answers of serializable reads are then no step back.
        let (member, life) = (number as u64 + 10, 1);
        history.operations.push(Operation { client, member, life, called, request, outcome });
    }
    history.operations.sort_by_key(|operation| operation.called);
    finish(&mut rng, &mut history, &store, &states);
    history
}

fn answer_of(
    rng: &mut Rng,
    store: &mut Store,
    states: &BTreeMap<i64, Store>,
    request: &Request,
) -> Answer {
    if let Request::Range { span, revision, serializable } = request {
        let mut seen = if *serializable {
            let old = states.range(..).nth(rng.below(states.len() as u64) as usize);
            old.map_or(&*store, |(_, state)| state).clone()
        } else {
            store.clone()
        };
        let answer = seen.apply(request);
        return match (answer, states.get(revision)) {
            (Answer::Range { revision, .. }, Some(then)) => {
                Answer::Range { revision, kvs: then.get(span) }
            }
            (answer, _) => answer,
        };
    }
    store.apply(request)
}

fn finish(rng: &mut Rng, history: &mut History, store: &Store, states: &BTreeMap<i64, Store>) {
    for (revision, state) in states {
        let hash = state.fingerprint() as u32;
        for member in 1..4 {
            let compact_revision = state.compacted;
            let revision = *revision;
            history.hashes.push(HashSeen { member, revision, compact_revision, hash });
        }
    }
    let kvs: Vec<Kv> = store.keys.values().cloned().collect();
    history.dumps.push(Dump { member: 1, revision: store.revision, kvs });
    for id in 0..3 {
        history.watches.push(watch(rng, id, history, store.revision));
    }
    let end = history.operations.iter().map(|operation| operation.called).max().unwrap_or(0) + 500;
    history.healed = Some(Healed { at: end, grace: 10 });
    let request = Request::Range { span: everything(), revision: 0, serializable: false };
    let mut store = store.clone();
    let outcome = Outcome::Done { at: end + 30, answer: store.apply(&request) };
    let called = end + 20;
    history.operations.push(Operation { client: 9, member: 1, life: 1, called, request, outcome });
}

fn watch(rng: &mut Rng, id: u32, history: &History, last: i64) -> Watch {
    let span = if id == 0 { everything() } else { Span::of(key(rng)) };
    let prev_kv = id != 1;
    let from = if id == 0 { 2 } else { 1 + rng.below(last as u64) as i64 };
    let mut received = vec![Received::From { revision: from }];
    let mut message: Vec<Event> = Vec::new();
    for commit in history.commits.iter().filter(|commit| commit.events[0].revision >= from) {
        let mut events = commit.events.clone();
        events.retain(|event| span.contains(&event.key));
        events.iter_mut().for_each(|event| event.prev = event.prev.take().filter(|_| prev_kv));
        message.extend(events);
        if rng.one_in(2) && !message.is_empty() {
            received.push(Received::Events(std::mem::take(&mut message)));
        }
        let revision = commit.events[0].revision;
        if message.is_empty() && rng.one_in(4) {
            received.push(Received::Progress { revision });
            if rng.one_in(2) {
                received.push(Received::From { revision: revision + 1 });
            }
        }
    }
    if !message.is_empty() {
        received.push(Received::Events(message));
    }
    Watch { id, span, prev_kv, received, complete_through: last }
}
