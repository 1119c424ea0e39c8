//! When a node without a leader stands for election.

use super::NodeConfig;

/// Ticks until the next campaign. Raft draws its own from the thread's generator; these follow from
/// a seed and the number of campaigns before, so that equal inputs give equal effects, and members
/// that stood for election at the same time do so at different times next.
pub(super) struct ElectionTimeout {
    seed: u64,
    least: usize,
    campaigns: u64,
}

impl ElectionTimeout {
    pub(super) fn new(config: &NodeConfig) -> Self {
        Self { seed: config.seed, least: config.election_ticks.max(1), campaigns: 0 }
    }

    /// For the campaign to come.
    pub(super) fn ticks(&self) -> usize {
        self.least + (mix(self.seed ^ mix(self.campaigns)) % self.least as u64) as usize
    }

    /// A campaign began.
    pub(super) fn draw(&mut self) {
        self.campaigns += 1;
    }
}

/// Spreads neighbouring seeds (the finalizer of SplitMix64, Steele et al., OOPSLA 2014).
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeouts(seed: u64) -> Vec<usize> {
        let config =
            NodeConfig { id: 1, election_ticks: 10, heartbeat_ticks: 1, seed, incarnation: 1 };
        let mut timeout = ElectionTimeout::new(&config);
        let draw = |_| {
            let ticks = timeout.ticks();
            timeout.draw();
            ticks
        };
        (0..100).map(draw).collect()
    }

    #[test]
    fn members_that_split_a_vote_do_not_split_all() {
        assert_eq!(timeouts(7), timeouts(7));
        assert!(timeouts(7).iter().all(|ticks| (10..20).contains(ticks)));
        for other in 1..50 {
            let together =
                timeouts(0).iter().zip(timeouts(other)).filter(|(a, b)| **a == *b).count();
            assert!(together < 30, "seed {other}: {together} of 100 at the same time");
        }
    }
}
