//! Following one request from decision to decision where no packet does it: each node's agent is asked in turn.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::cluster::traffic::From;
use crate::workload::Protocol;

/// A request crosses at most two nodes; one more is a loop.
const HOPS_MAX: usize = 3;

/// Where a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// At this pod.
    Pod(String),
    /// At a node's own network stack.
    Node(String),
    /// Outside the cluster, through the sender's node.
    Outside,
    /// Refused to the sender.
    Refused,
    /// Dropped, for this reason.
    Dropped(String),
}

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// Destination.
    pub(super) ip: Ipv4Addr,
    /// Port.
    pub(super) port: u16,
    /// Protocol.
    pub(super) protocol: Protocol,
    /// Source port, by which flows differ.
    pub(super) src_port: u16,
}

/// Asks the sender's agent, then the one its decision leads to, and so on.
pub(super) fn follow(cluster: &Cluster, from: &From, asked: Asked) -> Result<End> {
    let (mut node, mut origin) = start(cluster, from)?;
    let mut asked = asked;
    for _ in 0..HOPS_MAX {
        let decision = cluster.agent(&node)?.ask(&question(&origin, asked))?;
        let next = text(&decision, "node");
        match text(&decision, "egress").as_str() {
            "pod" => return Ok(End::Pod(text(&decision, "pod"))),
            "refused" => return Ok(End::Refused),
            "dropped" => return Ok(End::Dropped(text(&decision, "reason"))),
            "stack" if next.is_empty() => return Ok(End::Outside),
            "stack" if next == node => return Ok(End::Node(next)),
            "stack" => origin = json!({"netdev": {"src": decision["src"]}}),
            "node" => {
                let (src, identity) = (&decision["src"], &decision["src_identity"]);
                origin = json!({"overlay": {"src": src, "identity": identity}});
            }
            other => bail!("an unknown decision {other:?}: {decision}"),
        }
        asked = translated(&decision, asked)?;
        node = next;
    }
    bail!("still not there after {HOPS_MAX} nodes")
}

fn start(cluster: &Cluster, from: &From) -> Result<(String, Value)> {
    Ok(match from {
        From::Pod(key) => {
            let pod = cluster.kubelet.pods().get(key).with_context(|| format!("no pod {key}"))?;
            let origin = json!({"pod": {"namespace": key.namespace, "name": key.name}});
            (pod.plan.node.clone(), origin)
        }
        From::Node(node) => (node.clone(), json!("host")),
        From::Client => bail!("nothing outside the cluster decides"),
    })
}

fn question(origin: &Value, asked: Asked) -> Value {
    json!({
        "op": "decide", "from": origin, "dst": asked.ip, "dst_port": asked.port,
        "src_port": asked.src_port,
        "proto": match asked.protocol { Protocol::Tcp => "tcp", Protocol::Udp => "udp" },
    })
}

/// The request as it leaves a node.
fn translated(decision: &Value, asked: Asked) -> Result<Asked> {
    let ip = decision["dst"].as_str().and_then(|ip| ip.parse().ok());
    let port = decision["dst_port"].as_u64().and_then(|port| u16::try_from(port).ok());
    let src_port = decision["src_port"].as_u64().and_then(|port| u16::try_from(port).ok());
    let whole = || format!("a decision without a destination: {decision}");
    Ok(Asked {
        ip: ip.with_context(whole)?,
        port: port.with_context(whole)?,
        src_port: src_port.unwrap_or(asked.src_port),
        ..asked
    })
}

fn text(decision: &Value, field: &str) -> String {
    decision[field].as_str().unwrap_or_default().to_owned()
}
