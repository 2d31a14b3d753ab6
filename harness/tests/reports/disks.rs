//! Disks, as users of tests see them: sweeps, disks that lie, copies, limits.

use super::run;

#[test]
fn what_is_acknowledged_before_it_is_synced_is_found() {
    let printed = run("ledgers::never_syncs").seed("1-64").printed();
    assert_eq!(printed.sentence(), "panicked: the ledger forgot what it had acknowledged");
    let [crash] = printed.faults()[..] else { panic!("one crash is enough:\n{}", printed.text) };
    assert!(crash.contains(" crash ledger restart after "), "{crash}");
}

#[test]
fn a_sweep_crashes_after_each_event_and_what_it_finds_is_a_case_like_any_other() {
    let printed = run("ledgers::never_syncs").env("CHAOS_SWEEP", "1").seed("5").printed();
    assert_eq!(printed.sentence(), "panicked: the ledger forgot what it had acknowledged");
    let [crash] = printed.faults()[..] else { panic!("a sweep has one fault:\n{}", printed.text) };
    assert!(crash.starts_with("at event ") && crash.contains(" crash ledger restart after "), "{crash}");
    let again = run("ledgers::never_syncs").env("CHAOS_REPLAY", printed.token()).printed();
    assert_eq!(again.sentence(), printed.sentence());
    assert_eq!(again.field("digest"), printed.field("digest"));
}

#[test]
fn a_sweep_of_what_is_right_passes() {
    let printed = run("ledgers::syncs_first").env("CHAOS_SWEEP", "3").seed("5").printed();
    assert!(printed.passed, "{}", printed.text);
    printed.contains("chaos: sweep: ledger loses power after one event in 3, from ").contains(" cases have passed");
}

#[test]
fn a_disk_that_lies_turns_a_test_red() {
    let printed = run("ledgers::syncs_first").env("CHAOS_PERTURB", "fsync").seed("1-64").printed();
    assert_eq!(printed.sentence(), "panicked: the ledger forgot what it had acknowledged");
    let printed = run("ledgers::syncs_first").seed("1-20").printed();
    assert!(printed.passed, "{}", printed.text);
}

#[test]
fn disks_of_one_case_are_copied_out() {
    let out = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("copied");
    let out = out.to_str().expect("a path in UTF-8");
    let printed = run("ledgers::syncs_first").env("CHAOS_OUT", out).env("CHAOS_DISKS", "1").seed("5").printed();
    assert!(printed.passed, "{}", printed.text);
    let line = printed.text.lines().find_map(|line| line.strip_prefix("disks: ")).expect("it says where");
    let ledger = std::path::Path::new(line).join("ledger/var/lib/ledger");
    assert!(std::fs::read_to_string(ledger).expect("the file is there").starts_with("11111"));
    let many = run("ledgers::syncs_first").env("CHAOS_DISKS", "1").printed();
    many.contains("CHAOS_DISKS=`1` is not understood: the directory holds one case");
}

#[test]
fn every_state_of_a_crash_can_be_gone_through() {
    let printed = run("ledgers::goes_through_crash_states").printed();
    assert!(printed.passed, "{}", printed.text);
}

#[test]
fn who_lacks_memory_is_killed_and_that_is_said() {
    let printed = run("ledgers::lacks_memory").printed();
    assert!(printed.sentence().starts_with("host ended: hungry ended by itself with signal 9"), "{}", printed.text);
    printed.contains("out of memory: its program is killed");
}
