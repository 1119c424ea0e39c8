//! The command line.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Skein's node agent: turns the store's keys into eBPF maps, attaches pods, and tells how the node
/// does.
///
/// `run` is the daemon. Everything else asks a running agent over its socket.
#[derive(Debug, Parser)]
#[command(name = "skein-agent", version, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  skein-agent run --node-name node-1 --store-endpoints 10.0.0.1:2379 --devices eth0 \\
      --cgroup-root /sys/fs/cgroup --bpf-root /sys/fs/bpf/skein
  skein-agent status -v                  health, addresses with owners, maps
  skein-agent bpf lb list                which service address leads to which backends
  skein-agent monitor                    drops, live, with reasons
  skein-agent monitor --trace            forwarded packets too
  skein-agent status -o json | jq .ipam  for scripts
Logs are filtered by RUST_LOG (info by default).";

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the agent of this node.
    Run(Box<RunArgs>),
    /// How the node does: store, addresses, datapath, maps, controllers.
    Status(StatusArgs),
    /// What the eBPF maps hold.
    Bpf(BpfArgs),
    /// Live events of the datapath: drops, and with --trace every forwarded packet.
    Monitor(MonitorArgs),
    /// Remove the programs, maps, devices and rules of a node that leaves the cluster.
    Cleanup(CleanupArgs),
}

/// How packets travel between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RoutingMode {
    /// In VXLAN, with the sender's identity in the VNI.
    Tunnel,
    /// As they are; the agent installs routes to other nodes' blocks.
    Native,
}

/// Where the maps are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DatapathKind {
    /// In the kernel.
    Ebpf,
    /// In the agent: no packet moves, the socket answers what would happen.
    Memory,
}

/// Flags of `run`.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Name of this node's Node object.
    #[arg(long, env = "NODE_NAME")]
    pub node_name: String,
    /// Name of the cluster.
    #[arg(long, default_value = "default")]
    pub cluster_name: String,
    /// Members of the store, separated by commas: Skein's own or any etcd v3.
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.1:2379")]
    pub store_endpoints: Vec<String>,
    /// Certificate authority of the store (PEM).
    #[arg(long)]
    pub store_cacert: Option<PathBuf>,
    /// Client certificate for the store (PEM).
    #[arg(long)]
    pub store_cert: Option<PathBuf>,
    /// Key of the client certificate (PEM).
    #[arg(long)]
    pub store_key: Option<PathBuf>,
    /// Where the agent keeps endpoints, checkpoint and socket.
    #[arg(long, default_value = "/var/lib/skein/agent")]
    pub state_dir: PathBuf,
    /// Where programs and maps are pinned; must be in a BPF file system that outlives the agent.
    #[arg(long, default_value = "/sys/fs/bpf/skein")]
    pub bpf_root: PathBuf,
    /// cgroup (v2) that holds every process of this node, for the socket hooks.
    #[arg(long, default_value = "/sys/fs/cgroup")]
    pub cgroup_root: PathBuf,
    /// Native devices, separated by commas. Default: the device of the default route.
    #[arg(long, value_delimiter = ',')]
    pub devices: Vec<String>,
    /// Address by which other nodes reach this one. Default: the first of the first device.
    #[arg(long)]
    pub node_ip: Option<Ipv4Addr>,
    /// How packets travel between nodes.
    #[arg(long, value_enum, default_value = "tunnel")]
    pub routing_mode: RoutingMode,
    /// Where the maps are.
    #[arg(long, value_enum, default_value = "ebpf")]
    pub datapath: DatapathKind,
    /// Translate service addresses at the socket (cgroup hooks).
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub socket_lb: bool,
    /// Translate service addresses per packet (tc hooks, with connection tracking).
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub per_packet_lb: bool,
    /// Masquerade what pods send outside the cluster (nftables).
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub masquerade: bool,
    /// The agent's socket. Default: agent.sock in the state directory.
    #[arg(long)]
    pub socket: Option<PathBuf>,
    /// Serve Prometheus metrics and /healthz here.
    #[arg(long)]
    pub metrics_addr: Option<std::net::SocketAddr>,
    /// How to write logs.
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormat,
}

/// How to write logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object for each line.
    Json,
}

/// Which agent to ask, and how to print.
#[derive(Clone, Debug, Args)]
pub struct AskArgs {
    /// The agent's socket.
    #[arg(
        long,
        env = "SKEIN_AGENT_SOCKET",
        default_value = "/var/lib/skein/agent/agent.sock",
        global = true
    )]
    pub socket: PathBuf,
    /// Output format.
    #[arg(short, long, value_enum, default_value = "table", global = true)]
    pub output: Output,
}

/// Output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Flags of `status`.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub ask: AskArgs,
    /// Also list addresses with their owners, map sizes and every controller.
    #[arg(short, long)]
    pub verbose: bool,
    /// Print one word: OK, or the first thing that is not; exit code 1 then.
    #[arg(long)]
    pub brief: bool,
}

/// Flags of `bpf`.
#[derive(Clone, Debug, Args)]
pub struct BpfArgs {
    #[command(flatten)]
    pub ask: AskArgs,
    /// Which map.
    #[command(subcommand)]
    pub map: BpfMap,
}

/// Maps that can be listed.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum BpfMap {
    /// Service addresses and their backends.
    #[command(subcommand)]
    Lb(ListOnly),
    /// Tracked service flows.
    #[command(subcommand)]
    Ct(ListOnly),
    /// Addresses with identity and node.
    #[command(subcommand)]
    Ipcache(ListOnly),
    /// Counters by reason and direction.
    #[command(subcommand)]
    Metrics(ListOnly),
    /// Pods of this node.
    #[command(subcommand)]
    Endpoint(ListOnly),
}

/// What can be done with a map.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum ListOnly {
    /// List every entry.
    List,
}

/// Flags of `monitor`.
#[derive(Clone, Debug, Args)]
pub struct MonitorArgs {
    #[command(flatten)]
    pub ask: AskArgs,
    /// Report forwarded packets and translated socket calls too.
    #[arg(long)]
    pub trace: bool,
}

/// Flags of `cleanup`.
#[derive(Clone, Debug, Args)]
pub struct CleanupArgs {
    /// Where programs and maps are pinned.
    #[arg(long, default_value = "/sys/fs/bpf/skein")]
    pub bpf_root: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn flags_are_consistent() {
        Cli::command().debug_assert();
        let cli = Cli::parse_from(["skein-agent", "run", "--node-name", "n", "--socket-lb=false"]);
        let Command::Run(run) = cli.command else { panic!("run") };
        assert!(!run.socket_lb && run.per_packet_lb);
        assert_eq!(run.routing_mode, RoutingMode::Tunnel);
    }
}
