//! Sleeping, and waiting on words: clock_nanosleep(2), futex(2).

#![expect(clippy::undocumented_unsafe_blocks, reason = "SAFETY: callers promise what the man pages ask")]

use super::page::{Page, page};
use super::shown::{Shown, Slice, left_ns, wait_for, wait_until};
use super::{errno, fail, timespec_of};
use crate::abi::clock::nanoseconds;
use crate::carrier::real;
use libc::{c_int, c_long, c_uint, c_void, clockid_t, timespec};

/// Sleeps through a slice: `None` when it has passed.
unsafe fn sleep_through(slice: Slice) -> Option<c_int> {
    let until = timespec_of(slice.until_ns);
    let monotonic = libc::CLOCK_MONOTONIC;
    match unsafe { real::clock_nanosleep(monotonic, libc::TIMER_ABSTIME, &raw const until, std::ptr::null_mut()) } {
        0 => None,
        error => Some(error),
    }
}

/// Sleeps for a length of time: 0 or `EINTR`, and then what is left of it.
unsafe fn sleep_for(page: &Page, ns: i64, left: *mut timespec) -> c_int {
    unsafe {
        let began_ns = Shown::Monotonic.shows(page);
        let Some(error) = wait_for(page, ns, |slice| sleep_through(slice)) else { return 0 };
        if !left.is_null() {
            *left = timespec_of(left_ns(page, began_ns, ns));
        }
        error
    }
}

/// clock_nanosleep(2). Answers the error itself.
pub(crate) unsafe extern "C" fn clock_nanosleep(
    id: clockid_t,
    flags: c_int,
    request: *const timespec,
    left: *mut timespec,
) -> c_int {
    unsafe {
        // The genuine one knows what is to be refused, and sleeps by clocks that the page says nothing of.
        let clock = match id {
            libc::CLOCK_REALTIME | libc::CLOCK_MONOTONIC | libc::CLOCK_BOOTTIME | libc::CLOCK_TAI => Shown::of(id),
            _ => None,
        };
        let asked = page().zip(clock).zip(request.as_ref().and_then(nanoseconds));
        let Some(((page, clock), ns)) = asked else { return real::clock_nanosleep(id, flags, request, left) };
        if flags & libc::TIMER_ABSTIME != 0 {
            return wait_until(page, clock, ns, |slice| sleep_through(slice)).unwrap_or(0);
        }
        sleep_for(page, ns, left)
    }
}

/// nanosleep(2).
pub(crate) unsafe extern "C" fn nanosleep(request: *const timespec, left: *mut timespec) -> c_int {
    unsafe {
        let asked = page().zip(request.as_ref().and_then(nanoseconds));
        let Some((page, ns)) = asked else { return real::nanosleep(request, left) };
        match sleep_for(page, ns, left) {
            0 => 0,
            error => fail(error),
        }
    }
}

/// usleep(3).
pub(crate) unsafe extern "C" fn usleep(microseconds: c_uint) -> c_int {
    unsafe {
        let Some(page) = page() else { return real::usleep(microseconds) };
        match sleep_for(page, i64::from(microseconds) * 1000, std::ptr::null_mut()) {
            0 => 0,
            error => fail(error),
        }
    }
}

/// sleep(3).
pub(crate) unsafe extern "C" fn sleep(seconds: c_uint) -> c_uint {
    unsafe {
        let Some(page) = page() else { return real::sleep(seconds) };
        let mut left = timespec_of(0);
        match sleep_for(page, i64::from(seconds) * 1_000_000_000, &raw mut left) {
            0 => 0,
            // As glibc rounds it (sysdeps/posix/sleep.c).
            _ => left.tv_sec as c_uint + c_uint::from(left.tv_nsec >= 500_000_000),
        }
    }
}

/// Calls by number that read a clock or wait by one; whatever else is asked for is the genuine kernel's.
pub(crate) unsafe extern "C" fn syscall(
    number: c_long,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> c_long {
    unsafe {
        let genuine = || real::syscall(number, a, b, c, d, e, f);
        let Some(page) = page() else { return genuine() };
        match number {
            libc::SYS_futex => timed_futex(page, [a, b, c, d, e, f]).unwrap_or_else(genuine),
            libc::SYS_clock_gettime => c_long::from(super::clock_gettime(a as clockid_t, b as *mut timespec)),
            libc::SYS_gettimeofday => c_long::from(super::gettimeofday(a as *mut libc::timeval, b as *mut c_void)),
            libc::SYS_time => super::time(a as *mut libc::time_t),
            libc::SYS_nanosleep => c_long::from(nanosleep(a as *const timespec, b as *mut timespec)),
            libc::SYS_clock_nanosleep => {
                let slept = clock_nanosleep(a as clockid_t, b as c_int, c as *const timespec, d as *mut timespec);
                c_long::from(if slept == 0 { 0 } else { fail(slept) })
            }
            _ => genuine(),
        }
    }
}

/// A wait on a word with a time limit; `None` for every other operation of futex(2).
unsafe fn timed_futex(page: &Page, [word, op, value, time, second, bits]: [usize; 6]) -> Option<c_long> {
    let op = op as c_int;
    let ns = unsafe { (time as *const timespec).as_ref() };
    let (clock, bits) = match op & libc::FUTEX_CMD_MASK {
        libc::FUTEX_WAIT if op & libc::FUTEX_CLOCK_REALTIME == 0 => (None, libc::FUTEX_BITSET_MATCH_ANY as usize),
        libc::FUTEX_WAIT_BITSET if op & libc::FUTEX_CLOCK_REALTIME != 0 => (Some(Shown::WALL), bits),
        libc::FUTEX_WAIT_BITSET => (Some(Shown::Monotonic), bits),
        _ => return None,
    };
    let ns = nanoseconds(ns?)?;
    let op = op & !(libc::FUTEX_CMD_MASK | libc::FUTEX_CLOCK_REALTIME) | libc::FUTEX_WAIT_BITSET;
    let attempt = |slice: Slice| {
        let until = timespec_of(slice.until_ns);
        let until = (&raw const until) as usize;
        let woken = unsafe { real::syscall(libc::SYS_futex, word, op as usize, value, until, second, bits) };
        if woken == -1 && errno() == libc::ETIMEDOUT { None } else { Some(woken) }
    };
    let woken = match clock {
        Some(clock) => wait_until(page, clock, ns, attempt),
        None => wait_for(page, ns, attempt),
    };
    Some(woken.unwrap_or_else(|| c_long::from(fail(libc::ETIMEDOUT))))
}
