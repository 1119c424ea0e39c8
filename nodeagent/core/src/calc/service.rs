//! One service and its slices → its frontends and backends.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use skein_store_schema::NodeName;
use skein_store_schema::kinds::service::{Service, ServicePort, TrafficPolicy};
use skein_store_schema::kinds::slice::{AddressType, Slice};

use crate::lb::{DesiredList, DesiredService, ListName};
use crate::types::{Backend, Frontend, Proto, Scope};

/// What a slice means here, without the strings of a thousand pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceFacts {
    /// The service, in the slice's namespace.
    pub service: String,
    /// Port by name and protocol: slices of one service may resolve a named target port differently.
    ports: Vec<((String, u8), u16)>,
    endpoints: Vec<EndpointFacts>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct EndpointFacts {
    addr: Ipv4Addr,
    ready: bool,
    draining: bool,
    is_local: bool,
}

impl SliceFacts {
    /// From a value, seen from `node`. A slice of the other family has no endpoints here.
    pub fn of(slice: &Slice, node: &NodeName) -> SliceFacts {
        let ports = slice.ports.iter();
        let mut facts = SliceFacts {
            service: slice.service.as_str().to_owned(),
            ports: ports.map(|p| ((p.name.clone(), p.protocol.number()), p.port.get())).collect(),
            endpoints: Vec::new(),
        };
        if slice.address_type == AddressType::Ipv4 {
            for endpoint in &slice.endpoints {
                // Only the first address counts (discovery.k8s.io/v1: consumers use one).
                if let Some(IpAddr::V4(addr)) = endpoint.addresses.first() {
                    facts.endpoints.push(EndpointFacts {
                        addr: *addr,
                        ready: endpoint.ready && !endpoint.terminating,
                        draining: endpoint.terminating && endpoint.serving,
                        is_local: endpoint.node.as_ref() == Some(node),
                    });
                }
            }
        }
        facts
    }
}

/// The tables of one service; none for a headless one, which has no address of its own.
///
/// Backends are the ready endpoints; if there is none, those that terminate but still serve
/// (kube-proxy's rule, KEP-1669). With `internalTrafficPolicy: Local` only this node's count, and a
/// node without any refuses.
pub fn desired(service: &Service, slices: &[&SliceFacts]) -> Option<DesiredService> {
    if service.headless {
        return None;
    }
    let vips: BTreeSet<Ipv4Addr> = service
        .cluster_ips
        .iter()
        .filter_map(|ip| if let IpAddr::V4(ip) = ip { Some(*ip) } else { None })
        .collect();
    if vips.is_empty() {
        return None;
    }
    let local_only = service.internal_traffic_policy == TrafficPolicy::Local;
    let lists = service.ports.iter().map(|port| {
        let proto = Proto(port.protocol.number());
        let name = ListName { port: port.port.get(), proto, scope: Scope::Cluster };
        let frontend =
            |addr: &Ipv4Addr| Frontend { addr: *addr, port: name.port, proto, scope: name.scope };
        let frontends = vips.iter().map(frontend).collect();
        (name, DesiredList { frontends, backends: backends(port, slices, local_only) })
    });
    let lists = lists.collect();
    Some(DesiredService { vips, lists })
}

fn backends(port: &ServicePort, slices: &[&SliceFacts], local_only: bool) -> BTreeSet<Backend> {
    let proto = Proto(port.protocol.number());
    let key = (port.name.clone(), proto.0);
    let (mut ready, mut draining) = (BTreeSet::new(), BTreeSet::new());
    for slice in slices {
        let Some((_, target)) = slice.ports.iter().find(|(port, _)| *port == key) else { continue };
        for endpoint in slice.endpoints.iter().filter(|e| e.is_local || !local_only) {
            let backend = Backend { addr: endpoint.addr, port: *target, proto };
            if endpoint.ready {
                ready.insert(backend);
            } else if endpoint.draining {
                draining.insert(backend);
            }
        }
    }
    if ready.is_empty() { draining } else { ready }
}
