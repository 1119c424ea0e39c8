//! Spans of keys, merged.

/// Where a span ends; ordered as the ends are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// In front of this key.
    Before(Vec<u8>),
    /// Behind every key.
    Open,
}

impl End {
    /// A single key ends in front of the next possible one.
    fn of(key: &[u8], range_end: &[u8]) -> End {
        match range_end {
            [] => End::Before([key, &[0]].concat()),
            [0] => End::Open,
            end => End::Before(end.to_vec()),
        }
    }

    fn is_behind(&self, key: &[u8]) -> bool {
        match self {
            End::Before(end) => key < end.as_slice(),
            End::Open => true,
        }
    }
}

/// Spans in order, none of which touches the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spans(Vec<(Vec<u8>, End)>);

impl Spans {
    /// The union of ranges as requests name them.
    pub(super) fn merge<'a>(ranges: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Spans {
        let mut sorted: Vec<_> =
            ranges.map(|(key, range_end)| (key.to_vec(), End::of(key, range_end))).collect();
        sorted.sort_unstable();
        let mut merged: Vec<(Vec<u8>, End)> = Vec::new();
        for (start, end) in sorted {
            match merged.last_mut() {
                Some((_, last)) if *last >= End::Before(start.clone()) => {
                    if *last < end {
                        *last = end;
                    }
                }
                _ => merged.push((start, end)),
            }
        }
        Spans(merged)
    }

    /// Whether the whole range lies inside. A range that ends before it starts is taken as etcd
    /// takes it: its start must lie inside.
    pub(super) fn cover(&self, key: &[u8], range_end: &[u8]) -> bool {
        let behind = self.0.partition_point(|(start, _)| start.as_slice() <= key);
        let Some((_, end)) = behind.checked_sub(1).and_then(|at| self.0.get(at)) else {
            return false;
        };
        match range_end {
            // Without a copy of the key: puts and gets of one key come here most.
            [] => end.is_behind(key),
            _ => end.is_behind(key) && *end >= End::of(key, range_end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(ranges: &[(&'static str, &'static str)]) -> Spans {
        Spans::merge(ranges.iter().map(|(key, end)| (key.as_bytes(), end.as_bytes())))
    }

    #[test]
    fn neighbours_are_one() {
        let merged = spans(&[("c", "e"), ("a", "c"), ("f", ""), ("x", "\0")]);
        assert_eq!(merged.0.len(), 3);
        for (key, end) in [("a", "e"), ("b", "d"), ("d", ""), ("f", ""), ("y", "z"), ("y", "\0")] {
            assert!(merged.cover(key.as_bytes(), end.as_bytes()), "{key:?} {end:?}");
        }
        for (key, end) in [("a", "f"), ("e", ""), ("f", "g"), ("f\0", ""), ("b", "\0"), ("w", "y")]
        {
            assert!(!merged.cover(key.as_bytes(), end.as_bytes()), "{key:?} {end:?}");
        }
    }

    /// GHSA-xg4h-6gfc-h4m8: a grant of one key let open-ended watches through.
    #[test]
    fn one_key_is_not_everything_behind_it() {
        let one = spans(&[("a", "")]);
        assert!(one.cover(b"a", b"") && one.cover(b"a", b"a\0"));
        assert!(!one.cover(b"a", b"\0") && !one.cover(b"a", b"b"));
    }

    #[test]
    fn a_range_that_ends_before_it_starts_needs_its_start() {
        let merged = spans(&[("c", "e")]);
        assert!(merged.cover(b"d", b"a"));
        assert!(!merged.cover(b"e", b"a") && !merged.cover(b"b", b"a"));
    }
}
