//! What a user sees: this binary runs its own, failing, tests of the module `fixtures` in processes of their own, and
//! reads what they print.

mod determinism;
mod disks;
mod failures;
mod fixtures;
mod ledgers;
mod settings;
mod storms;

use std::process::{Command, Output};
use tempfile::TempDir;

/// A fixture, about to be run.
struct Run {
    command: Command,
}

/// What a run printed and how it ended.
struct Printed {
    passed: bool,
    text: String,
}

/// Runs a fixture as libtest does for `cargo test -- --exact --nocapture`, with a clean environment. It is of the
/// module `fixtures` unless its name begins with another.
fn run(fixture: &str) -> Run {
    let mut command = Command::new(std::env::current_exe().expect("a test has a binary"));
    let path = if fixture.contains("::") { fixture.to_owned() } else { format!("fixtures::{fixture}") };
    command.args(["--exact", &path, "--include-ignored", "--nocapture", "--test-threads=1"]);
    command.env_clear();
    // Fixtures fail by design; what they find belongs into no file of the checkout.
    command.env("CHAOS_SAVE", "never");
    Run { command }
}

/// A directory that goes with the test.
fn temporary() -> TempDir {
    tempfile::tempdir().expect("the system's directory for temporary files is writable")
}

impl Run {
    fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    fn seed(self, seed: &str) -> Self {
        self.env("CHAOS_SEED", seed)
    }

    fn printed(mut self) -> Printed {
        let Output { status, stdout, stderr } = self.command.output().expect("this binary can be executed");
        let tests = String::from_utf8_lossy(&stdout);
        assert!(tests.contains("running 1 test"), "there is no such fixture:\n{tests}");
        Printed { passed: status.success(), text: String::from_utf8_lossy(&stderr).into_owned() }
    }
}

impl Printed {
    /// The one block of a failure, from its first line: as nextest finds it, by the last line of this form.
    #[track_caller]
    fn block(&self) -> &str {
        assert!(!self.passed, "it passed:\n{}", self.text);
        let start = self.text.rfind("\nthread '").unwrap_or_else(|| panic!("no block:\n{}", self.text));
        &self.text[start + 1..]
    }

    /// How many panics reached the terminal.
    fn panics(&self) -> usize {
        self.text.matches("\nthread '").count()
    }

    /// The sentence: the second line of the block.
    #[track_caller]
    fn sentence(&self) -> &str {
        self.block().lines().nth(1).unwrap_or_default()
    }

    /// What stands behind a name in the block.
    #[track_caller]
    fn field(&self, name: &str) -> &str {
        let start = format!("  {name} ");
        let line = self.block().lines().find(|line| line.starts_with(&start));
        line.unwrap_or_else(|| panic!("no field `{name}`:\n{}", self.text))[start.len()..].trim()
    }

    /// The token of its replay.
    #[track_caller]
    fn token(&self) -> &str {
        let rest = self.field("replay").strip_prefix("CHAOS_REPLAY=");
        rest.and_then(|rest| rest.split(' ').next()).expect("CHAOS_REPLAY=…")
    }

    #[track_caller]
    fn contains(&self, text: &str) -> &Self {
        assert!(self.text.contains(text), "`{text}` is not in:\n{}", self.text);
        self
    }
}
