//! Transactions that are refused before they are tried.

use skein_store_api::pb::etcdserverpb::{Compare, PutRequest, RangeRequest, RequestOp, TxnRequest};

use super::{Case, cases};
use crate::ask::{self, CompareResult, TargetUnion};
use crate::check::{Verdict, refused, same};
use crate::context::Context;

pub(super) const CASES: &[Case] = cases!(Everywhere, "txn_checks":
    same_key_put_twice_is_refused,
    same_key_put_in_both_branches_is_allowed,
    put_inside_an_earlier_delete_is_refused,
    put_inside_a_later_delete_is_refused,
    put_inside_a_deleted_range_is_refused,
    put_at_the_end_of_a_deleted_range_is_allowed,
    put_inside_a_from_key_delete_goes_unnoticed,
    delete_and_read_of_the_same_key_is_allowed,
    overlapping_deletes_are_allowed,
    nested_put_of_an_outer_put_is_refused,
    nested_put_inside_an_outer_delete_is_refused,
    nested_delete_of_an_outer_put_is_refused,
    nested_branches_exclude_each_other,
    two_nested_txns_with_the_same_put_are_refused,
    duplicate_in_a_branch_not_taken_is_refused,
    most_operations_allowed,
    too_many_operations_are_refused,
    too_many_failure_operations_are_refused,
    too_many_compares_are_refused,
    nesting_takes_from_the_budget,
    empty_key_of_an_operation_is_refused,
    empty_key_of_a_compare_is_refused,
    unset_operation_is_refused,
    invalid_sort_option_is_refused,
    value_with_ignore_value_is_refused,
    lease_with_ignore_lease_is_refused,
    nested_operations_are_checked,
    too_many_operations_come_before_duplicate_keys,
);

/// etcd's default bound on the operations of each list of one transaction.
const TXN_OPS_MAX: usize = 128;

const DUPLICATE: &str = "etcdserver: duplicate key given in txn request";
const TOO_MANY: &str = "etcdserver: too many operations in txn request";
const EMPTY_KEY: &str = "etcdserver: key is not provided";

async fn duplicate(cx: &Context, ops: Vec<RequestOp>) -> Verdict {
    refused!(cx.store.txn(ask::always(ops)).await, InvalidArgument, DUPLICATE);
    Ok(())
}

fn delete(key: &str, end: &str) -> RequestOp {
    ask::op_delete(ask::delete_range(key, end))
}

fn nested(ops: Vec<RequestOp>) -> RequestOp {
    ask::op_txn(ask::always(ops))
}

fn puts(count: usize) -> Vec<RequestOp> {
    (0..count).map(|i| ask::op_put(&format!("k{i:03}"), "v")).collect()
}

fn compares(count: usize) -> Vec<Compare> {
    let absent = |i| ask::compare(&format!("x{i}"), CompareResult::Equal, TargetUnion::Version(0));
    (0..count).map(absent).collect()
}

async fn same_key_put_twice_is_refused(cx: Context) -> Verdict {
    let before = cx.put("b", "1").await?;
    duplicate(&cx, vec![ask::op_put("a", "1"), ask::op_put("a", "2")]).await?;
    same!(cx.revision().await?, before);
    Ok(())
}

async fn same_key_put_in_both_branches_is_allowed(cx: Context) -> Verdict {
    let request = ask::when(vec![], vec![ask::op_put("a", "1")], vec![ask::op_put("a", "2")]);
    same!(cx.store.txn(request).await?.succeeded, true);
    Ok(())
}

async fn put_inside_an_earlier_delete_is_refused(cx: Context) -> Verdict {
    duplicate(&cx, vec![ask::op_delete(ask::delete("a")), ask::op_put("a", "1")]).await
}

async fn put_inside_a_later_delete_is_refused(cx: Context) -> Verdict {
    duplicate(&cx, vec![ask::op_put("a", "1"), ask::op_delete(ask::delete("a"))]).await
}

async fn put_inside_a_deleted_range_is_refused(cx: Context) -> Verdict {
    duplicate(&cx, vec![delete("a", "d"), ask::op_put("a", "1")]).await?;
    duplicate(&cx, vec![ask::op_put("c", "1"), delete("a", "d")]).await
}

async fn put_at_the_end_of_a_deleted_range_is_allowed(cx: Context) -> Verdict {
    cx.fill(&["a", "d"]).await?;
    cx.store.txn(ask::always(vec![delete("a", "d"), ask::op_put("d", "1")])).await?;
    same!(cx.everything().await?.keys(), ["d"]);
    Ok(())
}

/// etcd compares the put with the end as it is written, and "\0" is below every key: the overlap
/// is not found, and both operations are applied.
async fn put_inside_a_from_key_delete_goes_unnoticed(cx: Context) -> Verdict {
    cx.fill(&["b", "c"]).await?;
    cx.store.txn(ask::always(vec![delete("b", ask::FROM_KEY), ask::op_put("z", "1")])).await?;
    same!(cx.everything().await?.keys(), ["z"]);
    Ok(())
}

async fn delete_and_read_of_the_same_key_is_allowed(cx: Context) -> Verdict {
    cx.fill(&["a"]).await?;
    let ops = vec![ask::op_range(ask::get("a")), ask::op_delete(ask::delete("a"))];
    same!(cx.store.txn(ask::always(ops)).await?.ops.len(), 2);
    Ok(())
}

async fn overlapping_deletes_are_allowed(cx: Context) -> Verdict {
    cx.fill(&["a", "b", "c"]).await?;
    cx.store.txn(ask::always(vec![delete("a", "c"), delete("b", "d")])).await?;
    same!(cx.everything().await?.count, 0);
    Ok(())
}

async fn nested_put_of_an_outer_put_is_refused(cx: Context) -> Verdict {
    duplicate(&cx, vec![ask::op_put("a", "1"), nested(vec![ask::op_put("a", "2")])]).await?;
    duplicate(&cx, vec![nested(vec![ask::op_put("a", "2")]), ask::op_put("a", "1")]).await
}

async fn nested_put_inside_an_outer_delete_is_refused(cx: Context) -> Verdict {
    duplicate(&cx, vec![delete("a", "c"), nested(vec![ask::op_put("b", "2")])]).await
}

async fn nested_delete_of_an_outer_put_is_refused(cx: Context) -> Verdict {
    duplicate(&cx, vec![ask::op_put("b", "1"), nested(vec![delete("a", "c")])]).await
}

async fn nested_branches_exclude_each_other(cx: Context) -> Verdict {
    let inner = ask::when(vec![], vec![ask::op_put("a", "1")], vec![ask::op_put("a", "2")]);
    cx.store.txn(ask::always(vec![ask::op_txn(inner)])).await?;
    same!(cx.kv("a").await?.value, "1");
    Ok(())
}

async fn two_nested_txns_with_the_same_put_are_refused(cx: Context) -> Verdict {
    let inner = || nested(vec![ask::op_put("a", "1")]);
    duplicate(&cx, vec![inner(), inner()]).await
}

async fn duplicate_in_a_branch_not_taken_is_refused(cx: Context) -> Verdict {
    let twice = vec![ask::op_put("a", "1"), ask::op_put("a", "2")];
    let answer = cx.store.txn(ask::when(vec![], vec![], twice)).await;
    refused!(answer, InvalidArgument, DUPLICATE);
    Ok(())
}

async fn most_operations_allowed(cx: Context) -> Verdict {
    let request = TxnRequest {
        compare: compares(TXN_OPS_MAX),
        success: puts(TXN_OPS_MAX),
        failure: puts(TXN_OPS_MAX),
    };
    let answer = cx.store.txn(request).await?;
    same!(answer.ops.len(), TXN_OPS_MAX);
    same!(cx.everything().await?.count, TXN_OPS_MAX as i64);
    Ok(())
}

async fn too_many_operations_are_refused(cx: Context) -> Verdict {
    let answer = cx.store.txn(ask::always(puts(TXN_OPS_MAX + 1))).await;
    refused!(answer, InvalidArgument, TOO_MANY);
    Ok(())
}

async fn too_many_failure_operations_are_refused(cx: Context) -> Verdict {
    let answer = cx.store.txn(ask::when(vec![], vec![], puts(TXN_OPS_MAX + 1))).await;
    refused!(answer, InvalidArgument, TOO_MANY);
    Ok(())
}

async fn too_many_compares_are_refused(cx: Context) -> Verdict {
    let answer = cx.store.txn(ask::when(compares(TXN_OPS_MAX + 1), vec![], vec![])).await;
    refused!(answer, InvalidArgument, TOO_MANY);
    Ok(())
}

/// A nested transaction may have as many operations as its parent's longest list left over.
async fn nesting_takes_from_the_budget(cx: Context) -> Verdict {
    cx.store.txn(ask::always(vec![nested(puts(TXN_OPS_MAX - 1))])).await?;
    let answer = cx.store.txn(ask::always(vec![nested(puts(TXN_OPS_MAX))])).await;
    refused!(answer, InvalidArgument, TOO_MANY);
    let wide = ask::when(compares(100), vec![nested(puts(29))], vec![]);
    refused!(cx.store.txn(wide).await, InvalidArgument, TOO_MANY);
    Ok(())
}

async fn empty_key_of_an_operation_is_refused(cx: Context) -> Verdict {
    let each = [ask::op_put("", "v"), ask::op_range(ask::get("")), ask::op_delete(ask::delete(""))];
    for op in each {
        let answer = cx.store.txn(ask::always(vec![op])).await;
        refused!(answer, InvalidArgument, EMPTY_KEY);
    }
    Ok(())
}

async fn empty_key_of_a_compare_is_refused(cx: Context) -> Verdict {
    let nameless = ask::compare("", CompareResult::Equal, TargetUnion::Version(0));
    let answer = cx.store.txn(ask::when(vec![nameless], vec![], vec![])).await;
    refused!(answer, InvalidArgument, EMPTY_KEY);
    Ok(())
}

async fn unset_operation_is_refused(cx: Context) -> Verdict {
    let answer = cx.store.txn(ask::always(vec![RequestOp { request: None }])).await;
    refused!(answer, InvalidArgument, "etcdserver: key not found");
    Ok(())
}

async fn invalid_sort_option_is_refused(cx: Context) -> Verdict {
    let strange = RangeRequest { sort_order: 9, ..ask::everything() };
    let answer = cx.store.txn(ask::always(vec![ask::op_range(strange)])).await;
    refused!(answer, InvalidArgument, "etcdserver: invalid sort option");
    Ok(())
}

async fn value_with_ignore_value_is_refused(cx: Context) -> Verdict {
    let request = PutRequest { ignore_value: true, ..ask::put("a", "1") };
    let answer = cx.store.txn(ask::always(vec![ask::op_put_with(request)])).await;
    refused!(answer, InvalidArgument, "etcdserver: value is provided");
    Ok(())
}

async fn lease_with_ignore_lease_is_refused(cx: Context) -> Verdict {
    let request = PutRequest { ignore_lease: true, lease: 5, ..ask::put("a", "1") };
    let answer = cx.store.txn(ask::always(vec![ask::op_put_with(request)])).await;
    refused!(answer, InvalidArgument, "etcdserver: lease is provided");
    Ok(())
}

async fn nested_operations_are_checked(cx: Context) -> Verdict {
    let answer = cx.store.txn(ask::always(vec![nested(vec![ask::op_put("", "v")])])).await;
    refused!(answer, InvalidArgument, EMPTY_KEY);
    Ok(())
}

async fn too_many_operations_come_before_duplicate_keys(cx: Context) -> Verdict {
    let same = (0..=TXN_OPS_MAX).map(|_| ask::op_put("a", "1")).collect();
    refused!(cx.store.txn(ask::always(same)).await, InvalidArgument, TOO_MANY);
    Ok(())
}
