//! `skeinctl` with a store of three members: a real etcd, or the program that `SKEIN_TEST_STORE` names.

#[path = "support/skeinctl.rs"]
mod skeinctl;

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use skein_store_client::testing::{StoreCluster, StoreProcess, real_etcd_program};
use skeinctl::Skeinctl;

/// Longer than any single wait of these tests on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Lab {
    cluster: StoreCluster,
    /// Knows all members.
    all: Skeinctl,
}

impl Lab {
    fn new() -> Self {
        Self::with_flags(&[])
    }

    fn with_flags(flags: &[&str]) -> Self {
        Self::of(StoreCluster::with_flags(flags).unwrap())
    }

    fn of(cluster: StoreCluster) -> Self {
        let all = Skeinctl::to(&cluster.endpoints());
        let lab = Self { cluster, all };
        lab.eventually("all are up", || {
            lab.all.run(&["endpoint", "health"]).status.code() == Some(0)
        });
        lab
    }

    /// Knows one member alone.
    fn one(&self, index: usize) -> Skeinctl {
        Skeinctl::to(&[self.cluster[index].endpoint()])
    }

    fn eventually(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn statuses(&self) -> Vec<Value> {
        self.one(0).json(&["endpoint", "status", "--cluster"])["items"].as_array().unwrap().clone()
    }

    fn leader(&self) -> String {
        let statuses = self.statuses();
        let leader = statuses.iter().find(|status| status["is_leader"] == true).unwrap();
        leader["member"].as_str().unwrap().to_owned()
    }

    /// Index and id of a member that does not lead.
    fn follower(&self) -> (usize, String) {
        let statuses = self.statuses();
        let status = statuses.iter().find(|status| status["is_leader"] == false).unwrap();
        let endpoint = status["endpoint"].as_str().unwrap();
        let at = (0..self.cluster.size())
            .find(|at| endpoint.ends_with(&self.cluster[*at].endpoint()))
            .unwrap();
        (at, status["member"].as_str().unwrap().to_owned())
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn every_member_is_asked_by_itself() {
    let mut lab = Lab::new();
    lab.all.ok(&["put", "a", "1"]);
    let statuses = lab.statuses();
    assert_eq!(statuses.len(), 3);
    assert_eq!(statuses.iter().filter(|status| status["is_leader"] == true).count(), 1);
    for status in &statuses {
        assert!(status["db_size_bytes"].as_i64().unwrap() > 0, "{status}");
        assert!(status["raft_applied_index"].as_u64().unwrap() > 0, "{status}");
    }
    let shown = lab.all.ok(&["endpoint", "status"]);
    assert!(shown.contains(" leader ") && shown.contains(" follower "), "{shown}");
    assert!(shown.starts_with("ENDPOINT"), "{shown}");
    assert_eq!(lab.one(1).json(&["endpoint", "status"])["items"].as_array().unwrap().len(), 1);

    let health = lab.one(2).json(&["endpoint", "health", "--cluster"]);
    let items = health["items"].as_array().unwrap();
    assert!(items.len() == 3 && items.iter().all(|item| item["healthy"] == true), "{health}");

    lab.cluster[1].kill().unwrap();
    let dead = lab.cluster[1].endpoint();
    // The others can serve once one of them leads.
    lab.eventually("the dead one is the only one not well", || {
        let output = lab.all.run(&["endpoint", "health"]);
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.code() == Some(5) && shown.matches("  yes  ").count() == 2
    });
    let shown = String::from_utf8(lab.all.run(&["endpoint", "health"]).stdout).unwrap();
    let line = shown.lines().find(|line| line.starts_with(&dead)).unwrap();
    assert!(line.contains("refused"), "{shown}");
    // A member that has lost the others still tells how it does, and that it is not well.
    lab.cluster[2].kill().unwrap();
    lab.eventually("the loss of the majority is seen", || {
        let output = lab.one(0).run(&["endpoint", "status"]);
        String::from_utf8_lossy(&output.stdout).contains("no leader")
    });
    let (code, _) = lab.one(0).fails(&["--timeout", "2s", "endpoint", "health"]);
    assert_eq!(code, 4);
}

#[test]
fn hashes_are_equal_at_one_revision() {
    let lab = Lab::new();
    lab.all.ok(&["put", "a", "1"]);
    let revision = lab.all.json(&["put", "a", "2"])["revision"].to_string();
    lab.all.ok(&["check", "data"]);
    let hashes = lab.one(0).json(&["endpoint", "hashkv", "--cluster", "--rev", &revision]);
    let hash = |at: usize| hashes["items"][at]["hash"].as_u64().unwrap();
    assert!(hash(0) == hash(1) && hash(1) == hash(2), "{hashes}");
    assert_eq!(hashes["items"][0]["hash_revision"].to_string(), revision);
    let before = lab.one(0).json(&["endpoint", "hashkv", "--rev", "2"]);
    assert_ne!(before["items"][0]["hash"], hashes["items"][0]["hash"]);
    let (code, _) = lab.all.fails(&["endpoint", "hashkv", "--rev", "1000"]);
    assert_eq!(code, 4);
}

#[test]
fn members_are_added_promoted_updated_and_removed() {
    let mut lab = Lab::new();
    let joining = lab.cluster.prepare().unwrap();
    let (name, url) = (joining.name().to_owned(), joining.peer_url());
    // etcd refuses until its members have been connected for five seconds; that is waited for.
    let add = ["--timeout", "30s", "member", "add", &name, "--peer-urls", &url, "--learner"];
    let added = lab.all.json(&add);
    let id = text(&added["member"]).to_owned();
    assert_eq!(added["members"].as_array().unwrap().len(), 4);
    let cluster = text(&added["initial_cluster"]);
    assert!(cluster.contains(&format!("{name}={url}")) && cluster.matches('=').count() == 4);
    let (code, said) = lab.all.fails(&["member", "add", "again", "--peer-urls", &url]);
    assert!(
        code == 1 && said.contains("member \"again\"") && said.contains("already exist"),
        "{said}"
    );

    lab.cluster[3].start().unwrap();
    let listed = |lab: &Lab| lab.all.ok(&["member", "list"]);
    assert!(listed(&lab).contains("no (learner)"));
    // Refused until it has caught up.
    lab.eventually("the learner votes", || {
        lab.all.run(&["member", "promote", &id]).status.code() == Some(0)
    });
    lab.eventually("all know it", || !listed(&lab).contains("no (learner)"));

    let other = url.replace("127.0.0.1", "localhost");
    lab.all.ok(&["member", "update", &id, "--peer-urls", &other]);
    assert!(listed(&lab).contains(&other));
    assert!(lab.all.ok(&["member", "remove", &id]).contains("3 members"));
    let members = lab.all.json(&["member", "list"]);
    assert!(members["items"].as_array().unwrap().iter().all(|member| member["id"] != *id));
    let (code, said) = lab.all.fails(&["member", "remove", &id]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains(&id) && said.contains("member not found"), "{said}");
    assert_eq!(lab.all.fails(&["member", "remove", "m1"]).0, 2);
}

#[test]
fn leadership_moves_where_it_is_told() {
    let lab = Lab::new();
    let former = lab.leader();
    let (at, target) = lab.follower();
    // From an endpoint that does not lead: the leader is found.
    let moved = lab.one(at).json(&["move-leader", &target]);
    assert_eq!((text(&moved["from"]), text(&moved["to"])), (&*former, &*target));
    lab.eventually("it leads", || lab.leader() == target);
    let (code, said) = lab.all.fails(&["move-leader", "1234"]);
    assert!(code != 0 && said.contains("member 1234"), "{said}");
}

#[test]
fn history_is_compacted_and_space_given_back() {
    let lab = Lab::new();
    for n in 0..20 {
        lab.all.ok(&["put", "a", &format!("{n}{}", "x".repeat(100_000))]);
    }
    let revision = lab.all.json(&["put", "a", "last"])["revision"].to_string();
    let sizes = |lab: &Lab| -> i64 {
        lab.statuses().iter().map(|status| status["db_size_bytes"].as_i64().unwrap()).sum()
    };
    let before = sizes(&lab);
    let said = lab.all.ok(&["compaction", &revision, "--physical"]);
    assert!(said.contains(&format!("before revision {revision}")), "{said}");
    let (code, said) = lab.all.fails(&["compaction", &revision]);
    assert!(code == 1 && said.contains(&revision) && said.contains("compacted"), "{said}");
    let (_, said) = lab.all.fails(&["compaction", "100000"]);
    assert!(said.contains("future revision"), "{said}");

    let shown = lab.one(0).ok(&["--timeout", "60s", "defrag", "--cluster"]);
    assert_eq!(shown.matches(" ms").count(), 3, "{shown}");
    assert!(sizes(&lab) < before, "{before}");
}

#[test]
fn alarms_are_listed_and_disarmed() {
    let lab = Lab::with_flags(&["--quota-backend-bytes", "1048576"]);
    assert_eq!(lab.all.json(&["alarm", "list"])["items"].as_array().unwrap().len(), 0);
    let value = "x".repeat(120_000);
    lab.eventually("the quota is used up", || {
        let output = lab.all.run(&["put", "a", &value]);
        String::from_utf8_lossy(&output.stderr).contains("space exceeded")
    });
    lab.eventually("the alarm stands", || lab.all.ok(&["alarm", "list"]).contains("NOSPACE"));
    let output = lab.all.run(&["endpoint", "health"]);
    assert_eq!(output.status.code(), Some(5));
    assert!(String::from_utf8(output.stdout).unwrap().contains("alarm NOSPACE of member"));

    let revision = lab.all.json(&["get", "a", "--count-only"])["revision"].to_string();
    lab.all.ok(&["compaction", &revision, "--physical"]);
    lab.all.ok(&["--timeout", "60s", "defrag"]);
    assert!(!lab.all.json(&["alarm", "disarm"])["disarmed"].as_array().unwrap().is_empty());
    assert_eq!(lab.all.json(&["alarm", "list"])["items"].as_array().unwrap().len(), 0);
    lab.all.ok(&["put", "a", "1"]);
}

#[test]
fn users_and_roles_decide_who_may_do_what() {
    let lab = Lab::new();
    let ctl = &lab.all;
    assert_eq!(ctl.json(&["auth", "status"])["enabled"], false);
    let (code, said) = ctl.fails(&["auth", "enable"]);
    assert!(code == 3 && said.contains("skeinctl user add root"), "{said}");
    let mut child = ctl.command(&["user", "add", "root"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"secret of root\n").unwrap();
    assert!(child.wait().unwrap().success());
    ctl.ok(&["user", "add", "reader", "--new-user-password", "first"]);
    ctl.ok(&["user", "add", "by-certificate", "--no-password"]);
    ctl.ok(&["role", "add", "shop"]);
    ctl.ok(&["role", "grant-permission", "shop", "read", "shop/", "--prefix"]);
    ctl.ok(&["role", "grant-permission", "shop", "readwrite", "shop/cart"]);
    ctl.ok(&["role", "grant-permission", "shop", "write", "x", "z"]);
    ctl.ok(&["user", "grant-role", "reader", "shop"]);
    ctl.ok(&["auth", "enable"]);

    let (code, said) = ctl.fails(&["put", "a", "1"]);
    assert!(code == 1 && said.contains("user name is empty"), "{said}");
    let root = |args: &[&str]| ctl.ok(&[&["--user", "root:secret of root"], args].concat());
    assert!(root(&["auth", "status"]).contains("authentication enabled"));
    root(&["put", "shop/list", "1"]);
    let reader = ["--user", "reader", "--password", "first"];
    assert_eq!(ctl.ok(&[&reader[..], &["get", "shop/list", "--value-only"]].concat()), "1\n");
    ctl.ok(&[&reader[..], &["put", "shop/cart", "1"]].concat());
    let (code, said) = ctl.fails(&[&reader[..], &["put", "shop/list", "2"]].concat());
    assert!(code == 1 && said.contains("permission denied"), "{said}");
    let (_, said) = ctl.fails(&["--user", "reader:wrong-one", "get", "shop/list"]);
    assert!(said.contains("authentication failed") && !said.contains("wrong-one"), "{said}");

    let shown = root(&["role", "get", "shop"]);
    for words in ["read       shop/…", "readwrite  shop/cart", "write      x up to z"] {
        assert!(shown.contains(words), "{words}:\n{shown}");
    }
    assert_eq!(root(&["user", "get", "reader", "--detail"]), shown);
    let users = root(&["user", "list"]);
    for words in ["by-certificate  -", "reader          shop", "root            root"] {
        assert!(users.contains(words), "{words}:\n{users}");
    }
    assert!(root(&["role", "list"]).contains("\nroot\nshop\n"));

    root(&["role", "revoke-permission", "shop", "shop/", "--prefix"]);
    assert!(!root(&["role", "get", "shop"]).contains("shop/…"));
    root(&["user", "passwd", "reader", "--new-user-password", "second"]);
    assert!(ctl.fails(&[&reader[..], &["get", "shop/cart"]].concat()).1.contains("failed"));
    ctl.ok(&["--user", "reader:second", "get", "shop/cart"]);
    root(&["user", "revoke-role", "reader", "shop"]);
    root(&["role", "delete", "shop"]);
    root(&["user", "delete", "reader"]);
    let nobody = ["--user", "root:secret of root", "user", "get", "reader"];
    let (code, said) = ctl.fails(&nobody);
    assert!(code == 3 && said.contains("user \"reader\""), "{said}");
    root(&["auth", "disable"]);
    ctl.ok(&["put", "a", "1"]);
}

#[test]
fn the_member_whose_data_differs_is_named() {
    // Always a real etcd: its file can be forged, having no checksums over its pages.
    let cluster = StoreCluster::with_program(real_etcd_program().unwrap(), 3, &[]).unwrap();
    let mut lab = Lab::of(cluster);
    for n in 0..=20 {
        lab.all.ok(&["put", &format!("k/{n:03}"), "an honest value"]);
    }
    assert!(lab.all.ok(&["check", "data"]).contains("3 members hold the same"));
    assert_eq!(lab.all.json(&["check", "data"])["same"], true);

    // One byte of one value, changed behind the store's back.
    lab.all.ok(&["put", "k/007", "a value to be forged"]);
    let (at, id) = lab.follower();
    lab.cluster[at].stop().unwrap();
    assert!(forge(&lab.cluster[at], b"a value to be forged", b"a value that's false"));
    lab.cluster[at].start().unwrap();
    lab.eventually("it is back", || lab.all.run(&["endpoint", "health"]).status.success());
    let output = lab.one(0).run(&["check", "data"]);
    let shown = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(5), "{shown}");
    let line = shown.lines().find(|line| line.contains("DIFFERS")).unwrap();
    assert!(line.contains(&id) && line.contains(&lab.cluster[at].endpoint()), "{shown}");
    assert!(shown.contains("1 different, 0 missing, 0 too many, 20 equal"), "{shown}");
    assert!(shown.contains("first \"k/007\", last \"k/007\""), "{shown}");
    let output = lab.one(0).run(&["-o", "json", "check", "data"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["same"], &report["majority"]), (&Value::Bool(false), &Value::Bool(true)));

    let strangers = [lab.cluster[0].endpoint(), StoreProcess::etcd().unwrap().endpoint()];
    assert_ne!(Skeinctl::to(&strangers).fails(&["check", "data", "--only-endpoints"]).0, 0);
}

/// Replaces bytes wherever they stand in the files of a stopped member. Returns whether they did.
fn forge(member: &StoreProcess, from: &[u8], to: &[u8]) -> bool {
    let path = member.data_dir().join("member/snap/db");
    let mut bytes = std::fs::read(&path).unwrap();
    let found: Vec<_> =
        (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    for at in &found {
        bytes[*at..*at + from.len()].copy_from_slice(to);
    }
    std::fs::write(&path, bytes).unwrap();
    !found.is_empty()
}

#[test]
fn two_stores_are_compared_key_by_key() {
    let (a, b) = (StoreProcess::etcd().unwrap(), StoreProcess::etcd().unwrap());
    let (at_a, at_b) = (a.endpoint(), b.endpoint());
    let (in_a, in_b) = (Skeinctl::to(&[a.endpoint()]), Skeinctl::to(&[b.endpoint()]));
    for (key, value) in [("k/1", "same"), ("k/2", "old"), ("k/3", "a only"), ("z", "1")] {
        in_a.ok(&["put", key, value]);
    }
    for (key, value) in [("k/0", "b only"), ("k/1", "same"), ("k/2", "new"), ("z", "2")] {
        in_b.ok(&["put", key, value]);
    }
    let output = in_a.run(&["diff", &at_a, &at_b, "--prefix", "k/"]);
    assert_eq!(output.status.code(), Some(5));
    let shown = String::from_utf8(output.stdout).unwrap();
    for words in [
        "k/0  only in B   -       b only",
        "k/2  different   old     new",
        "k/3  only in A   a only  -",
        "1 equal, 1 different, 1 only in A, 1 only in B",
    ] {
        assert!(shown.contains(words), "{words}:\n{shown}");
    }
    let output = in_a.run(&["-o", "json", "diff", &at_a, &at_b, "--limit", "1"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["items"].as_array().unwrap().len(), 1);
    assert_eq!(report["counts"]["different"], 2);

    in_b.ok(&["put", "k/2", "old"]);
    in_b.ok(&["put", "k/3", "a only"]);
    in_b.ok(&["del", "k/0"]);
    assert!(in_a.ok(&["diff", &at_a, &at_b, "--prefix", "k/"]).contains("3 equal, 0 different"));
    let (code, said) = in_a.fails(&["--timeout", "1s", "diff", &at_a, "127.0.0.1:1"]);
    assert!(code == 4 && said.contains("side 127.0.0.1:1"), "{said}");
}

#[tokio::test]
async fn long_ranges_of_uneven_values_are_compared_in_pages() {
    use skein_store_client::{Op, Session, SessionConfig, Txn};
    let (a, b) = (StoreProcess::etcd().unwrap(), StoreProcess::etcd().unwrap());
    for (store, skipped) in [(&a, 1_777), (&b, 42)] {
        let session = Session::connect(SessionConfig::new([store.endpoint()])).await.unwrap();
        for chunk in (0..3_000).collect::<Vec<_>>().chunks(100) {
            let kept = chunk.iter().filter(|n| **n != skipped);
            let value = |n: &usize| "x".repeat(if n % 100 == 7 { 200_000 } else { 10 });
            let puts = kept.map(|n| Op::put(format!("k/{n:05}"), value(n)));
            session.txn(Txn::new().then_all(puts)).await.unwrap();
        }
    }
    let ctl = Skeinctl::to(&[a.endpoint()]);
    let output = ctl.run(&["-o", "json", "diff", &a.endpoint(), &b.endpoint()]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let counts = serde_json::json!({"equal": 2_998, "different": 0, "only_a": 1, "only_b": 1});
    assert_eq!(report["counts"], counts);
    assert_eq!(
        (text(&report["items"][0]["key"]), text(&report["items"][1]["key"])),
        ("k/00042", "k/01777")
    );
}

#[test]
fn a_load_is_measured_and_judged() {
    let lab = Lab::new();
    let args = ["check", "perf", "--duration", "3s", "--auto-compact"];
    let output = lab.all.run(&[&["-o", "json"], &args[..]].concat());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["writes"].as_u64().unwrap() + report["errors"].as_u64().unwrap(), 450);
    assert!(report["rate"].as_f64().unwrap() > 0.0 && report["slowest_ms"].as_f64().unwrap() > 0.0);
    // Whether it passes is up to the machine; that code and reasons agree is not.
    let passed = report["passed"].as_bool().unwrap();
    assert_eq!(output.status.code(), Some(if passed { 0 } else { 5 }));
    assert_eq!(report["failed_for"].as_array().unwrap().is_empty(), passed);
    let left = lab.all.json(&["get", "/skeinctl-check-perf/", "--prefix", "--count-only"]);
    assert_eq!(left["count"], 0);

    lab.all.ok(&["put", "/skeinctl-check-perf/theirs", "1"]);
    let (code, said) = lab.all.fails(&args);
    assert!(code == 1 && said.contains("1 keys begin with"), "{said}");
}

#[test]
fn help_teaches_every_verb() {
    let ctl = Skeinctl::to(&["127.0.0.1:1".to_owned()]);
    for (verb, words) in [
        (&["member", "add"][..], "--learner"),
        (&["endpoint"], "Examples:"),
        (&["alarm", "disarm"], "compaction"),
        (&["compaction"], "--physical"),
        (&["defrag"], "one after the other"),
        (&["move-leader"], "Example:"),
        (&["auth"], "user add root"),
        (&["user"], "--no-password"),
        (&["role"], "--prefix"),
        (&["check", "data"], "Exit code 5"),
        (&["check", "perf"], "1,000"),
        (&["diff"], "Examples:"),
    ] {
        let help = ctl.ok(&[verb, &["--help"]].concat());
        assert!(help.contains(words), "{verb:?}:\n{help}");
    }
}
