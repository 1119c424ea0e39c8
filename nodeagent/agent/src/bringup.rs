//! Brings the datapath up once this node has a block, and keeps devices, routes and masquerading
//! equal to what is wanted.
//!
//! If the agent stops anywhere in here, the next start does the same again: every step looks at what
//! is there first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ipnet::Ipv4Net;
use skein_bpf_abi::addr::ip_be;
use skein_bpf_abi::config::{HAIRPIN_IP_BE, flags};
use skein_bpf_abi::{LAYOUT_VERSION, NodeConfig, identity};
use skein_nodeagent_core::endpoint::{Endpoint, EndpointState};
use skein_nodeagent_core::ipam::Ipam;
use skein_nodeagent_core::routes::Route;
use skein_store_schema::kinds::node_report::RoutingMode;

use crate::args::DatapathKind;
use crate::kernel::{Kernel, KernelError, Placement};
use crate::maps::{MapError, SharedMaps};
use crate::memory::MemoryDatapath;
use crate::netlink::{HOST_DEVICE, NetError, Network, OVERLAY_DEVICE};
use crate::nft;
use crate::node::{Datapath, Node};

/// Wait after a failed round.
const RETRY: Duration = Duration::from_secs(1);
/// Changes of routes are gathered for so long, so that a thousand nodes' keys make one round.
const GATHER: Duration = Duration::from_millis(20);
/// Interface indexes of pods that have no interface, with the datapath in memory.
const MEMORY_IFINDEX_BASE: u32 = 1000;

/// Why a round failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Kernel(#[from] KernelError),
    #[error(transparent)]
    Net(#[from] NetError),
    #[error(transparent)]
    Map(#[from] MapError),
    #[error("bringing the datapath up was interrupted")]
    Interrupted,
}

#[derive(Default)]
struct Applied {
    block: Option<Ipv4Net>,
    host_index: u32,
    routes: Option<(BTreeMap<Ipv4Net, Route>, bool)>,
    rules: Option<String>,
}

/// Does so for ever.
pub async fn keep(node: Arc<Node>) {
    let mut applied = Applied::default();
    loop {
        match round(&node, &mut applied).await {
            Ok(()) => {
                node.engine().note("datapath", None);
                node.network_due.notified().await;
                tokio::time::sleep(GATHER).await;
            }
            Err(error) => {
                node.engine().note("datapath", Some(crate::chain(&error)));
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn round(node: &Arc<Node>, applied: &mut Applied) -> Result<(), Error> {
    let Some(block) = node.engine().settle_block() else { return Ok(()) };
    if applied.block != Some(block) {
        tracing::info!(%block, "bringing the datapath up");
        match node.facts.args.datapath {
            DatapathKind::Ebpf => applied.host_index = bring_up_kernel(node, block).await?,
            DatapathKind::Memory => bring_up_memory(node, block)?,
        }
        applied.block = Some(block);
        applied.routes = None;
        if let Err(error) = node.state.keep_block(block) {
            node.engine().note("state", Some(crate::chain(&error)));
        }
        node.update(crate::engine::Engine::datapath_is_ready);
        node.report_due.notify_one();
        tracing::info!(%block, "the datapath is in place");
    }
    let Some(network) = &node.network else { return Ok(()) };
    let (routes, inside, progress) = {
        let engine = node.engine();
        let router = Ipam::router_of(block);
        let (routes, inside) = engine.calc().network(router, engine.routes_services(), |network| {
            (network.routes(), network.unmasqueraded())
        });
        (routes, inside, engine.progress())
    };
    let may_delete = progress.in_sync;
    if applied.routes.as_ref() != Some(&(routes.clone(), may_delete)) {
        let changed = network.set_routes(&routes, applied.host_index, may_delete).await?;
        tracing::debug!(changed, "routes");
        applied.routes = Some((routes, may_delete));
    }
    // Without any view of the cluster, the rules of an earlier run know more than we do.
    if progress.complete_revision > 0 {
        masquerade(node, block, &inside, applied).await;
    }
    Ok(())
}

/// Masquerading is worth a complaint, not the datapath.
async fn masquerade(
    node: &Node,
    block: Ipv4Net,
    inside: &BTreeSet<Ipv4Net>,
    applied: &mut Applied,
) {
    if !node.facts.args.masquerade {
        return;
    }
    let devices: Vec<String> = node.facts.devices.iter().map(|d| d.name.clone()).collect();
    let rules = nft::rules(block, inside, &devices);
    if applied.rules.as_ref() == Some(&rules) {
        return;
    }
    match nft::apply(&rules).await {
        Ok(()) => {
            applied.rules = Some(rules);
            node.engine().note("masquerade", None);
        }
        Err(error) => node.engine().note("masquerade", Some(crate::chain(&error))),
    }
}

async fn bring_up_kernel(node: &Arc<Node>, block: Ipv4Net) -> Result<u32, Error> {
    let Some(network) = &node.network else { return Err(Error::Interrupted) };
    let router = Ipam::router_of(block);
    let mode = node.engine().place().mode;
    let (host, overlay) = network.set_up_node(router, node.facts.pod_mtu, mode).await?;
    let names: Vec<String> = node.facts.devices.iter().map(|d| d.name.clone()).collect();
    crate::netlink::set_node_sysctls(&names)?;
    let pods = restore_pods(node, network).await?;
    let placement = Placement {
        bpf_root: node.facts.args.bpf_root.clone(),
        cgroup: node.facts.args.socket_lb.then(|| node.facts.args.cgroup_root.clone()),
        devices: names,
        host_device: HOST_DEVICE.to_owned(),
        overlay_device: overlay.map(|_| OVERLAY_DEVICE.to_owned()),
    };
    let config = NodeConfig {
        netns_cookie: netns_cookie().unwrap_or(0),
        overlay_ifindex: overlay.unwrap_or(0),
        host_ifindex: host,
        ..config(node, block)
    };
    let worker = Arc::clone(node);
    let loaded = tokio::task::spawn_blocking(move || {
        let mut filled = Ok(());
        let kernel = Kernel::load(&placement, config, |maps| {
            let maps: SharedMaps = maps;
            let mut engine = worker.engine();
            filled = engine.adopt(maps).map(|outcome| worker.publish(&engine, &outcome));
        })?;
        filled?;
        for device in pods {
            kernel.attach_pod(&device)?;
        }
        Ok::<Kernel, Error>(kernel)
    });
    let kernel = Arc::new(loaded.await.map_err(|_| Error::Interrupted)??);
    node.set_datapath(Datapath::Kernel(kernel));
    Ok(host)
}

fn bring_up_memory(node: &Arc<Node>, block: Ipv4Net) -> Result<(), Error> {
    let memory = Arc::new(MemoryDatapath::new(config(node, block)));
    let mut engine = node.engine();
    let endpoints: Vec<Endpoint> = engine.endpoints().iter().cloned().collect();
    for endpoint in &endpoints {
        engine.bind(&endpoint.attachment, memory_ifindex(endpoint));
    }
    let maps: SharedMaps = memory.clone();
    let outcome = engine.adopt(maps)?;
    node.publish(&engine, &outcome);
    drop(engine);
    node.set_datapath(Datapath::Memory(memory));
    Ok(())
}

/// The index that stands for a pod's device where there is none.
pub fn memory_ifindex(endpoint: &Endpoint) -> u32 {
    MEMORY_IFINDEX_BASE + endpoint.id
}

/// Binds the endpoints whose devices survived, cleans up those that were half made. Returns the
/// devices that need the program.
async fn restore_pods(node: &Node, network: &Network) -> Result<Vec<String>, Error> {
    let endpoints: Vec<Endpoint> = node.engine().endpoints().iter().cloned().collect();
    let mut devices = Vec::new();
    for endpoint in endpoints {
        if endpoint.state == EndpointState::Creating {
            // An ADD under way in this run owns it; it is bound when that ends.
            continue;
        }
        match network.index(&endpoint.host_ifname).await? {
            Some(ifindex) => {
                node.engine().bind(&endpoint.attachment, ifindex);
                devices.push(endpoint.host_ifname);
            }
            None => tracing::warn!(
                endpoint = %endpoint.owner(), ip = %endpoint.ip,
                "its device is gone (a reboot); the address stays reserved until the runtime asks"
            ),
        }
    }
    Ok(devices)
}

fn config(node: &Node, block: Ipv4Net) -> NodeConfig {
    let engine = node.engine();
    let args = &node.facts.args;
    let bit = |on: bool, bit: u32| if on { bit } else { 0 };
    NodeConfig {
        netns_cookie: 0,
        layout_version: LAYOUT_VERSION,
        flags: bit(args.socket_lb, flags::SOCKET_LB)
            | bit(args.per_packet_lb, flags::PACKET_LB)
            | bit(engine.place().mode == RoutingMode::Tunnel, flags::TUNNEL)
            | flags::CHECK_MAC,
        node_ip_be: ip_be(engine.place().node_ip.octets()),
        router_ip_be: ip_be(Ipam::router_of(block).octets()),
        hairpin_ip_be: HAIRPIN_IP_BE,
        mtu: node.facts.pod_mtu,
        overlay_ifindex: 0,
        host_ifindex: 0,
        node_identity: identity::HOST,
        reserved: 0,
    }
}

/// Cookie of the namespace that the agent, and with it the node, lives in: what the socket programs
/// compare with. (The helper's own idea of "the host" is the init namespace.)
fn netns_cookie() -> std::io::Result<u64> {
    use std::os::fd::AsRawFd;
    /// `SO_NETNS_COOKIE` of `asm-generic/socket.h`, not in the library's list.
    const SO_NETNS_COOKIE: libc::c_int = 71;
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
    let mut cookie = 0u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the value pointer and its length describe a live `u64`.
    let rc = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            std::ptr::from_mut(&mut cookie).cast(),
            &raw mut length,
        )
    };
    if rc < 0 { Err(std::io::Error::last_os_error()) } else { Ok(cookie) }
}
