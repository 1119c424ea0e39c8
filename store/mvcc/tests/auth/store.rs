//! A machine with a few users, and commands in short.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use skein_store_api::ApiError;
use skein_store_api::pb::authpb::permission::Type;
use skein_store_api::pb::authpb::{Permission, UserAddOptions};
use skein_store_api::pb::etcdserverpb::*;
use skein_store_mvcc::{Applied, AuthChange, AuthCommand, Author, Command, Machine};

pub(crate) const READ: Type = Type::Read;
pub(crate) const WRITE: Type = Type::Write;

pub(crate) struct Store {
    pub(crate) machine: Machine,
}

impl Store {
    pub(crate) fn new() -> Store {
        Store { machine: Machine::new(&Default::default()) }
    }

    /// With user root, and with alice, whose role reads and writes `a` to `c` and reads `r` to `s`.
    pub(crate) fn enabled() -> Store {
        let mut store = Store::new();
        for change in [
            user_add("root"),
            grant_role("root", "root"),
            user_add("alice"),
            role_add("reader"),
            grant("reader", Type::Readwrite, "a", "c"),
            grant("reader", READ, "r", "s"),
            grant_role("alice", "reader"),
            enable(),
        ] {
            store.auth(change).unwrap();
        }
        store
    }

    pub(crate) fn author(&self, user: &str) -> Author {
        Author { user: user.into(), auth_revision: self.machine.auth().revision() }
    }

    pub(crate) fn root(&self) -> Author {
        self.author("root")
    }

    pub(crate) fn apply(
        &mut self,
        author: Option<&Author>,
        command: &Command,
    ) -> Result<Applied, ApiError> {
        let index = self.machine.applied_index() + 1;
        self.machine.apply_for(index, command, author)
    }

    pub(crate) fn auth(&mut self, command: AuthCommand) -> Result<Option<AuthChange>, ApiError> {
        Ok(self.apply(None, &Command::Auth(command))?.auth)
    }

    pub(crate) fn auth_for(
        &mut self,
        author: &Author,
        command: AuthCommand,
    ) -> Result<Option<AuthChange>, ApiError> {
        Ok(self.apply(Some(author), &Command::Auth(command))?.auth)
    }
}

pub(crate) fn enable() -> AuthCommand {
    AuthCommand::Enable(AuthEnableRequest {})
}

pub(crate) fn disable() -> AuthCommand {
    AuthCommand::Disable(AuthDisableRequest {})
}

pub(crate) fn user_add(name: &str) -> AuthCommand {
    user_with_hash(name, &STANDARD.encode(format!("hash of {name}")))
}

pub(crate) fn user_with_hash(name: &str, hashed_password: &str) -> AuthCommand {
    AuthCommand::UserAdd(AuthUserAddRequest {
        name: name.into(),
        hashed_password: hashed_password.into(),
        ..Default::default()
    })
}

pub(crate) fn no_password(name: &str) -> AuthCommand {
    let options = Some(UserAddOptions { no_password: true });
    AuthCommand::UserAdd(AuthUserAddRequest { name: name.into(), options, ..Default::default() })
}

pub(crate) fn password(name: &str, hash: &str) -> AuthCommand {
    AuthCommand::UserChangePassword(AuthUserChangePasswordRequest {
        name: name.into(),
        hashed_password: STANDARD.encode(hash),
        ..Default::default()
    })
}

pub(crate) fn user_delete(name: &str) -> AuthCommand {
    AuthCommand::UserDelete(AuthUserDeleteRequest { name: name.into() })
}

pub(crate) fn grant_role(user: &str, role: &str) -> AuthCommand {
    AuthCommand::UserGrantRole(AuthUserGrantRoleRequest { user: user.into(), role: role.into() })
}

pub(crate) fn revoke_role(name: &str, role: &str) -> AuthCommand {
    AuthCommand::UserRevokeRole(AuthUserRevokeRoleRequest { name: name.into(), role: role.into() })
}

pub(crate) fn role_add(name: &str) -> AuthCommand {
    AuthCommand::RoleAdd(AuthRoleAddRequest { name: name.into() })
}

pub(crate) fn role_delete(role: &str) -> AuthCommand {
    AuthCommand::RoleDelete(AuthRoleDeleteRequest { role: role.into() })
}

pub(crate) fn grant(role: &str, kind: Type, key: &str, range_end: &str) -> AuthCommand {
    let perm = Some(Permission {
        perm_type: kind.into(),
        key: key.to_owned().into(),
        range_end: range_end.to_owned().into(),
    });
    AuthCommand::RoleGrantPermission(AuthRoleGrantPermissionRequest { name: role.into(), perm })
}

pub(crate) fn revoke(role: &str, key: &str, range_end: &str) -> AuthCommand {
    AuthCommand::RoleRevokePermission(AuthRoleRevokePermissionRequest {
        role: role.into(),
        key: key.to_owned().into(),
        range_end: range_end.to_owned().into(),
    })
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A version 1 snapshot of an empty store at log index 3, put together by the format's own words.
pub(crate) fn version_1_snapshot() -> Vec<u8> {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Header {
        #[prost(uint32, tag = "1")]
        format_version: u32,
        #[prost(uint64, tag = "2")]
        applied_index: u64,
        #[prost(int64, tag = "3")]
        revision: i64,
        #[prost(sint64, tag = "4")]
        compact_revision: i64,
    }
    let header = Header { format_version: 1, applied_index: 3, revision: 1, compact_revision: -1 };
    let chunks = [(1u8, header.encode_to_vec()), (2, Vec::new()), (3, Vec::new()), (4, Vec::new())];
    let mut bytes = Vec::new();
    for (kind, body) in chunks {
        bytes.extend((body.len() as u32).to_le_bytes());
        bytes.extend(crc32c::crc32c_append(crc32c::crc32c(&[kind]), &body).to_le_bytes());
        bytes.push(kind);
        bytes.extend(body);
    }
    bytes
}
