//! The session against a real etcd: what survives restarts, cuts, compaction and replacement.

use std::collections::BTreeMap;
use std::time::Duration;

use skein_store_client::testing::{Proxy, StoreProcess};
use skein_store_client::{
    Change, ClientError, Compare, ErrorKind, KeyRange, Op, OpResult, RangeRequest, ResetReason,
    Session, SessionConfig, SyncEvent, Txn, WatchStream,
};

/// Longer than any single wait of these tests on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

async fn session(endpoint: String) -> Session {
    let mut config = SessionConfig::new([endpoint]);
    config.request_timeout = Duration::from_secs(20);
    Session::connect(config).await.unwrap()
}

async fn next(watch: &mut WatchStream) -> SyncEvent {
    tokio::time::timeout(PATIENCE, watch.next()).await.expect("no event in time").unwrap()
}

/// A copy of keys and values, kept by the events; and the revisions that it was told.
#[derive(Default)]
struct Copy {
    content: BTreeMap<String, String>,
    told: Vec<i64>,
    begins: usize,
    resets: Vec<ResetReason>,
    in_sync: i64,
    progress: i64,
}

impl Copy {
    fn apply(&mut self, event: SyncEvent) {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        match event {
            SyncEvent::Begin(snapshot) => {
                self.begins += 1;
                let entries = snapshot.entries.into_iter();
                self.content = entries.map(|e| (text(e.key), text(e.value))).collect();
            }
            SyncEvent::Changes(changes) => {
                for change in changes {
                    self.told.push(change.mod_revision());
                    match change {
                        Change::Put(e) => self.content.insert(text(e.key), text(e.value)),
                        Change::Delete { key, .. } => self.content.remove(&text(key)),
                    };
                }
            }
            SyncEvent::InSync { revision } => self.in_sync = revision,
            SyncEvent::Progress { revision } => self.progress = revision,
            SyncEvent::Lost { .. } => {}
            SyncEvent::Reset { reason } => self.resets.push(reason),
        }
    }

    async fn follow(&mut self, watch: &mut WatchStream, until: impl Fn(&Self) -> bool) {
        while !until(self) {
            self.apply(next(watch).await);
        }
    }
}

fn a() -> Vec<KeyRange> {
    vec![KeyRange::prefix("a/")]
}

#[tokio::test]
async fn long_ranges_are_read_in_pages_at_one_revision() {
    let store = StoreProcess::etcd().unwrap();
    let session = session(store.endpoint()).await;
    for chunk in (0..2_500).collect::<Vec<_>>().chunks(100) {
        let puts = chunk.iter().map(|n| Op::put(format!("a/{n:05}"), n.to_string()));
        session.txn(Txn::new().then_all(puts)).await.unwrap();
    }
    session.put("b/1", "x", None).await.unwrap();
    let writer = session.clone();
    let noise = tokio::spawn(async move {
        for n in 0..200 {
            writer.put("a/99999", n.to_string(), None).await.unwrap();
            writer.delete("a/99999").await.unwrap();
        }
    });
    for _ in 0..10 {
        let ranges = [KeyRange::prefix("a/"), KeyRange::prefix("b/")];
        let read = session.ranges(&ranges).await.unwrap();
        let request = RangeRequest { revision: read.revision, ..RangeRequest::default() };
        let whole = session.page(&ranges[0], request).await.unwrap().entries;
        assert!(whole.len() >= 2_500);
        assert_eq!(read.entries[..whole.len()], whole);
        assert_eq!(read.entries.len(), whole.len() + 1);
    }
    noise.await.unwrap();
}

#[tokio::test]
async fn single_keys_and_transactions() {
    let store = StoreProcess::etcd().unwrap();
    let session = session(store.endpoint()).await;
    let revision = session.put("a/1", "one", None).await.unwrap();
    let read = session.get("a/1").await.unwrap();
    let entry = read.value.unwrap();
    assert_eq!((entry.value.as_slice(), entry.mod_revision), (b"one".as_slice(), revision));
    assert_eq!(session.get("a/2").await.unwrap().value, None);

    let claim = || Txn::new().when(Compare::absent("a/1")).then(Op::put("a/1", "two"));
    let lost = session.txn(claim().otherwise(Op::get("a/1"))).await.unwrap();
    assert!(!lost.succeeded);
    assert_eq!(lost.read().unwrap()[0].value, b"one");
    let deleted = session.delete("a/1").await.unwrap();
    assert_eq!(deleted.value, 1);
    let won = session.txn(claim()).await.unwrap();
    assert_eq!((won.succeeded, won.results.as_slice()), (true, [OpResult::Put].as_slice()));
    assert_eq!(won.revision, deleted.revision + 1);
}

#[tokio::test]
async fn errors_say_what_can_be_done() {
    let store = StoreProcess::etcd().unwrap();
    let session = session(store.endpoint()).await;
    let revision = session.put("a/1", "1", None).await.unwrap();
    session.put("a/1", "2", None).await.unwrap();
    session.compact(revision + 1).await.unwrap();
    let old = RangeRequest { revision, ..RangeRequest::default() };
    let error = session.page(&KeyRange::prefix("a/"), old).await.unwrap_err();
    assert!(matches!(error, ClientError::Compacted { .. }), "{error}");
    let error = session.put("", "1", None).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string()),
        (ErrorKind::Invalid, "cannot write: etcdserver: key is not provided".to_owned())
    );

    let mut config = SessionConfig::new(["127.0.0.1:1"]);
    config.request_timeout = Duration::from_millis(300);
    let error = Session::new(config).unwrap().put("a", "b", None).await.unwrap_err();
    assert_eq!((error.kind(), error.maybe_applied()), (ErrorKind::Unavailable, false));
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
}

#[tokio::test]
async fn a_dead_endpoint_is_passed_over() {
    let store = StoreProcess::etcd().unwrap();
    for _ in 0..4 {
        let config = SessionConfig::new(["127.0.0.1:1".to_owned(), store.endpoint()]);
        let session = Session::connect(config).await.unwrap();
        session.put("a/1", "1", None).await.unwrap();
        assert_eq!(session.endpoint().await.unwrap(), store.endpoint());
    }
}

#[tokio::test]
async fn a_restart_of_the_store_loses_and_repeats_no_event() {
    let mut store = StoreProcess::etcd().unwrap();
    let watcher = session(store.endpoint()).await;
    let mut watch = watcher.watch_ranges(a(), None).unwrap();
    let mut copy = Copy::default();
    copy.follow(&mut watch, |copy| copy.in_sync > 0).await;

    let mut acknowledged = Vec::new();
    for round in 0..3 {
        // A new session each time: on a connection that broke, the first write would rightly be reported
        // as of unknown fate.
        let writer = session(store.endpoint()).await;
        for n in 0..100 {
            let revision = writer.put("a/k", format!("{round}-{n}"), None).await.unwrap();
            acknowledged.push(revision);
        }
        store.kill().unwrap();
        store.start().unwrap();
    }
    acknowledged.push(session(store.endpoint()).await.put("a/k", "end", None).await.unwrap());
    let last = *acknowledged.last().unwrap();
    copy.follow(&mut watch, |copy| copy.told.last() == Some(&last)).await;
    assert_eq!(copy.told, acknowledged);
    assert_eq!(copy.begins, 1);
}

#[tokio::test]
async fn cuts_under_load_lose_and_repeat_no_event_in_any_range() {
    let store = StoreProcess::etcd().unwrap();
    let proxy = Proxy::to(store.endpoint()).await.unwrap();
    let writer = session(store.endpoint()).await;
    let watcher = session(proxy.endpoint()).await;
    let ranges = vec![KeyRange::prefix("a/"), KeyRange::prefix("b/"), KeyRange::prefix("c/")];
    let mut watch = watcher.watch_ranges(ranges, None).unwrap();
    let mut copy = Copy::default();
    copy.follow(&mut watch, |copy| copy.in_sync > 0).await;

    let writes = tokio::spawn(async move {
        let mut revisions = Vec::new();
        for n in 0..1_500 {
            let n: usize = n;
            let txn = match n % 4 {
                0 => Txn::new().then(Op::put("a/k", n.to_string())),
                1 => Txn::new().then(Op::put("b/k", n.to_string())),
                2 => Txn::new().then(Op::put("a/x", "1")).then(Op::put("c/x", "1")),
                _ => Txn::new().then(Op::delete("a/x")).then(Op::delete("c/x")),
            };
            let changes = if n % 4 < 2 { 1 } else { 2 };
            let revision = writer.txn(txn).await.unwrap().revision;
            revisions.extend(std::iter::repeat_n(revision, changes));
        }
        revisions
    });
    let cuts = tokio::spawn(async move {
        for _ in 0..12 {
            tokio::time::sleep(Duration::from_millis(120)).await;
            proxy.cut();
            tokio::time::sleep(Duration::from_millis(30)).await;
            proxy.mend();
        }
        proxy
    });
    let mut expected = Vec::new();
    let writes = async { expected = writes.await.unwrap() };
    tokio::join!(writes, async {
        copy.follow(&mut watch, |copy| copy.told.len() >= 2_250).await;
    });
    let _proxy = cuts.await.unwrap();
    copy.told.sort_unstable();
    assert_eq!(copy.told, expected);
    assert_eq!(copy.begins, 1);
}

#[tokio::test]
async fn compaction_while_cut_off_leads_to_a_new_list() {
    let store = StoreProcess::etcd().unwrap();
    let proxy = Proxy::to(store.endpoint()).await.unwrap();
    let writer = session(store.endpoint()).await;
    let watcher = session(proxy.endpoint()).await;
    writer.put("a/gone", "1", None).await.unwrap();
    writer.put("a/stays", "1", None).await.unwrap();
    let mut watch = watcher.watch_ranges(a(), None).unwrap();
    let mut copy = Copy::default();
    copy.follow(&mut watch, |copy| copy.in_sync > 0).await;
    assert_eq!(copy.content.len(), 2);

    proxy.cut();
    writer.delete("a/gone").await.unwrap();
    let revision = writer.put("a/new", "1", None).await.unwrap();
    writer.compact(revision).await.unwrap();
    proxy.mend();
    copy.follow(&mut watch, |copy| copy.begins == 2 && copy.in_sync >= revision).await;
    let keys: Vec<_> = copy.content.keys().map(String::as_str).collect();
    assert_eq!(keys, ["a/new", "a/stays"]);
    let later = writer.put("a/later", "1", None).await.unwrap();
    copy.follow(&mut watch, |copy| copy.told.last() == Some(&later)).await;
    assert!(copy.resets.is_empty());
}

#[tokio::test]
async fn a_watch_resumes_from_a_checkpoint_without_listing() {
    let store = StoreProcess::etcd().unwrap();
    let session = session(store.endpoint()).await;
    let first = session.put("a/1", "1", None).await.unwrap();
    let point = {
        let mut watch = session.watch_ranges(a(), None).unwrap();
        let mut copy = Copy::default();
        copy.follow(&mut watch, |copy| copy.in_sync > 0).await;
        let second = session.put("a/2", "1", None).await.unwrap();
        // The store is asked for progress by itself after changes; a checkpoint is taken on it.
        copy.follow(&mut watch, |copy| copy.progress >= second).await;
        let (cluster_id, _) = session.header().await.unwrap();
        skein_store_client::ResumePoint { cluster_id, revision: copy.progress }
    };
    let third = session.put("a/3", "1", None).await.unwrap();
    let mut watch = session.watch_ranges(a(), Some(point)).unwrap();
    let mut copy = Copy::default();
    copy.follow(&mut watch, |copy| copy.in_sync >= third).await;
    assert_eq!((copy.begins, copy.told), (0, vec![third]));
    assert!(first < point.revision);

    // A resume that misses nothing is in sync at once.
    let point = skein_store_client::ResumePoint { revision: third, ..point };
    let mut watch = session.watch_ranges(a(), Some(point)).unwrap();
    assert_eq!(next(&mut watch).await, SyncEvent::InSync { revision: third });
}

#[tokio::test]
async fn a_replaced_store_resets_the_copy() {
    let mut store = StoreProcess::etcd().unwrap();
    let first = session(store.endpoint()).await;
    first.put("a/old", "1", None).await.unwrap();
    let mut watch = first.watch_ranges(a(), None).unwrap();
    let mut copy = Copy::default();
    copy.follow(&mut watch, |copy| copy.in_sync > 0).await;
    store.kill().unwrap();
    store.wipe().unwrap();
    store.start().unwrap();
    let second = session(store.endpoint()).await;
    second.put("a/new", "1", None).await.unwrap();
    copy.follow(&mut watch, |copy| copy.content.contains_key("a/new")).await;
    assert!(matches!(copy.resets[..], [ResetReason::ClusterChanged { .. }]), "{:?}", copy.resets);
    assert_eq!(copy.content.len(), 1);
}

#[tokio::test]
async fn losing_the_store_is_told_and_so_is_its_return() {
    let mut store = StoreProcess::etcd().unwrap();
    let session = session(store.endpoint()).await;
    let mut watch = session.watch_ranges(a(), None).unwrap();
    let mut copy = Copy::default();
    copy.follow(&mut watch, |copy| copy.in_sync > 0).await;
    store.kill().unwrap();
    assert!(matches!(next(&mut watch).await, SyncEvent::Lost { .. }));
    store.start().unwrap();
    assert!(matches!(next(&mut watch).await, SyncEvent::InSync { .. }));
}
