//! Who has the clocks of others wrong is killed or stopped at each step of that: all of them are as they were, also of
//! processes that were forked meanwhile.

#[path = "common/due.rs"]
mod due;
#[path = "common/family.rs"]
mod family;
#[path = "common/victim.rs"]
mod victim;
mod victims;

use family::{APART, Family, SECOND, is_possible};
use rustix::process::Signal;
use std::fs;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use victim::Picture;
use victims::{Scratch, Victim, holds_within};
use windtunnel_inject::Injection as _;
use windtunnel_inject::clock::ForeignClocks;
use windtunnel_inject::journal::{Journal, Settings};
use windtunnel_inject::process::proc::Stat;
use windtunnel_inject::step;

const LEASE: Duration = Duration::from_millis(300);
/// After so long its guardian acts for one that is stopped.
const STOPPED_MAX: Duration = Duration::from_millis(50);
/// For what comes within milliseconds on a machine that has nothing else to do.
const SOON: Duration = Duration::from_secs(10);
/// A clock is not set wrong and right again in fewer steps.
const STEPS_MIN: u32 = 60;

/// Who stops: its guardian, which it forks, takes steps of its own.
static HOLDER: AtomicU32 = AtomicU32::new(0);

fn stop(_name: &'static str) {
    if std::process::id() == HOLDER.load(Ordering::Relaxed) {
        due::comes(due::to_itself);
    }
}

/// Sets clocks wrong and right again, and stops at this step.
fn holder(at: u32, scratch: &Scratch, family: &Family) -> Victim {
    let (directory, target) = (scratch.journals(), family.target());
    Victim::ending_with(&[target.process().expect("a process").handle.as_fd()], || {
        due::at(at, Signal::STOP);
        HOLDER.store(std::process::id(), Ordering::Relaxed);
        step::watch(stop);
        let journal = Journal::open_with(Settings { directory, stopped_max: Some(STOPPED_MAX) }).expect("a journal");
        let clocks = ForeignClocks::new(&journal, LEASE).expect("clocks");
        clocks.follow(&target).expect("a target");
        let mut one = clocks.skew(500 * SECOND, false).expect("a skew");
        let other = clocks.drift(100_000, true).expect("a drift");
        one.heal().expect("healed");
        drop(other);
        clocks.release().expect("as they were found");
        0
    })
}

/// Whether all threads of a process are stopped.
fn stands_still(pid: u32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut stats = tasks.map(|task| fs::read_to_string(task.path().join("stat")).unwrap_or_default());
    stats.all(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')))
}

fn has_ended(pid: u32) -> bool {
    Stat::of(pid).is_ok_and(|stat| stat.has_ended())
}

/// What becomes of one that has stopped.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Killed,
    /// It goes on. What its guardian has undone meanwhile it may take for somebody else's doing, and fail.
    GoesOn,
    /// Its guardian acts, and then it dies. But while it holds a process that one stands still as well.
    StaysStopped,
}

#[test]
fn clocks_are_as_they_were_when_who_has_them_wrong_is_killed_or_stopped_at_any_step() {
    if !is_possible() {
        return;
    }
    let scratch = Scratch::new("clock-steps");
    for at in 1.. {
        let mut family = Family::start();
        let before = family.pictures().remove(0);
        let mut holder = holder(at, &scratch, &family);
        holds_within(SOON, "it stops, or ends", || stands_still(holder.pid()) || has_ended(holder.pid()));
        let has_ended = has_ended(holder.pid());
        let is_held = Stat::of(family.pids[0]).expect("a victim").state == 't';
        if !is_held {
            family.grow(); // which nobody notices before the next step
        }
        let is_as_before = |family: &Family| family.pictures().iter().all(|now| now.differs(&before).is_empty());
        let fate = [Fate::Killed, Fate::GoesOn, Fate::StaysStopped][at as usize % 3];
        match fate {
            _ if has_ended => assert_eq!(holder.end(), 0),
            Fate::Killed => holder.process.kill().expect("ours"),
            Fate::GoesOn => {
                holder.process.signal(Signal::CONT).expect("ours");
                assert_eq!(holder.end(), 0, "step {at}");
            }
            Fate::StaysStopped => {
                let what = format!("step {at}: the guardian undoes it while its holder is stopped");
                holds_within(SOON, &what, || is_held || is_as_before(&family));
                holder.process.kill().expect("ours");
            }
        }
        let what = || format!("step {at}, {fate:?}: {:#?}", before.differs(&Picture::of(family.pids[0])));
        holds_within(SOON, &what(), || is_as_before(&family) && scratch.journal_names().is_empty());
        for member in 0..family.pids.len() {
            let ahead = family.ahead_ns(member);
            assert!(ahead.abs() < APART, "step {at}, {fate:?}: {member} is ahead by {ahead}");
        }
        if has_ended {
            assert!(at > STEPS_MIN, "only {at} steps");
            println!("{} steps", at - 1);
            return;
        }
    }
}
