//! Storms that are drawn: what is found, how small it becomes, and what is said when nothing was tested.

use super::{Printed, run, temporary};

impl Printed {
    /// The lines of the block's plan.
    #[track_caller]
    pub fn faults(&self) -> Vec<&str> {
        let block = self.block();
        let (_, after) = block.split_once("\n  faults\n").unwrap_or_else(|| panic!("no plan:\n{}", self.text));
        after.lines().take_while(|line| line.starts_with("    ")).map(str::trim).collect()
    }
}

#[test]
fn a_failing_plan_shrinks_to_what_matters() {
    let printed = run("forgets_in_a_crash").seed("1-64").printed();
    assert_eq!(printed.sentence(), "panicked: something that was counted is gone");
    let [crash] = printed.faults()[..] else { panic!("one crash is enough:\n{}", printed.text) };
    assert!(crash.contains(" crash store "), "{crash}");
    assert!(crash.ends_with(" bit 1×"), "{crash}");
    // Somebody who reads it should not wonder about digits.
    let digits = crash.chars().filter(|c| ('1'..='9').contains(c)).count();
    assert!(digits <= 4, "{crash}");
    assert!(printed.field("shrunk").contains(" to 1, in "), "{}", printed.text);
    assert!(printed.field("digest").ends_with(", equal in a second run"), "{}", printed.text);
}

#[test]
fn the_answer_is_the_same_at_any_number_of_jobs_and_when_the_seed_is_given() {
    let told = |printed: &Printed| -> Vec<String> {
        // Everything but how long it took.
        let lines =
            printed.block().lines().filter(|line| !line.starts_with("  shrunk") && !line.starts_with("  found"));
        lines.map(str::to_owned).collect()
    };
    let one = run("forgets_in_a_crash").seed("1-64").env("CHAOS_JOBS", "1").printed();
    let four = run("forgets_in_a_crash").seed("1-64").env("CHAOS_JOBS", "4").printed();
    assert_eq!(told(&one), told(&four));
    let seed = one.field("found").split([' ', ',']).find(|word| word.starts_with("0x")).expect("a seed").to_owned();
    let alone = run("forgets_in_a_crash").seed(&seed).printed();
    assert_eq!(told(&one), told(&alone));
}

#[test]
fn what_is_pasted_tells_the_same_story_word_for_word() {
    let out = temporary();
    let run = |fixture| run(fixture).env("CHAOS_OUT", &out.path().to_string_lossy());
    let found = run("forgets_in_a_crash").env("CHAOS_CASES", "200").printed();
    assert_eq!(
        found.field("needed"),
        "no chance: it also fails with fair scheduling, constant latencies, undisturbed calls and other random numbers"
    );
    let token = found.token();
    let replayed = run("forgets_in_a_crash").env("CHAOS_REPLAY", token).printed();
    assert_eq!(found.block(), replayed.block());
    assert!(!replayed.text.contains("shrinking"), "{}", replayed.text);
    std::fs::remove_dir_all(out.path()).expect("it is ours");
    // Without what the first run left behind it is the same case, found otherwise.
    let elsewhere = run("forgets_in_a_crash").env("CHAOS_REPLAY", token).printed();
    assert_eq!(elsewhere.field("digest"), found.field("digest"));
    assert_eq!(elsewhere.field("found").split(',').next(), Some("in the only case"));
}

#[test]
fn faults_that_simpler_arguments_do_not_need_are_dropped() {
    // Twelve operations take three crashes, six take two.
    let shrunk = run("needs_a_crash_for_every_five").seed("0x3e8").printed();
    assert!(shrunk.text.contains("3 of the faults are left"), "{}", shrunk.text);
    assert!(shrunk.field("shrunk").contains(" to 2, ops from 12 elements to 6"), "{}", shrunk.text);
}

#[test]
fn chance_in_random_numbers_is_chance() {
    let order = run("depends_on_the_order_of_a_map").seed("1-200").printed();
    assert_eq!(
        order.field("needed"),
        "chance in random numbers, but not in scheduling, latencies or interrupted and shortened calls"
    );
}

#[test]
fn the_link_that_a_failure_needs_is_named() {
    let one = run("depends_on_one_link").seed("1-200").printed();
    let needed = one.field("needed");
    assert!(needed.starts_with("chance in latencies ("), "{}", one.text);
    assert!(needed.contains("far") && !needed.contains("near"), "{needed}");
    assert!(
        needed.ends_with("), but not in scheduling, random numbers or interrupted and shortened calls"),
        "{needed}"
    );
}

#[test]
fn a_token_of_another_test_is_refused() {
    let printed = run("forgets_in_a_crash").seed("1-64").printed();
    let other = run("talks_to_nobody").env("CHAOS_REPLAY", printed.token()).printed();
    assert!(other.sentence().starts_with("impossible: this token is of another test"), "{}", other.text);
}

#[test]
fn what_was_found_is_kept_and_replayed_before_anything_new() {
    let package = temporary();
    let kept =
        |run: super::Run| run.env("CHAOS_SAVE", "auto").env("CARGO_MANIFEST_DIR", &package.path().to_string_lossy());
    let file = package.path().join("chaos-regressions/windtunnel.reports/fixtures.forgets_in_a_crash.toml");

    let found = kept(run("forgets_in_a_crash").env("CHAOS_CASES", "64")).printed();
    assert!(found.field("saved").ends_with("fixtures.forgets_in_a_crash.toml (commit it)"), "{}", found.text);
    let text = std::fs::read_to_string(&file).expect("it says that it has been written");
    assert!(text.contains("[[found]]") && text.contains(" crash store "), "{text}");

    let again = kept(run("forgets_in_a_crash")).printed();
    let still = "entry 1: a saved case still fails, exactly as it did when it was found";
    assert!(again.field("found").contains(still), "{}", again.text);
    assert_eq!(again.faults(), found.faults());
    assert_eq!(again.field("digest"), found.field("digest"));
    assert_eq!(std::fs::read_to_string(&file).expect("it is there"), text);

    // A file by name: its cases and no others.
    let other = package.path().join("other.toml");
    let by_hand = "[[found]]\nseed = \"0x7\"\nplan = \"50ms pause store for 100ms\"\n";
    std::fs::write(&other, by_hand).expect("it is a directory of ours");
    let by_name = run("forgets_in_a_crash").env("CHAOS_REPLAY", &other.to_string_lossy()).printed();
    assert!(by_name.passed, "{}", by_name.text);
    by_name.contains("the saved cases of ").contains("passed 1 saved case: ");

    // What was saved of a host that has another name now does not pass.
    std::fs::write(&other, by_hand.replace("store", "stroe")).expect("as before");
    let renamed = run("forgets_in_a_crash").env("CHAOS_REPLAY", &other.to_string_lossy()).printed();
    assert!(renamed.sentence().starts_with("impossible: the plan of faults makes no sense here"), "{}", renamed.text);
    renamed.contains("there is no host `stroe`").contains("made after the storm has begun cannot be struck");
    std::fs::write(&other, by_hand.replace("found", "fund")).expect("as before");
    let misspelt = run("forgets_in_a_crash").env("CHAOS_REPLAY", &other.to_string_lossy()).printed();
    misspelt.contains("other.toml, line 1: there is no `fund` here; did you mean `found`?");

    // What a storm that does nothing finds is nobody's bug.
    let becalmed = kept(run("fails_in_every_storm").seed("1-4").env("CHAOS_PERTURB", "weather")).printed();
    assert!(!becalmed.passed && !becalmed.text.contains("  saved "), "{}", becalmed.text);

    // On CI nobody commits what a test wrote.
    std::fs::remove_file(&file).expect("it is ours");
    let on_ci = kept(run("forgets_in_a_crash").env("CI", "true").env("CHAOS_CASES", "200")).printed();
    on_ci.contains("---- 8< ----").contains("[[found]]");
    assert!(!file.exists());
}

#[test]
fn a_test_that_passes_says_what_blew() {
    let printed = run("remembers_without_crashes").seed("1-20").printed();
    assert!(printed.passed, "{}", printed.text);
    printed.contains("passed 20 cases: ").contains("\nfaults: ").contains(" partition").contains(" loss");
    assert!(!printed.text.contains("warning"), "{}", printed.text);
}

#[test]
fn everything_that_the_simulated_world_can_do_happens_and_repeats() {
    let run = run("remembers_whatever_happens_but_crashes").seed("1-20").env("CHAOS_CHECK", "determinism");
    let printed = run.printed();
    assert!(printed.passed, "{}", printed.text);
    for kind in [
        "partition",
        "latency",
        "loss",
        "duplication",
        "reordering",
        "corruption",
        "bandwidth",
        "dns-hijack",
        "clock-skew",
        "clock-drift",
        "cpu-burn",
    ] {
        printed.contains(&format!(" {kind}"));
    }
}

#[test]
fn a_plan_that_does_nothing_is_told_of() {
    let place = temporary();
    let plan = place.path().join("plan.txt");
    let with = |text: &str, seed: &str| {
        std::fs::write(&plan, text).expect("it is a directory of ours");
        run("remembers_without_crashes").seed(seed).env("CHAOS_REPLAY", &plan.to_string_lossy()).printed()
    };
    let empty = with("", "1-2");
    assert!(empty.passed, "{}", empty.text);
    empty.contains("has no faults, so none will blow");
    let late = with("1h pause store for 1s", "1-2");
    assert!(late.passed, "{}", late.text);
    late.contains("warning: no fault ever began");
    let unmarked = with("at mark \"never\" pause store for 1s", "1-2");
    unmarked.contains("warning: no fault ever began");
    let calm = with("1s pause store for 1s", "calm:1");
    assert!(!calm.passed, "{}", calm.text);
    calm.contains("CHAOS_SEED asks for a calm case, which has no faults, and CHAOS_REPLAY names a plan; drop one");
}

#[test]
fn the_command_after_a_demonstration_that_never_failed_can_be_pasted() {
    let printed = run("demonstrates_that_memory_forgets").seed("1-30").env("CHAOS_PERTURB", "weather").printed();
    assert!(printed.field("replay").starts_with("CHAOS_SEED=0x1 CHAOS_CASES=30 cargo test "), "{}", printed.text);
}

#[test]
fn a_plan_of_the_tests_own_is_carried_out_as_it_stands() {
    let printed = run("has_a_plan_of_its_own").seed("7").printed();
    let [partition, crash] = printed.faults()[..] else { panic!("both:\n{}", printed.text) };
    assert!(partition.starts_with("100ms partition store | test for 50ms "), "{partition}");
    assert!(crash.starts_with("600ms crash store restart after 1s "), "{crash}");
    assert!(!printed.text.contains("shrunk"), "{}", printed.text);
}

#[test]
fn a_plan_that_makes_no_sense_is_refused_with_its_reason() {
    let somebody_else = run("has_a_plan_for_somebody_else").seed("7").printed();
    assert!(somebody_else.sentence().starts_with("impossible: "), "{}", somebody_else.text);
    somebody_else.contains("stores").contains("store");
    let unreadable = run("has_a_plan_that_cannot_be_read").seed("7").printed();
    assert!(unreadable.sentence().starts_with("impossible: `plan` cannot be read"), "{}", unreadable.text);
    unreadable.contains("1s crahs store").contains("   ^").contains("crash");
}

#[test]
fn weather_that_bites_nobody_is_a_warning() {
    let printed = run("talks_to_nobody").seed("1-8").printed();
    assert!(printed.passed, "{}", printed.text);
    printed.contains("warning: no fault bit on anything: this test has not been tested");
}

#[test]
fn faults_without_a_storm_are_an_error() {
    let printed = run("has_no_storm").printed();
    assert!(printed.sentence().contains("its body never called `cx.storm(..)`"), "{}", printed.text);
}

#[test]
fn a_steady_state_that_breaks_ends_the_storm_at_once() {
    let printed = run("breaks_its_steady_state").seed("7").printed();
    let sentence = printed.sentence();
    assert!(sentence.starts_with("steady state broken: the storm was ended at once; it was Err("), "{sentence}");
    printed.contains("| before the storm").contains("* steady state broken").contains("* phase recover");
    let over_after = printed.field("found").split("after ").nth(1).expect("a time");
    assert!(over_after.starts_with("1.") || over_after.starts_with("2."), "seconds, not hours: {over_after}");
    assert!(!printed.text.contains("not broken off"), "{}", printed.text);
}

#[test]
fn faults_that_do_nothing_are_noticed() {
    let demonstration = || run("demonstrates_that_memory_forgets").seed("1-30");
    let printed = demonstration().printed();
    assert!(printed.passed, "{}", printed.text);
    let becalmed = demonstration().env("CHAOS_PERTURB", "weather").printed();
    assert!(becalmed.sentence().starts_with("never failed: 30 cases passed"), "{}", becalmed.text);

    let passes = run("remembers_without_crashes").seed("1-20").env("CHAOS_PERTURB", "weather").printed();
    assert!(passes.passed, "{}", passes.text);
    passes.contains("warning: no fault bit on anything");
}

#[test]
fn a_second_attempt_replays_what_the_first_found() {
    let out = temporary();
    let attempt = |id: &str, number: &str| {
        let run = run("forgets_in_a_crash").env("NEXTEST_RUN_ID", id).env("NEXTEST_ATTEMPT", number);
        run.env("CHAOS_OUT", &out.path().to_string_lossy()).env("CHAOS_CASES", "200").printed()
    };
    let first = attempt("one", "1");
    let second = attempt("one", "2");
    second.contains("an earlier attempt of this run failed with this case, which is replayed");
    assert_eq!(second.field("digest"), first.field("digest"));
    // Another run is another run.
    assert!(!attempt("two", "2").text.contains("an earlier attempt"));
}

#[test]
fn a_second_attempt_does_not_forget_what_was_not_the_failure_that_was_expected() {
    let out = temporary();
    let attempt = |number: &str| {
        let run = run("expects_another_failure").env("NEXTEST_RUN_ID", "one").env("NEXTEST_ATTEMPT", number);
        run.env("CHAOS_OUT", &out.path().to_string_lossy()).env("CHAOS_CASES", "200").printed()
    };
    let (first, second) = (attempt("1"), attempt("2"));
    second.contains("an earlier attempt of this run failed with this case, which is replayed");
    assert_eq!(second.sentence(), first.sentence());
    second.contains("while `expect_failure` expects a failure with \"the disk is gone\"");
}

#[test]
fn a_storm_can_blow_in_the_process_itself() {
    let found = run("forgets_in_a_crash").seed("1-64").printed();
    let debugged = run("forgets_in_a_crash").env("CHAOS_REPLAY", found.token()).env("CHAOS_DEBUG", "1").printed();
    assert_eq!(found.field("digest").split(',').next(), Some(debugged.field("digest")));
    assert_eq!(debugged.faults(), found.faults());
    assert_eq!(debugged.field("replay"), found.field("replay"));
}

#[test]
fn events_are_those_of_the_case_that_was_asked_for() {
    let out = temporary();
    let run = || run("remembers_without_crashes").seed("7").env("CHAOS_OUT", &out.path().to_string_lossy());
    let events = || {
        let printed = run().env("CHAOS_EVENTS", "1").printed();
        // The rehearsal has events of its own.
        assert_eq!(printed.text.matches("events: ").count(), 1, "{}", printed.text);
        let path = printed.text.lines().find_map(|line| line.strip_prefix("events: ")).expect("it is there");
        std::fs::read_to_string(path).expect("it says that it has been written")
    };
    let (one, two) = (events(), events());
    assert!(one.lines().count() > 100, "{one}");
    assert_eq!(one, two);
}

#[test]
fn a_plan_that_nothing_carries_out_is_an_error_with_a_seed_too() {
    let impossible = "impossible: the test has faults, but its body never called `cx.storm(..)`";
    let alone = run("has_a_plan_and_no_storm").seed("7").printed();
    assert!(alone.sentence().starts_with(impossible), "{}", alone.text);
    // Trying again makes it no better.
    let out = temporary();
    for attempt in ["1", "2"] {
        let run = run("has_a_plan_and_no_storm").env("NEXTEST_RUN_ID", "one").env("NEXTEST_ATTEMPT", attempt);
        let printed = run.env("CHAOS_OUT", &out.path().to_string_lossy()).printed();
        assert!(printed.sentence().starts_with(impossible), "attempt {attempt}: {}", printed.text);
    }
}

#[test]
fn hosts_may_be_there_in_some_cases_only() {
    let printed = run("has_hosts_by_chance").printed();
    assert!(printed.passed, "{}", printed.text);
    printed.contains("passed 30 cases: ");
}

#[test]
fn a_plan_of_which_nothing_is_left_is_carried_by_a_token() {
    let printed = run("fails_in_every_storm").seed("1-4").printed();
    assert!(printed.field("shrunk").contains(" to 0, in "), "{}", printed.text);
    let token = printed.token();
    let again = run("fails_in_every_storm").env("CHAOS_REPLAY", token).printed();
    assert_eq!(again.field("digest"), printed.field("digest"));
    assert!(again.field("replay").contains(token), "{}", again.text);
}

#[test]
fn a_plan_that_does_not_fit_is_refused_not_cut() {
    let place = temporary();
    let file = place.path().join("long.plan");
    let faults: Vec<String> = (0..8000).map(|at| format!("{at}ms pause store for 1ms")).collect();
    std::fs::write(&file, faults.join("\n")).expect("it is a directory of ours");
    let run = run("has_a_plan_of_its_own").env("CHAOS_REPLAY", &file.to_string_lossy());
    let printed = run.env("CHAOS_SEED", "7").printed();
    assert!(printed.sentence().starts_with("impossible: the plan is "), "{}", printed.text);
    printed.contains("131072 fit: ask for fewer faults");
}

#[test]
fn what_broke_is_told_rather_than_what_came_of_it() {
    let printed = run("breaks_and_does_not_recover").seed("7").printed();
    assert!(printed.sentence().starts_with("steady state broken: "), "{}", printed.text);
    printed.contains("once is enough");
}
