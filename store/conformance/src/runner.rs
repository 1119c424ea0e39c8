//! Runs the cases over one backend and says what came out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cases::{self, Applies, Case};
use crate::check::{Failure, Verdict};
use crate::context::Context;
use crate::endpoint::Endpoint;

/// How long one case may take. The slowest wait for leases of a few seconds to expire.
const CASE_WAIT: Duration = Duration::from_secs(30);

/// What a backend is to the suite.
pub struct Backend {
    pub name: String,
    pub store: Arc<dyn Endpoint>,
    /// Whether it is a running member.
    pub member: bool,
    /// Cases that are known not to hold, with the reason. An older etcd has some.
    pub differences: &'static [(&'static str, &'static str)],
}

/// How one case went.
#[derive(Debug)]
pub struct Outcome {
    pub case: &'static str,
    pub took: Duration,
    pub result: CaseResult,
}

/// The result of one case.
#[derive(Debug)]
pub enum CaseResult {
    Passed,
    Failed(String),
    /// Not asked of this backend, with the reason.
    LeftOut(&'static str),
}

/// What a backend did with the whole suite.
#[derive(Debug)]
pub struct Report {
    pub backend: String,
    pub outcomes: Vec<Outcome>,
}

/// Runs every case whose name contains `filter`, one after the other, on a cleared store.
pub async fn run(backend: &Backend, filter: &str) -> Report {
    let mut outcomes = Vec::new();
    for case in cases::all().filter(|case| case.name.contains(filter)) {
        let started = Instant::now();
        if let Err(gone) = (Context { store: backend.store.clone() }).clear().await {
            let result = CaseResult::Failed(format!("the store is gone, no more is asked: {gone}"));
            outcomes.push(Outcome { case: case.name, took: started.elapsed(), result });
            break;
        }
        let result = match left_out(backend, case) {
            Some(reason) => CaseResult::LeftOut(reason),
            None => match run_case(backend, case).await {
                Ok(()) => CaseResult::Passed,
                Err(failure) => CaseResult::Failed(failure.to_string()),
            },
        };
        outcomes.push(Outcome { case: case.name, took: started.elapsed(), result });
    }
    Report { backend: backend.name.clone(), outcomes }
}

fn left_out(backend: &Backend, case: &Case) -> Option<&'static str> {
    let known = backend.differences.iter().find(|(name, _)| case.name.starts_with(name));
    match case.applies {
        Applies::Members if !backend.member => Some("needs a running member"),
        _ => known.map(|(_, reason)| *reason),
    }
}

async fn run_case(backend: &Backend, case: &Case) -> Verdict {
    let context = Context { store: backend.store.clone() };
    // A task of its own: a case that panics is a failed case, not the end of the suite.
    let task = tokio::spawn((case.run)(context));
    let abort = task.abort_handle();
    match tokio::time::timeout(CASE_WAIT, task).await {
        Ok(Ok(verdict)) => verdict,
        Ok(Err(panicked)) => Err(Failure::new(panicked.to_string())),
        Err(_) => {
            abort.abort();
            Err(Failure::silent("end of the case", CASE_WAIT))
        }
    }
}

impl Report {
    /// The number of cases that failed.
    pub fn failed(&self) -> usize {
        self.count(|result| matches!(result, CaseResult::Failed(_)))
    }

    /// The number of cases that held.
    pub fn passed(&self) -> usize {
        self.count(|result| matches!(result, CaseResult::Passed))
    }

    /// The number of cases that were not asked.
    pub fn left_out(&self) -> usize {
        self.count(|result| matches!(result, CaseResult::LeftOut(_)))
    }

    fn count(&self, matches: impl Fn(&CaseResult) -> bool) -> usize {
        self.outcomes.iter().filter(|outcome| matches(&outcome.result)).count()
    }

    /// A table by feature; below it every case that failed, and why others were left out.
    pub fn render(&self) -> String {
        let mut text = format!(
            "{}\n  {:<18} {:>6} {:>6} {:>8} {:>7}\n",
            self.backend, "feature", "passed", "failed", "left out", "s"
        );
        for outcomes in self.outcomes.chunk_by(|a, b| feature(a.case) == feature(b.case)) {
            text += &feature_line(outcomes);
        }
        for outcome in &self.outcomes {
            if let CaseResult::Failed(why) = &outcome.result {
                text += &format!("  FAILED {}\n         {why}\n", outcome.case);
            }
        }
        for (reason, count) in self.reasons() {
            text += &format!("  left out {count}: {reason}\n");
        }
        let (passed, failed, left_out) = (self.passed(), self.failed(), self.left_out());
        text + &format!("  {passed} passed, {failed} failed, {left_out} left out\n")
    }

    /// Why cases were left out, and how many for each reason.
    fn reasons(&self) -> BTreeMap<&'static str, usize> {
        let mut reasons = BTreeMap::new();
        for outcome in &self.outcomes {
            if let CaseResult::LeftOut(reason) = outcome.result {
                *reasons.entry(reason).or_default() += 1;
            }
        }
        reasons
    }
}

fn feature_line(outcomes: &[Outcome]) -> String {
    let count = |matches: fn(&CaseResult) -> bool| {
        outcomes.iter().filter(|outcome| matches(&outcome.result)).count()
    };
    format!(
        "  {:<18} {:>6} {:>6} {:>8} {:>7.1}\n",
        feature(outcomes[0].case),
        count(|result| matches!(result, CaseResult::Passed)),
        count(|result| matches!(result, CaseResult::Failed(_))),
        count(|result| matches!(result, CaseResult::LeftOut(_))),
        outcomes.iter().map(|outcome| outcome.took).sum::<Duration>().as_secs_f64(),
    )
}

fn feature(case: &str) -> &str {
    case.split("::").next().unwrap_or(case)
}
