//! The flags of `skein-store`: etcd's names where they mean the same.

mod etcd_flags;
mod normalize;

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser};
use thiserror::Error;

use crate::auth::{AuthConfig, OptionError, TokenConfig};
use crate::config::{
    AutoCompaction, ClusterState, ConfigError, ListenUrl, MemberConfig, TlsConfig,
};

use etcd_flags::FEATURE_GATES;
pub use normalize::{Ignored, Normalized, normalize};

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
    /// Addresses to serve other members on, comma-separated: http://IP:PORT or https://IP:PORT
    #[arg(long, value_delimiter = ',', default_value = "http://localhost:2380")]
    listen_peer_urls: Vec<ListenUrl>,
    /// Addresses that other members are told.
    #[arg(long, value_delimiter = ',', default_value = "http://localhost:2380")]
    initial_advertise_peer_urls: Vec<String>,
    /// The founders of a new cluster, or the members of the one to join: name=url pairs,
    /// comma-separated [default: this member alone]
    #[arg(long, value_delimiter = ',')]
    initial_cluster: Vec<String>,
    /// Hashed into the ids of cluster and member.
    #[arg(long, default_value = "etcd-cluster")]
    initial_cluster_token: String,
    /// `new` founds a cluster, `existing` joins the one of --initial-cluster; counts at the first
    /// start only.
    #[arg(long, default_value = "new", value_parser = ["new", "existing"])]
    initial_cluster_state: String,
    /// Go on alone with the data that is here, as if all other members had been removed: for when a
    /// majority is lost for ever. Take the flag away again afterwards.
    #[arg(long, action = ArgAction::Set, default_value = "false", default_missing_value = "true",
          num_args = 0..=1, require_equals = true)]
    force_new_cluster: bool,
    /// Certificate chain towards other members, as their server and as their client, PEM.
    #[arg(long, requires = "peer_key_file")]
    peer_cert_file: Option<PathBuf>,
    /// Private key towards other members, PEM.
    #[arg(long, requires = "peer_cert_file")]
    peer_key_file: Option<PathBuf>,
    /// Demand certificates issued by --peer-trusted-ca-file from other members. Always so where that
    /// file is given.
    #[arg(long, action = ArgAction::Set, default_value = "false", default_missing_value = "true",
          num_args = 0..=1, require_equals = true)]
    peer_client_cert_auth: bool,
    /// Authorities of members' certificates, PEM.
    #[arg(long, requires = "peer_cert_file")]
    peer_trusted_ca_file: Option<PathBuf>,
    /// Refuse changes of the members that could cost the quorum.
    #[arg(long, action = ArgAction::Set, default_value = "true", default_missing_value = "true",
          num_args = 0..=1, require_equals = true)]
    strict_reconfig_check: bool,
    /// Learners that the cluster may have at a time.
    #[arg(long, alias = "experimental-max-learners", default_value_t = 1)]
    max_learners: usize,
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
    /// Cipher suites of TLS 1.2 by their names in Go, comma-separated; all good ones by default.
    #[arg(long, value_delimiter = ',')]
    cipher_suites: Vec<String>,
    /// Oldest version of TLS: TLS1.2 or TLS1.3.
    #[arg(long, default_value = "TLS1.2")]
    tls_min_version: String,
    /// Newest version of TLS; the newest there is by default.
    #[arg(long, default_value = "")]
    tls_max_version: String,
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
    /// Bytes that keys, history and leases may take (0: 2 GiB; negative: no bound).
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    quota_backend_bytes: i64,
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
    /// Idle time after which a client is pinged, such as 2h; 0 is off.
    #[arg(long, default_value = "2h")]
    grpc_keepalive_interval: String,
    /// Time for the client's answer to a ping, such as 20s.
    #[arg(long, default_value = "20s")]
    grpc_keepalive_timeout: String,
    /// etcd's gates as name=true pairs: the names are checked, none has an effect.
    #[arg(long, value_delimiter = ',')]
    feature_gates: Vec<String>,
    /// Milliseconds between heartbeats.
    #[arg(long, default_value_t = 100)]
    heartbeat_interval: u64,
    /// Milliseconds without a leader before an election.
    #[arg(long, default_value_t = 1000)]
    election_timeout: u64,
    /// How often the leader looks for a compaction after which members' histories are compared.
    #[arg(long, default_value = "1m")]
    compact_hash_check_time: String,
    /// How often idle watchers that asked for it are told the revision, such as 10m.
    #[arg(long, default_value = "10m")]
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
    /// Not a name and an address.
    #[error("--initial-cluster has {part:?}, which is not name=url")]
    Cluster {
        /// The part.
        part: String,
    },
    /// Certificates of members without authorities.
    #[error("--peer-client-cert-auth needs --peer-trusted-ca-file")]
    NoPeerAuthorities,
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
    /// What must not be done without.
    #[error("--{flag} is not offered: {why}")]
    Refused {
        /// The flag.
        flag: String,
        /// Why not.
        why: &'static str,
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
        let initial_cluster = self.initial_cluster()?;
        if self.peer_client_cert_auth && self.peer_trusted_ca_file.is_none() {
            return Err(FlagError::NoPeerAuthorities);
        }
        if self.client_cert_auth && self.trusted_ca_file.is_none() {
            return Err(FlagError::NoAuthorities);
        }
        let auto_compaction = self.auto_compaction()?;
        let watch_progress_interval =
            time("watch-progress-notify-interval", &self.watch_progress_notify_interval)?;
        let hash_check_interval = time("compact-hash-check-time", &self.compact_hash_check_time)?;
        let keepalive_interval = time("grpc-keepalive-interval", &self.grpc_keepalive_interval)?;
        let keepalive_timeout = time("grpc-keepalive-timeout", &self.grpc_keepalive_timeout)?;
        check_gates(&self.feature_gates)?;
        let auth = self.auth()?;
        let data_dir = self.data_dir.unwrap_or_else(|| format!("{}.etcd", self.name).into());
        let defaults = MemberConfig::new(self.name, data_dir);
        let quota_backend_bytes = match self.quota_backend_bytes {
            0 => defaults.quota_backend_bytes,
            bytes => u64::try_from(bytes).ok(),
        };
        let tls = |cert_file: Option<PathBuf>, key_file, trusted_ca_file| {
            cert_file.zip(key_file).map(|(cert_file, key_file)| TlsConfig {
                cert_file,
                key_file,
                trusted_ca_file,
                cipher_suites: self.cipher_suites.clone(),
                min_version: self.tls_min_version.clone(),
                max_version: self.tls_max_version.clone(),
            })
        };
        let config = MemberConfig {
            listen_client_urls: self.listen_client_urls,
            advertise_client_urls: self.advertise_client_urls,
            listen_peer_urls: self.listen_peer_urls,
            advertise_peer_urls: self.initial_advertise_peer_urls,
            initial_cluster,
            cluster_state: match self.initial_cluster_state.as_str() {
                "existing" => ClusterState::Existing,
                _ => ClusterState::New,
            },
            peer_tls: tls(self.peer_cert_file, self.peer_key_file, self.peer_trusted_ca_file),
            force_new_cluster: self.force_new_cluster,
            strict_reconfig_check: self.strict_reconfig_check,
            max_learners: self.max_learners,
            cluster_token: self.initial_cluster_token,
            listen_metrics_urls: self.listen_metrics_urls,
            tls: tls(self.cert_file, self.key_file, self.trusted_ca_file),
            max_request_bytes: self.max_request_bytes,
            max_txn_ops: self.max_txn_ops,
            max_concurrent_streams: self.max_concurrent_streams,
            heartbeat_interval: Duration::from_millis(self.heartbeat_interval),
            election_timeout: Duration::from_millis(self.election_timeout),
            snapshot_count: self.snapshot_count.max(1),
            auto_compaction,
            hash_check_interval,
            watch_progress_interval,
            keepalive_interval,
            keepalive_timeout,
            quota_backend_bytes,
            auth,
            ..defaults
        };
        config.check()?;
        Ok(config)
    }

    fn initial_cluster(&self) -> Result<Vec<(String, String)>, FlagError> {
        let pair = |part: &String| {
            let (name, url) =
                part.split_once('=').ok_or(FlagError::Cluster { part: part.clone() })?;
            Ok((name.to_owned(), url.to_owned()))
        };
        self.initial_cluster.iter().map(pair).collect()
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

fn time(flag: &'static str, text: &str) -> Result<Duration, FlagError> {
    let wanted = "a duration such as 10m";
    let found = if text == "0" { Some(Duration::ZERO) } else { duration(text) };
    found.ok_or_else(|| FlagError::Value { flag, value: text.to_owned(), wanted })
}

fn check_gates(pairs: &[String]) -> Result<(), FlagError> {
    let wrong = |pair: &&String| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        !FEATURE_GATES.contains(&name) || !matches!(value, "true" | "false")
    };
    match pairs.iter().find(wrong) {
        None => Ok(()),
        Some(pair) => Err(FlagError::Value {
            flag: "feature-gates",
            value: pair.clone(),
            wanted: "one of etcd's gates with =true or =false",
        }),
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
