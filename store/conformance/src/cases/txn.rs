//! Transactions: branches, order, nesting, revisions.

use skein_store_api::pb::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest, RequestOp};

use super::{Case, cases};
use crate::ask::{self, CompareResult, TargetUnion};
use crate::check::{Failure, Verdict, holds, refused, same};
use crate::context::Context;
use crate::endpoint::{Op, Txned};

pub(super) const CASES: &[Case] = cases!(Everywhere, "txn":
    empty_txn_succeeds_and_takes_no_revision,
    without_compares_takes_the_success_branch,
    failed_compare_takes_the_failure_branch,
    all_compares_must_hold,
    failed_compare_without_a_failure_branch,
    writes_share_one_revision,
    answers_come_in_the_order_of_the_operations,
    put_answers_carry_the_new_revision,
    read_sees_earlier_writes,
    read_does_not_see_later_writes,
    delete_sees_earlier_writes_of_other_keys,
    deletes_of_the_same_key_delete_once,
    put_and_its_read_at_an_old_revision,
    read_only_takes_no_revision,
    delete_of_nothing_takes_no_revision,
    nested_branches_are_chosen,
    nested_compare_sees_the_state_before_the_txn,
    nested_reads_see_outer_writes,
    nested_twice,
    nested_writes_share_the_revision,
    prev_kv_in_a_txn,
    prev_kv_sees_earlier_writes_of_the_txn,
    lease_in_a_txn,
    unknown_lease_applies_nothing,
    ignore_value_of_a_missing_key_applies_nothing,
    future_revision_applies_nothing,
    compacted_revision_applies_nothing,
    failing_branch_not_taken_is_harmless,
    count_and_limit_in_a_txn,
    create_only,
    compare_and_delete,
);

fn succeeded(ops: Vec<RequestOp>) -> skein_store_api::pb::etcdserverpb::TxnRequest {
    ask::always(ops)
}

fn exists(key: &str) -> skein_store_api::pb::etcdserverpb::Compare {
    ask::compare(key, CompareResult::Greater, TargetUnion::Version(0))
}

fn range_keys(op: &Op) -> Verdict<Vec<String>> {
    match op {
        Op::Range(ranged) => Ok(ranged.keys()),
        other => Err(Failure::new(format!("expected a range answer, got {other:?}"))),
    }
}

fn nested(op: &Op) -> Verdict<&Txned> {
    match op {
        Op::Txn(txned) => Ok(txned),
        other => Err(Failure::new(format!("expected a txn answer, got {other:?}"))),
    }
}

async fn empty_txn_succeeds_and_takes_no_revision(cx: Context) -> Verdict {
    let before = cx.put("a", "1").await?;
    let answer = cx.store.txn(succeeded(vec![])).await?;
    same!(answer.succeeded, true);
    same!(answer.ops, []);
    same!(answer.header.revision, before);
    Ok(())
}

async fn without_compares_takes_the_success_branch(cx: Context) -> Verdict {
    let request = ask::when(vec![], vec![ask::op_put("a", "yes")], vec![ask::op_put("a", "no")]);
    same!(cx.store.txn(request).await?.succeeded, true);
    same!(cx.kv("a").await?.value, "yes");
    Ok(())
}

async fn failed_compare_takes_the_failure_branch(cx: Context) -> Verdict {
    let (yes, no) = (vec![ask::op_put("a", "yes")], vec![ask::op_put("a", "no")]);
    let answer = cx.store.txn(ask::when(vec![exists("x")], yes, no)).await?;
    same!(answer.succeeded, false);
    same!(answer.ops.len(), 1);
    same!(cx.kv("a").await?.value, "no");
    Ok(())
}

async fn all_compares_must_hold(cx: Context) -> Verdict {
    cx.fill(&["a", "b"]).await?;
    let both = ask::when(vec![exists("a"), exists("b")], vec![], vec![]);
    same!(cx.store.txn(both).await?.succeeded, true);
    let one = ask::when(vec![exists("a"), exists("x")], vec![], vec![]);
    same!(cx.store.txn(one).await?.succeeded, false);
    Ok(())
}

async fn failed_compare_without_a_failure_branch(cx: Context) -> Verdict {
    let before = cx.put("a", "1").await?;
    let request = ask::when(vec![exists("x")], vec![ask::op_put("a", "2")], vec![]);
    let answer = cx.store.txn(request).await?;
    same!(answer.succeeded, false);
    same!(answer.ops, []);
    same!(answer.header.revision, before);
    Ok(())
}

async fn writes_share_one_revision(cx: Context) -> Verdict {
    let before = cx.fill(&["c"]).await?;
    let ops = vec![ask::op_put("a", "1"), ask::op_put("b", "1"), ask::op_delete(ask::delete("c"))];
    let answer = cx.store.txn(succeeded(ops)).await?;
    same!(answer.header.revision, before + 1);
    for kv in cx.everything().await?.kvs {
        same!((kv.create_revision, kv.mod_revision), (before + 1, before + 1));
    }
    same!(cx.put("d", "1").await?, before + 2);
    Ok(())
}

async fn answers_come_in_the_order_of_the_operations(cx: Context) -> Verdict {
    cx.fill(&["a", "b", "c"]).await?;
    let ops = vec![
        ask::op_delete(ask::delete("c")),
        ask::op_range(ask::get("a")),
        ask::op_put("b", "2"),
        ask::op_txn(succeeded(vec![])),
    ];
    let answer = cx.store.txn(succeeded(ops)).await?;
    same!(answer.ops.len(), 4);
    holds!(matches!(&answer.ops[0], Op::Delete(deleted) if deleted.deleted == 1));
    same!(range_keys(&answer.ops[1])?, ["a"]);
    holds!(matches!(&answer.ops[2], Op::Put(_)));
    holds!(nested(&answer.ops[3])?.succeeded);
    Ok(())
}

async fn put_answers_carry_the_new_revision(cx: Context) -> Verdict {
    let before = cx.put("a", "1").await?;
    let ops = vec![
        ask::op_range(ask::get("a")),
        ask::op_put("a", "2"),
        ask::op_range(ask::get("a")),
        ask::op_delete(ask::delete("x")),
        ask::op_delete(ask::delete("b")),
    ];
    let answer = cx.store.txn(succeeded(ops)).await?;
    let revisions: Vec<i64> = answer.ops.iter().map(op_revision).collect();
    same!(revisions, [before, before + 1, before + 1, before + 1, before + 1]);
    Ok(())
}

fn op_revision(op: &Op) -> i64 {
    match op {
        Op::Range(answer) => answer.header.revision,
        Op::Put(answer) => answer.header.revision,
        Op::Delete(answer) => answer.header.revision,
        Op::Txn(answer) => answer.header.revision,
        Op::Nothing => 0,
    }
}

async fn read_sees_earlier_writes(cx: Context) -> Verdict {
    cx.fill(&["b"]).await?;
    let ops = vec![
        ask::op_put("a", "1"),
        ask::op_delete(ask::delete("b")),
        ask::op_range(ask::everything()),
    ];
    let answer = cx.store.txn(succeeded(ops)).await?;
    same!(range_keys(&answer.ops[2])?, ["a"]);
    Ok(())
}

async fn read_does_not_see_later_writes(cx: Context) -> Verdict {
    cx.fill(&["b"]).await?;
    let ops = vec![ask::op_range(ask::everything()), ask::op_put("a", "1")];
    let answer = cx.store.txn(succeeded(ops)).await?;
    same!(range_keys(&answer.ops[0])?, ["b"]);
    Ok(())
}

async fn delete_sees_earlier_writes_of_other_keys(cx: Context) -> Verdict {
    cx.fill(&["b", "c"]).await?;
    let ops = vec![
        ask::op_delete(ask::delete("b")),
        ask::op_delete(ask::delete_range("a", "d")),
        ask::op_range(ask::everything()),
    ];
    let answer = cx.store.txn(succeeded(ops)).await?;
    holds!(matches!(&answer.ops[1], Op::Delete(deleted) if deleted.deleted == 1));
    same!(range_keys(&answer.ops[2])?, Vec::<String>::new());
    Ok(())
}

async fn deletes_of_the_same_key_delete_once(cx: Context) -> Verdict {
    let before = cx.fill(&["a"]).await?;
    let ops = vec![ask::op_delete(ask::delete("a")), ask::op_delete(ask::delete("a"))];
    let answer = cx.store.txn(succeeded(ops)).await?;
    let deleted: Vec<i64> = answer
        .ops
        .iter()
        .map(|op| match op {
            Op::Delete(deleted) => deleted.deleted,
            _ => -1,
        })
        .collect();
    same!(deleted, [1, 0]);
    same!(answer.header.revision, before + 1);
    Ok(())
}

async fn put_and_its_read_at_an_old_revision(cx: Context) -> Verdict {
    let old = cx.put("a", "old").await?;
    cx.put("a", "newer").await?;
    let then = RangeRequest { revision: old, ..ask::get("a") };
    let answer =
        cx.store.txn(succeeded(vec![ask::op_put("a", "newest"), ask::op_range(then)])).await?;
    holds!(matches!(&answer.ops[1], Op::Range(ranged) if ranged.kvs[0].value == "old"));
    Ok(())
}

async fn read_only_takes_no_revision(cx: Context) -> Verdict {
    let before = cx.fill(&["a", "b"]).await?;
    let ops = vec![ask::op_range(ask::get("a")), ask::op_range(ask::everything())];
    let answer = cx.store.txn(succeeded(ops)).await?;
    same!(answer.header.revision, before);
    same!(range_keys(&answer.ops[1])?, ["a", "b"]);
    Ok(())
}

async fn delete_of_nothing_takes_no_revision(cx: Context) -> Verdict {
    let before = cx.fill(&["a"]).await?;
    let answer = cx.store.txn(succeeded(vec![ask::op_delete(ask::delete("x"))])).await?;
    same!(answer.header.revision, before);
    same!(cx.revision().await?, before);
    Ok(())
}

async fn nested_branches_are_chosen(cx: Context) -> Verdict {
    cx.fill(&["a"]).await?;
    let yes = ask::when(vec![exists("a")], vec![ask::op_put("b", "yes")], vec![]);
    let no = ask::when(vec![exists("x")], vec![], vec![ask::op_put("c", "no")]);
    let answer = cx.store.txn(succeeded(vec![ask::op_txn(yes), ask::op_txn(no)])).await?;
    same!(nested(&answer.ops[0])?.succeeded, true);
    same!(nested(&answer.ops[1])?.succeeded, false);
    same!(cx.kv("b").await?.value, "yes");
    same!(cx.kv("c").await?.value, "no");
    Ok(())
}

/// Every compare of a transaction is evaluated before its first write.
async fn nested_compare_sees_the_state_before_the_txn(cx: Context) -> Verdict {
    let inner =
        ask::when(vec![exists("a")], vec![ask::op_put("b", "new")], vec![ask::op_put("b", "old")]);
    let answer = cx.store.txn(succeeded(vec![ask::op_put("a", "1"), ask::op_txn(inner)])).await?;
    same!(nested(&answer.ops[1])?.succeeded, false);
    same!(cx.kv("b").await?.value, "old");
    Ok(())
}

async fn nested_reads_see_outer_writes(cx: Context) -> Verdict {
    let inner = succeeded(vec![ask::op_range(ask::get("a"))]);
    let answer = cx.store.txn(succeeded(vec![ask::op_put("a", "1"), ask::op_txn(inner)])).await?;
    same!(range_keys(&nested(&answer.ops[1])?.ops[0])?, ["a"]);
    Ok(())
}

async fn nested_twice(cx: Context) -> Verdict {
    let innermost = succeeded(vec![ask::op_put("c", "3"), ask::op_range(ask::everything())]);
    let inner = succeeded(vec![ask::op_put("b", "2"), ask::op_txn(innermost)]);
    let answer = cx.store.txn(succeeded(vec![ask::op_put("a", "1"), ask::op_txn(inner)])).await?;
    let innermost = nested(&nested(&answer.ops[1])?.ops[1])?;
    same!(range_keys(&innermost.ops[1])?, ["a", "b", "c"]);
    Ok(())
}

async fn nested_writes_share_the_revision(cx: Context) -> Verdict {
    let before = cx.put("x", "1").await?;
    let inner = succeeded(vec![ask::op_put("b", "2")]);
    let ops = vec![ask::op_put("a", "1"), ask::op_txn(inner), ask::op_put("c", "3")];
    same!(cx.store.txn(succeeded(ops)).await?.header.revision, before + 1);
    for key in ["a", "b", "c"] {
        same!(cx.kv(key).await?.mod_revision, before + 1);
    }
    Ok(())
}

async fn prev_kv_in_a_txn(cx: Context) -> Verdict {
    cx.fill(&["a", "b"]).await?;
    let before = cx.everything().await?.kvs;
    let put = PutRequest { prev_kv: true, ..ask::put("a", "2") };
    let delete = DeleteRangeRequest { prev_kv: true, ..ask::delete("b") };
    let answer =
        cx.store.txn(succeeded(vec![ask::op_put_with(put), ask::op_delete(delete)])).await?;
    holds!(
        matches!(&answer.ops[0], Op::Put(written) if written.prev_kv.as_ref() == before.first())
    );
    holds!(matches!(&answer.ops[1], Op::Delete(deleted) if deleted.prev_kvs == before[1..]));
    Ok(())
}

async fn prev_kv_sees_earlier_writes_of_the_txn(cx: Context) -> Verdict {
    cx.fill(&["a", "b"]).await?;
    let delete = DeleteRangeRequest { prev_kv: true, ..ask::delete_range("a", "c") };
    let ops = vec![ask::op_delete(ask::delete("a")), ask::op_delete(delete)];
    let answer = cx.store.txn(succeeded(ops)).await?;
    holds!(matches!(&answer.ops[1], Op::Delete(deleted)
        if deleted.prev_kvs.len() == 1 && deleted.prev_kvs[0].key == "b"));
    Ok(())
}

async fn lease_in_a_txn(cx: Context) -> Verdict {
    cx.store.lease_grant(ask::grant(91, 100)).await?;
    let leased = ask::op_put_with(PutRequest { lease: 91, ..ask::put("a", "1") });
    cx.store.txn(succeeded(vec![leased, ask::op_put("b", "1")])).await?;
    same!(cx.kv("a").await?.lease, 91);
    cx.store.lease_revoke(91).await?;
    same!(cx.everything().await?.keys(), ["b"]);
    Ok(())
}

async fn unknown_lease_applies_nothing(cx: Context) -> Verdict {
    let before = cx.put("a", "1").await?;
    let leased = ask::op_put_with(PutRequest { lease: 997, ..ask::put("b", "1") });
    let answer = cx.store.txn(succeeded(vec![ask::op_put("a", "2"), leased])).await;
    refused!(answer, NotFound, "etcdserver: requested lease not found");
    same!(cx.kv("a").await?.value, "1");
    same!(cx.revision().await?, before);
    Ok(())
}

async fn ignore_value_of_a_missing_key_applies_nothing(cx: Context) -> Verdict {
    let before = cx.put("a", "1").await?;
    let missing = ask::op_put_with(PutRequest { ignore_value: true, ..ask::put("b", "") });
    let answer = cx.store.txn(succeeded(vec![ask::op_put("a", "2"), missing])).await;
    refused!(answer, InvalidArgument, "etcdserver: key not found");
    same!(cx.kv("a").await?.value, "1");
    same!(cx.revision().await?, before);
    Ok(())
}

async fn future_revision_applies_nothing(cx: Context) -> Verdict {
    let before = cx.put("a", "1").await?;
    let read = ask::op_range(RangeRequest { revision: before + 1, ..ask::get("a") });
    let answer = cx.store.txn(succeeded(vec![ask::op_put("a", "2"), read])).await;
    refused!(answer, OutOfRange, "etcdserver: mvcc: required revision is a future revision");
    same!(cx.kv("a").await?.value, "1");
    same!(cx.revision().await?, before);
    Ok(())
}

async fn compacted_revision_applies_nothing(cx: Context) -> Verdict {
    let before = cx.fill(&["a", "a", "a"]).await?;
    cx.store.compact(ask::compact(before)).await?;
    let read = ask::op_range(RangeRequest { revision: before - 1, ..ask::get("a") });
    let answer = cx.store.txn(succeeded(vec![ask::op_put("b", "2"), read])).await;
    refused!(answer, OutOfRange, "etcdserver: mvcc: required revision has been compacted");
    same!(cx.get("b").await?, None);
    Ok(())
}

async fn failing_branch_not_taken_is_harmless(cx: Context) -> Verdict {
    let leased = ask::op_put_with(PutRequest { lease: 996, ..ask::put("b", "1") });
    let request = ask::when(vec![exists("x")], vec![leased], vec![ask::op_put("a", "1")]);
    same!(cx.store.txn(request).await?.succeeded, false);
    same!(cx.everything().await?.keys(), ["a"]);
    Ok(())
}

async fn count_and_limit_in_a_txn(cx: Context) -> Verdict {
    cx.fill(&["a", "b", "c"]).await?;
    let limited = RangeRequest { limit: 1, ..ask::everything() };
    let counted = RangeRequest { count_only: true, ..ask::everything() };
    let ops = vec![ask::op_put("d", "1"), ask::op_range(limited), ask::op_range(counted)];
    let answer = cx.store.txn(succeeded(ops)).await?;
    holds!(matches!(&answer.ops[1], Op::Range(ranged) if ranged.more && ranged.count == 4));
    holds!(
        matches!(&answer.ops[2], Op::Range(ranged) if ranged.kvs.is_empty() && ranged.count == 4)
    );
    Ok(())
}

async fn create_only(cx: Context) -> Verdict {
    let absent = || ask::compare("a", CompareResult::Equal, TargetUnion::ModRevision(0));
    let request = |value| {
        ask::when(vec![absent()], vec![ask::op_put("a", value)], vec![ask::op_range(ask::get("a"))])
    };
    same!(cx.store.txn(request("first")).await?.succeeded, true);
    let second = cx.store.txn(request("second")).await?;
    same!(second.succeeded, false);
    holds!(matches!(&second.ops[0], Op::Range(ranged) if ranged.kvs[0].value == "first"));
    Ok(())
}

async fn compare_and_delete(cx: Context) -> Verdict {
    let revision = cx.put("a", "1").await?;
    let request = |revision| {
        let unchanged = ask::compare("a", CompareResult::Equal, TargetUnion::ModRevision(revision));
        ask::when(vec![unchanged], vec![ask::op_delete(ask::delete("a"))], vec![])
    };
    same!(cx.store.txn(request(revision - 1)).await?.succeeded, false);
    same!(cx.store.txn(request(revision)).await?.succeeded, true);
    same!(cx.get("a").await?, None);
    Ok(())
}
