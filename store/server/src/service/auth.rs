//! Auth: users, roles, and who gets a token.

use std::sync::Arc;

use skein_store_api::ApiError;
use skein_store_api::pb::etcdserverpb::*;
use skein_store_mvcc::{
    Applied, Auth as Users, AuthChange, AuthCommand, Authentication, Command, Permit,
};
use skein_store_rpc::etcdserverpb::auth_server::Auth;
use skein_store_rpc::status;
use tonic::{Request, Response, Status};

use crate::auth::{Sender, Tokens, token_prefix};
use crate::core::Core;

pub(crate) struct AuthService {
    core: Arc<Core>,
}

impl AuthService {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// Changes users or roles on behalf of a sender, who is judged where the change is applied.
    async fn change(
        &self,
        sender: &Sender,
        command: AuthCommand,
    ) -> Result<Option<ResponseHeader>, Status> {
        let author = self.core.author(sender).await.map_err(status)?;
        let applied = self.core.propose_for(author, Command::Auth(command)).await;
        applied.map(|applied| self.header_of(&applied)).map_err(status)
    }

    /// Looks at users or roles as they are once every acknowledged change is in them.
    async fn look<T>(
        &self,
        sender: &Sender,
        judge: impl FnOnce(&Permit<'_>) -> Result<(), ApiError>,
        read: impl FnOnce(&Users) -> Result<T, ApiError>,
    ) -> Result<T, Status> {
        self.core.linearizable().await.map_err(status)?;
        let author = self.core.author(sender).await.map_err(status)?;
        let found = self.core.state.glance(|machine| {
            judge(&machine.permit(author.as_ref()))?;
            read(machine.auth())
        });
        found.map_err(status)
    }

    /// Checks a password and asks all members to know its user. When users have changed between
    /// the check and its place in the log the password may be another one: it is checked again.
    async fn authenticated(
        &self,
        request: AuthenticateRequest,
    ) -> Result<AuthenticateResponse, ApiError> {
        let core = &self.core;
        core.linearizable().await?;
        loop {
            let (checked_at, hash) = core.state.glance(|machine| {
                let users = machine.auth();
                Ok::<_, ApiError>((users.revision(), users.password_hash(&request.name)?))
            })?;
            if !core.auth.passwords.fits(request.password.clone(), hash).await? {
                tracing::warn!(user = request.name, "refused a wrong password");
                return Err(ApiError::AuthFailed);
            }
            let simple_token = match core.auth.tokens {
                Tokens::Simple => token_prefix(),
                Tokens::Jwt(_) => String::new(),
            };
            let asked = Authentication { name: request.name.clone(), simple_token };
            let command = Command::Auth(AuthCommand::Authenticate(asked));
            let applied = core.propose(command).await?;
            let Some(AuthChange::Authenticated { user, simple_token, auth_revision }) =
                &applied.auth
            else {
                return Err(ApiError::Corrupt);
            };
            if *auth_revision == checked_at {
                let token = match &core.auth.tokens {
                    Tokens::Simple => simple_token.reveal().to_owned(),
                    Tokens::Jwt(tokens) => tokens.sign(user, *auth_revision)?,
                };
                return Ok(AuthenticateResponse { header: self.header_of(&applied), token });
            }
        }
    }

    fn header_of(&self, applied: &Applied) -> Option<ResponseHeader> {
        Some(self.core.header_at(applied.revision))
    }

    /// Hashing costs a lot: only whoever may add users may make this member do it.
    async fn hashed(&self, sender: &Sender, password: String) -> Result<String, Status> {
        self.core.admin(sender).await.map_err(status)?;
        self.core.auth.passwords.hash(password).await.map_err(status)
    }
}

#[tonic::async_trait]
impl Auth for AuthService {
    async fn auth_enable(
        &self,
        request: Request<AuthEnableRequest>,
    ) -> Result<Response<AuthEnableResponse>, Status> {
        let (sender, request) = Sender::of(request);
        let header = self.change(&sender, AuthCommand::Enable(request)).await?;
        Ok(Response::new(AuthEnableResponse { header }))
    }

    async fn auth_disable(
        &self,
        request: Request<AuthDisableRequest>,
    ) -> Result<Response<AuthDisableResponse>, Status> {
        let (sender, request) = Sender::of(request);
        let header = self.change(&sender, AuthCommand::Disable(request)).await?;
        Ok(Response::new(AuthDisableResponse { header }))
    }

    async fn auth_status(
        &self,
        request: Request<AuthStatusRequest>,
    ) -> Result<Response<AuthStatusResponse>, Status> {
        let (sender, _) = Sender::of(request);
        let read = |users: &Users| Ok((users.enabled(), users.revision()));
        let (enabled, auth_revision) = self.look(&sender, |_| Ok(()), read).await?;
        let header = self.core.header();
        Ok(Response::new(AuthStatusResponse { header, enabled, auth_revision }))
    }

    async fn authenticate(
        &self,
        request: Request<AuthenticateRequest>,
    ) -> Result<Response<AuthenticateResponse>, Status> {
        self.authenticated(request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn user_add(
        &self,
        request: Request<AuthUserAddRequest>,
    ) -> Result<Response<AuthUserAddResponse>, Status> {
        let (sender, mut request) = Sender::of(request);
        if !request.options.is_some_and(|options| options.no_password) {
            let password = std::mem::take(&mut request.password);
            request.hashed_password = self.hashed(&sender, password).await?;
        }
        request.password.clear();
        let header = self.change(&sender, AuthCommand::UserAdd(request)).await?;
        Ok(Response::new(AuthUserAddResponse { header }))
    }

    async fn user_get(
        &self,
        request: Request<AuthUserGetRequest>,
    ) -> Result<Response<AuthUserGetResponse>, Status> {
        let (sender, AuthUserGetRequest { name }) = Sender::of(request);
        let judge = |permit: &Permit<'_>| permit.user(&name);
        let roles = self.look(&sender, judge, |users| users.roles_of(&name)).await?;
        Ok(Response::new(AuthUserGetResponse { header: self.core.header(), roles }))
    }

    async fn user_list(
        &self,
        request: Request<AuthUserListRequest>,
    ) -> Result<Response<AuthUserListResponse>, Status> {
        let (sender, _) = Sender::of(request);
        let judge = |permit: &Permit<'_>| permit.admin();
        let users = self.look(&sender, judge, |users| Ok(users.user_names())).await?;
        Ok(Response::new(AuthUserListResponse { header: self.core.header(), users }))
    }

    async fn user_delete(
        &self,
        request: Request<AuthUserDeleteRequest>,
    ) -> Result<Response<AuthUserDeleteResponse>, Status> {
        let (sender, request) = Sender::of(request);
        let header = self.change(&sender, AuthCommand::UserDelete(request)).await?;
        Ok(Response::new(AuthUserDeleteResponse { header }))
    }

    /// An empty password leaves the hash that the request may bring itself, as in etcd.
    async fn user_change_password(
        &self,
        request: Request<AuthUserChangePasswordRequest>,
    ) -> Result<Response<AuthUserChangePasswordResponse>, Status> {
        let (sender, mut request) = Sender::of(request);
        let password = std::mem::take(&mut request.password);
        if !password.is_empty() {
            request.hashed_password = self.hashed(&sender, password).await?;
        }
        let header = self.change(&sender, AuthCommand::UserChangePassword(request)).await?;
        Ok(Response::new(AuthUserChangePasswordResponse { header }))
    }

    async fn user_grant_role(
        &self,
        request: Request<AuthUserGrantRoleRequest>,
    ) -> Result<Response<AuthUserGrantRoleResponse>, Status> {
        let (sender, request) = Sender::of(request);
        let header = self.change(&sender, AuthCommand::UserGrantRole(request)).await?;
        Ok(Response::new(AuthUserGrantRoleResponse { header }))
    }

    async fn user_revoke_role(
        &self,
        request: Request<AuthUserRevokeRoleRequest>,
    ) -> Result<Response<AuthUserRevokeRoleResponse>, Status> {
        let (sender, request) = Sender::of(request);
        let header = self.change(&sender, AuthCommand::UserRevokeRole(request)).await?;
        Ok(Response::new(AuthUserRevokeRoleResponse { header }))
    }

    async fn role_add(
        &self,
        request: Request<AuthRoleAddRequest>,
    ) -> Result<Response<AuthRoleAddResponse>, Status> {
        let (sender, request) = Sender::of(request);
        let header = self.change(&sender, AuthCommand::RoleAdd(request)).await?;
        Ok(Response::new(AuthRoleAddResponse { header }))
    }

    async fn role_get(
        &self,
        request: Request<AuthRoleGetRequest>,
    ) -> Result<Response<AuthRoleGetResponse>, Status> {
        let (sender, AuthRoleGetRequest { role }) = Sender::of(request);
        let judge = |permit: &Permit<'_>| permit.role(&role);
        let perm = self.look(&sender, judge, |users| users.permissions_of(&role)).await?;
        Ok(Response::new(AuthRoleGetResponse { header: self.core.header(), perm }))
    }

    async fn role_list(
        &self,
        request: Request<AuthRoleListRequest>,
    ) -> Result<Response<AuthRoleListResponse>, Status> {
        let (sender, _) = Sender::of(request);
        let judge = |permit: &Permit<'_>| permit.admin();
        let roles = self.look(&sender, judge, |users| Ok(users.role_names())).await?;
        Ok(Response::new(AuthRoleListResponse { header: self.core.header(), roles }))
    }

    async fn role_delete(
        &self,
        request: Request<AuthRoleDeleteRequest>,
    ) -> Result<Response<AuthRoleDeleteResponse>, Status> {
        let (sender, request) = Sender::of(request);
        let header = self.change(&sender, AuthCommand::RoleDelete(request)).await?;
        Ok(Response::new(AuthRoleDeleteResponse { header }))
    }

    async fn role_grant_permission(
        &self,
        request: Request<AuthRoleGrantPermissionRequest>,
    ) -> Result<Response<AuthRoleGrantPermissionResponse>, Status> {
        let (sender, request) = Sender::of(request);
        let header = self.change(&sender, AuthCommand::RoleGrantPermission(request)).await?;
        Ok(Response::new(AuthRoleGrantPermissionResponse { header }))
    }

    async fn role_revoke_permission(
        &self,
        request: Request<AuthRoleRevokePermissionRequest>,
    ) -> Result<Response<AuthRoleRevokePermissionResponse>, Status> {
        let (sender, request) = Sender::of(request);
        let header = self.change(&sender, AuthCommand::RoleRevokePermission(request)).await?;
        Ok(Response::new(AuthRoleRevokePermissionResponse { header }))
    }
}
