//! What compaction leaves, and reads of the past, with histories made for the purpose.

use skein_store_api::pb::etcdserverpb::{
    CompactionRequest, DeleteRangeRequest, PutRequest, RangeRequest,
};
use skein_store_api::pb::mvccpb::event::EventType;
use skein_store_api::wire::{WatchEvent, watch_events};
use skein_store_mvcc::{
    Command, Compacted, KeyRange, Machine, MachineConfig, Poll, WatchCursor, WatchSpec,
};

/// A machine whose event log holds the newest revision only, so that watchers read history.
fn machine() -> Machine {
    Machine::new(&MachineConfig { event_log_bytes: 1 })
}

fn apply(machine: &mut Machine, command: Command) -> i64 {
    let index = machine.applied_index() + 1;
    machine.apply(index, &command).unwrap().revision
}

fn put(machine: &mut Machine, key: &str, value: &str) -> i64 {
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    apply(machine, Command::Put(PutRequest { key, value, ..Default::default() }))
}

fn delete(machine: &mut Machine, key: &str) -> i64 {
    let key = key.to_owned().into();
    apply(machine, Command::DeleteRange(DeleteRangeRequest { key, ..Default::default() }))
}

fn compact(machine: &mut Machine, revision: i64) {
    apply(machine, Command::Compact(CompactionRequest { revision, physical: false }));
    while machine.scavenge(1_000) {}
}

fn watch(machine: &Machine, start_revision: i64) -> Result<WatchCursor, Compacted> {
    let range = KeyRange::of_watch(b"", b"\0");
    let (no_put, no_delete) = (false, false);
    let spec = WatchSpec { range, start_revision, prev_kv: true, no_put, no_delete };
    WatchCursor::start(machine.events(), spec)
}

/// Everything a watcher sees from `start_revision` to now.
fn events(machine: &Machine, start_revision: i64) -> Vec<WatchEvent> {
    let mut cursor = watch(machine, start_revision).unwrap();
    let mut events = Vec::new();
    loop {
        let batch = match cursor.poll(machine.events(), 1) {
            Poll::Batch(batch) => batch,
            Poll::Behind => cursor.poll_history(machine.view(), 1).unwrap(),
        };
        events.extend(watch_events(&batch.events).unwrap());
        if batch.caught_up {
            return events;
        }
    }
}

#[test]
fn a_delete_at_the_compact_revision_can_still_be_watched() {
    let mut machine = machine();
    put(&mut machine, "a", "1");
    let gone = delete(&mut machine, "a");
    put(&mut machine, "b", "1");
    compact(&mut machine, gone);
    let seen = events(&machine, gone);
    assert_eq!(seen.len(), 2);
    assert_eq!((seen[0].kind, seen[0].kv.mod_revision), (EventType::Delete, gone));
    assert_eq!(seen[0].prev_kv, None, "the value before it is compacted");
    let compacted = Compacted { compact_revision: gone };
    assert_eq!(watch(&machine, gone - 1).err(), Some(compacted));
}

#[test]
fn a_value_that_is_compacted_but_still_in_memory_does_not_show() {
    let mut machine = machine();
    // More than the few changes that a command cleans up in passing.
    for at in 0..50 {
        put(&mut machine, &format!("filler{at}"), "");
    }
    put(&mut machine, "a", "1");
    let second = put(&mut machine, "a", "2");
    let third = put(&mut machine, "a", "3");
    put(&mut machine, "z", "");
    let before: Vec<_> = events(&machine, second).into_iter().take(2).collect();
    assert_eq!(before[0].prev_kv.as_ref().unwrap().value, "1");
    let revision = second;
    let command = Command::Compact(CompactionRequest { revision, physical: false });
    apply(&mut machine, command);
    assert_eq!(machine.usage().versions, 54, "nothing is freed yet");
    let after: Vec<_> = events(&machine, second).into_iter().take(2).collect();
    assert_eq!(after[0].kv.mod_revision, second);
    assert_eq!(after[0].prev_kv, None);
    assert_eq!((after[1].kv.mod_revision, &after[1].prev_kv), (third, &before[1].prev_kv));
}

#[test]
fn what_one_compaction_kept_for_watchers_the_next_frees() {
    let mut machine = machine();
    for round in 0..5 {
        for key in ["a", "b", "c"] {
            put(&mut machine, key, "value");
        }
        for key in ["a", "b", "c"] {
            delete(&mut machine, key);
        }
        let revision = machine.view().revision();
        compact(&mut machine, revision);
        // The one tombstone of the compact revision.
        assert_eq!(machine.usage().versions, 1, "round {round}");
    }
    let revision = put(&mut machine, "d", "");
    compact(&mut machine, revision);
    assert_eq!(machine.usage().versions, 1);
    let revision = delete(&mut machine, "d");
    put(&mut machine, "e", "");
    compact(&mut machine, revision + 1);
    assert_eq!(machine.usage().versions, 1, "only e is left");
}

#[test]
fn a_watcher_that_compaction_overtakes_is_told_where_to_start() {
    let mut machine = machine();
    let mut cursor = watch(&machine, 0).unwrap();
    for _ in 0..10 {
        put(&mut machine, "a", "");
    }
    compact(&mut machine, 8);
    assert_eq!(cursor.poll(machine.events(), 1), Poll::Behind);
    let compacted = cursor.poll_history(machine.view(), 1);
    assert_eq!(compacted, Err(Compacted { compact_revision: 8 }));
}

#[test]
fn a_watcher_of_quiet_keys_survives_compaction() {
    let mut machine = Machine::new(&MachineConfig::default());
    let mut cursor = watch(&machine, 0).unwrap();
    for _ in 0..10 {
        put(&mut machine, "a", "");
    }
    // It was not polled all the while, but the log still holds what it has not seen.
    compact(&mut machine, 8);
    let Poll::Batch(batch) = cursor.poll(machine.events(), 1 << 20) else { panic!("behind") };
    assert_eq!((batch.events.len(), batch.caught_up), (10, true));
}

#[test]
fn keys_are_counted_at_any_revision() {
    let mut machine = machine();
    let mut counts = vec![(1, 0)];
    for at in 0..300 {
        let revision = put(&mut machine, &format!("k{at:03}"), "");
        counts.push((revision, counts[counts.len() - 1].1 + 1));
    }
    // Few changes after many keys: counting looks at the changes, not at the keys.
    for at in 0..40 {
        let keys = counts[counts.len() - 1].1;
        let (revision, change) = match at % 4 {
            0 => (delete(&mut machine, &format!("k{at:03}")), -1),
            1 => (put(&mut machine, &format!("k{:03}", at - 1), "again"), 1),
            2 => (put(&mut machine, "k200", "changed"), 0),
            _ => (put(&mut machine, &format!("outside{at}"), ""), 0),
        };
        counts.push((revision, keys + change));
    }
    let count = |revision, limit, count_only| {
        let (key, range_end) = ("k".into(), "l".into());
        let request =
            RangeRequest { key, range_end, revision, limit, count_only, ..Default::default() };
        machine.view().range(&request).unwrap().count
    };
    for &(revision, expected) in &counts {
        for limit in [0, 1, 7] {
            assert_eq!(count(revision, limit, false), expected, "at {revision}");
        }
        assert_eq!(count(revision, 0, true), expected, "at {revision}");
    }
}

#[test]
fn a_transaction_may_change_a_key_twice_and_events_tell_both() {
    use skein_store_api::pb::etcdserverpb::{RequestOp, TxnRequest, request_op::Request};
    let mut machine = machine();
    put(&mut machine, "k", "old");
    let put =
        PutRequest { key: "k".into(), value: "new".into(), prev_kv: true, ..Default::default() };
    let delete = DeleteRangeRequest { key: "a".into(), range_end: "\0".into(), prev_kv: true };
    let success = [Request::RequestPut(put), Request::RequestDeleteRange(delete)]
        .map(|request| RequestOp { request: Some(request) })
        .to_vec();
    let revision = apply(&mut machine, Command::Txn(TxnRequest { success, ..Default::default() }));
    assert_eq!(machine.view().len(), 0);
    for seen in [events(&machine, revision), {
        // Out of the log, so that the second look reads history.
        let mut later = machine;
        self::put(&mut later, "z", "");
        events(&later, revision)
    }] {
        let told: Vec<_> = seen[..2]
            .iter()
            .map(|event| (event.kind, event.prev_kv.as_ref().map(|kv| kv.value.clone())))
            .collect();
        let old = Some("old".into());
        assert_eq!(told, [(EventType::Put, old.clone()), (EventType::Delete, old)]);
    }
}
