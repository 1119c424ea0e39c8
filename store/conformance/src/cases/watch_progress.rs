//! Progress: what a client may believe to have seen.

use skein_store_api::pb::etcdserverpb::WatchCreateRequest;
use tokio::task::JoinSet;

use super::watch::{brief, watching};
use super::{Case, QUIET, cases};
use crate::ask;
use crate::check::{Failure, Verdict, holds, same};
use crate::context::Context;

pub(super) const CASES: &[Case] = cases!(Members, "watch_progress":
    answers_for_all_watches,
    tells_the_current_revision,
    comes_after_the_events,
    without_a_watch_is_silent,
    before_a_future_watch_is_silent,
    after_a_cancel_of_the_only_watch_is_silent,
    follows_a_replay,
    each_request_is_answered,
    revision_grows_without_matching_events,
    never_overtakes_events_under_load,
);

async fn answers_for_all_watches(cx: Context) -> Verdict {
    let mut stream = watching(&cx, ask::watch("a")).await?;
    stream.create(ask::watch("b")).await?;
    stream.send(ask::watch_progress()).await?;
    let frame = stream.next().await?;
    same!((frame.watch_id, frame.created, frame.canceled), (-1, false, false));
    same!(frame.events, []);
    stream.quiet(QUIET).await
}

async fn tells_the_current_revision(cx: Context) -> Verdict {
    let mut stream = watching(&cx, ask::watch("a")).await?;
    let now = cx.put("other", "1").await?;
    stream.send(ask::watch_progress()).await?;
    same!(stream.next().await?.header.revision, now);
    Ok(())
}

async fn comes_after_the_events(cx: Context) -> Verdict {
    let mut stream = watching(&cx, ask::watch("a")).await?;
    let now = cx.put("a", "1").await?;
    stream.send(ask::watch_progress()).await?;
    same!(brief(&stream.next().await?.events), ["put a=1"]);
    let frame = stream.next().await?;
    same!((frame.watch_id, frame.header.revision), (-1, now));
    Ok(())
}

async fn without_a_watch_is_silent(cx: Context) -> Verdict {
    let mut stream = cx.watch().await?;
    stream.send(ask::watch_progress()).await?;
    stream.quiet(QUIET).await
}

async fn before_a_future_watch_is_silent(cx: Context) -> Verdict {
    let start_revision = cx.revision().await? + 10;
    let request = WatchCreateRequest { start_revision, ..ask::watch("a") };
    let mut stream = watching(&cx, request).await?;
    stream.send(ask::watch_progress()).await?;
    stream.quiet(QUIET).await
}

async fn after_a_cancel_of_the_only_watch_is_silent(cx: Context) -> Verdict {
    let mut stream = watching(&cx, ask::watch("a")).await?;
    stream.send(ask::watch_cancel(0)).await?;
    same!(stream.next().await?.canceled, true);
    stream.send(ask::watch_progress()).await?;
    stream.quiet(QUIET).await
}

/// A watch that is still behind may leave a request unanswered, but an answer promises the events.
async fn follows_a_replay(cx: Context) -> Verdict {
    let first = cx.fill(&["a"; 20]).await? - 19;
    let request = WatchCreateRequest { start_revision: first, ..ask::watch("a") };
    let mut stream = watching(&cx, request).await?;
    stream.send(ask::watch_progress()).await?;
    let mut seen = 0;
    while seen < 20 {
        let frame = stream.next().await?;
        holds!(frame.watch_id == 0);
        seen += frame.events.len();
    }
    stream.send(ask::watch_progress()).await?;
    same!(stream.next().await?.watch_id, -1);
    Ok(())
}

async fn each_request_is_answered(cx: Context) -> Verdict {
    let mut stream = watching(&cx, ask::watch("a")).await?;
    for _ in 0..5 {
        stream.send(ask::watch_progress()).await?;
        same!(stream.next().await?.watch_id, -1);
    }
    Ok(())
}

async fn revision_grows_without_matching_events(cx: Context) -> Verdict {
    let mut stream = watching(&cx, ask::watch("a")).await?;
    for _ in 0..3 {
        let now = cx.put("other", "1").await?;
        stream.send(ask::watch_progress()).await?;
        same!(stream.next().await?.header.revision, now);
    }
    Ok(())
}

async fn never_overtakes_events_under_load(cx: Context) -> Verdict {
    const WRITES: usize = 400;
    let mut stream = watching(&cx, ask::watch("a")).await?;
    let writer = cx.clone();
    // A set ends its tasks with the case.
    let mut writes = JoinSet::new();
    writes.spawn(async move {
        for _ in 0..WRITES {
            writer.put("a", "1").await?;
        }
        Ok::<(), Failure>(())
    });
    let (mut seen, mut promised, mut delivered) = (0, 0, 0);
    while seen < WRITES {
        stream.send(ask::watch_progress()).await?;
        let frame = stream.next().await?;
        match frame.watch_id {
            -1 => promised = promised.max(frame.header.revision),
            _ => {
                seen += frame.events.len();
                for event in &frame.events {
                    holds!(event.kv.mod_revision > promised);
                    holds!(event.kv.mod_revision > delivered);
                    delivered = event.kv.mod_revision;
                }
            }
        }
    }
    match writes.join_next().await {
        Some(Ok(verdict)) => verdict,
        other => Err(Failure::new(format!("the writer did not end: {other:?}"))),
    }
}
