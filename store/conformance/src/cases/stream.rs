//! RangeStream: chunks that together are one range.

use skein_store_api::pb::etcdserverpb::RangeRequest;

use super::{Case, cases};
use crate::ask::{self, SortOrder, SortTarget};
use crate::check::{Verdict, holds, refused, same};
use crate::context::Context;
use crate::endpoint::{Header, Ranged};

pub(super) const CASES: &[Case] = cases!(Everywhere, "stream":
    chunks_merge_to_the_range,
    only_the_last_chunk_has_header_count_and_more,
    limit_cuts_the_stream,
    old_revision,
    count_only,
    keys_only,
    no_match_is_one_empty_chunk,
    large_values_are_chunked,
    key_ascending_order_is_accepted,
    custom_order_is_unimplemented,
    revision_filter_is_unimplemented,
    empty_key_is_refused,
    future_revision_is_refused,
    compacted_revision_is_refused,
);

/// More keys than any first chunk should hold.
const MANY: usize = 64;

async fn fill_many(cx: &Context) -> Verdict<Vec<String>> {
    let keys: Vec<String> = (0..MANY).map(|i| format!("k{i:03}")).collect();
    for key in &keys {
        cx.put(key, "v").await?;
    }
    Ok(keys)
}

/// Chunks as protobuf merges them: lists append, the last set field wins.
fn merged(chunks: &[Ranged]) -> Ranged {
    let mut whole = Ranged::default();
    for chunk in chunks {
        whole.kvs.extend(chunk.kvs.iter().cloned());
        whole.more |= chunk.more;
        whole.count = whole.count.max(chunk.count);
        if chunk.header != Header::default() {
            whole.header = chunk.header;
        }
    }
    whole
}

async fn chunks_merge_to_the_range(cx: Context) -> Verdict {
    let keys = fill_many(&cx).await?;
    let chunks = cx.store.range_stream(ask::everything()).await?;
    let whole = merged(&chunks);
    same!(whole.keys(), keys);
    same!(whole, cx.everything().await?);
    Ok(())
}

async fn only_the_last_chunk_has_header_count_and_more(cx: Context) -> Verdict {
    fill_many(&cx).await?;
    let chunks = cx.store.range_stream(RangeRequest { limit: 50, ..ask::everything() }).await?;
    let Some((last, before)) = chunks.split_last() else {
        return Err(crate::check::Failure::new("the stream had no chunk"));
    };
    holds!(before.iter().all(|chunk| chunk.header == Header::default()));
    holds!(before.iter().all(|chunk| chunk.count == 0 && !chunk.more && !chunk.kvs.is_empty()));
    holds!(last.header.cluster_id != 0 && last.header.revision > 0);
    same!(last.count, MANY as i64);
    same!(last.more, true);
    Ok(())
}

async fn limit_cuts_the_stream(cx: Context) -> Verdict {
    let keys = fill_many(&cx).await?;
    for limit in [1, 10, 11, 63, 64, 65] {
        let request = RangeRequest { limit, ..ask::everything() };
        let whole = merged(&cx.store.range_stream(request.clone()).await?);
        same!(whole, cx.store.range(request).await?);
        same!(whole.keys(), keys[..(limit as usize).min(MANY)]);
    }
    Ok(())
}

async fn old_revision(cx: Context) -> Verdict {
    let then = cx.fill(&["a", "b"]).await?;
    cx.fill(&["a", "c"]).await?;
    let request = RangeRequest { revision: then, ..ask::everything() };
    let whole = merged(&cx.store.range_stream(request.clone()).await?);
    same!(whole, cx.store.range(request).await?);
    same!(whole.header.revision, then + 2);
    Ok(())
}

async fn count_only(cx: Context) -> Verdict {
    fill_many(&cx).await?;
    let request = RangeRequest { count_only: true, limit: 3, ..ask::everything() };
    let chunks = cx.store.range_stream(request).await?;
    same!(chunks.len(), 1);
    same!(chunks[0].count, MANY as i64);
    same!(chunks[0].kvs, []);
    Ok(())
}

async fn keys_only(cx: Context) -> Verdict {
    fill_many(&cx).await?;
    let request = RangeRequest { keys_only: true, ..ask::everything() };
    let whole = merged(&cx.store.range_stream(request.clone()).await?);
    same!(whole, cx.store.range(request).await?);
    Ok(())
}

async fn no_match_is_one_empty_chunk(cx: Context) -> Verdict {
    let revision = cx.put("a", "1").await?;
    let chunks = cx.store.range_stream(ask::get("b")).await?;
    same!(chunks.len(), 1);
    same!(chunks[0].count, 0);
    same!(chunks[0].header.revision, revision);
    Ok(())
}

async fn large_values_are_chunked(cx: Context) -> Verdict {
    const KEYS: usize = 24;
    let value = "x".repeat(512 << 10);
    for i in 0..KEYS {
        cx.put(&format!("k{i:02}"), &value).await?;
    }
    let chunks = cx.store.range_stream(ask::everything()).await?;
    holds!(chunks.len() > 1);
    same!(merged(&chunks).kvs.len(), KEYS);
    same!(merged(&chunks).count, KEYS as i64);
    Ok(())
}

async fn key_ascending_order_is_accepted(cx: Context) -> Verdict {
    cx.fill(&["b", "a"]).await?;
    let request = ask::sorted(SortTarget::Key, SortOrder::Ascend);
    same!(merged(&cx.store.range_stream(request).await?).keys(), ["a", "b"]);
    Ok(())
}

async fn custom_order_is_unimplemented(cx: Context) -> Verdict {
    const MESSAGE: &str = "RangeStream does not support custom sort orders";
    let request = ask::sorted(SortTarget::Key, SortOrder::Descend);
    refused!(cx.store.range_stream(request).await, Unimplemented, MESSAGE);
    let request = ask::sorted(SortTarget::Value, SortOrder::Ascend);
    refused!(cx.store.range_stream(request).await, Unimplemented, MESSAGE);
    Ok(())
}

async fn revision_filter_is_unimplemented(cx: Context) -> Verdict {
    const MESSAGE: &str = "RangeStream does not support revision filters";
    let request = RangeRequest { min_mod_revision: 2, ..ask::everything() };
    refused!(cx.store.range_stream(request).await, Unimplemented, MESSAGE);
    Ok(())
}

async fn empty_key_is_refused(cx: Context) -> Verdict {
    let answer = cx.store.range_stream(ask::get("")).await;
    refused!(answer, InvalidArgument, "etcdserver: key is not provided");
    Ok(())
}

async fn future_revision_is_refused(cx: Context) -> Verdict {
    let revision = cx.put("a", "1").await? + 1;
    let answer = cx.store.range_stream(RangeRequest { revision, ..ask::everything() }).await;
    refused!(answer, OutOfRange, "etcdserver: mvcc: required revision is a future revision");
    Ok(())
}

async fn compacted_revision_is_refused(cx: Context) -> Verdict {
    let now = cx.fill(&["a", "b"]).await?;
    cx.store.compact(ask::compact(now)).await?;
    let request = RangeRequest { revision: now - 1, ..ask::everything() };
    let answer = cx.store.range_stream(request).await;
    refused!(answer, OutOfRange, "etcdserver: mvcc: required revision has been compacted");
    Ok(())
}
