//! What a watcher of ranges is told.

use std::fmt;

/// A key with its value and the store's counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
    /// The revision at which the key came to be.
    pub create_revision: i64,
    /// The revision of its last change.
    pub mod_revision: i64,
    /// Changes since it came to be, 1 for the first.
    pub version: i64,
    /// The lease that it dies with; 0 for none.
    pub lease: i64,
}

/// Every entry of the watched ranges at one revision.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// The store that was read.
    pub cluster_id: u64,
    /// The revision at which all entries were read.
    pub revision: i64,
    /// In order of ranges, within a range in order of keys.
    pub entries: Vec<Entry>,
}

/// Where a copy stands: every change up to this revision of this store is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResumePoint {
    /// The store. A revision means nothing in another one.
    pub cluster_id: u64,
    /// The last revision that is complete in the copy.
    pub revision: i64,
}

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The key was created or changed.
    Put(Entry),
    /// The key was deleted, or its lease ended.
    Delete {
        /// The key.
        key: Vec<u8>,
        /// The revision of the deletion.
        mod_revision: i64,
    },
}

impl Change {
    /// The key that changed.
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Delete { key, .. } => key,
        }
    }

    /// The revision of the change.
    pub fn mod_revision(&self) -> i64 {
        match self {
            Self::Put(entry) => entry.mod_revision,
            Self::Delete { mod_revision, .. } => *mod_revision,
        }
    }
}

/// Why a copy belongs to a store that is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetReason {
    /// The store has another cluster id: it was replaced.
    ClusterChanged {
        /// The store that the copy is of.
        was: u64,
        /// The store that answers now.
        now: u64,
    },
    /// The store is behind the copy: it was restored from a backup.
    WentBack {
        /// The revision of the copy.
        was: i64,
        /// The revision of the store.
        now: i64,
    },
}

impl fmt::Display for ResetReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClusterChanged { was, now } => {
                write!(f, "the store was replaced (cluster {was:x}, now {now:x})")
            }
            Self::WentBack { was, now } => {
                write!(f, "the store went back from revision {was} to {now}")
            }
        }
    }
}

/// What happened to the watched ranges. In order, without gap, nothing twice.
///
/// A fresh watcher sees `Begin`, `InSync`, then `Changes` for ever. A resumed one sees `Changes` and
/// `InSync` without `Begin`, unless the point it resumed from was compacted away or of another store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyncEvent {
    /// The complete content at one revision. It replaces whatever the copy holds: entries that are not
    /// in it are gone. Comes first, and again whenever the history since was compacted away.
    Begin(Snapshot),
    /// Changes in order of revision. Those of one revision in one range are never split.
    Changes(Vec<Change>),
    /// The copy has caught up with the store as it was when the connection was made. Until the first of
    /// these, nothing may be deleted on the strength of being absent. Comes again after each `Lost`.
    InSync {
        /// Everything up to this revision has been told.
        revision: i64,
    },
    /// Everything up to this revision has been told, for all ranges alike. What has been told is the
    /// state at exactly this revision, so a checkpoint taken on this event resumes from it.
    Progress {
        /// The revision.
        revision: i64,
    },
    /// The store cannot be reached; the copy stays as it is and the session keeps trying.
    Lost {
        /// Why, for people.
        reason: String,
    },
    /// The copy is of a store that is no more; a `Begin` of the present one follows. What was done on
    /// the strength of the old copy stays in force until then.
    Reset {
        /// Why.
        reason: ResetReason,
    },
}
