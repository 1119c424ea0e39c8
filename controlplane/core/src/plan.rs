//! What is to be written and why, what is waited for and why, what is wrong.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use skein_store_schema::{StoreKey, StoreValue};

use crate::config::Seconds;
use crate::table::StoreTable;

/// The result of planning. An operator reads `waiting` first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Creations of which each must succeed by itself: blocks and identities. Written first, one
    /// transaction each.
    pub claims: Vec<Write>,
    /// Creations and changes, referred-to objects first.
    pub puts: Vec<Write>,
    /// Removals, referring objects first. Written last.
    pub deletes: Vec<Write>,
    pub waiting: Vec<Note>,
    /// What cannot be done as asked: conflicts, exhaustion, refused reports, unreadable keys.
    pub problems: Vec<Note>,
    /// Since when things have been unused: to be handed to the next planning.
    pub unused: Unused,
    /// When time alone will change the plan.
    pub wake_at: Option<Seconds>,
}

/// Since when keys have been without use, by encoded key.
pub type Unused = BTreeMap<String, Seconds>;

/// One key to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub key: String,
    pub op: Op,
    /// The revision of the key's last change that the plan is based on, 0 for absence. The write
    /// is valid only if the key is unchanged since.
    pub expect: i64,
    pub reason: Reason,
}

/// What a write does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Put(Vec<u8>),
    Delete,
}

/// Why something is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The object is new.
    New,
    /// The object, or what it depends on, changed.
    Changed,
    /// The key's value could not be read.
    Unreadable,
    /// The object is gone.
    Gone,
    /// The report that it rests on is gone or refused.
    NotReported,
    /// Unused for the grace period.
    GraceOver,
    /// A node without a block.
    ClaimBlock,
    /// Labels without an identity.
    AllocateIdentity,
    /// The operator's settings.
    Settings,
    /// A sign of life.
    Heartbeat,
}

impl Reason {
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::New => "new",
            Reason::Changed => "changed",
            Reason::Unreadable => "unreadable",
            Reason::Gone => "gone",
            Reason::NotReported => "not-reported",
            Reason::GraceOver => "grace-over",
            Reason::ClaimBlock => "claim-block",
            Reason::AllocateIdentity => "allocate-identity",
            Reason::Settings => "settings",
            Reason::Heartbeat => "heartbeat",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something an operator should know, about one thing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Note {
    /// An object or a key.
    pub subject: String,
    pub reason: String,
}

impl Plan {
    /// True when there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.claims.is_empty() && self.puts.is_empty() && self.deletes.is_empty()
    }

    /// The number of writes.
    pub fn len(&self) -> usize {
        self.claims.len() + self.puts.len() + self.deletes.len()
    }

    /// Every write, in the order in which they take place.
    pub fn writes(&self) -> impl Iterator<Item = &Write> {
        self.claims.iter().chain(&self.puts).chain(&self.deletes)
    }

    /// Takes over what a part of the planning came to.
    pub(crate) fn add(&mut self, part: &Plan) {
        self.claims.extend_from_slice(&part.claims);
        self.puts.extend_from_slice(&part.puts);
        self.deletes.extend_from_slice(&part.deletes);
        self.waiting.extend_from_slice(&part.waiting);
        self.problems.extend_from_slice(&part.problems);
    }

    /// How much there is of everything: grows with each thing that is not as it should be.
    pub(crate) fn size(&self) -> usize {
        self.len() + self.waiting.len() + self.problems.len()
    }

    /// Wants a key to hold a value; nothing to do if it does.
    pub(crate) fn want<K: StoreKey>(&mut self, table: &StoreTable<K>, key: &K, value: &K::Value) {
        let reason = match table.value(key) {
            Some(current) if current == value => return,
            Some(_) => Reason::Changed,
            None if table.is_unreadable(key) => Reason::Unreadable,
            None => Reason::New,
        };
        self.puts.push(put(table, key, value, reason));
    }

    /// Creates a key that must not exist yet.
    pub(crate) fn claim<K: StoreKey>(&mut self, key: &K, value: &K::Value, reason: Reason) {
        self.claims.push(put(&StoreTable::default(), key, value, reason));
    }

    pub(crate) fn remove<K: StoreKey>(&mut self, table: &StoreTable<K>, key: &K, reason: Reason) {
        let expect = table.mod_revision(key);
        self.deletes.push(Write { key: key.encode(), op: Op::Delete, expect, reason });
    }

    pub(crate) fn wait(&mut self, subject: impl fmt::Display, reason: impl fmt::Display) {
        self.waiting.push(Note { subject: subject.to_string(), reason: reason.to_string() });
    }

    pub(crate) fn problem(&mut self, subject: impl fmt::Display, reason: impl fmt::Display) {
        self.problems.push(Note { subject: subject.to_string(), reason: reason.to_string() });
    }

    pub(crate) fn wake(&mut self, at: Seconds) {
        self.wake_at = Some(self.wake_at.map_or(at, |w| w.min(at)));
    }

    /// Whether something has been unused for `grace`. Remembers it otherwise.
    pub(crate) fn grace_over(
        &mut self,
        before: &Unused,
        key: String,
        now: Seconds,
        grace: Seconds,
    ) -> bool {
        let since = before.get(&key).copied().unwrap_or(now);
        if now.saturating_sub(since) >= grace {
            return true;
        }
        self.wake(since + grace);
        self.unused.insert(key, since);
        false
    }
}

fn put<K: StoreKey>(table: &StoreTable<K>, key: &K, value: &K::Value, reason: Reason) -> Write {
    let expect = table.mod_revision(key);
    Write { key: key.encode(), op: Op::Put(value.encode()), expect, reason }
}
