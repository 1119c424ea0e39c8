//! EndpointSlices, as they are.

use skein_store_schema::kinds::slice::SliceKey;

use super::Inputs;
use crate::object::{Kind, Object, ObjectRef};
use crate::plan::{Plan, Reason};

pub(super) fn plan(inputs: &Inputs, plan: &mut Plan) {
    let table = &inputs.tables.slices;
    for object in inputs.sources.objects.of(Kind::EndpointSlice).values() {
        let Object::Slice(object) = &**object else { continue };
        if let Some(slice) = &object.slice {
            let key = SliceKey { namespace: object.namespace.clone(), name: object.name.clone() };
            plan.want(table, &key, slice);
        }
    }
    for (key, _) in table.iter() {
        let name = ObjectRef::new(Kind::EndpointSlice, key.namespace.as_str(), key.name.as_str());
        let foreign = matches!(
            inputs.sources.objects.get(&name).map(|o| &**o),
            Some(Object::Slice(s)) if s.slice.is_none()
        );
        if foreign || inputs.is_gone(&name) {
            plan.remove(table, key, Reason::Gone);
        }
    }
}
