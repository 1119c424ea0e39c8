//! Changes of the members, which consensus takes one at a time.

use std::collections::VecDeque;

use skein_store_api::ApiError;
use skein_store_mvcc::{Command, MemberOp};
use skein_store_raft::{Change, ConfChange, ProposeError};

use super::{Outlet, Queued, Replica};

/// Changes of members that may wait for each other.
const MAX_CHANGES: usize = 64;

/// A learner may be promoted when it holds this share of the leader's log, in percent, as etcd.
const READY_PERCENT: u64 = 90;

/// What waits.
#[derive(Default)]
pub(super) struct Changes(VecDeque<Queued>);

impl Changes {
    /// Whether there was room.
    pub(super) fn add(&mut self, queued: Queued) -> bool {
        let room = self.0.len() < MAX_CHANGES;
        if room {
            self.0.push_back(queued);
        }
        room
    }
}

impl Replica {
    /// Proposes the next change, or passes it on to the leader; without one it waits.
    pub(super) fn propose_change(&mut self, out: &mut dyn Outlet) {
        let leader = self.node.status().leader;
        if leader == 0 || self.changes.0.is_empty() {
            return;
        }
        let Some(queued) = self.changes.0.pop_front() else { return };
        if !self.node.leads() {
            return out.forward(leader, vec![queued.proposal]);
        }
        match self.configuration_change(&queued) {
            Err(error) => self.refuse_all(vec![queued], error, out),
            Ok(change) => match self.node.propose_change(&change) {
                Ok(_) => {}
                // Its turn comes when the one before is applied.
                Err(ProposeError::Busy) => self.changes.0.push_front(queued),
                Err(error) => self.refuse_all(vec![queued], super::refusal(error), out),
            },
        }
    }

    /// Judges the change as far as the leader can before it is agreed on. Whether it is taken is
    /// decided where it is applied.
    fn configuration_change(&self, queued: &Queued) -> Result<ConfChange, ApiError> {
        let context = queued.proposal.command.clone();
        // A member of this build encoded it.
        let Ok((Command::Member(op), _)) = Command::decode(context.clone()) else {
            return Err(ApiError::Corrupt);
        };
        self.state.glance(|machine| machine.members().check(&op))?;
        let step = match &op {
            MemberOp::Add(member) if member.is_learner => Change::AddLearner(member.id),
            MemberOp::Add(member) => Change::AddVoter(member.id),
            MemberOp::Remove(id) => Change::Remove(*id),
            MemberOp::Promote(id) => {
                self.check_ready(*id)?;
                Change::AddVoter(*id)
            }
            MemberOp::Move(_) | MemberOp::Publish(_) => return Err(ApiError::Corrupt),
        };
        Ok(ConfChange { changes: vec![step], context })
    }

    fn check_ready(&self, learner: u64) -> Result<(), ApiError> {
        let progress = self.node.progress();
        let matched = progress.iter().find(|other| other.id == learner).map(|other| other.matched);
        let needed = self.node.status().last * READY_PERCENT / 100;
        if matched.unwrap_or(0) < needed { Err(ApiError::LearnerNotReady) } else { Ok(()) }
    }
}
