//! The chaos tests of `examples/`, built and run one by one.

use crate::process::{built, cargo, executable, is_of_package};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// How a test binary is built. Packages together have other features of their dependencies, and are another build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Build<'a> {
    /// The package alone, as the commands in its reports do, and optimised.
    AloneReleased,
    /// As the tree's own tests are, so that nothing is left to build where they run.
    WithAll {
        /// Cargo's name of a profile: `dev`, `release`.
        profile: &'a str,
    },
}

impl Build<'_> {
    /// As the tree's own tests usually are.
    pub const AS_TESTS: Build<'static> = Build::WithAll { profile: "dev" };
}

/// Builds the test binary `chaos` of a package; answers where it is.
///
/// # Errors
/// It does not build.
pub fn build(root: &Path, package: &str, how: Build<'_>) -> Result<PathBuf> {
    let mut build = cargo(root, &["test", "--no-run", "--locked", "--test", "chaos"]);
    match how {
        Build::AloneReleased => build.args(["-p", package, "--release"]),
        Build::WithAll { profile } => build.args(["--workspace", "--profile", profile]),
    };
    let built = built(build, &format!("the chaos tests of {package}"))?;
    // Cargo builds a package's programs along with its tests, and names them too.
    let mut own = built.iter().filter(|message| is_of_package(message, package));
    let binary = own.find_map(|message| executable(message, "chaos"));
    binary.with_context(|| format!("{package} has no test binary `chaos`"))
}

/// The chaos tests of a package.
pub struct Tests {
    binary: PathBuf,
    directory: PathBuf,
    /// Where what they write goes.
    pub place: PathBuf,
}

impl Tests {
    /// Builds them; what they write goes to `place`, below `target` unless that is a whole path.
    ///
    /// # Errors
    /// They do not build.
    pub fn build(root: &Path, package: &str, how: Build<'_>, place: impl AsRef<Path>) -> Result<Self> {
        let binary = build(root, package, how)?;
        Ok(Self { binary, directory: root.join("examples").join(package), place: root.join("target").join(place) })
    }

    /// Runs one with these variables. Whether it passed, and what it printed.
    ///
    /// # Errors
    /// It could not be started, or did not run.
    pub fn run(&self, test: &str, variables: &[(&str, &str)]) -> Result<(bool, String)> {
        let ended = self.output(test, variables)?;
        Ok((ended.status.success(), String::from_utf8_lossy(&ended.stderr).into_owned()))
    }

    /// Runs one with these variables. How it ended, and all that it printed.
    ///
    /// # Errors
    /// It could not be started, or did not run.
    pub fn output(&self, test: &str, variables: &[(&str, &str)]) -> Result<Output> {
        let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).to_string();
        let out = self.place.to_string_lossy();
        let fixed = [("CHAOS_OUT", &*out), ("CHAOS_SAVE", "never"), ("CHAOS_LOG", "none"), ("CHAOS_JOBS", &*jobs)];
        // Later ones win.
        let variables: Vec<_> = fixed.into_iter().chain(variables.iter().copied()).collect();
        let ended = command(&self.binary, &self.directory, test, &variables).output();
        let ended = ended.with_context(|| format!("failed to start {test}"))?;
        let ran_one = String::from_utf8_lossy(&ended.stdout).contains("running 1 test");
        ensure!(ran_one, "{test} did not run ({})", ended.status);
        Ok(ended)
    }
}

/// The faults that a failure's block lists, in their text form.
#[must_use]
pub fn faults(printed: &str) -> Vec<String> {
    let listed = printed.lines().skip_while(|line| *line != "  faults").skip(1);
    let faults = listed.map_while(|line| line.strip_prefix("    ")).filter_map(|line| line.split("  ").next());
    faults.map(str::to_owned).collect()
}

/// One test in a process of its own, in its package's directory, with these variables of windtunnel's and no others.
#[must_use]
pub fn command(binary: &Path, directory: &Path, test: &str, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(binary);
    command.args(["--exact", test, "--include-ignored", "--nocapture"]).current_dir(directory);
    command.stdin(Stdio::null()).env_remove("RUST_BACKTRACE");
    for (name, _) in std::env::vars_os() {
        // The reports name commands for the runner that started them, and that is none here.
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("NEXTEST") || name.starts_with("CHAOS_") {
            command.env_remove(name);
        }
    }
    command.envs(variables.iter().copied());
    command
}
