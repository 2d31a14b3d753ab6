//! `cargo xtask parity`: the tests of `examples/meter`, each with one plan in both worlds, side by side: what was asked
//! for, what a client measured in either, how sure that is, and when each fault was in force and gone.
//!
//! | file | what is in it |
//! | --- | --- |
//! | `run` | a test in one world, as its log tells it |
//! | `figures` | what was measured, for each kind of fault |
//! | `timeline` | when things happened |
//! | `readme` | the README's table, and whether it is whole |

mod figures;
pub mod readme;
mod run;
mod timeline;

use crate::examples::{Build, Tests};
use anyhow::{Context, Result, ensure};
use run::Run;
use std::fmt::Write as _;
use std::path::Path;

const PACKAGE: &str = "meter";
/// The tests whose clients measure.
const PROBES: [&str; 6] = [
    "links::links_are_as_bad_as_they_are_asked_to_be",
    "packets::packets_suffer_as_often_as_they_are_asked_to",
    "clocks::clocks_and_names_are_as_wrong_as_they_are_asked_to_be",
    "storage::disks_are_as_bad_as_they_are_asked_to_be",
    "lacks::programs_lack_as_much_as_they_are_asked_to",
    "crashes::programs_are_down_when_they_are_asked_to_be",
];
/// The test in which every kind of fault comes and goes.
const SCHEDULE: &str = "schedule::faults_come_and_go_when_they_are_asked_to";

/// Both worlds beside each other, as Markdown, and the largest delays of the real one.
#[derive(Debug)]
pub struct Parity {
    /// What was asked for and measured.
    pub figures: String,
    /// When things happened.
    pub timelines: String,
    /// How long a fault took at most to be in force, and to be gone, in seconds; nothing where there is no real world.
    pub later_s: Option<(f64, f64)>,
}

/// Prints both worlds beside each other; what was measured goes into the README as well if `write` says so.
///
/// # Errors
/// As [`measure`]; or it is to be written, and there is no real world here.
pub fn run(root: &Path, write: bool) -> Result<()> {
    let parity = measure(root)?;
    println!("{}\n{}", parity.figures, parity.timelines);
    if write {
        ensure!(parity.later_s.is_some(), "there is no real world here, so its figures cannot be written");
        readme::write(root, &parity.figures)?;
    }
    Ok(())
}

/// Runs all tests in both worlds, built as tests usually are.
///
/// # Errors
/// A test does not build or pass, or what it prints cannot be read.
pub fn measure(root: &Path) -> Result<Parity> {
    let tests = Tests::build(root, PACKAGE, Build::AS_TESTS, "parity")?;
    let (mut timelines, mut worlds) = (String::new(), Vec::new());
    for test in PROBES {
        let (sim, real) = in_both_worlds(&tests, test)?;
        line(&mut timelines, &timeline::table(&sim, real.as_ref()));
        worlds.push((sim, real));
    }
    let (sim, real) = in_both_worlds(&tests, SCHEDULE)?;
    timelines.push_str(&timeline::table(&sim, real.as_ref()));
    let later_s = real.map(|real| timeline::delays(&sim, &real));
    let figures = figures::table(worlds.iter().map(|(sim, real)| (sim, real.as_ref())));
    Ok(Parity { figures, timelines, later_s })
}

/// Runs a test in the simulated world and in the real one, if that is to be had here.
fn in_both_worlds(tests: &Tests, test: &str) -> Result<(Run, Option<Run>)> {
    let run = |world: &str| -> Result<Option<Run>> {
        let test = format!("{test}::{world}");
        let (passed, printed) = tests.run(&test, &[("CHAOS_LOG", "all")])?;
        ensure!(passed, "{test} did not pass:\n{printed}");
        if let Some(reason) = printed.lines().find(|line| line.contains(" is skipped: ")) {
            println!("{reason}");
            return Ok(None);
        }
        Run::read(&printed).map(Some)
    };
    Ok((run("sim")?.context("nothing skips the simulated world")?, run("real")?))
}

fn line(text: &mut String, line: &str) {
    // Writing to a text does not fail.
    let _ = writeln!(text, "{line}");
}

/// A line of a table.
fn row(table: &mut String, cells: &[&str]) {
    line(table, &format!("| {} |", cells.join(" | ")));
}
