use super::*;
use crate::ETCD_VERSION;

fn parse(args: &[&str]) -> Result<MemberConfig, String> {
    let (args, _) =
        normalize(std::iter::once("skein-store").chain(args.iter().copied()).map(String::from));
    let flags = Flags::try_parse_from(args).map_err(|error| error.to_string())?;
    flags.into_config().map_err(|error| error.to_string())
}

#[test]
fn defaults_are_etcds() {
    let config = parse(&[]).expect("no flag is needed");
    assert_eq!(config.name, "default");
    assert_eq!(config.data_dir, PathBuf::from("default.etcd"));
    assert_eq!(config.listen_client_urls[0].address.port(), 2379);
    assert_eq!(config.quota_backend_bytes, 2 << 30);
    assert_eq!(config.auto_compaction, AutoCompaction::Off);
    assert_eq!(config.watch_progress_interval, Duration::from_secs(600));
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
        (&["--discovery", "http://x"], "--discovery"),
        (&["--election-timeout", "200"], "--election-timeout"),
        (&["--listen-client-urls", "https://127.0.0.1:1"], "--cert-file"),
    ];
    for (args, wanted) in cases {
        let text = parse(args).expect_err("cannot work");
        assert!(text.contains(wanted), "{args:?}: {text}");
    }
}

#[test]
fn flags_without_meaning_are_named() {
    let args = ["x", "--logger", "zap", "--pre-vote", "--max-wals=3", "--name", "n"];
    let (kept, ignored) = normalize(args.map(String::from));
    assert_eq!(kept, ["x", "--name", "n"]);
    let names: Vec<_> = ignored.iter().map(|ignored| ignored.flag.as_str()).collect();
    assert_eq!(names, ["logger", "pre-vote", "max-wals"]);
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
