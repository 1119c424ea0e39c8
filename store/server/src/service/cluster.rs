//! Cluster: the member list of a cluster of one; changes are refused with etcd's errors.

use std::sync::Arc;

use skein_store_api::ApiError;
use skein_store_api::pb::etcdserverpb::*;
use skein_store_rpc::etcdserverpb::cluster_server::Cluster;
use skein_store_rpc::status;
use tonic::{Request, Response, Status};

use crate::auth::Sender;
use crate::core::Core;

pub(crate) struct ClusterService {
    core: Arc<Core>,
}

impl ClusterService {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// Refuses unknown members; `known` says what is wrong with asking it of this one.
    fn refuse<T>(&self, id: u64, known: ApiError) -> Result<Response<T>, Status> {
        let own = id == self.core.member.id;
        Err(status(if own { known } else { ApiError::MemberNotFound }))
    }
}

fn valid_urls(urls: &[String]) -> bool {
    let valid = |url: &String| {
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        rest.is_some_and(|host| {
            host.rsplit_once(':').is_some_and(|(_, p)| p.parse::<u16>().is_ok())
        })
    };
    !urls.is_empty() && urls.iter().all(valid)
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn member_add(
        &self,
        request: Request<MemberAddRequest>,
    ) -> Result<Response<MemberAddResponse>, Status> {
        let (sender, request) = Sender::of(request);
        let urls = &request.peer_ur_ls;
        if !valid_urls(urls) {
            return Err(status(ApiError::MemberBadUrls));
        }
        self.core.admin(&sender).await.map_err(status)?;
        if urls.iter().any(|url| self.core.member.peer_urls.contains(url)) {
            return Err(status(ApiError::PeerUrlExists));
        }
        Err(status(ApiError::NotCapable))
    }

    async fn member_remove(
        &self,
        request: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        let (sender, request) = Sender::of(request);
        self.core.admin(&sender).await.map_err(status)?;
        self.refuse(request.id, ApiError::MemberNotEnoughStarted)
    }

    async fn member_update(
        &self,
        request: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        let (sender, request) = Sender::of(request);
        if !valid_urls(&request.peer_ur_ls) {
            return Err(status(ApiError::MemberBadUrls));
        }
        self.core.admin(&sender).await.map_err(status)?;
        self.refuse(request.id, ApiError::NotCapable)
    }

    async fn member_list(
        &self,
        request: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        let (sender, request) = Sender::of(request);
        if request.linearizable {
            self.core.linearizable().await.map_err(status)?;
        }
        self.core.identified(&sender).await.map_err(status)?;
        let member = &self.core.member;
        let members = vec![Member {
            id: member.id,
            name: member.name.clone(),
            peer_ur_ls: member.peer_urls.clone(),
            client_ur_ls: member.client_urls.clone(),
            is_learner: false,
        }];
        // As etcd: membership has no revision of the key space.
        let header = Some(self.core.header_at(0));
        Ok(Response::new(MemberListResponse { header, members }))
    }

    async fn member_promote(
        &self,
        request: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        let (sender, request) = Sender::of(request);
        self.core.admin(&sender).await.map_err(status)?;
        self.refuse(request.id, ApiError::MemberNotLearner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_urls_are_checked() {
        assert!(valid_urls(&["http://a:1".into(), "https://10.0.0.1:2380".into()]));
        for wrong in [vec![], vec!["a:1".to_owned()], vec!["http://a".to_owned()]] {
            assert!(!valid_urls(&wrong), "{wrong:?}");
        }
    }
}
