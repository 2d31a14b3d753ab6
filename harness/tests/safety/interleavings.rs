//! One of a run's processes is killed or stopped at some moment, drawn by a number: `WINDTUNNEL_INTERLEAVINGS` says how
//! many are, and `WINDTUNNEL_INTERLEAVING` which one is alone.

use crate::aftermath::{ENDS_WITHIN, SeenLoops, Struck, gone_after};
use crate::look::{Look, is_as_before, own_groups};
use crate::run::{Role, Run, is_root_of_the_machine, signal};
use crate::sandbox::{User, in_sandbox};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// So many in CI, for each user.
const INTERLEAVINGS: u64 = 15;
/// And on a processor that is emulated, where each takes several seconds.
const INTERLEAVINGS_EMULATED: u64 = 6;
/// How long a moment may take to come.
const COMES_WITHIN: Duration = Duration::from_secs(20);
/// How many lines a run prints, and a few more, for it to end by itself now and then.
const LINES: u64 = 74;

/// When.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// So long after the first process with this role is there.
    There(Role, Duration),
    /// So long after so many lines were printed: each is a step.
    Printed(u64, Duration),
    /// So long after the beginning.
    After(Duration),
}

/// What is done.
#[derive(Debug, Clone, Copy)]
enum Way {
    Kill,
    /// Killed after it has been stopped for a while.
    StopThenKill(Duration),
    /// It goes on after a while.
    StopThenContinue(Duration),
    /// It stays stopped, and after a while the supervisor is killed.
    StopForEver(Duration),
    /// It is killed, and so is, after a while, the supervisor.
    KillBoth(Duration),
    /// All at once that are in the supervisor's process group, as by `kill -9 -PGID`.
    KillGroup,
}

#[derive(Debug, Clone, Copy)]
struct Strike {
    moment: Moment,
    victim: Role,
    way: Way,
}

impl Strike {
    fn draw(number: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(number);
        let mut below = |most: u64| random.next_u64() % most;
        // As many short as long ones: what is short is next to the step.
        let mut delay = |most_us: u64| {
            let most = below(most_us) + 1;
            Duration::from_micros(below(most))
        };
        let (soon, later, time, pause) = (delay(30_000), delay(20_000), delay(2_500_000), delay(300_000));
        let victim = Role::ALL[below(9) as usize];
        let moment = match below(6) {
            0 => Moment::There(victim, soon),
            1 => Moment::There(Role::ALL[below(9) as usize], soon),
            2..5 => Moment::Printed(below(LINES), later),
            _ => Moment::After(time),
        };
        let way = match below(8) {
            0..3 => Way::Kill,
            3 => Way::StopThenKill(pause),
            4 => Way::StopThenContinue(pause),
            5 => Way::StopForEver(pause),
            6 => Way::KillBoth(pause),
            _ => Way::KillGroup,
        };
        Self { moment, victim, way }
    }

    /// Waits for the moment; whether it came before the run's end.
    fn comes(&self, run: &mut Run) -> bool {
        let (came, delay) = match self.moment {
            Moment::There(role, delay) => (run.until(COMES_WITHIN, |run| !run.processes(role).is_empty()), delay),
            Moment::Printed(lines, delay) => {
                (run.until(COMES_WITHIN, |run| run.text.lines().count() as u64 >= lines), delay)
            }
            Moment::After(delay) => (true, delay),
        };
        // Sleeping is exact to 50 µs or so; what comes next reads /proc, which takes longer.
        std::thread::sleep(delay);
        came
    }

    /// Strikes. Whom, if there was somebody: of those who are there, when the victim is not.
    fn strike(&self, run: &mut Run) -> Option<(Role, Struck)> {
        // The supervisor, who is always there, last.
        let mut roles = Role::ALL.map(|role| (role == Role::Supervisor, role < self.victim, role));
        roles.sort_unstable();
        let roles = [self.victim].into_iter().chain(roles.map(|(_, _, role)| role));
        let (victim, pid) = roles.into_iter().find_map(|role| Some((role, *run.processes(role).last()?)))?;
        let wait = |run: &mut Run, pause: Duration| run.until(pause, |_| false);
        match self.way {
            Way::Kill => signal(pid, Signal::KILL),
            Way::StopThenKill(pause) => {
                signal(pid, Signal::STOP);
                wait(run, pause);
                signal(pid, Signal::KILL);
            }
            Way::StopThenContinue(pause) => {
                signal(pid, Signal::STOP);
                wait(run, pause);
                signal(pid, Signal::CONT);
            }
            Way::StopForEver(pause) => {
                signal(pid, Signal::STOP);
                wait(run, pause);
                signal(run.supervisor, Signal::KILL);
            }
            Way::KillBoth(pause) => {
                signal(pid, Signal::KILL);
                wait(run, pause);
                signal(run.supervisor, Signal::KILL);
            }
            Way::KillGroup => {
                let group = i32::try_from(run.supervisor).ok().and_then(Pid::from_raw);
                let _ = kill_process_group(group.expect("a process's number"), Signal::KILL);
            }
        }
        // Whoever guards is not there any more, or cannot.
        let is_unguarded = victim == Role::Guardian && !matches!(self.way, Way::KillGroup | Way::StopThenContinue(_));
        Some((victim, Struck { pid, is_unguarded, stays_stopped: matches!(self.way, Way::StopForEver(_)) }))
    }
}

/// What came of one.
struct Outcome {
    victim: Option<Role>,
    /// How long it took until nothing was left.
    gone_after: Duration,
}

fn one(user: User, fixture: &str, strike: Strike, before: &Look) -> Result<Outcome, String> {
    let mut run = Run::fixture(user, fixture);
    let came = strike.comes(&mut run);
    let struck = if came { strike.strike(&mut run) } else { None };
    let (victim, struck) = struck.unzip();
    let gone_after = gone_after(&mut run, struck.as_ref(), before)?;
    Ok(Outcome { victim, gone_after })
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The test that has all classes which this user can have.
fn fixture(user: User) -> &'static str {
    let has_groups = user == User::Root && !own_groups().is_empty();
    if has_groups && is_root_of_the_machine() { "every_class_with_a_device" } else { "every_class" }
}

/// Without it, nobody would know that those who are struck were at work.
fn passes_when_nobody_is_struck(user: User) -> Result<String, String> {
    let before = Look::take();
    let mut run = Run::fixture(user, fixture(user));
    if !run.ends_within(ENDS_WITHIN) || !run.has_passed() {
        return Err(format!("it has not passed ({:?}):\n{}", run.end, run.text));
    }
    let gone = is_as_before(&before)?;
    Ok(format!("{} lines, gone {gone:?} later\n{}", run.text.lines().count(), run.text))
}

fn all(user: User) -> Result<String, String> {
    let before = Look::take();
    let is_emulated = std::env::var_os("WINDTUNNEL_EMULATED").is_some();
    let usual = if is_emulated { INTERLEAVINGS_EMULATED } else { INTERLEAVINGS };
    let numbers = match number("WINDTUNNEL_INTERLEAVING") {
        Some(one) => one..one + 1,
        None => 0..number("WINDTUNNEL_INTERLEAVINGS").unwrap_or(usual),
    };
    let fixture = fixture(user);
    let (mut failures, mut struck, mut slowest) = (String::new(), BTreeMap::<Role, u64>::new(), Duration::ZERO);
    let mut seen_loops = SeenLoops::default();
    let began = Instant::now();
    for number in numbers.clone() {
        let strike = Strike::draw(number);
        match one(user, fixture, strike, &before) {
            Ok(outcome) => {
                slowest = slowest.max(outcome.gone_after);
                if let Some(victim) = outcome.victim {
                    *struck.entry(victim).or_default() += 1;
                }
            }
            Err(reason) => {
                let _ = writeln!(failures, "interleaving {number} of {user:?}, {strike:?}: {reason}");
                eprintln!("interleaving {number} of {user:?}, {strike:?}: {reason}");
            }
        }
        seen_loops.look();
        if (number + 1) % 50 == 0 {
            eprintln!("{} interleavings of {user:?} in {:?}: {struck:?}", number + 1, began.elapsed());
        }
    }
    for left in seen_loops.left() {
        let _ = writeln!(failures, "a loop device stays: {left}");
    }
    if !failures.is_empty() {
        return Err(failures);
    }
    let count = numbers.end - numbers.start;
    Ok(format!("{count} interleavings in {:?}, gone within {slowest:?}, struck: {struck:?}", began.elapsed()))
}

#[test]
fn nothing_is_left_whoever_is_struck_when_a_privileged_user_runs_it() {
    in_sandbox(|| all(User::Root));
}

#[test]
fn nothing_is_left_whoever_is_struck_when_nobody_runs_it() {
    in_sandbox(|| all(User::Nobody));
}

#[test]
fn nothing_is_left_when_nobody_is_struck() {
    in_sandbox(|| passes_when_nobody_is_struck(User::Root));
    in_sandbox(|| passes_when_nobody_is_struck(User::Nobody));
}
