//! What was measured, for each kind of fault: in both worlds, beside what was asked for.

use super::row;
use super::run::Run;
use serde_json::Value;

/// The heads of the table's columns.
pub(super) const COLUMNS: [&str; 8] = [
    "fault",
    "by a probe of its own",
    "asked for",
    "simulated",
    "real",
    "confidence, real",
    "in force after, simulated and real",
    "gone after, simulated and real",
];

/// What was not measured, or does not exist.
pub(super) const NOTHING: &str = "–";

const IN_FORCE_AFTER: &str = "in force after";
const GONE_AFTER: &str = "gone after";

/// Quantities of one fault, and how late it was.
#[derive(Debug, Default, Clone)]
struct Group<'r> {
    quantities: Vec<&'r Value>,
    in_force_after_ms: Option<f64>,
    gone_after_ms: Option<f64>,
    has_delays: bool,
}

/// Measurements as they were printed: some quantities of a fault, then how late it was.
fn groups(measured: &[Value]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for value in measured {
        let is_of = |group: &Group<'_>| group.quantities.first().is_some_and(|first| first["kind"] == value["kind"]);
        let delay = [IN_FORCE_AFTER, GONE_AFTER].into_iter().find(|delay| value["quantity"] == *delay);
        match (groups.last_mut().filter(|group| is_of(group)), delay) {
            (Some(group), Some(delay)) => {
                let ms = value["measured"].as_f64();
                group.has_delays = true;
                *(if delay == IN_FORCE_AFTER { &mut group.in_force_after_ms } else { &mut group.gone_after_ms }) = ms;
            }
            (Some(group), None) if !group.has_delays => group.quantities.push(value),
            _ => groups.push(Group { quantities: vec![value], ..Group::default() }),
        }
    }
    groups
}

/// One row for each quantity.
pub(super) fn table<'r>(worlds: impl Iterator<Item = (&'r Run, Option<&'r Run>)>) -> String {
    let mut table = String::new();
    row(&mut table, &COLUMNS);
    row(&mut table, &["---", "---", "---:", "---:", "---:", "---", "---:", "---:"]);
    for (sim, real) in worlds {
        let real = real.map(|real| groups(&real.measured)).unwrap_or_default();
        for group in groups(&sim.measured) {
            let there = real.iter().find(|there| is_same(there.quantities[0], group.quantities[0]));
            rows(&mut table, &group, there);
        }
    }
    table
}

fn is_same(one: &Value, other: &Value) -> bool {
    ["kind", "quantity"].iter().all(|key| one[key] == other[key])
}

fn rows(table: &mut String, sim: &Group<'_>, real: Option<&Group<'_>>) {
    for (place, quantity) in sim.quantities.iter().enumerate() {
        let there = real.and_then(|real| real.quantities.iter().find(|other| is_same(other, quantity)));
        let text = |key: &str| quantity[key].as_str().unwrap_or_default();
        let number = |value: &Value| {
            value.as_f64().map_or(NOTHING.to_owned(), |number| format!("{} {}", rounded(number), text("unit")))
        };
        let number = |value: &Value| number(value).trim_end().to_owned();
        // What there is in one world only is asked for there only.
        let mut asked = [Some(*quantity), there.copied()].into_iter().flatten().map(|row| &row["asked"]);
        let asked = asked.find(|asked| !asked.is_null()).unwrap_or(&Value::Null);
        let kind = if text("kind").contains(' ') { text("kind").to_owned() } else { format!("`{}`", text("kind")) };
        let of_both = |delay: fn(&Group<'_>) -> Option<f64>| {
            let ms = |group: Option<&Group<'_>>| {
                group.and_then(delay).map_or(NOTHING.to_owned(), |ms| format!("{} ms", rounded(ms)))
            };
            // They are the group's: said once.
            let is_said = place == 0 && (delay(sim).is_some() || real.and_then(delay).is_some());
            if is_said { format!("{}, {}", ms(Some(sim)), ms(real)) } else { String::new() }
        };
        row(
            table,
            &[
                &kind,
                text("quantity"),
                &number(asked),
                &number(&quantity["measured"]),
                &there.map_or(NOTHING.to_owned(), |there| number(&there["measured"])),
                &confidence(there.unwrap_or(quantity)),
                &of_both(|group| group.in_force_after_ms),
                &of_both(|group| group.gone_after_ms),
            ],
        );
    }
}

/// How sure a figure is: how far chance may have taken it, or what share of probes is struck at least.
fn confidence(measured: &Value) -> String {
    let [hit, all] = [0, 1].map(|place| measured["struck"][place].as_u64().unwrap_or_default());
    let of = if all > 0 { format!(": {hit} of {all}") } else { String::new() };
    if let Some(bound) = measured["bound"].as_f64() {
        return format!("± {} {} at 99.9 %{of}", rounded(bound), measured["unit"].as_str().unwrap_or_default());
    }
    match measured["at_least"].as_f64() {
        Some(share) => format!("≥ {} % at 99.9 %{of}", rounded_down(share)),
        None => NOTHING.to_owned(),
    }
}

/// Three digits that say something.
fn rounded(number: f64) -> String {
    match number.abs() {
        _ if number.fract() == 0.0 => format!("{number:.0}"),
        size if size >= 100.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

/// A share is not said to be larger than it is.
fn rounded_down(share: f64) -> String {
    format!("{:.1}", (share * 10.0).floor() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::super::run::{SIM, real};
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_measured_stands_beside_what_was_asked_for() {
        let sim = Run::read(SIM).expect("it can be read");
        let table = table([(&sim, Some(&real()))].into_iter());
        let row = "| `loss` | lost | 20 % | 19.5 % | 21 % | ± 3.25 % at 99.9 %: 195 of 1000 | 3.20 ms, 7.71 ms |  |";
        assert!(table.contains(row), "{table}");
    }

    #[test]
    fn delays_belong_to_the_quantities_before_them() {
        let value = |quantity: &str, ms: f64| json!({"kind": "crash", "quantity": quantity, "measured": ms});
        let measured = ["kill", IN_FORCE_AFTER, GONE_AFTER, "power", "more", IN_FORCE_AFTER];
        let measured: Vec<Value> =
            measured.iter().zip([0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).map(|(q, ms)| value(q, ms)).collect();
        let groups = groups(&measured);
        let sizes: Vec<usize> = groups.iter().map(|group| group.quantities.len()).collect();
        assert_eq!(sizes, [1, 2]);
        assert_eq!((groups[0].gone_after_ms, groups[1].in_force_after_ms), (Some(2.0), Some(5.0)));
    }

    #[test]
    fn what_each_probe_shows_is_at_least_so_sure() {
        assert_eq!(confidence(&json!({"struck": [96, 96], "at_least": 93.05})), "≥ 93.0 % at 99.9 %: 96 of 96");
        assert_eq!(confidence(&json!({})), NOTHING);
    }
}
