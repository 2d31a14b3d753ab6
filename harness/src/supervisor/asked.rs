//! What is to run, when the environment asks for something of its own: a token, a file, or what an earlier attempt
//! found.

use super::plans::Plans;
use super::run_case::CaseReport;
use super::story::LastFailure;
use crate::arguments::Paths;
use crate::cases::Cases;
use crate::definition::TestDefinition;
use crate::regressions::{Entry, ReplayFile, read_replay};
use crate::settings::{Replay, Settings};
use crate::system;
use crate::token::{Misfit, Token, test_identity};

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
                ReplayFile::Plan(_) if cases.only_calm => {
                    Err("CHAOS_SEED asks for a calm case, which has no faults, and CHAOS_REPLAY names a plan; drop one"
                        .to_owned())
                }
                ReplayFile::Plan(plan) => {
                    let remark = format!("the plan in {} has no faults, so none will blow", path.display());
                    let remark = plan.faults.is_empty().then_some(remark);
                    Ok(Self { remark, ..plain(Plans::pinned(plan)) })
                }
                ReplayFile::Entries(entries) => Ok(Self {
                    cases: Cases { rehearsal: false, count: 0, ..cases },
                    plans: Plans::pinned(windtunnel_faults::Plan::default()),
                    entries: Some(entries),
                    arguments: None,
                    remark: None,
                }),
            },
            None if settings.sweep.is_some() => Ok(plain(Plans::swept())),
            None => match LastFailure::of_earlier_attempt(definition, settings) {
                Some(token) if settings.seed.is_none() => {
                    let again = Self::of_token(definition, cases, &token)?;
                    let remark = "an earlier attempt of this run failed with this case, which is replayed".to_owned();
                    Ok(Self { remark: Some(remark), ..again })
                }
                _ => Plans::of(definition).map(plain),
            },
        }
    }

    fn of_token(definition: &TestDefinition, cases: Cases, token: &Token) -> Result<Self, String> {
        let build = system::build_identity().map_err(|error| format!("this test binary cannot be read: {error}"))?;
        let remark = match token.fits(test_identity(definition.package, definition.path_in_any_world()), build) {
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
    let test = test_identity(definition.package, definition.path_in_any_world());
    let (plan, arguments) = (report.plan.clone(), report.paths.clone());
    let build = system::build_identity().ok()?;
    Some(Token { test, seed: report.case.seed, calm: report.case.calm, build, plan, arguments })
}
