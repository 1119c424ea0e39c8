//! Who may do what, as it is judged where a command is applied.

use skein_store_api::ApiError::{self, *};
use skein_store_api::pb::etcdserverpb::request_op::Request;
use skein_store_api::pb::etcdserverpb::*;
use skein_store_mvcc::{Author, Command};

use super::store::*;

fn put(key: &str, lease: i64, prev_kv: bool) -> Command {
    Command::Put(PutRequest { key: key.to_owned().into(), lease, prev_kv, ..Default::default() })
}

fn delete(key: &str, range_end: &str, prev_kv: bool) -> Command {
    let (key, range_end) = (key.to_owned().into(), range_end.to_owned().into());
    Command::DeleteRange(DeleteRangeRequest { key, range_end, prev_kv })
}

fn op(command: Command) -> RequestOp {
    let request = match command {
        Command::Put(put) => Request::RequestPut(put),
        Command::DeleteRange(delete) => Request::RequestDeleteRange(delete),
        Command::Txn(txn) => Request::RequestTxn(txn),
        other => panic!("{other:?} is no operation of a transaction"),
    };
    RequestOp { request: Some(request) }
}

fn get(key: &str, range_end: &str) -> RequestOp {
    let (key, range_end) = (key.to_owned().into(), range_end.to_owned().into());
    RequestOp {
        request: Some(Request::RequestRange(RangeRequest { key, range_end, ..Default::default() })),
    }
}

fn compare(key: &str, range_end: &str) -> Compare {
    let (key, range_end) = (key.to_owned().into(), range_end.to_owned().into());
    Compare { key, range_end, ..Default::default() }
}

fn txn(compare: Vec<Compare>, success: Vec<RequestOp>, failure: Vec<RequestOp>) -> Command {
    Command::Txn(TxnRequest { compare, success, failure })
}

/// Alice reads and writes `a` to `c` and only reads `r` to `s`. Lease 7 holds `a`, lease 8 `x`.
fn store() -> Store {
    let mut store = Store::enabled();
    let root = store.root();
    for id in [7, 8, 9] {
        let grant = Command::LeaseGrant(LeaseGrantRequest { ttl: 10, id });
        store.apply(Some(&root), &grant).unwrap();
    }
    store.apply(Some(&root), &put("a", 7, false)).unwrap();
    store.apply(Some(&root), &put("x", 8, false)).unwrap();
    store
}

fn judged(command: Command, author: Option<&Author>) -> Result<(), ApiError> {
    store().apply(author, &command).map(drop)
}

#[test]
fn alice_reaches_what_her_role_does() {
    let alice = store().author("alice");
    let cases: Vec<(Command, Result<(), ApiError>)> = vec![
        (put("a", 0, true), Ok(())),
        (put("c", 0, false), Err(PermissionDenied)),
        (put("r", 0, false), Err(PermissionDenied)),
        (put("b", 7, false), Ok(())),
        (put("b", 8, false), Err(PermissionDenied)),
        (put("b", 404, false), Err(LeaseNotFound)),
        (put("c", 404, false), Err(PermissionDenied)),
        (delete("a", "c", true), Ok(())),
        (delete("a", "", false), Ok(())),
        (delete("a", "d", false), Err(PermissionDenied)),
        (delete("a", "\0", false), Err(PermissionDenied)),
        (delete("r", "", false), Err(PermissionDenied)),
        (txn(vec![compare("r", "")], vec![op(put("a", 0, false))], vec![get("rr", "")]), Ok(())),
        (txn(vec![compare("x", "")], vec![], vec![]), Err(PermissionDenied)),
        (txn(vec![compare("r", "\0")], vec![], vec![]), Err(PermissionDenied)),
        (txn(vec![], vec![op(put("b", 8, false))], vec![]), Err(PermissionDenied)),
        // The branch that is not taken counts too, and so do nested ones.
        (txn(vec![], vec![], vec![op(put("x", 0, false))]), Err(PermissionDenied)),
        (
            txn(vec![], vec![op(txn(vec![], vec![], vec![get("x", "")]))], vec![]),
            Err(PermissionDenied),
        ),
        (txn(vec![], vec![op(delete("r", "", true))], vec![]), Err(PermissionDenied)),
        (Command::LeaseRevoke(LeaseRevokeRequest { id: 7 }), Ok(())),
        (Command::LeaseRevoke(LeaseRevokeRequest { id: 8 }), Err(PermissionDenied)),
        (Command::LeaseRevoke(LeaseRevokeRequest { id: 9 }), Ok(())),
        (Command::LeaseRevoke(LeaseRevokeRequest { id: 404 }), Err(LeaseNotFound)),
    ];
    for (command, expected) in cases {
        assert_eq!(judged(command.clone(), Some(&alice)), expected, "{command:?}");
    }
}

#[test]
fn a_role_that_only_writes_does_not_see_what_was_there() {
    let mut store = store();
    let root = store.root();
    store.auth_for(&root, role_add("writer")).unwrap();
    store.auth_for(&root, grant("writer", WRITE, "w", "x")).unwrap();
    store.auth_for(&root, user_add("bob")).unwrap();
    store.auth_for(&root, grant_role("bob", "writer")).unwrap();
    let bob = store.author("bob");
    let mut judged = |command| store.apply(Some(&bob), &command).map(drop);
    assert_eq!(judged(put("w", 0, false)), Ok(()));
    assert_eq!(judged(put("w", 0, true)), Err(PermissionDenied));
    assert_eq!(judged(txn(vec![], vec![op(put("w", 0, true))], vec![])), Err(PermissionDenied));
    assert_eq!(judged(delete("w", "", true)), Err(PermissionDenied));
    assert_eq!(judged(delete("w", "", false)), Ok(()));
}

#[test]
fn who_says_nothing_may_nothing() {
    for command in
        [put("a", 0, false), delete("a", "", false), txn(vec![compare("a", "")], vec![], vec![])]
    {
        assert_eq!(judged(command, None), Err(UserEmpty));
    }
    assert_eq!(judged(Command::LeaseRevoke(LeaseRevokeRequest { id: 7 }), None), Err(UserEmpty));
    let store = store();
    let nobody = store.machine.permit(None);
    assert_eq!(nobody.identified(), Err(UserEmpty));
    assert_eq!(nobody.admin(), Err(UserEmpty));
    assert_eq!(nobody.leases_read(), Err(UserEmpty));
}

#[test]
fn an_identity_from_before_a_change_is_refused() {
    let mut store = store();
    let alice = store.author("alice");
    store.auth_for(&store.root(), user_add("new")).unwrap();
    assert_eq!(store.apply(Some(&alice), &put("a", 0, false)), Err(AuthOldRevision));
    let permit = store.machine.permit(Some(&alice));
    assert_eq!(permit.read(b"a", b""), Err(AuthOldRevision));
    assert_eq!(permit.admin(), Err(PermissionDenied), "asks for the user alone, as etcd does");
    let unknown = store.author("deleted");
    assert_eq!(store.apply(Some(&unknown), &put("a", 0, false)), Err(PermissionDenied));
}

#[test]
fn root_may_everything_and_so_may_members_at_any_revision() {
    let mut store = store();
    store.apply(Some(&store.root()), &delete("\0", "\0", true)).unwrap();
    store.apply(Some(&store.root()), &put("x", 8, true)).unwrap();
    let expired = Command::LeaseRevoke(LeaseRevokeRequest { id: 8 });
    store.apply(Some(&Author::member(1)), &expired).unwrap();
}

#[test]
fn everyone_sees_themselves() {
    let store = store();
    let alice = store.author("alice");
    let permit = store.machine.permit(Some(&alice));
    assert_eq!(permit.user("alice"), Ok(()));
    assert_eq!(permit.user("root"), Err(PermissionDenied));
    assert_eq!(permit.role("reader"), Ok(()));
    assert_eq!(permit.role("root"), Err(PermissionDenied));
    assert_eq!(permit.lease_read(7), Ok(()));
    assert_eq!(permit.lease_read(8), Err(PermissionDenied));
    assert_eq!(permit.leases_read(), Err(PermissionDenied));
    assert_eq!(store.machine.permit(Some(&store.root())).leases_read(), Ok(()));
}
