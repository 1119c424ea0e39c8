//! Addresses of the lab's network, as pure arithmetic.
//!
//! ```text
//!   client 172.31.78.2 ──┐                    ┌── cp    172.31.77.2  (store, port 2379)
//!                        ├── fabric (router) ─┤
//!                     .78.1               .77.1├── node1 172.31.77.11
//!                                              └── node2 172.31.77.12 ...
//! ```

use std::net::Ipv4Addr;

/// Pods' address pool of the lab's cluster.
pub const POD_CIDR: &str = "10.244.0.0/16";
/// Size of one node's block.
pub const POD_BLOCK_MASK: u8 = 24;
/// Addresses of services.
pub const SERVICE_CIDR: &str = "10.96.0.0/16";
/// Address of the lab's DNS service, where kubeadm clusters have theirs.
pub const DNS_IP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
/// The suffix of names in the cluster.
pub const CLUSTER_DOMAIN: &str = "cluster.local";
/// Name and id of the cluster in the store.
pub const CLUSTER_NAME: &str = "lab";
/// Cluster id: any but 0, which means "not part of a mesh".
pub const CLUSTER_ID: u32 = 1;
/// Router of the node network.
pub const FABRIC_GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 31, 77, 1);
/// The control plane.
pub const CP_IP: Ipv4Addr = Ipv4Addr::new(172, 31, 77, 2);
/// Router of the outside network.
pub const OUTSIDE_GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 31, 78, 1);
/// The client outside the cluster.
pub const CLIENT_IP: Ipv4Addr = Ipv4Addr::new(172, 31, 78, 2);
/// Port of the echo server that runs on the client outside.
pub const CLIENT_PORT: u16 = 8080;
/// Port of the store (IANA: etcd-client).
pub const STORE_PORT: u16 = 2379;
/// MTU of the nodes' devices: Ethernet's.
pub const DEVICE_MTU: u32 = 1500;
/// Nodes fit into the last byte of the node network, after the addresses above.
pub const NODES_MAX: u32 = 200;

/// Address of the node with the 1-based number `number`.
#[must_use]
pub fn node_ip(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(172, 31, 77, 10)) + number)
}

/// Name of the node with the 1-based number `number`.
#[must_use]
pub fn node_name(number: u32) -> String {
    format!("node{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_has_its_own_address_inside_the_node_network() {
        assert_eq!(node_ip(1), Ipv4Addr::new(172, 31, 77, 11));
        assert_eq!(node_ip(NODES_MAX).octets()[..3], [172, 31, 77]);
    }
}
