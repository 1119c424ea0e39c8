//! The cgroup programs with real sockets: they have no test run.

use std::fs::File;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::programs::CgroupAttachMode;
use skein_bpf_abi::addr::{ip_be, port_be};
use skein_bpf_abi::config::flags;
use skein_bpf_abi::maps::backends::{Backend, BackendKey};
use skein_bpf_abi::maps::frontends::{Frontend, FrontendKey};
use skein_bpf_abi::proto::{TCP, UDP};
use skein_bpf_abi::{Direction, NodeConfig, Reason, programs};
use skein_bpf_harness::kernel::{Kernel, sock_addr};
use skein_bpf_harness::sandbox::{Cgroup, enter_new_netns, netns_cookie};
use skein_bpf_harness::{privilege, twin};
use skein_bpf_logic::host::Memory;
use skein_bpf_logic::testing::sample;

const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;
const PORT: u16 = 80;
const EMPTY: u16 = 82;
const UNKNOWN: u16 = 9;
/// Nothing here takes longer when it works.
const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn sockets_reach_services_and_never_see_backends() {
    if privilege::left_out("socket hooks with real sockets") {
        return;
    }
    let inside = std::thread::spawn(run);
    if let Err(error) = inside.join().expect("the thread in the namespace") {
        panic!("{error:#}");
    }
}

fn run() -> Result<()> {
    enter_new_netns()?;
    let cgroup = Cgroup::enter()?;
    let tcp = TcpListener::bind((LOCALHOST, 0))?;
    let udp = UdpSocket::bind((LOCALHOST, 0))?;
    udp.set_read_timeout(Some(PATIENCE))?;
    let memory = tables(tcp.local_addr()?.port(), udp.local_addr()?.port())?;
    let mut kernel = Kernel::load(&memory.config, &twin::SMALL)?;
    kernel.fill(&memory)?;
    for name in programs::SOCK_ADDR {
        let file = File::open(cgroup.path())?;
        // A link always stacks; the flag that says so is refused by the kernel.
        sock_addr(kernel.ebpf(), name)?.attach(file, CgroupAttachMode::Single)?;
    }
    let mapped = VIP.to_ipv6_mapped();
    streams(&tcp, SocketAddr::from((VIP, PORT)))?;
    streams(&tcp, SocketAddr::from((mapped, PORT)))?;
    datagrams(&udp, SocketAddr::from((VIP, PORT)), (Ipv4Addr::UNSPECIFIED, 0).into())?;
    datagrams(&udp, SocketAddr::from((mapped, PORT)), (Ipv6Addr::UNSPECIFIED, 0).into())?;
    refusals(VIP.into(), (Ipv4Addr::UNSPECIFIED, 0).into())?;
    refusals(mapped.into(), (Ipv6Addr::UNSPECIFIED, 0).into())?;
    untouched(&tcp)?;
    let metrics = kernel.metrics()?;
    let count = |reason| metrics.get(&(reason, Direction::HostSocket)).map_or(0, |m| m.packets);
    // One stream, one connected and one unconnected datagram socket, for each family.
    ensure!(count(Reason::SocketTranslated) == 6, "translated: {metrics:?}");
    ensure!(count(Reason::NoBackend) == 4, "refused without backend: {metrics:?}");
    ensure!(count(Reason::UnknownServicePort) == 4, "refused port: {metrics:?}");
    let refused = kernel.take_events()?;
    ensure!(refused.len() == 8, "each refusal is reported once: {refused:?}");
    Ok(())
}

fn tables(tcp_port: u16, udp_port: u16) -> Result<Memory> {
    let mut memory = Memory::new(NodeConfig {
        netns_cookie: netns_cookie()?,
        flags: flags::SOCKET_LB,
        ..NodeConfig::EMPTY
    });
    let vip = ip_be(VIP.octets());
    memory.frontends.insert(FrontendKey::wildcard(vip), Frontend::default());
    for (id, port, proto) in [(1, tcp_port, TCP), (2, udp_port, UDP)] {
        let addr_be = ip_be(LOCALHOST.octets());
        let backend = Backend { addr_be, port_be: port_be(port), proto, flags: 0 };
        memory.backends.insert(BackendKey { id }, backend);
        sample::service(&mut memory, id, vip, PORT, proto, &[id]);
        sample::service(&mut memory, id + 10, vip, EMPTY, proto, &[]);
    }
    Ok(memory)
}

fn streams(listener: &TcpListener, service: SocketAddr) -> Result<()> {
    let client = TcpStream::connect_timeout(&service, PATIENCE).context("connecting")?;
    let (server, _) = listener.accept()?;
    ensure!(client.peer_addr()? == service, "the peer is {}", client.peer_addr()?);
    ensure!(server.local_addr()? == listener.local_addr()?, "the backend sees itself");
    Ok(())
}

fn datagrams(server: &UdpSocket, service: SocketAddr, any: SocketAddr) -> Result<()> {
    let client = UdpSocket::bind(any)?;
    client.set_read_timeout(Some(PATIENCE))?;
    client.send_to(b"to", service).context("sending")?;
    echo(server)?;
    let mut buffer = [0; 16];
    let (length, from) = client.recv_from(&mut buffer)?;
    ensure!((&buffer[..length], from) == (&b"to"[..], service), "answered from {from}");

    let client = UdpSocket::bind(any)?;
    client.set_read_timeout(Some(PATIENCE))?;
    client.connect(service)?;
    client.send(b"connected")?;
    echo(server)?;
    let (length, from) = client.recv_from(&mut buffer)?;
    ensure!((&buffer[..length], from) == (&b"connected"[..], service), "answered from {from}");
    ensure!(client.peer_addr()? == service, "the peer is {}", client.peer_addr()?);
    Ok(())
}

fn echo(server: &UdpSocket) -> Result<()> {
    let mut buffer = [0; 16];
    let (length, from) = server.recv_from(&mut buffer)?;
    server.send_to(&buffer[..length], from)?;
    Ok(())
}

fn refusals(vip: std::net::IpAddr, any: SocketAddr) -> Result<()> {
    for port in [EMPTY, UNKNOWN] {
        let stream = TcpStream::connect_timeout(&(vip, port).into(), PATIENCE);
        let kind = stream.err().map(|error| error.kind());
        ensure!(kind == Some(ErrorKind::ConnectionRefused), "connect: {kind:?}");
        let sent = UdpSocket::bind(any)?.send_to(b"x", (vip, port));
        let kind = sent.err().map(|error| error.kind());
        ensure!(kind == Some(ErrorKind::ConnectionRefused), "sendto: {kind:?}");
    }
    Ok(())
}

/// Addresses that are no services are left alone, native IPv6 among them.
fn untouched(listener: &TcpListener) -> Result<()> {
    let direct = listener.local_addr()?;
    let client = TcpStream::connect_timeout(&direct, PATIENCE)?;
    listener.accept()?;
    ensure!(client.peer_addr()? == direct, "the peer is {}", client.peer_addr()?);
    let six = TcpListener::bind((Ipv6Addr::LOCALHOST, 0))?;
    let client = TcpStream::connect_timeout(&six.local_addr()?, PATIENCE)?;
    ensure!(client.peer_addr()? == six.local_addr()?, "the peer is {}", client.peer_addr()?);
    Ok(())
}
