//! The variables `CHAOS_*`: what they may be, and what is said when they are something else.
//!
//! All are read when a test runs, never when it is compiled. A variable that is unknown or malformed fails the test:
//! one that is silently ignored would replay another case than the one asked for.

mod seed;

pub(crate) use seed::{SeedSetting, seed_text};

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;

/// Every variable, with its values and its meaning.
const VARIABLES: [(&str, &str, &str); 8] = [
    ("CHAOS_SEED", "0x5f1d, 24349, 1-1000 or calm:0x5f1d", "run the case of this seed, or the cases of these"),
    ("CHAOS_CASES", "500 or x10", "run this many cases, or this many times as many"),
    ("CHAOS_JOBS", "1", "run this many cases of a test at the same time"),
    (
        "CHAOS_LOG",
        "none, failed, all, or hosts: kv0,c*",
        "print what hosts write, of all or some hosts, while cases run",
    ),
    ("CHAOS_DEBUG", "1", "with CHAOS_SEED: run the one case in this process, for a debugger"),
    ("CHAOS_OUT", "target/chaos", "where log files and cases.jsonl go"),
    ("CHAOS_EVENTS", "1", "with CHAOS_SEED: write every event of the one case to events.txt, to compare runs"),
    ("CHAOS_PERTURB", "1204", "disturb this event in second runs, to see that the difference is found"),
];

/// What the environment asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Settings {
    pub(crate) seed: Option<SeedSetting>,
    pub(crate) cases: Option<CasesSetting>,
    pub(crate) jobs: Option<NonZeroU32>,
    pub(crate) log: LogSetting,
    pub(crate) debug: bool,
    pub(crate) out: Option<PathBuf>,
    pub(crate) perturb: Option<u64>,
    pub(crate) events: bool,
    pub(crate) look: Look,
    pub(crate) shrink: ShrinkBudget,
}

/// How long a failure's plan may be shrunk; whichever is over first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShrinkBudget {
    pub(crate) time: Duration,
    pub(crate) runs: usize,
}

impl Default for ShrinkBudget {
    fn default() -> Self {
        Self { time: Duration::from_secs(60), runs: 500 }
    }
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
            Self::Hosts(patterns) => patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(prefix) => host.starts_with(prefix),
                None => host == pattern,
            }),
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
}

fn did_you_mean(name: &str) -> String {
    let similarity = |other: &str| strsim::jaro_winkler(name, other);
    VARIABLES
        .iter()
        .map(|(other, ..)| *other)
        .filter(|other| similarity(other) > 0.9)
        .max_by(|a, b| similarity(a).total_cmp(&similarity(b)))
        .map_or_else(String::new, |nearest| format!("; did you mean {nearest}?"))
}

/// The valid variables, for people.
pub(crate) fn table() -> String {
    let rows = VARIABLES.iter().map(|(name, values, meaning)| format!("  {name:<13} {values:<37} {meaning}"));
    format!("the variables are\n{}", rows.collect::<Vec<_>>().join("\n"))
}

impl Settings {
    /// Reads the variables of this process.
    pub(crate) fn from_env() -> Result<Self, SettingsError> {
        let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
        Self::parse(std::env::vars_os().map(|(name, value)| (text(name), text(value))))
    }

    /// Reads variables; those that mean nothing here are passed over. An empty value counts as not set.
    pub(crate) fn parse(variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, SettingsError> {
        let (mut ours, others): (Vec<_>, Vec<_>) = variables
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .partition(|(name, _)| name.starts_with("CHAOS_"));
        let other = |name: &str| others.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone());
        let look = Look { rust_log: other("RUST_LOG"), rust_backtrace: other("RUST_BACKTRACE") };
        // The environment has no order; which of several mistakes is reported should not depend on it.
        ours.sort();
        let mut settings = Self { look, ..Self::default() };
        for (name, value) in ours {
            settings.variable(&name, &value)?;
        }
        let one = matches!(settings.seed, Some(SeedSetting::One { .. }));
        if settings.debug && !one {
            let reason = "a debugger follows one case: give its seed with CHAOS_SEED".to_owned();
            return Err(SettingsError::Malformed { name: "CHAOS_DEBUG", value: "1".to_owned(), reason });
        }
        if settings.events && !one {
            let reason = "the file holds one case: give its seed with CHAOS_SEED".to_owned();
            return Err(SettingsError::Malformed { name: "CHAOS_EVENTS", value: "1".to_owned(), reason });
        }
        Ok(settings)
    }

    fn variable(&mut self, name: &str, value: &str) -> Result<(), SettingsError> {
        let malformed =
            |name: &'static str| move |reason| SettingsError::Malformed { name, value: value.to_owned(), reason };
        match name {
            "CHAOS_SEED" => self.seed = Some(SeedSetting::parse(value).map_err(malformed("CHAOS_SEED"))?),
            "CHAOS_CASES" => self.cases = Some(cases(value).map_err(malformed("CHAOS_CASES"))?),
            "CHAOS_JOBS" => self.jobs = Some(positive(value).map_err(malformed("CHAOS_JOBS"))?),
            "CHAOS_LOG" => self.log = log(value).map_err(malformed("CHAOS_LOG"))?,
            "CHAOS_DEBUG" => self.debug = flag(value).map_err(malformed("CHAOS_DEBUG"))?,
            "CHAOS_PERTURB" => self.perturb = Some(event(value).map_err(malformed("CHAOS_PERTURB"))?),
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

fn positive(value: &str) -> Result<NonZeroU32, String> {
    value.parse().map_err(|_| "it takes a number from 1".to_owned())
}

fn event(value: &str) -> Result<u64, String> {
    value.parse().map_err(|_| "it takes the number of an event".to_owned())
}

fn cases(value: &str) -> Result<CasesSetting, String> {
    match value.strip_prefix('x') {
        Some(times) => positive(times).map(CasesSetting::Times),
        None => positive(value).map(CasesSetting::Exactly),
    }
    .map_err(|_| "it takes a number from 1, or a factor such as x10".to_owned())
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
mod tests {
    use super::*;

    fn parse(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        Settings::parse(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn nothing_set_is_the_default() {
        assert_eq!(parse(&[("PATH", "/bin"), ("CHAOS_LOG", "")]), Ok(Settings::default()));
    }

    #[test]
    fn each_variable_is_read() {
        let settings = parse(&[
            ("CHAOS_SEED", "0x5f1d"),
            ("CHAOS_CASES", "x10"),
            ("CHAOS_JOBS", "4"),
            ("CHAOS_LOG", "kv0,c*"),
            ("CHAOS_DEBUG", "1"),
            ("CHAOS_OUT", "/tmp/out"),
            ("CHAOS_PERTURB", "1204"),
            ("CHAOS_EVENTS", "1"),
        ])
        .expect("all are valid");
        assert_eq!(settings.seed, Some(SeedSetting::One { seed: 0x5f1d, calm: false }));
        assert_eq!(settings.cases, NonZeroU32::new(10).map(CasesSetting::Times));
        assert_eq!(settings.jobs, NonZeroU32::new(4));
        assert!(settings.events);
        assert!(settings.debug && settings.log.shows("kv0") && settings.log.shows("c12") && !settings.log.shows("kv1"));
        assert_eq!((settings.out, settings.perturb), (Some(PathBuf::from("/tmp/out")), Some(1204)));
    }

    #[test]
    fn an_unknown_variable_lists_the_valid_ones() {
        let error = parse(&[("CHAOS_SEEDS", "1")]).expect_err("there is no such variable");
        insta::assert_snapshot!(error);
    }

    #[test]
    fn a_malformed_value_says_what_would_be_right() {
        for (name, value) in [
            ("CHAOS_CASES", "many"),
            ("CHAOS_CASES", "0"),
            ("CHAOS_JOBS", "-1"),
            ("CHAOS_LOG", "kv 0"),
            ("CHAOS_DEBUG", "yes"),
            ("CHAOS_PERTURB", "soon"),
            ("CHAOS_SEED", "9-1"),
            ("CHAOS_DEBUG", "1"),
            ("CHAOS_EVENTS", "1"),
        ] {
            let error = parse(&[(name, value)]).expect_err(name).to_string();
            assert!(error.starts_with(&format!("{name}=`{value}` is not understood: ")), "{error}");
        }
    }
}
