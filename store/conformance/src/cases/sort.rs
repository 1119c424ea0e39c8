//! Sorted ranges.

use skein_store_api::pb::etcdserverpb::RangeRequest;

use super::{Case, cases};
use crate::ask::{self, SortOrder, SortTarget};
use crate::check::{Verdict, refused, same};
use crate::context::Context;

pub(super) const CASES: &[Case] = cases!(Everywhere, "sort":
    by_key,
    by_version,
    by_create_revision,
    by_mod_revision,
    by_value,
    order_none_with_a_target_is_ascending,
    order_none_with_a_target_sorts_only_the_page,
    limit_applies_after_the_order,
    order_of_an_old_revision,
    order_with_filters,
    order_with_count_only,
    keys_only_by_value,
    keys_only_by_version,
    unknown_order_is_refused,
    unknown_target_is_refused,
);

/// Keys whose versions, creations, changes and values are each in another order.
async fn mixed(cx: &Context) -> Verdict<i64> {
    let mut revision = 0;
    for (key, value) in [
        ("b", "9"),
        ("a", "9"),
        ("c", "9"),
        ("c", "3"),
        ("b", "9"),
        ("b", "1"),
        ("a", "2"),
        ("a", "2"),
        ("a", "2"),
    ] {
        revision = cx.put(key, value).await?;
    }
    Ok(revision)
}

async fn both_ways(cx: &Context, target: SortTarget, ascending: [&str; 3]) -> Verdict {
    let answer = cx.store.range(ask::sorted(target, SortOrder::Ascend)).await?;
    same!(answer.keys(), ascending);
    same!(answer.count, 3);
    let mut descending = ascending;
    descending.reverse();
    let answer = cx.store.range(ask::sorted(target, SortOrder::Descend)).await?;
    same!(answer.keys(), descending);
    Ok(())
}

async fn by_key(cx: Context) -> Verdict {
    mixed(&cx).await?;
    both_ways(&cx, SortTarget::Key, ["a", "b", "c"]).await
}

async fn by_version(cx: Context) -> Verdict {
    mixed(&cx).await?;
    both_ways(&cx, SortTarget::Version, ["c", "b", "a"]).await
}

async fn by_create_revision(cx: Context) -> Verdict {
    mixed(&cx).await?;
    both_ways(&cx, SortTarget::Create, ["b", "a", "c"]).await
}

async fn by_mod_revision(cx: Context) -> Verdict {
    mixed(&cx).await?;
    both_ways(&cx, SortTarget::Mod, ["c", "b", "a"]).await
}

async fn by_value(cx: Context) -> Verdict {
    mixed(&cx).await?;
    both_ways(&cx, SortTarget::Value, ["b", "a", "c"]).await
}

async fn order_none_with_a_target_is_ascending(cx: Context) -> Verdict {
    mixed(&cx).await?;
    let answer = cx.store.range(ask::sorted(SortTarget::Create, SortOrder::None)).await?;
    same!(answer.keys(), ["b", "a", "c"]);
    Ok(())
}

/// Without an order the limit cuts by key first; only what it left is sorted. The key beyond the
/// limit, read to know whether there are more, takes part and is then dropped.
async fn order_none_with_a_target_sorts_only_the_page(cx: Context) -> Verdict {
    cx.fill(&["d", "c", "b", "a"]).await?;
    let request = RangeRequest { limit: 2, ..ask::sorted(SortTarget::Create, SortOrder::None) };
    let answer = cx.store.range(request).await?;
    same!(answer.keys(), ["c", "b"]);
    same!(answer.more, true);
    same!(answer.count, 4);
    Ok(())
}

async fn limit_applies_after_the_order(cx: Context) -> Verdict {
    cx.fill(&["d", "c", "b", "a"]).await?;
    let request = RangeRequest { limit: 2, ..ask::sorted(SortTarget::Create, SortOrder::Ascend) };
    let answer = cx.store.range(request).await?;
    same!(answer.keys(), ["d", "c"]);
    same!(answer.more, true);
    same!(answer.count, 4);
    let request = RangeRequest { limit: 3, ..ask::sorted(SortTarget::Key, SortOrder::Descend) };
    same!(cx.store.range(request).await?.keys(), ["d", "c", "b"]);
    Ok(())
}

async fn order_of_an_old_revision(cx: Context) -> Verdict {
    let last = mixed(&cx).await?;
    let by_value = ask::sorted(SortTarget::Version, SortOrder::Descend);
    let answer = cx.store.range(RangeRequest { revision: last - 3, ..by_value }).await?;
    same!(answer.keys(), ["b", "c", "a"]);
    Ok(())
}

async fn order_with_filters(cx: Context) -> Verdict {
    let last = mixed(&cx).await?;
    let by_mod = ask::sorted(SortTarget::Mod, SortOrder::Descend);
    let answer = cx.store.range(RangeRequest { max_mod_revision: last - 1, ..by_mod }).await?;
    same!(answer.keys(), ["b", "c"]);
    same!(answer.count, 3);
    Ok(())
}

async fn order_with_count_only(cx: Context) -> Verdict {
    mixed(&cx).await?;
    let by_value = ask::sorted(SortTarget::Value, SortOrder::Descend);
    let answer = cx.store.range(RangeRequest { count_only: true, limit: 1, ..by_value }).await?;
    same!(answer.kvs, []);
    same!(answer.count, 3);
    same!(answer.more, false);
    Ok(())
}

async fn keys_only_by_value(cx: Context) -> Verdict {
    mixed(&cx).await?;
    let by_value = ask::sorted(SortTarget::Value, SortOrder::Ascend);
    let answer = cx.store.range(RangeRequest { keys_only: true, ..by_value }).await?;
    same!(answer.keys(), ["b", "a", "c"]);
    same!(answer.kvs[0].value, "");
    Ok(())
}

async fn keys_only_by_version(cx: Context) -> Verdict {
    mixed(&cx).await?;
    let by_version = ask::sorted(SortTarget::Version, SortOrder::Ascend);
    let answer = cx.store.range(RangeRequest { keys_only: true, limit: 2, ..by_version }).await?;
    same!(answer.keys(), ["c", "b"]);
    same!(answer.more, true);
    Ok(())
}

async fn unknown_order_is_refused(cx: Context) -> Verdict {
    let answer = cx.store.range(RangeRequest { sort_order: 7, ..ask::everything() }).await;
    refused!(answer, InvalidArgument, "etcdserver: invalid sort option");
    Ok(())
}

async fn unknown_target_is_refused(cx: Context) -> Verdict {
    let answer = cx.store.range(RangeRequest { sort_target: 7, ..ask::everything() }).await;
    refused!(answer, InvalidArgument, "etcdserver: invalid sort option");
    Ok(())
}
