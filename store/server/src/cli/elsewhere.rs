//! etcd's flags that have no meaning here: named, never silently dropped.

/// A flag of etcd that was given and does nothing here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// Its name without dashes.
    pub flag: String,
    /// Why it does nothing.
    pub why: &'static str,
}

const NO_PEERS: &str = "a cluster of one has no peers";
const OWN_LOG: &str = "the log chooses this itself";
const NO_BACKEND: &str = "there is no bbolt file here";
const ALWAYS: &str = "this is always so";

/// Flags that may be given and do nothing, with the reason, and whether they take a value.
const IGNORED: &[(&str, &str, Takes)] = &[
    ("backend-batch-interval", NO_BACKEND, Takes::Value),
    ("backend-batch-limit", NO_BACKEND, Takes::Value),
    ("backend-bbolt-freelist-type", NO_BACKEND, Takes::Value),
    ("bcrypt-cost", "there are no passwords yet", Takes::Value),
    ("auth-token", "there are no tokens yet", Takes::Value),
    ("auth-token-ttl", "there are no tokens yet", Takes::Value),
    ("compaction-batch-limit", "compaction runs in steps of its own", Takes::Value),
    ("compaction-sleep-interval", "compaction runs in steps of its own", Takes::Value),
    ("corrupt-check-time", NO_PEERS, Takes::Value),
    ("enable-pprof", "there is no Go profiler here", Takes::Nothing),
    ("experimental-initial-corrupt-check", NO_PEERS, Takes::Nothing),
    ("initial-corrupt-check", NO_PEERS, Takes::Nothing),
    ("feature-gates", "none of etcd's gates exists here", Takes::Value),
    ("grpc-keepalive-interval", "the server's own bounds hold", Takes::Value),
    ("grpc-keepalive-min-time", "the server's own bounds hold", Takes::Value),
    ("grpc-keepalive-timeout", "the server's own bounds hold", Takes::Value),
    ("initial-election-tick-advance", "a sole voter is elected at once", Takes::Nothing),
    ("log-outputs", "log lines go to standard error", Takes::Value),
    ("logger", "log lines are chosen by --log-format", Takes::Value),
    ("max-snapshots", "one snapshot is kept", Takes::Value),
    ("max-wals", OWN_LOG, Takes::Value),
    ("metrics", "all metrics are served", Takes::Value),
    ("pre-vote", ALWAYS, Takes::Nothing),
    ("snapshot-catchup-entries", NO_PEERS, Takes::Value),
    ("socket-reuse-address", "the listener's own options hold", Takes::Nothing),
    ("warning-apply-duration", "slow applies are a metric", Takes::Value),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// `--flag value` or `--flag=value`.
    Value,
    /// `--flag` or `--flag=true`.
    Nothing,
}

/// Turns Go's spelling of flags (`-name x`) into ours and takes out what has no meaning here.
pub fn normalize(args: impl IntoIterator<Item = String>) -> (Vec<String>, Vec<Ignored>) {
    let mut kept = Vec::new();
    let mut ignored = Vec::new();
    let mut args = args.into_iter();
    kept.extend(args.next());
    while let Some(arg) = args.next() {
        let bare = arg.trim_start_matches('-');
        // A lone letter is an option of ours, such as -h.
        if !arg.starts_with('-') || bare.len() < 2 {
            kept.push(arg);
            continue;
        }
        let name = bare.split('=').next().unwrap_or(bare);
        match IGNORED.iter().find(|(flag, ..)| *flag == name) {
            None => kept.push(format!("--{bare}")),
            Some((flag, why, takes)) => {
                if *takes == Takes::Value && !bare.contains('=') {
                    args.next();
                }
                ignored.push(Ignored { flag: (*flag).to_owned(), why });
            }
        }
    }
    (kept, ignored)
}
