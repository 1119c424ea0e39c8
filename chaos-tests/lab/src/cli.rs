//! The command line.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};

use crate::cluster::{Cluster, teardown};
use crate::kubelet::Kubelet;
use crate::layout::{Layout, NETNS_DIR, valid_name};
use crate::process::{Place, Process, command};
use crate::spec::{Datapath, Routing, Spec};
use crate::traffic::{self, Traffic};
use crate::{bench, demo, dns, e2e, privilege, progress::Progress, ps, topology as topo};

/// How often the kubelet of a lab that is left up looks for changes.
const KUBELET_PERIOD: Duration = Duration::from_millis(300);
/// Name of that kubelet's process.
const KUBELET_PROCESS: &str = "kubelet";

/// A Kubernetes-style cluster out of network namespaces on this machine, with Skein's real binaries and real packets.
///
/// Try: `skein-lab demo`, or `skein-lab up`, `skein-lab ps`, `skein-lab exec node1 -- skein-agent status`,
/// `skein-lab exec cp -- skeinctl status`, `skein-lab down`.
#[derive(Parser, Debug)]
#[command(name = "skein-lab", version)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

/// What a lab is made of.
#[derive(Args, Clone, Debug)]
pub struct LabArgs {
    /// Name of the lab: everything it makes carries it, so several can be up at once.
    #[arg(long, default_value = "skein")]
    pub name: String,
    /// Number of nodes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=i64::from(topo::NODES_MAX)))]
    pub nodes: u32,
    /// How packets between nodes travel.
    #[arg(long = "routing", value_enum, default_value_t = Routing::Tunnel)]
    pub routing: Routing,
    /// Folder of Kubernetes manifests, watched; repeatable.
    #[arg(long)]
    pub manifests: Vec<PathBuf>,
    /// Directory of Skein's binaries; default: where this one is.
    #[arg(long)]
    pub binaries: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
struct Name {
    /// Name of the lab.
    #[arg(long, default_value = "skein")]
    name: String,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Builds a cluster, shows what it does with your manifests, and removes it again.
    Demo {
        #[command(flatten)]
        lab: LabArgs,
        /// Leave the cluster up; `skein-lab down` removes it.
        #[arg(long)]
        keep: bool,
        /// Run with maps in memory even where eBPF could be loaded.
        #[arg(long)]
        memory: bool,
    },
    /// Builds a cluster and leaves it up.
    Up(LabArgs),
    /// Removes a cluster, also one whose builder crashed.
    Down(Name),
    /// Lists nodes, pods and processes of a cluster.
    Ps(Name),
    /// Runs a command in a node, a pod, the control plane's namespace (cp) or the client's (client).
    ///
    /// Skein's programs need no path and no address there: `exec cp -- skeinctl status`, `exec node1 -- skein-agent bpf
    /// lb list`. etcdctl finds the store too.
    Exec {
        #[command(flatten)]
        name: Name,
        /// Node, pod (namespace/name or a beginning that is unique), cp or client.
        at: String,
        /// The command.
        #[arg(last = true, required = true)]
        words: Vec<String>,
    },
    /// Changes a pod of a cluster that is up.
    Pod {
        #[command(flatten)]
        name: Name,
        #[command(subcommand)]
        change: PodChange,
    },
    /// Changes a node of a cluster that is up.
    Node {
        #[command(flatten)]
        name: Name,
        #[command(subcommand)]
        change: NodeChange,
    },
    /// Stops or starts the control plane and its store.
    Store {
        #[command(flatten)]
        name: Name,
        /// `stop` or `start`.
        #[arg(value_parser = ["stop", "start"])]
        change: String,
    },
    /// Runs the end-to-end tests.
    E2e(e2e::E2eArgs),
    /// Measures, and prints markdown.
    Bench(bench::BenchArgs),
    /// Says what is missing for real packets; exit code 0 when nothing is.
    Check,
    /// The kubelet of a lab that was left up.
    #[command(hide = true)]
    Kubelet(Name),
    /// The server inside a pod.
    #[command(hide = true)]
    Echo { config: PathBuf },
    /// The name server inside its pod.
    #[command(hide = true)]
    Dns(dns::DnsArgs),
    /// One traffic generator.
    #[command(hide = true, subcommand)]
    Traffic(Traffic),
}

#[derive(Subcommand, Debug)]
enum PodChange {
    /// Counts as ready again.
    Ready { pod: String },
    /// Counts as not ready.
    Unready { pod: String },
    /// Is deleted; its workload makes another.
    Delete { pod: String },
}

#[derive(Subcommand, Debug)]
enum NodeChange {
    /// One more node.
    Add,
    /// One node less; its pods move.
    Remove { node: String },
    /// The node's agent ends without warning.
    KillAgent { node: String },
    /// The node's agent starts.
    StartAgent { node: String },
}

impl Cli {
    /// Does what the command line says.
    ///
    /// # Errors
    /// See the verbs.
    pub fn run(self) -> Result<ExitCode> {
        match self.verb {
            Verb::Demo { lab, keep, memory } => demo::run(&lab, keep, memory),
            Verb::Up(lab) => up(&lab),
            Verb::Down(Name { name }) => down(&name),
            Verb::Ps(Name { name }) => ps::print(&Cluster::attach(&name)?),
            Verb::Exec { name, at, words } => exec(&name.name, &at, &words),
            Verb::Pod { name, change } => change_pod(&name.name, &change),
            Verb::Node { name, change } => change_node(&name.name, &change),
            Verb::Store { name, change } => change_store(&name.name, &change),
            Verb::E2e(args) => e2e::run(&args),
            Verb::Bench(args) => bench::run(&args),
            Verb::Check => Ok(check()),
            Verb::Kubelet(Name { name }) => kubelet(&name),
            Verb::Echo { config } => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(crate::echo::run(config))?;
                Ok(ExitCode::SUCCESS)
            }
            Verb::Dns(args) => dns::run(&args),
            Verb::Traffic(kind) => {
                let report = traffic::run(&kind);
                writeln!(std::io::stdout(), "{}", serde_json::to_string(&report)?)?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

impl LabArgs {
    /// The lab these arguments describe.
    ///
    /// # Errors
    /// A name that cannot be part of paths, a folder or a binary that is not there.
    pub fn spec(&self, datapath: Datapath) -> Result<Spec> {
        if !valid_name(&self.name) {
            bail!("the name {:?} is not 1 to 24 lower-case letters and digits", self.name);
        }
        if Layout::new(&self.name).dir().exists() {
            bail!("a lab named {0} is up: `skein-lab down --name {0}` removes it", self.name);
        }
        let folder = |dir: &PathBuf| {
            dir.canonicalize().with_context(|| format!("the folder {}", dir.display()))
        };
        let manifests = self.manifests.iter().map(folder).collect::<Result<_>>()?;
        let own = std::env::current_exe()?;
        let binaries = match &self.binaries {
            Some(dir) => dir.canonicalize()?,
            None => own.parent().context("no directory of binaries")?.to_owned(),
        };
        for binary in ["skein-controlplane", "skein-agent", "skein-cni"] {
            if !binaries.join(binary).is_file() {
                bail!("{binary} is not in {}: `make build` builds it", binaries.display());
            }
        }
        let store_port = match datapath {
            Datapath::Ebpf => topo::STORE_PORT,
            Datapath::Memory => free_port()?,
        };
        Ok(Spec {
            name: self.name.clone(),
            datapath,
            routing: self.routing,
            socket_lb: true,
            packet_lb: true,
            manifests,
            binaries,
            nodes: (1..=self.nodes).collect(),
            store_port,
            had_netns_dir: std::path::Path::new(NETNS_DIR).exists(),
        })
    }
}

/// A port nobody listens on now. Another process may take it before the store does; the store then says so.
fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?.port())
}

fn up(args: &LabArgs) -> Result<ExitCode> {
    let missing = privilege::missing();
    if !missing.is_empty() {
        bail!("missing here: {} (`skein-lab demo` runs without)", missing.join("; "));
    }
    let spec = args.spec(Datapath::Ebpf)?;
    let mut progress = Progress::new();
    match Cluster::up(&spec, &mut progress) {
        Ok(cluster) => {
            leave_up(&cluster)?;
            println!("up; `skein-lab ps --name {0}`, `skein-lab down --name {0}`", spec.name);
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Err(failed_up(&spec.name, error)),
    }
}

/// Removes what was built of a lab that did not come up, and says where its logs went.
#[must_use]
pub fn failed_up(name: &str, error: anyhow::Error) -> anyhow::Error {
    match teardown::down(name, teardown::Logs::Keep) {
        Ok(Some(logs)) => error.context(format!("logs are kept in {}", logs.display())),
        Ok(None) => error,
        Err(left) => error.context(format!("and {left:#}")),
    }
}

/// Starts the kubelet that goes on when this process ends.
///
/// # Errors
/// It cannot be started.
pub fn leave_up(cluster: &Cluster) -> Result<()> {
    let layout = &cluster.layout;
    let mut command = command(&Place::default(), crate::process::own_program())?;
    command.args(["kubelet", "--name", layout.name()]);
    Process::start(KUBELET_PROCESS, command, &layout.log(KUBELET_PROCESS), &layout.pids())?;
    Ok(())
}

fn down(name: &str) -> Result<ExitCode> {
    teardown::down(name, teardown::Logs::Remove)?;
    println!("{name} is gone");
    Ok(ExitCode::SUCCESS)
}

fn kubelet(name: &str) -> Result<ExitCode> {
    let layout = Layout::new(name);
    let mut kubelet = Kubelet::open(&layout, &Spec::load(&layout)?)?;
    loop {
        kubelet.reap();
        if let Err(error) = Spec::load(&layout).and_then(|spec| kubelet.reconcile(&spec)) {
            eprintln!("{error:#}");
        }
        std::thread::sleep(KUBELET_PERIOD);
    }
}

/// Runs a command where a part of the cluster runs. Skein's own programs are found without a path and know the lab's
/// store and, on a node, its agent.
fn exec(name: &str, at: &str, words: &[String]) -> Result<ExitCode> {
    let cluster = Cluster::attach(name)?;
    let own = cluster.spec.binaries.join(&words[0]);
    let program = if own.is_file() { Some(own) } else { privilege::find_program(&words[0]) };
    let program = program.unwrap_or_else(|| PathBuf::from(&words[0]));
    let mut command = command(&cluster.place_of(at)?, &program)?;
    let store = cluster.spec.store_url();
    command.env("SKEINCTL_ENDPOINTS", &store).env("ETCDCTL_ENDPOINTS", &store);
    if cluster.nodes().iter().any(|node| node == at) {
        command.env("SKEIN_AGENT_SOCKET", cluster.layout.agent_socket(at));
    }
    Err(command.args(&words[1..]).exec()).with_context(|| format!("run {}", words[0]))
}

fn change_pod(name: &str, change: &PodChange) -> Result<ExitCode> {
    let cluster = Cluster::attach(name)?;
    let key = |pod: &str| Ok::<_, anyhow::Error>(cluster.pod_named(pod)?.plan.key.clone());
    match change {
        PodChange::Ready { pod } => Kubelet::hold_back(&cluster.layout, &key(pod)?, false)?,
        PodChange::Unready { pod } => Kubelet::hold_back(&cluster.layout, &key(pod)?, true)?,
        PodChange::Delete { pod } => Kubelet::delete(&cluster.layout, &key(pod)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The kubelet that goes on alone keeps its pods in memory; it is stopped while another process changes nodes.
fn change_node(name: &str, change: &NodeChange) -> Result<ExitCode> {
    let mut cluster = Cluster::attach(name)?;
    let layout = cluster.layout.clone();
    let find = || Process::find(KUBELET_PROCESS, &layout.log(KUBELET_PROCESS), &layout.pids());
    if let Some(mut kubelet) = find() {
        kubelet.kill();
        cluster = Cluster::attach(name)?;
    }
    match change {
        NodeChange::Add => println!("{}", cluster.add_node()?),
        NodeChange::Remove { node } => cluster.remove_node(node)?,
        NodeChange::KillAgent { node } => cluster.kill_agent(node)?,
        NodeChange::StartAgent { node } => cluster.start_agent(node)?,
    }
    leave_up(&cluster)?;
    Ok(ExitCode::SUCCESS)
}

fn change_store(name: &str, change: &str) -> Result<ExitCode> {
    let mut cluster = Cluster::attach(name)?;
    match change {
        "stop" => cluster.stop_control_plane()?,
        _ => cluster.start_control_plane()?,
    }
    Ok(ExitCode::SUCCESS)
}

fn check() -> ExitCode {
    let missing = privilege::missing();
    for line in &missing {
        println!("{line}");
    }
    if missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
