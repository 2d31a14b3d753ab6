//! The same case again: is it the same? And the same case to be looked at.
//!
//! Cases are searched without `RUST_LOG` and `RUST_BACKTRACE`: what they make programs allocate must not decide a case,
//! and costs time. When there is something to be seen, the case runs once more with them, held to the addresses of the
//! run before (`sim/src/carrier/heap/follow.rs`), and the digests tell whether it was the same.

use super::Context;
use super::process::{Worker, WorkerError};
use super::run_case::{CaseReport, Showing, run_case};
use super::telling::differs_when_logged;
use crate::blackbox::{Finding, Orders, RecordingMode};
use crate::cases::Case;
use crate::definition::World;
use crate::report::{Difference, Failure, FailureKind};
use crate::settings::CheckSetting;
use std::path::Path;
use windtunnel_sim::world::HeapRecordUse;

/// Each how many cases one that passes is run twice.
const DOUBLE_RUN_SHARE: u32 = 16;
/// How many pairs of runs are recorded to find the first event that differs: a difference may come and go.
const RECORDED_PAIRS: usize = 4;

/// Runs a case, and again when that is due: after a failure, for a share of those that pass, and to be looked at.
pub(super) fn run_confirmed(context: &Context<'_>, worker: &mut Worker, case: Case) -> Result<CaseReport, WorkerError> {
    run_confirmed_as(context, worker, case, &context.orders(case))
}

/// As [`run_confirmed`], with orders of its own.
pub(super) fn run_confirmed_as(
    context: &Context<'_>,
    worker: &mut Worker,
    case: Case,
    orders: &Orders,
) -> Result<CaseReport, WorkerError> {
    if context.definition.world == World::Real {
        return run_really(context, worker, case, orders);
    }
    // What is shown while it happens is shown of every case.
    let looked_at_anyway = context.settings.look.is_wanted() && context.settings.log.is_live();
    let every = context.settings.check == Some(CheckSetting::Determinism);
    let checked = every || case.number % DOUBLE_RUN_SHARE == 1 || context.settings.perturb.is_some();
    let copying = Orders { disks: context.disks(case), guard: checked, ..orders.clone() };
    let mut report = if looked_at_anyway {
        let seen = run_case(context, worker, case, &keeping(&copying), Showing::Nothing)?;
        look(context, worker, orders, seen)?
    } else {
        run_case(context, worker, case, &copying, Showing::Live)?
    };
    if let Some(directory) = copying.disks.filter(|directory| Path::new(directory).exists()) {
        eprintln!("disks: {directory}");
    }
    context.write_events(case, worker.blackbox());
    let due = match &report.failure {
        Some(failure) => failure.is_repeatable() && super::is_of_the_case(&failure.kind),
        None => checked,
    };
    if !due {
        return Ok(report);
    }
    let again = run_case(context, worker, case, &keeping(&second(context, orders)), Showing::Nothing)?;
    if report.is_same_run(&again) {
        report.confirmation = report.failure.is_some().then(|| "equal in a second run".to_owned());
        let to_be_seen = report.failure.is_some() && context.settings.look.is_wanted() && !looked_at_anyway;
        return if to_be_seen { look(context, worker, orders, report) } else { Ok(report) };
    }
    let first = first_difference(context, worker, case, orders)?;
    let confirmation = again
        .digest
        .map_or_else(|| "none in a second run".to_owned(), |digest| format!("but {digest:032x} in a second run"));
    let at = first.as_ref().map_or(report.at, |difference| difference.at);
    let failure = Failure { kind: FailureKind::Nondeterministic { first }, at, stacks: Vec::new() };
    Ok(CaseReport { failure: Some(failure), confirmation: Some(confirmation), ..report })
}

/// Runs a case on the real kernel, which nobody can ask for the same run again: after a failure it runs once more, to
/// say whether that came back.
fn run_really(
    context: &Context<'_>,
    worker: &mut Worker,
    case: Case,
    orders: &Orders,
) -> Result<CaseReport, WorkerError> {
    let orders = context.logged(orders);
    let mut report = run_case(context, worker, case, &orders, Showing::Live)?;
    if report.failure.as_ref().is_some_and(|failure| super::is_of_the_case(&failure.kind)) {
        let again = run_case(context, worker, case, &orders, Showing::Nothing)?;
        let failed = |report: &CaseReport| {
            let sentence = report.failure.as_ref().map(|failure| failure.sentence(&report.log))?;
            Some(Failed { identity: report.identity()?, sentence })
        };
        report.confirmation = failed(&report).map(|first| second_time(&first, failed(&again).as_ref()));
    }
    Ok(report)
}

/// A run that failed: as which bug, and what is said about it.
struct Failed {
    identity: String,
    sentence: String,
}

/// What came of running a case again that failed.
fn second_time(first: &Failed, again: Option<&Failed>) -> String {
    match again {
        None => "passed a second time".to_owned(),
        Some(again) if again.identity == first.identity => "failed so a second time".to_owned(),
        Some(again) => {
            let otherwise = again.sentence.lines().next().unwrap_or_default();
            format!("failed otherwise a second time: {otherwise}")
        }
    }
}

/// Orders for a run that another can follow.
fn keeping(orders: &Orders) -> Orders {
    Orders { heap_record: Some(HeapRecordUse::Keep), ..orders.clone() }
}

/// Runs a case as the run before it, which kept a record, but with what the user wants logged. The report is the new
/// run's if that was the same run, and else the old one's, which says so.
fn look(
    context: &Context<'_>,
    worker: &mut Worker,
    orders: &Orders,
    seen: CaseReport,
) -> Result<CaseReport, WorkerError> {
    let orders = Orders { heap_record: Some(HeapRecordUse::Follow), ..context.logged(orders) };
    let looked = run_case(context, worker, seen.case, &orders, Showing::Live)?;
    if seen.is_same_run(&looked) {
        return Ok(CaseReport { confirmation: seen.confirmation, ..looked });
    }
    let digest = looked.digest.map_or_else(|| "none".to_owned(), |digest| format!("{digest:032x}"));
    eprintln!("chaos: {}", differs_when_logged(&digest));
    Ok(CaseReport { differs_when_logged: Some(digest), ..seen })
}

/// Orders for a second run: the same, unless somebody wants to see a difference found.
fn second(context: &Context<'_>, orders: &Orders) -> Orders {
    Orders { perturb: context.settings.perturb, ..orders.clone() }
}

/// Records one run and compares the next with it as it goes.
fn first_difference(
    context: &Context<'_>,
    worker: &mut Worker,
    case: Case,
    orders: &Orders,
) -> Result<Option<Difference>, WorkerError> {
    for _ in 0..RECORDED_PAIRS {
        let kept = Orders { recording: RecordingMode::Keep, ..orders.clone() };
        run_case(context, worker, case, &kept, Showing::Nothing)?;
        let compared = Orders { recording: RecordingMode::Compare, ..second(context, orders) };
        run_case(context, worker, case, &compared, Showing::Nothing)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_fails_so_or_otherwise_or_passes() {
        let failed =
            |identity: &str, sentence: &str| Failed { identity: identity.to_owned(), sentence: sentence.to_owned() };
        let first = failed("panicked on test: read #", "panicked: read 3");
        let second = |again: Option<Failed>| second_time(&first, again.as_ref());
        assert_eq!(second(None), "passed a second time");
        assert_eq!(second(Some(failed("panicked on test: read #", "panicked: read 4"))), "failed so a second time");
        let otherwise =
            failed("host ended on kv: exit code 1", "host ended: kv0 ended by itself with exit code 1\nmore");
        assert_eq!(
            second(Some(otherwise)),
            "failed otherwise a second time: host ended: kv0 ended by itself with exit code 1"
        );
    }
}
