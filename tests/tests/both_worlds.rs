//! One test in two worlds: what the simulated one finds happens on genuine processes, and the other way around.
//!
//! kv's planted bug is the subject: a write that only one replica has is acknowledged, and lost when that one ends. The
//! real kernel repeats nothing exactly, so a plan may need a few attempts there; in each it is the same plan.

use std::path::Path;
use windtunnel_tests::{LIBTEST_FAILED, Output, tree};
use xtask::examples::{self, Build, Tests};

const TEST: &str = "a_drawn_storm_in_either_world";
const LOST: &str = "an acknowledged write was lost";
/// Of the storms that kv's test draws, about every third loses a write.
const CASES: &str = "32";
/// How often a plan may pass on genuine processes before it is said to do nothing there. About every second attempt of
/// a plan that has been shrunk to the least time that simulated processes need succeeds.
const ATTEMPTS: usize = 12;

#[test]
fn what_the_simulated_world_finds_is_lost_for_real() {
    let kv = Kv::build("sim_to_real");
    // Runs, not seconds: what is left must not depend on how busy the machine is.
    let found = kv.run("sim", &[("CHAOS_SEED", "0x7d0"), ("CHAOS_CASES", CASES), ("CHAOS_SHRINK", "40")]);
    let found = found.ended_with(LIBTEST_FAILED);
    found.says(LOST);
    let mut attempts = (0..ATTEMPTS).map(|_| kv.run("real", &[("CHAOS_REPLAY", found.token())]));
    let again = attempts.find(|attempt| attempt.code != Some(0));
    let again = again.unwrap_or_else(|| panic!("{ATTEMPTS} attempts of\n{}", examples::faults(&found.text).join("\n")));
    again.says(LOST);
    assert_eq!(examples::faults(&again.text), examples::faults(&found.text));
}

#[test]
fn what_the_real_world_finds_is_lost_in_the_simulated_one() {
    let kv = Kv::build("real_to_sim");
    let found = kv.run("real", &[("CHAOS_SEED", "0x7d0"), ("CHAOS_CASES", CASES), ("CHAOS_SHRINK", "off")]);
    let found = found.ended_with(LIBTEST_FAILED);
    found.says(LOST);
    let plan = examples::faults(&found.text);
    // The case: the same seed and plan. What the write clients send when is another matter, so it may pass.
    let replayed = kv.run("sim", &[("CHAOS_REPLAY", found.token())]);
    if replayed.code != Some(0) {
        replayed.says(LOST);
        assert_eq!(examples::faults(&replayed.text), plan);
    }
    // The plan: with some seed it loses a write here too.
    let file = kv.0.place.join("plan.txt");
    std::fs::write(&file, plan.join("\n")).expect("the plan can be written");
    let file = file.to_string_lossy();
    let lost = kv.run("sim", &[("CHAOS_REPLAY", &file), ("CHAOS_SEED", "1-64")]).ended_with(LIBTEST_FAILED);
    lost.says(LOST);
    assert_eq!(examples::faults(&lost.text), plan);
}

/// The example's chaos tests.
struct Kv(Tests);

impl Kv {
    fn build(for_test: &str) -> Self {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("both_worlds").join(for_test);
        std::fs::create_dir_all(&place).expect("a directory can be made");
        Self(Tests::build(tree(), "kv", Build::AS_TESTS, place).expect("kv builds"))
    }

    fn run(&self, world: &str, variables: &[(&str, &str)]) -> Output {
        let test = format!("{TEST}::{world}");
        let fixed = [("CHAOS_JOBS", "1"), ("CHAOS_REQUIRE", "real")];
        let variables: Vec<_> = fixed.into_iter().chain(variables.iter().copied()).collect();
        Output::of(&test, &self.0.output(&test, &variables).expect("the binary that was built runs"))
    }
}
