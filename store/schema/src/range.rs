//! Half-open ranges of keys, as the store's API takes them.

/// The keys from `start` (included) to `end` (left out), in byte order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyRange {
    start: Vec<u8>,
    end: Vec<u8>,
}

impl KeyRange {
    /// Every key that begins with `prefix`; the empty prefix is every key.
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> Self {
        let start = prefix.into();
        let end = prefix_end(&start);
        Self { start: if start.is_empty() { vec![0] } else { start }, end }
    }

    /// One key alone.
    pub fn single(key: impl Into<Vec<u8>>) -> Self {
        let start = key.into();
        let mut end = start.clone();
        end.push(0);
        Self { start, end }
    }

    /// From `start` up to, not including, `end`. An end of one zero byte means "to the last key",
    /// as in etcd's API.
    pub fn between(start: impl Into<Vec<u8>>, end: impl Into<Vec<u8>>) -> Self {
        Self { start: start.into(), end: end.into() }
    }

    /// The first key that may lie in the range.
    pub fn start(&self) -> &[u8] {
        &self.start
    }

    /// The first key behind the range; one zero byte when the range has no end (etcd's convention).
    pub fn end(&self) -> &[u8] {
        &self.end
    }

    /// True when the range reaches to the last key of the store.
    pub fn is_open(&self) -> bool {
        self.end == [0]
    }

    /// Whether a key lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= self.start.as_slice() && (self.is_open() || key < self.end.as_slice())
    }

    /// Whether two ranges share a possible key.
    pub fn overlaps(&self, other: &Self) -> bool {
        let before = |a: &Self, b: &Self| !a.is_open() && a.end <= b.start;
        !before(self, other) && !before(other, self)
    }
}

/// The smallest key above every key with the prefix: the last byte that can grow is raised, what
/// follows is cut. A prefix of only 0xff bytes (or none) has no such key, which etcd writes as one zero.
fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    match prefix.iter().rposition(|&byte| byte < 0xff) {
        Some(last) => {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            end
        }
        None => vec![0],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_holds_its_keys_and_no_neighbour() {
        let range = KeyRange::prefix("a/");
        assert!(range.contains(b"a/"));
        assert!(range.contains(b"a/\xff\xff"));
        assert!(!range.contains(b"a0"));
        assert!(!range.contains(b"a"));
        assert_eq!(KeyRange::prefix(vec![b'a', 0xff]).end(), b"b");
    }

    #[test]
    fn empty_and_all_ones_prefixes_are_open() {
        assert!(KeyRange::prefix("").contains(b"anything"));
        assert!(KeyRange::prefix(vec![0xff]).contains(&[0xff, 0xff]));
        assert!(KeyRange::prefix(vec![0xff]).is_open());
    }

    #[test]
    fn single_holds_one_key() {
        let range = KeyRange::single("k");
        assert!(range.contains(b"k"));
        assert!(!range.contains(b"k\0"));
    }

    #[test]
    fn overlap_is_symmetric_and_excludes_touching() {
        let (a, b) = (KeyRange::between("a", "b"), KeyRange::between("b", "c"));
        assert!(!a.overlaps(&b) && !b.overlaps(&a));
        assert!(KeyRange::prefix("a").overlaps(&KeyRange::prefix("ab")));
        assert!(KeyRange::prefix("").overlaps(&b) && b.overlaps(&KeyRange::prefix("")));
    }
}
