//! One of a run's processes is stopped and never goes on: the test ends all the same, and says why.

use crate::look::{Look, is_as_before};
use crate::run::{Role, Run, signal};
use crate::sandbox::{User, in_sandbox};
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// The fixture's limit, the time for last words, a second run, and some for starting.
const ENDS_WITHIN: Duration = Duration::from_secs(25);

fn ends_although_stopped(user: User) {
    in_sandbox(|| {
        let before = Look::take();
        let mut report = String::new();
        for role in [Role::Worker, Role::Outer, Role::Keeper, Role::Case, Role::Init, Role::Program] {
            let mut run = Run::fixture(user, "is_ended_after_four_seconds");
            let blows = run.until(Duration::from_secs(20), |run| run.text.contains(" begins"));
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
            report += &format!("{role:?} stopped: over after {after:?}, gone {gone:?} later, {:?}\n", run.end);
        }
        Ok(report)
    });
}

#[test]
fn a_test_ends_although_one_of_its_processes_is_stopped_for_ever() {
    ends_although_stopped(User::Root);
}

#[test]
fn nobodys_test_ends_although_one_of_its_processes_is_stopped_for_ever() {
    ends_although_stopped(User::Nobody);
}
