//! Carrying out a plan with helpers.

use core::mem::MaybeUninit;

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{BPF_F_INGRESS, BPF_F_ZERO_CSUM_TX, TC_ACT_SHOT, bpf_tunnel_key};
use aya_ebpf::helpers::{
    bpf_redirect, bpf_redirect_peer, bpf_skb_get_tunnel_key, bpf_skb_set_tunnel_key,
};
use aya_ebpf::programs::TcContext;
use skein_bpf_abi::identity::VNI_MASK;
use skein_bpf_logic::{Action, Flow, Packet, Plan, reject, rewrite};

use crate::skb::Skb;
use crate::tc::CONTINUE;

/// `PACKET_HOST` of `linux/if_packet.h`.
const PACKET_HOST: u32 = 0;
/// Time to live of outer headers; the usual default of hosts.
const TUNNEL_TTL: u8 = 64;

/// Does what the plan says. `None`: a helper refused, the packet must be dropped.
#[inline(always)]
pub(crate) fn apply(ctx: &TcContext, flow: &Flow, plan: &Plan) -> Option<i32> {
    match plan.action {
        Action::Drop => return Some(TC_ACT_SHOT),
        Action::RejectOut => return refuse(ctx, plan.ifindex, 0),
        Action::RejectIn => return refuse(ctx, plan.ifindex, u64::from(BPF_F_INGRESS)),
        _ => {}
    }
    let mut packet = Skb::new(ctx);
    if !rewrite::rewrite(&mut packet, flow, plan) {
        return None;
    }
    match plan.action {
        Action::PassToHost => {
            ctx.change_type(PACKET_HOST).ok()?;
            Some(CONTINUE)
        }
        Action::RedirectPeer => {
            if !packet.set_macs(plan.dst_mac, plan.src_mac) {
                return None;
            }
            // SAFETY: no pointers.
            Some(unsafe { bpf_redirect_peer(plan.ifindex, 0) } as i32)
        }
        Action::Redirect => {
            if !packet.set_macs(plan.dst_mac, plan.src_mac) {
                return None;
            }
            // SAFETY: no pointers.
            Some(unsafe { bpf_redirect(plan.ifindex, 0) } as i32)
        }
        Action::Tunnel => tunnel(ctx, plan),
        _ => Some(CONTINUE),
    }
}

#[inline(always)]
fn tunnel(ctx: &TcContext, plan: &Plan) -> Option<i32> {
    // SAFETY: plain integers, for which zero is a value; the helper insists on zeroed padding.
    let mut key: bpf_tunnel_key = unsafe { MaybeUninit::zeroed().assume_init() };
    key.tunnel_id = plan.src_identity & VNI_MASK;
    // This helper alone takes the address in host order.
    key.__bindgen_anon_1.remote_ipv4 = u32::from_be(plan.tunnel_be);
    key.tunnel_ttl = TUNNEL_TTL;
    let size = size_of::<bpf_tunnel_key>() as u32;
    let flags = u64::from(BPF_F_ZERO_CSUM_TX);
    // SAFETY: a valid context and a key of the given size.
    let set = unsafe { bpf_skb_set_tunnel_key(ctx.as_ptr().cast(), &raw mut key, size, flags) };
    if set != 0 {
        return None;
    }
    // SAFETY: no pointers.
    Some(unsafe { bpf_redirect(plan.ifindex, 0) } as i32)
}

/// Identity that came with a tunnelled packet.
#[inline(always)]
pub(crate) fn tunnel_identity(ctx: &TcContext) -> Option<u32> {
    // SAFETY: plain integers.
    let mut key: bpf_tunnel_key = unsafe { MaybeUninit::zeroed().assume_init() };
    let size = size_of::<bpf_tunnel_key>() as u32;
    // SAFETY: a valid context and room for a key of the given size.
    let got = unsafe { bpf_skb_get_tunnel_key(ctx.as_ptr().cast(), &raw mut key, size, 0) };
    if got == 0 { Some(key.tunnel_id) } else { None }
}

/// Turns the packet into its refusal and sends it back.
#[inline(always)]
fn refuse(ctx: &TcContext, ifindex: u32, flags: u64) -> Option<i32> {
    reject::answer(&mut Skb::new(ctx))?;
    // SAFETY: no pointers.
    Some(unsafe { bpf_redirect(ifindex, flags) } as i32)
}
