//! A typed copy of one range.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use skein_store_schema::{KeyRange, SchemaError, StoreKey};

use crate::event::{Change, Entry, Snapshot, SyncEvent};

/// A value with the counters that matter to its users.
#[derive(Debug)]
pub struct Row<V> {
    /// The value.
    pub value: Arc<V>,
    /// The revision of its last change.
    pub mod_revision: i64,
    /// The revision at which its key came to be.
    pub create_revision: i64,
}

impl<V> Clone for Row<V> {
    fn clone(&self) -> Self {
        Self {
            value: Arc::clone(&self.value),
            mod_revision: self.mod_revision,
            create_revision: self.create_revision,
        }
    }
}

/// One row that is not as it was.
#[derive(Debug)]
pub struct TableChange<K: StoreKey> {
    /// Whose row.
    pub key: K,
    /// The value before; none when the key is new.
    pub old: Option<Arc<K::Value>>,
    /// The value now; none when the key is gone.
    pub new: Option<Arc<K::Value>>,
}

/// What an event did to a table.
#[derive(Debug)]
pub struct Applied<K: StoreKey> {
    /// Rows that changed, in the order of the changes.
    pub changes: Vec<TableChange<K>>,
    /// Pairs that this event brought and that do not decode; to be logged once.
    pub rejected: Vec<SchemaError>,
}

/// A copy of every key of kind `K` in a range.
///
/// Entries that do not decode count as absent and are kept in [`Table::rejected`]; keys of other kinds
/// that share the range are passed over. Cloning is cheap and yields an immutable snapshot.
#[derive(Debug, Clone)]
pub struct Table<K: StoreKey> {
    range: KeyRange,
    rows: OrdMap<K, Row<K::Value>>,
    rejected: BTreeMap<Vec<u8>, SchemaError>,
    revision: i64,
    in_sync: bool,
}

impl<K: StoreKey> Default for Table<K> {
    fn default() -> Self {
        Self::new(K::range())
    }
}

impl<K: StoreKey> Table<K> {
    /// An empty copy of a range; `Table::default()` is of the whole kind.
    pub fn new(range: KeyRange) -> Self {
        Self { range, rows: OrdMap::new(), rejected: BTreeMap::new(), revision: 0, in_sync: false }
    }

    /// The range that is copied.
    pub fn range(&self) -> &KeyRange {
        &self.range
    }

    /// Takes in an event of a watcher whose ranges may hold more than this table's.
    pub fn apply(&mut self, event: &SyncEvent) -> Applied<K> {
        let mut applied = Applied { changes: Vec::new(), rejected: Vec::new() };
        match event {
            SyncEvent::Begin(snapshot) => self.replace(snapshot, &mut applied),
            SyncEvent::Changes(changes) => {
                for change in changes {
                    if !self.range.contains(change.key()) {
                        continue;
                    }
                    self.revision = self.revision.max(change.mod_revision());
                    self.change(change, &mut applied);
                }
            }
            SyncEvent::InSync { revision } => {
                self.in_sync = true;
                self.revision = self.revision.max(*revision);
            }
            SyncEvent::Progress { revision } => self.revision = self.revision.max(*revision),
            SyncEvent::Lost { .. } => {}
            SyncEvent::Reset { .. } => self.in_sync = false,
        }
        applied
    }

    /// The row of a key.
    pub fn row(&self, key: &K) -> Option<&Row<K::Value>> {
        self.rows.get(key)
    }

    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<&Arc<K::Value>> {
        self.rows.get(key).map(|row| &row.value)
    }

    /// All keys and values in order of keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &Arc<K::Value>)> {
        self.rows.iter().map(|(key, row)| (key, &row.value))
    }

    /// All keys with their rows, in order of keys.
    pub fn rows(&self) -> impl Iterator<Item = (&K, &Row<K::Value>)> {
        self.rows.iter()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// True without any key.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Stored pairs that do not decode, by raw key.
    pub fn rejected(&self) -> &BTreeMap<Vec<u8>, SchemaError> {
        &self.rejected
    }

    /// True once the table has been complete; stays true while the store is out of reach.
    pub fn is_in_sync(&self) -> bool {
        self.in_sync
    }

    /// The last revision heard of in this range.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    fn replace(&mut self, snapshot: &Snapshot, applied: &mut Applied<K>) {
        let mut stale = std::mem::take(&mut self.rows);
        self.rejected.clear();
        self.revision = snapshot.revision;
        for entry in &snapshot.entries {
            if !self.range.contains(&entry.key) {
                continue;
            }
            let Some((key, row)) = self.decode(entry, applied) else { continue };
            let old = stale.remove(&key);
            // A revision tells values of one store apart, not of two: only equal values are the same.
            if old.as_ref().is_none_or(|old| old.value != row.value) {
                let (old, new) = (old.map(|row| row.value), Some(Arc::clone(&row.value)));
                applied.changes.push(TableChange { key: key.clone(), old, new });
            }
            self.rows.insert(key, row);
        }
        for (key, row) in stale {
            applied.changes.push(TableChange { key, old: Some(row.value), new: None });
        }
    }

    fn change(&mut self, change: &Change, applied: &mut Applied<K>) {
        if self.knows_newer(change) {
            return;
        }
        self.rejected.remove(change.key());
        let decoded = match change {
            Change::Put(entry) => self.decode(entry, applied),
            Change::Delete { .. } => None,
        };
        // A value that does not decode counts as absent, exactly as if it had been deleted.
        let Some((key, row)) = decoded else {
            return self.forget(change, applied);
        };
        let new = Some(Arc::clone(&row.value));
        let old = self.rows.insert(key.clone(), row).map(|row| row.value);
        if old != new {
            applied.changes.push(TableChange { key, old, new });
        }
    }

    /// A copy that is fed from before its own state, as from an older checkpoint, must not go back.
    fn knows_newer(&self, change: &Change) -> bool {
        let row = K::decode(change.key()).ok().and_then(|key| self.rows.get(&key));
        row.is_some_and(|row| row.mod_revision >= change.mod_revision())
    }

    fn forget(&mut self, change: &Change, applied: &mut Applied<K>) {
        let Ok(key) = K::decode(change.key()) else { return };
        if let Some(row) = self.rows.remove(&key) {
            applied.changes.push(TableChange { key, old: Some(row.value), new: None });
        }
    }

    fn decode(&mut self, entry: &Entry, applied: &mut Applied<K>) -> Option<(K, Row<K::Value>)> {
        match K::decode_entry(&entry.key, &entry.value) {
            Ok((key, value)) => {
                let row = Row {
                    value: Arc::new(value),
                    mod_revision: entry.mod_revision,
                    create_revision: entry.create_revision,
                };
                Some((key, row))
            }
            Err(error) if error.is_other_kind() => None,
            Err(error) => {
                self.rejected.insert(entry.key.clone(), error.clone());
                applied.rejected.push(error);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
