//! Waiting for descriptors: poll(2), select(2), epoll(7). Their time limits are lengths of time.

#![expect(clippy::undocumented_unsafe_blocks, reason = "SAFETY: callers promise what the man pages ask")]

use super::page::{Page, page};
use super::shown::{Shown, Slice, left_ns, wait_for};
use super::timespec_of;
use crate::abi::clock::nanoseconds;
use crate::carrier::real;
use libc::{c_int, epoll_event, fd_set, nfds_t, pollfd, sigset_t, timespec, timeval};

/// The page, and a time limit that there is something to translate of: neither none nor no wait at all.
fn limited(ns: Option<i64>) -> Option<(&'static Page, i64)> {
    page().zip(ns.filter(|ns| *ns > 0))
}

fn of_milliseconds(timeout: c_int) -> Option<i64> {
    u32::try_from(timeout).ok().map(|ms| i64::from(ms) * 1_000_000)
}

unsafe fn of_timespec(timeout: *const timespec) -> Option<i64> {
    unsafe { timeout.as_ref().and_then(nanoseconds) }
}

/// Waits in slices; 0 when the time is over.
fn ready(page: &Page, ns: i64, mut wait: impl FnMut(Slice) -> c_int) -> c_int {
    wait_for(page, ns, |slice| Some(wait(slice)).filter(|count| *count != 0)).unwrap_or(0)
}

/// poll(2).
pub(crate) unsafe extern "C" fn poll(fds: *mut pollfd, count: nfds_t, timeout: c_int) -> c_int {
    unsafe {
        match limited(of_milliseconds(timeout)) {
            None => real::poll(fds, count, timeout),
            Some((page, ns)) => ready(page, ns, |slice| real::poll(fds, count, slice.lasts_ms())),
        }
    }
}

/// poll(2), as programs call it that were built with `_FORTIFY_SOURCE`.
pub(crate) unsafe extern "C" fn poll_chk(fds: *mut pollfd, count: nfds_t, timeout: c_int, room: usize) -> c_int {
    unsafe {
        match limited(of_milliseconds(timeout)) {
            None => real::__poll_chk(fds, count, timeout, room),
            Some((page, ns)) => ready(page, ns, |slice| real::__poll_chk(fds, count, slice.lasts_ms(), room)),
        }
    }
}

/// ppoll(2).
pub(crate) unsafe extern "C" fn ppoll(
    fds: *mut pollfd,
    count: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    unsafe {
        match limited(of_timespec(timeout)) {
            None => real::ppoll(fds, count, timeout, mask),
            Some((page, ns)) => ready(page, ns, |slice| {
                let lasts = timespec_of(slice.lasts_ns());
                real::ppoll(fds, count, &raw const lasts, mask)
            }),
        }
    }
}

/// Sets of descriptors, which select(2) overwrites, to be given again.
struct Sets {
    of: [*mut fd_set; 3],
    asked: [Option<fd_set>; 3],
}

impl Sets {
    unsafe fn of(of: [*mut fd_set; 3]) -> Sets {
        Sets { of, asked: of.map(|set| unsafe { set.as_ref() }.copied()) }
    }

    unsafe fn ask_again(&self) {
        for (set, asked) in self.of.iter().zip(&self.asked) {
            if let Some(asked) = asked {
                unsafe { **set = *asked };
            }
        }
    }
}

unsafe fn select_within(page: &Page, ns: i64, count: c_int, sets: [*mut fd_set; 3], mask: *const sigset_t) -> c_int {
    unsafe {
        let sets = Sets::of(sets);
        ready(page, ns, |slice| {
            sets.ask_again();
            let lasts = timespec_of(slice.lasts_ns());
            real::pselect(count, sets.of[0], sets.of[1], sets.of[2], &raw const lasts, mask)
        })
    }
}

/// select(2). Leaves in `timeout` what has not passed, as Linux does.
pub(crate) unsafe extern "C" fn select(
    count: c_int,
    r: *mut fd_set,
    w: *mut fd_set,
    e: *mut fd_set,
    timeout: *mut timeval,
) -> c_int {
    unsafe {
        let asked = timeout.as_ref().filter(|limit| limit.tv_sec >= 0 && limit.tv_usec >= 0);
        let ns = asked
            .map(|limit| limit.tv_sec.saturating_mul(1_000_000_000).saturating_add(limit.tv_usec.saturating_mul(1000)));
        let Some((page, ns)) = limited(ns).filter(|_| fits(count)) else {
            return real::select(count, r, w, e, timeout);
        };
        let began_ns = Shown::Monotonic.shows(page);
        let found = select_within(page, ns, count, [r, w, e], std::ptr::null());
        let left = timespec_of(left_ns(page, began_ns, ns));
        *timeout = timeval { tv_sec: left.tv_sec, tv_usec: left.tv_nsec / 1000 };
        found
    }
}

/// Whether sets of the usual size hold so many descriptors. Who makes larger ones waits by the genuine clock.
fn fits(count: c_int) -> bool {
    count <= libc::FD_SETSIZE as c_int
}

/// pselect(2).
pub(crate) unsafe extern "C" fn pselect(
    count: c_int,
    r: *mut fd_set,
    w: *mut fd_set,
    e: *mut fd_set,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    unsafe {
        match limited(of_timespec(timeout)).filter(|_| fits(count)) {
            None => real::pselect(count, r, w, e, timeout, mask),
            Some((page, ns)) => select_within(page, ns, count, [r, w, e], mask),
        }
    }
}

/// epoll_wait(2).
pub(crate) unsafe extern "C" fn epoll_wait(
    epfd: c_int,
    events: *mut epoll_event,
    capacity: c_int,
    timeout: c_int,
) -> c_int {
    unsafe {
        match limited(of_milliseconds(timeout)) {
            None => real::epoll_wait(epfd, events, capacity, timeout),
            Some((page, ns)) => ready(page, ns, |slice| real::epoll_wait(epfd, events, capacity, slice.lasts_ms())),
        }
    }
}

/// epoll_pwait(2).
pub(crate) unsafe extern "C" fn epoll_pwait(
    epfd: c_int,
    events: *mut epoll_event,
    capacity: c_int,
    timeout: c_int,
    mask: *const sigset_t,
) -> c_int {
    unsafe {
        match limited(of_milliseconds(timeout)) {
            None => real::epoll_pwait(epfd, events, capacity, timeout, mask),
            Some((page, ns)) => {
                ready(page, ns, |slice| real::epoll_pwait(epfd, events, capacity, slice.lasts_ms(), mask))
            }
        }
    }
}

/// epoll_pwait2(2).
pub(crate) unsafe extern "C" fn epoll_pwait2(
    epfd: c_int,
    events: *mut epoll_event,
    capacity: c_int,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    unsafe {
        match limited(of_timespec(timeout)) {
            None => real::epoll_pwait2(epfd, events, capacity, timeout, mask),
            Some((page, ns)) => ready(page, ns, |slice| {
                let lasts = timespec_of(slice.lasts_ns());
                real::epoll_pwait2(epfd, events, capacity, &raw const lasts, mask)
            }),
        }
    }
}
