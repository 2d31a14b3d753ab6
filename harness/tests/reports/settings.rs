//! The variables do what they say.

use super::run;

#[test]
fn an_unknown_variable_fails_the_test_and_lists_the_valid_ones() {
    let printed = run("passes").env("CHAOS_SEDE", "1").printed();
    assert_eq!(printed.sentence(), "there is no variable CHAOS_SEDE; did you mean CHAOS_SEED?");
    printed.contains("CHAOS_CASES").contains("CHAOS_JOBS").contains("CHAOS_OUT");
    let printed = run("passes").env("CHAOS_CASES", "many").printed();
    assert!(printed.sentence().starts_with("CHAOS_CASES=`many` is not understood: "));
}

#[test]
fn the_number_of_cases_is_the_environments() {
    let printed = run("passes").env("CHAOS_CASES", "3").printed();
    assert!(printed.passed);
    printed.contains(", 3 cases from seed 0x").contains("passed 3 cases: 4.0 min of virtual time");
}

#[test]
fn a_seed_alone_is_one_case() {
    let printed = run("passes").seed("0x5f1d").printed();
    printed.contains("one case, seed 0x5f1d").contains("passed 1 case: 60.0 s of virtual time");
}

#[test]
fn the_lowest_case_is_reported_whatever_the_number_of_jobs() {
    let digest = |jobs| {
        let printed = run("panics_at_seed_five").seed("1-40").env("CHAOS_JOBS", jobs).printed();
        assert!(printed.field("found").starts_with("in case 5 of 40"), "{}", printed.text);
        printed.field("digest").to_owned()
    };
    assert_eq!(digest("1"), digest("4"));
}

#[test]
fn what_hosts_write_can_be_seen_live() {
    let printed = run("passes").seed("7").env("CHAOS_LOG", "all").printed();
    printed.contains("60.000 s     test | slept for 60");
    let printed = run("passes").seed("7").env("CHAOS_LOG", "kv*").printed();
    assert!(!printed.text.contains("slept for"));
}

#[test]
fn nothing_of_the_hosts_is_shown_when_nothing_is_wanted() {
    let printed = run("panics_at_seed_five").seed("5").env("CHAOS_LOG", "none").printed();
    assert!(!printed.block().contains("looking at seed"));
}

#[test]
fn a_host_without_a_line_cannot_be_shown() {
    let printed = run("panics_at_seed_five").seed("5").env("CHAOS_LOG", "zz").printed();
    printed.contains("CHAOS_LOG asks for `zz`, of which there is no line: only test wrote any");
    let there = run("panics_at_seed_five").seed("5").env("CHAOS_LOG", "te*").printed();
    assert!(!there.text.contains("there is no line"), "{}", there.text);
}

#[test]
fn a_case_can_run_in_the_process_itself() {
    let alone = run("panics_at_seed_five").seed("5").printed();
    let debugged = run("panics_at_seed_five").seed("5").env("CHAOS_DEBUG", "1").printed();
    assert_eq!(debugged.sentence(), alone.sentence());
    let digest = alone.field("digest");
    assert_eq!(digest.split(',').next(), Some(debugged.field("digest")));
}

#[test]
fn under_nextest_the_command_is_nextests() {
    let printed = run("panics_at_seed_five")
        .seed("5")
        .env("NEXTEST_BINARY_ID", "windtunnel::reports")
        .env("NEXTEST_TEST_NAME", "fixtures::panics_at_seed_five")
        .printed();
    let filter = "-E 'binary_id(=windtunnel::reports) & test(=fixtures::panics_at_seed_five)'";
    let replay = printed.field("replay");
    assert!(replay.starts_with("CHAOS_SEED=0x5 cargo nextest run") && replay.ends_with(filter), "{replay}");
}

#[test]
fn a_search_ends_when_its_time_is_over() {
    let printed = run("remembers_without_crashes").env("CHAOS_CASES", "1000000").env("CHAOS_TIME", "1s").printed();
    assert!(printed.passed, "{}", printed.text);
    printed.contains("\npassed ");
    assert!(!printed.text.contains("passed 1,000,000 cases"), "{}", printed.text);
}

#[test]
fn every_case_can_be_run_twice() {
    let twice = |fixture| run(fixture).seed("1-3").env("CHAOS_CHECK", "determinism");
    assert!(twice("remembers_without_crashes").printed().passed);
    // Only second runs are disturbed, so each case that has one differs.
    let disturbed = twice("remembers_without_crashes").env("CHAOS_PERTURB", "50").printed();
    assert!(disturbed.sentence().starts_with("nondeterministic: "), "{}", disturbed.text);
}
