//! The history leaves change by change and comes back as the same machine.

use skein_store_api::pb::etcdserverpb::{
    CompactionRequest, DeleteRangeRequest, LeaseGrantRequest, PutRequest,
};
use skein_store_mvcc::{
    Command, Machine, MachineConfig, Rebuild, RebuildError, Record, RecordedChange,
};

fn put(key: &str, lease: i64) -> Command {
    Command::Put(PutRequest { key: key.to_owned().into(), lease, ..Default::default() })
}

/// Keys with several versions, a revision of several changes, a lease, and tombstones.
fn machine(compact_at: i64) -> Machine {
    let mut machine = Machine::new(&MachineConfig::default());
    let all = DeleteRangeRequest { key: "a".into(), range_end: "c".into(), prev_kv: false };
    let mut commands = vec![Command::LeaseGrant(LeaseGrantRequest { id: 7, ttl: 60 })];
    commands.extend(["a", "b", "c", "a"].map(|key| put(key, 0)));
    commands.extend([put("d", 7), Command::DeleteRange(all), put("a", 0), put("c", 7)]);
    if compact_at > 0 {
        let compact = CompactionRequest { revision: compact_at, physical: false };
        commands.push(Command::Compact(compact));
    }
    for (at, command) in commands.iter().enumerate() {
        machine.apply(at as u64 + 1, command).unwrap();
    }
    machine
}

fn rebuilt(machine: &Machine) -> Machine {
    let mut rebuild = Rebuild::default();
    for record in machine.view().records() {
        rebuild.record(record).unwrap();
    }
    for (id, lease) in machine.leases().iter() {
        rebuild.lease(id, lease.granted_ttl()).unwrap();
    }
    let (revision, compacted) = (machine.view().revision(), machine.view().compact_revision());
    let config = MachineConfig::default();
    rebuild.finish(revision, compacted, machine.applied_index(), &config).unwrap()
}

#[test]
fn a_rebuilt_machine_is_the_same_at_every_compaction() {
    for compact_at in 0..=9 {
        let mut machine = machine(compact_at);
        while machine.scavenge(64) {}
        let again = rebuilt(&machine);
        let stream = |machine: &Machine| machine.snapshot().flatten().collect::<Vec<u8>>();
        assert_eq!(stream(&again), stream(&machine), "compacted at {compact_at}");
        assert_eq!(again.hash(), machine.hash(), "compacted at {compact_at}");
        assert_eq!(again.usage(), machine.usage(), "compacted at {compact_at}");
    }
}

#[test]
fn changes_come_in_the_order_in_which_they_were_made() {
    let machine = machine(0);
    let places: Vec<_> = machine.view().records().map(|r| (r.main, r.sub)).collect();
    assert_eq!(
        places,
        [2, 3, 4, 5, 6, 7, 7, 8, 9]
            .into_iter()
            .zip([0, 0, 0, 0, 0, 0, 1, 0, 0])
            .collect::<Vec<_>>()
    );
}

/// What an earlier compaction had left to do is done while rebuilding.
#[test]
fn what_compaction_does_not_retain_is_left_behind() {
    let mut rebuild = Rebuild::default();
    for record in machine(0).view().records() {
        rebuild.record(record).unwrap();
    }
    rebuild.lease(7, 60).unwrap();
    let again = rebuild.finish(0, 8, 10, &MachineConfig::default()).unwrap();
    let mut expected = machine(8);
    while expected.scavenge(64) {}
    assert_eq!(again.hash(), expected.hash());
    assert_eq!(again.usage(), expected.usage());
}

#[test]
fn a_history_that_cannot_be_is_refused() {
    let record = |main, change| Record { main, sub: 0, change };
    let delete = |main| record(main, RecordedChange::Delete("k".into()));
    let mut rebuild = Rebuild::default();
    rebuild.record(delete(5)).unwrap();
    for main in [5, 4, 0, -1] {
        let refused = rebuild.record(delete(main)).unwrap_err();
        assert!(matches!(refused, RebuildError::Order { .. }), "{refused}");
    }
    // No key; another revision than its own; no version; not a KeyValue.
    let puts: [&[u8]; 4] = [
        b"\x10\x06\x18\x06\x20\x01",
        b"\x0a\x01k\x10\x05\x18\x05\x20\x01",
        b"\x0a\x01k\x10\x06\x18\x06",
        b"\x0a\xff",
    ];
    for (at, kv) in puts.into_iter().enumerate() {
        let put = RecordedChange::Put(kv.into());
        let mut rebuild = Rebuild::default();
        let refused = rebuild.record(record(6, put)).unwrap_err();
        assert!(matches!(refused, RebuildError::Record { main: 6, .. }), "{at}: {refused}");
    }
    let mut rebuild = Rebuild::default();
    rebuild.lease(1, 10).unwrap();
    assert!(matches!(rebuild.lease(1, 10), Err(RebuildError::Lease { id: 1, .. })));
    assert!(matches!(rebuild.lease(0, 10), Err(RebuildError::Lease { id: 0, .. })));
}

/// A put of `k` as a record.
fn put_record(main: i64, create: i64, version: i64) -> Record {
    use prost::Message;
    let kv = skein_store_api::pb::mvccpb::KeyValue {
        key: "k".into(),
        create_revision: create,
        mod_revision: main,
        version,
        ..Default::default()
    };
    Record { main, sub: 0, change: RecordedChange::Put(kv.encode_to_vec().into()) }
}

#[test]
fn a_keys_changes_must_follow_from_each_other() {
    let delete = |main| Record { main, sub: 0, change: RecordedChange::Delete("k".into()) };
    let ends = |records: &[Record], compacted: i64| {
        let mut rebuild = Rebuild::default();
        let mut added = records.iter().map(|record| rebuild.record(record.clone()));
        added.find(Result::is_err).unwrap_or(Ok(()))?;
        rebuild.finish(0, compacted, 1, &MachineConfig::default()).map(|machine| machine.hash())
    };
    let good = [put_record(2, 2, 1), put_record(3, 2, 2), delete(4), put_record(5, 5, 1)];
    ends(&good, -1).unwrap();
    // A compaction takes what was before away, and nothing else may.
    ends(&good[1..], 3).unwrap();
    ends(&good[2..], 4).unwrap();
    for (records, compacted) in [(&good[1..], -1), (&good[1..], 2), (&good[2..], 3)] {
        let refused = ends(records, compacted).unwrap_err();
        assert!(matches!(refused, RebuildError::Record { .. }), "{refused}");
    }
    for last in [put_record(6, 5, 3), put_record(6, 6, 2), put_record(6, 6, 1)] {
        let refused = ends(&[&good[..], &[last]].concat(), -1).unwrap_err();
        assert!(matches!(refused, RebuildError::Record { main: 6, .. }), "{refused}");
    }
    let refused = ends(&[&good[..3], &[delete(5)]].concat(), -1).unwrap_err();
    assert!(matches!(refused, RebuildError::Record { main: 5, .. }), "{refused}");
}
