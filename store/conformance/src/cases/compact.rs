//! Compaction: what it drops, what it keeps, what it refuses.

use skein_store_api::pb::etcdserverpb::{CompactionRequest, RangeRequest};

use super::{Case, cases};
use crate::ask;
use crate::check::{Verdict, refused, same};
use crate::context::Context;

pub(super) const CASES: &[Case] = cases!(Everywhere, "compact":
    keeps_the_newest_version_of_each_key,
    keeps_every_later_revision,
    takes_no_revision,
    at_the_current_revision,
    of_the_future_is_refused,
    twice_at_one_revision_is_refused,
    below_the_compacted_revision_is_refused,
    of_zero_after_a_compaction_is_refused,
    negative_after_a_compaction_is_refused,
    drops_deleted_keys_and_keeps_versions,
    delete_at_the_compacted_revision,
    lists_at_the_compacted_revision_with_later_changes,
    without_physical,
    again_and_again,
);

const FUTURE: &str = "etcdserver: mvcc: required revision is a future revision";
const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";

fn at(revision: i64) -> RangeRequest {
    RangeRequest { revision, ..ask::everything() }
}

async fn keeps_the_newest_version_of_each_key(cx: Context) -> Verdict {
    cx.fill(&["a", "b"]).await?;
    cx.put("a", "newest").await?;
    let now = cx.put("c", "1").await?;
    let before = cx.everything().await?.kvs;
    cx.store.compact(ask::compact(now)).await?;
    same!(cx.everything().await?.kvs, before);
    Ok(())
}

async fn keeps_every_later_revision(cx: Context) -> Verdict {
    let first = cx.put("a", "1").await?;
    cx.put("a", "2").await?;
    cx.put("a", "3").await?;
    cx.store.compact(ask::compact(first + 1)).await?;
    same!(cx.store.range(at(first + 1)).await?.kvs[0].value, "2");
    same!(cx.store.range(at(first + 2)).await?.kvs[0].value, "3");
    refused!(cx.store.range(at(first)).await, OutOfRange, COMPACTED);
    Ok(())
}

async fn takes_no_revision(cx: Context) -> Verdict {
    let now = cx.fill(&["a", "b"]).await?;
    same!(cx.store.compact(ask::compact(now - 1)).await?.revision, now);
    same!(cx.revision().await?, now);
    Ok(())
}

async fn at_the_current_revision(cx: Context) -> Verdict {
    let now = cx.fill(&["a", "b"]).await?;
    cx.store.compact(ask::compact(now)).await?;
    same!(cx.store.range(at(now)).await?.keys(), ["a", "b"]);
    Ok(())
}

async fn of_the_future_is_refused(cx: Context) -> Verdict {
    let now = cx.fill(&["a"]).await?;
    refused!(cx.store.compact(ask::compact(now + 1)).await, OutOfRange, FUTURE);
    refused!(cx.store.compact(ask::compact(i64::MAX)).await, OutOfRange, FUTURE);
    Ok(())
}

async fn twice_at_one_revision_is_refused(cx: Context) -> Verdict {
    let now = cx.fill(&["a"]).await?;
    cx.store.compact(ask::compact(now)).await?;
    refused!(cx.store.compact(ask::compact(now)).await, OutOfRange, COMPACTED);
    Ok(())
}

async fn below_the_compacted_revision_is_refused(cx: Context) -> Verdict {
    let now = cx.fill(&["a", "b"]).await?;
    cx.store.compact(ask::compact(now)).await?;
    refused!(cx.store.compact(ask::compact(now - 1)).await, OutOfRange, COMPACTED);
    Ok(())
}

async fn of_zero_after_a_compaction_is_refused(cx: Context) -> Verdict {
    let now = cx.fill(&["a"]).await?;
    cx.store.compact(ask::compact(now)).await?;
    refused!(cx.store.compact(ask::compact(0)).await, OutOfRange, COMPACTED);
    Ok(())
}

async fn negative_after_a_compaction_is_refused(cx: Context) -> Verdict {
    let now = cx.fill(&["a"]).await?;
    cx.store.compact(ask::compact(now)).await?;
    refused!(cx.store.compact(ask::compact(-1)).await, OutOfRange, COMPACTED);
    Ok(())
}

async fn drops_deleted_keys_and_keeps_versions(cx: Context) -> Verdict {
    cx.fill(&["a", "a", "b"]).await?;
    cx.store.delete_range(ask::delete("b")).await?;
    let now = cx.revision().await?;
    cx.store.compact(ask::compact(now)).await?;
    same!(cx.store.range(at(now)).await?.keys(), ["a"]);
    same!(cx.kv("a").await?.version, 2);
    cx.put("b", "again").await?;
    same!(cx.kv("b").await?.version, 1);
    cx.put("a", "again").await?;
    same!(cx.kv("a").await?.version, 3);
    Ok(())
}

async fn delete_at_the_compacted_revision(cx: Context) -> Verdict {
    cx.fill(&["a", "b"]).await?;
    let deleted = cx.store.delete_range(ask::delete("a")).await?.header.revision;
    let after = cx.put("a", "back").await?;
    cx.store.compact(ask::compact(deleted)).await?;
    same!(cx.store.range(at(deleted)).await?.keys(), ["b"]);
    same!(cx.store.range(at(after)).await?.keys(), ["a", "b"]);
    Ok(())
}

async fn lists_at_the_compacted_revision_with_later_changes(cx: Context) -> Verdict {
    let then = cx.fill(&["a", "b", "c"]).await?;
    cx.store.delete_range(ask::delete("b")).await?;
    cx.fill(&["a", "d"]).await?;
    let before = cx.store.range(at(then)).await?.kvs;
    cx.store.compact(ask::compact(then)).await?;
    same!(cx.store.range(at(then)).await?.kvs, before);
    Ok(())
}

async fn without_physical(cx: Context) -> Verdict {
    let now = cx.fill(&["a", "a", "a"]).await?;
    cx.store.compact(CompactionRequest { revision: now, physical: false }).await?;
    refused!(cx.store.range(at(now - 1)).await, OutOfRange, COMPACTED);
    same!(cx.kv("a").await?.version, 3);
    Ok(())
}

async fn again_and_again(cx: Context) -> Verdict {
    for round in 1..=10 {
        let now = cx.fill(&["a", "b"]).await?;
        cx.store.compact(ask::compact(now)).await?;
        same!(cx.kv("a").await?.version, round);
    }
    same!(cx.everything().await?.keys(), ["a", "b"]);
    Ok(())
}
