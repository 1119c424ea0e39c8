//! The tc programs: parse, decide, apply, report.

use aya_ebpf::bindings::TC_ACT_SHOT;
use aya_ebpf::programs::TcContext;
use skein_bpf_abi::{Direction, Reason};
use skein_bpf_logic::parse::parse;
use skein_bpf_logic::{Flow, Plan, Tables, decide, report};

use crate::apply::{apply, tunnel_identity};
use crate::skb::Skb;
use crate::tables::Kernel;

/// `TCX_NEXT`, and `TC_ACT_UNSPEC` of a classic filter: the next program of the chain runs, and after
/// the last one the packet goes on.
pub(crate) const CONTINUE: i32 = -1;

#[inline(always)]
pub(crate) fn pod_ingress(ctx: &TcContext) -> i32 {
    let ifindex = ifindex(ctx);
    run(ctx, Direction::FromPod, |flow| decide::pod_ingress(&Kernel, flow, ifindex))
}

#[inline(always)]
pub(crate) fn overlay_ingress(ctx: &TcContext) -> i32 {
    run(ctx, Direction::FromOverlay, |flow| {
        decide::overlay_ingress(&Kernel, flow, tunnel_identity(ctx))
    })
}

#[inline(always)]
pub(crate) fn netdev_ingress(ctx: &TcContext) -> i32 {
    run(ctx, Direction::FromNetdev, |flow| decide::netdev_ingress(&Kernel, flow))
}

#[inline(always)]
pub(crate) fn host_egress(ctx: &TcContext) -> i32 {
    run(ctx, Direction::FromHost, |flow| decide::host_egress(&Kernel, flow))
}

#[inline(always)]
fn run(ctx: &TcContext, direction: Direction, decide: impl Fn(&Flow) -> Plan) -> i32 {
    let packet = Skb::new(ctx);
    let flow = match parse(&packet) {
        Ok(flow) => flow,
        Err(reason) => return unparsed(ctx, reason, direction),
    };
    let mut plan = decide(&flow);
    let verdict = match apply(ctx, &flow, &plan) {
        Some(verdict) => verdict,
        None => {
            plan.drop(Reason::RewriteFailed);
            TC_ACT_SHOT
        }
    };
    report::packet(&Kernel, &flow, &plan, direction, ifindex(ctx));
    verdict
}

/// Frames that are not IPv4 packets. A native device carries the host's own traffic too, whose
/// judge is the stack.
#[inline(always)]
fn unparsed(ctx: &TcContext, reason: Reason, direction: Direction) -> i32 {
    if matches!(direction, Direction::FromNetdev) {
        Kernel.count(Reason::ToStack, direction, ctx.len());
        return CONTINUE;
    }
    report::unparsed(&Kernel, reason, ctx.len(), direction, ifindex(ctx));
    TC_ACT_SHOT
}

/// Device that the hook belongs to.
#[inline(always)]
fn ifindex(ctx: &TcContext) -> u32 {
    // SAFETY: a context is valid for as long as its program runs.
    unsafe { (*ctx.skb.skb).ifindex }
}
