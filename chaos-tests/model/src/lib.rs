//! What a store is judged by: the history of what clients and members saw, and the checkers of it.
//!
//! Pure, and ignorant of where a history comes from: the simulator (`chaos-tests/sim`) and real
//! processes (`chaos-tests/lab`) are judged alike. A [`History`] can be written to a file and
//! judged again later.
//!
//! | checker | says that |
//! |---|---|
//! | [`order`] | revisions follow real time, are given once, and never go back |
//! | [`linear`] | there is one order of all operations that explains every answer |
//! | [`watch`] | watches are ordered, unique, reliable, atomic, resumable; bookmarks hold |
//! | [`durable`] | every acknowledged write is present, and members agree on every revision |
//! | [`hash`] | equal revisions have equal hashes |
//! | [`lease`] | no lease expires before its time |
//! | [`progress`] | after the faults end, clients are served again |
//!
//! [`check`] runs them all. What etcd 3.7 promises is the measure (its "KV API guarantees").

pub mod durable;
mod file;
pub mod hash;
pub mod history;
pub mod lease;
pub mod linear;
pub mod order;
pub mod progress;
pub mod store;
pub mod watch;
pub mod wgl;

pub use file::HistoryError;
pub use history::{Answer, History, Kv, Op, OpAnswer, Operation, Outcome, Request};

/// Which checker speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Checker {
    /// See [`order`].
    Order,
    /// See [`linear`].
    Linear,
    /// See [`watch`].
    Watch,
    /// See [`durable`].
    Durable,
    /// See [`hash`].
    Hash,
    /// See [`lease`].
    Lease,
    /// See [`progress`].
    Progress,
}

/// Something that a correct store never does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Who noticed.
    pub checker: Checker,
    /// What was seen, with the numbers to look for in the history.
    pub what: String,
}

impl Violation {
    pub(crate) fn new(checker: Checker, what: String) -> Self {
        Self { checker, what }
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}: {}", self.checker, self.what)
    }
}

/// What a history came to.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Everything found, cheapest checker first.
    pub violations: Vec<Violation>,
    /// The search for an order gave up at its bound: neither good nor bad. How far it came.
    pub undecided: Option<String>,
}

impl Verdict {
    /// Whether nothing was found and everything was decided.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty() && self.undecided.is_none()
    }
}

/// Judges a history by every checker. The search for an order only runs on a history whose
/// revisions are in order: what breaks there would only be found again, and slower.
pub fn check(history: &History) -> Verdict {
    let mut violations = order::check(history);
    let in_order = violations.is_empty();
    violations.extend(hash::check(history));
    violations.extend(durable::check(history));
    violations.extend(watch::check(history));
    violations.extend(lease::check(history));
    violations.extend(progress::check(history));
    let mut undecided = None;
    if in_order {
        match linear::check(history) {
            linear::Outcome::Explained => {}
            linear::Outcome::Violated(violation) => violations.push(violation),
            linear::Outcome::Undecided(reached) => undecided = Some(reached),
        }
    }
    Verdict { violations, undecided }
}
