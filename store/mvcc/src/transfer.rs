//! The history out and in, change by change, for the formats of others. (Our own is `snapshot`.)

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use skein_store_api::ApiError;
use skein_store_api::pb::mvccpb::KeyValue;

use crate::auth::{Auth, AuthChunk};
use crate::cluster::Cluster;
use crate::history::{History, Rev, Version};
use crate::key::Key;
use crate::lease::Leases;
use crate::machine::{Machine, MachineConfig, Parts};
use crate::members::Members;
use crate::record;
use crate::snapshot::view_of;
use crate::usage::Usage;
use crate::view::View;

/// One change of one key.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The revision that made it.
    pub main: i64,
    /// Its place inside of the revision.
    pub sub: u32,
    /// What it did.
    pub change: RecordedChange,
}

/// What a [`Record`] did.
#[derive(Clone, Debug, PartialEq)]
pub enum RecordedChange {
    /// The key has this encoded `KeyValue` from then on.
    Put(Bytes),
    /// This key was deleted.
    Delete(Bytes),
}

impl View {
    /// Every change that compaction retains, in the order in which they were made. Takes two
    /// references of memory for each of them.
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        let retained = |history: &'_ History| history.retained(self.compact_revision).count();
        let count = self.index.iter().map(|(_, history)| retained(history)).sum();
        let mut versions: Vec<(&Key, &Version)> = Vec::with_capacity(count);
        for (key, history) in self.index.iter() {
            let retained = history.retained(self.compact_revision);
            versions.extend(retained.map(|version| (key, version)));
        }
        versions.sort_unstable_by_key(|(_, version)| version.rev);
        versions.into_iter().map(|(key, version)| Record {
            main: version.rev.main,
            sub: version.rev.sub,
            change: match version.is_live() {
                true => RecordedChange::Put(version.kv()),
                false => RecordedChange::Delete(Bytes::copy_from_slice(key)),
            },
        })
    }
}

/// A history does not make sense.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// Changes must come in their order.
    #[error("the change at revision {main}.{sub} does not follow the one before it")]
    Order {
        /// Its revision.
        main: i64,
        /// Its place inside of the revision.
        sub: u32,
    },
    /// A change says of itself what cannot be.
    #[error("the change at revision {main}.{sub} cannot be: {what}")]
    Record {
        /// Its revision.
        main: i64,
        /// Its place inside of the revision.
        sub: u32,
        /// What does not fit.
        what: &'static str,
    },
    /// A user or a role cannot be.
    #[error("a user or a role has a name that is no text")]
    Auth,
    /// A lease cannot be.
    #[error("lease {id:x} cannot be")]
    Lease {
        /// Its id.
        id: i64,
        /// Why not.
        source: ApiError,
    },
}

/// Builds a machine from the changes of a history.
#[derive(Debug, Default)]
pub struct Rebuild {
    last: Option<Rev>,
    keys: BTreeMap<Key, History>,
    leases: Leases,
    auth: Auth,
}

impl Rebuild {
    /// Adds the change that came next.
    ///
    /// # Errors
    /// It does not follow, or contradicts itself.
    pub fn record(&mut self, record: Record) -> Result<(), RebuildError> {
        let Record { main, sub, change } = record;
        let rev = Rev { main, sub };
        if main < 1 || self.last.is_some_and(|last| last >= rev) {
            return Err(RebuildError::Order { main, sub });
        }
        self.last = Some(rev);
        let wrong = |what| RebuildError::Record { main, sub, what };
        let (key, version) = match change {
            RecordedChange::Put(kv) => {
                let kv = KeyValue::decode(kv).map_err(|_| wrong("it is not a KeyValue"))?;
                if kv.key.is_empty() {
                    return Err(wrong("it has no key"));
                }
                let counted = kv.mod_revision == main && kv.version >= 1;
                if !counted || !(1..=main).contains(&kv.create_revision) {
                    return Err(wrong("its revisions and version do not fit together"));
                }
                (kv.key.clone(), put_version(rev, &kv))
            }
            RecordedChange::Delete(key) if key.is_empty() => return Err(wrong("it has no key")),
            RecordedChange::Delete(key) => {
                let event = record::delete_event(&key, main);
                (key, Version { rev, create: 0, version: 0, lease: 0, event })
            }
        };
        match self.keys.get_mut(&*key) {
            Some(history) if !follows(&version, Some(history.last())) => {
                return Err(wrong(DOES_NOT_FOLLOW));
            }
            Some(history) => history.push(version),
            None => drop(self.keys.insert(Key::new(&key), History::new(version))),
        }
        Ok(())
    }

    /// Takes users and roles.
    ///
    /// # Errors
    /// One of them has a name that is no text.
    pub fn auth(&mut self, records: AuthChunk) -> Result<(), RebuildError> {
        self.auth = Auth::from_chunk(records).ok_or(RebuildError::Auth)?;
        Ok(())
    }

    /// Adds a lease; the keys attached to it are those whose last change names it.
    ///
    /// # Errors
    /// There is such a lease already, or none can be like it.
    pub fn lease(&mut self, id: i64, ttl_seconds: i64) -> Result<(), RebuildError> {
        let granted = self.leases.grant(id, ttl_seconds);
        granted.map_err(|source| RebuildError::Lease { id, source })
    }

    /// The machine at `revision`, or at its last change if that is newer, compacted at
    /// `compact_revision` (-1: never), as of `applied_index` of the log.
    ///
    /// # Errors
    /// A key's first change, which no compaction can have taken away, is not that of a new key.
    pub fn finish(
        mut self,
        revision: i64,
        compact_revision: i64,
        applied_index: u64,
        config: &MachineConfig,
    ) -> Result<Machine, RebuildError> {
        let newest = self.last.map_or(View::fresh().revision, |last| last.main);
        let revision = revision.max(newest).max(compact_revision);
        let mut usage = Usage::default();
        let mut keys = Vec::with_capacity(self.keys.len());
        for (key, mut history) in self.keys {
            if history.is_garbage(compact_revision) {
                continue;
            }
            history.trim(compact_revision);
            let first = history.versions().next().filter(|first| first.rev.main > compact_revision);
            if let Some(first) = first.filter(|first| !follows(first, None)) {
                let Rev { main, sub } = first.rev;
                return Err(RebuildError::Record { main, sub, what: DOES_NOT_FOLLOW });
            }
            for version in history.versions() {
                usage.version_added(&key, version);
            }
            keys.push((key, history));
        }
        let view = view_of(keys, &mut self.leases, revision, compact_revision);
        let parts = Parts {
            view,
            leases: self.leases,
            members: Members::default(),
            auth: self.auth,
            cluster: Cluster::default(),
            usage,
        };
        Ok(Machine::with_state(parts, applied_index, config))
    }
}

const DOES_NOT_FOLLOW: &str = "it does not follow from the key's change before it";

/// Whether `version` can come after `before` of the same key. Counts at old revisions rely on it.
fn follows(version: &Version, before: Option<&Version>) -> bool {
    match (version.is_live(), before.filter(|before| before.is_live())) {
        (false, before) => before.is_some(),
        (true, None) => version.version == 1 && version.create == version.rev.main,
        (true, Some(before)) => {
            Some(version.version) == before.version.checked_add(1)
                && version.create == before.create
        }
    }
}

fn put_version(rev: Rev, kv: &KeyValue) -> Version {
    let event = record::put_event(&record::Put::from(kv));
    Version { rev, create: kv.create_revision, version: kv.version, lease: kv.lease, event }
}
