//! From manifests to keys and back, through an embedded store, in this process and in its own.

mod bench_manifests;

use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use skein_controlplane_server::{App, Args};
use skein_store_client::{KeyRange, Session, SessionConfig, TlsConfig};
use skein_store_schema::kinds::endpoint_report::{EndpointReport, EndpointReportKey};
use skein_store_schema::kinds::node_report::{NodeReport, NodeReportKey, RoutingMode};
use skein_store_schema::{MacAddr, StoreKey, StoreValue};
use tempfile::TempDir;

/// Generous for a busy machine; a change takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

const NODE: &str = "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n\
    status: {addresses: [{type: InternalIP, address: 172.18.0.1}]}\n";
const POD: &str = "apiVersion: v1\nkind: Pod\n\
    metadata: {name: web-1, namespace: shop, labels: {app: web}}\nspec: {nodeName: n1, containers: []}\n";

struct Line {
    dir: TempDir,
    app: Option<App>,
    session: Session,
}

fn service(name: &str, port: u32) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec: {{ports: [{{port: {port}}}]}}\n"
    )
}

fn args(dir: &TempDir) -> Args {
    let (data, manifests) = (dir.path().join("data"), dir.path().join("manifests"));
    Args::parse_from([
        "skein-controlplane",
        "--data-dir",
        data.to_str().unwrap(),
        "--manifests",
        manifests.to_str().unwrap(),
        "--listen-client-urls",
        "http://127.0.0.1:0",
        "--metrics-addr",
        "127.0.0.1:0",
        "--cluster-pool-ipv4-cidr",
        "10.1.0.0/16",
    ])
}

async fn connect(app: &App) -> Session {
    Session::connect(SessionConfig::new(app.store_urls())).await.unwrap()
}

impl Line {
    async fn start() -> Line {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("manifests")).unwrap();
        let app = App::start(&args(&dir)).await.unwrap();
        let session = connect(&app).await;
        Line { dir, app: Some(app), session }
    }

    async fn restart(&mut self) {
        self.app.take().unwrap().shutdown().await.unwrap();
        let app = App::start(&args(&self.dir)).await.unwrap();
        self.session = connect(&app).await;
        self.app = Some(app);
    }

    fn app(&self) -> &App {
        self.app.as_ref().unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join("manifests").join(name), text).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.dir.path().join("manifests").join(name)).unwrap();
    }

    async fn get(&self, key: &str) -> Option<String> {
        let entry = self.session.get(key).await.unwrap().value?;
        Some(String::from_utf8(entry.value).unwrap())
    }

    async fn until(&self, key: &str, what: impl Fn(Option<&str>) -> bool) -> Option<String> {
        let begun = Instant::now();
        loop {
            let value = self.get(key).await;
            if what(value.as_deref()) {
                return value;
            }
            let status = self.app().board().get();
            assert!(begun.elapsed() < PATIENCE, "{key} stays {value:?}\n{status:#?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn until_problem(&self, part: &str) {
        let begun = Instant::now();
        loop {
            let status = self.app().board().get();
            let source =
                status.source.problems.iter().map(|p| format!("{}: {}", p.origin, p.reason));
            let plan = status.plan.problems.iter().map(|p| format!("{}: {}", p.subject, p.reason));
            let all: Vec<String> = source.chain(plan).collect();
            if all.iter().any(|p| p.contains(part)) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "no problem with {part:?} in {all:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn report<K: StoreKey>(&self, key: &K, value: &K::Value) {
        self.session.put(key.encode(), value.encode(), None).await.unwrap();
    }

    async fn stop(mut self) {
        self.app.take().unwrap().shutdown().await.unwrap();
    }
}

fn node_report(ip: &str) -> NodeReport {
    NodeReport {
        internal_ip: ip.parse().unwrap(),
        external_ips: Vec::new(),
        router_ip: None,
        health_ip: None,
        tunnel_ip: None,
        routing_mode: RoutingMode::Tunnel,
        devices: Vec::new(),
        boot_id: String::new(),
    }
}

fn endpoint_report(pod: &str) -> EndpointReport {
    EndpointReport {
        namespace: "shop".parse().unwrap(),
        pod: pod.parse().unwrap(),
        pod_uid: String::new(),
        container_id: "c0".into(),
        mac: MacAddr([2, 0, 0, 0, 0, 1]),
        ifname: "lxc1".into(),
    }
}

const CART: &str = "skein/state/services/v1/shop/cart";

#[tokio::test(flavor = "multi_thread")]
async fn manifests_become_keys_and_follow_every_edit() {
    let mut line = Line::start().await;
    line.write("s.yaml", &(service("cart", 80) + &service("pay", 81)));
    let first = line.until(CART, |v| v.is_some()).await.unwrap();
    assert!(first.contains(r#""cluster_ips":["10.96."#), "{first}");

    // An invalid edit is reported with its place and takes nothing down, not even over a restart.
    line.write("s.yaml", &(service("cart", 0) + &service("pay", 82)));
    line.until("skein/state/services/v1/shop/pay", |v| v.unwrap().contains(r#""port":82"#)).await;
    line.until_problem("s.yaml:5: spec.ports[0].port: 0 is not a port").await;
    assert_eq!(line.get(CART).await.unwrap(), first);
    line.restart().await;
    line.write("t.yaml", &service("later", 90));
    line.until("skein/state/services/v1/shop/later", |v| v.is_some()).await;
    assert_eq!(line.get(CART).await.unwrap(), first);

    line.write("s.yaml", &(service("cart", 8080) + &service("pay", 82)));
    let mended = line.until(CART, |v| v.unwrap().contains(r#""port":8080"#)).await.unwrap();
    let address = |text: &str| text.split('"').find(|p| p.starts_with("10.96.")).map(str::to_owned);
    assert_eq!(address(&mended), address(&first), "the address stays");

    line.remove("s.yaml");
    line.until(CART, |v| v.is_none()).await;
    assert!(line.get("skein/state/services/v1/shop/later").await.is_some());
    line.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_pods_and_reports_become_blocks_identities_and_addresses() {
    let mut line = Line::start().await;
    line.write("n.yaml", NODE);
    line.until("skein/ipam/v1/blocks/default/10.1.0.0-24", |v| v.is_some()).await;
    let node = "n1".parse().unwrap();
    line.report(&NodeReportKey { node }, &node_report("172.18.0.1")).await;
    line.until("cilium/state/nodes/v1/default/n1", |v| v.is_some()).await;

    let key = |ip: &str| EndpointReportKey { node: "n1".parse().unwrap(), ip: ip.parse().unwrap() };
    line.report(&key("10.1.0.5"), &endpoint_report("web-1")).await;
    line.report(&key("10.9.9.9"), &endpoint_report("web-1")).await;
    line.until_problem("not an address of the node's block 10.1.0.0/24").await;
    line.write("p.yaml", POD);
    let pair = line.until("cilium/state/ip/v1/default/10.1.0.5", |v| v.is_some()).await.unwrap();
    assert!(pair.contains(r#""HostIP":"172.18.0.1""#), "{pair}");
    assert!(line.get("cilium/state/ip/v1/default/10.9.9.9").await.is_none());
    let pod = line.get("skein/state/pods/v1/n1/shop/web-1").await.unwrap();
    let id = pair.split(r#""ID":"#).nth(1).unwrap().split(',').next().unwrap();
    assert!(pod.contains(&format!(r#""identity":{id}"#)), "{pod} {pair}");
    let labels = line.get(&format!("cilium/state/identities/v1/id/{id}")).await.unwrap();
    assert!(labels.starts_with("k8s:app=web;"), "{labels}");

    // All of it is there again after a restart, unchanged.
    let range = KeyRange::prefix("cilium/state/");
    let before = line.session.range(&range).await.unwrap().entries;
    line.restart().await;
    line.write("s.yaml", &service("cart", 80));
    line.until(CART, |v| v.is_some()).await;
    assert_eq!(line.session.range(&range).await.unwrap().entries, before);

    line.session.delete(key("10.1.0.5").encode()).await.unwrap();
    line.until("cilium/state/ip/v1/default/10.1.0.5", |v| v.is_none()).await;
    line.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_others_remove_or_break_are_restored() {
    let line = Line::start().await;
    line.write("s.yaml", &service("cart", 80));
    let value = line.until(CART, |v| v.is_some()).await.unwrap();
    line.session.put(CART, r#"{"v":1,"type":"Nonsense"}"#, None).await.unwrap();
    line.until(CART, |v| v == Some(&value)).await;
    line.session.delete(CART).await.unwrap();
    line.until(CART, |v| v == Some(&value)).await;
    line.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_leads_and_the_other_follows() {
    let line = Line::start().await;
    line.write("s.yaml", &service("cart", 80));
    line.until(CART, |v| v.is_some()).await;
    let manifests = line.dir.path().join("manifests");
    let second = App::start(&Args::parse_from([
        "skein-controlplane",
        "--store-endpoints",
        &line.app().store_urls()[0],
        "--manifests",
        manifests.to_str().unwrap(),
        "--metrics-addr",
        "127.0.0.1:0",
        "--cluster-pool-ipv4-cidr",
        "10.1.0.0/16",
    ]))
    .await
    .unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(line.app().board().get().leader && !second.board().get().leader);
    // The leadership key goes: its holder writes nothing any more, the next in line leads.
    let election = KeyRange::prefix("skein/election/controlplane/");
    let entries = line.session.range(&election).await.unwrap().entries;
    assert_eq!(entries.len(), 2);
    let first = entries.iter().min_by_key(|e| e.create_revision).unwrap();
    line.session.delete(first.key.clone()).await.unwrap();
    line.write("t.yaml", &service("next", 1));
    line.until("skein/state/services/v1/shop/next", |v| v.is_some()).await;
    let begun = Instant::now();
    while !second.board().get().leader {
        assert!(begun.elapsed() < PATIENCE, "nobody follows");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    second.shutdown().await.unwrap();
    line.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_services_are_written_and_one_edit_stays_quick() {
    let line = Line::start().await;
    let manifests = line.dir.path().join("manifests");
    let begun = Instant::now();
    bench_manifests::write(&manifests, 1_000, 10).unwrap();
    let last = "skein/state/slices/v1/bench/s999-1";
    line.until(last, |v| v.is_some()).await;
    line.until("skein/state/services/v1/bench/s999", |v| v.is_some()).await;
    println!("1,000 services with 10 endpoints each: {:?}", begun.elapsed());
    let mut times = Vec::new();
    for n in 1..=9 {
        let begun = Instant::now();
        line.write("one.yaml", &service("cart", n));
        let port = format!(r#""port":{n},"#);
        line.until(CART, |v| v.is_some_and(|v| v.contains(&port))).await;
        times.push(begun.elapsed());
    }
    times.sort();
    println!("edit to key beside them: median {:?}, worst {:?}", times[4], times[8]);
    assert!(times[4] < Duration::from_secs(1), "{times:?}");
    line.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_amid_many_writes_leaves_the_rest_to_the_next_start() {
    let mut line = Line::start().await;
    bench_manifests::write(&line.dir.path().join("manifests"), 1_000, 2).unwrap();
    line.until("skein/state/services/v1/bench/s0", |v| v.is_some()).await;
    let begun = Instant::now();
    line.app.take().unwrap().shutdown().await.unwrap();
    println!("stopped amid 2,000 writes: {:?}", begun.elapsed());
    let app = App::start(&args(&line.dir)).await.unwrap();
    line.session = connect(&app).await;
    line.app = Some(app);
    for n in [0, 500, 999] {
        line.until(&format!("skein/state/services/v1/bench/s{n}"), |v| v.is_some()).await;
        line.until(&format!("skein/state/slices/v1/bench/s{n}-1"), |v| v.is_some()).await;
    }
    line.stop().await;
}

async fn http(addr: SocketAddr, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn status_health_and_metrics_tell_what_is_going_on() {
    let line = Line::start().await;
    line.write(
        "s.yaml",
        &(service("cart", 80)
            + "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n"),
    );
    line.write("bad.yaml", "kind: [");
    line.until(CART, |v| v.is_some()).await;
    line.until_problem("bad.yaml:1").await;
    let addr = line.app().http_addr();
    assert!(http(addr, "/healthz").await.starts_with("HTTP/1.1 200"));
    let status = http(addr, "/status").await;
    let body = status.split("\r\n\r\n").nth(1).unwrap();
    let status: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(status["source"]["complete"], false);
    assert_eq!(status["source"]["foreign"][0]["kind"], "Deployment");
    assert_eq!(status["source"]["problems"][0]["origin"]["line"], 1);
    let metrics = http(addr, "/metrics").await;
    for line in [
        "skein_controlplane_leader 1",
        "skein_controlplane_source_problems 1",
        "skein_controlplane_writes_total{action=\"put\",reason=\"new\"}",
        "# EOF",
    ] {
        assert!(metrics.contains(line), "{line} is missing in {metrics}");
    }
    line.stop().await;
}

/// An authority, with a certificate for the store and one for its clients.
fn certificates(dir: &std::path::Path) {
    let key = || rcgen::KeyPair::generate().unwrap();
    let authority_key = key();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    fs::write(dir.join("ca.pem"), authority.pem()).unwrap();
    let issuer = rcgen::Issuer::new(params, authority_key);
    for (file, name) in [("store", "127.0.0.1"), ("client", "client")] {
        let key = key();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        fs::write(dir.join(format!("{file}.pem")), certificate.pem()).unwrap();
        fs::write(dir.join(format!("{file}.key")), key.serialize_pem()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_store_serves_those_with_a_certificate_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir(path("manifests")).unwrap();
    fs::write(path("manifests/s.yaml"), service("cart", 80)).unwrap();
    certificates(dir.path());
    let args = Args::parse_from([
        "skein-controlplane",
        "--data-dir",
        &path("data"),
        "--manifests",
        &path("manifests"),
        "--listen-client-urls",
        "https://127.0.0.1:0",
        "--metrics-addr",
        "127.0.0.1:0",
        "--cert-file",
        &path("store.pem"),
        "--key-file",
        &path("store.key"),
        "--client-cert-auth",
        "--trusted-ca-file",
        &path("ca.pem"),
        "--store-cacert",
        &path("ca.pem"),
        "--store-cert",
        &path("client.pem"),
        "--store-key",
        &path("client.key"),
    ]);
    let app = App::start(&args).await.unwrap();
    assert!(app.store_urls()[0].starts_with("https://127.0.0.1:"));
    let file = |name: &str| dir.path().join(name);
    let tls = |cert: Option<&std::path::Path>, key: Option<&std::path::Path>| {
        let mut config = SessionConfig::new(app.store_urls());
        config.tls = Some(TlsConfig::from_files(&file("ca.pem"), cert, key).unwrap());
        config.request_timeout = Duration::from_secs(2);
        Session::new(config).unwrap()
    };
    let known = tls(Some(&file("client.pem")), Some(&file("client.key")));
    wait_for(&known, CART).await;
    let refused = tls(None, None).get(CART).await.unwrap_err();
    assert!(refused.is_transient(), "{refused}");
    let plain = app.store_urls()[0].replace("https", "http");
    let mut plain = SessionConfig::new([plain]);
    plain.request_timeout = Duration::from_secs(2);
    assert!(Session::new(plain).unwrap().get(CART).await.is_err());
    app.shutdown().await.unwrap();
}

#[test]
fn flags_for_tls_that_cannot_work_are_refused_by_name() {
    let base = ["skein-controlplane", "--manifests", "m", "--data-dir", "d"];
    let refusal = |flags: &[&str]| match Args::try_parse_from(base.iter().chain(flags)) {
        Ok(args) => args.config().unwrap_err().to_string(),
        Err(error) => error.to_string(),
    };
    let https = ["--listen-client-urls", "https://127.0.0.1:0"];
    let pair = ["--cert-file", "c", "--key-file", "k"];
    for (flags, told) in [
        (&https[..], "--cert-file"),
        (&pair[..], "no address in --listen-client-urls is https"),
        (&["--cert-file", "c"][..], "--key-file"),
        (&["--client-cert-auth"][..], "--client-cert-auth needs --trusted-ca-file"),
        (&["--store-cacert", "a"][..], "--store-cacert is of no use"),
        (&["--store-cert", "a", "--store-key", "b"][..], "--store-cacert"),
        (&[&https[..], &pair[..]].concat()[..], "needs --store-cacert"),
        (
            &[&https[..], &pair[..], &["--trusted-ca-file", "a", "--store-cacert", "a"]].concat()[..],
            "needs --store-cert and --store-key",
        ),
    ] {
        let text = refusal(flags);
        assert!(text.contains(told), "{flags:?}: {text}");
    }
    let mixed = "https://10.0.0.1:0,http://127.0.0.1:0";
    let flags = [&pair[..], &["--listen-client-urls", mixed]].concat();
    Args::parse_from(base.iter().chain(&flags)).config().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_command_tells_of_leader_problems_and_waiting() {
    let line = Line::start().await;
    line.write("s.yaml", &(service("cart", 80) + &service("bad", 0)));
    line.write("n.yaml", NODE);
    line.until(CART, |v| v.is_some()).await;
    line.until_problem("spec.ports[0].port").await;
    line.until("skein/ipam/v1/blocks/default/10.1.0.0-24", |v| v.is_some()).await;
    let begun = Instant::now();
    while line
        .app()
        .board()
        .get()
        .plan
        .waiting
        .iter()
        .all(|n| n.reason != "the report of its agent")
    {
        assert!(begun.elapsed() < PATIENCE, "nothing is waited for");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let addr = line.app().http_addr().to_string();
    let told = |output: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_skein-controlplane"))
            .args(["status", "--metrics-addr", &addr, "-o", output])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let text = told("table");
    for part in [
        "Control plane  leader, version",
        "1 nodes, 0 pods, 1 services",
        "Store          embedded, http://127.0.0.1:",
        "Problems in the source (1):\n  ",
        "s.yaml:10: Service shop/bad: spec.ports[0].port: 0 is not a port",
        "Problems of the plan: none",
        "Waiting (1):\n  Node n1: the report of its agent",
    ] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    let json: serde_json::Value = serde_json::from_str(&told("json")).unwrap();
    assert_eq!(json["leader"], true);
    line.stop().await;

    let output = Command::new(env!("CARGO_BIN_EXE_skein-controlplane"))
        .args(["status", "--metrics-addr", &addr])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains(&format!("no status from {addr}")));
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Already gone in the good case.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn spawn(dir: &TempDir, port: u16) -> Process {
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let child = Command::new(env!("CARGO_BIN_EXE_skein-controlplane"))
        .args(["--data-dir", &path("data"), "--manifests", &path("manifests")])
        .args(["--metrics-addr", "127.0.0.1:0"])
        .args(["--listen-client-urls", &format!("http://127.0.0.1:{port}")])
        .stderr(Stdio::null())
        .spawn();
    Process(child.unwrap())
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn wait_for(session: &Session, key: &str) {
    let begun = Instant::now();
    while !matches!(session.get(key).await, Ok(read) if read.value.is_some()) {
        assert!(begun.elapsed() < PATIENCE, "{key} does not appear");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_goes_on_where_it_was_and_a_terminated_one_ends_cleanly() {
    let dir = tempfile::tempdir().unwrap();
    let manifests = dir.path().join("manifests");
    fs::create_dir(&manifests).unwrap();
    fs::write(manifests.join("a.yaml"), service("cart", 80)).unwrap();
    let port = free_port();
    let session = Session::new(SessionConfig::new([format!("127.0.0.1:{port}")])).unwrap();
    let mut first = spawn(&dir, port);
    wait_for(&session, CART).await;
    first.0.kill().unwrap();
    first.0.wait().unwrap();
    fs::write(manifests.join("b.yaml"), service("pay", 81)).unwrap();
    let mut second = spawn(&dir, port);
    let begun = Instant::now();
    wait_for(&session, "skein/state/services/v1/shop/pay").await;
    println!("restart after kill -9 to the first new key: {:?}", begun.elapsed());

    let third = spawn(&dir, free_port()).0.wait().unwrap();
    assert!(!third.success(), "the data directory is locked");
    let pid = second.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = second.0.try_wait().unwrap() {
            break status;
        }
        assert!(begun.elapsed() < PATIENCE, "it does not end");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(status.success());
    println!("end after SIGTERM: {:?}", begun.elapsed());
}
