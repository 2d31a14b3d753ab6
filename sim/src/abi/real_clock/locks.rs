//! The pthread functions that wait until a clock shows a time.

#![expect(clippy::undocumented_unsafe_blocks, reason = "SAFETY: callers promise what the man pages ask")]

use super::page::{Page, page};
use super::shown::{Shown, Slice, wait_until};
use super::{errno, fail, timespec_of};
use crate::abi::clock::nanoseconds;
use crate::abi::sync::condition_clock;
use crate::carrier::real;
use libc::{ETIMEDOUT, c_int, clockid_t, pthread_cond_t, pthread_mutex_t, pthread_rwlock_t, sem_t, timespec};

/// A time limit that there is something to translate of: page, clock and what it shows then.
unsafe fn limited(clock: clockid_t, time: *const timespec) -> Option<(&'static Page, Shown, i64)> {
    let page = page()?;
    let clock = match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_MONOTONIC => Shown::of(clock)?,
        _ => return None, // refused by the genuine function
    };
    let ns = unsafe { time.as_ref().and_then(nanoseconds) }?;
    Some((page, clock, ns))
}

/// Takes a lock by a function that waits by the genuine wall clock, whatever the lock (nptl refuses any other for locks
/// with priority inheritance).
fn take((page, clock, ns): (&Page, Shown, i64), mut take_until: impl FnMut(*const timespec) -> c_int) -> c_int {
    let attempt = |slice: Slice| {
        let until = timespec_of(slice.until_wall_ns());
        Some(take_until(&raw const until)).filter(|error| *error != ETIMEDOUT)
    };
    wait_until(page, clock, ns, attempt).unwrap_or(ETIMEDOUT)
}

/// Takes a lock within a time limit, if there is something to translate of it, by the function that waits by the wall
/// clock; and else as the call was made.
unsafe fn within<L: Copy>(
    clock: clockid_t,
    time: *const timespec,
    lock: L,
    timed: unsafe fn(L, *const timespec) -> c_int,
    genuine: impl FnOnce() -> c_int,
) -> c_int {
    match unsafe { limited(clock, time) } {
        None => genuine(),
        Some(limit) => take(limit, |until| unsafe { timed(lock, until) }),
    }
}

/// pthread_mutex_timedlock(3p).
pub(crate) unsafe extern "C" fn pthread_mutex_timedlock(mutex: *mut pthread_mutex_t, time: *const timespec) -> c_int {
    unsafe {
        within(libc::CLOCK_REALTIME, time, mutex, real::pthread_mutex_timedlock, || {
            real::pthread_mutex_timedlock(mutex, time)
        })
    }
}

/// pthread_mutex_clocklock(3p).
pub(crate) unsafe extern "C" fn pthread_mutex_clocklock(
    mutex: *mut pthread_mutex_t,
    clock: clockid_t,
    time: *const timespec,
) -> c_int {
    unsafe {
        within(clock, time, mutex, real::pthread_mutex_timedlock, || real::pthread_mutex_clocklock(mutex, clock, time))
    }
}

/// pthread_rwlock_timedrdlock(3p).
pub(crate) unsafe extern "C" fn pthread_rwlock_timedrdlock(
    lock: *mut pthread_rwlock_t,
    time: *const timespec,
) -> c_int {
    unsafe {
        within(libc::CLOCK_REALTIME, time, lock, real::pthread_rwlock_timedrdlock, || {
            real::pthread_rwlock_timedrdlock(lock, time)
        })
    }
}

/// pthread_rwlock_clockrdlock(3p).
pub(crate) unsafe extern "C" fn pthread_rwlock_clockrdlock(
    lock: *mut pthread_rwlock_t,
    clock: clockid_t,
    time: *const timespec,
) -> c_int {
    unsafe {
        within(clock, time, lock, real::pthread_rwlock_timedrdlock, || {
            real::pthread_rwlock_clockrdlock(lock, clock, time)
        })
    }
}

/// pthread_rwlock_timedwrlock(3p).
pub(crate) unsafe extern "C" fn pthread_rwlock_timedwrlock(
    lock: *mut pthread_rwlock_t,
    time: *const timespec,
) -> c_int {
    unsafe {
        within(libc::CLOCK_REALTIME, time, lock, real::pthread_rwlock_timedwrlock, || {
            real::pthread_rwlock_timedwrlock(lock, time)
        })
    }
}

/// pthread_rwlock_clockwrlock(3p).
pub(crate) unsafe extern "C" fn pthread_rwlock_clockwrlock(
    lock: *mut pthread_rwlock_t,
    clock: clockid_t,
    time: *const timespec,
) -> c_int {
    unsafe {
        within(clock, time, lock, real::pthread_rwlock_timedwrlock, || {
            real::pthread_rwlock_clockwrlock(lock, clock, time)
        })
    }
}

/// sem_wait(3) within a time limit.
unsafe fn take_semaphore(semaphore: *mut sem_t, limit: (&Page, Shown, i64)) -> c_int {
    let error = take(limit, |until| match unsafe { real::sem_timedwait(semaphore, until) } {
        0 => 0,
        _ => errno(),
    });
    if error == 0 { 0 } else { fail(error) }
}

/// sem_timedwait(3).
pub(crate) unsafe extern "C" fn sem_timedwait(semaphore: *mut sem_t, time: *const timespec) -> c_int {
    unsafe {
        match limited(libc::CLOCK_REALTIME, time) {
            None => real::sem_timedwait(semaphore, time),
            Some(limit) => take_semaphore(semaphore, limit),
        }
    }
}

/// sem_clockwait(3).
pub(crate) unsafe extern "C" fn sem_clockwait(semaphore: *mut sem_t, clock: clockid_t, time: *const timespec) -> c_int {
    unsafe {
        match limited(clock, time) {
            None => real::sem_clockwait(semaphore, clock, time),
            Some(limit) => take_semaphore(semaphore, limit),
        }
    }
}

/// Waits for one slice only. When that has passed and the time has not come, the caller is woken for nothing, which
/// pthread_cond_wait(3p) allows: in the meantime a signal may have gone to nobody, so he has to look for himself.
unsafe fn wait_for_condition(
    condition: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    (page, clock, ns): (&Page, Shown, i64),
) -> c_int {
    const FOR_NOTHING: c_int = 0;
    let mut slices = 0;
    let attempt = |slice: Slice| {
        slices += 1;
        if slices > 1 {
            return Some(FOR_NOTHING);
        }
        let until = timespec_of(slice.until_ns);
        let error = unsafe { real::pthread_cond_clockwait(condition, mutex, libc::CLOCK_MONOTONIC, &raw const until) };
        Some(error).filter(|error| *error != ETIMEDOUT)
    };
    wait_until(page, clock, ns, attempt).unwrap_or(ETIMEDOUT)
}

/// pthread_cond_timedwait(3p).
pub(crate) unsafe extern "C" fn pthread_cond_timedwait(
    condition: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    time: *const timespec,
) -> c_int {
    unsafe {
        match limited(condition_clock(condition), time) {
            None => real::pthread_cond_timedwait(condition, mutex, time),
            Some(limit) => wait_for_condition(condition, mutex, limit),
        }
    }
}

/// pthread_cond_clockwait(3p).
pub(crate) unsafe extern "C" fn pthread_cond_clockwait(
    condition: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    clock: clockid_t,
    time: *const timespec,
) -> c_int {
    unsafe {
        match limited(clock, time) {
            None => real::pthread_cond_clockwait(condition, mutex, clock, time),
            Some(limit) => wait_for_condition(condition, mutex, limit),
        }
    }
}
