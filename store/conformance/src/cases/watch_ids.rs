//! Several watches on one stream: their ids, their ends.

use skein_store_api::pb::etcdserverpb::WatchCreateRequest;

use super::watch::{brief, watching};
use super::{Case, QUIET, cases};
use crate::ask;
use crate::check::{Verdict, same};
use crate::context::Context;

pub(super) const CASES: &[Case] = cases!(Everywhere, "watch_ids":
    counted_from_zero,
    proposed_id_is_taken,
    automatic_ids_step_around_proposed_ones,
    duplicate_id_is_refused_and_the_first_lives,
    canceled_id_may_be_proposed_again,
    cancel_answers_and_silences,
    cancel_of_an_unknown_id_is_silent,
    cancel_twice_answers_once,
    cancel_leaves_other_watches,
    two_watches_of_one_key_both_deliver,
    each_watch_has_its_own_options,
    fifty_watches_on_one_stream,
    streams_have_ids_of_their_own,
    key_above_its_end_is_refused,
    key_equal_to_its_end_is_refused,
    refused_watch_leaves_others,
);

const EMPTY_RANGE: &str = "mvcc: watcher range is empty";
const DUPLICATE: &str = "mvcc: duplicate watch ID provided on the WatchStream";

fn with_id(key: &str, watch_id: i64) -> WatchCreateRequest {
    WatchCreateRequest { watch_id, ..ask::watch(key) }
}

async fn counted_from_zero(cx: Context) -> Verdict {
    let mut stream = cx.watch().await?;
    for expected in 0..4 {
        same!(stream.create(ask::watch("a")).await?.watch_id, expected);
    }
    Ok(())
}

async fn proposed_id_is_taken(cx: Context) -> Verdict {
    let mut stream = cx.watch().await?;
    same!(stream.create(with_id("a", 77)).await?.watch_id, 77);
    cx.put("a", "1").await?;
    same!(brief(&stream.events(77, 1).await?), ["put a=1"]);
    Ok(())
}

async fn automatic_ids_step_around_proposed_ones(cx: Context) -> Verdict {
    let mut stream = cx.watch().await?;
    same!(stream.create(with_id("a", 1)).await?.watch_id, 1);
    same!(stream.create(ask::watch("b")).await?.watch_id, 0);
    same!(stream.create(ask::watch("c")).await?.watch_id, 2);
    Ok(())
}

async fn duplicate_id_is_refused_and_the_first_lives(cx: Context) -> Verdict {
    let mut stream = cx.watch().await?;
    stream.create(with_id("a", 5)).await?;
    let second = stream.create(with_id("b", 5)).await?;
    same!((second.canceled, second.watch_id), (true, -1));
    same!(second.cancel_reason, DUPLICATE);
    cx.fill(&["b", "a"]).await?;
    same!(brief(&stream.events(5, 1).await?), ["put a=A"]);
    Ok(())
}

async fn canceled_id_may_be_proposed_again(cx: Context) -> Verdict {
    let mut stream = cx.watch().await?;
    stream.create(with_id("a", 5)).await?;
    stream.send(ask::watch_cancel(5)).await?;
    same!(stream.next().await?.canceled, true);
    same!(stream.create(with_id("b", 5)).await?.canceled, false);
    cx.fill(&["a", "b"]).await?;
    same!(brief(&stream.events(5, 1).await?), ["put b=B"]);
    Ok(())
}

async fn cancel_answers_and_silences(cx: Context) -> Verdict {
    let mut stream = watching(&cx, ask::watch("a")).await?;
    let revision = cx.put("b", "1").await?;
    stream.send(ask::watch_cancel(0)).await?;
    let canceled = stream.next().await?;
    same!((canceled.created, canceled.canceled, canceled.watch_id), (false, true, 0));
    same!(canceled.cancel_reason, "");
    same!(canceled.compact_revision, 0);
    same!(canceled.header.revision, revision);
    cx.put("a", "1").await?;
    stream.quiet(QUIET).await
}

async fn cancel_of_an_unknown_id_is_silent(cx: Context) -> Verdict {
    let mut stream = watching(&cx, ask::watch("a")).await?;
    stream.send(ask::watch_cancel(9)).await?;
    cx.put("a", "1").await?;
    same!(brief(&stream.events(0, 1).await?), ["put a=1"]);
    stream.quiet(QUIET).await
}

async fn cancel_twice_answers_once(cx: Context) -> Verdict {
    let mut stream = watching(&cx, ask::watch("a")).await?;
    stream.send(ask::watch_cancel(0)).await?;
    stream.send(ask::watch_cancel(0)).await?;
    same!(stream.next().await?.canceled, true);
    stream.quiet(QUIET).await
}

async fn cancel_leaves_other_watches(cx: Context) -> Verdict {
    let mut stream = watching(&cx, ask::watch("a")).await?;
    let other = stream.create(ask::watch("a")).await?.watch_id;
    stream.send(ask::watch_cancel(0)).await?;
    same!(stream.next().await?.canceled, true);
    cx.put("a", "1").await?;
    same!(brief(&stream.events(other, 1).await?), ["put a=1"]);
    Ok(())
}

async fn two_watches_of_one_key_both_deliver(cx: Context) -> Verdict {
    let mut stream = watching(&cx, ask::watch("a")).await?;
    stream.create(ask::watch("a")).await?;
    cx.put("a", "1").await?;
    let mut ids = [stream.next().await?.watch_id, stream.next().await?.watch_id];
    ids.sort_unstable();
    same!(ids, [0, 1]);
    Ok(())
}

async fn each_watch_has_its_own_options(cx: Context) -> Verdict {
    cx.put("a", "1").await?;
    let mut stream = watching(&cx, ask::watch("a")).await?;
    let prev =
        stream.create(WatchCreateRequest { prev_kv: true, ..ask::watch("a") }).await?.watch_id;
    cx.put("a", "2").await?;
    for _ in 0..2 {
        let frame = stream.next().await?;
        same!(frame.events[0].prev_kv.is_some(), frame.watch_id == prev);
    }
    Ok(())
}

async fn fifty_watches_on_one_stream(cx: Context) -> Verdict {
    const WATCHES: i64 = 50;
    let mut stream = cx.watch().await?;
    for id in 0..WATCHES {
        same!(stream.create(ask::watch(&format!("k{id:02}"))).await?.watch_id, id);
    }
    for id in (0..WATCHES).rev() {
        let key = format!("k{id:02}");
        cx.put(&key, "1").await?;
        same!(brief(&stream.events(id, 1).await?), [format!("put {key}=1")]);
    }
    Ok(())
}

async fn streams_have_ids_of_their_own(cx: Context) -> Verdict {
    let mut first = watching(&cx, ask::watch("a")).await?;
    let mut second = watching(&cx, ask::watch("a")).await?;
    cx.put("a", "1").await?;
    same!(brief(&first.events(0, 1).await?), ["put a=1"]);
    same!(brief(&second.events(0, 1).await?), ["put a=1"]);
    Ok(())
}

async fn key_above_its_end_is_refused(cx: Context) -> Verdict {
    let mut stream = cx.watch().await?;
    let frame = stream.create(ask::watch_range("d", "b")).await?;
    same!((frame.canceled, frame.watch_id), (true, -1));
    same!(frame.cancel_reason, EMPTY_RANGE);
    Ok(())
}

async fn key_equal_to_its_end_is_refused(cx: Context) -> Verdict {
    let mut stream = cx.watch().await?;
    let frame = stream.create(ask::watch_range("b", "b")).await?;
    same!((frame.canceled, frame.watch_id), (true, -1));
    same!(frame.cancel_reason, EMPTY_RANGE);
    Ok(())
}

async fn refused_watch_leaves_others(cx: Context) -> Verdict {
    let mut stream = watching(&cx, ask::watch("a")).await?;
    same!(stream.create(ask::watch_range("d", "b")).await?.canceled, true);
    same!(stream.create(ask::watch("b")).await?.watch_id, 1);
    cx.fill(&["a"]).await?;
    same!(brief(&stream.events(0, 1).await?), ["put a=A"]);
    Ok(())
}
