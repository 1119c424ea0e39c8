//! The flags of `skein-store`: etcd's names where they mean the same.

mod elsewhere;

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser};
use thiserror::Error;

use crate::auth::{AuthConfig, OptionError, TokenConfig};
use crate::config::{AutoCompaction, ConfigError, ListenUrl, MemberConfig, TlsConfig};

pub use elsewhere::{Ignored, normalize};

/// An etcd-v3-compatible key-value store member.
#[derive(Debug, Parser)]
#[command(name = "skein-store", version = LONG_VERSION, disable_version_flag = true)]
pub struct Flags {
    /// Human-readable name of this member.
    #[arg(long, default_value = "default")]
    name: String,
    /// Directory for log and snapshots [default: <name>.etcd]
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Addresses to serve clients on, comma-separated: http://IP:PORT or https://IP:PORT
    #[arg(long, value_delimiter = ',', default_value = "http://localhost:2379")]
    listen_client_urls: Vec<ListenUrl>,
    /// Addresses that clients are told [default: the addresses listened on]
    #[arg(long, value_delimiter = ',')]
    advertise_client_urls: Vec<String>,
    /// Addresses for other members; recorded, not opened: a cluster of one has no peers.
    #[arg(long, value_delimiter = ',', default_value = "http://localhost:2380")]
    listen_peer_urls: Vec<String>,
    /// Addresses that other members are told.
    #[arg(long, value_delimiter = ',', default_value = "http://localhost:2380")]
    initial_advertise_peer_urls: Vec<String>,
    /// The cluster as name=url pairs; this version takes exactly this member.
    #[arg(long, value_delimiter = ',')]
    initial_cluster: Vec<String>,
    /// Hashed into the ids of cluster and member.
    #[arg(long, default_value = "etcd-cluster")]
    initial_cluster_token: String,
    /// `new`; joining an existing cluster is not offered by this version.
    #[arg(long, default_value = "new", value_parser = ["new", "existing"])]
    initial_cluster_state: String,
    /// Additional addresses for /metrics and /health, comma-separated.
    #[arg(long, value_delimiter = ',')]
    listen_metrics_urls: Vec<ListenUrl>,
    /// Certificate chain for https addresses, PEM.
    #[arg(long, requires = "key_file")]
    cert_file: Option<PathBuf>,
    /// Private key for https addresses, PEM.
    #[arg(long, requires = "cert_file")]
    key_file: Option<PathBuf>,
    /// Demand client certificates issued by --trusted-ca-file; their common names are users.
    #[arg(long, action = ArgAction::Set, default_value = "false", default_missing_value = "true",
          num_args = 0..=1, require_equals = true)]
    client_cert_auth: bool,
    /// Authorities of client certificates, PEM; clients must then have one.
    #[arg(long, requires = "cert_file")]
    trusted_ca_file: Option<PathBuf>,
    /// Tokens of users: `simple`, or jwt,sign-method=RS256,priv-key=FILE,pub-key=FILE,ttl=10m
    #[arg(long, default_value = "simple")]
    auth_token: String,
    /// Seconds for which a simple token that nobody uses is remembered.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
    auth_token_ttl: u64,
    /// Binary logarithm of the rounds by which passwords are hashed.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(4..=31))]
    bcrypt_cost: u32,
    /// Log entries between snapshots.
    #[arg(long, default_value_t = 10_000)]
    snapshot_count: u64,
    /// Quota in bytes (0: 2 GiB). Reported by status; not enforced by this version.
    #[arg(long, default_value_t = 0)]
    quota_backend_bytes: u64,
    /// `periodic` or `revision`.
    #[arg(long, default_value = "periodic", value_parser = ["periodic", "revision"])]
    auto_compaction_mode: String,
    /// History kept: hours or a duration such as 30m (periodic), or a number of revisions; 0 is off.
    #[arg(long, default_value = "0")]
    auto_compaction_retention: String,
    /// Largest request in bytes.
    #[arg(long, default_value_t = skein_store_api::limits::MAX_REQUEST_BYTES)]
    max_request_bytes: usize,
    /// Most operations in a transaction.
    #[arg(long, default_value_t = skein_store_api::limits::MAX_TXN_OPS)]
    max_txn_ops: usize,
    /// Concurrent streams of one connection.
    #[arg(long, default_value_t = u32::MAX)]
    max_concurrent_streams: u32,
    /// Milliseconds between heartbeats.
    #[arg(long, default_value_t = 100)]
    heartbeat_interval: u64,
    /// Milliseconds without a leader before an election.
    #[arg(long, default_value_t = 1000)]
    election_timeout: u64,
    /// How often idle watchers that asked for it are told the revision, such as 10m.
    #[arg(long, alias = "experimental-watch-progress-notify-interval", default_value = "10m")]
    watch_progress_notify_interval: String,
    /// debug, info, warn or error.
    #[arg(long, default_value = "info")]
    log_level: String,
    /// `json` or `console`.
    #[arg(long, default_value = "json", value_parser = ["json", "console"])]
    log_format: String,
    /// Print versions.
    #[arg(long, action = ArgAction::Version)]
    version: Option<bool>,
}

/// A flag whose value cannot work.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FlagError {
    /// More members than this one.
    #[error(
        "--initial-cluster must name exactly this member ({name}=...): clusters of several \
         members are not offered by this version"
    )]
    Cluster {
        /// This member's name.
        name: String,
    },
    /// Joining.
    #[error("--initial-cluster-state=existing is not offered by this version")]
    Existing,
    /// Client certificates without authorities.
    #[error("--client-cert-auth needs --trusted-ca-file")]
    NoAuthorities,
    /// Not a duration or number.
    #[error("--{flag}={value:?} is not {wanted}")]
    Value {
        /// The flag.
        flag: &'static str,
        /// What was given.
        value: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// Tokens that cannot be made.
    #[error(transparent)]
    AuthToken(#[from] OptionError),
    /// Settings that contradict each other.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl Flags {
    /// The level of log lines.
    pub fn log_level(&self) -> &str {
        &self.log_level
    }

    /// Whether log lines are JSON objects.
    pub fn log_json(&self) -> bool {
        self.log_format == "json"
    }

    /// The member that these flags describe.
    ///
    /// # Errors
    /// Names the flag that cannot work.
    pub fn into_config(self) -> Result<MemberConfig, FlagError> {
        self.check_cluster()?;
        if self.client_cert_auth && self.trusted_ca_file.is_none() {
            return Err(FlagError::NoAuthorities);
        }
        let auto_compaction = self.auto_compaction()?;
        let auth = self.auth()?;
        let progress = duration(&self.watch_progress_notify_interval);
        let watch_progress_interval = progress.ok_or_else(|| FlagError::Value {
            flag: "watch-progress-notify-interval",
            value: self.watch_progress_notify_interval.clone(),
            wanted: "a duration such as 10m",
        })?;
        let data_dir = self.data_dir.unwrap_or_else(|| format!("{}.etcd", self.name).into());
        let defaults = MemberConfig::new(self.name, data_dir);
        let quota = Some(self.quota_backend_bytes).filter(|&quota| quota != 0);
        let config = MemberConfig {
            listen_client_urls: self.listen_client_urls,
            advertise_client_urls: self.advertise_client_urls,
            advertise_peer_urls: self.initial_advertise_peer_urls,
            cluster_token: self.initial_cluster_token,
            listen_metrics_urls: self.listen_metrics_urls,
            tls: self.cert_file.zip(self.key_file).map(|(cert_file, key_file)| TlsConfig {
                cert_file,
                key_file,
                trusted_ca_file: self.trusted_ca_file,
            }),
            max_request_bytes: self.max_request_bytes,
            max_txn_ops: self.max_txn_ops,
            max_concurrent_streams: self.max_concurrent_streams,
            heartbeat_interval: Duration::from_millis(self.heartbeat_interval),
            election_timeout: Duration::from_millis(self.election_timeout),
            snapshot_count: self.snapshot_count.max(1),
            auto_compaction,
            watch_progress_interval,
            auth,
            quota_backend_bytes: quota.unwrap_or(defaults.quota_backend_bytes),
            ..defaults
        };
        config.check()?;
        Ok(config)
    }

    fn check_cluster(&self) -> Result<(), FlagError> {
        if self.initial_cluster_state == "existing" {
            return Err(FlagError::Existing);
        }
        let own = |pair: &String| pair.split_once('=').is_some_and(|(name, _)| name == self.name);
        if self.initial_cluster.iter().all(own) {
            return Ok(());
        }
        Err(FlagError::Cluster { name: self.name.clone() })
    }

    fn auth(&self) -> Result<AuthConfig, OptionError> {
        Ok(AuthConfig {
            tokens: self.auth_token.parse::<TokenConfig>()?,
            simple_token_ttl: Duration::from_secs(self.auth_token_ttl),
            bcrypt_cost: self.bcrypt_cost,
            client_certificates: self.client_cert_auth,
        })
    }

    fn auto_compaction(&self) -> Result<AutoCompaction, FlagError> {
        let text = self.auto_compaction_retention.as_str();
        let wrong = |wanted| FlagError::Value {
            flag: "auto-compaction-retention",
            value: text.to_owned(),
            wanted,
        };
        if self.auto_compaction_mode == "revision" {
            let kept = text.parse().map_err(|_| wrong("a number of revisions"))?;
            return Ok(if kept > 0 { AutoCompaction::Revision(kept) } else { AutoCompaction::Off });
        }
        let kept = match text.parse::<u64>() {
            Ok(hours) => Duration::from_secs(hours * 3600),
            Err(_) => duration(text).ok_or_else(|| wrong("hours or a duration such as 30m"))?,
        };
        Ok(if kept.is_zero() { AutoCompaction::Off } else { AutoCompaction::Periodic(kept) })
    }
}

/// Reads a duration as Go writes it: `1h30m`, `10m`, `500ms`, `1.5s`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(unit_at);
        let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, next) = tail.split_at(unit_end);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        rest = next;
    }
    (!text.is_empty()).then_some(total)
}

/// Tools look for the second line to learn which API to expect.
const LONG_VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\netcd Version: ", etcd_version!());

#[cfg(test)]
mod tests;
