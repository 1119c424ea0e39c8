//! Writing what a control plane would, straight into a store that stands alone.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result};
use etcd_client::{Client, Txn, TxnOp};
use skein_store_schema::kinds::ip::{IpIdentityPair, IpKey};
use skein_store_schema::kinds::node::{AddressKind, GoCidr, Node, NodeAddress, NodeKey};
use skein_store_schema::kinds::service::{Service, ServiceKey, ServicePort, TargetPort};
use skein_store_schema::kinds::slice::{AddressType, Slice, SliceEndpoint, SliceKey, SlicePort};
use skein_store_schema::{IdentityId, Protocol, StoreKey, StoreValue};

use crate::spec::Spec;
use crate::topology as topo;

/// etcd's default bound of operations in one transaction.
const TXN_OPS_MAX: usize = 128;
/// Backends of each service.
pub(super) const BACKENDS: u32 = 10;
/// Namespace of what is written.
const NAMESPACE: &str = "bench";
/// First identity that is free for pods (Cilium's minimal allocated identity).
const FIRST_IDENTITY: u32 = 256;
/// Identities in use: many pods share one.
const IDENTITIES: u32 = 1_000;

/// One key and value as stored.
pub(super) type Entry = (String, Vec<u8>);

/// Writes entries in transactions as large as allowed; the revision of the last.
pub(super) async fn put_all(client: &mut Client, entries: &[Entry]) -> Result<i64> {
    let mut revision = 0;
    for part in entries.chunks(TXN_OPS_MAX) {
        let ops: Vec<TxnOp> =
            part.iter().map(|(key, value)| TxnOp::put(key.as_str(), value.clone(), None)).collect();
        let answer = client.txn(Txn::new().and_then(ops)).await?;
        revision = answer.header().context("an answer without a header")?.revision();
    }
    Ok(revision)
}

/// The record and block of every node of the lab.
pub(super) fn nodes(spec: &Spec) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for (index, (name, ip)) in spec.node_addresses().into_iter().enumerate() {
        let key = NodeKey { cluster: topo::CLUSTER_NAME.parse()?, node: name.parse()? };
        let mut node = Node::new(key.cluster.clone(), key.node.clone());
        node.ip_addresses = vec![
            NodeAddress { kind: AddressKind::InternalIp, ip: ip.into() },
            NodeAddress {
                kind: AddressKind::CiliumInternalIp,
                ip: Ipv4Addr::new(10, 244, u8::try_from(index)?, 1).into(),
            },
        ];
        node.ipv4_alloc_cidr = Some(GoCidr(format!("10.244.{index}.0/24").parse()?));
        node.cluster_id = topo::CLUSTER_ID;
        entries.push((key.encode(), node.encode()));
    }
    Ok(entries)
}

/// A service with one port.
pub(super) fn service(number: u32) -> Result<Entry> {
    let key = ServiceKey { namespace: NAMESPACE.parse()?, name: format!("s{number}").parse()? };
    let port = ServicePort {
        name: "http".to_owned(),
        port: 80_u16.try_into()?,
        protocol: Protocol::Tcp,
        target_port: TargetPort::Number(8080_u16.try_into()?),
        node_port: None,
    };
    let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 96, 0, 1)) + number);
    let value =
        Service { cluster_ips: vec![address.into()], ports: vec![port], ..Service::default() };
    Ok((key.encode(), value.encode()))
}

/// The slice of that service, with these backends.
pub(super) fn slice(number: u32, backends: impl Iterator<Item = Ipv4Addr>) -> Result<Entry> {
    let key = SliceKey { namespace: NAMESPACE.parse()?, name: format!("s{number}-0").parse()? };
    let value = Slice {
        service: format!("s{number}").parse()?,
        address_type: AddressType::Ipv4,
        ports: vec![SlicePort {
            name: "http".to_owned(),
            port: 8080_u16.try_into()?,
            protocol: Protocol::Tcp,
        }],
        endpoints: backends.map(|ip| SliceEndpoint::ready_at(ip.into())).collect(),
    };
    Ok((key.encode(), value.encode()))
}

/// Address of the pod with that number, outside the lab's own pool.
pub(super) fn pod_ip(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 100, 0, 1)) + number)
}

/// The address of a pod on another node.
pub(super) fn ip(number: u32) -> Result<Entry> {
    let ip = IpAddr::V4(pod_ip(number));
    let key = IpKey { ip };
    let value = IpIdentityPair {
        ip,
        mask: None,
        host_ip: Some(topo::node_ip(2 + number % 100).into()),
        id: IdentityId::new(FIRST_IDENTITY + number % IDENTITIES).context("an identity")?,
        key: 0,
        metadata: String::new(),
        k8s_namespace: NAMESPACE.to_owned(),
        k8s_pod_name: format!("p{number}"),
        k8s_service_account: String::new(),
        named_ports: Vec::new(),
    };
    Ok((key.encode(), value.encode()))
}
