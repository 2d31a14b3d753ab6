//! From a case that fails to the smallest storm that fails in the same way.
//!
//! What is tried next is `windtunnel_faults::shrink`'s; here candidates are run, on several workers at a time. Their
//! verdicts are taken in the order in which they were proposed, so the answer is the same however many there are.

use super::Context;
use super::confirm::run_confirmed_as;
use super::process::{Worker, WorkerError};
use super::run_case::{CaseReport, Showing, run_case};
use crate::blackbox::Orders;
use crate::report::identity;
use std::num::NonZeroU32;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use windtunnel_faults::Plan;
use windtunnel_faults::shrink::{Ended, Observation, Shrinker, Shrunk, Verdict};

/// More workers gain almost nothing: candidates depend on the verdicts of those before them.
const WORKERS_MAX: u32 = 4;

/// What shrinking came to.
#[derive(Debug, Clone)]
pub(crate) struct Shrinking {
    /// Faults of the plan that was drawn.
    pub(crate) faults_before: usize,
    /// Simulations that it took.
    pub(crate) runs: usize,
    pub(crate) took: Duration,
    /// The budget ended it: a smaller plan may exist.
    pub(crate) stopped_early: bool,
}

/// Shrinks a failure's plan. The report is that of the smallest case, or the old one when nothing smaller failed.
pub(super) fn shrink(
    context: &Context<'_>,
    report: CaseReport,
) -> Result<(CaseReport, Option<Shrinking>), WorkerError> {
    let budget = context.settings.shrink;
    let Some(failure) = &report.failure else { return Ok((report, None)) };
    let can_shrink = failure.is_repeatable() && super::is_of_the_case(&failure.kind);
    if report.saved.is_some()
        || report.plan.faults.is_empty()
        || !can_shrink
        || budget.runs == 0
        || !context.plans.are_drawn()
    {
        return Ok((report, None));
    }
    let wanted = identity(failure, &report.log);
    let started = Instant::now();
    let before = report.plan.faults.len();
    let faults = if before == 1 { "fault".to_owned() } else { format!("{before} faults") };
    eprintln!("chaos: case {} failed; shrinking its {faults}", report.case.number);
    let mut shrinker = Shrinker::new(report.plan.clone(), observation(&report)).with_budget(budget.runs);
    if let Some(rehearsed) = context.plans.rehearsed() {
        shrinker = shrinker.with_topology(&rehearsed.topology);
    }
    let judge = |worker: &mut Worker, plan: &Plan| -> Result<Verdict, WorkerError> {
        let candidate = run_case(context, worker, report.case, &orders(context, &report, plan), Showing::Nothing)?;
        let same = candidate.failure.as_ref().is_some_and(|failure| identity(failure, &candidate.log) == wanted);
        Ok(if same { Verdict::Fails(observation(&candidate)) } else { Verdict::Passes })
    };
    let shrunk = run_candidates(context, shrinker, started + budget.time, judge)?;
    let mut worker = Worker::start(context.definition.name())?;
    let smallest = run_confirmed_as(context, &mut worker, report.case, &orders(context, &report, &shrunk.plan))?;
    let shrinking = Shrinking {
        faults_before: before,
        runs: shrunk.runs,
        took: started.elapsed(),
        stopped_early: shrunk.ended != Ended::Minimal,
    };
    // A failure that comes and goes: what was found first is what is known.
    Ok(if smallest.failure.is_some() { (smallest, Some(shrinking)) } else { (report, None) })
}

fn orders(context: &Context<'_>, report: &CaseReport, plan: &Plan) -> Orders {
    Orders { plan: Some(plan.to_string()), ..context.orders(report.case) }
}

/// What a run says about which of its faults mattered. Times count from the storm's beginning.
fn observation(report: &CaseReport) -> Observation {
    let Some(storm) = &report.storm else { return Observation::default() };
    let accounts = storm.accounts();
    let idle = (0..accounts.len()).filter(|at| accounts[*at].bit == 0).collect();
    let failed_at = report.failure.as_ref().map(|failure| failure.at.now_ns.saturating_sub(storm.began.at_ns));
    Observation { failed_at: failed_at.map(Duration::from_nanos), idle }
}

/// Has workers judge what is proposed until nothing is, or the time is over.
fn run_candidates(
    context: &Context<'_>,
    mut shrinker: Shrinker,
    deadline: Instant,
    judge: impl Fn(&mut Worker, &Plan) -> Result<Verdict, WorkerError> + Sync,
) -> Result<Shrunk, WorkerError> {
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u32).min(WORKERS_MAX);
    let workers = context.settings.jobs.map_or(cores, NonZeroU32::get) as usize;
    thread::scope(|scope| {
        // Each worker belongs to the thread that starts it: it dies when that thread ends.
        let hands: Vec<_> = (0..workers)
            .map(|_| {
                let (plans, next) = mpsc::channel::<Plan>();
                let (say, verdicts) = mpsc::channel();
                let judge = &judge;
                scope.spawn(move || {
                    let mut worker = Worker::start(context.definition.name());
                    for plan in next {
                        let verdict = match &mut worker {
                            Ok(worker) => judge(worker, &plan),
                            Err(_) => break,
                        };
                        if say.send(verdict).is_err() {
                            break;
                        }
                    }
                    worker.map(drop)
                });
                (plans, verdicts)
            })
            .collect();
        while Instant::now() < deadline {
            let candidates = shrinker.propose(workers);
            if candidates.is_empty() {
                return Ok(shrinker.finish());
            }
            let before = shrinker.best().faults.len();
            let busy: Vec<_> = candidates.into_iter().zip(&hands).collect();
            for (plan, (plans, _)) in &busy {
                // A hand that is gone is noticed when its verdict is asked for.
                let _: Result<(), mpsc::SendError<Plan>> = plans.send(plan.clone());
            }
            let verdicts: Result<Vec<_>, _> = busy
                .iter()
                .map(|(_, (_, verdicts))| verdicts.recv().unwrap_or_else(|_| Err(WorkerError::none())))
                .collect();
            shrinker.learn(verdicts?);
            let left = shrinker.best().faults.len();
            if left < before {
                eprintln!("chaos: shrinking: {left} of the faults are left");
            }
        }
        shrinker.stop();
        Ok(shrinker.finish())
    })
}
