//! The session with a store of three members: a real etcd, or the program that `SKEIN_TEST_STORE` names.

use std::collections::BTreeMap;
use std::time::Duration;

use skein_store_client::testing::StoreCluster;
use skein_store_client::{
    Change, KeyRange, Op, ResetReason, Session, SessionConfig, SyncEvent, Txn, WatchStream,
};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Longer than any single wait of these tests on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn config(cluster: &StoreCluster) -> SessionConfig {
    let mut config = SessionConfig::new(cluster.endpoints());
    config.request_timeout = Duration::from_secs(20);
    config
}

/// Three members, each of which serves: a session that connects before would have to leave its home at once.
async fn three(flags: &[&str]) -> StoreCluster {
    let cluster = StoreCluster::with_flags(flags).unwrap();
    for endpoint in cluster.endpoints() {
        let mut config = config(&cluster);
        config.endpoints = vec![endpoint];
        Session::connect(config).await.unwrap();
    }
    cluster
}

async fn session(cluster: &StoreCluster) -> Session {
    Session::connect(config(cluster)).await.unwrap()
}

async fn next(watch: &mut WatchStream) -> SyncEvent {
    tokio::time::timeout(PATIENCE, watch.next()).await.expect("no event in time").unwrap()
}

/// Waits for the predicate, asked again and again.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// One key of one revision, as a watcher should be told it once.
type Told = (i64, String);

/// What a watcher is told, with the copy that follows from it.
#[derive(Default)]
struct Follower {
    copy: BTreeMap<String, String>,
    told: Vec<Told>,
    lists: usize,
    resets: Vec<ResetReason>,
    lost: Vec<String>,
    in_sync: i64,
}

impl Follower {
    fn apply(&mut self, event: SyncEvent) {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        match event {
            SyncEvent::Begin(snapshot) => {
                self.lists += 1;
                let entries = snapshot.entries.into_iter();
                self.copy = entries.map(|e| (text(e.key), text(e.value))).collect();
            }
            SyncEvent::Changes(changes) => {
                for change in changes {
                    let revision = change.mod_revision();
                    match change {
                        Change::Put(entry) => {
                            let key = text(entry.key);
                            self.told.push((revision, key.clone()));
                            self.copy.insert(key, text(entry.value));
                        }
                        Change::Delete { key, .. } => {
                            let key = text(key);
                            self.copy.remove(&key);
                            self.told.push((revision, key));
                        }
                    }
                }
            }
            SyncEvent::InSync { revision } => self.in_sync = revision,
            SyncEvent::Lost { reason } => self.lost.push(reason),
            SyncEvent::Reset { reason } => self.resets.push(reason),
            SyncEvent::Progress { .. } => {}
        }
    }

    async fn follow(&mut self, watch: &mut WatchStream, until: impl Fn(&Self) -> bool) {
        while !until(self) {
            self.apply(next(watch).await);
        }
    }
}

/// Acknowledged writes in a history that is worth judging.
const WRITES_MIN: usize = 200;

/// Writes without pause to `w/` until told to stop, through sessions of its own. A write of unknown fate is
/// not repeated: the history says whether it happened.
struct Writer {
    stop: tokio::sync::watch::Sender<bool>,
    task: JoinHandle<usize>,
}

impl Writer {
    fn start(session: Session) -> Self {
        let (stop, mut stopped) = tokio::sync::watch::channel(false);
        let task = tokio::spawn(async move {
            let mut acknowledged = 0;
            for n in 0_u64.. {
                if *stopped.borrow_and_update() && acknowledged >= WRITES_MIN {
                    break;
                }
                let (a, b) = (format!("w/{}", n % 7), format!("w/x{}", n % 3));
                let txn = match n % 4 {
                    0 | 1 => Txn::new().then(Op::put(a, n.to_string())),
                    2 => Txn::new().then(Op::put(a, n.to_string())).then(Op::put(b, "1")),
                    _ => Txn::new().then(Op::delete(b)).then(Op::put("other", "1")),
                };
                acknowledged += usize::from(session.txn(txn).await.is_ok());
            }
            acknowledged
        });
        Self { stop, task }
    }

    /// Returns how many writes were acknowledged.
    async fn stop(self) -> usize {
        self.stop.send_replace(true);
        self.task.await.unwrap()
    }
}

fn w() -> Vec<KeyRange> {
    vec![KeyRange::prefix("w/")]
}

/// Every change that the store's history holds, by reading each revision for itself: the judge that does
/// not itself watch.
async fn history(session: &Session, from: i64, to: i64) -> Vec<Told> {
    let mut all = Vec::new();
    let mut before: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
    for revision in from - 1..=to {
        let request =
            skein_store_client::RangeRequest { revision, keys_only: true, ..Default::default() };
        let page = session.page(&w()[0], request).await.unwrap();
        let now: BTreeMap<_, _> =
            page.entries.into_iter().map(|entry| (entry.key, entry.mod_revision)).collect();
        if revision >= from {
            let text = |key: &[u8]| String::from_utf8(key.to_vec()).unwrap();
            let put = now.iter().filter(|(_, at)| **at == revision);
            all.extend(put.map(|(key, _)| (revision, text(key))));
            let gone = before.keys().filter(|key| !now.contains_key(*key));
            all.extend(gone.map(|key| (revision, text(key))));
        }
        before = now;
    }
    all.sort();
    all
}

/// Follows a watch of `w/` under continuous writes while `disturb` runs, then compares what was told with
/// the history of the store.
async fn told_is_history(
    cluster: &mut StoreCluster,
    watcher: Session,
    disturb: impl AsyncFnOnce(&mut StoreCluster),
) -> Follower {
    let mut watch = watcher.watch_ranges(w(), None).unwrap();
    let mut follower = Follower::default();
    follower.follow(&mut watch, |follower| follower.in_sync > 0).await;
    let from = follower.in_sync + 1;
    let writer = Writer::start(session(cluster).await);
    let (stop, mut stopped) = tokio::sync::oneshot::channel();
    let following = async {
        loop {
            tokio::select! {
                event = watch.next() => follower.apply(event.unwrap()),
                _ = &mut stopped => break,
            }
        }
    };
    tokio::join!(
        async {
            disturb(cluster).await;
            stop.send(()).unwrap();
        },
        following
    );
    // What is written after the disturbance belongs to the history as well.
    let stopping = tokio::spawn(writer.stop());
    while !stopping.is_finished() {
        if let Ok(event) = tokio::time::timeout(Duration::from_millis(50), watch.next()).await {
            follower.apply(event.unwrap());
        }
    }
    let acknowledged = stopping.await.unwrap();
    let judge = session(cluster).await;
    let last = judge.put("w/last", "1", None).await.unwrap();
    follower.follow(&mut watch, |follower| follower.told.last().is_some_and(|t| t.0 >= last)).await;
    let mut told = follower.told.clone();
    assert!(told.is_sorted_by_key(|(revision, _)| *revision), "told out of order");
    told.sort();
    let history = history(&judge, from, last).await;
    assert!(history.len() >= acknowledged && acknowledged >= WRITES_MIN, "too little to judge");
    assert_eq!(told, history);
    assert_eq!((follower.lists, follower.resets.len()), (1, 0));
    follower
}

#[tokio::test]
async fn the_death_of_the_connected_member_is_passed_over() {
    let mut cluster = three(&[]).await;
    let session = session(&cluster).await;
    session.put("a", "1", None).await.unwrap();
    let left = session.endpoint().await.unwrap();
    cluster.serving(&left).kill().unwrap();
    let begun = Instant::now();
    // A read is repeated until another member has taken over, also when the dead one was the leader.
    let read = session.get("a").await.unwrap();
    assert_eq!(read.value.unwrap().value, b"1");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_ne!(session.endpoint().await.unwrap(), left);
    session.put("a", "2", None).await.unwrap();
}

#[tokio::test]
async fn a_frozen_member_does_not_use_up_the_time_of_a_read() {
    let mut cluster = three(&[]).await;
    let mut config = config(&cluster);
    config.request_timeout = Duration::from_secs(16);
    let session = Session::connect(config).await.unwrap();
    session.put("a", "1", None).await.unwrap();
    let left = session.endpoint().await.unwrap();
    cluster.serving(&left).freeze().unwrap();
    let read = session.get("a").await.unwrap();
    assert_eq!(read.value.unwrap().value, b"1");
    assert_ne!(session.endpoint().await.unwrap(), left);
    cluster.serving(&left).thaw().unwrap();
}

#[tokio::test]
async fn no_event_is_lost_or_repeated_when_the_watched_member_dies() {
    let mut cluster = three(&[]).await;
    let watcher = session(&cluster).await;
    let observed = watcher.clone();
    let follower = told_is_history(&mut cluster, watcher, async move |cluster| {
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(700)).await;
            let in_use = observed.endpoint().await.unwrap();
            cluster.serving(&in_use).kill().unwrap();
            tokio::time::sleep(Duration::from_millis(2_500)).await;
            cluster.serving(&in_use).start().unwrap();
        }
    })
    .await;
    assert!(!follower.lost.is_empty(), "the member in use was killed, and nobody noticed");
}

#[tokio::test]
async fn no_event_is_lost_or_repeated_when_sessions_return_home() {
    let mut cluster = three(&[]).await;
    let mut config = config(&cluster);
    config.rebalance = Duration::from_millis(500);
    let watcher = Session::connect(config).await.unwrap();
    let home = watcher.endpoint().await.unwrap();
    let observed = watcher.clone();
    told_is_history(&mut cluster, watcher, async move |cluster| {
        for _ in 0..3 {
            cluster.serving(&home).kill().unwrap();
            eventually("away", async || observed.endpoint().await.unwrap() != home).await;
            cluster.serving(&home).start().unwrap();
            eventually("home", async || observed.endpoint().await.unwrap() == home).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_member_without_leader_is_not_taken_for_a_quiet_one() {
    let mut cluster = three(&[]).await;
    let session = session(&cluster).await;
    let mut watch = session.watch_ranges(w(), None).unwrap();
    let mut follower = Follower::default();
    follower.follow(&mut watch, |follower| follower.in_sync > 0).await;
    let kept = session.endpoint().await.unwrap();
    let others: Vec<_> = cluster.endpoints().into_iter().filter(|e| *e != kept).collect();
    for other in &others {
        cluster.serving(other).kill().unwrap();
    }
    follower.follow(&mut watch, |follower| !follower.lost.is_empty()).await;
    assert!(follower.lost[0].contains("no leader"), "{:?}", follower.lost);
    for other in &others {
        cluster.serving(other).start().unwrap();
    }
    let judge = self::session(&cluster).await;
    let last = judge.put("w/last", "1", None).await.unwrap();
    follower.follow(&mut watch, |follower| follower.told.last().is_some_and(|t| t.0 == last)).await;
    assert_eq!((follower.lists, follower.told.len()), (1, 1));
}

#[tokio::test]
async fn compaction_while_the_member_is_away_is_told_by_a_new_list() {
    let mut cluster = three(&[]).await;
    // The watcher knows one member only, so that it cannot go on elsewhere meanwhile.
    let only = cluster[0].endpoint();
    let mut config = config(&cluster);
    config.endpoints = vec![only];
    let watcher = Session::connect(config).await.unwrap();
    let writer = {
        let mut config = SessionConfig::new([cluster[1].endpoint(), cluster[2].endpoint()]);
        config.request_timeout = Duration::from_secs(20);
        Session::connect(config).await.unwrap()
    };
    writer.put("w/gone", "1", None).await.unwrap();
    writer.put("w/stays", "1", None).await.unwrap();
    let mut watch = watcher.watch_ranges(w(), None).unwrap();
    let mut follower = Follower::default();
    follower.follow(&mut watch, |follower| follower.in_sync > 0).await;
    cluster[0].kill().unwrap();
    // The death may have been that of the leader: this read returns once there is one again.
    writer.header().await.unwrap();
    writer.delete("w/gone").await.unwrap();
    let revision = writer.put("w/new", "1", None).await.unwrap();
    writer.compact(revision).await.unwrap();
    cluster[0].start().unwrap();
    follower.follow(&mut watch, |f| f.lists == 2 && f.in_sync >= revision).await;
    let keys: Vec<_> = follower.copy.keys().map(String::as_str).collect();
    assert_eq!(keys, ["w/new", "w/stays"]);
    assert!(follower.resets.is_empty());
}

#[tokio::test]
async fn a_lease_outlives_the_member_that_renewed_it() {
    let mut cluster = three(&[]).await;
    let session = session(&cluster).await;
    let ttl_s = 4;
    let lease = session.lease(ttl_s).await.unwrap();
    session.put("leased", "1", Some(lease.id())).await.unwrap();
    let left = session.endpoint().await.unwrap();
    cluster.serving(&left).kill().unwrap();
    tokio::time::sleep(Duration::from_secs(2 * ttl_s.unsigned_abs())).await;
    assert!(!lease.is_lost());
    assert!(session.get("leased").await.unwrap().value.is_some());
    assert_ne!(session.endpoint().await.unwrap(), left);
    let id = lease.id();
    drop(lease);
    eventually("the lease runs out once nobody renews it", async || {
        session.lease_info(id).await.is_err()
    })
    .await;
    assert!(session.get("leased").await.unwrap().value.is_none());
}

#[tokio::test]
async fn sessions_are_spread_again_after_a_rolling_restart() {
    /// Enough that an even spread is told from a crowd on two members.
    const SESSIONS: usize = 60;
    let mut cluster = three(&[]).await;
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        let mut config = config(&cluster);
        config.rebalance = Duration::from_secs(2);
        sessions.push(Session::connect(config).await.unwrap());
    }
    let placed = async |sessions: &[Session]| {
        let mut places = Vec::new();
        for session in sessions {
            // A read makes a session notice that its member has gone.
            session.header().await.unwrap();
            places.push(session.endpoint().await.unwrap());
        }
        places
    };
    let before = placed(&sessions).await;
    for endpoint in cluster.endpoints() {
        let here = before.iter().filter(|place| **place == endpoint).count();
        assert!((SESSIONS / 12..SESSIONS * 7 / 12).contains(&here), "{here} of {SESSIONS}");
        cluster.serving(&endpoint).stop().unwrap();
        let meanwhile = placed(&sessions).await;
        assert!(!meanwhile.contains(&endpoint));
        cluster.serving(&endpoint).start().unwrap();
    }
    eventually("every session is home again", async || placed(&sessions).await == before).await;
}

#[tokio::test]
async fn new_members_are_learnt_and_removed_ones_forgotten() {
    let mut cluster = three(&[]).await;
    let mut config = config(&cluster);
    config.endpoints.truncate(1);
    config.member_refresh = Some(Duration::from_millis(300));
    config.rebalance = Duration::from_millis(300);
    let known = config.endpoints[0].clone();
    let mut sessions = Vec::new();
    for _ in 0..24 {
        sessions.push(Session::connect(config.clone()).await.unwrap());
    }
    let everywhere = cluster.endpoints();
    let used = async |sessions: &[Session]| {
        let mut places = Vec::new();
        for session in sessions {
            places.push(session.endpoint().await.unwrap().replace("http://", ""));
        }
        places.sort();
        places.dedup();
        places
    };
    let mut expected = everywhere.clone();
    expected.sort();
    eventually("all members are used", async || used(&sessions).await == expected).await;

    let admin = session(&cluster).await;
    let gone = admin.members().await.unwrap();
    let gone = gone.iter().find(|member| member.client_urls[0].ends_with(&known)).unwrap();
    admin.member_remove(gone.id).await.unwrap();
    cluster.serving(&known).kill().unwrap();
    expected.retain(|endpoint| *endpoint != known);
    eventually("the removed one is left", async || used(&sessions).await == expected).await;
    // The removed one may have been the leader: this read returns once there is another.
    sessions[0].header().await.unwrap();
    sessions[0].put("a", "1", None).await.unwrap();
}

#[tokio::test]
async fn messages_may_be_larger_than_four_mebibytes() {
    /// Twice what gRPC libraries take unless told otherwise.
    const BYTES: usize = 8 << 20;
    let cluster = three(&["--max-request-bytes", "10485760"]).await;
    let session = session(&cluster).await;
    let mut watch = session.watch_ranges(w(), None).unwrap();
    let mut follower = Follower::default();
    follower.follow(&mut watch, |follower| follower.in_sync > 0).await;
    let large = "x".repeat(BYTES);
    let revision = session.put("w/large", large.clone(), None).await.unwrap();
    assert_eq!(session.get("w/large").await.unwrap().value.unwrap().value.len(), BYTES);
    follower.follow(&mut watch, |follower| !follower.told.is_empty()).await;
    assert_eq!(follower.told, [(revision, "w/large".to_owned())]);
    assert_eq!(follower.copy["w/large"], large);
}

#[tokio::test]
async fn a_token_that_has_run_out_is_renewed() {
    let cluster = three(&["--auth-token-ttl", "2"]).await;
    let open = session(&cluster).await;
    let mut config = config(&cluster);
    config.user = Some(("root".to_owned(), "secret".to_owned()));
    // Connected before the store knows users.
    let early = Session::connect(config.clone()).await.unwrap();
    early.put("w/0", "1", None).await.unwrap();
    open.user_add("root", Some("secret")).await.unwrap();
    open.user_grant_role("root", "root").await.unwrap();
    open.auth_enable().await.unwrap();
    let error = open.put("w/1", "1", None).await.unwrap_err();
    assert!(error.to_string().contains("user name is empty"), "{error}");
    assert_eq!(error.kind(), skein_store_client::ErrorKind::Denied);
    early.put("w/1", "1", None).await.unwrap();

    let late = Session::connect(config.clone()).await.unwrap();
    assert!(late.auth_status().await.unwrap().enabled);
    let mut watch = late.watch_ranges(w(), None).unwrap();
    let mut follower = Follower::default();
    follower.follow(&mut watch, |follower| follower.in_sync > 0).await;
    // Tokens of this store live two seconds after their last use; a second more is on the safe side.
    tokio::time::sleep(Duration::from_secs(4)).await;
    early.put("w/2", "1", None).await.unwrap();
    let last = late.put("w/3", "1", None).await.unwrap();
    follower.follow(&mut watch, |f| f.told.last().is_some_and(|t| t.0 == last)).await;
    assert_eq!((follower.told.len(), follower.lists), (2, 1));

    config.user = Some(("root".to_owned(), "wrong".to_owned()));
    let error = Session::connect(config).await.unwrap_err();
    assert_eq!(error.kind(), skein_store_client::ErrorKind::Denied, "{error}");
    assert!(!error.to_string().contains("wrong"), "{error}");
}
