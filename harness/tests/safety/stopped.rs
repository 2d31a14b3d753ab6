//! One of a run's processes is stopped and never goes on: the test ends all the same, and says why.

use crate::look::{Look, is_as_before};
use crate::run::{Role, Run, signal};
use crate::sandbox::{User, in_sandbox};
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// The fixture's limit, the time for last words, the time for being killed or a second run, and some for starting.
const ENDS_WITHIN: Duration = Duration::from_secs(60);
const BEGINS_WITHIN: Duration = Duration::from_secs(20);

fn ends_although_stopped(user: User) {
    let roles = [Role::Worker, Role::Outer, Role::Keeper, Role::Case, Role::Init, Role::Program];
    // All at once: most of the time they wait.
    std::thread::scope(|scope| {
        for role in roles {
            scope.spawn(move || in_sandbox(|| one(user, role)));
        }
    });
}

fn one(user: User, role: Role) -> Result<String, String> {
    let before = Look::take();
    let mut run = Run::fixture(user, "is_ended_after_eight_seconds");
    let blows = run.until(BEGINS_WITHIN, |run| run.text.contains(" begins"));
    let victim = run.processes(role).last().copied();
    let Some(victim) = victim.filter(|_| blows) else {
        return Err(format!("no {role:?} to stop; it printed:\n{}", run.text));
    };
    signal(victim, Signal::STOP);
    let since = Instant::now();
    if !run.ends_within(ENDS_WITHIN) {
        let diff = Look::take().diff(&before);
        return Err(format!("{role:?} is stopped, and it waits for ever:\n{diff}\n{}", run.text));
    }
    let after = since.elapsed();
    let gone = is_as_before(&before).map_err(|diff| format!("{role:?} was stopped:\n{diff}"))?;
    Ok(format!("{role:?} stopped: over after {after:?}, gone {gone:?} later, {:?}", run.end))
}

#[test]
fn a_test_ends_although_one_of_its_processes_is_stopped_for_ever() {
    ends_although_stopped(User::Root);
}

#[test]
fn a_test_of_nobodys_ends_although_one_of_its_processes_is_stopped_for_ever() {
    ends_although_stopped(User::Nobody);
}
