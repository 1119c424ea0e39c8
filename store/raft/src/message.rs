//! Messages between members, as they go over the wire.
//!
//! The `raft` crate's own messages are rust-protobuf 2 types (RUSTSEC-2024-0437); bytes from the
//! network are parsed by the types here instead and then converted.

use bytes::Bytes;
use raft::eraftpb;

use crate::configuration::Configuration;
use crate::entry::{Entry, EntryKind};
use crate::error::MessageError;

/// A message from one member to another. `kind` uses the numbers of raft-proto 0.7.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Message {
    /// What the message is.
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    /// The receiving member.
    #[prost(fixed64, tag = "2")]
    pub to: u64,
    /// The sending member.
    #[prost(fixed64, tag = "3")]
    pub from: u64,
    /// The sender's term.
    #[prost(uint64, tag = "4")]
    pub term: u64,
    /// Term of the entry at `index`.
    #[prost(uint64, tag = "5")]
    pub log_term: u64,
    /// A log index, by kind.
    #[prost(uint64, tag = "6")]
    pub index: u64,
    /// Entries to append, or a read's context.
    #[prost(message, repeated, tag = "7")]
    pub entries: Vec<WireEntry>,
    /// The sender's commit index.
    #[prost(uint64, tag = "8")]
    pub commit: u64,
    /// Term of the entry at `commit`.
    #[prost(uint64, tag = "9")]
    pub commit_term: u64,
    /// What a snapshot contains; its data travels apart.
    #[prost(message, optional, tag = "10")]
    pub snapshot: Option<SnapshotMeta>,
    /// Index of a snapshot that the sender asks for, 0 for none.
    #[prost(uint64, tag = "11")]
    pub request_snapshot: u64,
    /// The receiver's message before was refused.
    #[prost(bool, tag = "12")]
    pub reject: bool,
    /// Where to go on after a refusal.
    #[prost(uint64, tag = "13")]
    pub reject_hint: u64,
    /// A read's context, or the reason of a campaign.
    #[prost(bytes = "bytes", tag = "14")]
    pub context: Bytes,
    /// The sender's priority in elections.
    #[prost(sint64, tag = "15")]
    pub priority: i64,
}

/// A log entry on the wire.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct WireEntry {
    /// [`EntryKind::code`]; 0 for what carries a read's context.
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    /// Term of the entry.
    #[prost(uint64, tag = "2")]
    pub term: u64,
    /// Index of the entry.
    #[prost(uint64, tag = "3")]
    pub index: u64,
    /// Its data.
    #[prost(bytes = "bytes", tag = "4")]
    pub data: Bytes,
}

/// What a snapshot contains.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct SnapshotMeta {
    /// Index of the last entry contained.
    #[prost(uint64, tag = "1")]
    pub index: u64,
    /// Its term.
    #[prost(uint64, tag = "2")]
    pub term: u64,
    /// Voters at that index.
    #[prost(uint64, repeated, tag = "3")]
    pub voters: Vec<u64>,
    /// Learners at that index.
    #[prost(uint64, repeated, tag = "4")]
    pub learners: Vec<u64>,
    /// Outgoing voters of a joint configuration.
    #[prost(uint64, repeated, tag = "5")]
    pub voters_outgoing: Vec<u64>,
    /// Voters that become learners when it is left.
    #[prost(uint64, repeated, tag = "6")]
    pub learners_next: Vec<u64>,
    /// Whether it is left automatically.
    #[prost(bool, tag = "7")]
    pub auto_leave: bool,
}

impl SnapshotMeta {
    /// A snapshot up to `index` of `term`, taken under `configuration`.
    pub fn new(index: u64, term: u64, configuration: &Configuration) -> Self {
        let Configuration { voters, learners, voters_outgoing, learners_next, auto_leave } =
            configuration.clone();
        Self { index, term, voters, learners, voters_outgoing, learners_next, auto_leave }
    }

    /// The configuration in force at its index.
    pub fn configuration(&self) -> Configuration {
        let Self { voters, learners, voters_outgoing, learners_next, auto_leave, .. } =
            self.clone();
        Configuration { voters, learners, voters_outgoing, learners_next, auto_leave }
    }

    pub(crate) fn from_raft(snapshot: &eraftpb::Snapshot) -> Self {
        let meta = snapshot.get_metadata();
        Self::new(meta.index, meta.term, &Configuration::from_raft(meta.get_conf_state()))
    }

    pub(crate) fn to_raft(&self) -> eraftpb::Snapshot {
        let mut snapshot = eraftpb::Snapshot::default();
        let meta = snapshot.mut_metadata();
        meta.index = self.index;
        meta.term = self.term;
        meta.set_conf_state(self.configuration().to_raft());
        snapshot
    }
}

impl Message {
    /// Whether this announces a snapshot, whose data must travel with it.
    pub fn is_snapshot(&self) -> bool {
        self.kind == eraftpb::MessageType::MsgSnapshot as u32
    }

    /// Memory and bandwidth that the message stands for, in bytes.
    pub fn size(&self) -> usize {
        let entries: usize = self.entries.iter().map(|entry| entry.data.len() + 32).sum();
        std::mem::size_of::<Self>() + entries
    }

    pub(crate) fn from_raft(message: eraftpb::Message) -> Self {
        let snapshot = message.snapshot.as_ref().map(SnapshotMeta::from_raft);
        let entries = message.entries.into_iter().map(|entry| WireEntry {
            kind: u32::from(EntryKind::code_of_raft(entry.entry_type)),
            term: entry.term,
            index: entry.index,
            data: entry.data,
        });
        Self {
            kind: message.msg_type as u32,
            to: message.to,
            from: message.from,
            term: message.term,
            log_term: message.log_term,
            index: message.index,
            entries: entries.collect(),
            commit: message.commit,
            commit_term: message.commit_term,
            snapshot,
            request_snapshot: message.request_snapshot,
            reject: message.reject,
            reject_hint: message.reject_hint,
            context: message.context,
            priority: message.priority,
        }
    }

    pub(crate) fn into_raft(self) -> Result<eraftpb::Message, MessageError> {
        let kind = KINDS.iter().find(|kind| **kind as u32 == self.kind);
        let kind = *kind.ok_or(MessageError::Kind { found: self.kind })?;
        // Raft takes the context out of the first entry without looking.
        if kind == eraftpb::MessageType::MsgReadIndex && self.entries.len() != 1 {
            return Err(MessageError::NoContext);
        }
        let mut message = eraftpb::Message::default();
        message.set_msg_type(kind);
        message.to = self.to;
        message.from = self.from;
        message.term = self.term;
        message.log_term = self.log_term;
        message.index = self.index;
        message.commit = self.commit;
        message.commit_term = self.commit_term;
        message.request_snapshot = self.request_snapshot;
        message.reject = self.reject;
        message.reject_hint = self.reject_hint;
        message.context = self.context;
        message.priority = self.priority;
        if let Some(snapshot) = &self.snapshot {
            message.set_snapshot(snapshot.to_raft());
        }
        let entries = self.entries.into_iter().map(wire_entry).collect::<Result<Vec<_>, _>>()?;
        message.set_entries(entries.into());
        Ok(message)
    }
}

fn wire_entry(entry: WireEntry) -> Result<eraftpb::Entry, MessageError> {
    let WireEntry { kind, term, index, data } = entry;
    let code = u8::try_from(kind).map_err(|_| MessageError::EntryKind { found: kind })?;
    let kind = EntryKind::from_code(code).map_err(|_| MessageError::EntryKind { found: kind })?;
    Ok(Entry { index, term, kind, data }.into_raft())
}

/// Every kind that members send each other. Local ones (a tick, a wish to campaign) are not here: a
/// peer must not be able to give them.
const KINDS: &[eraftpb::MessageType] = &[
    eraftpb::MessageType::MsgAppend,
    eraftpb::MessageType::MsgAppendResponse,
    eraftpb::MessageType::MsgRequestVote,
    eraftpb::MessageType::MsgRequestVoteResponse,
    eraftpb::MessageType::MsgSnapshot,
    eraftpb::MessageType::MsgHeartbeat,
    eraftpb::MessageType::MsgHeartbeatResponse,
    eraftpb::MessageType::MsgTimeoutNow,
    eraftpb::MessageType::MsgReadIndex,
    eraftpb::MessageType::MsgReadIndexResp,
    eraftpb::MessageType::MsgRequestPreVote,
    eraftpb::MessageType::MsgRequestPreVoteResponse,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_survives_the_wire() {
        let configuration =
            Configuration { voters: vec![1, 2], learners: vec![3], ..Default::default() };
        let entry = WireEntry { kind: 1, term: 2, index: 3, data: Bytes::from_static(b"d") };
        let message = Message {
            kind: eraftpb::MessageType::MsgSnapshot as u32,
            to: 1,
            from: u64::MAX,
            term: 3,
            log_term: 4,
            index: 5,
            entries: vec![entry],
            commit: 6,
            commit_term: 7,
            snapshot: Some(SnapshotMeta::new(8, 9, &configuration)),
            request_snapshot: 10,
            reject: true,
            reject_hint: 11,
            context: Bytes::from_static(b"c"),
            priority: -1,
        };
        let raft = message.clone().into_raft().expect("a known kind");
        assert_eq!(Message::from_raft(raft), message);
        assert!(message.is_snapshot());
    }

    #[test]
    fn local_and_unknown_kinds_are_refused() {
        let kinds =
            [eraftpb::MessageType::MsgHup as u32, 2, eraftpb::MessageType::MsgBeat as u32, 99];
        for kind in kinds {
            let message = Message { kind, ..Message::default() };
            assert_eq!(message.into_raft(), Err(MessageError::Kind { found: kind }));
        }
        let entries = vec![WireEntry { kind: 9, ..WireEntry::default() }];
        let kind = eraftpb::MessageType::MsgAppend as u32;
        let message = Message { kind, entries, ..Message::default() };
        assert_eq!(message.into_raft(), Err(MessageError::EntryKind { found: 9 }));
    }
}
