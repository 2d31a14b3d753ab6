//! Clocks of whole programs that are none of ours: of all their processes, whenever these come.

#[path = "common/family.rs"]
mod family;
#[path = "common/victim.rs"]
mod victim;
mod victims;

use family::{APART, Family, SECOND, is_possible, now_ns};
use rustix::process::Signal;
use std::io::{Read, Write, pipe};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use victim::{Picture, Victim};
use victims::{Scratch, holds_within};
use windtunnel_inject::clock::ForeignClocks;
use windtunnel_inject::error::ErrorKind;
use windtunnel_inject::journal::{Journal, Settings};
use windtunnel_inject::process::proc::Stat;
use windtunnel_inject::recover::recover_in;
use windtunnel_inject::target::Process;
use windtunnel_inject::{Injection, Target};

const MILLISECOND: i64 = 1_000_000;
const LEASE: Duration = Duration::from_millis(600);
/// For what comes within milliseconds on a machine that has nothing else to do.
const SOON: Duration = Duration::from_secs(10);

/// The victim that other tests execute.
#[test]
fn victim() {
    victim::be_one();
}

fn clocks() -> ForeignClocks {
    ForeignClocks::new(&Journal::of_world().expect("a journal"), LEASE).expect("clocks")
}

#[test]
fn all_processes_of_a_program_are_struck_whenever_they_were_forked_and_are_as_they_were_afterwards() {
    if !is_possible() {
        return;
    }
    let mut family = Family::start();
    family.grow();
    let before = family.pictures();
    let clocks = clocks();
    clocks.follow(&family.target()).expect("a target");
    family.assert_as_they_were(&before);
    let mut fault = clocks.skew(-100 * SECOND, false).expect("a skew");
    family.assert_all_ahead(-100 * SECOND);
    fault.read_back().expect("in force");
    family.grow();
    family.assert_all_ahead(-100 * SECOND);
    // What was inherited runs out, unless somebody sees to it.
    thread::sleep(2 * LEASE);
    family.assert_all_ahead(-100 * SECOND);
    fault.read_back().expect("in force");
    let bit = fault.bit().expect("a count");
    family.ask(1, b't');
    family.ask(2, b't');
    assert_eq!(fault.bit().expect("a count"), bit + 2);
    fault.heal().expect("healed");
    family.assert_all_ahead(0);
    family.assert_as_they_were(&before);
    assert!(Picture::of(family.pids[2]).has_vdso_of(&before[0]), "what was forked meanwhile has nothing left");
    assert_eq!(fault.bit().expect("a count"), bit + 2);
}

#[test]
fn a_program_that_is_started_again_has_the_clocks_that_its_host_has() {
    if !is_possible() {
        return;
    }
    let mut family = Family::start();
    let clocks = clocks();
    clocks.follow(&family.target()).expect("a target");
    let mut one = clocks.skew(50 * SECOND, false).expect("a skew");
    family.assert_all_ahead(50 * SECOND);
    assert_eq!(one.bit().expect("a count"), 1);
    drop(family);
    assert!(matches!(one.read_back().expect_err("nobody is there").kind, ErrorKind::TargetGone));
    let mut other = clocks.skew(-20 * SECOND, false).expect("for whoever comes");

    let mut family = Family::start();
    let before = family.pictures();
    clocks.follow(&family.target()).expect("a target");
    family.assert_all_ahead(30 * SECOND);
    one.read_back().expect("in force again");
    assert_eq!(one.bit().expect("a count"), 2, "the first start's reads are not forgotten");
    one.heal().expect("healed");
    family.assert_all_ahead(-20 * SECOND);
    drop(other.heal());
    family.assert_as_they_were(&before);

    let mut fault = clocks.drift(100_000, true).expect("a drift");
    let first = family.ahead_ns(0);
    thread::sleep(Duration::from_secs(1));
    let gained = family.ahead_ns(0) - first;
    assert!(gained >= 80 * MILLISECOND, "{gained}");
    fault.heal().expect("healed");
    family.assert_all_ahead(0);
    clocks.release().expect("nothing is left");
    family.assert_as_they_were(&before);
}

#[test]
fn a_fault_of_nobody_begins_and_ends() {
    let clocks = clocks();
    let mut fault = clocks.skew(SECOND, false).expect("for whoever comes");
    assert!(matches!(fault.read_back().expect_err("nobody is there").kind, ErrorKind::TargetGone));
    assert_eq!(fault.bit().expect("a count"), 0);
    fault.heal().expect("nothing to heal");
}

#[test]
fn what_a_program_executes_is_struck_once_it_has_been_noticed() {
    if !is_possible() {
        return;
    }
    let this = std::env::current_exe().expect("this binary");
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "read hello; echo @0; read go; exec \"$0\" --exact victim --nocapture"]).arg(this);
    let mut program = Victim::run({
        shell.env("CLOCK_VICTIM", "0");
        shell
    });
    let clocks = clocks();
    clocks.follow(&program.target()).expect("a target");
    let mut fault = clocks.skew(1000 * SECOND, false).expect("a skew");
    program.send("go");
    holds_within(SOON, "it is struck anew", || (program.ask("time") - now_ns() - 1000 * SECOND).abs() < APART);
    fault.read_back().expect("in force");
    fault.heal().expect("healed");
    assert!((program.ask("time") - now_ns()).abs() < APART);
    assert!(program.picture().has_vdso_of(&Picture::of(std::process::id())));
}

#[test]
fn a_process_that_stands_still_is_struck_and_left_as_it_stands() {
    if !is_possible() {
        return;
    }
    let mut family = Family::start();
    let before = family.pictures();
    let process = Process::open(family.pids[0]).expect("a child");
    let state = || Stat::of(process.pid).expect("a child").state;
    let clocks = clocks();
    clocks.follow(&family.target()).expect("a target");
    for _ in 0..3 {
        process.signal(Signal::STOP).expect("ours");
        holds_within(SOON, "it stands still", || state() == 'T');
        let mut fault = clocks.skew(77 * SECOND, false).expect("a skew");
        fault.read_back().expect("in force");
        holds_within(SOON, "it stands still again", || state() == 'T');
        process.signal(Signal::CONT).expect("ours");
        family.assert_all_ahead(77 * SECOND);
        process.signal(Signal::STOP).expect("ours");
        holds_within(SOON, "it stands still", || state() == 'T');
        fault.heal().expect("healed");
        holds_within(SOON, "it stands still again", || state() == 'T');
        process.signal(Signal::CONT).expect("ours");
        family.assert_all_ahead(0);
        family.assert_as_they_were(&before);
    }
}

#[test]
fn members_of_a_group_are_struck() {
    if !is_possible() {
        return;
    }
    let scratch = Scratch::new("clock-group");
    let journal = scratch.journal();
    let Some(group) = victims::group(&journal, "clocks") else { return };
    let mut family = Family::start();
    let before = family.pictures();
    group.add(family.pids[0]).expect("a member");
    let clocks = ForeignClocks::new(&journal, LEASE).expect("clocks");
    clocks.follow(&group.target()).expect("a target");
    let mut fault = clocks.skew(9 * SECOND, false).expect("a skew");
    family.assert_all_ahead(9 * SECOND);
    fault.heal().expect("healed");
    family.assert_as_they_were(&before);
    drop(family);
    group.remove().expect("removed");
}

#[test]
fn a_target_s_processes_are_found_by_whatever_names_them() {
    let family = Family::start();
    let own = std::process::id();
    for kind in ["pid", "net", "mnt"] {
        let namespace = std::fs::File::open(format!("/proc/self/ns/{kind}")).expect("a namespace");
        let found = Target::Namespace(Arc::new(namespace.into())).processes().expect("processes");
        assert!(found.contains(&own) && found.contains(&family.pids[0]), "{kind}");
    }
    assert_eq!(family.target().processes().expect("processes"), family.pids);
    let target = family.target();
    drop(family);
    assert!(target.processes().expect("processes").is_empty());
    assert!(Target::Cgroup("/sys/fs/cgroup/there is none".into()).processes().expect("processes").is_empty());
}

/// A process that keeps a clock wrong until it is killed, and its guardian's process id.
fn holder(scratch: &Scratch, family: &Family) -> (victims::Victim, u32) {
    let (mut said, says) = pipe().expect("a pipe");
    let (directory, target) = (scratch.journals(), family.target());
    let holder = victims::Victim::start_with(
        &[std::os::fd::AsFd::as_fd(&says), std::os::fd::AsFd::as_fd(&target.process().expect("a process").handle)],
        || {
            let settings = Settings { directory, ..Settings::default() };
            let journal = Journal::open_with(settings).expect("a journal");
            let clocks = ForeignClocks::new(&journal, LEASE).expect("clocks");
            clocks.follow(&target).expect("a target");
            let fault = clocks.skew(500 * SECOND, false).expect("a skew");
            let guardian = journal.guardian().expect("a guardian");
            (&says).write_all(&guardian.to_ne_bytes()).expect("a reader");
            std::mem::forget((fault, clocks, journal));
        },
    );
    drop(says);
    let mut guardian = [0; 4];
    said.read_exact(&mut guardian).expect("it has struck");
    (holder, u32::from_ne_bytes(guardian))
}

#[test]
fn who_strikes_and_is_killed_is_cleaned_up_after_by_a_guardian() {
    if !is_possible() {
        return;
    }
    let scratch = Scratch::new("clock-guardian");
    let mut family = Family::start();
    let before = family.pictures();
    let (mut holder, _) = holder(&scratch, &family);
    family.assert_all_ahead(500 * SECOND);
    holder.process.kill().expect("ours");
    holder.end();
    holds_within(SOON, "the guardian has undone it", || family.pictures() == before);
    family.assert_all_ahead(0);
    holds_within(SOON, "its journal is gone", || scratch.journal_names().is_empty());
}

#[test]
fn who_strikes_and_is_killed_with_its_guardian_is_recovered_from() {
    if !is_possible() {
        return;
    }
    let scratch = Scratch::new("clock-recovered");
    let mut family = Family::start();
    let before = family.pictures();
    let (mut holder, guardian) = holder(&scratch, &family);
    family.assert_all_ahead(500 * SECOND);
    let guardian = Process::open(guardian).expect("a guardian");
    guardian.kill().expect("ours");
    assert!(guardian.ends_within(SOON));
    holder.process.kill().expect("ours");
    holder.end();
    // Nobody is left, but the lease.
    thread::sleep(2 * LEASE);
    family.assert_all_ahead(0);
    assert!(family.pictures() != before, "code that tells the right time is left");
    let report = recover_in(&scratch.journals()).expect("a report");
    assert!(report.is_clean() && report.undone.len() == 1, "{report}");
    family.assert_as_they_were(&before);
    assert!(recover_in(&scratch.journals()).expect("a report").undone.is_empty());
}
