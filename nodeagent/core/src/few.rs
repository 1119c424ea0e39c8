//! Sets that nearly always have one member.

/// A sorted set for a handful of members. There are tens of thousands of these, and a tree would take
/// room for eleven members for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Few<T>(Vec<T>);

impl<T> Default for Few<T> {
    fn default() -> Self {
        Few(Vec::new())
    }
}

impl<T: Ord> Few<T> {
    /// Adds a member; false if it was there.
    pub fn insert(&mut self, member: T) -> bool {
        match self.0.binary_search(&member) {
            Ok(_) => false,
            Err(at) => {
                self.0.reserve_exact(1);
                self.0.insert(at, member);
                true
            }
        }
    }

    /// Takes a member away; false if it was not there.
    pub fn remove(&mut self, member: &T) -> bool {
        let found = self.0.binary_search(member);
        if let Ok(at) = found {
            self.0.remove(at);
        }
        found.is_ok()
    }

    /// The smallest member.
    pub fn first(&self) -> Option<&T> {
        self.0.first()
    }

    /// Members in order.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    /// Without members.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a, T> IntoIterator for &'a Few<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_as_a_tree_does(steps in proptest::collection::vec((any::<bool>(), 0u8..6), 0..40)) {
            let (mut few, mut tree) = (Few::default(), BTreeSet::new());
            for (adds, member) in steps {
                if adds {
                    prop_assert_eq!(few.insert(member), tree.insert(member));
                } else {
                    prop_assert_eq!(few.remove(&member), tree.remove(&member));
                }
                prop_assert!(few.iter().eq(tree.iter()));
                prop_assert_eq!((few.first(), few.is_empty()), (tree.first(), tree.is_empty()));
            }
        }
    }
}
