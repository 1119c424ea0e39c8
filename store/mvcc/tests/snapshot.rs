//! Snapshots that must not be taken: cut, damaged, from another time.

use skein_store_api::pb::etcdserverpb::{
    CompactionRequest, LeaseGrantRequest, Member, PutRequest, RangeRequest,
};
use skein_store_mvcc::{Command, Machine, MachineConfig, MemberOp, SnapshotError, restore};

fn machine(keys: usize, value_bytes: usize) -> Machine {
    let mut machine = Machine::new(&MachineConfig::default());
    let grant = LeaseGrantRequest { id: 5, ttl: 60 };
    machine.apply(1, &Command::LeaseGrant(grant)).unwrap();
    for at in 0..keys {
        let put = PutRequest {
            key: format!("key/{:04}", at % 10).into(),
            value: vec![b'v'; value_bytes].into(),
            lease: if at % 3 == 0 { 5 } else { 0 },
            ..Default::default()
        };
        machine.apply(at as u64 + 2, &Command::Put(put)).unwrap();
    }
    machine
}

fn stream(machine: &Machine) -> Vec<u8> {
    machine.snapshot().flatten().collect()
}

#[test]
fn a_large_state_comes_back_from_many_chunks() {
    let mut machine = machine(400, 10_000);
    let before = stream(&machine);
    assert!(machine.snapshot().count() > 10, "keys with long histories are divided");
    let restored = restore(&before[..], &MachineConfig::default()).unwrap();
    assert_eq!(stream(&restored), before);
    assert_eq!(restored.hash(), machine.hash());
    assert_eq!(restored.usage(), machine.usage());

    // Compaction must shrink it, before the memory is freed and after.
    let revision = machine.view().revision();
    let compact = CompactionRequest { revision, physical: false };
    machine.apply(1000, &Command::Compact(compact)).unwrap();
    let compacted = stream(&machine);
    assert!(compacted.len() < before.len() / 20);
    while machine.scavenge(64) {}
    assert_eq!(stream(&machine), compacted);
    assert_eq!(machine.usage().versions, 10);
}

#[test]
fn a_snapshot_is_of_one_moment() {
    let mut machine = machine(20, 10);
    let chunks = machine.snapshot();
    let expected = stream(&machine);
    for index in 100..150 {
        let put = PutRequest { key: format!("late/{index}").into(), ..Default::default() };
        machine.apply(index, &Command::Put(put)).unwrap();
    }
    assert_eq!(chunks.flatten().collect::<Vec<u8>>(), expected);
}

#[test]
fn every_cut_and_every_flipped_bit_is_found() {
    let whole = stream(&machine(6, 20));
    let config = MachineConfig::default();
    for length in 0..whole.len() {
        let cut = restore(&whole[..length], &config).unwrap_err();
        assert!(matches!(cut, SnapshotError::Read { .. }), "cut at {length}: {cut}");
    }
    for at in 0..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[at / 8] ^= 1 << (at % 8);
        assert!(restore(&damaged[..], &config).is_err(), "bit {at}");
    }
}

#[test]
fn a_stream_may_go_on_behind_the_snapshot() {
    let mut file = stream(&machine(3, 5));
    file.extend_from_slice(b"something else");
    let mut reader = &file[..];
    restore(&mut reader, &MachineConfig::default()).unwrap();
    assert_eq!(reader, b"something else");
}

#[test]
fn chunks_of_two_snapshots_do_not_mix() {
    let one: Vec<_> = machine(3, 5).snapshot().collect();
    let other: Vec<_> = machine(4, 5).snapshot().collect();
    let last = one.len() - 1;
    let mixed: Vec<u8> = [&one[..last], &other[last..]].concat().into_iter().flatten().collect();
    let error = restore(&mixed[..], &MachineConfig::default()).unwrap_err();
    assert!(error.to_string().contains("differ from the footer"), "{error}");
}

#[test]
fn members_are_part_of_the_state() {
    let mut machine = machine(1, 1);
    let index = machine.applied_index();
    let add = |id| {
        let url = format!("http://m{id}:2380");
        MemberOp::Add(Member { id, peer_ur_ls: vec![url], ..Default::default() })
    };
    let ops = [add(5), add(6), MemberOp::Remove(5)];
    for (op, index) in ops.into_iter().zip(index + 1..) {
        machine.apply(index, &Command::Member(op)).unwrap();
    }
    machine.set_configuration(bytes::Bytes::from_static(b"who votes"));
    let back = restore(&stream(&machine)[..], &MachineConfig::default()).unwrap();
    assert_eq!(back.members(), machine.members());
    assert!(back.members().was_removed(5) && back.members().get(6).is_some());
    assert_eq!(back.members().configuration(), "who votes".as_bytes());
    assert_eq!(back.hash(), machine.hash());
}

#[test]
fn an_unknown_version_is_named() {
    let mut file = stream(&machine(1, 1));
    // The header's first field is the format version: tag, number.
    assert_eq!(file[9..11], [0x08, 2]);
    file[10] = 9;
    let length = u32::from_le_bytes([file[0], file[1], file[2], file[3]]) as usize;
    let checksum = crc32c::crc32c(&file[8..9 + length]);
    file[4..8].copy_from_slice(&checksum.to_le_bytes());
    let error = restore(&file[..], &MachineConfig::default()).unwrap_err();
    let expected = "snapshot has format version 9, this build reads versions 1 to 2";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn readers_on_other_threads_see_whole_revisions() {
    let mut machine = machine(10, 10);
    let (send, receive) = std::sync::mpsc::channel::<skein_store_mvcc::View>();
    let reader = std::thread::spawn(move || {
        let all = RangeRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() };
        let mut seen = 0;
        for view in receive {
            let answer = view.range(&all).unwrap();
            // Key number n was put in revision n + 2.
            assert_eq!(answer.count, (view.revision() - 11).clamp(0, 500) + 10);
            assert_eq!(answer.kvs.len() as i64, answer.count);
            seen += 1;
        }
        seen
    });
    for index in 100..600 {
        let put = PutRequest { key: format!("new/{index}").into(), ..Default::default() };
        machine.apply(index, &Command::Put(put)).unwrap();
        send.send(machine.view().clone()).unwrap();
    }
    drop(send);
    assert_eq!(reader.join().unwrap(), 500);
}
