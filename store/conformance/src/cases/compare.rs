//! Every target, every result, one key and ranges.

use skein_store_api::pb::etcdserverpb::Compare;

use super::{Case, cases};
use crate::ask::{self, CompareResult, CompareTarget, TargetUnion};
use crate::check::{Failure, Verdict};
use crate::context::Context;

pub(super) const CASES: &[Case] = cases!(Everywhere, "compare":
    version,
    create_revision,
    mod_revision,
    value,
    lease,
    missing_key_counts_as_zero,
    value_of_a_missing_key_never_holds,
    empty_value_is_a_value,
    value_order_is_by_bytes,
    range_needs_every_key,
    range_of_values,
    empty_range_counts_as_zero,
    value_of_an_empty_range_never_holds,
    from_key_range,
    unset_value_counts_as_zero,
    target_and_value_of_different_kinds,
    several_compares_of_one_key,
);

use CompareResult::{Equal, Greater, Less, NotEqual};

/// The results that hold when the stored value is less than, equal to, greater than the given.
const BELOW: [CompareResult; 2] = [Less, NotEqual];
const SAME: [CompareResult; 1] = [Equal];
const ABOVE: [CompareResult; 2] = [Greater, NotEqual];

/// Checks which of the four results hold.
async fn holding(
    cx: &Context,
    make: impl Fn(CompareResult) -> Compare,
    expected: &[CompareResult],
) -> Verdict {
    for result in [Equal, Greater, Less, NotEqual] {
        let compare = make(result);
        let answer = cx.store.txn(ask::when(vec![compare.clone()], vec![], vec![])).await?;
        if answer.succeeded != expected.contains(&result) {
            return Err(Failure::new(format!("{compare:?} gave {}", answer.succeeded)));
        }
    }
    Ok(())
}

/// Checks a number of one key: one below, equal, one above.
async fn number(cx: &Context, key: &str, is: i64, union: fn(i64) -> TargetUnion) -> Verdict {
    holding(cx, |result| ask::compare(key, result, union(is + 1)), &BELOW).await?;
    holding(cx, |result| ask::compare(key, result, union(is)), &SAME).await?;
    holding(cx, |result| ask::compare(key, result, union(is - 1)), &ABOVE).await
}

async fn version(cx: Context) -> Verdict {
    cx.fill(&["a", "a", "a"]).await?;
    number(&cx, "a", 3, TargetUnion::Version).await
}

async fn create_revision(cx: Context) -> Verdict {
    let last = cx.fill(&["a", "a", "b"]).await?;
    number(&cx, "a", last - 2, TargetUnion::CreateRevision).await
}

async fn mod_revision(cx: Context) -> Verdict {
    let last = cx.fill(&["a", "a", "b"]).await?;
    number(&cx, "a", last - 1, TargetUnion::ModRevision).await
}

async fn value(cx: Context) -> Verdict {
    cx.put("a", "m").await?;
    holding(&cx, |result| ask::compare("a", result, ask::value("n")), &BELOW).await?;
    holding(&cx, |result| ask::compare("a", result, ask::value("m")), &SAME).await?;
    holding(&cx, |result| ask::compare("a", result, ask::value("l")), &ABOVE).await
}

async fn lease(cx: Context) -> Verdict {
    cx.store.lease_grant(ask::grant(101, 100)).await?;
    cx.put_leased("a", 101).await?;
    cx.put("b", "1").await?;
    number(&cx, "a", 101, TargetUnion::Lease).await?;
    number(&cx, "b", 0, TargetUnion::Lease).await
}

async fn missing_key_counts_as_zero(cx: Context) -> Verdict {
    number(&cx, "x", 0, TargetUnion::Version).await?;
    number(&cx, "x", 0, TargetUnion::CreateRevision).await?;
    number(&cx, "x", 0, TargetUnion::ModRevision).await?;
    number(&cx, "x", 0, TargetUnion::Lease).await
}

async fn value_of_a_missing_key_never_holds(cx: Context) -> Verdict {
    holding(&cx, |result| ask::compare("x", result, ask::value("v")), &[]).await?;
    holding(&cx, |result| ask::compare("x", result, ask::value("")), &[]).await
}

async fn empty_value_is_a_value(cx: Context) -> Verdict {
    cx.put("a", "").await?;
    holding(&cx, |result| ask::compare("a", result, ask::value("")), &SAME).await?;
    holding(&cx, |result| ask::compare("a", result, ask::value("v")), &BELOW).await
}

async fn value_order_is_by_bytes(cx: Context) -> Verdict {
    cx.put("a", "10").await?;
    holding(&cx, |result| ask::compare("a", result, ask::value("9")), &BELOW).await?;
    holding(&cx, |result| ask::compare("a", result, ask::value("1")), &ABOVE).await
}

async fn range_needs_every_key(cx: Context) -> Verdict {
    cx.fill(&["a", "b", "b", "c"]).await?;
    let version =
        |end, is| move |result| ask::compare_range("a", end, result, TargetUnion::Version(is));
    holding(&cx, version("b", 1), &SAME).await?;
    holding(&cx, version("d", 1), &[]).await?;
    holding(&cx, version("d", 0), &ABOVE).await?;
    holding(&cx, version("d", 3), &BELOW).await
}

async fn range_of_values(cx: Context) -> Verdict {
    cx.put("a", "m").await?;
    cx.put("b", "n").await?;
    let value = |text| move |result| ask::compare_range("a", "c", result, ask::value(text));
    holding(&cx, value("m"), &[]).await?;
    holding(&cx, value("l"), &ABOVE).await?;
    holding(&cx, value("z"), &BELOW).await
}

async fn empty_range_counts_as_zero(cx: Context) -> Verdict {
    cx.fill(&["a"]).await?;
    let version = |is| move |result| ask::compare_range("x", "z", result, TargetUnion::Version(is));
    holding(&cx, version(0), &SAME).await?;
    holding(&cx, version(1), &BELOW).await
}

async fn value_of_an_empty_range_never_holds(cx: Context) -> Verdict {
    holding(&cx, |result| ask::compare_range("x", "z", result, ask::value("")), &[]).await
}

async fn from_key_range(cx: Context) -> Verdict {
    cx.fill(&["a", "b", "b", "c", "c"]).await?;
    let version = |key, is| {
        move |result| ask::compare_range(key, ask::FROM_KEY, result, TargetUnion::Version(is))
    };
    holding(&cx, version("b", 2), &SAME).await?;
    holding(&cx, version(ask::FROM_KEY, 2), &[]).await
}

async fn unset_value_counts_as_zero(cx: Context) -> Verdict {
    cx.fill(&["a"]).await?;
    let unset = |key: &str, target: CompareTarget| {
        let compare = ask::compare(key, Equal, TargetUnion::Version(0));
        Compare { target: target as i32, target_union: None, ..compare }
    };
    let with = |compare: Compare| {
        move |result: CompareResult| Compare { result: result as i32, ..compare.clone() }
    };
    holding(&cx, with(unset("a", CompareTarget::Version)), &ABOVE).await?;
    holding(&cx, with(unset("x", CompareTarget::Version)), &SAME).await?;
    holding(&cx, with(unset("a", CompareTarget::Value)), &ABOVE).await?;
    holding(&cx, with(unset("x", CompareTarget::Value)), &[]).await
}

/// The value of another kind is not read: it counts as unset.
async fn target_and_value_of_different_kinds(cx: Context) -> Verdict {
    cx.fill(&["a"]).await?;
    let mixed = |result: CompareResult| Compare {
        target: CompareTarget::Version as i32,
        ..ask::compare("a", result, TargetUnion::ModRevision(i64::MAX))
    };
    holding(&cx, mixed, &ABOVE).await
}

async fn several_compares_of_one_key(cx: Context) -> Verdict {
    let revision = cx.put("a", "m").await?;
    let compares = vec![
        ask::compare("a", Equal, TargetUnion::ModRevision(revision)),
        ask::compare("a", Less, ask::value("n")),
        ask::compare("a", NotEqual, TargetUnion::Version(7)),
    ];
    let answer = cx.store.txn(ask::when(compares, vec![], vec![])).await?;
    match answer.succeeded {
        true => Ok(()),
        false => Err(Failure::new("compares of one key did not all hold")),
    }
}
