//! EndpointSlices, as they are.

use skein_store_schema::kinds::slice::SliceKey;

use super::Inputs;
use super::follow::Follow;
use crate::object::{Kind, Object, ObjectRef};
use crate::plan::{Plan, Reason};

/// What is known of slices from one planning to the next.
#[derive(Debug, Default)]
pub(super) struct Slices(Follow<SliceKey>);

impl Slices {
    pub(super) fn plan(&mut self, inputs: &Inputs, plan: &mut Plan) {
        let (kind, table) = (Kind::EndpointSlice, &inputs.tables.slices);
        let touched = self.0.touched(inputs, kind, table, name_of, |_| {}, |_| {});
        for name in &touched {
            self.0.look(name, plan, |plan| look(inputs, name, plan));
        }
    }
}

fn name_of(key: &SliceKey) -> ObjectRef {
    ObjectRef::new(Kind::EndpointSlice, key.namespace.as_str(), key.name.as_str())
}

fn look(inputs: &Inputs, name: &ObjectRef, plan: &mut Plan) {
    let table = &inputs.tables.slices;
    let object = match inputs.sources.objects.get(name).map(|o| &**o) {
        Some(Object::Slice(object)) => Some(object),
        _ => None,
    };
    if let Some((object, slice)) = object.and_then(|o| Some((o, o.slice.as_ref()?))) {
        let key = SliceKey { namespace: object.namespace.clone(), name: object.name.clone() };
        return plan.want(table, &key, slice);
    }
    // A name that no key can have has none to be removed.
    let (Ok(namespace), Ok(slice)) = (name.namespace.parse(), name.name.parse()) else { return };
    let key = SliceKey { namespace, name: slice };
    if table.get(&key).is_some() && (object.is_some() || inputs.is_gone(name)) {
        plan.remove(table, &key, Reason::Gone);
    }
}
