//! Writing one key.

use skein_store_api::pb::etcdserverpb::PutRequest;

use super::{Case, cases};
use crate::ask;
use crate::check::{Verdict, holds, refused, same};
use crate::context::Context;

pub(super) const CASES: &[Case] = cases!(Everywhere, "put":
    each_put_is_a_revision,
    same_value_is_a_new_revision,
    version_counts_from_one_again_after_a_delete,
    empty_value_is_a_value,
    prev_kv_of_a_new_key_is_absent,
    prev_kv_is_the_value_before,
    prev_kv_is_absent_unless_asked,
    prev_kv_of_a_deleted_key_is_absent,
    empty_key_is_refused,
    ignore_value_keeps_the_value,
    ignore_value_with_a_value_is_refused,
    ignore_value_of_a_missing_key_is_refused,
    ignore_lease_keeps_the_lease,
    ignore_lease_with_a_lease_is_refused,
    ignore_lease_of_a_missing_key_is_refused,
    ignore_both_is_a_new_revision,
    ignore_value_with_prev_kv,
    unknown_lease_is_refused,
    lease_shows_on_the_key,
    put_without_a_lease_detaches,
    refused_put_takes_no_revision,
    value_with_every_byte,
);

const KEY_NOT_FOUND: &str = "etcdserver: key not found";

fn without_value(key: &str) -> PutRequest {
    PutRequest { ignore_value: true, ..ask::put(key, "") }
}

async fn each_put_is_a_revision(cx: Context) -> Verdict {
    let first = cx.put("a", "1").await?;
    same!(cx.put("b", "1").await?, first + 1);
    same!(cx.put("a", "2").await?, first + 2);
    let kv = cx.kv("a").await?;
    same!((kv.create_revision, kv.mod_revision, kv.version), (first, first + 2, 2));
    Ok(())
}

async fn same_value_is_a_new_revision(cx: Context) -> Verdict {
    let first = cx.put("a", "1").await?;
    same!(cx.put("a", "1").await?, first + 1);
    same!(cx.kv("a").await?.version, 2);
    Ok(())
}

async fn version_counts_from_one_again_after_a_delete(cx: Context) -> Verdict {
    cx.fill(&["a", "a"]).await?;
    cx.store.delete_range(ask::delete("a")).await?;
    let again = cx.put("a", "1").await?;
    let kv = cx.kv("a").await?;
    same!((kv.create_revision, kv.mod_revision, kv.version), (again, again, 1));
    Ok(())
}

async fn empty_value_is_a_value(cx: Context) -> Verdict {
    cx.put("a", "").await?;
    let kv = cx.kv("a").await?;
    same!(kv.value, "");
    same!(kv.version, 1);
    Ok(())
}

async fn prev_kv_of_a_new_key_is_absent(cx: Context) -> Verdict {
    let answer = cx.store.put(PutRequest { prev_kv: true, ..ask::put("a", "1") }).await?;
    same!(answer.prev_kv, None);
    Ok(())
}

async fn prev_kv_is_the_value_before(cx: Context) -> Verdict {
    cx.put("a", "1").await?;
    let before = cx.get("a").await?;
    let answer = cx.store.put(PutRequest { prev_kv: true, ..ask::put("a", "2") }).await?;
    same!(answer.prev_kv, before);
    Ok(())
}

async fn prev_kv_is_absent_unless_asked(cx: Context) -> Verdict {
    cx.put("a", "1").await?;
    same!(cx.store.put(ask::put("a", "2")).await?.prev_kv, None);
    Ok(())
}

async fn prev_kv_of_a_deleted_key_is_absent(cx: Context) -> Verdict {
    cx.put("a", "1").await?;
    cx.store.delete_range(ask::delete("a")).await?;
    let answer = cx.store.put(PutRequest { prev_kv: true, ..ask::put("a", "2") }).await?;
    same!(answer.prev_kv, None);
    Ok(())
}

async fn empty_key_is_refused(cx: Context) -> Verdict {
    let answer = cx.store.put(ask::put("", "v")).await;
    refused!(answer, InvalidArgument, "etcdserver: key is not provided");
    Ok(())
}

async fn ignore_value_keeps_the_value(cx: Context) -> Verdict {
    cx.put("a", "kept").await?;
    cx.store.lease_grant(ask::grant(81, 100)).await?;
    cx.store.put(PutRequest { lease: 81, ..without_value("a") }).await?;
    let kv = cx.kv("a").await?;
    same!(kv.value, "kept");
    same!((kv.lease, kv.version), (81, 2));
    Ok(())
}

async fn ignore_value_with_a_value_is_refused(cx: Context) -> Verdict {
    cx.put("a", "1").await?;
    let answer = cx.store.put(PutRequest { ignore_value: true, ..ask::put("a", "2") }).await;
    refused!(answer, InvalidArgument, "etcdserver: value is provided");
    Ok(())
}

async fn ignore_value_of_a_missing_key_is_refused(cx: Context) -> Verdict {
    refused!(cx.store.put(without_value("a")).await, InvalidArgument, KEY_NOT_FOUND);
    Ok(())
}

async fn ignore_lease_keeps_the_lease(cx: Context) -> Verdict {
    cx.store.lease_grant(ask::grant(82, 100)).await?;
    cx.put_leased("a", 82).await?;
    cx.store.put(PutRequest { ignore_lease: true, ..ask::put("a", "2") }).await?;
    let kv = cx.kv("a").await?;
    same!(kv.value, "2");
    same!(kv.lease, 82);
    Ok(())
}

async fn ignore_lease_with_a_lease_is_refused(cx: Context) -> Verdict {
    cx.put("a", "1").await?;
    let request = PutRequest { ignore_lease: true, lease: 83, ..ask::put("a", "2") };
    refused!(cx.store.put(request).await, InvalidArgument, "etcdserver: lease is provided");
    Ok(())
}

async fn ignore_lease_of_a_missing_key_is_refused(cx: Context) -> Verdict {
    let request = PutRequest { ignore_lease: true, ..ask::put("a", "2") };
    refused!(cx.store.put(request).await, InvalidArgument, KEY_NOT_FOUND);
    Ok(())
}

async fn ignore_both_is_a_new_revision(cx: Context) -> Verdict {
    let first = cx.put("a", "1").await?;
    let answer = cx.store.put(PutRequest { ignore_lease: true, ..without_value("a") }).await?;
    same!(answer.header.revision, first + 1);
    same!(cx.kv("a").await?.value, "1");
    same!(cx.kv("a").await?.version, 2);
    Ok(())
}

async fn ignore_value_with_prev_kv(cx: Context) -> Verdict {
    cx.put("a", "1").await?;
    let before = cx.get("a").await?;
    let answer = cx.store.put(PutRequest { prev_kv: true, ..without_value("a") }).await?;
    same!(answer.prev_kv, before);
    Ok(())
}

async fn unknown_lease_is_refused(cx: Context) -> Verdict {
    let answer = cx.store.put(PutRequest { lease: 999, ..ask::put("a", "1") }).await;
    refused!(answer, NotFound, "etcdserver: requested lease not found");
    same!(cx.get("a").await?, None);
    Ok(())
}

async fn lease_shows_on_the_key(cx: Context) -> Verdict {
    cx.store.lease_grant(ask::grant(84, 100)).await?;
    cx.put_leased("a", 84).await?;
    same!(cx.kv("a").await?.lease, 84);
    Ok(())
}

async fn put_without_a_lease_detaches(cx: Context) -> Verdict {
    cx.store.lease_grant(ask::grant(85, 100)).await?;
    cx.put_leased("a", 85).await?;
    cx.put("a", "plain").await?;
    same!(cx.kv("a").await?.lease, 0);
    cx.store.lease_revoke(85).await?;
    same!(cx.kv("a").await?.value, "plain");
    Ok(())
}

async fn refused_put_takes_no_revision(cx: Context) -> Verdict {
    let before = cx.put("a", "1").await?;
    holds!(cx.store.put(PutRequest { lease: 998, ..ask::put("a", "2") }).await.is_err());
    holds!(cx.store.put(without_value("missing")).await.is_err());
    same!(cx.revision().await?, before);
    same!(cx.kv("a").await?.value, "1");
    Ok(())
}

async fn value_with_every_byte(cx: Context) -> Verdict {
    let value: Vec<u8> = (0..=255).collect();
    let request = PutRequest { value: value.clone().into(), ..ask::put("a", "") };
    cx.store.put(request).await?;
    holds!(cx.kv("a").await?.value.0 == value);
    Ok(())
}
