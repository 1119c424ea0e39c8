//! Large answers on a watch: fragments.

use skein_store_api::pb::etcdserverpb::WatchCreateRequest;

use super::watch::watching;
use super::{Case, cases};
use crate::ask;
use crate::check::{Verdict, holds, same};
use crate::context::Context;
use crate::endpoint::WatchFrame;

pub(super) const CASES: &[Case] = cases!(Members, "watch_size":
    fragments_carry_a_large_replay,
    small_answers_are_not_fragments,
    without_fragment_events_still_arrive,
    one_large_event_is_not_cut,
);

/// Events of this many bytes each, six of which exceed the request limit of 1.5 MiB.
const LARGE: usize = 400 << 10;
const EVENTS: usize = 6;

/// Bound on a fragment: etcd's default bound on a request, and its allowance for the envelope.
const FRAGMENT_BYTES_MAX: usize = 1_572_864 + 512 * 1024;

/// Writes large values and returns the revision of the first.
async fn write_large(cx: &Context) -> Verdict<i64> {
    let value = "x".repeat(LARGE);
    let mut last = 0;
    for i in 0..EVENTS {
        last = cx.put(&format!("k{i}"), &value).await?;
    }
    Ok(last - EVENTS as i64 + 1)
}

fn size(frame: &WatchFrame) -> usize {
    frame.events.iter().map(|event| event.kv.value.0.len()).sum()
}

async fn fragments_carry_a_large_replay(cx: Context) -> Verdict {
    let start_revision = write_large(&cx).await?;
    let request = WatchCreateRequest { start_revision, fragment: true, ..ask::watch_everything() };
    let mut stream = watching(&cx, request).await?;
    let mut frames: Vec<WatchFrame> = Vec::new();
    while frames.iter().map(|frame| frame.events.len()).sum::<usize>() < EVENTS {
        frames.push(stream.next().await?);
    }
    holds!(frames.len() > 1);
    holds!(frames.iter().all(|frame| size(frame) < FRAGMENT_BYTES_MAX));
    let revisions: Vec<i64> = frames
        .iter()
        .flat_map(|frame| frame.events.iter().map(|event| event.kv.mod_revision))
        .collect();
    same!(revisions, (start_revision..start_revision + EVENTS as i64).collect::<Vec<_>>());
    same!(frames.last().map(|frame| frame.fragment), Some(false));
    Ok(())
}

async fn small_answers_are_not_fragments(cx: Context) -> Verdict {
    let request = WatchCreateRequest { fragment: true, ..ask::watch_everything() };
    let mut stream = watching(&cx, request).await?;
    cx.put("a", "1").await?;
    let frame = stream.next().await?;
    same!((frame.fragment, frame.events.len()), (false, 1));
    Ok(())
}

async fn without_fragment_events_still_arrive(cx: Context) -> Verdict {
    let start_revision = write_large(&cx).await?;
    let request = WatchCreateRequest { start_revision, ..ask::watch_everything() };
    let mut stream = watching(&cx, request).await?;
    let mut seen = 0;
    while seen < EVENTS {
        let frame = stream.next().await?;
        same!(frame.fragment, false);
        seen += frame.events.len();
    }
    Ok(())
}

async fn one_large_event_is_not_cut(cx: Context) -> Verdict {
    let request = WatchCreateRequest { fragment: true, prev_kv: true, ..ask::watch("a") };
    let mut stream = watching(&cx, request).await?;
    let value = "x".repeat(1_400_000);
    cx.put("a", &value).await?;
    cx.put("a", &value).await?;
    stream.next().await?;
    let frame = stream.next().await?;
    same!((frame.fragment, frame.events.len()), (false, 1));
    holds!(frame.events[0].prev_kv.as_ref().is_some_and(|kv| kv.value.0.len() == value.len()));
    Ok(())
}
