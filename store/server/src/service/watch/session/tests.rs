use std::cell::RefCell;

use skein_store_api::pb::etcdserverpb::{
    CompactionRequest, PutRequest, WatchCancelRequest, WatchProgressRequest,
};
use skein_store_mvcc::{Command, Machine, MachineConfig};

use super::*;

/// A machine alone in the world.
struct World {
    machine: RefCell<Machine>,
    events: EventLog,
    metrics: Metrics,
    watch_bytes: Budget,
}

impl World {
    fn new(event_log_bytes: usize) -> Self {
        let machine = Machine::new(&MachineConfig { event_log_bytes });
        let events = machine.events().clone();
        Self {
            machine: RefCell::new(machine),
            events,
            metrics: Metrics::new(1, "test"),
            watch_bytes: Budget::new(4 * WATCH_BYTES),
        }
    }

    fn apply(&self, command: &Command) {
        let mut machine = self.machine.borrow_mut();
        let index = machine.applied_index() + 1;
        machine.apply(index, command).expect("applies");
    }

    fn put(&self, key: &str) {
        let (key, value) = (key.to_owned().into(), "v".into());
        self.apply(&Command::Put(PutRequest { key, value, ..PutRequest::default() }));
    }

    fn compact(&self, revision: i64) {
        self.apply(&Command::Compact(CompactionRequest { revision, physical: false }));
    }
}

impl Source for &World {
    fn events(&self) -> &EventLog {
        &self.events
    }

    fn view(&self) -> View {
        self.machine.borrow().view().clone()
    }

    fn header(&self, revision: i64) -> ResponseHeader {
        ResponseHeader { cluster_id: 9, revision, ..ResponseHeader::default() }
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn watch_bytes(&self) -> &Budget {
        &self.watch_bytes
    }
}

const PLENTY: usize = 1 << 20;

fn all_keys() -> WatchCreateRequest {
    WatchCreateRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() }
}

fn ask(session: &mut Session<&World>, request: RequestUnion) {
    session.request(WatchRequest { request_union: Some(request) }, Ok(()));
}

fn create(session: &mut Session<&World>, request: WatchCreateRequest) {
    ask(session, RequestUnion::CreateRequest(request));
}

fn drain(session: &mut Session<&World>) -> Vec<WatchResponse> {
    let mut frames = Vec::new();
    loop {
        let more = session.deliver();
        frames.extend(std::iter::from_fn(|| session.next_frame()));
        if !more {
            return frames;
        }
    }
}

fn revision(frame: &WatchResponse) -> i64 {
    frame.header.as_ref().map_or(0, |header| header.revision)
}

#[test]
fn ids_count_from_zero_and_skip_the_taken() {
    let world = World::new(PLENTY);
    let mut session = Session::new(&world, PLENTY);
    create(&mut session, WatchCreateRequest { watch_id: 1, ..all_keys() });
    for _ in 0..2 {
        create(&mut session, all_keys());
    }
    create(&mut session, WatchCreateRequest { watch_id: 2, ..all_keys() });
    let frames = drain(&mut session);
    let ids: Vec<_> = frames.iter().map(|frame| frame.watch_id).collect();
    assert_eq!(ids, [1, 0, 2, NO_WATCH_ID]);
    assert!(frames.iter().all(|frame| frame.created));
    assert!(frames[3].canceled);
    assert_eq!(frames[3].cancel_reason, cancel_reason::DUPLICATE_WATCH_ID);
}

#[test]
fn several_revisions_share_a_frame_when_behind() {
    let world = World::new(PLENTY);
    let mut session = Session::new(&world, PLENTY);
    create(&mut session, all_keys());
    drain(&mut session);
    for _ in 0..5 {
        world.put("k");
    }
    let frames = drain(&mut session);
    assert_eq!(frames.len(), 1);
    assert_eq!((frames[0].events.len(), revision(&frames[0])), (5, 6));
    assert!(drain(&mut session).is_empty());
}

#[test]
fn a_watch_goes_back_to_its_start_revision_beyond_the_log() {
    let world = World::new(200);
    for _ in 0..50 {
        world.put("k");
    }
    let mut session = Session::new(&world, PLENTY);
    create(&mut session, WatchCreateRequest { start_revision: 2, ..all_keys() });
    let frames = drain(&mut session);
    let events: usize = frames.iter().map(|frame| frame.events.len()).sum();
    assert_eq!(events, 50);
    assert_eq!(frames.last().map(revision), Some(51));
}

#[test]
fn a_compacted_start_is_cancelled_with_the_revision() {
    let world = World::new(PLENTY);
    for _ in 0..5 {
        world.put("k");
    }
    world.compact(4);
    let mut session = Session::new(&world, PLENTY);
    create(&mut session, WatchCreateRequest { start_revision: 2, ..all_keys() });
    let frames = drain(&mut session);
    assert_eq!(frames.len(), 2);
    assert!(frames[0].created && !frames[0].canceled);
    assert!(frames[1].canceled && !frames[1].created);
    assert_eq!(frames[1].compact_revision, 4);
}

#[test]
fn impossible_watches_are_created_and_cancelled() {
    let world = World::new(PLENTY);
    let mut session = Session::new(&world, PLENTY);
    create(&mut session, WatchCreateRequest { start_revision: -1, ..all_keys() });
    let empty = WatchCreateRequest { key: "b".into(), range_end: "a".into(), ..Default::default() };
    create(&mut session, empty);
    let frames = drain(&mut session);
    assert!(frames.iter().all(|f| f.created && f.canceled && f.watch_id == NO_WATCH_ID));
    let reasons: Vec<_> = frames.iter().map(|frame| frame.cancel_reason.as_str()).collect();
    assert_eq!(reasons, [cancel_reason::COMPACTED, cancel_reason::EMPTY_WATCH_RANGE]);
}

#[test]
fn a_cancelled_watcher_is_silent_and_an_unknown_one_yields_nothing() {
    let world = World::new(PLENTY);
    let mut session = Session::new(&world, PLENTY);
    create(&mut session, all_keys());
    drain(&mut session);
    ask(&mut session, RequestUnion::CancelRequest(WatchCancelRequest { watch_id: 8 }));
    assert!(drain(&mut session).is_empty());
    ask(&mut session, RequestUnion::CancelRequest(WatchCancelRequest { watch_id: 0 }));
    world.put("k");
    let frames = drain(&mut session);
    assert_eq!(frames.len(), 1);
    assert!(frames[0].canceled && frames[0].events.is_empty());
}

#[test]
fn requested_progress_comes_behind_every_event() {
    let world = World::new(PLENTY);
    let mut session = Session::new(&world, PLENTY);
    ask(&mut session, RequestUnion::ProgressRequest(WatchProgressRequest {}));
    assert!(drain(&mut session).is_empty(), "there is nobody to tell");
    create(&mut session, all_keys());
    drain(&mut session);
    world.put("a");
    ask(&mut session, RequestUnion::ProgressRequest(WatchProgressRequest {}));
    let frames = drain(&mut session);
    assert_eq!((frames[0].watch_id, frames[0].events.len()), (0, 1));
    assert_eq!((frames[1].watch_id, revision(&frames[1])), (NO_WATCH_ID, 2));
    create(&mut session, WatchCreateRequest { start_revision: 100, ..all_keys() });
    drain(&mut session);
    ask(&mut session, RequestUnion::ProgressRequest(WatchProgressRequest {}));
    assert!(drain(&mut session).is_empty(), "one waits for the future");
}

#[test]
fn progress_by_time_goes_to_idle_watchers_that_asked() {
    let world = World::new(PLENTY);
    let mut session = Session::new(&world, PLENTY);
    create(&mut session, WatchCreateRequest { progress_notify: true, ..all_keys() });
    create(&mut session, all_keys());
    drain(&mut session);
    session.tell_progress();
    let frames = drain(&mut session);
    assert_eq!(frames.iter().map(|f| (f.watch_id, revision(f))).collect::<Vec<_>>(), [(0, 1)]);
    world.put("k");
    drain(&mut session);
    session.tell_progress();
    assert!(drain(&mut session).is_empty(), "an event has told it already");
    session.tell_progress();
    assert_eq!(drain(&mut session).len(), 1);
}

#[test]
fn watchers_take_turns() {
    let world = World::new(PLENTY);
    let mut session = Session::new(&world, PLENTY);
    for _ in 0..3 {
        create(&mut session, all_keys());
    }
    drain(&mut session);
    for _ in 0..2 {
        world.put("k");
        let ids: Vec<_> = drain(&mut session).iter().map(|frame| frame.watch_id).collect();
        assert_eq!(ids.len(), 3);
        assert!((0..3).all(|id| ids.contains(&id)));
    }
}

#[test]
fn metrics_follow_the_session() {
    let world = World::new(PLENTY);
    let mut session = Session::new(&world, PLENTY);
    create(&mut session, all_keys());
    create(&mut session, all_keys());
    assert_eq!(world.metrics.watchers.get(), 2);
    drop(session);
    assert_eq!((world.metrics.watchers.get(), world.metrics.watch_streams.get()), (0, 0));
}

#[test]
fn a_watch_too_many_is_cancelled_and_the_others_go_on() {
    let world = World::new(PLENTY);
    let mut session = Session::new(&world, PLENTY);
    let create = |key: Vec<u8>| WatchCreateRequest { key: key.into(), ..Default::default() };
    ask(&mut session, RequestUnion::CreateRequest(create(b"k".to_vec())));
    assert!(session.next_frame().is_some_and(|frame| frame.created && !frame.canceled));
    // Long keys count as what they take.
    ask(&mut session, RequestUnion::CreateRequest(create(vec![b'x'; 4 * WATCH_BYTES])));
    let refused = session.next_frame().expect("an answer");
    assert!(refused.created && refused.canceled);
    assert_eq!(refused.cancel_reason, "etcdserver: too many requests");
    world.put("k");
    assert!(session.deliver());
    assert_eq!(session.next_frame().map(|frame| frame.events.len()), Some(1));
    ask(&mut session, RequestUnion::CancelRequest(WatchCancelRequest { watch_id: 0 }));
    drop(session);
    assert!(world.watch_bytes.take(4 * WATCH_BYTES).is_some(), "all was given back");
}
