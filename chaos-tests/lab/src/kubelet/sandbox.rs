//! One pod's sandbox: namespace, address by the CNI plugin, server, first answer.

use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{PodRun, file_name};
use crate::cluster::places;
use crate::cni::{self, Container, Failure};
use crate::echo::EchoConfig;
use crate::layout::Layout;
use crate::net;
use crate::process::{Process, command, in_netns};
use crate::spec::{Datapath, Spec, write_atomically};
use crate::topology as topo;
use crate::workload::{PodKey, Protocol};

/// Ports to listen on.
pub(super) type Ports = Vec<(Protocol, u16)>;

/// How long an agent may take to hand out the first address of its node: it waits for the node's block.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause before a call that was told to come later.
const ADDRESS_PAUSE: Duration = Duration::from_millis(50);
/// How long a server may take to answer for the first time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one probe waits.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);
/// Annotation of the lab's own DNS pod.
pub const ROLE_ANNOTATION: &str = "lab.skein.io/role";

/// Name of the pod's namespace, process and log.
pub fn part(key: &PodKey) -> String {
    format!("pod-{}-{}", key.namespace, key.name)
}

/// Brings a pod up; what is there already stays.
pub(super) fn start(
    layout: &Layout,
    spec: &Spec,
    pod: &mut PodRun,
    ports: &Ports,
) -> Result<Option<Process>> {
    if pod.ip.is_none() {
        pod.ip = Some(address(layout, spec, pod)?);
    }
    if spec.datapath == Datapath::Memory {
        (pod.serving, pod.waiting) = (true, None);
        return Ok(None);
    }
    let process = serve(layout, spec, pod, ports)?;
    if let Err(error) = first_answer(layout, pod, ports) {
        bail!("{error:#}; its log is {}", process.log().display());
    }
    (pod.serving, pod.waiting) = (true, None);
    Ok(Some(process))
}

fn address(layout: &Layout, spec: &Spec, pod: &PodRun) -> Result<Ipv4Addr> {
    if pod.plan.host_network {
        let nodes = spec.node_addresses();
        let node = nodes.iter().find(|(name, _)| *name == pod.plan.node);
        return Ok(node.context("its node is gone")?.1);
    }
    let netns = netns(layout, spec, pod);
    if spec.datapath == Datapath::Ebpf && !netns.exists() {
        net::create_netns(layout, &part(&pod.plan.key))?;
    }
    let place = places::node(layout, spec, &pod.plan.node);
    let socket = layout.agent_socket(&pod.plan.node);
    let deadline = Instant::now() + ADDRESS_TIMEOUT;
    loop {
        let answer =
            cni::add(&spec.binaries.join("skein-cni"), &place, &socket, &container(pod, &netns))?;
        match answer {
            Ok(ip) => return Ok(ip),
            Err(Failure::Later(words)) if Instant::now() > deadline => {
                bail!(
                    "no address after {ADDRESS_TIMEOUT:?}: {words} (see {})",
                    layout.log(&format!("agent-{}", pod.plan.node)).display()
                )
            }
            Err(Failure::Later(_)) => std::thread::sleep(ADDRESS_PAUSE),
            Err(Failure::Final(words)) => bail!("the CNI plugin refused: {words}"),
        }
    }
}

/// Handle of the pod's namespace; in memory mode no such file exists and the agent does not look.
fn netns(layout: &Layout, spec: &Spec, pod: &PodRun) -> PathBuf {
    match spec.datapath {
        Datapath::Ebpf => layout.netns(&part(&pod.plan.key)),
        Datapath::Memory => layout.dir().join("no-netns").join(part(&pod.plan.key)),
    }
}

fn container<'a>(pod: &'a PodRun, netns: &'a Path) -> Container<'a> {
    Container { pod: &pod.plan.key, uid: &pod.uid, id: &pod.container_id, netns }
}

fn config_path(layout: &Layout, key: &PodKey) -> PathBuf {
    layout.dir().join("echo").join(format!("{}.json", file_name(key)))
}

/// Tells a running server which ports to listen on.
pub(super) fn write_ports(layout: &Layout, spec: &Spec, pod: &PodRun, ports: &Ports) -> Result<()> {
    if spec.datapath == Datapath::Memory {
        return Ok(());
    }
    let bind = match (pod.plan.host_network, pod.ip) {
        (true, Some(ip)) => ip,
        _ => Ipv4Addr::UNSPECIFIED,
    };
    let config = EchoConfig {
        pod: pod.plan.key.to_string(),
        node: pod.plan.node.clone(),
        ports: ports.clone(),
        bind,
    };
    let (path, bytes) = (config_path(layout, &pod.plan.key), serde_json::to_vec(&config)?);
    if std::fs::read(&path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    write_atomically(layout, &path, &bytes)
}

fn serve(layout: &Layout, spec: &Spec, pod: &PodRun, ports: &Ports) -> Result<Process> {
    write_ports(layout, spec, pod, ports)?;
    let name = part(&pod.plan.key);
    let place = places::pod(layout, &pod.plan)?;
    let mut command = command(&place, crate::process::own_program())?;
    if pod.plan.annotations.get(ROLE_ANNOTATION).is_some_and(|role| role == "dns") {
        command.args(["dns", "--store", &spec.store_url()]);
    } else {
        command.arg("echo").arg(config_path(layout, &pod.plan.key));
    }
    Process::start(&name, command, &layout.log(&name), &layout.pids())
}

/// Probes from the node, as a kubelet does: node to pod.
fn first_answer(layout: &Layout, pod: &PodRun, ports: &Ports) -> Result<()> {
    let ip = pod.ip.context("no address to probe")?;
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    in_netns(&layout.netns(&pod.plan.node), || {
        for (protocol, port) in ports {
            let at = SocketAddr::from((ip, *port));
            while let Err(error) = probe(*protocol, at) {
                if Instant::now() > deadline {
                    bail!("{} does not answer at {at} ({protocol:?}): {error}", pod.plan.key);
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(())
    })
}

fn probe(protocol: Protocol, at: SocketAddr) -> std::io::Result<()> {
    match protocol {
        Protocol::Tcp => TcpStream::connect_timeout(&at, PROBE_TIMEOUT).map(drop),
        Protocol::Udp => {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.set_read_timeout(Some(PROBE_TIMEOUT))?;
            socket.connect(at)?;
            socket.send(&dns_probe())?;
            socket.recv(&mut [0; 512]).map(drop)
        }
    }
}

/// A question any DNS server answers (RFC 1035: id 1, one question, root, A, IN); an echo server repeats it.
fn dns_probe() -> [u8; 17] {
    [0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1]
}

/// Takes a pod's sandbox away. With its node gone there is no agent to call.
pub(super) fn remove(layout: &Layout, spec: &Spec, pod: &PodRun, node_is_here: bool) -> Result<()> {
    if pod.plan.host_network {
        return Ok(());
    }
    let netns = netns(layout, spec, pod);
    let mut result = Ok(());
    if node_is_here && pod.ip.is_some() {
        let place = places::node(layout, spec, &pod.plan.node);
        let socket = layout.agent_socket(&pod.plan.node);
        result =
            cni::del(&spec.binaries.join("skein-cni"), &place, &socket, &container(pod, &netns));
    }
    if spec.datapath == Datapath::Ebpf {
        net::delete_netns(layout, &part(&pod.plan.key));
        places::remove_pod_cgroup(layout, &pod.plan);
    }
    result
}

/// Where pods ask for names.
#[must_use]
pub fn resolv_conf(namespace: &str) -> String {
    let domain = topo::CLUSTER_DOMAIN;
    format!(
        "nameserver {}\nsearch {namespace}.svc.{domain} svc.{domain} {domain}\noptions ndots:5 timeout:2\n",
        topo::DNS_IP
    )
}
