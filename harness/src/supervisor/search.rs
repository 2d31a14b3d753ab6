//! All cases of a test, on one worker or several, until one fails.

use super::Context;
use super::confirm::run_confirmed;
use super::process::{Worker, WorkerError};
use super::run_case::CaseReport;
use super::saved;
use super::sweep::RECORDED;
use super::telling::weaker;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use windtunnel_faults::Kind;

/// What ran without failing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// New ones; the rehearsal is not among those that were asked for.
    pub(crate) cases: u64,
    /// Of a file.
    pub(crate) saved: u64,
    pub(crate) virtual_ns: u128,
    pub(crate) events: u64,
    pub(crate) faults: u64,
    pub(crate) effective_faults: u64,
    /// Faults of plans, by kind: how many, and how many of these bit.
    pub(crate) planned: BTreeMap<Kind, (u64, u64)>,
    /// How many of them never began.
    pub(crate) never_began: u64,
    /// How many of them may have bitten, which nobody counts.
    pub(crate) uncounted: u64,
    /// Cases with a plan of which nothing bit.
    pub(crate) unbitten: u64,
    /// Faults that this machine cannot do, and why.
    pub(crate) left_out: BTreeSet<String>,
}

impl Tally {
    pub(super) fn add(&mut self, report: &CaseReport) {
        self.virtual_ns += u128::from(report.at.now_ns);
        self.events += report.at.event;
        self.faults += report.faults.0;
        self.effective_faults += report.faults.1;
        self.left_out.extend(report.left_out.iter().cloned());
        let accounts = report.storm.as_ref().map_or(&[][..], |storm| storm.accounts());
        for (fault, account) in report.plan.faults.iter().zip(accounts) {
            let (count, bit) = self.planned.entry(fault.kind()).or_default();
            *count += 1;
            *bit += u64::from(account.bit > 0);
            self.uncounted += u64::from(account.bit == 0 && account.may_have_bitten());
            self.never_began += u64::from(account.began_ns.is_none());
        }
        let nothing_bit = !accounts.is_empty() && !accounts.iter().any(|account| account.may_have_bitten());
        self.unbitten += u64::from(nothing_bit);
    }
}

/// What several workers share. The failure reported is that of the lowest case, however many run at a time.
struct Progress {
    next: AtomicU32,
    /// Cases from here on need not run.
    end: AtomicU32,
    /// After so many cases one more line is printed; 0 for none.
    tenth: u32,
    found: Mutex<(Tally, Option<CaseReport>, Option<WorkerError>)>,
}

/// Runs the cases; the first that fails, or none.
pub(super) fn search(context: &Context<'_>) -> Result<(Tally, Option<CaseReport>), WorkerError> {
    let mut worker = Worker::start(context.definition)?;
    if let Some(refusal) = worker.layout_refusal() {
        eprintln!("chaos: {}", weaker(&refusal));
    }
    let mut tally = Tally::default();
    if context.cases.rehearsal || context.plans.need_rehearsal() && !context.cases.only_calm {
        // Alone: a test that fails in good weather should say so, and nothing else.
        let report = rehearse(context, &mut worker)?;
        if context.cases.rehearsal {
            context.enter(&report);
        }
        if report.failure.is_some() {
            return Ok((tally, Some(report)));
        }
        tally.add(&report);
        context.plans.announcement().inspect(|line| eprintln!("{line}"));
    }
    if let Some((entries, place)) = &context.saved
        && let Some(report) = saved::replay(context, &mut worker, entries, place, &mut tally)?
    {
        return Ok((tally, Some(report)));
    }
    let (first, count) = match context.settings.sweep {
        None => (1, context.cases.count),
        Some(stride) => {
            let recorded = run_confirmed(context, &mut worker, context.cases.case(RECORDED))?;
            context.enter(&recorded);
            if recorded.failure.is_some() {
                return Ok((tally, Some(recorded)));
            }
            tally.cases += 1;
            tally.add(&recorded);
            match context.plans.sweep(&recorded, stride) {
                Ok(sweep) => {
                    eprintln!("{}", sweep.announcement());
                    (RECORDED + 1, sweep.cases())
                }
                Err(reason) => return Ok((tally, Some(recorded.impossible(reason)))),
            }
        }
    };
    let progress = Progress {
        next: AtomicU32::new(first),
        end: AtomicU32::new(first.saturating_add(count)),
        tenth: if context.settings.sweep.is_some() { count.div_ceil(10) } else { 0 },
        found: Mutex::new((tally, None, None)),
    };
    let jobs = context.settings.jobs.map_or(1, |jobs| jobs.get()).min(count);
    std::thread::scope(|scope| {
        // Each worker belongs to the thread that starts it: it dies when that thread ends.
        let others = (1..jobs)
            .map(|_| scope.spawn(|| progress.note(|| progress.work(context, &mut Worker::start(context.definition)?))));
        let others: Vec<_> = others.collect();
        progress.note(|| progress.work(context, &mut worker));
        drop(others);
    });
    let (tally, report, error) = progress.found.into_inner().unwrap_or_else(PoisonError::into_inner);
    match (report, error) {
        (None, Some(error)) => Err(error),
        (report, _) => Ok((tally, report)),
    }
}

/// Runs the calm rehearsal, and learns from it for what plans are drawn.
pub(super) fn rehearse(context: &Context<'_>, worker: &mut Worker) -> Result<CaseReport, WorkerError> {
    let report = run_confirmed(context, worker, context.cases.rehearsal())?;
    if report.failure.is_some() {
        return Ok(report);
    }
    match context.plans.learn(&report) {
        Ok(()) => Ok(report),
        Err(reason) => Ok(report.impossible(reason)),
    }
}

impl Progress {
    fn work(&self, context: &Context<'_>, worker: &mut Worker) -> Result<(), WorkerError> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let time_is_up = context.deadline.is_some_and(|deadline| Instant::now() >= deadline);
            // One case at least: a green light for nothing helps nobody.
            if number >= self.end.load(Ordering::Relaxed) || time_is_up && number > 1 {
                return Ok(());
            }
            let report = run_confirmed(context, worker, context.cases.case(number))?;
            context.enter(&report);
            let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            if report.failure.is_none() {
                found.0.cases += 1;
                found.0.add(&report);
                if self.tenth > 0 && found.0.cases.is_multiple_of(u64::from(self.tenth)) {
                    eprintln!("chaos: {} cases have passed", found.0.cases);
                }
            } else if found.1.as_ref().is_none_or(|other| report.case.number < other.case.number) {
                self.end.fetch_min(report.case.number, Ordering::Relaxed);
                found.1 = Some(report);
            }
        }
    }

    /// Keeps the first error, and lets the others come to an end.
    fn note(&self, work: impl FnOnce() -> Result<(), WorkerError>) {
        if let Err(error) = work() {
            self.end.store(0, Ordering::Relaxed);
            let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            found.2.get_or_insert(error);
        }
    }
}
