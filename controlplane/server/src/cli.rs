//! Flags of `skein-controlplane`.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use ipnet::Ipv4Net;
use skein_controlplane_core::Config;
use skein_store_schema::{ClusterId, ClusterName, PoolName};

const EXAMPLES: &str = "\
Examples:
  With the store inside, from a folder of manifests:
    skein-controlplane --data-dir /var/lib/skein --manifests /etc/skein/manifests

  Against an etcd or skein-store that runs elsewhere:
    skein-controlplane --store-endpoints 10.0.0.1:2379,10.0.0.2:2379 --manifests ./deploy/examples

  What it is doing, what it waits for and what is wrong with the manifests:
    curl -s localhost:9963/status";

/// Plans the state of a Skein cluster and writes it to the store.
///
/// Reads Kubernetes objects (a watched folder of manifests), what the agents report and what the
/// store holds; allocates identities, address blocks of nodes and addresses of services; publishes
/// nodes, addresses, services, slices and pods for the agents. Several may run: one is elected.
#[derive(Debug, Parser)]
#[command(name = "skein-controlplane", version, after_help = EXAMPLES)]
pub struct Args {
    /// Folder of manifests (.yaml, .yml, .json), read with its subfolders and watched. May be
    /// given more than once; where two define one object, the first wins.
    #[arg(long = "manifests", value_name = "DIR", required = true)]
    pub manifests: Vec<PathBuf>,

    /// Where the embedded store keeps its log and snapshots.
    #[arg(long, value_name = "DIR", required_unless_present = "store_endpoints")]
    pub data_dir: Option<PathBuf>,

    /// Where the embedded store serves clients.
    #[arg(
        long,
        value_name = "URL,...",
        value_delimiter = ',',
        conflicts_with = "store_endpoints",
        default_value = "http://127.0.0.1:2379"
    )]
    pub listen_client_urls: Vec<String>,

    /// Where clients are told to find the embedded store [default: the URLs listened on].
    #[arg(long, value_name = "URL,...", value_delimiter = ',', conflicts_with = "store_endpoints")]
    pub advertise_client_urls: Vec<String>,

    /// Name of the embedded store's member.
    #[arg(long, default_value = "default", conflicts_with = "store_endpoints")]
    pub name: String,

    /// An external store (etcd v3), instead of the embedded one.
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',', conflicts_with = "data_dir")]
    pub store_endpoints: Vec<String>,

    /// Authority that the external store's certificate must come from, PEM.
    #[arg(long, value_name = "FILE", requires = "store_endpoints")]
    pub store_cacert: Option<PathBuf>,

    /// Certificate shown to the external store, PEM.
    #[arg(long, value_name = "FILE", requires = "store_key")]
    pub store_cert: Option<PathBuf>,

    /// Key of that certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "store_cert")]
    pub store_key: Option<PathBuf>,

    /// Name of this cluster.
    #[arg(long, default_value = "default")]
    pub cluster_name: ClusterName,

    /// Number of this cluster in a mesh; 0 outside of one. It cannot change later.
    #[arg(long, default_value_t = 0)]
    pub cluster_id: u8,

    /// Addresses that blocks of nodes are cut from. May be given more than once.
    #[arg(long, value_name = "CIDR", value_delimiter = ',', default_value = "10.0.0.0/16")]
    pub cluster_pool_ipv4_cidr: Vec<Ipv4Net>,

    /// Prefix length of a node's block.
    #[arg(long, value_name = "BITS", default_value_t = 24)]
    pub cluster_pool_ipv4_mask_size: u8,

    /// Addresses of services.
    #[arg(long, value_name = "CIDR", default_value = "10.96.0.0/16")]
    pub service_cidr: Ipv4Net,

    /// Seconds for which an identity stays after its last pod.
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    pub identity_grace_period: u64,

    /// Seconds for which a block stays with a node whose object and agent are gone.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub node_grace_period: u64,

    /// Where /metrics, /healthz and /status are served.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9963")]
    pub metrics_addr: SocketAddr,

    /// How logs are written. What is logged is set by RUST_LOG (default: info).
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

impl Args {
    /// The settings that planners read.
    ///
    /// # Errors
    /// Flags that contradict each other.
    pub fn config(&self) -> Result<Config> {
        let config = Config {
            cluster: self.cluster_name.clone(),
            cluster_id: ClusterId::new(self.cluster_id),
            pool: PoolName::new("default").context("name of the pool")?,
            pool_cidrs: self.cluster_pool_ipv4_cidr.clone(),
            block_mask: self.cluster_pool_ipv4_mask_size,
            service_cidr: self.service_cidr,
            identity_grace: self.identity_grace_period,
            node_grace: self.node_grace_period,
        };
        config.check().context("flags contradict each other")?;
        ensure!(!self.manifests.is_empty(), "no folder of manifests is given");
        Ok(config)
    }
}
