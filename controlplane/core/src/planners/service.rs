//! Services and their cluster addresses.
//!
//! An address is kept in the service's own key and nowhere else, so there is nothing that could
//! disagree with it. A service that names its address gets it, unless another has it already; one
//! that names none keeps what it has or gets a free address of the service network. An address
//! outside of that network is refused, as Kubernetes does: it could be a node's, the store's, or
//! the world's, and the whole cluster would lose it to the service. Free ones are
//! searched from a place that depends on the service's name, so that the same manifests get the
//! same addresses in an empty store. The first addresses of the network are left to services that
//! name theirs, as Kubernetes does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use skein_store_schema::kinds::service::{Service, ServiceKey};

use super::Inputs;
use super::identity::spread;
use crate::object::{ClusterIp, Kind, Object, ObjectRef, ServiceObject, ipv4};
use crate::plan::{Plan, Reason};

/// The services of this plan that have what they need, with their objects.
pub(super) struct Services<'a> {
    pub(super) shared: Vec<(&'a ServiceObject, Option<Ipv4Addr>)>,
}

/// At least and at most this many addresses are left to services that name theirs
/// (KEP-3070: a sixteenth of the network within these bounds).
const STATIC_BAND_MIN: u64 = 16;
const STATIC_BAND_MAX: u64 = 256;

pub(super) fn plan<'a>(inputs: &'a Inputs, plan: &mut Plan) -> Services<'a> {
    let objects = || {
        let all = inputs.sources.objects.of(Kind::Service).values();
        all.filter_map(|object| match &**object {
            Object::Service(service) => Some(service),
            _ => None,
        })
    };
    retire(inputs, plan);
    let mut addresses = Addresses::new(inputs, objects());
    let mut services = Services { shared: Vec::new() };
    for object in objects().filter(|o| o.cluster_ip != ClusterIp::ExternalName) {
        let key = key_of(object);
        let address = match addresses.settle(object, &key) {
            Ok(address) => address,
            Err(Refusal::Conflict(reason)) => {
                plan.problem(name_of(&key), reason);
                continue;
            }
            Err(Refusal::Wait(reason)) => {
                plan.wait(name_of(&key), reason);
                continue;
            }
        };
        want(inputs, &key, object, address, plan);
        if object.global {
            services.shared.push((object, address));
        }
    }
    services
}

fn want(
    inputs: &Inputs,
    key: &ServiceKey,
    object: &ServiceObject,
    address: Option<Ipv4Addr>,
    plan: &mut Plan,
) {
    let table = &inputs.tables.services;
    if table.value(key).is_some_and(|current| same(current, &object.service, address)) {
        return;
    }
    let cluster_ips = address.map(IpAddr::V4).into_iter().collect();
    plan.want(table, key, &Service { cluster_ips, ..object.service.clone() });
}

/// Whether the stored service is what is wanted, without building the latter.
fn same(current: &Service, wanted: &Service, address: Option<Ipv4Addr>) -> bool {
    current.cluster_ips.iter().copied().eq(address.map(IpAddr::V4))
        && current.ports == wanted.ports
        && current.kind == wanted.kind
        && current.headless == wanted.headless
        && current.external_ips == wanted.external_ips
        && current.load_balancer_ips == wanted.load_balancer_ips
        && current.source_ranges == wanted.source_ranges
        && current.client_ip_affinity_s == wanted.client_ip_affinity_s
        && current.internal_traffic_policy == wanted.internal_traffic_policy
        && current.external_traffic_policy == wanted.external_traffic_policy
        && current.publish_not_ready == wanted.publish_not_ready
}

fn key_of(object: &ServiceObject) -> ServiceKey {
    ServiceKey { namespace: object.namespace.clone(), name: object.name.clone() }
}

fn name_of(key: &ServiceKey) -> ObjectRef {
    ObjectRef::new(Kind::Service, key.namespace.as_str(), key.name.as_str())
}

fn retire(inputs: &Inputs, plan: &mut Plan) {
    for (key, _) in inputs.tables.services.iter() {
        let name = name_of(key);
        let external = matches!(
            inputs.sources.objects.get(&name).map(|o| &**o),
            Some(Object::Service(s)) if s.cluster_ip == ClusterIp::ExternalName
        );
        if external || inputs.is_gone(&name) {
            plan.remove(&inputs.tables.services, key, Reason::Gone);
        }
    }
}

/// Who has which address. An address that the store gives to a service is that service's until its
/// key says otherwise: two keys never hold one address, not even for a moment. A service that wants
/// what another is about to give up waits for one round.
struct Addresses<'a> {
    inputs: &'a Inputs,
    network: Ipv4Net,
    owners: BTreeMap<Ipv4Addr, ServiceKey>,
    /// Addresses that services name: nobody else gets them.
    named: BTreeSet<Ipv4Addr>,
}

/// Why a service has no address. What the store has of it stays.
enum Refusal {
    Conflict(String),
    Wait(String),
}

impl<'a> Addresses<'a> {
    fn new(inputs: &'a Inputs, objects: impl Iterator<Item = &'a ServiceObject>) -> Self {
        let named = objects.filter_map(|object| match object.cluster_ip {
            ClusterIp::Fixed(ip) => Some(ip),
            _ => None,
        });
        let named = named.collect();
        let mut owners = BTreeMap::new();
        for (key, service) in inputs.tables.services.iter() {
            for ip in service.cluster_ips.iter().copied().filter_map(ipv4) {
                owners.entry(ip).or_insert_with(|| key.clone());
            }
        }
        let network = inputs.config.service_cidr.trunc();
        Addresses { inputs, network, owners, named }
    }

    fn settle(
        &mut self,
        object: &ServiceObject,
        key: &ServiceKey,
    ) -> Result<Option<Ipv4Addr>, Refusal> {
        match object.cluster_ip {
            ClusterIp::Headless | ClusterIp::ExternalName => Ok(None),
            ClusterIp::Fixed(ip) => self.give(ip, key).map(Some),
            ClusterIp::Any => match self.current(key) {
                Some(ip) => Ok(Some(ip)),
                None => self.allocate(key).map(Some),
            },
        }
    }

    /// What the service has in the store, unless another has it too and came first.
    fn current(&self, key: &ServiceKey) -> Option<Ipv4Addr> {
        let ip = self.inputs.tables.services.value(key)?.cluster_ips.first().copied()?;
        ipv4(ip).filter(|ip| self.owners.get(ip) == Some(key))
    }

    fn give(&mut self, ip: Ipv4Addr, key: &ServiceKey) -> Result<Ipv4Addr, Refusal> {
        if !self.network.contains(&ip) {
            let network = self.network;
            let reason = format!("its address {ip} is not in the service network {network}");
            return Err(Refusal::Conflict(reason));
        }
        match self.owners.get(&ip) {
            None => {
                self.owners.insert(ip, key.clone());
                Ok(ip)
            }
            Some(owner) if owner == key => Ok(ip),
            Some(owner) if self.leaves(owner, ip) => {
                Err(Refusal::Wait(format!("{ip}, which {} is about to give up", name_of(owner))))
            }
            Some(owner) => {
                Err(Refusal::Conflict(format!("its address {ip} belongs to {}", name_of(owner))))
            }
        }
    }

    /// Whether the owner of an address in the store will not have it much longer.
    fn leaves(&self, owner: &ServiceKey, ip: Ipv4Addr) -> bool {
        let name = name_of(owner);
        match self.inputs.sources.objects.get(&name).map(|o| &**o) {
            Some(Object::Service(object)) => match object.cluster_ip {
                ClusterIp::Any => false,
                ClusterIp::Fixed(wanted) => wanted != ip,
                ClusterIp::Headless | ClusterIp::ExternalName => true,
            },
            _ => self.inputs.is_gone(&name),
        }
    }

    fn allocate(&mut self, key: &ServiceKey) -> Result<Ipv4Addr, Refusal> {
        let first = u64::from(u32::from(self.network.network())) + 1;
        let count = u64::from(u32::from(self.network.broadcast())) - first;
        let band = (count / 16).clamp(STATIC_BAND_MIN, STATIC_BAND_MAX).min(count / 2);
        let start = spread(format!("{}/{}", key.namespace, key.name).as_bytes());
        let upper = count - band;
        let places = (0..upper).map(|n| band + (start % upper + n) % upper).chain(0..band);
        let free = places
            .map(|place| Ipv4Addr::from((first + place) as u32))
            .find(|ip| !self.owners.contains_key(ip) && !self.named.contains(ip));
        let none = || Refusal::Conflict(format!("no address of {} is free", self.network));
        let ip = free.ok_or_else(none)?;
        self.owners.insert(ip, key.clone());
        Ok(ip)
    }
}
