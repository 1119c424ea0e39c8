//! When failed items are due again.

use std::collections::{BTreeMap, BTreeSet};

use rand::Rng;

/// Bounds of the waiting time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryLimits {
    /// Milliseconds after the first failure, before jitter.
    pub first_ms: u64,
    /// Milliseconds that no wait exceeds.
    pub max_ms: u64,
}

impl Default for RetryLimits {
    /// 100 ms, since most failures are gone by then, to 30 s, so that a repaired target is noticed soon.
    fn default() -> Self {
        Self { first_ms: 100, max_ms: 30_000 }
    }
}

impl RetryLimits {
    /// The wait after `failures` failures in a row (at least one): doubled each time, cut at the maximum,
    /// then drawn from its upper half so that a herd spreads out.
    pub fn wait_ms(&self, failures: u32, rng: &mut impl Rng) -> u64 {
        let doublings = failures.saturating_sub(1).min(32);
        let full = self.first_ms.saturating_mul(1 << doublings).min(self.max_ms);
        full - rng.random_range(0..=full / 2)
    }
}

/// Items that failed, each with its own count of failures and the time it is due.
///
/// Times are milliseconds of whatever clock the caller has, as long as it does not go back.
#[derive(Debug, Clone)]
pub struct RetryQueue<K> {
    limits: RetryLimits,
    items: BTreeMap<K, Waiting>,
    order: BTreeSet<(u64, K)>,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    failures: u32,
    due_ms: u64,
    since_ms: u64,
}

impl<K: Ord + Clone> RetryQueue<K> {
    /// An empty queue.
    pub fn new(limits: RetryLimits) -> Self {
        Self { limits, items: BTreeMap::new(), order: BTreeSet::new() }
    }

    /// An item failed (again). Returns when it is due.
    pub fn failed(&mut self, key: K, now_ms: u64, rng: &mut impl Rng) -> u64 {
        let before = self.items.get(&key).copied();
        if let Some(before) = before {
            self.order.remove(&(before.due_ms, key.clone()));
        }
        let failures = before.map_or(1, |before| before.failures.saturating_add(1));
        let due_ms = now_ms.saturating_add(self.limits.wait_ms(failures, rng));
        let since_ms = before.map_or(now_ms, |before| before.since_ms);
        self.items.insert(key.clone(), Waiting { failures, due_ms, since_ms });
        self.order.insert((due_ms, key));
        due_ms
    }

    /// An item succeeded, is gone, or has a new version that deserves a fresh try.
    pub fn clear(&mut self, key: &K) {
        if let Some(waiting) = self.items.remove(key) {
            self.order.remove(&(waiting.due_ms, key.clone()));
        }
    }

    /// Items that are due, longest waiting first. They stay queued, and are not due again, until their
    /// next [`RetryQueue::failed`] or [`RetryQueue::clear`].
    pub fn take_due(&mut self, now_ms: u64) -> Vec<K> {
        let mut due = Vec::new();
        while let Some((due_ms, key)) = self.order.pop_first() {
            if due_ms > now_ms {
                self.order.insert((due_ms, key));
                break;
            }
            due.push(key);
        }
        due
    }

    /// When the next item is due.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.order.first().map(|(due_ms, _)| *due_ms)
    }

    /// When the item that has been failing for longest first failed.
    pub fn oldest_failure_ms(&self) -> Option<u64> {
        self.items.values().map(|waiting| waiting.since_ms).min()
    }

    /// How many items have failed and not succeeded since.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// True when nothing is failing.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn rng() -> StdRng {
        StdRng::seed_from_u64(7)
    }

    #[test]
    fn waits_double_up_to_the_cap_and_jitter_stays_in_the_upper_half() {
        let limits = RetryLimits { first_ms: 100, max_ms: 1_000 };
        let mut rng = rng();
        for (failures, full) in [(1, 100), (2, 200), (3, 400), (4, 800), (5, 1_000), (99, 1_000)] {
            for _ in 0..50 {
                let wait = limits.wait_ms(failures, &mut rng);
                assert!((full / 2..=full).contains(&wait), "{failures}: {wait}");
            }
        }
    }

    #[test]
    fn items_are_due_in_order_and_once() {
        let mut queue = RetryQueue::new(RetryLimits::default());
        let mut rng = rng();
        let first = queue.failed("a", 0, &mut rng);
        let second = queue.failed("b", 1_000, &mut rng);
        assert_eq!(queue.next_deadline_ms(), Some(first));
        assert!(queue.take_due(first - 1).is_empty());
        assert_eq!(queue.take_due(second), ["a", "b"]);
        assert!(queue.take_due(second).is_empty());
        assert_eq!(queue.next_deadline_ms(), None);
        assert_eq!((queue.len(), queue.oldest_failure_ms()), (2, Some(0)));
    }

    #[test]
    fn success_clears_the_count() {
        let limits = RetryLimits { first_ms: 100, max_ms: 100_000 };
        let mut queue = RetryQueue::new(limits);
        let mut rng = rng();
        for now in 0..8 {
            queue.failed("a", now, &mut rng);
        }
        assert!(queue.next_deadline_ms().unwrap() > 6_000);
        queue.clear(&"a");
        assert!(queue.is_empty());
        assert!(queue.failed("a", 0, &mut rng) <= 100);
    }
}
