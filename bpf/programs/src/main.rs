//! The kernel programs. Each entry point takes its context to one shared function and turns the plan
//! into the hook's return code; what to do is decided in `skein-bpf-logic`.
#![no_std]
#![no_main]
#![allow(unreachable_pub, reason = "entry points are public for the linker")]

mod apply;
mod config;
mod maps;
mod skb;
mod socket;
mod tables;
mod tc;

use aya_ebpf::macros::{cgroup_sock_addr, classifier};
use aya_ebpf::programs::{SockAddrContext, TcContext};

/// Everything a pod sends.
#[classifier]
pub fn skein_pod_ingress(ctx: TcContext) -> i32 {
    tc::pod_ingress(&ctx)
}

/// Everything other nodes tunnel here.
#[classifier]
pub fn skein_overlay_ingress(ctx: TcContext) -> i32 {
    tc::overlay_ingress(&ctx)
}

/// Everything a native device receives.
#[classifier]
pub fn skein_netdev_ingress(ctx: TcContext) -> i32 {
    tc::netdev_ingress(&ctx)
}

/// Everything the node's stack sends to the pod network.
#[classifier]
pub fn skein_host_egress(ctx: TcContext) -> i32 {
    tc::host_egress(&ctx)
}

/// Does nothing: the zero point of measurements.
#[classifier]
pub fn skein_empty(_ctx: TcContext) -> i32 {
    tc::CONTINUE
}

/// `connect` of an IPv4 socket.
#[cgroup_sock_addr(connect4)]
pub fn skein_connect4(ctx: SockAddrContext) -> i32 {
    socket::connect4(&ctx)
}

/// `connect` of an IPv6 socket, which may name a mapped IPv4 address.
#[cgroup_sock_addr(connect6)]
pub fn skein_connect6(ctx: SockAddrContext) -> i32 {
    socket::connect6(&ctx)
}

/// `sendto` of an unconnected IPv4 datagram socket.
#[cgroup_sock_addr(sendmsg4)]
pub fn skein_sendmsg4(ctx: SockAddrContext) -> i32 {
    socket::sendmsg4(&ctx)
}

/// `sendto` of an unconnected IPv6 datagram socket.
#[cgroup_sock_addr(sendmsg6)]
pub fn skein_sendmsg6(ctx: SockAddrContext) -> i32 {
    socket::sendmsg6(&ctx)
}

/// `recvfrom` of an IPv4 datagram socket.
#[cgroup_sock_addr(recvmsg4)]
pub fn skein_recvmsg4(ctx: SockAddrContext) -> i32 {
    socket::reverse4(&ctx)
}

/// `recvfrom` of an IPv6 datagram socket.
#[cgroup_sock_addr(recvmsg6)]
pub fn skein_recvmsg6(ctx: SockAddrContext) -> i32 {
    socket::reverse6(&ctx)
}

/// `getpeername` of an IPv4 socket.
#[cgroup_sock_addr(getpeername4)]
pub fn skein_getpeername4(ctx: SockAddrContext) -> i32 {
    socket::reverse4(&ctx)
}

/// `getpeername` of an IPv6 socket.
#[cgroup_sock_addr(getpeername6)]
pub fn skein_getpeername6(ctx: SockAddrContext) -> i32 {
    socket::reverse6(&ctx)
}

/// Licence that the kernel reads: some helpers are open to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

/// Never reached: the verifier accepts no program that could panic.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
