//! A caller with or without a token, and the users of the tests.

use skein_store_api::pb::authpb::Permission;
use skein_store_api::pb::authpb::permission::Type;
use skein_store_api::pb::etcdserverpb::*;
use skein_store_conformance::process::Process;
use skein_store_rpc::etcdserverpb::auth_client::AuthClient;
use skein_store_rpc::etcdserverpb::kv_client::KvClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// Who calls.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) channel: Channel,
    token: Option<String>,
}

impl Caller {
    pub(crate) fn over(channel: Channel) -> Self {
        Self { channel, token: None }
    }

    /// Without an identity.
    pub(crate) fn nobody(store: &Process) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{}", store.address()));
        Self::over(endpoint.expect("a URL").connect_lazy())
    }

    pub(crate) fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// With a token of a user whose password is their name.
    pub(crate) async fn user(store: &Process, name: &str) -> Self {
        let nobody = Self::nobody(store);
        let token = nobody.authenticate(name, name).await.expect("the password is right");
        nobody.with_token(&token)
    }

    pub(crate) async fn authenticate(&self, name: &str, password: &str) -> Result<String, Status> {
        let asked = AuthenticateRequest { name: name.into(), password: password.into() };
        Ok(self.auth().authenticate(asked).await?.into_inner().token)
    }

    pub(crate) fn ask<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("token", token.parse().expect("text"));
        }
        request
    }

    pub(crate) fn auth(&self) -> AuthClient<Channel> {
        AuthClient::new(self.channel.clone())
    }

    pub(crate) fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone())
    }

    /// Reads one key; what etcd says when it refuses.
    pub(crate) async fn get(&self, key: &str) -> Result<usize, String> {
        let range = RangeRequest { key: key.to_owned().into(), ..Default::default() };
        let answer = self.kv().range(self.ask(range)).await;
        answer.map(|answer| answer.into_inner().kvs.len()).map_err(|s| s.message().to_owned())
    }

    pub(crate) async fn put(&self, key: &str, lease: i64) -> Result<(), String> {
        let put = PutRequest { key: key.to_owned().into(), lease, ..Default::default() };
        let answer = self.kv().put(self.ask(put)).await;
        answer.map(drop).map_err(|s| s.message().to_owned())
    }

    async fn add_user(&self, name: &str, roles: &[&str]) -> Result<(), Status> {
        let user =
            AuthUserAddRequest { name: name.into(), password: name.into(), ..Default::default() };
        self.auth().user_add(self.ask(user)).await?;
        for role in roles {
            let grant = AuthUserGrantRoleRequest { user: name.into(), role: (*role).into() };
            self.auth().user_grant_role(self.ask(grant)).await?;
        }
        Ok(())
    }

    pub(crate) async fn add_role(&self, name: &str) -> Result<(), Status> {
        self.auth().role_add(self.ask(AuthRoleAddRequest { name: name.into() })).await.map(drop)
    }

    async fn grant(&self, role: &str, kind: Type, key: &str, end: &str) -> Result<(), Status> {
        let perm = Some(Permission {
            perm_type: kind.into(),
            key: key.to_owned().into(),
            range_end: end.to_owned().into(),
        });
        let grant = AuthRoleGrantPermissionRequest { name: role.into(), perm };
        self.auth().role_grant_permission(self.ask(grant)).await.map(drop)
    }

    /// Users root and alice, whose role reads and writes `a` to `c`; then asks everyone for an
    /// identity.
    pub(crate) async fn enable(&self) -> Result<(), Status> {
        self.add_role("r").await?;
        self.grant("r", Type::Readwrite, "a", "c").await?;
        self.add_user("alice", &["r"]).await?;
        self.add_user("root", &["root"]).await?;
        self.auth().auth_enable(AuthEnableRequest {}).await.map(drop)
    }
}
