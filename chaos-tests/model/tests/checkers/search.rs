//! The search agrees with trying everything, on histories small enough for that.

use crate::generate::Rng;
use skein_chaos_model::wgl::{Found, Interval, Model, Step, search};

/// A register: operations write a number or read one.
struct Register(Vec<Operation>);

#[derive(Clone, Copy, Debug)]
enum Operation {
    Write(u8),
    Read(u8),
}

impl Model for Register {
    type State = u8;

    fn initial(&self) -> u8 {
        0
    }

    fn step(&self, state: &u8, operation: usize) -> Step<u8> {
        match self.0[operation] {
            Operation::Read(value) if value != *state => Step::Impossible,
            Operation::Read(_) => Step::Unchanged,
            Operation::Write(value) => Step::Changed(value, true),
        }
    }

    fn fingerprint(&self, state: &u8) -> u64 {
        u64::from(*state)
    }
}

/// Tries every order of every set that holds all operations that returned.
fn by_hand(model: &Register, intervals: &[Interval], taken: &mut Vec<usize>, state: u8) -> bool {
    let open = |op: usize| intervals[op].returned.is_none();
    let rest: Vec<usize> = (0..intervals.len()).filter(|op| !taken.contains(op)).collect();
    if rest.iter().all(|&op| open(op)) {
        return true;
    }
    rest.iter().any(|&op| {
        let late =
            |other: &usize| intervals[*other].returned.is_some_and(|at| at < intervals[op].called);
        if rest.iter().any(late) {
            return false;
        }
        let next = match model.step(&state, op) {
            Step::Impossible => return false,
            Step::Unchanged => state,
            Step::Changed(next, _) => next,
        };
        taken.push(op);
        let found = by_hand(model, intervals, taken, next);
        taken.pop();
        found
    })
}

#[test]
fn the_search_agrees_with_trying_everything() {
    let mut outcomes = [0; 2];
    for seed in 0..4_000 {
        let mut rng = Rng(seed);
        let count = 1 + rng.below(6);
        let mut operations = Vec::new();
        let mut intervals = Vec::new();
        for _ in 0..count {
            let value = rng.below(3) as u8;
            let write = rng.one_in(2);
            operations.push(if write { Operation::Write(value) } else { Operation::Read(value) });
            let called = rng.below(12);
            let returned = (!rng.one_in(4)).then(|| called + rng.below(8));
            intervals.push(Interval { called, returned });
        }
        let model = Register(operations);
        let expected = by_hand(&model, &intervals, &mut Vec::new(), 0);
        let found = search(&model, &intervals, 1_000_000);
        assert_eq!(found == Found::Order, expected, "seed {seed}: {:?} {intervals:?}", model.0);
        outcomes[usize::from(expected)] += 1;
    }
    assert!(outcomes.iter().all(|&count| count > 400), "both outcomes occur: {outcomes:?}");
}

#[test]
fn a_search_beyond_its_bound_says_so() {
    let operations = (0..20).map(|value| Operation::Write(value as u8 + 1)).collect();
    let interval = Interval { called: 1, returned: Some(9) };
    let found = search(&Register(operations), &[interval; 20], 3);
    assert!(matches!(found, Found::GaveUp { .. }));
}
