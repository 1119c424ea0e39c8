//! Log entries and hard state as the rest of the store sees them.

use bytes::Bytes;
use raft::eraftpb;

use crate::error::EntryKindError;

/// What an entry means to its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// Data for the state machine; empty when a new leader only marks its term.
    Normal,
    /// A [`crate::ConfChange`] of the cluster's members.
    ConfChange,
}

impl EntryKind {
    /// The number that is stored in the log.
    pub fn code(self) -> u8 {
        match self {
            EntryKind::Normal => 1,
            EntryKind::ConfChange => 3,
        }
    }

    /// Raft's numbers start at 0, ours at 1.
    pub(crate) fn code_of_raft(kind: eraftpb::EntryType) -> u8 {
        kind as u8 + 1
    }

    /// The kind that a stored number means.
    ///
    /// # Errors
    /// The number is not known to this version.
    pub fn from_code(code: u8) -> Result<Self, EntryKindError> {
        match code {
            1 => Ok(EntryKind::Normal),
            3 => Ok(EntryKind::ConfChange),
            found => Err(EntryKindError { found }),
        }
    }
}

/// One entry of the replicated log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Position in the log, from 1, without gaps.
    pub index: u64,
    /// Term in which a leader appended it.
    pub term: u64,
    /// What the data is.
    pub kind: EntryKind,
    /// Opaque to consensus.
    pub data: Bytes,
}

impl Entry {
    pub(crate) fn from_raft(entry: eraftpb::Entry) -> Result<Self, EntryKindError> {
        let kind = EntryKind::from_code(EntryKind::code_of_raft(entry.entry_type))?;
        Ok(Self { index: entry.index, term: entry.term, kind, data: entry.data })
    }

    pub(crate) fn into_raft(self) -> eraftpb::Entry {
        let entry_type = match self.kind {
            EntryKind::Normal => eraftpb::EntryType::EntryNormal,
            EntryKind::ConfChange => eraftpb::EntryType::EntryConfChangeV2,
        };
        let Self { index, term, data, .. } = self;
        eraftpb::Entry { entry_type, index, term, data, ..Default::default() }
    }
}

/// What a member must never forget about voting and committing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// Highest term seen.
    pub term: u64,
    /// Whom this member voted for in that term, 0 for nobody.
    pub vote: u64,
    /// Highest index known to be committed. It may lag behind on disk.
    pub commit: u64,
}

impl HardState {
    pub(crate) fn from_raft(state: &eraftpb::HardState) -> Self {
        Self { term: state.term, vote: state.vote, commit: state.commit }
    }

    pub(crate) fn to_raft(self) -> eraftpb::HardState {
        let Self { term, vote, commit } = self;
        eraftpb::HardState { term, vote, commit, ..Default::default() }
    }
}
