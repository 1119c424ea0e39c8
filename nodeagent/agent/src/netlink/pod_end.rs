//! Looking at a pod's end of its pair, from inside its namespace.

use std::net::{IpAddr, Ipv4Addr};

use futures::TryStreamExt;
use netlink_packet_route::link::LinkFlags;
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute};
use netlink_packet_route::route::{RouteAddress, RouteAttribute};

use super::{NetError, Network, refused};

/// What [`Network::configure_pod_end`] left.
#[derive(Clone, Debug)]
pub struct PodEnd {
    /// The device.
    pub name: String,
    /// Its address.
    pub addr: Ipv4Addr,
    /// Where its default route leads.
    pub gateway: Ipv4Addr,
    /// The gateway's MAC, which the pod must not have to ask for.
    pub gateway_mac: [u8; 6],
}

impl Network {
    /// Whether a device is there and up; the answer says what is wrong.
    pub async fn device_fault(&self, name: &str) -> Result<Option<String>, NetError> {
        Ok(match self.link(name).await? {
            None => Some(format!("device {name} is missing")),
            Some(link) if !link.header.flags.contains(LinkFlags::Up) => {
                Some(format!("device {name} is down"))
            }
            Some(_) => None,
        })
    }

    /// Whether the pod's end is as it was configured; the answer says what is wrong.
    pub async fn pod_end_fault(&self, end: &PodEnd) -> Result<Option<String>, NetError> {
        let PodEnd { name, addr, gateway, .. } = end;
        if let Some(fault) = self.device_fault(name).await? {
            return Ok(Some(format!("in the pod, {fault}")));
        }
        let Some(index) = self.index(name).await? else {
            return Ok(Some(format!("in the pod, device {name} is missing")));
        };
        let has_address = self.addresses(index).await?.iter().any(|(have, _)| have == addr);
        Ok(if !has_address {
            Some(format!("{name} has lost address {addr}"))
        } else if !self.has_default_route(index, *gateway).await? {
            Some(format!("the pod has lost its default route by {gateway}"))
        } else if !self.has_neighbour(index, *gateway, end.gateway_mac).await? {
            Some(format!("the pod has lost the neighbour entry of {gateway}"))
        } else {
            None
        })
    }

    async fn has_default_route(&self, index: u32, gateway: Ipv4Addr) -> Result<bool, NetError> {
        let by_gateway = RouteAttribute::Gateway(RouteAddress::Inet(gateway));
        Ok(self.routes().await?.iter().any(|route| {
            route.header.destination_prefix_length == 0
                && route.attributes.contains(&by_gateway)
                && route.attributes.contains(&RouteAttribute::Oif(index))
        }))
    }

    async fn has_neighbour(
        &self,
        index: u32,
        addr: Ipv4Addr,
        mac: [u8; 6],
    ) -> Result<bool, NetError> {
        let destination = NeighbourAttribute::Destination(NeighbourAddress::from(IpAddr::V4(addr)));
        let mac = NeighbourAttribute::LinkLayerAddress(mac.to_vec());
        let mut listed = self.handle.neighbours().get().execute();
        let mut found = false;
        while let Some(entry) = listed.try_next().await.map_err(refused("list neighbours"))? {
            found |= entry.header.ifindex == index
                && entry.attributes.contains(&destination)
                && entry.attributes.contains(&mac);
        }
        Ok(found)
    }
}
