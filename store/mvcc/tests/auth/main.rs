//! Users, roles and permissions, by the rules of etcd.

mod matrix;
mod merged;
mod store;

use base64::Engine;
use skein_store_api::ApiError;
use skein_store_mvcc::{AuthChange, AuthCommand, Authentication, Machine, restore};
use store::*;

#[test]
fn a_fresh_store_asks_nobody() {
    let store = Store::new();
    assert!(!store.machine.auth().enabled());
    assert_eq!(store.machine.auth().revision(), 1);
    assert_eq!(store.machine.permit(None).admin(), Ok(()));
}

#[test]
fn enabling_needs_root_with_its_role() {
    let mut store = Store::new();
    assert_eq!(store.auth(enable()), Err(ApiError::RootUserNotExist));
    store.auth(user_add("root")).unwrap();
    assert_eq!(store.auth(enable()), Err(ApiError::RootRoleNotExist));
    // Role root need not exist to be granted.
    store.auth(grant_role("root", "root")).unwrap();
    let before = store.machine.auth().revision();
    store.auth(enable()).unwrap();
    assert!(store.machine.auth().enabled());
    assert_eq!(store.machine.auth().revision(), before, "enabling is no change of users");
    store.auth_for(&store.root(), enable()).unwrap();
    assert_eq!(store.auth_for(&store.root(), disable()), Ok(Some(AuthChange::Disabled)));
    assert_eq!(store.machine.auth().revision(), before + 1);
    assert_eq!(store.auth(disable()), Ok(None), "disabling twice is no change");
    assert_eq!(store.machine.auth().revision(), before + 1);
}

#[test]
fn refusals_are_etcds_and_change_nothing() {
    let mut store = Store::enabled();
    let root = store.root();
    let before = (store.machine.auth().revision(), store.machine.hash());
    let refused = [
        (user_add(""), ApiError::UserEmpty),
        (user_add("alice"), ApiError::UserExists),
        (user_with_hash("bob", "not base64!"), ApiError::NoPasswordUser),
        (user_delete("root"), ApiError::InvalidAuthManagement),
        (user_delete("nobody"), ApiError::UserNotFound),
        (password("nobody", "h"), ApiError::UserNotFound),
        (grant_role("nobody", "reader"), ApiError::UserNotFound),
        (grant_role("alice", "none"), ApiError::RoleNotFound),
        (revoke_role("root", "root"), ApiError::InvalidAuthManagement),
        (revoke_role("nobody", "reader"), ApiError::UserNotFound),
        (revoke_role("alice", "none"), ApiError::RoleNotGranted),
        (role_add(""), ApiError::RoleEmpty),
        (role_add("reader"), ApiError::RoleExists),
        (role_delete("root"), ApiError::InvalidAuthManagement),
        (role_delete("none"), ApiError::RoleNotFound),
        (AuthCommand::RoleGrantPermission(Default::default()), ApiError::PermissionNotGiven),
        (grant("none", READ, "a", ""), ApiError::RoleNotFound),
        (grant("reader", READ, "", ""), ApiError::InvalidAuthManagement),
        (grant("reader", READ, "b", "a"), ApiError::InvalidAuthManagement),
        (grant("reader", READ, "b", "b"), ApiError::InvalidAuthManagement),
        (revoke("none", "a", ""), ApiError::RoleNotFound),
        (revoke("reader", "a", "zz"), ApiError::PermissionNotGranted),
    ];
    for (command, error) in refused {
        assert_eq!(store.auth_for(&root, command.clone()), Err(error), "{command:?}");
    }
    assert_eq!((store.machine.auth().revision(), store.machine.hash()), before);
}

#[test]
fn every_change_makes_one_revision() {
    let mut store = Store::enabled();
    let changes = [
        user_add("bob"),
        password("bob", "other"),
        role_add("r"),
        grant("r", READ, "a", ""),
        grant("r", WRITE, "a", ""),
        grant_role("bob", "r"),
        revoke_role("bob", "r"),
        revoke("r", "a", ""),
        role_delete("r"),
        user_delete("bob"),
    ];
    for change in changes {
        let before = store.machine.auth().revision();
        store.auth_for(&store.root(), change.clone()).unwrap();
        assert_eq!(store.machine.auth().revision(), before + 1, "{change:?}");
    }
    let before = store.machine.auth().revision();
    store.auth_for(&store.root(), grant_role("alice", "reader")).unwrap();
    assert_eq!(store.machine.auth().revision(), before, "a role is granted once");
}

#[test]
fn lists_are_in_order_and_deleting_a_role_takes_it_from_users() {
    let mut store = Store::enabled();
    store.auth_for(&store.root(), role_add("b")).unwrap();
    store.auth_for(&store.root(), grant_role("alice", "b")).unwrap();
    let auth = store.machine.auth();
    assert_eq!(auth.user_names(), ["alice", "root"]);
    assert_eq!(auth.role_names(), ["b", "reader"]);
    assert_eq!(auth.roles_of("alice").unwrap(), ["b", "reader"]);
    store.auth_for(&store.root(), role_delete("reader")).unwrap();
    assert_eq!(store.machine.auth().roles_of("alice").unwrap(), ["b"]);
    let alice = store.author("alice");
    assert_eq!(store.machine.permit(Some(&alice)).read(b"a", b""), Err(ApiError::PermissionDenied));
}

/// etcd compares a grant with the first permission of its key alone.
#[test]
fn a_second_range_of_a_key_is_granted_beside_itself() {
    let mut store = Store::new();
    for change in [
        role_add("r"),
        grant("r", READ, "foo", ""),
        grant("r", READ, "foo", "fop"),
        grant("r", WRITE, "foo", "fop"),
        grant("r", WRITE, "foo", ""),
        grant("r", READ, "a", "\0"),
    ] {
        store.auth(change).unwrap();
    }
    let held = store.machine.auth().permissions_of("r").unwrap();
    let held: Vec<_> =
        held.iter().map(|p| (p.perm_type, text(&p.key), text(&p.range_end))).collect();
    let (read, write) = (READ as i32, WRITE as i32);
    let expected = [
        (read, "a".into(), "\0".into()),
        (write, "foo".into(), String::new()),
        (read, "foo".into(), "fop".into()),
        (write, "foo".into(), "fop".into()),
    ];
    assert_eq!(held, expected);
    store.auth(revoke("r", "foo", "fop")).unwrap();
    assert_eq!(store.machine.auth().permissions_of("r").unwrap().len(), 2);
}

#[test]
fn only_root_changes_users() {
    let mut store = Store::enabled();
    let alice = store.author("alice");
    assert_eq!(store.auth(user_add("x")), Err(ApiError::UserEmpty));
    assert_eq!(store.auth_for(&alice, user_add("x")), Err(ApiError::PermissionDenied));
    let gone = store.author("gone");
    assert_eq!(store.auth_for(&gone, user_add("x")), Err(ApiError::UserNotFound));
}

#[test]
fn a_token_carries_the_index_at_which_it_was_given() {
    let mut store = Store::new();
    let asks = |name: &str, token: &str| {
        AuthCommand::Authenticate(Authentication { name: name.into(), simple_token: token.into() })
    };
    assert_eq!(store.auth(asks("root", "t")), Err(ApiError::AuthNotEnabled));
    let mut store = Store::enabled();
    assert_eq!(store.auth(asks("nobody", "t")), Err(ApiError::AuthFailed));
    store.auth_for(&store.root(), no_password("machine")).unwrap();
    assert_eq!(store.auth(asks("machine", "t")), Err(ApiError::AuthFailed));
    let change = store.auth(asks("alice", "t")).unwrap().unwrap();
    let AuthChange::Authenticated { user, simple_token, auth_revision } = &change else {
        panic!("{change:?}")
    };
    assert_eq!(user, "alice");
    let index = store.machine.applied_index();
    assert_eq!(simple_token.reveal(), format!("t.{index}"));
    assert_eq!(*auth_revision, store.machine.auth().revision());
    assert!(!format!("{change:?}").contains("t."), "{change:?}");
    let ended = Some(AuthChange::UserEnded { user: "alice".into() });
    assert_eq!(store.auth_for(&store.root(), password("alice", "h")).unwrap(), ended);
    assert_eq!(store.auth_for(&store.root(), user_delete("alice")).unwrap(), ended);
}

#[test]
fn hashes_are_kept_and_never_shown() {
    let mut store = Store::enabled();
    let auth = store.machine.auth();
    assert_eq!(auth.password_hash("alice"), Ok("hash of alice".into()));
    assert_eq!(auth.password_hash("nobody"), Err(ApiError::AuthFailed));
    store.auth_for(&store.root(), no_password("machine")).unwrap();
    assert_eq!(store.machine.auth().password_hash("machine"), Err(ApiError::NoPasswordUser));
    let encoded = base64::engine::general_purpose::STANDARD.encode("hash of alice");
    for shown in [format!("{:?}", store.machine), format!("{:?}", user_add("alice"))] {
        assert!(!shown.contains("hash of") && !shown.contains(&encoded));
    }
}

#[test]
fn users_and_roles_survive_in_a_snapshot() {
    let mut store = Store::enabled();
    let bytes: Vec<u8> = store.machine.snapshot().flatten().collect();
    let mut restored = restore(&bytes[..], &Default::default()).unwrap();
    assert_eq!(restored.auth(), store.machine.auth());
    assert_eq!(restored.hash(), store.machine.hash());
    let alice = store.author("alice");
    assert_eq!(restored.permit(Some(&alice)).read(b"a", b""), Ok(()));
    store.auth_for(&store.root(), password("alice", "another")).unwrap();
    restored.pass(store.machine.applied_index());
    assert_ne!(restored.hash(), store.machine.hash(), "a password is part of the state");
}

/// Chunk by chunk: kind 5 is users and roles. Without it the footer does not fit.
#[test]
fn a_snapshot_that_lost_its_users_is_not_taken() {
    let store = Store::enabled();
    let chunks = store.machine.snapshot().filter(|chunk| chunk[8] != 5);
    let bytes: Vec<u8> = chunks.flatten().collect();
    let error = restore(&bytes[..], &Default::default()).unwrap_err();
    assert!(error.to_string().contains("differ from the footer"), "{error}");
}

/// Version 1, as it was written before there were users.
#[test]
fn a_snapshot_from_before_users_is_read() {
    let bytes = store::version_1_snapshot();
    let restored: Machine = restore(&bytes[..], &Default::default()).unwrap();
    assert_eq!(restored.auth(), Machine::new(&Default::default()).auth());
    assert_eq!((restored.applied_index(), restored.view().revision()), (3, 1));
}
