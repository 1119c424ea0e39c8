//! Which members differ, from their hashes: pure.

use skein_store_client::KvHash;

/// What the hashes say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All are equal.
    Equal,
    /// They are of different points in history and say nothing; ask again.
    Incomparable,
    /// The endpoints belong to different stores.
    Strangers,
    /// These (by index) differ from the member at `reference`.
    Differ {
        /// A member of the largest group of equal ones; the first one when no group is the largest.
        reference: usize,
        /// In order.
        outliers: Vec<usize>,
        /// Whether more than half agree, so that one can say who is wrong.
        majority: bool,
    },
}

/// Judges hashes that are all of one revision.
pub(super) fn judge(hashes: &[KvHash]) -> Verdict {
    let Some(first) = hashes.first() else { return Verdict::Equal };
    if hashes.iter().any(|hash| hash.cluster_id != first.cluster_id) {
        return Verdict::Strangers;
    }
    let point = |hash: &KvHash| (hash.compact_revision, hash.hash_revision);
    if hashes.iter().any(|hash| point(hash) != point(first)) {
        return Verdict::Incomparable;
    }
    let agreeing = |with: &KvHash| hashes.iter().filter(|hash| hash.hash == with.hash).count();
    // The first of those with the most company: `max_by_key` would give the last.
    let reference = (0..hashes.len()).rev().max_by_key(|at| agreeing(&hashes[*at])).unwrap_or(0);
    let good = hashes[reference].hash;
    let outliers: Vec<_> = (0..hashes.len()).filter(|at| hashes[*at].hash != good).collect();
    if outliers.is_empty() {
        return Verdict::Equal;
    }
    let majority = 2 * (hashes.len() - outliers.len()) > hashes.len();
    Verdict::Differ { reference, outliers, majority }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(values: &[u32]) -> Vec<KvHash> {
        let of = |hash: &u32| KvHash {
            cluster_id: 1,
            member_id: 1,
            hash: *hash,
            compact_revision: 5,
            hash_revision: 9,
        };
        values.iter().map(of).collect()
    }

    #[test]
    fn the_majority_is_right() {
        assert_eq!(judge(&hashes(&[7, 7, 7])), Verdict::Equal);
        assert_eq!(judge(&hashes(&[])), Verdict::Equal);
        for (values, reference, outliers, majority) in [
            ([7, 8, 7].as_slice(), 0, vec![1], true),
            (&[8, 7, 7], 1, vec![0], true),
            (&[7, 8], 0, vec![1], false),
            (&[1, 2, 3], 0, vec![1, 2], false),
            (&[1, 2, 3, 2, 2], 1, vec![0, 2], true),
        ] {
            let differ = Verdict::Differ { reference, outliers, majority };
            assert_eq!(judge(&hashes(values)), differ, "{values:?}");
        }
    }

    #[test]
    fn only_what_is_comparable_is_compared() {
        let mut other = hashes(&[7, 8]);
        other[1].compact_revision = 6;
        assert_eq!(judge(&other), Verdict::Incomparable);
        other[1].cluster_id = 2;
        assert_eq!(judge(&other), Verdict::Strangers);
    }
}
