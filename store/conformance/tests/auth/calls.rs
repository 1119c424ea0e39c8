//! Every call, by everyone.

use std::time::Duration;

use futures::StreamExt;
use skein_store_api::pb::authpb::Permission;
use skein_store_api::pb::etcdserverpb::compare::CompareResult;
use skein_store_api::pb::etcdserverpb::request_op::Request as Op;
use skein_store_api::pb::etcdserverpb::watch_request::RequestUnion;
use skein_store_api::pb::etcdserverpb::*;
use skein_store_api::pb::v3electionpb::{
    CampaignRequest, LeaderKey, LeaderRequest, ProclaimRequest, ResignRequest,
};
use skein_store_api::pb::v3lockpb::{LockRequest, UnlockRequest};
use skein_store_conformance::process::Process;
use skein_store_rpc::etcdserverpb::cluster_client::ClusterClient;
use skein_store_rpc::etcdserverpb::lease_client::LeaseClient;
use skein_store_rpc::etcdserverpb::maintenance_client::MaintenanceClient;
use skein_store_rpc::etcdserverpb::watch_client::WatchClient;
use skein_store_rpc::v3electionpb::election_client::ElectionClient;
use skein_store_rpc::v3lockpb::lock_client::LockClient;
use tonic::{Code, Status};

use super::client::Caller;
use super::pair;

/// Lease 7 holds `a`, lease 8 holds `x`, which alice may not see; lease 9 holds nothing.
async fn prepare(store: &Process) -> Caller {
    Caller::nobody(store).enable().await.expect("enabled");
    let root = Caller::user(store, "root").await;
    for id in [7, 8, 9] {
        let grant = root.ask(LeaseGrantRequest { ttl: 600, id });
        LeaseClient::new(root.channel.clone()).lease_grant(grant).await.expect("a lease");
    }
    root.put("a", 7).await.expect("root may");
    root.put("x", 8).await.expect("root may");
    root
}

/// What came of calls, one line each.
struct Told(Vec<String>);

impl Told {
    fn note<T>(&mut self, call: &str, answer: Result<T, Status>) {
        let told = match answer {
            Ok(_) => "ok".to_owned(),
            // What a member of one cannot do differs, for whoever may ask for it at all.
            Err(status) if call.starts_with('~') && !is_refusal(&status) => "passed".to_owned(),
            Err(status) => format!("{:?} {}", status.code(), status.message()),
        };
        let told = if call.starts_with('~') && told == "ok" { "passed" } else { &told };
        self.0.push(format!("{call}: {told}"));
    }
}

fn is_refusal(status: &Status) -> bool {
    matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated)
        || status.message().contains("user name is empty")
}

/// Asks for everything once. Nothing here changes what a later caller is answered.
async fn everything(caller: &Caller) -> Vec<String> {
    let mut told = Told(Vec::new());
    keys(caller, &mut told).await;
    watches(caller, &mut told).await;
    leases(caller, &mut told).await;
    cluster(caller, &mut told).await;
    users(caller, &mut told).await;
    lines(caller, &mut told).await;
    told.0
}

async fn keys(caller: &Caller, told: &mut Told) {
    let bytes = |text: &str| bytes::Bytes::copy_from_slice(text.as_bytes());
    for (key, end) in [("a", ""), ("a", "c"), ("a", "d"), ("a", "\0"), ("x", ""), ("b", "a")] {
        for serializable in [false, true] {
            let range = RangeRequest {
                key: bytes(key),
                range_end: bytes(end),
                serializable,
                ..Default::default()
            };
            let name = format!("Range {key:?} {end:?} {serializable}");
            told.note(&name, caller.kv().range(caller.ask(range.clone())).await);
            if let Ok(stream) = caller.kv().range_stream(caller.ask(range)).await {
                let first = stream.into_inner().next().await.expect("an answer");
                told.note(&format!("RangeStream {name}"), first);
            }
        }
        let delete = DeleteRangeRequest { key: bytes(key), range_end: bytes(end), prev_kv: true };
        // A condition that never holds keeps the keys for the next caller.
        let never =
            Compare { result: CompareResult::Less.into(), key: bytes("a"), ..Default::default() };
        let success = vec![RequestOp { request: Some(Op::RequestDeleteRange(delete)) }];
        let txn = TxnRequest { compare: vec![never], success, failure: Vec::new() };
        told.note(&format!("Txn delete {key:?} {end:?}"), caller.kv().txn(caller.ask(txn)).await);
    }
    for (key, lease) in [("a", 7), ("b", 0), ("b", 404), ("c", 0), ("x", 8)] {
        let put = PutRequest { key: bytes(key), lease, ..Default::default() };
        told.note(&format!("Put {key} {lease}"), caller.kv().put(caller.ask(put)).await);
    }
    let delete = DeleteRangeRequest { key: bytes("b"), ..Default::default() };
    told.note("DeleteRange b", caller.kv().delete_range(caller.ask(delete)).await);
    let empty = DeleteRangeRequest::default();
    told.note("DeleteRange", caller.kv().delete_range(caller.ask(empty)).await);
    told.note("Txn", caller.kv().txn(caller.ask(TxnRequest::default())).await);
    let compact = CompactionRequest { revision: 1_000_000, physical: false };
    told.note("Compact", caller.kv().compact(caller.ask(compact)).await);
}

async fn watches(caller: &Caller, told: &mut Told) {
    for (key, end, start_revision) in [
        ("a", "", 0),
        ("a", "b", 0),
        ("a", "\0", 0),
        ("", "\0", 0),
        ("x", "", 0),
        ("x", "", -1),
        ("b", "a", 0),
    ] {
        let create = WatchCreateRequest {
            key: key.to_owned().into(),
            range_end: end.to_owned().into(),
            start_revision,
            ..Default::default()
        };
        let request_union = Some(RequestUnion::CreateRequest(create));
        // Kept open: a stream whose client is done may end before it answers.
        let requests = futures::stream::iter([WatchRequest { request_union }])
            .chain(futures::stream::pending());
        let answer = WatchClient::new(caller.channel.clone()).watch(caller.ask(requests)).await;
        let first = answer.expect("a stream").into_inner().next().await.expect("an answer");
        let text =
            first.map(|first| (first.watch_id, first.created, first.canceled, first.cancel_reason));
        told.0.push(format!("Watch {key:?} {end:?} {start_revision}: {text:?}"));
    }
}

async fn leases(caller: &Caller, told: &mut Told) {
    let mut lease = LeaseClient::new(caller.channel.clone());
    let again = LeaseGrantRequest { ttl: 600, id: 7 };
    told.note("LeaseGrant 7", lease.lease_grant(caller.ask(again)).await);
    told.note("LeaseLeases", lease.lease_leases(caller.ask(LeaseLeasesRequest {})).await);
    for id in [7, 8, 9, 404] {
        for keys in [false, true] {
            let request = caller.ask(LeaseTimeToLiveRequest { id, keys });
            let name = format!("LeaseTimeToLive {id} {keys}");
            told.note(&name, lease.lease_time_to_live(request).await);
        }
        let requests = futures::stream::iter([LeaseKeepAliveRequest { id }]);
        let answer = match lease.lease_keep_alive(caller.ask(requests)).await {
            Ok(stream) => stream.into_inner().next().await.expect("an answer"),
            Err(status) => Err(status),
        };
        told.note(&format!("LeaseKeepAlive {id}"), answer);
    }
    for id in [8, 404] {
        // Only root may revoke lease 8, and root is asked last.
        told.note(
            &format!("LeaseRevoke {id}"),
            lease.lease_revoke(caller.ask(LeaseRevokeRequest { id })).await,
        );
    }
}

async fn cluster(caller: &Caller, told: &mut Told) {
    let mut cluster = ClusterClient::new(caller.channel.clone());
    let urls = || vec!["http://127.0.0.1:1".to_owned()];
    let list = caller.ask(MemberListRequest { linearizable: true });
    told.note("MemberList", cluster.member_list(list).await);
    let update = caller.ask(MemberUpdateRequest { id: 1, peer_ur_ls: urls() });
    told.note("MemberUpdate", cluster.member_update(update).await);
    let bad = MemberAddRequest { peer_ur_ls: vec!["no url".into()], is_learner: false };
    told.note("MemberAdd no url", cluster.member_add(caller.ask(bad)).await);
    told.note(
        "MemberRemove",
        cluster.member_remove(caller.ask(MemberRemoveRequest { id: 1 })).await,
    );
    let promote = caller.ask(MemberPromoteRequest { id: 1 });
    told.note("MemberPromote", cluster.member_promote(promote).await);
    let mut maintenance = MaintenanceClient::new(caller.channel.clone());
    told.note("Status", maintenance.status(caller.ask(StatusRequest {})).await);
    told.note("Hash", maintenance.hash(caller.ask(HashRequest {})).await);
    told.note("HashKV", maintenance.hash_kv(caller.ask(HashKvRequest { revision: 0 })).await);
    told.note("Defragment", maintenance.defragment(caller.ask(DefragmentRequest {})).await);
    for action in 0..3 {
        let alarm = AlarmRequest { action, member_id: 1, alarm: 0 };
        told.note(&format!("~Alarm {action}"), maintenance.alarm(caller.ask(alarm)).await);
    }
    let answer = match maintenance.snapshot(caller.ask(SnapshotRequest {})).await {
        Ok(stream) => stream.into_inner().next().await.expect("an answer").map(drop),
        Err(status) => Err(status),
    };
    told.note("~Snapshot", answer);
    let mover = caller.ask(MoveLeaderRequest { target_id: 1 });
    told.note("MoveLeader", maintenance.move_leader(mover).await);
    let downgrade = caller.ask(DowngradeRequest { action: 0, version: "3.6.0".into() });
    told.note("~Downgrade", maintenance.downgrade(downgrade).await);
}

/// Root is refused here too, since what is asked for is wrong: nothing changes.
async fn users(caller: &Caller, told: &mut Told) {
    let mut auth = caller.auth();
    let name = || "none".to_owned();
    let alice = || "alice".to_owned();
    told.note("AuthStatus", auth.auth_status(caller.ask(AuthStatusRequest {})).await);
    told.note("AuthEnable", auth.auth_enable(caller.ask(AuthEnableRequest {})).await);
    told.note("UserList", auth.user_list(caller.ask(AuthUserListRequest {})).await);
    told.note("RoleList", auth.role_list(caller.ask(AuthRoleListRequest {})).await);
    for name in ["alice", "root", "none"].map(str::to_owned) {
        let request = caller.ask(AuthUserGetRequest { name: name.clone() });
        told.note(&format!("UserGet {name}"), auth.user_get(request).await);
    }
    for role in ["r", "root", "none"].map(str::to_owned) {
        let request = caller.ask(AuthRoleGetRequest { role: role.clone() });
        told.note(&format!("RoleGet {role}"), auth.role_get(request).await);
    }
    let add = AuthUserAddRequest { name: alice(), password: "p".into(), ..Default::default() };
    told.note("UserAdd", auth.user_add(caller.ask(add)).await);
    let change =
        AuthUserChangePasswordRequest { name: name(), password: "p".into(), ..Default::default() };
    told.note("UserChangePassword", auth.user_change_password(caller.ask(change)).await);
    let change = AuthUserChangePasswordRequest {
        name: alice(),
        hashed_password: "no base64!".into(),
        ..Default::default()
    };
    told.note("UserChangePassword", auth.user_change_password(caller.ask(change)).await);
    let delete = caller.ask(AuthUserDeleteRequest { name: "root".into() });
    told.note("UserDelete", auth.user_delete(delete).await);
    let grant = AuthUserGrantRoleRequest { user: alice(), role: name() };
    told.note("UserGrantRole", auth.user_grant_role(caller.ask(grant)).await);
    let revoke = AuthUserRevokeRoleRequest { name: alice(), role: name() };
    told.note("UserRevokeRole", auth.user_revoke_role(caller.ask(revoke)).await);
    told.note("RoleAdd", auth.role_add(caller.ask(AuthRoleAddRequest { name: "r".into() })).await);
    let delete = caller.ask(AuthRoleDeleteRequest { role: "root".into() });
    told.note("RoleDelete", auth.role_delete(delete).await);
    for perm in [None, Some(Permission::default())] {
        let grant = AuthRoleGrantPermissionRequest { name: "r".into(), perm };
        told.note("RoleGrantPermission", auth.role_grant_permission(caller.ask(grant)).await);
    }
    let revoke = AuthRoleRevokePermissionRequest { role: "r".into(), ..Default::default() };
    told.note("RoleRevokePermission", auth.role_revoke_permission(caller.ask(revoke)).await);
}

async fn lines(caller: &Caller, told: &mut Told) {
    for name in ["a", "x"] {
        let mut lock = LockClient::new(caller.channel.clone());
        let held = lock.lock(caller.ask(LockRequest { name: name.into(), lease: 9 })).await;
        let key = held.as_ref().map(|held| held.get_ref().key.clone()).unwrap_or_default();
        told.note(&format!("Lock {name}"), held);
        if !key.is_empty() {
            told.note("Unlock", lock.unlock(caller.ask(UnlockRequest { key })).await);
        }
        let mut election = ElectionClient::new(caller.channel.clone());
        let leader = election.leader(caller.ask(LeaderRequest { name: name.into() })).await;
        told.note(&format!("Leader {name}"), leader);
        let campaign = CampaignRequest { name: name.into(), lease: 9, value: "v".into() };
        let led = election.campaign(caller.ask(campaign)).await;
        let leader = led.as_ref().ok().and_then(|led| led.get_ref().leader.clone());
        told.note(&format!("Campaign {name}"), led);
        let foreign =
            LeaderKey { key: format!("{name}/9").into(), rev: 1, lease: 9, ..Default::default() };
        let held = Some(leader.clone().unwrap_or(foreign));
        let proclaim = ProclaimRequest { leader: held.clone(), value: "w".into() };
        told.note(&format!("Proclaim {name}"), election.proclaim(caller.ask(proclaim)).await);
        told.note(
            &format!("Resign {name}"),
            election.resign(caller.ask(ResignRequest { leader: held })).await,
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everyone_is_answered_as_by_etcd() {
    let stores = pair(&[]).await;
    let mut roots = Vec::new();
    for store in &stores {
        roots.push(prepare(store).await);
    }
    let mut seen = Vec::new();
    for who in ["nobody", "a wrong token", "alice", "root"] {
        let mut answers = Vec::new();
        for (store, root) in stores.iter().zip(&roots) {
            let caller = match who {
                "nobody" => Caller::nobody(store),
                "a wrong token" => Caller::nobody(store).with_token("wrong.1"),
                "alice" => Caller::user(store, "alice").await,
                _ => root.clone(),
            };
            answers.push(everything(&caller).await);
        }
        for (etcd, skein) in answers[0].iter().zip(&answers[1]) {
            assert_eq!(skein, etcd, "{who}");
        }
        assert_eq!(answers[0].len(), answers[1].len());
        seen.push(answers.remove(1));
    }
    // Equal answers are worth something when they differ by caller.
    let refused = |at: usize, text: &str| seen[at].iter().filter(|l| l.contains(text)).count();
    assert!(refused(0, "user name is empty") > 50, "{:#?}", seen[0]);
    assert!(refused(1, "invalid auth token") > 60, "{:#?}", seen[1]);
    assert!(refused(2, "permission denied") > 40, "{:#?}", seen[2]);
    assert_eq!(refused(3, "permission denied"), 0, "{:#?}", seen[3]);
}

/// A lease's end belongs to the store, whatever users there are.
#[tokio::test(flavor = "multi_thread")]
async fn leases_expire_while_users_are_asked_for() {
    for store in pair(&[]).await {
        let root = prepare(&store).await;
        let grant = root.ask(LeaseGrantRequest { ttl: 2, id: 77 });
        LeaseClient::new(root.channel.clone()).lease_grant(grant).await.expect("a lease");
        root.put("b", 77).await.expect("root may");
        let begun = std::time::Instant::now();
        while root.get("b").await != Ok(0) {
            assert!(begun.elapsed() < Duration::from_secs(20), "the key outlives its lease");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
