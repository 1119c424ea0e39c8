//! Commands: what members agree on and every one of them applies.
//!
//! ```text
//! field 1  format version (uint32)
//! field 2  PutRequest            field 5  CompactionRequest
//! field 3  DeleteRangeRequest    field 6  LeaseGrantRequest
//! field 4  TxnRequest            field 7  LeaseRevokeRequest
//!
//! field 10 MemberChange
//!
//! field 14 Origin, field 15 Author: optional, see [`Envelope`]
//! ```
//!
//! A protobuf message with exactly one of the fields from 2 to 13. Nothing in a command depends on
//! the member that applies it: ids are chosen and bounds are applied before it is proposed.

use bytes::Bytes;
use prost::Message;
use skein_store_api::pb::etcdserverpb::{
    CompactionRequest, DeleteRangeRequest, LeaseGrantRequest, LeaseRevokeRequest, PutRequest,
    TxnRequest,
};

use crate::members::{MemberChange, MemberOp};
use crate::record::put_varint;

/// The format that [`Command::encode`] writes.
pub const COMMAND_VERSION: u32 = 1;

/// One entry of the replicated log.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Put one key.
    Put(PutRequest),
    /// Delete a range of keys.
    DeleteRange(DeleteRangeRequest),
    /// Compare, then change several keys in one revision.
    Txn(TxnRequest),
    /// Forget history.
    Compact(CompactionRequest),
    /// Create a lease. The id is not 0.
    LeaseGrant(LeaseGrantRequest),
    /// Remove a lease and its keys.
    LeaseRevoke(LeaseRevokeRequest),
    /// Change the members.
    Member(MemberOp),
}

/// Which request of which member a command answers: the member that applies a command with its own
/// id in here answers the client that waits. It has no influence on the outcome.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Origin {
    /// Id of the proposing member.
    #[prost(fixed64, tag = "1")]
    pub member: u64,
    /// Never used twice by that member, restarts included.
    #[prost(uint64, tag = "2")]
    pub sequence: u64,
}

/// On whose behalf a command is applied, when the store asks for users. Permissions are judged where
/// the command is applied, so that every member judges alike.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Author {
    /// Name of the user.
    #[prost(string, tag = "1")]
    pub user: String,
    /// Revision of users and roles at which the user was authenticated.
    #[prost(uint64, tag = "2")]
    pub auth_revision: u64,
}

/// What stands around a command in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// Who waits for the outcome; nobody for what a member proposes by itself.
    pub origin: Option<Origin>,
    /// Who asked for it; nobody where no users are needed.
    pub author: Option<Author>,
}

/// Why bytes are not a command this build can apply. A member that meets one must stop: skipping
/// it would let its state differ from the others'.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The bytes are damaged.
    #[error("command is not readable")]
    Malformed(#[source] prost::DecodeError),
    /// Written by a newer build.
    #[error("command has format version {found}, this build reads version {COMMAND_VERSION}")]
    UnknownVersion {
        /// The version found.
        found: u32,
    },
    /// No operation that this build knows.
    #[error("command holds no operation known to this build")]
    UnknownOperation,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CommandRecord {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(oneof = "Operation", tags = "2, 3, 4, 5, 6, 7, 10")]
    operation: Option<Operation>,
    #[prost(message, optional, tag = "14")]
    origin: Option<Origin>,
    #[prost(message, optional, tag = "15")]
    author: Option<Author>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Operation {
    #[prost(message, tag = "2")]
    Put(PutRequest),
    #[prost(message, tag = "3")]
    DeleteRange(DeleteRangeRequest),
    #[prost(message, tag = "4")]
    Txn(TxnRequest),
    #[prost(message, tag = "5")]
    Compact(CompactionRequest),
    #[prost(message, tag = "6")]
    LeaseGrant(LeaseGrantRequest),
    #[prost(message, tag = "7")]
    LeaseRevoke(LeaseRevokeRequest),
    #[prost(message, tag = "10")]
    Member(MemberChange),
}

impl Command {
    /// The bytes for the log, of a command that nobody waits for.
    pub fn encode(&self) -> Bytes {
        self.encode_in(&Envelope::default())
    }

    /// The bytes for the log.
    pub fn encode_in(&self, envelope: &Envelope) -> Bytes {
        match self {
            Command::Put(request) => encode(2, request, envelope),
            Command::DeleteRange(request) => encode(3, request, envelope),
            Command::Txn(request) => encode(4, request, envelope),
            Command::Compact(request) => encode(5, request, envelope),
            Command::LeaseGrant(request) => encode(6, request, envelope),
            Command::LeaseRevoke(request) => encode(7, request, envelope),
            Command::Member(op) => encode(10, &MemberChange { op: Some(op.clone()) }, envelope),
        }
    }

    /// Reads bytes of the log. Keys and values share their memory.
    ///
    /// # Errors
    /// See [`CommandError`]; none may be skipped.
    pub fn decode(bytes: Bytes) -> Result<(Command, Envelope), CommandError> {
        let record = CommandRecord::decode(bytes).map_err(CommandError::Malformed)?;
        if record.version != COMMAND_VERSION {
            return Err(CommandError::UnknownVersion { found: record.version });
        }
        let command = match record.operation.ok_or(CommandError::UnknownOperation)? {
            Operation::Put(request) => Command::Put(request),
            Operation::DeleteRange(request) => Command::DeleteRange(request),
            Operation::Txn(request) => Command::Txn(request),
            Operation::Compact(request) => Command::Compact(request),
            Operation::LeaseGrant(request) => Command::LeaseGrant(request),
            Operation::LeaseRevoke(request) => Command::LeaseRevoke(request),
            Operation::Member(change) => {
                Command::Member(change.op.ok_or(CommandError::UnknownOperation)?)
            }
        };
        Ok((command, Envelope { origin: record.origin, author: record.author }))
    }
}

/// Writes the record without copying the request into one first. The tags are those of
/// [`CommandRecord`], which a test holds together.
fn encode(field: u8, request: &impl Message, envelope: &Envelope) -> Bytes {
    const VERSION_TAG: u8 = 1 << 3;
    let mut out = Vec::with_capacity(request.encoded_len() + 48);
    out.push(VERSION_TAG);
    put_varint(&mut out, u64::from(COMMAND_VERSION));
    put_field(&mut out, field, request);
    if let Some(origin) = &envelope.origin {
        put_field(&mut out, 14, origin);
    }
    if let Some(author) = &envelope.author {
        put_field(&mut out, 15, author);
    }
    out.into()
}

fn put_field(out: &mut Vec<u8>, field: u8, message: &impl Message) {
    const LENGTH_DELIMITED: u8 = 2;
    out.push(field << 3 | LENGTH_DELIMITED);
    put_varint(out, message.encoded_len() as u64);
    message.encode_raw(out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_round_trip() {
        let commands = [
            Command::Put(PutRequest { key: "k".into(), value: "v".into(), ..Default::default() }),
            Command::DeleteRange(DeleteRangeRequest { key: "k".into(), ..Default::default() }),
            Command::Txn(TxnRequest { success: vec![Default::default()], ..Default::default() }),
            Command::Compact(CompactionRequest { revision: 9, physical: true }),
            Command::LeaseGrant(LeaseGrantRequest { ttl: 5, id: 7 }),
            Command::LeaseRevoke(LeaseRevokeRequest { id: 7 }),
            Command::Member(MemberOp::Remove(9)),
        ];
        let envelope = Envelope {
            origin: Some(Origin { member: u64::MAX, sequence: 300 }),
            author: Some(Author { user: "alice".into(), auth_revision: 3 }),
        };
        for command in commands {
            let bare = Command::decode(command.encode()).unwrap();
            assert_eq!(bare, (command.clone(), Envelope::default()));
            let whole = Command::decode(command.encode_in(&envelope)).unwrap();
            assert_eq!(whole, (command, envelope.clone()));
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let newer = CommandRecord { version: 2, ..CommandRecord::default() }.encode_to_vec();
        assert_eq!(
            Command::decode(newer.into()).unwrap_err().to_string(),
            "command has format version 2, this build reads version 1"
        );
        let unknown = CommandRecord { version: 1, ..CommandRecord::default() }.encode_to_vec();
        let unknown = Command::decode(unknown.into()).unwrap_err();
        assert!(matches!(unknown, CommandError::UnknownOperation));
        let damaged = Command::decode(Bytes::from_static(b"\x12\xff")).unwrap_err();
        assert!(matches!(damaged, CommandError::Malformed(_)));
    }
}
