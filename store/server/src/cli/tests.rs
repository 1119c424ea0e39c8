use super::etcd_flags::{ETCD_FLAGS, EtcdFlag, FORMER_FLAGS, Fate};
use super::*;
use crate::ETCD_VERSION;

fn parse(args: &[&str]) -> Result<MemberConfig, String> {
    parse_with(args, &[])
}

fn parse_with(args: &[&str], variables: &[(&str, &str)]) -> Result<MemberConfig, String> {
    let args = std::iter::once("skein-store").chain(args.iter().copied()).map(String::from);
    let variables = variables.iter().map(|&(name, value)| (name.into(), value.into()));
    let normalized = normalize(args, variables).map_err(|error| error.to_string())?;
    let flags = Flags::try_parse_from(normalized.args).map_err(|error| error.to_string())?;
    flags.into_config().map_err(|error| error.to_string())
}

#[test]
fn defaults_are_etcds() {
    let config = parse(&[]).expect("no flag is needed");
    assert_eq!(config.name, "default");
    assert_eq!(config.data_dir, PathBuf::from("default.etcd"));
    assert_eq!(config.listen_client_urls[0].address.port(), 2379);
    assert_eq!(config.quota_backend_bytes, Some(2 << 30));
    assert_eq!(config.auto_compaction, AutoCompaction::Off);
    assert_eq!(config.watch_progress_interval, Duration::from_secs(600));
    assert_eq!(config.auth, AuthConfig::default());
}

#[test]
fn etcds_spellings_are_read() {
    let config = parse(&[
        "-name",
        "m1",
        "--data-dir=/d",
        "--listen-client-urls",
        "http://127.0.0.1:1,http://127.0.0.1:2",
        "--client-cert-auth=false",
        "--auto-compaction-retention=1h30m",
        "--max-request-bytes",
        "99",
        "--initial-cluster",
        "m1=http://127.0.0.1:2380",
        "--experimental-watch-progress-notify-interval",
        "500ms",
    ]);
    let config = config.expect("all known");
    assert_eq!((config.name.as_str(), config.listen_client_urls.len()), ("m1", 2));
    assert_eq!(config.auto_compaction, AutoCompaction::Periodic(Duration::from_secs(5400)));
    assert_eq!(config.max_request_bytes, 99);
    assert_eq!(config.watch_progress_interval, Duration::from_millis(500));
}

#[test]
fn what_cannot_work_is_refused_by_name() {
    let cases: &[(&[&str], &str)] = &[
        (&["--initial-cluster", "default"], "name=url"),
        (&["--initial-cluster-state", "sometimes"], "existing"),
        (&["--listen-peer-urls", "https://127.0.0.1:1"], "--peer-trusted-ca-file"),
        (&["--client-cert-auth", "--cert-file", "c", "--key-file", "k"], "--trusted-ca-file"),
        (&["--cert-file", "c"], "--key-file"),
        (&["--auto-compaction-retention", "soon"], "soon"),
        (&["--discovery", "http://x"], "--discovery is not offered"),
        (&["--feature-gates", "NoSuchGate=true"], "NoSuchGate"),
        (&["--grpc-keepalive-timeout", "long"], "--grpc-keepalive-timeout"),
        (&["--auth-token", "jwt,sign-method=ES512"], "ES512 is not one of"),
        (&["--bcrypt-cost", "32"], "--bcrypt-cost"),
        (&["--auth-token-ttl", "0"], "--auth-token-ttl"),
        (&["--election-timeout", "200"], "--election-timeout"),
        (&["--listen-client-urls", "https://127.0.0.1:1"], "--cert-file"),
    ];
    for (args, wanted) in cases {
        let text = parse(args).expect_err("cannot work");
        assert!(text.contains(wanted), "{args:?}: {text}");
    }
}

fn ignored(args: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
    let args = std::iter::once("x").chain(args.iter().copied()).map(String::from);
    let variables = variables.iter().map(|&(name, value)| (name.into(), value.into()));
    let normalized = normalize(args, variables).expect("nothing is refused");
    normalized.ignored.into_iter().map(|ignored| ignored.flag).collect()
}

#[test]
fn flags_without_meaning_are_named() {
    let args = ["--logger", "zap", "--pre-vote", "--max-wals=3", "--name", "n"];
    assert_eq!(ignored(&args, &[]), ["logger", "pre-vote", "max-wals"]);
    let former =
        ["--experimental-initial-corrupt-check=true", "--experimental-corrupt-check-time=1h"];
    let names = ["experimental-initial-corrupt-check", "experimental-corrupt-check-time"];
    assert_eq!(ignored(&former, &[]), names);
}

#[test]
fn variables_stand_behind_flags() {
    let variables = [("ETCD_NAME", "v"), ("ETCD_MAX_TXN_OPS", "9"), ("OTHER", "x")];
    let config = parse_with(&["--name=f"], &variables).expect("works");
    assert_eq!((config.name.as_str(), config.max_txn_ops), ("f", 9));
    let told = ignored(&["--name=f"], &[("ETCD_NAME", "v"), ("ETCD_UNHEARD_OF", "1")]);
    assert_eq!(told, ["ETCD_NAME", "ETCD_UNHEARD_OF"]);
    assert_eq!(ignored(&[], &[("ETCD_VERSION", "3.5.1")]), ["ETCD_VERSION"]);
    let refused = parse_with(&[], &[("ETCD_AUTO_TLS", "true")]).expect_err("refused");
    assert!(refused.contains("--auto-tls is not offered"), "{refused}");
}

#[test]
fn the_manifest_of_kubeadm_is_taken() {
    let config = parse(&[
        "--advertise-client-urls=https://10.0.0.1:2379",
        "--cert-file=/etc/kubernetes/pki/etcd/server.crt",
        "--client-cert-auth=true",
        "--data-dir=/var/lib/etcd",
        "--feature-gates=InitialCorruptCheck=true",
        "--initial-advertise-peer-urls=https://10.0.0.1:2380",
        "--initial-cluster=cp=https://10.0.0.1:2380",
        "--key-file=/etc/kubernetes/pki/etcd/server.key",
        "--listen-client-urls=https://127.0.0.1:2379,https://10.0.0.1:2379",
        "--listen-metrics-urls=http://127.0.0.1:2381",
        "--listen-peer-urls=https://10.0.0.1:2380",
        "--name=cp",
        "--peer-cert-file=/etc/kubernetes/pki/etcd/peer.crt",
        "--peer-client-cert-auth=true",
        "--peer-key-file=/etc/kubernetes/pki/etcd/peer.key",
        "--peer-trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt",
        "--snapshot-count=10000",
        "--trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt",
        "--watch-progress-notify-interval=5s",
    ]);
    let config = config.expect("all of it");
    assert_eq!(config.listen_client_urls.len(), 2);
    assert_eq!(config.watch_progress_interval, Duration::from_secs(5));
    assert!(config.tls.is_some_and(|tls| tls.trusted_ca_file.is_some()));
}

#[test]
fn quotas_are_etcds() {
    let quota = |value| parse(&[value]).map(|config| config.quota_backend_bytes);
    assert_eq!(quota("--quota-backend-bytes=0"), Ok(Some(2 << 30)));
    assert_eq!(quota("--quota-backend-bytes=77"), Ok(Some(77)));
    assert_eq!(quota("--quota-backend-bytes=-1"), Ok(None));
}

#[test]
fn every_flag_of_etcd_has_its_fate() {
    use clap::CommandFactory;
    let command = Flags::command();
    let own: Vec<&str> = command.get_arguments().filter_map(|arg| arg.get_long()).collect();
    for (flag, _, fate) in ETCD_FLAGS.iter().chain(FORMER_FLAGS) {
        assert_eq!(own.contains(flag), *fate == Fate::Honoured, "{flag}");
        if let Fate::Refused(allowed, _) = fate {
            let refused = parse(&[&format!("--{flag}=nonsense")]).expect_err("it is refused");
            assert!(refused.contains(&format!("--{flag} is not offered: ")), "{refused}");
            let empty = format!("--{flag}={}", allowed[0]);
            assert!(parse(&[&empty]).is_ok(), "{empty}");
        }
    }
    for flag in own {
        assert!(ETCD_FLAGS.iter().any(|(name, ..)| *name == flag), "{flag} is not etcd's");
    }
    let unknown = parse(&["--unheard-of=1"]).expect_err("no such flag");
    assert!(unknown.contains("--unheard-of"), "{unknown}");
}

/// The table in `docs/operations.md`.
fn table() -> String {
    let row = |(flag, _, fate): &EtcdFlag| match fate {
        Fate::Honoured => format!("| `--{flag}` | as etcd | |\n"),
        Fate::Ignored(why) => format!("| `--{flag}` | no effect | {why} |\n"),
        Fate::Refused(allowed, why) => {
            let allowed: Vec<_> = allowed.iter().filter(|value| !value.is_empty()).collect();
            let but = match allowed[..] {
                [] => String::new(),
                ref values => format!(" but for {values:?}").replace(['[', ']', '"'], "`"),
            };
            format!("| `--{flag}` | refused{} | {why} |\n", but.replace("``", "`"))
        }
    };
    ETCD_FLAGS.iter().map(row).collect()
}

#[test]
fn the_documentation_shows_the_table() {
    let document = include_str!("../../../../docs/operations.md");
    let expected = table();
    assert!(document.contains(&expected), "docs/operations.md should have these rows:\n{expected}");
}

#[test]
fn the_version_names_the_api() {
    let error = Flags::try_parse_from(["skein-store", "--version"]).expect_err("it prints");
    assert!(error.to_string().contains(&format!("\netcd Version: {ETCD_VERSION}\n")));
}

#[test]
fn durations_are_gos() {
    assert_eq!(duration("1h30m"), Some(Duration::from_secs(5400)));
    assert_eq!(duration("1.5s"), Some(Duration::from_millis(1500)));
    assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
    for wrong in ["", "10", "m", "1d", "1.2.3s"] {
        assert_eq!(duration(wrong), None, "{wrong}");
    }
}
