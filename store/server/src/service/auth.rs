//! Auth: this version has no users and roles, and says so as etcd would.

use std::sync::Arc;

use skein_store_api::ApiError;
use skein_store_api::pb::etcdserverpb::*;
use skein_store_rpc::etcdserverpb::auth_server::Auth;
use skein_store_rpc::status;
use tonic::{Request, Response, Status};

use crate::core::Core;

/// The revision of the permissions of a store that never had any.
const FIRST_AUTH_REVISION: u64 = 1;

pub(crate) struct AuthService {
    core: Arc<Core>,
}

impl AuthService {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }
}

fn refuse<T>(error: ApiError) -> Result<Response<T>, Status> {
    Err(status(error))
}

#[tonic::async_trait]
impl Auth for AuthService {
    async fn auth_enable(
        &self,
        _: Request<AuthEnableRequest>,
    ) -> Result<Response<AuthEnableResponse>, Status> {
        refuse(ApiError::RootUserNotExist)
    }

    async fn auth_disable(
        &self,
        _: Request<AuthDisableRequest>,
    ) -> Result<Response<AuthDisableResponse>, Status> {
        Ok(Response::new(AuthDisableResponse { header: self.core.header() }))
    }

    async fn auth_status(
        &self,
        _: Request<AuthStatusRequest>,
    ) -> Result<Response<AuthStatusResponse>, Status> {
        Ok(Response::new(AuthStatusResponse {
            header: self.core.header(),
            enabled: false,
            auth_revision: FIRST_AUTH_REVISION,
        }))
    }

    async fn authenticate(
        &self,
        _: Request<AuthenticateRequest>,
    ) -> Result<Response<AuthenticateResponse>, Status> {
        refuse(ApiError::AuthNotEnabled)
    }

    async fn user_add(
        &self,
        request: Request<AuthUserAddRequest>,
    ) -> Result<Response<AuthUserAddResponse>, Status> {
        match request.get_ref().name.is_empty() {
            true => refuse(ApiError::UserEmpty),
            false => refuse(ApiError::NotCapable),
        }
    }

    async fn user_get(
        &self,
        _: Request<AuthUserGetRequest>,
    ) -> Result<Response<AuthUserGetResponse>, Status> {
        refuse(ApiError::UserNotFound)
    }

    async fn user_list(
        &self,
        _: Request<AuthUserListRequest>,
    ) -> Result<Response<AuthUserListResponse>, Status> {
        let users = Vec::new();
        Ok(Response::new(AuthUserListResponse { header: self.core.header(), users }))
    }

    async fn user_delete(
        &self,
        _: Request<AuthUserDeleteRequest>,
    ) -> Result<Response<AuthUserDeleteResponse>, Status> {
        refuse(ApiError::UserNotFound)
    }

    async fn user_change_password(
        &self,
        _: Request<AuthUserChangePasswordRequest>,
    ) -> Result<Response<AuthUserChangePasswordResponse>, Status> {
        refuse(ApiError::UserNotFound)
    }

    async fn user_grant_role(
        &self,
        _: Request<AuthUserGrantRoleRequest>,
    ) -> Result<Response<AuthUserGrantRoleResponse>, Status> {
        refuse(ApiError::UserNotFound)
    }

    async fn user_revoke_role(
        &self,
        _: Request<AuthUserRevokeRoleRequest>,
    ) -> Result<Response<AuthUserRevokeRoleResponse>, Status> {
        refuse(ApiError::UserNotFound)
    }

    async fn role_add(
        &self,
        request: Request<AuthRoleAddRequest>,
    ) -> Result<Response<AuthRoleAddResponse>, Status> {
        match request.get_ref().name.is_empty() {
            true => refuse(ApiError::RoleEmpty),
            false => refuse(ApiError::NotCapable),
        }
    }

    async fn role_get(
        &self,
        _: Request<AuthRoleGetRequest>,
    ) -> Result<Response<AuthRoleGetResponse>, Status> {
        refuse(ApiError::RoleNotFound)
    }

    async fn role_list(
        &self,
        _: Request<AuthRoleListRequest>,
    ) -> Result<Response<AuthRoleListResponse>, Status> {
        let roles = Vec::new();
        Ok(Response::new(AuthRoleListResponse { header: self.core.header(), roles }))
    }

    async fn role_delete(
        &self,
        _: Request<AuthRoleDeleteRequest>,
    ) -> Result<Response<AuthRoleDeleteResponse>, Status> {
        refuse(ApiError::RoleNotFound)
    }

    async fn role_grant_permission(
        &self,
        _: Request<AuthRoleGrantPermissionRequest>,
    ) -> Result<Response<AuthRoleGrantPermissionResponse>, Status> {
        refuse(ApiError::RoleNotFound)
    }

    async fn role_revoke_permission(
        &self,
        _: Request<AuthRoleRevokePermissionRequest>,
    ) -> Result<Response<AuthRoleRevokePermissionResponse>, Status> {
        refuse(ApiError::RoleNotFound)
    }
}
