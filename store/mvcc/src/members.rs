//! The members of the cluster: who they are and where they are reached.
//!
//! Part of the replicated state, because every member must know all others. Who votes is decided by
//! consensus, which keeps its own record here as opaque bytes, so that a snapshot holds both.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use skein_store_api::ApiError;
use skein_store_api::pb::etcdserverpb::Member;

/// A change of the members.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MemberChange {
    /// What changes.
    #[prost(oneof = "MemberOp", tags = "1, 2, 3, 4, 5")]
    pub op: Option<MemberOp>,
}

/// See [`MemberChange`]. The first three go through consensus as configuration changes.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum MemberOp {
    /// A member joins, as a voter or as a learner. Its id was never used before.
    #[prost(message, tag = "1")]
    Add(Member),
    /// The member of that id leaves for ever.
    #[prost(fixed64, tag = "2")]
    Remove(u64),
    /// The learner of that id votes from now on.
    #[prost(fixed64, tag = "3")]
    Promote(u64),
    /// The member is reached by its peers at other addresses.
    #[prost(message, tag = "4")]
    Move(Member),
    /// A started member tells its name and where clients reach it.
    #[prost(message, tag = "5")]
    Publish(Member),
}

/// Every member, and the ids of those that left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    by_id: BTreeMap<u64, Identity>,
    removed: BTreeSet<u64>,
    configuration: Bytes,
}

/// What is known of one member.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    name: String,
    peer_urls: Vec<String>,
    client_urls: Vec<String>,
    learner: bool,
}

impl Members {
    /// The member of that id.
    pub fn get(&self, id: u64) -> Option<Member> {
        self.by_id.get(&id).map(|member| member.told(id))
    }

    /// Every member, by id.
    pub fn iter(&self) -> impl Iterator<Item = Member> + '_ {
        self.by_id.iter().map(|(&id, member)| member.told(id))
    }

    /// Number of members, learners included.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether no member is known, as before the first entry of the log.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Whether a member of that id was there and left.
    pub fn was_removed(&self, id: u64) -> bool {
        self.removed.contains(&id)
    }

    /// Ids of the members that left.
    pub fn removed(&self) -> impl Iterator<Item = u64> + '_ {
        self.removed.iter().copied()
    }

    /// Consensus' own record of who votes, empty before the first change.
    pub fn configuration(&self) -> &Bytes {
        &self.configuration
    }

    /// Judges a change without making it.
    ///
    /// # Errors
    /// What [`Members::apply`] would answer.
    pub fn check(&self, op: &MemberOp) -> Result<(), ApiError> {
        match op {
            MemberOp::Add(member) => self.check_add(member),
            MemberOp::Remove(id) => {
                let member = self.known(*id)?;
                let voters = self.by_id.values().filter(|member| !member.learner).count();
                let last = !member.learner && voters == 1;
                if last { Err(ApiError::MemberNotEnoughStarted) } else { Ok(()) }
            }
            MemberOp::Promote(id) => match self.known(*id)?.learner {
                true => Ok(()),
                false => Err(ApiError::MemberNotLearner),
            },
            MemberOp::Move(member) => {
                self.known(member.id)?;
                self.check_urls(member)
            }
            MemberOp::Publish(member) => self.known(member.id).map(drop),
        }
    }

    pub(crate) fn apply(&mut self, op: &MemberOp) -> Result<(), ApiError> {
        self.check(op)?;
        match op {
            MemberOp::Add(member) => {
                self.by_id.insert(member.id, Identity::of(member));
            }
            MemberOp::Remove(id) => {
                self.by_id.remove(id);
                self.removed.insert(*id);
            }
            MemberOp::Promote(id) => self.with(*id, |known| known.learner = false),
            MemberOp::Move(member) => {
                self.with(member.id, |known| known.peer_urls.clone_from(&member.peer_ur_ls));
            }
            MemberOp::Publish(member) => self.with(member.id, |known| {
                known.name.clone_from(&member.name);
                known.client_urls.clone_from(&member.client_ur_ls);
            }),
        }
        Ok(())
    }

    pub(crate) fn set_configuration(&mut self, configuration: Bytes) {
        self.configuration = configuration;
    }

    pub(crate) fn insert_restored(&mut self, member: &Member) {
        self.by_id.insert(member.id, Identity::of(member));
    }

    pub(crate) fn insert_removed(&mut self, id: u64) {
        self.removed.insert(id);
    }

    fn check_add(&self, member: &Member) -> Result<(), ApiError> {
        // Raft reserves 0 for nobody.
        if member.id == 0 || self.by_id.contains_key(&member.id) || self.was_removed(member.id) {
            return Err(ApiError::MemberExists);
        }
        self.check_urls(member)
    }

    fn check_urls(&self, member: &Member) -> Result<(), ApiError> {
        let others = self.by_id.iter().filter(|(id, _)| **id != member.id);
        let taken = others.flat_map(|(_, other)| &other.peer_urls);
        match taken.into_iter().any(|url| member.peer_ur_ls.contains(url)) {
            true => Err(ApiError::PeerUrlExists),
            false => Ok(()),
        }
    }

    fn known(&self, id: u64) -> Result<&Identity, ApiError> {
        self.by_id.get(&id).ok_or(ApiError::MemberNotFound)
    }

    fn with(&mut self, id: u64, change: impl FnOnce(&mut Identity)) {
        if let Some(member) = self.by_id.get_mut(&id) {
            change(member);
        }
    }
}

impl Identity {
    fn of(member: &Member) -> Self {
        Self {
            name: member.name.clone(),
            peer_urls: member.peer_ur_ls.clone(),
            client_urls: member.client_ur_ls.clone(),
            learner: member.is_learner,
        }
    }

    fn told(&self, id: u64) -> Member {
        Member {
            id,
            name: self.name.clone(),
            peer_ur_ls: self.peer_urls.clone(),
            client_ur_ls: self.client_urls.clone(),
            is_learner: self.learner,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, url: &str, learner: bool) -> Member {
        Member { id, peer_ur_ls: vec![url.to_owned()], is_learner: learner, ..Member::default() }
    }

    fn three() -> Members {
        let mut members = Members::default();
        for (id, learner) in [(1, false), (2, false), (3, true)] {
            let added = member(id, &format!("http://m{id}:2380"), learner);
            members.apply(&MemberOp::Add(added)).expect("new");
        }
        members
    }

    #[test]
    fn ids_and_addresses_are_used_once() {
        let mut members = three();
        let add = |id, url| MemberOp::Add(member(id, url, false));
        assert_eq!(members.apply(&add(2, "http://x:1")), Err(ApiError::MemberExists));
        assert_eq!(members.apply(&add(4, "http://m1:2380")), Err(ApiError::PeerUrlExists));
        members.apply(&MemberOp::Remove(2)).expect("known");
        assert_eq!(members.apply(&add(2, "http://m2:2380")), Err(ApiError::MemberExists));
        assert_eq!(members.apply(&MemberOp::Remove(2)), Err(ApiError::MemberNotFound));
        assert!(members.was_removed(2));
    }

    #[test]
    fn only_learners_are_promoted_and_the_last_voter_stays() {
        let mut members = three();
        assert_eq!(members.apply(&MemberOp::Promote(1)), Err(ApiError::MemberNotLearner));
        members.apply(&MemberOp::Promote(3)).expect("a learner");
        assert!(!members.get(3).expect("known").is_learner);
        members.apply(&MemberOp::Remove(1)).expect("known");
        members.apply(&MemberOp::Remove(2)).expect("known");
        let last = members.apply(&MemberOp::Remove(3));
        assert_eq!(last, Err(ApiError::MemberNotEnoughStarted));
    }

    #[test]
    fn a_member_may_keep_its_own_address_when_it_moves() {
        let mut members = three();
        members.apply(&MemberOp::Move(member(1, "http://m1:2380", false))).expect("its own");
        let other = MemberOp::Move(member(1, "http://m2:2380", false));
        assert_eq!(members.apply(&other), Err(ApiError::PeerUrlExists));
        let told = Member { name: "a".into(), ..member(1, "", false) };
        members.apply(&MemberOp::Publish(told)).expect("known");
        let one = members.get(1).expect("known");
        assert_eq!((one.name.as_str(), one.peer_ur_ls), ("a", vec!["http://m1:2380".to_owned()]));
    }
}
