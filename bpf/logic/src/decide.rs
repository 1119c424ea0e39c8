//! One function for each tc program: flow in, plan out.

use skein_bpf_abi::config::flags;
use skein_bpf_abi::maps::ipcache::{FLAG_NODE, FLAG_SKIP_TUNNEL, Ipcache};
use skein_bpf_abi::{Direction, Outcome, Reason, identity};

use crate::deliver::{self, Translated};
use crate::flow::{Flow, Part};
use crate::plan::{Action, Plan};
use crate::service::{self, Step};
use crate::tables::Tables;

/// A packet from the pod behind `ifindex`.
#[inline(always)]
pub fn pod_ingress<T: Tables>(tables: &T, flow: &Flow, ifindex: u32) -> Plan {
    let mut plan = Plan::new(flow);
    let Some(own) = tables.iface(ifindex) else {
        plan.drop(Reason::UnknownInterface);
        return plan;
    };
    plan.src_identity = own.identity;
    plan.endpoint_id = own.endpoint_id;
    let mac_is_wrong = tables.has(flags::CHECK_MAC) && flow.src_mac != own.pod_mac;
    if flow.tuple.src_be != own.addr_be || mac_is_wrong {
        plan.drop(Reason::InvalidSource);
        return plan;
    }
    if flow.tuple.dst_be == tables.hairpin_ip_be() {
        from_self(tables, flow, &mut plan);
        return plan;
    }
    let Some(translated) = services(tables, flow, &mut plan, Direction::FromPod) else {
        reject_out(flow, &mut plan, ifindex);
        return plan;
    };
    if plan.to.src_be == tables.hairpin_ip_be() {
        to_self(tables, flow, &mut plan);
        return plan;
    }
    route_from_pod(tables, flow, &mut plan, translated);
    plan
}

/// Runs the service step. `None`: the packet ends here, the plan says why.
#[inline(always)]
fn services<T: Tables>(
    tables: &T,
    flow: &Flow,
    plan: &mut Plan,
    direction: Direction,
) -> Option<Translated> {
    if !tables.has(flags::PACKET_LB) {
        return Some(Translated::No);
    }
    match service::forward(tables, flow, direction) {
        Step::Untouched => Some(Translated::No),
        Step::Translated(to) => {
            plan.to = to;
            Some(Translated::Yes)
        }
        Step::Related(to) => {
            plan.to = to.outer;
            plan.inner_to = to.inner;
            Some(Translated::Yes)
        }
        Step::Ended(reason) => {
            plan.drop(reason);
            None
        }
    }
}

/// Whether a refusal may be answered: errors are not sent about errors, resets or fragments without
/// ports (RFC 1122, section 3.2.2), nor about headers with options, which nobody sends.
#[inline(always)]
fn answerable(flow: &Flow, plan: &Plan) -> bool {
    const PLAIN_L4_OFFSET: u16 = (crate::packet::IP + crate::packet::IP_HEADER_LEN) as u16;
    matches!(plan.reason.outcome(), Outcome::Refuse)
        && flow.has_ports()
        && flow.tcp_flags & crate::flow::tcp::RST == 0
        && !matches!(flow.part, Part::Later)
        && flow.l4_offset == PLAIN_L4_OFFSET
}

#[inline(always)]
fn reject_out(flow: &Flow, plan: &mut Plan, ifindex: u32) {
    if answerable(flow, plan) {
        plan.action = Action::RejectOut;
        plan.ifindex = ifindex;
    }
}

/// A packet to the hairpin address: a pod answers itself.
#[inline(always)]
fn from_self<T: Tables>(tables: &T, flow: &Flow, plan: &mut Plan) {
    if deliver::reverse(tables, flow, plan, Direction::FromPod) {
        to_self(tables, flow, plan);
    } else {
        plan.drop(Reason::UnknownHairpin);
    }
}

/// Back to the pod that sent the packet. Policy has no say in what a pod tells itself.
#[inline(always)]
fn to_self<T: Tables>(tables: &T, flow: &Flow, plan: &mut Plan) {
    let Some(pod) = tables.endpoint(flow.tuple.src_be) else {
        plan.drop(Reason::UnknownEndpoint);
        return;
    };
    plan.dst_identity = pod.identity;
    plan.reason = Reason::ToSelf;
    plan.action = Action::RedirectPeer;
    plan.ifindex = pod.ifindex;
    plan.dst_mac = pod.pod_mac;
    plan.src_mac = pod.host_mac;
}

#[inline(always)]
fn route_from_pod<T: Tables>(tables: &T, flow: &Flow, plan: &mut Plan, translated: Translated) {
    let dst_be = plan.to.dst_be;
    if let Some(pod) = tables.endpoint(dst_be) {
        deliver::to_pod(tables, flow, plan, &pod, translated, Direction::FromPod);
        return;
    }
    if tables.is_own_address(dst_be) {
        if matches!(translated, Translated::Yes) {
            plan.reason = Reason::ToStack;
            plan.action = Action::PassToHost;
        } else {
            deliver::to_node(tables, flow, plan, Direction::FromPod);
        }
        return;
    }
    match beyond(tables, dst_be) {
        Way::Tunnel(peer) => tunnel(tables, plan, &peer),
        Way::Nowhere => plan.drop(Reason::UnknownEndpoint),
        Way::Stack => plan.pass(),
    }
}

/// Where an address outside this node lies.
enum Way {
    Tunnel(Ipcache),
    Stack,
    Nowhere,
}

#[inline(always)]
fn beyond<T: Tables>(tables: &T, dst_be: u32) -> Way {
    if !tables.has(flags::TUNNEL) {
        return Way::Stack;
    }
    let Some(peer) = deliver::peer(tables, dst_be) else { return Way::Stack };
    if peer.tunnel_be == 0 || peer.flags & (FLAG_NODE | FLAG_SKIP_TUNNEL) != 0 {
        return Way::Stack;
    }
    // An address of this node's own block, but no pod has it: the stack would send it round.
    if peer.tunnel_be == tables.node_ip_be() { Way::Nowhere } else { Way::Tunnel(peer) }
}

#[inline(always)]
fn tunnel<T: Tables>(tables: &T, plan: &mut Plan, peer: &Ipcache) {
    plan.dst_identity = peer.identity;
    plan.reason = Reason::ToOverlay;
    plan.action = Action::Tunnel;
    plan.ifindex = tables.overlay_ifindex();
    plan.tunnel_be = peer.tunnel_be;
}

/// A packet out of the tunnel; `sender` is the identity in its network identifier, `None` if the
/// metadata could not be read. Nothing from the tunnel goes back into it, so stale maps cannot make
/// a loop.
#[inline(always)]
pub fn overlay_ingress<T: Tables>(tables: &T, flow: &Flow, sender: Option<u32>) -> Plan {
    let mut plan = Plan::new(flow);
    let Some(sender) = sender else {
        plan.drop(Reason::NoTunnelKey);
        return plan;
    };
    // "The node itself" means another node once it has crossed the wire.
    plan.src_identity = if sender == identity::HOST { identity::REMOTE_NODE } else { sender };
    let dst_be = flow.tuple.dst_be;
    if let Some(pod) = tables.endpoint(dst_be) {
        let direction = Direction::FromOverlay;
        deliver::to_pod(tables, flow, &mut plan, &pod, Translated::No, direction);
    } else if tables.is_own_address(dst_be) {
        deliver::to_node(tables, flow, &mut plan, Direction::FromOverlay);
    } else {
        plan.drop(Reason::UnknownEndpoint);
    }
    plan
}

/// A packet from a native device. Only what comes from the cluster goes straight to its pod; the
/// rest takes the way through the stack, whose connection tracking must see both directions of what
/// it masquerades.
#[inline(always)]
pub fn netdev_ingress<T: Tables>(tables: &T, flow: &Flow) -> Plan {
    let mut plan = Plan::new(flow);
    plan.pass();
    let Some(pod) = tables.endpoint(flow.tuple.dst_be) else { return plan };
    let Some(sender) = deliver::peer(tables, flow.tuple.src_be) else { return plan };
    plan.src_identity = sender.identity;
    deliver::to_pod(tables, flow, &mut plan, &pod, Translated::No, Direction::FromNetdev);
    plan
}

/// A packet that the node's stack sends to the pod network: from the node itself, or forwarded.
#[inline(always)]
pub fn host_egress<T: Tables>(tables: &T, flow: &Flow) -> Plan {
    let mut plan = Plan::new(flow);
    let own = tables.is_own_address(flow.tuple.src_be);
    plan.src_identity = if own {
        tables.node_identity()
    } else {
        deliver::peer(tables, flow.tuple.src_be).map_or(identity::WORLD, |peer| peer.identity)
    };
    let mut translated = Translated::No;
    if own {
        let Some(step) = services(tables, flow, &mut plan, Direction::FromHost) else {
            if answerable(flow, &plan) {
                plan.action = Action::RejectIn;
                plan.ifindex = tables.host_ifindex();
            }
            return plan;
        };
        translated = step;
        if matches!(translated, Translated::Yes) && tables.is_own_address(plan.to.dst_be) {
            plan.drop(Reason::HostHairpin);
            return plan;
        }
    }
    route_from_host(tables, flow, &mut plan, translated);
    plan
}

#[inline(always)]
fn route_from_host<T: Tables>(tables: &T, flow: &Flow, plan: &mut Plan, translated: Translated) {
    let dst_be = plan.to.dst_be;
    if let Some(pod) = tables.endpoint(dst_be) {
        deliver::to_pod(tables, flow, plan, &pod, translated, Direction::FromHost);
        return;
    }
    match beyond(tables, dst_be) {
        Way::Tunnel(peer) => {
            tunnel(tables, plan, &peer);
            if plan.src_identity == identity::HOST {
                plan.src_identity = identity::REMOTE_NODE;
            }
        }
        Way::Nowhere => plan.drop(Reason::UnknownEndpoint),
        Way::Stack => plan.drop(Reason::UnknownDestination),
    }
}
