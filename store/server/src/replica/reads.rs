//! Linearizable reads that wait for a confirmation by the leader and then for the state machine.

use skein_store_raft::{ReadIndex, ReadTicket};

use super::{Outlet, Replica};

/// Ticks after which a read that nobody confirmed is asked for again, under a new ticket: requests
/// and answers may be lost. Half a second at the default heartbeat, as etcd.
const RETRY_TICKS: u32 = 5;

/// Reads by how far they are.
#[derive(Default)]
pub(super) struct Reads {
    /// Not asked for yet.
    fresh: Vec<u64>,
    /// Asked for; all that came at the same time share a ticket.
    asked: Vec<Asked>,
    /// Confirmed, waiting until the state machine contains the index.
    confirmed: Vec<(u64, Vec<u64>)>,
}

struct Asked {
    ticket: ReadTicket,
    ticks: u32,
    reads: Vec<u64>,
}

impl Reads {
    pub(super) fn add(&mut self, read: u64) {
        self.fresh.push(read);
    }

    pub(super) fn tick(&mut self) {
        self.asked.iter_mut().for_each(|asked| asked.ticks += 1);
        if self.asked.iter().any(|asked| asked.ticks >= RETRY_TICKS) {
            self.ask_again();
        }
    }

    /// Forgets what was asked for: the next ask covers all of it.
    pub(super) fn ask_again(&mut self) {
        self.fresh.extend(self.asked.drain(..).flat_map(|asked| asked.reads));
    }

    pub(super) fn confirm(&mut self, answers: &[ReadIndex]) {
        for answer in answers {
            if let Some(at) = self.asked.iter().position(|asked| asked.ticket == answer.ticket) {
                self.confirmed.push((answer.index, self.asked.swap_remove(at).reads));
            }
        }
    }
}

impl Replica {
    pub(super) fn ask_for_reads(&mut self) {
        if self.reads.fresh.is_empty() {
            return;
        }
        if let Some(ticket) = self.node.read_index() {
            let reads = std::mem::take(&mut self.reads.fresh);
            self.reads.asked.push(Asked { ticket, ticks: 0, reads });
        }
    }

    pub(super) fn release_reads(&mut self, out: &mut dyn Outlet) {
        let applied = self.node.status().applied;
        let ready = self.reads.confirmed.extract_if(.., |(index, _)| *index <= applied);
        ready.flat_map(|(_, reads)| reads).for_each(|read| out.confirmed(read));
    }
}
