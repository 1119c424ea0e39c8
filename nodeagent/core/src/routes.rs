//! Which routes the node's stack needs, and what it must not masquerade.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use skein_store_schema::NodeName;
use skein_store_schema::kinds::node::Node;
use skein_store_schema::kinds::node_report::RoutingMode;

/// What a node's record means to other nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// The address by which nodes reach each other.
    pub internal_ip: Ipv4Addr,
    /// Its router's address.
    pub router_ip: Option<Ipv4Addr>,
    /// Further addresses of the node itself.
    pub addresses: Vec<Ipv4Addr>,
    /// Its blocks of pod addresses.
    pub blocks: Vec<Ipv4Net>,
}

impl NodeFacts {
    /// From a record; none without an IPv4 address that other nodes reach.
    pub fn of(node: &Node) -> Option<NodeFacts> {
        let internal_ip = node.internal_ipv4()?;
        let router_ip = node.router_ipv4();
        let v4 = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(_) => None,
        };
        let addresses = node.ip_addresses.iter().filter_map(|address| v4(address.ip));
        let secondary = node.ipv4_secondary_alloc_cidrs.iter().filter_map(|cidr| match cidr.0 {
            IpNet::V4(cidr) => Some(cidr),
            IpNet::V6(_) => None,
        });
        Some(NodeFacts {
            internal_ip,
            router_ip,
            addresses: addresses.filter(|ip| Some(*ip) != router_ip).collect(),
            blocks: node.ipv4_block().into_iter().chain(secondary).map(|b| b.trunc()).collect(),
        })
    }
}

/// The device of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteDevice {
    /// `skein_host`: the programs there take over.
    Host,
    /// Whatever device reaches the gateway.
    Underlay,
}

/// A route of the node's main table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Destination.
    pub dst: Ipv4Net,
    /// Device.
    pub device: RouteDevice,
    /// Gateway, for [`RouteDevice::Underlay`].
    pub via: Option<Ipv4Addr>,
    /// Source address that the stack prefers.
    pub source: Option<Ipv4Addr>,
}

/// What decides about routes and masquerading.
#[derive(Clone, Copy, Debug)]
pub struct Network<'a> {
    /// This node.
    pub own: &'a NodeName,
    /// Its router's address.
    pub router_ip: Ipv4Addr,
    /// How packets travel between nodes.
    pub mode: RoutingMode,
    /// Every node with its facts.
    pub nodes: &'a BTreeMap<NodeName, NodeFacts>,
    /// CIDRs of the pools.
    pub pools: &'a BTreeSet<Ipv4Net>,
    /// Service addresses that the node's stack must send through `skein_host` because no socket
    /// hook translates them.
    pub service_ips: &'a BTreeSet<Ipv4Addr>,
}

impl Network<'_> {
    /// Routes of the node's stack. Two nodes with one block are a conflict that the control plane
    /// prevents; here this node's own wins, then the first by name.
    pub fn routes(&self) -> BTreeMap<Ipv4Net, Route> {
        let mut routes = BTreeMap::new();
        for addr in self.service_ips {
            let dst = Ipv4Net::from(*addr);
            routes.insert(dst, self.through_host(dst));
        }
        for (_, node) in self.nodes.iter().filter(|(name, _)| *name != self.own) {
            for block in &node.blocks {
                let route = match self.mode {
                    RoutingMode::Tunnel => self.through_host(*block),
                    RoutingMode::Native => Route {
                        dst: *block,
                        device: RouteDevice::Underlay,
                        via: Some(node.internal_ip),
                        source: None,
                    },
                };
                routes.entry(*block).or_insert(route);
            }
        }
        for block in self.nodes.get(self.own).into_iter().flat_map(|node| &node.blocks) {
            routes.insert(*block, self.through_host(*block));
        }
        routes
    }

    /// Destinations that pods reach with their own address. In tunnel mode another node's own
    /// address is not among them: the network between nodes need not know pod addresses.
    pub fn unmasqueraded(&self) -> BTreeSet<Ipv4Net> {
        let blocks = self.nodes.values().flat_map(|node| node.blocks.iter().copied());
        let mut set: BTreeSet<Ipv4Net> = blocks.chain(self.pools.iter().copied()).collect();
        if self.mode == RoutingMode::Native {
            set.extend(self.nodes.values().map(|node| Ipv4Net::from(node.internal_ip)));
        }
        Ipv4Net::aggregate(&set.into_iter().collect()).into_iter().collect()
    }

    fn through_host(&self, dst: Ipv4Net) -> Route {
        Route { dst, device: RouteDevice::Host, via: None, source: Some(self.router_ip) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(octet: u8) -> (NodeName, NodeFacts) {
        let facts = NodeFacts {
            internal_ip: Ipv4Addr::new(172, 18, 0, octet),
            router_ip: Some(Ipv4Addr::new(10, 1, octet, 1)),
            addresses: vec![],
            blocks: vec![Ipv4Net::new(Ipv4Addr::new(10, 1, octet, 0), 24).unwrap()],
        };
        (NodeName::new(&format!("node-{octet}")).unwrap(), facts)
    }

    #[test]
    fn tunnel_mode_leads_every_block_to_skein_host_and_native_mode_to_the_node() {
        let nodes = BTreeMap::from([node(1), node(2)]);
        let (own, _) = node(1);
        let (pools, services) = (BTreeSet::new(), BTreeSet::new());
        let mut network = Network {
            own: &own,
            router_ip: Ipv4Addr::new(10, 1, 1, 1),
            mode: RoutingMode::Tunnel,
            nodes: &nodes,
            pools: &pools,
            service_ips: &services,
        };
        assert!(network.routes().values().all(|route| route.device == RouteDevice::Host));
        network.mode = RoutingMode::Native;
        let routes = network.routes();
        let remote = routes[&"10.1.2.0/24".parse().unwrap()];
        assert_eq!(remote.via, Some(Ipv4Addr::new(172, 18, 0, 2)));
        assert_eq!(routes[&"10.1.1.0/24".parse().unwrap()].device, RouteDevice::Host);
    }

    #[test]
    fn nodes_are_masqueraded_only_behind_a_tunnel() {
        let nodes = BTreeMap::from([node(1), node(2)]);
        let (own, _) = node(1);
        let pools = BTreeSet::from(["10.1.0.0/16".parse().unwrap()]);
        let services = BTreeSet::new();
        let mut network = Network {
            own: &own,
            router_ip: Ipv4Addr::new(10, 1, 1, 1),
            mode: RoutingMode::Tunnel,
            nodes: &nodes,
            pools: &pools,
            service_ips: &services,
        };
        assert_eq!(network.unmasqueraded(), pools);
        network.mode = RoutingMode::Native;
        assert!(network.unmasqueraded().contains(&"172.18.0.2/32".parse().unwrap()));
    }
}
