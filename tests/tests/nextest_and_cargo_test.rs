//! What a user sees of chaos tests under `cargo test` and `cargo nextest run`, beside tests of other kinds.
//!
//! The fixture `outcomes` has a test of each outcome. One test here, not one per assertion: each run of cargo costs
//! seconds.

use windtunnel_tests::{LIBTEST_FAILED, Output, Scratch};

/// What nextest ends with when a test failed.
const NEXTEST_FAILED: i32 = 100;

#[test]
fn every_outcome_reads_well_under_both_runners() {
    let scratch = Scratch::fixture(env!("CARGO_TARGET_TMPDIR"), "both_runners", "outcomes");

    let output = scratch.sh("CHAOS_SAVE=never cargo test").ended_with(LIBTEST_FAILED);
    output.says("test passes ... ok");
    output.says("test plain_passes ... ok");
    output.says("2 passed; 3 failed");
    every_failure_has_its_block(&output);
    what_plain_tests_print_is_kept(&output);
    the_printed_command_repeats_the_failure(&scratch, &output, "fails", LIBTEST_FAILED);

    let output = scratch.sh("CHAOS_SAVE=never cargo nextest run").ended_with(NEXTEST_FAILED);
    output.says("5 tests run: 2 passed, 3 failed, 0 skipped");
    every_failure_has_its_block(&output);
    what_plain_tests_print_is_kept(&output);
    junit_holds_the_report(&scratch);
    the_printed_command_repeats_the_failure(&scratch, &output, "fails", NEXTEST_FAILED);
}

/// One panic for each failed test and no other: nextest takes the last that it sees.
#[track_caller]
fn every_failure_has_its_block(output: &Output) {
    let panics = output.panics();
    for test in ["fails", "aborts", "plain_fails"] {
        let own = panics.iter().filter(|line| line.starts_with(&format!("thread '{test}' ")));
        assert_eq!(own.count(), 1, "{test}: `{}` printed\n{}", output.line, output.text);
    }
    assert_eq!(panics.len(), 3, "`{}` printed\n{}", output.line, output.text);

    let fails = output.block("fails");
    fails.says("panicked at tests/outcomes.rs:13:5:"); // the assertion's own line
    fails.says("panicked: the weather was bad");
    fails.says("said before the failure");
    let aborts = output.block("aborts");
    aborts.says("SIGABRT");
    for block in [fails, aborts] {
        assert!(block.fields("found")[0].contains("case 1 of 3, seed 0x"), "{}", block.text);
        assert!(block.fields("digest")[0].ends_with("equal in a second run"), "{}", block.text);
    }
}

#[track_caller]
fn what_plain_tests_print_is_kept(output: &Output) {
    output.says("said by a plain test");
    output.says("a plain failure");
    assert!(!output.text.contains("a plain test that passes"), "output of a test that passed is hidden");
}

/// What is printed can be pasted: the same test and no other fails in the same way, with the same digest.
#[track_caller]
fn the_printed_command_repeats_the_failure(scratch: &Scratch, output: &Output, test: &str, code: i32) {
    let block = output.block(test);
    let command = block.fields("replay")[0];
    let replayed = scratch.sh(command).ended_with(code);
    let again = replayed.block(test);
    assert_eq!(again.fields("digest"), block.fields("digest"), "`{command}` ran another case:\n{}", replayed.text);
    assert_eq!(replayed.panics().len(), 1, "{}", replayed.text);
    assert_eq!(again.fields("replay"), [command]);
}

/// CI systems show JUnit's message and text.
#[track_caller]
fn junit_holds_the_report(scratch: &Scratch) {
    let junit = scratch.file("target/nextest/default/junit.xml");
    let case = junit.split("<testcase ").find(|case| case.starts_with("name=\"fails\""));
    let case = case.unwrap_or_else(|| panic!("no test `fails` in\n{junit}"));
    let failure = case.split_once("<failure ").map_or("", |(_, failure)| failure);
    let message = failure.split_once("message=\"").and_then(|(_, rest)| rest.split_once('"')).map_or("", |(m, _)| m);
    assert!(message.contains("panicked at tests/outcomes.rs:13:5"), "message {message:?} in\n{junit}");
    for part in ["panicked: the weather was bad", "  replay  "] {
        assert!(failure.contains(part), "no {part:?} in\n{failure}");
    }
}
