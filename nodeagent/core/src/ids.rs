//! Numeric ids that readers in the kernel may still hold when we give them back.

use std::collections::BTreeSet;

/// Gives out 32-bit ids, never 0, each for one meaning at a time.
///
/// The search goes forward from the last id given, so a freed id comes back only after the whole
/// space was used: conntrack entries that still name it meet "gone", not a stranger.
#[derive(Clone, Debug)]
pub struct IdPool {
    next: u32,
    used: BTreeSet<u32>,
}

impl Default for IdPool {
    fn default() -> Self {
        IdPool { next: 1, used: BTreeSet::new() }
    }
}

impl IdPool {
    /// A pool that goes on from `next` (a high-water mark kept in the checkpoint; 0 means 1).
    pub fn starting_at(next: u32) -> IdPool {
        IdPool { next: next.max(1), used: BTreeSet::new() }
    }

    /// Marks an id found in the kernel as taken and moves the search past it.
    /// False if it is 0 or was taken already.
    pub fn claim(&mut self, id: u32) -> bool {
        if id == 0 || !self.used.insert(id) {
            return false;
        }
        if id >= self.next {
            self.next = id.checked_add(1).unwrap_or(1);
        }
        true
    }

    /// A fresh id. There is always one: the maps that hold ids end below a million entries.
    pub fn allocate(&mut self) -> u32 {
        let mut id = self.next;
        while id == 0 || self.used.contains(&id) {
            id = id.wrapping_add(1);
        }
        self.used.insert(id);
        self.next = id.checked_add(1).unwrap_or(1);
        id
    }

    /// Gives an id back. Absent is fine.
    pub fn release(&mut self, id: u32) {
        self.used.remove(&id);
    }

    /// Where the search will go on: what a checkpoint keeps.
    pub fn next(&self) -> u32 {
        self.next
    }

    /// Whether the id is taken.
    pub fn contains(&self, id: u32) -> bool {
        self.used.contains(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freed_id_is_not_given_out_at_once() {
        let mut pool = IdPool::default();
        let a = pool.allocate();
        pool.release(a);
        assert_ne!(pool.allocate(), a);
    }

    #[test]
    fn claimed_ids_are_skipped_and_zero_is_never_given() {
        let mut pool = IdPool::starting_at(0);
        assert!(pool.claim(1) && pool.claim(2) && !pool.claim(2) && !pool.claim(0));
        assert_eq!(pool.allocate(), 3);
        let mut pool = IdPool::starting_at(u32::MAX);
        assert_eq!(pool.allocate(), u32::MAX);
        assert_eq!(pool.allocate(), 1);
    }
}
