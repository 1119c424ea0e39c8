//! The cgroup programs: socket address in, verdict out.

use core::ffi::c_void;
use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_set_retval};
use aya_ebpf::programs::SockAddrContext;
use skein_bpf_abi::Direction;
use skein_bpf_logic::Tables;
use skein_bpf_logic::backend::socket_hash;
use skein_bpf_logic::socket::{self, Target, Verdict, mapped_v4};

use crate::tables::Kernel;

/// The call goes on.
const ALLOW: i32 = 1;
/// The call fails with the error set before.
const FAIL: i32 = 0;
/// `ECONNREFUSED` of `asm-generic/errno.h`.
const ECONNREFUSED: i32 = 111;

#[inline(always)]
pub(crate) fn connect4(ctx: &SockAddrContext) -> i32 {
    let target = target4(ctx);
    finish4(ctx, connect(ctx, &target))
}

#[inline(always)]
pub(crate) fn connect6(ctx: &SockAddrContext) -> i32 {
    let Some(target) = target6(ctx) else { return ALLOW };
    finish6(ctx, connect(ctx, &target))
}

#[inline(always)]
pub(crate) fn sendmsg4(ctx: &SockAddrContext) -> i32 {
    let target = target4(ctx);
    finish4(ctx, sendmsg(ctx, &target))
}

#[inline(always)]
pub(crate) fn sendmsg6(ctx: &SockAddrContext) -> i32 {
    let Some(target) = target6(ctx) else { return ALLOW };
    finish6(ctx, sendmsg(ctx, &target))
}

#[inline(always)]
pub(crate) fn reverse4(ctx: &SockAddrContext) -> i32 {
    let peer = target4(ctx);
    finish4(ctx, reverse(ctx, &peer))
}

#[inline(always)]
pub(crate) fn reverse6(ctx: &SockAddrContext) -> i32 {
    let Some(peer) = target6(ctx) else { return ALLOW };
    finish6(ctx, reverse(ctx, &peer))
}

#[inline(always)]
fn connect(ctx: &SockAddrContext, target: &Target) -> Verdict {
    let number = Kernel.random();
    socket::forward(&Kernel, target, cookie(ctx), number, direction(ctx))
}

#[inline(always)]
fn sendmsg(ctx: &SockAddrContext, target: &Target) -> Verdict {
    let cookie = cookie(ctx);
    let number = socket_hash(cookie, target.addr_be, target.port_be);
    socket::forward(&Kernel, target, cookie, number, direction(ctx))
}

#[inline(always)]
fn reverse(ctx: &SockAddrContext, peer: &Target) -> Verdict {
    socket::reverse(&Kernel, peer, cookie(ctx), direction(ctx))
}

#[inline(always)]
fn context(ctx: &SockAddrContext) -> *mut c_void {
    ctx.as_ptr()
}

#[inline(always)]
fn cookie(ctx: &SockAddrContext) -> u64 {
    // SAFETY: a valid context.
    unsafe { bpf_get_socket_cookie(context(ctx).cast()) }
}

#[inline(always)]
fn direction(ctx: &SockAddrContext) -> Direction {
    // SAFETY: a valid context.
    let netns_cookie = unsafe { bpf_get_netns_cookie(context(ctx).cast()) };
    socket::direction(&Kernel, netns_cookie)
}

/// Reads a field of the context. The verifier allows loads of the field's own size only, so the
/// compiler must neither merge nor split them.
macro_rules! get {
    ($ctx:expr, $($field:tt)+) => {
        // SAFETY: a context is valid for as long as its program runs.
        unsafe { read_volatile(&raw const (*$ctx.sock_addr).$($field)+) }
    };
}

/// Writes a field of the context, in one piece like [`get`].
macro_rules! set {
    ($ctx:expr, $value:expr, $($field:tt)+) => {
        // SAFETY: as for reading; the fields used here are writable in these hooks.
        unsafe { write_volatile(&raw mut (*$ctx.sock_addr).$($field)+, $value) }
    };
}

#[inline(always)]
fn target4(ctx: &SockAddrContext) -> Target {
    Target {
        addr_be: get!(ctx, user_ip4),
        port_be: get!(ctx, user_port) as u16,
        proto: get!(ctx, protocol) as u8,
    }
}

/// The IPv4 destination behind a mapped address; `None` for any other IPv6 address.
#[inline(always)]
fn target6(ctx: &SockAddrContext) -> Option<Target> {
    let words = [
        get!(ctx, user_ip6[0]),
        get!(ctx, user_ip6[1]),
        get!(ctx, user_ip6[2]),
        get!(ctx, user_ip6[3]),
    ];
    let addr_be = mapped_v4(words)?;
    Some(Target { addr_be, port_be: get!(ctx, user_port) as u16, proto: get!(ctx, protocol) as u8 })
}

#[inline(always)]
fn finish4(ctx: &SockAddrContext, verdict: Verdict) -> i32 {
    match verdict {
        Verdict::Untouched => ALLOW,
        Verdict::Translated(addr_be, port_be) => {
            set!(ctx, addr_be, user_ip4);
            set!(ctx, u32::from(port_be), user_port);
            ALLOW
        }
        Verdict::Refused => refuse(),
    }
}

/// Only the last word of a mapped address changes.
#[inline(always)]
fn finish6(ctx: &SockAddrContext, verdict: Verdict) -> i32 {
    match verdict {
        Verdict::Untouched => ALLOW,
        Verdict::Translated(addr_be, port_be) => {
            set!(ctx, addr_be, user_ip6[3]);
            set!(ctx, u32::from(port_be), user_port);
            ALLOW
        }
        Verdict::Refused => refuse(),
    }
}

#[inline(always)]
fn refuse() -> i32 {
    // SAFETY: no pointers. The helper fails in hooks that cannot fail, which never refuse.
    unsafe { bpf_set_retval(-ECONNREFUSED) };
    FAIL
}
