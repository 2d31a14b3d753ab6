//! Every way to fail has its own first sentence, and one block.

use super::fixtures::CHANGING_FILE;
use super::{run, temporary};
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn a_panic_is_reported_with_its_place_and_seed() {
    let printed = run("panics_at_seed_five").seed("1-8").printed();
    let block = printed.block();
    assert_eq!(printed.panics(), 1, "exactly one panic reaches the terminal: {}", printed.text);
    assert!(block.starts_with("thread 'fixtures::panics_at_seed_five' panicked at harness/tests/reports/fixtures.rs:"));
    assert!(
        printed.sentence().starts_with("panicked: assertion `left != right` failed: five is not for us"),
        "{block}"
    );
    assert!(printed.field("found").starts_with("in case 5 of 8, seed 0x5, event "), "{block}");
    assert!(printed.field("digest").ends_with(", equal in a second run"), "{block}");
    printed.contains(" s | looking at seed 5");
    let command = "CHAOS_SEED=0x5 cargo test -p windtunnel --test reports -- --exact fixtures::panics_at_seed_five";
    assert_eq!(printed.field("replay"), command);
    assert!(printed.field("logs").contains("chaos/windtunnel.reports/fixtures.panics_at_seed_five/"), "{block}");
}

#[test]
fn a_test_that_fails_in_good_weather_says_so() {
    let printed = run("fails_in_good_weather").printed();
    assert_eq!(printed.sentence(), "returned an error: it rains");
    assert!(printed.field("found").starts_with("in the calm rehearsal, without any fault, seed calm:0x"));
    assert!(printed.field("replay").starts_with("CHAOS_SEED=calm:0x"));
}

#[test]
fn the_end_of_the_tests_own_process_is_reported() {
    let sentence = |fixture| run(fixture).seed("7").printed().sentence().to_owned();
    assert_eq!(sentence("aborts"), "host ended: test ended by itself with signal 6 (SIGABRT, abort)");
    assert_eq!(sentence("exits"), "host ended: test ended by itself with exit code 3");
    assert!(sentence("overflows_its_stack").contains("a stack overflow"), "{}", sentence("overflows_its_stack"));
    let left = sentence("leaves_with_success");
    assert!(left.starts_with("ended early: the test's process ended before its body had returned"), "{left}");
}

#[test]
fn an_endless_loop_is_ended_with_a_stack() {
    let printed = run("loops_for_ever").seed("7").printed();
    assert!(printed.sentence().starts_with("wall timeout: the case took longer than 1.0 s of real time"));
    printed.contains("fixtures.rs:");
}

#[test]
fn whoever_waits_for_nothing_is_a_deadlock() {
    let printed = run("waits_for_nothing").seed("7").printed();
    assert_eq!(printed.sentence(), "deadlock: nobody can ever run again");
    printed.contains("test, thread");
}

#[test]
fn the_virtual_clock_has_a_limit() {
    let printed = run("takes_too_long").seed("7").printed();
    assert_eq!(printed.sentence(), "virtual timeout: the test was not over after 30.0 s of virtual time");
}

#[test]
fn what_never_holds_is_told_with_its_condition() {
    let printed = run("never_becomes_true").seed("7").printed();
    assert_eq!(printed.sentence(), "panicked: never held within 5s: an hour is over");
    printed.contains("condition cx.elapsed() > Duration::from_secs(3600)").contains("at last it was false");
}

#[test]
fn an_expected_failure_has_to_come() {
    let printed = run("should_fail").seed("7").printed();
    assert!(printed.sentence().starts_with("never failed: 1 case passed"), "{}", printed.sentence());
    let printed = run("fails_as_expected").printed();
    assert!(printed.passed);
    printed.contains("failed as expected\n\npanicked: as foreseen").contains("in case 1 of 3");
}

#[test]
fn a_host_that_ends_is_named_with_its_reason() {
    let printed = run("a_host_returns_an_error").seed("7").printed();
    let sentence = printed.sentence();
    assert!(
        sentence.starts_with("host ended: kv") && sentence.ends_with("ended by itself with exit code 1"),
        "{sentence}"
    );
    printed.contains("| reading the configuration").contains("| Error: \"no configuration\"");

    let printed = run("a_host_panics").seed("7").printed();
    let sentence = printed.sentence();
    assert!(sentence.starts_with("host ended: kv panicked at harness/tests/reports/fixtures.rs:"), "{sentence}");
    assert!(sentence.ends_with(": no quorum: 1 of 3 (exit code 101)"), "{sentence}");

    let printed = run("a_host_aborts").seed("7").printed();
    assert_eq!(printed.sentence(), "host ended: kv ended by itself with signal 6 (SIGABRT, abort)");
}

#[test]
fn a_clients_panic_ends_the_case() {
    let printed = run("a_client_panics").seed("7").printed();
    assert_eq!(printed.sentence(), "client c1 panicked: no answer");
    assert!(printed.block().lines().next().is_some_and(|line| line.contains("reports/fixtures.rs:")));
}

#[test]
fn an_unknown_host_is_told_with_those_there_are() {
    let printed = run("a_name_is_wrong").seed("7").printed();
    assert_eq!(printed.sentence(), "panicked: there is no host `kv9`; there are test");
}

#[test]
fn the_last_twenty_lines_are_shown_and_all_are_in_the_file() {
    let out = temporary();
    let printed = run("writes_a_lot").seed("7").env("CHAOS_OUT", &out.path().to_string_lossy()).printed();
    printed.contains("test (the last 20 of 1,003 lines)").contains("| line 999");
    assert!(!printed.text.contains("| line 900"));
    let file = out.path().join("windtunnel.reports/fixtures.writes_a_lot/test.log");
    let log = std::fs::read_to_string(file).expect("the log is where `CHAOS_OUT` says");
    assert_eq!(log.lines().filter(|line| line.contains("| line ")).count(), 1000);
}

#[test]
fn two_runs_that_differ_are_told_with_the_first_event_that_does() {
    let over = AtomicBool::new(false);
    let printed = std::thread::scope(|scope| {
        write(0);
        scope.spawn(|| (1..).take_while(|_| !over.load(Ordering::Relaxed)).for_each(write));
        // Two runs read the same when nobody wrote between them, as on a busy machine.
        let mut tries = (0..20).map(|_| run("reads_what_changes").seed("7").printed());
        let printed = tries.find(|printed| printed.text.contains("nondeterministic: ")).expect("some run differs");
        over.store(true, Ordering::Relaxed);
        printed
    });
    let sentence = printed.sentence();
    assert!(sentence.starts_with("nondeterministic: two runs of this case differ at event "), "{}", printed.text);
    printed.contains("\n  first   event ").contains("\n  second  event ").contains(" in a second run");
}

/// Replaces the file as a whole, so that nobody reads a part of a number.
fn write(number: u64) {
    let next = format!("{CHANGING_FILE}.next");
    std::fs::write(&next, number.to_string()).expect("cargo's directory for tests is writable");
    std::fs::rename(&next, CHANGING_FILE).expect("cargo's directory for tests is writable");
}
