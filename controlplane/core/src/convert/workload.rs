//! Namespaces, nodes, pods.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, Namespace, Node, NodeAddress, Pod, PodSpec};
use skein_store_schema::kinds::node::{AddressKind, NodeAddress as Address};
use skein_store_schema::kinds::pod::ContainerPort;

use super::error::{At, Checked, ConvertError};
use super::{name_of, namespace_of, port_number, protocol};
use crate::object::{NamespaceObject, NodeObject, PodObject};

/// The service account that Kubernetes gives to pods that name none.
const DEFAULT_SERVICE_ACCOUNT: &str = "default";

pub(super) fn namespace(raw: Namespace) -> Checked<NamespaceObject> {
    let name = name_of(&raw.metadata)?.parse().at("metadata.name")?;
    Ok(NamespaceObject { name, labels: raw.metadata.labels.unwrap_or_default() })
}

pub(super) fn node(raw: Node) -> Checked<NodeObject> {
    let name = name_of(&raw.metadata)?.parse().at("metadata.name")?;
    let addresses = raw.status.and_then(|s| s.addresses).unwrap_or_default();
    let addresses =
        addresses.iter().enumerate().filter_map(|(n, a)| node_address(n, a).transpose());
    Ok(NodeObject {
        name,
        uid: raw.metadata.uid.unwrap_or_default(),
        labels: raw.metadata.labels.unwrap_or_default(),
        addresses: addresses.collect::<Checked<Vec<_>>>()?,
    })
}

fn node_address(n: usize, raw: &NodeAddress) -> Checked<Option<Address>> {
    let kind = match raw.type_.as_str() {
        "InternalIP" => AddressKind::InternalIp,
        "ExternalIP" => AddressKind::ExternalIp,
        _ => return Ok(None),
    };
    let ip = raw.address.parse().at(&format!("status.addresses[{n}].address"))?;
    Ok(Some(Address { kind, ip }))
}

pub(super) fn pod(raw: Pod) -> Checked<PodObject> {
    let name = name_of(&raw.metadata)?.parse().at("metadata.name")?;
    let namespace = namespace_of(&raw.metadata)?;
    let spec = raw.spec.unwrap_or_default();
    let phase = raw.status.and_then(|s| s.phase);
    let node = spec.node_name.as_deref().filter(|n| !n.is_empty());
    Ok(PodObject {
        namespace,
        name,
        uid: raw.metadata.uid.unwrap_or_default(),
        labels: checked_labels(raw.metadata.labels.unwrap_or_default())?,
        service_account: service_account(&spec),
        node: node.map(str::parse).transpose().at("spec.nodeName")?,
        host_network: spec.host_network.unwrap_or_default(),
        ports: container_ports(&spec)?,
        finished: matches!(phase.as_deref(), Some("Succeeded" | "Failed")),
    })
}

type Labels = std::collections::BTreeMap<String, String>;

/// Labels become part of an identity's text, which divides them by `;` and `=`.
fn checked_labels(labels: Labels) -> Checked<Labels> {
    let broken =
        |(key, value): &(&String, &String)| key.contains([';', '=']) || value.contains(';');
    match labels.iter().find(broken) {
        Some((key, _)) => {
            Err(ConvertError::new("metadata.labels", format!("{key:?} is not a valid label")))
        }
        None => Ok(labels),
    }
}

fn service_account(spec: &PodSpec) -> String {
    let named = spec.service_account_name.as_deref().or(spec.service_account.as_deref());
    named.filter(|n| !n.is_empty()).unwrap_or(DEFAULT_SERVICE_ACCOUNT).to_owned()
}

/// Ports of containers and of init containers that keep running beside them.
fn container_ports(spec: &PodSpec) -> Checked<Vec<ContainerPort>> {
    let mut ports = Vec::new();
    let mut add = |list: &str, n: usize, container: &Container| -> Checked<()> {
        for (m, port) in container.ports.iter().flatten().enumerate() {
            let field = format!("spec.{list}[{n}].ports[{m}]");
            let host = port.host_port.filter(|p| *p != 0);
            ports.push(ContainerPort {
                name: port.name.clone().unwrap_or_default(),
                port: port_number(port.container_port, &format!("{field}.containerPort"))?,
                protocol: protocol(port.protocol.as_deref(), &format!("{field}.protocol"))?,
                host_port: host
                    .map(|p| port_number(p, &format!("{field}.hostPort")))
                    .transpose()?,
            });
        }
        Ok(())
    };
    for (n, container) in spec.containers.iter().enumerate() {
        add("containers", n, container)?;
    }
    for (n, container) in spec.init_containers.iter().flatten().enumerate() {
        if container.restart_policy.as_deref() == Some("Always") {
            add("initContainers", n, container)?;
        }
    }
    ports.sort();
    ports.dedup();
    Ok(ports)
}

/// An address to which connections can be made.
pub(super) fn unicast(ip: IpAddr, field: &str) -> Checked<IpAddr> {
    if ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() {
        return Err(ConvertError::new(field, format!("{ip} is no address of a host")));
    }
    Ok(ip)
}
