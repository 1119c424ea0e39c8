//! What the tests share.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};

use crate::cluster::Cluster;
use crate::cluster::traffic::From;
use crate::traffic::Report;
use crate::workload::PodKey;

/// The tests' namespace.
pub(super) const NAMESPACE: &str = "e2e";

/// A pod of the tests.
pub(super) fn pod(name: &str) -> PodKey {
    PodKey { namespace: NAMESPACE.to_owned(), name: name.to_owned() }
}

/// A pod of the tests as a source of traffic.
pub(super) fn from(name: &str) -> From {
    From::Pod(pod(name))
}

/// A pod's address.
pub(super) fn ip(cluster: &Cluster, name: &str) -> Result<Ipv4Addr> {
    let found = cluster.kubelet.pods().get(&pod(name));
    found.and_then(|p| p.ip).with_context(|| format!("pod {name} has no address"))
}

/// A service's ClusterIP, as the store has it.
pub(super) fn cluster_ip(cluster: &Cluster, name: &str) -> Result<Ipv4Addr> {
    let view = cluster.view()?;
    let found = view
        .services
        .iter()
        .find(|(key, _)| key.namespace.as_str() == NAMESPACE && key.name.as_str() == name);
    match found.and_then(|(_, service)| service.cluster_ips.first()) {
        Some(std::net::IpAddr::V4(ip)) => Ok(*ip),
        _ => anyhow::bail!("service {name} has no ClusterIP in the store"),
    }
}

/// A node's address.
pub(super) fn node_ip(cluster: &Cluster, node: &str) -> Result<Ipv4Addr> {
    let found = cluster.spec.node_addresses().into_iter().find(|(name, _)| name == node);
    Ok(found.with_context(|| format!("no node {node}"))?.1)
}

/// Runs traffic that must succeed in full.
pub(super) fn succeed(cluster: &Cluster, from: &From, words: &str) -> Result<Report> {
    let report = cluster.traffic(from, words)?;
    ensure!(
        report.clean(),
        "{from}: `{words}`: {} of {} answered, {:?}",
        report.answered,
        report.sent,
        report.errors
    );
    Ok(report)
}

/// Runs traffic that must be answered in full by exactly these pods of the tests.
pub(super) fn answered_by(
    cluster: &Cluster,
    from: &From,
    words: &str,
    expected: &[&str],
) -> Result<Report> {
    let report = succeed(cluster, from, words)?;
    let mut expected: Vec<String> = expected.iter().map(|name| pod(name).to_string()).collect();
    expected.sort();
    let by: Vec<&String> = report.by.keys().collect();
    ensure!(
        by.iter().copied().eq(expected.iter()),
        "{from}: `{words}`: answered by {by:?} instead of {expected:?}"
    );
    Ok(report)
}
