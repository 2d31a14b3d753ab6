//! Which randomness a failure needs: each kind is switched off, and stays so as long as the case fails in the same way.
//!
//! What is left tells the reader where to look: a failure that needs the schedule is a race, one that needs nothing but
//! its faults is not. The case that is reported keeps all of it; this is about it, no other case.

use super::Context;
use super::process::{Worker, WorkerError};
use super::run_case::{CaseReport, Showing, run_case};
use crate::blackbox::Orders;
use crate::report::identity;
use windtunnel_sim::world::Quiet;

/// A kind of randomness: its name in reports, and how it is switched off.
type Kind = (&'static str, fn(&mut Quiet));

const KINDS: [Kind; 3] = [
    ("scheduling", |quiet| quiet.scheduling = true),
    ("latencies", |quiet| quiet.links = true),
    ("interrupted and shortened calls", |quiet| quiet.calls = true),
];

/// What the failure needs, in words. `None` when that is no question: it failed in good weather, or may not be run.
pub(super) fn needed(context: &Context<'_>, report: &CaseReport) -> Result<Option<String>, WorkerError> {
    let Some(failure) = &report.failure else { return Ok(None) };
    let can_run = failure.is_repeatable() && super::is_of_the_case(&failure.kind) && context.settings.shrink.runs > 0;
    if !can_run || report.case.calm {
        return Ok(None);
    }
    let wanted = identity(failure, &report.log);
    let mut worker = Worker::start(context.definition.name())?;
    let orders = super::shrink::orders(context, report, &report.plan, &report.paths);
    let (mut quiet, mut needed) = (Quiet::default(), Vec::new());
    for (name, switch_off) in KINDS {
        let mut quieter = quiet;
        switch_off(&mut quieter);
        let candidate = Orders { quiet: quieter, ..orders.clone() };
        let candidate = run_case(context, &mut worker, report.case, &candidate, Showing::Nothing)?;
        let same = candidate.failure.as_ref().is_some_and(|failure| identity(failure, &candidate.log) == wanted);
        if same {
            quiet = quieter;
        } else {
            needed.push(name);
        }
    }
    Ok(Some(in_words(&needed)))
}

fn in_words(needed: &[&str]) -> String {
    let idle: Vec<&str> = KINDS.iter().map(|(name, _)| *name).filter(|name| !needed.contains(name)).collect();
    match (needed, &idle[..]) {
        ([], _) => "no chance: it fails with fair scheduling, constant latencies and undisturbed calls".to_owned(),
        (needed, []) => format!("chance in {}", needed.join(", in ")),
        (needed, idle) => format!("chance in {}, but not in {}", needed.join(", in "), idle.join(" or ")),
    }
}

#[cfg(test)]
mod tests {
    use super::in_words;

    #[test]
    fn what_is_needed_is_a_sentence() {
        let all = ["scheduling", "latencies", "interrupted and shortened calls"];
        insta::assert_snapshot!([in_words(&[]), in_words(&all[..1]), in_words(&all)].join("\n"), @r"
        no chance: it fails with fair scheduling, constant latencies and undisturbed calls
        chance in scheduling, but not in latencies or interrupted and shortened calls
        chance in scheduling, in latencies, in interrupted and shortened calls
        ");
    }
}
