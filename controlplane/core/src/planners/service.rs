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
use std::sync::Arc;

use skein_store_schema::kinds::service::{Service, ServiceKey};

use super::Inputs;
use super::follow::{Follow, KeyChange};
use super::identity::spread;
use crate::object::{ClusterIp, Kind, Object, ObjectRef, ServiceObject, ipv4};
use crate::plan::{Plan, Reason};

/// What is known of services from one planning to the next.
#[derive(Debug, Default)]
pub(super) struct Services {
    follow: Follow<ServiceKey>,
    addresses: Addresses,
    shared: Shared,
}

/// The services that other clusters may use and that have what they need.
pub(super) type Shared = BTreeMap<ServiceKey, (Arc<Object>, Option<Ipv4Addr>)>;

/// At least and at most this many addresses are left to services that name theirs
/// (KEP-3070: a sixteenth of the network within these bounds).
const STATIC_BAND_MIN: u64 = 16;
const STATIC_BAND_MAX: u64 = 256;

impl Services {
    pub(super) fn plan(&mut self, inputs: &Inputs, plan: &mut Plan) {
        let addresses = &mut self.addresses;
        let mut crossed = BTreeSet::new();
        let mut named = Vec::new();
        let mut touched = self.follow.touched(
            inputs,
            Kind::Service,
            &inputs.tables.services,
            name_of,
            |change| named.push([change.before, change.after].map(|o| o.and_then(fixed))),
            |change| addresses.follow(&change, &mut crossed),
        );
        named.into_iter().for_each(|[before, after]| addresses.name(before, after));
        touched.extend(crossed.iter().map(name_of));
        addresses.given.clear();
        for name in &touched {
            self.look(inputs, name, plan);
        }
    }

    /// The services that other clusters may use.
    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    fn look(&mut self, inputs: &Inputs, name: &ObjectRef, plan: &mut Plan) {
        let object = inputs.sources.objects.get(name);
        let service = match object.map(|o| &**o) {
            Some(Object::Service(service)) => Some(service),
            _ => None,
        };
        let (addresses, shared) = (&mut self.addresses, &mut self.shared);
        self.follow.look(name, plan, |plan| {
            let Some(key) = key_of(name, service) else { return };
            shared.remove(&key);
            match service.filter(|s| s.cluster_ip != ClusterIp::ExternalName) {
                None => retire(inputs, name, &key, service.is_some(), plan),
                Some(service) => match addresses.settle(inputs, service, &key) {
                    Ok(address) => {
                        want(inputs, &key, service, address, plan);
                        if let Some(object) = object.filter(|_| service.global) {
                            shared.insert(key, (object.clone(), address));
                        }
                    }
                    Err(Refusal::Conflict(reason)) => plan.problem(name, reason),
                    Err(Refusal::Wait(reason)) => plan.wait(name, reason),
                },
            }
        });
    }
}

/// The address that an object names.
fn fixed(object: &Object) -> Option<Ipv4Addr> {
    match object {
        Object::Service(ServiceObject { cluster_ip: ClusterIp::Fixed(ip), .. }) => Some(*ip),
        _ => None,
    }
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

/// `None` for a name that no key can have.
fn key_of(name: &ObjectRef, service: Option<&ServiceObject>) -> Option<ServiceKey> {
    match service {
        Some(s) => Some(ServiceKey { namespace: s.namespace.clone(), name: s.name.clone() }),
        None => Some(ServiceKey {
            namespace: name.namespace.parse().ok()?,
            name: name.name.parse().ok()?,
        }),
    }
}

fn name_of(key: &ServiceKey) -> ObjectRef {
    ObjectRef::new(Kind::Service, key.namespace.as_str(), key.name.as_str())
}

/// Removes the key of a service that is gone, or has become a name outside of the cluster.
fn retire(inputs: &Inputs, name: &ObjectRef, key: &ServiceKey, external: bool, plan: &mut Plan) {
    let table = &inputs.tables.services;
    if table.get(key).is_some() && (external || inputs.is_gone(name)) {
        plan.remove(table, key, Reason::Gone);
    }
}

/// Who has which address. An address that the store gives to a service is that service's until its
/// key says otherwise: two keys never hold one address, not even for a moment. A service that wants
/// what another is about to give up waits for one round.
#[derive(Debug, Default)]
struct Addresses {
    /// By the store. Where several have one address, it is the first one's.
    owners: BTreeMap<Ipv4Addr, BTreeSet<ServiceKey>>,
    /// By this plan.
    given: BTreeMap<Ipv4Addr, ServiceKey>,
    /// Addresses that services name, with their number: nobody else gets them.
    named: BTreeMap<Ipv4Addr, u32>,
}

/// Why a service has no address. What the store has of it stays.
enum Refusal {
    Conflict(String),
    Wait(String),
}

impl Addresses {
    /// Takes a change of a service's key. Whoever has one of its addresses too is to be looked at.
    fn follow(&mut self, change: &KeyChange<'_, ServiceKey>, crossed: &mut BTreeSet<ServiceKey>) {
        for ip in ipv4_of(change.before) {
            if let Some(owners) = self.owners.get_mut(&ip) {
                owners.remove(change.key);
                crossed.extend(owners.iter().cloned());
                if owners.is_empty() {
                    self.owners.remove(&ip);
                }
            }
        }
        for ip in ipv4_of(change.after) {
            let owners = self.owners.entry(ip).or_default();
            crossed.extend(owners.iter().cloned());
            owners.insert(change.key.clone());
        }
    }

    /// A service named the first address, and names the second now.
    fn name(&mut self, before: Option<Ipv4Addr>, after: Option<Ipv4Addr>) {
        if let Some(ip) = after {
            *self.named.entry(ip).or_default() += 1;
        }
        if let Some(count) = before.and_then(|ip| self.named.get_mut(&ip)) {
            *count -= 1;
        }
        if let Some(ip) = before.filter(|ip| self.named.get(ip) == Some(&0)) {
            self.named.remove(&ip);
        }
    }

    fn owner(&self, ip: Ipv4Addr) -> Option<&ServiceKey> {
        let stored = self.owners.get(&ip).and_then(BTreeSet::first);
        stored.or_else(|| self.given.get(&ip))
    }

    fn settle(
        &mut self,
        inputs: &Inputs,
        object: &ServiceObject,
        key: &ServiceKey,
    ) -> Result<Option<Ipv4Addr>, Refusal> {
        match object.cluster_ip {
            ClusterIp::Headless | ClusterIp::ExternalName => Ok(None),
            ClusterIp::Fixed(ip) => self.give(inputs, ip, key).map(Some),
            ClusterIp::Any => match self.current(inputs, key) {
                Some(ip) => Ok(Some(ip)),
                None => self.allocate(inputs, key).map(Some),
            },
        }
    }

    /// What the service has in the store, unless another has it too and came first.
    fn current(&self, inputs: &Inputs, key: &ServiceKey) -> Option<Ipv4Addr> {
        let ip = inputs.tables.services.value(key)?.cluster_ips.first().copied()?;
        ipv4(ip).filter(|ip| self.owner(*ip) == Some(key))
    }

    fn give(
        &mut self,
        inputs: &Inputs,
        ip: Ipv4Addr,
        key: &ServiceKey,
    ) -> Result<Ipv4Addr, Refusal> {
        let network = inputs.config.service_cidr.trunc();
        if !network.contains(&ip) {
            let reason = format!("its address {ip} is not in the service network {network}");
            return Err(Refusal::Conflict(reason));
        }
        match self.owner(ip) {
            None => {
                self.given.insert(ip, key.clone());
                Ok(ip)
            }
            Some(owner) if owner == key => Ok(ip),
            Some(owner) if leaves(inputs, owner, ip) => {
                Err(Refusal::Wait(format!("{ip}, which {} is about to give up", name_of(owner))))
            }
            Some(owner) => {
                Err(Refusal::Conflict(format!("its address {ip} belongs to {}", name_of(owner))))
            }
        }
    }

    fn allocate(&mut self, inputs: &Inputs, key: &ServiceKey) -> Result<Ipv4Addr, Refusal> {
        let network = inputs.config.service_cidr.trunc();
        let first = u64::from(u32::from(network.network())) + 1;
        let count = u64::from(u32::from(network.broadcast())) - first;
        let band = (count / 16).clamp(STATIC_BAND_MIN, STATIC_BAND_MAX).min(count / 2);
        let start = spread(format!("{}/{}", key.namespace, key.name).as_bytes());
        let upper = count - band;
        let places = (0..upper).map(|n| band + (start % upper + n) % upper).chain(0..band);
        let free = places
            .map(|place| Ipv4Addr::from((first + place) as u32))
            .find(|ip| self.owner(*ip).is_none() && !self.named.contains_key(ip));
        let none = || Refusal::Conflict(format!("no address of {} is free", network));
        let ip = free.ok_or_else(none)?;
        self.given.insert(ip, key.clone());
        Ok(ip)
    }
}

/// Whether the owner of an address in the store will not have it much longer.
fn leaves(inputs: &Inputs, owner: &ServiceKey, ip: Ipv4Addr) -> bool {
    let name = name_of(owner);
    match inputs.sources.objects.get(&name).map(|o| &**o) {
        Some(Object::Service(object)) => match object.cluster_ip {
            ClusterIp::Any => false,
            ClusterIp::Fixed(wanted) => wanted != ip,
            ClusterIp::Headless | ClusterIp::ExternalName => true,
        },
        _ => inputs.is_gone(&name),
    }
}

fn ipv4_of(service: Option<&Service>) -> impl Iterator<Item = Ipv4Addr> {
    service.into_iter().flat_map(|s| s.cluster_ips.iter().copied().filter_map(ipv4))
}
