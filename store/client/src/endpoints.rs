//! Which endpoint to use: pure, so that the rule can be tested without a store.
//!
//! Every session ranks the endpoints by a hash of its own seed and the endpoint. The first in rank is its
//! home. Sessions thus spread evenly over the members, the clients of a member that fails spread evenly
//! over the others, and a member that is added takes over only the sessions whose new home it is.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// The endpoints of one session, and what is known of them.
#[derive(Debug)]
pub(crate) struct Endpoints {
    seed: u64,
    configured: Vec<String>,
    /// What the store's member list says; empty while unknown.
    learned: Vec<String>,
    /// When each endpoint failed last, counted in failures.
    failures: HashMap<String, u64>,
    failed_count: u64,
}

impl Endpoints {
    pub(crate) fn new(configured: Vec<String>, seed: u64) -> Self {
        let (learned, failures) = (Vec::new(), HashMap::new());
        Self { seed, configured, learned, failures, failed_count: 0 }
    }

    /// Where this session belongs while all is well.
    pub(crate) fn home(&self) -> Option<&str> {
        self.members().iter().min_by_key(|endpoint| self.rank(endpoint)).map(String::as_str)
    }

    /// All endpoints in the order in which to try them: those that never failed by rank, then those whose
    /// failure is longest ago; configured ones that are not in the member list last.
    pub(crate) fn order(&self) -> Vec<String> {
        let spare = self.configured.iter().filter(|endpoint| !self.members().contains(endpoint));
        let mut all: Vec<_> = self.members().iter().map(|endpoint| (false, endpoint)).collect();
        all.extend(spare.map(|endpoint| (true, endpoint)));
        all.sort_by_key(|(spare, endpoint)| {
            (*spare, self.failures.get(*endpoint), self.rank(endpoint))
        });
        all.into_iter().map(|(_, endpoint)| endpoint.clone()).collect()
    }

    /// A connection to it could not be made, or broke.
    pub(crate) fn failed(&mut self, endpoint: &str) {
        self.failed_count += 1;
        self.failures.insert(endpoint.to_owned(), self.failed_count);
    }

    /// It has proved itself.
    pub(crate) fn recovered(&mut self, endpoint: &str) {
        self.failures.remove(endpoint);
    }

    /// The member list, which replaces the former one.
    pub(crate) fn learn(&mut self, learned: Vec<String>) {
        self.learned = learned;
        let (learned, configured) = (&self.learned, &self.configured);
        self.failures
            .retain(|endpoint, _| learned.contains(endpoint) || configured.contains(endpoint));
    }

    fn members(&self) -> &[String] {
        if self.learned.is_empty() { &self.configured } else { &self.learned }
    }

    fn rank(&self, endpoint: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.seed, endpoint).hash(&mut hasher);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sessions in the tests that look at how they spread.
    const SESSIONS: u64 = 3_000;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// How many sessions each endpoint is tried first by.
    fn spread(prepare: impl Fn(&mut Endpoints)) -> HashMap<String, u64> {
        let mut counts = HashMap::new();
        for seed in 0..SESSIONS {
            let mut endpoints = Endpoints::new(names(&["a:1", "b:1", "c:1"]), seed);
            prepare(&mut endpoints);
            *counts.entry(endpoints.order()[0].clone()).or_default() += 1;
        }
        counts
    }

    fn near(count: u64, expected: u64) -> bool {
        count.abs_diff(expected) < SESSIONS / 20
    }

    #[test]
    fn sessions_spread_and_so_do_those_that_lose_their_member() {
        let all = spread(|_| ());
        assert!(all.len() == 3 && all.values().all(|n| near(*n, SESSIONS / 3)), "{all:?}");
        let without_a = spread(|endpoints| endpoints.failed("a:1"));
        assert_eq!(without_a.get("a:1"), None);
        assert!(without_a.values().all(|n| near(*n, SESSIONS / 2)), "{without_a:?}");
    }

    #[test]
    fn a_member_that_is_added_moves_only_its_own_share() {
        for seed in 0..SESSIONS {
            let mut endpoints = Endpoints::new(names(&["a:1", "b:1", "c:1"]), seed);
            let before = endpoints.home().unwrap().to_owned();
            endpoints.learn(names(&["a:1", "b:1", "c:1", "d:1"]));
            let after = endpoints.home().unwrap();
            assert!(after == before || after == "d:1");
        }
    }

    #[test]
    fn failures_are_passed_over_in_turn_and_forgiven() {
        let mut endpoints = Endpoints::new(names(&["a:1", "b:1", "c:1"]), 7);
        let order = endpoints.order();
        assert_eq!(endpoints.home(), Some(order[0].as_str()));
        endpoints.failed(&order[0]);
        endpoints.failed(&order[1]);
        let turned = [&order[2], &order[0], &order[1]].map(Clone::clone);
        assert_eq!(endpoints.order(), turned);
        assert_eq!(endpoints.home(), Some(order[0].as_str()), "home stays home");
        endpoints.recovered(&order[0]);
        assert_eq!(endpoints.order()[0], order[0]);
    }

    #[test]
    fn the_member_list_comes_first_and_the_configuration_last() {
        let mut endpoints = Endpoints::new(names(&["old:1", "b:1"]), 3);
        endpoints.learn(names(&["b:1", "c:1"]));
        let order = endpoints.order();
        assert_eq!((order.len(), order[2].as_str()), (3, "old:1"));
        assert!(endpoints.home().is_some_and(|home| home != "old:1"));
    }
}
