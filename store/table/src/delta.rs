//! What separates a desired state from an actual one.

use std::collections::{BTreeMap, BTreeSet};

/// Two maps and what it takes to make the second equal to the first.
///
/// The owner sets the desired side from its plans and the actual side from what the target was seen to
/// hold or took without error; [`Delta`] keeps the difference as both move, so a round costs as much as
/// there is to do and not as much as there is.
#[derive(Debug, Clone)]
pub struct Delta<K, V> {
    desired: BTreeMap<K, V>,
    actual: BTreeMap<K, V>,
    updates: BTreeSet<K>,
    deletions: BTreeSet<K>,
}

impl<K: Ord + Clone, V: PartialEq> Default for Delta<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Ord + Clone, V: PartialEq> Delta<K, V> {
    /// Nothing desired, nothing there.
    pub fn new() -> Self {
        Self {
            desired: BTreeMap::new(),
            actual: BTreeMap::new(),
            updates: BTreeSet::new(),
            deletions: BTreeSet::new(),
        }
    }

    /// `key` should have this value.
    pub fn set_desired(&mut self, key: K, value: V) {
        self.desired.insert(key.clone(), value);
        self.settle(key);
    }

    /// `key` should not be there.
    pub fn remove_desired(&mut self, key: &K) {
        self.desired.remove(key);
        self.settle(key.clone());
    }

    /// Replaces all that is desired.
    pub fn replace_desired(&mut self, desired: BTreeMap<K, V>) {
        self.desired = desired;
        self.settle_all();
    }

    /// `key` was seen, or written, with this value.
    pub fn set_actual(&mut self, key: K, value: V) {
        self.actual.insert(key.clone(), value);
        self.settle(key);
    }

    /// `key` was seen not to be there, or deleted.
    pub fn remove_actual(&mut self, key: &K) {
        self.actual.remove(key);
        self.settle(key.clone());
    }

    /// Replaces all that is known of the target, as after reading it whole.
    pub fn replace_actual(&mut self, actual: BTreeMap<K, V>) {
        self.actual = actual;
        self.settle_all();
    }

    /// What is desired.
    pub fn desired(&self) -> &BTreeMap<K, V> {
        &self.desired
    }

    /// What is known to be there.
    pub fn actual(&self) -> &BTreeMap<K, V> {
        &self.actual
    }

    /// Keys to write with their desired values, in order of keys.
    pub fn pending_updates(&self) -> impl Iterator<Item = (&K, &V)> {
        self.updates.iter().filter_map(|key| self.desired.get_key_value(key))
    }

    /// Keys to delete, in order of keys.
    pub fn pending_deletions(&self) -> impl Iterator<Item = &K> {
        self.deletions.iter()
    }

    /// How many writes and deletions are pending.
    pub fn pending_len(&self) -> usize {
        self.updates.len() + self.deletions.len()
    }

    /// True when the target is known to be as desired.
    pub fn is_settled(&self) -> bool {
        self.updates.is_empty() && self.deletions.is_empty()
    }

    fn settle(&mut self, key: K) {
        let (wanted, there) = (self.desired.get(&key), self.actual.get(&key));
        let (update, delete) = (wanted.is_some() && wanted != there, wanted.is_none());
        set_member(&mut self.updates, &key, update);
        set_member(&mut self.deletions, &key, delete && there.is_some());
    }

    fn settle_all(&mut self) {
        let (desired, actual) = (&self.desired, &self.actual);
        self.updates = desired
            .iter()
            .filter(|(key, value)| actual.get(key) != Some(value))
            .map(|(key, _)| key.clone())
            .collect();
        self.deletions = actual.keys().filter(|key| !desired.contains_key(key)).cloned().collect();
    }
}

fn set_member<K: Ord + Clone>(set: &mut BTreeSet<K>, key: &K, member: bool) {
    if !member {
        set.remove(key);
    } else if !set.contains(key) {
        set.insert(key.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn difference_follows_both_sides() {
        let mut delta = Delta::new();
        delta.set_desired("a", 1);
        delta.set_actual("b", 2);
        assert_eq!(delta.pending_updates().collect::<Vec<_>>(), [(&"a", &1)]);
        assert_eq!(delta.pending_deletions().collect::<Vec<_>>(), [&"b"]);
        delta.set_actual("a", 1);
        delta.remove_actual(&"b");
        assert!(delta.is_settled());
        delta.set_actual("a", 9);
        assert_eq!(delta.pending_updates().collect::<Vec<_>>(), [(&"a", &1)]);
        delta.remove_desired(&"a");
        assert_eq!(delta.pending_deletions().collect::<Vec<_>>(), [&"a"]);
        assert_eq!(delta.pending_len(), 1);
    }

    proptest! {
        #[test]
        fn step_by_step_equals_all_at_once(
            steps in prop::collection::vec((0..4_u8, 0..6_u8, 0..3_u8), 0..60)
        ) {
            let mut delta = Delta::new();
            for (what, key, value) in steps {
                match what {
                    0 => delta.set_desired(key, value),
                    1 => delta.remove_desired(&key),
                    2 => delta.set_actual(key, value),
                    _ => delta.remove_actual(&key),
                }
            }
            let mut whole = Delta::new();
            whole.replace_desired(delta.desired().clone());
            whole.replace_actual(delta.actual().clone());
            prop_assert_eq!(&delta.updates, &whole.updates);
            prop_assert_eq!(&delta.deletions, &whole.deletions);
            let updates: Vec<_> = delta.pending_updates().map(|(k, v)| (*k, *v)).collect();
            updates.into_iter().for_each(|(k, v)| delta.set_actual(k, v));
            let deletions: Vec<_> = delta.pending_deletions().copied().collect();
            deletions.iter().for_each(|key| delta.remove_actual(key));
            prop_assert_eq!(delta.desired(), delta.actual());
            prop_assert!(delta.is_settled());
        }
    }
}
