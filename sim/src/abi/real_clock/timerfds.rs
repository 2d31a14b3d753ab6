//! timerfd_create(2). A timer is translated when it is set; a clock that is moved later does not move it.

#![expect(clippy::undocumented_unsafe_blocks, reason = "SAFETY: callers promise what the man pages ask")]

use super::page::{Hand, Page, page};
use super::shown::{Shown, genuine_monotonic};
use super::timespec_of;
use crate::abi::clock::nanoseconds;
use crate::carrier::real;
use libc::{c_int, clockid_t, itimerspec, timespec};

/// How long a time of this process's `CLOCK_MONOTONIC` is by the genuine one, as fast as that runs now.
fn genuine_length(page: &Page, ns: i64) -> i64 {
    let (now, line) = page.line_at(Hand::Monotonic, genuine_monotonic());
    let until_ns = now.saturating_add(line.adds(now)).saturating_add(ns);
    page.when(Hand::Monotonic, 0, until_ns, now).saturating_sub(now)
}

/// A genuine length of time by this process's clock.
fn own_length(page: &Page, ns: i64) -> i64 {
    let (now, line) = page.line_at(Hand::Monotonic, genuine_monotonic());
    ns.saturating_add(line.adds(now.saturating_add(ns))).saturating_sub(line.adds(now))
}

/// Which clock a timer goes by: `clockid` in its fdinfo (proc(5)).
unsafe fn clock_of(fd: c_int) -> Option<clockid_t> {
    const DIRECTORY: &[u8] = b"/proc/self/fdinfo/";
    let mut path = [0_u8; DIRECTORY.len() + 12];
    path[..DIRECTORY.len()].copy_from_slice(DIRECTORY);
    let (mut rest, mut digits) = (u32::try_from(fd).ok()?, 0);
    while rest > 0 || digits == 0 {
        (rest, digits) = (rest / 10, digits + 1);
    }
    let mut rest = fd.unsigned_abs();
    for place in (0..digits).rev() {
        path[DIRECTORY.len() + place] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let mut text = [0_u8; 256];
    let count = unsafe {
        let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as usize;
        let at = libc::AT_FDCWD as usize;
        let file = real::raw_syscall(libc::SYS_openat, [at, path.as_ptr() as usize, flags, 0, 0, 0]);
        let file = usize::try_from(file).ok()?;
        let count = real::raw_syscall(libc::SYS_read, [file, text.as_mut_ptr() as usize, text.len(), 0, 0, 0]);
        real::raw_syscall(libc::SYS_close, [file, 0, 0, 0, 0, 0]);
        usize::try_from(count).ok()?
    };
    let key = b"clockid: ";
    let at = text[..count].windows(key.len()).position(|part| part == key)? + key.len();
    let digits = text[at..count].iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |id, digit| id * 10 + clockid_t::from(digit - b'0')))
}

/// A setting by the genuine clock; `None` when it is malformed or nothing has to be translated.
unsafe fn genuine_setting(page: &Page, fd: c_int, flags: c_int, new: *const itimerspec) -> Option<itimerspec> {
    let new = unsafe { new.as_ref() }?;
    let (value, interval) = (nanoseconds(&new.it_value)?, nanoseconds(&new.it_interval)?);
    let it_interval = timespec_of(genuine_length(page, interval));
    if value == 0 {
        return None;
    }
    if flags & libc::TFD_TIMER_ABSTIME == 0 {
        return Some(itimerspec { it_interval, it_value: timespec_of(genuine_length(page, value)) });
    }
    let clock = Shown::of(unsafe { clock_of(fd) }?)?;
    let (_, due_ns) = clock.due(page, value);
    // A moment of the clock that the kernel has the timer by; 0 would mean none.
    let at = due_ns.saturating_add(clock.genuine().1).max(1);
    Some(itimerspec { it_interval, it_value: timespec_of(at) })
}

/// timerfd_settime(2).
pub(crate) unsafe extern "C" fn timerfd_settime(
    fd: c_int,
    flags: c_int,
    new: *const itimerspec,
    old: *mut itimerspec,
) -> c_int {
    unsafe {
        let Some(page) = page().filter(|page| !page.is_untouched()) else {
            return real::timerfd_settime(fd, flags, new, old);
        };
        let answer = match genuine_setting(page, fd, flags, new) {
            None => real::timerfd_settime(fd, flags, new, old),
            Some(setting) => real::timerfd_settime(fd, flags, &raw const setting, old),
        };
        if answer == 0 {
            put_own(page, old);
        }
        answer
    }
}

/// timerfd_gettime(2).
pub(crate) unsafe extern "C" fn timerfd_gettime(fd: c_int, out: *mut itimerspec) -> c_int {
    unsafe {
        let answer = real::timerfd_gettime(fd, out);
        if let Some(page) = page().filter(|page| answer == 0 && !page.is_untouched()) {
            put_own(page, out);
        }
        answer
    }
}

/// What the kernel says is left, by this process's clock.
unsafe fn put_own(page: &Page, out: *mut itimerspec) {
    let own = |time: &timespec| timespec_of(nanoseconds(time).map_or(0, |ns| own_length(page, ns)));
    if let Some(out) = unsafe { out.as_mut() } {
        *out = itimerspec { it_interval: own(&out.it_interval), it_value: own(&out.it_value) };
    }
}
