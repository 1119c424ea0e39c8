//! Keys and ranges of keys.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A key, shared by everything that refers to it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(Arc<[u8]>);

impl Key {
    pub(crate) fn new(bytes: &[u8]) -> Key {
        Key(Arc::from(bytes))
    }
}

impl Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

/// The keys that a request names by `key` and `range_end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    start: Vec<u8>,
    end: End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// Only the start itself.
    Point,
    /// Keys below this one.
    Before(Vec<u8>),
    /// Every key from the start on.
    Unbounded,
}

impl KeyRange {
    /// The range of a request: an empty `range_end` means the one key, `"\0"` every key from
    /// `key` on, anything else the keys from `key` up to and without `range_end`.
    pub fn new(key: &[u8], range_end: &[u8]) -> KeyRange {
        let end = match range_end {
            [] => End::Point,
            [0] => End::Unbounded,
            end => End::Before(end.to_vec()),
        };
        KeyRange { start: key.to_vec(), end }
    }

    /// The range of a watch, where an empty key stands for the smallest key `"\0"`.
    pub fn of_watch(key: &[u8], range_end: &[u8]) -> KeyRange {
        KeyRange::new(if key.is_empty() { b"\0" } else { key }, range_end)
    }

    /// Whether `key` lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        match &self.end {
            End::Point => key == self.start,
            End::Before(end) => key >= self.start.as_slice() && key < end.as_slice(),
            End::Unbounded => key >= self.start.as_slice(),
        }
    }

    /// Whether the range ends at or before its start, so that no key lies in it.
    pub fn is_empty(&self) -> bool {
        matches!(&self.end, End::Before(end) if *end <= self.start)
    }

    /// The one key of the range, if it names a key rather than a span.
    pub(crate) fn point(&self) -> Option<&[u8]> {
        matches!(self.end, End::Point).then_some(self.start.as_slice())
    }

    pub(crate) fn start(&self) -> &[u8] {
        &self.start
    }

    /// The first key behind the range; `None` when nothing lies behind it. Not for points.
    pub(crate) fn end(&self) -> Option<&[u8]> {
        match &self.end {
            End::Before(end) => Some(end),
            End::Point | End::Unbounded => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_follow_the_api() {
        let point = KeyRange::new(b"a", b"");
        assert!(point.contains(b"a") && !point.contains(b"a\0"));
        let span = KeyRange::new(b"a", b"c");
        assert!(span.contains(b"a") && span.contains(b"bzz") && !span.contains(b"c"));
        let from = KeyRange::new(b"b", b"\0");
        assert!(from.contains(b"b") && from.contains(b"\xff") && !from.contains(b"a"));
        let all = KeyRange::of_watch(b"", b"\0");
        assert!(all.contains(b"\0") && all.contains(b"\xff\xff"));
        assert!(KeyRange::new(b"b", b"b").is_empty() && KeyRange::new(b"b", b"a").is_empty());
        assert!(!span.is_empty() && !point.is_empty() && !from.is_empty());
    }
}
