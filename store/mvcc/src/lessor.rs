//! When leases expire: the leader's half of leases.
//!
//! Time is a number of milliseconds that the caller reads from a monotonic clock of its own; it
//! must not run backwards. A lease is due no earlier than its time to live after the last renewal,
//! and the clock starts over, in full, for every lease when a member becomes leader or restarts.

use std::collections::{BTreeMap, BTreeSet};

/// How long a due lease may stay without being revoked before it is reported again, in
/// milliseconds: the revoke may have been lost with a leader.
const REVOKE_RETRY_MS: u64 = 3_000;

const MS_PER_SECOND: u64 = 1_000;

/// Which leases are due.
#[derive(Clone, Debug, Default)]
pub struct Lessor {
    leases: BTreeMap<i64, Clock>,
    /// Every lease by the time to look at it again.
    agenda: BTreeSet<(u64, i64)>,
}

#[derive(Clone, Copy, Debug)]
struct Clock {
    ttl_ms: u64,
    expires_ms: u64,
    /// The lease's place in the agenda: its expiry, or the time to report it again.
    look_ms: u64,
}

/// What a keep-alive came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The lease lives for this many seconds more.
    Renewed {
        /// The granted time to live, in seconds.
        ttl_seconds: i64,
    },
    /// The lease is due and is being revoked; it cannot be saved any more.
    Expired,
    /// There is no such lease.
    Unknown,
}

impl Lessor {
    /// No leases.
    pub fn new() -> Lessor {
        Lessor::default()
    }

    /// Takes over as leader, or after a restart: every lease gets its full time to live, and
    /// `extend_ms` on top, from `now_ms`.
    pub fn promote(
        &mut self,
        now_ms: u64,
        extend_ms: u64,
        leases: impl IntoIterator<Item = (i64, i64)>,
    ) {
        self.demote();
        for (id, ttl_seconds) in leases {
            self.grant(now_ms.saturating_add(extend_ms), id, ttl_seconds);
        }
    }

    /// Stops deciding: another member leads.
    pub fn demote(&mut self) {
        self.leases.clear();
        self.agenda.clear();
    }

    /// A lease was granted.
    pub fn grant(&mut self, now_ms: u64, id: i64, ttl_seconds: i64) {
        let ttl_ms = u64::try_from(ttl_seconds).unwrap_or(0).saturating_mul(MS_PER_SECOND);
        let expires_ms = now_ms.saturating_add(ttl_ms);
        self.schedule(id, Clock { ttl_ms, expires_ms, look_ms: expires_ms });
    }

    /// A lease was revoked.
    pub fn revoke(&mut self, id: i64) {
        if let Some(clock) = self.leases.remove(&id) {
            self.agenda.remove(&(clock.look_ms, id));
        }
    }

    /// A client asks for the lease to live on.
    pub fn renew(&mut self, now_ms: u64, id: i64) -> Renewal {
        let Some(&clock) = self.leases.get(&id) else { return Renewal::Unknown };
        if clock.expires_ms <= now_ms {
            return Renewal::Expired;
        }
        let expires_ms = now_ms.saturating_add(clock.ttl_ms);
        self.schedule(id, Clock { expires_ms, look_ms: expires_ms, ..clock });
        Renewal::Renewed { ttl_seconds: (clock.ttl_ms / MS_PER_SECOND) as i64 }
    }

    /// Whole seconds that the lease has left, 0 when it is due; `None` when there is none.
    pub fn remaining_seconds(&self, now_ms: u64, id: i64) -> Option<i64> {
        let clock = self.leases.get(&id)?;
        Some((clock.expires_ms.saturating_sub(now_ms) / MS_PER_SECOND) as i64)
    }

    /// At most `most` leases that are due and should be revoked now. One that is not revoked is
    /// reported again three seconds later.
    pub fn due(&mut self, now_ms: u64, most: usize) -> Vec<i64> {
        let due: Vec<i64> = self
            .agenda
            .iter()
            .take_while(|(look_ms, _)| *look_ms <= now_ms)
            .take(most)
            .map(|&(_, id)| id)
            .collect();
        for &id in &due {
            if let Some(&clock) = self.leases.get(&id) {
                self.schedule(id, Clock { look_ms: now_ms + REVOKE_RETRY_MS, ..clock });
            }
        }
        due
    }

    /// When [`Lessor::due`] should be called next.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.agenda.first().map(|&(look_ms, _)| look_ms)
    }

    fn schedule(&mut self, id: i64, clock: Clock) {
        if let Some(before) = self.leases.insert(id, clock) {
            self.agenda.remove(&(before.look_ms, id));
        }
        self.agenda.insert((clock.look_ms, id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_due_at_its_time_and_not_before() {
        let mut lessor = Lessor::new();
        lessor.grant(1_000, 7, 2);
        assert_eq!(lessor.next_deadline_ms(), Some(3_000));
        assert_eq!(lessor.due(2_999, 10), vec![]);
        assert_eq!(lessor.remaining_seconds(2_999, 7), Some(0));
        assert_eq!(lessor.remaining_seconds(1_000, 7), Some(2));
        assert_eq!(lessor.due(3_000, 10), vec![7]);
        assert_eq!(lessor.renew(3_000, 7), Renewal::Expired);
    }

    #[test]
    fn a_renewal_starts_the_time_over() {
        let mut lessor = Lessor::new();
        lessor.grant(0, 7, 2);
        assert_eq!(lessor.renew(1_999, 7), Renewal::Renewed { ttl_seconds: 2 });
        assert_eq!(lessor.due(3_998, 10), vec![]);
        assert_eq!(lessor.due(3_999, 10), vec![7]);
        assert_eq!(lessor.renew(0, 8), Renewal::Unknown);
    }

    #[test]
    fn a_due_lease_is_reported_until_it_is_revoked() {
        let mut lessor = Lessor::new();
        lessor.grant(0, 1, 1);
        lessor.grant(0, 2, 1);
        assert_eq!(lessor.due(1_000, 1), vec![1]);
        assert_eq!(lessor.due(1_000, 10), vec![2]);
        assert_eq!(lessor.due(1_001, 10), vec![]);
        lessor.revoke(1);
        assert_eq!(lessor.due(4_000, 10), vec![2]);
        lessor.revoke(2);
        assert_eq!(lessor.next_deadline_ms(), None);
        assert_eq!(lessor.remaining_seconds(0, 2), None);
    }

    #[test]
    fn a_new_leader_gives_every_lease_its_full_time() {
        let mut lessor = Lessor::new();
        lessor.grant(0, 1, 5);
        lessor.promote(100_000, 500, [(1, 5), (2, 10)]);
        assert_eq!(lessor.due(105_499, 10), vec![]);
        assert_eq!(lessor.due(105_500, 10), vec![1]);
        assert_eq!(lessor.due(110_500, 10), vec![1, 2]);
        lessor.demote();
        assert_eq!(lessor.due(u64::MAX / 2, 10), vec![]);
    }

    #[test]
    fn the_longest_lease_does_not_overflow() {
        let mut lessor = Lessor::new();
        lessor.grant(u64::MAX - 1, 1, i64::MAX);
        assert_eq!(lessor.due(u64::MAX - 2, 1), vec![]);
        assert_eq!(lessor.next_deadline_ms(), Some(u64::MAX));
    }
}
