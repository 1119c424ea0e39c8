//! The agent's socket: one JSON object per line each way.
//!
//! A request is `{"op": "...", ...}`. The answer is `{"ok": ...}` or `{"error": {"code", "message"}}`.
//! `monitor` answers with one `{"ok": event}` line for each event until the caller hangs up.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// A request line longer than this is refused: the longest real one is GC's list of attachments,
/// about 150 bytes for each of the node's pods.
pub const REQUEST_BYTES_MAX: usize = 1 << 20;

/// What a caller can ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    /// CNI ADD.
    CniAdd(AddRequest),
    /// CNI DEL.
    CniDel(DelRequest),
    /// CNI CHECK.
    CniCheck(CheckRequest),
    /// CNI GC: every attachment that is not listed is removed.
    CniGc {
        /// Attachments the runtime still has.
        valid: Vec<Attachment>,
    },
    /// CNI STATUS: can an ADD succeed now?
    CniStatus,
    /// The agent's whole status.
    Status,
    /// Frontends with their backends, as the maps hold them.
    BpfLbList,
    /// Connection-tracking entries.
    BpfCtList,
    /// Addresses and ranges with identity and tunnel endpoint.
    BpfIpcacheList,
    /// Counters by reason and direction.
    BpfMetricsList,
    /// This node's endpoints as the maps hold them.
    BpfEndpointList,
    /// Live events of the programs.
    Monitor {
        /// Also report forwarded packets, not only drops.
        #[serde(default)]
        trace: bool,
    },
    /// With the datapath in memory: what would happen to a packet or connection.
    Decide(DecideRequest),
    /// Waits until the maps reflect a revision of the store.
    WaitRevision {
        /// The revision.
        revision: i64,
        /// Longest wait.
        #[serde(default = "default_wait_ms")]
        timeout_ms: u64,
    },
}

/// Wait of a caller that does not say how long.
fn default_wait_ms() -> u64 {
    10_000
}

/// One interface of one container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Attachment {
    /// The runtime's id of the sandbox.
    pub container_id: String,
    /// Name of the interface inside.
    pub ifname: String,
}

/// CNI ADD.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddRequest {
    /// What to attach.
    #[serde(flatten)]
    pub attachment: Attachment,
    /// Path of the pod's network namespace.
    pub netns: String,
    /// Namespace of the pod (`K8S_POD_NAMESPACE`); empty without Kubernetes.
    #[serde(default)]
    pub pod_namespace: String,
    /// Name of the pod (`K8S_POD_NAME`).
    #[serde(default)]
    pub pod_name: String,
    /// UID of the pod (`K8S_POD_UID`).
    #[serde(default)]
    pub pod_uid: String,
}

/// CNI DEL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelRequest {
    /// What to detach.
    #[serde(flatten)]
    pub attachment: Attachment,
}

/// CNI CHECK.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckRequest {
    /// What to check.
    #[serde(flatten)]
    pub attachment: Attachment,
    /// Path of the pod's network namespace.
    pub netns: String,
    /// Addresses of the result that ADD gave.
    pub addresses: Vec<Ipv4Addr>,
}

/// What ADD set up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddReply {
    /// The pod's address; the prefix is always /32.
    pub ip: Ipv4Addr,
    /// Address of the node's router, the pod's gateway.
    pub gateway: Ipv4Addr,
    /// Name of the host-side device.
    pub host_ifname: String,
    /// MAC of the host-side device.
    pub host_mac: String,
    /// MAC of the device in the pod.
    pub pod_mac: String,
    /// MTU of the pod's device.
    pub mtu: u32,
    /// Security identity at this moment (5, init, until the pod's is known).
    pub identity: u32,
}

/// A packet or connection to decide about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecideRequest {
    /// Where it starts.
    pub from: Origin,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Destination port.
    pub dst_port: u16,
    /// Source port; the stack's choice when absent.
    #[serde(default)]
    pub src_port: Option<u16>,
    /// `tcp`, `udp` or `icmp`.
    pub proto: String,
}

/// Where a packet starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A pod of this node, by name.
    Pod { namespace: String, name: String },
    /// A pod of this node, by address.
    Ip(Ipv4Addr),
    /// The node itself.
    Host,
    /// It arrived through the tunnel from another node, with this source.
    Overlay { src: Ipv4Addr, identity: u32 },
    /// It arrived on a native device, with this source.
    Netdev { src: Ipv4Addr },
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// It worked.
    Ok(serde_json::Value),
    /// It did not.
    Error(ErrorReply),
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReply {
    /// A code of the CNI specification, or one of ours from 100.
    pub code: u32,
    /// One sentence.
    pub message: String,
}
