//! Who an address is: the table that every agent's ipcache is filled from.
//!
//! Pods come from the endpoint reports of agents. A report is believed if the address is inside
//! the block of the node that reports it, is not the node's own, and the named pod is known to be
//! on that node; the identity is that of the pod's labels, never the agent's word. A report that
//! fails is refused and listed, and an address that rests on it is withdrawn.
//!
//! Nodes are there with their internal address (identity `remote-node`, no tunnel: it is reached
//! directly), their router address (`remote-node`) and their health address (`health`), both
//! behind the node's tunnel endpoint. A node reads its own addresses as `host`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use skein_store_schema::IdentityId;
use skein_store_schema::kinds::endpoint_report::{EndpointReport, EndpointReportKey};
use skein_store_schema::kinds::ip::{IpIdentityPair, IpKey, NamedPort};
use skein_store_schema::kinds::pod::{Pod, PodKey};

use super::Inputs;
use super::node::{NodeView, Nodes, is_host_of};
use super::pod::Pods;
use crate::object::ipv4;
use crate::plan::{Plan, Reason};

/// Why a report is not believed.
enum Refusal {
    /// It may be ahead of what the control plane knows.
    Wait(String),
    Refuse(String),
}

type Wanted = BTreeMap<Ipv4Addr, IpIdentityPair>;

pub(super) fn plan(inputs: &Inputs, nodes: &Nodes, pods: &Pods, plan: &mut Plan) {
    let mut wanted = of_nodes(nodes);
    for (key, report) in inputs.tables.endpoint_reports.iter() {
        match check(key, report, nodes, pods) {
            Ok((ip, node, pod)) => {
                wanted.insert(ip, of_pod(ip, node, report, pod));
            }
            Err(Refusal::Wait(reason)) => plan.wait(key, reason),
            Err(Refusal::Refuse(reason)) => plan.problem(key, format!("refused: {reason}")),
        }
    }
    let table = &inputs.tables.ips;
    for (ip, pair) in &wanted {
        plan.want(table, &IpKey { ip: IpAddr::V4(*ip) }, pair);
    }
    for (key, _) in table.iter() {
        if ipv4(key.ip).is_none_or(|ip| !wanted.contains_key(&ip)) {
            plan.remove(table, key, Reason::NotReported);
        }
    }
}

fn of_nodes(nodes: &Nodes) -> Wanted {
    let mut wanted = Wanted::new();
    for view in nodes.values() {
        let behind = Some(IpAddr::V4(view.internal));
        let mut add = |ip: Ipv4Addr, id, host_ip| {
            let mut pair = IpIdentityPair::new(IpAddr::V4(ip), id);
            pair.host_ip = host_ip;
            wanted.insert(ip, pair);
        };
        add(view.internal, IdentityId::REMOTE_NODE, None);
        if let Some(router) = view.router {
            add(router, IdentityId::REMOTE_NODE, behind);
        }
        if let Some(health) = view.health {
            add(health, IdentityId::HEALTH, behind);
        }
    }
    wanted
}

fn check<'a>(
    key: &EndpointReportKey,
    report: &EndpointReport,
    nodes: &'a Nodes,
    pods: &'a Pods,
) -> Result<(Ipv4Addr, &'a NodeView, &'a Pod), Refusal> {
    let refuse = |reason: String| Err(Refusal::Refuse(reason));
    let Some(node) = nodes.get(&key.node) else {
        return Err(Refusal::Wait("its node to be published".to_owned()));
    };
    let Some(ip) = ipv4(key.ip).filter(|ip| is_host_of(&node.block, *ip)) else {
        return refuse(format!("not an address of the node's block {}", node.block));
    };
    if [node.router, node.health].contains(&Some(ip)) {
        return refuse("an address of the node itself".to_owned());
    }
    let pod_key = PodKey {
        node: key.node.clone(),
        namespace: report.namespace.clone(),
        name: report.pod.clone(),
    };
    let (namespace, name) = (&report.namespace, &report.pod);
    let Some(pod) = pods.get(&pod_key) else {
        let reason = format!("pod {namespace}/{name} to be known on its node");
        return Err(Refusal::Wait(reason));
    };
    if pod.host_network {
        return refuse(format!("pod {namespace}/{name} has its node's network"));
    }
    let uids = [&pod.uid, &report.pod_uid];
    if uids.iter().all(|uid| !uid.is_empty()) && pod.uid != report.pod_uid {
        let reason = format!(
            "pod {namespace}/{name} has uid {}, the report says {}",
            pod.uid, report.pod_uid
        );
        return refuse(reason);
    }
    Ok((ip, node, pod))
}

fn of_pod(ip: Ipv4Addr, node: &NodeView, report: &EndpointReport, pod: &Pod) -> IpIdentityPair {
    let mut pair = IpIdentityPair::new(IpAddr::V4(ip), pod.identity);
    pair.host_ip = Some(IpAddr::V4(node.internal));
    pair.k8s_namespace = report.namespace.as_str().to_owned();
    pair.k8s_pod_name = report.pod.as_str().to_owned();
    pair.k8s_service_account.clone_from(&pod.service_account);
    let named = pod.ports.iter().filter(|p| !p.name.is_empty());
    pair.named_ports = named
        .map(|p| NamedPort { name: p.name.clone(), port: p.port, protocol: p.protocol })
        .collect();
    pair.named_ports.sort();
    pair.named_ports.dedup_by(|a, b| a.name == b.name);
    pair
}
