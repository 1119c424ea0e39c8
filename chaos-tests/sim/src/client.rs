//! Clients: each asks one thing at a time, of one member until that one disappoints it.

use skein_chaos_model::history::{Compare, Op, Span};
use skein_chaos_model::{Answer, Request};

use crate::rng::Rng;

/// Keys that are written: few, so that clients meet.
const KEYS: [&str; 6] = ["k/a", "k/b", "k/c", "k/d", "k/e", "k/f"];

/// Times to live of leases in seconds: some expire while a world lasts.
const TTLS: [i64; 3] = [2, 3, 6];

/// Every key.
pub(crate) fn everything() -> Span {
    Span { key: "k/".into(), end: Some("k0".into()) }
}

pub(crate) struct Client {
    pub(crate) id: u32,
    /// The member it asks.
    pub(crate) member: u64,
    /// The operation that it waits for.
    pub(crate) asked: Option<usize>,
    rng: Rng,
    counter: i64,
    /// Leases that it was granted.
    leases: Vec<i64>,
    /// The newest revision that it was told of.
    revision: i64,
    /// Last change of each key that it was told of.
    seen: Vec<(String, i64)>,
}

impl Client {
    pub(crate) fn new(id: u32, member: u64, rng: Rng) -> Self {
        let (leases, seen) = (Vec::new(), Vec::new());
        Self { id, member, asked: None, rng, counter: 0, leases, revision: 1, seen }
    }

    /// What it asks next. After the faults it only asks what any member can answer.
    pub(crate) fn request(&mut self, healed: bool) -> Request {
        self.counter += 1;
        let value = format!("{}.{}", self.id, self.counter);
        let key = (*self.rng.pick(&KEYS).unwrap_or(&KEYS[0])).to_owned();
        match self.rng.below(100) {
            0..30 => {
                let lease = if self.rng.one_in(4) { self.lease() } else { 0 };
                Request::Put { key, value, lease }
            }
            30..50 => self.read(key, false),
            50..60 => self.read(key, true),
            60..68 => Request::Delete(Span::of(key)),
            68..82 => self.txn(key, value),
            82..88 => self.grant(),
            88..95 if !healed && !self.leases.is_empty() => Request::KeepAlive { id: self.lease() },
            95..97 if !self.leases.is_empty() => Request::Revoke { id: self.lease() },
            97..99 => {
                let back = self.rng.below(30) as i64;
                Request::Compact { revision: (self.revision - back).max(1) }
            }
            _ => Request::Put { key, value, lease: 0 },
        }
    }

    fn read(&mut self, key: String, serializable: bool) -> Request {
        let span = if self.rng.one_in(3) { everything() } else { Span::of(key) };
        let old = self.rng.one_in(5);
        let revision = if old { (self.revision - self.rng.below(10) as i64).max(1) } else { 0 };
        Request::Range { span, revision, serializable }
    }

    fn txn(&mut self, key: String, value: String) -> Request {
        let known = self.seen.iter().rfind(|(seen, _)| *seen == key).map_or(0, |seen| seen.1);
        let other = (*self.rng.pick(&KEYS).unwrap_or(&KEYS[0])).to_owned();
        let mut then = vec![Op::Put { key: key.clone(), value: value.clone() }];
        if other != key {
            then.push(match self.rng.below(3) {
                0 => Op::Delete(Span::of(other)),
                1 => Op::Put { key: other, value: format!("{value}+") },
                _ => Op::Get(everything()),
            });
        }
        let compares = vec![Compare::Modified(key.clone(), known)];
        Request::Txn { compares, then, otherwise: vec![Op::Get(Span::of(key))] }
    }

    fn grant(&mut self) -> Request {
        let ttl = *self.rng.pick(&TTLS).unwrap_or(&TTLS[0]);
        Request::Grant { id: i64::from(self.id) * 100_000 + self.counter, ttl }
    }

    fn lease(&mut self) -> i64 {
        self.rng.pick(&self.leases).copied().unwrap_or(0)
    }

    /// Learns from an answer.
    pub(crate) fn learn(&mut self, request: &Request, answer: &Answer) {
        self.revision = answer.revision().unwrap_or(0).max(self.revision);
        match (request, answer) {
            (Request::Grant { id, .. }, Answer::Granted { .. }) => self.leases.push(*id),
            (Request::KeepAlive { id }, Answer::KeptAlive { ttl: 0 }) => {
                self.leases.retain(|lease| lease != id);
            }
            (Request::Put { key, .. }, Answer::Put { revision }) => {
                self.seen.push((key.clone(), *revision));
            }
            (Request::Range { revision: 0, .. }, Answer::Range { kvs, .. }) => {
                self.seen.extend(kvs.iter().map(|kv| (kv.key.clone(), kv.modified)));
            }
            _ => {}
        }
    }

    /// Microseconds until it asks again.
    pub(crate) fn think_us(&mut self) -> u64 {
        self.rng.between(5_000, 120_000)
    }

    /// Microseconds that it waits for an answer.
    pub(crate) fn patience_us(&mut self) -> u64 {
        self.rng.between(500_000, 4_000_000)
    }

    /// Another member, by chance.
    pub(crate) fn move_on(&mut self, members: &[u64]) {
        self.member = self.rng.pick(members).copied().unwrap_or(self.member);
    }
}
