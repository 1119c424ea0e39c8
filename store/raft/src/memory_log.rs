//! The recent part of the log, kept in memory for the `raft` crate to read.
//!
//! The disk log is written by the owner from [`crate::Effects`]; raft itself only reads back what
//! it is about to commit or to send, so it reads from here and never waits for a disk.

use std::collections::VecDeque;

use raft::eraftpb::{Entry, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use crate::configuration::Configuration;
use crate::entry::HardState;
use crate::message::SnapshotMeta;

pub(crate) struct MemoryLog {
    hard_state: HardState,
    /// In force at the applied index.
    pub(crate) configuration: Configuration,
    /// Index and term of the last entry that the state machine contains.
    applied: (u64, u64),
    /// Index and term of the entry before the first one held.
    base: (u64, u64),
    entries: VecDeque<Entry>,
    bytes: u64,
}

impl MemoryLog {
    pub(crate) fn new(
        hard_state: HardState,
        configuration: Configuration,
        base: (u64, u64),
        entries: Vec<Entry>,
    ) -> Self {
        let bytes = entries.iter().map(size).sum();
        Self { hard_state, configuration, applied: base, base, entries: entries.into(), bytes }
    }

    /// Starts over behind a snapshot.
    pub(crate) fn restore(&mut self, snapshot: &SnapshotMeta) {
        self.base = (snapshot.index, snapshot.term);
        self.applied = self.base;
        self.configuration = snapshot.configuration();
        self.entries.clear();
        self.bytes = 0;
    }

    /// The state machine contains everything up to `index`.
    pub(crate) fn applied(&mut self, index: u64) {
        if let Ok(term) = self.term(index) {
            self.applied = (index, term);
        }
    }

    /// Appends, replacing everything from the first new index on.
    pub(crate) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        while self.entries.back().is_some_and(|last| last.index >= first.index) {
            if let Some(dropped) = self.entries.pop_back() {
                self.bytes -= size(&dropped);
            }
        }
        self.bytes += entries.iter().map(size).sum::<u64>();
        self.entries.extend(entries.iter().cloned());
    }

    /// Forgets applied entries: all up to `applied - keep`, and more while over `max_bytes`.
    pub(crate) fn trim(&mut self, applied: u64, keep: u64, max_bytes: u64) {
        let always = applied.saturating_sub(keep);
        while let Some(first) = self.entries.front() {
            let wanted = first.index <= always || self.bytes > max_bytes;
            if !wanted || first.index > applied {
                return;
            }
            self.base = (first.index, first.term);
            self.bytes -= size(first);
            self.entries.pop_front();
        }
    }

    fn first(&self) -> u64 {
        self.base.0 + 1
    }

    fn last(&self) -> u64 {
        self.base.0 + self.entries.len() as u64
    }
}

/// Memory that an entry stands for: its data and the struct that holds it.
fn size(entry: &Entry) -> u64 {
    (entry.data.len() + std::mem::size_of::<Entry>()) as u64
}

impl Storage for MemoryLog {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.hard_state.to_raft(), self.configuration.to_raft()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low < self.first() {
            return Err(StorageError::Compacted.into());
        }
        if high > self.last() + 1 {
            return Err(StorageError::Unavailable.into());
        }
        let from = (low - self.first()) as usize;
        let to = (high - self.first()) as usize;
        let limit = max_size.into().unwrap_or(u64::MAX);
        let mut taken = 0u64;
        let mut out = Vec::with_capacity(to - from);
        for entry in self.entries.range(from..to) {
            taken = taken.saturating_add(size(entry));
            if taken > limit && !out.is_empty() {
                break;
            }
            out.push(entry.clone());
        }
        Ok(out)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.base.0 {
            return Ok(self.base.1);
        }
        if index < self.base.0 {
            return Err(StorageError::Compacted.into());
        }
        self.entries
            .get((index - self.first()) as usize)
            .map(|entry| entry.term)
            .ok_or_else(|| StorageError::Unavailable.into())
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.first())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    /// The state machine as it is now. Only what it contains is told here; whoever sends the message
    /// takes the data, and tells the position anew if the state machine has moved on.
    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        let (index, term) = self.applied;
        if index < request_index || index == 0 {
            return Err(StorageError::SnapshotTemporarilyUnavailable.into());
        }
        Ok(SnapshotMeta::new(index, term, &self.configuration).to_raft())
    }
}
