//! Starting a test binary, and what is left of it when it has ended.

use serde::Deserialize;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A chaos test about to be started in a process of its own, directly, with one seed or several.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) package: &'static str,
    pub(crate) test: &'static str,
    /// Programs that start the next, each with its arguments.
    pub(crate) before: Vec<OsString>,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) seeds: Seeds,
    pub(crate) env: Vec<(OsString, OsString)>,
    /// Whether the process gets nothing of this one's environment.
    pub(crate) env_is_empty: bool,
    pub(crate) directory: Option<PathBuf>,
    /// Where its files go, and whatever the start needs.
    pub(crate) scratch: TempDir,
}

/// Which cases run: their seeds follow one another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seeds {
    pub(crate) first: u64,
    pub(crate) count: u64,
}

impl Seeds {
    pub(crate) const fn one(seed: u64) -> Self {
        Self { first: seed, count: 1 }
    }

    /// As `CHAOS_SEED` takes them. A range, even of one, has a rehearsal before it; a seed alone has none.
    fn setting(self) -> String {
        match self.count {
            1 => format!("{:#x}", self.first),
            count => format!("{:#x}-{:#x}", self.first, self.first + count - 1),
        }
    }
}

/// A line of `cases.jsonl`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Case {
    pub(crate) seed: String,
    pub(crate) outcome: String,
    pub(crate) digest: Option<String>,
    /// Of the run that logged more, if that was another.
    pub(crate) digest_when_logged: Option<String>,
}

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) succeeded: bool,
    /// Standard output and standard error.
    pub(crate) printed: String,
    pub(crate) cases: Vec<Case>,
}

impl Start {
    /// Has another program start the process.
    pub(crate) fn under(mut self, words: &[&str]) -> Self {
        let words = words.iter().map(OsString::from);
        self.before.splice(0..0, words);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    pub(crate) fn run(self) -> Ended {
        let mut words = self.before.iter().cloned().chain([self.program.clone().into_os_string()]);
        // Never empty: the program's name is there at least.
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).args(&self.args).stdin(Stdio::null());
        if self.env_is_empty {
            command.env_clear();
        }
        for (name, _) in std::env::vars_os() {
            // The runner of these tests and its settings are not what the process should see.
            if ["CHAOS_", "NEXTEST", "RUST_LOG", "RUST_BACKTRACE"]
                .iter()
                .any(|own| name.to_string_lossy().starts_with(own))
            {
                command.env_remove(name);
            }
        }
        command.env("CHAOS_OUT", self.scratch.path()).env("CHAOS_LOG", "test").env("CHAOS_SEED", self.seeds.setting());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        let output = command.output().unwrap_or_else(|error| panic!("failed to start {command:?}: {error}"));
        let printed = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        let cases = self
            .scratch
            .path()
            .join(format!("{}.chaos", self.package))
            .join(self.test.replace("::", "."))
            .join("cases.jsonl");
        let cases =
            std::fs::read_to_string(&cases).unwrap_or_else(|error| panic!("{}: {error}\n{printed}", cases.display()));
        let cases =
            cases.lines().map(|line| serde_json::from_str(line).expect("a line of JSON for each case")).collect();
        Ended { succeeded: output.status.success(), printed, cases }
    }
}

impl Ended {
    /// What the test body printed: lines such as `0.123 s     test | text`, without the time.
    pub(crate) fn transcript(&self) -> Vec<&str> {
        self.printed.lines().filter_map(|line| Some(line.split_once(" test | ")?.1.trim_end())).collect()
    }
}
