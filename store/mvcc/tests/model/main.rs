//! The machine against a model: random commands, and between them reads at any revision, watchers
//! that are polled at any time, clean-up at any pace, and restarts from a snapshot.

mod generate;
mod store;

use proptest::prelude::*;
use skein_store_api::pb::etcdserverpb::RangeRequest;
use skein_store_api::pb::mvccpb::event::EventType;
use skein_store_api::wire;
use skein_store_mvcc::{
    Command, KeyRange, Machine, MachineConfig, Poll, WatchCursor, WatchSpec, restore,
};

use store::{Model, in_range};

/// Small enough that watchers fall behind the event log within a few commands.
const EVENT_LOG_BYTES: usize = 1_500;

fn config() -> MachineConfig {
    MachineConfig { event_log_bytes: EVENT_LOG_BYTES }
}

#[derive(Clone, Debug)]
enum Step {
    Apply(Command),
    Range(RangeRequest),
    Watch(WatchStart),
    Poll { watcher: usize, max_bytes: usize },
    Scavenge(usize),
    Restart,
}

#[derive(Clone, Debug)]
struct WatchStart {
    key: bytes::Bytes,
    range_end: bytes::Bytes,
    start_revision: i64,
    prev_kv: bool,
    no_put: bool,
    no_delete: bool,
}

fn watch_start() -> impl Strategy<Value = WatchStart> {
    (generate::key(), generate::range_end(), 0i64..30, any::<bool>(), 0u8..6).prop_map(
        |(key, range_end, start_revision, prev_kv, filter)| WatchStart {
            key,
            range_end,
            start_revision,
            prev_kv,
            no_put: filter == 0,
            no_delete: filter == 1,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => generate::command().prop_map(Step::Apply),
        12 => generate::range().prop_map(Step::Range),
        2 => watch_start().prop_map(Step::Watch),
        8 => (any::<usize>(), 1usize..400)
            .prop_map(|(watcher, max_bytes)| Step::Poll { watcher, max_bytes }),
        1 => (0usize..20).prop_map(Step::Scavenge),
        1 => Just(Step::Restart),
    ]
}

struct Watcher {
    start: WatchStart,
    cursor: WatchCursor,
    /// Everything before it has been delivered.
    next: i64,
}

struct World {
    machine: Machine,
    model: Model,
    watchers: Vec<Watcher>,
    index: u64,
}

impl World {
    fn new() -> World {
        let machine = Machine::new(&config());
        World { machine, model: Model::new(), watchers: Vec::new(), index: 0 }
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Apply(command) => self.apply(command),
            Step::Range(request) => {
                let answer = self.machine.view().range(request);
                assert_eq!(answer, self.model.range(request), "{request:?}");
                self.stream(request);
            }
            Step::Watch(start) => self.watch(start),
            Step::Poll { watcher, max_bytes } => {
                if let Some(last) = self.watchers.len().checked_sub(1) {
                    self.poll(watcher % (last + 1), *max_bytes);
                }
            }
            Step::Scavenge(most) => {
                self.machine.scavenge(*most);
            }
            Step::Restart => self.restart(),
        }
    }

    fn apply(&mut self, command: &Command) {
        self.index += 1;
        // Through its encoding, as every member gets it.
        let (command, _) = &Command::decode(command.encode()).unwrap();
        let applied = self.machine.apply(self.index, command);
        let expected = self.model.apply(command);
        assert_eq!(applied.map(|applied| applied.response), expected, "{command:?}");
        assert_eq!(self.machine.view().revision(), self.model.revision());
        assert_eq!(self.machine.view().len(), self.model.keys().len());
        let leases = self.machine.leases();
        assert_eq!(leases.len(), self.model.leases().len());
        for (id, lease) in leases.iter() {
            assert_eq!(Some(&lease.granted_ttl()), self.model.leases().get(&id));
            assert!(lease.keys().eq(self.model.attached(id).iter().map(Vec::as_slice)));
        }
    }

    /// A streamed range is the whole range cut into pieces.
    fn stream(&self, request: &RangeRequest) {
        if skein_store_mvcc::check::range_stream(request).is_err() {
            return;
        }
        let whole = self.machine.view().range(request);
        let pieces = self.machine.view().range_stream(request.clone(), 40);
        let Ok(whole) = whole else {
            assert_eq!(pieces.err(), whole.err());
            return;
        };
        let mut merged = skein_store_api::pb::etcdserverpb::RangeResponse::default();
        for piece in pieces.unwrap() {
            assert_eq!(merged.header, None, "only the last piece has a header");
            merged.kvs.extend(piece.kvs);
            (merged.header, merged.more, merged.count) = (piece.header, piece.more, piece.count);
        }
        // A sort target without an order does not sort a stream.
        if request.sort_target == 0 || request.sort_order != 0 {
            assert_eq!(merged, whole);
        }
    }

    fn watch(&mut self, start: &WatchStart) {
        let spec = WatchSpec {
            range: KeyRange::of_watch(&start.key, &start.range_end),
            start_revision: start.start_revision,
            prev_kv: start.prev_kv,
            no_put: start.no_put,
            no_delete: start.no_delete,
        };
        let next = match start.start_revision {
            0 => self.model.revision() + 1,
            revision => revision,
        };
        match WatchCursor::start(self.machine.events(), spec) {
            Ok(cursor) => {
                assert!(next >= self.model.compacted);
                self.watchers.push(Watcher { start: start.clone(), cursor, next });
            }
            Err(compacted) => {
                assert!(next < self.model.compacted);
                assert_eq!(compacted.compact_revision, self.model.compacted);
            }
        }
    }

    fn poll(&mut self, at: usize, max_bytes: usize) {
        let watcher = &mut self.watchers[at];
        let batch = match watcher.cursor.poll(self.machine.events(), max_bytes) {
            Poll::Batch(batch) => batch,
            Poll::Behind => {
                match watcher.cursor.poll_history(&self.machine.view().clone(), max_bytes) {
                    Ok(batch) => batch,
                    Err(compacted) => {
                        assert_eq!(compacted.compact_revision, self.model.compacted);
                        assert!(watcher.next < self.model.compacted);
                        self.watchers.remove(at);
                        return;
                    }
                }
            }
        };
        let start = &watcher.start;
        let expected: Vec<_> = self
            .model
            .events
            .iter()
            .filter(|e| e.revision >= watcher.next && e.revision <= batch.through)
            .filter(|e| in_range(&e.kv.key, &start.key, &start.range_end))
            .filter(|e| if e.is_delete { !start.no_delete } else { !start.no_put })
            .collect();
        let events = wire::watch_events(&batch.events).unwrap();
        assert_eq!(events.len(), expected.len());
        for (event, expected) in events.iter().zip(&expected) {
            assert_eq!(event.kind == EventType::Delete, expected.is_delete);
            assert_eq!(event.kv, expected.kv);
            let lost = event.prev_kv.is_none() && expected.revision <= self.model.compacted;
            let prev = expected.prev.as_ref().filter(|_| start.prev_kv);
            assert!(lost || event.prev_kv.as_ref() == prev, "{event:?} {expected:?}");
        }
        assert_eq!(batch.revision, expected.last().map_or(0, |event| event.revision));
        assert_eq!(batch.bytes, batch.events.iter().map(|event| event.len()).sum::<usize>());
        // A batch ends when it is full; what is in front of its last revision fits.
        let last = batch.revision;
        let front: usize = (batch.events.iter().zip(&expected))
            .filter(|(_, expected)| expected.revision < last)
            .map(|(event, _)| event.len())
            .sum();
        assert!(front < max_bytes);
        assert!(batch.through + 1 >= watcher.next);
        assert_eq!(batch.through + 1, watcher.cursor.next_revision());
        if batch.caught_up {
            assert!(batch.through >= self.model.revision());
            assert!(watcher.cursor.is_caught_up(self.machine.events()));
        }
        watcher.next = batch.through + 1;
    }

    /// Another machine, built from a snapshot, takes over.
    fn restart(&mut self) {
        let stream: Vec<u8> = self.machine.snapshot().flatten().collect();
        let mut machine = restore(&stream[..], &config()).unwrap();
        assert_eq!(machine.applied_index(), self.machine.applied_index());
        assert_eq!(machine.hash(), self.machine.hash());
        for revision in self.model.compacted.max(1)..=self.model.revision() {
            let view = self.machine.view();
            assert_eq!(machine.view().hash_kv(revision), view.hash_kv(revision));
        }
        let again: Vec<u8> = machine.snapshot().flatten().collect();
        assert_eq!(stream, again);
        while self.machine.scavenge(1000) {}
        // What is freed is exactly what a snapshot leaves out, the versions apart that only the
        // compaction after the next can find.
        assert!(self.machine.usage().versions >= machine.usage().versions);
        machine.succeed(&self.machine);
        self.machine = machine;
    }

    /// Every watcher reaches the present.
    fn drain(&mut self) {
        for at in (0..self.watchers.len()).rev() {
            let count = self.watchers.len();
            while self.watchers.len() == count && self.watchers[at].next <= self.model.revision() {
                self.poll(at, 100);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn machine_and_model_agree(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in &steps {
            world.run(step);
        }
        world.drain();
        world.restart();
        world.drain();
    }

    /// However members free what compaction left, they stay equal.
    #[test]
    fn clean_up_never_shows(
        commands in prop::collection::vec(generate::command(), 1..80),
        paces in prop::collection::vec(0usize..30, 80),
    ) {
        let mut eager = Machine::new(&config());
        let mut lazy = Machine::new(&MachineConfig::default());
        for (at, command) in commands.iter().enumerate() {
            let index = at as u64 + 1;
            prop_assert_eq!(eager.apply(index, command), lazy.apply(index, command));
            eager.scavenge(paces[at]);
            prop_assert_eq!(eager.hash(), lazy.hash());
        }
        while eager.scavenge(1) {}
        while lazy.scavenge(1000) {}
        prop_assert_eq!(eager.usage(), lazy.usage());
    }
}
