//! One case: orders, watching, judgement.

use super::Context;
use super::plans::NO_STORM;
use super::process::{ProcessEnd, Worker, WorkerError};
use crate::arguments::Paths;
use crate::blackbox::{
    At, BlackBox, Drawing, EndedAs, Ending, FaultAccount, Finding, Orders, PLAN_BYTES, StormBegan, StormEnded,
    TapeReader, Verdict,
};
use crate::cases::Case;
use crate::definition::{TestDefinition, World};
use crate::report::{Argument, Death, Failure, FailureKind, LineAssembler, Log, ThreadStack, identity, live};
use crate::settings::LogSetting;
use crate::system::End;
use std::time::{Duration, Instant};
use windtunnel_faults::Plan;

/// What came of a case.
#[derive(Debug)]
pub(crate) struct CaseReport {
    pub(crate) case: Case,
    pub(crate) failure: Option<Failure>,
    /// Present when the world ended by itself.
    pub(crate) digest: Option<u128>,
    pub(crate) at: At,
    /// How many faults were begun by hand, and how many of these made a difference.
    pub(crate) faults: (u64, u64),
    /// The faults that were ordered.
    pub(crate) plan: Plan,
    /// The steps to the arguments that were ordered.
    pub(crate) paths: Paths,
    /// The first storm, if there was one.
    pub(crate) storm: Option<Storm>,
    /// What was drawn for the test's parameters, in their order.
    pub(crate) arguments: Vec<Argument>,
    /// What came of drawing them; none when the case ended while it drew, or the test has none.
    pub(crate) drawing: Option<Drawing>,
    /// Faults of the plan that this machine cannot do, and why.
    pub(crate) left_out: Vec<String>,
    /// Real time, from orders to ending.
    pub(crate) took: Duration,
    /// Of a failed case only.
    pub(crate) log: Log,
    /// What a second run said: equal digests, or not.
    pub(crate) confirmation: Option<String>,
    pub(crate) layout_refusal: Option<String>,
    /// What a saved case says about its bug, when this is one.
    pub(crate) saved: Option<String>,
    /// Logging would have made another run of this case, so this is the report of the run without: its digest.
    pub(crate) differs_when_logged: Option<String>,
}

/// What is known of a storm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Storm {
    pub(crate) began: StormBegan,
    /// None when the case's process died in it.
    pub(crate) ended: Option<StormEnded>,
}

impl Storm {
    /// How long it blew.
    pub(crate) fn length(&self) -> Option<Duration> {
        let ended = self.ended.as_ref()?;
        Some(Duration::from_nanos(ended.at_ns.saturating_sub(self.began.at_ns)))
    }

    /// What became of each fault, in the plan's order.
    pub(crate) fn accounts(&self) -> &[FaultAccount] {
        self.ended.as_ref().map_or(&[], |ended| &ended.faults)
    }
}

impl CaseReport {
    /// The same, but nothing that ran could have tested what the test asks for.
    pub(super) fn impossible(self, reason: String) -> Self {
        let failure = Failure { kind: FailureKind::Impossible { reason }, at: self.at, stacks: Vec::new() };
        Self { failure: Some(failure), ..self }
    }

    /// What makes its failure the same bug as another's; nothing when it passed.
    pub(crate) fn identity(&self) -> Option<String> {
        self.failure.as_ref().map(|failure| identity(failure, &self.log))
    }

    /// Whether both failed in the same way.
    pub(crate) fn fails_like(&self, other: &Self) -> bool {
        self.fails_as(other.identity().as_deref())
    }

    /// Whether it failed, and in the way that has this identity.
    pub(crate) fn fails_as(&self, wanted: Option<&str>) -> bool {
        wanted.is_some() && self.identity().as_deref() == wanted
    }

    /// Two runs with equal outcomes are the same run, as far as can be told.
    pub(crate) fn is_same_run(&self, other: &Self) -> bool {
        let sentence = |report: &Self| report.failure.as_ref().map(|failure| failure.sentence(&report.log));
        match (self.digest, other.digest) {
            (Some(one), Some(two)) => one == two,
            (None, None) => sentence(self) == sentence(other),
            _ => false,
        }
    }
}

/// Whether what hosts write is shown while a case runs, if the user wants that at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Showing {
    Live,
    Nothing,
}

/// Runs a case once, with these orders.
pub(super) fn run_case(
    context: &Context<'_>,
    worker: &mut Worker,
    case: Case,
    orders: &Orders,
    showing: Showing,
) -> Result<CaseReport, WorkerError> {
    let wall_timeout = context.definition.wall_timeout();
    let started = Instant::now();
    let end = if context.settings.log.is_live() && showing == Showing::Live {
        let mut window = Window::new(&context.settings.log);
        let end = worker.run(orders, wall_timeout, Some(&mut |blackbox| window.show(blackbox)))?;
        window.show(worker.blackbox());
        window.close();
        end
    } else {
        worker.run(orders, wall_timeout, None)?
    };
    let mut report = judge(context.definition, case, worker.blackbox(), &end);
    if let Some(Failure { kind: FailureKind::WallTimeout { limit, .. }, at, .. }) = &mut report.failure
        && context.definition.world == World::Real
    {
        // Nothing may have happened for long.
        at.now_ns = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
    }
    // Written by this process; what cannot be read was refused by the case.
    report.plan = orders.plan.as_deref().and_then(|plan| plan.parse().ok()).unwrap_or_default();
    report.paths = orders.arguments.as_deref().and_then(|paths| paths.parse().ok()).unwrap_or_default();
    let plan_bytes = orders.plan.as_ref().map_or(0, String::len);
    if plan_bytes > PLAN_BYTES {
        let reason = format!("the plan is {plan_bytes} bytes long, and {PLAN_BYTES} fit: ask for fewer faults");
        report = report.impossible(reason);
    }
    // A plan that is drawn is for what the rehearsal did, which other arguments may leave out.
    let storm_is_missing = report.storm.is_none() && !report.plan.faults.is_empty() && !context.plans.are_drawn();
    if report.failure.is_none() && storm_is_missing {
        report = report.impossible(NO_STORM.to_owned());
    }
    report.took = started.elapsed();
    report.layout_refusal = worker.layout_refusal();
    Ok(report)
}

/// Shows what hosts write while a case runs.
struct Window<'a> {
    log: &'a LogSetting,
    reader: TapeReader,
    assembler: LineAssembler,
}

impl<'a> Window<'a> {
    fn new(log: &'a LogSetting) -> Self {
        Self { log, reader: TapeReader::default(), assembler: LineAssembler::default() }
    }

    fn show(&mut self, blackbox: &BlackBox) {
        while let Some(record) = self.reader.next(&blackbox.tape()) {
            if self.log.shows(&record.host) {
                self.assembler.feed(&record).iter().for_each(|line| eprintln!("{}", live(line)));
            }
        }
    }

    fn close(self) {
        self.assembler.finish().iter().for_each(|line| eprintln!("{}", live(line)));
    }
}

/// Everything that a case left behind.
#[derive(Default)]
struct Remains {
    verdict: Option<Verdict<'static>>,
    ending: Option<Ending<'static>>,
    fatal: Option<(At, String)>,
    stacks: Vec<ThreadStack>,
    storm: Option<Storm>,
    arguments: Vec<Argument>,
    drawing: Option<Drawing>,
    left_out: Vec<String>,
}

impl Remains {
    fn of(blackbox: &BlackBox) -> Self {
        let mut remains = Self::default();
        for finding in blackbox.findings().read() {
            match finding {
                // The first that failed: a client's panic ends the world before the body has anything to say.
                Finding::Verdict(verdict) => {
                    if remains.verdict.as_ref().is_none_or(|earlier| *earlier == Verdict::Passed) {
                        remains.verdict = Some(verdict);
                    }
                }
                Finding::Ending(ending) => remains.ending = Some(ending),
                Finding::Fatal { at, text } => {
                    remains.fatal.get_or_insert((at, text.into_owned()));
                }
                Finding::Stack { host, thread, tid, waits_for, frames } => remains.stacks.push(ThreadStack {
                    host: host.into_owned(),
                    thread: thread.into_owned(),
                    tid,
                    waits_for: waits_for.into_owned(),
                    frames: frames.into_owned(),
                }),
                // Plans are for the first storm.
                Finding::StormBegan(began) => {
                    remains.storm.get_or_insert(Storm { began, ended: None });
                }
                Finding::StormEnded(ended) => {
                    if let Some(Storm { ended: unknown @ None, .. }) = &mut remains.storm {
                        *unknown = Some(ended);
                    }
                }
                Finding::Argument { name, line, text, elements } => remains.arguments.push(Argument {
                    name: name.into_owned(),
                    line: line.into_owned(),
                    text: text.into_owned(),
                    elements,
                }),
                Finding::Drawing(drawing) => remains.drawing = Some(drawing),
                Finding::LeftOut(fault) => remains.left_out.push(fault.into_owned()),
                Finding::Differs { .. } => {}
            }
        }
        remains
    }
}

/// Decides what came of a case whose process has ended.
pub(super) fn judge(definition: &TestDefinition, case: Case, blackbox: &BlackBox, end: &ProcessEnd) -> CaseReport {
    let remains = Remains::of(blackbox);
    let digest = remains.ending.as_ref().and_then(|ending| ending.digest);
    let digest = digest.map(|(high, low)| u128::from(high) << 64 | u128::from(low));
    let reached = || remains.fatal.as_ref().map_or_else(|| blackbox.progress().at(), |(at, _)| *at);
    let at = remains.ending.as_ref().map_or_else(reached, |ending| ending.at);
    let failure = kind(definition, blackbox, end, &remains);
    let failure = failure.map(|(kind, stacks)| {
        let at = match (&kind, &remains.verdict) {
            (FailureKind::Panicked { .. }, Some(Verdict::Panicked { at, .. })) => *at,
            _ => at,
        };
        Failure { kind, at, stacks }
    });
    let log = if failure.is_some() { read_log(blackbox) } else { Log::default() };
    let faults = blackbox.progress().faults();
    let took = Duration::ZERO;
    CaseReport {
        case,
        failure,
        digest,
        at,
        faults,
        plan: Plan::default(),
        paths: Paths::default(),
        storm: remains.storm,
        arguments: remains.arguments,
        drawing: remains.drawing,
        left_out: remains.left_out,
        took,
        log,
        confirmation: None,
        layout_refusal: None,
        saved: None,
        differs_when_logged: None,
    }
}

fn read_log(blackbox: &BlackBox) -> Log {
    let mut reader = TapeReader::default();
    let tape = blackbox.tape();
    let records: Vec<_> = std::iter::from_fn(|| reader.next(&tape)).collect();
    Log::new(&records, tape.dropped())
}

type Judgement = Option<(FailureKind, Vec<ThreadStack>)>;

fn kind(definition: &TestDefinition, blackbox: &BlackBox, end: &ProcessEnd, remains: &Remains) -> Judgement {
    if let Some(judgement) = remains.verdict.as_ref().and_then(verdict) {
        return Some(judgement);
    }
    let kind = match &remains.ending {
        Some(ending) => outcome(definition, remains, &ending.outcome)?,
        None => death(definition, blackbox, end, remains),
    };
    Some((kind, remains.stacks.clone()))
}

/// What the test body, or a client, says about itself.
fn verdict(verdict: &Verdict<'static>) -> Judgement {
    match verdict {
        Verdict::Passed => None,
        Verdict::Error(text) => Some((FailureKind::Error { text: text.to_string() }, Vec::new())),
        Verdict::Unsteady(text) => Some((FailureKind::Unsteady { text: text.to_string() }, Vec::new())),
        Verdict::NotRecovered(text) => Some((FailureKind::NotRecovered { text: text.to_string() }, Vec::new())),
        Verdict::Impossible(reason) => Some((FailureKind::Impossible { reason: reason.to_string() }, Vec::new())),
        Verdict::Panicked { host, message, location, frames, .. } => {
            let stack = ThreadStack {
                host: host.to_string(),
                thread: String::new(),
                tid: 0,
                waits_for: "where it panicked".to_owned(),
                frames: frames.to_vec(),
            };
            let (host, message, location) = (host.to_string(), message.to_string(), location.clone());
            Some((FailureKind::Panicked { host, message, location }, vec![stack]))
        }
    }
}

/// How the world ended, when that is a failure.
fn outcome(definition: &TestDefinition, remains: &Remains, outcome: &EndedAs<'static>) -> Option<FailureKind> {
    Some(match outcome {
        EndedAs::Finished if remains.verdict.is_none() => FailureKind::Vanished,
        EndedAs::Finished => return None,
        EndedAs::VirtualTimeout => FailureKind::VirtualTimeout { limit: definition.virtual_timeout() },
        EndedAs::Deadlock => FailureKind::Deadlock,
        EndedAs::Livelock => FailureKind::Livelock,
        EndedAs::Refused { host, call, remedy } => {
            let (host, call, remedy) = (host.to_string(), call.to_string(), remedy.to_string());
            FailureKind::Refused { host, call, remedy }
        }
        // The test body's own process: it left in the middle, however politely.
        EndedAs::Exited { host, code: 0 } if host == "test" => FailureKind::Vanished,
        EndedAs::Exited { host, code } => FailureKind::Exited { host: host.to_string(), code: *code },
        EndedAs::Killed { host, signal } => FailureKind::Killed { host: host.to_string(), signal: *signal },
    })
}

/// A process that ended before its world did.
fn death(definition: &TestDefinition, blackbox: &BlackBox, end: &ProcessEnd, remains: &Remains) -> FailureKind {
    if end.timed_out {
        return FailureKind::WallTimeout { limit: definition.wall_timeout(), running: blackbox.progress().running() };
    }
    let fatal = remains.fatal.as_ref().map_or("", |(_, text)| text.as_str());
    let last_words = [fatal, end.last_words.trim()].join("\n");
    let how = match end.end {
        End::Killed(signal) => Death::Signal(signal),
        End::Exited(code) => Death::Code(code),
    };
    FailureKind::Died { how, last_words: last_words.trim().to_owned() }
}
