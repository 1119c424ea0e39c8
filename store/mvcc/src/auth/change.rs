//! Changing users and roles.

use std::collections::btree_map::Entry;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use skein_store_api::ApiError;
use skein_store_api::pb::authpb::Permission;
use skein_store_api::pb::etcdserverpb::{
    AuthRoleAddRequest, AuthRoleDeleteRequest, AuthRoleGrantPermissionRequest,
    AuthRoleRevokePermissionRequest, AuthUserAddRequest, AuthUserChangePasswordRequest,
    AuthUserDeleteRequest, AuthUserGrantRoleRequest, AuthUserRevokeRoleRequest,
};
use skein_store_api::secret::Secret;

use super::{Auth, AuthCommand, Authentication, ROOT, Role, User};

/// What a command means for the tokens that a member knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthChange {
    /// A user has proved who they are.
    Authenticated {
        /// The user.
        user: String,
        /// The token that stands for them from now on; empty where tokens are signed instead.
        simple_token: Secret,
        /// The revision of users and roles that a signed token names.
        auth_revision: u64,
    },
    /// The user is gone or has another password: their tokens end.
    UserEnded {
        /// The user.
        user: String,
    },
    /// No identity is asked for any more: all tokens end.
    Disabled,
}

/// Whether a command changed anything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Changed {
    Yes,
    No,
}

impl Auth {
    /// Applies the command at `index` of the log, wholly or not at all.
    pub(crate) fn apply(
        &mut self,
        index: u64,
        command: &AuthCommand,
    ) -> Result<Option<AuthChange>, ApiError> {
        let ended = |user: &String| Some(AuthChange::UserEnded { user: user.clone() });
        let (changed, change) = match command {
            AuthCommand::Authenticate(request) => {
                return self.authenticate(index, request).map(Some);
            }
            AuthCommand::Enable(_) => return self.enable().map(|()| None),
            AuthCommand::Disable(_) => match std::mem::take(&mut self.enabled) {
                true => (Changed::Yes, Some(AuthChange::Disabled)),
                false => (Changed::No, None),
            },
            AuthCommand::UserAdd(request) => (self.user_add(request)?, None),
            AuthCommand::UserDelete(request) => (self.user_delete(request)?, ended(&request.name)),
            AuthCommand::UserChangePassword(request) => {
                (self.user_change_password(request)?, ended(&request.name))
            }
            AuthCommand::UserGrantRole(request) => (self.user_grant_role(request)?, None),
            AuthCommand::UserRevokeRole(request) => (self.user_revoke_role(request)?, None),
            AuthCommand::RoleAdd(request) => (self.role_add(request)?, None),
            AuthCommand::RoleDelete(request) => (self.role_delete(request)?, None),
            AuthCommand::RoleGrantPermission(request) => (self.grant(request)?, None),
            AuthCommand::RoleRevokePermission(request) => (self.revoke(request)?, None),
        };
        if changed == Changed::Yes {
            self.revision += 1;
            self.refresh();
        }
        Ok(change)
    }

    /// Enabling what is enabled does nothing; and as in etcd it is no change of users and roles.
    fn enable(&mut self) -> Result<(), ApiError> {
        let root = self.users.get(ROOT).ok_or(ApiError::RootUserNotExist)?;
        if !root.roles.contains(ROOT) {
            return Err(ApiError::RootRoleNotExist);
        }
        self.enabled = true;
        Ok(())
    }

    /// The password was checked by the member that proposed this. That users have changed since
    /// then it finds out by their revision.
    fn authenticate(&self, index: u64, request: &Authentication) -> Result<AuthChange, ApiError> {
        if !self.enabled {
            return Err(ApiError::AuthNotEnabled);
        }
        let user = self.users.get(&request.name).filter(|user| !user.no_password);
        user.ok_or(ApiError::AuthFailed)?;
        let simple_token = match request.simple_token.as_str() {
            "" => Secret::default(),
            prefix => Secret::new(format!("{prefix}.{index}")),
        };
        let user = request.name.clone();
        Ok(AuthChange::Authenticated { user, simple_token, auth_revision: self.revision })
    }

    fn user_add(&mut self, request: &AuthUserAddRequest) -> Result<Changed, ApiError> {
        if request.name.is_empty() {
            return Err(ApiError::UserEmpty);
        }
        let Entry::Vacant(place) = self.users.entry(request.name.clone()) else {
            return Err(ApiError::UserExists);
        };
        let no_password = request.options.is_some_and(|options| options.no_password);
        let hash = hash(no_password, &request.hashed_password)?;
        place.insert(User { hash, no_password, ..User::default() });
        Ok(Changed::Yes)
    }

    fn user_delete(&mut self, request: &AuthUserDeleteRequest) -> Result<Changed, ApiError> {
        if self.enabled && request.name == ROOT {
            return Err(ApiError::InvalidAuthManagement);
        }
        self.users.remove(&request.name).ok_or(ApiError::UserNotFound)?;
        Ok(Changed::Yes)
    }

    fn user_change_password(
        &mut self,
        request: &AuthUserChangePasswordRequest,
    ) -> Result<Changed, ApiError> {
        let user = self.users.get_mut(&request.name).ok_or(ApiError::UserNotFound)?;
        user.hash = hash(user.no_password, &request.hashed_password)?;
        Ok(Changed::Yes)
    }

    /// Role root permits all by its name, whether it exists or not.
    fn user_grant_role(&mut self, request: &AuthUserGrantRoleRequest) -> Result<Changed, ApiError> {
        let user = self.users.get_mut(&request.user).ok_or(ApiError::UserNotFound)?;
        if request.role != ROOT && !self.roles.contains_key(&request.role) {
            return Err(ApiError::RoleNotFound);
        }
        let new = user.roles.insert(request.role.clone());
        Ok(if new { Changed::Yes } else { Changed::No })
    }

    fn user_revoke_role(
        &mut self,
        request: &AuthUserRevokeRoleRequest,
    ) -> Result<Changed, ApiError> {
        if self.enabled && request.name == ROOT && request.role == ROOT {
            return Err(ApiError::InvalidAuthManagement);
        }
        let user = self.users.get_mut(&request.name).ok_or(ApiError::UserNotFound)?;
        let held = user.roles.remove(&request.role);
        if held { Ok(Changed::Yes) } else { Err(ApiError::RoleNotGranted) }
    }

    fn role_add(&mut self, request: &AuthRoleAddRequest) -> Result<Changed, ApiError> {
        if request.name.is_empty() {
            return Err(ApiError::RoleEmpty);
        }
        let Entry::Vacant(place) = self.roles.entry(request.name.clone()) else {
            return Err(ApiError::RoleExists);
        };
        place.insert(Role::default());
        Ok(Changed::Yes)
    }

    fn role_delete(&mut self, request: &AuthRoleDeleteRequest) -> Result<Changed, ApiError> {
        if self.enabled && request.role == ROOT {
            return Err(ApiError::InvalidAuthManagement);
        }
        self.roles.remove(&request.role).ok_or(ApiError::RoleNotFound)?;
        for user in self.users.values_mut() {
            user.roles.remove(&request.role);
        }
        Ok(Changed::Yes)
    }

    /// Of the permissions that begin with one key etcd compares only the first, so that a second
    /// range from the same key is granted beside the one that it may repeat. Operators see the
    /// same list on both.
    fn grant(&mut self, request: &AuthRoleGrantPermissionRequest) -> Result<Changed, ApiError> {
        let permission = request.perm.as_ref().ok_or(ApiError::PermissionNotGiven)?;
        if !is_range(&permission.key, &permission.range_end) {
            return Err(ApiError::InvalidAuthManagement);
        }
        let role = self.roles.get_mut(&request.name).ok_or(ApiError::RoleNotFound)?;
        let given = &mut role.permissions;
        let first = given.partition_point(|held| held.key < permission.key);
        match given.get_mut(first).filter(|held| same_range(held, permission)) {
            Some(held) => held.perm_type = permission.perm_type,
            None => {
                let behind = given.partition_point(|held| held.key <= permission.key);
                given.insert(behind, permission.clone());
            }
        }
        Ok(Changed::Yes)
    }

    fn revoke(&mut self, request: &AuthRoleRevokePermissionRequest) -> Result<Changed, ApiError> {
        let role = self.roles.get_mut(&request.role).ok_or(ApiError::RoleNotFound)?;
        let before = role.permissions.len();
        role.permissions
            .retain(|held| held.key != request.key || held.range_end != request.range_end);
        match role.permissions.len() == before {
            true => Err(ApiError::PermissionNotGranted),
            false => Ok(Changed::Yes),
        }
    }
}

fn same_range(a: &Permission, b: &Permission) -> bool {
    a.key == b.key && a.range_end == b.range_end
}

/// One key, a range that is not empty, or everything from a key on.
fn is_range(key: &[u8], range_end: &[u8]) -> bool {
    !key.is_empty() && (range_end.is_empty() || range_end == [0] || key < range_end)
}

/// The hash that a request carries in base64.
fn hash(no_password: bool, encoded: &str) -> Result<Bytes, ApiError> {
    if no_password {
        return Ok(Bytes::new());
    }
    let decoded = STANDARD.decode(encoded);
    decoded.map(Bytes::from).map_err(|_| ApiError::NoPasswordUser)
}
