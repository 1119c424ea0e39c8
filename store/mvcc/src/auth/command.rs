//! Changes of users and roles as they stand in the log.

use std::fmt;

use skein_store_api::pb::etcdserverpb::{
    AuthDisableRequest, AuthEnableRequest, AuthRoleAddRequest, AuthRoleDeleteRequest,
    AuthRoleGrantPermissionRequest, AuthRoleRevokePermissionRequest, AuthUserAddRequest,
    AuthUserChangePasswordRequest, AuthUserDeleteRequest, AuthUserGrantRoleRequest,
    AuthUserRevokeRoleRequest,
};

/// What stands in field 8 of a log entry.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct AuthRecord {
    #[prost(oneof = "AuthCommand", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12")]
    pub(crate) command: Option<AuthCommand>,
}

/// A change of users or roles. Passwords are hashed before one is proposed; the field for the
/// password itself is empty.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum AuthCommand {
    /// Ask every caller for an identity.
    #[prost(message, tag = "1")]
    Enable(AuthEnableRequest),
    /// Ask nobody any more.
    #[prost(message, tag = "2")]
    Disable(AuthDisableRequest),
    /// A member has seen a user's password.
    #[prost(message, tag = "3")]
    Authenticate(Authentication),
    /// Add a user.
    #[prost(message, tag = "4")]
    UserAdd(AuthUserAddRequest),
    /// Remove a user.
    #[prost(message, tag = "5")]
    UserDelete(AuthUserDeleteRequest),
    /// Replace a user's password.
    #[prost(message, tag = "6")]
    UserChangePassword(AuthUserChangePasswordRequest),
    /// Give a user a role.
    #[prost(message, tag = "7")]
    UserGrantRole(AuthUserGrantRoleRequest),
    /// Take a role from a user.
    #[prost(message, tag = "8")]
    UserRevokeRole(AuthUserRevokeRoleRequest),
    /// Add a role.
    #[prost(message, tag = "9")]
    RoleAdd(AuthRoleAddRequest),
    /// Remove a role, also from every user.
    #[prost(message, tag = "10")]
    RoleDelete(AuthRoleDeleteRequest),
    /// Let a role reach a range.
    #[prost(message, tag = "11")]
    RoleGrantPermission(AuthRoleGrantPermissionRequest),
    /// Take a range from a role.
    #[prost(message, tag = "12")]
    RoleRevokePermission(AuthRoleRevokePermissionRequest),
}

/// A user whose password was right. All members get to know the token that is made of it, so that
/// the user may turn to any of them.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct Authentication {
    /// The user.
    #[prost(string, tag = "1")]
    pub name: String,
    /// What the token begins with, chosen by the proposer; empty where tokens are signed instead.
    #[prost(string, tag = "2")]
    pub simple_token: String,
}

/// Without the token.
impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authentication").field("name", &self.name).finish()
    }
}
