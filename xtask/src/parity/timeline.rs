//! When things happened, in both worlds.

use super::row;
use super::run::Run;

/// When things happened, seconds after the storm began, in the simulated world's order; then how it ended.
pub(super) fn table(sim: &Run, real: Option<&Run>) -> String {
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
        row(&mut table, &[&event.text, &format!("{:.3} s", event.at), &there, &later, mechanism]);
    }
    for host in sim.lines.keys() {
        let count = |run: &Run| run.lines.get(host).copied().unwrap_or(0).to_string();
        row(&mut table, &[&format!("lines of {host}"), &count(sim), &real.map_or("–".to_owned(), count), "", ""]);
    }
    row(&mut table, &["outcome", &sim.outcome, real.map_or("–", |real| &real.outcome), "", ""]);
    table
}

/// How long a fault took at most to be in force, counted from the time for which it was planned, and to be gone,
/// counted from when it had lasted as long as it was to. In seconds.
pub(super) fn delays(sim: &Run, real: &Run) -> (f64, f64) {
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

#[cfg(test)]
mod tests {
    use super::super::run::{SIM, real};
    use super::*;

    #[test]
    fn a_fault_has_its_times_in_both_worlds() {
        let sim = Run::read(SIM).expect("it can be read");
        let table = table(&sim, Some(&real()));
        assert!(table.contains("| fault 1 begins: pause for 200ms | 0.500 s | 0.510 s | 10 ms | SIGSTOP |"), "{table}");
        assert!(table.contains("| lines of meter | 1 | 1 |"), "{table}");
        let (in_force, gone) = delays(&sim, &real());
        assert!((in_force - 0.010).abs() < 1e-9 && (gone - 0.002).abs() < 1e-9, "{in_force} {gone}");
    }
}
