//! `skeinctl` against a real etcd.

#[path = "support/skeinctl.rs"]
mod skeinctl;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use serde_json::Value;
use skein_store_client::testing::StoreProcess;
use skein_store_client::{Session, SessionConfig};
use skein_store_schema::kinds::agent_status::{AgentStatus, AgentStatusKey};
use skein_store_schema::{Key, StoreKey, StoreValue};
use skeinctl::Skeinctl;

struct Lab {
    store: StoreProcess,
    skeinctl: Skeinctl,
}

impl Lab {
    fn new() -> Self {
        let store = StoreProcess::etcd().unwrap();
        let skeinctl = Skeinctl::to(&[store.endpoint()]);
        Self { store, skeinctl }
    }

    /// A store that holds the schema's examples: one small cluster that fits together.
    async fn with_cluster() -> Self {
        let lab = Self::new();
        let session = Session::connect(SessionConfig::new([lab.store.endpoint()])).await.unwrap();
        for (_, key, value) in Key::catalogue() {
            session.put(key, value, None).await.unwrap();
        }
        let (key, status) = AgentStatusKey::example();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let status = AgentStatus { updated_unix_ms: now.as_millis() as u64, ..status };
        session.put(key.encode(), status.encode(), None).await.unwrap();
        lab
    }
}

impl std::ops::Deref for Lab {
    type Target = Skeinctl;

    fn deref(&self) -> &Skeinctl {
        &self.skeinctl
    }
}

#[tokio::test]
async fn keys_are_written_read_and_deleted() {
    let lab = Lab::new();
    assert!(lab.ok(&["put", "test/a", "hello"]).starts_with("written at revision "));
    assert!(lab.ok(&["get", "test/a"]).contains("\nhello\n(at revision "));
    assert_eq!(lab.ok(&["get", "test/a", "--value-only"]), "hello\n");
    let got = lab.json(&["get", "test/a"]);
    assert_eq!(got["items"][0]["value"], "hello");
    assert_eq!(got["items"][0]["version"], 1);
    assert!(got["revision"].as_i64().unwrap() >= 2);

    let first = got["items"][0]["mod_revision"].to_string();
    lab.ok(&["put", "test/a", "later"]);
    lab.ok(&["put", "test/b", "other"]);
    assert_eq!(lab.ok(&["get", "test/a", "--rev", &first, "--value-only"]), "hello\n");
    assert_eq!(lab.json(&["get", "test/", "--prefix", "--count-only"])["count"], 2);
    let limited = lab.run(&["get", "test/", "--prefix", "--limit", "1"]);
    assert!(String::from_utf8_lossy(&limited.stderr).contains("1 more keys"));

    assert_eq!(lab.json(&["del", "test/", "--prefix", "--yes"])["deleted"], 2);
    let (code, said) = lab.fails(&["get", "test/a"]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("\"test/a\" does not exist"), "{said}");
    assert_eq!(lab.fails(&["del", "test/a"]).0, 3);
}

#[tokio::test]
async fn values_come_from_standard_input_and_may_hold_anything() {
    let lab = Lab::new();
    let mut child = lab
        .command(&["put", "test/a", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"two\nlines \xff").unwrap();
    assert!(child.wait().unwrap().success());
    let raw = lab.run(&["get", "test/a", "--value-only"]).stdout;
    assert_eq!(raw, b"two\nlines \xff\n");
}

#[tokio::test]
async fn values_that_nobody_could_read_are_refused() {
    let lab = Lab::new();
    let key = "skein/ipam/v1/pools/default";
    let (code, said) = lab.fails(&["put", key, "{\"v\":7}"]);
    assert_eq!(code, 1);
    assert!(said.contains("format version 7; this build knows version 1"), "{said}");
    lab.ok(&["put", key, "{\"v\":7}", "--force"]);
    let shown = lab.ok(&["get", key]);
    assert!(shown.contains("INVALID: ") && shown.contains("format version 7"), "{shown}");
    assert!(lab.json(&["get", key])["items"][0]["invalid"].as_str().unwrap().contains("version 7"));
    let status = lab.run(&["status", "--check"]);
    assert_eq!(status.status.code(), Some(5));
    assert!(String::from_utf8(status.stdout).unwrap().contains("format version 7"));
}

#[tokio::test]
async fn known_values_are_decoded() {
    let lab = Lab::with_cluster().await;
    let shown = lab.ok(&["get", "skein/state/services/v1/shop/cart"]);
    assert!(shown.contains("  Service, created at revision"), "{shown}");
    assert!(shown.contains("\"cluster_ips\": [\n"), "{shown}");
    let all = lab.json(&["get", "skein/", "--prefix"]);
    let items = all["items"].as_array().unwrap();
    assert!(items.iter().all(|item| item["kind"].is_string() && item["invalid"].is_null()));
    let keys = lab.json(&["get", "", "--prefix", "--keys-only"]);
    assert_eq!(keys["items"].as_array().unwrap().len(), Key::catalogue().len());
}

#[tokio::test]
async fn the_cluster_is_listed() {
    let lab = Lab::with_cluster().await;
    for (args, words) in [
        (&["service", "list"][..], "shop       cart  ClusterIP  10.96.0.20  80->web/TCP  1/1"),
        (&["node", "list"], "node-1  172.18.0.2   10.1.0.0/24  1/252      ok     4711"),
        (&["ipcache", "list"], "10.1.0.37  51234     172.18.0.2  shop/cart-6d8c7  k8s:app=cart"),
        (&["identity", "list"], "51234     k8s:app=cart k8s:io.cilium.k8s.policy.cluster=default"),
        (&["pod", "list"], "shop       cart-6d8c7  node-1  10.1.0.37  51234     app=cart"),
        (&["ipam"], "default  10.1.0.0/16  /24        1/256 claimed  1/252 allocated"),
        (&["ipam"], "default  10.1.0.0/24  node-1  1/252 allocated"),
    ] {
        let shown = lab.ok(args);
        assert!(shown.contains(words), "{args:?}:\n{shown}");
        assert!(shown.contains(" at revision "), "{args:?}:\n{shown}");
        assert!(lab.json(args)["revision"].as_i64().unwrap() > 0);
    }
    assert!(lab.ok(&["service", "list", "-n", "other"]).contains("0 entries"));
    assert_eq!(lab.json(&["ipam"])["blocks"][0]["node"], "node-1");
}

#[tokio::test]
async fn status_shows_the_whole_cluster() {
    let lab = Lab::with_cluster().await;
    let shown = lab.ok(&["status", "--check"]);
    for words in [
        " leader (member ",
        "Control plane: cp-1 elected",
        "Nodes:         1/1 with a living agent",
        "Services:      1, 1/1 backends ready",
        "IPAM:          pool default (10.1.0.0/16, /24 blocks): 1/256 blocks, 1/252 addresses",
        "Problems:      none",
    ] {
        assert!(shown.contains(words), "{words}:\n{shown}");
    }
    let json = lab.json(&["status"]);
    assert_eq!(json["store"][0]["is_leader"], true);
    assert_eq!(json["nodes"][0]["agent"], "ok");
    assert_eq!(json["counts"]["backends_ready"], 1);
    assert_eq!(json["problems"].as_array().unwrap().len(), 0);

    lab.ok(&["del", "skein/agents/v1/node-1/status"]);
    let output = lab.run(&["status", "--check"]);
    assert_eq!(output.status.code(), Some(5));
    assert!(
        String::from_utf8(output.stdout).unwrap().contains("  - node node-1: its agent is away")
    );
}

#[tokio::test]
async fn leases_are_granted_kept_and_revoked() {
    let lab = Lab::new();
    let granted = lab.json(&["lease", "grant", "60"]);
    let lease = granted["lease"].as_str().unwrap();
    assert_eq!(granted["ttl_s"], 60);
    lab.ok(&["put", "test/a", "x", "--lease", lease]);
    let list = lab.json(&["lease", "list"]);
    assert_eq!(list["items"][0]["lease"], lease);
    assert_eq!(list["items"][0]["keys"][0], "test/a");
    assert_eq!(lab.json(&["lease", "timetolive", lease])["items"][0]["granted_ttl_s"], 60);
    assert_eq!(lab.json(&["lease", "keep-alive", lease, "--once"])["lease"], lease);
    assert_eq!(lab.json(&["get", "test/a"])["items"][0]["lease"], lease);
    assert!(lab.ok(&["lease", "revoke", lease]).contains("revoked"));
    assert_eq!(lab.fails(&["get", "test/a"]).0, 3);
    let (code, said) = lab.fails(&["lease", "timetolive", lease]);
    assert_eq!((code, said.contains("the lease does not exist")), (3, true), "{said}");
}

#[tokio::test]
async fn changes_are_followed_over_a_restart_of_the_store() {
    let mut lab = Lab::new();
    lab.ok(&["put", "test/a", "before"]);
    let mut child = lab
        .command(&["watch", "test/", "--prefix", "--initial", "--count", "3"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    assert!(next().ends_with("test/a before"));
    lab.ok(&["put", "test/a", "one"]);
    assert!(next().starts_with("PUT "));
    lab.store.kill().unwrap();
    lab.store.start().unwrap();
    lab.ok(&["put", "test/b", "two"]);
    assert!(next().ends_with("test/b two"));
    lab.ok(&["del", "test/a"]);
    assert!(next().starts_with("DEL "));
    assert!(child.wait().unwrap().success());
}

#[tokio::test]
async fn history_is_followed_from_a_revision() {
    let lab = Lab::new();
    let first = lab.json(&["put", "test/a", "1"])["revision"].to_string();
    lab.ok(&["put", "test/a", "2"]);
    let shown = lab.ok(&["-o", "json", "watch", "test/a", "--rev", &first, "--count", "2"]);
    let values: Vec<Value> = shown
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["value"].take())
        .collect();
    assert_eq!(values, [1, 2]);
    let (code, said) = lab.fails(&["watch", "test/a", "--rev", "1000"]);
    assert_eq!((code, said.contains("is in the future")), (1, true), "{said}");
    let session = Session::connect(SessionConfig::new([lab.store.endpoint()])).await.unwrap();
    let now = session.header().await.unwrap().1;
    session.compact(now).await.unwrap();
    let (code, said) = lab.fails(&["watch", "test/a", "--rev", &first]);
    assert_eq!((code, said.contains("has been compacted")), (1, true), "{said}");
}

/// Reads until what was read ends with these words.
fn read_to(source: &mut impl Read, words: &str) {
    let (mut read, mut byte) = (Vec::new(), [0]);
    while !read.ends_with(words.as_bytes()) {
        source.read_exact(&mut byte).unwrap();
        read.push(byte[0]);
    }
}

#[test]
fn a_password_is_asked_twice_and_not_shown() {
    let lab = Lab::new();
    let nix::pty::OpenptyResult { master, slave } = nix::pty::openpty(None, None).unwrap();
    let mut terminal = std::fs::File::from(master);
    let mut command = lab.command(&["user", "add", "asked"]);
    let mut child = command.stdin(slave).stderr(Stdio::piped()).spawn().unwrap();
    // Ours are the only other ends of the terminal: without them it ends with the child.
    drop(command);
    let mut said = child.stderr.take().unwrap();
    for prompt in ["New password of asked: ", "The same again, of asked: "] {
        read_to(&mut said, prompt);
        terminal.write_all(b"typed in secret\n").unwrap();
    }
    assert!(child.wait().unwrap().success());
    let mut shown = Vec::new();
    // A terminal whose other end has gone reports an error once all was read.
    let _ = terminal.read_to_end(&mut shown);
    assert!(!String::from_utf8_lossy(&shown).contains("secret"), "{shown:?}");
    assert!(lab.ok(&["user", "list"]).contains("asked"));
}

#[test]
fn an_unreachable_store_is_named_with_its_exit_code() {
    let output = Command::new(env!("CARGO_BIN_EXE_skeinctl"))
        .args(["--endpoints", "127.0.0.1:1", "--timeout", "300ms", "status"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("127.0.0.1:1") && said.contains("refused"), "{said}");
    assert!(said.contains("--endpoints"), "{said}");
}

#[test]
fn members_are_listed_and_help_teaches() {
    let lab = Lab::new();
    let members = lab.json(&["member", "list"]);
    assert_eq!(members["items"][0]["name"], "test");
    assert!(lab.ok(&["member", "list"]).contains("test  yes"));
    let help = lab.ok(&["--help"]);
    assert!(help.contains("Examples:") && help.contains("Exit codes:"));
    assert!(lab.ok(&["watch", "--help"]).contains("Examples:"));
    assert_eq!(lab.fails(&["lease", "revoke", "xyz"]).0, 2);
}
