//! A whole cluster: control plane, nodes with their agents, the client outside, and the kubelet that fills it.

pub mod builtin;
pub mod places;
pub mod settle;
pub mod teardown;
pub mod traffic;

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::agentctl::AgentSocket;
use crate::echo::EchoConfig;
use crate::kubelet::Kubelet;
use crate::layout::Layout;
use crate::process::{Place, Process, command, in_netns};
use crate::spec::{Datapath, Spec, write_atomically};
use crate::topology as topo;
use crate::workload::Protocol;
use crate::{net, progress::Progress};

/// How long a daemon may take from start to its first answer.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How long all pods together may take to answer.
const PODS_TIMEOUT: Duration = Duration::from_secs(120);
/// Name of the control plane's process.
const CP_PROCESS: &str = "controlplane";
/// Name of the process that echoes on the client outside.
const CLIENT_PROCESS: &str = "client";

/// Who serves the store of a lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreRole {
    /// The control plane, embedded.
    ControlPlane,
    /// `skein-store` alone: whoever measures writes what a control plane would.
    Alone,
}

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    /// Where its files are.
    pub layout: Layout,
    /// What it is made of.
    pub spec: Spec,
    /// Its pods.
    pub kubelet: Kubelet,
    cp: Option<Process>,
    agents: BTreeMap<String, Process>,
    /// Kept so that the process is reaped when it ends.
    client: Option<Process>,
    /// The name server of a lab without packets, kept for the same reason.
    dns: Option<Process>,
}

impl Cluster {
    /// Builds a cluster and waits until every pod answers and every map holds what the store holds.
    ///
    /// # Errors
    /// Something did not start; the message names the log. What was built so far is left for [`teardown::down`].
    pub fn up(spec: &Spec, progress: &mut Progress) -> Result<Self> {
        let mut cluster = Self::up_without_pods(spec, StoreRole::ControlPlane, progress)?;
        progress.step("pods, by the CNI plugin", |say| cluster.start_pods(say))?;
        progress.step("every map holds what the store holds", |_| cluster.wait_in_maps())?;
        Ok(cluster)
    }

    /// The same without pods and manifests read.
    ///
    /// # Errors
    /// As [`Cluster::up`].
    pub fn up_without_pods(spec: &Spec, store: StoreRole, progress: &mut Progress) -> Result<Self> {
        let layout = Layout::new(&spec.name);
        make_directories(&layout)?;
        spec.save(&layout)?;
        builtin::write(&layout)?;
        let mut cluster = Self {
            kubelet: Kubelet::open(&layout, spec)?,
            spec: spec.clone(),
            layout,
            cp: None,
            agents: BTreeMap::new(),
            client: None,
            dns: None,
        };
        if spec.datapath == Datapath::Ebpf {
            progress.step("network namespaces, cgroups, bpffs", |_| cluster.make_network())?;
        }
        match store {
            StoreRole::ControlPlane => {
                let name = "control plane with its embedded store";
                progress.step(name, |_| cluster.start_control_plane())?;
            }
            StoreRole::Alone => progress.step("store", |_| cluster.start_store_alone())?,
        }
        for (node, _) in spec.node_addresses() {
            progress.step(&format!("agent on {node}"), |_| cluster.start_agent(&node))?;
        }
        Ok(cluster)
    }

    /// Takes over a cluster that another process built.
    ///
    /// # Errors
    /// No lab of that name is up.
    pub fn attach(name: &str) -> Result<Self> {
        let layout = Layout::new(name);
        let spec = Spec::load(&layout)?;
        let find = |process: &str| Process::find(process, &layout.log(process), &layout.pids());
        let agents = spec
            .node_addresses()
            .into_iter()
            .filter_map(|(node, _)| Some((node.clone(), find(&agent_process(&node))?)))
            .collect();
        let (cp, client) = (find(CP_PROCESS), find(CLIENT_PROCESS));
        Ok(Self {
            kubelet: Kubelet::open(&layout, &spec)?,
            spec,
            cp,
            agents,
            client,
            dns: None,
            layout,
        })
    }

    fn make_network(&mut self) -> Result<()> {
        net::mount_bpffs(&self.layout, &self.layout.bpf())?;
        net::create_base(&self.layout)?;
        for (node, ip) in self.spec.node_addresses() {
            net::create_node(&self.layout, &node, ip)?;
        }
        self.start_client()
    }

    fn start_client(&mut self) -> Result<()> {
        let config = EchoConfig {
            pod: "outside/client".to_owned(),
            node: "client".to_owned(),
            ports: vec![(Protocol::Tcp, topo::CLIENT_PORT), (Protocol::Udp, topo::CLIENT_PORT)],
            bind: topo::CLIENT_IP,
        };
        let path = self.layout.dir().join("echo/client.json");
        write_atomically(&self.layout, &path, &serde_json::to_vec(&config)?)?;
        let place = places::outside(&self.layout, &self.spec, net::CLIENT);
        let mut command = command(&place, crate::process::own_program())?;
        command.arg("echo").arg(path);
        self.client = Some(self.start(CLIENT_PROCESS, command)?);
        Ok(())
    }

    fn start(&self, name: &str, command: std::process::Command) -> Result<Process> {
        Process::start(name, command, &self.layout.log(name), &self.layout.pids())
    }

    /// Starts the control plane and waits until its store takes connections.
    ///
    /// # Errors
    /// It ended or did not listen in time.
    pub fn start_control_plane(&mut self) -> Result<()> {
        let place = places::control_plane(&self.layout, &self.spec);
        let mut command = command(&place, &self.spec.binaries.join("skein-controlplane"))?;
        command
            .arg("--data-dir")
            .arg(self.layout.cp_data())
            .args(["--listen-client-urls", &self.spec.store_url()])
            .args(["--cluster-name", topo::CLUSTER_NAME])
            .args(["--cluster-id", &topo::CLUSTER_ID.to_string()])
            .args(["--cluster-pool-ipv4-cidr", topo::POD_CIDR])
            .args(["--cluster-pool-ipv4-mask-size", &topo::POD_BLOCK_MASK.to_string()])
            .args(["--service-cidr", topo::SERVICE_CIDR]);
        for folder in [self.layout.objects(), self.layout.builtin()] {
            command.arg("--manifests").arg(folder);
        }
        for folder in &self.spec.manifests {
            command.arg("--manifests").arg(folder);
        }
        self.cp = Some(self.start_listening(CP_PROCESS, command)?);
        Ok(())
    }

    fn start_store_alone(&mut self) -> Result<()> {
        let place = places::control_plane(&self.layout, &self.spec);
        let mut command = command(&place, &self.spec.binaries.join("skein-store"))?;
        let url = self.spec.store_url();
        command
            .args(["--name", self.layout.name()])
            .arg("--data-dir")
            .arg(self.layout.cp_data())
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
        self.cp = Some(self.start_listening("store", command)?);
        Ok(())
    }

    fn start_listening(&self, name: &str, command: std::process::Command) -> Result<Process> {
        let mut process = self.start(name, command)?;
        let at = std::net::SocketAddr::from((self.spec.cp_ip(), self.spec.store_port));
        process.wait_until("listening", START_TIMEOUT, || {
            self.in_cp(|| Ok(TcpStream::connect_timeout(&at, Duration::from_millis(200))?)).is_ok()
        })?;
        Ok(process)
    }

    /// Runs `work` on a thread that reaches the store.
    ///
    /// # Errors
    /// What `work` returns.
    pub fn in_cp<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        match self.spec.datapath {
            Datapath::Ebpf => in_netns(&self.layout.netns(net::CP), work),
            Datapath::Memory => work(),
        }
    }

    /// Stops the control plane and with it the store.
    ///
    /// # Errors
    /// It had to be killed.
    pub fn stop_control_plane(&mut self) -> Result<()> {
        self.cp.take().context("the control plane is not running")?.terminate()
    }

    /// Starts the name server on loopback, for labs whose DNS pod is no process.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_dns(&mut self) -> Result<std::net::SocketAddr> {
        let at = crate::dns::free_address()?;
        let mut command = command(&Place::default(), crate::process::own_program())?;
        command.args(["dns", "--store", &self.spec.store_url(), "--listen", &at.to_string()]);
        let mut process = self.start("dns", command)?;
        let ready = format!("kube-dns.kube-system.svc.{}.", topo::CLUSTER_DOMAIN);
        process.wait_until("answering", START_TIMEOUT, || {
            crate::dns::ask(at, &ready).is_ok_and(|found| !found.is_empty())
        })?;
        self.dns = Some(process);
        Ok(at)
    }

    /// Ends the control plane with SIGKILL.
    ///
    /// # Errors
    /// It is not running.
    pub fn kill_control_plane(&mut self) -> Result<()> {
        self.cp.take().context("the control plane is not running")?.kill();
        Ok(())
    }

    /// Starts a node's agent and waits until it answers on its socket.
    ///
    /// # Errors
    /// It ended or did not answer in time.
    pub fn start_agent(&mut self, node: &str) -> Result<()> {
        let program = self.spec.binaries.join("skein-agent");
        self.start_agent_from(node, &program)
    }

    /// The same with another build of the agent.
    ///
    /// # Errors
    /// It ended or did not answer in time.
    pub fn start_agent_from(&mut self, node: &str, program: &Path) -> Result<()> {
        let command = self.agent_command(node, program)?;
        let mut process = self.start(&agent_process(node), command)?;
        let socket = self.layout.agent_socket(node);
        process.wait_until("answering on its socket", START_TIMEOUT, || {
            AgentSocket::connect(&socket)
                .and_then(|mut s| s.ask(&serde_json::json!({"op": "status"})))
                .is_ok()
        })?;
        self.agents.insert(node.to_owned(), process);
        Ok(())
    }

    fn agent_command(&self, node: &str, program: &Path) -> Result<std::process::Command> {
        let place = places::node(&self.layout, &self.spec, node);
        let mut command = command(&place, program)?;
        command
            .arg("run")
            .args(["--node-name", node])
            .args(["--cluster-name", topo::CLUSTER_NAME])
            .args(["--store-endpoints", &self.spec.store_url()])
            .arg("--state-dir")
            .arg(self.layout.node_state(node))
            .args(["--routing-mode", self.spec.routing.word()]);
        if self.spec.datapath == Datapath::Memory {
            let number = node.trim_start_matches("node").parse().unwrap_or_default();
            command.args(["--datapath", "memory"]);
            command.args(["--node-ip", &self.spec.node_ip(number).to_string()]);
            return Ok(command);
        }
        command
            .args(["--datapath", "ebpf", "--devices", "eth0"])
            .arg("--bpf-root")
            .arg(self.layout.node_bpf(node))
            .arg("--cgroup-root")
            .arg(places::node_cgroup(&self.layout, node)?)
            .arg(format!("--socket-lb={}", self.spec.socket_lb))
            .arg(format!("--per-packet-lb={}", self.spec.packet_lb));
        Ok(command)
    }

    /// Ends a node's agent with SIGKILL.
    ///
    /// # Errors
    /// It is not running.
    pub fn kill_agent(&mut self, node: &str) -> Result<()> {
        self.agents.remove(node).context("no such agent runs")?.kill();
        Ok(())
    }

    /// Ends a node's agent with SIGTERM.
    ///
    /// # Errors
    /// It is not running, or had to be killed.
    pub fn stop_agent(&mut self, node: &str) -> Result<()> {
        self.agents.remove(node).context("no such agent runs")?.terminate()
    }

    /// Process number of a node's agent.
    #[must_use]
    pub fn agent_pid(&self, node: &str) -> Option<i32> {
        self.agents.get(node).map(Process::pid)
    }

    /// A connection to a node's agent.
    ///
    /// # Errors
    /// It does not answer.
    pub fn agent(&self, node: &str) -> Result<AgentSocket> {
        AgentSocket::connect(&self.layout.agent_socket(node))
    }

    /// Names of the nodes there are.
    #[must_use]
    pub fn nodes(&self) -> Vec<String> {
        self.spec.node_addresses().into_iter().map(|(name, _)| name).collect()
    }

    /// One round of the kubelet.
    ///
    /// # Errors
    /// See [`Kubelet::reconcile`].
    pub fn reconcile(&mut self) -> Result<()> {
        self.kubelet.reap();
        self.kubelet.reconcile(&self.spec)
    }

    /// Rounds of the kubelet until every pod answers.
    ///
    /// # Errors
    /// Some pod does not; the message says which and why.
    pub fn start_pods(&mut self, say: &mut dyn FnMut(&str)) -> Result<()> {
        let deadline = Instant::now() + PODS_TIMEOUT;
        loop {
            self.reconcile()?;
            let pods = self.kubelet.pods();
            let serving = pods.values().filter(|p| p.serving).count();
            say(&format!("{serving} of {}", pods.len()));
            if self.kubelet.settled() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let waiting = pods
                    .values()
                    .filter_map(|p| Some(format!("{}: {}", p.plan.key, p.waiting.as_deref()?)));
                bail!("pods do not answer: {}", waiting.collect::<Vec<_>>().join("; "));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Adds one node to the running cluster and returns its name.
    ///
    /// # Errors
    /// Its network or agent does not come up.
    pub fn add_node(&mut self) -> Result<String> {
        let number = self.spec.nodes.iter().max().copied().unwrap_or_default() + 1;
        let node = topo::node_name(number);
        if number > topo::NODES_MAX {
            bail!("no address left for {node}");
        }
        if self.spec.datapath == Datapath::Ebpf {
            net::create_node(&self.layout, &node, self.spec.node_ip(number))?;
        }
        self.spec.nodes.push(number);
        self.spec.save(&self.layout)?;
        self.start_agent(&node)?;
        Ok(node)
    }

    /// Takes one node away: its pods move, then its agent stops and its namespace goes.
    ///
    /// # Errors
    /// The pods cannot be moved.
    pub fn remove_node(&mut self, node: &str) -> Result<()> {
        if !self.nodes().iter().any(|n| n == node) {
            bail!("no node named {node}");
        }
        self.spec.nodes.retain(|n| topo::node_name(*n) != node);
        self.spec.save(&self.layout)?;
        self.reconcile()?;
        if self.agents.contains_key(node) {
            self.stop_agent(node)?;
        }
        if self.spec.datapath == Datapath::Ebpf {
            places::remove_cgroup(&places::node_cgroup(&self.layout, node)?);
            net::delete_netns(&self.layout, node);
            let _ = std::fs::remove_dir_all(self.layout.node_bpf(node));
        }
        let _ = std::fs::remove_dir_all(self.layout.node_state(node));
        Ok(())
    }
}

fn agent_process(node: &str) -> String {
    format!("agent-{node}")
}

fn make_directories(layout: &Layout) -> Result<()> {
    let parts = ["log", "nodes", "echo", "resolv", "requests/not-ready", "requests/delete"];
    let own: Vec<PathBuf> = parts.iter().map(|p| layout.dir().join(p)).collect();
    let named = [layout.pids(), layout.objects(), layout.builtin(), layout.staging()];
    for dir in own.iter().chain(&named) {
        std::fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    }
    Ok(())
}
