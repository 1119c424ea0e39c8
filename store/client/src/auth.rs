//! Users, roles and whether the store asks for them.

use etcd_client as etcd;
use skein_store_api::pb::etcdserverpb::{AuthStatusRequest, AuthenticateRequest};
use skein_store_rpc::etcdserverpb::auth_client::AuthClient;
use tonic::Request;

use crate::connection::{Connection, Login};
use crate::error::ClientError;
use crate::session::{Effect, Session};

/// Whether the store asks who is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthStatus {
    /// True while it does.
    pub enabled: bool,
    /// Counts changes of users, roles and of this state.
    pub auth_revision: u64,
}

/// What a permission allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading and watching.
    Read,
    /// Writing and deleting.
    Write,
    /// Both.
    ReadWrite,
}

/// What a role may do with a range of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    /// What it allows.
    pub access: Access,
    /// The first key.
    pub key: Vec<u8>,
    /// The first key behind the range; empty for the single key, one zero byte for every later key.
    pub range_end: Vec<u8>,
}

/// Repeating a change of users or roles cannot be told from two changes: the second is refused. So no
/// change of unknown fate is repeated.
const CHANGE: Effect = Effect::Write;

impl Session {
    /// Whether the store asks who is there.
    pub async fn auth_status(&self) -> Result<AuthStatus, ClientError> {
        let user = self.connector().config().user.as_ref();
        self.call("ask for the state of authentication", Effect::Read, |connection| async move {
            auth_status(&connection, user).await.map_err(etcd::Error::GRpcStatus)
        })
        .await
    }

    /// Makes the store ask who is there, from now on.
    pub async fn auth_enable(&self) -> Result<(), ClientError> {
        self.call("enable authentication", CHANGE, |connection| async move {
            connection.client.auth_client().auth_enable().await.map(drop)
        })
        .await
    }

    /// Lets everyone do everything again.
    pub async fn auth_disable(&self) -> Result<(), ClientError> {
        self.call("disable authentication", CHANGE, |connection| async move {
            connection.client.auth_client().auth_disable().await.map(drop)
        })
        .await
    }

    /// The names of all users.
    pub async fn users(&self) -> Result<Vec<String>, ClientError> {
        self.call("list users", Effect::Read, |connection| async move {
            let response = connection.client.auth_client().user_list().await?;
            Ok(response.users().to_vec())
        })
        .await
    }

    /// The roles of a user.
    pub async fn user_roles(&self, name: &str) -> Result<Vec<String>, ClientError> {
        self.call("look up the user", Effect::Read, |connection| async move {
            let response = connection.client.auth_client().user_get(name).await?;
            Ok(response.roles().to_vec())
        })
        .await
    }

    /// Adds a user; without a password it can log in only by a certificate's common name.
    pub async fn user_add(&self, name: &str, password: Option<&str>) -> Result<(), ClientError> {
        self.call("add the user", CHANGE, |connection| async move {
            let options = etcd::UserAddOptions::new();
            let options = if password.is_none() { options.with_no_pwd() } else { options };
            let mut client = connection.client.auth_client();
            client.user_add(name, password.unwrap_or_default(), Some(options)).await.map(drop)
        })
        .await
    }

    /// Deletes a user.
    pub async fn user_delete(&self, name: &str) -> Result<(), ClientError> {
        self.call("delete the user", CHANGE, |connection| async move {
            connection.client.auth_client().user_delete(name).await.map(drop)
        })
        .await
    }

    /// Gives a user another password.
    pub async fn user_change_password(&self, name: &str, to: &str) -> Result<(), ClientError> {
        self.call("change the password", CHANGE, |connection| async move {
            connection.client.auth_client().user_change_password(name, to).await.map(drop)
        })
        .await
    }

    /// Gives a user a role.
    pub async fn user_grant_role(&self, name: &str, role: &str) -> Result<(), ClientError> {
        self.call("grant the role", CHANGE, |connection| async move {
            connection.client.auth_client().user_grant_role(name, role).await.map(drop)
        })
        .await
    }

    /// Takes a role from a user.
    pub async fn user_revoke_role(&self, name: &str, role: &str) -> Result<(), ClientError> {
        self.call("revoke the role", CHANGE, |connection| async move {
            connection.client.auth_client().user_revoke_role(name, role).await.map(drop)
        })
        .await
    }

    /// The names of all roles.
    pub async fn roles(&self) -> Result<Vec<String>, ClientError> {
        self.call("list roles", Effect::Read, |connection| async move {
            let response = connection.client.auth_client().role_list().await?;
            Ok(response.roles().to_vec())
        })
        .await
    }

    /// What a role may do.
    pub async fn role_permissions(&self, role: &str) -> Result<Vec<Permission>, ClientError> {
        self.call("look up the role", Effect::Read, |connection| async move {
            let response = connection.client.auth_client().role_get(role).await?;
            Ok(response.permissions().iter().map(Permission::of).collect())
        })
        .await
    }

    /// Adds a role that may do nothing yet.
    pub async fn role_add(&self, role: &str) -> Result<(), ClientError> {
        self.call("add the role", CHANGE, |connection| async move {
            connection.client.auth_client().role_add(role).await.map(drop)
        })
        .await
    }

    /// Deletes a role, also from the users that have it.
    pub async fn role_delete(&self, role: &str) -> Result<(), ClientError> {
        self.call("delete the role", CHANGE, |connection| async move {
            connection.client.auth_client().role_delete(role).await.map(drop)
        })
        .await
    }

    /// Allows a role something; the same range with another access replaces it.
    pub async fn role_grant(&self, role: &str, permission: &Permission) -> Result<(), ClientError> {
        self.call("grant the permission", CHANGE, |connection| async move {
            let permission = permission.to_etcd();
            connection.client.auth_client().role_grant_permission(role, permission).await.map(drop)
        })
        .await
    }

    /// Takes a permission from a role; its range must be named as it was granted.
    pub async fn role_revoke(
        &self,
        role: &str,
        key: &[u8],
        range_end: &[u8],
    ) -> Result<(), ClientError> {
        self.call("revoke the permission", CHANGE, |connection| async move {
            let options = etcd::RoleRevokePermissionOptions::new().with_range_end(range_end);
            let mut client = connection.client.auth_client();
            client.role_revoke_permission(role, key, Some(options)).await.map(drop)
        })
        .await
    }
}

impl Permission {
    fn of(permission: &etcd::Permission) -> Self {
        let access = match etcd::PermissionType::try_from(permission.get_type()) {
            Ok(etcd::PermissionType::Write) => Access::Write,
            Ok(etcd::PermissionType::Readwrite) => Access::ReadWrite,
            // Read is the protocol's zero, which stands for whatever is not known.
            Ok(etcd::PermissionType::Read) | Err(_) => Access::Read,
        };
        let (key, range_end) = (permission.key().to_vec(), permission.range_end().to_vec());
        Self { access, key, range_end }
    }

    fn to_etcd(&self) -> etcd::Permission {
        let kind = match self.access {
            Access::Read => etcd::PermissionType::Read,
            Access::Write => etcd::PermissionType::Write,
            Access::ReadWrite => etcd::PermissionType::Readwrite,
        };
        etcd::Permission::new(kind, self.key.clone()).with_range_end(self.range_end.clone())
    }
}

/// By our own stub, since the client crate has no such call and shows nobody its token.
async fn auth_status(
    connection: &Connection,
    user: Option<&(String, String)>,
) -> Result<AuthStatus, tonic::Status> {
    let mut client = AuthClient::new(connection.channel.clone());
    let mut request = Request::new(AuthStatusRequest {});
    if let (Some((name, password)), Login::Needed) = (user, connection.login) {
        let login = AuthenticateRequest { name: name.clone(), password: password.clone() };
        let token = client.authenticate(login).await?.into_inner().token;
        let token = token.parse().map_err(|_| tonic::Status::internal("the token is not text"))?;
        request.metadata_mut().insert("token", token);
    }
    let status = client.auth_status(request).await?.into_inner();
    Ok(AuthStatus { enabled: status.enabled, auth_revision: status.auth_revision })
}
