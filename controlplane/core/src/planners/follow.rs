//! Which objects of a kind have to be looked at again.
//!
//! What a planner decides on one object rests on the object, on its key in the store, and on
//! whether its absence counts. As long as these are what they were, and there was nothing to do or
//! to tell then, there is nothing now: only what changed is looked at, and what was left open.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::ordmap::DiffItem;
use imbl::{OrdMap, OrdSet};
use skein_store_schema::StoreKey;

use super::Inputs;
use crate::object::{Kind, Object, ObjectRef};
use crate::plan::Plan;
use crate::table::StoreTable;

/// What one planner saw the last time.
#[derive(Debug)]
pub(super) struct Follow<K: StoreKey> {
    objects: OrdMap<ObjectRef, Arc<Object>>,
    table: StoreTable<K>,
    held: OrdSet<ObjectRef>,
    complete: bool,
    /// Those of which there was something to write or to tell.
    open: BTreeSet<ObjectRef>,
}

impl<K: StoreKey> Default for Follow<K> {
    fn default() -> Self {
        Follow {
            objects: OrdMap::new(),
            table: StoreTable::default(),
            held: OrdSet::new(),
            complete: false,
            open: BTreeSet::new(),
        }
    }
}

/// A change of an object.
pub(super) struct ObjectChange<'a> {
    pub(super) before: Option<&'a Object>,
    pub(super) after: Option<&'a Object>,
}

/// A change of a key, with its readable values.
pub(super) struct KeyChange<'a, K: StoreKey> {
    pub(super) key: &'a K,
    pub(super) before: Option<&'a K::Value>,
    pub(super) after: Option<&'a K::Value>,
}

impl<K: StoreKey> Follow<K> {
    /// The objects to look at, in order; tells every change on the way. From now on `inputs` is
    /// what was seen.
    pub(super) fn touched(
        &mut self,
        inputs: &Inputs,
        kind: Kind,
        table: &StoreTable<K>,
        name_of: impl Fn(&K) -> ObjectRef,
        mut on_object: impl FnMut(ObjectChange<'_>),
        mut on_key: impl FnMut(KeyChange<'_, K>),
    ) -> BTreeSet<ObjectRef> {
        let mut touched = std::mem::take(&mut self.open);
        let objects = inputs.sources.objects.of(kind);
        for item in self.objects.diff(objects) {
            let (name, before, after) = match &item {
                DiffItem::Add(name, new) => (*name, None, Some(&***new)),
                DiffItem::Update { old, new } => (new.0, Some(&**old.1), Some(&**new.1)),
                DiffItem::Remove(name, old) => (*name, Some(&***old), None),
            };
            on_object(ObjectChange { before, after });
            touched.insert(name.clone());
        }
        table.changes(&self.table, |key, before, after| {
            on_key(KeyChange { key, before, after });
            touched.insert(name_of(key));
        });
        if self.complete != inputs.sources.complete {
            touched.extend(table.iter().map(|(key, _)| name_of(key)));
        }
        for item in self.held.diff(&inputs.sources.held) {
            let (imbl::ordset::DiffItem::Add(name) | imbl::ordset::DiffItem::Remove(name)) = item;
            if name.kind == kind {
                touched.insert(name.clone());
            }
        }
        self.objects = objects.clone();
        self.table = table.clone();
        self.held = inputs.sources.held.clone();
        self.complete = inputs.sources.complete;
        touched
    }

    /// Looks at one object, and remembers it if anything came of that.
    pub(super) fn look(&mut self, name: &ObjectRef, plan: &mut Plan, at: impl FnOnce(&mut Plan)) {
        let before = plan.size();
        at(plan);
        if plan.size() > before {
            self.open.insert(name.clone());
        }
    }
}
