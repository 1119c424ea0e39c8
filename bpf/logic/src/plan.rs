//! What to do with a packet.

use skein_bpf_abi::Reason;
use skein_bpf_abi::addr::Mac;

use crate::flow::{Flow, Tuple};

/// How a packet leaves the program.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// To the stack, as it came.
    Pass = 0,
    /// To the stack as a packet addressed to this host, whatever its MAC says.
    PassToHost = 1,
    /// Nowhere.
    Drop = 2,
    /// Into the pod behind `ifindex`, without a second trip through a queue. Ingress hooks only.
    RedirectPeer = 3,
    /// Out of `ifindex`.
    Redirect = 4,
    /// Out of the overlay device `ifindex` to node `tunnel_be`.
    Tunnel = 5,
    /// Answered with an ICMP error that leaves by `ifindex`.
    RejectOut = 6,
    /// Answered with an ICMP error that the stack receives on `ifindex`.
    RejectIn = 7,
}

/// A decision, complete: nothing has to be looked up to carry it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Outcome to count.
    pub reason: Reason,
    /// How the packet leaves.
    pub action: Action,
    /// Device of a redirect.
    pub ifindex: u32,
    /// Node of a tunnel.
    pub tunnel_be: u32,
    /// Identity of the sender; goes into the tunnel's network identifier.
    pub src_identity: u32,
    /// Identity of the receiver, 0 if not known.
    pub dst_identity: u32,
    /// Local pod concerned, 0 for none.
    pub endpoint_id: u32,
    /// The tuple that the packet is to carry.
    pub to: Tuple,
    /// The tuple that the packet inside an ICMP error is to carry.
    pub inner_to: Tuple,
    /// Destination MAC of a local delivery.
    pub dst_mac: Mac,
    /// Source MAC of a local delivery.
    pub src_mac: Mac,
}

impl Plan {
    /// A plan that leaves the packet as it is and drops it, until something better is known.
    #[must_use]
    #[inline(always)]
    pub const fn new(flow: &Flow) -> Self {
        Self {
            reason: Reason::Malformed,
            action: Action::Drop,
            ifindex: 0,
            tunnel_be: 0,
            src_identity: 0,
            dst_identity: 0,
            endpoint_id: 0,
            to: flow.tuple,
            inner_to: flow.inner.tuple,
            dst_mac: [0; 6],
            src_mac: [0; 6],
        }
    }

    /// Makes the plan a drop.
    #[inline(always)]
    pub const fn drop(&mut self, reason: Reason) {
        self.reason = reason;
        self.action = Action::Drop;
    }

    /// Makes the plan one of leaving the packet to the stack.
    #[inline(always)]
    pub const fn pass(&mut self) {
        self.reason = Reason::ToStack;
        self.action = Action::Pass;
    }
}
