//! How a failure was found, and keeping that: a replay of the same case tells the same story, word for word, and a
//! second attempt of the same run begins with what the first one found.

use super::Context;
use super::asked;
use super::run_case::CaseReport;
use super::shrink::Shrinking;
use super::telling::Teller;
use super::{quieten, saved};
use crate::definition::TestDefinition;
use crate::report::LogDirectory;
use crate::settings::{SeedSetting, Settings};
use crate::token::Token;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What a block says about the search, beside what it says about the case.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Story {
    /// `in case 17 of 64`.
    pub(crate) found: String,
    /// How much smaller the case has become.
    pub(crate) shrunk: Option<String>,
    /// Which randomness it needs.
    pub(crate) needed: Option<String>,
    /// Where it is kept, or the text to be kept.
    pub(crate) saved: Option<String>,
}

/// The last failure of a test, in a file beside its logs.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LastFailure {
    /// `NEXTEST_RUN_ID`.
    run: Option<String>,
    token: String,
    story: Story,
}

impl Story {
    /// The story of a case, which is written down; that of the first time when the case is a replay.
    pub(super) fn tell(
        context: &Context<'_>,
        teller: &Teller<'_>,
        report: &CaseReport,
        shrinking: Option<&Shrinking>,
    ) -> Self {
        let token = asked::token(context.definition, report).map(|token| token.to_string());
        let is_replay = context.settings.replay.is_some()
            || matches!(context.settings.seed, Some(SeedSetting::One { .. }))
            || context.remark.is_some();
        let earlier = LastFailure::read(context.definition, context.settings);
        let known = earlier.filter(|earlier| is_replay && Some(&earlier.token) == token.as_ref());
        if let Some(LastFailure { story, .. }) = known {
            return story;
        }
        // What it needs is worth telling, not worth failing for.
        let needed = quieten::needed(context, report).ok().flatten();
        let saved = saved::save(context, report);
        let story = Self { needed, saved, ..Self::of_search(teller, report, shrinking) };
        story.write(context, report);
        story
    }

    /// Writes it down for the next attempt, and for a replay.
    pub(super) fn write(&self, context: &Context<'_>, report: &CaseReport) {
        // What is impossible is said again by whoever tries again: a replay of a case would not come so far.
        let is_a_case = report.failure.as_ref().is_some_and(|failure| super::is_of_the_case(&failure.kind));
        if let Some(token) = asked::token(context.definition, report).filter(|_| is_a_case) {
            let (run, token) = (std::env::var("NEXTEST_RUN_ID").ok(), token.to_string());
            LastFailure { run, token, story: self.clone() }.write(context.definition, context.settings);
        }
    }

    /// Nothing but how it was found.
    pub(super) fn of_search(teller: &Teller<'_>, report: &CaseReport, shrinking: Option<&Shrinking>) -> Self {
        let found = report.saved.clone().unwrap_or_else(|| teller.found(report.case));
        let shrunk = shrinking.map(|shrinking| super::telling::shrunk(shrinking, report));
        Self { found, shrunk, ..Self::default() }
    }
}

impl LastFailure {
    fn file(definition: &TestDefinition, settings: &Settings) -> PathBuf {
        LogDirectory::of(definition, settings.out.as_deref()).path().join("last-failure.json")
    }

    fn read(definition: &TestDefinition, settings: &Settings) -> Option<Self> {
        let text = std::fs::read(Self::file(definition, settings)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// A disk that is full costs the next run its knowledge, no more.
    fn write(&self, definition: &TestDefinition, settings: &Settings) {
        let written =
            serde_json::to_vec_pretty(self).map(|text| std::fs::write(Self::file(definition, settings), text));
        drop(written);
    }

    /// What an earlier attempt of this run found (nextest's retries: `NEXTEST_ATTEMPT`). A seed that fails once must
    /// not be forgotten because another passes.
    pub(super) fn of_earlier_attempt(definition: &TestDefinition, settings: &Settings) -> Option<Token> {
        let run = std::env::var("NEXTEST_RUN_ID").ok()?;
        let attempt: u32 = std::env::var("NEXTEST_ATTEMPT").ok()?.parse().ok()?;
        let last = Self::read(definition, settings).filter(|last| attempt > 1 && last.run.as_ref() == Some(&run))?;
        last.token.parse().ok()
    }
}
