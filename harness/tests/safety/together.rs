//! Four real tests at once.

use crate::look::{Look, is_as_before};
use crate::run::Run;
use crate::sandbox::{User, in_sandbox};
use std::time::{Duration, Instant};

/// How often in CI; `WINDTUNNEL_TIMES` says otherwise.
const TIMES: u32 = 2;

fn pass_together(user: User) {
    in_sandbox(|| {
        let before = Look::take();
        let times = std::env::var("WINDTUNNEL_TIMES").ok().and_then(|times| times.parse().ok()).unwrap_or(TIMES);
        let began = Instant::now();
        for time in 1..=times {
            let mut run = Run::start(user, &["fixture::at_once::", "--test-threads=4"]);
            if !run.ends_within(Duration::from_secs(60)) || !run.has_passed() {
                return Err(format!("time {time}: {:?}\n{}", run.end, run.text));
            }
            if !run.text.contains("4 passed") {
                return Err(format!("these are not four:\n{}", run.text));
            }
            is_as_before(&before).map_err(|diff| format!("time {time} left:\n{diff}"))?;
        }
        Ok(format!("{times} times four tests in {:?}", began.elapsed()))
    });
}

#[test]
fn four_tests_do_not_disturb_each_other() {
    pass_together(User::Root);
}

#[test]
fn four_tests_of_nobody_do_not_disturb_each_other() {
    pass_together(User::Nobody);
}
