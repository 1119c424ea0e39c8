//! Applying what is committed.

use skein_store_mvcc::{Command, Envelope, MemberOp, Origin};
use skein_store_raft::{ConfChange, Configuration, Entry, EntryKind, SnapshotMeta};

use super::{Outlet, Replica};
use crate::driver::DriverError;
use crate::snapshot_file::Position;
use crate::state::{ApplyError, Reply};

/// Entries applied under one hold of the state's lock, so that readers wait for microseconds.
const APPLY_STEP: usize = 64;

impl Replica {
    pub(super) fn apply(
        &mut self,
        committed: Vec<Entry>,
        out: &mut dyn Outlet,
    ) -> Result<(), DriverError> {
        for run in committed.chunk_by(|one, next| one.kind == next.kind) {
            match run[0].kind {
                EntryKind::Normal => self.apply_commands(run, out)?,
                EntryKind::ConfChange => {
                    run.iter().try_for_each(|entry| self.apply_change(entry, out))?;
                }
            }
        }
        Ok(())
    }

    fn apply_commands(&mut self, run: &[Entry], out: &mut dyn Outlet) -> Result<(), DriverError> {
        for step in run.chunks(APPLY_STEP) {
            for (origin, reply) in self.state.apply(step)? {
                self.tell(origin, reply, out);
            }
            step.last().into_iter().for_each(|last| self.contains(last));
        }
        Ok(())
    }

    fn apply_change(&mut self, entry: &Entry, out: &mut dyn Outlet) -> Result<(), DriverError> {
        let index = entry.index;
        let change = ConfChange::decode(entry.data.clone())
            .map_err(|source| ApplyError::ConfChange { index, source })?;
        match self.apply_member_change(index, &change, out)? {
            Verdict::Refused => {}
            Verdict::Taken => {
                let configuration = self.node.change(index, &change)?;
                self.state.set_configuration(record(&configuration));
            }
        }
        self.contains(entry);
        if self.state.glance(|machine| machine.members().was_removed(self.id)) {
            self.removed = true;
        }
        Ok(())
    }

    /// The state machine judges the change, the same on every member; consensus follows.
    fn apply_member_change(
        &mut self,
        index: u64,
        change: &ConfChange,
        out: &mut dyn Outlet,
    ) -> Result<Verdict, DriverError> {
        if change.context.is_empty() {
            self.state.pass(index);
            return Ok(Verdict::Taken);
        }
        let (command, envelope) = Command::decode(change.context.clone())
            .map_err(|source| ApplyError::Command { index, source })?;
        let reply = self.state.apply_one(index, &command);
        let verdict = if reply.is_ok() { Verdict::Taken } else { Verdict::Refused };
        if let (Command::Member(op), Ok(_)) = (&command, &reply) {
            tracing::info!(change = describe(op), "members changed");
        }
        let Envelope { origin, .. } = envelope;
        origin.into_iter().for_each(|origin| self.tell(origin, reply.clone(), out));
        Ok(verdict)
    }

    fn tell(&self, origin: Origin, reply: Reply, out: &mut dyn Outlet) {
        if origin.member == self.id {
            out.outcome(origin.sequence, reply);
        }
    }

    fn contains(&mut self, last: &Entry) {
        self.node.applied(last.index);
        self.snapshotter.applied(Position { index: last.index, term: last.term });
    }
}

enum Verdict {
    Taken,
    Refused,
}

/// Consensus' own record of the configuration, as the state machine keeps it.
pub(super) fn record(configuration: &Configuration) -> bytes::Bytes {
    use prost::Message;
    SnapshotMeta::new(0, 0, configuration).encode_to_vec().into()
}

/// The configuration in such a record.
pub(super) fn configuration(record: &bytes::Bytes) -> Result<Configuration, prost::DecodeError> {
    use prost::Message;
    Ok(SnapshotMeta::decode(record.clone())?.configuration())
}

fn describe(op: &MemberOp) -> String {
    match op {
        MemberOp::Add(member) if member.is_learner => format!("learner {:x} joins", member.id),
        MemberOp::Add(member) => format!("{:x} joins", member.id),
        MemberOp::Remove(id) => format!("{id:x} leaves"),
        MemberOp::Promote(id) => format!("{id:x} votes"),
        MemberOp::Move(member) | MemberOp::Publish(member) => format!("{:x} tells", member.id),
    }
}
