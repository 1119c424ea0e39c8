//! One seed from its first event to its verdict.

use skein_chaos_model::{History, Verdict, check};

use crate::planted::Planted;
use crate::scenario::{self, Scenario};
use crate::trace::Trace;
use crate::world::World;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// The scenario; that of the seed without.
    pub scenario: Option<&'static Scenario>,
    /// A bug put in on purpose.
    pub planted: Option<Planted>,
    /// Whether every event is printed.
    pub print: bool,
}

impl Plan {
    /// A seed as it is.
    pub fn of_seed(seed: u64) -> Self {
        Self { seed, scenario: None, planted: None, print: false }
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// The scenario that was played.
    pub scenario: &'static str,
    /// Equal for equal runs.
    pub trace: u64,
    /// Number of events in the trace.
    pub events: u64,
    /// What was seen.
    pub history: History,
    /// What the checkers say.
    pub verdict: Verdict,
    /// What the world noticed itself: members that do not start, or do not catch up.
    pub problems: Vec<String>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.verdict.is_clean() && self.problems.is_empty()
    }

    /// Everything that is wrong, a line each.
    pub fn findings(&self) -> Vec<String> {
        let mut lines: Vec<String> =
            self.verdict.violations.iter().map(ToString::to_string).collect();
        lines.extend(self.problems.iter().map(|problem| format!("World: {problem}")));
        lines.extend(
            self.verdict.undecided.as_ref().map(|reached| format!("Linear: gave up: {reached}")),
        );
        lines
    }
}

/// Runs a seed and judges it.
pub fn run(plan: Plan) -> Report {
    let scenario = plan.scenario.unwrap_or_else(|| scenario::of_seed(plan.seed));
    let mut world = World::new(plan.seed, scenario, plan.planted, Trace::new(plan.print));
    world.run();
    let history = std::mem::take(&mut world.recorder.history);
    Report {
        scenario: scenario.name,
        trace: world.trace.hash(),
        events: world.trace.lines(),
        verdict: check(&history),
        history,
        problems: world.problems,
    }
}
