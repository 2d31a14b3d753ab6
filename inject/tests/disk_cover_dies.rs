//! Who leaves a process no room in its directory is killed or stopped at each step of that, and so is the process by
//! which it is done: the directory is as it was, and mounts of somebody else's are there.

mod common;
mod disk;
#[path = "common/due.rs"]
mod due;
mod victims;

use disk::in_background;
use rustix::process::Signal;
use rustix::thread::UnshareFlags;
use std::fs;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use victims::{Scratch, Victim, holds_within};
use windtunnel_inject::disk::DirectoryFull;
use windtunnel_inject::journal::{Journal, Settings};
use windtunnel_inject::namespace::leave_for_new;
use windtunnel_inject::process::proc::{self, Stat};
use windtunnel_inject::recover::recover_in;
use windtunnel_inject::target::Process;
use windtunnel_inject::{Injection as _, Target, step};

const DIRECTORY: &str = "/mnt/service";
/// After so long its guardian acts for one that is stopped.
const STOPPED_MAX: Duration = Duration::from_millis(50);
/// For what comes within milliseconds on a machine that has nothing else to do, or within two seconds if somebody does
/// not answer.
const SOON: Duration = Duration::from_secs(20);

/// Of which a step is counted.
const HOLDER: u32 = 0;
const CHILD: u32 = 1;
const GUARDIAN: u32 = 2;

/// What this process is, and what the one is that stops.
static ROLE: AtomicU32 = AtomicU32::new(HOLDER);
static WHOSE: AtomicU32 = AtomicU32::new(0);

fn stop(name: &'static str) {
    match name {
        "helper begun" => ROLE.store(CHILD, Ordering::Relaxed),
        "guardian begun" => ROLE.store(GUARDIAN, Ordering::Relaxed),
        _ => {}
    }
    if ROLE.load(Ordering::Relaxed) == WHOSE.load(Ordering::Relaxed) {
        due::comes(due::to_itself);
    }
}

/// A service in a mount namespace of its own, with a directory on which somebody has mounted something.
fn service() -> disk::Holder {
    in_background(|| {
        leave_for_new(UnshareFlags::NEWNS).expect("a mount namespace");
        disk::tmpfs_on_mnt("8m");
        fs::create_dir(DIRECTORY).expect("a directory");
        let none = rustix::mount::MountFlags::empty();
        rustix::mount::mount("somebody", DIRECTORY, "tmpfs", none, c"size=1m").expect("somebody's mount");
        fs::write(format!("{DIRECTORY}/kept"), "precious").expect("a file");
    })
}

/// What is seen from the service.
fn seen(service: &Process) -> String {
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", service.pid)).expect("mounts");
    let kept = fs::read_to_string(format!("/proc/{}/root{DIRECTORY}/kept", service.pid)).expect("a file");
    format!("{kept}\n{mounts}")
}

/// Covers the directory twice, heals once by hand and once by dropping, and stops at this step of its own or its
/// child's. It ends with 0 if nothing went wrong.
fn holder(whose: u32, at: u32, scratch: &Scratch, service: &Process) -> Victim {
    let (directory, target) = (scratch.journals(), Target::Process(service.clone()));
    Victim::ending_with(&[service.handle.as_fd()], || {
        WHOSE.store(whose, Ordering::Relaxed);
        due::at(at, Signal::STOP);
        step::watch(stop);
        let journal = Journal::open_with(Settings { directory, stopped_max: Some(STOPPED_MAX) }).expect("a journal");
        let cover = || DirectoryFull::apply(&journal, &target, Path::new(DIRECTORY)).expect("no room");
        let mut full = cover();
        full.read_back().expect("in force");
        full.heal().expect("healed");
        drop(cover());
        0
    })
}

/// Who stands still of a process and those below it.
fn stopped(pid: u32) -> Option<Process> {
    let stopped = proc::tree(pid).into_iter().find(|pid| Stat::of(*pid).is_ok_and(|stat| stat.state == 'T'));
    stopped.and_then(|pid| Process::open(pid).ok())
}

fn guardians() -> Vec<Process> {
    let executable = |pid: u32| fs::read_link(format!("/proc/{pid}/exe")).ok();
    let is_one = |pid: &u32| proc::read(*pid, "comm").is_ok_and(|name| name == "wt:guardian\n");
    let all = proc::all().into_iter().filter(is_one).filter(|pid| executable(*pid) == executable(std::process::id()));
    all.filter_map(|pid| Process::open(pid).ok()).collect()
}

/// What becomes of them when one has stopped.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Killed,
    /// It and all that descend from it or from whom it descends, and the guardian before these.
    AllKilled,
    GoesOn,
    /// Until all is as it was, and then it is killed. Who waits for a child that is stopped gives it up.
    StaysStopped,
}

#[track_caller]
fn at_each_step_of(whose: u32, steps_min: u32) {
    common::in_namespaces(|| {
        let scratch = Scratch::new(&format!("cover-{whose}"));
        let holding = service();
        let service = holding.process.clone();
        let before = seen(&service);
        for at in 1.. {
            let mut ended = false;
            for fate in [Fate::Killed, Fate::AllKilled, Fate::GoesOn, Fate::StaysStopped] {
                let mut holder = holder(whose, at, &scratch, &service);
                let mut found = None;
                let has_ended = |pid: u32| Stat::of(pid).is_ok_and(|stat| stat.has_ended());
                holds_within(SOON, "one stops, or all end", || {
                    found = stopped(holder.pid());
                    found.is_some() || has_ended(holder.pid())
                });
                let step = format!("step {at} of {whose}, {fate:?}");
                match (&found, fate) {
                    (None, _) => {
                        assert_eq!(holder.end(), 0, "{step}");
                        ended = true;
                    }
                    (Some(found), Fate::Killed) => found.kill().expect("ours"),
                    (Some(_), Fate::AllKilled) => {
                        let below = proc::tree(holder.pid()).into_iter().filter_map(|pid| Process::open(pid).ok());
                        guardians().iter().chain(&below.collect::<Vec<_>>()).for_each(|one| {
                            one.kill().expect("ours");
                            assert!(one.ends_within(SOON));
                        });
                        let report = recover_in(&scratch.journals()).expect("a report");
                        assert!(report.is_clean(), "{step}: {report}");
                        assert_eq!(seen(&service), before, "{step}");
                    }
                    (Some(found), Fate::GoesOn) => found.signal(Signal::CONT).expect("ours"),
                    (Some(found), Fate::StaysStopped) => {
                        holds_within(SOON, &step, || seen(&service) == before);
                        found.kill().expect("ours");
                    }
                }
                if found.is_some() {
                    // Whom it has forked takes the same steps as it, each by itself.
                    holds_within(SOON, &step, || {
                        stopped(holder.pid()).iter().for_each(|again| drop(again.signal(Signal::CONT)));
                        has_ended(holder.pid())
                    });
                    // What its child or its guardian did not do, or undid, it may take for a failure.
                    assert!(matches!(holder.end(), 0 | 1 | 137), "{step}");
                }
                holds_within(SOON, &step, || seen(&service) == before && scratch.journal_names().is_empty());
                holds_within(SOON, "its guardian ends", || guardians().is_empty());
            }
            if ended {
                assert!(at > steps_min, "only {at} steps");
                println!("{} steps of {whose}", at - 1);
                break;
            }
        }
        holding.kill();
    });
}

#[test]
fn a_directory_is_as_it_was_when_who_leaves_no_room_in_it_is_struck_at_any_step() {
    at_each_step_of(HOLDER, 15);
}

#[test]
fn a_directory_is_as_it_was_when_the_process_that_covers_it_is_struck_at_any_step() {
    at_each_step_of(CHILD, 5);
}
