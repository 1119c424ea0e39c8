//! The members of the store.

use etcd_client as etcd;

use crate::error::ClientError;
use crate::session::{Effect, Session};

/// A member of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: u64,
    /// Its name; empty until it has started once.
    pub name: String,
    /// Where the other members reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it; empty until it has started once.
    pub client_urls: Vec<String>,
    /// True while it does not vote.
    pub is_learner: bool,
}

impl Member {
    fn of(member: &etcd::Member) -> Self {
        Self {
            id: member.id(),
            name: member.name().to_owned(),
            peer_urls: member.peer_urls().to_vec(),
            client_urls: member.client_urls().to_vec(),
            is_learner: member.is_learner(),
        }
    }
}

impl Session {
    /// The members of the store, as the member in use knows them.
    pub async fn members(&self) -> Result<Vec<Member>, ClientError> {
        let response = self
            .call("list members", Effect::Read, |connection| async move {
                connection.client.cluster_client().member_list().await
            })
            .await?;
        Ok(response.members().iter().map(Member::of).collect())
    }

    /// A session whose endpoints are the client URLs of all members that have started, one each.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when no member tells a URL that this session's certificates fit.
    pub async fn of_all_members(&self) -> Result<Self, ClientError> {
        let mut config = self.connector().config().clone();
        let members = self.members().await?;
        let usable = |member: &Member| {
            member.client_urls.iter().find(|url| config.transport(url).is_ok()).cloned()
        };
        let endpoints: Vec<_> = members.iter().filter_map(usable).collect();
        if endpoints.is_empty() {
            return Err(ClientError::Refused {
                what: "find the members",
                reason: "none of them tells a client URL that can be used".to_owned(),
            });
        }
        config.endpoints = endpoints;
        Self::new(config)
    }

    /// Adds a member, before it is started. Returns it and the resulting list.
    pub async fn member_add(
        &self,
        peer_urls: &[String],
        learner: bool,
    ) -> Result<(Member, Vec<Member>), ClientError> {
        let what = "add a member";
        let response = self
            .call(what, Effect::Write, |connection| {
                let options = etcd::MemberAddOptions::new();
                let options = if learner { options.with_is_learner() } else { options };
                async move {
                    let mut client = connection.client.cluster_client();
                    client.member_add(peer_urls, Some(options)).await
                }
            })
            .await?;
        let nameless = || ClientError::Refused {
            what,
            reason: "the store answered without the new member".to_owned(),
        };
        let added = response.member().map(Member::of).ok_or_else(nameless)?;
        Ok((added, response.member_list().iter().map(Member::of).collect()))
    }

    /// Removes a member. Returns those that remain.
    pub async fn member_remove(&self, id: u64) -> Result<Vec<Member>, ClientError> {
        let outcome = self
            .call("remove the member", Effect::Write, |connection| async move {
                connection.client.cluster_client().member_remove(id).await
            })
            .await;
        match outcome {
            Ok(response) => Ok(response.members().iter().map(Member::of).collect()),
            // The removed member may be the one in use, which stops before it answers. Ids never return, so
            // the member list of another tells.
            Err(error) if error.maybe_applied() => {
                let rest = self.members().await?;
                if rest.iter().any(|member| member.id == id) { Err(error) } else { Ok(rest) }
            }
            Err(error) => Err(error),
        }
    }

    /// Lets a learner vote. Returns the resulting list.
    pub async fn member_promote(&self, id: u64) -> Result<Vec<Member>, ClientError> {
        let response = self
            .call("promote the member", Effect::Write, |connection| async move {
                connection.client.cluster_client().member_promote(id).await
            })
            .await?;
        Ok(response.members().iter().map(Member::of).collect())
    }

    /// Tells the others where a member is reached from now on. Returns the resulting list.
    pub async fn member_update(
        &self,
        id: u64,
        peer_urls: &[String],
    ) -> Result<Vec<Member>, ClientError> {
        let response = self
            .call("update the member", Effect::Write, |connection| async move {
                connection.client.cluster_client().member_update(id, peer_urls).await
            })
            .await?;
        Ok(response.members().iter().map(Member::of).collect())
    }
}
