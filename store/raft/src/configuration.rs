//! Who votes, who learns, and how that changes.

use bytes::Bytes;
use prost::Message as _;
use raft::eraftpb;

/// The members that consensus counts. Lists are sorted, so that equal configurations are equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// Members whose votes count.
    pub voters: Vec<u64>,
    /// Members that receive the log without a vote.
    pub learners: Vec<u64>,
    /// In a joint configuration, the voters that it leaves behind; their majority is needed too.
    pub voters_outgoing: Vec<u64>,
    /// Voters among the outgoing that become learners when the joint configuration is left.
    pub learners_next: Vec<u64>,
    /// The leader leaves the joint configuration by itself once it is applied.
    pub auto_leave: bool,
}

impl Configuration {
    /// Whether two configurations are in force at the same time.
    pub fn is_joint(&self) -> bool {
        !self.voters_outgoing.is_empty()
    }

    /// Whether the member is part of it in any role.
    pub fn contains(&self, id: u64) -> bool {
        let parts = [&self.voters, &self.learners, &self.voters_outgoing, &self.learners_next];
        parts.into_iter().any(|part| part.contains(&id))
    }

    pub(crate) fn from_raft(state: &eraftpb::ConfState) -> Self {
        let sorted = |ids: &[u64]| {
            let mut ids = ids.to_vec();
            ids.sort_unstable();
            ids
        };
        Self {
            voters: sorted(&state.voters),
            learners: sorted(&state.learners),
            voters_outgoing: sorted(&state.voters_outgoing),
            learners_next: sorted(&state.learners_next),
            auto_leave: state.auto_leave,
        }
    }

    pub(crate) fn to_raft(&self) -> eraftpb::ConfState {
        eraftpb::ConfState {
            voters: self.voters.clone(),
            learners: self.learners.clone(),
            voters_outgoing: self.voters_outgoing.clone(),
            learners_next: self.learners_next.clone(),
            auto_leave: self.auto_leave,
            ..Default::default()
        }
    }
}

/// One step of a configuration change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The member votes from now on; a learner is promoted.
    AddVoter(u64),
    /// The member learns from now on; a voter is demoted.
    AddLearner(u64),
    /// The member is no part of the cluster any more.
    Remove(u64),
}

/// What an entry of kind [`crate::EntryKind::ConfChange`] holds.
///
/// One change takes effect at once. Several go through a joint configuration, in which majorities
/// of the old and of the new voters are both needed; the leader leaves it by an empty change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfChange {
    /// The steps; none for the entry that leaves a joint configuration.
    pub changes: Vec<Change>,
    /// Opaque to consensus.
    pub context: Bytes,
}

/// The entry's data cannot be read, or asks for something unknown to this version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a configuration change is not readable: {what}")]
pub struct ConfChangeError {
    /// What is wrong with it.
    pub what: &'static str,
}

/// The layout that the `raft` crate reads: `eraftpb.ConfChangeV2` of raft-proto 0.7.
#[derive(Clone, PartialEq, prost::Message)]
struct Record {
    #[prost(int32, tag = "1")]
    transition: i32,
    #[prost(message, repeated, tag = "2")]
    changes: Vec<RecordChange>,
    #[prost(bytes = "bytes", tag = "3")]
    context: Bytes,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct RecordChange {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(uint64, tag = "2")]
    member: u64,
}

const ADD_NODE: i32 = 0;
const REMOVE_NODE: i32 = 1;
const ADD_LEARNER: i32 = 2;

impl ConfChange {
    /// The bytes for the log.
    pub fn encode(&self) -> Bytes {
        let changes = self.changes.iter().map(|change| {
            let (kind, member) = match *change {
                Change::AddVoter(id) => (ADD_NODE, id),
                Change::Remove(id) => (REMOVE_NODE, id),
                Change::AddLearner(id) => (ADD_LEARNER, id),
            };
            RecordChange { kind, member }
        });
        let changes = changes.collect();
        // Transition 0: simple where one change allows it, else joint and left automatically.
        Record { transition: 0, changes, context: self.context.clone() }.encode_to_vec().into()
    }

    /// Reads bytes of the log.
    ///
    /// # Errors
    /// They cannot be read or hold a kind of change that this version does not know.
    pub fn decode(bytes: Bytes) -> Result<Self, ConfChangeError> {
        let record =
            Record::decode(bytes).map_err(|_| ConfChangeError { what: "damaged bytes" })?;
        let changes = record.changes.iter().map(|change| match change.kind {
            ADD_NODE => Ok(Change::AddVoter(change.member)),
            REMOVE_NODE => Ok(Change::Remove(change.member)),
            ADD_LEARNER => Ok(Change::AddLearner(change.member)),
            _ => Err(ConfChangeError { what: "an unknown kind of change" }),
        });
        Ok(Self { changes: changes.collect::<Result<_, _>>()?, context: record.context })
    }

    pub(crate) fn to_raft(&self) -> eraftpb::ConfChangeV2 {
        let changes = self.changes.iter().map(|change| {
            let (kind, node_id) = match *change {
                Change::AddVoter(id) => (eraftpb::ConfChangeType::AddNode, id),
                Change::Remove(id) => (eraftpb::ConfChangeType::RemoveNode, id),
                Change::AddLearner(id) => (eraftpb::ConfChangeType::AddLearnerNode, id),
            };
            eraftpb::ConfChangeSingle { change_type: kind, node_id, ..Default::default() }
        });
        let changes: Vec<_> = changes.collect();
        eraftpb::ConfChangeV2 { changes: changes.into(), ..Default::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_round_trip() {
        let change = ConfChange {
            changes: vec![Change::AddVoter(7), Change::Remove(8), Change::AddLearner(u64::MAX)],
            context: Bytes::from_static(b"who"),
        };
        assert_eq!(ConfChange::decode(change.encode()), Ok(change));
        assert_eq!(ConfChange::decode(Bytes::new()), Ok(ConfChange::default()));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let unknown =
            Record { changes: vec![RecordChange { kind: 3, member: 1 }], ..Record::default() };
        let refused = ConfChange::decode(unknown.encode_to_vec().into()).expect_err("unknown");
        assert_eq!(refused.what, "an unknown kind of change");
        assert!(ConfChange::decode(Bytes::from_static(b"\x1a\xff")).is_err());
    }

    #[test]
    fn configurations_do_not_depend_on_order() {
        let state = |voters: &[u64]| eraftpb::ConfState {
            voters: voters.to_vec(),
            learners: vec![9],
            ..Default::default()
        };
        let configuration = Configuration::from_raft(&state(&[3, 1, 2]));
        assert_eq!(configuration, Configuration::from_raft(&state(&[2, 3, 1])));
        assert_eq!(Configuration::from_raft(&configuration.to_raft()), configuration);
        assert!(configuration.contains(9) && !configuration.contains(4));
        assert!(!configuration.is_joint());
    }
}
