//! The tc programs on real devices: two nodes with pods, a tunnel between them, and sockets that do
//! not know about any of it. Packets here have what a test run cannot give them: checksums left to
//! the device, segments of 64 KiB, tunnel metadata, real redirects.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::programs::{SchedClassifier, TcAttachType};
use nix::net::if_::if_nametoindex;
use skein_bpf_abi::addr::{Mac, ip_be, port_be};
use skein_bpf_abi::config::flags;
use skein_bpf_abi::maps::backends::{Backend, BackendKey};
use skein_bpf_abi::maps::endpoints::{Endpoint, EndpointKey};
use skein_bpf_abi::maps::frontends::{Frontend, FrontendKey};
use skein_bpf_abi::maps::ifaces::{Iface, IfaceKey};
use skein_bpf_abi::maps::ipcache::{CidrKey, FLAG_NODE, Ipcache, IpcacheKey};
use skein_bpf_abi::maps::metrics::Metric;
use skein_bpf_abi::proto::{TCP, UDP};
use skein_bpf_abi::{Direction, NodeConfig, Outcome, Reason, identity, programs};
use skein_bpf_harness::kernel::Kernel;
use skein_bpf_harness::sandbox::Netns;
use skein_bpf_harness::{privilege, twin};
use skein_bpf_logic::host::Memory;
use skein_bpf_logic::testing::sample;

const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
const NODES: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 168, 50, 1), Ipv4Addr::new(192, 168, 50, 2)];
const ROUTERS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 1, 0, 1), Ipv4Addr::new(10, 2, 0, 1)];
const POD_A: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 10);
const POD_B: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 11);
const POD_R: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 10);
const PORT: u16 = 8080;
const WEB: u16 = 80;
const OWN: u16 = 81;
const EMPTY: u16 = 82;
const REMOTE: u16 = 83;
/// Nothing here takes longer when it works.
const PATIENCE: Duration = Duration::from_secs(5);
/// More than one segment of 64 KiB, and more than any socket buffer starts with.
const STREAM_BYTES: usize = 300_000;
/// Three fragments at the pods' MTU.
const DATAGRAM_BYTES: usize = 4000;

struct Pod {
    netns: Netns,
    addr: Ipv4Addr,
    device: String,
    mac: Mac,
    host_mac: Mac,
    number: u32,
}

struct Node {
    netns: Netns,
    pods: Vec<Pod>,
    kernel: Option<Kernel>,
}

#[test]
fn sockets_talk_across_pods_nodes_and_services() {
    if privilege::left_out("tc programs on real devices") {
        return;
    }
    if let Err(error) = run() {
        panic!("{error:#}");
    }
}

fn run() -> Result<()> {
    let mut nodes = [node(0)?, node(1)?];
    nodes[0]
        .netns
        .ip(&format!("link add eth0 type veth peer name eth0 netns {}", nodes[1].netns.name()))?;
    for (node, addr) in nodes.iter().zip(NODES) {
        node.netns.ip(&format!("addr add {addr}/24 dev eth0"))?;
        node.netns.ip("link set eth0 up")?;
    }
    nodes[0].pods = vec![pod(&nodes[0], POD_A, 1)?, pod(&nodes[0], POD_B, 2)?];
    nodes[1].pods = vec![pod(&nodes[1], POD_R, 3)?];
    load(&mut nodes, 0)?;
    load(&mut nodes, 1)?;
    for pod in nodes.iter().flat_map(|node| &node.pods) {
        pod.netns.run(|| serve(pod.addr))?;
    }
    talk(&nodes)?;
    ends(&nodes)
}

fn node(index: usize) -> Result<Node> {
    let netns = Netns::new(&format!("n{index}"))?;
    netns.run(|| {
        for (name, value) in
            [("ip_forward", "1"), ("conf/all/rp_filter", "0"), ("conf/default/rp_filter", "0")]
        {
            std::fs::write(format!("/proc/sys/net/ipv4/{name}"), value)?;
        }
        Ok(())
    })?;
    netns.ip("link add skein_host type veth peer name skein_net")?;
    netns.ip("link add skein_vxlan type vxlan external dstport 8472")?;
    for device in ["skein_host", "skein_net"] {
        netns.ip(&format!("link set {device} arp off up"))?;
    }
    netns.ip("link set skein_vxlan up")?;
    let router = ROUTERS[index];
    netns.ip(&format!("addr add {router}/32 dev skein_host"))?;
    for range in ["10.1.0.0/24", "10.2.0.0/24", "10.96.0.0/16"] {
        netns.ip(&format!("route add {range} dev skein_host src {router} mtu 1450"))?;
    }
    Ok(Node { netns, pods: Vec::new(), kernel: None })
}

fn text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn pod(node: &Node, addr: Ipv4Addr, number: u32) -> Result<Pod> {
    let netns = Netns::new(&format!("p{number}"))?;
    let last = u8::try_from(number)?;
    let (mac, host_mac) = ([2, 0, 0, 0, 1, last], [2, 0, 0, 0, 2, last]);
    let device = format!("lxc{number}");
    let (outside, inside) = (text(host_mac), text(mac));
    let name = netns.name();
    node.netns.ip(&format!(
        "link add {device} address {outside} type veth peer name eth0 address {inside} netns {name}"
    ))?;
    node.netns.ip(&format!("link set {device} up"))?;
    let router = Ipv4Addr::from([10, addr.octets()[1], 0, 1]);
    netns.ip("link set eth0 mtu 1450 up")?;
    netns.ip(&format!("addr add {addr}/32 dev eth0"))?;
    netns.ip(&format!("route add {router} dev eth0 scope link"))?;
    netns.ip(&format!("route add default via {router}"))?;
    netns.ip(&format!("neigh add {router} lladdr {outside} dev eth0 nud permanent"))?;
    Ok(Pod { netns, addr, device, mac, host_mac, number })
}

fn ifindex(node: &Node, device: &str) -> Result<u32> {
    let device = device.to_owned();
    node.netns.run(move || Ok(if_nametoindex(device.as_str())?))
}

fn tables(nodes: &[Node; 2], own: usize) -> Result<Memory> {
    let node = &nodes[own];
    let mut memory = Memory::new(NodeConfig {
        flags: flags::PACKET_LB | flags::TUNNEL | flags::CHECK_MAC,
        node_ip_be: ip_be(NODES[own].octets()),
        router_ip_be: ip_be(ROUTERS[own].octets()),
        overlay_ifindex: ifindex(node, "skein_vxlan")?,
        host_ifindex: ifindex(node, "skein_host")?,
        ..NodeConfig::EMPTY
    });
    for pod in &node.pods {
        let (addr_be, ifindex) = (ip_be(pod.addr.octets()), ifindex(node, &pod.device)?);
        let identity = 3000 + pod.number;
        let endpoint = Endpoint {
            ifindex,
            identity,
            endpoint_id: pod.number,
            flags: 0,
            pod_mac: pod.mac,
            host_mac: pod.host_mac,
        };
        memory.endpoints.insert(EndpointKey { addr_be }, endpoint);
        let (endpoint_id, pod_mac) = (pod.number, pod.mac);
        let iface = Iface { addr_be, identity, endpoint_id, pod_mac, reserved: [0; 2] };
        memory.ifaces.insert(IfaceKey { ifindex }, iface);
    }
    for (index, node) in nodes.iter().enumerate() {
        let tunnel_be = ip_be(NODES[index].octets());
        let known = Ipcache { tunnel_be: 0, identity: identity::REMOTE_NODE, flags: FLAG_NODE };
        memory.ipcache.insert(IpcacheKey { addr_be: tunnel_be }, known);
        let block = ip_be([10, u8::try_from(index + 1)?, 0, 0]);
        let value = Ipcache { tunnel_be, identity: identity::WORLD, flags: 0 };
        memory.cidrs.insert(CidrKey { prefix_len: 24, addr_be: block }, value);
        for pod in &node.pods {
            let value = Ipcache { tunnel_be, identity: 3000 + pod.number, flags: 0 };
            memory.ipcache.insert(IpcacheKey { addr_be: ip_be(pod.addr.octets()) }, value);
        }
    }
    services(&mut memory);
    Ok(memory)
}

fn services(memory: &mut Memory) {
    let vip = ip_be(VIP.octets());
    memory.frontends.insert(FrontendKey::wildcard(vip), Frontend::default());
    for (id, addr) in [(1, POD_A), (2, POD_B), (3, POD_R)] {
        let addr_be = ip_be(addr.octets());
        let backend = Backend { addr_be, port_be: port_be(PORT), proto: TCP, flags: 0 };
        memory.backends.insert(BackendKey { id }, backend);
    }
    for (offset, proto) in [(0, TCP), (10, UDP)] {
        sample::service(memory, offset + 1, vip, WEB, proto, &[2, 3]);
        sample::service(memory, offset + 2, vip, OWN, proto, &[1]);
        sample::service(memory, offset + 3, vip, EMPTY, proto, &[]);
        sample::service(memory, offset + 4, vip, REMOTE, proto, &[3]);
    }
}

fn load(nodes: &mut [Node; 2], own: usize) -> Result<()> {
    let memory = tables(nodes, own)?;
    let mut kernel = Kernel::load(&memory.config, &twin::SMALL)?;
    kernel.fill(&memory)?;
    let node = &nodes[own];
    node.netns.run(|| {
        for pod in &node.pods {
            attach(&mut kernel, programs::POD_INGRESS, &pod.device, TcAttachType::Ingress)?;
        }
        attach(&mut kernel, programs::OVERLAY_INGRESS, "skein_vxlan", TcAttachType::Ingress)?;
        attach(&mut kernel, programs::NETDEV_INGRESS, "eth0", TcAttachType::Ingress)?;
        attach(&mut kernel, programs::HOST_EGRESS, "skein_host", TcAttachType::Egress)
    })?;
    nodes[own].kernel = Some(kernel);
    Ok(())
}

fn attach(kernel: &mut Kernel, program: &str, device: &str, at: TcAttachType) -> Result<()> {
    let loaded = kernel.ebpf().program_mut(program).context("a program of the object")?;
    let program: &mut SchedClassifier = loaded.try_into()?;
    program.attach(device, at).with_context(|| format!("attaching to {device}"))?;
    Ok(())
}

/// Echo servers for streams and datagrams, on threads that end with the test. A stream starts with
/// the server's address, so that a client learns who answered.
fn serve(addr: Ipv4Addr) -> Result<()> {
    let streams = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
    let datagrams = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
    std::thread::spawn(move || {
        for stream in streams.incoming().flatten() {
            std::thread::spawn(move || echo_stream(stream, addr));
        }
    });
    std::thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while let Ok((length, from)) = datagrams.recv_from(&mut buffer) {
            if datagrams.send_to(&buffer[..length], from).is_err() {
                return;
            }
        }
    });
    Ok(())
}

fn echo_stream(mut stream: TcpStream, addr: Ipv4Addr) -> std::io::Result<()> {
    stream.write_all(&addr.octets())?;
    let mut buffer = vec![0; 65_536];
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..length])?;
    }
}

/// Opens a stream, sends more than a buffer and gets it back; who answered.
fn stream(to: (Ipv4Addr, u16)) -> Result<Ipv4Addr> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from(to), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut who = [0; 4];
    stream.read_exact(&mut who)?;
    let sent: Vec<u8> = (0..STREAM_BYTES).map(|i| i.to_le_bytes()[0]).collect();
    let mut writer = stream.try_clone()?;
    let content = sent.clone();
    let writing = std::thread::spawn(move || writer.write_all(&content));
    let mut back = vec![0; STREAM_BYTES];
    stream.read_exact(&mut back).context("reading the echo")?;
    writing.join().expect("the writer").context("writing")?;
    ensure!(back == sent, "the echo of {to:?} differs");
    Ok(who.into())
}

/// Sends a datagram of this size and gets it back from the address it was sent to.
fn datagram(to: (Ipv4Addr, u16), bytes: usize) -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let sent: Vec<u8> = (0..bytes).map(|i| i.to_le_bytes()[0]).collect();
    socket.send_to(&sent, to)?;
    let mut back = vec![0; 65_536];
    let (length, from) = socket.recv_from(&mut back).context("waiting for the echo")?;
    ensure!(from == SocketAddr::from(to), "asked {to:?}, answered by {from}");
    ensure!(back[..length] == sent[..], "the echo of {to:?} differs");
    Ok(())
}

fn both(to: (Ipv4Addr, u16)) -> Result<()> {
    stream(to).with_context(|| format!("stream to {to:?}"))?;
    for bytes in [10, 1400, DATAGRAM_BYTES] {
        datagram(to, bytes).with_context(|| format!("datagram of {bytes} bytes to {to:?}"))?;
    }
    Ok(())
}

fn refused(port: u16) -> Result<()> {
    let error = TcpStream::connect_timeout(&(VIP, port).into(), PATIENCE).err();
    let kind = error.map(|error| error.kind());
    ensure!(kind == Some(ErrorKind::ConnectionRefused), "stream to port {port}: {kind:?}");
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect((VIP, port))?;
    socket.send(b"x")?;
    let kind = socket.recv(&mut [0; 8]).err().map(|error| error.kind());
    ensure!(kind == Some(ErrorKind::ConnectionRefused), "datagram to port {port}: {kind:?}");
    Ok(())
}

fn talk(nodes: &[Node; 2]) -> Result<()> {
    let client = &nodes[0].pods[0].netns;
    for to in [(POD_B, PORT), (POD_R, PORT), (VIP, REMOTE), (VIP, OWN), (VIP, WEB)] {
        client.run(|| both(to)).with_context(|| format!("from a pod to {to:?}"))?;
    }
    client.run(|| {
        let mut answered = BTreeMap::new();
        for _ in 0..20 {
            *answered.entry(stream((VIP, WEB))?).or_insert(0) += 1;
        }
        ensure!(answered.len() == 2, "both backends should have answered: {answered:?}");
        refused(EMPTY)?;
        refused(9)
    })?;
    // The node itself: to its pod, to the other node's, and to services without socket hooks.
    for to in [(POD_A, PORT), (POD_R, PORT), (VIP, REMOTE), (VIP, WEB)] {
        nodes[0].netns.run(|| both(to)).with_context(|| format!("from the node to {to:?}"))?;
    }
    nodes[0].netns.run(|| refused(EMPTY)).context("the node is refused")?;
    // Pods to nodes: their own by its router address, the other by the tunnel.
    nodes[0].netns.run(|| serve(ROUTERS[0]))?;
    nodes[1].netns.run(|| serve(ROUTERS[1]))?;
    for to in [(ROUTERS[0], PORT), (ROUTERS[1], PORT)] {
        client.run(|| both(to)).with_context(|| format!("from a pod to {to:?}"))?;
    }
    // Streams only: a datagram server on all addresses answers from the router address.
    client.run(|| stream((NODES[0], PORT))).context("from a pod to its node")?;
    Ok(())
}

/// Every counted end was meant.
fn ends(nodes: &[Node; 2]) -> Result<()> {
    for node in nodes {
        let kernel = node.kernel.as_ref().context("a loaded node")?;
        let metrics: BTreeMap<(Reason, Direction), Metric> = kernel.metrics()?;
        for ((reason, direction), metric) in &metrics {
            println!("{:<12} {:<24} {:>6}", direction.name(), reason.name(), metric.packets);
        }
        let unexpected: Vec<_> = metrics
            .keys()
            .filter(|(reason, _)| reason.outcome() == Outcome::Drop)
            .filter(|(reason, _)| *reason != Reason::NotIpv4)
            .collect();
        ensure!(unexpected.is_empty(), "dropped: {unexpected:?}");
    }
    Ok(())
}
