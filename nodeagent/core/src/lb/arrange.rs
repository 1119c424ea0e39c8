//! Which backend stands in which slot.

use std::collections::BTreeSet;

/// The slots of a list that holds `old` and should hold `want`: a backend that stays keeps its slot
/// where it can, holes take the tail first (last entry first), then newcomers in order of id.
pub(super) fn arrange(old: &[u32], want: &BTreeSet<u32>) -> Vec<u32> {
    let mut left = want.clone();
    let kept: Vec<Option<u32>> =
        (0..want.len()).map(|i| old.get(i).copied().filter(|id| left.remove(id))).collect();
    let tail: Vec<u32> =
        old.iter().skip(want.len()).rev().copied().filter(|id| left.remove(id)).collect();
    let mut fill = tail.into_iter().chain(left);
    kept.into_iter().filter_map(|slot| slot.or_else(|| fill.next())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn removal_moves_the_last_into_the_hole() {
        assert_eq!(arrange(&[1, 2, 3, 4], &BTreeSet::from([1, 3, 4])), [1, 4, 3]);
        assert_eq!(arrange(&[], &BTreeSet::from([9, 4])), [4, 9]);
        assert_eq!(arrange(&[5, 5], &BTreeSet::from([5])), [5]);
    }

    proptest! {
        #[test]
        fn holds_exactly_what_is_wanted(
            old in proptest::collection::vec(1u32..30, 0..20),
            want in proptest::collection::btree_set(1u32..30, 0..20),
        ) {
            let slots = arrange(&old, &want);
            prop_assert_eq!(slots.len(), want.len());
            prop_assert_eq!(slots.into_iter().collect::<BTreeSet<_>>(), want);
        }
    }
}
