//! Whoever replaces members: one leaves for ever, another with an empty disk takes its place.

use bytes::Bytes;
use skein_store_mvcc::{Command, MemberOp};
use skein_store_server::replica::Proposal;

use crate::disk::SimDisk;
use crate::host::{Host, Outbox, founder};
use crate::world::{Event, World};

/// How often the operator looks how far things are, in microseconds.
const LOOK_US: u64 = 300_000;

/// A replacement under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replacement {
    leaves: u64,
    comes: u64,
}

impl World {
    /// Begins to replace a member, if nothing of that kind is under way.
    pub(crate) fn replace(&mut self, leaves: u64) {
        let comes = self.hosts.keys().max().map_or(1, |last| last + 1);
        if self.replacement.is_none() && !self.host(leaves).gone {
            self.replacement = Some(Replacement { leaves, comes });
            self.plan(self.now, Event::Operate);
        }
    }

    /// Does the next step, by what the leader's state says. A step that got lost is done again.
    pub(crate) fn operate(&mut self) {
        let Some(Replacement { leaves, comes }) = self.replacement else { return };
        self.plan(self.now + LOOK_US, Event::Operate);
        let Some(leader) = self.hosts.values().find(|host| host.leads()) else { return };
        let (id, Some(core)) = (leader.id, &leader.core) else { return };
        let (left, came) = core.glance(|machine| {
            let members = machine.members();
            (members.was_removed(leaves), members.get(comes).is_some())
        });
        if !left {
            self.change_members(id, MemberOp::Remove(leaves));
        } else if !came {
            self.leave(leaves);
            self.change_members(id, MemberOp::Add(founder(comes)));
        } else {
            self.come(comes);
            self.replacement = None;
        }
    }

    fn change_members(&mut self, leader: u64, op: MemberOp) {
        self.say(format_args!("operator asks member {leader} for {op:?}"));
        let command: Bytes = Command::Member(op).encode();
        let proposal = Proposal { sequence: 0, command, changes_members: true };
        let Some(core) = &mut self.host(leader).core else { return };
        // Nobody waits, so that there is nothing to tell.
        core.propose(proposal, &mut Outbox::default());
        self.plan_turn(leader);
    }

    /// The machine is switched off for ever.
    fn leave(&mut self, member: u64) {
        if !self.host(member).gone {
            self.host(member).gone = true;
            self.process_ends(member, "it was removed");
        }
    }

    fn come(&mut self, member: u64) {
        let disk = SimDisk::new(self.rng.fork());
        let host = Host::new(member, disk, self.rng.fork(), 0);
        self.hosts.insert(member, host);
        self.plan(self.now, Event::Start { member });
    }
}
