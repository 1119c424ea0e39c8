//! What the machine costs, on one thread: `cargo run --release -p skein-store-mvcc --example
//! machine-bench`. Prints medians of five rounds as a table.

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use skein_store_api::pb::etcdserverpb::{CompactionRequest, PutRequest, RangeRequest};
use skein_store_mvcc::{Command, KeyRange, Machine, MachineConfig, Poll, WatchCursor, WatchSpec};

const ROUNDS: usize = 5;
const VALUE_BYTES: usize = 256;
const KEYS: usize = 100_000;
const CURSORS: usize = 1_000;
const EVENTS: usize = 200;

fn main() {
    // First, while the allocator has nothing to give back.
    memory();
    println!("| work | median | per second |\n|---|---|---|");
    row("put 256 B, new keys in order", &rounds(|| puts(KEYS, KEYS, Views::None)));
    row("put 256 B, over 100,000 keys", &rounds(overwrite));
    row("put 256 B, one of 10 hot keys", &rounds(|| puts(KEYS, 10, Views::None)));
    row("put 256 B, a view held over every put", &rounds(|| puts(KEYS, KEYS, Views::Every)));
    let machine = filled(KEYS);
    row("get one key", &rounds(|| gets(&machine)));
    row("range of 100 keys", &rounds(|| ranges(&machine, 100)));
    row("range of 10,000 keys", &rounds(|| ranges(&machine, 10_000)));
    row("page of 256 with count of 100,000", &rounds(|| pages(&machine)));
    row("the same, 1,000 revisions ago", &rounds(|| old_pages(&machine)));
    row("view clone", &rounds(|| views(&machine)));
    row("event delivered, cursor at the head", &rounds(fan_out));
    row("event delivered, cursor far behind", &rounds(|| catch_up(&machine, 1)));
    row("event of history, cursor behind the log", &rounds(behind_the_log));
    row("compacted version freed", &rounds(scavenged));
    row("hash of a version", &rounds(|| hashed(&machine)));
    row("snapshot, per key", &rounds(|| snapshot(&machine)));
    row("restore, per key", &rounds(|| restored(&machine)));
}

/// Nanoseconds for one unit of work.
type Cost = f64;

fn rounds(work: impl Fn() -> Cost) -> Cost {
    let mut costs: Vec<Cost> = (0..ROUNDS).map(|_| work()).collect();
    costs.sort_by(Cost::total_cmp);
    costs[ROUNDS / 2]
}

fn row(name: &str, nanos: &Cost) {
    println!("| {name} | {} | {:.0} |", human(*nanos), 1e9 / nanos);
}

fn human(nanos: Cost) -> String {
    if nanos < 10_000.0 { format!("{nanos:.0} ns") } else { format!("{:.1} µs", nanos / 1e3) }
}

fn per(units: usize, work: impl FnOnce()) -> Cost {
    let started = Instant::now();
    work();
    started.elapsed().as_nanos() as Cost / units as Cost
}

fn key(at: usize) -> Bytes {
    format!("registry/pods/default/pod-{at:08}").into()
}

fn put(at: usize) -> Command {
    let value = vec![at as u8; VALUE_BYTES].into();
    Command::Put(PutRequest { key: key(at), value, ..Default::default() })
}

fn filled(keys: usize) -> Machine {
    let mut machine = Machine::new(&MachineConfig::default());
    for at in 0..keys {
        machine.apply(at as u64 + 1, &put(at)).expect("a put succeeds");
    }
    machine
}

fn apply_all(machine: &mut Machine, commands: &[Command]) {
    for command in commands {
        let index = machine.applied_index() + 1;
        black_box(machine.apply(index, command).expect("a put succeeds"));
    }
}

#[derive(PartialEq)]
enum Views {
    None,
    Every,
}

fn puts(count: usize, keys: usize, views: Views) -> Cost {
    let commands: Vec<Command> = (0..count).map(|at| put(at % keys)).collect();
    let mut machine = Machine::new(&MachineConfig::default());
    let mut held = machine.view().clone();
    per(count, || {
        for command in &commands {
            let index = machine.applied_index() + 1;
            black_box(machine.apply(index, command).expect("a put succeeds"));
            if views == Views::Every {
                held = machine.view().clone();
            }
        }
        black_box(&held);
    })
}

fn overwrite() -> Cost {
    let mut machine = filled(KEYS);
    let order: Vec<Command> = (0..KEYS).map(|at| put(at * 7919 % KEYS)).collect();
    per(KEYS, || apply_all(&mut machine, &order))
}

fn gets(machine: &Machine) -> Cost {
    let requests: Vec<RangeRequest> = (0..10_000)
        .map(|at| RangeRequest { key: key(at * 7919 % KEYS), ..Default::default() })
        .collect();
    per(requests.len(), || {
        for request in &requests {
            black_box(machine.view().range(request).expect("the key exists"));
        }
    })
}

fn ranges(machine: &Machine, keys: usize) -> Cost {
    let request = RangeRequest { key: key(500), range_end: key(500 + keys), ..Default::default() };
    let times = 1_000_000 / keys;
    per(times, || {
        for _ in 0..times {
            black_box(machine.view().range(&request).expect("a read of now"));
        }
    })
}

fn all(limit: i64, revision: i64) -> RangeRequest {
    let (key, range_end) = ("registry/".into(), "registry0".into());
    RangeRequest { key, range_end, limit, revision, ..Default::default() }
}

fn pages(machine: &Machine) -> Cost {
    per(1_000, || {
        for _ in 0..1_000 {
            black_box(machine.view().range(&all(256, 0)).expect("a read of now"));
        }
    })
}

fn old_pages(machine: &Machine) -> Cost {
    let request = all(256, machine.view().revision() - 1_000);
    per(1_000, || {
        for _ in 0..1_000 {
            black_box(machine.view().range(&request).expect("nothing is compacted"));
        }
    })
}

fn views(machine: &Machine) -> Cost {
    per(1_000_000, || {
        for _ in 0..1_000_000 {
            black_box(machine.view().clone());
        }
    })
}

fn watch(start_revision: i64) -> WatchSpec {
    WatchSpec {
        range: KeyRange::of_watch(b"registry/", b"registry0"),
        start_revision,
        prev_kv: false,
        no_put: false,
        no_delete: false,
    }
}

fn drain(machine: &Machine, cursor: &mut WatchCursor) -> usize {
    let mut events = 0;
    loop {
        let batch = match cursor.poll(machine.events(), 1 << 20) {
            Poll::Batch(batch) => batch,
            Poll::Behind => {
                cursor.poll_history(&machine.view().clone(), 1 << 20).expect("not compacted")
            }
        };
        events += black_box(&batch.events).len();
        if batch.caught_up {
            return events;
        }
    }
}

fn fan_out() -> Cost {
    let mut machine = filled(1_000);
    let start = || WatchCursor::start(machine.events(), watch(0)).expect("it starts now");
    let mut cursors: Vec<WatchCursor> = (0..CURSORS).map(|_| start()).collect();
    let commands: Vec<Command> = (0..EVENTS).map(put).collect();
    let started = Instant::now();
    for command in &commands {
        apply_all(&mut machine, std::slice::from_ref(command));
        for cursor in &mut cursors {
            assert_eq!(drain(&machine, cursor), 1);
        }
    }
    started.elapsed().as_nanos() as Cost / (CURSORS * EVENTS) as Cost
}

fn catch_up(machine: &Machine, cursors: usize) -> Cost {
    per(KEYS * cursors, || {
        for _ in 0..cursors {
            let mut cursor =
                WatchCursor::start(machine.events(), watch(2)).expect("nothing is compacted");
            assert_eq!(drain(machine, &mut cursor), KEYS);
        }
    })
}

fn behind_the_log() -> Cost {
    let mut machine = Machine::new(&MachineConfig { event_log_bytes: 1 << 20 });
    apply_all(&mut machine, &(0..KEYS).map(put).collect::<Vec<_>>());
    catch_up(&machine, 1)
}

fn scavenged() -> Cost {
    let mut machine = filled(10_000);
    for _ in 0..9 {
        apply_all(&mut machine, &(0..10_000).map(put).collect::<Vec<_>>());
    }
    let revision = machine.view().revision();
    let compact = Command::Compact(CompactionRequest { revision, physical: true });
    let index = machine.applied_index() + 1;
    machine.apply(index, &compact).expect("the revision exists");
    per(90_000, || while machine.scavenge(1_000) {})
}

fn hashed(machine: &Machine) -> Cost {
    per(KEYS, || {
        black_box(machine.view().hash_kv(0).expect("a hash of now"));
    })
}

fn snapshot(machine: &Machine) -> Cost {
    per(KEYS, || {
        black_box(machine.snapshot().map(|chunk| chunk.len()).sum::<usize>());
    })
}

fn restored(machine: &Machine) -> Cost {
    let stream: Vec<u8> = machine.snapshot().flatten().collect();
    per(KEYS, || {
        let config = MachineConfig::default();
        black_box(skein_store_mvcc::restore(&stream[..], &config).expect("a whole snapshot"));
    })
}

/// Resident memory of keys with one version and with five, beside what the accounting says.
fn memory() {
    const MANY: usize = 300_000;
    let mut machine = Machine::new(&MachineConfig { event_log_bytes: 1 << 20 });
    let before = resident_bytes();
    println!("| versions of each key | resident per key | counted per key |\n|---|---|---|");
    for versions in 1..=5 {
        for at in 0..MANY {
            apply_all(&mut machine, &[put(at)]);
        }
        if versions == 1 || versions == 5 {
            let grown = resident_bytes().saturating_sub(before) / MANY;
            println!("| {versions} | {grown} B | {} B |", machine.usage().bytes / MANY);
        }
    }
    println!();
}

fn resident_bytes() -> usize {
    const PAGE_BYTES: usize = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) * PAGE_BYTES
}
