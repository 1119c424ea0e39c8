//! Parts of a planning that are kept as long as nothing that they rest on has changed.

use std::sync::Arc;

use imbl::OrdSet;

use super::Inputs;
use crate::object::{Kind, ObjectRef};
use crate::plan::Plan;
use crate::source::Objects;
use crate::tables::Tables;

/// What a planning saw. Holds shared copies, so it costs next to nothing.
#[derive(Debug)]
pub(super) struct Seen {
    objects: Objects,
    held: OrdSet<ObjectRef>,
    complete: bool,
    tables: Tables,
}

impl Seen {
    pub(super) fn of(inputs: &Inputs) -> Seen {
        Seen {
            objects: inputs.sources.objects.clone(),
            held: inputs.sources.held.clone(),
            complete: inputs.sources.complete,
            tables: inputs.tables.clone(),
        }
    }

    /// Whether the same absences count.
    fn absences(&self, other: &Seen) -> bool {
        self.complete == other.complete && self.held.ptr_eq(&other.held)
    }

    fn kind(&self, other: &Seen, kind: Kind) -> bool {
        self.objects.of(kind).ptr_eq(other.objects.of(kind))
    }

    /// Whether everything that shared services rest on is the same.
    pub(super) fn mesh(&self, other: &Seen) -> bool {
        let (a, b) = (&self.tables, &other.tables);
        self.absences(other)
            && self.kind(other, Kind::Service)
            && self.kind(other, Kind::EndpointSlice)
            && a.services.ptr_eq(&b.services)
            && a.cluster_services.ptr_eq(&b.cluster_services)
    }

    /// The same for published nodes.
    pub(super) fn nodes(&self, other: &Seen) -> bool {
        let (a, b) = (&self.tables, &other.tables);
        self.absences(other)
            && self.kind(other, Kind::Node)
            && a.blocks.ptr_eq(&b.blocks)
            && a.node_reports.ptr_eq(&b.node_reports)
            && a.nodes.ptr_eq(&b.nodes)
    }
}

/// One part: what it added to the plan, and what it came to.
#[derive(Debug)]
pub(super) struct Memo<T>(Option<(Arc<Seen>, Plan, Arc<T>)>);

impl<T> Default for Memo<T> {
    fn default() -> Self {
        Memo(None)
    }
}

impl<T> Memo<T> {
    /// Adds the part to `plan`: the one from before if what it rests on is the same, made anew
    /// otherwise. A part must not depend on time.
    pub(super) fn get(
        &mut self,
        seen: &Arc<Seen>,
        same: impl Fn(&Seen, &Seen) -> bool,
        plan: &mut Plan,
        make: impl FnOnce(&mut Plan) -> T,
    ) -> Arc<T> {
        if let Some((before, part, result)) = &self.0
            && same(before, seen)
        {
            plan.add(part);
            return Arc::clone(result);
        }
        let mut part = Plan::default();
        let result = Arc::new(make(&mut part));
        plan.add(&part);
        self.0 = Some((Arc::clone(seen), part, Arc::clone(&result)));
        result
    }
}
