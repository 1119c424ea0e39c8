//! Where a watch starts: the past, the present, the future, the compacted.

use skein_store_api::pb::etcdserverpb::WatchCreateRequest;
use skein_store_api::pb::etcdserverpb::watch_create_request::FilterType;

use super::watch::{brief, watching};
use super::{Case, QUIET, cases};
use crate::ask;
use crate::check::{Verdict, holds, same};
use crate::context::Context;

pub(super) const CASES: &[Case] = cases!(Everywhere, "watch_start":
    zero_means_what_comes,
    past_revision_replays,
    past_revision_then_live,
    current_revision_replays_it,
    next_revision_waits,
    future_revision_waits_for_it,
    revision_one_replays_everything_uncompacted,
    replay_of_one_key,
    replay_of_a_txn_is_whole_and_ordered,
    replay_with_prev_kv,
    replay_with_filters,
    replay_shows_deletes,
    prev_kv_that_was_compacted_is_absent_or_true,
    compacted_revision_cancels,
    compacted_revision_itself_replays,
    negative_revision_cancels_at_once,
    compacted_watch_leaves_others,
    resume_after_the_last_event,
    replay_of_many_revisions_is_complete,
    replay_of_nothing_then_live,
);

fn from(start_revision: i64) -> WatchCreateRequest {
    WatchCreateRequest { start_revision, ..ask::watch_everything() }
}

async fn zero_means_what_comes(cx: Context) -> Verdict {
    cx.fill(&["a"]).await?;
    let mut stream = watching(&cx, from(0)).await?;
    cx.fill(&["b"]).await?;
    same!(brief(&stream.events(0, 1).await?), ["put b=B"]);
    Ok(())
}

async fn past_revision_replays(cx: Context) -> Verdict {
    let last = cx.fill(&["a", "b", "c"]).await?;
    let mut stream = watching(&cx, from(last - 1)).await?;
    same!(brief(&stream.events(0, 2).await?), ["put b=B", "put c=C"]);
    stream.quiet(QUIET).await
}

async fn past_revision_then_live(cx: Context) -> Verdict {
    let last = cx.fill(&["a", "b"]).await?;
    let mut stream = watching(&cx, from(last)).await?;
    cx.fill(&["c", "d"]).await?;
    same!(brief(&stream.events(0, 3).await?), ["put b=B", "put c=C", "put d=D"]);
    stream.quiet(QUIET).await
}

async fn current_revision_replays_it(cx: Context) -> Verdict {
    let last = cx.fill(&["a", "b"]).await?;
    let mut stream = watching(&cx, from(last)).await?;
    same!(brief(&stream.events(0, 1).await?), ["put b=B"]);
    Ok(())
}

async fn next_revision_waits(cx: Context) -> Verdict {
    let last = cx.fill(&["a"]).await?;
    let mut stream = watching(&cx, from(last + 1)).await?;
    cx.fill(&["b"]).await?;
    same!(brief(&stream.events(0, 1).await?), ["put b=B"]);
    Ok(())
}

async fn future_revision_waits_for_it(cx: Context) -> Verdict {
    let last = cx.fill(&["a"]).await?;
    let mut stream = watching(&cx, from(last + 3)).await?;
    cx.fill(&["b", "c"]).await?;
    stream.quiet(QUIET).await?;
    cx.fill(&["d", "e"]).await?;
    same!(brief(&stream.events(0, 2).await?), ["put d=D", "put e=E"]);
    Ok(())
}

async fn revision_one_replays_everything_uncompacted(cx: Context) -> Verdict {
    let start = cx.revision().await? + 1;
    cx.fill(&["a", "a"]).await?;
    cx.store.delete_range(ask::delete("a")).await?;
    let mut stream = watching(&cx, from(start)).await?;
    same!(brief(&stream.events(0, 3).await?), ["put a=A", "put a=A", "delete a"]);
    Ok(())
}

async fn replay_of_one_key(cx: Context) -> Verdict {
    let start = cx.revision().await?;
    cx.fill(&["a", "b", "a", "ab", "a"]).await?;
    let request = WatchCreateRequest { start_revision: start + 1, ..ask::watch("a") };
    let mut stream = watching(&cx, request).await?;
    let events = stream.events(0, 3).await?;
    let revisions: Vec<i64> = events.iter().map(|event| event.kv.mod_revision - start).collect();
    same!(revisions, [1, 3, 5]);
    let versions: Vec<i64> = events.iter().map(|event| event.kv.version).collect();
    same!(versions, [1, 2, 3]);
    stream.quiet(QUIET).await
}

async fn replay_of_a_txn_is_whole_and_ordered(cx: Context) -> Verdict {
    let ops = ["c", "a", "b"].map(|key| ask::op_put(key, "1")).to_vec();
    let written = cx.store.txn(ask::always(ops)).await?.header.revision;
    cx.fill(&["d"]).await?;
    let mut stream = watching(&cx, from(written)).await?;
    let events = stream.events(0, 4).await?;
    same!(brief(&events), ["put c=1", "put a=1", "put b=1", "put d=D"]);
    Ok(())
}

async fn replay_with_prev_kv(cx: Context) -> Verdict {
    let first = cx.put("a", "1").await?;
    cx.put("a", "2").await?;
    cx.store.delete_range(ask::delete("a")).await?;
    let mut stream = watching(&cx, WatchCreateRequest { prev_kv: true, ..from(first) }).await?;
    let events = stream.events(0, 3).await?;
    same!(events[0].prev_kv, None);
    same!(events[1].prev_kv.as_ref(), Some(&events[0].kv));
    same!(events[2].prev_kv.as_ref(), Some(&events[1].kv));
    Ok(())
}

async fn replay_with_filters(cx: Context) -> Verdict {
    let first = cx.fill(&["a"]).await?;
    cx.store.delete_range(ask::delete("a")).await?;
    cx.fill(&["b"]).await?;
    let filters = vec![FilterType::Nodelete as i32];
    let mut stream = watching(&cx, WatchCreateRequest { filters, ..from(first) }).await?;
    same!(brief(&stream.events(0, 2).await?), ["put a=A", "put b=B"]);
    stream.quiet(QUIET).await
}

async fn replay_shows_deletes(cx: Context) -> Verdict {
    let last = cx.fill(&["a", "b"]).await?;
    let deleted = cx.store.delete_range(ask::delete_range("a", "c")).await?.header.revision;
    let mut stream = watching(&cx, from(last + 1)).await?;
    let events = stream.events(0, 2).await?;
    same!(brief(&events), ["delete a", "delete b"]);
    holds!(events.iter().all(|event| event.kv.mod_revision == deleted && event.kv.version == 0));
    Ok(())
}

/// etcd looks the value up when it sends and finds none; a store that kept it from the time of the
/// write may still tell it.
async fn prev_kv_that_was_compacted_is_absent_or_true(cx: Context) -> Verdict {
    cx.put("a", "1").await?;
    let before = cx.get("a").await?;
    let second = cx.put("a", "2").await?;
    let third = cx.put("a", "3").await?;
    cx.store.compact(ask::compact(second)).await?;
    let mut stream = watching(&cx, WatchCreateRequest { prev_kv: true, ..from(second) }).await?;
    let events = stream.events(0, 2).await?;
    same!(events[0].kv.mod_revision, second);
    holds!(events[0].prev_kv.is_none() || events[0].prev_kv == before);
    same!(events[1].kv.mod_revision, third);
    same!(events[1].prev_kv.as_ref(), Some(&events[0].kv));
    Ok(())
}

async fn compacted_revision_cancels(cx: Context) -> Verdict {
    let now = cx.fill(&["a", "b", "c"]).await?;
    cx.store.compact(ask::compact(now)).await?;
    let mut stream = watching(&cx, from(now - 1)).await?;
    let frame = stream.next().await?;
    same!((frame.created, frame.canceled, frame.watch_id), (false, true, 0));
    same!(frame.compact_revision, now);
    same!(frame.cancel_reason, "");
    same!(frame.events, []);
    cx.put("d", "1").await?;
    stream.quiet(QUIET).await
}

async fn compacted_revision_itself_replays(cx: Context) -> Verdict {
    let then = cx.fill(&["a", "b"]).await?;
    cx.fill(&["c"]).await?;
    cx.store.compact(ask::compact(then)).await?;
    let mut stream = watching(&cx, from(then)).await?;
    same!(brief(&stream.events(0, 2).await?), ["put b=B", "put c=C"]);
    Ok(())
}

async fn negative_revision_cancels_at_once(cx: Context) -> Verdict {
    let mut stream = cx.watch().await?;
    let frame = stream.create(from(-1)).await?;
    same!((frame.canceled, frame.watch_id), (true, -1));
    same!(frame.cancel_reason, "etcdserver: mvcc: required revision has been compacted");
    Ok(())
}

async fn compacted_watch_leaves_others(cx: Context) -> Verdict {
    let now = cx.fill(&["a", "b"]).await?;
    cx.store.compact(ask::compact(now)).await?;
    let mut stream = watching(&cx, from(0)).await?;
    let lost = stream.create(from(1)).await?.watch_id;
    let frame = stream.next().await?;
    same!((frame.canceled, frame.watch_id), (true, lost));
    cx.fill(&["c"]).await?;
    same!(brief(&stream.events(0, 1).await?), ["put c=C"]);
    Ok(())
}

async fn resume_after_the_last_event(cx: Context) -> Verdict {
    let mut stream = watching(&cx, from(0)).await?;
    cx.fill(&["a", "b"]).await?;
    let seen = stream.events(0, 2).await?;
    drop(stream);
    cx.fill(&["c", "d"]).await?;
    let mut stream = watching(&cx, from(seen[1].kv.mod_revision + 1)).await?;
    same!(brief(&stream.events(0, 2).await?), ["put c=C", "put d=D"]);
    stream.quiet(QUIET).await
}

/// More revisions than etcd reads for a late watch in one go (1,000).
async fn replay_of_many_revisions_is_complete(cx: Context) -> Verdict {
    const WRITES: usize = 2_500;
    let start = cx.revision().await? + 1;
    let writers = (0..WRITES).map(|i| {
        let cx = cx.clone();
        async move { cx.put(&format!("k{}", i % 10), "v").await }
    });
    futures::future::try_join_all(writers).await?;
    let mut stream = watching(&cx, from(start)).await?;
    for (i, event) in stream.events(0, WRITES).await?.iter().enumerate() {
        same!(event.kv.mod_revision, start + i as i64);
    }
    stream.quiet(QUIET).await
}

async fn replay_of_nothing_then_live(cx: Context) -> Verdict {
    let first = cx.fill(&["a", "b"]).await?;
    let request = WatchCreateRequest { start_revision: first, ..ask::watch("x") };
    let mut stream = watching(&cx, request).await?;
    stream.quiet(QUIET).await?;
    cx.fill(&["x"]).await?;
    same!(brief(&stream.events(0, 1).await?), ["put x=X"]);
    Ok(())
}
