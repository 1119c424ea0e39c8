//! The Kubernetes objects the lab writes: nodes and pods as a kubelet does, slices as the endpoint controller does. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use crate::workload::{PodPlan, Protocol, selects, target_port};

/// Kubernetes' own bound of endpoints in one slice.
const SLICE_ENDPOINTS_MAX: usize = 100;

/// What the kubelet knows of a pod beyond its plan.
#[derive(Clone, Debug)]
pub struct PodFacts<'a> {
    /// The plan it runs by.
    pub plan: &'a PodPlan,
    /// Its unique id.
    pub uid: &'a str,
    /// Its address, once the CNI plugin gave one.
    pub ip: Option<Ipv4Addr>,
    /// Address of its node.
    pub host_ip: Ipv4Addr,
    /// Whether it takes traffic.
    pub ready: bool,
    /// Whether it is being shut down.
    pub terminating: bool,
}

/// A Node object.
#[must_use]
pub fn node(name: &str, ip: Ipv4Addr) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}},
        "spec": {},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": ip.to_string()},
                {"type": "Hostname", "address": name},
            ],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    })
}

/// A Pod object with its status.
#[must_use]
pub fn pod(facts: &PodFacts<'_>) -> Value {
    let plan = facts.plan;
    let ports: Vec<Value> = plan
        .ports
        .iter()
        .map(|p| json!({"name": p.name, "containerPort": p.port, "protocol": p.protocol}))
        .collect();
    let ready = if facts.ready { "True" } else { "False" };
    let mut status = json!({
        "phase": if facts.ip.is_some() { "Running" } else { "Pending" },
        "hostIP": facts.host_ip.to_string(),
        "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": ready}],
    });
    if let Some(ip) = facts.ip {
        status["podIP"] = json!(ip.to_string());
        status["podIPs"] = json!([{"ip": ip.to_string()}]);
    }
    let mut object = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "namespace": plan.key.namespace, "name": plan.key.name, "uid": facts.uid,
            "labels": plan.labels,
        },
        "spec": {
            "nodeName": plan.node,
            "serviceAccountName": plan.service_account,
            "hostNetwork": plan.host_network,
            "containers": [{"name": "main", "image": "skein-lab/echo", "ports": ports}],
        },
        "status": status,
    });
    if let Some(hostname) = &plan.hostname {
        object["spec"]["hostname"] = json!(hostname);
    }
    if facts.terminating {
        object["metadata"]["deletionTimestamp"] = json!("2020-01-01T00:00:00Z");
    }
    object
}

/// The endpoint slices of a service with a selector, by name. Pods whose named target port resolves to different
/// numbers go to different slices, as Kubernetes does it; a service that selects no pod gets one empty slice.
#[must_use]
pub fn slices(service: &Service, pods: &[PodFacts<'_>]) -> BTreeMap<String, Value> {
    let mut out = BTreeMap::new();
    let Some(spec) = &service.spec else { return out };
    let selector = spec.selector.as_ref().is_some_and(|s| !s.is_empty());
    if !selector || spec.type_.as_deref() == Some("ExternalName") {
        return out;
    }
    let namespace = service.metadata.namespace.as_deref().unwrap_or("default");
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let mut groups: BTreeMap<Vec<SlicePort>, Vec<Value>> = BTreeMap::new();
    for pod in pods.iter().filter(|p| selects(service, &p.plan.key.namespace, &p.plan.labels)) {
        if let Some(endpoint) = endpoint(pod) {
            groups.entry(slice_ports(service, pod.plan)).or_default().push(endpoint);
        }
    }
    if groups.is_empty() {
        groups.insert(Vec::new(), Vec::new());
    }
    let chunks = groups.iter().flat_map(|(ports, endpoints)| {
        let parts: Vec<&[Value]> = if endpoints.is_empty() {
            vec![&[]]
        } else {
            endpoints.chunks(SLICE_ENDPOINTS_MAX).collect()
        };
        parts.into_iter().map(move |part| (ports, part))
    });
    for (index, (ports, endpoints)) in chunks.enumerate() {
        let slice_name = format!("{name}-{index}");
        out.insert(slice_name.clone(), slice(namespace, name, &slice_name, ports, endpoints));
    }
    out
}

type SlicePort = (Option<String>, u16, Protocol);

fn slice_ports(service: &Service, pod: &PodPlan) -> Vec<SlicePort> {
    let ports = service.spec.iter().flat_map(|s| s.ports.iter().flatten());
    let set: BTreeSet<SlicePort> =
        ports.filter_map(|p| target_port(p, pod)).map(|p| (p.name, p.port, p.protocol)).collect();
    set.into_iter().collect()
}

fn endpoint(pod: &PodFacts<'_>) -> Option<Value> {
    let ip = pod.ip?;
    let serving = pod.ready;
    Some(json!({
        "addresses": [ip.to_string()],
        "conditions": {
            "ready": serving && !pod.terminating, "serving": serving, "terminating": pod.terminating,
        },
        "nodeName": pod.plan.node,
        "hostname": pod.plan.hostname,
        "targetRef": {
            "kind": "Pod", "namespace": pod.plan.key.namespace, "name": pod.plan.key.name, "uid": pod.uid,
        },
    }))
}

fn slice(
    namespace: &str,
    service: &str,
    name: &str,
    ports: &[SlicePort],
    endpoints: &[Value],
) -> Value {
    let ports: Vec<Value> = ports
        .iter()
        .map(|(name, port, protocol)| {
            json!({"name": name.clone().unwrap_or_default(), "port": port, "protocol": protocol})
        })
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "namespace": namespace, "name": name,
            "labels": {
                "kubernetes.io/service-name": service,
                "endpointslice.kubernetes.io/managed-by": "skein-lab",
            },
        },
        "addressType": "IPv4",
        "ports": ports,
        "endpoints": endpoints,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{PodKey, PodPort};

    fn service(text: &str) -> Service {
        serde_saphyr::from_str(text).unwrap()
    }

    fn plan(name: &str, http: u16) -> PodPlan {
        PodPlan {
            key: PodKey { namespace: "shop".into(), name: name.into() },
            node: "node1".into(),
            labels: BTreeMap::from([("app".into(), "web".into())]),
            annotations: BTreeMap::new(),
            host_network: false,
            service_account: "default".into(),
            ports: BTreeSet::from([PodPort {
                name: Some("http".into()),
                port: http,
                protocol: Protocol::Tcp,
            }]),
            hostname: None,
        }
    }

    fn facts(plan: &PodPlan, last: u8) -> PodFacts<'_> {
        PodFacts {
            plan,
            uid: "u",
            ip: Some(Ipv4Addr::new(10, 244, 0, last)),
            host_ip: Ipv4Addr::new(172, 31, 77, 11),
            ready: true,
            terminating: false,
        }
    }

    const WEB: &str = "metadata: {name: web, namespace: shop}\n\
        spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}";

    #[test]
    fn pods_that_resolve_a_named_port_differently_are_in_different_slices() {
        let (a, b) = (plan("a", 8080), plan("b", 9090));
        let slices = slices(&service(WEB), &[facts(&a, 2), facts(&b, 3)]);
        assert_eq!(slices.len(), 2);
        assert_eq!(slices["web-0"]["ports"][0]["port"], 8080);
        assert_eq!(slices["web-1"]["ports"][0]["port"], 9090);
        assert_eq!(slices["web-1"]["endpoints"][0]["addresses"][0], "10.244.0.3");
    }

    #[test]
    fn a_service_does_not_select_pods_of_another_namespace() {
        let a = plan("a", 8080);
        let elsewhere = WEB.replace("shop", "depot");
        let slices = slices(&service(&elsewhere), &[facts(&a, 2)]);
        assert_eq!(slices["web-0"]["endpoints"], json!([]));
    }

    #[test]
    fn a_service_that_selects_nothing_has_one_empty_slice_and_one_without_selector_none() {
        let empty = slices(&service(WEB), &[]);
        assert_eq!(empty["web-0"]["endpoints"], json!([]));
        let bare = "metadata: {name: ext, namespace: shop}\nspec: {ports: [{port: 80}]}";
        assert!(slices(&service(bare), &[]).is_empty());
    }

    #[test]
    fn a_terminating_pod_serves_but_is_not_ready() {
        let a = plan("a", 8080);
        let mut pod = facts(&a, 2);
        pod.terminating = true;
        let slices = slices(&service(WEB), &[pod]);
        let conditions = &slices["web-0"]["endpoints"][0]["conditions"];
        assert_eq!(conditions["ready"], false);
        assert_eq!(conditions["serving"], true);
        assert_eq!(conditions["terminating"], true);
    }
}
