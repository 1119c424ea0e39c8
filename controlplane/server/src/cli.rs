//! Flags of `skein-controlplane`.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use ipnet::Ipv4Net;
use skein_controlplane_core::Config;
use skein_store_schema::{ClusterId, ClusterName, PoolName};

const EXAMPLES: &str = "\
Examples:
  With the store inside, from a folder of manifests:
    skein-controlplane --data-dir /var/lib/skein --manifests /etc/skein/manifests

  Against an etcd or skein-store that runs elsewhere:
    skein-controlplane --store-endpoints 10.0.0.1:2379,10.0.0.2:2379 --manifests ./deploy/examples

  With the store inside, for clients with certificates only:
    skein-controlplane --data-dir /var/lib/skein --manifests /etc/skein/manifests \\
      --listen-client-urls https://10.0.0.1:2379 --cert-file store.pem --key-file store.key \\
      --client-cert-auth --trusted-ca-file ca.pem \\
      --store-cacert ca.pem --store-cert controlplane.pem --store-key controlplane.key

  What it is doing, what it waits for and what is wrong with the manifests:
    skein-controlplane status";

/// Plans the state of a Skein cluster and writes it to the store.
///
/// Reads Kubernetes objects (a watched folder of manifests), what the agents report and what the
/// store holds; allocates identities, address blocks of nodes and addresses of services; publishes
/// nodes, addresses, services, slices and pods for the agents. Several may run: one is elected.
#[derive(Debug, Parser)]
#[command(name = "skein-controlplane", version, after_help = EXAMPLES)]
#[command(subcommand_negates_reqs = true, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    pub command: Option<Command>,

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

    /// Certificate chain of the embedded store, PEM; needed where it listens on https addresses.
    #[arg(long, value_name = "FILE", requires = "key_file", conflicts_with = "store_endpoints")]
    pub cert_file: Option<PathBuf>,

    /// Key of that certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "cert_file", conflicts_with = "store_endpoints")]
    pub key_file: Option<PathBuf>,

    /// Demand certificates from clients of the embedded store, issued by --trusted-ca-file.
    #[arg(long, action = ArgAction::Set, default_value = "false", default_missing_value = "true",
          num_args = 0..=1, require_equals = true, value_name = "BOOL",
          conflicts_with = "store_endpoints")]
    pub client_cert_auth: bool,

    /// Authorities of clients' certificates, PEM; clients of the embedded store must then have one.
    #[arg(long, value_name = "FILE", requires = "cert_file", conflicts_with = "store_endpoints")]
    pub trusted_ca_file: Option<PathBuf>,

    /// Authority that the store's certificate must come from, PEM. With the embedded store too: the
    /// control plane is a client of its own store, and speaks to its https addresses if this is given.
    #[arg(long, value_name = "FILE")]
    pub store_cacert: Option<PathBuf>,

    /// Certificate that the control plane shows to the store, PEM.
    #[arg(long, value_name = "FILE", requires_all = ["store_key", "store_cacert"])]
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

/// What to do instead of running a control plane.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Tell what a running control plane is doing, what it waits for and what is wrong
    Status(StatusArgs),
}

/// Flags of `skein-controlplane status`.
#[derive(Clone, Debug, clap::Args)]
pub struct StatusArgs {
    /// Where the running control plane serves /status: its own --metrics-addr.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9963")]
    pub metrics_addr: SocketAddr,

    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// How a status is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Table,
    /// For programs
    Json,
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
        self.check_tls()?;
        Ok(config)
    }

    /// What clap cannot say of the flags for TLS.
    fn check_tls(&self) -> Result<()> {
        ensure!(
            !self.client_cert_auth || self.trusted_ca_file.is_some(),
            "--client-cert-auth needs --trusted-ca-file"
        );
        if !self.store_endpoints.is_empty() {
            return Ok(());
        }
        let secure = |url: &&String| url.starts_with("https://");
        let (some, all) = (
            self.listen_client_urls.iter().any(|url| secure(&url)),
            self.listen_client_urls.iter().all(|url| secure(&url)),
        );
        ensure!(
            !some || self.cert_file.is_some(),
            "https addresses in --listen-client-urls need --cert-file and --key-file"
        );
        ensure!(
            some || self.cert_file.is_none(),
            "--cert-file is of no use: no address in --listen-client-urls is https"
        );
        ensure!(
            some || self.store_cacert.is_none(),
            "--store-cacert is of no use: no address in --listen-client-urls is https"
        );
        ensure!(
            !all || self.store_cacert.is_some(),
            "the control plane is a client of its own store: with https addresses only, it needs \
             --store-cacert, the authority of --cert-file"
        );
        ensure!(
            self.store_cacert.is_none()
                || self.trusted_ca_file.is_none()
                || self.store_cert.is_some(),
            "the control plane is a client of its own store, which demands certificates: it needs \
             --store-cert and --store-key, issued by --trusted-ca-file"
        );
        Ok(())
    }
}
