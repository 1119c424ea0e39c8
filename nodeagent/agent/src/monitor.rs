//! Live events of the datapath: read once here, given to every caller who wants them.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aya::maps::{Map, MapData, RingBuf};
use serde::{Deserialize, Serialize};
use skein_bpf_abi::event::EventKind;
use skein_bpf_abi::{Direction, Event, Outcome, Reason};
use skein_nodeagent_core::types::Proto;
use tokio::io::unix::AsyncFd;

use crate::convert::{addr_of, port_of};
use crate::node::{Datapath, Node};

/// Between looks at the events of a datapath in memory.
const MEMORY_POLL: Duration = Duration::from_millis(50);
/// Wait before the ring is opened again after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// An event as people and programs read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// `drop`, `trace` or `socket`.
    pub kind: String,
    /// Nanoseconds of the node's monotonic clock.
    pub timestamp_ns: u64,
    /// Why.
    pub reason: String,
    /// Where.
    pub direction: String,
    /// Protocol.
    pub proto: String,
    /// Source.
    pub src: Ipv4Addr,
    /// Source port.
    pub src_port: u16,
    /// Destination.
    pub dst: Ipv4Addr,
    /// Destination port.
    pub dst_port: u16,
    /// Where it went after translation.
    pub nat: Option<String>,
    /// Identity of the sender.
    pub src_identity: u32,
    /// Identity of the receiver.
    pub dst_identity: u32,
    /// Pod of this node that is concerned.
    pub endpoint: Option<String>,
    /// Device whose hook saw the packet.
    pub ifindex: u32,
    /// TCP flags byte.
    pub tcp_flags: u8,
    /// Bytes.
    pub length: u32,
}

/// Whether an event tells of something that did not get through.
pub fn is_loss(event: &Event) -> bool {
    let outcome = Reason::from_u8(event.reason).map(Reason::outcome);
    matches!(outcome, Some(Outcome::Drop | Outcome::Refuse))
        || EventKind::from_u8(event.kind) == Some(EventKind::Drop)
}

/// Turns an event into words.
pub fn show(node: &Node, event: &Event) -> Shown {
    let name = |text: Option<&'static str>, number: u8| {
        text.map_or_else(|| format!("unknown ({number})"), str::to_owned)
    };
    let engine = node.engine();
    let concerned = engine.endpoints().iter().find(|e| e.id == event.endpoint_id);
    let endpoint = concerned.filter(|_| event.endpoint_id != 0);
    let nat = (event.nat_be != 0)
        .then(|| format!("{}:{}", addr_of(event.nat_be), port_of(event.nat_port_be)));
    Shown {
        kind: name(EventKind::from_u8(event.kind).map(EventKind::name), event.kind),
        timestamp_ns: event.timestamp_ns,
        reason: name(Reason::from_u8(event.reason).map(Reason::name), event.reason),
        direction: name(Direction::from_u8(event.direction).map(Direction::name), event.direction),
        proto: match event.proto {
            skein_bpf_abi::proto::ICMP => "ICMP".to_owned(),
            proto => Proto(proto).name(),
        },
        src: addr_of(event.src_be),
        src_port: port_of(event.src_port_be),
        dst: addr_of(event.dst_be),
        dst_port: port_of(event.dst_port_be),
        nat,
        src_identity: event.src_identity,
        dst_identity: event.dst_identity,
        endpoint: endpoint.map(skein_nodeagent_core::endpoint::Endpoint::owner),
        ifindex: event.ifindex,
        tcp_flags: event.tcp_flags,
        length: event.length,
    }
}

/// Reads events for ever.
pub async fn read(node: Arc<Node>) {
    loop {
        match node.datapath() {
            None => {
                let ready = |engine: &crate::engine::Engine| engine.progress().datapath_ready;
                node.wait(RETRY, ready).await;
            }
            Some(Datapath::Memory(memory)) => {
                for event in memory.take_events() {
                    // Nobody listening is fine.
                    let _ = node.events.send(Arc::new(event));
                }
                tokio::time::sleep(MEMORY_POLL).await;
            }
            Some(Datapath::Kernel(kernel)) => {
                let pin = kernel.maps().events_pin().to_owned();
                if let Err(error) = read_ring(&node, &pin).await {
                    tracing::warn!(%error, "cannot read events");
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn read_ring(node: &Node, pin: &Path) -> std::io::Result<()> {
    let opened = MapData::from_pin(pin).and_then(Map::from_map_data);
    let ring = opened.and_then(RingBuf::try_from).map_err(std::io::Error::other)?;
    // SAFETY: the ring owns its descriptor and neither closes nor exchanges it while it lives.
    let mut ring = unsafe { AsyncFd::register(ring) }.map_err(std::io::Error::other)?;
    loop {
        let mut guard = ring.readable_mut().await?;
        while let Some(item) = guard.get_inner_mut().next() {
            if let Ok(raw) = <[u8; Event::SIZE]>::try_from(&item[..]) {
                let _ = node.events.send(Arc::new(Event::from_bytes(raw)));
            }
        }
        guard.clear_ready();
    }
}
