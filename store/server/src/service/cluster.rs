//! Cluster: who the members are, and changing that.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use skein_store_api::ApiError;
use skein_store_api::pb::etcdserverpb::*;
use skein_store_mvcc::{Command, MemberOp, Response as Outcome};
use skein_store_rpc::etcdserverpb::cluster_server::Cluster;
use skein_store_rpc::status;
use tonic::{Request, Response, Status};

use crate::cluster::member_id;
use crate::core::Core;

/// How long the other voters must have been connected before the members may change, as etcd: a
/// connection that comes and goes is no sign of health.
const HEALTHY_AFTER: Duration = Duration::from_secs(5);

pub(crate) struct ClusterService {
    core: Arc<Core>,
}

impl ClusterService {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    async fn add(&self, request: MemberAddRequest) -> Result<MemberAddResponse, ApiError> {
        let MemberAddRequest { peer_ur_ls, is_learner } = request;
        if !valid_urls(&peer_ur_ls) {
            return Err(ApiError::MemberBadUrls);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = Some(now.as_nanos() as u64);
        let id = member_id(&peer_ur_ls, &self.core.member.cluster_token, time);
        let member = Member { id, peer_ur_ls, is_learner, ..Member::default() };
        let op = MemberOp::Add(member.clone());
        self.check(&op)?;
        let members = self.change(op).await?;
        Ok(MemberAddResponse { header: self.header(), member: Some(member), members })
    }

    async fn change(&self, op: MemberOp) -> Result<Vec<Member>, ApiError> {
        match self.core.propose(Command::Member(op)).await?.response {
            Outcome::Members(members) => Ok(members),
            _ => Err(ApiError::Corrupt),
        }
    }

    /// Refuses what is wrong by itself, and what could cost the quorum.
    fn check(&self, op: &MemberOp) -> Result<(), ApiError> {
        let members: Vec<_> = self.core.state.glance(|machine| {
            machine.members().check(op)?;
            Ok(machine.members().iter().collect())
        })?;
        if let MemberOp::Add(Member { is_learner: true, .. }) = op {
            let learners = members.iter().filter(|member| member.is_learner).count();
            if learners >= self.core.limits.max_learners {
                return Err(ApiError::TooManyLearners);
            }
        }
        if !self.core.limits.strict_reconfig_check {
            return Ok(());
        }
        let voters: Vec<_> = members.iter().filter(|member| !member.is_learner).collect();
        if !quorum_stays(&voters, op) {
            return Err(ApiError::MemberNotEnoughStarted);
        }
        let growing = matches!(op, MemberOp::Add(_));
        if growing && !self.all_connected(&voters) {
            return Err(ApiError::Unhealthy);
        }
        Ok(())
    }

    fn all_connected(&self, voters: &[&Member]) -> bool {
        let others = voters.iter().filter(|voter| voter.id != self.core.member.id);
        others
            .map(|other| self.core.peers.connected_for(other.id))
            .all(|connected| connected.is_some_and(|connected| connected >= HEALTHY_AFTER))
    }

    /// As etcd: membership has no revision of the key space.
    fn header(&self) -> Option<ResponseHeader> {
        Some(self.core.header_at(0))
    }
}

/// Whether enough voters have started to agree on anything behind the change. A cluster of one may
/// always grow: how else would it.
fn quorum_stays(voters: &[&Member], op: &MemberOp) -> bool {
    let started: BTreeSet<_> =
        voters.iter().filter(|voter| !voter.name.is_empty()).map(|voter| voter.id).collect();
    let (voters, started) = match op {
        MemberOp::Add(member) if member.is_learner => return true,
        MemberOp::Add(_) if voters.len() == 1 && started.len() == 1 => return true,
        MemberOp::Add(_) => (voters.len() + 1, started.len()),
        // A learner that is ready is connected, so it counts as started.
        MemberOp::Promote(_) if voters.len() == 1 => return true,
        MemberOp::Promote(_) => (voters.len() + 1, started.len() + 1),
        MemberOp::Remove(id) if !voters.iter().any(|voter| voter.id == *id) => return true,
        // One that never started takes nothing away.
        MemberOp::Remove(id) if !started.contains(id) => return true,
        MemberOp::Remove(_) => (voters.len() - 1, started.len() - 1),
        MemberOp::Move(_) | MemberOp::Publish(_) => return true,
    };
    started > voters / 2
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
        self.add(request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn member_remove(
        &self,
        request: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        let op = MemberOp::Remove(request.get_ref().id);
        self.check(&op).map_err(status)?;
        let members = self.change(op).await.map_err(status)?;
        Ok(Response::new(MemberRemoveResponse { header: self.header(), members }))
    }

    async fn member_update(
        &self,
        request: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        let MemberUpdateRequest { id, peer_ur_ls } = request.into_inner();
        if !valid_urls(&peer_ur_ls) {
            return Err(status(ApiError::MemberBadUrls));
        }
        let op = MemberOp::Move(Member { id, peer_ur_ls, ..Member::default() });
        self.check(&op).map_err(status)?;
        let members = self.change(op).await.map_err(status)?;
        Ok(Response::new(MemberUpdateResponse { header: self.header(), members }))
    }

    async fn member_list(
        &self,
        request: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        if request.get_ref().linearizable {
            self.core.linearizable().await.map_err(status)?;
        }
        let members = self.core.state.glance(|machine| machine.members().iter().collect());
        Ok(Response::new(MemberListResponse { header: self.header(), members }))
    }

    async fn member_promote(
        &self,
        request: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        let op = MemberOp::Promote(request.get_ref().id);
        self.check(&op).map_err(status)?;
        let members = self.change(op).await.map_err(status)?;
        Ok(Response::new(MemberPromoteResponse { header: self.header(), members }))
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

    #[test]
    fn a_change_must_leave_a_started_quorum() {
        let member = |id: u64, name: &str| Member { id, name: name.into(), ..Member::default() };
        let (a, b, unstarted) = (member(1, "a"), member(2, "b"), member(3, ""));
        let add = MemberOp::Add(member(9, ""));
        assert!(quorum_stays(&[&a], &add), "one grows to two");
        assert!(quorum_stays(&[&a, &b], &add), "two of three have started");
        assert!(!quorum_stays(&[&a, &unstarted], &add), "one of three has");
        assert!(!quorum_stays(&[&a, &b, &unstarted], &MemberOp::Remove(1)), "one of two has");
        assert!(quorum_stays(&[&a, &b, &unstarted], &MemberOp::Remove(3)), "two of two have");
    }
}
