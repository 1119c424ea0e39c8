//! What the store holds of one kind, typed.

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use skein_store_schema::{SchemaError, StoreKey, StoreValue};

/// A decoded value and the revision of its last change.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry<V> {
    pub value: V,
    pub mod_revision: i64,
}

/// A key of ours whose value cannot be read. It counts as absent, but is never taken for free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    pub mod_revision: i64,
    pub reason: String,
}

/// One kind's keys. Clones share their contents.
#[derive(Clone, Debug)]
pub struct StoreTable<K: StoreKey> {
    entries: OrdMap<K, Entry<K::Value>>,
    unreadable: OrdMap<K, Unreadable>,
}

impl<K: StoreKey> Default for StoreTable<K> {
    fn default() -> Self {
        StoreTable { entries: OrdMap::new(), unreadable: OrdMap::new() }
    }
}

impl<K: StoreKey> StoreTable<K> {
    /// Takes a stored pair. A value that cannot be decoded, or does not agree with its key, makes
    /// the key unreadable.
    ///
    /// # Errors
    /// The key is none of this kind.
    pub fn put(
        &mut self,
        raw_key: &[u8],
        raw: &[u8],
        mod_revision: i64,
    ) -> Result<(), SchemaError> {
        let key = K::decode(raw_key)?;
        let value = K::Value::decode(raw).and_then(|v| key.agrees(&v).map(|()| v));
        match value {
            Ok(value) => {
                self.unreadable.remove(&key);
                self.entries.insert(key, Entry { value, mod_revision });
            }
            Err(reason) => {
                self.entries.remove(&key);
                self.unreadable
                    .insert(key, Unreadable { mod_revision, reason: reason.to_string() });
            }
        }
        Ok(())
    }

    /// Forgets a key.
    ///
    /// # Errors
    /// The key is none of this kind.
    pub fn delete(&mut self, raw_key: &[u8]) -> Result<(), SchemaError> {
        let key = K::decode(raw_key)?;
        self.entries.remove(&key);
        self.unreadable.remove(&key);
        Ok(())
    }

    pub fn get(&self, key: &K) -> Option<&Entry<K::Value>> {
        self.entries.get(key)
    }

    pub fn value(&self, key: &K) -> Option<&K::Value> {
        self.entries.get(key).map(|e| &e.value)
    }

    /// The revision of the key's last change, readable or not; 0 when there is no such key.
    pub fn mod_revision(&self, key: &K) -> i64 {
        let readable = self.entries.get(key).map(|e| e.mod_revision);
        readable.or_else(|| self.unreadable.get(key).map(|u| u.mod_revision)).unwrap_or(0)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&K, &K::Value)> {
        self.entries.iter().map(|(k, e)| (k, &e.value))
    }

    /// The entries from `from` on, in order.
    pub fn range_from(&self, from: &K) -> impl Iterator<Item = (&K, &K::Value)> {
        self.entries.range(from.clone()..).map(|(k, e)| (k, &e.value))
    }

    pub fn unreadable(&self) -> impl Iterator<Item = (&K, &Unreadable)> {
        self.unreadable.iter()
    }

    pub fn is_unreadable(&self, key: &K) -> bool {
        self.unreadable.contains_key(key)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Calls `say` with every key that is not as it was in `before`, with its readable values then
    /// and now. Costs as much as there are changes where this table grew out of the other.
    pub fn changes<'a>(
        &'a self,
        before: &'a Self,
        mut say: impl FnMut(&'a K, Option<&'a K::Value>, Option<&'a K::Value>),
    ) {
        for item in before.entries.diff(&self.entries) {
            match item {
                DiffItem::Add(key, new) => say(key, None, Some(&new.value)),
                DiffItem::Update { old, new } => say(new.0, Some(&old.1.value), Some(&new.1.value)),
                DiffItem::Remove(key, old) => say(key, Some(&old.value), None),
            }
        }
        for item in before.unreadable.diff(&self.unreadable) {
            let (DiffItem::Add(key, _)
            | DiffItem::Update { new: (key, _), .. }
            | DiffItem::Remove(key, _)) = item;
            let readable = |table: &'a Self| table.value(key);
            if readable(before).is_none() && readable(self).is_none() {
                say(key, None, None);
            }
        }
    }

    /// Whether both share their contents: then they are equal. The reverse does not hold.
    pub fn ptr_eq(&self, other: &Self) -> bool {
        self.entries.ptr_eq(&other.entries) && self.unreadable.ptr_eq(&other.unreadable)
    }
}
