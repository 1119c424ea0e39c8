//! The last step to a pod of this node, the same from wherever the packet came: answer of a service
//! flow, reverse translation, policy, redirect.

use skein_bpf_abi::config::flags;
use skein_bpf_abi::maps::endpoints::{Endpoint, FLAG_POLICY_INGRESS};
use skein_bpf_abi::maps::ipcache::Ipcache;
use skein_bpf_abi::maps::policy::{self, PolicyKey};
use skein_bpf_abi::{Direction, Reason};

use crate::conntrack;
use crate::flow::Flow;
use crate::plan::{Action, Plan};
use crate::related;
use crate::tables::Tables;

/// Whether the service step already translated the packet. A packet on its way from a client to a
/// service is never an answer of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Translated {
    /// It did.
    Yes,
    /// It did not: the packet may be an answer.
    No,
}

/// Delivers to a pod of this node.
#[inline(always)]
pub fn to_pod<T: Tables>(
    tables: &T,
    flow: &Flow,
    plan: &mut Plan,
    pod: &Endpoint,
    translated: Translated,
    direction: Direction,
) {
    plan.dst_identity = pod.identity;
    plan.endpoint_id = pod.endpoint_id;
    let answer = matches!(translated, Translated::No) && reverse(tables, flow, plan, direction);
    if !answer && pod.flags & FLAG_POLICY_INGRESS != 0 && !allowed(tables, flow, plan, pod) {
        plan.drop(Reason::PolicyDenied);
        return;
    }
    plan.reason = Reason::ToPod;
    plan.ifindex = pod.ifindex;
    plan.dst_mac = pod.pod_mac;
    plan.src_mac = pod.host_mac;
    // Handing a packet to a peer device works on the way in only.
    plan.action = if matches!(direction, Direction::FromHost) {
        Action::Redirect
    } else {
        Action::RedirectPeer
    };
}

/// Delivers to the node itself, whose stack may be a client of services too.
#[inline(always)]
pub fn to_node<T: Tables>(tables: &T, flow: &Flow, plan: &mut Plan, direction: Direction) {
    reverse(tables, flow, plan, direction);
    plan.dst_identity = tables.node_identity();
    plan.reason = Reason::ToStack;
    plan.action = Action::PassToHost;
}

/// Translates an answer of a service flow back; whether it was one.
#[inline(always)]
pub fn reverse<T: Tables>(tables: &T, flow: &Flow, plan: &mut Plan, direction: Direction) -> bool {
    if !tables.has(flags::PACKET_LB) {
        return false;
    }
    if flow.has_ports() {
        let Some(to) = conntrack::reply(tables, flow, direction) else { return false };
        plan.to = to;
        return true;
    }
    let Some(to) = related::to_client(tables, flow) else { return false };
    tables.count(Reason::RelatedTranslated, direction, flow.len);
    plan.to = to.outer;
    plan.inner_to = to.inner;
    true
}

/// Asks the policy of a pod that has one.
#[inline(always)]
fn allowed<T: Tables>(tables: &T, flow: &Flow, plan: &Plan, pod: &Endpoint) -> bool {
    let exact = PolicyKey {
        endpoint_id: pod.endpoint_id,
        identity: plan.src_identity,
        port_be: plan.to.dst_port_be,
        proto: flow.proto,
        direction: policy::DIRECTION_INGRESS,
    };
    if let Some(entry) = tables.policy(&exact) {
        return entry.verdict == policy::VERDICT_ALLOW;
    }
    let Some(any) = tables.policy(&PolicyKey { port_be: 0, proto: 0, ..exact }) else {
        return false;
    };
    any.verdict == policy::VERDICT_ALLOW
}

/// What is known about an address of the cluster: itself, or the range around it.
#[inline(always)]
pub fn peer<T: Tables>(tables: &T, addr_be: u32) -> Option<Ipcache> {
    if let Some(exact) = tables.ipcache(addr_be) {
        return Some(exact);
    }
    tables.cidr(addr_be)
}
