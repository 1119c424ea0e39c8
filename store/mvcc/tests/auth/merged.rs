//! What roles permit together, against a model that looks at one permission after the other.

use proptest::prelude::*;
use skein_store_api::pb::authpb::permission::Type;

use super::store::*;

type Range = (String, String);

/// Keys of one or two letters, so that ranges often touch, overlap and repeat.
fn key() -> impl Strategy<Value = String> {
    prop_oneof!["[a-d]", "[a-d][a-c]", "[a-d]\0"]
}

fn range() -> impl Strategy<Value = Range> {
    let end = prop_oneof![2 => Just(String::new()), 4 => key(), 1 => Just("\0".to_owned())];
    (key(), end)
}

fn permission() -> impl Strategy<Value = (Type, Range)> {
    let kind = prop_oneof![Just(Type::Read), Just(Type::Write), Just(Type::Readwrite)];
    let valid = |(key, end): &Range| end.is_empty() || end == "\0" || key < end;
    (kind, range().prop_filter("is granted", valid))
}

fn holds(range: &Range, key: &str) -> bool {
    match range.1.as_str() {
        "" => key == range.0,
        "\0" => key >= range.0.as_str(),
        end => key >= range.0.as_str() && key < end,
    }
}

/// If a range is not covered, then its smallest uncovered key is its start or the first key behind
/// some permission.
fn covered(permissions: &[Range], wanted: &Range) -> bool {
    let behind = permissions.iter().map(|(key, end)| match end.as_str() {
        "" => format!("{key}\0"),
        end => end.to_owned(),
    });
    let mut suspects = behind.filter(|key| holds(wanted, key)).chain([wanted.0.clone()]);
    suspects.all(|key| permissions.iter().any(|permission| holds(permission, &key)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn roles_together_permit_the_union(
        granted in prop::collection::vec((0usize..3, permission()), 0..8),
        wanted in prop::collection::vec(range(), 1..12),
    ) {
        let mut store = Store::enabled();
        let root = store.root();
        store.auth_for(&root, user_add("bob")).unwrap();
        for role in ["0", "1", "2"] {
            store.auth_for(&root, role_add(role)).unwrap();
            store.auth_for(&root, grant_role("bob", role)).unwrap();
        }
        for (role, (kind, (key, end))) in &granted {
            store.auth_for(&root, grant(&role.to_string(), *kind, key, end)).unwrap();
        }
        // Told from the roles themselves: a second grant of one range replaces the first.
        let auth = store.machine.auth();
        let held: Vec<_> = ["0", "1", "2"].iter().flat_map(|r| auth.permissions_of(r).unwrap()).collect();
        let of = |kind: Type| -> Vec<Range> {
            let kinds = [kind as i32, Type::Readwrite as i32];
            let held = held.iter().filter(|p| kinds.contains(&p.perm_type));
            held.map(|p| (text(&p.key), text(&p.range_end))).collect()
        };
        let (reads, writes) = (of(Type::Read), of(Type::Write));
        let bob = store.author("bob");
        let permit = store.machine.permit(Some(&bob));
        for (key, end) in wanted.iter().map(|(key, end)| (key.as_str(), end.as_str())) {
            let asked = (key.to_owned(), end.to_owned());
            let read = permit.read(key.as_bytes(), end.as_bytes()).is_ok();
            prop_assert_eq!(read, covered(&reads, &asked), "read {:?} of {:?}", asked, reads);
            let write = permit.write(key.as_bytes(), end.as_bytes()).is_ok();
            prop_assert_eq!(write, covered(&writes, &asked), "write {:?} of {:?}", asked, writes);
        }
    }
}
