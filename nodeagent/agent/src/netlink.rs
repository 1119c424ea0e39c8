//! The node's devices and routes.
//!
//! Everything made here can be told from other people's: devices by their names (`skein_…`,
//! `lxc…`), routes by their protocol number.

mod pod_end;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use futures::TryStreamExt;
use ipnet::Ipv4Net;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, LinkVxlan, RouteMessageBuilder};
use skein_nodeagent_core::routes::{Route, RouteDevice};
use skein_store_schema::MacAddr;
use skein_store_schema::kinds::node_report::{Device, RoutingMode};

pub use pod_end::PodEnd;

/// Device that the host's routes to pods lead to; the router address lives on it.
pub const HOST_DEVICE: &str = "skein_host";
/// Its other end, which nobody uses.
const NET_DEVICE: &str = "skein_net";
/// The tunnel.
pub const OVERLAY_DEVICE: &str = "skein_vxlan";
/// UDP port of the tunnel (Linux' and Cilium's default for VXLAN).
const VXLAN_PORT: u16 = 8472;
/// Bytes that VXLAN over IPv4 adds: outer IP 20, UDP 8, VXLAN 8, inner Ethernet 14.
pub const VXLAN_OVERHEAD: u32 = 50;
/// Protocol number of our routes (`RTPROT_*`: user space may choose numbers of its own).
const ROUTE_PROTOCOL: u8 = 94;

/// A netlink request that failed.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The kernel refused.
    #[error("cannot {what}: {source}")]
    Netlink {
        what: String,
        #[source]
        source: Box<rtnetlink::Error>,
    },
    /// A device that must be there is not.
    #[error("there is no device {0}")]
    NoDevice(String),
    /// A device that must not be there is.
    #[error("{path} has a device {name} already, which is not ours")]
    Occupied { path: String, name: String },
    /// A kernel setting.
    #[error("cannot set {path}")]
    Sysctl {
        path: String,
        #[source]
        source: std::io::Error,
    },
    /// A namespace.
    #[error("cannot {what} network namespace {path}")]
    Namespace {
        what: &'static str,
        path: String,
        #[source]
        source: std::io::Error,
    },
}

fn refused(what: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> NetError {
    let what = what.into();
    move |source| NetError::Netlink { what, source: Box::new(source) }
}

/// Netlink of the node's namespace.
#[derive(Clone)]
pub struct Network {
    handle: Handle,
}

impl Network {
    /// Opens netlink in the calling thread's namespace; needs a running tokio.
    pub fn open() -> std::io::Result<Network> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        Ok(Network { handle })
    }

    /// The index of a device, if it is there.
    pub async fn index(&self, name: &str) -> Result<Option<u32>, NetError> {
        Ok(self.link(name).await?.map(|link| link.header.index))
    }

    /// A native device as it is reported: MAC, MTU, addresses.
    pub async fn device(&self, name: &str) -> Result<Device, NetError> {
        let link = self.link(name).await?.ok_or_else(|| NetError::NoDevice(name.to_owned()))?;
        let mut device =
            Device { name: name.to_owned(), mac: None, mtu: 1500, addresses: Vec::new() };
        for attribute in &link.attributes {
            match attribute {
                LinkAttribute::Address(raw) => {
                    device.mac = <[u8; 6]>::try_from(raw.as_slice()).ok().map(MacAddr);
                }
                LinkAttribute::Mtu(mtu) => device.mtu = *mtu,
                _ => {}
            }
        }
        for (addr, length) in self.addresses(link.header.index).await? {
            if let Ok(net) = Ipv4Net::new(addr, length) {
                device.addresses.push(net.into());
            }
        }
        Ok(device)
    }

    /// The device of the default route, when none is named.
    pub async fn default_device(&self) -> Result<Option<String>, NetError> {
        for route in self.routes().await? {
            if route.header.destination_prefix_length != 0 {
                continue;
            }
            let index = route.attributes.iter().find_map(|attribute| match attribute {
                RouteAttribute::Oif(index) => Some(*index),
                _ => None,
            });
            if let Some(index) = index {
                return self.name(index).await.map(Some);
            }
        }
        Ok(None)
    }

    /// Makes the node's own devices be as they must: `skein_host` with the router's address, and the
    /// tunnel or none. Returns the indexes of both.
    pub async fn set_up_node(
        &self,
        router: Ipv4Addr,
        mtu: u32,
        mode: RoutingMode,
    ) -> Result<(u32, Option<u32>), NetError> {
        if self.index(HOST_DEVICE).await?.is_none() {
            let veth = LinkVeth::new(HOST_DEVICE, NET_DEVICE).build();
            self.handle.link().add(veth).execute().await.map_err(refused("create skein_host"))?;
        }
        quiet(HOST_DEVICE)?;
        quiet(NET_DEVICE)?;
        // No ARP: every frame to a pod is rewritten by the program on the way out.
        let host = self.set(HOST_DEVICE, |link| link.mtu(mtu).arp(false).up()).await?;
        self.set(NET_DEVICE, |link| link.mtu(mtu).arp(false).up()).await?;
        self.set_address(host, router).await?;
        let overlay = self.index(OVERLAY_DEVICE).await?;
        let overlay = match (mode, overlay) {
            (RoutingMode::Tunnel, None) => Some(self.create_overlay().await?),
            (RoutingMode::Tunnel, Some(index)) => Some(index),
            (RoutingMode::Native, Some(index)) => {
                let deleted = self.handle.link().del(index).execute().await;
                deleted.map_err(refused("delete skein_vxlan"))?;
                None
            }
            (RoutingMode::Native, None) => None,
        };
        if overlay.is_some() {
            quiet(OVERLAY_DEVICE)?;
            self.set(OVERLAY_DEVICE, |link| link.mtu(mtu).up()).await?;
        }
        Ok((host, overlay))
    }

    /// Makes our routes of the main table equal to `wanted`; returns how many changed.
    pub async fn set_routes(
        &self,
        wanted: &BTreeMap<Ipv4Net, Route>,
        host_index: u32,
        may_delete: bool,
    ) -> Result<usize, NetError> {
        let mut present = BTreeMap::new();
        for route in self.routes().await? {
            if route.header.protocol == RouteProtocol::Other(ROUTE_PROTOCOL)
                && let Some(dst) = destination(&route)
            {
                present.insert(dst, route);
            }
        }
        let mut changed = 0;
        for (dst, route) in wanted {
            if present.get(dst).is_some_and(|have| is_route(have, route, host_index)) {
                continue;
            }
            let request = self.handle.route().add(message(route, host_index)).replace();
            request.execute().await.map_err(refused(format!("add the route to {dst}")))?;
            changed += 1;
        }
        for (dst, route) in present.into_iter().filter(|(dst, _)| !wanted.contains_key(dst)) {
            if may_delete {
                let request = self.handle.route().del(route);
                request.execute().await.map_err(refused(format!("delete the route to {dst}")))?;
                changed += 1;
            }
        }
        Ok(changed)
    }

    /// Creates a pod's pair of devices: ours here, `peer` in the namespace behind `netns`. Returns
    /// our index.
    pub async fn create_pod_pair(&self, pair: &PodPair<'_>, netns: i32) -> Result<u32, NetError> {
        let peer = LinkMessageBuilder::<LinkUnspec>::new()
            .name(pair.peer.to_owned())
            .mtu(pair.mtu)
            .address(pair.peer_mac.to_vec())
            .setns_by_fd(netns)
            .build();
        let link = LinkMessageBuilder::<LinkVeth>::new(pair.name, pair.peer)
            .mtu(pair.mtu)
            .address(pair.mac.to_vec())
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .build();
        let what = format!("create {} with {} in the pod", pair.name, pair.peer);
        self.handle.link().add(link).execute().await.map_err(refused(what))?;
        quiet(pair.name)?;
        self.set(pair.name, |link| link.up()).await
    }

    /// Gives the pod's end, seen from inside its namespace, its address and its routes.
    pub async fn configure_pod_end(&self, end: &PodEnd) -> Result<(), NetError> {
        let PodEnd { name, gateway, .. } = end;
        let gateway = *gateway;
        self.set("lo", |link| link.up()).await?;
        quiet(name)?;
        let index = self.set(name, |link| link.up()).await?;
        self.set_address(index, end.addr).await?;
        let neighbour = self.handle.neighbours().add(index, IpAddr::V4(gateway));
        let neighbour = neighbour.link_layer_address(&end.gateway_mac).replace();
        neighbour.execute().await.map_err(refused("set the gateway's neighbour entry"))?;
        let to_gateway = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(gateway, 32)
            .output_interface(index)
            .scope(RouteScope::Link)
            .build();
        let default = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).build();
        for route in [to_gateway, default] {
            let request = self.handle.route().add(route).replace();
            request.execute().await.map_err(refused("set the pod's routes"))?;
        }
        Ok(())
    }

    /// IPv4 addresses of a device.
    pub async fn addresses(&self, index: u32) -> Result<Vec<(Ipv4Addr, u8)>, NetError> {
        let mut found = Vec::new();
        let request = self.handle.address().get().set_link_index_filter(index);
        let mut listed = request.execute();
        while let Some(message) = listed.try_next().await.map_err(refused("list addresses"))? {
            if message.header.family != AddressFamily::Inet || message.header.index != index {
                continue;
            }
            for attribute in &message.attributes {
                if let AddressAttribute::Local(IpAddr::V4(addr)) = attribute {
                    found.push((*addr, message.header.prefix_len));
                }
            }
        }
        Ok(found)
    }

    /// Deletes a device and with it its peer. Absent is fine.
    pub async fn delete(&self, name: &str) -> Result<(), NetError> {
        let Some(index) = self.index(name).await? else { return Ok(()) };
        let deleted = self.handle.link().del(index).execute().await;
        match deleted {
            Err(error) if is_missing(&error) => Ok(()),
            other => other.map_err(refused(format!("delete {name}"))),
        }
    }

    async fn create_overlay(&self) -> Result<u32, NetError> {
        let link = LinkMessageBuilder::<LinkVxlan>::new(OVERLAY_DEVICE)
            .collect_metadata(true)
            .learning(false)
            .port(VXLAN_PORT)
            .build();
        self.handle.link().add(link).execute().await.map_err(refused("create skein_vxlan"))?;
        let index = self.index(OVERLAY_DEVICE).await?;
        index.ok_or_else(|| NetError::NoDevice(OVERLAY_DEVICE.to_owned()))
    }

    async fn set(
        &self,
        name: &str,
        change: impl FnOnce(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec>,
    ) -> Result<u32, NetError> {
        let index = self.index(name).await?.ok_or_else(|| NetError::NoDevice(name.to_owned()))?;
        let message = change(LinkUnspec::new_with_index(index)).build();
        let request = self.handle.link().set(message);
        request.execute().await.map_err(refused(format!("set up {name}")))?;
        Ok(index)
    }

    /// Makes `addr` the only IPv4 address of a device of ours.
    async fn set_address(&self, index: u32, addr: Ipv4Addr) -> Result<(), NetError> {
        let mut listed = self.handle.address().get().set_link_index_filter(index).execute();
        let mut stale = Vec::new();
        let mut present = false;
        while let Some(message) = listed.try_next().await.map_err(refused("list addresses"))? {
            if message.header.family != AddressFamily::Inet || message.header.index != index {
                continue;
            }
            let is_it = message.attributes.contains(&AddressAttribute::Local(IpAddr::V4(addr)));
            present |= is_it;
            if !is_it {
                stale.push(message);
            }
        }
        for message in stale {
            let request = self.handle.address().del(message);
            request.execute().await.map_err(refused("delete an old address"))?;
        }
        if !present {
            let request = self.handle.address().add(index, IpAddr::V4(addr), 32);
            request.execute().await.map_err(refused(format!("add address {addr}")))?;
        }
        Ok(())
    }

    async fn link(&self, name: &str) -> Result<Option<LinkMessage>, NetError> {
        let mut found = self.handle.link().get().match_name(name.to_owned()).execute();
        match found.try_next().await {
            Ok(link) => Ok(link),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(refused(format!("look for {name}"))(error)),
        }
    }

    async fn name(&self, index: u32) -> Result<String, NetError> {
        let mut found = self.handle.link().get().match_index(index).execute();
        let link = found.try_next().await.map_err(refused("look for a device"))?;
        let attributes = link.map(|link| link.attributes).unwrap_or_default();
        let name = attributes.into_iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name),
            _ => None,
        });
        name.ok_or_else(|| NetError::NoDevice(index.to_string()))
    }

    async fn routes(&self) -> Result<Vec<RouteMessage>, NetError> {
        let filter = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let listed = self.handle.route().get(filter).execute();
        let all: Vec<RouteMessage> = listed.try_collect().await.map_err(refused("list routes"))?;
        let is_main = |r: &RouteMessage| r.header.table == RouteHeader::RT_TABLE_MAIN;
        Ok(all.into_iter().filter(is_main).collect())
    }
}

/// A pod's two devices.
#[derive(Clone, Copy, Debug)]
pub struct PodPair<'a> {
    /// Ours.
    pub name: &'a str,
    /// Its MAC.
    pub mac: [u8; 6],
    /// The pod's.
    pub peer: &'a str,
    /// Its MAC.
    pub peer_mac: [u8; 6],
    /// MTU of both.
    pub mtu: u32,
}

fn is_missing(error: &rtnetlink::Error) -> bool {
    let rtnetlink::Error::NetlinkError(message) = error else { return false };
    message.code.is_some_and(|code| code.get() == -libc::ENODEV)
}

fn destination(route: &RouteMessage) -> Option<Ipv4Net> {
    let length = route.header.destination_prefix_length;
    let addr = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(addr)) => Some(*addr),
        _ => None,
    });
    Ipv4Net::new(addr?, length).ok()
}

fn is_route(have: &RouteMessage, want: &Route, host_index: u32) -> bool {
    let has = |attribute: RouteAttribute| have.attributes.contains(&attribute);
    let gateway = want.via.is_none_or(|ip| has(RouteAttribute::Gateway(RouteAddress::Inet(ip))));
    let source =
        want.source.is_none_or(|ip| has(RouteAttribute::PrefSource(RouteAddress::Inet(ip))));
    let device = want.device == RouteDevice::Underlay || has(RouteAttribute::Oif(host_index));
    let no_gateway = want.via.is_some()
        || !have.attributes.iter().any(|a| matches!(a, RouteAttribute::Gateway(_)));
    gateway && source && device && no_gateway
}

fn message(route: &Route, host_index: u32) -> RouteMessage {
    let mut builder = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(route.dst.network(), route.dst.prefix_len())
        .protocol(RouteProtocol::Other(ROUTE_PROTOCOL));
    if let Some(via) = route.via {
        builder = builder.gateway(via);
    }
    if let Some(source) = route.source {
        builder = builder.pref_source(source);
    }
    if route.device == RouteDevice::Host {
        builder = builder.output_interface(host_index).scope(RouteScope::Link);
    }
    builder.build()
}

/// Settings of the node's namespace: it routes, and it does not drop what comes back another way
/// (a pod's packets arrive on `lxc…`, the route to the pod leads to `skein_host`). The stricter of
/// "all" and the device's own value counts, so both must be 0.
pub fn set_node_sysctls(devices: &[String]) -> Result<(), NetError> {
    sysctl("net/ipv4/ip_forward", "1")?;
    sysctl("net/ipv4/conf/all/rp_filter", "0")?;
    sysctl("net/ipv4/conf/default/rp_filter", "0")?;
    for device in devices {
        sysctl(&format!("net/ipv4/conf/{device}/rp_filter"), "0")?;
    }
    Ok(())
}

/// No IPv6 on a device of ours (neighbour discovery would only be dropped by the programs) and no
/// reverse path filter.
fn quiet(device: &str) -> Result<(), NetError> {
    sysctl(&format!("net/ipv4/conf/{device}/rp_filter"), "0")?;
    match sysctl(&format!("net/ipv6/conf/{device}/disable_ipv6"), "1") {
        // A kernel without IPv6 has no such setting and no such packets.
        Err(NetError::Sysctl { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Ok(())
        }
        other => other,
    }
}

fn sysctl(name: &str, value: &str) -> Result<(), NetError> {
    let path = format!("/proc/sys/{name}");
    if std::fs::read_to_string(&path).is_ok_and(|now| now.trim() == value) {
        return Ok(());
    }
    std::fs::write(&path, value).map_err(|source| NetError::Sysctl { path, source })
}
