//! A share of all seeds, the seeds that once failed, and the bugs that must be found.

use std::path::Path;

use skein_chaos_sim::planted::{self, Planted};
use skein_chaos_sim::run::{Plan, run};
use skein_chaos_sim::scenario;

fn all_clean(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let report = run(Plan::of_seed(seed));
        assert!(report.is_clean(), "seed {seed} ({}): {:#?}", report.scenario, report.findings());
    }
}

/// The same seed gives the same events, whatever else runs in the process.
#[test]
fn a_seed_replays_byte_for_byte() {
    for seed in 0..scenario::ALL.len() as u64 {
        let (one, other) = (run(Plan::of_seed(seed)), run(Plan::of_seed(seed)));
        assert!(one.events > 1_000, "seed {seed} is a world in which something happens");
        assert_eq!((one.trace, one.events), (other.trace, other.events), "seed {seed}");
        assert_eq!(one.history, other.history, "seed {seed}");
    }
    assert_ne!(run(Plan::of_seed(0)).trace, run(Plan::of_seed(scenario::ALL.len() as u64)).trace);
}

#[test]
fn a_first_share_of_the_seeds_is_clean() {
    all_clean(0..30);
}

#[test]
fn a_second_share_of_the_seeds_is_clean() {
    all_clean(30..60);
}

#[test]
fn a_third_share_of_the_seeds_is_clean() {
    all_clean(60..90);
}

/// A file of `seeds/` names a seed, and perhaps a scenario, on its first line; its story follows.
#[test]
fn seeds_that_failed_once_stay_clean() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    for entry in std::fs::read_dir(dir).expect("the folder of kept seeds") {
        let path = entry.expect("a readable folder").path();
        let text = std::fs::read_to_string(&path).expect("a text");
        let mut words = text.lines().next().expect("a first line").split_whitespace();
        let seed = words.next().and_then(|word| word.parse().ok()).expect("a seed");
        let scenario = words.next().map(|name| scenario::named(name).expect("a known scenario"));
        let report = run(Plan { scenario, ..Plan::of_seed(seed) });
        assert!(report.is_clean(), "{}: {:#?}", path.display(), report.findings());
    }
}

fn found(bug: Planted) {
    let (_, checkers) = planted::ALL.iter().find(|(other, _)| *other == bug).expect("listed");
    let shows = (0..60).any(|seed| {
        let plan = Plan { planted: Some(bug), ..Plan::of_seed(seed) };
        // A member may well stop hard on what a lying disk gives back.
        let Ok(report) = std::panic::catch_unwind(|| run(plan)) else { return false };
        report.verdict.violations.iter().any(|violation| checkers.contains(&violation.checker))
    });
    assert!(shows, "{bug:?} shows to none of {checkers:?}");
}

#[test]
fn a_read_without_index_is_found() {
    found(Planted::ReadWithoutIndex);
}

#[test]
fn a_proposal_made_twice_is_found() {
    found(Planted::ProposedTwice);
}

#[test]
fn a_lying_sync_is_found() {
    found(Planted::SyncLies);
}

#[test]
fn a_watch_that_loses_is_found() {
    found(Planted::WatchLoses);
}

#[test]
fn a_watch_that_repeats_is_found() {
    found(Planted::WatchRepeats);
}

#[test]
fn an_early_bookmark_is_found() {
    found(Planted::BookmarkEarly);
}

#[test]
fn a_changed_entry_is_found() {
    found(Planted::EntryChanged);
}

#[test]
fn a_fast_clock_is_found() {
    found(Planted::ClockRuns);
}

#[test]
fn a_partition_that_stays_is_found() {
    found(Planted::NeverMended);
}
