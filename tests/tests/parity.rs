//! Both worlds on one plan: `cargo xtask parity` runs, and shows what it has to.
//!
//! Its tests judge what they measure by themselves, by bounds that a busy machine keeps.

use std::fs;
use windtunnel_tests::tree;
use xtask::parity;
use xtask::parity::readme;

/// More than any fault takes to be in force or gone on a machine that has time for it, by far.
const LATER_S_MAX: f64 = 2.0;

fn document() -> String {
    fs::read_to_string(tree().join("README.md")).expect("there is a README")
}

#[test]
fn both_worlds_are_shown_side_by_side() {
    let parity = parity::measure(tree()).expect("both worlds are measured");
    println!("{}\n{}", parity.figures, parity.timelines);
    for quantity in
        ["round trip, p50", "round trip, p90", "round trip, p99", "lost", "rate", "offset", "rate of realtime"]
    {
        assert!(parity.figures.contains(&format!("| {quantity} |")), "no {quantity}:\n{}", parity.figures);
    }
    let kinds = readme::kinds(&document()).expect("the README names all kinds");
    for kind in &kinds {
        assert!(parity.figures.contains(&format!("| `{kind}` |")), "no {kind}:\n{}", parity.figures);
    }
    assert!(parity.timelines.contains("| outcome | passed 1 case"), "{}", parity.timelines);
    if let Some((in_force, gone)) = parity.later_s {
        readme::check_table(&parity.figures, &kinds).expect("every kind is measured in the real world");
        assert!(in_force < LATER_S_MAX && gone < LATER_S_MAX, "{in_force} s, {gone} s:\n{}", parity.timelines);
    }
}

#[test]
fn the_readme_has_figures_for_every_kind_of_fault() {
    if let Err(missing) = readme::check(&document()) {
        panic!("{missing}: `cargo xtask parity --write` measures, and writes the table");
    }
}
