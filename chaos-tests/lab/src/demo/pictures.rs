//! The tables of the summary, from the store's keys and the lab's pods.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::Result;
use skein_store_schema::kinds::service::Service;

use super::{Shown, wrap};
use crate::cluster::Cluster;
use crate::cluster::settle::ready_backends;
use crate::store::View;
use crate::table::{Table, WIDTH};

/// More rows than this are counted instead of shown.
const ROWS_MAX: usize = 40;

/// The whole summary.
pub(super) fn summary(cluster: &Cluster, results: &[Shown]) -> Result<String> {
    let view = cluster.view()?;
    let mut text = String::new();
    let mut part = |title: &str, table: &str| {
        let rule = "─".repeat(WIDTH - title.chars().count() - 1);
        text.push_str(&format!("\n{title} {rule}\n{table}"));
    };
    part("Nodes", &nodes(cluster, &view));
    part("Pods", &pods(cluster, &view));
    part("Services", &services(&view));
    let objects = cluster.kubelet.objects();
    if !objects.left_alone.is_empty() {
        part("Left alone", &left_alone(&objects.left_alone));
    }
    if !objects.problems.is_empty() {
        part("Not valid, reported by the control plane too", &problems(&objects.problems));
    }
    let shown: String = results.iter().map(Shown::render).collect();
    part("Shown", &shown);
    Ok(text)
}

fn nodes(cluster: &Cluster, view: &View) -> String {
    let mut table = Table::new(&["NODE", "ADDRESS", "CIDR BLOCK", "PODS", "ROUTING"]);
    for (name, ip) in cluster.spec.node_addresses() {
        let blocks: Vec<String> = view
            .blocks
            .iter()
            .filter(|(_, block)| block.node.as_str() == name)
            .map(|(key, _)| key.cidr.to_string())
            .collect();
        let pods = cluster.kubelet.pods().values().filter(|p| p.plan.node == name).count();
        table.row([
            name,
            ip.to_string(),
            blocks.join(" "),
            pods.to_string(),
            cluster.spec.routing.word().to_owned(),
        ]);
    }
    table.render()
}

fn pods(cluster: &Cluster, view: &View) -> String {
    let identities: BTreeMap<IpAddr, String> =
        view.ips.iter().map(|(key, pair)| (key.ip, pair.id.to_string())).collect();
    let mut table = Table::new(&["POD", "NODE", "IP", "IDENTITY"]);
    let pods = cluster.kubelet.pods();
    for pod in pods.values().take(ROWS_MAX) {
        let ip = pod.ip.map(IpAddr::V4);
        let identity = ip.and_then(|ip| identities.get(&ip).cloned());
        table.row([
            pod.plan.key.to_string(),
            pod.plan.node.clone(),
            ip.map(|ip| ip.to_string()).unwrap_or_default(),
            identity.unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    table.render() + &more(pods.len(), "pods")
}

fn services(view: &View) -> String {
    let ready = ready_backends(view);
    let mut table = Table::new(&["SERVICE", "CLUSTER IP", "PORTS", "BACKENDS"]);
    for (key, service) in view.services.iter().take(ROWS_MAX) {
        let name = (key.namespace.to_string(), key.name.to_string());
        let backends = ready.get(&name).map_or(0, |b| b.len());
        table.row([
            format!("{}/{}", name.0, name.1),
            cluster_ip(service),
            ports(service),
            if backends == 0 { "none: refused".to_owned() } else { backends.to_string() },
        ]);
    }
    table.render() + &more(view.services.len(), "services")
}

fn cluster_ip(service: &Service) -> String {
    match service.cluster_ips.first() {
        Some(ip) => ip.to_string(),
        None => "headless".to_owned(),
    }
}

fn ports(service: &Service) -> String {
    let ports = service.ports.iter().map(|p| format!("{}/{}", p.port, p.protocol));
    ports.collect::<Vec<_>>().join(" ")
}

fn more(count: usize, what: &str) -> String {
    if count > ROWS_MAX {
        format!("  ... and {} more {what}\n", count - ROWS_MAX)
    } else {
        String::new()
    }
}

fn left_alone(kinds: &BTreeMap<(String, String), usize>) -> String {
    let line = |((kind, api), count): (&(String, String), &usize)| {
        format!("  {count} of kind {kind} ({api}): not ours, left alone\n")
    };
    kinds.iter().map(line).collect()
}

fn problems(problems: &[String]) -> String {
    let mut text = String::new();
    for problem in problems.iter().take(ROWS_MAX) {
        for (index, line) in wrap(problem, WIDTH - 4).iter().enumerate() {
            text.push_str(&format!("  {}{line}\n", if index == 0 { "" } else { "  " }));
        }
    }
    text + &more(problems.len(), "problems")
}
