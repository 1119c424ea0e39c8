//! Several members as processes: replication, failover, membership.

mod cluster_of;
mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cluster_of::Cluster;
use common::{PATIENCE, Watching, contents, get, put, watch_everything};
use skein_store_api::pb::etcdserverpb::{
    AlarmRequest, AlarmType, CompactionRequest, LeaseGrantRequest, LeaseKeepAliveRequest,
    MemberAddRequest, MemberListRequest, MemberPromoteRequest, MemberRemoveRequest,
    MoveLeaderRequest, PutRequest, WatchCreateRequest,
};
use skein_store_rpc::etcdserverpb::kv_client::KvClient;
use skein_store_rpc::etcdserverpb::lease_client::LeaseClient;
use skein_store_rpc::etcdserverpb::maintenance_client::MaintenanceClient;
use tonic::transport::Channel;

#[tokio::test]
async fn a_write_through_any_member_is_read_at_all() {
    let cluster = Cluster::start(3).await;
    for at in 0..3 {
        let mut kv = cluster.kv(at).await;
        kv.put(put(&format!("through{at}"), "v")).await.expect("a leader is known");
        for other in 0..3 {
            let answer = cluster.kv(other).await.range(get(&format!("through{at}"))).await;
            assert_eq!(answer.expect("served").into_inner().count, 1, "{at} -> {other}");
        }
    }
    let hashes = cluster.settled_hashes().await;
    assert_eq!(hashes.len(), 3);
    assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]), "{hashes:?}");
}

#[tokio::test]
async fn the_leaders_death_loses_nothing() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    for i in 0..50 {
        cluster.kv(i % 3).await.put(put(&format!("k{i}"), "v")).await.expect("written");
    }
    cluster.kill(leader);
    let survivor = (leader + 1) % 3;
    cluster.until_written(survivor, "after").await;
    for i in 0..50 {
        let answer = cluster.kv(survivor).await.range(get(&format!("k{i}"))).await;
        assert_eq!(answer.expect("served").into_inner().count, 1, "k{i}");
    }
    cluster.restart(leader).await;
    let hashes = cluster.settled_hashes().await;
    assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]), "{hashes:?}");
}

#[tokio::test]
async fn without_a_quorum_nothing_is_acknowledged() {
    let mut cluster = Cluster::start(3).await;
    cluster.kill(1);
    cluster.kill(2);
    let mut kv = cluster.kv(0).await;
    let refused = tokio::time::timeout(PATIENCE, kv.put(put("k", "v"))).await.expect("an answer");
    let status = refused.expect_err("no quorum");
    assert_eq!(status.code(), tonic::Code::Unavailable, "{status}");
    let mut stale = get("k");
    stale.serializable = true;
    assert_eq!(kv.range(stale).await.expect("served locally").into_inner().count, 0);
    cluster.restart(1).await;
    cluster.until_written(0, "k2").await;
}

#[tokio::test]
async fn leadership_moves_on_request() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let target = (leader + 1) % 3;
    let target_id = cluster.member_id(target).await;
    let mut maintenance = MaintenanceClient::new(cluster.channel(leader).await);
    let moved = maintenance.move_leader(MoveLeaderRequest { target_id }).await;
    moved.expect("leadership moves");
    assert_eq!(cluster.leader().await, target);
    let refused = maintenance.move_leader(MoveLeaderRequest { target_id }).await;
    assert_eq!(refused.expect_err("not the leader").message(), "etcdserver: not leader");
}

#[tokio::test]
async fn a_learner_joins_catches_up_votes_and_leaves() {
    let mut cluster = Cluster::start(3).await;
    // More than the leader keeps in memory for those that lag: the newcomer needs a snapshot.
    let value = "x".repeat(100_000);
    for i in 0..300 {
        cluster.kv(0).await.put(put(&format!("k{i}"), &value)).await.expect("written");
    }
    cluster.until_healthy(0).await;
    let peer = cluster.reserve();
    let add = MemberAddRequest { peer_ur_ls: vec![peer], is_learner: true };
    let added = cluster.members(0).await.member_add(add).await.expect("added").into_inner();
    assert_eq!(added.members.len(), 4);
    let id = added.member.expect("the new one").id;
    let early = cluster.members(0).await.member_promote(MemberPromoteRequest { id }).await;
    let text = early.expect_err("it never started").message().to_owned();
    assert!(text.contains("in sync with leader"), "{text}");
    cluster.join(3).await;
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let promoted = cluster.members(0).await.member_promote(MemberPromoteRequest { id }).await;
        if promoted.is_ok() {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{promoted:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let hashes = cluster.settled_hashes().await;
    assert_eq!(hashes.len(), 4);
    assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]), "{hashes:?}");
    let removed = cluster.members(0).await.member_remove(MemberRemoveRequest { id }).await;
    assert_eq!(removed.expect("removed").into_inner().members.len(), 3);
    assert!(cluster.ends_by_itself(3).await, "a removed member stops");
    let list = cluster.members(1).await.member_list(MemberListRequest { linearizable: true }).await;
    let list = list.expect("listed").into_inner().members;
    assert_eq!(list.len(), 3);
    assert!(list.iter().all(|member| !member.name.is_empty() && !member.client_ur_ls.is_empty()));
}

#[tokio::test]
async fn leases_live_on_through_any_member_and_over_a_change_of_leader() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let follower = (leader + 1) % 3;
    let mut lease = LeaseClient::new(cluster.channel(follower).await);
    let granted = lease.lease_grant(LeaseGrantRequest { ttl: 3, id: 7 }).await.expect("granted");
    assert_eq!(granted.into_inner().ttl, 3);
    let bound = PutRequest { lease: 7, ..put("bound", "v") };
    cluster.kv(follower).await.put(bound).await.expect("written");
    for round in 0..8 {
        let once = tokio_stream::iter([LeaseKeepAliveRequest { id: 7 }]);
        let mut answers = lease.lease_keep_alive(once).await.expect("a stream").into_inner();
        let answer = answers.message().await.expect("answered").expect("one answer");
        assert_eq!(answer.ttl, 3, "round {round}");
        if round == 3 {
            cluster.kill(leader);
        }
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    let there = cluster.kv(follower).await.range(get("bound")).await.expect("served");
    assert_eq!(there.into_inner().count, 1, "kept alive for longer than its time");
    let deadline = std::time::Instant::now() + PATIENCE;
    while cluster.kv(follower).await.range(get("bound")).await.expect("served").into_inner().count
        > 0
    {
        assert!(std::time::Instant::now() < deadline, "it never expires");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn members_speak_by_mutual_tls() {
    let cluster = Cluster::start_tls(3).await;
    cluster.kv(1).await.put(put("k", "v")).await.expect("written");
    let answer = cluster.kv(2).await.range(get("k")).await.expect("served");
    assert_eq!(answer.into_inner().count, 1);
    // Somebody without a certificate gets nowhere on a peer address.
    assert!(cluster.plain_handshake_fails(0).await);
}

#[tokio::test]
async fn a_survivor_goes_on_alone_by_force_and_takes_new_members() {
    let mut cluster = Cluster::start(3).await;
    cluster.kv(0).await.put(put("k", "v")).await.expect("written");
    let revision = cluster.kv(0).await.range(get("k")).await.expect("served").into_inner();
    cluster.kill(1);
    cluster.kill(2);
    cluster.kill(0);
    cluster.restart_with(0, &["--force-new-cluster"]).await;
    let list = cluster.members(0).await.member_list(MemberListRequest { linearizable: true }).await;
    assert_eq!(list.expect("listed").into_inner().members.len(), 1);
    let after = cluster.kv(0).await.range(get("k")).await.expect("served").into_inner();
    assert_eq!(after.kvs, revision.kvs);
    // The next start needs no force, and a new member takes a lost one's place.
    cluster.kill(0);
    cluster.restart(0).await;
    let peer = cluster.replace(1);
    let add = MemberAddRequest { peer_ur_ls: vec![peer], is_learner: false };
    cluster.members(0).await.member_add(add).await.expect("added");
    cluster.join(1).await;
    cluster.until_written(1, "by the new one").await;
    let hashes = cluster.settled_hashes().await;
    assert_eq!(hashes.len(), 2);
    assert_eq!(hashes[0], hashes[1]);
}

#[tokio::test]
async fn a_watch_that_requires_a_leader_ends_without_one() {
    let mut cluster = Cluster::start(3).await;
    let mut plain = Watching::open(cluster.channel(0).await).await;
    plain.create(watch_everything()).await;
    let mut strict = cluster.watch_with_leader(0).await;
    strict.create(watch_everything()).await;
    cluster.kill(1);
    cluster.kill(2);
    let ended = tokio::time::timeout(PATIENCE, strict.frames.message()).await.expect("it ends");
    assert_eq!(ended.expect_err("no leader").message(), "etcdserver: no leader");
    cluster.restart(1).await;
    cluster.until_written(0, "k").await;
    // The other one went on, and misses nothing.
    let frame = tokio::time::timeout(PATIENCE, plain.frames.message()).await.expect("an event");
    assert!(!frame.expect("it lives").expect("a frame").events.is_empty());
}

#[tokio::test]
async fn a_watch_at_a_follower_sees_every_write_over_a_change_of_leader() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let follower = (leader + 1) % 3;
    let mut watching = Watching::open(cluster.channel(follower).await).await;
    watching.create(WatchCreateRequest { start_revision: 1, ..watch_everything() }).await;
    let mut acknowledged = Vec::new();
    for i in 0..60 {
        if i == 30 {
            cluster.kill(leader);
        }
        let written = cluster.kv(follower).await.put(put("k", &format!("v{i}"))).await;
        if let Ok(answer) = written {
            acknowledged.push(answer.into_inner().header.expect("a header").revision);
        }
    }
    let mut seen = Vec::new();
    while seen.last() < acknowledged.last() {
        let frame = tokio::time::timeout(PATIENCE, watching.frames.message()).await;
        let frame = frame.expect("an event").expect("it lives").expect("a frame");
        let events = skein_store_api::wire::watch_events(&frame.events).expect("encoded events");
        seen.extend(events.iter().map(|event| event.kv.mod_revision));
    }
    assert!(seen.windows(2).all(|pair| pair[0] + 1 == pair[1]), "in order, without gaps: {seen:?}");
    assert!(acknowledged.iter().all(|revision| seen.contains(revision)));
}

/// Writes keys of its own through one member after the other until told to stop; returns those that
/// were acknowledged.
async fn write_until(stop: Arc<AtomicBool>, urls: Vec<String>, writer: usize) -> Vec<String> {
    let mut acknowledged = Vec::new();
    let mut at = writer;
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("w{writer}-{number}");
        let endpoint = Channel::from_shared(urls[at % urls.len()].clone()).expect("a URL");
        let attempt = async {
            let channel = endpoint.connect().await.ok()?;
            KvClient::new(channel).put(put(&key, "v")).await.ok()
        };
        match tokio::time::timeout(Duration::from_secs(3), attempt).await {
            Ok(Some(_)) => acknowledged.push(key),
            // Whether it was written is not known, and not asked.
            Ok(None) | Err(_) => at += 1,
        }
    }
    acknowledged
}

#[tokio::test]
async fn members_are_killed_and_paused_under_load_and_nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::start(3).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|writer| tokio::spawn(write_until(Arc::clone(&stop), cluster.urls(), writer)))
        .collect();
    for round in 0..8 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        // The leader every other time, whoever else in between.
        let victim = if round % 2 == 0 { cluster.leader().await } else { round % 3 };
        if round % 4 < 2 {
            cluster.kill(victim);
            tokio::time::sleep(Duration::from_millis(500)).await;
            cluster.restart(victim).await;
        } else {
            cluster.signal(victim, "STOP");
            tokio::time::sleep(Duration::from_millis(2_500)).await;
            cluster.signal(victim, "CONT");
        }
    }
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.await.expect("no panic"));
    }
    assert!(acknowledged.len() > 200, "{} writes are no load", acknowledged.len());
    cluster.until_written(0, "the end").await;
    let hashes = cluster.settled_hashes().await;
    assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]), "{hashes:?}");
    let there: std::collections::HashSet<_> =
        contents(&mut cluster.kv(1).await).await.into_iter().map(|(key, _)| key).collect();
    let lost: Vec<_> = acknowledged.iter().filter(|key| !there.contains(*key)).collect();
    assert!(lost.is_empty(), "{} of {} lost: {lost:?}", lost.len(), acknowledged.len());
}

#[tokio::test]
async fn a_member_whose_data_differs_is_found_and_named() {
    let flags = &["--snapshot-count=10", "--compact-hash-check-time=300ms"];
    let mut cluster = Cluster::start_with(3, flags).await;
    for i in 0..40 {
        cluster.kv(0).await.put(put(&format!("k{i}"), "v")).await.expect("written");
    }
    let victim = (cluster.leader().await + 1) % 3;
    let id = cluster.member_id(victim).await;
    cluster.kill(victim);
    cluster.tamper(victim);
    cluster.restart_with(victim, flags).await;
    cluster.until_written(0, "after").await;
    let compact = CompactionRequest { revision: 30, physical: false };
    cluster.kv(0).await.compact(compact).await.expect("compacted");
    let mut maintenance = MaintenanceClient::new(cluster.channel(0).await);
    let deadline = std::time::Instant::now() + PATIENCE;
    let alarms = loop {
        let answer = maintenance.alarm(AlarmRequest::default()).await.expect("told").into_inner();
        if !answer.alarms.is_empty() {
            break answer.alarms;
        }
        assert!(std::time::Instant::now() < deadline, "nobody noticed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(alarms.len(), 1);
    assert_eq!((alarms[0].member_id, alarms[0].alarm()), (id, AlarmType::Corrupt));
    let refused = cluster.kv(0).await.put(put("k", "v")).await.expect_err("nothing is written on");
    assert_eq!(refused.message(), "etcdserver: corrupt cluster");
}
