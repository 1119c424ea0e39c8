use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;
use skein_store_raft::EntryKind;

use super::*;
use crate::disk::faulty::FaultyDisk;

const OWNER: Owner = Owner { cluster_id: 0xc1, member_id: 0x3e };
/// Small, so that tests roll.
const SMALL: u64 = 4096;

fn options() -> LogOptions {
    LogOptions { dir: "/log".into(), owner: OWNER, segment_bytes: SMALL }
}

fn open_at(disk: &FaultyDisk, base: u64) -> Result<(Log, Recovered), LogError> {
    let term = if base == 0 { 0 } else { entry(base, 0).term };
    Log::open(Arc::new(disk.clone()), &options(), (base, term))
}

fn open(disk: &FaultyDisk) -> (Log, Recovered) {
    open_at(disk, 0).expect("an undamaged log")
}

fn refusal(disk: &FaultyDisk) -> LogError {
    open_at(disk, 0).err().expect("a refusal")
}

fn entry(index: u64, len: usize) -> Entry {
    let data = Bytes::from(vec![index as u8; len]);
    Entry { index, term: 1 + index / 10, kind: EntryKind::Normal, data }
}

fn entries(range: std::ops::RangeInclusive<u64>) -> Vec<Entry> {
    range.map(|index| entry(index, 20 + (index as usize * 7) % 60)).collect()
}

fn state(commit: u64) -> HardState {
    HardState { term: 3, vote: 7, commit }
}

fn segment(sequence: u64) -> PathBuf {
    Path::new("/log").join(format!("{sequence:016x}.seg"))
}

/// One log with three batches in one segment: entries 1..=3, 4..=6, 7..=9.
fn three_batches() -> (FaultyDisk, Vec<u8>, Vec<u8>) {
    let disk = FaultyDisk::default();
    let (mut log, _) = open(&disk);
    log.append(&entries(1..=3)).expect("writes");
    log.append(&entries(4..=6)).expect("writes");
    let before = disk.read(&segment(1));
    log.append(&entries(7..=9)).expect("writes");
    drop(log);
    let after = disk.read(&segment(1));
    (disk, before, after)
}

fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|&b| b != 0).map_or(0, |at| at + 1).next_multiple_of(frame::ALIGN)
}

#[test]
fn a_fresh_log_is_empty() {
    let disk = FaultyDisk::default();
    assert_eq!(open(&disk).1, Recovered::default());
}

#[test]
fn what_was_appended_is_recovered() {
    let disk = FaultyDisk::default();
    let (mut log, _) = open(&disk);
    log.note(state(2));
    log.append(&entries(1..=40)).expect("writes");
    log.append(&entries(41..=90)).expect("writes");
    drop(log);
    let (_, found) = open(&disk);
    assert_eq!(found.entries, entries(1..=90));
    assert_eq!(found.hard_state, state(2));
    assert_eq!(found.cut_bytes, 0);
}

#[test]
fn a_batch_larger_than_a_segment_gets_one_of_its_size() {
    let disk = FaultyDisk::default();
    let (mut log, _) = open(&disk);
    let big = vec![entry(1, 3 * SMALL as usize)];
    log.append(&big).expect("writes");
    log.append(&entries(2..=5)).expect("writes");
    drop(log);
    let found = open(&disk).1.entries;
    assert_eq!(found[..1], big);
    assert_eq!(found[1..], entries(2..=5));
}

#[test]
fn a_later_frame_replaces_an_earlier_one() {
    let disk = FaultyDisk::default();
    let (mut log, _) = open(&disk);
    log.append(&entries(1..=9)).expect("writes");
    let other = Entry { term: 99, ..entry(5, 10) };
    log.append(std::slice::from_ref(&other)).expect("writes");
    drop(log);
    let mut wanted = entries(1..=4);
    wanted.push(other);
    assert_eq!(open(&disk).1.entries, wanted);
}

#[test]
fn a_torn_last_batch_is_cut_at_every_byte() {
    let (_, before, after) = three_batches();
    for cut in used(&before)..used(&after) {
        let disk = FaultyDisk::default();
        let mut torn = before.clone();
        torn[..cut].copy_from_slice(&after[..cut]);
        let complete = torn == after;
        disk.write(&segment(1), torn);
        let (mut log, found) = open(&disk);
        let last = if complete { 9 } else { 6 };
        assert_eq!(found.entries, entries(1..=last), "cut at {cut}");
        log.append(&entries(last + 1..=last + 2)).expect("writes");
        drop(log);
        assert_eq!(open(&disk).1.entries, entries(1..=last + 2), "cut at {cut}");
    }
}

#[test]
fn sectors_of_a_torn_batch_may_survive_in_any_order() {
    for kept in 0..32usize {
        let disk = FaultyDisk::default();
        let (mut log, _) = open(&disk);
        log.append(&entries(1..=3)).expect("writes");
        disk.fail_syncs_after(0);
        log.append(&entries(4..=30)).expect_err("the sync fails");
        drop(log);
        disk.power_cut(|sector| kept >> (sector % 5) & 1 == 1);
        let found = open(&disk).1.entries;
        let whole = found.len() == 30;
        assert!(whole || found == entries(1..=3), "kept {kept:b}: {} entries", found.len());
    }
}

#[test]
fn a_flipped_bit_inside_refuses_and_says_where() {
    let (disk, before, after) = three_batches();
    for at in segment::HEADER..used(&before) {
        let mut bytes = after.clone();
        bytes[at] ^= 0x10;
        disk.write(&segment(1), bytes);
        match open_at(&disk, 0) {
            Err(LogError::Damaged { path, offset, .. }) => {
                assert_eq!(path, segment(1));
                assert!(offset as usize <= at && at - (offset as usize) < 200, "{at}: {offset}");
            }
            // Padding carries nothing.
            Ok((_, found)) => assert_eq!(found.entries, entries(1..=9), "flip at {at}"),
            Err(other) => panic!("flip at {at}: {other}"),
        }
    }
}

#[test]
fn a_zeroed_page_inside_refuses() {
    let (disk, before, mut after) = three_batches();
    after[segment::HEADER..used(&before)].fill(0);
    disk.write(&segment(1), after);
    assert!(matches!(refusal(&disk), LogError::Damaged { offset: 64, .. }));
}

#[test]
fn a_sealed_last_batch_is_never_taken_for_torn() {
    let (disk, before, _) = three_batches();
    let (mut log, _) = open(&disk);
    log.seal().expect("writes");
    drop(log);
    let mut bytes = disk.read(&segment(1));
    bytes[used(&before) + frame::HEADER] ^= 1;
    disk.write(&segment(1), bytes);
    assert!(matches!(refusal(&disk), LogError::Damaged { .. }));
}

#[test]
fn damage_in_an_earlier_segment_refuses() {
    let disk = FaultyDisk::default();
    let (mut log, _) = open(&disk);
    for index in 1..=100 {
        log.append(&[entry(index, 100)]).expect("writes");
    }
    drop(log);
    let mut bytes = disk.read(&segment(1));
    let end = used(&bytes);
    bytes[end - 40] ^= 4;
    disk.write(&segment(1), bytes);
    match refusal(&disk) {
        LogError::Damaged { path, .. } => assert_eq!(path, segment(1)),
        other => panic!("{other}"),
    }
}

#[test]
fn a_missing_segment_is_named() {
    let disk = FaultyDisk::default();
    let (mut log, _) = open(&disk);
    for index in 1..=100 {
        log.append(&[entry(index, 100)]).expect("writes");
    }
    drop(log);
    disk.remove(&segment(2)).expect("present");
    assert!(matches!(refusal(&disk), LogError::MissingSegment { missing: 2, .. }));
    disk.remove(&segment(1)).expect("present");
    assert!(matches!(refusal(&disk), LogError::MissingEntries { base: 0, .. }));
}

#[test]
fn unknown_versions_stop_with_both_numbers() {
    let (disk, _, after) = three_batches();
    let mut bytes = after.clone();
    bytes[8] = 9;
    bytes[12..16].fill(0);
    let sum = crc32c::crc32c(&bytes[..segment::HEADER]);
    bytes[12..16].copy_from_slice(&sum.to_le_bytes());
    disk.write(&segment(1), bytes);
    let text = refusal(&disk).to_string();
    assert!(text.contains("format version 9") && text.contains("reads 1"), "{text}");

    let mut bytes = after;
    let at = segment::HEADER;
    bytes[at + 2] = 7;
    let end = at + frame::HEADER + frame::u32_at(&bytes, at + 4) as usize;
    let head = crc32c::crc32c(&bytes[at..at + 8]);
    let sum = crc32c::crc32c_append(head, &bytes[at + 12..end]);
    bytes[at + 8..at + 12].copy_from_slice(&sum.to_le_bytes());
    disk.write(&segment(1), bytes);
    let error = refusal(&disk);
    assert!(matches!(error, LogError::UnknownVersion { found: 7, known: 2, offset: 64, .. }));
}

#[test]
fn another_members_log_is_refused() {
    let (disk, _, _) = three_batches();
    let owner = Owner { member_id: 1, ..OWNER };
    let refused = Log::open(Arc::new(disk), &LogOptions { owner, ..options() }, (0, 0)).err();
    assert!(matches!(refused, Some(LogError::OtherOwner { found_member: 0x3e, member: 1, .. })));
}

#[test]
fn a_failed_sync_stops_the_log_for_good() {
    let disk = FaultyDisk::default();
    let (mut log, _) = open(&disk);
    log.append(&entries(1..=3)).expect("writes");
    disk.fail_syncs_after(0);
    let error = log.append(&entries(4..=4)).expect_err("the sync fails");
    assert!(matches!(error, LogError::Io { action: "sync", .. }));
    disk.fail_syncs_after(100);
    assert!(matches!(log.append(&entries(4..=4)), Err(LogError::Stopped)));
    assert!(matches!(log.seal(), Err(LogError::Stopped)));
}

#[test]
fn a_dropped_prefix_frees_its_segments_and_keeps_the_hard_state() {
    let disk = FaultyDisk::default();
    let (mut log, _) = open(&disk);
    log.note(state(50));
    for index in 1..=100 {
        log.append(&[entry(index, 100)]).expect("writes");
    }
    let before = disk.paths().len();
    log.drop_prefix(80).expect("removes");
    drop(log);
    assert!(disk.paths().len() < before);
    let (_, found) = open_at(&disk, 80).expect("an undamaged log");
    assert_eq!(found.hard_state, state(50));
    let wanted: Vec<_> = (81..=100).map(|index| entry(index, 100)).collect();
    assert_eq!(found.entries, wanted);
}

proptest! {
    /// Whatever is appended, rolled, power-cut and reopened: what was acknowledged is there.
    #[test]
    fn acknowledged_entries_survive_power_cuts(
        rounds in proptest::collection::vec((1usize..40, 1usize..200, any::<u32>()), 1..12)
    ) {
        let disk = FaultyDisk::default();
        let mut acknowledged: Vec<Entry> = Vec::new();
        for (count, len, keep) in rounds {
            let (mut log, found) = open(&disk);
            prop_assert!(found.entries.len() >= acknowledged.len());
            prop_assert_eq!(&found.entries[..acknowledged.len()], &acknowledged[..]);
            acknowledged = found.entries;
            let next = acknowledged.len() as u64 + 1;
            let batch: Vec<_> = (0..count as u64).map(|i| entry(next + i, len)).collect();
            log.append(&batch).expect("writes");
            acknowledged.extend(batch);
            let next = acknowledged.len() as u64 + 1;
            let lost: Vec<_> = (0..count as u64).map(|i| entry(next + i, len)).collect();
            disk.fail_syncs_after(0);
            prop_assert!(log.append(&lost).is_err());
            drop(log);
            disk.power_cut(|sector| keep >> (sector % 32) & 1 == 1);
        }
    }
}

#[test]
fn behind_a_reset_the_log_goes_on_elsewhere() {
    let disk = FaultyDisk::default();
    let (mut log, _) = open(&disk);
    log.append(&entries(1..=30)).expect("writes");
    log.note(state(100));
    log.reset(100, entry(100, 0).term).expect("writes");
    log.append(&entries(101..=140)).expect("writes");
    drop(log);
    let (mut log, found) = open_at(&disk, 100).expect("an undamaged log");
    assert_eq!(found.entries, entries(101..=140));
    assert_eq!(found.hard_state, state(100));
    // What came before the reset is in no snapshot's way.
    log.drop_prefix(100).expect("removes");
    drop(log);
    assert_eq!(open_at(&disk, 100).expect("an undamaged log").1.entries, entries(101..=140));
    // Without the snapshot that it stands on, the log is refused, entries or none.
    assert!(matches!(
        open_at(&disk, 50).err(),
        Some(LogError::MissingEntries { base: 50, first: 101 })
    ));
}

#[test]
fn a_reset_without_its_snapshot_is_refused() {
    let disk = FaultyDisk::default();
    let (mut log, _) = open(&disk);
    log.append(&entries(1..=3)).expect("writes");
    log.reset(100, 11).expect("writes");
    drop(log);
    assert!(matches!(refusal(&disk), LogError::MissingEntries { base: 0, first: 101 }));
    assert_eq!(open_at(&disk, 100).expect("an undamaged log").1.entries, []);
}

#[test]
fn entries_that_a_received_snapshot_refutes_are_dropped_for_good() {
    let disk = FaultyDisk::default();
    let (mut log, _) = open(&disk);
    let stale = |index| Entry { term: 1, ..entry(index, 30) };
    log.append(&(1..=50).map(stale).collect::<Vec<_>>()).expect("writes");
    drop(log);
    // A snapshot up to entry 40 of term 5 became durable, then the power went: no reset yet.
    let (mut log, found) = open_at(&disk, 40).expect("an undamaged log");
    assert_eq!(found.entries, []);
    log.append(&entries(41..=45)).expect("writes");
    drop(log);
    assert_eq!(open_at(&disk, 40).expect("an undamaged log").1.entries, entries(41..=45));
}
