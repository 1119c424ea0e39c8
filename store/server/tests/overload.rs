//! Clients that take what they can: a member's memory stays bounded, and others are served.

mod common;

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use common::{PATIENCE, Process, Watching, get, put, watch_everything};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame};
use skein_store_api::pb::etcdserverpb::watch_request::RequestUnion;
use skein_store_api::pb::etcdserverpb::{WatchCreateRequest, WatchRequest};
use skein_store_rpc::etcdserverpb::kv_client::KvClient;
use skein_store_rpc::etcdserverpb::watch_client::WatchClient;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tonic::Code;
use tonic::transport::Channel;
use tower_service::Service;

const MIB: u64 = 1 << 20;

/// A member of its own, and what it has grown by since it was at rest.
struct Grown {
    process: Process,
    at_rest: u64,
    _dir: tempfile::TempDir,
}

impl Grown {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let process = Process::start(dir.path(), &[]);
        let mut kv = KvClient::new(process.channel().await);
        kv.put(put("a", "1")).await.expect("a put");
        let at_rest = process.resident_bytes();
        Self { process, at_rest, _dir: dir }
    }

    async fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.process.channel().await)
    }

    #[track_caller]
    fn by_at_most(&self, mib: u64, what: &str) {
        let grown = self.process.resident_bytes().saturating_sub(self.at_rest);
        println!("{what}: {} MiB", grown / MIB);
        assert!(grown <= mib * MIB, "{what}: grown by {} MiB, at most {mib}", grown / MIB);
    }
}

/// 20,000 watches of one key on one stream whose client stops reading while it changes.
#[tokio::test(flavor = "multi_thread")]
async fn many_watches_that_nobody_reads() {
    const WATCHES: usize = 20_000;
    const CHANGES: usize = 300;
    let member = Grown::start().await;
    let mut kv = member.kv().await;
    let create = || WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(WatchCreateRequest {
            key: "a".into(),
            ..Default::default()
        })),
    };
    let asked = tokio_stream::iter((0..WATCHES).map(move |_| create()));
    let requests = asked.chain(tokio_stream::pending());
    let answer = WatchClient::new(member.process.channel().await).watch(requests).await;
    let mut frames = answer.expect("a watch stream").into_inner();
    for _ in 0..WATCHES {
        let frame = tokio::time::timeout(PATIENCE, frames.next()).await.expect("in time");
        assert!(frame.expect("it goes on").expect("no error").created);
    }
    member.by_at_most(64, "20,000 watches");
    for at in 0..CHANGES {
        kv.put(put("a", &format!("{at}").repeat(1000))).await.expect("a put");
    }
    // Every change for every watch would be 18 GB.
    member.by_at_most(96, "20,000 watches and 300 changes unread");
    assert_eq!(kv.range(get("a")).await.expect("others are served").into_inner().count, 1);
}

/// 3,000 streams of one connection that watch everything and read nothing.
#[tokio::test(flavor = "multi_thread")]
async fn many_streams_that_nobody_reads() {
    const STREAMS: usize = 3_000;
    const CHANGES: usize = 40;
    let member = Grown::start().await;
    let channel = member.process.channel().await;
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let mut watching = Watching::open(channel.clone()).await;
        watching.create(watch_everything()).await;
        streams.push(watching);
    }
    member.by_at_most(96, "3,000 streams");
    let mut kv = member.kv().await;
    for at in 0..CHANGES {
        kv.put(put(&format!("k{at}"), &"v".repeat(200_000))).await.expect("a put");
    }
    // A frame for every stream would be 600 MB.
    member.by_at_most(160, "3,000 streams and 40 changes of 200 kB unread");
    // Whoever begins to read gets all of it.
    let mut reader = streams.swap_remove(STREAMS / 2);
    drop(streams);
    let mut events = 0;
    while events < CHANGES {
        events += reader.next().await.events.len();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_connections() {
    const CONNECTIONS: usize = 1_000;
    let member = Grown::start().await;
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut watching = Watching::open(member.process.channel().await).await;
        watching.create(watch_everything()).await;
        open.push(watching);
    }
    member.by_at_most(128, "1,000 connections with a watch each");
    let mut kv = member.kv().await;
    kv.put(put("b", "2")).await.expect("a put");
    for watching in &mut open {
        assert_eq!(watching.next().await.events.len(), 1);
    }
}

/// A request that begins with all of its bytes but the last, which never comes.
struct Unfinished(Option<Bytes>);

impl Unfinished {
    fn put(bytes: usize) -> Self {
        let mut message = vec![0];
        message.extend_from_slice(&(bytes as u32).to_be_bytes());
        message.resize(5 + bytes - 1, 0);
        Self(Some(message.into()))
    }
}

impl Body for Unfinished {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        self.0.take().map_or(Poll::Pending, |bytes| Poll::Ready(Some(Ok(Frame::data(bytes)))))
    }
}

/// The code that an unfinished put is refused with; never, if it is not refused.
async fn unfinished_put(mut channel: Channel, bytes: usize) -> Code {
    let request = http::Request::post("http://m/etcdserverpb.KV/Put")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(tonic::body::Body::new(Unfinished::put(bytes)))
        .expect("a request");
    std::future::poll_fn(|cx| channel.poll_ready(cx)).await.expect("it is connected");
    let answer = channel.call(request).await.expect("an answer");
    match tonic::Status::from_header_map(answer.headers()) {
        Some(status) => status.code(),
        None => {
            let trailers = answer.into_body().collect().await.expect("a body");
            let trailers = trailers.trailers().cloned().expect("trailers");
            tonic::Status::from_header_map(&trailers).expect("a status").code()
        }
    }
}

/// 400 requests of 1.5 MB on eight connections, none of which is ever finished.
#[tokio::test(flavor = "multi_thread")]
async fn large_requests_in_flight() {
    const CONNECTIONS: usize = 8;
    const EACH: usize = 50;
    const BYTES: usize = 1_500_000;
    /// What eight connections may hold together, less what the last requests leave unused.
    const HELD_MAX: usize = (128 << 20) / BYTES + 1;
    let member = Grown::start().await;
    let mut refused = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let channel = member.process.channel().await;
        for _ in 0..EACH {
            refused.spawn(unfinished_put(channel.clone(), BYTES));
        }
    }
    for _ in 0..CONNECTIONS * EACH - HELD_MAX {
        let code = tokio::time::timeout(PATIENCE, refused.join_next()).await;
        let code = code.expect("refused in time").expect("there are more").expect("no panic");
        assert_eq!(code, Code::ResourceExhausted);
    }
    member.by_at_most(400, "400 requests of 1.5 MB in flight");
    let mut kv = member.kv().await;
    kv.range(get("a")).await.expect("reads are small");
    refused.shutdown().await;
    let large = "v".repeat(BYTES);
    let begun = std::time::Instant::now();
    while kv.put(put("b", &large)).await.is_err() {
        assert!(begun.elapsed() < PATIENCE, "what was given up is never free again");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
