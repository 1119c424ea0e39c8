//! A cluster of processes on loopback.
#![allow(unreachable_pub, reason = "a part of one test")]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use prost::Message;
use skein_store_api::pb::etcdserverpb::{HashKvRequest, StatusRequest};
use skein_store_mvcc::{
    Command as StoreCommand, Machine, MachineConfig, MemberOp, Rebuild, RecordedChange, restore,
};
use skein_store_rpc::etcdserverpb::cluster_client::ClusterClient;
use skein_store_rpc::etcdserverpb::kv_client::KvClient;
use skein_store_rpc::etcdserverpb::maintenance_client::MaintenanceClient;
use skein_store_server::disk::OsDisk;
use skein_store_server::log::Owner;
use skein_store_server::snapshot_file;
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::common::{PATIENCE, Watching, get, put};

pub struct Cluster {
    root: TempDir,
    tls: Option<Certificates>,
    members: Vec<Place>,
}

struct Place {
    client: u16,
    peer: u16,
    running: Option<Child>,
}

struct Certificates {
    cert: PathBuf,
    key: PathBuf,
    ca: PathBuf,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(mut child) = self.running.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Cluster {
    pub async fn start(size: usize) -> Self {
        Self::start_with(size, &[]).await
    }

    pub async fn start_with(size: usize, flags: &[&str]) -> Self {
        let root = tempfile::tempdir().expect("a temporary directory");
        let mut cluster = Self { root, tls: None, members: Vec::new() };
        cluster.found(size, flags).await;
        cluster
    }

    pub async fn start_tls(size: usize) -> Self {
        let root = tempfile::tempdir().expect("a temporary directory");
        let certificates = Certificates::issue(root.path());
        let mut cluster = Self { root, tls: Some(certificates), members: Vec::new() };
        cluster.found(size, &[]).await;
        cluster
    }

    async fn found(&mut self, size: usize, flags: &[&str]) {
        for _ in 0..size {
            self.reserve();
        }
        for at in 0..size {
            self.spawn_with(at, "new", flags);
        }
        for at in 0..size {
            self.until_served(at).await;
        }
    }

    /// Takes ports for one more member; its peer URL.
    pub fn reserve(&mut self) -> String {
        let (client, peer) = (free_port(), free_port());
        self.members.push(Place { client, peer, running: None });
        self.peer_url(self.members.len() - 1)
    }

    pub async fn join(&mut self, at: usize) {
        self.spawn(at, "existing");
        self.until_served(at).await;
    }

    pub fn kill(&mut self, at: usize) {
        let mut child = self.members[at].running.take().expect("it runs");
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
    }

    /// Changes one value in the newest snapshot of a member that does not run, checksums and all, as
    /// a fault in its memory would have.
    pub fn tamper(&self, at: usize) {
        let dir = self.root.path().join(format!("m{at}/member"));
        let identity = std::fs::read(dir.join("identity")).expect("an identity");
        let identity: serde_json::Value = serde_json::from_slice(&identity).expect("JSON");
        let id = |name: &str| identity[name].as_u64().expect("an id");
        let owner = Owner { cluster_id: id("cluster_id"), member_id: id("member_id") };
        let snapshots = dir.join("snap");
        let reader = snapshot_file::open_newest(&OsDisk, &snapshots, owner).expect("undamaged");
        let reader = reader.expect("a snapshot");
        let position = reader.ends_at();
        let bytes: Vec<u8> = reader.flat_map(|chunk| chunk.expect("undamaged")).collect();
        let config = MachineConfig::default();
        let machine = restore(&bytes[..], &config).expect("a state");
        let other = with_another_value(&machine, &config);
        snapshot_file::write(&OsDisk, &snapshots, owner, position, other.snapshot())
            .expect("written");
    }

    /// Sends a running member a signal.
    pub fn signal(&self, at: usize, name: &str) {
        let pid = self.members[at].running.as_ref().expect("it runs").id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Where clients reach the members.
    pub fn urls(&self) -> Vec<String> {
        self.members.iter().map(|place| format!("http://127.0.0.1:{}", place.client)).collect()
    }

    pub async fn restart(&mut self, at: usize) {
        self.restart_with(at, &[]).await;
    }

    pub async fn restart_with(&mut self, at: usize, flags: &[&str]) {
        self.spawn_with(at, "new", flags);
        self.until_served(at).await;
    }

    /// A fresh member takes a lost one's place and name; its peer URL.
    pub fn replace(&mut self, at: usize) -> String {
        std::fs::remove_dir_all(self.root.path().join(format!("m{at}"))).expect("it was there");
        self.members[at] = Place { client: free_port(), peer: free_port(), running: None };
        self.peer_url(at)
    }

    /// A watch stream that ends when the member has no leader.
    pub async fn watch_with_leader(&self, at: usize) -> Watching {
        Watching::open_with(self.channel(at).await, &[("hasleader", "true")]).await
    }

    /// Whether the process ends without being told to.
    pub async fn ends_by_itself(&mut self, at: usize) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let child = self.members[at].running.as_mut().expect("it was started");
            if child.try_wait().expect("it can be asked").is_some() {
                self.members[at].running = None;
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    }

    pub async fn channel(&self, at: usize) -> Channel {
        let url = format!("http://127.0.0.1:{}", self.members[at].client);
        let endpoint = Channel::from_shared(url).expect("a URL");
        endpoint.connect().await.expect("the member listens")
    }

    pub async fn kv(&self, at: usize) -> KvClient<Channel> {
        KvClient::new(self.channel(at).await)
    }

    pub async fn members(&self, at: usize) -> ClusterClient<Channel> {
        ClusterClient::new(self.channel(at).await)
    }

    pub async fn member_id(&self, at: usize) -> u64 {
        self.status(at).await.0
    }

    /// The member that the first running one takes for the leader.
    pub async fn leader(&self) -> usize {
        let deadline = Instant::now() + PATIENCE;
        let asked = self.running().next().expect("one runs");
        loop {
            let (_, leader) = self.status(asked).await;
            for at in self.running() {
                if leader != 0 && self.status(at).await.0 == leader {
                    return at;
                }
            }
            assert!(Instant::now() < deadline, "no leader");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Hashes of all running members, once they are at the same revision.
    pub async fn settled_hashes(&self) -> Vec<u32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut found = Vec::new();
            for at in self.running() {
                let mut client = MaintenanceClient::new(self.channel(at).await);
                let answer = client.hash_kv(HashKvRequest { revision: 0 }).await;
                let answer = answer.expect("hashed").into_inner();
                found.push((answer.hash_revision, answer.hash));
            }
            if found.windows(2).all(|pair| pair[0].0 == pair[1].0) {
                return found.into_iter().map(|(_, hash)| hash).collect();
            }
            assert!(Instant::now() < deadline, "{found:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub async fn until_written(&self, at: usize, key: &str) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(status) = self.kv(at).await.put(put(key, "v")).await {
            assert!(Instant::now() < deadline, "{status}");
        }
    }

    /// Until members were connected for as long as changing them needs.
    pub async fn until_healthy(&self, at: usize) {
        self.until_written(at, "healthy").await;
        tokio::time::sleep(Duration::from_millis(5_500)).await;
    }

    pub async fn plain_handshake_fails(&self, at: usize) -> bool {
        let url = format!("http://127.0.0.1:{}", self.members[at].peer);
        let channel = Channel::from_shared(url).expect("a URL").connect().await;
        match channel {
            Err(_) => true,
            Ok(channel) => KvClient::new(channel).range(get("k")).await.is_err(),
        }
    }

    fn running(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.members.len()).filter(|&at| self.members[at].running.is_some())
    }

    async fn status(&self, at: usize) -> (u64, u64) {
        let mut client = MaintenanceClient::new(self.channel(at).await);
        let status = client.status(StatusRequest {}).await.expect("a status").into_inner();
        (status.header.expect("a header").member_id, status.leader)
    }

    async fn until_served(&mut self, at: usize) {
        let deadline = Instant::now() + PATIENCE;
        let url = format!("http://127.0.0.1:{}", self.members[at].client);
        loop {
            let channel = Channel::from_shared(url.clone()).expect("a URL").connect().await;
            if let Ok(channel) = channel {
                let served = KvClient::new(channel).range(get("served")).await;
                if served.is_ok() {
                    return;
                }
            }
            let ended = self.members[at].running.as_mut().and_then(|c| c.try_wait().ok()?);
            assert!(ended.is_none(), "member {at} ended: {ended:?}\n{}", self.log(at));
            assert!(Instant::now() < deadline, "member {at}:\n{}", self.log(at));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn log(&self, at: usize) -> String {
        std::fs::read_to_string(self.root.path().join(format!("m{at}.log"))).unwrap_or_default()
    }

    fn peer_url(&self, at: usize) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.members[at].peer)
    }

    fn spawn(&mut self, at: usize, state: &str) {
        self.spawn_with(at, state, &[]);
    }

    fn spawn_with(&mut self, at: usize, state: &str, flags: &[&str]) {
        let initial: Vec<_> =
            (0..self.members.len()).map(|i| format!("m{i}={}", self.peer_url(i))).collect();
        let log = self.root.path().join(format!("m{at}.log"));
        let log = std::fs::File::options().create(true).append(true).open(log);
        let client = format!("http://127.0.0.1:{}", self.members[at].client);
        let peer = self.peer_url(at);
        let mut command = Command::new(env!("CARGO_BIN_EXE_skein-store"));
        command
            .arg(format!("--name=m{at}"))
            .arg("--data-dir")
            .arg(self.root.path().join(format!("m{at}")))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &initial.join(","), "--initial-cluster-state", state])
            .args(flags)
            .stdout(Stdio::null())
            .stderr(log.expect("a log file"));
        if let Some(Certificates { cert, key, ca }) = &self.tls {
            command.arg("--peer-client-cert-auth");
            command.arg("--peer-cert-file").arg(cert).arg("--peer-key-file").arg(key);
            command.arg("--peer-trusted-ca-file").arg(ca);
        }
        self.members[at].running = Some(command.spawn().expect("the store runs"));
    }
}

/// The same state but for the value of one key.
fn with_another_value(machine: &Machine, config: &MachineConfig) -> Machine {
    let mut rebuild = Rebuild::default();
    for mut record in machine.view().records() {
        if let RecordedChange::Put(kv) = &record.change {
            let mut kv = skein_store_api::wire::key_value(kv).expect("a record");
            if kv.key == "k5" {
                kv.value = "another".into();
            }
            record.change = RecordedChange::Put(kv.encode_to_vec().into());
        }
        rebuild.record(record).expect("it follows");
    }
    let members: Vec<_> = machine.members().iter().collect();
    let (view, behind) = (machine.view(), machine.applied_index() - members.len() as u64);
    let rebuilt = rebuild.finish(view.revision(), view.compact_revision(), behind, config);
    let mut other = rebuilt.expect("a state");
    for (member, index) in members.into_iter().zip(behind + 1..) {
        other.apply(index, &StoreCommand::Member(MemberOp::Add(member))).expect("added");
    }
    other.set_configuration(machine.members().configuration().clone());
    other
}

impl Certificates {
    fn issue(dir: &Path) -> Self {
        use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
        let mut ca = CertificateParams::new(Vec::new()).expect("parameters");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate().expect("a key");
        let ca_cert = ca.self_signed(&ca_key).expect("signed");
        let issuer = Issuer::new(ca, ca_key);
        let key = KeyPair::generate().expect("a key");
        let leaf = CertificateParams::new(vec!["127.0.0.1".into()]).expect("parameters");
        let leaf = leaf.signed_by(&key, &issuer).expect("signed");
        let write = |name: &str, text: String| {
            let path = dir.join(name);
            std::fs::write(&path, text).expect("writable");
            path
        };
        Self {
            cert: write("peer.pem", leaf.pem()),
            key: write("peer.key", key.serialize_pem()),
            ca: write("ca.pem", ca_cert.pem()),
        }
    }
}

/// A port that nothing else on this machine uses now, below those that the kernel gives out.
fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 22_000 + (std::process::id() % 4_000) as u16;
    loop {
        let port = base + NEXT.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
