//! The network between members: who reaches whom, how late, how often.

use std::collections::{BTreeMap, BTreeSet};

use crate::rng::Rng;

/// The network now.
#[derive(Clone, Debug)]
pub(crate) struct Net {
    /// Directions that carry nothing.
    cut: BTreeSet<(u64, u64)>,
    /// Part of the messages that get lost, in percent.
    pub(crate) loss_percent: u64,
    /// Part that arrives twice.
    pub(crate) duplicate_percent: u64,
    /// Shortest and longest way, in microseconds.
    pub(crate) delay_us: (u64, u64),
    /// Whether a message may overtake another of the same direction.
    pub(crate) reorder: bool,
    /// When the last message of each direction arrives.
    last: BTreeMap<(u64, u64), u64>,
}

impl Default for Net {
    /// A healthy network of one room.
    fn default() -> Self {
        Self {
            cut: BTreeSet::new(),
            loss_percent: 0,
            duplicate_percent: 0,
            delay_us: (100, 600),
            reorder: false,
            last: BTreeMap::new(),
        }
    }
}

impl Net {
    /// Everything reaches everybody again, soon, once, and in order.
    pub(crate) fn heal(&mut self) {
        let last = std::mem::take(&mut self.last);
        *self = Self { last, ..Self::default() };
    }

    /// Nothing goes from one to the other any more.
    pub(crate) fn cut(&mut self, from: u64, to: u64) {
        self.cut.insert((from, to));
    }

    /// Every cut is mended.
    pub(crate) fn mend(&mut self) {
        self.cut.clear();
    }

    /// When a message sent now arrives: never, once or twice.
    pub(crate) fn arrivals(&mut self, rng: &mut Rng, now: u64, from: u64, to: u64) -> Vec<u64> {
        let mut arrivals: Vec<u64> = self.once(rng, now, from, to).into_iter().collect();
        if !arrivals.is_empty() && rng.percent(self.duplicate_percent) {
            arrivals.extend(self.once(rng, now, from, to));
        }
        arrivals
    }

    /// When something arrives that is sent over a connection, which loses it at most.
    pub(crate) fn once(&mut self, rng: &mut Rng, now: u64, from: u64, to: u64) -> Option<u64> {
        if self.cut.contains(&(from, to)) || rng.percent(self.loss_percent) {
            return None;
        }
        let (low, high) = self.delay_us;
        let mut at = now + rng.between(low, high);
        let last = self.last.entry((from, to)).or_default();
        if !self.reorder {
            at = at.max(*last + 1);
        }
        *last = at.max(*last);
        Some(at)
    }
}

/// A shape of a partition. Members outside of it are not affected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Partition {
    /// Two sides that do not reach each other.
    Split(Vec<u64>, Vec<u64>),
    /// The first cannot send to the second, which still reaches it.
    OneWay(u64, Vec<u64>),
    /// Two sides that only meet in one member.
    Bridge(u64, Vec<u64>, Vec<u64>),
    /// Each member reaches its neighbours in the list only.
    Ring(Vec<u64>),
}

impl Partition {
    /// One of all shapes, by chance; `first` plays the special part.
    pub(crate) fn draw(rng: &mut Rng, members: &[u64], first: u64) -> Self {
        let mut others: Vec<u64> = members.iter().copied().filter(|&id| id != first).collect();
        rng.shuffle(&mut others);
        match rng.below(5) {
            0 => Partition::Split(vec![first], others),
            1 => {
                let half = others.split_off(others.len() / 2);
                others.push(first);
                Partition::Split(others, half)
            }
            2 => Partition::OneWay(first, others),
            3 => {
                let half = others.split_off(others.len() / 2);
                Partition::Bridge(first, others, half)
            }
            _ => {
                others.push(first);
                Partition::Ring(others)
            }
        }
    }

    /// Brings it about.
    pub(crate) fn apply(&self, net: &mut Net) {
        match self {
            Partition::Split(one, other) | Partition::Bridge(_, one, other) => {
                for (&a, &b) in one.iter().flat_map(|a| other.iter().map(move |b| (a, b))) {
                    net.cut(a, b);
                    net.cut(b, a);
                }
            }
            Partition::OneWay(from, to) => to.iter().for_each(|&to| net.cut(*from, to)),
            Partition::Ring(ring) => {
                let len = ring.len();
                for (i, &a) in ring.iter().enumerate() {
                    for (j, &b) in ring.iter().enumerate() {
                        let near = (i + 1) % len == j || (j + 1) % len == i;
                        // Three in a ring all reach each other: one side is left open there.
                        let open = len <= 3 && i.abs_diff(j) == 2;
                        if i != j && (!near || open) {
                            net.cut(a, b);
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reaches(net: &mut Net, from: u64, to: u64) -> bool {
        net.once(&mut Rng::new(1), 0, from, to).is_some()
    }

    #[test]
    fn every_shape_cuts_something_and_leaves_something() {
        for members in [vec![1, 2, 3], vec![1, 2, 3, 4, 5]] {
            for seed in 0..100 {
                let shape = Partition::draw(&mut Rng::new(seed), &members, 1);
                let mut net = Net::default();
                shape.apply(&mut net);
                let pairs: Vec<_> = members
                    .iter()
                    .flat_map(|&a| members.iter().map(move |&b| (a, b)))
                    .filter(|(a, b)| a != b)
                    .collect();
                let open = pairs.iter().filter(|&&(a, b)| reaches(&mut net, a, b)).count();
                assert!((1..pairs.len()).contains(&open), "{shape:?} leaves {open}");
                net.mend();
                assert!(pairs.iter().all(|&(a, b)| reaches(&mut net, a, b)));
            }
        }
    }

    #[test]
    fn a_direction_keeps_its_order_unless_it_may_not() {
        let mut rng = Rng::new(4);
        let mut net = Net { delay_us: (1, 1_000), ..Net::default() };
        let arrivals: Vec<_> = (0..50).filter_map(|at| net.once(&mut rng, at, 1, 2)).collect();
        assert!(arrivals.is_sorted() && arrivals.len() == 50);
        net.reorder = true;
        let arrivals: Vec<_> = (0..50).filter_map(|at| net.once(&mut rng, at, 1, 2)).collect();
        assert!(!arrivals.is_sorted());
    }
}
