//! Reading the past and the future.

use skein_store_api::pb::etcdserverpb::RangeRequest;

use super::{Case, cases};
use crate::ask;
use crate::check::{Verdict, refused, same};
use crate::context::Context;

pub(super) const CASES: &[Case] = cases!(Everywhere, "range_revision":
    old_revision_shows_the_old_value,
    old_revision_shows_a_deleted_key,
    old_revision_hides_later_keys,
    old_revision_counts_what_was_there,
    old_revision_with_a_limit,
    old_revision_keys_only,
    header_keeps_the_current_revision,
    current_revision_by_number,
    future_revision_is_refused,
    future_revision_of_a_count_is_refused,
    negative_revision_reads_the_present,
    compacted_revision_is_refused,
    compacted_revision_itself_can_be_read,
    one_revision_of_a_txn_is_seen_whole,
);

const FUTURE: &str = "etcdserver: mvcc: required revision is a future revision";
const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";

fn at(revision: i64) -> RangeRequest {
    RangeRequest { revision, ..ask::everything() }
}

async fn old_revision_shows_the_old_value(cx: Context) -> Verdict {
    let old = cx.put("a", "old").await?;
    cx.put("a", "new").await?;
    let answer = cx.store.range(at(old)).await?;
    same!(answer.kvs[0].value, "old");
    same!(answer.kvs[0].version, 1);
    same!(answer.kvs[0].mod_revision, old);
    Ok(())
}

async fn old_revision_shows_a_deleted_key(cx: Context) -> Verdict {
    let old = cx.put("a", "old").await?;
    let deleted = cx.store.delete_range(ask::delete("a")).await?.header.revision;
    same!(cx.store.range(at(old)).await?.keys(), ["a"]);
    same!(cx.store.range(at(deleted)).await?.kvs, []);
    cx.put("a", "again").await?;
    same!(cx.store.range(at(deleted)).await?.kvs, []);
    Ok(())
}

async fn old_revision_hides_later_keys(cx: Context) -> Verdict {
    let old = cx.fill(&["a", "c"]).await?;
    cx.fill(&["b", "d"]).await?;
    same!(cx.store.range(at(old)).await?.keys(), ["a", "c"]);
    same!(cx.store.range(at(old + 1)).await?.keys(), ["a", "b", "c"]);
    Ok(())
}

async fn old_revision_counts_what_was_there(cx: Context) -> Verdict {
    let old = cx.fill(&["a", "c"]).await?;
    cx.fill(&["b", "d"]).await?;
    let answer = cx.store.range(RangeRequest { count_only: true, ..at(old) }).await?;
    same!(answer.count, 2);
    Ok(())
}

async fn old_revision_with_a_limit(cx: Context) -> Verdict {
    let old = cx.fill(&["a", "c", "e"]).await?;
    cx.fill(&["b", "d"]).await?;
    let answer = cx.store.range(RangeRequest { limit: 2, ..at(old) }).await?;
    same!(answer.keys(), ["a", "c"]);
    same!(answer.count, 3);
    same!(answer.more, true);
    Ok(())
}

async fn old_revision_keys_only(cx: Context) -> Verdict {
    let old = cx.fill(&["a", "a", "b"]).await?;
    cx.fill(&["a"]).await?;
    let answer = cx.store.range(RangeRequest { keys_only: true, ..at(old) }).await?;
    same!(answer.keys(), ["a", "b"]);
    same!(answer.kvs[0].version, 2);
    same!(answer.kvs[0].mod_revision, old - 1);
    Ok(())
}

async fn header_keeps_the_current_revision(cx: Context) -> Verdict {
    let old = cx.put("a", "old").await?;
    let now = cx.put("a", "new").await?;
    same!(cx.store.range(at(old)).await?.header.revision, now);
    Ok(())
}

async fn current_revision_by_number(cx: Context) -> Verdict {
    let now = cx.fill(&["a", "b"]).await?;
    same!(cx.store.range(at(now)).await?.keys(), ["a", "b"]);
    Ok(())
}

async fn future_revision_is_refused(cx: Context) -> Verdict {
    let now = cx.put("a", "1").await?;
    refused!(cx.store.range(at(now + 1)).await, OutOfRange, FUTURE);
    refused!(cx.store.range(at(i64::MAX)).await, OutOfRange, FUTURE);
    Ok(())
}

async fn future_revision_of_a_count_is_refused(cx: Context) -> Verdict {
    let now = cx.put("a", "1").await?;
    let request = RangeRequest { count_only: true, ..at(now + 1) };
    refused!(cx.store.range(request).await, OutOfRange, FUTURE);
    Ok(())
}

async fn negative_revision_reads_the_present(cx: Context) -> Verdict {
    cx.fill(&["a", "b"]).await?;
    same!(cx.store.range(at(-7)).await?.keys(), ["a", "b"]);
    Ok(())
}

async fn compacted_revision_is_refused(cx: Context) -> Verdict {
    let now = cx.fill(&["a", "b", "c"]).await?;
    cx.store.compact(ask::compact(now)).await?;
    refused!(cx.store.range(at(now - 1)).await, OutOfRange, COMPACTED);
    refused!(cx.store.range(at(1)).await, OutOfRange, COMPACTED);
    Ok(())
}

async fn compacted_revision_itself_can_be_read(cx: Context) -> Verdict {
    let then = cx.fill(&["a", "b"]).await?;
    cx.fill(&["a", "c"]).await?;
    cx.store.compact(ask::compact(then)).await?;
    let answer = cx.store.range(at(then)).await?;
    same!(answer.keys(), ["a", "b"]);
    same!(answer.kvs[0].version, 1);
    Ok(())
}

async fn one_revision_of_a_txn_is_seen_whole(cx: Context) -> Verdict {
    let ops = vec![ask::op_put("a", "1"), ask::op_put("b", "1"), ask::op_put("c", "1")];
    let written = cx.store.txn(ask::always(ops)).await?.header.revision;
    same!(cx.store.range(at(written)).await?.keys(), ["a", "b", "c"]);
    same!(cx.store.range(at(written - 1)).await?.kvs, []);
    Ok(())
}
