//! Who is behind an address, and behind which node.
//!
//! Three sources speak of an address, and the nearest wins: this node's own endpoints (known at once,
//! before the store knows), the addresses in nodes' records, the published `ip` keys. Addresses with
//! no exact entry fall back to ranges: each node's block, and everything.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use skein_store_schema::IdentityId;
use skein_store_schema::kinds::ip::IpIdentityPair;

use crate::mirror::Mirror;
use crate::routes::NodeFacts;

/// What the maps say about an address or a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IpEntry {
    /// Node to tunnel to; none leaves it to the stack. This node's own address means "a pod here".
    pub tunnel: Option<Ipv4Addr>,
    /// Security identity.
    pub identity: u32,
    /// An address of a node itself: reached by the stack, never by the tunnel.
    pub is_node: bool,
}

/// The address tables.
#[derive(Debug, Default)]
pub struct IpTables {
    /// Exact addresses.
    pub exact: Mirror<Ipv4Addr, IpEntry>,
    /// Ranges.
    pub ranges: Mirror<Ipv4Net, IpEntry>,
    own: Option<Ipv4Addr>,
    endpoints: BTreeMap<Ipv4Addr, u32>,
    nodes: BTreeMap<Ipv4Addr, IpEntry>,
    published: BTreeMap<Ipv4Addr, IpEntry>,
}

impl IpTables {
    /// For the node with this address on the native network.
    pub fn new(own: Ipv4Addr) -> IpTables {
        let mut tables = IpTables { own: Some(own), ..IpTables::default() };
        let world = IpEntry { tunnel: None, identity: IdentityId::WORLD.get(), is_node: false };
        tables.ranges.want(Ipv4Net::default(), Some(world));
        tables
    }

    /// An endpoint of this node has the address, with this identity; or no longer.
    pub fn set_endpoint(&mut self, addr: Ipv4Addr, identity: Option<u32>) {
        match identity {
            Some(identity) => self.endpoints.insert(addr, identity),
            None => self.endpoints.remove(&addr),
        };
        self.settle(addr);
    }

    /// The store publishes the address so; or no longer.
    pub fn set_published(&mut self, addr: Ipv4Addr, pair: Option<&IpIdentityPair>) {
        match pair {
            Some(pair) => self.published.insert(addr, self.published_entry(pair)),
            None => self.published.remove(&addr),
        };
        self.settle(addr);
    }

    /// A node's addresses and block changed from `old` to `new`.
    pub fn set_node(&mut self, old: Option<&NodeFacts>, new: Option<&NodeFacts>, is_own: bool) {
        let before = old.map(|node| node_entries(node, is_own)).unwrap_or_default();
        let after = new.map(|node| node_entries(node, is_own)).unwrap_or_default();
        for addr in before.keys().filter(|addr| !after.contains_key(addr)) {
            self.nodes.remove(addr);
            self.settle(*addr);
        }
        for (addr, entry) in after {
            self.nodes.insert(addr, entry);
            self.settle(addr);
        }
        for block in old.into_iter().flat_map(|node| &node.blocks) {
            if !new.is_some_and(|node| node.blocks.contains(block)) {
                self.ranges.want(*block, None);
            }
        }
        if let Some(node) = new {
            let identity = IdentityId::INIT.get();
            let entry = IpEntry { tunnel: Some(node.internal_ip), identity, is_node: false };
            for block in &node.blocks {
                self.ranges.want(*block, Some(entry));
            }
        }
    }

    fn published_entry(&self, pair: &IpIdentityPair) -> IpEntry {
        let host = match pair.host_ip {
            Some(std::net::IpAddr::V4(host)) => Some(host),
            _ => None,
        };
        let elsewhere = host.is_some() && host != self.own;
        // A peer's "host" is a remote node here (Cilium's rule for entries of other nodes).
        let identity = if pair.id == IdentityId::HOST && elsewhere {
            IdentityId::REMOTE_NODE
        } else {
            pair.id
        };
        let is_node = matches!(identity, IdentityId::HOST | IdentityId::REMOTE_NODE);
        let is_host = is_node && host.is_none_or(|host| std::net::IpAddr::V4(host) == pair.ip);
        IpEntry { tunnel: host.filter(|_| !is_host), identity: identity.get(), is_node: is_host }
    }

    fn settle(&mut self, addr: Ipv4Addr) {
        let endpoint = self.endpoints.get(&addr).map(|identity| IpEntry {
            tunnel: self.own,
            identity: *identity,
            is_node: false,
        });
        let entry = endpoint
            .or_else(|| self.nodes.get(&addr).copied())
            .or_else(|| self.published.get(&addr).copied());
        self.exact.want(addr, entry);
    }
}

/// What a node's record says about its own addresses. The router address of another node lies in the
/// pod network and is reached by the tunnel; this node's own is the stack's.
fn node_entries(node: &NodeFacts, is_own: bool) -> BTreeMap<Ipv4Addr, IpEntry> {
    let identity = if is_own { IdentityId::HOST } else { IdentityId::REMOTE_NODE };
    let host = IpEntry { tunnel: None, identity: identity.get(), is_node: true };
    let router = IpEntry { tunnel: Some(node.internal_ip), is_node: false, ..host };
    let routers = node.router_ip.map(|addr| (addr, if is_own { host } else { router }));
    let hosts = node.addresses.iter().map(|addr| (*addr, host));
    routers.into_iter().chain(hosts).chain([(node.internal_ip, host)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 2);
    const OTHER: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 3);
    const POD: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 7);

    fn pair(host: Ipv4Addr, id: u32) -> IpIdentityPair {
        let mut pair = IpIdentityPair::new(POD.into(), IdentityId::new(id).unwrap());
        pair.host_ip = Some(host.into());
        pair
    }

    #[test]
    fn own_endpoint_wins_over_what_is_published() {
        let mut tables = IpTables::new(OWN);
        tables.set_published(POD, Some(&pair(OTHER, 300)));
        let entry = IpEntry { tunnel: Some(OTHER), identity: 300, is_node: false };
        assert_eq!(tables.exact.desired()[&POD], entry);
        tables.set_endpoint(POD, Some(301));
        let entry = IpEntry { tunnel: Some(OWN), identity: 301, is_node: false };
        assert_eq!(tables.exact.desired()[&POD], entry);
        tables.set_endpoint(POD, None);
        tables.set_published(POD, None);
        assert!(tables.exact.desired().is_empty());
    }

    #[test]
    fn a_remote_node_has_a_stack_address_a_tunnelled_router_and_a_block() {
        let mut tables = IpTables::new(OWN);
        let block: Ipv4Net = "10.1.1.0/24".parse().unwrap();
        let router = Ipv4Addr::new(10, 1, 1, 1);
        let node = NodeFacts {
            internal_ip: OTHER,
            router_ip: Some(router),
            addresses: vec![OTHER],
            blocks: vec![block],
        };
        tables.set_node(None, Some(&node), false);
        assert!(tables.exact.desired()[&OTHER].is_node);
        assert_eq!(tables.exact.desired()[&router].tunnel, Some(OTHER));
        assert_eq!(tables.ranges.desired()[&block].tunnel, Some(OTHER));
        tables.set_node(Some(&node), None, false);
        assert!(tables.exact.desired().is_empty());
        assert_eq!(tables.ranges.desired().len(), 1, "the default range stays");
    }

    #[test]
    fn another_nodes_host_is_a_remote_node() {
        let mut tables = IpTables::new(OWN);
        tables.set_published(POD, Some(&pair(OTHER, IdentityId::HOST.get())));
        let entry = tables.exact.desired()[&POD];
        assert_eq!(entry.identity, IdentityId::REMOTE_NODE.get());
        assert_eq!((entry.tunnel, entry.is_node), (Some(OTHER), false));
    }
}
