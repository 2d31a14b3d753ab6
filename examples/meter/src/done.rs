//! What came of a task.

use std::io;

/// What came of a task: how much, and why not more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) amount: u64,
    /// 0 if it was all.
    pub(crate) errno: u64,
}

impl Done {
    /// As much as was asked for.
    pub(crate) fn all(amount: u64) -> Self {
        Self { amount, errno: 0 }
    }

    /// As much until something was refused.
    pub(crate) fn until(amount: u64, error: &io::Error) -> Self {
        // What is none of the kernel's is no number of its either.
        let errno = error.raw_os_error().and_then(|errno| errno.try_into().ok()).unwrap_or(u64::MAX);
        Self { amount, errno }
    }

    /// What was asked for, or why it could not be done at all.
    pub(crate) fn of(result: io::Result<u64>) -> Self {
        result.map_or_else(|error| Self::until(0, &error), Self::all)
    }

    /// Does something until it is refused, or there is enough of it; it brings so much each time.
    pub(crate) fn step_by_step(most: u64, brings: u64, mut step: impl FnMut() -> io::Result<()>) -> Self {
        let mut amount = 0;
        while amount < most {
            if let Err(error) = step() {
                return Self::until(amount, &error);
            }
            amount += brings;
        }
        Self::all(amount)
    }

    /// Does something so many times, and counts what fails.
    pub(crate) fn failures(times: u64, mut attempt: impl FnMut() -> io::Result<()>) -> Self {
        let mut done = Self::all(0);
        for _ in 0..times {
            if let Err(error) = attempt() {
                done = Self::until(done.amount + 1, &error);
            }
        }
        done
    }
}

#[test]
fn what_is_refused_ends_a_task_and_what_fails_is_counted() {
    let mut left = 2;
    let mut attempt = || {
        left -= 1;
        if left < 0 { Err(io::Error::from_raw_os_error(28)) } else { Ok(()) }
    };
    assert_eq!(Done::step_by_step(40, 10, &mut attempt), Done { amount: 20, errno: 28 });
    assert_eq!(Done::failures(3, attempt), Done { amount: 3, errno: 28 });
    assert_eq!(Done::step_by_step(40, 10, || Ok(())), Done::all(40));
}
