//! Two ranges side by side, in bounded memory: both are read in pages at a fixed revision and merged.

use std::cmp::Ordering;
use std::collections::VecDeque;

use skein_store_client::{ClientError, Entry, KeyRange, RangeRequest, Session};

/// Keys of the first page, before anything is known of their sizes; values may be of 1.5 MiB.
const PAGE_KEYS_FIRST: i64 = 64;
/// Keys of a page at most: at 300 bytes each that is 3 MB.
const PAGE_KEYS_MAX: i64 = 10_000;
/// What a page should weigh. Pages are sized by the one before, so a page is heavier only where small keys
/// are followed by large ones.
const PAGE_BYTES: usize = 4 << 20;

/// One side, read as far as it was needed.
pub(crate) struct Side {
    session: Session,
    revision: i64,
    /// Whether the member itself is asked, not what the store agrees on.
    serializable: bool,
    /// What was not read yet; none at the end.
    rest: Option<KeyRange>,
    page_keys: i64,
    read: VecDeque<Entry>,
}

impl Side {
    /// What the store holds at a revision.
    pub(crate) fn of_store(session: Session, range: KeyRange, revision: i64) -> Self {
        let (rest, page_keys, read) = (Some(range), PAGE_KEYS_FIRST, VecDeque::new());
        Self { session, revision, serializable: false, rest, page_keys, read }
    }

    /// What the member behind the session's one endpoint holds at a revision.
    pub(crate) fn of_member(session: Session, range: KeyRange, revision: i64) -> Self {
        Self { serializable: true, ..Self::of_store(session, range, revision) }
    }

    /// Reads on if nothing is left to look at.
    async fn fill(&mut self) -> Result<(), ClientError> {
        while self.read.is_empty() {
            let Some(range) = self.rest.take() else { return Ok(()) };
            let request = RangeRequest {
                revision: self.revision,
                limit: self.page_keys,
                serializable: self.serializable,
                ..RangeRequest::default()
            };
            let page = self.session.page(&range, request).await?;
            if let Some(last) = page.entries.last().filter(|_| page.more) {
                let after = KeyRange::single(last.key.clone()).end().to_vec();
                self.rest = Some(KeyRange::between(after, range.end()));
            }
            self.page_keys = next_page(&page.entries);
            self.read = page.entries.into();
        }
        Ok(())
    }
}

/// How many keys of this size make a page.
fn next_page(entries: &[Entry]) -> i64 {
    let bytes: usize = entries.iter().map(|entry| entry.key.len() + entry.value.len()).sum();
    let keys = (PAGE_BYTES * entries.len()).checked_div(bytes).unwrap_or(0);
    i64::try_from(keys).unwrap_or(PAGE_KEYS_MAX).clamp(1, PAGE_KEYS_MAX)
}

/// A key that the sides do not agree on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Difference {
    OnlyA(Entry),
    OnlyB(Entry),
    Value(Entry, Entry),
}

impl Difference {
    pub(crate) fn key(&self) -> &[u8] {
        match self {
            Self::OnlyA(entry) | Self::OnlyB(entry) | Self::Value(entry, _) => &entry.key,
        }
    }
}

/// How many keys are what.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Counts {
    pub(crate) equal: u64,
    pub(crate) different: u64,
    pub(crate) only_a: u64,
    pub(crate) only_b: u64,
}

impl Counts {
    pub(crate) fn all_equal(&self) -> bool {
        self.different + self.only_a + self.only_b == 0
    }
}

/// Compares keys and values, telling each difference in the order of keys.
pub(crate) async fn compare(
    a: &mut Side,
    b: &mut Side,
    mut tell: impl FnMut(Difference),
) -> Result<Counts, ClientError> {
    let mut counts = Counts::default();
    loop {
        let (filled_a, filled_b) = tokio::join!(a.fill(), b.fill());
        filled_a.and(filled_b)?;
        if a.read.is_empty() && b.read.is_empty() {
            return Ok(counts);
        }
        while let Some(first) = first(a.read.front(), b.read.front()) {
            // A side that is read through only for now must be filled before the other goes on.
            if (a.read.is_empty() && a.rest.is_some()) || (b.read.is_empty() && b.rest.is_some()) {
                break;
            }
            let next_a = if first == Ordering::Greater { None } else { a.read.pop_front() };
            let next_b = if first == Ordering::Less { None } else { b.read.pop_front() };
            if let Some(difference) = count(&mut counts, next_a, next_b) {
                tell(difference);
            }
        }
    }
}

/// Which side has the smaller key next; none when neither has one.
fn first(a: Option<&Entry>, b: Option<&Entry>) -> Option<Ordering> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.key.cmp(&b.key)),
        (Some(_), None) => Some(Ordering::Less),
        (None, Some(_)) => Some(Ordering::Greater),
        (None, None) => None,
    }
}

fn count(counts: &mut Counts, a: Option<Entry>, b: Option<Entry>) -> Option<Difference> {
    match (a, b) {
        (Some(a), Some(b)) if a.value == b.value => {
            counts.equal += 1;
            None
        }
        (Some(a), Some(b)) => {
            counts.different += 1;
            Some(Difference::Value(a, b))
        }
        (Some(a), None) => {
            counts.only_a += 1;
            Some(Difference::OnlyA(a))
        }
        (None, Some(b)) => {
            counts.only_b += 1;
            Some(Difference::OnlyB(b))
        }
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, value: &str) -> Entry {
        Entry {
            key: key.into(),
            value: value.into(),
            create_revision: 1,
            mod_revision: 1,
            version: 1,
            lease: 0,
        }
    }

    #[test]
    fn pages_follow_the_size_of_what_is_read() {
        assert_eq!(next_page(&[entry("k", &"x".repeat(1 << 20))]), 3);
        assert_eq!(next_page(&[entry("k", &"x".repeat(8 << 20))]), 1);
        assert_eq!(next_page(&[entry("k", "")]), PAGE_KEYS_MAX);
        assert_eq!(next_page(&[]), 1);
    }

    #[test]
    fn every_pair_is_counted_once() {
        let mut counts = Counts::default();
        let (a, b) = (entry("k", "1"), entry("k", "2"));
        assert_eq!(count(&mut counts, Some(a.clone()), Some(a.clone())), None);
        assert!(counts.all_equal());
        let differs = count(&mut counts, Some(a.clone()), Some(b.clone()));
        assert_eq!(differs, Some(Difference::Value(a.clone(), b.clone())));
        assert_eq!(count(&mut counts, Some(a.clone()), None), Some(Difference::OnlyA(a.clone())));
        assert_eq!(count(&mut counts, None, Some(b.clone())), Some(Difference::OnlyB(b)));
        assert_eq!(counts, Counts { equal: 1, different: 1, only_a: 1, only_b: 1 });
        assert_eq!(first(Some(&a), None), Some(Ordering::Less));
    }
}
