//! Leases, elections and fences against a real etcd.

use std::time::Duration;

use skein_store_client::testing::{Proxy, StoreProcess};
use skein_store_client::{ClientError, Compare, Op, Session, SessionConfig, Txn};
use skein_store_schema::ElectionName;

/// Longer than any single wait of these tests on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// The shortest lease that etcd grants with its default election timeout.
const TTL_S: i64 = 2;

async fn session(endpoint: String) -> Session {
    Session::connect(SessionConfig::new([endpoint])).await.unwrap()
}

fn election() -> ElectionName {
    "controlplane".parse().unwrap()
}

async fn patiently<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("took too long")
}

#[tokio::test]
async fn a_lease_lives_while_it_is_held_and_is_lost_when_revoked() {
    let store = StoreProcess::etcd().unwrap();
    let session = session(store.endpoint()).await;
    let lease = session.lease(TTL_S).await.unwrap();
    session.put("a/1", "1", Some(lease.id())).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!lease.is_lost());
    let info = session.lease_info(lease.id()).await.unwrap();
    assert_eq!((info.granted_ttl_s, info.keys), (TTL_S, vec![b"a/1".to_vec()]));
    assert_eq!(session.leases().await.unwrap(), [lease.id()]);
    assert!(session.lease_keep_alive_once(lease.id()).await.unwrap() > 0);

    session.lease_revoke(lease.id()).await.unwrap();
    patiently(lease.lost()).await;
    assert_eq!(session.get("a/1").await.unwrap().value, None);
    let error = session.lease_info(lease.id()).await.unwrap_err();
    assert!(matches!(error, ClientError::LeaseNotFound { .. }));
    let error = session.lease_keep_alive_once(lease.id()).await.unwrap_err();
    assert!(matches!(error, ClientError::LeaseNotFound { .. }));
    let error = session.lease_revoke(lease.id()).await.unwrap_err();
    assert!(matches!(error, ClientError::LeaseNotFound { .. }));
}

#[tokio::test]
async fn a_lease_cut_off_from_the_store_is_lost_no_later_than_it_ends() {
    let store = StoreProcess::etcd().unwrap();
    let proxy = Proxy::to(store.endpoint()).await.unwrap();
    let held = session(proxy.endpoint()).await.lease(TTL_S).await.unwrap();
    let direct = session(store.endpoint()).await;
    direct.put("a/1", "1", Some(held.id())).await.unwrap();
    proxy.cut();
    patiently(held.lost()).await;
    let still_there = direct.get("a/1").await.unwrap().value.is_some();
    assert!(still_there, "the holder must give up before the store does");
}

#[tokio::test]
async fn a_short_cut_does_not_cost_the_lease() {
    let store = StoreProcess::etcd().unwrap();
    let proxy = Proxy::to(store.endpoint()).await.unwrap();
    let lease = session(proxy.endpoint()).await.lease(6).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    proxy.cut();
    tokio::time::sleep(Duration::from_secs(2)).await;
    proxy.mend();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!lease.is_lost());
}

#[tokio::test]
async fn the_next_candidate_leads_when_the_leader_resigns() {
    let store = StoreProcess::etcd().unwrap();
    let session = session(store.endpoint()).await;
    let first = session.campaign(&election(), "cp-1", 30).await.unwrap();
    let other = session.clone();
    let second = tokio::spawn(async move { other.campaign(&election(), "cp-2", 30).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!second.is_finished());
    let leader = session.leader(&election()).await.unwrap().value.unwrap();
    assert_eq!((leader.candidate.holder.as_str(), &leader.fence), ("cp-1", first.fence()));

    let fence = first.fence().clone();
    session.fenced(&fence, Txn::new().then(Op::put("a/1", "by 1"))).await.unwrap();
    first.resign().await.unwrap();
    let second = patiently(second).await.unwrap().unwrap();
    let leader = session.leader(&election()).await.unwrap().value.unwrap();
    assert_eq!(leader.candidate.holder, "cp-2");

    let late = session.fenced(&fence, Txn::new().then(Op::put("a/1", "late"))).await;
    assert!(matches!(late, Err(ClientError::Fenced { .. })));
    assert_eq!(session.get("a/1").await.unwrap().value.unwrap().value, b"by 1");
    let txn = Txn::new().when(Compare::absent("a/1")).then(Op::put("a/1", "by 2"));
    let outcome = session.fenced(second.fence(), txn).await.unwrap();
    assert!(!outcome.succeeded, "a condition that does not hold is no loss of leadership");
    let outcome = session.fenced(second.fence(), Txn::new().then(Op::put("a/1", "by 2"))).await;
    let entry = session.get("a/1").await.unwrap().value.unwrap();
    assert_eq!(outcome.unwrap().revision, entry.mod_revision);
}

#[tokio::test]
async fn the_next_candidate_leads_when_the_leader_is_cut_off() {
    let store = StoreProcess::etcd().unwrap();
    let proxy = Proxy::to(store.endpoint()).await.unwrap();
    let cut_off = session(proxy.endpoint()).await;
    let first = cut_off.campaign(&election(), "cp-1", TTL_S).await.unwrap();
    let other = session(store.endpoint()).await;
    proxy.cut();
    let second = patiently(other.campaign(&election(), "cp-2", TTL_S)).await.unwrap();
    assert!(second.fence().create_revision > first.fence().create_revision);
    patiently(first.lost()).await;
    proxy.mend();
    let late = cut_off.fenced(first.fence(), Txn::new().then(Op::put("a/1", "late"))).await;
    assert!(matches!(late, Err(ClientError::Fenced { .. })));
}
