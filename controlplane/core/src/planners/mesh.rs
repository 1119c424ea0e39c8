//! Services that other clusters may use, in Cilium's format: those annotated as global, and not
//! as unshared. Backends that neither are ready nor serve are left out: the format has no
//! conditions.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use skein_store_schema::kinds::cluster_service::{
    ClusterService, ClusterServiceKey, PortSpec, PortSpecs,
};
use skein_store_schema::kinds::slice::Slice;
use skein_store_schema::{Namespace, ServiceName};

use super::Inputs;
use super::service::Shared;
use crate::object::{Kind, Object, ObjectRef, ServiceObject};
use crate::plan::{Plan, Reason};

type SlicesByService<'a> = BTreeMap<(&'a Namespace, &'a ServiceName), Vec<&'a Slice>>;

pub(super) fn plan(inputs: &Inputs, shared: &Shared, plan: &mut Plan) {
    let table = &inputs.tables.cluster_services;
    if !shared.is_empty() {
        let slices = slices_by_service(inputs);
        for (object, address) in shared.values() {
            let Object::Service(object) = &**object else { continue };
            let value = cluster_service(inputs, object, *address, &slices);
            let key = ClusterServiceKey {
                cluster: value.cluster.clone(),
                namespace: value.namespace.clone(),
                name: value.name.clone(),
            };
            plan.want(table, &key, &value);
        }
    }
    for (key, _) in table.iter().filter(|(key, _)| key.cluster == inputs.config.cluster) {
        let name = ObjectRef::new(Kind::Service, key.namespace.as_str(), key.name.as_str());
        let unshared = matches!(
            inputs.sources.objects.get(&name).map(|o| &**o),
            Some(Object::Service(s)) if !s.global
        );
        if unshared || inputs.is_gone(&name) {
            plan.remove(table, key, Reason::Gone);
        }
    }
}

fn slices_by_service(inputs: &Inputs) -> SlicesByService<'_> {
    let mut slices = SlicesByService::new();
    for object in inputs.sources.objects.of(Kind::EndpointSlice).values() {
        if let Object::Slice(object) = &**object
            && let Some(slice) = &object.slice
        {
            slices.entry((&object.namespace, &slice.service)).or_default().push(slice);
        }
    }
    slices
}

fn cluster_service(
    inputs: &Inputs,
    object: &ServiceObject,
    address: Option<Ipv4Addr>,
    slices: &SlicesByService<'_>,
) -> ClusterService {
    let front = |p: &skein_store_schema::kinds::service::ServicePort| {
        (p.name.clone(), PortSpec { protocol: p.protocol, port: p.port })
    };
    let fronts: PortSpecs = object.service.ports.iter().map(front).collect();
    let mut backends: BTreeMap<IpAddr, PortSpecs> = BTreeMap::new();
    for slice in slices.get(&(&object.namespace, &object.name)).into_iter().flatten() {
        let ports: PortSpecs = slice
            .ports
            .iter()
            .map(|p| (p.name.clone(), PortSpec { protocol: p.protocol, port: p.port }))
            .collect();
        for endpoint in slice.endpoints.iter().filter(|e| e.ready || e.serving) {
            for ip in endpoint.addresses.iter().take(1) {
                backends.entry(*ip).or_default().extend(ports.clone());
            }
        }
    }
    ClusterService {
        cluster: inputs.config.cluster.clone(),
        namespace: object.namespace.clone(),
        name: object.name.clone(),
        frontends: address.map(|ip| (IpAddr::V4(ip), fronts)).into_iter().collect(),
        backends,
        hostnames: BTreeMap::new(),
        zones: BTreeMap::new(),
        labels: object.labels.clone(),
        selector: object.selector.clone(),
        include_external: true,
        shared: true,
        cluster_id: u32::from(inputs.config.cluster_id.get()),
    }
}
