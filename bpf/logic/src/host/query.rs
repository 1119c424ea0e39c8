//! Questions to a node's datapath: what happens to this packet, this call?

use skein_bpf_abi::{Direction, Reason};

use crate::decide;
use crate::flow::{Flow, Tuple, tcp};
use crate::host::Memory;
use crate::plan::{Action, Plan};
use crate::report;
use crate::socket::{self, Target, Verdict};
use crate::tables::{Node, Tables};

/// Where a packet enters the node's datapath.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From the pod behind this device.
    Pod {
        /// Interface index of the host-side device.
        ifindex: u32,
    },
    /// From another node through the tunnel.
    Overlay {
        /// Identity in the tunnel's network identifier.
        identity: u32,
    },
    /// From a native device.
    Netdev,
    /// From the node's own stack.
    Host,
}

impl Origin {
    const fn direction(self) -> Direction {
        match self {
            Self::Pod { .. } => Direction::FromPod,
            Self::Overlay { .. } => Direction::FromOverlay,
            Self::Netdev => Direction::FromNetdev,
            Self::Host => Direction::FromHost,
        }
    }
}

/// A packet in five values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet5 {
    /// Addresses and ports.
    pub tuple: Tuple,
    /// IP protocol.
    pub proto: u8,
    /// TCP flags byte; see [`crate::flow::tcp`].
    pub tcp_flags: u8,
}

impl Packet5 {
    /// The packet that opens a conversation: a SYN for TCP.
    #[must_use]
    pub const fn opening(proto: u8, tuple: Tuple) -> Self {
        let tcp_flags = if proto == skein_bpf_abi::proto::TCP { tcp::SYN } else { 0 };
        Self { tuple, proto, tcp_flags }
    }

    /// The packet that answers an opening one.
    #[must_use]
    pub const fn answer(proto: u8, tuple: Tuple) -> Self {
        let is_tcp = proto == skein_bpf_abi::proto::TCP;
        let tcp_flags = if is_tcp { tcp::SYN | tcp::ACK } else { 0 };
        Self { tuple, proto, tcp_flags }
    }
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Egress {
    /// To the pod with this endpoint id, on this node.
    Pod {
        /// Endpoint id.
        endpoint_id: u32,
        /// Interface index of its host-side device.
        ifindex: u32,
    },
    /// Through the tunnel to the node with this address.
    Node {
        /// Address of the node.
        node_be: u32,
        /// Identity that travels with the packet.
        identity: u32,
    },
    /// To the node's network stack.
    Stack,
    /// Answered with an ICMP error to the sender.
    Refused,
    /// Nowhere.
    Dropped,
}

/// What happens to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Where it goes.
    pub egress: Egress,
    /// Why.
    pub reason: Reason,
    /// The tuple that it carries from here on.
    pub tuple: Tuple,
    /// Identity of the sender.
    pub src_identity: u32,
    /// Identity of the receiver; 0 if this node does not know it.
    pub dst_identity: u32,
}

/// What happens to a socket call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketAnswer {
    /// The call goes to the address that it named.
    Untouched,
    /// The call goes to this backend.
    Translated {
        /// Address of the backend.
        addr_be: u32,
        /// Port of the backend.
        port_be: u16,
    },
    /// The call fails with "connection refused".
    Refused,
}

/// Length that a packet without bytes counts with: Ethernet, IP and TCP headers.
const NOMINAL_LEN: u32 = 54;

impl Memory {
    /// Decides about a packet as the program at its entry would, with all effects on tracked flows,
    /// counters and events.
    pub fn send(&self, origin: Origin, packet: &Packet5) -> Answer {
        let mut flow = Flow {
            tuple: packet.tuple,
            proto: packet.proto,
            tcp_flags: packet.tcp_flags,
            len: NOMINAL_LEN,
            l4_offset: 34,
            ..Flow::default()
        };
        let (plan, ifindex) = match origin {
            Origin::Pod { ifindex } => {
                if let Some(own) = self.iface(ifindex) {
                    flow.src_mac = own.pod_mac;
                }
                (decide::pod_ingress(self, &flow, ifindex), ifindex)
            }
            Origin::Overlay { identity } => {
                let plan = decide::overlay_ingress(self, &flow, Some(identity));
                (plan, self.overlay_ifindex())
            }
            Origin::Netdev => (decide::netdev_ingress(self, &flow), 0),
            Origin::Host => (decide::host_egress(self, &flow), self.host_ifindex()),
        };
        report::packet(self, &flow, &plan, origin.direction(), ifindex);
        answer(&plan)
    }

    /// Decides about `connect`, or `sendto` of an unconnected socket, as the cgroup programs would.
    /// `cookie` tells sockets apart; `netns_cookie` tells the node's own sockets from pods'.
    pub fn connect(&self, target: &Target, cookie: u64, netns_cookie: u64) -> SocketAnswer {
        let direction = socket::direction(self, netns_cookie);
        let verdict = socket::forward(self, target, cookie, self.random(), direction);
        match verdict {
            Verdict::Untouched => SocketAnswer::Untouched,
            Verdict::Translated(addr_be, port_be) => SocketAnswer::Translated { addr_be, port_be },
            Verdict::Refused => SocketAnswer::Refused,
        }
    }
}

fn answer(plan: &Plan) -> Answer {
    let egress = match plan.action {
        Action::Pass | Action::PassToHost => Egress::Stack,
        Action::Drop => Egress::Dropped,
        Action::RedirectPeer | Action::Redirect => {
            Egress::Pod { endpoint_id: plan.endpoint_id, ifindex: plan.ifindex }
        }
        Action::Tunnel => Egress::Node { node_be: plan.tunnel_be, identity: plan.src_identity },
        Action::RejectOut | Action::RejectIn => Egress::Refused,
    };
    Answer {
        egress,
        reason: plan.reason,
        tuple: plan.to,
        src_identity: plan.src_identity,
        dst_identity: plan.dst_identity,
    }
}
