//! The process that the user started: it has workers run the cases, watches them, and reports.
//!
//! ```text
//! process.rs      one worker: started with a fixed layout, given orders, watched
//! environment.rs  the worker's arguments and environment
//! run_case.rs     one case: orders, watching, judgement
//! search.rs       all cases, on one worker or several
//! asked.rs        what runs: what the test says, or a token or file that the user names
//! plans.rs        which faults a case has
//! saved.rs        saved cases: replayed first, and added to
//! confirm.rs      the same case again: is it the same?
//! shrink.rs       the smallest case that fails in the same way
//! hands.rs        smaller cases, on several workers
//! quieten.rs      which randomness a failure needs
//! sweep.rs        a crash of each host at every moment of one run
//! story.rs        how it was found, and keeping that
//! telling.rs      reports
//! debugged.rs     one case in this process's place
//! ```

mod asked;
mod confirm;
mod debugged;
mod environment;
mod hands;
mod plans;
mod process;
mod quieten;
mod run_case;
mod saved;
mod search;
mod shrink;
mod story;
mod sweep;
mod telling;

pub(crate) use telling::report_debugged;

use crate::arguments::Paths;
use crate::blackbox::{BlackBox, Orders, RecordingMode};
use crate::cases::{Case, Cases, Surroundings};
use crate::definition::{TestDefinition, World};
use crate::regressions::{Entry, Regressions};
use crate::report::{Block, Entry as Line, FailureKind, Ledger, LogDirectory};
use crate::settings::{Look, Replay, Settings, seed_text};
use crate::timestamp::DEFAULT_START;
use asked::Asked;
use plans::Plans;
use process::WorkerError;
use run_case::CaseReport;
use search::Tally;
use shrink::Shrinking;
use std::panic::Location;
use std::sync::Mutex;
use std::time::Instant;
use story::Story;
use telling::Teller;

/// What all parts of one run share.
pub(crate) struct Context<'a> {
    pub(crate) definition: &'a TestDefinition,
    pub(crate) settings: &'a Settings,
    pub(crate) cases: Cases,
    pub(crate) ledger: Ledger,
    plans: Plans,
    /// Of a token: how the test's arguments differ from what the seed draws.
    arguments: Option<Paths>,
    /// Saved cases, and where they are saved.
    saved: Option<(Vec<Entry>, String)>,
    /// Saved cases that pass on another path now.
    dodged: Mutex<Vec<Entry>>,
    /// No further case begins after this.
    deadline: Option<Instant>,
    /// What the reader should know about this run.
    remark: Option<String>,
}

impl Context<'_> {
    /// What a worker is told about a case.
    fn orders(&self, case: Case) -> Orders {
        let timeout = self.definition.virtual_timeout().as_nanos();
        Orders {
            seed: case.seed,
            calm: case.calm,
            start_unix_ns: self.definition.start.unwrap_or(DEFAULT_START),
            virtual_timeout_ns: u64::try_from(timeout).unwrap_or(u64::MAX),
            plan: Some(self.plans.plan(case)).filter(|plan| !plan.faults.is_empty()).map(|plan| plan.to_string()),
            plan_is_drawn: self.definition.faults.is_some() && !self.has_a_plan_file(),
            arguments: self.arguments.as_ref().filter(|paths| !paths.is_empty()).map(ToString::to_string),
            becalmed: self.settings.becalmed,
            forgetful: self.settings.forgetful,
            recording: if self.settings.events { RecordingMode::Keep } else { RecordingMode::Off },
            ..Orders::default()
        }
    }

    /// Whether the user names a file with a plan, which is meant as it stands.
    fn has_a_plan_file(&self) -> bool {
        matches!(self.settings.replay, Some(Replay::File(_))) && self.saved.is_none()
    }

    /// Orders with what the user wants logged.
    fn logged(&self, orders: &Orders) -> Orders {
        let Look { rust_log, rust_backtrace } = self.settings.look.clone();
        Orders { rust_log, rust_backtrace, ..orders.clone() }
    }

    /// Whether this is the rehearsal, and not a calm case that was asked for.
    fn is_rehearsal(&self, case: Case) -> bool {
        case.calm && !self.cases.only_calm
    }

    /// Where the disks of the case that runs next are copied to, when that is asked for. What is there is removed.
    fn disks(&self, case: Case) -> Option<String> {
        if !self.settings.disks || self.is_rehearsal(case) {
            return None;
        }
        let directory = LogDirectory::of(self.definition, self.settings.out.as_deref());
        let directory = std::path::absolute(directory.path().join("disks")).ok()?;
        let _ = std::fs::remove_dir_all(&directory);
        Some(directory.to_str()?.to_owned())
    }

    /// Writes the events of the case that has just run to a file, when that is asked for.
    fn write_events(&self, case: Case, blackbox: &BlackBox) {
        if self.settings.events && !self.is_rehearsal(case) {
            let directory = LogDirectory::of(self.definition, self.settings.out.as_deref());
            match directory.write_events(&blackbox.recording()) {
                Ok(path) => eprintln!("events: {path}"),
                Err(error) => eprintln!("failed to write the events: {error}"),
            }
        }
    }

    /// Writes down what came of a case.
    fn enter(&self, report: &CaseReport) {
        let sentence = report.failure.as_ref().map(|failure| failure.sentence(&report.log));
        let seed = seed_text(report.case.seed, report.case.calm);
        let entry = Line::new(seed, sentence.as_deref(), report.digest, report.at, report.took);
        self.ledger.add(&entry.when_logged(report.differs_when_logged.clone()));
    }
}

/// Runs a test, and panics when it fails.
pub(crate) fn run(definition: &TestDefinition, location: &Location<'_>) {
    let settings = match Settings::from_env() {
        Ok(settings) => settings,
        Err(error) => fail(&format!("\nthread '{}' panicked at {location}:\n{error}\n", definition.name())),
    };
    let impossible = |reason: String| -> ! {
        fail(&format!("\nthread '{}' panicked at {location}:\nimpossible: {reason}\n", definition.name()))
    };
    if definition.world == World::Real
        && let Some(variable) = settings.sim_only()
    {
        impossible(format!("{variable} is about simulated worlds, and this test runs in the real one"));
    }
    if definition.world == World::Real
        && let Err(error) = windtunnel_inject::keeper::is_possible()
    {
        if settings.require_real {
            impossible(format!("CHAOS_REQUIRE=real, and there is no real world here: {error}"));
        }
        eprintln!("chaos: {} is skipped: {error}", definition.path);
        return;
    }
    let cases = Cases::of(definition, &settings, Surroundings::of_this_process());
    let asked = Asked::of(definition, &settings, cases).unwrap_or_else(|reason| impossible(reason));
    let saved = saved_cases(definition, &settings, asked.entries).unwrap_or_else(|reason| impossible(reason));
    // A debugger's process writes into the one that is there.
    let directory = LogDirectory::of(definition, settings.out.as_deref());
    let ledger = if settings.debug { Ledger::nowhere() } else { Ledger::begin(directory.path()) };
    let (cases, plans, arguments) = (asked.cases, asked.plans, asked.arguments);
    let deadline = settings.time.map(|time| Instant::now() + time);
    let dodged = Mutex::default();
    let remark = asked.remark;
    let settings = &settings;
    let context = Context { definition, settings, cases, ledger, plans, arguments, saved, dodged, deadline, remark };
    match &context.saved {
        Some((entries, place)) if cases.count == 0 => {
            eprintln!("chaos: {}, the saved cases of {place} ({})", definition.path, entries.len());
        }
        _ => eprintln!("{}", cases.announcement(definition.path)),
    }
    context.remark.iter().for_each(|remark| eprintln!("chaos: {remark}"));
    if settings.debug {
        let error = debugged::become_debugged(&context, cases.case(cases.first()));
        fail(&format!("\nthread '{}' panicked at {location}:\n{error}\n", definition.name()));
    }
    let started = Instant::now();
    let teller = Teller::new(&context, location);
    match search::search(&context) {
        Ok((tally, None)) => passed(&context, &teller, &tally, started),
        Ok((_, Some(report))) => {
            let (report, shrinking) = shrunk(&context, report);
            failed(&context, &teller, &report, shrinking.as_ref());
        }
        Err(error) => fail(&teller.no_worker(&error)),
    }
}

/// The cases to replay before new ones: those of a file that the user names, or those that are kept, unless a single
/// case is asked for.
fn saved_cases(
    definition: &TestDefinition,
    settings: &Settings,
    asked: Option<Vec<Entry>>,
) -> Result<Option<(Vec<Entry>, String)>, String> {
    if let (Some(entries), Some(Replay::File(path))) = (asked, &settings.replay) {
        return Ok(Some((entries, path.display().to_string())));
    }
    let one_case = settings.seed.is_some() || settings.replay.is_some() || settings.debug;
    if one_case || definition.expect_failure.is_some() {
        return Ok(None);
    }
    let kept = Regressions::of(definition);
    let entries = kept.read().map_err(|error| error.to_string())?;
    Ok((!entries.is_empty()).then(|| (entries, kept.shown().to_owned())))
}

fn passed(context: &Context<'_>, teller: &Teller<'_>, tally: &Tally, started: Instant) {
    if let Some(expected) = context.definition.expect_failure {
        fail(&teller.never_failed(expected, context.cases.count).to_string());
    }
    // A storm that is made to do nothing is not late.
    let never_began = if context.settings.becalmed { 0 } else { tally.never_began };
    let tally = Tally { never_began, ..tally.clone() };
    eprintln!("{}", telling::success(context.definition.world, &tally, started.elapsed()));
}

/// The smallest case that fails so. What is expected to fail needs no explanation.
fn shrunk(context: &Context<'_>, report: CaseReport) -> (CaseReport, Option<Shrinking>) {
    if context.definition.expect_failure.is_some() {
        return (report, None);
    }
    match shrink::shrink(context, &report) {
        Ok(Some((smallest, shrinking))) => (smallest, Some(shrinking)),
        Ok(None) => (report, None),
        // What was found is worth more than its smallest form.
        Err(error) => {
            eprintln!(
                "chaos: the case could not be shrunk, and is reported as it was found: {}: {error}",
                hint(&error)
            );
            (report, None)
        }
    }
}

fn failed(context: &Context<'_>, teller: &Teller<'_>, report: &CaseReport, shrinking: Option<&Shrinking>) {
    let Some(expected) = context.definition.expect_failure else {
        let story = Story::tell(context, teller, report, shrinking);
        fail(&teller.block(report, story).to_string())
    };
    let story = Story::of_search(teller, report, shrinking);
    let block = teller.block(report, story.clone());
    if block.sentence.contains(expected) {
        eprintln!("failed as expected\n\n{}", block.body_text());
        return;
    }
    // As for any failure: another attempt begins with it.
    story.write(context, report);
    let sentence = format!("{}\n  while `expect_failure` expects a failure with {expected:?}", block.sentence);
    fail(&Block { sentence, ..block }.to_string());
}

/// Prints the one block and fails the test without printing anything else.
fn fail(block: &str) -> ! {
    // `eprint!`, since it is what `cargo test` captures.
    eprint!("{block}");
    std::panic::resume_unwind(Box::new("the report is above"))
}

/// Whether a failure of this kind has anything to do with the case.
fn is_of_the_case(kind: &FailureKind) -> bool {
    !matches!(kind, FailureKind::NeverFailed { .. } | FailureKind::Impossible { .. })
}

/// For the messages of [`WorkerError`]: why there is no worker at all.
fn hint(error: &WorkerError) -> &'static str {
    match error {
        WorkerError::NotExecuted { .. } => "the test binary must be executable a second time",
        WorkerError::Died { .. } => "the test binary, executed again as a worker, ended before it reached the test",
        WorkerError::Silent => "whoever stopped one of the test's processes should let it go on",
        WorkerError::Unfit { .. } => "the test binary cannot run simulated worlds",
        WorkerError::NotForked { .. } | WorkerError::Io { .. } => "the system refuses what every test needs",
    }
}
