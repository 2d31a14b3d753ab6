//! Reports: puts together what [`crate::report`] prints.

use super::asked;
use super::plans::Plans;
use super::process::{ProcessEnd, WorkerError};
use super::run_case::{CaseReport, judge};
use super::search::Tally;
use super::shrink::Shrinking;
use super::story::Story;
use super::{Context, hint};
use crate::blackbox::{At, BlackBox, FaultAccount};
use crate::cases::{Case, Cases};
use crate::definition::{TestDefinition, World};
use crate::duration::for_people;
use crate::report::{
    Argument, Block, Failure, FailureKind, HostTail, Invocation, Ledger, Line, Log, LogDirectory, Symbols, Told,
    grouped, replay,
};
use crate::settings::{LogSetting, Settings, seed_text};
use crate::system::End;
use std::panic::Location;
use std::sync::Mutex;
use std::time::Duration;
use windtunnel_faults::Plan;

/// How many lines of each host a report shows.
const LINES_SHOWN: usize = 20;
/// How many hosts a remark names.
const HOSTS_NAMED_MAX: usize = 8;
/// How many hosts a report shows: those that wrote last, and the one that failed.
const HOSTS_SHOWN_MAX: usize = 8;

/// Knows what all reports of a test have in common.
pub(super) struct Teller<'a> {
    definition: &'a TestDefinition,
    settings: &'a Settings,
    cases: Cases,
    location: String,
    invocation: Invocation,
    remark: Option<String>,
}

impl<'a> Teller<'a> {
    pub(super) fn new(context: &Context<'a>, location: &Location<'_>) -> Self {
        Self {
            definition: context.definition,
            settings: context.settings,
            cases: context.cases,
            location: location.to_string(),
            invocation: Invocation::of_this_process(location.file()),
            remark: context.remark.clone(),
        }
    }

    /// The report of a case that failed; writes its log files.
    pub(super) fn block(&self, report: &CaseReport, story: Story) -> Block {
        let Some(failure) = &report.failure else {
            return self.plain("passed".to_owned());
        };
        let seed = seed_text(report.case.seed, report.case.calm);
        let (hosts, more_hosts) = self.tails(&report.log, failure.host());
        let mut remarks: Vec<String> = self.remark.iter().cloned().collect();
        remarks.extend(report.layout_refusal.as_deref().map(weaker));
        if self.definition.world == World::Real {
            remarks.extend(
                report
                    .confirmation
                    .as_ref()
                    .map(|again| format!("the real kernel repeats nothing exactly; this case {again}")),
            );
            remarks.extend(report.left_out.iter().cloned());
        }
        remarks.extend(report.differs_when_logged.as_deref().map(differs_when_logged));
        if report.log.dropped_bytes > 0 {
            remarks
                .push(format!("the first {} bytes that hosts wrote were dropped", grouped(report.log.dropped_bytes)));
        }
        remarks.extend(self.unheard_of(&report.log));
        let directory = LogDirectory::of(self.definition, self.settings.out.as_deref());
        let logs = directory.write(&report.log, &report.arguments).unwrap_or_else(|error| {
            remarks.push(format!("the log files could not be written: {error}"));
            None
        });
        Block {
            location: failure.location().map_or_else(|| self.location.clone(), ToString::to_string),
            told: Told {
                found: story.found,
                seed: seed.clone(),
                at: failure.at,
                is_real: self.definition.world == World::Real,
                shrunk: story.shrunk,
                needed: story.needed,
                digest: report.digest.map(|digest| {
                    let confirmation = report.confirmation.as_ref().map(|text| format!(", {text}"));
                    format!("{digest:032x}{}", confirmation.unwrap_or_default())
                }),
            },
            faults: faults(report),
            arguments: report.arguments.iter().map(Argument::shown).collect(),
            hosts,
            more_hosts,
            stacks: self.stacks(failure),
            replay: replay(self.definition, &self.invocation, &self.assignment(report)),
            logs,
            saved: story.saved,
            remarks,
            ..self.plain(failure.sentence(&report.log))
        }
    }

    /// What is said when somebody wants to see a host of which nothing is known: it wrote nothing, or is not there.
    fn unheard_of(&self, log: &Log) -> Option<String> {
        let LogSetting::Hosts(patterns) = &self.settings.log else { return None };
        let hosts = log.hosts();
        let is_heard = |pattern: &String| hosts.iter().any(|host| LogSetting::matches(pattern, host));
        let unknown = patterns.iter().find(|pattern| !is_heard(pattern))?;
        let named = hosts.iter().take(HOSTS_NAMED_MAX).copied().collect::<Vec<_>>().join(", ");
        let wrote = match hosts.len() {
            0 => "no host".to_owned(),
            count if count > HOSTS_NAMED_MAX => format!("only {named} and {} more", count - HOSTS_NAMED_MAX),
            _ => format!("only {named}"),
        };
        Some(format!("CHAOS_LOG asks for `{unknown}`, of which there is no line: {wrote} wrote any"))
    }

    /// A report that is about no case.
    fn plain(&self, sentence: String) -> Block {
        let seed = seed_text(self.cases.base, false);
        Block {
            test: self.definition.name().to_owned(),
            location: self.location.clone(),
            sentence,
            told: Told { found: "no case".to_owned(), seed: seed.clone(), at: At::default(), ..Told::default() },
            faults: Vec::new(),
            arguments: Vec::new(),
            hosts: Vec::new(),
            more_hosts: 0,
            stacks: Vec::new(),
            replay: replay(self.definition, &self.invocation, &format!("CHAOS_SEED={seed}")),
            logs: None,
            saved: None,
            remarks: Vec::new(),
        }
    }

    /// Nobody failed, though somebody should.
    pub(super) fn never_failed(&self, expected: &str, cases: u32) -> Block {
        let kind = FailureKind::NeverFailed { expected: expected.to_owned(), cases };
        let failure = Failure { kind, at: At::default(), stacks: Vec::new() };
        let block = self.plain(failure.sentence(&Log::default()));
        let assignment = format!("CHAOS_SEED={} CHAOS_CASES={cases}", block.told.seed);
        Block { replay: replay(self.definition, &self.invocation, &assignment), ..block }
    }

    /// There is no worker.
    pub(super) fn no_worker(&self, error: &WorkerError) -> String {
        let name = self.definition.name();
        format!("\nthread '{name}' panicked at {}:\nno worker: {}\n{error}\n", self.location, hint(error))
    }

    /// The variable that repeats a case: a token when there is a plan to be carried, be it that nothing is left of it,
    /// or the way to simpler arguments; else its seed.
    fn assignment(&self, report: &CaseReport) -> String {
        let Case { seed, calm, .. } = report.case;
        // Its seed alone would draw all of the plan again.
        let was_drawn = self.definition.faults.is_some() && !calm;
        match asked::token(self.definition, report) {
            Some(token) if was_drawn || !report.plan.faults.is_empty() || !report.paths.is_empty() => {
                format!("CHAOS_REPLAY={token}")
            }
            _ => format!("CHAOS_SEED={}", seed_text(seed, calm)),
        }
    }

    /// Where a case stands among those that ran.
    pub(super) fn found(&self, case: Case) -> String {
        match (case.calm, self.cases.count) {
            (true, _) => "in the calm rehearsal, without any fault".to_owned(),
            (false, 1) => "in the only case".to_owned(),
            (false, count) => format!("in case {} of {count}", case.number),
        }
    }

    fn stacks(&self, failure: &Failure) -> Vec<String> {
        // A panic names its place; its stack is for those who ask, as everywhere in Rust.
        let asked = std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0");
        if matches!(failure.kind, FailureKind::Panicked { .. }) && !asked {
            return Vec::new();
        }
        let is_refused = matches!(failure.kind, FailureKind::Refused { .. });
        Symbols::of_this_process().paragraphs(&failure.stacks, is_refused)
    }

    fn tails(&self, log: &Log, failed: Option<&str>) -> (Vec<HostTail>, usize) {
        if self.settings.log == LogSetting::None {
            return (Vec::new(), 0);
        }
        let last_event = |host: &&str| log.of(host).next_back().map_or(0, |line| line.at.event);
        let mut latest = log.hosts();
        latest.sort_by_key(|host| (Some(*host) != failed, std::cmp::Reverse(last_event(host))));
        latest.truncate(HOSTS_SHOWN_MAX);
        let hosts = log.hosts();
        let more = hosts.len() - latest.len();
        let shown = hosts.into_iter().filter(|host| latest.contains(host));
        (shown.map(|host| tail(log, host)).collect(), more)
    }
}

/// How much smaller a case has become.
pub(super) fn shrunk(shrinking: &Shrinking, report: &CaseReport) -> String {
    let Shrinking { faults_before, lists_before, simpler_arguments, other_seed, runs, took, stopped_early } = shrinking;
    let mut parts = Vec::new();
    if *faults_before > 0 {
        parts.push(format!("{} to {}", counted(*faults_before, "fault"), report.plan.faults.len()));
    }
    let faults = parts.len();
    for Argument { name, elements, .. } in &report.arguments {
        let before = lists_before.iter().find(|(other, _)| other == name).map(|(_, before)| *before);
        if let (Some(before), Some(left)) = (before, elements)
            && before > *left
        {
            parts.push(format!("{name} from {} to {left}", counted(before as usize, "element")));
        }
    }
    if *simpler_arguments && parts.len() == faults {
        parts.push("arguments simplified".to_owned());
    }
    if parts.is_empty() {
        parts.push("no simpler arguments fail".to_owned());
    }
    if *other_seed {
        parts.push("with another seed than the one that found it".to_owned());
    }
    let budget = if *stopped_early { ", stopped by its budget: CHAOS_SHRINK=5m gives it more" } else { "" };
    format!("{}, in {} ({}){budget}", parts.join(", "), counted(*runs, "run"), for_people(*took))
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{} {what}s", grouped(count as u64)) }
}

/// The plan, a line for each fault, with what it bit on.
fn faults(report: &CaseReport) -> Vec<String> {
    let accounts = report.storm.as_ref().map_or(&[][..], |storm| storm.accounts());
    let faults = report.plan.faults.iter().enumerate();
    let texts: Vec<String> = faults.clone().map(|(_, fault)| fault.to_string()).collect();
    let columns = texts.iter().map(String::len).max().unwrap_or(0);
    faults
        .zip(texts)
        .map(|((at, _), text)| {
            let effect = match accounts.get(at) {
                None => return text,
                Some(FaultAccount { began_ns: None, .. }) => "never began".to_owned(),
                Some(FaultAccount { bit: 0, unseen: true, .. }) => "not counted for a command".to_owned(),
                Some(FaultAccount { bit: 0, .. }) => "bit nothing".to_owned(),
                // Segments and datagrams, or hosts.
                Some(FaultAccount { bit, .. }) => format!("bit {}×", grouped(*bit)),
            };
            format!("{text:<columns$}  {effect}")
        })
        .collect()
}

fn tail(log: &Log, host: &str) -> HostTail {
    let lines: Vec<Line> = log.of(host).cloned().collect();
    let total = lines.len();
    let lines = lines[total.saturating_sub(LINES_SHOWN)..].to_vec();
    HostTail { host: host.to_owned(), total, lines }
}

/// What it means that addresses are not fixed.
pub(super) fn weaker(refusal: &str) -> String {
    format!(
        "replay is weaker here: the system refuses to switch address randomisation off (personality: {refusal}); \
         in Docker, run with `--security-opt seccomp=unconfined`"
    )
}

/// What it means that a case to be looked at was another run.
pub(super) fn differs_when_logged(digest: &str) -> String {
    format!(
        "with RUST_LOG or RUST_BACKTRACE as they are set here this case is another run (digest {digest}): what is \
         reported is the run without them"
    )
}

/// The line of a test that passed.
pub(super) fn success(world: World, tally: &Tally, took: Duration) -> String {
    let cases = match (tally.cases, tally.saved) {
        (cases, 0) => counted(cases as usize, "case"),
        (0, saved) => counted(saved as usize, "saved case"),
        (cases, saved) => {
            format!("{} and {}", counted(saved as usize, "saved case"), counted(cases as usize, "new one"))
        }
    };
    let virtual_time = Duration::from_nanos(u64::try_from(tally.virtual_ns).unwrap_or(u64::MAX));
    let faults = match (tally.faults, tally.effective_faults) {
        (0, _) => String::new(),
        // The worst that a chaos test can give is a green light for weather that never was.
        (all, 0) => format!("\nwarning: none of the {} faults by hand affected anything that was sent", grouped(all)),
        (all, effective) => format!(", {} of {} faults with effect", grouped(effective), grouped(all)),
    };
    let (virtual_time, events) = (for_people(virtual_time), grouped(tally.events));
    let planned = planned(tally);
    let took = for_people(took);
    let left_out: String = tally.left_out.iter().map(|fault| format!("\nleft out: {fault}")).collect();
    match world {
        World::Sim => {
            format!("passed {cases}: {virtual_time} of virtual time and {events} events in {took}{planned}{faults}")
        }
        World::Real => format!("passed {cases} in the real world in {took}{planned}{faults}{left_out}"),
    }
}

/// What the plans of all cases came to, by kind.
fn planned(tally: &Tally) -> String {
    let (all, bit) = tally.planned.values().fold((0, 0), |(all, bit), (a, b)| (all + a, bit + b));
    if all == 0 {
        return String::new();
    }
    let kinds = tally.planned.iter().map(|(kind, (count, _))| format!("{} {kind}", grouped(*count)));
    let kinds = kinds.collect::<Vec<_>>().join(", ");
    let mut text = format!("\nfaults: {kinds}; {} of {} bit", grouped(bit), grouped(all));
    if tally.uncounted > 0 {
        let (count, are) = (grouped(tally.uncounted), if tally.uncounted == 1 { "is" } else { "are" });
        text.push_str(&format!(", {count} {are} not counted: what a command is refused, nobody tells"));
    }
    match tally.unbitten {
        _ if tally.never_began == all => text.push_str(
            "\nwarning: no fault ever began: the storm's workload was over before their times, or the labels never \
             came that they wait for",
        ),
        _ if bit == 0 && tally.uncounted == 0 => text.push_str(
            "\nwarning: no fault bit on anything: this test has not been tested. Does the workload run inside \
             `cx.storm(..)`, and does it take any virtual time? Hosts and clients that are made after the storm has \
             begun cannot be struck.",
        ),
        0 => {}
        cases => text.push_str(&format!("\nnote: in {} nothing bit", counted(cases as usize, "case"))),
    }
    text
}

/// Reports on the case that has just run in this process, for a debugger; whether it failed.
pub(crate) fn report_debugged(definition: &TestDefinition, location: &Location<'_>, blackbox: &BlackBox) -> bool {
    let orders = blackbox.orders();
    let case = Case { number: 1, seed: orders.seed, calm: orders.calm };
    let end = ProcessEnd { end: End::Exited(0), timed_out: false, last_words: String::new() };
    let mut report = judge(definition, case, blackbox, &end);
    let settings = Settings::default();
    let (rehearsal_seed, base, count) = (case.seed, case.seed, 1);
    let cases = Cases { rehearsal: false, only_calm: case.calm, rehearsal_seed, base, count, one_seed: false };
    let plan: Plan = orders.plan.as_deref().and_then(|plan| plan.parse().ok()).unwrap_or_default();
    // So that its replay is this case and no other.
    report.plan = plan.clone();
    report.paths = orders.arguments.as_deref().and_then(|paths| paths.parse().ok()).unwrap_or_default();
    let plans = Plans::pinned(plan);
    let ledger = Ledger::nowhere();
    let (saved, dodged, deadline, remark) = (None, Mutex::default(), None, None);
    let arguments = None;
    let settings = &settings;
    let context = Context { definition, settings, cases, ledger, plans, arguments, saved, dodged, deadline, remark };
    let teller = Teller::new(&context, location);
    match report.failure {
        Some(_) => eprint!("{}", teller.block(&report, Story::of_search(&teller, &report, None))),
        None => eprintln!("passed: digest {:032x}", report.digest.unwrap_or(0)),
    }
    report.failure.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_is_one_line() {
        let tally = Tally { cases: 64, virtual_ns: 11_160_000_000_000, events: 1_234_567, ..Tally::default() };
        let line = |tally: &Tally| success(World::Sim, tally, Duration::from_millis(1400));
        let passed = "passed 64 cases: 3.1 hours of virtual time and 1,234,567 events in 1.4 s";
        assert_eq!(line(&tally), passed);
        let saved = |cases, saved| line(&Tally { cases, saved, ..Tally::default() });
        assert!(saved(0, 1).starts_with("passed 1 saved case: "), "{}", saved(0, 1));
        assert!(saved(64, 2).starts_with("passed 2 saved cases and 64 new ones: "), "{}", saved(64, 2));
        let tally = Tally { faults: 128, effective_faults: 120, ..tally };
        assert_eq!(line(&tally), format!("{passed}, 120 of 128 faults with effect"));
        let tally = Tally { effective_faults: 0, ..tally };
        let warning = "warning: none of the 128 faults by hand affected anything that was sent";
        assert_eq!(line(&tally), format!("{passed}\n{warning}"));
        let left_out = ["rot of kv0 does nothing here".to_owned()].into();
        let real = success(World::Real, &Tally { cases: 3, left_out, ..Tally::default() }, Duration::from_secs(9));
        assert_eq!(real, "passed 3 cases in the real world in 9.0 s\nleft out: rot of kv0 does nothing here");
    }
}
