//! From workloads to pods on nodes, as pure functions: what the scheduler and the workload controllers decide.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Pod, PodSpec, PodTemplateSpec, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::{Deserialize, Serialize};

use crate::manifests::Objects;

/// Namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PodKey {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name within it.
    pub name: String,
}

impl std::fmt::Display for PodKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The protocols Skein translates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// Transmission control protocol.
    Tcp,
    /// User datagram protocol.
    Udp,
}

/// A port a pod listens on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PodPort {
    /// Its name, by which services may refer to it.
    pub name: Option<String>,
    /// Its number.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

/// A pod that should exist, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodPlan {
    /// Namespace and name.
    pub key: PodKey,
    /// Node it is scheduled to.
    pub node: String,
    /// Labels, as services select by them.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Whether it uses its node's network.
    pub host_network: bool,
    /// Service account, part of the identity.
    pub service_account: String,
    /// Container ports.
    pub ports: BTreeSet<PodPort>,
    /// Host name and subdomain of a stateful set's pod, by which headless services name it.
    pub hostname: Option<String>,
}

/// What makes the name of a slot's pod new after a deletion: how many pods the slot has had before.
pub type Incarnations = BTreeMap<String, u32>;

/// Every pod that should exist on `nodes`. Unchanged inputs give unchanged pods: a node that joins gets new pods, and
/// those of a node that left move, but nothing else does.
#[must_use]
pub fn plan_pods(
    objects: &Objects,
    nodes: &[String],
    incarnations: &Incarnations,
    placed: &BTreeMap<PodKey, String>,
) -> Vec<PodPlan> {
    let mut plans = Vec::new();
    for slot in slots(objects, nodes, incarnations) {
        if plans.iter().any(|p: &PodPlan| p.key == slot.key) {
            continue;
        }
        let kept = placed.get(&slot.key).filter(|node| nodes.contains(node)).cloned();
        let wanted = slot.node.clone().filter(|node| nodes.contains(node));
        let Some(node) = wanted.or(kept).or_else(|| least_used(&plans, &slot.owner, nodes)) else {
            continue;
        };
        plans.push(slot.into_plan(node));
    }
    plans
}

/// One pod that some workload asks for, before it has a node.
struct Slot {
    owner: String,
    key: PodKey,
    node: Option<String>,
    meta: ObjectMeta,
    spec: PodSpec,
    hostname: Option<String>,
}

/// The label that ties a plan to its owner while scheduling; it never leaves this module's plans by other means.
const OWNER_ANNOTATION: &str = "lab.skein.io/owner";

impl Slot {
    fn into_plan(self, node: String) -> PodPlan {
        let mut annotations = self.meta.annotations.unwrap_or_default();
        annotations.insert(OWNER_ANNOTATION.to_owned(), self.owner);
        PodPlan {
            key: self.key,
            node,
            labels: self.meta.labels.unwrap_or_default(),
            annotations,
            host_network: self.spec.host_network.unwrap_or_default(),
            service_account: self.spec.service_account_name.clone().unwrap_or("default".into()),
            ports: container_ports(&self.spec),
            hostname: self.hostname,
        }
    }
}

/// The node with the fewest pods of this owner, then the fewest pods, then the first by position.
fn least_used(plans: &[PodPlan], owner: &str, nodes: &[String]) -> Option<String> {
    let count = |node: &String| {
        let here = || plans.iter().filter(move |p| p.node == *node);
        let own =
            here().filter(|p| p.annotations.get(OWNER_ANNOTATION).is_some_and(|o| o == owner));
        (own.count(), here().count())
    };
    nodes.iter().min_by_key(|node| count(node)).cloned()
}

fn slots(objects: &Objects, nodes: &[String], incarnations: &Incarnations) -> Vec<Slot> {
    let mut slots = Vec::new();
    for d in &objects.deployments {
        let Some(spec) = &d.spec else { continue };
        let replicas = replicas(spec.replicas);
        let owner = Owner::new("deployment", &d.metadata);
        slots.extend(owner.replicas(&spec.template, replicas, true, incarnations));
    }
    for r in &objects.replica_sets {
        let Some(spec) = &r.spec else { continue };
        let Some(template) = &spec.template else { continue };
        let owner = Owner::new("replicaset", &r.metadata);
        slots.extend(owner.replicas(template, replicas(spec.replicas), false, incarnations));
    }
    for s in &objects.stateful_sets {
        let Some(spec) = &s.spec else { continue };
        let owner = Owner::new("statefulset", &s.metadata);
        slots.extend((0..replicas(spec.replicas)).map(|i| owner.ordinal(&spec.template, i)));
    }
    for d in &objects.daemon_sets {
        let Some(spec) = &d.spec else { continue };
        let owner = Owner::new("daemonset", &d.metadata);
        slots.extend(nodes.iter().map(|node| owner.on_node(&spec.template, node, incarnations)));
    }
    slots.extend(objects.pods.iter().filter_map(standalone));
    slots
}

/// Kubernetes' default is one; a negative count is refused by its API and means none here.
fn replicas(count: Option<i32>) -> u32 {
    u32::try_from(count.unwrap_or(1)).unwrap_or(0)
}

fn namespace_of(meta: &ObjectMeta) -> String {
    meta.namespace.clone().unwrap_or_else(|| "default".to_owned())
}

fn standalone(pod: &Pod) -> Option<Slot> {
    let key = PodKey { namespace: namespace_of(&pod.metadata), name: pod.metadata.name.clone()? };
    let spec = pod.spec.clone()?;
    Some(Slot {
        owner: format!("pod/{key}"),
        key,
        node: spec.node_name.clone(),
        meta: pod.metadata.clone(),
        hostname: spec.hostname.clone(),
        spec,
    })
}

struct Owner {
    kind: &'static str,
    namespace: String,
    name: String,
}

impl Owner {
    fn new(kind: &'static str, meta: &ObjectMeta) -> Self {
        Self { kind, namespace: namespace_of(meta), name: meta.name.clone().unwrap_or_default() }
    }

    fn id(&self) -> String {
        format!("{}/{}/{}", self.kind, self.namespace, self.name)
    }

    fn replicas<'a>(
        &'a self,
        template: &'a PodTemplateSpec,
        count: u32,
        hashed: bool,
        incarnations: &'a Incarnations,
    ) -> impl Iterator<Item = Slot> + 'a {
        let hash = short_hash(&serde_json::to_string(template).unwrap_or_default(), 9);
        (0..count).map(move |index| {
            let slot = format!("{}/{index}", self.id());
            let times = incarnations.get(&slot).copied().unwrap_or_default();
            let suffix = short_hash(&format!("{slot}/{hash}/{times}"), 5);
            let name = if hashed {
                format!("{}-{hash}-{suffix}", self.name)
            } else {
                format!("{}-{suffix}", self.name)
            };
            let mut made = self.slot(template, name, slot);
            if hashed {
                let labels = made.meta.labels.get_or_insert_default();
                labels.insert("pod-template-hash".to_owned(), hash.clone());
            }
            made
        })
    }

    fn ordinal(&self, template: &PodTemplateSpec, index: u32) -> Slot {
        let name = format!("{}-{index}", self.name);
        let mut slot = self.slot(template, name.clone(), format!("{}/{index}", self.id()));
        let labels = slot.meta.labels.get_or_insert_default();
        labels.insert("statefulset.kubernetes.io/pod-name".to_owned(), name.clone());
        slot.hostname = Some(name);
        slot
    }

    fn on_node(&self, template: &PodTemplateSpec, node: &str, times: &Incarnations) -> Slot {
        let id = format!("{}/{node}", self.id());
        let times = times.get(&id).copied().unwrap_or_default();
        let name = format!("{}-{}", self.name, short_hash(&format!("{id}/{times}"), 5));
        let mut slot = self.slot(template, name, id);
        slot.node = Some(node.to_owned());
        slot
    }

    fn slot(&self, template: &PodTemplateSpec, name: String, slot: String) -> Slot {
        let spec = template.spec.clone().unwrap_or_default();
        Slot {
            owner: slot,
            key: PodKey { namespace: self.namespace.clone(), name },
            node: spec.node_name.clone(),
            meta: template.metadata.clone().unwrap_or_default(),
            hostname: None,
            spec,
        }
    }
}

impl PodPlan {
    /// The workload's slot this pod fills; deleting the pod makes the slot's next incarnation.
    #[must_use]
    pub fn slot(&self) -> &str {
        self.annotations.get(OWNER_ANNOTATION).map_or("", String::as_str)
    }
}

fn container_ports(spec: &PodSpec) -> BTreeSet<PodPort> {
    let ports = spec.containers.iter().flat_map(|c| c.ports.iter().flatten());
    ports
        .filter_map(|p| {
            let port = u16::try_from(p.container_port).ok().filter(|port| *port > 0)?;
            let protocol = protocol(p.protocol.as_deref())?;
            Some(PodPort { name: p.name.clone(), port, protocol })
        })
        .collect()
}

/// The protocol of a port; absent means TCP, anything else than TCP and UDP is none of ours.
#[must_use]
pub fn protocol(name: Option<&str>) -> Option<Protocol> {
    match name.unwrap_or("TCP") {
        "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        _ => None,
    }
}

/// Letters and digits Kubernetes uses in generated names (apimachinery's `rand.SafeEncodeString`): no vowels.
const NAME_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A stable short name for a text (FNV-1a, 64 bits, in the alphabet of generated names).
#[must_use]
pub fn short_hash(text: &str, length: usize) -> String {
    let mut hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    // FNV's low bits mix better than its high ones for short texts; fold them.
    hash ^= hash >> 29;
    let base = NAME_ALPHABET.len() as u64;
    (0..length)
        .map(|_| {
            let digit = NAME_ALPHABET[(hash % base) as usize];
            hash /= base;
            char::from(digit)
        })
        .collect()
}

/// Whether `service` selects a pod with these labels. A service without selector selects nothing.
#[must_use]
pub fn selects(service: &Service, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
    let Some(spec) = &service.spec else { return false };
    let Some(selector) = spec.selector.as_ref().filter(|s| !s.is_empty()) else { return false };
    namespace_of(&service.metadata) == namespace
        && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// Where a service port leads on this pod: the number, or the pod's port of that name and protocol.
#[must_use]
pub fn target_port(
    port: &k8s_openapi::api::core::v1::ServicePort,
    pod: &PodPlan,
) -> Option<PodPort> {
    let protocol = protocol(port.protocol.as_deref())?;
    let number = match &port.target_port {
        None => u16::try_from(port.port).ok()?,
        Some(IntOrString::Int(0)) => u16::try_from(port.port).ok()?,
        Some(IntOrString::Int(number)) => u16::try_from(*number).ok()?,
        Some(IntOrString::String(name)) => named(name, protocol, pod)?,
    };
    Some(PodPort { name: port.name.clone(), port: number, protocol })
}

fn named(name: &str, protocol: Protocol, pod: &PodPlan) -> Option<u16> {
    let found =
        pod.ports.iter().find(|p| p.name.as_deref() == Some(name) && p.protocol == protocol);
    // Some charts write numbers as text.
    found.map(|p| p.port).or_else(|| name.parse().ok())
}

/// Everything the pod's server must listen on: its container ports and the target ports of services selecting it.
#[must_use]
pub fn listening_ports(pod: &PodPlan, services: &[Service]) -> BTreeSet<(Protocol, u16)> {
    let own = pod.ports.iter().map(|p| (p.protocol, p.port));
    let targets = services
        .iter()
        .filter(|s| selects(s, &pod.key.namespace, &pod.labels))
        .flat_map(|s| s.spec.iter().flat_map(|spec| spec.ports.iter().flatten()))
        .filter_map(|port| target_port(port, pod))
        .map(|p| (p.protocol, p.port));
    own.chain(targets).collect()
}

#[cfg(test)]
mod tests;
