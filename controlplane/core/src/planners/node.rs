//! Nodes, as every node sees them: published from the Node object, the node's block and the report
//! of its agent, after checking what the agent says.
//!
//! An agent may say which of the Node object's addresses it uses and which addresses of its block
//! are the router's and the health endpoint's. What it says beyond that is refused, and what was
//! published before stays. A node is withdrawn when its Node object is gone, and only then: a
//! silent agent is no evidence.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use skein_store_schema::NodeName;
use skein_store_schema::kinds::node::{AddressKind, GoCidr, Node, NodeAddress, NodeKey};
use skein_store_schema::kinds::node_report::{NodeReport, NodeReportKey};

use super::Inputs;
use super::ipam::Blocks;
use crate::object::{Kind, NodeObject, Object, ObjectRef, ipv4};
use crate::plan::{Plan, Reason};

/// What else needs to be known of a published node.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct NodeView {
    pub(super) block: Ipv4Net,
    pub(super) internal: Ipv4Addr,
    pub(super) router: Option<Ipv4Addr>,
    pub(super) health: Option<Ipv4Addr>,
}

/// The published nodes of this cluster after this plan.
pub(super) type Nodes = BTreeMap<NodeName, NodeView>;

/// How Cilium marks records that come from the cluster's own objects.
const SOURCE: &str = "custom-resource";

pub(super) fn plan(inputs: &Inputs, blocks: &Blocks, plan: &mut Plan) -> Nodes {
    let mut nodes = retained(inputs, plan);
    let mut internal_owners: BTreeMap<Ipv4Addr, NodeName> =
        nodes.iter().map(|(name, view)| (view.internal, name.clone())).collect();
    for object in inputs.sources.objects.of(Kind::Node).values() {
        let Object::Node(node) = &**object else { continue };
        let subject = object.object_ref();
        let Some(block) = blocks.get(&node.name).and_then(|b| b.first()) else { continue };
        let report = NodeReportKey { node: node.name.clone() };
        let Some(report) = inputs.tables.node_reports.value(&report) else {
            plan.wait(subject, "the report of its agent");
            continue;
        };
        match check(inputs, node, *block, report, &internal_owners) {
            Ok((view, remarks)) => {
                internal_owners.insert(view.internal, node.name.clone());
                let key =
                    NodeKey { cluster: inputs.config.cluster.clone(), node: node.name.clone() };
                plan.want(&inputs.tables.nodes, &key, &record(inputs, node, &view, report));
                nodes.insert(node.name.clone(), view);
                for remark in remarks {
                    plan.problem(&subject, remark);
                }
            }
            Err(refusal) => plan.problem(subject, format!("report refused: {refusal}")),
        }
    }
    nodes
}

/// Nodes that are published already and stay so whatever is reported now.
fn retained(inputs: &Inputs, plan: &mut Plan) -> Nodes {
    let mut nodes = Nodes::new();
    let ours = |key: &NodeKey| key.cluster == inputs.config.cluster;
    for (key, node) in inputs.tables.nodes.iter().filter(|(key, _)| ours(key)) {
        if inputs.is_gone(&ObjectRef::new(Kind::Node, "", key.node.as_str())) {
            plan.remove(&inputs.tables.nodes, key, Reason::Gone);
            continue;
        }
        if let (Some(block), Some(internal)) = (node.ipv4_block(), node.internal_ipv4()) {
            let health = node.ipv4_health_ip.and_then(ipv4);
            let view = NodeView { block, internal, router: node.router_ipv4(), health };
            nodes.insert(key.node.clone(), view);
        }
    }
    nodes
}

/// What may be published, with remarks on what of the report was left out.
fn check(
    inputs: &Inputs,
    node: &NodeObject,
    block: Ipv4Net,
    report: &NodeReport,
    owners: &BTreeMap<Ipv4Addr, NodeName>,
) -> Result<(NodeView, Vec<String>), String> {
    let internal = internal(inputs, node, report)?;
    if let Some(other) = owners.get(&internal).filter(|owner| **owner != node.name) {
        return Err(format!("internal address {internal} is that of node {other}"));
    }
    let mut remarks = Vec::new();
    let mut of_block = |what: &str, ip: Option<IpAddr>| {
        let ip = ip?;
        let valid = ipv4(ip).filter(|ip| is_host_of(&block, *ip));
        if valid.is_none() {
            remarks.push(format!("{what} address {ip} is not in its block {block}: left out"));
        }
        valid
    };
    let router = of_block("router", report.router_ip);
    let health = of_block("health", report.health_ip);
    Ok((NodeView { block, internal, router, health }, remarks))
}

/// Neither the first nor the last address of a block, but one inside.
pub(super) fn is_host_of(block: &Ipv4Net, ip: Ipv4Addr) -> bool {
    block.contains(&ip) && ip != block.network() && ip != block.broadcast()
}

fn internal(inputs: &Inputs, node: &NodeObject, report: &NodeReport) -> Result<Ipv4Addr, String> {
    let ip = report.internal_ip;
    let Some(ip4) = ipv4(ip) else { return Err(format!("internal address {ip} is not IPv4")) };
    let of_object = |a: &&NodeAddress| a.kind == AddressKind::InternalIp && a.ip.is_ipv4();
    let mut known = node.addresses.iter().filter(of_object).peekable();
    if known.peek().is_some() && !known.any(|a| a.ip == ip) {
        return Err(format!("internal address {ip} is not one of the Node object's"));
    }
    let config = &inputs.config;
    let inside = config.pool_cidrs.iter().chain([&config.service_cidr]).find(|c| c.contains(&ip4));
    match inside {
        Some(cidr) => Err(format!("internal address {ip} is inside {cidr}")),
        None => Ok(ip4),
    }
}

fn record(inputs: &Inputs, node: &NodeObject, view: &NodeView, report: &NodeReport) -> Node {
    let mut record = Node::new(inputs.config.cluster.clone(), node.name.clone());
    let address = |kind, ip| NodeAddress { kind, ip: IpAddr::V4(ip) };
    record.ip_addresses.push(address(AddressKind::InternalIp, view.internal));
    let external = node.addresses.iter().filter(|a| a.kind == AddressKind::ExternalIp);
    record.ip_addresses.extend(external.cloned());
    record.ip_addresses.extend(view.router.map(|ip| address(AddressKind::CiliumInternalIp, ip)));
    record.ipv4_alloc_cidr = Some(GoCidr(IpNet::V4(view.block)));
    record.ipv4_health_ip = view.health.map(IpAddr::V4);
    record.cluster_id = u32::from(inputs.config.cluster_id.get());
    record.source = SOURCE.to_owned();
    record.labels = node.labels.clone();
    record.boot_id = report.boot_id.clone();
    record
}
