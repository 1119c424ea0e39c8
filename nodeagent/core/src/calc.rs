//! The node's calculation: values of the store in, wanted tables out.
//!
//! ```text
//!  services ─┐
//!  slices  ──┴─> service::desired ─> Balancer        (frontends, slots, backends)
//!  nodes ──────> NodeFacts ────────> IpTables, routes, masquerading, this node's block
//!  ip ─────────────────────────────> IpTables
//!  pods (of this node) ────────────> identities of endpoints
//!  pools ──────────────────────────> masquerading
//! ```
//!
//! Desired state depends on the values alone, not on the order in which they came. A value that does
//! not decode leaves the last good one in force and is reported.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use skein_store_schema::kinds::ip::IpKey;
use skein_store_schema::kinds::node::NodeKey;
use skein_store_schema::kinds::node_report::RoutingMode;
use skein_store_schema::kinds::pod::PodKey;
use skein_store_schema::kinds::pool::PoolKey;
use skein_store_schema::kinds::service::{Service, ServiceKey};
use skein_store_schema::kinds::slice::SliceKey;
use skein_store_schema::{ClusterName, KeyRange, NodeName, PoolName, SchemaError, StoreKey};

use crate::few::Few;
use crate::ipcache::IpTables;
use crate::lb::Balancer;
use crate::routes::{Network, NodeFacts};
use crate::types::ObjectName;

pub mod service;

use service::SliceFacts;

/// Who and where this node is.
#[derive(Clone, Debug)]
pub struct Place {
    /// This node.
    pub node: NodeName,
    /// Its cluster.
    pub cluster: ClusterName,
    /// Its address on the native network.
    pub node_ip: Ipv4Addr,
    /// How packets travel between nodes.
    pub mode: RoutingMode,
}

/// What the control plane says about a pod of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFacts {
    /// UID, empty when unknown.
    pub uid: String,
    /// Security identity.
    pub identity: u32,
}

/// Which outcomes may have changed since they were last looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Routes, masquerading or this node's block.
    pub network: bool,
    /// Addresses of services.
    pub service_ips: bool,
    /// Pods of this node.
    pub pods: BTreeSet<ObjectName>,
}

/// The calculation.
#[derive(Debug)]
pub struct Calculator {
    place: Place,
    services: BTreeMap<ObjectName, Service>,
    slices: BTreeMap<ObjectName, SliceFacts>,
    slices_of: BTreeMap<ObjectName, Few<ObjectName>>,
    nodes: BTreeMap<NodeName, NodeFacts>,
    pods: BTreeMap<ObjectName, PodFacts>,
    pools: BTreeMap<PoolName, Vec<Ipv4Net>>,
    stale: BTreeSet<ObjectName>,
    changed: Changed,
    /// The service tables.
    pub balancer: Balancer,
    /// The address tables.
    pub addresses: IpTables,
}

impl Calculator {
    /// For a node, with service tables whose ids go on from a checkpoint.
    pub fn new(place: Place, balancer: Balancer) -> Calculator {
        let addresses = IpTables::new(place.node_ip);
        Calculator {
            place,
            services: BTreeMap::new(),
            slices: BTreeMap::new(),
            slices_of: BTreeMap::new(),
            nodes: BTreeMap::new(),
            pods: BTreeMap::new(),
            pools: BTreeMap::new(),
            stale: BTreeSet::new(),
            changed: Changed::default(),
            balancer,
            addresses,
        }
    }

    /// Everything the calculation needs from the store, and nothing else.
    pub fn ranges(place: &Place) -> Vec<KeyRange> {
        vec![
            NodeKey::cluster_range(&place.cluster),
            IpKey::range(),
            ServiceKey::range(),
            SliceKey::range(),
            PodKey::node_range(&place.node),
            PoolKey::range(),
        ]
    }

    /// A key has this value now, or is gone. Keys of no interest change nothing.
    pub fn apply(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), SchemaError> {
        let is = |prefix: &str| key.starts_with(prefix.as_bytes());
        if is(SliceKey::PREFIX) {
            let (key, value) = decode::<SliceKey>(key, value)?;
            self.set_slice(ObjectName::new(key.namespace.as_str(), key.name.as_str()), {
                value.map(|slice| SliceFacts::of(&slice, &self.place.node))
            });
        } else if is(IpKey::PREFIX) {
            let (key, value) = decode::<IpKey>(key, value)?;
            if let std::net::IpAddr::V4(addr) = key.ip {
                self.addresses.set_published(addr, value.as_ref());
            }
        } else if is(ServiceKey::PREFIX) {
            let (key, value) = decode::<ServiceKey>(key, value)?;
            self.set_service(ObjectName::new(key.namespace.as_str(), key.name.as_str()), value);
        } else if is(NodeKey::PREFIX) {
            let (key, value) = decode::<NodeKey>(key, value)?;
            if key.cluster == self.place.cluster {
                self.set_node(key.node, value.as_ref().and_then(NodeFacts::of));
            }
        } else if is(PodKey::PREFIX) {
            let (key, value) = decode::<PodKey>(key, value)?;
            let name = ObjectName::new(key.namespace.as_str(), key.name.as_str());
            let facts = value
                .filter(|_| key.node == self.place.node)
                .map(|pod| PodFacts { uid: pod.uid, identity: pod.identity.get() });
            self.set_pod(name, facts);
        } else if is(PoolKey::PREFIX) {
            let (key, value) = decode::<PoolKey>(key, value)?;
            self.set_pool(key.pool, value.map(|pool| pool.cidrs));
        }
        Ok(())
    }

    /// Brings the service tables' wants up to date with every value applied since the last call.
    pub fn settle(&mut self) {
        for name in std::mem::take(&mut self.stale) {
            let slices = self.slices_of.get(&name).into_iter().flatten();
            let slices: Vec<&SliceFacts> = slices.filter_map(|s| self.slices.get(s)).collect();
            let desired =
                self.services.get(&name).and_then(|service| service::desired(service, &slices));
            let before = self.balancer.desired().get(&name).map(|service| &service.vips);
            self.changed.service_ips |= before != desired.as_ref().map(|service| &service.vips);
            self.balancer.want(&name, desired);
        }
    }

    /// What changed since the last call.
    pub fn take_changed(&mut self) -> Changed {
        std::mem::take(&mut self.changed)
    }

    /// This node's block, once the control plane has published one.
    pub fn own_block(&self) -> Option<Ipv4Net> {
        self.nodes.get(&self.place.node)?.blocks.first().copied()
    }

    /// A pod of this node.
    pub fn pod(&self, name: &ObjectName) -> Option<&PodFacts> {
        self.pods.get(name)
    }

    /// Every node.
    pub fn nodes(&self) -> &BTreeMap<NodeName, NodeFacts> {
        &self.nodes
    }

    /// Services, headless ones included.
    pub fn services(&self) -> &BTreeMap<ObjectName, Service> {
        &self.services
    }

    /// Runs `with` on what decides about routes and masquerading. `route_services` adds the routes
    /// that the node's own flows to service addresses need when no socket hook translates them.
    pub fn network<T>(
        &self,
        router_ip: Ipv4Addr,
        route_services: bool,
        with: impl FnOnce(&Network<'_>) -> T,
    ) -> T {
        let pools = self.pools.values().flatten().copied().collect();
        let mut service_ips = BTreeSet::new();
        if route_services {
            let desired = self.balancer.desired().values();
            service_ips.extend(desired.flat_map(|service| service.vips.iter().copied()));
        }
        with(&Network {
            own: &self.place.node,
            router_ip,
            mode: self.place.mode,
            nodes: &self.nodes,
            pools: &pools,
            service_ips: &service_ips,
        })
    }

    fn set_service(&mut self, name: ObjectName, value: Option<Service>) {
        match value {
            Some(service) => self.services.insert(name.clone(), service),
            None => self.services.remove(&name),
        };
        self.stale.insert(name);
    }

    fn set_slice(&mut self, name: ObjectName, value: Option<SliceFacts>) {
        let owner = |facts: &SliceFacts| {
            ObjectName::new(Arc::clone(&name.namespace), facts.service.as_str())
        };
        if let Some(old) = self.slices.remove(&name) {
            let owner = owner(&old);
            if let Some(slices) = self.slices_of.get_mut(&owner) {
                slices.remove(&name);
                if slices.is_empty() {
                    self.slices_of.remove(&owner);
                }
            }
            self.stale.insert(owner);
        }
        if let Some(new) = value {
            let owner = owner(&new);
            self.slices_of.entry(owner.clone()).or_default().insert(name.clone());
            self.stale.insert(owner);
            self.slices.insert(name, new);
        }
    }

    fn set_node(&mut self, name: NodeName, new: Option<NodeFacts>) {
        let old = match &new {
            Some(facts) => self.nodes.insert(name.clone(), facts.clone()),
            None => self.nodes.remove(&name),
        };
        if old != new {
            let is_own = name == self.place.node;
            self.addresses.set_node(old.as_ref(), new.as_ref(), is_own);
            self.changed.network = true;
        }
    }

    fn set_pod(&mut self, name: ObjectName, new: Option<PodFacts>) {
        let old = match &new {
            Some(facts) => self.pods.insert(name.clone(), facts.clone()),
            None => self.pods.remove(&name),
        };
        if old != new {
            self.changed.pods.insert(name);
        }
    }

    fn set_pool(&mut self, name: PoolName, cidrs: Option<Vec<IpNet>>) {
        let v4 = |cidr: IpNet| match cidr {
            IpNet::V4(cidr) => Some(cidr),
            IpNet::V6(_) => None,
        };
        match cidrs {
            Some(cidrs) => {
                self.pools.insert(name, cidrs.into_iter().filter_map(v4).collect());
            }
            None => {
                self.pools.remove(&name);
            }
        }
        self.changed.network = true;
    }
}

fn decode<K: StoreKey>(
    key: &[u8],
    value: Option<&[u8]>,
) -> Result<(K, Option<K::Value>), SchemaError> {
    match value {
        Some(value) => K::decode_entry(key, value).map(|(key, value)| (key, Some(value))),
        None => K::decode(key).map(|key| (key, None)),
    }
}

#[cfg(test)]
mod tests;
