//! How a member is set up.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use skein_store_api::limits;
use thiserror::Error;

use crate::auth::AuthConfig;

/// Everything a member needs to know at its start. [`MemberConfig::new`] gives etcd's defaults.
#[derive(Clone, Debug)]
pub struct MemberConfig {
    /// Human-readable name, shown in the member list.
    pub name: String,
    /// Where log and snapshots live; locked while the member runs.
    pub data_dir: PathBuf,
    /// Where clients are served. Port 0 takes a free one, see `Member::client_addresses`.
    pub listen_client_urls: Vec<ListenUrl>,
    /// Where clients are told to go. Empty: the addresses really listened on.
    pub advertise_client_urls: Vec<String>,
    /// Where other members are served. Empty for a member that never has any.
    pub listen_peer_urls: Vec<ListenUrl>,
    /// Where other members are told to go; shown in the member list and hashed into the ids.
    pub advertise_peer_urls: Vec<String>,
    /// The founders of a new cluster, or the members of the one to join, this one included: names
    /// with peer URLs. Empty: this member alone.
    pub initial_cluster: Vec<(String, String)>,
    /// Whether the first start founds a cluster or joins one.
    pub cluster_state: ClusterState,
    /// Go on alone with the data that is here, all other members removed.
    pub force_new_cluster: bool,
    /// Certificates between members, needed by `https` peer addresses.
    pub peer_tls: Option<TlsConfig>,
    /// Learners that the cluster may have at a time.
    pub max_learners: usize,
    /// Refuse changes of the members that could cost the quorum.
    pub strict_reconfig_check: bool,
    /// Hashed into the ids, so that clusters with equal addresses differ.
    pub cluster_token: String,
    /// Where `/metrics` and `/health` are served as well.
    pub listen_metrics_urls: Vec<ListenUrl>,
    /// Certificates, needed by `https` addresses.
    pub tls: Option<TlsConfig>,
    /// Largest request in bytes.
    pub max_request_bytes: usize,
    /// Most operations in each list of a transaction.
    pub max_txn_ops: usize,
    /// Concurrent streams of one connection.
    pub max_concurrent_streams: u32,
    /// Interval between heartbeats; one tick.
    pub heartbeat_interval: Duration,
    /// Time without a leader before an election; a multiple of the heartbeat interval.
    pub election_timeout: Duration,
    /// Log entries between snapshots; see the rule in `snapshotter`.
    pub snapshot_count: u64,
    /// When history is compacted without being asked.
    pub auto_compaction: AutoCompaction,
    /// How often the leader looks whether a compaction made members' histories comparable.
    pub hash_check_interval: Duration,
    /// How often an idle watcher that asked for it is told the revision.
    pub watch_progress_interval: Duration,
    /// Idle time after which a client is pinged; zero for never.
    pub keepalive_interval: Duration,
    /// Time for the client's answer.
    pub keepalive_timeout: Duration,
    /// Bytes that keys, history and leases may take; nothing for no bound.
    pub quota_backend_bytes: Option<u64>,
    /// How callers are made out once authentication is enabled.
    pub auth: AuthConfig,
}

/// What the first start of a member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterState {
    /// Founds a cluster, together with the other members of the initial one.
    New,
    /// Joins a cluster to which the member was added before.
    Existing,
}

/// Automatic compaction of history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoCompaction {
    /// Only when a client asks.
    Off,
    /// Keep the history of this long.
    Periodic(Duration),
    /// Keep this many revisions.
    Revision(i64),
}

/// A TLS server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// Certificate chain, PEM.
    pub cert_file: PathBuf,
    /// Private key, PEM.
    pub key_file: PathBuf,
    /// Authorities that client certificates must come from, PEM. With it, clients must have one.
    pub trusted_ca_file: Option<PathBuf>,
    /// Names of the suites of TLS 1.2 that may be used; all when there are none.
    pub cipher_suites: Vec<String>,
    /// `TLS1.2`, which is also the default, or `TLS1.3`.
    pub min_version: String,
    /// The same; the newest version by default.
    pub max_version: String,
}

/// Learners at a time by default, as etcd: each is one more copy of the log for the leader.
const DEFAULT_MAX_LEARNERS: usize = 1;

/// Quota that etcd has by default, in bytes.
pub(crate) const DEFAULT_QUOTA_BYTES: u64 = 2 << 30;

impl MemberConfig {
    /// etcd's defaults, on a free port of the loopback interface.
    pub fn new(name: impl Into<String>, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            data_dir: data_dir.into(),
            listen_client_urls: vec![ListenUrl::loopback()],
            advertise_client_urls: Vec::new(),
            listen_peer_urls: Vec::new(),
            advertise_peer_urls: vec!["http://localhost:2380".into()],
            initial_cluster: Vec::new(),
            cluster_state: ClusterState::New,
            force_new_cluster: false,
            peer_tls: None,
            max_learners: DEFAULT_MAX_LEARNERS,
            strict_reconfig_check: true,
            cluster_token: "etcd-cluster".into(),
            listen_metrics_urls: Vec::new(),
            tls: None,
            max_request_bytes: limits::MAX_REQUEST_BYTES,
            max_txn_ops: limits::MAX_TXN_OPS,
            max_concurrent_streams: u32::MAX,
            heartbeat_interval: Duration::from_millis(100),
            election_timeout: Duration::from_millis(1000),
            snapshot_count: 10_000,
            auto_compaction: AutoCompaction::Off,
            hash_check_interval: Duration::from_secs(60),
            watch_progress_interval: Duration::from_secs(600),
            keepalive_interval: Duration::from_secs(2 * 60 * 60),
            keepalive_timeout: Duration::from_secs(20),
            quota_backend_bytes: Some(DEFAULT_QUOTA_BYTES),
            auth: AuthConfig::default(),
        }
    }

    /// Shortest time to live of a lease in seconds, as etcd computes it: one and a half election
    /// timeouts, so that a lease survives an election.
    pub fn min_lease_ttl(&self) -> i64 {
        let ticks = (3 * self.election_ticks()).div_ceil(2) as u128;
        (ticks * self.heartbeat_interval.as_millis()).div_ceil(1000) as i64
    }

    /// Election timeout in ticks.
    pub fn election_ticks(&self) -> usize {
        (self.election_timeout.as_millis() / self.heartbeat_interval.as_millis().max(1)) as usize
    }

    /// How long a request may wait before its outcome is called unknown: etcd's five seconds plus
    /// two elections.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_secs(5) + 2 * self.election_timeout
    }

    /// Checks what types cannot.
    ///
    /// # Errors
    /// Names the first setting that cannot work.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.listen_client_urls.is_empty() {
            return Err(ConfigError::NoListener);
        }
        if self.heartbeat_interval.is_zero() || self.election_ticks() < MIN_ELECTION_TICKS {
            return Err(ConfigError::Timing);
        }
        if self.election_timeout > MAX_ELECTION_TIMEOUT {
            return Err(ConfigError::ElectionTooLong);
        }
        let urls = self.listen_client_urls.iter().chain(&self.listen_metrics_urls);
        if self.tls.is_none() && urls.clone().any(|url| url.tls) {
            return Err(ConfigError::NoCertificate);
        }
        let peers =
            self.initial_cluster.iter().map(|(_, url)| url).chain(&self.advertise_peer_urls);
        let encrypted = self.listen_peer_urls.iter().any(|url| url.tls)
            || peers.into_iter().any(|url| url.starts_with("https://"));
        if encrypted && self.peer_tls.as_ref().is_none_or(|tls| tls.trusted_ca_file.is_none()) {
            return Err(ConfigError::NoPeerCertificate);
        }
        if self.max_request_bytes > MAX_REQUEST_BYTES {
            return Err(ConfigError::RequestTooLarge);
        }
        Ok(())
    }
}

/// Elections must be at least this many heartbeats apart (etcd's rule).
const MIN_ELECTION_TICKS: usize = 5;

/// etcd's bound.
const MAX_ELECTION_TIMEOUT: Duration = Duration::from_secs(50);

/// Largest configurable request in bytes: one batch of the log must hold it many times over.
const MAX_REQUEST_BYTES: usize = 64 << 20;

/// A setting that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// Nothing to serve on.
    #[error("--listen-client-urls names no address")]
    NoListener,
    /// Heartbeat and election timeout do not fit.
    #[error("--election-timeout must be at least {MIN_ELECTION_TICKS} times --heartbeat-interval")]
    Timing,
    /// Beyond etcd's bound.
    #[error("--election-timeout must be at most 50000 ms")]
    ElectionTooLong,
    /// An `https` address without a certificate.
    #[error("https addresses need --cert-file and --key-file")]
    NoCertificate,
    /// An `https` peer address without what it needs.
    #[error(
        "https peer addresses need --peer-cert-file, --peer-key-file and --peer-trusted-ca-file"
    )]
    NoPeerCertificate,
    /// Beyond what one log batch can hold.
    #[error("--max-request-bytes must be at most {MAX_REQUEST_BYTES}")]
    RequestTooLarge,
    /// Not an address to listen on.
    #[error("{text:?} is not an address to listen on: {why}")]
    ListenUrl {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// An address to listen on, as `http://127.0.0.1:2379` or `https://…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenUrl {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// The address; `localhost` is 127.0.0.1.
    pub address: SocketAddr,
}

impl ListenUrl {
    /// Plain text on a free port of the loopback interface.
    pub fn loopback() -> Self {
        Self { tls: false, address: SocketAddr::from(([127, 0, 0, 1], 0)) }
    }

    /// The URL of this address with the port really taken.
    pub fn url(&self, bound: SocketAddr) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{bound}")
    }
}

impl FromStr for ListenUrl {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let wrong = |why| ConfigError::ListenUrl { text: text.to_owned(), why };
        let (scheme, rest) =
            text.split_once("://").ok_or(wrong("it must begin with http:// or https://"))?;
        let tls = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(wrong("it must begin with http:// or https://")),
        };
        let host = rest.strip_suffix('/').unwrap_or(rest).replace("localhost", "127.0.0.1");
        let address = host.parse().map_err(|_| wrong("an IP address and a port must follow"))?;
        Ok(Self { tls, address })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_urls_are_read_as_etcd_reads_them() {
        let url: ListenUrl = "https://localhost:2379".parse().expect("valid");
        assert_eq!(url, ListenUrl { tls: true, address: ([127, 0, 0, 1], 2379).into() });
        for wrong in ["127.0.0.1:2379", "ftp://127.0.0.1:1", "http://example.org:1", "http://x"] {
            assert!(wrong.parse::<ListenUrl>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_shortest_lease_is_etcds() {
        assert_eq!(MemberConfig::new("a", "b").min_lease_ttl(), 2);
    }

    #[test]
    fn impossible_settings_are_named() {
        let good = MemberConfig::new("a", "b");
        assert_eq!(good.check(), Ok(()));
        let slow = MemberConfig { election_timeout: Duration::from_millis(300), ..good.clone() };
        assert_eq!(slow.check(), Err(ConfigError::Timing));
        let tls = ListenUrl { tls: true, ..ListenUrl::loopback() };
        let bare = MemberConfig { listen_client_urls: vec![tls], ..good };
        assert_eq!(bare.check(), Err(ConfigError::NoCertificate));
    }
}
