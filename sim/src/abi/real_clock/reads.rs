//! Reading clocks.

#![expect(clippy::undocumented_unsafe_blocks, reason = "SAFETY: callers promise what the man pages ask")]

use super::page::{Page, page};
use super::shown::Shown;
use super::timespec_of;
use crate::carrier::real;
use libc::{c_int, c_void, clockid_t, time_t, timespec, timeval};

/// The page, if it has ever said anything. Asked *after* the genuine clock was read: whoever is preempted in between
/// would otherwise come back with a time that others have left behind.
fn touched() -> Option<&'static Page> {
    page().filter(|page| !page.is_untouched())
}

/// clock_gettime(2).
pub(crate) unsafe extern "C" fn clock_gettime(id: clockid_t, out: *mut timespec) -> c_int {
    unsafe {
        let Some((page, clock)) = page().zip(Shown::of(id)) else { return real::clock_gettime(id, out) };
        if page.is_untouched() {
            let answer = real::clock_gettime(id, out);
            if touched().is_none() {
                return answer;
            }
        }
        *out = timespec_of(clock.shows(page));
        0
    }
}

/// gettimeofday(2).
pub(crate) unsafe extern "C" fn gettimeofday(out: *mut timeval, zone: *mut c_void) -> c_int {
    unsafe {
        let answer = real::gettimeofday(out, zone);
        if let Some(page) = touched().filter(|_| !out.is_null()) {
            let now = timespec_of(Shown::WALL.shows(page));
            *out = timeval { tv_sec: now.tv_sec, tv_usec: now.tv_nsec / 1000 };
        }
        answer
    }
}

/// time(2).
pub(crate) unsafe extern "C" fn time(out: *mut time_t) -> time_t {
    unsafe {
        let genuine = real::time(out);
        let Some(page) = touched() else { return genuine };
        let seconds = timespec_of(Shown::WALL.shows(page)).tv_sec;
        if !out.is_null() {
            *out = seconds;
        }
        seconds
    }
}

/// timespec_get(3).
pub(crate) unsafe extern "C" fn timespec_get(out: *mut timespec, base: c_int) -> c_int {
    const TIME_UTC: c_int = 1;
    unsafe {
        let answer = real::timespec_get(out, base);
        if let Some(page) = touched().filter(|_| base == TIME_UTC) {
            *out = timespec_of(Shown::WALL.shows(page));
        }
        answer
    }
}
