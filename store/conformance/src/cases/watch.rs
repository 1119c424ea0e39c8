//! What a watch delivers.

use skein_store_api::pb::etcdserverpb::watch_create_request::FilterType;
use skein_store_api::pb::etcdserverpb::{PutRequest, WatchCreateRequest};

use super::{Case, QUIET, cases};
use crate::ask;
use crate::check::{Verdict, holds, same};
use crate::context::Context;
use crate::endpoint::{Event, EventKind, Kv, WatchStream};

pub(super) const CASES: &[Case] = cases!(Everywhere, "watch":
    created_comes_first,
    put_shows_the_whole_key,
    update_counts_the_version,
    delete_shows_only_key_and_revision,
    one_key_only,
    range_excludes_its_end,
    prefix,
    from_key,
    everything,
    empty_key_means_from_the_first_key_only_with_an_end,
    prev_kv_of_a_new_key_is_absent,
    prev_kv_of_an_update,
    prev_kv_of_a_delete,
    prev_kv_is_absent_unless_asked,
    prev_kv_after_a_delete_is_absent,
    filter_of_puts,
    filter_of_deletes,
    filter_of_both,
    filter_of_deletes_with_prev_kv,
    one_txn_is_one_frame_in_order,
    nested_txn_is_in_order,
    range_delete_is_one_frame_in_key_order,
    txn_shows_only_the_watched_keys,
    refused_writes_are_not_events,
    delete_of_nothing_is_no_event,
    read_only_txn_is_no_event,
    lease_shows_in_the_event,
    revoke_is_delete_events_of_one_revision,
    live_header_is_the_event_revision,
    compaction_does_not_disturb_a_live_watch,
    order_over_many_writes,
);

/// The single event of the next frame.
async fn one(stream: &mut WatchStream) -> Verdict<Event> {
    let frame = stream.next().await?;
    same!(frame.events.len(), 1);
    Ok(frame.events.into_iter().next().unwrap_or_else(|| unreachable!("one event was counted")))
}

/// A stream with one watch, id 0.
pub(super) async fn watching(cx: &Context, request: WatchCreateRequest) -> Verdict<WatchStream> {
    let mut stream = cx.watch().await?;
    let created = stream.create(request).await?;
    same!(created.canceled, false);
    same!(created.watch_id, 0);
    Ok(stream)
}

/// Kind, key and value of each event.
pub(super) fn brief(events: &[Event]) -> Vec<String> {
    let brief = |event: &Event| {
        let kind = if event.kind == EventKind::Put { "put" } else { "delete" };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match event.kv.value.0.is_empty() {
            true => format!("{kind} {}", text(&event.kv.key.0)),
            false => format!("{kind} {}={}", text(&event.kv.key.0), text(&event.kv.value.0)),
        }
    };
    events.iter().map(brief).collect()
}

async fn created_comes_first(cx: Context) -> Verdict {
    let revision = cx.put("a", "1").await?;
    let mut stream = cx.watch().await?;
    let created = stream.create(ask::watch("a")).await?;
    same!((created.created, created.canceled, created.watch_id), (true, false, 0));
    same!(created.events, []);
    same!(created.compact_revision, 0);
    same!(created.cancel_reason, "");
    same!(created.header.revision, revision);
    Ok(())
}

async fn put_shows_the_whole_key(cx: Context) -> Verdict {
    let mut stream = watching(&cx, ask::watch("a")).await?;
    cx.put("a", "1").await?;
    let event = one(&mut stream).await?;
    same!(event.kind, EventKind::Put);
    same!(Some(event.kv), cx.get("a").await?);
    Ok(())
}

async fn update_counts_the_version(cx: Context) -> Verdict {
    let created = cx.put("a", "1").await?;
    let mut stream = watching(&cx, ask::watch("a")).await?;
    let modified = cx.put("a", "2").await?;
    let kv = one(&mut stream).await?.kv;
    same!((kv.create_revision, kv.mod_revision, kv.version), (created, modified, 2));
    Ok(())
}

async fn delete_shows_only_key_and_revision(cx: Context) -> Verdict {
    cx.put("a", "1").await?;
    let mut stream = watching(&cx, ask::watch("a")).await?;
    let deleted = cx.store.delete_range(ask::delete("a")).await?.header.revision;
    let event = one(&mut stream).await?;
    same!(event.kind, EventKind::Delete);
    let key = crate::endpoint::Text(b"a".to_vec());
    same!(event.kv, Kv { key, mod_revision: deleted, ..Default::default() });
    Ok(())
}

async fn one_key_only(cx: Context) -> Verdict {
    let mut stream = watching(&cx, ask::watch("b")).await?;
    cx.fill(&["a", "b", "b\0", "ba", "c", "b"]).await?;
    same!(brief(&stream.events(0, 2).await?), ["put b=B", "put b=B"]);
    stream.quiet(QUIET).await
}

async fn range_excludes_its_end(cx: Context) -> Verdict {
    let mut stream = watching(&cx, ask::watch_range("b", "d")).await?;
    cx.fill(&["a", "b", "d", "c", "e", "b"]).await?;
    same!(brief(&stream.events(0, 3).await?), ["put b=B", "put c=C", "put b=B"]);
    stream.quiet(QUIET).await
}

async fn prefix(cx: Context) -> Verdict {
    let mut stream = watching(&cx, ask::watch_range("p/", "p0")).await?;
    cx.fill(&["p", "p/1", "p/", "p0", "p/z"]).await?;
    same!(brief(&stream.events(0, 3).await?), ["put p/1=P/1", "put p/=P/", "put p/z=P/Z"]);
    Ok(())
}

async fn from_key(cx: Context) -> Verdict {
    let mut stream = watching(&cx, ask::watch_range("b", ask::FROM_KEY)).await?;
    cx.fill(&["a", "z", "b"]).await?;
    same!(brief(&stream.events(0, 2).await?), ["put z=Z", "put b=B"]);
    Ok(())
}

async fn everything(cx: Context) -> Verdict {
    let mut stream = watching(&cx, ask::watch_everything()).await?;
    cx.fill(&["b", "a"]).await?;
    same!(brief(&stream.events(0, 2).await?), ["put b=B", "put a=A"]);
    Ok(())
}

async fn empty_key_means_from_the_first_key_only_with_an_end(cx: Context) -> Verdict {
    let mut stream = watching(&cx, ask::watch("")).await?;
    let all = stream.create(ask::watch_range("", ask::FROM_KEY)).await?;
    cx.fill(&["a"]).await?;
    same!(brief(&stream.events(all.watch_id, 1).await?), ["put a=A"]);
    stream.quiet(QUIET).await
}

async fn prev_kv_of_a_new_key_is_absent(cx: Context) -> Verdict {
    let request = WatchCreateRequest { prev_kv: true, ..ask::watch("a") };
    let mut stream = watching(&cx, request).await?;
    cx.put("a", "1").await?;
    same!(one(&mut stream).await?.prev_kv, None);
    Ok(())
}

async fn prev_kv_of_an_update(cx: Context) -> Verdict {
    cx.put("a", "1").await?;
    let before = cx.get("a").await?;
    let request = WatchCreateRequest { prev_kv: true, ..ask::watch("a") };
    let mut stream = watching(&cx, request).await?;
    cx.put("a", "2").await?;
    same!(one(&mut stream).await?.prev_kv, before);
    Ok(())
}

async fn prev_kv_of_a_delete(cx: Context) -> Verdict {
    cx.put("a", "1").await?;
    let before = cx.get("a").await?;
    let request = WatchCreateRequest { prev_kv: true, ..ask::watch("a") };
    let mut stream = watching(&cx, request).await?;
    cx.store.delete_range(ask::delete("a")).await?;
    same!(one(&mut stream).await?.prev_kv, before);
    Ok(())
}

async fn prev_kv_is_absent_unless_asked(cx: Context) -> Verdict {
    cx.put("a", "1").await?;
    let mut stream = watching(&cx, ask::watch("a")).await?;
    cx.put("a", "2").await?;
    same!(one(&mut stream).await?.prev_kv, None);
    Ok(())
}

async fn prev_kv_after_a_delete_is_absent(cx: Context) -> Verdict {
    cx.put("a", "1").await?;
    cx.store.delete_range(ask::delete("a")).await?;
    let request = WatchCreateRequest { prev_kv: true, ..ask::watch("a") };
    let mut stream = watching(&cx, request).await?;
    cx.put("a", "2").await?;
    same!(one(&mut stream).await?.prev_kv, None);
    Ok(())
}

fn filtered(filters: &[FilterType]) -> WatchCreateRequest {
    let filters = filters.iter().map(|filter| *filter as i32).collect();
    WatchCreateRequest { filters, ..ask::watch_everything() }
}

async fn put_and_delete(cx: &Context) -> Verdict {
    for key in ["a", "b"] {
        cx.put(key, "1").await?;
        cx.store.delete_range(ask::delete(key)).await?;
    }
    Ok(())
}

async fn filter_of_puts(cx: Context) -> Verdict {
    let mut stream = watching(&cx, filtered(&[FilterType::Noput])).await?;
    put_and_delete(&cx).await?;
    same!(brief(&stream.events(0, 2).await?), ["delete a", "delete b"]);
    stream.quiet(QUIET).await
}

async fn filter_of_deletes(cx: Context) -> Verdict {
    let mut stream = watching(&cx, filtered(&[FilterType::Nodelete])).await?;
    put_and_delete(&cx).await?;
    same!(brief(&stream.events(0, 2).await?), ["put a=1", "put b=1"]);
    stream.quiet(QUIET).await
}

async fn filter_of_both(cx: Context) -> Verdict {
    let mut stream = watching(&cx, filtered(&[FilterType::Noput, FilterType::Nodelete])).await?;
    put_and_delete(&cx).await?;
    stream.quiet(QUIET).await
}

async fn filter_of_deletes_with_prev_kv(cx: Context) -> Verdict {
    let request = WatchCreateRequest { prev_kv: true, ..filtered(&[FilterType::Nodelete]) };
    let mut stream = watching(&cx, request).await?;
    cx.fill(&["a", "a"]).await?;
    let events = stream.events(0, 2).await?;
    same!(events[1].prev_kv.as_ref(), Some(&events[0].kv));
    Ok(())
}

async fn one_txn_is_one_frame_in_order(cx: Context) -> Verdict {
    cx.put("c", "1").await?;
    let mut stream = watching(&cx, ask::watch_everything()).await?;
    let ops = vec![ask::op_put("z", "1"), ask::op_delete(ask::delete("c")), ask::op_put("a", "1")];
    let written = cx.store.txn(ask::always(ops)).await?.header.revision;
    let frame = stream.next().await?;
    same!(brief(&frame.events), ["put z=1", "delete c", "put a=1"]);
    holds!(frame.events.iter().all(|event| event.kv.mod_revision == written));
    Ok(())
}

async fn nested_txn_is_in_order(cx: Context) -> Verdict {
    let mut stream = watching(&cx, ask::watch_everything()).await?;
    let inner = ask::always(vec![ask::op_put("b", "1"), ask::op_put("a", "1")]);
    let ops = vec![ask::op_put("d", "1"), ask::op_txn(inner), ask::op_put("c", "1")];
    cx.store.txn(ask::always(ops)).await?;
    let frame = stream.next().await?;
    same!(brief(&frame.events), ["put d=1", "put b=1", "put a=1", "put c=1"]);
    Ok(())
}

async fn range_delete_is_one_frame_in_key_order(cx: Context) -> Verdict {
    cx.fill(&["c", "a", "b"]).await?;
    let mut stream = watching(&cx, ask::watch_everything()).await?;
    cx.store.delete_range(ask::delete_range("a", "z")).await?;
    same!(brief(&stream.next().await?.events), ["delete a", "delete b", "delete c"]);
    Ok(())
}

async fn txn_shows_only_the_watched_keys(cx: Context) -> Verdict {
    let mut stream = watching(&cx, ask::watch_range("b", "d")).await?;
    let ops = ["a", "b", "c", "d"].map(|key| ask::op_put(key, "1")).to_vec();
    cx.store.txn(ask::always(ops)).await?;
    same!(brief(&stream.next().await?.events), ["put b=1", "put c=1"]);
    Ok(())
}

async fn refused_writes_are_not_events(cx: Context) -> Verdict {
    let mut stream = watching(&cx, ask::watch_everything()).await?;
    let refused = PutRequest { lease: 995, ..ask::put("a", "1") };
    holds!(cx.store.put(refused.clone()).await.is_err());
    let ops = vec![ask::op_put("b", "1"), ask::op_put_with(refused)];
    holds!(cx.store.txn(ask::always(ops)).await.is_err());
    cx.put("c", "1").await?;
    same!(brief(&stream.events(0, 1).await?), ["put c=1"]);
    Ok(())
}

async fn delete_of_nothing_is_no_event(cx: Context) -> Verdict {
    let mut stream = watching(&cx, ask::watch_everything()).await?;
    cx.store.delete_range(ask::delete("a")).await?;
    stream.quiet(QUIET).await
}

async fn read_only_txn_is_no_event(cx: Context) -> Verdict {
    let mut stream = watching(&cx, ask::watch_everything()).await?;
    cx.store.txn(ask::always(vec![ask::op_range(ask::everything())])).await?;
    stream.quiet(QUIET).await
}

async fn lease_shows_in_the_event(cx: Context) -> Verdict {
    cx.store.lease_grant(ask::grant(111, 100)).await?;
    let mut stream = watching(&cx, ask::watch("a")).await?;
    cx.put_leased("a", 111).await?;
    same!(one(&mut stream).await?.kv.lease, 111);
    Ok(())
}

async fn revoke_is_delete_events_of_one_revision(cx: Context) -> Verdict {
    cx.store.lease_grant(ask::grant(112, 100)).await?;
    for key in ["c", "a", "b"] {
        cx.put_leased(key, 112).await?;
    }
    let before = cx.put("plain", "1").await?;
    let request = WatchCreateRequest { prev_kv: true, ..ask::watch_everything() };
    let mut stream = watching(&cx, request).await?;
    cx.store.lease_revoke(112).await?;
    let frame = stream.next().await?;
    same!(brief(&frame.events), ["delete a", "delete b", "delete c"]);
    holds!(frame.events.iter().all(|event| event.kv.mod_revision == before + 1));
    holds!(
        frame.events.iter().all(|event| event.prev_kv.as_ref().is_some_and(|kv| kv.lease == 112))
    );
    Ok(())
}

async fn live_header_is_the_event_revision(cx: Context) -> Verdict {
    let mut stream = watching(&cx, ask::watch("a")).await?;
    for _ in 0..3 {
        let written = cx.put("a", "1").await?;
        same!(stream.next().await?.header.revision, written);
        cx.put("other", "1").await?;
    }
    Ok(())
}

async fn compaction_does_not_disturb_a_live_watch(cx: Context) -> Verdict {
    let mut stream = watching(&cx, ask::watch("a")).await?;
    let now = cx.fill(&["b", "c"]).await?;
    cx.store.compact(ask::compact(now)).await?;
    cx.put("a", "1").await?;
    same!(brief(&stream.events(0, 1).await?), ["put a=1"]);
    Ok(())
}

async fn order_over_many_writes(cx: Context) -> Verdict {
    const WRITES: usize = 300;
    let mut stream = watching(&cx, ask::watch_everything()).await?;
    let mut first = 0;
    for i in 0..WRITES {
        let revision = cx.put(&format!("k{}", i % 7), &i.to_string()).await?;
        first = if i == 0 { revision } else { first };
    }
    let events = stream.events(0, WRITES).await?;
    for (i, event) in events.iter().enumerate() {
        same!(event.kv.mod_revision, first + i as i64);
        same!(event.kv.value, i.to_string().as_str());
    }
    Ok(())
}
