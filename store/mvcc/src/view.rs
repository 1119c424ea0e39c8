//! The state that reads see, at one revision.

use std::sync::Arc;

use skein_store_api::ApiError;
use skein_store_api::pb::etcdserverpb::ResponseHeader;

use crate::history::{History, Rev, Version};
use crate::key::{Key, KeyRange};
use crate::tree::{Tree, Weigh};

/// The compact revision of a store that was never compacted, as etcd has it.
pub(crate) const NEVER_COMPACTED: i64 = -1;

/// Keys, values and their history as of one revision.
///
/// Cloning is two reference counts, whatever the view holds; a clone stays as it is while the
/// machine goes on, from any thread. While clones live, the machine copies the nodes it changes
/// (about a microsecond a put) and removed versions stay in memory, so a clone is for the time of
/// one answer, not for a session.
#[derive(Clone, Debug)]
pub struct View {
    /// Every key with a retained version, those that were deleted included.
    pub(crate) index: Tree<Key, Arc<History>>,
    /// Every change since the last compaction in order, for watchers that are behind the event
    /// log, for counting at old revisions, and to find what a compaction frees.
    pub(crate) changes: Tree<Rev, Change>,
    pub(crate) revision: i64,
    pub(crate) compact_revision: i64,
}

/// One change of one key.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) key: Key,
    /// How many more keys there are because of it: 1, 0 or -1.
    pub(crate) delta: i8,
}

impl Weigh for Change {
    fn weight(&self) -> usize {
        0
    }
}

impl View {
    pub(crate) fn fresh() -> View {
        View {
            index: Tree::new(),
            changes: Tree::new(),
            revision: skein_store_api::Revision::FRESH.0,
            compact_revision: NEVER_COMPACTED,
        }
    }

    /// The newest revision in this view.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The revision of the last compaction, -1 when there was none.
    pub fn compact_revision(&self) -> i64 {
        self.compact_revision
    }

    /// Number of keys that exist.
    pub fn len(&self) -> usize {
        self.index.weight()
    }

    /// Whether no key exists.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A header with this view's revision; the server fills in the rest.
    pub(crate) fn header(&self) -> Option<ResponseHeader> {
        Some(ResponseHeader { revision: self.revision, ..Default::default() })
    }

    /// The revision that a request for `revision` reads: 0 and less mean the newest.
    pub(crate) fn read_revision(&self, revision: i64) -> Result<i64, ApiError> {
        if revision <= 0 {
            Ok(self.revision)
        } else if revision > self.revision {
            Err(ApiError::FutureRevision)
        } else if revision < self.compact_revision {
            Err(ApiError::Compacted)
        } else {
            Ok(revision)
        }
    }

    /// The version of `key` that exists now.
    pub(crate) fn live(&self, key: &[u8]) -> Option<&Version> {
        self.index.get(key).and_then(|history| history.live())
    }

    /// The keys of `range` that existed at `revision`, in order, with the version of then.
    pub(crate) fn scan<'a>(
        &'a self,
        range: &'a KeyRange,
        revision: i64,
    ) -> impl Iterator<Item = (&'a Key, &'a Version)> {
        let newest = revision == self.revision;
        let point = range.point().and_then(|key| self.index.entry(key));
        let span = range.point().is_none().then(|| {
            let iter = self.index.iter_from(range.start());
            let iter = if newest { iter.skip_weightless() } else { iter };
            iter.take_while(move |(key, _)| range.end().is_none_or(|end| ***key < *end))
        });
        point.into_iter().chain(span.into_iter().flatten()).filter_map(move |(key, history)| {
            let version = if newest { history.live() } else { history.at(revision) };
            version.map(|version| (key, version))
        })
    }

    /// How many keys of `range` existed at `revision`.
    ///
    /// Costs two descents of the tree at the newest revision. At an older one it also looks at
    /// the changes made since then, or at the keys of the range, whichever is less.
    pub(crate) fn count(&self, range: &KeyRange, revision: i64) -> usize {
        if range.point().is_some() || range.is_empty() {
            return self.scan(range, revision).count();
        }
        let newest = self.span(range, |key| self.index.weight_before(key), self.index.weight());
        if revision == self.revision {
            return newest;
        }
        let since = Rev::first_of(revision + 1);
        let changes = self.changes.len() - self.changes.len_before(&since);
        let keys = self.span(range, |key| self.index.len_before(key), self.index.len());
        if keys <= changes {
            return self.scan(range, revision).count();
        }
        let grown: i64 = self
            .changes
            .iter_from(&since)
            .filter(|(_, change)| range.contains(&change.key))
            .map(|(_, change)| i64::from(change.delta))
            .sum();
        (newest as i64 - grown) as usize
    }

    fn span(&self, range: &KeyRange, before: impl Fn(&[u8]) -> usize, all: usize) -> usize {
        range.end().map_or(all, &before) - before(range.start())
    }
}
