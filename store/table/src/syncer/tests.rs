use super::*;
use crate::event::Entry;
use proptest::prelude::*;

const CLUSTER: u64 = 0xc1;

fn syncer(resume: Option<i64>) -> Syncer {
    let ranges = vec![KeyRange::prefix("a/"), KeyRange::prefix("b/")];
    let point = resume.map(|revision| ResumePoint { cluster_id: CLUSTER, revision });
    Syncer::new(ranges, point).unwrap()
}

fn put(key: &str, mod_revision: i64) -> Change {
    let (key, value) = (key.as_bytes().to_vec(), mod_revision.to_string().into_bytes());
    let (create_revision, version, lease) = (mod_revision, 1, 0);
    Change::Put(Entry { key, value, create_revision, mod_revision, version, lease })
}

fn message(range: Option<usize>, revision: i64, body: WatchBody) -> WatchMessage {
    WatchMessage { range, cluster_id: CLUSTER, revision, body }
}

fn snapshot(revision: i64) -> Snapshot {
    Snapshot { cluster_id: CLUSTER, revision, entries: Vec::new() }
}

fn starts(step: Step) -> Vec<i64> {
    match step {
        Step::Watch { starts } => starts,
        Step::List => panic!("expected to watch"),
    }
}

#[test]
fn a_fresh_machine_lists_then_watches_from_the_next_revision() {
    let mut machine = syncer(None);
    assert_eq!(machine.connected(CLUSTER, 7), (vec![], Step::List));
    let (events, step) = machine.listed(snapshot(7));
    assert_eq!(events, [SyncEvent::Begin(snapshot(7)), SyncEvent::InSync { revision: 7 }]);
    assert_eq!(starts(step), [8, 8]);
}

#[test]
fn a_resumed_machine_is_in_sync_only_after_catching_up() {
    let mut machine = syncer(Some(5));
    let (events, step) = machine.connected(CLUSTER, 9);
    assert!(events.is_empty());
    assert_eq!(starts(step), [6, 6]);
    assert!(machine.is_catching_up());
    let (events, _) =
        machine.received(message(Some(0), 9, WatchBody::Changes(vec![put("a/x", 9)])));
    assert_eq!(events, [SyncEvent::Changes(vec![put("a/x", 9)])]);
    let (events, next) = machine.received(message(None, 9, WatchBody::Progress));
    let told = [SyncEvent::Progress { revision: 9 }, SyncEvent::InSync { revision: 9 }];
    assert_eq!((events.as_slice(), next), (told.as_slice(), Next::Continue));
    assert!(!machine.is_catching_up());
}

#[test]
fn a_copy_that_misses_nothing_is_in_sync_at_once() {
    let mut machine = syncer(Some(5));
    assert_eq!(machine.connected(CLUSTER, 5).0, [SyncEvent::InSync { revision: 5 }]);
}

#[test]
fn each_range_resumes_from_its_own_position_and_repeats_are_dropped() {
    let mut machine = syncer(Some(5));
    machine.connected(CLUSTER, 5);
    machine.received(message(Some(0), 8, WatchBody::Changes(vec![put("a/x", 6), put("a/y", 8)])));
    assert!(machine.lost("gone").is_some());
    assert!(machine.lost("still gone").is_none());
    let (_, step) = machine.connected(CLUSTER, 8);
    assert_eq!(starts(step), [9, 6]);
    assert_eq!(machine.resume_point().unwrap().revision, 5);
    let again = WatchBody::Changes(vec![put("a/y", 8), put("a/z", 9)]);
    let (events, _) = machine.received(message(Some(0), 9, again));
    assert_eq!(events, [SyncEvent::Changes(vec![put("a/z", 9)])]);
}

#[test]
fn progress_of_one_range_confirms_nothing_for_the_other() {
    let mut machine = syncer(Some(5));
    machine.connected(CLUSTER, 5);
    machine.received(message(Some(0), 7, WatchBody::Changes(vec![put("a/x", 7)])));
    assert!(machine.has_unconfirmed_changes());
    assert!(machine.received(message(Some(0), 9, WatchBody::Progress)).0.is_empty());
    let (events, _) = machine.received(message(Some(1), 9, WatchBody::Progress));
    assert_eq!(events, [SyncEvent::Progress { revision: 9 }]);
    assert!(!machine.has_unconfirmed_changes());
}

#[test]
fn compaction_leads_to_a_new_list() {
    let mut machine = syncer(Some(5));
    machine.connected(CLUSTER, 50);
    let (events, next) = machine.received(message(Some(1), 50, WatchBody::Compacted));
    assert_eq!((events.as_slice(), next), ([].as_slice(), Next::Reconnect));
    assert_eq!(machine.connected(CLUSTER, 51), (vec![], Step::List));
}

#[test]
fn another_store_and_an_older_one_reset_the_copy() {
    let mut machine = syncer(Some(5));
    let (events, step) = machine.connected(0xc2, 900);
    let reason = ResetReason::ClusterChanged { was: CLUSTER, now: 0xc2 };
    assert_eq!((events.as_slice(), step), ([SyncEvent::Reset { reason }].as_slice(), Step::List));

    let mut machine = syncer(Some(5));
    let (events, step) = machine.connected(CLUSTER, 4);
    let reason = ResetReason::WentBack { was: 5, now: 4 };
    assert_eq!((events.as_slice(), step), ([SyncEvent::Reset { reason }].as_slice(), Step::List));
}

#[test]
fn frames_of_another_store_end_the_stream_without_being_believed() {
    let mut machine = syncer(Some(5));
    machine.connected(CLUSTER, 5);
    let mut frame = message(Some(0), 6, WatchBody::Changes(vec![put("a/x", 6)]));
    frame.cluster_id = 0xc2;
    assert_eq!(machine.received(frame), (vec![], Next::Reconnect));
    assert!(matches!(machine.connected(0xc2, 6).0[0], SyncEvent::Reset { .. }));
}

#[test]
fn losing_the_store_is_told_once_and_ends_with_in_sync() {
    let mut machine = syncer(None);
    machine.connected(CLUSTER, 1);
    machine.listed(snapshot(1));
    let lost = SyncEvent::Lost { reason: "refused".to_owned() };
    assert_eq!(machine.lost("refused"), Some(lost));
    assert_eq!(machine.lost("refused"), None);
    assert_eq!(machine.connected(CLUSTER, 1).0, [SyncEvent::InSync { revision: 1 }]);
    assert!(machine.lost("again").is_some());
}

#[test]
fn impossible_ranges_are_refused() {
    assert_eq!(Syncer::new(vec![], None).unwrap_err(), RangesError::None);
    let overlapping = vec![KeyRange::prefix("x"), KeyRange::prefix("a"), KeyRange::prefix("a/b")];
    let refused = RangesError::Overlap { first: 1, second: 2 };
    assert_eq!(Syncer::new(overlapping, None).unwrap_err(), refused);
}

/// A store in miniature: a log of one change a revision, alternating in no fixed way between ranges.
fn history(ranges: &[bool]) -> Vec<Change> {
    let key = |second: &bool| if *second { "b/k" } else { "a/k" };
    ranges.iter().zip(1..).map(|(range, revision)| put(key(range), revision)).collect()
}

proptest! {
    /// However the stream is cut and repeated, every change of the log is told once and in order.
    #[test]
    fn breaks_lose_and_repeat_nothing(
        ranges in prop::collection::vec(any::<bool>(), 1..40),
        cuts in prop::collection::vec((0..12_usize, any::<bool>(), 0..3_i64), 1..30),
    ) {
        let log = history(&ranges);
        let last = log.len() as i64;
        let mut machine = syncer(Some(0));
        let mut told: Vec<Change> = Vec::new();
        let mut collect = |events: Vec<SyncEvent>| {
            for event in events {
                if let SyncEvent::Changes(changes) = event {
                    told.extend(changes);
                }
            }
        };
        let forever = cuts.iter().copied().chain(std::iter::repeat_n((100, false, 0), 1));
        for (frames, second_first, early) in forever {
            let (events, step) = machine.connected(CLUSTER, last);
            collect(events);
            let starts = starts(step);
            let of = |prefix: &str, start: i64| -> Vec<Change> {
                // A server may repeat a little of what was delivered before.
                let from = (start - early).max(0);
                log.iter()
                    .filter(|c| c.key().starts_with(prefix.as_bytes()) && c.mod_revision() >= from)
                    .cloned()
                    .collect()
            };
            let mut queue: Vec<(usize, Change)> = of("a/", starts[0]).into_iter().map(|c| (0, c))
                .chain(of("b/", starts[1]).into_iter().map(|c| (1, c)))
                .collect();
            if second_first {
                queue.sort_by_key(|(range, change)| (1 - *range, change.mod_revision()));
            } else {
                queue.sort_by_key(|(_, change)| change.mod_revision());
            }
            for (range, change) in queue.into_iter().take(frames) {
                let revision = change.mod_revision();
                let body = WatchBody::Changes(vec![change]);
                collect(machine.received(message(Some(range), revision, body)).0);
            }
            machine.lost("cut");
        }
        for prefix in ["a/", "b/"] {
            let of = |changes: &[Change]| -> Vec<i64> {
                changes
                    .iter()
                    .filter(|c| c.key().starts_with(prefix.as_bytes()))
                    .map(Change::mod_revision)
                    .collect()
            };
            prop_assert_eq!(of(&told), of(&log));
        }
    }
}
