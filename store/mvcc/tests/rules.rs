//! Rules of the API that random commands seldom meet: what is refused, in which order, and with
//! which error. Sources: etcd 3.7, server/etcdserver/api/v3rpc/key.go and server/etcdserver/txn.

use bytes::Bytes;
use skein_store_api::ApiError;
use skein_store_api::pb::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use skein_store_api::pb::etcdserverpb::request_op::Request;
use skein_store_api::pb::etcdserverpb::*;
use skein_store_mvcc::{
    Applied, Command, LeaseChange, Machine, MachineConfig, Response, check, is_read_only,
    is_serializable,
};

fn put(key: &str, value: &str) -> PutRequest {
    let (key, value) =
        (Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value.as_bytes()));
    PutRequest { key, value, ..Default::default() }
}

fn delete(key: &'static str, range_end: &'static str) -> DeleteRangeRequest {
    DeleteRangeRequest { key: key.into(), range_end: range_end.into(), prev_kv: false }
}

fn get(key: &'static str, revision: i64) -> RangeRequest {
    RangeRequest { key: key.into(), revision, ..Default::default() }
}

fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn put_op(key: &str) -> RequestOp {
    op(Request::RequestPut(put(key, "v")))
}

fn delete_op(key: &'static str, range_end: &'static str) -> RequestOp {
    op(Request::RequestDeleteRange(delete(key, range_end)))
}

fn txn(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> TxnRequest {
    TxnRequest { compare: vec![], success, failure }
}

fn nested(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> RequestOp {
    op(Request::RequestTxn(txn(success, failure)))
}

struct Store {
    machine: Machine,
    index: u64,
}

impl Store {
    fn new() -> Store {
        Store { machine: Machine::new(&MachineConfig::default()), index: 0 }
    }

    fn apply(&mut self, command: Command) -> Result<Applied, ApiError> {
        self.index += 1;
        self.machine.apply(self.index, &command)
    }

    fn put(&mut self, key: &str, value: &str) -> i64 {
        self.apply(Command::Put(put(key, value))).unwrap().revision
    }

    fn compact(&mut self, revision: i64) -> Result<Applied, ApiError> {
        self.apply(Command::Compact(CompactionRequest { revision, physical: false }))
    }

    fn grant(&mut self, id: i64) {
        self.apply(Command::LeaseGrant(LeaseGrantRequest { id, ttl: 10 })).unwrap();
    }
}

#[test]
fn a_fresh_store_is_at_revision_one_and_the_first_write_makes_two() {
    let mut store = Store::new();
    assert_eq!(store.machine.view().revision(), 1);
    assert_eq!(store.put("a", "1"), 2);
    let nothing = store.apply(Command::DeleteRange(delete("b", "c"))).unwrap();
    assert_eq!(nothing.revision, 2, "deleting nothing makes no revision");
}

#[test]
fn compaction_is_bounded_by_the_past_and_the_present() {
    let mut store = Store::new();
    assert_eq!(store.compact(-1), Err(ApiError::Compacted));
    assert!(store.compact(0).is_ok(), "a fresh store can be compacted at 0, as etcd's can");
    assert_eq!(store.compact(0), Err(ApiError::Compacted));
    assert_eq!(store.compact(2), Err(ApiError::FutureRevision));
    store.put("a", "1");
    store.put("a", "2");
    store.compact(3).unwrap();
    assert_eq!(store.compact(3), Err(ApiError::Compacted));
    let view = store.machine.view();
    assert_eq!(view.range(&get("a", 2)), Err(ApiError::Compacted));
    assert_eq!(view.range(&get("a", 3)).unwrap().count, 1, "the compact revision can be read");
    assert_eq!(view.range(&get("a", 4)), Err(ApiError::FutureRevision));
    assert_eq!(view.range(&get("a", -7)).unwrap().count, 1, "below zero means now");
}

#[test]
fn a_failed_command_changes_nothing() {
    let mut store = Store::new();
    store.put("a", "1");
    let before = store.machine.hash();
    let missing = PutRequest { ignore_value: true, ..put("b", "") };
    let leased = PutRequest { lease: 9, ..put("a", "2") };
    for (command, error) in [
        (Command::Put(missing.clone()), ApiError::KeyNotFound),
        (Command::Put(leased.clone()), ApiError::LeaseNotFound),
        // The lease is looked at before the key.
        (Command::Put(PutRequest { lease: 9, ..missing.clone() }), ApiError::LeaseNotFound),
        (
            Command::Txn(txn(vec![put_op("c"), op(Request::RequestPut(missing))], vec![])),
            ApiError::KeyNotFound,
        ),
        (
            Command::Txn(txn(vec![put_op("c"), op(Request::RequestPut(leased))], vec![])),
            ApiError::LeaseNotFound,
        ),
        (
            // The revision this transaction would make is still the future for its own ranges.
            Command::Txn(txn(vec![put_op("c"), op(Request::RequestRange(get("a", 3)))], vec![])),
            ApiError::FutureRevision,
        ),
        (
            Command::Txn(txn(vec![put_op("c"), op(Request::RequestRange(get("a", -9)))], vec![])),
            ApiError::Compacted,
        ),
        (Command::LeaseRevoke(LeaseRevokeRequest { id: 9 }), ApiError::LeaseNotFound),
        (Command::LeaseGrant(LeaseGrantRequest { id: 0, ttl: 5 }), ApiError::LeaseNotFound),
        (
            Command::LeaseGrant(LeaseGrantRequest { id: 1, ttl: 9_000_000_001 }),
            ApiError::LeaseTtlTooLarge,
        ),
    ] {
        assert_eq!(store.apply(command.clone()), Err(error), "{command:?}");
        assert_eq!(store.machine.hash(), before, "{command:?}");
        assert_eq!(store.machine.applied_index(), store.index);
    }
}

#[test]
fn errors_of_the_branch_not_taken_do_not_matter() {
    let mut store = Store::new();
    let missing = PutRequest { ignore_lease: true, ..put("b", "") };
    let request = txn(vec![put_op("a")], vec![op(Request::RequestPut(missing))]);
    assert!(store.apply(Command::Txn(request)).is_ok());
}

#[test]
fn a_revoked_lease_takes_its_keys_in_one_revision_in_order() {
    let mut store = Store::new();
    store.grant(7);
    for key in ["c", "a", "b"] {
        store.apply(Command::Put(PutRequest { lease: 7, ..put(key, "v") })).unwrap();
    }
    // Putting a key without a lease, or deleting it, detaches it.
    store.put("b", "kept");
    store.apply(Command::Put(PutRequest { lease: 7, ..put("d", "v") })).unwrap();
    store.apply(Command::DeleteRange(delete("d", ""))).unwrap();
    let lease = store.machine.leases().get(7).unwrap();
    assert!(lease.keys().eq([b"a", b"c"]));
    let before = store.machine.view().revision();
    let applied = store.apply(Command::LeaseRevoke(LeaseRevokeRequest { id: 7 })).unwrap();
    assert_eq!(applied.revision, before + 1);
    assert_eq!(applied.lease, Some(LeaseChange::Revoked { id: 7 }));
    assert_eq!(store.machine.view().len(), 1);
    store.grant(7);
    let applied = store.apply(Command::LeaseRevoke(LeaseRevokeRequest { id: 7 })).unwrap();
    assert_eq!(applied.revision, before + 1, "a lease without keys makes no revision");
}

#[test]
#[should_panic(expected = "applied already")]
fn an_entry_is_never_applied_twice() {
    let mut store = Store::new();
    store.put("a", "1");
    store.index -= 1;
    store.put("a", "1");
}

#[test]
fn answers_inside_of_a_transaction_carry_its_revision() {
    let mut store = Store::new();
    store.put("a", "1");
    let request = txn(
        vec![
            op(Request::RequestRange(get("b", 0))),
            put_op("b"),
            op(Request::RequestRange(get("b", 0))),
            nested(vec![delete_op("a", "")], vec![]),
        ],
        vec![],
    );
    let applied = store.apply(Command::Txn(request)).unwrap();
    let Response::Txn(response) = applied.response else { panic!("an answer to something else") };
    let revision = |header: &Option<ResponseHeader>| header.as_ref().unwrap().revision;
    assert_eq!(revision(&response.header), 3);
    let inner: Vec<(i64, i64)> = response
        .responses
        .iter()
        .map(|op| match op.response.as_ref().unwrap() {
            response_op::Response::ResponseRange(r) => (revision(&r.header), r.count),
            response_op::Response::ResponsePut(r) => (revision(&r.header), 0),
            response_op::Response::ResponseDeleteRange(r) => (revision(&r.header), r.deleted),
            response_op::Response::ResponseTxn(r) => (revision(&r.header), 0),
        })
        .collect();
    assert_eq!(inner, [(2, 0), (3, 0), (3, 1), (0, 0)]);
}

#[test]
fn a_value_that_does_not_exist_compares_with_nothing() {
    let mut store = Store::new();
    store.put("a", "");
    let holds = |store: &Store, key: &'static str, result: CompareResult, union: TargetUnion| {
        let target = match union {
            TargetUnion::Value(_) => CompareTarget::Value,
            _ => CompareTarget::Version,
        };
        let mut compare =
            Compare { key: key.into(), target_union: Some(union), ..Default::default() };
        compare.set_result(result);
        compare.set_target(target);
        let request = TxnRequest { compare: vec![compare], ..Default::default() };
        store.machine.view().txn(&request).unwrap().succeeded
    };
    let empty = || TargetUnion::Value(Bytes::new());
    assert!(holds(&store, "a", CompareResult::Equal, empty()));
    assert!(!holds(&store, "none", CompareResult::Equal, empty()));
    assert!(!holds(&store, "none", CompareResult::NotEqual, empty()));
    assert!(holds(&store, "none", CompareResult::Equal, TargetUnion::Version(0)));
    assert!(holds(&store, "none", CompareResult::Less, TargetUnion::Version(1)));
}

#[test]
fn malformed_requests_are_refused_before_they_are_proposed() {
    let empty = RangeRequest::default();
    assert_eq!(check::range(&empty), Err(ApiError::EmptyKey));
    let unsorted = RangeRequest { sort_order: 3, ..get("a", 0) };
    assert_eq!(check::range(&unsorted), Err(ApiError::InvalidSortOption));
    let unsorted = RangeRequest { sort_target: 5, ..get("a", 0) };
    assert_eq!(check::range(&unsorted), Err(ApiError::InvalidSortOption));
    let sorted = RangeRequest { sort_order: 2, ..get("a", 0) };
    assert_eq!(check::range_stream(&sorted), Err(ApiError::RangeStreamSort));
    let filtered = RangeRequest { max_mod_revision: 2, ..get("a", 0) };
    assert_eq!(check::range_stream(&filtered), Err(ApiError::RangeStreamFilter));

    assert_eq!(check::put(&put("", "v")), Err(ApiError::EmptyKey));
    let both = PutRequest { ignore_value: true, ..put("a", "v") };
    assert_eq!(check::put(&both), Err(ApiError::ValueProvided));
    let both = PutRequest { ignore_lease: true, lease: 3, ..put("a", "v") };
    assert_eq!(check::put(&both), Err(ApiError::LeaseProvided));
    assert_eq!(check::delete_range(&delete("", "z")), Err(ApiError::EmptyKey));

    let mut grant = LeaseGrantRequest { ttl: 1, id: 1 };
    assert_eq!(check::lease_grant(&mut grant, 2), Ok(()));
    assert_eq!(grant.ttl, 2);
    grant.ttl = 9_000_000_001;
    assert_eq!(check::lease_grant(&mut grant, 2), Err(ApiError::LeaseTtlTooLarge));
}

#[test]
fn a_transaction_has_room_for_so_many_operations() {
    let puts = |n: usize| (0..n).map(|i| put_op(&format!("k{i}"))).collect::<Vec<_>>();
    assert_eq!(check::txn(&txn(puts(128), puts(128)), 128), Ok(()));
    assert_eq!(check::txn(&txn(puts(129), vec![]), 128), Err(ApiError::TooManyOps));
    assert_eq!(check::txn(&txn(vec![], puts(129)), 128), Err(ApiError::TooManyOps));
    let compares = vec![Compare { key: "a".into(), ..Default::default() }; 129];
    let request = TxnRequest { compare: compares, ..Default::default() };
    assert_eq!(check::txn(&request, 128), Err(ApiError::TooManyOps));
    // A nested transaction has what its parent left.
    let request = txn(vec![nested(puts(127), vec![])], vec![]);
    assert_eq!(check::txn(&request, 128), Ok(()));
    let request = txn(vec![nested(puts(128), vec![])], vec![]);
    assert_eq!(check::txn(&request, 128), Err(ApiError::TooManyOps));
    let nothing = txn(vec![RequestOp { request: None }], vec![]);
    assert_eq!(check::txn(&nothing, 128), Err(ApiError::KeyNotFound));
    let keyless = TxnRequest { compare: vec![Compare::default()], ..Default::default() };
    assert_eq!(check::txn(&keyless, 128), Err(ApiError::EmptyKey));
}

#[test]
fn a_transaction_changes_no_key_twice() {
    let twice = Err(ApiError::DuplicateKey);
    for (request, expected) in [
        (txn(vec![put_op("a"), put_op("a")], vec![]), twice),
        (txn(vec![], vec![put_op("a"), put_op("a")]), twice),
        (txn(vec![put_op("a")], vec![put_op("a")]), Ok(())),
        (txn(vec![put_op("b"), delete_op("a", "c")], vec![]), twice),
        (txn(vec![delete_op("a", ""), put_op("a")], vec![]), twice),
        // etcd overlooks this overlap: see `check::txn`.
        (txn(vec![delete_op("a", "\0"), put_op("z")], vec![]), Ok(())),
        (txn(vec![delete_op("a", "c"), put_op("c")], vec![]), Ok(())),
        (txn(vec![delete_op("a", "c"), delete_op("b", "d")], vec![]), Ok(())),
        (txn(vec![put_op("a"), nested(vec![put_op("a")], vec![])], vec![]), twice),
        (txn(vec![put_op("a"), nested(vec![], vec![put_op("a")])], vec![]), twice),
        (txn(vec![nested(vec![put_op("a")], vec![put_op("a")])], vec![]), Ok(())),
        (
            txn(vec![nested(vec![put_op("a")], vec![]), nested(vec![], vec![put_op("a")])], vec![]),
            twice,
        ),
        (txn(vec![put_op("b"), nested(vec![delete_op("a", "c")], vec![])], vec![]), twice),
        (txn(vec![delete_op("a", "c"), nested(vec![], vec![put_op("b")])], vec![]), twice),
    ] {
        assert_eq!(check::txn(&request, 128), expected, "{request:?}");
    }
}

#[test]
fn only_ranges_make_a_transaction_read_only() {
    let range =
        |serializable| op(Request::RequestRange(RangeRequest { serializable, ..get("a", 0) }));
    let linear = txn(vec![range(false)], vec![range(true)]);
    assert!(is_read_only(&linear) && !is_serializable(&linear));
    let local = txn(vec![range(true)], vec![range(true)]);
    assert!(is_read_only(&local) && is_serializable(&local));
    for write in [put_op("a"), delete_op("a", ""), nested(vec![], vec![])] {
        let request = txn(vec![write], vec![]);
        assert!(!is_read_only(&request) && !is_serializable(&request));
        assert!(Store::new().machine.view().txn(&request).is_err());
    }
}
