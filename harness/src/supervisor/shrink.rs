//! From a case that fails to the smallest that fails in the same way: first the smallest storm, then the simplest
//! arguments, and again, as long as one of them gets simpler: fewer operations may need fewer faults. At last other
//! seeds are asked: what a fault does for this one, chance may do for another.
//!
//! What is tried next is decided by `windtunnel_faults::shrink` and by `arguments/shrink.rs`; here it is run, and
//! judged.

use super::Context;
use super::confirm::run_confirmed_as;
use super::hands::{Simpler, judge_candidates};
use super::process::{Worker, WorkerError};
use super::run_case::{CaseReport, Showing, run_case};
use crate::arguments::{self, Paths};
use crate::blackbox::{Drawing, Orders};
use crate::cases::Case;
use std::time::{Duration, Instant};
use windtunnel_faults::Plan;
use windtunnel_faults::shrink::{Ended, Observation, Shrinker, Verdict};

/// What shrinking came to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shrinking {
    /// Faults of the plan that was drawn.
    pub(crate) faults_before: usize,
    /// Of the arguments that are lists: name, and how many elements it had.
    pub(crate) lists_before: Vec<(String, u64)>,
    /// Whether any argument became simpler.
    pub(crate) simpler_arguments: bool,
    /// Whether it is a case of another seed than the one that was found: with that one it takes fewer faults.
    pub(crate) other_seed: bool,
    /// Simulations that it took.
    pub(crate) runs: usize,
    pub(crate) took: Duration,
    /// The budget ended it: a smaller case may exist.
    pub(crate) stopped_early: bool,
}

/// The failure that is being shrunk, and how it is known again.
struct Found {
    case: Case,
    /// How many arguments it has.
    arguments: usize,
    identity: Option<String>,
    deadline: Instant,
}

/// The smallest case so far.
#[derive(Debug)]
struct Smallest {
    plan: Plan,
    paths: Paths,
    /// The hash of its arguments' values. Without it the case fails before all are drawn.
    values: Option<u64>,
    observation: Observation,
    runs: usize,
    stopped_early: bool,
}

impl Smallest {
    fn of(report: &CaseReport) -> Self {
        let values = match report.drawing {
            Some(Drawing::Drawn { values }) if !report.arguments.is_empty() => Some(values),
            _ => None,
        };
        Self {
            plan: report.plan.clone(),
            paths: Paths::default(),
            values,
            observation: observation(report),
            runs: 0,
            stopped_early: false,
        }
    }
}

/// Shrinks a failure's plan and arguments, to the report of the smallest case. `None` when there is nothing to shrink.
pub(super) fn shrink(
    context: &Context<'_>,
    report: &CaseReport,
) -> Result<Option<(CaseReport, Shrinking)>, WorkerError> {
    let budget = context.settings.shrink;
    let Some(failure) = &report.failure else { return Ok(None) };
    let can_shrink = failure.is_repeatable() && super::is_of_the_case(&failure.kind) && budget.runs > 0;
    // What is kept, or carried by a token, was shrunk when it was found.
    let can_shrink = can_shrink && report.saved.is_none() && context.arguments.is_none();
    let faults = if context.plans.are_drawn() { report.plan.faults.len() } else { 0 };
    if !can_shrink || faults == 0 && report.arguments.is_empty() {
        return Ok(None);
    }
    let started = Instant::now();
    let what = of_what(faults, report.arguments.len());
    eprintln!("chaos: {} failed; shrinking its {what}", name_of(report));
    let mut found = Found {
        case: report.case,
        arguments: report.arguments.len(),
        identity: report.identity(),
        deadline: started + budget.time,
    };
    let mut smallest = Smallest::of(report);
    if faults > 0 {
        shrink_faults(context, &found, &mut smallest)?;
    }
    while shrink_arguments(context, &found, &mut smallest)? && faults > 0 {
        if smallest.plan.faults.is_empty() || !shrink_faults(context, &found, &mut smallest)? {
            break;
        }
    }
    let mut worker = Worker::start(context.definition)?;
    while with_another_seed(context, &mut worker, &mut found, &mut smallest)? {
        shrink_faults(context, &found, &mut smallest)?;
    }
    let Smallest { plan, paths, runs, stopped_early, .. } = smallest;
    let orders = orders(context, found.case, &plan, &paths);
    let shrunk = run_confirmed_as(context, &mut worker, found.case, &orders)?;
    let lists = report.arguments.iter().filter_map(|argument| Some((argument.name.clone(), argument.elements?)));
    let shrinking = Shrinking {
        faults_before: faults,
        lists_before: lists.collect(),
        simpler_arguments: !paths.is_empty(),
        other_seed: found.case.seed != report.case.seed,
        runs,
        took: started.elapsed(),
        stopped_early,
    };
    // A failure that comes and goes: what was found first is what is known.
    Ok(shrunk.failure.is_some().then_some((shrunk, shrinking)))
}

fn name_of(report: &CaseReport) -> String {
    if report.case.calm { "the rehearsal".to_owned() } else { format!("case {}", report.case.number) }
}

fn of_what(faults: usize, arguments: usize) -> String {
    let counted = if faults == 1 { "fault".to_owned() } else { format!("{faults} faults") };
    match (faults, arguments) {
        (0, _) => "arguments".to_owned(),
        (_, 0) => counted,
        _ => format!("{counted}, then its arguments"),
    }
}

/// Shrinks the plan. Whether it became smaller.
fn shrink_faults(context: &Context<'_>, found: &Found, smallest: &mut Smallest) -> Result<bool, WorkerError> {
    let budget = context.settings.shrink.runs.saturating_sub(smallest.runs);
    if smallest.stopped_early || budget == 0 {
        return Ok(false);
    }
    let mut shrinker = Shrinker::new(smallest.plan.clone(), smallest.observation.clone()).with_budget(budget);
    if let Some(rehearsed) = context.plans.rehearsed() {
        shrinker = shrinker.with_topology(&rehearsed.topology);
    }
    if let Some(faults) = &context.definition.faults {
        shrinker = shrinker.with_kinds(faults.kinds_in_play());
    }
    let paths = &smallest.paths;
    judge_candidates(context, &mut shrinker, found.deadline, |worker, plan| {
        let orders = orders(context, found.case, plan, paths);
        let candidate = run_case(context, worker, found.case, &orders, Showing::Nothing)?;
        Ok(if found.is_same(&candidate) { Verdict::Fails(observation(&candidate)) } else { Verdict::Passes })
    })?;
    let shrunk = shrinker.finish();
    let is_smaller = shrunk.plan != smallest.plan;
    smallest.plan = shrunk.plan;
    smallest.runs += shrunk.runs;
    smallest.stopped_early = shrunk.ended != Ended::Minimal;
    Ok(is_smaller)
}

/// Simplifies the arguments. Whether one of them became simpler.
fn shrink_arguments(context: &Context<'_>, found: &Found, smallest: &mut Smallest) -> Result<bool, WorkerError> {
    let budget = context.settings.shrink.runs.saturating_sub(smallest.runs);
    let Some(values) = smallest.values.filter(|_| !smallest.stopped_early && budget > 0) else { return Ok(false) };
    let mut shrinker = arguments::Shrinker::new(found.arguments, smallest.paths.clone(), values, budget);
    let plan = &smallest.plan;
    judge_candidates(context, &mut shrinker, found.deadline, |worker, Simpler { paths, known }| {
        let orders = Orders { known_arguments: Some(*known), ..orders(context, found.case, plan, paths) };
        let candidate = run_case(context, worker, found.case, &orders, Showing::Nothing)?;
        let outcome = if found.is_same(&candidate) { arguments::Outcome::Fails } else { arguments::Outcome::Passes };
        Ok(match candidate.drawing {
            Some(Drawing::Drawn { values }) => arguments::Verdict::Drawn { values, outcome },
            Some(Drawing::Known { values }) => arguments::Verdict::Drawn { values, outcome: arguments::Outcome::Fails },
            // Or it failed while it drew: no way to simpler arguments.
            Some(Drawing::Exhausted) | None => arguments::Verdict::Exhausted,
        })
    })?;
    let shrunk = shrinker.finish();
    let is_simpler = shrunk.values != values;
    smallest.paths = shrunk.paths;
    smallest.values = Some(shrunk.values);
    // Of another run, with other arguments: it tells nothing about this one.
    smallest.observation = Observation::default();
    smallest.runs += shrunk.runs;
    smallest.stopped_early = shrunk.stopped_early;
    Ok(is_simpler)
}

/// With how many other seeds a plan is tried without one of its faults: few where it is small already.
fn other_seeds(faults: usize) -> u64 {
    if faults > 3 { 20 } else { 5 }
}

/// Looks for a seed with which one of the faults is superfluous. Whether there is one: that is the case from then on.
fn with_another_seed(
    context: &Context<'_>,
    worker: &mut Worker,
    found: &mut Found,
    smallest: &mut Smallest,
) -> Result<bool, WorkerError> {
    let count = smallest.plan.faults.len();
    // Another seed would draw other arguments.
    if found.arguments > 0 || count < 2 || smallest.stopped_early {
        return Ok(false);
    }
    for left_out in 0..count {
        let rest = smallest.plan.faults.iter().enumerate().filter(|(at, _)| *at != left_out);
        let rest: Plan = rest.map(|(_, fault)| fault.clone()).collect();
        for other in 1..=other_seeds(count) {
            if smallest.runs >= context.settings.shrink.runs || Instant::now() >= found.deadline {
                return Ok(false);
            }
            let case = Case { seed: found.case.seed.wrapping_add(other), ..found.case };
            let orders = orders(context, case, &rest, &smallest.paths);
            let candidate = run_case(context, worker, case, &orders, Showing::Nothing)?;
            smallest.runs += 1;
            if found.is_same(&candidate) {
                eprintln!("chaos: shrinking: with another seed {} of the faults are left", rest.faults.len());
                smallest.observation = observation(&candidate);
                (smallest.plan, found.case) = (rest, case);
                return Ok(true);
            }
        }
    }
    Ok(false)
}

impl Found {
    /// Whether a case fails in the same way.
    fn is_same(&self, candidate: &CaseReport) -> bool {
        candidate.fails_as(self.identity.as_deref())
    }
}

/// Orders for a case with this plan and these arguments.
pub(super) fn orders(context: &Context<'_>, case: Case, plan: &Plan, paths: &Paths) -> Orders {
    let plan = (!plan.faults.is_empty()).then(|| plan.to_string());
    let arguments = (!paths.is_empty()).then(|| paths.to_string());
    Orders { plan, arguments, ..context.orders(case) }
}

/// What a run says about which of its faults mattered. Times count from the storm's beginning.
fn observation(report: &CaseReport) -> Observation {
    let Some(storm) = &report.storm else { return Observation::default() };
    let accounts = storm.accounts();
    let idle = (0..accounts.len()).filter(|at| !accounts[*at].may_have_bitten()).collect();
    let failed_at = report.failure.as_ref().map(|failure| failure.at.now_ns.saturating_sub(storm.began.at_ns));
    Observation { failed_at: failed_at.map(Duration::from_nanos), idle }
}
