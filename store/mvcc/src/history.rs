//! The versions of one key.

use bytes::Bytes;

use crate::record;
use crate::tree::Weigh;

/// A change's place in the order of all changes: the revision and its position inside of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Rev {
    pub(crate) main: i64,
    pub(crate) sub: u32,
}

impl Rev {
    /// The first place of revision `main`.
    pub(crate) fn first_of(main: i64) -> Rev {
        Rev { main, sub: 0 }
    }

    /// The place right behind this one.
    pub(crate) fn after(self) -> Rev {
        Rev { main: self.main, sub: self.sub + 1 }
    }
}

/// One version of a key: its value after a put, or its tombstone after a delete.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Version {
    pub(crate) rev: Rev,
    /// Revision in which the key came to life; 0 in a tombstone.
    pub(crate) create: i64,
    /// Puts since the key came to life; 0 in a tombstone.
    pub(crate) version: i64,
    /// The lease the key is attached to, or 0.
    pub(crate) lease: i64,
    /// The event of this change as watchers get it. The key-value record that ranges return is a
    /// part of these bytes, so that each value is kept once.
    pub(crate) event: Bytes,
}

impl Version {
    pub(crate) fn is_live(&self) -> bool {
        self.version > 0
    }

    /// The encoded `KeyValue`, sharing the event's memory.
    pub(crate) fn kv(&self) -> Bytes {
        record::kv_of_event(&self.event)
    }

    /// How many more keys there are because of this change.
    pub(crate) fn delta(&self) -> i8 {
        match self.version {
            0 => -1,
            1 => 1,
            _ => 0,
        }
    }
}

/// The versions of one key in order; never empty.
#[derive(Clone, Debug)]
pub(crate) struct History {
    last: Version,
    /// Versions before the last, oldest first. Empty, and without memory of its own, for a key
    /// that was written once since the last compaction.
    older: Vec<Version>,
}

impl History {
    pub(crate) fn new(first: Version) -> History {
        History { last: first, older: Vec::new() }
    }

    pub(crate) fn push(&mut self, version: Version) {
        let before = std::mem::replace(&mut self.last, version);
        self.older.push(before);
    }

    pub(crate) fn last(&self) -> &Version {
        &self.last
    }

    /// The last version if the key exists.
    pub(crate) fn live(&self) -> Option<&Version> {
        Some(&self.last).filter(|version| version.is_live())
    }

    /// The version that a read at `revision` sees, if the key existed then.
    pub(crate) fn at(&self, revision: i64) -> Option<&Version> {
        self.newest(revision).filter(|version| version.is_live())
    }

    /// The newest version, or tombstone, that is not newer than `revision`.
    fn newest(&self, revision: i64) -> Option<&Version> {
        if self.last.rev.main <= revision {
            return Some(&self.last);
        }
        let newer = self.older.partition_point(|version| version.rev.main <= revision);
        newer.checked_sub(1).map(|at| &self.older[at])
    }

    /// The version made by the change at `rev`.
    pub(crate) fn change(&self, rev: Rev) -> Option<&Version> {
        if self.last.rev == rev {
            return Some(&self.last);
        }
        let at = self.older.binary_search_by_key(&rev, |version| version.rev).ok()?;
        Some(&self.older[at])
    }

    /// The versions that compaction at `compacted` keeps: all from that revision on, and of the
    /// earlier ones the newest, unless it is a tombstone. This rule alone decides what exists;
    /// when the rest really leaves memory is nobody's business.
    pub(crate) fn retained(&self, compacted: i64) -> impl Iterator<Item = &Version> {
        let first = self.first_retained(compacted);
        self.older.iter().chain(std::iter::once(&self.last)).skip(first)
    }

    fn len(&self) -> usize {
        self.older.len() + 1
    }

    fn get(&self, at: usize) -> &Version {
        self.older.get(at).unwrap_or(&self.last)
    }

    fn first_retained(&self, compacted: i64) -> usize {
        let newer = match self.last.rev.main <= compacted {
            true => self.len(),
            false => self.older.partition_point(|version| version.rev.main <= compacted),
        };
        match newer.checked_sub(1) {
            None => 0,
            Some(at) => {
                let newest = self.get(at);
                if newest.is_live() || newest.rev.main == compacted { at } else { newer }
            }
        }
    }

    /// Whether [`History::trim`] would remove something.
    pub(crate) fn has_garbage(&self, compacted: i64) -> bool {
        self.first_retained(compacted) > 0
    }

    /// Whether compaction leaves nothing of this key.
    pub(crate) fn is_garbage(&self, compacted: i64) -> bool {
        self.first_retained(compacted) == self.len()
    }

    /// Removes the versions that compaction does not keep and returns them. A history of which
    /// nothing is kept must be dropped instead.
    pub(crate) fn trim(&mut self, compacted: i64) -> Vec<Version> {
        let gone = self.first_retained(compacted).min(self.older.len());
        let removed = self.older.drain(..gone).collect();
        // A hot key's list of thousands must not outlive the compaction that emptied it.
        if self.older.len() * 4 < self.older.capacity() {
            self.older.shrink_to_fit();
        }
        removed
    }

    pub(crate) fn versions(&self) -> impl Iterator<Item = &Version> {
        self.older.iter().chain(std::iter::once(&self.last))
    }
}

impl Weigh for std::sync::Arc<History> {
    fn weight(&self) -> usize {
        usize::from(self.last.is_live())
    }
}
