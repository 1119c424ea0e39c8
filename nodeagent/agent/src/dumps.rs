//! What the maps hold, as rows for `bpf … list`: read from the maps themselves, not from the
//! engine's idea of them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use skein_bpf_abi::maps::conntrack::{self, Ct, CtKey};
use skein_bpf_abi::maps::metrics::index;
use skein_bpf_abi::{Direction, Reason};
use skein_nodeagent_core::types::{Frontend, ObjectName, Proto, Slot};

use crate::convert::{Addresses, Backends, Frontends, LocalPods, Ranges, Slots, addr_of, port_of};
use crate::engine::Engine;
use crate::maps::{MapError, Maps, read};
use crate::metrics::outcome_name;

/// A frontend with its backends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LbRow {
    /// `address:port/protocol`.
    pub frontend: String,
    /// Namespace and name of the service, if the agent knows it.
    pub service: Option<String>,
    /// Id of the list; 0 in a VIP's wildcard.
    pub service_id: u32,
    /// `address:port (id)` in order of slots.
    pub backends: Vec<String>,
}

/// A tracked flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CtRow {
    /// `forward` or `reply`.
    pub kind: String,
    /// Protocol.
    pub proto: String,
    /// `source -> destination`, before translation.
    pub tuple: String,
    /// What the destination (forward) or the source (reply) becomes.
    pub nat: String,
    /// Flags in words.
    pub flags: Vec<String>,
    /// Service and backend ids.
    pub service_id: u32,
    /// Backend id.
    pub backend_id: u32,
}

/// An address or range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpcacheRow {
    /// Address or CIDR.
    pub prefix: String,
    /// Security identity.
    pub identity: u32,
    /// Node to tunnel to.
    pub tunnel: Option<Ipv4Addr>,
    /// A node's own address.
    pub is_node: bool,
}

/// A counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricRow {
    /// Reason.
    pub reason: String,
    /// `forward`, `refuse`, `drop` or `note`.
    pub outcome: String,
    /// Where it was counted.
    pub direction: String,
    /// Packets or calls.
    pub packets: u64,
    /// Bytes with Ethernet headers.
    pub bytes: u64,
}

/// A pod of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRow {
    /// Address.
    pub ip: Ipv4Addr,
    /// Number on this node.
    pub endpoint_id: u32,
    /// Security identity.
    pub identity: u32,
    /// Index of the host-side device.
    pub ifindex: u32,
    /// Name of the host-side device.
    pub device: Option<String>,
    /// MAC in the pod.
    pub mac: String,
    /// Pod, or container.
    pub owner: Option<String>,
}

/// Service addresses with their backends.
pub fn lb(maps: &dyn Maps, engine: &Engine) -> Result<Vec<LbRow>, MapError> {
    let frontends: BTreeMap<Frontend, _> = read::<Frontends>(maps)?.into_iter().collect();
    let slots: BTreeMap<Slot, u32> = read::<Slots>(maps)?.into_iter().collect();
    let backends: BTreeMap<u32, _> = read::<Backends>(maps)?.into_iter().collect();
    let backend = |slot: Slot| match slots.get(&slot).map(|id| (id, backends.get(id))) {
        Some((id, Some(b))) => format!("{}:{} ({id})", b.addr, b.port),
        Some((id, None)) => format!("missing ({id})"),
        None => "no slot".to_owned(),
    };
    let row = |(key, value): (Frontend, skein_nodeagent_core::types::FrontendValue)| LbRow {
        frontend: frontend_text(&key),
        service: engine.calc().balancer.owner(&key).map(ObjectName::to_string),
        service_id: value.service,
        backends: (0..value.count)
            .map(|index| backend(Slot { service: value.service, index }))
            .collect(),
    };
    Ok(frontends.into_iter().map(row).collect())
}

fn frontend_text(key: &Frontend) -> String {
    match key.is_wildcard() {
        true => format!("{}:*/ANY", key.addr),
        false => format!("{}:{}/{}", key.addr, key.port, key.proto.name()),
    }
}

/// Tracked service flows.
pub fn ct(maps: &dyn Maps) -> Result<Vec<CtRow>, MapError> {
    let decode = |(key, value): (Vec<u8>, Vec<u8>)| {
        let key = CtKey::from_bytes(key.as_slice().try_into().ok()?);
        Some(ct_row(&key, &Ct::from_bytes(value.as_slice().try_into().ok()?)))
    };
    let mut rows: Vec<CtRow> =
        maps.dump(&conntrack::SPEC)?.into_iter().filter_map(decode).collect();
    rows.sort_by(|a, b| (&a.kind, &a.tuple).cmp(&(&b.kind, &b.tuple)));
    Ok(rows)
}

fn ct_row(key: &CtKey, value: &Ct) -> CtRow {
    let end = |addr, port| format!("{}:{}", addr_of(addr), port_of(port));
    let names = [
        (conntrack::FLAG_ESTABLISHED, "established"),
        (conntrack::FLAG_CLIENT_FIN, "client-fin"),
        (conntrack::FLAG_BACKEND_FIN, "backend-fin"),
        (conntrack::FLAG_RST, "rst"),
        (conntrack::FLAG_HAIRPIN, "hairpin"),
    ];
    let set = names.iter().filter(|(bit, _)| value.flags & bit != 0);
    CtRow {
        kind: if key.kind == conntrack::KIND_REPLY { "reply" } else { "forward" }.to_owned(),
        proto: Proto(key.proto).name(),
        tuple: format!(
            "{} -> {}",
            end(key.src_be, key.src_port_be),
            end(key.dst_be, key.dst_port_be)
        ),
        nat: end(value.nat_be, value.nat_port_be),
        flags: set.map(|(_, name)| (*name).to_owned()).collect(),
        service_id: value.service,
        backend_id: value.backend,
    }
}

/// Addresses and ranges.
pub fn ipcache(maps: &dyn Maps) -> Result<Vec<IpcacheRow>, MapError> {
    let exact: BTreeMap<_, _> = read::<Addresses>(maps)?.into_iter().collect();
    let ranges: BTreeMap<_, _> = read::<Ranges>(maps)?.into_iter().collect();
    let row = |prefix: String, entry: skein_nodeagent_core::ipcache::IpEntry| IpcacheRow {
        prefix,
        identity: entry.identity,
        tunnel: entry.tunnel,
        is_node: entry.is_node,
    };
    let exact = exact.into_iter().map(|(addr, entry)| row(addr.to_string(), entry));
    let ranges = ranges.into_iter().map(|(net, entry)| row(net.to_string(), entry));
    Ok(exact.chain(ranges).collect())
}

/// Counters that are not zero.
pub fn metrics(maps: &dyn Maps) -> Result<Vec<MetricRow>, MapError> {
    let counters = maps.counters()?;
    let mut rows = Vec::new();
    for reason in Reason::ALL {
        for direction in Direction::ALL {
            let metric = counters.get(index(*reason, *direction) as usize);
            if let Some(metric) = metric.filter(|metric| metric.packets > 0) {
                rows.push(MetricRow {
                    reason: reason.name().to_owned(),
                    outcome: outcome_name(*reason).to_owned(),
                    direction: direction.name().to_owned(),
                    packets: metric.packets,
                    bytes: metric.bytes,
                });
            }
        }
    }
    Ok(rows)
}

/// Pods of this node.
pub fn endpoints(maps: &dyn Maps, engine: &Engine) -> Result<Vec<EndpointRow>, MapError> {
    let pods: BTreeMap<_, _> = read::<LocalPods>(maps)?.into_iter().collect();
    let row = |(ip, pod): (Ipv4Addr, crate::convert::LocalPod)| {
        let known = engine.endpoints().iter().find(|endpoint| endpoint.ip == ip);
        EndpointRow {
            ip,
            endpoint_id: pod.endpoint_id,
            identity: pod.identity,
            ifindex: pod.ifindex,
            device: known.map(|endpoint| endpoint.host_ifname.clone()),
            mac: skein_store_schema::MacAddr(pod.pod_mac).to_string(),
            owner: known.map(skein_nodeagent_core::endpoint::Endpoint::owner),
        }
    };
    Ok(pods.into_iter().map(row).collect())
}
