//! Users and roles in a snapshot.

use prost::Message;
use skein_store_api::pb::authpb;

use super::{Auth, Role, User};

/// The body of a chunk: etcd's own records, by name.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AuthChunk {
    /// Whether callers need an identity.
    #[prost(bool, tag = "1")]
    pub enabled: bool,
    /// Revision of users and roles.
    #[prost(uint64, tag = "2")]
    pub revision: u64,
    /// Users by name, with the hashes of their passwords.
    #[prost(message, repeated, tag = "3")]
    pub users: Vec<authpb::User>,
    /// Roles by name.
    #[prost(message, repeated, tag = "4")]
    pub roles: Vec<authpb::Role>,
}

impl Auth {
    /// Everything, as records.
    pub fn chunk(&self) -> AuthChunk {
        let users = self.users.iter().map(|(name, user)| authpb::User {
            name: name.clone().into(),
            password: user.hash.clone(),
            roles: user.roles.iter().cloned().collect(),
            options: Some(authpb::UserAddOptions { no_password: user.no_password }),
        });
        let roles = self.roles.iter().map(|(name, role)| authpb::Role {
            name: name.clone().into(),
            key_permission: role.permissions.clone(),
        });
        AuthChunk {
            enabled: self.enabled,
            revision: self.revision,
            users: users.collect(),
            roles: roles.collect(),
        }
    }

    /// `None` for a name that is no text.
    pub(crate) fn from_chunk(chunk: AuthChunk) -> Option<Auth> {
        let mut auth = Auth { enabled: chunk.enabled, revision: chunk.revision, ..Auth::default() };
        for user in chunk.users {
            let no_password = user.options.is_some_and(|options| options.no_password);
            let roles = user.roles.into_iter().collect();
            let name = String::from_utf8(user.name.to_vec()).ok()?;
            auth.users.insert(name, User { hash: user.password, no_password, roles });
        }
        for role in chunk.roles {
            let name = String::from_utf8(role.name.to_vec()).ok()?;
            auth.roles.insert(name, Role { permissions: role.key_permission });
        }
        auth.refresh();
        Some(auth)
    }

    /// Equal on members whose users and roles are equal.
    pub(crate) fn checksum(&self) -> u32 {
        crc32c::crc32c(&self.chunk().encode_to_vec())
    }
}
