//! Leases and the keys attached to them.

use super::{Case, cases};
use crate::ask;
use crate::check::{Verdict, holds, same};
use crate::context::Context;
use crate::endpoint::TimeToLive;

pub(super) const CASES: &[Case] = cases!(Everywhere, "lease_keys":
    attached_keys_are_listed,
    keys_are_listed_only_when_asked,
    revoke_deletes_all_in_one_revision,
    revoke_leaves_other_keys,
    key_moves_to_the_lease_of_its_last_put,
    put_again_under_the_same_lease,
    deleted_key_is_detached,
    range_delete_detaches,
    txn_attaches,
    moving_inside_one_txn,
    revoke_is_a_deletion_in_history,
    created_again_after_a_revoke,
    two_leases_do_not_share_keys,
);

fn keys(answer: &TimeToLive) -> Vec<String> {
    let mut keys: Vec<String> =
        answer.keys.iter().map(|key| String::from_utf8_lossy(&key.0).into_owned()).collect();
    keys.sort();
    keys
}

async fn attached(cx: &Context, id: i64) -> Verdict<Vec<String>> {
    Ok(keys(&cx.store.lease_time_to_live(id, true).await?))
}

async fn grant(cx: &Context, ids: &[i64]) -> Verdict {
    for id in ids {
        cx.store.lease_grant(ask::grant(*id, 600)).await?;
    }
    Ok(())
}

async fn attached_keys_are_listed(cx: Context) -> Verdict {
    grant(&cx, &[1]).await?;
    for key in ["b", "a", "c"] {
        cx.put_leased(key, 1).await?;
    }
    same!(attached(&cx, 1).await?, ["a", "b", "c"]);
    Ok(())
}

async fn keys_are_listed_only_when_asked(cx: Context) -> Verdict {
    grant(&cx, &[1]).await?;
    cx.put_leased("a", 1).await?;
    holds!(cx.store.lease_time_to_live(1, false).await?.keys.is_empty());
    Ok(())
}

async fn revoke_deletes_all_in_one_revision(cx: Context) -> Verdict {
    grant(&cx, &[1]).await?;
    for key in ["b", "a", "c"] {
        cx.put_leased(key, 1).await?;
    }
    let before = cx.revision().await?;
    cx.store.lease_revoke(1).await?;
    same!(cx.revision().await?, before + 1);
    same!(cx.everything().await?.count, 0);
    Ok(())
}

async fn revoke_leaves_other_keys(cx: Context) -> Verdict {
    grant(&cx, &[1]).await?;
    cx.put_leased("a", 1).await?;
    cx.fill(&["b"]).await?;
    cx.store.lease_revoke(1).await?;
    same!(cx.everything().await?.keys(), ["b"]);
    Ok(())
}

async fn key_moves_to_the_lease_of_its_last_put(cx: Context) -> Verdict {
    grant(&cx, &[1, 2]).await?;
    cx.put_leased("a", 1).await?;
    cx.put_leased("a", 2).await?;
    holds!(attached(&cx, 1).await?.is_empty());
    same!(attached(&cx, 2).await?, ["a"]);
    cx.store.lease_revoke(1).await?;
    same!(cx.kv("a").await?.lease, 2);
    cx.store.lease_revoke(2).await?;
    same!(cx.get("a").await?, None);
    Ok(())
}

async fn put_again_under_the_same_lease(cx: Context) -> Verdict {
    grant(&cx, &[1]).await?;
    cx.put_leased("a", 1).await?;
    cx.put_leased("a", 1).await?;
    same!(attached(&cx, 1).await?, ["a"]);
    same!(cx.kv("a").await?.version, 2);
    cx.store.lease_revoke(1).await?;
    same!(cx.get("a").await?, None);
    Ok(())
}

async fn deleted_key_is_detached(cx: Context) -> Verdict {
    grant(&cx, &[1]).await?;
    cx.put_leased("a", 1).await?;
    cx.put_leased("b", 1).await?;
    cx.store.delete_range(ask::delete("a")).await?;
    same!(attached(&cx, 1).await?, ["b"]);
    Ok(())
}

async fn range_delete_detaches(cx: Context) -> Verdict {
    grant(&cx, &[1, 2]).await?;
    cx.put_leased("a", 1).await?;
    cx.put_leased("b", 2).await?;
    cx.put_leased("c", 1).await?;
    cx.store.delete_range(ask::delete_range("a", "c")).await?;
    same!(attached(&cx, 1).await?, ["c"]);
    holds!(attached(&cx, 2).await?.is_empty());
    Ok(())
}

fn leased(key: &str, lease: i64) -> skein_store_api::pb::etcdserverpb::RequestOp {
    let put = skein_store_api::pb::etcdserverpb::PutRequest { lease, ..ask::put(key, "1") };
    ask::op_put_with(put)
}

async fn txn_attaches(cx: Context) -> Verdict {
    grant(&cx, &[1, 2]).await?;
    cx.store.txn(ask::always(vec![leased("a", 1), leased("b", 2), leased("c", 1)])).await?;
    same!(attached(&cx, 1).await?, ["a", "c"]);
    same!(attached(&cx, 2).await?, ["b"]);
    Ok(())
}

async fn moving_inside_one_txn(cx: Context) -> Verdict {
    grant(&cx, &[1, 2]).await?;
    cx.put_leased("a", 1).await?;
    cx.put_leased("b", 1).await?;
    let ops = vec![leased("a", 2), ask::op_delete(ask::delete("b"))];
    cx.store.txn(ask::always(ops)).await?;
    holds!(attached(&cx, 1).await?.is_empty());
    same!(attached(&cx, 2).await?, ["a"]);
    Ok(())
}

async fn revoke_is_a_deletion_in_history(cx: Context) -> Verdict {
    grant(&cx, &[1]).await?;
    let revision = cx.put_leased("a", 1).await?;
    cx.store.lease_revoke(1).await?;
    let request = skein_store_api::pb::etcdserverpb::RangeRequest { revision, ..ask::get("a") };
    same!(cx.store.range(request).await?.keys(), ["a"]);
    Ok(())
}

async fn created_again_after_a_revoke(cx: Context) -> Verdict {
    grant(&cx, &[1]).await?;
    cx.put_leased("a", 1).await?;
    cx.store.lease_revoke(1).await?;
    cx.put("a", "again").await?;
    let kv = cx.kv("a").await?;
    same!((kv.version, kv.lease), (1, 0));
    Ok(())
}

async fn two_leases_do_not_share_keys(cx: Context) -> Verdict {
    grant(&cx, &[1, 2]).await?;
    for (key, lease) in [("a", 1), ("b", 2), ("c", 1), ("d", 2)] {
        cx.put_leased(key, lease).await?;
    }
    cx.store.lease_revoke(1).await?;
    same!(cx.everything().await?.keys(), ["b", "d"]);
    Ok(())
}
