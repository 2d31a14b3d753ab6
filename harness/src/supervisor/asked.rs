//! What is to run, when the environment asks for something of its own: a token, a file, or what an earlier attempt
//! found.

use super::plans::Plans;
use super::run_case::CaseReport;
use crate::arguments::Paths;
use crate::cases::Cases;
use crate::definition::TestDefinition;
use crate::regressions::{Entry, ReplayFile, read_replay};
use crate::report::LogDirectory;
use crate::settings::{Replay, Settings};
use crate::system;
use crate::token::{Misfit, Token, test_identity};
use std::path::PathBuf;

/// What a run of a test runs.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) cases: Cases,
    pub(super) plans: Plans,
    /// Cases of a file that the user names, instead of those that are kept.
    pub(super) entries: Option<Vec<Entry>>,
    /// Of a token: how the test's arguments differ from what the seed draws.
    pub(super) arguments: Option<Paths>,
    /// What the reader should know about it.
    pub(super) remark: Option<String>,
}

impl Asked {
    /// What the settings ask for; else what the test says.
    ///
    /// # Errors
    /// A sentence: it cannot be replayed, or the test's own faults make no sense.
    pub(super) fn of(definition: &TestDefinition, settings: &Settings, cases: Cases) -> Result<Self, String> {
        let plain = |plans| Self { cases, plans, entries: None, arguments: None, remark: None };
        match &settings.replay {
            Some(Replay::Token(token)) => Self::of_token(definition, cases, token),
            Some(Replay::File(path)) => match read_replay(path).map_err(|error| error.to_string())? {
                ReplayFile::Plan(plan) => Ok(plain(Plans::pinned(plan))),
                ReplayFile::Entries(entries) => Ok(Self {
                    cases: Cases { rehearsal: false, count: 0, ..cases },
                    plans: Plans::pinned(windtunnel_faults::Plan::default()),
                    entries: Some(entries),
                    arguments: None,
                    remark: None,
                }),
            },
            None => {
                match Attempt::of_this_process(definition, settings).and_then(|attempt| attempt.earlier_failure()) {
                    Some(token) if settings.seed.is_none() => {
                        let again = Self::of_token(definition, cases, &token)?;
                        let remark =
                            "an earlier attempt of this run failed with this case, which is replayed".to_owned();
                        Ok(Self { remark: Some(remark), ..again })
                    }
                    _ => Plans::of(definition).map(plain),
                }
            }
        }
    }

    fn of_token(definition: &TestDefinition, cases: Cases, token: &Token) -> Result<Self, String> {
        let build = system::build_identity().map_err(|error| format!("this test binary cannot be read: {error}"))?;
        let remark = match token.fits(test_identity(definition.package, definition.path), build) {
            Err(misfit @ Misfit::AnotherTest) => return Err(misfit.to_string()),
            Err(misfit @ Misfit::AnotherBuild) => Some(misfit.to_string()),
            Ok(()) => None,
        };
        let cases = Cases { rehearsal: false, only_calm: token.calm, base: token.seed, count: 1, ..cases };
        let (plans, arguments) = (Plans::pinned(token.plan.clone()), Some(token.arguments.clone()));
        Ok(Self { cases, plans, entries: None, arguments, remark })
    }
}

/// The token of a case of this build. `None` when the executable cannot be read.
pub(super) fn token(definition: &TestDefinition, report: &CaseReport) -> Option<Token> {
    let test = test_identity(definition.package, definition.path);
    let (plan, arguments) = (report.plan.clone(), report.paths.clone());
    let build = system::build_identity().ok()?;
    Some(Token { test, seed: report.case.seed, calm: report.case.calm, build, plan, arguments })
}

/// One of several attempts at a test, which nextest makes when it is asked to retry. A seed that fails once must not be
/// forgotten because another passes.
#[derive(Debug)]
pub(super) struct Attempt {
    run: String,
    number: u32,
    /// The run, and the token of the case that failed in it.
    file: PathBuf,
}

impl Attempt {
    /// What nextest says (`NEXTEST_RUN_ID`, and `NEXTEST_ATTEMPT` where it retries).
    pub(super) fn of_this_process(definition: &TestDefinition, settings: &Settings) -> Option<Self> {
        let run = std::env::var("NEXTEST_RUN_ID").ok()?;
        let number = std::env::var("NEXTEST_ATTEMPT").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
        let directory = LogDirectory::of(definition, settings.out.as_deref());
        Some(Self { run, number, file: directory.path().join("last-failure.txt") })
    }

    fn earlier_failure(&self) -> Option<Token> {
        let kept = std::fs::read_to_string(&self.file).ok().filter(|_| self.number > 1)?;
        let (run, token) = kept.trim().split_once(' ')?;
        (run == self.run).then(|| token.parse().ok())?
    }

    /// Keeps a failure for later attempts. A disk that is full costs a retry its knowledge, no more.
    pub(super) fn failed(&self, token: &Token) {
        let _: std::io::Result<()> = std::fs::write(&self.file, format!("{} {token}\n", self.run));
    }
}
