//! Members with the same revision and the same compaction hold the same.

use std::collections::BTreeMap;

use crate::history::{HashSeen, History};
use crate::{Checker, Violation};

/// Compares all hashes.
pub fn check(history: &History) -> Vec<Violation> {
    let mut first: BTreeMap<(i64, i64), &HashSeen> = BTreeMap::new();
    let mut found = Vec::new();
    for seen in &history.hashes {
        let known = *first.entry((seen.revision, seen.compact_revision)).or_insert(seen);
        if known.hash != seen.hash {
            let what = format!(
                "at revision {} (compacted {}) member {} has hash {:08x} and member {} has {:08x}",
                seen.revision,
                seen.compact_revision,
                known.member,
                known.hash,
                seen.member,
                seen.hash
            );
            found.push(Violation::new(Checker::Hash, what));
        }
    }
    found
}
