//! What the tests of the running member share.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use skein_store_api::pb::etcdserverpb::{
    PutRequest, RangeRequest, WatchCreateRequest, WatchRequest, WatchResponse,
    watch_request::RequestUnion,
};
use skein_store_rpc::etcdserverpb::kv_client::KvClient;
use skein_store_rpc::etcdserverpb::watch_client::WatchClient;
use skein_store_server::{Member, MemberConfig};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

/// Time that anything may take before a test calls it stuck.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub async fn start(dir: &Path) -> Member {
    Member::start(MemberConfig::new("m", dir)).await.expect("the member starts")
}

pub async fn channel(member: &Member) -> Channel {
    let url = member.client_urls().remove(0);
    Channel::from_shared(url).expect("a URL").connect().await.expect("the member listens")
}

pub async fn kv(member: &Member) -> KvClient<Channel> {
    KvClient::new(channel(member).await)
}

pub fn put(key: &str, value: &str) -> PutRequest {
    PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..Default::default() }
}

pub fn get(key: &str) -> RangeRequest {
    RangeRequest { key: key.to_owned().into(), ..Default::default() }
}

pub fn everything() -> RangeRequest {
    RangeRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() }
}

/// Keys and values, in order of keys.
pub async fn contents(kv: &mut KvClient<Channel>) -> Vec<(String, String)> {
    let answer = kv.range(everything()).await.expect("a range").into_inner();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    skein_store_api::wire::key_values(&answer.kvs)
        .expect("encoded key-values")
        .iter()
        .map(|kv| (text(&kv.key), text(&kv.value)))
        .collect()
}

/// One watch stream.
pub struct Watching {
    pub requests: mpsc::Sender<WatchRequest>,
    pub frames: Streaming<WatchResponse>,
}

impl Watching {
    pub async fn open(channel: Channel) -> Self {
        Self::open_with(channel, &[]).await
    }

    /// The same with metadata.
    pub async fn open_with(channel: Channel, metadata: &[(&'static str, &str)]) -> Self {
        let (requests, receiver) = mpsc::channel(16);
        let mut request = tonic::Request::new(ReceiverStream::new(receiver));
        for (name, value) in metadata {
            request.metadata_mut().insert(*name, value.parse().expect("ASCII"));
        }
        let client = WatchClient::new(channel).max_decoding_message_size(64 << 20);
        let stream = client.clone().watch(request).await;
        Self { requests, frames: stream.expect("a watch stream").into_inner() }
    }

    pub async fn ask(&self, request: RequestUnion) {
        let request = WatchRequest { request_union: Some(request) };
        self.requests.send(request).await.expect("the stream is open");
    }

    /// Creates a watcher and takes its first frame.
    pub async fn create(&mut self, request: WatchCreateRequest) -> WatchResponse {
        self.ask(RequestUnion::CreateRequest(request)).await;
        let created = self.next().await;
        assert!(created.created);
        created
    }

    pub async fn next(&mut self) -> WatchResponse {
        let frame = tokio::time::timeout(PATIENCE, self.frames.next()).await;
        frame.expect("a frame in time").expect("the stream goes on").expect("no error")
    }
}

pub fn watch_everything() -> WatchCreateRequest {
    WatchCreateRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() }
}

/// A member as a process of its own.
pub struct Process {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
    pub url: String,
}

impl Process {
    /// Starts `skein-store` and waits until it says that it is ready.
    pub fn start(dir: &Path, more: &[&str]) -> Self {
        Self::ready(Self::spawn(dir, more))
    }

    /// The same with a limit of open files that it cannot raise.
    pub fn start_with_open_files(dir: &Path, files: u32) -> Self {
        let limited = format!("ulimit -n {files} && exec \"$0\" \"$@\"");
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(limited).arg(env!("CARGO_BIN_EXE_skein-store"));
        Self::ready(Self::spawn_as(shell, dir, &[]))
    }

    /// What it has logged since the last call.
    pub fn logged(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    fn ready(mut child: Child) -> Self {
        let stderr = child.stderr.take().expect("it is piped");
        let (line, lines) = std::sync::mpsc::channel();
        let mut process = Self { child, lines, url: String::new() };
        std::thread::spawn(move || {
            use std::io::BufRead;
            for text in std::io::BufReader::new(stderr).lines().map_while(Result::ok) {
                // Nobody listens any more when the test is over.
                let _ = line.send(text);
            }
        });
        let deadline = Instant::now() + PATIENCE;
        let mut seen = String::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let text =
                process.lines.recv_timeout(left).unwrap_or_else(|_| panic!("not ready: {seen}"));
            if text.contains("ready to serve client requests") {
                let url = text.split("\"urls\":\"").nth(1).and_then(|rest| rest.split('"').next());
                url.expect("the line names the URL").clone_into(&mut process.url);
                return process;
            }
            seen.push_str(&text);
        }
    }

    /// Runs `skein-store` until it ends by itself; its exit code and what it said.
    pub fn refuse(dir: &Path, more: &[&str]) -> (Option<i32>, String) {
        let output = Self::spawn(dir, more).wait_with_output().expect("it ends");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn spawn(dir: &Path, more: &[&str]) -> Child {
        Self::spawn_as(Command::new(env!("CARGO_BIN_EXE_skein-store")), dir, more)
    }

    fn spawn_as(mut command: Command, dir: &Path, more: &[&str]) -> Child {
        command
            .arg("--data-dir")
            .arg(dir)
            .args(["--listen-client-urls", "http://127.0.0.1:0"])
            .args(["--listen-peer-urls", "http://127.0.0.1:0"])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("skein-store runs")
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it was killed");
    }

    /// SIGTERM; returns the exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(sent.success());
        self.child.wait().expect("it ends").code()
    }

    pub async fn channel(&self) -> Channel {
        Channel::from_shared(self.url.clone()).expect("a URL").connect().await.expect("it listens")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
