//! The agent's status as it answers on its socket.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use skein_nodeagent_core::ipam::Ipam;
use skein_store_schema::kinds::agent_status::Health;
use skein_store_schema::kinds::node_report::RoutingMode;

use crate::node::Node;
use crate::store::status_of;

/// Tasks whose health is told, whether or not they have a problem now. Problems of single items
/// (`service:…`, `store:…`) are listed besides.
const CONTROLLERS: [&str; 6] = ["checkpoint", "datapath", "ipam", "maps", "masquerade", "report"];

/// Everything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Node's name.
    pub node: String,
    /// Cluster's name.
    pub cluster: String,
    /// Version of the agent.
    pub version: String,
    /// In one word.
    pub health: Health,
    /// The store.
    pub kvstore: KvStore,
    /// Addresses.
    pub ipam: IpamStatus,
    /// How packets travel.
    pub datapath: DatapathStatus,
    /// Maps that the agent fills.
    pub maps: Vec<MapStatus>,
    /// Tasks.
    pub controllers: Vec<Controller>,
    /// Counts.
    pub counts: Counts,
    /// When the agent started, milliseconds since 1970.
    pub started_unix_ms: u64,
}

/// The store as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvStore {
    /// Whether it answers.
    pub connected: bool,
    /// Whether the first complete view was seen in this run.
    pub in_sync: bool,
    /// Members by the flags.
    pub endpoints: Vec<String>,
    /// Newest change that the maps reflect.
    pub applied_revision: i64,
    /// Revision up to which the view is complete.
    pub complete_revision: i64,
}

/// The node's block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpamStatus {
    /// Block.
    pub cidr: Option<String>,
    /// Pod addresses in use.
    pub used: usize,
    /// Pod addresses in all.
    pub total: usize,
    /// Router's address.
    pub router: Option<Ipv4Addr>,
    /// Owners by address.
    pub addresses: BTreeMap<Ipv4Addr, String>,
}

/// How packets travel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatapathStatus {
    /// `ebpf` or `memory`.
    pub mode: String,
    /// Whether programs and maps are in place.
    pub ready: bool,
    /// `tunnel` or `native`.
    pub routing: RoutingMode,
    /// Node's address.
    pub node_ip: Ipv4Addr,
    /// Native devices.
    pub devices: Vec<String>,
    /// MTU of pods.
    pub pod_mtu: u32,
    /// Socket hooks on.
    pub socket_lb: bool,
    /// Per-packet translation on.
    pub per_packet_lb: bool,
    /// Masquerading on.
    pub masquerade: bool,
    /// Version of the map layouts.
    pub layout_version: u32,
    /// Release of the kernel.
    pub kernel: String,
}

/// A map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MapStatus {
    /// Name.
    pub name: String,
    /// Entries.
    pub entries: usize,
    /// Bound.
    pub capacity: u32,
}

/// A task or an item with a problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Controller {
    /// Name.
    pub name: String,
    /// What it cannot do now.
    pub problem: Option<String>,
}

/// Counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Services with an address.
    pub services: usize,
    /// Headless services.
    pub headless_services: usize,
    /// Frontends.
    pub frontends: usize,
    /// Backends.
    pub backends: usize,
    /// Endpoints of this node.
    pub endpoints: usize,
    /// Nodes of the cluster.
    pub nodes: usize,
}

/// The status now.
pub fn status(node: &Node) -> Status {
    let summary = status_of(node);
    let args = &node.facts.args;
    let engine = node.engine();
    let progress = engine.progress();
    let ipam = engine.endpoints().ipam();
    let place = engine.place();
    let capacity = |spec| engine.maps().map_or(0, |maps| maps.capacity(spec));
    let map = |(spec, entries): (&'static skein_bpf_abi::MapSpec, usize)| MapStatus {
        name: spec.name.to_owned(),
        entries,
        capacity: capacity(spec),
    };
    let problems = engine.problems();
    let controllers = CONTROLLERS.iter().map(|name| (*name).to_owned());
    let others = problems.keys().filter(|name| !CONTROLLERS.contains(&name.as_str())).cloned();
    let controller = |name: String| Controller { problem: problems.get(&name).cloned(), name };
    let tables = engine.calc().balancer.actual();
    let headless = engine.calc().services().values().filter(|service| service.headless).count();
    let owner =
        |endpoint: &skein_nodeagent_core::endpoint::Endpoint| (endpoint.ip, endpoint.owner());
    Status {
        node: place.node.to_string(),
        cluster: place.cluster.to_string(),
        version: summary.agent_version,
        health: summary.health,
        kvstore: KvStore {
            connected: progress.connected,
            in_sync: progress.in_sync,
            endpoints: args.store_endpoints.clone(),
            applied_revision: progress.applied_revision,
            complete_revision: progress.complete_revision,
        },
        ipam: IpamStatus {
            cidr: ipam.map(|ipam| ipam.block().to_string()),
            used: ipam.map_or(0, Ipam::used),
            total: ipam.map_or(0, Ipam::capacity),
            router: ipam.map(|ipam| Ipam::router_of(ipam.block())),
            addresses: engine.endpoints().iter().map(owner).collect(),
        },
        datapath: DatapathStatus {
            mode: node.facts.datapath_name().to_owned(),
            ready: progress.datapath_ready,
            routing: place.mode,
            node_ip: place.node_ip,
            devices: node.facts.devices.iter().map(|device| device.name.clone()).collect(),
            pod_mtu: node.facts.pod_mtu,
            socket_lb: args.socket_lb,
            per_packet_lb: args.per_packet_lb,
            masquerade: args.masquerade && node.network.is_some(),
            layout_version: summary.layout_version,
            kernel: summary.kernel,
        },
        maps: engine.sizes().into_iter().map(map).collect(),
        controllers: controllers.chain(others).map(controller).collect(),
        counts: Counts {
            services: engine.calc().balancer.service_count(),
            headless_services: headless,
            frontends: tables.frontends().len(),
            backends: tables.backends().len(),
            endpoints: engine.endpoints().iter().count(),
            nodes: engine.calc().nodes().len(),
        },
        started_unix_ms: node.facts.started_unix_ms,
    }
}
