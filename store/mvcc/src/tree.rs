//! A persistent ordered map that counts.
//!
//! A B+-tree whose nodes are shared: cloning the tree is one reference count, and a change copies
//! only the nodes on its path that a clone still refers to (none when there is no clone). Every
//! inner node knows how many entries and how much weight each child holds, so counting a range
//! costs two descents whatever the range holds.

use std::borrow::Borrow;
use std::sync::Arc;

/// Most entries of a leaf and most children of an inner node. Small enough that copying a path
/// under a snapshot stays around a microsecond, large enough for four levels at a million keys.
const NODE_MAX: usize = 32;

/// A node with fewer slots is merged into its neighbour when both fit into one.
const NODE_LOW: usize = NODE_MAX / 4;

/// What an entry counts for in [`Tree::weight_before`].
pub(crate) trait Weigh {
    fn weight(&self) -> usize;
}

#[derive(Clone, Debug)]
pub(crate) struct Tree<K, V> {
    root: Arc<Node<K, V>>,
    size: Size,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Size {
    entries: usize,
    weight: usize,
}

#[derive(Clone, Debug)]
enum Node<K, V> {
    Leaf(Vec<(K, V)>),
    Inner(Vec<Child<K, V>>),
}

#[derive(Clone, Debug)]
struct Child<K, V> {
    /// No key of this child is below it, every key of the child before is. Not kept exact for the
    /// first child, which takes everything below the second.
    low: K,
    size: Size,
    node: Arc<Node<K, V>>,
}

impl<K, V> Tree<K, V> {
    pub(crate) fn new() -> Self {
        Tree { root: Arc::new(Node::Leaf(Vec::new())), size: Size::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.size.entries
    }

    pub(crate) fn weight(&self) -> usize {
        self.size.weight
    }
}

impl<K: Ord + Clone, V: Clone + Weigh> Tree<K, V> {
    pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entry(key).map(|(_, value)| value)
    }

    /// The entry of `key`, with the key as the tree holds it.
    pub(crate) fn entry<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        let mut node = &*self.root;
        loop {
            match node {
                Node::Leaf(entries) => {
                    let at = find(entries, key).ok()?;
                    return Some((&entries[at].0, &entries[at].1));
                }
                Node::Inner(children) => node = &children[child_of(children, key)].node,
            }
        }
    }

    /// Changes or inserts the entry of `key` in one descent: `change` sees the entry, if there is
    /// one, and returns the entry to insert, if there was none, beside its own result. Returning
    /// no entry for an absent one leaves the tree as it is.
    pub(crate) fn upsert<Q: Ord + ?Sized, R>(
        &mut self,
        key: &Q,
        change: impl FnOnce(Option<(&K, &mut V)>) -> (Option<(K, V)>, R),
    ) -> R
    where
        K: Borrow<Q>,
    {
        let (split, result) = upsert(Arc::make_mut(&mut self.root), &mut self.size, key, change);
        if let Some(right) = split {
            let left_size = self.size.without(right.size);
            let left = std::mem::replace(&mut self.root, Arc::new(Node::Inner(Vec::new())));
            // The first child's bound is never read; any key of the tree will do.
            let left = Child { low: right.low.clone(), size: left_size, node: left };
            self.root = Arc::new(Node::Inner(vec![left, right]));
        }
        result
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        // The probe is a clone because the key itself moves into the tree.
        let probe = key.clone();
        self.upsert(&probe, |found| match found {
            Some((_, slot)) => {
                *slot = value;
                (None, ())
            }
            None => (Some((key, value)), ()),
        });
    }

    pub(crate) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.get(key)?;
        let removed = remove(Arc::make_mut(&mut self.root), &mut self.size, key);
        while let Node::Inner(children) = &*self.root {
            if children.len() > 1 {
                break;
            }
            self.root = match children.first() {
                Some(only) => only.node.clone(),
                None => Arc::new(Node::Leaf(Vec::new())),
            };
        }
        removed
    }

    /// The weight of all entries below `key`.
    pub(crate) fn weight_before<Q: Ord + ?Sized>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
    {
        self.size_before(key).weight
    }

    /// The number of entries below `key`.
    pub(crate) fn len_before<Q: Ord + ?Sized>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
    {
        self.size_before(key).entries
    }

    fn size_before<Q: Ord + ?Sized>(&self, key: &Q) -> Size
    where
        K: Borrow<Q>,
    {
        let mut total = Size::default();
        let mut node = &*self.root;
        loop {
            match node {
                Node::Leaf(entries) => {
                    let below = find(entries, key).unwrap_or_else(|at| at);
                    total.entries += below;
                    total.weight += entries[..below].iter().map(|e| e.1.weight()).sum::<usize>();
                    return total;
                }
                Node::Inner(children) => {
                    let at = child_of(children, key);
                    for child in &children[..at] {
                        total = total.with(child.size);
                    }
                    node = &children[at].node;
                }
            }
        }
    }

    pub(crate) fn iter(&self) -> Iter<'_, K, V> {
        let mut iter = Iter { stack: Vec::new(), weighty_only: false };
        iter.stack.push((&self.root, 0));
        iter
    }

    /// Entries from `key` on, in order.
    pub(crate) fn iter_from<Q: Ord + ?Sized>(&self, key: &Q) -> Iter<'_, K, V>
    where
        K: Borrow<Q>,
    {
        let mut stack = Vec::new();
        let mut node = &*self.root;
        loop {
            match node {
                Node::Leaf(entries) => {
                    stack.push((node, find(entries, key).unwrap_or_else(|at| at)));
                    return Iter { stack, weighty_only: false };
                }
                Node::Inner(children) => {
                    let at = child_of(children, key);
                    stack.push((node, at + 1));
                    node = &children[at].node;
                }
            }
        }
    }
}

impl Size {
    fn with(self, other: Size) -> Size {
        Size { entries: self.entries + other.entries, weight: self.weight + other.weight }
    }

    fn without(self, other: Size) -> Size {
        Size { entries: self.entries - other.entries, weight: self.weight - other.weight }
    }
}

impl<K, V: Weigh> Node<K, V> {
    fn size(&self) -> Size {
        match self {
            Node::Leaf(entries) => Size {
                entries: entries.len(),
                weight: entries.iter().map(|entry| entry.1.weight()).sum(),
            },
            Node::Inner(children) => {
                children.iter().fold(Size::default(), |sum, child| sum.with(child.size))
            }
        }
    }

    fn slots(&self) -> usize {
        match self {
            Node::Leaf(entries) => entries.len(),
            Node::Inner(children) => children.len(),
        }
    }
}

fn find<K: Borrow<Q>, V, Q: Ord + ?Sized>(entries: &[(K, V)], key: &Q) -> Result<usize, usize> {
    entries.binary_search_by(|entry| entry.0.borrow().cmp(key))
}

/// The child whose keys may include `key`.
fn child_of<K: Borrow<Q>, V, Q: Ord + ?Sized>(children: &[Child<K, V>], key: &Q) -> usize {
    children[1..].partition_point(|child| child.low.borrow() <= key)
}

/// Changes the node below, keeps `size` (that of the node) true and returns the right half when the
/// node had to split; `size` then still covers both halves.
fn upsert<K, V, Q, R>(
    node: &mut Node<K, V>,
    size: &mut Size,
    key: &Q,
    change: impl FnOnce(Option<(&K, &mut V)>) -> (Option<(K, V)>, R),
) -> (Option<Child<K, V>>, R)
where
    K: Ord + Clone + Borrow<Q>,
    V: Clone + Weigh,
    Q: Ord + ?Sized,
{
    match node {
        Node::Leaf(entries) => match find(entries, key) {
            Ok(at) => {
                let (key, value) = &mut entries[at];
                let before = value.weight();
                let (_, result) = change(Some((&*key, value)));
                size.weight = size.weight - before + value.weight();
                (None, result)
            }
            Err(at) => {
                let (entry, result) = change(None);
                let Some(entry) = entry else { return (None, result) };
                *size = size.with(Size { entries: 1, weight: entry.1.weight() });
                let split = insert_slot(entries, at, entry).map(|right| {
                    let low = right[0].0.clone();
                    new_child(low, Node::Leaf(right))
                });
                (split, result)
            }
        },
        Node::Inner(children) => {
            let at = child_of(children, key);
            let child = &mut children[at];
            let before = child.size;
            let node = Arc::make_mut(&mut child.node);
            let (split, result) = upsert(node, &mut child.size, key, change);
            *size = size.without(before).with(child.size);
            let Some(right) = split else { return (None, result) };
            child.size = child.size.without(right.size);
            let split = insert_slot(children, at + 1, right).map(|right| {
                let low = right[0].low.clone();
                new_child(low, Node::Inner(right))
            });
            (split, result)
        }
    }
}

fn new_child<K, V: Weigh>(low: K, node: Node<K, V>) -> Child<K, V> {
    Child { low, size: node.size(), node: Arc::new(node) }
}

/// Inserts into a node's slots; a full node splits and the right half is returned. Appending to a
/// full node moves nothing: ascending keys, the common case, then leave full nodes behind.
fn insert_slot<T>(slots: &mut Vec<T>, at: usize, slot: T) -> Option<Vec<T>> {
    if slots.len() < NODE_MAX {
        slots.insert(at, slot);
        return None;
    }
    if at == slots.len() {
        return Some(vec![slot]);
    }
    let middle = slots.len() / 2;
    let mut right = slots.split_off(middle);
    if at <= middle {
        slots.insert(at, slot)
    } else {
        right.insert(at - middle, slot)
    }
    Some(right)
}

/// Removes a key that is known to be in the tree.
fn remove<K, V, Q>(node: &mut Node<K, V>, size: &mut Size, key: &Q) -> Option<V>
where
    K: Ord + Clone + Borrow<Q>,
    V: Clone + Weigh,
    Q: Ord + ?Sized,
{
    match node {
        Node::Leaf(entries) => {
            let at = find(entries, key).ok()?;
            let (_, value) = entries.remove(at);
            *size = size.without(Size { entries: 1, weight: value.weight() });
            Some(value)
        }
        Node::Inner(children) => {
            let at = child_of(children, key);
            let child = &mut children[at];
            let before = child.size;
            let removed = remove(Arc::make_mut(&mut child.node), &mut child.size, key);
            *size = size.without(before).with(child.size);
            rebalance(children, at);
            removed
        }
    }
}

/// Drops an emptied child, or merges a small one with a neighbour that has room.
fn rebalance<K: Clone, V: Clone + Weigh>(children: &mut Vec<Child<K, V>>, at: usize) {
    let slots = children[at].node.slots();
    if slots == 0 {
        children.remove(at);
        return;
    }
    if slots >= NODE_LOW {
        return;
    }
    let left = if at + 1 < children.len() { at } else { at.saturating_sub(1) };
    let Some(right) = children.get(left + 1) else { return };
    if children[left].node.slots() + right.node.slots() > NODE_MAX {
        return;
    }
    let right = children.remove(left + 1);
    let target = &mut children[left];
    target.size = target.size.with(right.size);
    match (Arc::make_mut(&mut target.node), Arc::unwrap_or_clone(right.node)) {
        (Node::Leaf(entries), Node::Leaf(more)) => entries.extend(more),
        (Node::Inner(slots), Node::Inner(more)) => slots.extend(more),
        // All leaves lie at the same depth, so neighbours are always of one kind.
        (Node::Leaf(_), Node::Inner(_)) | (Node::Inner(_), Node::Leaf(_)) => {
            unreachable!("neighbours at different depths")
        }
    }
}

/// Entries in order.
pub(crate) struct Iter<'a, K, V> {
    /// The path to the next entry: nodes with the slot to visit next.
    stack: Vec<(&'a Node<K, V>, usize)>,
    weighty_only: bool,
}

impl<K, V> Iter<'_, K, V> {
    /// Passes over subtrees without weight, and so over long runs of weightless entries. Single
    /// weightless entries are still returned.
    pub(crate) fn skip_weightless(mut self) -> Self {
        self.weighty_only = true;
        self
    }
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (node, slot) = self.stack.last_mut()?;
            let at = *slot;
            *slot += 1;
            match node {
                Node::Leaf(entries) => match entries.get(at) {
                    Some((key, value)) => return Some((key, value)),
                    None => drop(self.stack.pop()),
                },
                Node::Inner(children) => match children.get(at) {
                    Some(child) if self.weighty_only && child.size.weight == 0 => {}
                    Some(child) => self.stack.push((&child.node, 0)),
                    None => drop(self.stack.pop()),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    impl Weigh for u8 {
        fn weight(&self) -> usize {
            usize::from(*self % 2)
        }
    }

    /// Every size on the way is what the entries add up to, and all leaves are equally deep.
    fn check(node: &Node<u16, u8>) -> usize {
        match node {
            Node::Leaf(_) => 1,
            Node::Inner(children) => {
                let depths: Vec<usize> = children
                    .iter()
                    .map(|child| {
                        assert_eq!(child.size, child.node.size());
                        check(&child.node)
                    })
                    .collect();
                assert!(depths.windows(2).all(|pair| pair[0] == pair[1]));
                depths[0] + 1
            }
        }
    }

    fn assert_same(tree: &Tree<u16, u8>, model: &BTreeMap<u16, u8>) {
        check(&tree.root);
        assert_eq!(tree.size, tree.root.size());
        assert!(tree.iter().eq(model.iter()));
        assert_eq!(tree.len(), model.len());
        for probe in [0, 1, 77, 500, 900, u16::MAX] {
            assert_eq!(tree.get(&probe), model.get(&probe));
            assert!(tree.iter_from(&probe).eq(model.range(probe..)));
            assert_eq!(tree.len_before(&probe), model.range(..probe).count());
            let weight: usize = model.range(..probe).map(|(_, value)| value.weight()).sum();
            assert_eq!(tree.weight_before(&probe), weight);
        }
        let weighty = tree.iter().skip_weightless().filter(|(_, value)| value.weight() > 0);
        assert!(weighty.eq(model.iter().filter(|(_, value)| value.weight() > 0)));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u16, u8),
        Remove(u16),
        Snapshot,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0u16..1000, any::<u8>()).prop_map(|(key, value)| Step::Insert(key, value)),
            5 => (0u16..1000).prop_map(Step::Remove),
            1 => Just(Step::Snapshot),
        ]
    }

    proptest! {
        #[test]
        fn behaves_as_an_ordered_map(steps in proptest::collection::vec(step(), 1..1500)) {
            let mut tree = Tree::new();
            let mut model = BTreeMap::new();
            let mut snapshot = (tree.clone(), model.clone());
            for step in steps {
                match step {
                    Step::Insert(key, value) => {
                        tree.insert(key, value);
                        model.insert(key, value);
                    }
                    Step::Remove(key) => assert_eq!(tree.remove(&key), model.remove(&key)),
                    Step::Snapshot => {
                        assert_same(&snapshot.0, &snapshot.1);
                        snapshot = (tree.clone(), model.clone());
                    }
                }
            }
            assert_same(&tree, &model);
            assert_same(&snapshot.0, &snapshot.1);
        }
    }

    #[test]
    fn ascending_keys_fill_their_leaves_and_drain_from_the_front() {
        let mut tree = Tree::new();
        let mut model = BTreeMap::new();
        for key in 0..5000u16 {
            tree.insert(key, 1);
            model.insert(key, 1);
        }
        assert_same(&tree, &model);
        for key in 0..4990u16 {
            assert_eq!(tree.remove(&key), Some(1));
            model.remove(&key);
        }
        assert_same(&tree, &model);
        assert_eq!(check(&tree.root), 1, "a small tree is one leaf again");
    }
}
