//! Random requests over few keys, so that they meet often.

use bytes::Bytes;
use proptest::prelude::*;
use skein_store_api::pb::etcdserverpb::compare::TargetUnion;
use skein_store_api::pb::etcdserverpb::request_op::Request;
use skein_store_api::pb::etcdserverpb::*;
use skein_store_mvcc::{Command, check};

pub(crate) fn key() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["a", "a/1", "a/2", "a/3", "b", "b/1", "c", "d"])
        .prop_map(|key| Bytes::from_static(key.as_bytes()))
}

pub(crate) fn range_end() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        3 => Just(Bytes::new()),
        1 => Just(Bytes::from_static(b"\0")),
        2 => Just(Bytes::from_static(b"b")),
        3 => key(),
    ]
}

fn value() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        1 => Just(Bytes::new()),
        4 => "[x-z]{1,3}".prop_map(Bytes::from),
    ]
}

fn lease() -> impl Strategy<Value = i64> {
    prop_oneof![3 => Just(0), 2 => 1i64..4]
}

fn put() -> impl Strategy<Value = PutRequest> {
    (key(), value(), lease(), any::<bool>(), 0u8..8).prop_map(
        |(key, value, lease, prev_kv, ignore)| {
            let (ignore_value, ignore_lease) =
                (ignore == 0 || ignore == 2, ignore == 1 || ignore == 2);
            PutRequest {
                key,
                value: if ignore_value { Bytes::new() } else { value },
                lease: if ignore_lease { 0 } else { lease },
                prev_kv,
                ignore_value,
                ignore_lease,
            }
        },
    )
}

fn delete() -> impl Strategy<Value = DeleteRangeRequest> {
    (key(), range_end(), any::<bool>()).prop_map(|(key, range_end, prev_kv)| DeleteRangeRequest {
        key,
        range_end,
        prev_kv,
    })
}

fn revision() -> impl Strategy<Value = i64> {
    prop_oneof![3 => Just(0i64), 2 => 1i64..40]
}

pub(crate) fn range() -> impl Strategy<Value = RangeRequest> {
    let bound = || prop_oneof![8 => Just(0i64), 1 => 1i64..30];
    (
        (key(), range_end(), 0i64..5, revision(), 0i32..3, 0i32..5),
        (prop::bool::weighted(0.2), prop::bool::weighted(0.2)),
        (bound(), bound(), bound(), bound()),
    )
        .prop_map(
            |((key, range_end, limit, revision, order, target), (keys, count), bounds)| {
                RangeRequest {
                    key,
                    range_end,
                    limit,
                    revision,
                    sort_order: order,
                    sort_target: target,
                    serializable: false,
                    keys_only: keys,
                    count_only: count,
                    min_mod_revision: bounds.0,
                    max_mod_revision: bounds.1,
                    min_create_revision: bounds.2,
                    max_create_revision: bounds.3,
                }
            },
        )
}

fn compare() -> impl Strategy<Value = Compare> {
    (key(), range_end(), 0i32..4, 0i32..5, 0i64..4, 1i64..30, value()).prop_map(
        |(key, range_end, result, target, small, large, value)| {
            let union = match target {
                0 => TargetUnion::Version(small),
                1 => TargetUnion::CreateRevision(large * (small.min(1))),
                2 => TargetUnion::ModRevision(large * (small.min(1))),
                3 => TargetUnion::Value(value),
                _ => TargetUnion::Lease(small),
            };
            Compare { result, target, key, range_end, target_union: Some(union) }
        },
    )
}

fn txn() -> impl Strategy<Value = TxnRequest> {
    let leaf = prop_oneof![
        2 => range().prop_map(Request::RequestRange),
        4 => put().prop_map(Request::RequestPut),
        2 => delete().prop_map(Request::RequestDeleteRange),
    ];
    let op = leaf.prop_recursive(2, 12, 3, |op| {
        let ops = || prop::collection::vec(op.clone(), 0..3);
        (prop::collection::vec(compare(), 0..2), ops(), ops()).prop_map(
            |(compare, success, failure)| Request::RequestTxn(build(compare, success, failure)),
        )
    });
    let ops = || prop::collection::vec(op.clone(), 0..4);
    (prop::collection::vec(compare(), 0..3), ops(), ops())
        .prop_map(|(compare, success, failure)| build(compare, success, failure))
        // Only what a server would propose.
        .prop_filter("a key is changed twice", |txn| check::txn(txn, 128).is_ok())
}

fn build(compare: Vec<Compare>, success: Vec<Request>, failure: Vec<Request>) -> TxnRequest {
    let ops = |list: Vec<Request>| {
        list.into_iter().map(|request| RequestOp { request: Some(request) }).collect()
    };
    TxnRequest { compare, success: ops(success), failure: ops(failure) }
}

pub(crate) fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        8 => put().prop_map(Command::Put),
        4 => delete().prop_map(Command::DeleteRange),
        5 => txn().prop_map(Command::Txn),
        1 => (0i64..40).prop_map(|revision| {
            Command::Compact(CompactionRequest { revision, physical: false })
        }),
        2 => (1i64..4, 1i64..9).prop_map(|(id, ttl)| {
            Command::LeaseGrant(LeaseGrantRequest { id, ttl })
        }),
        1 => (1i64..4).prop_map(|id| Command::LeaseRevoke(LeaseRevokeRequest { id })),
        2 => alarm().prop_map(Command::Alarm),
    ]
}

/// Disarmed more often than raised, so that most commands are not refused.
fn alarm() -> impl Strategy<Value = AlarmRequest> {
    (0i32..6, 1i32..3, 1u64..3).prop_map(|(action, alarm, member_id)| AlarmRequest {
        action: action.min(2),
        member_id,
        alarm,
    })
}
