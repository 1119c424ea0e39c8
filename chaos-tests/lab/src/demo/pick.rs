//! What the demo asks, and from where: picked from whatever the user's folder holds.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Service;

use crate::cluster::Cluster;
use crate::cluster::builtin::DEMO_NAMESPACE;
use crate::kubelet::PodRun;
use crate::workload::{PodKey, Protocol, protocol, selects, target_port};

/// Services asked one by one; a folder with more is sampled.
const SERVICES_MAX: usize = 24;

/// A service that can be asked by HTTP or UDP, with its port.
pub(super) struct Askable {
    /// Its namespace.
    pub(super) namespace: String,
    /// Its name.
    pub(super) name: String,
    /// Its own port.
    pub(super) port: i32,
    /// The port's protocol.
    pub(super) protocol: Protocol,
    /// Names lead to pods, not to an address of its own.
    pub(super) headless: bool,
}

pub(super) fn askable(cluster: &Cluster) -> Vec<Askable> {
    let ready = cluster.kubelet.ready_backends();
    let services = cluster.kubelet.objects().services.iter();
    services.filter_map(|s| askable_port(s, &ready)).take(SERVICES_MAX).collect()
}

fn askable_port(
    service: &Service,
    ready: &crate::cluster::settle::ReadyBackends,
) -> Option<Askable> {
    let namespace = service.metadata.namespace.clone().unwrap_or("default".to_owned());
    let name = service.metadata.name.clone()?;
    let spec = service.spec.as_ref()?;
    let has_backends = ready.get(&(namespace.clone(), name.clone())).is_some_and(|b| !b.is_empty());
    // The name server behind kube-dns answers names, not requests.
    if !has_backends || (namespace == "kube-system" && name == "kube-dns") {
        return None;
    }
    let ports = spec.ports.iter().flatten();
    let mut known: Vec<(i32, Protocol)> =
        ports.filter_map(|p| Some((p.port, protocol(p.protocol.as_deref())?))).collect();
    known.sort_by_key(|(_, protocol)| *protocol);
    let (port, protocol) = *known.first()?;
    let headless = spec.cluster_ip.as_deref() == Some("None");
    Some(Askable { namespace, name, port, protocol, headless })
}

impl Askable {
    pub(super) fn words(&self, count: u64) -> String {
        let verb = if self.protocol == Protocol::Tcp { "http" } else { "udp --fresh" };
        format!("{verb} {}.{}:{} --count {count}", self.name, self.namespace, self.port)
    }
}

pub(super) fn headless_port_is_the_pods(cluster: &Cluster, service: &Askable) -> bool {
    let found = cluster.kubelet.objects().services.iter().find(|s| {
        s.metadata.name.as_deref() == Some(&service.name)
            && s.metadata.namespace.as_deref().unwrap_or("default") == service.namespace
    });
    let Some(object) = found else { return false };
    let ports = || object.spec.iter().flat_map(|s| s.ports.iter().flatten());
    cluster
        .kubelet
        .pods()
        .values()
        .filter(|p| selects(object, &service.namespace, &p.plan.labels))
        .all(|pod| {
            ports().filter(|p| p.port == service.port).all(|p| {
                target_port(p, &pod.plan).is_some_and(|t| i32::from(t.port) == service.port)
            })
        })
}

/// A pod to ask from: one of the user's if there is one, else one of the lab's.
pub(super) fn client_pod(cluster: &Cluster) -> Result<&PodRun> {
    let own = [DEMO_NAMESPACE, "kube-system"];
    let pods = || cluster.kubelet.pods().values().filter(|p| !p.plan.host_network && p.serving);
    let users = pods().find(|p| !own.contains(&p.plan.key.namespace.as_str()));
    users.or_else(|| pods().next()).context("no pod runs")
}

pub(super) fn hello_pods(cluster: &Cluster) -> Result<Vec<PodKey>> {
    let pods = cluster.kubelet.pods().values();
    let found: Vec<PodKey> = pods
        .filter(|p| p.plan.key.namespace == DEMO_NAMESPACE && p.serving)
        .map(|p| p.plan.key.clone())
        .collect();
    ensure!(!found.is_empty(), "no pod of the demo's own runs");
    Ok(found)
}
