//! Every flag of etcd and what becomes of it here. `docs/operations.md` shows this table.

/// What becomes of a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It means here what it means to etcd.
    Honoured,
    /// It may be given and does nothing, for this reason; that is logged.
    Ignored(&'static str),
    /// Any value but these is refused, for this reason: doing without would be unsafe, or not what
    /// was asked for.
    Refused(&'static [&'static str], &'static str),
}

/// How a flag is followed by its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// `--flag value` or `--flag=value`.
    Value,
    /// `--flag` or `--flag=true`.
    Nothing,
}

/// One flag of etcd.
pub(super) type EtcdFlag = (&'static str, Takes, Fate);

use Fate::{Honoured, Ignored, Refused};
use Takes::{Nothing, Value};

const NO_COMPARING: Fate = Ignored("hashes are compared after compactions");
const ONE_PEER_CERTIFICATE: Fate = Refused(&[""], "--peer-cert-file serves both ways");
const NO_PEER_TLS: Fate = Refused(&["", "false"], "only the authority of a peer is checked");
const NO_BACKEND: Fate = Ignored("there is no bbolt file here");
const ALWAYS: Fate = Ignored("this is always so");
const OWN_SOCKETS: Fate = Ignored("the listener's own options hold");
const TO_STDERR: Fate = Ignored("log lines go to standard error, whose reader rotates them");
const NO_TRACING: Fate = Ignored("there are no traces, only metrics and logs");
const STEPS: Fate = Ignored("compaction runs in small steps of its own");
const NO_DISCOVERY: Fate = Refused(&[""], "members are named by --initial-cluster");
const UNUSED_DISCOVERY: Fate = Ignored("it belongs to discovery, which there is none of");

/// The flags of etcd 3.7 in the order of its help.
pub(super) const ETCD_FLAGS: &[EtcdFlag] = &[
    ("config-file", Value, Refused(&[""], "give flags, or ETCD_ variables")),
    ("version", Nothing, Honoured),
    ("name", Value, Honoured),
    ("data-dir", Value, Honoured),
    ("wal-dir", Value, Refused(&[""], "the log lives in --data-dir")),
    ("snapshot-count", Value, Honoured),
    ("heartbeat-interval", Value, Honoured),
    ("election-timeout", Value, Honoured),
    ("initial-election-tick-advance", Nothing, Ignored("an election follows its timeout")),
    ("listen-peer-urls", Value, Honoured),
    ("listen-client-urls", Value, Honoured),
    ("listen-client-http-urls", Value, Refused(&[""], "--listen-client-urls serves HTTP too")),
    ("max-snapshots", Value, Ignored("one snapshot is kept")),
    ("max-wals", Value, Ignored("the log drops what a snapshot holds")),
    ("memory-mlock", Nothing, Ignored("memory is not locked; the log is no mapped file")),
    ("quota-backend-bytes", Value, Honoured),
    ("backend-bbolt-freelist-type", Value, NO_BACKEND),
    ("backend-batch-interval", Value, NO_BACKEND),
    ("backend-batch-limit", Value, NO_BACKEND),
    ("max-txn-ops", Value, Honoured),
    ("max-request-bytes", Value, Honoured),
    ("max-concurrent-streams", Value, Honoured),
    ("grpc-keepalive-min-time", Value, Ignored("clients may ping as often as they like")),
    ("grpc-keepalive-interval", Value, Honoured),
    ("grpc-keepalive-timeout", Value, Honoured),
    ("socket-reuse-port", Nothing, OWN_SOCKETS),
    ("socket-reuse-address", Nothing, OWN_SOCKETS),
    ("enable-grpc-gateway", Nothing, Refused(&["true"], "the JSON gateway is always served")),
    ("raft-read-timeout", Value, NO_COMPARING),
    ("raft-write-timeout", Value, NO_COMPARING),
    ("feature-gates", Value, Honoured),
    ("initial-advertise-peer-urls", Value, Honoured),
    ("initial-cluster", Value, Honoured),
    ("initial-cluster-state", Value, Honoured),
    ("initial-cluster-token", Value, Honoured),
    ("advertise-client-urls", Value, Honoured),
    ("discovery", Value, NO_DISCOVERY),
    ("discovery-token", Value, NO_DISCOVERY),
    ("discovery-endpoints", Value, NO_DISCOVERY),
    ("discovery-dial-timeout", Value, UNUSED_DISCOVERY),
    ("discovery-request-timeout", Value, UNUSED_DISCOVERY),
    ("discovery-keepalive-time", Value, UNUSED_DISCOVERY),
    ("discovery-keepalive-timeout", Value, UNUSED_DISCOVERY),
    ("discovery-insecure-transport", Nothing, UNUSED_DISCOVERY),
    ("discovery-insecure-skip-tls-verify", Nothing, UNUSED_DISCOVERY),
    ("discovery-cert", Value, UNUSED_DISCOVERY),
    ("discovery-key", Value, UNUSED_DISCOVERY),
    ("discovery-cacert", Value, UNUSED_DISCOVERY),
    ("discovery-user", Value, UNUSED_DISCOVERY),
    ("discovery-password", Value, UNUSED_DISCOVERY),
    ("discovery-fallback", Value, UNUSED_DISCOVERY),
    ("discovery-proxy", Value, UNUSED_DISCOVERY),
    ("discovery-srv", Value, NO_DISCOVERY),
    ("discovery-srv-name", Value, UNUSED_DISCOVERY),
    ("strict-reconfig-check", Nothing, Honoured),
    ("pre-vote", Nothing, ALWAYS),
    ("auto-compaction-retention", Value, Honoured),
    ("auto-compaction-mode", Value, Honoured),
    ("v2-deprecation", Value, Ignored("there is no v2 store")),
    ("cert-file", Value, Honoured),
    ("key-file", Value, Honoured),
    ("client-cert-auth", Nothing, Honoured),
    ("client-cert-file", Value, Ignored("the member is no client of itself")),
    ("client-key-file", Value, Ignored("the member is no client of itself")),
    ("client-crl-file", Value, Refused(&[""], "revocation lists are not read")),
    ("client-cert-allowed-hostname", Value, Refused(&[""], "names of clients are not checked")),
    ("trusted-ca-file", Value, Honoured),
    ("auto-tls", Nothing, Refused(&["false"], "no certificates are made here")),
    ("peer-cert-file", Value, Honoured),
    ("peer-key-file", Value, Honoured),
    ("peer-client-cert-auth", Nothing, Honoured),
    ("peer-client-cert-file", Value, ONE_PEER_CERTIFICATE),
    ("peer-client-key-file", Value, ONE_PEER_CERTIFICATE),
    ("peer-trusted-ca-file", Value, Honoured),
    ("peer-cert-allowed-cn", Value, NO_PEER_TLS),
    ("peer-cert-allowed-hostname", Value, NO_PEER_TLS),
    ("peer-auto-tls", Nothing, NO_PEER_TLS),
    ("self-signed-cert-validity", Value, Ignored("no certificates are made here")),
    ("peer-crl-file", Value, NO_PEER_TLS),
    ("cipher-suites", Value, Honoured),
    ("cors", Value, Ignored("no other origin is allowed: browsers are sent no CORS headers")),
    ("host-whitelist", Value, Refused(&["", "*"], "names of hosts are not checked")),
    ("tls-min-version", Value, Honoured),
    ("tls-max-version", Value, Honoured),
    ("auth-token", Value, Honoured),
    ("bcrypt-cost", Value, Honoured),
    ("auth-token-ttl", Value, Honoured),
    ("enable-pprof", Nothing, Ignored("there is no Go profiler here")),
    ("metrics", Value, Ignored("the same metrics are always served, without call histograms")),
    ("listen-metrics-urls", Value, Honoured),
    ("logger", Value, Ignored("log lines are chosen by --log-format")),
    ("log-outputs", Value, TO_STDERR),
    ("log-level", Value, Honoured),
    ("log-format", Value, Honoured),
    ("enable-log-rotation", Nothing, TO_STDERR),
    ("log-rotation-config-json", Value, TO_STDERR),
    ("warning-unary-request-duration", Value, Ignored("slow requests are not logged")),
    ("enable-distributed-tracing", Nothing, NO_TRACING),
    ("distributed-tracing-address", Value, NO_TRACING),
    ("distributed-tracing-service-name", Value, NO_TRACING),
    ("distributed-tracing-instance-id", Value, NO_TRACING),
    ("distributed-tracing-sampling-rate", Value, NO_TRACING),
    ("corrupt-check-time", Value, NO_COMPARING),
    ("compact-hash-check-time", Value, Honoured),
    ("compaction-batch-limit", Value, STEPS),
    ("peer-skip-client-san-verification", Nothing, NO_PEER_TLS),
    ("watch-progress-notify-interval", Value, Honoured),
    ("warning-apply-duration", Value, Ignored("a batch that takes over 100 ms is logged")),
    ("bootstrap-defrag-threshold-megabytes", Value, NO_BACKEND),
    ("max-learners", Value, Honoured),
    ("compaction-sleep-interval", Value, STEPS),
    ("downgrade-check-time", Value, Ignored("the leader looks every five seconds")),
    ("snapshot-catchup-entries", Value, Ignored("5,000 entries or 16 MiB are kept for the slow")),
    ("force-new-cluster", Nothing, Honoured),
    ("unsafe-no-fsync", Nothing, Ignored("the log is always synced")),
];

/// Flags that etcd had until 3.7 and that are still given by older manifests.
pub(super) const FORMER_FLAGS: &[EtcdFlag] = &[
    ("initial-corrupt-check", Nothing, NO_COMPARING),
    ("compact-hash-check-enabled", Nothing, ALWAYS),
    ("enable-lease-checkpoint", Nothing, Ignored("leases are extended when the leader changes")),
    ("enable-lease-checkpoint-persist", Nothing, Ignored("leases are extended when it changes")),
    ("enable-v2", Nothing, Ignored("there is no v2 store")),
];

/// What such a flag was called before it was stable.
const EXPERIMENTAL: &str = "experimental-";

/// The flag of that name, also in its experimental spelling.
pub(super) fn find(name: &str) -> Option<&'static EtcdFlag> {
    let name = name.strip_prefix(EXPERIMENTAL).unwrap_or(name);
    ETCD_FLAGS.iter().chain(FORMER_FLAGS).find(|(flag, ..)| *flag == name)
}

/// The flag that an environment variable stands for.
pub(super) fn of_variable(variable: &str) -> Option<String> {
    Some(variable.strip_prefix("ETCD_")?.to_ascii_lowercase().replace('_', "-"))
}

/// Gates of etcd 3.7. None has a meaning here; a name that is not among them is refused, as by
/// etcd.
pub(super) const FEATURE_GATES: &[&str] = &[
    "AllAlpha",
    "AllBeta",
    "CompactHashCheck",
    "FastLeaseKeepAlive",
    "InitialCorruptCheck",
    "LeaseCheckpoint",
    "LeaseCheckpointPersist",
    "PriorityRequest",
    "SetMemberLocalAddr",
    "StopGRPCServiceOnDefrag",
    "TxnModeWriteWithSharedBuffer",
];
