//! `cargo xtask parity`: the tests of `examples/meter`, with one plan in both worlds, side by side: what was asked for,
//! what a client measured in either, when each fault was in force and gone, and how much each host wrote.

use crate::examples::Tests;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

const PACKAGE: &str = "meter";
/// The test whose client measures.
const STRENGTH: &str = "faults_are_as_strong_as_they_are_asked_for";
/// The test in which every kind of fault comes and goes.
const PROMPTNESS: &str = "faults_come_and_go_when_they_are_asked_to";

/// What the measuring test prints before each quantity.
const MEASURED: &str = "measured ";
/// The mark at which a plan begins.
const STORM_BEGINS: &str = "phase inject";

/// A test in one world, as its log tells it.
#[derive(Debug, Default, PartialEq)]
struct Run {
    /// The sentence that the test ends with.
    outcome: String,
    /// Quantities, as `examples/meter/tests/chaos/main.rs` writes them.
    measured: Vec<Value>,
    events: Vec<Event>,
    /// How many lines each host wrote.
    lines: BTreeMap<String, usize>,
}

/// What happened.
#[derive(Debug, PartialEq)]
struct Event {
    /// Seconds since the storm began.
    at: f64,
    /// What it is called in both worlds.
    name: String,
    /// The world's own words.
    text: String,
}

/// Both worlds beside each other, as Markdown, and the largest delays of the real one.
#[derive(Debug)]
pub struct Parity {
    /// Tables.
    pub text: String,
    /// How long a fault took at most to be in force, and to be gone, in seconds; nothing where there is no real world.
    pub later_s: Option<(f64, f64)>,
}

/// Prints both worlds beside each other.
///
/// # Errors
/// As [`measure`].
pub fn run(root: &Path) -> Result<()> {
    println!("{}", measure(root)?.text);
    Ok(())
}

/// Runs both tests in both worlds, built as tests usually are.
///
/// # Errors
/// A test does not build or pass, or what it prints cannot be read.
pub fn measure(root: &Path) -> Result<Parity> {
    let tests = Tests::build_with(root, PACKAGE, "parity", &[])?;
    let (sim, real) = in_both_worlds(&tests, STRENGTH)?;
    let mut text = format!("{}\n{}\n", measured(&sim, real.as_ref()), timeline(&sim, real.as_ref()));
    let (sim, real) = in_both_worlds(&tests, PROMPTNESS)?;
    text.push_str(&timeline(&sim, real.as_ref()));
    Ok(Parity { text, later_s: real.map(|real| delays(&sim, &real)) })
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

impl Run {
    /// Reads what a test prints with `CHAOS_LOG=all`: `1.158 s test * phase inject`, `0.055 s meter | listening`.
    fn read(printed: &str) -> Result<Self> {
        let mut run = Self::default();
        for line in printed.lines() {
            if line.starts_with("passed ") {
                run.outcome = line.to_owned();
            }
            let Some((at, host, kind, text)) = logged(line) else { continue };
            match (kind, text.strip_prefix(MEASURED)) {
                ("*", _) => run.events.push(Event { at, name: name(host, text), text: text.to_owned() }),
                (_, Some(json)) => {
                    run.measured.push(serde_json::from_str(json).context("failed to read a measurement")?);
                }
                (_, None) => *run.lines.entry(host.to_owned()).or_default() += 1,
            }
        }
        let began = run.at(&name("test", STORM_BEGINS)).context("no storm began")?;
        run.events.iter_mut().for_each(|event| event.at -= began);
        Ok(run)
    }

    fn event(&self, name: &str) -> Option<&Event> {
        self.events.iter().find(|event| event.name == name)
    }

    /// When something happened.
    fn at(&self, name: &str) -> Option<f64> {
        self.event(name).map(|event| event.at)
    }
}

/// The time of a line of the log in seconds, its host, its kind, and its text; nothing of another line.
fn logged(line: &str) -> Option<(f64, &str, &str, &str)> {
    let (at, rest) = line.trim_start().split_once(" s ")?;
    let (host, rest) = rest.trim_start().split_once(' ')?;
    let (kind, text) = rest.split_once(' ')?;
    matches!(kind, "*" | "|").then_some((at.parse().ok()?, host, kind, text))
}

/// What is the same in both worlds' words: a fault's number, without what the world says of it.
fn name(host: &str, text: &str) -> String {
    match text.split_once(": ") {
        Some((fault, _)) if fault.starts_with("fault ") => fault.to_owned(),
        _ => format!("{host}: {text}"),
    }
}

/// Quantities that were measured, beside what was asked for.
fn measured(sim: &Run, real: Option<&Run>) -> String {
    let mut table = "| | | asked for | simulated | real |\n| --- | --- | ---: | ---: | ---: |\n".to_owned();
    for row in &sim.measured {
        let is_it = |other: &&Value| ["phase", "quantity"].iter().all(|key| other[key] == row[key]);
        let real = real.and_then(|real| real.measured.iter().find(is_it));
        let [phase, quantity, unit] = ["phase", "quantity", "unit"].map(|key| row[key].as_str().unwrap_or_default());
        let number = |value: Option<&Value>| match value.and_then(Value::as_f64) {
            Some(number) => format!("{} {unit}", rounded(number)),
            None => "–".to_owned(),
        };
        let bound = row["bound"].as_f64().map(|bound| format!(" ± {} (99.9 %)", rounded(bound))).unwrap_or_default();
        let (asked, sim) = (number(row.get("asked")) + &bound, number(row.get("measured")));
        let real = number(real.and_then(|row| row.get("measured")));
        line(&mut table, &[phase, quantity, &asked, &sim, &real]);
    }
    table
}

/// When things happened, seconds after the storm began, in the simulated world's order; then how it ended.
fn timeline(sim: &Run, real: Option<&Run>) -> String {
    let mut table = "| | simulated | real | later by | there by |\n| --- | ---: | ---: | ---: | --- |\n".to_owned();
    for event in &sim.events {
        let there = real.and_then(|real| real.event(&event.name));
        // What else a world says of itself has words of its own.
        let is_mark = event.name.starts_with("test: ") && event.text != "started" && there.is_some();
        if !is_mark && !event.name.starts_with("fault ") {
            continue;
        }
        let dash = || "–".to_owned();
        let later = there.map_or_else(dash, |there| format!("{:.0} ms", (there.at - event.at) * 1e3));
        let mechanism = there.and_then(|there| there.text.split_once(", by ")).map_or("", |(_, mechanism)| mechanism);
        let there = there.map_or_else(dash, |there| format!("{:.3} s", there.at));
        line(&mut table, &[&event.text, &format!("{:.3} s", event.at), &there, &later, mechanism]);
    }
    for host in sim.lines.keys() {
        let count = |run: &Run| run.lines.get(host).copied().unwrap_or(0).to_string();
        line(&mut table, &[&format!("lines of {host}"), &count(sim), &real.map_or("–".to_owned(), count), "", ""]);
    }
    line(&mut table, &["outcome", &sim.outcome, real.map_or("–", |real| &real.outcome), "", ""]);
    table
}

/// How long a fault took at most to be in force, counted from the time for which it was planned, and to be gone,
/// counted from when it had lasted as long as it was to. In seconds.
fn delays(sim: &Run, real: &Run) -> (f64, f64) {
    let (mut in_force, mut gone) = (0.0_f64, 0.0_f64);
    for number in 1.. {
        let [begins, ends] = ["begins", "ends"].map(|turn| format!("fault {number} {turn}"));
        // The simulated world does everything when it is planned.
        let (Some(planned), Some(began)) = (sim.at(&begins), real.at(&begins)) else { break };
        in_force = in_force.max(began - planned);
        if let (Some(planned_end), Some(ended)) = (sim.at(&ends), real.at(&ends)) {
            gone = gone.max((ended - began) - (planned_end - planned));
        }
    }
    (in_force, gone)
}

/// Three digits that say something.
fn rounded(number: f64) -> String {
    match number.abs() {
        size if size >= 100.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

fn line(table: &mut String, cells: &[&str]) {
    // Writing to a text does not fail.
    let _ = writeln!(table, "| {} |", cells.join(" | "));
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIM: &str = "     0.100 s     test * phase inject\n     0.100 s    meter | listening\n     \
        0.600 s    meter * fault 1 begins: pause for 200ms\n     0.800 s    meter * fault 1 ends: pause\n     \
        0.900 s     test | measured {\"phase\":\"loss\",\"quantity\":\"ratio\",\"unit\":\"%\",\"asked\":20.0,\
        \"measured\":19.5,\"bound\":3.25}\npassed 1 case: 0.9 s of virtual time\n";

    fn real() -> Run {
        let real = SIM
            .replace("begins: pause for 200ms", "begins: pause of meter, by SIGSTOP")
            .replace("0.600", "0.610")
            .replace("0.800", "0.812")
            .replace("19.5", "21");
        Run::read(&real.replace("meter * fault", "test * fault")).expect("it can be read")
    }

    #[test]
    fn what_was_measured_stands_beside_what_was_asked_for() {
        let sim = Run::read(SIM).expect("it can be read");
        let table = measured(&sim, Some(&real()));
        assert!(table.contains("| loss | ratio | 20.0 % ± 3.25 (99.9 %) | 19.5 % | 21.0 % |"), "{table}");
    }

    #[test]
    fn a_fault_has_its_times_in_both_worlds() {
        let sim = Run::read(SIM).expect("it can be read");
        let table = timeline(&sim, Some(&real()));
        assert!(table.contains("| fault 1 begins: pause for 200ms | 0.500 s | 0.510 s | 10 ms | SIGSTOP |"), "{table}");
        assert!(table.contains("| lines of meter | 1 | 1 |"), "{table}");
        let (in_force, gone) = delays(&sim, &real());
        assert!((in_force - 0.010).abs() < 1e-9 && (gone - 0.002).abs() < 1e-9, "{in_force} {gone}");
    }
}
