//! The contents of the three maps, as the kernel holds them.

use std::collections::{BTreeMap, BTreeSet};

use crate::few::Few;
use crate::types::{Backend, Frontend, FrontendValue, Slot};

/// Frontends, slots and backends with the count of slots that refer to each backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    frontends: BTreeMap<Frontend, FrontendValue>,
    slots: BTreeMap<Slot, u32>,
    backends: BTreeMap<u32, Backend>,
    references: BTreeMap<u32, u32>,
    readers: BTreeMap<u32, Few<Frontend>>,
}

impl Tables {
    /// From dumps of the maps.
    pub fn new(
        frontends: impl IntoIterator<Item = (Frontend, FrontendValue)>,
        slots: impl IntoIterator<Item = (Slot, u32)>,
        backends: impl IntoIterator<Item = (u32, Backend)>,
    ) -> Tables {
        let mut tables = Tables { backends: backends.into_iter().collect(), ..Tables::default() };
        for (key, value) in frontends {
            tables.set_frontend(key, value);
        }
        for (slot, backend) in slots {
            tables.set_slot(slot, backend);
        }
        tables
    }

    /// Frontends.
    pub fn frontends(&self) -> &BTreeMap<Frontend, FrontendValue> {
        &self.frontends
    }

    /// Slots.
    pub fn slots(&self) -> &BTreeMap<Slot, u32> {
        &self.slots
    }

    /// Backends by id.
    pub fn backends(&self) -> &BTreeMap<u32, Backend> {
        &self.backends
    }

    /// Number of slots that refer to a backend.
    pub fn references(&self, backend: u32) -> u32 {
        self.references.get(&backend).copied().unwrap_or(0)
    }

    /// Every list id in use, by frontends or left over in slots.
    pub fn list_ids(&self) -> BTreeSet<u32> {
        let of_frontends = self.readers.keys().copied();
        of_frontends.chain(self.slots.keys().map(|slot| slot.service)).collect()
    }

    /// Frontends that lead to a list.
    pub fn frontends_of(&self, service: u32) -> impl Iterator<Item = &Frontend> {
        self.readers.get(&service).into_iter().flatten()
    }

    /// Slots of a list in order of index.
    pub fn list(&self, service: u32) -> impl Iterator<Item = (u32, u32)> + '_ {
        let range = Slot { service, index: 0 }..=Slot { service, index: u32::MAX };
        self.slots.range(range).map(|(slot, backend)| (slot.index, *backend))
    }

    /// Writes a frontend.
    pub fn set_frontend(&mut self, key: Frontend, value: FrontendValue) {
        let old = self.frontends.insert(key, value);
        self.drop_reader(&key, old);
        if value.service != 0 {
            self.readers.entry(value.service).or_default().insert(key);
        }
    }

    /// Deletes a frontend.
    pub fn remove_frontend(&mut self, key: &Frontend) {
        let old = self.frontends.remove(key);
        self.drop_reader(key, old);
    }

    /// Writes a slot.
    pub fn set_slot(&mut self, slot: Slot, backend: u32) {
        let old = self.slots.insert(slot, backend);
        *self.references.entry(backend).or_default() += 1;
        self.drop_reference(old);
    }

    /// Deletes a slot.
    pub fn remove_slot(&mut self, slot: &Slot) {
        let old = self.slots.remove(slot);
        self.drop_reference(old);
    }

    /// Writes a backend.
    pub fn set_backend(&mut self, id: u32, backend: Backend) {
        self.backends.insert(id, backend);
    }

    /// Deletes a backend.
    pub fn remove_backend(&mut self, id: u32) {
        self.backends.remove(&id);
    }

    fn drop_reader(&mut self, key: &Frontend, old: Option<FrontendValue>) {
        let Some(old) = old else { return };
        if let Some(readers) = self.readers.get_mut(&old.service) {
            readers.remove(key);
            if readers.is_empty() {
                self.readers.remove(&old.service);
            }
        }
    }

    fn drop_reference(&mut self, backend: Option<u32>) {
        let Some(backend) = backend else { return };
        if let Some(count) = self.references.get_mut(&backend) {
            *count -= 1;
            if *count == 0 {
                self.references.remove(&backend);
            }
        }
    }
}
