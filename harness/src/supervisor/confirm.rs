//! The same case again: is it the same?

use super::Context;
use super::process::{Worker, WorkerError};
use super::run_case::{CaseReport, run_case, run_with};
use crate::blackbox::{Finding, Orders, RecordingMode};
use crate::cases::Case;
use crate::report::{Difference, Failure, FailureKind};

/// Each how many cases one that passes is run twice.
const DOUBLE_RUN_SHARE: u32 = 16;
/// How many pairs of runs are recorded to find the first event that differs: a difference may come and go.
const RECORDED_PAIRS: usize = 4;

/// Runs a case, and again when that is due: after a failure, and for a share of those that pass.
pub(super) fn run_confirmed(context: &Context<'_>, worker: &mut Worker, case: Case) -> Result<CaseReport, WorkerError> {
    let mut report = run_case(context, worker, case)?;
    context.write_events(worker.blackbox());
    let due = match &report.failure {
        Some(failure) => failure.is_repeatable() && super::is_of_the_case(&failure.kind),
        None => case.number % DOUBLE_RUN_SHARE == 1 || context.settings.perturb.is_some(),
    };
    if !due {
        return Ok(report);
    }
    let again = run_with(context, worker, case, &second(context, case))?;
    if report.is_same_run(&again) {
        report.confirmation = report.failure.is_some().then(|| "equal in a second run".to_owned());
        return Ok(report);
    }
    let first = first_difference(context, worker, case)?;
    let confirmation = again
        .digest
        .map_or_else(|| "none in a second run".to_owned(), |digest| format!("but {digest:032x} in a second run"));
    let at = first.as_ref().map_or(report.at, |difference| difference.at);
    let failure = Failure { kind: FailureKind::Nondeterministic { first }, at, stacks: Vec::new() };
    Ok(CaseReport { failure: Some(failure), confirmation: Some(confirmation), ..report })
}

/// Orders for a second run: the same, unless somebody wants to see a difference found.
fn second(context: &Context<'_>, case: Case) -> Orders {
    Orders { perturb: context.settings.perturb, ..context.orders(case) }
}

/// Records one run and compares the next with it as it goes.
fn first_difference(context: &Context<'_>, worker: &mut Worker, case: Case) -> Result<Option<Difference>, WorkerError> {
    for _ in 0..RECORDED_PAIRS {
        run_with(context, worker, case, &Orders { recording: RecordingMode::Keep, ..context.orders(case) })?;
        run_with(context, worker, case, &Orders { recording: RecordingMode::Compare, ..second(context, case) })?;
        let found = worker.blackbox().findings().read().into_iter().find_map(|finding| match finding {
            Finding::Differs { at, recorded, seen } => {
                Some(Difference { at, recorded: recorded.into_owned(), seen: seen.into_owned() })
            }
            _ => None,
        });
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}
