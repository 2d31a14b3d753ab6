//! Clocks of processes that are none of ours.

mod common;
#[path = "common/victim.rs"]
mod victim;
mod victims;

use common::{is_in_force_and_gone_at_once, tenth_of_a_second};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use victim::{Picture, Victim};
use victims::Scratch;
use windtunnel_inject::Injection;
use windtunnel_inject::clock::{ForeignClocks, Undo};
use windtunnel_inject::error::ErrorKind;
use windtunnel_inject::journal::{Journal, Settings};
use windtunnel_inject::sys::{Forked, fork, wait};
use windtunnel_inject::target::Process;

const MILLISECOND: i64 = 1_000_000;
const SECOND: i64 = 1000 * MILLISECOND;
const LEASE: Duration = Duration::from_millis(600);

/// The victim that other tests execute.
#[test]
fn victim() {
    victim::be_one();
}

fn clock_of(victim: &Victim) -> ForeignClocks {
    clock_with(victim, &Journal::of_world().expect("a journal"))
}

fn clock_with(victim: &Victim, journal: &Journal) -> ForeignClocks {
    let clock = ForeignClocks::new(journal, LEASE).expect("clocks");
    clock.follow(&victim.target()).expect("a target");
    clock
}

/// The last change of a clock that is written down in a directory's journals.
fn written_down(scratch: &Scratch) -> Option<Undo> {
    let names = scratch.journal_names().into_iter().filter(|name| !name.starts_with('.'));
    let texts = names.filter_map(|name| fs::read_to_string(scratch.journals().join(name)).ok());
    let text: String = texts.collect();
    // A line that was not finished is one of something that was not begun.
    let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let changes = lines.map(|line| serde_json::from_str::<Value>(line).expect("a line of a journal"));
    let mut clocks = changes.filter(|line| line["line"] == "change" && line["undo"]["undo"] == "clock");
    clocks.next_back().map(|line| serde_json::from_value(line["undo"]["stub"].clone()).expect("what is to be undone"))
}

#[track_caller]
fn assert_near(found: i64, wanted: i64, within: i64) {
    assert!((found - wanted).abs() <= within, "{found} is not within {within} of {wanted}");
}

#[track_caller]
fn assert_as_it_was(victim: &Victim, before: &Picture) {
    let differs = before.differs(&victim.picture());
    assert!(differs.is_empty(), "{differs:#?}");
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(5);
    while !holds() {
        assert!(Instant::now() < until, "not within five seconds: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_stepped_clock_is_off_at_once_and_everything_is_as_it_was_afterwards() {
    let mut victim = Victim::start(0);
    let before = victim.picture();
    let clock = clock_of(&victim);
    assert_as_it_was(&victim, &before);
    is_in_force_and_gone_at_once(|| clock.skew(-100 * SECOND, false).expect("a skew"));
    let mut fault = clock.skew(-100 * SECOND, false).expect("a skew");
    assert_near(victim.ahead_ns(), -100 * SECOND, MILLISECOND);
    fault.read_back().expect("in force");
    let bit = fault.bit().expect("a count");
    victim.ask("time");
    victim.ask("time");
    assert_eq!(fault.bit().expect("a count"), bit + 2);
    assert!(clock.last_read().is_some());
    fault.heal().expect("healed");
    assert_near(victim.ahead_ns(), 0, MILLISECOND);
    assert_as_it_was(&victim, &before);
    assert_eq!(fault.bit().expect("a count"), bit + 2);
}

#[test]
fn faults_add_up_and_go_one_by_one_and_last_longer_than_a_lease() {
    let mut victim = Victim::start(0);
    let before = victim.picture();
    let clock = clock_of(&victim);
    let mut one = clock.skew(5 * SECOND, false).expect("a skew");
    let mut other = clock.skew(-SECOND, false).expect("a skew");
    assert_near(victim.ahead_ns(), 4 * SECOND, MILLISECOND);
    thread::sleep(2 * LEASE);
    assert_near(victim.ahead_ns(), 4 * SECOND, MILLISECOND);
    one.heal().expect("healed");
    assert_near(victim.ahead_ns(), -SECOND, MILLISECOND);
    other.read_back().expect("in force");
    other.heal().expect("healed");
    assert_as_it_was(&victim, &before);
}

#[test]
fn a_drift_is_as_fast_as_asked_for() {
    let mut victim = Victim::start(0);
    let clock = clock_of(&victim);
    for ppm in [200_000, -300_000] {
        let mut fault = clock.drift(ppm, true).expect("a drift");
        let (began, ahead) = victim.ahead_at();
        thread::sleep(Duration::from_secs(1));
        let (now, more) = victim.ahead_at();
        let (passed, gained) = ((now - began).as_nanos() as i64, more - ahead);
        assert_near(gained, passed * ppm / 1_000_000, SECOND * ppm.abs() / 1_000_000 / 50);
        fault.heal().expect("healed");
        assert_near(victim.ahead_ns(), 0, MILLISECOND);
    }
}

#[test]
fn a_slewed_clock_is_put_right_gradually_and_then_left_alone() {
    let mut victim = Victim::start(0);
    let before = victim.picture();
    let clock = clock_of(&victim);
    let mut fault = clock.skew(SECOND, true).expect("a skew");
    let (began, ahead) = victim.ahead_at();
    thread::sleep(Duration::from_secs(2));
    let (now, more) = victim.ahead_at();
    assert_near(more - ahead, (now - began).as_nanos() as i64 / 2000, 250_000);
    fault.heal().expect("being healed");
    // From where it has come to.
    assert_near(victim.ahead_ns(), more, 250_000);
    eventually("the process is as it was", || victim.picture() == before);
    assert_near(victim.ahead_ns(), 0, 250_000);
}

#[test]
fn a_process_that_does_nothing_but_read_its_clock_survives_being_struck_often() {
    let mut victim = Victim::start(2);
    let before = victim.picture();
    let clock = clock_of(&victim);
    victim.send("sleep");
    let mut lasted = Vec::new();
    for round in 0..20 {
        let began = Instant::now();
        let mut fault = clock.skew((round + 1) * SECOND, false).expect("a skew");
        lasted.push(began.elapsed());
        fault.read_back().expect("in force");
        let began = Instant::now();
        fault.heal().expect("healed");
        lasted.push(began.elapsed());
        assert_as_it_was(&victim, &before);
    }
    // Each takes as long as the kernel needs to let every thread run, and the machine may have more to do than this.
    lasted.sort_unstable();
    println!("quartile {:?}, median {:?}, most {:?}", lasted[10], lasted[20], lasted[39]);
    assert!(lasted[10] < tenth_of_a_second(), "{lasted:?}");
    assert!(victim.answer() >= 300 * MILLISECOND, "it was not woken early");
    let reads = victim.ask("reads");
    eventually("the threads go on", || victim.ask("reads") > reads + 1000);
}

/// From when on a moment is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    TheBeginning,
    /// It has come so far as to write down what it will do.
    WhatIsWrittenDown,
}

/// Lets another process strike, and ends that by a signal, its guardian before; answers what it had written down.
fn strike_and_be_ended(victim: &Victim, by: Signal, from: From, after: Duration) -> Option<Undo> {
    let scratch = Scratch::new("clock-ended");
    let (mut read, mut write) = std::io::pipe().expect("a pipe");
    match fork().expect("a process") {
        Forked::Child => {
            drop(read);
            let settings = Settings { directory: scratch.journals(), stopped_max: None };
            let journal = Journal::open_with(settings).expect("a journal");
            journal.prepare().expect("a guardian");
            let guardian = journal.guardian().expect("a guardian");
            write.write_all(&guardian.to_ne_bytes()).expect("a reader");
            let clock = clock_with(victim, &journal);
            loop {
                let fault = clock.skew(50 * SECOND, false).expect("a skew");
                thread::sleep(Duration::from_millis(3));
                drop(fault);
            }
        }
        Forked::Parent(pid) => {
            drop(write);
            let mut guardian = [0; 4];
            read.read_exact(&mut guardian).expect("it begins");
            let guardian = Process::open(u32::from_ne_bytes(guardian)).expect("a guardian");
            // One that has ended would be replaced.
            guardian.signal(Signal::STOP).expect("it is ours");
            while from == From::WhatIsWrittenDown && written_down(&scratch).is_none() {
                thread::yield_now();
            }
            thread::sleep(after);
            let child = Process::open(pid).expect("a child");
            child.signal(by).expect("it is ours");
            if by != Signal::KILL {
                thread::sleep(2 * LEASE);
                // The lease has run out while it cannot do anything.
                child.kill().expect("it is ours");
            }
            wait(pid).expect("a child");
            guardian.kill().expect("it is ours");
            written_down(&scratch)
        }
    }
}

#[test]
fn whoever_strikes_may_be_killed_at_any_moment() {
    let mut victim = Victim::start(2);
    let before = victim.picture();
    let mut wrong = 0;
    for round in 0..60 {
        // Some are killed before they have done anything, most in the midst of it.
        let from = if round % 3 == 0 { From::TheBeginning } else { From::WhatIsWrittenDown };
        let undo = strike_and_be_ended(&victim, Signal::KILL, from, Duration::from_micros(500 + 331 * round));
        let left = victim.picture() != before;
        wrong += i32::from(left);
        if round % 10 == 0 {
            thread::sleep(LEASE);
            assert_near(victim.ahead_ns(), 0, MILLISECOND);
        }
        if let Some(undo) = undo {
            undo.carry_out().expect("undone");
            undo.carry_out().expect("once more changes nothing");
        }
        assert_as_it_was(&victim, &before);
        assert_near(victim.ahead_ns(), 0, MILLISECOND);
    }
    println!("{wrong} of 60 were caught in the act");
    assert!(wrong > 0, "none of them was caught in the act");
}

#[test]
fn a_clock_puts_itself_right_when_whoever_struck_it_is_stopped() {
    let mut victim = Victim::start(0);
    let before = victim.picture();
    let undo = strike_and_be_ended(&victim, Signal::STOP, From::WhatIsWrittenDown, Duration::from_millis(40));
    assert_near(victim.ahead_ns(), 0, MILLISECOND);
    undo.expect("something was written down").carry_out().expect("undone");
    assert_as_it_was(&victim, &before);
}

#[test]
fn a_clock_that_somebody_else_puts_right_is_noticed() {
    let victim = Victim::start(0);
    let before = victim.picture();
    let scratch = Scratch::new("clock-noticed");
    let clock = clock_with(&victim, &scratch.journal());
    let mut fault = clock.skew(SECOND, false).expect("a skew");
    written_down(&scratch).expect("it was written down").carry_out().expect("undone");
    let error = fault.read_back().expect_err("it is not in force");
    assert!(matches!(error.kind, ErrorKind::Unlike { .. }), "{error}");
    fault.heal().expect("nothing is left to heal");
    assert_as_it_was(&victim, &before);
}

#[test]
fn what_cannot_be_written_down_is_not_done() {
    let victim = Victim::start(0);
    let before = victim.picture();
    let scratch = Scratch::new("clock-unwritten");
    let clock = clock_with(&victim, &scratch.journal());
    fs::remove_dir(scratch.journals()).expect("where journals are kept");
    assert!(clock.skew(SECOND, false).is_err());
    assert_as_it_was(&victim, &before);
}

#[test]
fn a_process_that_ends_has_nothing_left_to_heal() {
    let mut victim = Victim::start(0);
    let clock = clock_of(&victim);
    let mut fault = clock.skew(SECOND, false).expect("a skew");
    victim.kill();
    assert!(matches!(fault.read_back().expect_err("gone").kind, ErrorKind::TargetGone));
    fault.heal().expect("nothing to heal");
    clock.release().expect("nothing to release");
}

#[test]
fn a_second_striker_is_refused_while_the_first_one_is_there() {
    let mut victim = Victim::start(0);
    let before = victim.picture();
    let clock = clock_of(&victim);
    let fault = clock.skew(SECOND, false).expect("a skew");
    let other = clock_of(&victim);
    let refused = other.skew(2 * SECOND, false);
    assert!(matches!(refused.err().expect("refused").kind, ErrorKind::Unlike { .. }));
    assert_near(victim.ahead_ns(), SECOND, MILLISECOND);
    drop(fault);
    drop(other.skew(2 * SECOND, false).expect("a skew"));
    assert_as_it_was(&victim, &before);
}

/// By every function that the vDSO has for it, in a program that the dynamic linker has nothing to do with.
#[test]
fn a_static_program_in_another_language_is_struck_as_well() {
    let directory = tempfile::tempdir().expect("a directory");
    let built = build_static(directory.path());
    let Some(program) = built else {
        eprintln!("skipped: there is no C compiler with a static libc");
        assert!(std::env::var_os("CHAOS_REQUIRE").is_none(), "required, and not possible here");
        return;
    };
    let mut victim = Victim::run(Command::new(program));
    let before = victim.picture();
    let clock = clock_of(&victim);
    let mut fault = clock.skew(-7 * SECOND, false).expect("a skew");
    let ours = || std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_nanos() as i64;
    // However long the answer takes: it is of a moment while it was waited for, or of the last of a clock's ticks.
    let mut asked = |function, ahead: i64, tick: i64| {
        let (from, told, until) = (ours() + ahead - tick, victim.ask(function), ours() + ahead);
        assert!((from - MILLISECOND..=until + MILLISECOND).contains(&told), "{function}: {told}, {from} to {until}");
    };
    asked("clock_gettime", -7 * SECOND, 0);
    // A jiffy at CONFIG_HZ=100.
    asked("coarse", -7 * SECOND, 10 * MILLISECOND);
    asked("gettimeofday", -7 * SECOND, 0);
    asked("time", -7 * SECOND, SECOND);
    asked("raw", 0, 0);
    fault.heal().expect("healed");
    assert_as_it_was(&victim, &before);
}

fn build_static(directory: &Path) -> Option<std::path::PathBuf> {
    const SOURCE: &str = r#"
        #include <stdio.h>
        #include <sys/syscall.h>
        #include <sys/time.h>
        #include <time.h>
        #include <unistd.h>
        int main(void) {
            char question[64];
            while (fgets(question, sizeof question, stdin)) {
                struct timespec now = {0};
                struct timeval day;
                switch (question[1]) {
                case 'l': clock_gettime(CLOCK_REALTIME, &now); break;
                case 'o': clock_gettime(CLOCK_REALTIME_COARSE, &now); break;
                case 'e': gettimeofday(&day, NULL); now.tv_sec = day.tv_sec; now.tv_nsec = day.tv_usec * 1000; break;
                case 'i': now.tv_sec = time(NULL); break;
                default: syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
                }
                printf("@%lld\n", now.tv_sec * 1000000000LL + now.tv_nsec);
                fflush(stdout);
            }
        }"#;
    let (source, program) = (directory.join("victim.c"), directory.join("victim"));
    std::fs::write(&source, SOURCE).expect("a file");
    let built = Command::new("cc").arg("-static").arg("-o").arg(&program).arg(&source).output();
    built.is_ok_and(|built| built.status.success()).then_some(program)
}
