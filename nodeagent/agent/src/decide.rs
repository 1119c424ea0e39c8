//! What would happen to a packet, with the datapath in memory.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use skein_bpf_logic::host::{Egress, Origin};
use skein_nodeagent_cni::error;
use skein_nodeagent_cni::messages::{DecideRequest, ErrorReply, Origin as From};

use crate::convert::addr_of;
use crate::memory::{MemoryDatapath, Question, Verdict};
use crate::node::{Datapath, Node};

/// A source port for callers that name none: the first of Linux' ephemeral range.
const EPHEMERAL_PORT: u16 = 32768;

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Where the packet goes: `pod` (of this node), `node` (through the tunnel), `stack`, `refused`,
    /// `dropped`.
    pub egress: String,
    /// Why, in the datapath's words.
    pub reason: String,
    /// Source from here on.
    pub src: Ipv4Addr,
    /// Source port from here on.
    pub src_port: u16,
    /// Destination from here on.
    pub dst: Ipv4Addr,
    /// Destination port from here on.
    pub dst_port: u16,
    /// Whether a service address was translated, and where: `socket` or `packet`.
    pub translated: Option<String>,
    /// Identity of the sender.
    pub src_identity: u32,
    /// Pod that gets it, `namespace/name`.
    pub pod: Option<String>,
    /// Node that it is sent to.
    pub node: Option<String>,
    /// Address of that node.
    pub node_ip: Option<Ipv4Addr>,
}

/// Decides.
pub fn decide(node: &Node, request: &DecideRequest) -> Result<Decision, ErrorReply> {
    let refuse = |message: String| ErrorReply { code: error::INVALID_CONFIG, message };
    let Some(Datapath::Memory(memory)) = node.datapath() else {
        return Err(refuse("decide needs a node with its datapath in memory".to_owned()));
    };
    let proto = match request.proto.to_ascii_lowercase().as_str() {
        "tcp" => skein_bpf_abi::proto::TCP,
        "udp" => skein_bpf_abi::proto::UDP,
        "icmp" => skein_bpf_abi::proto::ICMP,
        other => return Err(refuse(format!("protocol {other:?} is not tcp, udp or icmp"))),
    };
    let (origin, src) = origin(node, &request.from)
        .ok_or_else(|| refuse(format!("{:?} is not on this node", request.from)))?;
    let question = Question {
        origin,
        src,
        src_port: request.src_port.unwrap_or(EPHEMERAL_PORT),
        dst: request.dst,
        dst_port: request.dst_port,
        proto,
    };
    Ok(show(node, &question, memory.decide(&question)))
}

fn origin(node: &Node, from: &From) -> Option<(Origin, Ipv4Addr)> {
    let engine = node.engine();
    let pod = |endpoint: &skein_nodeagent_core::endpoint::Endpoint| {
        let ifindex = engine.ifindex(&endpoint.attachment)?;
        Some((Origin::Pod { ifindex }, endpoint.ip))
    };
    match from {
        From::Pod { namespace, name } => {
            let name =
                skein_nodeagent_core::types::ObjectName::new(namespace.as_str(), name.as_str());
            engine.endpoints().of_pod(&name).find_map(pod)
        }
        From::Ip(ip) => engine.endpoints().iter().find(|e| e.ip == *ip).and_then(pod),
        From::Host => {
            let block = engine.endpoints().ipam()?.block();
            Some((Origin::Host, skein_nodeagent_core::ipam::Ipam::router_of(block)))
        }
        From::Overlay { src, identity } => Some((Origin::Overlay { identity: *identity }, *src)),
        From::Netdev { src } => Some((Origin::Netdev, *src)),
    }
}

fn show(node: &Node, question: &Question, verdict: Verdict) -> Decision {
    let mut decision = Decision {
        egress: "refused".to_owned(),
        reason: "connection-refused".to_owned(),
        src: question.src,
        src_port: question.src_port,
        dst: question.dst,
        dst_port: question.dst_port,
        translated: None,
        src_identity: 0,
        pod: None,
        node: None,
        node_ip: None,
    };
    let Verdict::Packet { answer, at_socket } = verdict else { return decision };
    let ((src, src_port), (dst, dst_port)) = MemoryDatapath::show(&answer.tuple);
    let is_translated = (dst, dst_port) != (question.dst, question.dst_port);
    decision.translated = match (at_socket, is_translated) {
        (true, _) => Some("socket".to_owned()),
        (false, true) => Some("packet".to_owned()),
        (false, false) => None,
    };
    (decision.src, decision.src_port) = (src, src_port);
    (decision.dst, decision.dst_port) = (dst, dst_port);
    decision.reason = answer.reason.name().to_owned();
    decision.src_identity = answer.src_identity;
    let engine = node.engine();
    decision.egress = match answer.egress {
        Egress::Pod { endpoint_id, .. } => {
            let pod = engine.endpoints().iter().find(|endpoint| endpoint.id == endpoint_id);
            let pod = pod.or_else(|| engine.endpoints().iter().find(|endpoint| endpoint.ip == dst));
            decision.pod = pod.map(skein_nodeagent_core::endpoint::Endpoint::owner);
            "pod"
        }
        Egress::Node { node_be, .. } => {
            let ip = addr_of(node_be);
            let found = engine.calc().nodes().iter().find(|(_, facts)| facts.internal_ip == ip);
            decision.node = found.map(|(name, _)| name.to_string());
            decision.node_ip = Some(ip);
            "node"
        }
        Egress::Stack => {
            // Native routing: the stack's route leads to the node that has the block.
            let has = |facts: &skein_nodeagent_core::routes::NodeFacts| {
                facts.internal_ip == dst || facts.blocks.iter().any(|block| block.contains(&dst))
            };
            let found = engine.calc().nodes().iter().find(|(_, facts)| has(facts));
            decision.node = found.map(|(name, _)| name.to_string());
            decision.node_ip = found.map(|(_, facts)| facts.internal_ip);
            "stack"
        }
        Egress::Refused => "refused",
        Egress::Dropped => "dropped",
    }
    .to_owned();
    decision
}
