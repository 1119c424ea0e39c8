//! The lock and election services of a running member.

mod common;

use std::time::Duration;

use common::{PATIENCE, channel, contents, kv, start};
use skein_store_api::pb::etcdserverpb::{LeaseGrantRequest, LeaseRevokeRequest};
use skein_store_api::pb::v3electionpb::{
    CampaignRequest, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest, ResignRequest,
};
use skein_store_api::pb::v3lockpb::{LockRequest, UnlockRequest};
use skein_store_api::wire::key_value;
use skein_store_rpc::etcdserverpb::lease_client::LeaseClient;
use skein_store_rpc::v3electionpb::election_client::ElectionClient;
use skein_store_rpc::v3lockpb::lock_client::LockClient;
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tonic::transport::Channel;

async fn lease(channel: &Channel, id: i64) -> i64 {
    let request = LeaseGrantRequest { ttl: 60, id };
    LeaseClient::new(channel.clone()).lease_grant(request).await.expect("a lease").into_inner().id
}

fn lock(lease: i64) -> LockRequest {
    LockRequest { name: "l".into(), lease }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_has_one_holder_and_passes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let member = start(dir.path()).await;
    let open = channel(&member).await;
    let mut locks = LockClient::new(open.clone());
    let (first, second) = (lease(&open, 1).await, lease(&open, 2).await);
    let held = locks.lock(lock(first)).await.expect("free").into_inner();
    assert_eq!(held.key, "l/1");
    assert!(held.header.is_some_and(|header| header.cluster_id == member.cluster_id()));
    locks.lock(lock(first)).await.expect("held by the same lease");

    let mut other = LockClient::new(open.clone());
    let waiting = tokio::spawn(async move { other.lock(lock(second)).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!waiting.is_finished(), "the lock is held");
    locks.unlock(UnlockRequest { key: held.key }).await.expect("unlocks");
    let passed = timeout(PATIENCE, waiting).await.expect("in time").expect("no panic");
    assert_eq!(passed.expect("it is free").into_inner().key, "l/2");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_gives_up_or_loses_the_lease_leaves_the_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let member = start(dir.path()).await;
    let open = channel(&member).await;
    for id in 1..=3 {
        lease(&open, id).await;
    }
    let mut locks = LockClient::new(open.clone());
    locks.lock(lock(1)).await.expect("free");
    let mut other = locks.clone();
    assert!(timeout(Duration::from_millis(200), other.lock(lock(2))).await.is_err());
    let mut third = locks.clone();
    let waiting = tokio::spawn(async move { third.lock(lock(3)).await });
    let mut kv = kv(&member).await;
    let mut leases = LeaseClient::new(open.clone());
    // The one who gave up is gone, the third waits.
    timeout(PATIENCE, async {
        loop {
            let keys: Vec<_> = contents(&mut kv).await.into_iter().map(|(key, _)| key).collect();
            if keys == ["l/1", "l/3"] {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("in time");
    leases.lease_revoke(LeaseRevokeRequest { id: 3 }).await.expect("revoked");
    let lost = timeout(PATIENCE, waiting).await.expect("in time").expect("no panic");
    let text = lost.expect_err("its lease is gone").message().to_owned();
    assert_eq!(text, "etcdserver: requested lease not found");
}

fn value(answer: &LeaderResponse) -> String {
    let kv = key_value(answer.kv.as_ref().expect("a leader")).expect("an encoded key-value");
    String::from_utf8_lossy(&kv.value).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_election_has_one_leader_and_its_word_is_heard() {
    let dir = tempfile::tempdir().expect("a directory");
    let member = start(dir.path()).await;
    let open = channel(&member).await;
    let mut election = ElectionClient::new(open.clone());
    let name = || LeaderRequest { name: "e".into() };
    let nobody = election.leader(name()).await.expect_err("nobody yet");
    assert_eq!(nobody.message(), "election: no leader");
    let campaign = |lease, word: &str| CampaignRequest {
        name: "e".into(),
        lease,
        value: word.to_owned().into(),
    };
    lease(&open, 1).await;
    lease(&open, 2).await;
    let won = election.campaign(campaign(1, "a")).await.expect("alone").into_inner();
    let leader = won.leader.expect("a key");
    assert_eq!((leader.key.as_ref(), leader.lease), (&b"e/1"[..], 1));
    let mut words = election.observe(name()).await.expect("a stream").into_inner();
    assert_eq!(value(&words.next().await.expect("open").expect("a word")), "a");

    let proclaim = |leader: &LeaderKey, word: &str| ProclaimRequest {
        leader: Some(leader.clone()),
        value: word.to_owned().into(),
    };
    election.proclaim(proclaim(&leader, "b")).await.expect("it leads");
    assert_eq!(value(&words.next().await.expect("open").expect("a word")), "b");

    let mut other = election.clone();
    let second = campaign(2, "c");
    let waiting = tokio::spawn(async move { other.campaign(second).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!waiting.is_finished(), "there is a leader");
    election.resign(ResignRequest { leader: Some(leader.clone()) }).await.expect("resigns");
    let next = timeout(PATIENCE, waiting).await.expect("in time").expect("no panic");
    assert_eq!(next.expect("elected").into_inner().leader.expect("a key").key, "e/2");
    assert_eq!(value(&words.next().await.expect("open").expect("a word")), "c");
    let late = election.proclaim(proclaim(&leader, "d")).await.expect_err("it leads no more");
    assert_eq!(late.message(), "election: not leader");
}
