//! A test in one world, as its log tells it.

use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeMap;

/// What a measuring test prints before each quantity.
const MEASURED: &str = "measured ";
/// The mark at which a plan begins.
const STORM_BEGINS: &str = "phase inject";

/// A test in one world.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Run {
    /// The sentence that the test ends with.
    pub(super) outcome: String,
    /// Quantities, as `examples/meter/tests/chaos/rows.rs` writes them.
    pub(super) measured: Vec<Value>,
    pub(super) events: Vec<Event>,
    /// How many lines each host wrote.
    pub(super) lines: BTreeMap<String, usize>,
}

/// What happened.
#[derive(Debug, PartialEq)]
pub(super) struct Event {
    /// Seconds since the storm began.
    pub(super) at: f64,
    /// What it is called in both worlds.
    pub(super) name: String,
    /// The world's own words.
    pub(super) text: String,
}

impl Run {
    /// Reads what a test prints with `CHAOS_LOG=all`: `1.158 s test * phase inject`, `0.055 s meter | listening`.
    pub(super) fn read(printed: &str) -> Result<Self> {
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

    pub(super) fn event(&self, name: &str) -> Option<&Event> {
        self.events.iter().find(|event| event.name == name)
    }

    /// When something happened.
    pub(super) fn at(&self, name: &str) -> Option<f64> {
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

/// A log of the simulated world.
#[cfg(test)]
pub(super) const SIM: &str = "     0.100 s     test * phase inject\n     0.100 s    meter | listening\n     \
    0.600 s    meter * fault 1 begins: pause for 200ms\n     0.800 s    meter * fault 1 ends: pause\n     \
    0.900 s     test | measured {\"kind\":\"loss\",\"quantity\":\"lost\",\"unit\":\"%\",\"asked\":20.0,\
    \"measured\":19.5,\"bound\":3.25,\"struck\":[195,1000],\"at_least\":null}\n     \
    0.900 s     test | measured {\"kind\":\"loss\",\"quantity\":\"in force after\",\"unit\":\"ms\",\"asked\":0.0,\
    \"measured\":3.2,\"bound\":null,\"struck\":null,\"at_least\":null}\n\
    passed 1 case: 0.9 s of virtual time\n";

/// The same of the real world.
#[cfg(test)]
pub(super) fn real() -> Run {
    let real = SIM
        .replace("begins: pause for 200ms", "begins: pause of meter, by SIGSTOP")
        .replace("0.600", "0.610")
        .replace("0.800", "0.812")
        .replace("3.2,", "7.71,")
        .replace("19.5", "21");
    Run::read(&real.replace("meter * fault", "test * fault")).expect("it can be read")
}
