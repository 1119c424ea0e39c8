//! Looking at users and roles.

use bytes::Bytes;
use skein_store_api::ApiError;
use skein_store_api::pb::authpb::Permission;
use skein_store_api::pb::authpb::permission::Type;

use super::{Auth, ROOT};

impl Auth {
    /// The names of all users, in order.
    pub fn user_names(&self) -> Vec<String> {
        self.users.keys().cloned().collect()
    }

    /// The names of all roles, in order.
    pub fn role_names(&self) -> Vec<String> {
        self.roles.keys().cloned().collect()
    }

    /// The roles that a user has, in order.
    ///
    /// # Errors
    /// [`ApiError::UserNotFound`].
    pub fn roles_of(&self, user: &str) -> Result<Vec<String>, ApiError> {
        let user = self.users.get(user).ok_or(ApiError::UserNotFound)?;
        Ok(user.roles.iter().cloned().collect())
    }

    /// What a role permits, by key. Role root permits all, and as in etcd says so in a way that
    /// no grant can.
    ///
    /// # Errors
    /// [`ApiError::RoleNotFound`].
    pub fn permissions_of(&self, role: &str) -> Result<Vec<Permission>, ApiError> {
        let found = self.roles.get(role).ok_or(ApiError::RoleNotFound)?;
        if role != ROOT {
            return Ok(found.permissions.clone());
        }
        let all = Permission {
            perm_type: Type::Readwrite.into(),
            key: Bytes::new(),
            range_end: Bytes::from_static(b"\0"),
        };
        Ok(vec![all])
    }

    /// The hash to compare a user's password with.
    ///
    /// # Errors
    /// [`ApiError::AuthNotEnabled`], [`ApiError::AuthFailed`] for a user that does not exist,
    /// [`ApiError::NoPasswordUser`].
    pub fn password_hash(&self, user: &str) -> Result<Bytes, ApiError> {
        if !self.enabled {
            return Err(ApiError::AuthNotEnabled);
        }
        let user = self.users.get(user).ok_or(ApiError::AuthFailed)?;
        if user.no_password { Err(ApiError::NoPasswordUser) } else { Ok(user.hash.clone()) }
    }
}
