//! `cargo xtask test`: everything that has to pass before a change lands.
//!
//! Every step runs even when an earlier one failed, so that one round shows all there is to mend.

use crate::process::{built, cargo, executable, run as run_command, succeeds};
use crate::{tidy, vm};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// A part of `cargo xtask test`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Step {
    /// `cargo fmt --check`.
    Format,
    /// Clippy on every target, warnings denied.
    Clippy,
    /// The tree's own rules.
    Tidy,
    /// The documentation builds without a warning.
    Docs,
    /// The examples in the documentation run.
    Doctests,
    /// Nothing in the examples' tests reaches past the simulated kernel.
    Leaks,
    /// Every test, with cargo-nextest.
    Tests,
    /// The tests of faults on the real kernel once more, on Debian's kernel in QEMU, but for some that take long.
    Vm,
}

/// Cheapest first.
const STEPS: [Step; 8] =
    [Step::Format, Step::Tidy, Step::Clippy, Step::Docs, Step::Doctests, Step::Leaks, Step::Tests, Step::Vm];

impl Step {
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Runs it. What this machine cannot do is an error only where it is wanted.
    fn run(self, root: &Path, wanted: Wanted) -> Result<Verdict> {
        let ran = match self {
            Self::Format => {
                component(root, "fmt", "rustfmt")?;
                run_command(&mut cargo(root, &["fmt", "--all", "--check"]))
            }
            Self::Clippy => {
                component(root, "clippy", "clippy")?;
                let arguments = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
                run_command(&mut cargo(root, &arguments))
            }
            Self::Tidy => tidy::run(root),
            Self::Docs => {
                let mut doc = cargo(root, &["doc", "--workspace", "--no-deps", "--locked"]);
                run_command(doc.env("RUSTDOCFLAGS", "-D warnings"))
            }
            Self::Doctests => run_command(&mut cargo(root, &["test", "--workspace", "--doc", "--locked"])),
            Self::Leaks => leaks(root),
            Self::Tests => {
                nextest(root)?;
                let profile = if std::env::var_os("CI").is_some() { "ci" } else { "default" };
                let arguments = ["nextest", "run", "--workspace", "--locked", "--profile", profile];
                run_command(&mut cargo(root, &arguments))
            }
            Self::Vm => match (vm::prepare(root), wanted) {
                (Err(error), Wanted::WherePossible) => {
                    println!("{error:#}");
                    return Ok(Verdict::NotRun);
                }
                (prepared, _) => prepared.and_then(|unpacked| vm::test(root, &unpacked, vm::Which::Short)),
            },
        };
        ran.map(|()| Verdict::Passed)
    }
}

/// Whether a step has to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// In CI, and when it was asked for.
    Always,
    WherePossible,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Passed,
    Failed,
    NotRun,
}

/// Runs the steps in `only`, or all. The kernel in a box is left out where it cannot be had, unless it is asked for or
/// this is CI.
///
/// # Errors
/// A step failed; all steps have run.
pub fn run(root: &Path, only: &[Step]) -> Result<()> {
    let in_ci = std::env::var_os("CI").is_some();
    let wanted = if in_ci || !only.is_empty() { Wanted::Always } else { Wanted::WherePossible };
    let steps = STEPS.into_iter().filter(|step| only.is_empty() || only.contains(step));
    let mut lines = Vec::new();
    let mut failed = Vec::new();
    for step in steps {
        println!("── {} ──", step.name());
        let begin = Instant::now();
        let verdict = step.run(root, wanted).unwrap_or_else(|error| {
            println!("{error:#}");
            failed.push(step.name());
            Verdict::Failed
        });
        let line = timing(step, begin.elapsed(), verdict);
        println!("{line}\n");
        lines.push(line);
    }
    println!("{}", lines.join("\n"));
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn timing(step: Step, took: Duration, verdict: Verdict) -> String {
    let verdict = match verdict {
        Verdict::Passed => "passed",
        Verdict::Failed => "FAILED",
        Verdict::NotRun => "not run",
    };
    format!("xtask test: {:<8} {verdict} in {:>6.1} s", step.name(), took.as_secs_f64())
}

/// Has `cargo chaos leaks` look at the tests in `examples/`.
fn leaks(root: &Path) -> Result<()> {
    // With the features that the whole workspace has, here and below: what the steps before have built is used, and the
    // next ones use this. `cargo run` would build its dependencies once more.
    let build = cargo(root, &["build", "--locked", "--workspace", "--bin", "cargo-chaos"]);
    let messages = built(build, "cargo-chaos")?;
    let program = messages.iter().find_map(|message| executable(message, "cargo-chaos"));
    let tests = tests_of_examples(root)?;
    let tests = tests.iter().flat_map(|test| ["--test", test.as_str()]);
    let mut scan = Command::new(program.context("cargo does not say where cargo-chaos is")?);
    run_command(scan.args(["leaks", "--", "--locked", "--workspace"]).args(tests).current_dir(root))
}

/// The names of the tests in `examples/`, each once.
fn tests_of_examples(root: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for example in std::fs::read_dir(root.join("examples"))? {
        let tests = example?.path().join("tests");
        for test in std::fs::read_dir(&tests).with_context(|| tests.display().to_string())? {
            // `chaos.rs`, or a directory with `main.rs`; one without has what tests share.
            let path = test?.path();
            if path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").is_file() {
                names.extend(path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned));
            }
        }
    }
    Ok(names)
}

/// A toolchain installed with rustup's profile `minimal` has neither rustfmt nor clippy.
fn component(root: &Path, subcommand: &str, component: &str) -> Result<()> {
    if succeeds(&mut cargo(root, &[subcommand, "--version"])) {
        return Ok(());
    }
    run_command(Command::new("rustup").args(["component", "add", component]).current_dir(root))
        .with_context(|| format!("{component} is missing; install it beside your cargo"))
}

fn nextest(root: &Path) -> Result<()> {
    if succeeds(&mut cargo(root, &["nextest", "--version"])) {
        return Ok(());
    }
    println!("cargo-nextest is missing; it is built once, which takes some minutes");
    run_command(&mut cargo(root, &["install", "cargo-nextest", "--locked"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_runs_by_default() {
        for step in Step::value_variants() {
            assert!(STEPS.contains(step), "{step:?} never runs");
        }
    }

    #[test]
    fn tests_of_examples_are_files_and_directories() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the tree");
        let names = tests_of_examples(root).expect("there are examples");
        assert!(["chaos", "real_kernel"].iter().all(|name| names.contains(*name)), "{names:?}");
    }

    #[test]
    fn a_timing_line_names_step_verdict_and_seconds() {
        let line = timing(Step::Tests, Duration::from_millis(61_250), Verdict::Passed);
        assert_eq!(line, "xtask test: tests    passed in   61.2 s");
    }
}
