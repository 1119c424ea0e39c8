use super::*;
use proptest::prelude::*;
use skein_store_schema::StoreValue;
use skein_store_schema::kinds::agent_status::{AgentStatus, AgentStatusKey};
use skein_store_schema::kinds::node_report::NodeReportKey;
use skein_store_schema::kinds::pool::{Pool, PoolKey};

fn key(index: u8) -> PoolKey {
    PoolKey { pool: format!("p{index}").parse().unwrap() }
}

fn pool(size: u8) -> Pool {
    Pool { cidrs: vec![], mask_size: size }
}

fn entry(key: String, value: Vec<u8>, mod_revision: i64) -> Entry {
    let key = key.into_bytes();
    Entry { key, value, create_revision: mod_revision, mod_revision, version: 1, lease: 0 }
}

fn put(index: u8, size: u8, revision: i64) -> Change {
    Change::Put(entry(key(index).encode(), pool(size).encode(), revision))
}

fn delete(index: u8, mod_revision: i64) -> Change {
    Change::Delete { key: key(index).encode().into_bytes(), mod_revision }
}

fn begin(revision: i64, entries: Vec<Entry>) -> SyncEvent {
    SyncEvent::Begin(Snapshot { cluster_id: 1, revision, entries })
}

fn listed(rows: &[(u8, u8)], revision: i64) -> SyncEvent {
    let entries = rows
        .iter()
        .map(|(index, size)| entry(key(*index).encode(), pool(*size).encode(), revision));
    begin(revision, entries.collect())
}

/// What changed, as (key, old size, new size).
fn told(applied: Applied<PoolKey>) -> Vec<(PoolKey, Option<u8>, Option<u8>)> {
    let size = |pool: Option<Arc<Pool>>| pool.map(|pool| pool.mask_size);
    applied.changes.into_iter().map(|c| (c.key, size(c.old), size(c.new))).collect()
}

#[test]
fn changes_are_told_with_both_values() {
    let mut table = Table::<PoolKey>::default();
    assert_eq!(told(table.apply(&listed(&[(1, 24)], 5))), [(key(1), None, Some(24))]);
    let changes = SyncEvent::Changes(vec![put(1, 25, 6), put(2, 24, 6), delete(1, 7)]);
    assert_eq!(
        told(table.apply(&changes)),
        [(key(1), Some(24), Some(25)), (key(2), None, Some(24)), (key(1), Some(25), None)]
    );
    assert_eq!((table.len(), table.revision()), (1, 7));
}

#[test]
fn a_new_list_is_told_as_a_difference() {
    let mut table = Table::<PoolKey>::default();
    table.apply(&listed(&[(1, 24), (2, 24), (3, 24)], 5));
    let applied = told(table.apply(&listed(&[(1, 24), (3, 26), (4, 24)], 9)));
    assert_eq!(
        applied,
        [(key(3), Some(24), Some(26)), (key(4), None, Some(24)), (key(2), Some(24), None)]
    );
}

#[test]
fn in_sync_comes_with_the_event_and_goes_with_a_reset() {
    let mut table = Table::<PoolKey>::default();
    table.apply(&listed(&[], 5));
    assert!(!table.is_in_sync());
    table.apply(&SyncEvent::InSync { revision: 5 });
    table.apply(&SyncEvent::Lost { reason: String::new() });
    assert!(table.is_in_sync(), "a copy stays good while the store is away");
    let reason = crate::ResetReason::WentBack { was: 5, now: 1 };
    table.apply(&SyncEvent::Reset { reason });
    assert!(!table.is_in_sync());
}

#[test]
fn what_does_not_decode_counts_as_absent_and_is_named() {
    let mut table = Table::<PoolKey>::default();
    table.apply(&listed(&[(1, 24)], 5));
    let broken = Change::Put(entry(key(1).encode(), b"{\"v\":2}".to_vec(), 6));
    let applied = table.apply(&SyncEvent::Changes(vec![broken]));
    assert_eq!(applied.rejected.len(), 1);
    assert_eq!(told(applied), [(key(1), Some(24), None)]);
    assert!(table.is_empty());
    assert!(table.rejected().values().all(|error| error.to_string().contains("version 2")));
    table.apply(&SyncEvent::Changes(vec![put(1, 24, 7)]));
    assert!(table.rejected().is_empty());
    assert_eq!(table.len(), 1);
}

#[test]
fn other_kinds_in_a_shared_range_are_passed_over() {
    let mut table = Table::<AgentStatusKey>::default();
    let (report_key, report) = NodeReportKey::example();
    let (status_key, status) = AgentStatusKey::example();
    let entries = vec![
        entry(report_key.encode(), report.encode(), 1),
        entry(status_key.encode(), AgentStatus::encode(&status), 2),
        entry("skein/state/other".to_owned(), vec![], 3),
    ];
    let applied = table.apply(&begin(3, entries));
    assert_eq!((applied.changes.len(), applied.rejected.len()), (1, 0));
    assert_eq!(table.get(&status_key).map(|status| status.applied_revision), Some(4_711));
}

#[test]
fn older_changes_do_not_turn_a_row_back() {
    let mut table = Table::<PoolKey>::default();
    table.apply(&listed(&[(1, 26)], 9));
    let stale = SyncEvent::Changes(vec![put(1, 24, 7), delete(1, 8)]);
    assert!(told(table.apply(&stale)).is_empty());
    assert_eq!((table.len(), table.revision()), (1, 9));
}

#[test]
fn a_clone_is_a_snapshot() {
    let mut table = Table::<PoolKey>::default();
    table.apply(&listed(&[(1, 24)], 5));
    let before = table.clone();
    table.apply(&SyncEvent::Changes(vec![delete(1, 6)]));
    assert_eq!((before.len(), table.len()), (1, 0));
}

proptest! {
    /// A copy that followed every change equals a copy that listed at the end, and the changes it told,
    /// played onto an empty map, give the same.
    #[test]
    fn following_equals_listing(steps in prop::collection::vec((0..5_u8, 0..4_u8), 0..40)) {
        let mut table = Table::<PoolKey>::default();
        let mut model = BTreeMap::new();
        let mut replayed = BTreeMap::new();
        table.apply(&listed(&[], 1));
        for ((index, size), revision) in steps.into_iter().zip(2..) {
            let change = if size == 0 {
                model.remove(&index);
                delete(index, revision)
            } else {
                model.insert(index, size);
                put(index, size, revision)
            };
            for (key, _, new) in told(table.apply(&SyncEvent::Changes(vec![change]))) {
                match new {
                    Some(size) => replayed.insert(key, size),
                    None => replayed.remove(&key),
                };
            }
        }
        let rows: Vec<_> = model.into_iter().collect();
        let got: BTreeMap<_, _> = table.iter().map(|(k, v)| (k.clone(), v.mask_size)).collect();
        let want: BTreeMap<_, _> = rows.iter().map(|(index, size)| (key(*index), *size)).collect();
        prop_assert_eq!(&got, &want);
        prop_assert_eq!(&replayed, &want);
        prop_assert!(told(table.apply(&listed(&rows, 100))).is_empty());
    }
}
