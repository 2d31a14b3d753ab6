//! Somebody is killed or stopped at each step of starting a world, of applying a fault and of healing it, for each kind
//! of fault: by number, none left out.
//!
//! First each test of `kinds.rs` runs unharmed, and all steps of all its processes are recorded. Then it is run again
//! for each step that is its own. When that is reached, whoever has reached it, the supervisor, a host or its program
//! is killed, or stopped and continued, or stopped for ever, in which case the supervisor is killed after a while. Of a
//! step that comes more than once, the first time and the last are taken. A guardian has something to do when its
//! holder has died: so that is killed first, and then its guardian is struck at each step of undoing.
//!
//! That is some five thousand runs for each user. CI takes a part of them, another one each day, and says which; all of
//! them take a quarter of an hour for each user, and a few are chosen by what they are called:
//!
//! ```text
//! WINDTUNNEL_STEPS=all cargo test -p windtunnel --test safety steps -- --nocapture
//! WINDTUNNEL_STEPS=7/60 cargo test -p windtunnel --test safety steps -- --nocapture
//! WINDTUNNEL_STEPS="partition: case" cargo test -p windtunnel --test safety steps -- --nocapture
//! ```

use crate::aftermath::{ENDS_WITHIN, SeenLoops, Struck, gone_after};
use crate::kinds;
use crate::look::{Look, is_as_before, own_groups};
use crate::run::{Role, Run, is_root_of_the_machine, signal};
use crate::sandbox::{User, in_sandbox};
use crate::tape::{ROLES, Step, Tape};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter, Write as _};
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::time::{Duration, Instant, SystemTime};

/// So many strikes in CI, for each user.
const STRIKES: usize = 100;
/// How many sandboxes strike at the same time: most of the time they wait.
const LANES: usize = 3;
/// How long a step may take to come.
const COMES_WITHIN: Duration = Duration::from_secs(20);
/// How often a run may go past a step that another one took: threads come in any order.
const ATTEMPTS: usize = 3;
/// How long whoever is stopped stands still.
const PAUSE: Duration = Duration::from_millis(60);

/// Who is struck when the step is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whom {
    /// Who has reached it.
    Itself,
    Supervisor,
    /// A host's first process, and the host with it.
    Init,
    /// A host's program.
    Program,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Kill,
    StopThenContinue,
    /// It stays stopped, and after a while the supervisor is killed.
    StopForEver,
}

const WHOM: [Whom; 4] = [Whom::Itself, Whom::Supervisor, Whom::Init, Whom::Program];
const HOW: [How; 3] = [How::Kill, How::StopThenContinue, How::StopForEver];

/// A run, and where it is struck.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Point {
    test: String,
    /// Whether the outer process was killed before, so that its guardian has something to do.
    orphaned: bool,
    step: Step,
    /// The how manieth time that the step is reached.
    ordinal: u64,
}

#[derive(Debug, Clone)]
struct Strike {
    point: Point,
    whom: Whom,
    how: How,
}

/// What came of a strike.
enum Came {
    /// The step did not come.
    Not,
    /// It came, and there was nobody to be struck, yet or any more.
    ForNobody,
    Struck,
}

impl Display for Strike {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { point: Point { test, orphaned, step: Step { role, name }, ordinal }, whom, how } = self;
        let orphaned = if *orphaned { ", orphaned" } else { "" };
        write!(f, "{test}{orphaned}: {}: {name} ({ordinal}): {how:?} {whom:?}", ROLES[*role])
    }
}

impl Strike {
    /// All at a point. Who has lost its outer process loses its hosts too.
    fn all_at(point: &Point) -> Vec<Self> {
        let whom = WHOM.into_iter().filter(|whom| !point.orphaned || matches!(whom, Whom::Itself | Whom::Supervisor));
        whom.flat_map(|whom| HOW.map(|how| Self { point: point.clone(), whom, how })).collect()
    }

    fn victim(&self, run: &Run, tape: &Tape) -> Option<u32> {
        match self.whom {
            Whom::Itself => tape.who_waits(),
            Whom::Supervisor => Some(run.supervisor),
            Whom::Init => run.processes(Role::Init).last().copied(),
            Whom::Program => run.processes(Role::Program).last().copied(),
        }
    }

    /// Strikes, while somebody waits at the step.
    fn carry_out(&self, run: &mut Run, tape: &Tape) -> Option<Struck> {
        let pid = self.victim(run, tape)?;
        let wait = |run: &mut Run| run.until(PAUSE, |_| false);
        match self.how {
            How::Kill => signal(pid, Signal::KILL),
            How::StopThenContinue => {
                signal(pid, Signal::STOP);
                tape.let_go();
                wait(run);
                signal(pid, Signal::CONT);
            }
            How::StopForEver => {
                signal(pid, Signal::STOP);
                tape.let_go();
                wait(run);
                signal(run.supervisor, Signal::KILL);
            }
        }
        let is_guardian = self.whom == Whom::Itself && ROLES[self.point.step.role] == "guardian";
        let is_unguarded = is_guardian && self.how != How::StopThenContinue;
        Some(Struck { pid, is_unguarded, stays_stopped: self.how == How::StopForEver })
    }

    /// What came of it; an error if something is left.
    fn one(&self, user: User, before: &Look) -> Result<Came, String> {
        let Point { test, orphaned, step, ordinal } = &self.point;
        let tape = Tape::make();
        let mut run = if *orphaned {
            orphaned_run(user, test, &tape, || tape.wait_at(step, *ordinal))?
        } else {
            tape.wait_at(step, *ordinal);
            start(user, test)
        };
        let came = run.until(COMES_WITHIN, |_| tape.is_reached());
        let struck = if came { self.carry_out(&mut run, &tape) } else { None };
        tape.let_go();
        gone_after(&mut run, struck.as_ref(), before)?;
        Ok(match struck {
            _ if !came => Came::Not,
            None => Came::ForNobody,
            Some(_) => Came::Struck,
        })
    }
}

fn start(user: User, test: &str) -> Run {
    Run::start(user, &["--exact", &format!("kinds::{test}"), "--test-threads=1"])
}

/// A run whose outer process is killed when the world is there, just after this was done.
fn orphaned_run(user: User, test: &str, tape: &Tape, just_before: impl FnOnce()) -> Result<Run, String> {
    let outer = ROLES.iter().position(|role| *role == "outer").expect("a role");
    tape.wait_at(&Step { role: outer, name: "the keeper is forked".to_owned() }, 1);
    let mut run = start(user, test);
    let came = run.until(COMES_WITHIN, |_| tape.is_reached());
    let outer = tape.who_waits().filter(|_| came).ok_or_else(|| format!("there is no world:\n{}", run.text))?;
    just_before();
    signal(outer, Signal::KILL);
    Ok(run)
}

/// How often each step comes when nobody is struck.
fn steps_of(user: User, test: &str, before: &Look) -> Result<BTreeMap<Step, u64>, String> {
    let tape = Tape::make();
    let mut run = start(user, test);
    if !run.ends_within(ENDS_WITHIN) || !run.has_passed() {
        return Err(format!("{test} has not passed ({:?}):\n{}", run.end, run.text));
    }
    is_as_before(before).map_err(|diff| format!("{test} has left:\n{diff}"))?;
    Ok(counted(tape.recorded()?))
}

/// How often each step comes when the outer process was killed.
fn steps_of_an_orphan(user: User, test: &str, before: &Look) -> Result<BTreeMap<Step, u64>, String> {
    let tape = Tape::make();
    let mut run = orphaned_run(user, test, &tape, || tape.record())?;
    gone_after(&mut run, None, before)?;
    let mut steps = tape.recorded()?;
    steps.retain(|step| ROLES[step.role] == "guardian");
    Ok(counted(steps))
}

fn counted(steps: Vec<Step>) -> BTreeMap<Step, u64> {
    let mut counts = BTreeMap::new();
    steps.into_iter().for_each(|step| *counts.entry(step).or_default() += 1);
    counts
}

/// Those of a test's steps that are its own; of one that comes more than once, the first and the last time.
fn own(test: &str, orphaned: bool, steps: &BTreeMap<Step, u64>, others: &BTreeMap<Step, u64>) -> Vec<Point> {
    let mut points = Vec::new();
    for (step, &count) in steps {
        let before = others.get(step).copied().unwrap_or(0);
        let mut ordinals = vec![before + 1, count];
        ordinals.dedup();
        let point = |ordinal| Point { test: test.to_owned(), orphaned, step: step.clone(), ordinal };
        points.extend(ordinals.into_iter().filter(|_| count > before).map(point));
    }
    points
}

/// All steps that are to be struck, of all kinds.
fn record(user: User) -> Result<Vec<Point>, String> {
    let before = Look::take();
    let [calm, kinds @ ..] = kinds::NAMES else { return Err("there are no tests".to_owned()) };
    let good_weather = steps_of(user, calm, &before)?;
    let mut all = own(calm, false, &good_weather, &BTreeMap::new());
    for test in kinds {
        let points = own(test, false, &steps_of(user, test, &before)?, &good_weather);
        if points.is_empty() {
            return Err(format!("{test} has no step of its own"));
        }
        all.extend(points);
    }
    let has_groups = user == User::Root && !own_groups().is_empty();
    if has_groups {
        let points = own(calm, true, &steps_of_an_orphan(user, calm, &before)?, &good_weather);
        if points.is_empty() {
            return Err("a guardian does nothing for the dead".to_owned());
        }
        all.extend(points);
    }
    for (role, name) in ROLES.iter().enumerate() {
        let is_there = all.iter().any(|point| point.step.role == role);
        let is_expected = match *name {
            "go-between" | "guardian" => has_groups,
            "holder" => has_groups && is_root_of_the_machine(),
            _ => true,
        };
        if is_expected && !is_there {
            return Err(format!("no {name} takes a step"));
        }
    }
    Ok(all)
}

/// What `WINDTUNNEL_STEPS` chooses, and in words, what that is.
fn chosen(strikes: Vec<Strike>) -> (Vec<Strike>, String) {
    let asked = std::env::var("WINDTUNNEL_STEPS").unwrap_or_default();
    let part = asked.split_once('/').and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
    let (part, of): (usize, usize) = match (asked.as_str(), part) {
        ("all", _) => return (strikes, "all".to_owned()),
        (_, Some(part)) => part,
        ("", None) => {
            // Prime to the twelve strikes at a step, so that a part has some of each.
            let is_prime_to = |of: &usize| !of.is_multiple_of(2) && !of.is_multiple_of(3);
            let of = (strikes.len().div_ceil(STRIKES)..).find(is_prime_to).unwrap_or(1);
            let days = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs() / 86_400) as usize;
            (days % of, of)
        }
        (text, None) => {
            let text = text.to_owned();
            return (strikes.into_iter().filter(|strike| strike.to_string().contains(&text)).collect(), text);
        }
    };
    let some = strikes.into_iter().enumerate().filter(|(at, _)| at % of.max(1) == part);
    (some.map(|(_, strike)| strike).collect(), format!("WINDTUNNEL_STEPS={part}/{of}"))
}

/// Strikes at every so-manieth of these.
fn lane(user: User, strikes: &[Strike], lane: usize) -> Result<String, String> {
    let before = Look::take();
    let (mut failures, mut missed, mut seen_loops) = (String::new(), Vec::new(), SeenLoops::default());
    let (began, mut struck) = (Instant::now(), 0);
    let own: Vec<&Strike> = strikes.iter().skip(lane).step_by(LANES).collect();
    for (number, strike) in own.iter().enumerate() {
        let mut came = Ok(Came::Not);
        for _ in 0..ATTEMPTS {
            if !matches!(came, Ok(Came::Not)) {
                break;
            }
            came = strike.one(user, &before);
            seen_loops.look();
        }
        match came {
            Ok(Came::Struck) => struck += 1,
            Ok(Came::ForNobody) => {}
            Ok(Came::Not) => missed.push(strike.to_string()),
            Err(reason) => {
                eprintln!("{strike} of {user:?}: {reason}");
                let _ = writeln!(failures, "{strike} of {user:?}: {reason}");
            }
        }
        if (number + 1) % 100 == 0 {
            eprintln!("{} of {} strikes of {user:?} in {:?}", number + 1, own.len(), began.elapsed());
        }
    }
    for left in seen_loops.left() {
        let _ = writeln!(failures, "a loop device stays: {left}");
    }
    // What comes by chance comes now and then; what never comes is no step.
    if missed.len() * 10 > own.len().max(50) {
        let _ = writeln!(failures, "steps that did not come again:");
        let _ = missed.iter().try_for_each(|strike| writeln!(failures, "{strike}"));
    }
    if !failures.is_empty() {
        return Err(failures);
    }
    let (count, took) = (own.len(), began.elapsed());
    Ok(format!("{count} runs in {took:?}, {struck} of them struck; steps that did not come again: {missed:?}"))
}

/// The steps of all kinds, recorded in a sandbox of their own. None where there can be none.
fn recorded(user: User) -> Vec<Point> {
    let mut list: File = memfd_create("steps", MemfdFlags::CLOEXEC).expect("a file").into();
    in_sandbox(|| {
        let began = Instant::now();
        let points = record(user)?;
        serde_json::to_writer(&list, &points).map_err(|error| error.to_string())?;
        Ok(format!("{} steps of {user:?}, recorded in {:?}", points.len(), began.elapsed()))
    });
    let mut text = String::new();
    list.rewind().and_then(|()| list.read_to_string(&mut text)).expect("a text");
    if text.is_empty() { Vec::new() } else { serde_json::from_str(&text).expect("what was written") }
}

fn all(user: User) {
    let points = recorded(user);
    if points.is_empty() {
        return; // It was said why.
    }
    let strikes = points.iter().flat_map(Strike::all_at);
    let (strikes, what) = chosen(strikes.collect());
    println!("{} strikes of {user:?}: {what}", strikes.len());
    let strikes = &strikes;
    // One that panics makes this panic.
    std::thread::scope(|scope| {
        for number in 0..LANES {
            scope.spawn(move || in_sandbox(|| lane(user, strikes, number)));
        }
    });
}

#[test]
fn nothing_is_left_when_a_privileged_users_run_is_struck_at_any_step() {
    all(User::Root);
}

#[test]
fn nothing_is_left_when_nobodys_run_is_struck_at_any_step() {
    all(User::Nobody);
}
