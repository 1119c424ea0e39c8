//! Watching a running member.

mod common;

use std::time::Duration;

use common::{PATIENCE, Watching, channel, kv, put, start, watch_everything};
use skein_store_api::pb::etcdserverpb::watch_request::RequestUnion;
use skein_store_api::pb::etcdserverpb::{
    CompactionRequest, PutRequest, RequestOp, TxnRequest, WatchCreateRequest, WatchProgressRequest,
    request_op::Request,
};
use skein_store_api::wire::watch_events;
use skein_store_server::{Member, MemberConfig};

fn revision(frame: &skein_store_api::pb::etcdserverpb::WatchResponse) -> i64 {
    frame.header.as_ref().map_or(0, |header| header.revision)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_resumes_where_it_was_over_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let member = start(dir.path()).await;
    let mut client = kv(&member).await;
    let mut watch = Watching::open(channel(&member).await).await;
    watch.create(watch_everything()).await;
    client.put(put("k", "1")).await.expect("a put");
    let seen = revision(&watch.next().await);
    assert_eq!(seen, 2);
    for value in ["2", "3"] {
        client.put(put("k", value)).await.expect("a put");
    }
    drop(watch);
    member.shutdown().await.expect("a clean stop");

    let member = start(dir.path()).await;
    let mut watch = Watching::open(channel(&member).await).await;
    watch.create(WatchCreateRequest { start_revision: seen + 1, ..watch_everything() }).await;
    kv(&member).await.put(put("k", "4")).await.expect("a put");
    let mut revisions = Vec::new();
    while revisions.last() != Some(&5) {
        let events = watch_events(&watch.next().await.events).expect("encoded events");
        revisions.extend(events.iter().map(|event| event.kv.mod_revision));
    }
    assert_eq!(revisions, [3, 4, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_watch_says_from_where_it_can_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let member = start(dir.path()).await;
    let mut client = kv(&member).await;
    for i in 0..5 {
        client.put(put("k", &i.to_string())).await.expect("a put");
    }
    client.compact(CompactionRequest { revision: 4, physical: false }).await.expect("compacts");
    let mut watch = Watching::open(channel(&member).await).await;
    watch.create(WatchCreateRequest { start_revision: 1, ..watch_everything() }).await;
    let frame = watch.next().await;
    assert!(frame.canceled);
    assert_eq!(frame.compact_revision, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_told_by_time_and_on_request() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = MemberConfig {
        watch_progress_interval: Duration::from_millis(100),
        ..MemberConfig::new("m", dir.path())
    };
    let member = Member::start(config).await.expect("the member starts");
    kv(&member).await.put(put("elsewhere", "x")).await.expect("a put");
    let mut watch = Watching::open(channel(&member).await).await;
    let idle = WatchCreateRequest { key: "k".into(), progress_notify: true, ..Default::default() };
    watch.create(idle).await;
    let frame = watch.next().await;
    assert_eq!((frame.watch_id, revision(&frame), frame.events.len()), (0, 2, 0));
    watch.ask(RequestUnion::ProgressRequest(WatchProgressRequest {})).await;
    loop {
        let frame = watch.next().await;
        if frame.watch_id == -1 {
            assert_eq!(revision(&frame), 2);
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_revision_is_cut_only_for_those_who_asked() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = MemberConfig { max_request_bytes: 4 << 20, ..MemberConfig::new("m", dir.path()) };
    let limit = config.max_request_bytes;
    let member = Member::start(config).await.expect("the member starts");
    let mut cut = Watching::open(channel(&member).await).await;
    cut.create(WatchCreateRequest { fragment: true, prev_kv: true, ..watch_everything() }).await;
    let mut whole = Watching::open(channel(&member).await).await;
    whole.create(WatchCreateRequest { prev_kv: true, ..watch_everything() }).await;
    let value = "v".repeat(600_000);
    // Twice, so that the second revision carries every value with the one before it.
    for _ in 0..2 {
        let puts = (0..6).map(|i| RequestOp {
            request: Some(Request::RequestPut(PutRequest { ..put(&format!("k{i}"), &value) })),
        });
        let txn = TxnRequest { success: puts.collect(), ..Default::default() };
        kv(&member).await.txn(txn).await.expect("a transaction");
    }
    for _ in 0..2 {
        assert_eq!(whole.next().await.events.len(), 6);
    }
    assert_eq!(cut.next().await.events.len(), 6, "the first revision fits");
    let mut frames = vec![cut.next().await];
    while frames.last().is_some_and(|frame| frame.fragment) {
        frames.push(cut.next().await);
    }
    assert!(frames.len() > 1, "the second does not");
    assert!(frames.iter().all(|frame| prost::Message::encoded_len(frame) < limit + (512 << 10)));
    assert_eq!(frames.iter().map(|frame| frame.events.len()).sum::<usize>(), 6);
    assert!(frames.iter().all(|frame| revision(frame) == 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_reader_delays_nobody() {
    let dir = tempfile::tempdir().expect("a directory");
    let member = start(dir.path()).await;
    let mut stalled = Watching::open(channel(&member).await).await;
    stalled.create(watch_everything()).await;
    let mut quick = Watching::open(channel(&member).await).await;
    quick.create(watch_everything()).await;
    let mut client = kv(&member).await;
    let value = "v".repeat(100_000);
    for i in 0..100 {
        client.put(put(&format!("k{i}"), &value)).await.expect("a put");
    }
    let mut last = 0;
    while last < 101 {
        last = revision(&quick.next().await);
    }
    // What the stalled reader missed is still there for it, in order.
    let mut revisions = Vec::new();
    while revisions.len() < 100 {
        let events = watch_events(&stalled.next().await.events).expect("encoded events");
        revisions.extend(events.iter().map(|event| event.kv.mod_revision));
    }
    assert!(revisions.iter().copied().eq(2..=101));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_watchers_share_a_stream_and_a_member() {
    const STREAMS: usize = 20;
    const WATCHERS: usize = 10;
    let dir = tempfile::tempdir().expect("a directory");
    let member = start(dir.path()).await;
    let shared = channel(&member).await;
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let mut watch = Watching::open(shared.clone()).await;
        for id in 0..WATCHERS {
            assert_eq!(watch.create(watch_everything()).await.watch_id, id as i64);
        }
        streams.push(watch);
    }
    kv(&member).await.put(put("k", "v")).await.expect("a put");
    for watch in &mut streams {
        let mut ids = Vec::new();
        for _ in 0..WATCHERS {
            let frame = watch.next().await;
            assert_eq!((revision(&frame), frame.events.len()), (2, 1));
            ids.push(frame.watch_id);
        }
        ids.sort_unstable();
        assert!(ids.iter().copied().eq(0..WATCHERS as i64));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_member_ends_its_streams() {
    let dir = tempfile::tempdir().expect("a directory");
    let member = start(dir.path()).await;
    let mut watch = Watching::open(channel(&member).await).await;
    watch.create(watch_everything()).await;
    tokio::time::timeout(PATIENCE, member.shutdown()).await.expect("in time").expect("clean");
    let end = tokio::time::timeout(PATIENCE, tokio_stream::StreamExt::next(&mut watch.frames));
    let end = end.await.expect("in time");
    assert!(matches!(end, Some(Err(_)) | None));
}
