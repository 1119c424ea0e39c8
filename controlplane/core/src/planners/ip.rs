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

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use skein_store_schema::kinds::endpoint_report::{EndpointReport, EndpointReportKey};
use skein_store_schema::kinds::ip::{IpIdentityPair, IpKey, NamedPort};
use skein_store_schema::kinds::pod::{Pod, PodKey};
use skein_store_schema::{IdentityId, NodeName};

use super::Inputs;
use super::node::{NodeView, Nodes, is_host_of};
use super::pod::Workloads;
use crate::object::ipv4;
use crate::plan::{Plan, Reason};
use crate::table::StoreTable;

/// What is known of addresses from one planning to the next.
#[derive(Debug, Default)]
pub(super) struct Ips {
    reports: StoreTable<EndpointReportKey>,
    table: StoreTable<IpKey>,
    nodes: Arc<Nodes>,
    of_ip: BTreeMap<IpAddr, BTreeSet<EndpointReportKey>>,
    of_pod: BTreeMap<PodKey, BTreeSet<EndpointReportKey>>,
    /// Which nodes have an address for themselves. Where several do, it is the last one's.
    of_nodes: BTreeMap<IpAddr, BTreeSet<NodeName>>,
    /// Those of which there was something to write or to tell.
    open: BTreeSet<IpAddr>,
}

/// Why a report is not believed.
enum Refusal {
    /// It may be ahead of what the control plane knows.
    Wait(String),
    Refuse(String),
}

impl Ips {
    /// Plans the addresses that rest on something that changed: `pods` are those that did.
    pub(super) fn plan(
        &mut self,
        inputs: &Inputs,
        nodes: &Arc<Nodes>,
        workloads: &Workloads,
        pods: &BTreeSet<PodKey>,
        plan: &mut Plan,
    ) {
        let mut touched = std::mem::take(&mut self.open);
        self.follow_reports(inputs, &mut touched);
        self.follow_nodes(nodes, &mut touched);
        let reports = pods.iter().filter_map(|pod| self.of_pod.get(pod)).flatten();
        touched.extend(reports.map(|report| report.ip));
        inputs.tables.ips.changes(&self.table, |key, _, _| {
            touched.insert(key.ip);
        });
        self.table = inputs.tables.ips.clone();
        for ip in touched {
            let before = plan.size();
            self.look(inputs, ip, workloads, plan);
            if plan.size() > before {
                self.open.insert(ip);
            }
        }
    }

    fn follow_reports(&mut self, inputs: &Inputs, touched: &mut BTreeSet<IpAddr>) {
        let reports = &inputs.tables.endpoint_reports;
        let (of_ip, of_pod) = (&mut self.of_ip, &mut self.of_pod);
        reports.changes(&self.reports, |key, before, after| {
            touched.insert(key.ip);
            if let Some(report) = before {
                forget(of_ip, &key.ip, key);
                forget(of_pod, &pod_of(key, report), key);
            }
            if let Some(report) = after {
                of_ip.entry(key.ip).or_default().insert(key.clone());
                of_pod.entry(pod_of(key, report)).or_default().insert(key.clone());
            }
        });
        self.reports = reports.clone();
    }

    fn follow_nodes(&mut self, nodes: &Arc<Nodes>, touched: &mut BTreeSet<IpAddr>) {
        if Arc::ptr_eq(&self.nodes, nodes) {
            return;
        }
        let names: BTreeSet<&NodeName> = self.nodes.keys().chain(nodes.keys()).collect();
        for name in names {
            let (before, after) = (self.nodes.get(name), nodes.get(name));
            if before == after {
                continue;
            }
            for ip in before.into_iter().flat_map(own_addresses) {
                forget(&mut self.of_nodes, &ip, name);
                touched.insert(ip);
            }
            for ip in after.into_iter().flat_map(own_addresses) {
                self.of_nodes.entry(ip).or_default().insert(name.clone());
                touched.insert(ip);
            }
            let first = EndpointReportKey { node: name.clone(), ip: FIRST_ADDRESS };
            let reports = self.reports.range_from(&first).map(|(key, _)| key);
            touched.extend(reports.take_while(|key| key.node == *name).map(|key| key.ip));
        }
        self.nodes = Arc::clone(nodes);
    }

    fn look(&self, inputs: &Inputs, ip: IpAddr, workloads: &Workloads, plan: &mut Plan) {
        let owner = self.of_nodes.get(&ip).and_then(BTreeSet::last);
        let mut wanted = owner.and_then(|name| of_node(ip, self.nodes.get(name)?));
        for key in self.of_ip.get(&ip).into_iter().flatten() {
            let Some(report) = self.reports.value(key) else { continue };
            match check(key, report, &self.nodes, workloads) {
                Ok((ip, node, pod)) => wanted = Some(of_pod(ip, node, report, pod)),
                Err(Refusal::Wait(reason)) => plan.wait(key, reason),
                Err(Refusal::Refuse(reason)) => plan.problem(key, format!("refused: {reason}")),
            }
        }
        let (table, key) = (&inputs.tables.ips, IpKey { ip });
        match wanted {
            Some(pair) => plan.want(table, &key, &pair),
            None if table.get(&key).is_some() => plan.remove(table, &key, Reason::NotReported),
            None => {}
        }
    }
}

/// Sorts before every other address.
const FIRST_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

fn forget<K: Ord, V: Ord>(index: &mut BTreeMap<K, BTreeSet<V>>, key: &K, value: &V) {
    if let Some(values) = index.get_mut(key) {
        values.remove(value);
        if values.is_empty() {
            index.remove(key);
        }
    }
}

fn pod_of(key: &EndpointReportKey, report: &EndpointReport) -> PodKey {
    PodKey { node: key.node.clone(), namespace: report.namespace.clone(), name: report.pod.clone() }
}

fn own_addresses(node: &NodeView) -> impl Iterator<Item = IpAddr> {
    [Some(node.internal), node.router, node.health].into_iter().flatten().map(IpAddr::V4)
}

/// What one of a node's own addresses is.
fn of_node(ip: IpAddr, node: &NodeView) -> Option<IpIdentityPair> {
    let is = |own: Option<Ipv4Addr>| own.map(IpAddr::V4) == Some(ip);
    let behind = Some(IpAddr::V4(node.internal));
    let (id, host_ip) = match () {
        () if is(node.health) => (IdentityId::HEALTH, behind),
        () if is(node.router) => (IdentityId::REMOTE_NODE, behind),
        () if is(Some(node.internal)) => (IdentityId::REMOTE_NODE, None),
        () => return None,
    };
    let mut pair = IpIdentityPair::new(ip, id);
    pair.host_ip = host_ip;
    Some(pair)
}

fn check<'a>(
    key: &EndpointReportKey,
    report: &EndpointReport,
    nodes: &'a Nodes,
    workloads: &'a Workloads,
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
    let (namespace, name) = (&report.namespace, &report.pod);
    let Some(pod) = workloads.get(&pod_of(key, report)) else {
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
