//! Whoever breaks things, and mends them after a while.

use crate::net::Partition;
use crate::rng::Rng;
use crate::scenario::Fault;
use crate::world::{Event, World};

/// What ends a fault.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Undo {
    Net,
    Clients,
    Disk(u64),
}

impl World {
    /// Something breaks, and the next thing is planned.
    pub(crate) fn fault(&mut self) {
        if self.healed {
            return;
        }
        let at = self.now + self.rng.between(200_000, 2_500_000);
        self.plan(at, Event::Fault);
        let Some(&fault) = self.rng.pick(self.scenario.faults) else { return };
        let member = self.victim();
        self.say(format_args!("fault: {fault:?} at member {member}"));
        let lasts = self.rng.between(100_000, 4_000_000);
        match fault {
            Fault::Partition => {
                let members = self.members();
                let shape = Partition::draw(&mut self.rng, &members, member);
                self.say(format_args!("{shape:?}"));
                self.net.mend();
                shape.apply(&mut self.net);
                self.plan(self.now + lasts, Event::Undo(Undo::Net));
            }
            Fault::Weather => self.weather(lasts),
            Fault::ClientsCut => {
                self.hidden = Some(member);
                self.plan(self.now + lasts, Event::Undo(Undo::Clients));
            }
            Fault::Pause => self.host(member).paused_until = self.now + lasts,
            Fault::Kill => self.end_process(member, "killed"),
            Fault::PowerCut => self.power_cut(member),
            Fault::Blackout => self.members().into_iter().for_each(|id| self.power_cut(id)),
            Fault::BitFlip => self.flip(member),
            Fault::Replace => self.replace(member),
            Fault::StopInWrite | Fault::SlowDisk | Fault::SyncFails | Fault::DiskFull => {
                self.break_disk(member, fault, lasts);
            }
        }
    }

    /// Half of the time the leader: it has the most to lose.
    fn victim(&mut self) -> u64 {
        let leader = self.hosts.values().find(|host| host.leads()).map(|host| host.id);
        match leader {
            Some(leader) if self.rng.one_in(2) => leader,
            _ => self.rng.between(1, self.scenario.members),
        }
    }

    fn weather(&mut self, lasts: u64) {
        let rng = &mut self.rng;
        self.net.loss_percent = *rng.pick(&[0, 5, 20, 50]).unwrap_or(&0);
        self.net.duplicate_percent = *rng.pick(&[0, 10, 40]).unwrap_or(&0);
        self.net.delay_us = (100, *rng.pick(&[600, 20_000, 300_000]).unwrap_or(&600));
        self.net.reorder = rng.one_in(2);
        self.plan(self.now + lasts, Event::Undo(Undo::Net));
    }

    fn end_process(&mut self, member: u64, why: &str) {
        if self.host(member).is_up() {
            self.process_ends(member, why);
        }
    }

    fn power_cut(&mut self, member: u64) {
        self.end_process(member, "power is lost");
        self.host(member).disk.power_cut();
    }

    /// On one member of the cluster at most: nobody promises more.
    fn flip(&mut self, member: u64) {
        if self.hosts.values().any(|host| host.flipped) {
            return;
        }
        self.end_process(member, "killed, to flip a bit");
        if let Some((path, at)) = self.host(member).disk.flip_bit() {
            self.say(format_args!("a bit of {} at {at} flips", path.display()));
            self.host(member).flipped = true;
        }
    }

    fn break_disk(&mut self, member: u64, fault: Fault, lasts: u64) {
        let mut rng: Rng = self.rng.fork();
        self.host(member).disk.set_faults(|faults| match fault {
            Fault::SlowDisk => faults.sync_us = rng.between(20_000, 1_500_000),
            Fault::SyncFails => faults.fail_sync = true,
            Fault::DiskFull => faults.capacity = 0,
            _ => faults.stop_after = Some(rng.below(12)),
        });
        if fault != Fault::StopInWrite {
            self.plan(self.now + lasts, Event::Undo(Undo::Disk(member)));
        }
    }

    pub(crate) fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Net => self.net.heal(),
            Undo::Clients => self.hidden = None,
            Undo::Disk(member) => self.host(member).disk.set_faults(|faults| {
                let sync_lies = faults.sync_lies;
                *faults = crate::disk::Faults { sync_lies, ..Default::default() };
            }),
        }
    }
}
