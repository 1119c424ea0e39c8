//! Limit, count, keys only, and the revision filters, alone and together.

use skein_store_api::pb::etcdserverpb::RangeRequest;

use super::{Case, cases};
use crate::ask;
use crate::check::{Verdict, holds, same};
use crate::context::Context;
use crate::endpoint::Ranged;

pub(super) const CASES: &[Case] = cases!(Everywhere, "range_bounds":
    limit_cuts_and_counts_everything,
    limit_equal_to_the_matches_is_not_more,
    limit_above_the_matches_is_not_more,
    limit_zero_is_no_limit,
    negative_limit_is_no_limit,
    limit_one_of_one_key,
    count_only_has_no_keys,
    count_only_with_a_limit_counts_everything,
    count_only_of_a_missing_key,
    keys_only_has_no_values,
    keys_only_with_a_limit,
    keys_only_and_count_only,
    keys_only_leaves_out_the_lease,
    keys_only_sorted_by_value_keeps_the_lease,
    min_mod_revision_filters,
    max_mod_revision_filters,
    min_create_revision_filters,
    max_create_revision_filters,
    filters_combine,
    filters_do_not_change_the_count,
    filters_apply_before_the_limit,
    filters_with_keys_only,
    filters_with_count_only,
    filters_on_an_old_revision,
    negative_filters_filter,
    paging_visits_each_key_once,
);

const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];

async fn ask_all(cx: &Context, change: fn(&mut RangeRequest)) -> Verdict<Ranged> {
    let mut request = ask::everything();
    change(&mut request);
    Ok(cx.store.range(request).await?)
}

async fn limit_cuts_and_counts_everything(cx: Context) -> Verdict {
    cx.fill(&KEYS).await?;
    let answer = ask_all(&cx, |r| r.limit = 2).await?;
    same!(answer.keys(), ["a", "b"]);
    same!(answer.count, 5);
    same!(answer.more, true);
    Ok(())
}

async fn limit_equal_to_the_matches_is_not_more(cx: Context) -> Verdict {
    cx.fill(&KEYS).await?;
    let answer = ask_all(&cx, |r| r.limit = 5).await?;
    same!(answer.keys(), KEYS);
    same!(answer.more, false);
    Ok(())
}

async fn limit_above_the_matches_is_not_more(cx: Context) -> Verdict {
    cx.fill(&KEYS).await?;
    let answer = ask_all(&cx, |r| r.limit = i64::MAX).await?;
    same!(answer.keys(), KEYS);
    same!(answer.count, 5);
    same!(answer.more, false);
    Ok(())
}

async fn limit_zero_is_no_limit(cx: Context) -> Verdict {
    cx.fill(&KEYS).await?;
    let answer = ask_all(&cx, |r| r.limit = 0).await?;
    same!(answer.keys(), KEYS);
    same!(answer.more, false);
    Ok(())
}

async fn negative_limit_is_no_limit(cx: Context) -> Verdict {
    cx.fill(&KEYS).await?;
    let answer = ask_all(&cx, |r| r.limit = -3).await?;
    same!(answer.keys(), KEYS);
    same!(answer.more, false);
    Ok(())
}

async fn limit_one_of_one_key(cx: Context) -> Verdict {
    cx.fill(&KEYS).await?;
    let answer = cx.store.range(RangeRequest { limit: 1, ..ask::get("c") }).await?;
    same!(answer.keys(), ["c"]);
    same!(answer.count, 1);
    same!(answer.more, false);
    Ok(())
}

async fn count_only_has_no_keys(cx: Context) -> Verdict {
    cx.fill(&KEYS).await?;
    let answer = ask_all(&cx, |r| r.count_only = true).await?;
    same!(answer.kvs, []);
    same!(answer.count, 5);
    same!(answer.more, false);
    Ok(())
}

async fn count_only_with_a_limit_counts_everything(cx: Context) -> Verdict {
    cx.fill(&KEYS).await?;
    let request = RangeRequest { count_only: true, limit: 2, ..ask::range("b", ask::FROM_KEY) };
    let answer = cx.store.range(request).await?;
    same!(answer.kvs, []);
    same!(answer.count, 4);
    same!(answer.more, false);
    Ok(())
}

async fn count_only_of_a_missing_key(cx: Context) -> Verdict {
    cx.fill(&KEYS).await?;
    let answer = cx.store.range(RangeRequest { count_only: true, ..ask::get("x") }).await?;
    same!(answer.count, 0);
    Ok(())
}

async fn keys_only_has_no_values(cx: Context) -> Verdict {
    let created = cx.put("a", "1").await?;
    let modified = cx.put("a", "2").await?;
    let answer = ask_all(&cx, |r| r.keys_only = true).await?;
    same!(answer.keys(), ["a"]);
    holds!(answer.kvs[0].value.0.is_empty());
    same!(answer.kvs[0].create_revision, created);
    same!(answer.kvs[0].mod_revision, modified);
    same!(answer.kvs[0].version, 2);
    Ok(())
}

async fn keys_only_with_a_limit(cx: Context) -> Verdict {
    cx.fill(&KEYS).await?;
    let answer = ask_all(&cx, |r| (r.keys_only, r.limit) = (true, 3)).await?;
    same!(answer.keys(), ["a", "b", "c"]);
    same!(answer.count, 5);
    same!(answer.more, true);
    Ok(())
}

async fn keys_only_and_count_only(cx: Context) -> Verdict {
    cx.fill(&KEYS).await?;
    let answer = ask_all(&cx, |r| (r.keys_only, r.count_only) = (true, true)).await?;
    same!(answer.kvs, []);
    same!(answer.count, 5);
    Ok(())
}

async fn keys_only_leaves_out_the_lease(cx: Context) -> Verdict {
    cx.store.lease_grant(ask::grant(71, 100)).await?;
    cx.put_leased("a", 71).await?;
    same!(cx.kv("a").await?.lease, 71);
    let answer = ask_all(&cx, |r| r.keys_only = true).await?;
    same!(answer.kvs[0].lease, 0);
    Ok(())
}

/// The value is needed for the order, so the record is read and its lease shows.
async fn keys_only_sorted_by_value_keeps_the_lease(cx: Context) -> Verdict {
    cx.store.lease_grant(ask::grant(72, 100)).await?;
    cx.put_leased("a", 72).await?;
    let by_value = ask::sorted(ask::SortTarget::Value, ask::SortOrder::Descend);
    let answer = cx.store.range(RangeRequest { keys_only: true, ..by_value }).await?;
    same!(answer.kvs[0].lease, 72);
    holds!(answer.kvs[0].value.0.is_empty());
    Ok(())
}

/// Five keys created in order, then `b` and `d` changed again; returns the first revision.
async fn aged(cx: &Context) -> Verdict<i64> {
    let last = cx.fill(&KEYS).await?;
    cx.fill(&["d", "b"]).await?;
    Ok(last - 4)
}

async fn min_mod_revision_filters(cx: Context) -> Verdict {
    let first = aged(&cx).await?;
    let request = RangeRequest { min_mod_revision: first + 4, ..ask::everything() };
    same!(cx.store.range(request).await?.keys(), ["b", "d", "e"]);
    Ok(())
}

async fn max_mod_revision_filters(cx: Context) -> Verdict {
    let first = aged(&cx).await?;
    let request = RangeRequest { max_mod_revision: first + 4, ..ask::everything() };
    same!(cx.store.range(request).await?.keys(), ["a", "c", "e"]);
    Ok(())
}

async fn min_create_revision_filters(cx: Context) -> Verdict {
    let first = aged(&cx).await?;
    let request = RangeRequest { min_create_revision: first + 2, ..ask::everything() };
    same!(cx.store.range(request).await?.keys(), ["c", "d", "e"]);
    Ok(())
}

async fn max_create_revision_filters(cx: Context) -> Verdict {
    let first = aged(&cx).await?;
    let request = RangeRequest { max_create_revision: first + 2, ..ask::everything() };
    same!(cx.store.range(request).await?.keys(), ["a", "b", "c"]);
    Ok(())
}

async fn filters_combine(cx: Context) -> Verdict {
    let first = aged(&cx).await?;
    let request = RangeRequest {
        min_mod_revision: first + 2,
        max_mod_revision: first + 5,
        min_create_revision: first + 3,
        max_create_revision: first + 4,
        ..ask::everything()
    };
    same!(cx.store.range(request).await?.keys(), ["d", "e"]);
    Ok(())
}

async fn filters_do_not_change_the_count(cx: Context) -> Verdict {
    let first = aged(&cx).await?;
    let request = RangeRequest { min_mod_revision: first + 5, ..ask::everything() };
    let answer = cx.store.range(request).await?;
    same!(answer.keys(), ["b", "d"]);
    same!(answer.count, 5);
    same!(answer.more, false);
    Ok(())
}

async fn filters_apply_before_the_limit(cx: Context) -> Verdict {
    let first = aged(&cx).await?;
    let request = RangeRequest { min_mod_revision: first + 2, limit: 2, ..ask::everything() };
    let answer = cx.store.range(request).await?;
    same!(answer.keys(), ["b", "c"]);
    same!(answer.more, true);
    same!(answer.count, 5);
    Ok(())
}

async fn filters_with_keys_only(cx: Context) -> Verdict {
    let first = aged(&cx).await?;
    let request = RangeRequest {
        max_mod_revision: first + 4,
        keys_only: true,
        limit: 1,
        ..ask::everything()
    };
    let answer = cx.store.range(request).await?;
    same!(answer.keys(), ["a"]);
    same!(answer.more, true);
    holds!(answer.kvs[0].value.0.is_empty());
    Ok(())
}

async fn filters_with_count_only(cx: Context) -> Verdict {
    let first = aged(&cx).await?;
    let request =
        RangeRequest { min_mod_revision: first + 5, count_only: true, ..ask::everything() };
    let answer = cx.store.range(request).await?;
    same!(answer.kvs, []);
    same!(answer.count, 5);
    Ok(())
}

async fn filters_on_an_old_revision(cx: Context) -> Verdict {
    let first = aged(&cx).await?;
    let request = RangeRequest {
        revision: first + 4,
        min_mod_revision: first + 1,
        max_mod_revision: first + 3,
        ..ask::everything()
    };
    same!(cx.store.range(request).await?.keys(), ["b", "c", "d"]);
    Ok(())
}

async fn negative_filters_filter(cx: Context) -> Verdict {
    aged(&cx).await?;
    same!(ask_all(&cx, |r| r.min_mod_revision = -1).await?.keys(), KEYS);
    same!(ask_all(&cx, |r| r.max_mod_revision = -1).await?.kvs, []);
    Ok(())
}

async fn paging_visits_each_key_once(cx: Context) -> Verdict {
    let revision = cx.fill(&KEYS).await?;
    let (mut from, mut seen) = (b"\0".to_vec(), Vec::new());
    loop {
        let request = RangeRequest { revision, limit: 2, ..ask::range("", ask::FROM_KEY) };
        let page = cx.store.range(RangeRequest { key: from.into(), ..request }).await?;
        seen.extend(page.keys());
        same!(page.count, 5 + page.kvs.len() as i64 - seen.len() as i64);
        cx.put("ab", "written between two pages").await?;
        match (page.more, page.kvs.last()) {
            (true, Some(last)) => from = [last.key.0.as_slice(), b"\0"].concat(),
            _ => break,
        }
    }
    same!(seen, KEYS);
    Ok(())
}
