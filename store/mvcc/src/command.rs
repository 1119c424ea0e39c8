//! Commands: what members agree on and every one of them applies.
//!
//! ```text
//! field 1  format version (uint32)
//! field 2  PutRequest            field 5  CompactionRequest
//! field 3  DeleteRangeRequest    field 6  LeaseGrantRequest
//! field 4  TxnRequest            field 7  LeaseRevokeRequest
//! ```
//!
//! A protobuf message with exactly one of the fields from 2 on. Nothing in a command depends on
//! the member that applies it: ids are chosen and bounds are applied before it is proposed.

use bytes::Bytes;
use prost::Message;
use skein_store_api::pb::etcdserverpb::{
    CompactionRequest, DeleteRangeRequest, LeaseGrantRequest, LeaseRevokeRequest, PutRequest,
    TxnRequest,
};

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
    #[prost(oneof = "Operation", tags = "2, 3, 4, 5, 6, 7")]
    operation: Option<Operation>,
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
}

impl Command {
    /// The bytes for the log.
    pub fn encode(&self) -> Bytes {
        match self {
            Command::Put(request) => encode(2, request),
            Command::DeleteRange(request) => encode(3, request),
            Command::Txn(request) => encode(4, request),
            Command::Compact(request) => encode(5, request),
            Command::LeaseGrant(request) => encode(6, request),
            Command::LeaseRevoke(request) => encode(7, request),
        }
    }

    /// Reads bytes of the log. Keys and values share their memory.
    ///
    /// # Errors
    /// See [`CommandError`]; none may be skipped.
    pub fn decode(bytes: Bytes) -> Result<Command, CommandError> {
        let record = CommandRecord::decode(bytes).map_err(CommandError::Malformed)?;
        if record.version != COMMAND_VERSION {
            return Err(CommandError::UnknownVersion { found: record.version });
        }
        Ok(match record.operation.ok_or(CommandError::UnknownOperation)? {
            Operation::Put(request) => Command::Put(request),
            Operation::DeleteRange(request) => Command::DeleteRange(request),
            Operation::Txn(request) => Command::Txn(request),
            Operation::Compact(request) => Command::Compact(request),
            Operation::LeaseGrant(request) => Command::LeaseGrant(request),
            Operation::LeaseRevoke(request) => Command::LeaseRevoke(request),
        })
    }
}

/// Writes the record without copying the request into one first. The tags are those of
/// [`CommandRecord`], which a test holds together.
fn encode(field: u8, request: &impl Message) -> Bytes {
    const VERSION_TAG: u8 = 1 << 3;
    const LENGTH_DELIMITED: u8 = 2;
    let length = request.encoded_len();
    let mut out = Vec::with_capacity(length + 16);
    out.push(VERSION_TAG);
    put_varint(&mut out, u64::from(COMMAND_VERSION));
    out.push(field << 3 | LENGTH_DELIMITED);
    put_varint(&mut out, length as u64);
    request.encode_raw(&mut out);
    out.into()
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
        ];
        for command in commands {
            assert_eq!(Command::decode(command.encode()).unwrap(), command);
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let newer = CommandRecord { version: 2, operation: None }.encode_to_vec();
        assert_eq!(
            Command::decode(newer.into()).unwrap_err().to_string(),
            "command has format version 2, this build reads version 1"
        );
        let unknown = CommandRecord { version: 1, operation: None }.encode_to_vec();
        let unknown = Command::decode(unknown.into()).unwrap_err();
        assert!(matches!(unknown, CommandError::UnknownOperation));
        let damaged = Command::decode(Bytes::from_static(b"\x12\xff")).unwrap_err();
        assert!(matches!(damaged, CommandError::Malformed(_)));
    }
}
