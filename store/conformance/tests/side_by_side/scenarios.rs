//! What is played.

use futures::future::BoxFuture;
use skein_store_api::pb::etcdserverpb::AlarmType;
use skein_store_api::pb::etcdserverpb::alarm_request::AlarmAction::{Activate, Deactivate, Get};
use skein_store_api::pb::etcdserverpb::downgrade_request::DowngradeAction::{
    Cancel, Enable, Validate,
};
use skein_store_conformance::ask;

use crate::player::Player;

type Played<'a> = BoxFuture<'a, anyhow::Result<()>>;

pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) flags: &'static [&'static str],
    pub(crate) play: for<'a> fn(&'a mut Player) -> Played<'a>,
}

const NONE: i32 = AlarmType::None as i32;
const NOSPACE: i32 = AlarmType::Nospace as i32;
const CORRUPT: i32 = AlarmType::Corrupt as i32;

/// 2 MiB, far above what an empty store of either kind takes.
const SMALL_QUOTA: &[&str] = &["--quota-backend-bytes=2097152"];

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "a full store", flags: SMALL_QUOTA, play: |p| Box::pin(full(p)) },
    Scenario {
        name: "etcdctl on a full store",
        flags: SMALL_QUOTA,
        play: |p| Box::pin(by_etcdctl(p)),
    },
    Scenario { name: "a corrupt cluster", flags: &[], play: |p| Box::pin(corrupt(p)) },
    Scenario { name: "alarms by hand", flags: &[], play: |p| Box::pin(by_hand(p)) },
    Scenario { name: "a downgrade", flags: &[], play: |p| Box::pin(downgrade(p)) },
    Scenario { name: "http endpoints", flags: &[], play: |p| Box::pin(endpoints(p)) },
    Scenario { name: "json gateway", flags: &[], play: |p| Box::pin(gateway(p)) },
    Scenario { name: "metrics", flags: &[], play: |p| Box::pin(metrics(p)) },
    Scenario {
        name: "no quota",
        flags: &["--quota-backend-bytes=-1"],
        play: |p| Box::pin(async { Ok(p.status().await) }),
    },
];

async fn health(p: &mut Player) -> anyhow::Result<()> {
    for path in [
        "/health",
        "/health?serializable=true",
        "/health?exclude=NOSPACE",
        "/health?exclude=CORRUPT",
        "/health?exclude=NOSPACE&exclude=CORRUPT",
        "/livez",
        "/readyz",
        "/readyz?verbose",
        "/readyz?exclude=data_corruption",
        "/readyz?exclude=data_corruption&verbose",
        "/readyz?exclude=unknown&verbose",
        "/readyz/data_corruption",
        "/readyz/data_corruption?verbose",
        "/readyz/serializable_read",
    ] {
        p.http("GET", path).await?;
    }
    Ok(())
}

async fn full(p: &mut Player) -> anyhow::Result<()> {
    p.grant(7).await;
    p.put("kept", 10).await;
    p.fill(100_000, 100).await;
    p.alarm(Get, 0, NONE).await;
    p.status().await;
    health(p).await?;
    p.put("a", 1).await;
    p.txn(vec![ask::op_put("a", "1")]).await;
    p.txn(vec![ask::op_range(ask::get("a"))]).await;
    p.grant(8).await;
    p.get("kept").await;
    p.restart().await?;
    p.alarm(Get, 0, NOSPACE).await;
    p.put("a", 1).await;
    p.revoke(7).await;
    p.delete(ask::delete_range("fill/", "fill0")).await;
    p.compact_all().await;
    p.defragment().await;
    p.put("a", 1).await;
    p.alarm(Deactivate, p.member, NOSPACE).await;
    p.alarm(Get, 0, NONE).await;
    p.put("a", 1).await;
    p.grant(8).await;
    p.status().await;
    health(p).await
}

/// As etcd's documentation tells operators to do it.
async fn by_etcdctl(p: &mut Player) -> anyhow::Result<()> {
    p.etcdctl("alarm list").await?;
    p.fill(100_000, 100).await;
    for line in ["alarm list", "put a 1", "lease grant 60", "get a", "endpoint health"] {
        p.etcdctl(line).await?;
    }
    p.delete(ask::delete_range("fill/", "fill0")).await;
    let revision = p.revision().await;
    let answer = p.kv.compact(ask::compact(revision)).await;
    p.note("compact", answer, |_| "ok".into());
    for line in ["defrag", "alarm disarm", "alarm list", "alarm disarm", "put a 1", "get a"] {
        p.etcdctl(line).await?;
    }
    for line in ["downgrade validate 3.6", "downgrade validate 3.5", "downgrade cancel"] {
        p.etcdctl(line).await?;
    }
    p.etcdctl("endpoint health").await
}

async fn corrupt(p: &mut Player) -> anyhow::Result<()> {
    p.put("a", 1).await;
    p.grant(7).await;
    p.alarm(Activate, p.member, CORRUPT).await;
    p.put("a", 1).await;
    p.get("a").await;
    p.txn(vec![]).await;
    p.txn(vec![ask::op_range(ask::get("a"))]).await;
    p.txn(vec![ask::op_put("a", "1")]).await;
    p.delete(ask::delete_range("a", "")).await;
    p.compact_all().await;
    p.grant(8).await;
    p.revoke(7).await;
    p.status().await;
    health(p).await?;
    p.alarm(Activate, p.member, NOSPACE).await;
    p.put("a", 1).await;
    p.status().await;
    p.http("GET", "/health?exclude=CORRUPT").await?;
    p.alarm(Deactivate, p.member, CORRUPT).await;
    p.put("a", 1).await;
    p.delete(ask::delete_range("a", "")).await;
    Ok(())
}

async fn by_hand(p: &mut Player) -> anyhow::Result<()> {
    for (action, member, kind) in [
        (Get, 0, NONE),
        (Activate, 77, NONE),
        (Activate, 77, NOSPACE),
        (Activate, 77, NOSPACE),
        (Activate, 11, NOSPACE),
        (Activate, 0, CORRUPT),
        (Get, 0, NONE),
        (Get, 0, NOSPACE),
        (Get, 77, CORRUPT),
        (Deactivate, 99, NOSPACE),
        (Deactivate, 77, NONE),
        (Deactivate, 77, NOSPACE),
        (Deactivate, 77, NOSPACE),
        (Get, 0, NONE),
    ] {
        p.alarm(action, member, kind).await;
    }
    p.status().await;
    Ok(())
}

async fn downgrade(p: &mut Player) -> anyhow::Result<()> {
    p.await_version("3.7.0").await?;
    for version in
        ["abc", "", "3", "3.6", "3.6.0", "3.6.5", "3.7.0", "3.5.0", "3.8.0", "v3.6.0", "3.6.0.0"]
    {
        p.downgrade(Validate, version).await;
    }
    p.downgrade(Cancel, "").await;
    p.downgrade(Enable, "3.5.0").await;
    p.downgrade(Enable, "3.6").await;
    p.downgrade(Enable, "3.6.0").await;
    p.await_version("3.6.0").await?;
    p.downgrade(Validate, "3.6.0").await;
    p.downgrade(Validate, "3.5.0").await;
    p.put("a", 1).await;
    p.downgrade(Cancel, "").await;
    p.await_version("3.7.0").await?;
    p.status().await;
    p.downgrade(Cancel, "").await;
    Ok(())
}

async fn endpoints(p: &mut Player) -> anyhow::Result<()> {
    health(p).await?;
    for path in [
        "/health",
        "/livez",
        "/livez?verbose",
        "/livez/serializable_read?verbose",
        "/livez/linearizable_read",
        "/readyz",
        "/readyz/",
        "/readyz/linearizable_read?verbose",
        "/readyz/non_learner?verbose",
        "/version",
        "/nothing",
        "/",
    ] {
        for method in ["GET", "POST", "HEAD", "PUT"] {
            p.http(method, path).await?;
        }
    }
    Ok(())
}

/// What etcd's Grafana dashboard and the alerts of kube-prometheus read of a cluster of one, and
/// what `etcdctl check datascale` reads. (grpc_server_handling_seconds takes etcd's `--metrics
/// extensive`; etcd_network_peer_* takes a second member.)
const READ_BY_DASHBOARDS: &[&str] = &[
    "etcd_cluster_version",
    "etcd_debugging_mvcc_compact_revision",
    "etcd_debugging_mvcc_current_revision",
    "etcd_debugging_mvcc_events_total",
    "etcd_debugging_mvcc_keys_total",
    "etcd_debugging_mvcc_watch_stream_total",
    "etcd_debugging_mvcc_watcher_total",
    "etcd_debugging_server_lease_expired_total",
    "etcd_debugging_lease_granted_total",
    "etcd_debugging_lease_revoked_total",
    "etcd_disk_backend_commit_duration_seconds",
    "etcd_disk_wal_fsync_duration_seconds",
    "etcd_mvcc_db_total_size_in_bytes",
    "etcd_mvcc_db_total_size_in_use_in_bytes",
    "etcd_mvcc_delete_total",
    "etcd_mvcc_put_total",
    "etcd_mvcc_range_total",
    "etcd_mvcc_txn_total",
    "etcd_network_client_grpc_received_bytes_total",
    "etcd_network_client_grpc_sent_bytes_total",
    "etcd_server_has_leader",
    "etcd_server_heartbeat_send_failures_total",
    "etcd_server_id",
    "etcd_server_is_leader",
    "etcd_server_is_learner",
    "etcd_server_leader_changes_seen_total",
    "etcd_server_proposals_applied_total",
    "etcd_server_proposals_committed_total",
    "etcd_server_proposals_failed_total",
    "etcd_server_proposals_pending",
    "etcd_server_quota_backend_bytes",
    "etcd_server_read_indexes_failed_total",
    "etcd_server_slow_apply_total",
    "etcd_server_slow_read_indexes_total",
    "etcd_server_snapshot_apply_in_progress_total",
    "etcd_server_version",
    "grpc_server_handled_total",
    "grpc_server_started_total",
    "os_fd_limit",
    "os_fd_used",
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_virtual_memory_bytes",
];

async fn metrics(p: &mut Player) -> anyhow::Result<()> {
    p.await_version("3.7.0").await?;
    p.put("a", 1).await;
    p.put("", 1).await;
    p.revoke(99).await;
    p.alarm(Activate, 11, NOSPACE).await;
    let series = [
        "etcd_cluster_version{cluster_version=\"3.7\"} ",
        "etcd_debugging_server_alarms{alarm_type=\"NOSPACE\",server_id=\"b\"} ",
        "etcd_server_has_leader ",
        "etcd_server_is_leader ",
        "etcd_server_quota_backend_bytes ",
        "etcd_mvcc_put_total ",
        "grpc_server_started_total{grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",\
         grpc_type=\"unary\"} ",
        "grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"Put\",\
         grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} ",
        "grpc_server_handled_total{grpc_code=\"InvalidArgument\",grpc_method=\"Put\",\
         grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} ",
        "grpc_server_handled_total{grpc_code=\"NotFound\",grpc_method=\"LeaseRevoke\",\
         grpc_service=\"etcdserverpb.Lease\",grpc_type=\"unary\"} ",
        "grpc_server_handled_total{grpc_code=\"Aborted\",grpc_method=\"Watch\",\
         grpc_service=\"etcdserverpb.Watch\",grpc_type=\"bidi_stream\"} ",
    ];
    p.metrics(READ_BY_DASHBOARDS, &series).await
}

/// Paths and bodies; `YQ==` is a, `Yg==` is b, `bg==` is n. Two answers differ in their headers and
/// are left out: etcd's to Defragment has none, and that to a watch of compacted revisions has no
/// revision, where every header here has all of it.
const JSON_CALLS: &[(&str, &str)] = &[
    ("/v3/kv/put", r#"{"key":"YQ==","value":"MQ=="}"#),
    ("/v3/kv/put", r#"{"key":"YQ==","value":"Mg==","prev_kv":true}"#),
    ("/v3/kv/put", r#"{"key":"YQ==","value":"Mw==","prevKv":true}"#),
    ("/v3beta/kv/range", r#"{"key":"YQ=="}"#),
    ("/v3/kv/range", r#"{"key":"AA==","range_end":"AA==","limit":"5","sort_order":"DESCEND"}"#),
    ("/v3/kv/range", r#"{"key":"YQ==","unheard_of":1}"#),
    ("/v3/kv/range", ""),
    ("/v3/kv/range", "{}"),
    ("/v3/kv/range", r#"{"key":"YQ==","revision":99}"#),
    (
        "/v3/kv/txn",
        r#"{"compare":[{"key":"YQ==","result":"EQUAL","target":"CREATE","create_revision":"2"}],
            "success":[{"request_range":{"key":"YQ=="}},{"requestPut":{"key":"Yg==","value":""}}],
            "failure":[{"request_delete_range":{"key":"YQ=="}}]}"#,
    ),
    ("/v3/kv/txn", "{}"),
    (
        "/v3/watch",
        r#"{"create_request":{"key":"AA==","range_end":"AA==","start_revision":2,"prev_kv":true}}"#,
    ),
    ("/v3/watch", r#"{"create_request":{"key":"Yg==","range_end":"YQ=="}}"#),
    ("/v3/kv/deleterange", r#"{"key":"Yg==","prev_kv":true}"#),
    ("/v3/kv/compaction", r#"{"revision":"3"}"#),
    ("/v3/kv/compaction", r#"{"revision":"3"}"#),
    ("/v3/lease/grant", r#"{"TTL":"600","ID":"7"}"#),
    ("/v3/lease/grant", r#"{"TTL":"600","ID":"7"}"#),
    ("/v3/kv/put", r#"{"key":"bg==","value":"MQ==","lease":7}"#),
    ("/v3/lease/keepalive", r#"{"ID":"7"}"#),
    ("/v3/lease/keepalive", r#"{"ID":"8"}{"ID":"9"}"#),
    ("/v3/kv/lease/timetolive", r#"{"ID":"8","keys":true}"#),
    ("/v3/lease/leases", "{}"),
    ("/v3/lease/revoke", r#"{"ID":"7"}"#),
    ("/v3/kv/lease/revoke", r#"{"ID":"7"}"#),
    ("/v3/cluster/member/list", "{}"),
    ("/v3/cluster/member/remove", r#"{"ID":"5"}"#),
    ("/v3/maintenance/alarm", r#"{"action":"ACTIVATE","memberID":"5","alarm":"NOSPACE"}"#),
    ("/v3/kv/put", r#"{"key":"YQ=="}"#),
    ("/v3/maintenance/status", "{}"),
    ("/v3/maintenance/alarm", r#"{"action":2,"memberID":5,"alarm":1}"#),
    ("/v3/maintenance/hash", "{}"),
    ("/v3/maintenance/hashkv", r#"{"revision":"4"}"#),
    ("/v3/maintenance/downgrade", r#"{"action":"VALIDATE","version":"3.5"}"#),
    ("/v3/auth/status", "{}"),
    ("/v3/auth/authenticate", r#"{"name":"root","password":"x"}"#),
    ("/v3/auth/enable", "{}"),
    ("/v3/auth/user/list", "{}"),
    ("/v3/lease/grant", r#"{"TTL":"600","ID":"9"}"#),
    ("/v3/lock/lock", r#"{"name":"bg==","lease":"9"}"#),
    ("/v3/lock/unlock", r#"{"key":"bi85"}"#),
    ("/v3/election/leader", r#"{"name":"bg=="}"#),
    ("/v3/election/campaign", r#"{"name":"bg==","lease":"9","value":"MQ=="}"#),
    ("/v3/election/leader", r#"{"name":"bg=="}"#),
    ("/v3/election/observe", r#"{"name":"bg=="}"#),
    ("/v3/election/resign", r#"{"leader":{"name":"bg==","key":"bi85","lease":"9","rev":"99"}}"#),
    ("/v3/nothing", "{}"),
];

async fn gateway(p: &mut Player) -> anyhow::Result<()> {
    p.await_version("3.7.0").await?;
    for (path, body) in JSON_CALLS {
        p.json(path, body).await?;
    }
    for (method, path) in [("GET", "/v3/kv/range"), ("PUT", "/v3/kv/range"), ("GET", "/v3/nothing")]
    {
        p.http(method, path).await?;
    }
    Ok(())
}
