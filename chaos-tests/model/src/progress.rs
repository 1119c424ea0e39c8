//! After the faults end, everybody is served again.

use crate::history::{History, Outcome};
use crate::{Checker, Violation};

/// Looks at what was called a grace after healing.
pub fn check(history: &History) -> Vec<Violation> {
    let Some(healed) = history.healed else { return Vec::new() };
    let due = healed.at + healed.grace;
    let mut after =
        history.operations.iter().filter(|operation| operation.called >= due).peekable();
    if after.peek().is_none() {
        let what = format!("nothing was called after {due}, so progress cannot be judged");
        return vec![Violation::new(Checker::Progress, what)];
    }
    after
        .filter(|operation| !matches!(operation.outcome, Outcome::Done { .. }))
        .map(|operation| {
            let what = format!(
                "faults ended at {}, but {:?} of client {} at member {}, called at {}, ended {:?}",
                healed.at,
                operation.request,
                operation.client,
                operation.member,
                operation.called,
                operation.outcome
            );
            Violation::new(Checker::Progress, what)
        })
        .collect()
}
