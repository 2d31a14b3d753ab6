//! The variables `CHAOS_*`: what they may be, and what is said when they are something else.
//!
//! All are read when a test runs, never when it is compiled. A variable that is unknown or malformed fails the test:
//! one that is silently ignored would replay another case than the one asked for.

//!
//! ```text
//! seed.rs      CHAOS_SEED
//! replay.rs    CHAOS_REPLAY
//! budget.rs    CHAOS_SHRINK, CHAOS_TIME
//! profile.rs   CHAOS_PROFILE, and the profiles of `chaos.toml`
//! ```

mod budget;
mod profile;
mod replay;
mod seed;

pub(crate) use budget::ShrinkBudget;
pub(crate) use replay::Replay;
pub(crate) use seed::{SeedSetting, seed_text};

use crate::document::{FileError, Source};
use crate::package;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

/// Every variable, with its values and its meaning.
const VARIABLES: [(&str, &str, &str); 17] = [
    ("CHAOS_SEED", "0x5f1d, 24349, 1-1000 or calm:0x5f1d", "run the case of this seed, or the cases of these"),
    ("CHAOS_REPLAY", "c1_… or a file", "run the case of this token, the cases of a regression file, or a plan"),
    ("CHAOS_CASES", "500 or x10", "run this many cases, or this many times as many"),
    ("CHAOS_TIME", "10m", "begin no further case after this much real time"),
    ("CHAOS_JOBS", "1", "run this many cases of a test at the same time"),
    ("CHAOS_SHRINK", "60s, 500 or off", "spend this much real time, or this many runs, on shrinking a plan"),
    (
        "CHAOS_SAVE",
        "auto, always or never",
        "write what fails to chaos-regressions/; auto: not on CI, where it is printed",
    ),
    ("CHAOS_CHECK", "determinism or default", "run every case twice, or only some"),
    ("CHAOS_PROFILE", "nightly", "use these settings of chaos.toml; on CI, those of ci unless this is set"),
    (
        "CHAOS_LOG",
        "none, failed, all, or hosts: kv0,c*",
        "show what the hosts of failed cases wrote last, or not; or what hosts write while cases run",
    ),
    ("CHAOS_DEBUG", "1", "with CHAOS_REPLAY or CHAOS_SEED: run the one case in this process, for a debugger"),
    ("CHAOS_OUT", "target/chaos", "where log files and cases.jsonl go"),
    (
        "CHAOS_EVENTS",
        "1",
        "with CHAOS_REPLAY or CHAOS_SEED: write every event of the one case to events.txt, to compare runs",
    ),
    (
        "CHAOS_DISKS",
        "1",
        "with CHAOS_REPLAY or CHAOS_SEED: copy what the hosts of the one case have on their disks to disks/",
    ),
    (
        "CHAOS_REQUIRE",
        "real",
        "fail where a test of the real world would be skipped, because the machine lacks something",
    ),
    ("CHAOS_SWEEP", "1 or 50", "crash each host after every event of one run, or after each fiftieth"),
    (
        "CHAOS_PERTURB",
        "1204, weather or fsync",
        "disturb this event in second runs, let faults do nothing, or fsync keep nothing: to see that it is noticed",
    ),
];

/// What the environment asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Settings {
    pub(crate) seed: Option<SeedSetting>,
    pub(crate) replay: Option<Replay>,
    pub(crate) cases: Option<CasesSetting>,
    /// `cases` is of a profile, which knows nothing of the one test: a seed or plan that the attribute pins stays one
    /// case.
    pub(crate) cases_by_profile: bool,
    /// The search ends at whichever comes first, its cases or this much real time.
    pub(crate) time: Option<Duration>,
    pub(crate) save: Option<SaveSetting>,
    pub(crate) check: Option<CheckSetting>,
    pub(crate) profile: Option<String>,
    /// `CI` is set, to other than `0` or `false`.
    pub(crate) ci: bool,
    pub(crate) jobs: Option<NonZeroU32>,
    pub(crate) log: LogSetting,
    pub(crate) debug: bool,
    pub(crate) out: Option<PathBuf>,
    pub(crate) perturb: Option<u64>,
    /// `CHAOS_PERTURB=weather`.
    pub(crate) becalmed: bool,
    /// `CHAOS_PERTURB=fsync`.
    pub(crate) forgetful: bool,
    pub(crate) events: bool,
    pub(crate) disks: bool,
    /// Each host is crashed after every so-manieth event of one run.
    pub(crate) sweep: Option<NonZeroU32>,
    /// Tests of the real world fail where they would be skipped.
    pub(crate) require_real: bool,
    pub(crate) look: Look,
    /// What shrinking a plan may spend.
    pub(crate) shrink: ShrinkBudget,
    /// The same, when somebody said so.
    pub(crate) shrink_asked: Option<ShrinkBudget>,
}

/// What programs are to say while they are looked at: variables of Rust's own, which hosts get.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Look {
    pub(crate) rust_log: Option<String>,
    pub(crate) rust_backtrace: Option<String>,
}

impl Look {
    /// Whether programs allocate for what they say.
    pub(crate) fn is_wanted(&self) -> bool {
        self.rust_log.is_some() || self.rust_backtrace.as_ref().is_some_and(|value| value != "0")
    }
}

/// `CHAOS_CASES`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CasesSetting {
    /// This many, whatever the test says.
    Exactly(NonZeroU32),
    /// The test's number times this.
    Times(NonZeroU32),
}

/// `CHAOS_SAVE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum SaveSetting {
    /// Write at a desk, print on CI.
    #[default]
    Auto,
    /// Write on CI too.
    Always,
    /// Print.
    Never,
}

/// `CHAOS_CHECK`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum CheckSetting {
    /// A share of the cases is run twice.
    #[default]
    Default,
    /// Every case is run twice.
    Determinism,
}

/// `CHAOS_LOG`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum LogSetting {
    /// Nothing, not even the last lines of a failed case; its files are written all the same.
    None,
    /// The last lines of each host of a failed case.
    #[default]
    Failed,
    /// Everything, while it happens.
    All,
    /// Everything of these hosts, while it happens. A pattern may end in `*`.
    Hosts(Vec<String>),
}

impl LogSetting {
    /// Whether lines of this host are printed while cases run.
    pub(crate) fn shows(&self, host: &str) -> bool {
        match self {
            Self::None | Self::Failed => false,
            Self::All => true,
            Self::Hosts(patterns) => patterns.iter().any(|pattern| Self::matches(pattern, host)),
        }
    }

    /// Whether this is one of the hosts that a pattern stands for: a name, or the beginning of names with a `*` behind.
    pub(crate) fn matches(pattern: &str, host: &str) -> bool {
        match pattern.strip_suffix('*') {
            Some(prefix) => host.starts_with(prefix),
            None => host == pattern,
        }
    }

    /// Whether anything is printed while cases run.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self, Self::All | Self::Hosts(_))
    }
}

/// The environment asks for something that does not exist.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum SettingsError {
    #[error("there is no variable {name}{}\n\n{}", did_you_mean(.name), table())]
    Unknown { name: String },
    #[error("{name}=`{value}` is not understood: {reason}\n\n{}", table())]
    Malformed { name: &'static str, value: String, reason: String },
    #[error("{drop} contradicts {other}: {reason}; drop {drop}")]
    Contradiction { drop: &'static str, other: &'static str, reason: &'static str },
    #[error("there is no profile `{name}`: {reason}")]
    NoProfile { name: String, reason: String },
    #[error(transparent)]
    File(FileError),
}

fn did_you_mean(name: &str) -> String {
    let nearest = nearest(name, &VARIABLES.map(|(name, ..)| name));
    nearest.map_or_else(String::new, |nearest| format!("; did you mean {nearest}?"))
}

/// The name that was probably meant.
pub(crate) fn nearest<'n>(name: &str, names: &[&'n str]) -> Option<&'n str> {
    let similarity = |other: &str| strsim::jaro_winkler(name, other);
    let near = names.iter().copied().filter(|other| similarity(other) > 0.9);
    near.max_by(|a, b| similarity(a).total_cmp(&similarity(b)))
}

/// The valid variables, for people.
pub(crate) fn table() -> String {
    let rows = VARIABLES.iter().map(|(name, values, meaning)| format!("  {name:<13} {values:<37} {meaning}"));
    format!("the variables are\n{}", rows.collect::<Vec<_>>().join("\n"))
}

impl Settings {
    /// Reads the variables of this process, and the `chaos.toml` of its package or workspace.
    pub(crate) fn from_env() -> Result<Self, SettingsError> {
        let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
        let settings = Self::parse(std::env::vars_os().map(|(name, value)| (text(name), text(value))))?;
        settings.with_file(&package::directory())
    }

    /// Adds what the `chaos.toml` that belongs to this package says.
    fn with_file(self, package: &Path) -> Result<Self, SettingsError> {
        let Some(path) = profile::find(package) else { return self.with_profile(None) };
        let file = package::shown(package, &path);
        match std::fs::read_to_string(&path) {
            Ok(text) => self.with_profile(Some(&Source { file: &file, text: &text })),
            Err(error) => {
                let message = format!("it cannot be read: {error}");
                Err(SettingsError::File(FileError { file, line: None, message }))
            }
        }
    }

    /// Adds what the profile says that the environment, or its `CI`, chooses. The environment wins.
    fn with_profile(self, file: Option<&Source<'_>>) -> Result<Self, SettingsError> {
        let profile = profile::choose(self.profile.as_deref(), self.ci, file)?;
        // A replay is a replay, whatever a project wants of its searches.
        let cases = if self.is_pinned() { None } else { profile.cases };
        let check = if self.debug { None } else { profile.check };
        Ok(Self {
            cases: self.cases.or(cases),
            cases_by_profile: self.cases.is_none() && cases.is_some(),
            time: self.time.or(profile.time),
            shrink: self.shrink_asked.or(profile.shrink).unwrap_or_default(),
            jobs: self.jobs.or(profile.jobs),
            check: self.check.or(check),
            save: self.save.or(profile.save),
            ..self
        })
    }

    /// Whether the environment names the cases, rather than letting them be drawn.
    fn is_pinned(&self) -> bool {
        let one_seed = matches!(self.seed, Some(SeedSetting::One { .. }));
        one_seed || self.replay.as_ref().is_some_and(Replay::has_seeds)
    }

    /// A variable that is set and means something in simulated worlds only.
    pub(crate) fn sim_only(&self) -> Option<&'static str> {
        let set = [
            ("CHAOS_DEBUG", self.debug),
            ("CHAOS_EVENTS", self.events),
            ("CHAOS_DISKS", self.disks),
            ("CHAOS_SWEEP", self.sweep.is_some()),
            ("CHAOS_PERTURB", self.perturb.is_some() || self.forgetful),
        ];
        set.into_iter().find(|(_, set)| *set).map(|(name, _)| name)
    }

    /// Whether there is exactly one case.
    fn is_one_case(&self) -> bool {
        let one_seed = matches!(self.seed, Some(SeedSetting::One { .. }));
        one_seed || matches!(self.replay, Some(Replay::Token(_)))
    }

    /// Reads variables; those that mean nothing here are passed over. An empty value counts as not set.
    pub(crate) fn parse(variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, SettingsError> {
        let (mut ours, others): (Vec<_>, Vec<_>) = variables
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .partition(|(name, _)| name.starts_with("CHAOS_"));
        let other = |name: &str| others.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone());
        let look = Look { rust_log: other("RUST_LOG"), rust_backtrace: other("RUST_BACKTRACE") };
        let ci = other("CI").is_some_and(|value| value != "false" && value != "0");
        // The environment has no order; which of several mistakes is reported should not depend on it.
        ours.sort();
        let mut settings = Self { look, ci, ..Self::default() };
        for (name, value) in ours {
            settings.variable(&name, &value)?;
        }
        settings.contradiction().map_or(Ok(settings), Err)
    }

    /// Which variables cannot both be obeyed.
    fn contradiction(&self) -> Option<SettingsError> {
        let contradiction = |drop, other, reason| Some(SettingsError::Contradiction { drop, other, reason });
        if let Some(replay) = &self.replay
            && replay.has_seeds()
        {
            let is_token = matches!(replay, Replay::Token(_));
            if self.seed.is_some() {
                let reason = if is_token { "a token has a seed" } else { "each saved case has a seed" };
                return contradiction("CHAOS_SEED", "CHAOS_REPLAY", reason);
            }
            if self.cases.is_some_and(|cases| !is_token || cases != CasesSetting::Exactly(NonZeroU32::MIN)) {
                let reason = if is_token { "a token is one case" } else { "each saved case is run once" };
                return contradiction("CHAOS_CASES", "CHAOS_REPLAY", reason);
            }
        }
        let wants_one = |name, value: bool, what: &str| {
            let reason = format!("{what}: give its token with CHAOS_REPLAY, or its seed with CHAOS_SEED");
            (value && !self.is_one_case()).then(|| SettingsError::Malformed { name, value: "1".to_owned(), reason })
        };
        let alone = wants_one("CHAOS_DEBUG", self.debug, "a debugger follows one case")
            .or_else(|| wants_one("CHAOS_EVENTS", self.events, "the file holds one case"))
            .or_else(|| wants_one("CHAOS_DISKS", self.disks, "the directory holds one case"));
        if alone.is_some() {
            return alone;
        }
        if self.sweep.is_some() {
            let one_run = "a sweep is all about one run";
            let others = [
                ("CHAOS_REPLAY", self.replay.is_some()),
                ("CHAOS_CASES", self.cases.is_some()),
                ("CHAOS_DEBUG", self.debug),
                ("CHAOS_EVENTS", self.events),
            ];
            if let Some((other, _)) = others.into_iter().find(|(_, set)| *set) {
                return contradiction(other, "CHAOS_SWEEP", one_run);
            }
        }
        if self.debug && self.cases.is_some() {
            return contradiction("CHAOS_CASES", "CHAOS_DEBUG", "a debugger follows one case");
        }
        if self.events && self.cases.is_some() {
            return contradiction("CHAOS_CASES", "CHAOS_EVENTS", "the file holds one case");
        }
        if self.debug && self.check == Some(CheckSetting::Determinism) {
            return contradiction("CHAOS_CHECK", "CHAOS_DEBUG", "a debugger follows one run");
        }
        None
    }

    fn variable(&mut self, name: &str, value: &str) -> Result<(), SettingsError> {
        let malformed =
            |name: &'static str| move |reason| SettingsError::Malformed { name, value: value.to_owned(), reason };
        match name {
            "CHAOS_SEED" => self.seed = Some(SeedSetting::parse(value).map_err(malformed("CHAOS_SEED"))?),
            "CHAOS_REPLAY" => {
                let reason = |error: crate::token::TokenError| error.to_string();
                self.replay = Some(Replay::parse(value).map_err(reason).map_err(malformed("CHAOS_REPLAY"))?);
            }
            "CHAOS_TIME" => self.time = Some(budget::time(value).map_err(malformed("CHAOS_TIME"))?),
            "CHAOS_SHRINK" => {
                self.shrink = budget::shrink(value).map_err(malformed("CHAOS_SHRINK"))?;
                self.shrink_asked = Some(self.shrink);
            }
            "CHAOS_SAVE" => self.save = Some(save(value).map_err(malformed("CHAOS_SAVE"))?),
            "CHAOS_CHECK" => self.check = Some(check(value).map_err(malformed("CHAOS_CHECK"))?),
            "CHAOS_PROFILE" => self.profile = Some(value.to_owned()),
            "CHAOS_CASES" => self.cases = Some(cases(value).map_err(malformed("CHAOS_CASES"))?),
            "CHAOS_JOBS" => self.jobs = Some(positive(value).map_err(malformed("CHAOS_JOBS"))?),
            "CHAOS_LOG" => self.log = log(value).map_err(malformed("CHAOS_LOG"))?,
            "CHAOS_DEBUG" => self.debug = flag(value).map_err(malformed("CHAOS_DEBUG"))?,
            "CHAOS_PERTURB" if value == "weather" => self.becalmed = true,
            "CHAOS_PERTURB" if value == "fsync" => self.forgetful = true,
            "CHAOS_PERTURB" => self.perturb = Some(event(value).map_err(malformed("CHAOS_PERTURB"))?),
            "CHAOS_DISKS" => self.disks = flag(value).map_err(malformed("CHAOS_DISKS"))?,
            "CHAOS_REQUIRE" => self.require_real = require(value).map_err(malformed("CHAOS_REQUIRE"))?,
            "CHAOS_SWEEP" => self.sweep = Some(positive(value).map_err(malformed("CHAOS_SWEEP"))?),
            "CHAOS_EVENTS" => self.events = flag(value).map_err(malformed("CHAOS_EVENTS"))?,
            "CHAOS_OUT" => self.out = Some(PathBuf::from(value)),
            // Set for workers only; they do not come here.
            windtunnel_sim::worker::ENV => {}
            _ => {
                return Err(SettingsError::Unknown { name: name.to_owned() });
            }
        }
        Ok(())
    }
}

fn require(value: &str) -> Result<bool, String> {
    if value == "real" { Ok(true) } else { Err("it takes real".to_owned()) }
}

fn positive(value: &str) -> Result<NonZeroU32, String> {
    value.parse().map_err(|_| "it takes a number from 1".to_owned())
}

fn event(value: &str) -> Result<u64, String> {
    value.parse().map_err(|_| "it takes the number of an event, weather or fsync".to_owned())
}

fn cases(value: &str) -> Result<CasesSetting, String> {
    match value.strip_prefix('x') {
        Some(times) => positive(times).map(CasesSetting::Times),
        None => positive(value).map(CasesSetting::Exactly),
    }
    .map_err(|_| "it takes a number from 1, or a factor such as x10".to_owned())
}

fn save(value: &str) -> Result<SaveSetting, String> {
    match value {
        "auto" => Ok(SaveSetting::Auto),
        "always" => Ok(SaveSetting::Always),
        "never" => Ok(SaveSetting::Never),
        _ => Err("it takes auto, always or never".to_owned()),
    }
}

fn check(value: &str) -> Result<CheckSetting, String> {
    match value {
        "default" => Ok(CheckSetting::Default),
        "determinism" => Ok(CheckSetting::Determinism),
        _ => Err("it takes determinism or default".to_owned()),
    }
}

fn flag(value: &str) -> Result<bool, String> {
    match value {
        "1" => Ok(true),
        "0" => Ok(false),
        _ => Err("it takes 1 or 0".to_owned()),
    }
}

fn log(value: &str) -> Result<LogSetting, String> {
    match value {
        "none" => return Ok(LogSetting::None),
        "failed" => return Ok(LogSetting::Failed),
        "all" => return Ok(LogSetting::All),
        _ => {}
    }
    let patterns: Vec<String> = value.split(',').map(|pattern| pattern.trim().to_owned()).collect();
    let is_name = |pattern: &String| {
        let name = pattern.strip_suffix('*').unwrap_or(pattern);
        (!name.is_empty() || pattern == "*") && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    if patterns.iter().all(is_name) {
        Ok(LogSetting::Hosts(patterns))
    } else {
        Err("it takes none, failed, all, or names of hosts separated by commas".to_owned())
    }
}

#[cfg(test)]
mod tests;
