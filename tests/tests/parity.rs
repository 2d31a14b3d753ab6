//! Both worlds on one plan: `cargo xtask parity` runs, and shows what it has to.
//!
//! Its tests judge what they measure by themselves, by bounds that a busy machine keeps.

use windtunnel_tests::tree;
use xtask::parity;

/// More than any fault takes to be in force or gone on a machine that has time for it, by far.
const LATER_S_MAX: f64 = 2.0;

#[test]
fn both_worlds_are_shown_side_by_side() {
    let parity = parity::measure(tree()).expect("both worlds are measured");
    println!("{}", parity.text);
    for quantity in ["p50", "p90", "p99", "ratio", "rate", "offset", "rate of realtime", "in force after", "gone after"]
    {
        assert!(parity.text.contains(&format!("| {quantity} |")), "no {quantity}:\n{}", parity.text);
    }
    assert!(parity.text.contains("| outcome | passed 1 case"), "{}", parity.text);
    if let Some((in_force, gone)) = parity.later_s {
        assert!(in_force < LATER_S_MAX && gone < LATER_S_MAX, "{in_force} s, {gone} s:\n{}", parity.text);
    }
}
