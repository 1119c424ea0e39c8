//! Listings of what the store says of the cluster. Each reads what it needs at one revision.

use std::collections::BTreeMap;

use serde::Serialize;
use skein_store_client::{KeyRange, Session};
use skein_store_schema::kinds::{
    block::BlockKey,
    identity::IdentityKey,
    ip::IpKey,
    node::NodeKey,
    node_report::AGENTS_PREFIX,
    pod::PodKey,
    pool::PoolKey,
    service::{ServiceKey, ServicePort, TargetPort},
    slice::SliceKey,
};
use skein_store_schema::{Namespace, StoreKey};

use super::status;
use crate::args::Format;
use crate::output::{self, Row};
use crate::overview::{self, PoolLine};
use crate::view::{Backends, View, type_name};

pub(crate) async fn nodes(session: &Session, format: Format) -> anyhow::Result<()> {
    let agents = KeyRange::prefix(AGENTS_PREFIX);
    let view = View::read(session, &[NodeKey::range(), BlockKey::range(), agents]).await?;
    let lines = overview::node_lines(&view, status::now_unix_ms());
    Ok(output::listing(format, view.revision, &lines)?)
}

#[derive(Debug, Serialize)]
struct PodLine {
    namespace: String,
    name: String,
    node: String,
    ip: Option<String>,
    identity: u32,
    labels: String,
}

impl Row for PodLine {
    const HEADERS: &'static [&'static str] =
        &["NAMESPACE", "NAME", "NODE", "IP", "IDENTITY", "LABELS"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.namespace.clone(),
            self.name.clone(),
            self.node.clone(),
            self.ip.clone().unwrap_or_default(),
            self.identity.to_string(),
            self.labels.clone(),
        ]
    }
}

pub(crate) async fn pods(
    session: &Session,
    format: Format,
    namespace: Option<&Namespace>,
) -> anyhow::Result<()> {
    let view = View::read(session, &[PodKey::range(), KeyRange::prefix(AGENTS_PREFIX)]).await?;
    let addresses: BTreeMap<_, _> = view
        .endpoints
        .iter()
        .map(|(key, report)| ((&key.node, &report.namespace, &report.pod), key.ip))
        .collect();
    let wanted = |key: &PodKey| namespace.is_none_or(|namespace| key.namespace == *namespace);
    let lines: Vec<_> = view
        .pods
        .iter()
        .filter(|(key, _)| wanted(key))
        .map(|(key, pod)| PodLine {
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
            node: key.node.to_string(),
            ip: addresses.get(&(&key.node, &key.namespace, &key.name)).map(ToString::to_string),
            identity: pod.identity.get(),
            labels: pod
                .labels
                .iter()
                .map(|(k, v)| format!("{k}={v}"))
                .collect::<Vec<_>>()
                .join(" "),
        })
        .collect();
    Ok(output::listing(format, view.revision, &lines)?)
}

#[derive(Debug, Serialize)]
struct ServiceLine {
    namespace: String,
    name: String,
    r#type: &'static str,
    cluster_ips: Vec<String>,
    ports: Vec<String>,
    backends_ready: usize,
    backends: usize,
}

impl Row for ServiceLine {
    const HEADERS: &'static [&'static str] =
        &["NAMESPACE", "NAME", "TYPE", "CLUSTER-IP", "PORTS", "READY"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.namespace.clone(),
            self.name.clone(),
            self.r#type.to_owned(),
            self.cluster_ips.join(" "),
            self.ports.join(" "),
            format!("{}/{}", self.backends_ready, self.backends),
        ]
    }
}

/// `80->8080/TCP`, or `80/TCP` when both are the same.
fn port_words(port: &ServicePort) -> String {
    let protocol = port.protocol;
    match &port.target_port {
        TargetPort::Number(target) if *target == port.port => format!("{}/{protocol}", port.port),
        TargetPort::Number(target) => format!("{}->{target}/{protocol}", port.port),
        TargetPort::Name(target) => format!("{}->{target}/{protocol}", port.port),
    }
}

pub(crate) async fn services(
    session: &Session,
    format: Format,
    namespace: Option<&Namespace>,
) -> anyhow::Result<()> {
    let ranges = match namespace {
        Some(namespace) => {
            vec![ServiceKey::namespace_range(namespace), SliceKey::namespace_range(namespace)]
        }
        None => vec![ServiceKey::range(), SliceKey::range()],
    };
    let view = View::read(session, &ranges).await?;
    let backends = view.backends();
    let line = |(key, service): (&ServiceKey, &std::sync::Arc<_>)| {
        let service: &skein_store_schema::kinds::service::Service = service;
        let Backends { ready, all } = backends.get(key).copied().unwrap_or_default();
        ServiceLine {
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
            r#type: type_name(service.kind, service.headless),
            cluster_ips: service.cluster_ips.iter().map(ToString::to_string).collect(),
            ports: service.ports.iter().map(port_words).collect(),
            backends_ready: ready,
            backends: all,
        }
    };
    let lines: Vec<_> = view.services.iter().map(line).collect();
    Ok(output::listing(format, view.revision, &lines)?)
}

#[derive(Debug, Serialize)]
struct IdentityLine {
    id: u32,
    labels: Vec<String>,
}

impl Row for IdentityLine {
    const HEADERS: &'static [&'static str] = &["IDENTITY", "LABELS"];

    fn cells(&self) -> Vec<String> {
        vec![self.id.to_string(), self.labels.join(" ")]
    }
}

pub(crate) async fn identities(session: &Session, format: Format) -> anyhow::Result<()> {
    let view = View::read(session, &[IdentityKey::range()]).await?;
    let lines: Vec<_> = view
        .identities
        .iter()
        .map(|(key, labels)| IdentityLine {
            id: key.id.get(),
            labels: labels.iter().map(|(k, l)| format!("{}:{k}={}", l.source, l.value)).collect(),
        })
        .collect();
    Ok(output::listing(format, view.revision, &lines)?)
}

#[derive(Debug, Serialize)]
struct IpLine {
    ip: String,
    identity: u32,
    tunnel_endpoint: Option<String>,
    pod: String,
    labels: String,
}

impl Row for IpLine {
    const HEADERS: &'static [&'static str] = &["IP", "IDENTITY", "TUNNEL TO", "POD", "LABELS"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.ip.clone(),
            self.identity.to_string(),
            self.tunnel_endpoint.clone().unwrap_or_default(),
            self.pod.clone(),
            self.labels.clone(),
        ]
    }
}

pub(crate) async fn ipcache(session: &Session, format: Format) -> anyhow::Result<()> {
    let view = View::read(session, &[IpKey::range(), IdentityKey::range()]).await?;
    let lines: Vec<_> = view
        .ips
        .iter()
        .map(|(key, pair)| IpLine {
            ip: key.ip.to_string(),
            identity: pair.id.get(),
            tunnel_endpoint: pair.host_ip.map(|ip| ip.to_string()),
            pod: match pair.k8s_pod_name.as_str() {
                "" => String::new(),
                pod => format!("{}/{pod}", pair.k8s_namespace),
            },
            labels: view.identity_words(pair.id),
        })
        .collect();
    Ok(output::listing(format, view.revision, &lines)?)
}

#[derive(Debug, Serialize)]
struct BlockLine {
    pool: String,
    block: String,
    node: String,
    addresses_used: u64,
    addresses_total: u64,
}

impl Row for BlockLine {
    const HEADERS: &'static [&'static str] = &["POOL", "BLOCK", "NODE", "ADDRESSES"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.pool.clone(),
            self.block.clone(),
            self.node.clone(),
            format!("{}/{} allocated", self.addresses_used, self.addresses_total),
        ]
    }
}

impl Row for PoolLine {
    const HEADERS: &'static [&'static str] = &["POOL", "CIDRS", "BLOCKS OF", "BLOCKS", "ADDRESSES"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.pool.clone(),
            self.cidrs.join(" "),
            format!("/{}", self.mask_size),
            format!("{}/{} claimed", self.blocks_used, self.blocks_total),
            format!("{}/{} allocated", self.addresses_used, self.addresses_total),
        ]
    }
}

#[derive(Debug, Serialize)]
struct Ipam {
    revision: i64,
    pools: Vec<PoolLine>,
    blocks: Vec<BlockLine>,
}

pub(crate) async fn ipam(session: &Session, format: Format) -> anyhow::Result<()> {
    let agents = KeyRange::prefix(AGENTS_PREFIX);
    let view = View::read(session, &[PoolKey::range(), BlockKey::range(), agents]).await?;
    let line = |(key, block): (&BlockKey, &std::sync::Arc<_>)| {
        let block: &skein_store_schema::kinds::block::Block = block;
        let (addresses_used, addresses_total) = view.block_usage(&block.node, &key.cidr);
        BlockLine {
            pool: key.pool.to_string(),
            block: key.cidr.to_string(),
            node: block.node.to_string(),
            addresses_used,
            addresses_total,
        }
    };
    let blocks: Vec<_> = view.blocks.iter().map(line).collect();
    let pools = overview::pool_lines(&view);
    match format {
        Format::Json => output::json(&Ipam { revision: view.revision, pools, blocks })?,
        Format::Table => {
            output::text(&output::table(&pools))?;
            output::text("\n")?;
            output::listing(format, view.revision, &blocks)?;
        }
    }
    Ok(())
}
