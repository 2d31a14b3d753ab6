//! Saved cases: replayed before anything new is tried, and added to when something new is found.

use super::Context;
use super::confirm::run_confirmed_as;
use super::process::{Worker, WorkerError};
use super::run_case::CaseReport;
use super::search::Tally;
use crate::blackbox::{Drawing, Orders};
use crate::cases::Case;
use crate::regressions::{Entry, Regressions, Replayed, Saved, Saving, Verdict, found_with, judge};
use crate::report::{Failure, FailureKind};
use crate::settings::SaveSetting;
use std::sync::PoisonError;

/// How many other seeds a saved plan is tried with when its own passes: code moves, and the bug with it.
const OTHER_SEEDS: u64 = 3;

/// Replays saved cases. The first that fails, if any does; what passes on another path is noted.
pub(super) fn replay(
    context: &Context<'_>,
    worker: &mut Worker,
    entries: &[Entry],
    place: &str,
    tally: &mut Tally,
) -> Result<Option<CaseReport>, WorkerError> {
    for (entry, number) in entries.iter().zip(1..) {
        let (report, verdict) = run(context, worker, entry, entry.seed)?;
        let name = format!("{place}, entry {number}");
        if verdict.is_failure() {
            return Ok(Some(CaseReport { saved: Some(format!("in {name}: {verdict}")), ..report }));
        }
        if verdict == Verdict::Undrawable {
            eprintln!("chaos: {name}: {verdict}");
            continue;
        }
        if context.settings.becalmed {
            eprintln!("chaos: {name}: passes without its faults, as CHAOS_PERTURB=weather wants");
        } else {
            eprintln!("chaos: {name}: {verdict}");
        }
        tally.saved += 1;
        tally.add(&report);
        if verdict != Verdict::Dodged {
            continue;
        }
        for seed in (1..=OTHER_SEEDS).map(|other| entry.seed.wrapping_add(other)) {
            let (report, verdict) = run(context, worker, entry, seed)?;
            if verdict.is_failure() {
                let saved = format!("in {name}, with another seed than its own: {verdict}");
                return Ok(Some(CaseReport { saved: Some(saved), ..report }));
            }
        }
        context.dodged.lock().unwrap_or_else(PoisonError::into_inner).push(entry.clone());
    }
    Ok(None)
}

fn run(
    context: &Context<'_>,
    worker: &mut Worker,
    entry: &Entry,
    seed: u64,
) -> Result<(CaseReport, Verdict), WorkerError> {
    let case = Case { number: 1, seed, calm: entry.calm };
    let plan = Some(entry.plan.to_string()).filter(|_| !entry.plan.faults.is_empty());
    let arguments = Some(entry.arguments.to_string()).filter(|paths| !paths.is_empty());
    // Not as one that was drawn: a host that is not there any more must not make a bug disappear.
    let orders = Orders { plan, arguments, plan_is_drawn: false, ..context.orders(case) };
    let report = run_confirmed_as(context, worker, case, &orders)?;
    context.enter(&report);
    let failure = report.identity().zip(report.failure.as_ref().map(|failure| first_line(failure, &report)));
    let drawn = !matches!(report.drawing, Some(Drawing::Exhausted));
    let verdict = judge(entry, &Replayed { failure, digest: report.digest, drawn });
    Ok((report, verdict))
}

fn first_line(failure: &Failure, report: &CaseReport) -> String {
    failure.sentence(&report.log).lines().next().unwrap_or_default().to_owned()
}

/// Keeps a failure that was found, if that makes sense; says where, in one line or as the text to be kept.
pub(super) fn save(context: &Context<'_>, report: &CaseReport) -> Option<String> {
    let failure = report.failure.as_ref()?;
    let is_a_case = failure.is_repeatable() && super::is_of_the_case(&failure.kind) && !report.case.calm;
    let pinned = context.definition.seed.is_some() || context.definition.plan.is_some();
    // A storm that does nothing is made to test a test; what it finds is nobody's bug.
    let unwanted = context.settings.save == Some(SaveSetting::Never) || context.settings.becalmed;
    // What a file holds already, or the test itself.
    if unwanted
        || !is_a_case
        || pinned
        || report.saved.is_some()
        || matches!(failure.kind, FailureKind::NeverFailed { .. })
    {
        return None;
    }
    let entry = Entry {
        fails: first_line(failure, report),
        identity: report.identity(),
        seed: report.case.seed,
        calm: report.case.calm,
        plan: report.plan.clone(),
        arguments: report.paths.clone(),
        digest: report.digest,
        found: found_with(),
    };
    let saving = Saving::of(context.settings.save.unwrap_or_default(), context.settings.ci);
    let dodged = context.dodged.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Some(match Regressions::of(context.definition).save(&entry, &dodged, saving) {
        Ok(Saved::Written(path)) => format!("{path} (commit it)"),
        Ok(Saved::Known(path)) => format!("{path} has it already"),
        Ok(Saved::Printed(text)) => format!("not here: add this to its file, and commit it\n{text}"),
        Err(error) => format!("nowhere: {error}"),
    })
}
