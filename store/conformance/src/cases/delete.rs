//! Deleting keys.

use skein_store_api::pb::etcdserverpb::DeleteRangeRequest;

use super::{Case, cases};
use crate::ask;
use crate::check::{Verdict, holds, refused, same};
use crate::context::Context;

pub(super) const CASES: &[Case] = cases!(Everywhere, "delete":
    one_key,
    missing_key_takes_no_revision,
    deleted_twice_takes_one_revision,
    range_is_one_revision,
    end_is_exclusive,
    from_key,
    everything,
    end_before_key_deletes_nothing,
    prev_kvs_are_what_was_deleted,
    prev_kvs_of_nothing,
    prev_kvs_are_absent_unless_asked,
    empty_key_is_refused,
    leased_key_leaves_its_lease,
);

const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];

async fn one_key(cx: Context) -> Verdict {
    let before = cx.fill(&KEYS).await?;
    let answer = cx.store.delete_range(ask::delete("c")).await?;
    same!(answer.deleted, 1);
    same!(answer.header.revision, before + 1);
    same!(cx.everything().await?.keys(), ["a", "b", "d", "e"]);
    Ok(())
}

async fn missing_key_takes_no_revision(cx: Context) -> Verdict {
    let before = cx.fill(&KEYS).await?;
    let answer = cx.store.delete_range(ask::delete("x")).await?;
    same!(answer.deleted, 0);
    same!(answer.header.revision, before);
    same!(cx.revision().await?, before);
    Ok(())
}

async fn deleted_twice_takes_one_revision(cx: Context) -> Verdict {
    let before = cx.fill(&KEYS).await?;
    same!(cx.store.delete_range(ask::delete("a")).await?.deleted, 1);
    let again = cx.store.delete_range(ask::delete("a")).await?;
    same!(again.deleted, 0);
    same!(again.header.revision, before + 1);
    Ok(())
}

async fn range_is_one_revision(cx: Context) -> Verdict {
    let before = cx.fill(&KEYS).await?;
    let answer = cx.store.delete_range(ask::delete_range("a", "e")).await?;
    same!(answer.deleted, 4);
    same!(answer.header.revision, before + 1);
    Ok(())
}

async fn end_is_exclusive(cx: Context) -> Verdict {
    cx.fill(&KEYS).await?;
    same!(cx.store.delete_range(ask::delete_range("b", "d")).await?.deleted, 2);
    same!(cx.everything().await?.keys(), ["a", "d", "e"]);
    Ok(())
}

async fn from_key(cx: Context) -> Verdict {
    cx.fill(&KEYS).await?;
    same!(cx.store.delete_range(ask::delete_range("c", ask::FROM_KEY)).await?.deleted, 3);
    same!(cx.everything().await?.keys(), ["a", "b"]);
    Ok(())
}

async fn everything(cx: Context) -> Verdict {
    cx.fill(&KEYS).await?;
    let all = ask::delete_range(ask::FROM_KEY, ask::FROM_KEY);
    same!(cx.store.delete_range(all).await?.deleted, 5);
    same!(cx.everything().await?.count, 0);
    Ok(())
}

async fn end_before_key_deletes_nothing(cx: Context) -> Verdict {
    let before = cx.fill(&KEYS).await?;
    let answer = cx.store.delete_range(ask::delete_range("d", "b")).await?;
    same!(answer.deleted, 0);
    same!(answer.header.revision, before);
    Ok(())
}

async fn prev_kvs_are_what_was_deleted(cx: Context) -> Verdict {
    cx.fill(&KEYS).await?;
    let before = cx.store.range(ask::range("b", "e")).await?.kvs;
    let request = DeleteRangeRequest { prev_kv: true, ..ask::delete_range("b", "e") };
    let answer = cx.store.delete_range(request).await?;
    same!(answer.deleted, 3);
    same!(answer.prev_kvs, before);
    Ok(())
}

async fn prev_kvs_of_nothing(cx: Context) -> Verdict {
    let request = DeleteRangeRequest { prev_kv: true, ..ask::delete("x") };
    same!(cx.store.delete_range(request).await?.prev_kvs, []);
    Ok(())
}

async fn prev_kvs_are_absent_unless_asked(cx: Context) -> Verdict {
    cx.fill(&KEYS).await?;
    same!(cx.store.delete_range(ask::delete("a")).await?.prev_kvs, []);
    Ok(())
}

async fn empty_key_is_refused(cx: Context) -> Verdict {
    let answer = cx.store.delete_range(ask::delete("")).await;
    refused!(answer, InvalidArgument, "etcdserver: key is not provided");
    Ok(())
}

async fn leased_key_leaves_its_lease(cx: Context) -> Verdict {
    cx.store.lease_grant(ask::grant(86, 100)).await?;
    cx.put_leased("a", 86).await?;
    cx.store.delete_range(ask::delete("a")).await?;
    holds!(cx.store.lease_time_to_live(86, true).await?.keys.is_empty());
    cx.put("a", "plain").await?;
    cx.store.lease_revoke(86).await?;
    same!(cx.kv("a").await?.value, "plain");
    Ok(())
}
