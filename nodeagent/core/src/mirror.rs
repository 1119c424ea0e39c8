//! One map kept equal to what is wanted, by difference.

use std::collections::{BTreeMap, BTreeSet};

/// The wanted contents of a map, a copy of what the kernel was found to hold, and the keys that may
/// differ. A round costs as much as what changed, not as much as the map.
#[derive(Clone, Debug)]
pub struct Mirror<K, V> {
    desired: BTreeMap<K, V>,
    actual: BTreeMap<K, V>,
    dirty: BTreeSet<K>,
}

/// What to write and what to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes<K, V> {
    /// Entries to write.
    pub upserts: Vec<(K, V)>,
    /// Keys to delete.
    pub deletes: Vec<K>,
}

impl<K, V> Changes<K, V> {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.upserts.is_empty() && self.deletes.is_empty()
    }
}

impl<K: Ord + Clone, V: PartialEq + Clone> Default for Mirror<K, V> {
    fn default() -> Self {
        Mirror { desired: BTreeMap::new(), actual: BTreeMap::new(), dirty: BTreeSet::new() }
    }
}

impl<K: Ord + Clone, V: PartialEq + Clone> Mirror<K, V> {
    /// Replaces what is known of the kernel: every key of either side is compared again.
    pub fn load(&mut self, actual: BTreeMap<K, V>) {
        self.actual = actual;
        self.dirty = self.desired.keys().chain(self.actual.keys()).cloned().collect();
    }

    /// Wants `key` to be `value`, or absent.
    pub fn want(&mut self, key: K, value: Option<V>) {
        let unchanged = self.desired.get(&key) == value.as_ref();
        if unchanged && !self.dirty.contains(&key) {
            return;
        }
        match value {
            Some(value) => self.desired.insert(key.clone(), value),
            None => self.desired.remove(&key),
        };
        self.dirty.insert(key);
    }

    /// The difference of the dirty keys. While the view that the wants come from is not `complete`
    /// (an old checkpoint, with the store away), only what the map lacks is added: what it holds may
    /// be newer. The rest stays dirty.
    pub fn plan(&self, complete: bool) -> Changes<K, V> {
        let mut changes = Changes { upserts: Vec::new(), deletes: Vec::new() };
        for key in &self.dirty {
            match (self.desired.get(key), self.actual.get(key)) {
                (Some(want), have) if have.is_none() || (complete && have != Some(want)) => {
                    changes.upserts.push((key.clone(), want.clone()));
                }
                (None, Some(_)) if complete => changes.deletes.push(key.clone()),
                _ => {}
            }
        }
        changes
    }

    /// Records that the kernel accepted `changes`.
    pub fn commit(&mut self, changes: &Changes<K, V>) {
        for (key, value) in &changes.upserts {
            self.actual.insert(key.clone(), value.clone());
        }
        for key in &changes.deletes {
            self.actual.remove(key);
        }
        let (desired, actual) = (&self.desired, &self.actual);
        self.dirty.retain(|key| desired.get(key) != actual.get(key));
    }

    /// What is wanted.
    pub fn desired(&self) -> &BTreeMap<K, V> {
        &self.desired
    }

    /// What the kernel holds as far as we know.
    pub fn actual(&self) -> &BTreeMap<K, V> {
        &self.actual
    }

    /// Keys that may differ.
    pub fn pending(&self) -> usize {
        self.dirty.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incomplete_view_only_adds_and_equal_entries_cost_nothing() {
        let mut mirror = Mirror::default();
        mirror.load(BTreeMap::from([(1, 'a'), (2, 'b'), (4, 'd')]));
        mirror.want(1, Some('a'));
        mirror.want(4, Some('x'));
        mirror.want(3, Some('c'));
        let plan = mirror.plan(false);
        assert_eq!(plan, Changes { upserts: vec![(3, 'c')], deletes: vec![] });
        mirror.commit(&plan);
        let plan = mirror.plan(true);
        assert_eq!(plan, Changes { upserts: vec![(4, 'x')], deletes: vec![2] });
        mirror.commit(&plan);
        assert_eq!(mirror.pending(), 0);
        assert_eq!(mirror.actual(), mirror.desired());
    }

    #[test]
    fn a_change_and_its_undoing_before_a_round_write_nothing() {
        let mut mirror: Mirror<u8, u8> = Mirror::default();
        mirror.want(1, Some(1));
        mirror.want(1, None);
        assert!(mirror.plan(true).is_empty());
    }
}
