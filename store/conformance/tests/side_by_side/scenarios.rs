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
    Scenario { name: "a corrupt cluster", flags: &[], play: |p| Box::pin(corrupt(p)) },
    Scenario { name: "alarms by hand", flags: &[], play: |p| Box::pin(by_hand(p)) },
    Scenario { name: "a downgrade", flags: &[], play: |p| Box::pin(downgrade(p)) },
    Scenario { name: "http endpoints", flags: &[], play: |p| Box::pin(endpoints(p)) },
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
