//! The planted bugs of `examples/ledger`, seen by whoever has them: each is found, shrinks to the crashes that it
//! takes, and is repeated by the word that the report prints.
//!
//! Which bug is found in how many cases is the business of the example's own tests; here it is what the report makes
//! of it.

use std::path::Path;
use windtunnel_tests::{LIBTEST_FAILED, Output, tree};
use xtask::examples::{self, Build, Tests};

const PACKAGE: &str = "ledger";
/// Any will do.
const SEED: &str = "0x1ed6e5";

/// A crash is a loss of power, or a kill, which says so.
const KILL: &str = " by kill";

#[test]
fn an_answer_before_the_sync_takes_one_crash() {
    shrinks_to("case_1_sync_before_answer", Crashes::One);
}

#[test]
fn a_segment_in_an_unsynced_directory_takes_one_crash() {
    shrinks_to("case_2_directory_sync", Crashes::One);
}

#[test]
fn a_start_without_a_sync_takes_kills_and_a_crash() {
    shrinks_to("case_3_sync_at_start", Crashes::KillsThenOne);
}

#[test]
fn a_torn_record_takes_one_crash() {
    shrinks_to("case_4_checksums", Crashes::One);
}

#[test]
fn a_snapshot_that_was_not_synced_takes_one_crash() {
    shrinks_to("case_5_snapshot_sync", Crashes::One);
}

/// What is left of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Crashes {
    /// A loss of power.
    One,
    /// A loss of power after kills: one is enough, but another may be what lets the power fail at the right time.
    KillsThenOne,
}

/// Finds a bug, and looks at what is left of the plan and at its replay.
#[track_caller]
fn shrinks_to(case: &str, expected: Crashes) {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("planted_bugs").join(case);
    let ledger = Tests::build(tree(), PACKAGE, Build::AS_TESTS, place).expect("ledger builds");
    let test = format!("a_step_is_left_out::{case}");
    let found = fails(&ledger, &test, &[("CHAOS_SEED", SEED), ("CHAOS_CASES", "500")]);
    let crashes = examples::faults(&found.text);
    assert!(crashes.iter().all(|fault| fault.contains(" crash ledger ")), "{crashes:?}");
    let (last, before) = crashes.split_last().expect("no bug shows without a crash");
    let is_kill = |fault: &String| fault.contains(KILL);
    assert!(!is_kill(last) && before.iter().all(is_kill), "{crashes:?}");
    assert_eq!(before.is_empty(), expected == Crashes::One, "{crashes:?}");

    let again = fails(&ledger, &test, &[("CHAOS_REPLAY", found.token())]);
    assert_eq!(word(again.fields("digest")[0]), word(found.fields("digest")[0]));
}

/// The first word, without a comma.
fn word(field: &str) -> Option<&str> {
    field.split([',', ' ']).next()
}

/// Runs a test that has to fail.
#[track_caller]
fn fails(ledger: &Tests, test: &str, variables: &[(&str, &str)]) -> Output {
    // Runs, not seconds: what is left must not depend on how busy the machine is.
    let fixed = [("CHAOS_JOBS", "1"), ("CHAOS_SHRINK", "500")];
    let variables: Vec<_> = fixed.into_iter().chain(variables.iter().copied()).collect();
    let ended = ledger.output(test, &variables).expect("the binary that was built runs");
    Output::of(test, &ended).ended_with(LIBTEST_FAILED)
}
