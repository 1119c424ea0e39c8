//! Services and EndpointSlices.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;

use k8s_openapi::api::core::v1::{
    Service as RawService, ServicePort as RawPort, ServiceSpec, ServiceStatus,
};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use skein_store_schema::kinds::service::{
    Service, ServicePort, ServiceType, TargetPort, TrafficPolicy,
};
use skein_store_schema::kinds::slice::{AddressType, PodRef, Slice, SliceEndpoint, SlicePort};
use skein_store_schema::{PortNumber, StoreValue, ValueReason};

use super::error::{At, Checked, ConvertError};
use super::workload::unicast;
use super::{name_of, namespace_of, port_number, protocol};
use crate::object::{ClusterIp, ServiceObject, SliceObject, ipv4};

/// The label by which a slice names its service.
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// Seconds of client affinity where a Service does not say, as in Kubernetes.
const AFFINITY_DEFAULT_S: i32 = 10_800;
/// A day, the most that Kubernetes takes.
const AFFINITY_MAX_S: i32 = 86_400;

pub(super) fn service(raw: RawService) -> Checked<ServiceObject> {
    let metadata = raw.metadata;
    let name = name_of(&metadata)?.parse().at("metadata.name")?;
    let namespace = namespace_of(&metadata)?;
    let spec = raw.spec.ok_or_else(|| ConvertError::new("spec", "missing"))?;
    let cluster_ip = cluster_ip(&spec)?;
    let service = match cluster_ip {
        ClusterIp::ExternalName => Service::default(),
        _ => service_value(&spec, raw.status.as_ref(), cluster_ip == ClusterIp::Headless)?,
    };
    let annotations = metadata.annotations.unwrap_or_default();
    Ok(ServiceObject {
        namespace,
        name,
        service,
        cluster_ip,
        global: is_global(&annotations),
        labels: metadata.labels.unwrap_or_default(),
        selector: spec.selector.unwrap_or_default(),
    })
}

/// Cilium's annotations, the older spelling too: a global service is shared unless it says no.
fn is_global(annotations: &BTreeMap<String, String>) -> bool {
    let read = |new: &str, old: &str| {
        let value = annotations.get(new).or_else(|| annotations.get(old));
        value.map(|v| v.eq_ignore_ascii_case("true"))
    };
    read("service.cilium.io/global", "io.cilium/global-service").unwrap_or(false)
        && read("service.cilium.io/shared", "io.cilium/shared-service").unwrap_or(true)
}

fn cluster_ip(spec: &ServiceSpec) -> Checked<ClusterIp> {
    if spec.type_.as_deref() == Some("ExternalName") {
        return Ok(ClusterIp::ExternalName);
    }
    let first = spec.cluster_ips.as_ref().and_then(|ips| ips.first());
    match spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty()).or(first.map(String::as_str)) {
        None => Ok(ClusterIp::Any),
        Some("None") => Ok(ClusterIp::Headless),
        Some(text) => {
            let ip = unicast(text.parse().at("spec.clusterIP")?, "spec.clusterIP")?;
            let ip = ipv4(ip).ok_or_else(|| ConvertError::new("spec.clusterIP", "is not IPv4"))?;
            Ok(ClusterIp::Fixed(ip))
        }
    }
}

fn service_value(
    spec: &ServiceSpec,
    status: Option<&ServiceStatus>,
    headless: bool,
) -> Checked<Service> {
    let raw_ports = spec.ports.as_deref().unwrap_or_default();
    if raw_ports.is_empty() && !headless {
        return Err(ConvertError::new("spec.ports", "missing"));
    }
    let ports = raw_ports.iter().enumerate().map(|(n, p)| service_port(n, p));
    let ingress = status.and_then(|s| s.load_balancer.as_ref()).and_then(|l| l.ingress.as_ref());
    let ingress = ingress.into_iter().flatten().filter_map(|i| i.ip.as_deref());
    let ranges = spec.load_balancer_source_ranges.iter().flatten();
    let service = Service {
        kind: service_type(spec.type_.as_deref())?,
        headless,
        cluster_ips: Vec::new(),
        external_ips: addresses(spec.external_ips.iter().flatten(), "spec.externalIPs")?,
        load_balancer_ips: addresses(ingress, "status.loadBalancer.ingress")?,
        source_ranges: ranges
            .map(|r| r.trim().parse().at("spec.loadBalancerSourceRanges"))
            .collect::<Checked<_>>()?,
        ports: ports.collect::<Checked<_>>()?,
        client_ip_affinity_s: affinity(spec)?,
        internal_traffic_policy: policy(
            spec.internal_traffic_policy.as_deref(),
            "spec.internalTrafficPolicy",
        )?,
        external_traffic_policy: policy(
            spec.external_traffic_policy.as_deref(),
            "spec.externalTrafficPolicy",
        )?,
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or_default(),
    };
    readable(service, "spec.")
}

/// What is stored must be readable by whoever reads it: the schema's own checks decide.
fn readable<V: StoreValue>(value: V, prefix: &str) -> Checked<V> {
    match V::decode(&value.encode()) {
        Ok(_) => Ok(value),
        Err(ValueReason::Field { field, problem }) => {
            Err(ConvertError::new(format!("{prefix}{field}"), problem))
        }
        Err(reason) => Err(ConvertError::new(prefix.trim_end_matches('.'), reason.to_string())),
    }
}

fn addresses(
    texts: impl IntoIterator<Item = impl AsRef<str>>,
    field: &str,
) -> Checked<Vec<IpAddr>> {
    texts.into_iter().map(|t| unicast(t.as_ref().parse().at(field)?, field)).collect()
}

fn service_type(text: Option<&str>) -> Checked<ServiceType> {
    match text {
        None | Some("ClusterIP") => Ok(ServiceType::ClusterIp),
        Some("NodePort") => Ok(ServiceType::NodePort),
        Some("LoadBalancer") => Ok(ServiceType::LoadBalancer),
        Some(other) => Err(ConvertError::new("spec.type", format!("{other:?} is no service type"))),
    }
}

fn policy(text: Option<&str>, field: &str) -> Checked<TrafficPolicy> {
    match text {
        None | Some("Cluster") => Ok(TrafficPolicy::Cluster),
        Some("Local") => Ok(TrafficPolicy::Local),
        Some(other) => Err(ConvertError::new(field, format!("{other:?} is not Cluster or Local"))),
    }
}

fn affinity(spec: &ServiceSpec) -> Checked<Option<NonZeroU32>> {
    match spec.session_affinity.as_deref() {
        None | Some("None") => return Ok(None),
        Some("ClientIP") => {}
        Some(other) => {
            let reason = format!("{other:?} is not None or ClientIP");
            return Err(ConvertError::new("spec.sessionAffinity", reason));
        }
    }
    let config = spec.session_affinity_config.as_ref().and_then(|c| c.client_ip.as_ref());
    let seconds = config.and_then(|c| c.timeout_seconds).unwrap_or(AFFINITY_DEFAULT_S);
    let valid = u32::try_from(seconds).ok().filter(|_| seconds <= AFFINITY_MAX_S);
    valid.and_then(NonZeroU32::new).map(Some).ok_or_else(|| {
        let field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
        ConvertError::new(field, format!("{seconds} is not 1 to {AFFINITY_MAX_S}"))
    })
}

fn service_port(n: usize, raw: &RawPort) -> Checked<ServicePort> {
    let field = format!("spec.ports[{n}]");
    let port = port_number(raw.port, &format!("{field}.port"))?;
    let node_port = raw.node_port.filter(|p| *p != 0);
    Ok(ServicePort {
        name: raw.name.clone().unwrap_or_default(),
        port,
        protocol: protocol(raw.protocol.as_deref(), &format!("{field}.protocol"))?,
        target_port: target_port(raw.target_port.as_ref(), port, &format!("{field}.targetPort"))?,
        node_port: node_port.map(|p| port_number(p, &format!("{field}.nodePort"))).transpose()?,
    })
}

fn target_port(raw: Option<&IntOrString>, port: PortNumber, field: &str) -> Checked<TargetPort> {
    match raw {
        // Zero and the empty name stand for "the same port", as in Kubernetes.
        None | Some(IntOrString::Int(0)) => Ok(TargetPort::Number(port)),
        Some(IntOrString::Int(number)) => port_number(*number, field).map(TargetPort::Number),
        Some(IntOrString::String(name)) if name.is_empty() => Ok(TargetPort::Number(port)),
        Some(IntOrString::String(name)) if is_port_name(name) => Ok(TargetPort::Name(name.clone())),
        Some(IntOrString::String(name)) => {
            Err(ConvertError::new(field, format!("{name:?} is not the name of a port")))
        }
    }
}

/// Up to 15 lowercase letters, digits and inner dashes, at least one letter (IANA's rule, which
/// Kubernetes applies).
fn is_port_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    name.len() <= 15
        && name.bytes().all(allowed)
        && name.bytes().any(|b| b.is_ascii_lowercase())
        && !name.starts_with('-')
        && !name.ends_with('-')
}

pub(super) fn slice(raw: EndpointSlice) -> Checked<SliceObject> {
    let name = name_of(&raw.metadata)?.parse().at("metadata.name")?;
    let namespace = namespace_of(&raw.metadata)?;
    let address_type = match raw.address_type.as_str() {
        "IPv4" => AddressType::Ipv4,
        "IPv6" => AddressType::Ipv6,
        "FQDN" => return Ok(SliceObject { namespace, name, slice: None }),
        other => {
            let reason = format!("{other:?} is not IPv4, IPv6 or FQDN");
            return Err(ConvertError::new("addressType", reason));
        }
    };
    let service = raw.metadata.labels.as_ref().and_then(|l| l.get(SERVICE_NAME_LABEL));
    let field = "metadata.labels";
    let service = service
        .ok_or_else(|| ConvertError::new(field, format!("{SERVICE_NAME_LABEL} is missing")))?
        .parse()
        .at(field)?;
    let ports = raw.ports.iter().flatten().enumerate();
    let endpoints = raw.endpoints.iter().enumerate();
    let slice = Slice {
        service,
        address_type,
        ports: ports.filter_map(|(n, p)| slice_port(n, p).transpose()).collect::<Checked<_>>()?,
        endpoints: endpoints.map(|(n, e)| endpoint(n, e)).collect::<Checked<_>>()?,
    };
    Ok(SliceObject { namespace, name, slice: Some(readable(slice, "")?) })
}

/// A port without a number stands for all ports: there is nothing to translate to.
fn slice_port(n: usize, raw: &EndpointPort) -> Checked<Option<SlicePort>> {
    let Some(port) = raw.port else { return Ok(None) };
    Ok(Some(SlicePort {
        name: raw.name.clone().unwrap_or_default(),
        port: port_number(port, &format!("ports[{n}].port"))?,
        protocol: protocol(raw.protocol.as_deref(), &format!("ports[{n}].protocol"))?,
    }))
}

fn endpoint(n: usize, raw: &Endpoint) -> Checked<SliceEndpoint> {
    let field = format!("endpoints[{n}]");
    let conditions = raw.conditions.clone().unwrap_or_default();
    let EndpointConditions { ready, serving, terminating } = conditions;
    let ready = ready.unwrap_or(true);
    let node = raw.node_name.as_deref().filter(|n| !n.is_empty());
    let target = raw.target_ref.as_ref().filter(|t| t.kind.as_deref() == Some("Pod"));
    let pod = target.and_then(|t| Some((t.name.as_deref()?, t.uid.clone().unwrap_or_default())));
    let pod_ref = |(name, uid): (&str, String)| {
        let name = name.parse().at(&format!("{field}.targetRef.name"))?;
        Ok(PodRef { name, uid })
    };
    Ok(SliceEndpoint {
        addresses: addresses(&raw.addresses, &format!("{field}.addresses"))?,
        ready,
        // Where nothing is said, serving follows ready (Kubernetes' API documentation).
        serving: serving.unwrap_or(ready),
        terminating: terminating.unwrap_or(false),
        node: node.map(str::parse).transpose().at(&format!("{field}.nodeName"))?,
        zone: raw.zone.clone().unwrap_or_default(),
        pod: pod.map(pod_ref).transpose()?,
    })
}
