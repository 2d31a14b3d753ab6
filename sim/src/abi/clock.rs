//! Clocks and sleeping: clock_gettime(2), clock_nanosleep(2) and their relatives.
//!
//! Reading a clock does not enter the kernel: it costs nothing, changes nothing and is no scheduling point, so that a
//! program may log as much as it likes. Only a program that reads its clock thousands of times and does nothing else
//! makes time pass.

use super::{answer_int, call, hooks};
use crate::carrier::lent::{Lent, current};
use crate::kernel::Clock;
use libc::{c_int, c_uint, c_void, clockid_t, time_t, timespec, timeval};

/// Reads in a row that are free.
const FREE_READS: u32 = 4096;

/// A host's clock, in nanoseconds.
fn read(clock: Clock) -> i64 {
    let lent: *mut Lent = current();
    // SAFETY: hooks run on lent threads only; the record is the thread's own.
    unsafe {
        let reads = (*lent).clock_reads.get().saturating_add(1);
        (*lent).clock_reads.set(reads);
        if reads > FREE_READS {
            let mut round = reads / FREE_READS - 1;
            round = round.min(64);
            call("clock_gettime", |k, me| k.clock_spin(me, round));
            (*lent).clock_reads.set(FREE_READS * (round + 1));
        }
        let view = (*lent).clock;
        let now = view.now_ns as i64;
        match clock {
            Clock::Realtime => {
                (*lent).wall_reads.set((*lent).wall_reads.get().saturating_add(1));
                now.saturating_add(view.realtime_ns)
            }
            Clock::Monotonic => now + view.monotonic_ns,
            Clock::Cpu => now,
        }
    }
}

/// A host's `CLOCK_MONOTONIC`.
pub(super) fn monotonic_ns() -> i64 {
    read(Clock::Monotonic)
}

/// `CLOCK_MONOTONIC` for those who cannot wait. A read all the same: the next that can wait makes time pass.
pub(super) fn now_ns() -> u64 {
    // SAFETY: called on lent threads only; the record is the thread's own.
    unsafe {
        let lent: *mut Lent = current();
        (*lent).clock_reads.set((*lent).clock_reads.get().saturating_add(1));
        let view = (*lent).clock;
        (view.now_ns as i64 + view.monotonic_ns) as u64
    }
}

#[inline]
fn split(ns: i64) -> timespec {
    match u64::try_from(ns) {
        // Nearly always; unsigned division by a constant is half the work.
        Ok(ns) => timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as i64 },
        Err(_) => timespec { tv_sec: ns.div_euclid(1_000_000_000), tv_nsec: ns.rem_euclid(1_000_000_000) },
    }
}

/// Nanoseconds of a `timespec`; `None` when it is malformed.
pub(super) fn nanoseconds(time: &timespec) -> Option<i64> {
    if time.tv_sec < 0 || !(0..1_000_000_000).contains(&time.tv_nsec) {
        return None;
    }
    Some(time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec))
}

unsafe fn sleep_for(name: &'static str, ns: u64) -> i64 {
    call(name, |k, me| k.sleep_for(me, ns))
}

hooks! {
    clock;

    @outside(crate::abi::pristine::clock_gettime)
    fn clock_gettime(id: clockid_t, out: *mut timespec) -> c_int {
        match Clock::of(id) {
            Ok(clock) => {
                *out = split(read(clock));
                0
            }
            Err(_) => answer_int(-i64::from(libc::EINVAL)),
        }
    }

    fn clock_getres(id: clockid_t, out: *mut timespec) -> c_int {
        if Clock::of(id).is_err() {
            return answer_int(-i64::from(libc::EINVAL));
        }
        if !out.is_null() {
            // clock_getres(2): high-resolution timers; the coarse clocks tick with CONFIG_HZ=250.
            let coarse = matches!(id, libc::CLOCK_REALTIME_COARSE | libc::CLOCK_MONOTONIC_COARSE);
            *out = timespec { tv_sec: 0, tv_nsec: if coarse { 4_000_000 } else { 1 } };
        }
        0
    }

    fn clock_settime(id: clockid_t, time: *const timespec) -> c_int {
        // kernel/time/posix-timers.c: only the wall clock can be set at all, and services lack CAP_SYS_TIME.
        let settable = id == libc::CLOCK_REALTIME && nanoseconds(&*time).is_some();
        answer_int(-i64::from(if settable { libc::EPERM } else { libc::EINVAL }))
    }

    @outside(crate::abi::pristine::gettimeofday)
    fn gettimeofday(out: *mut timeval, _zone: *mut c_void) -> c_int {
        if !out.is_null() {
            let time = split(read(Clock::Realtime));
            *out = timeval { tv_sec: time.tv_sec, tv_usec: time.tv_nsec / 1000 };
        }
        0
    }

    @outside(crate::abi::pristine::time)
    fn time(out: *mut time_t) -> time_t {
        let seconds = read(Clock::Realtime).div_euclid(1_000_000_000);
        if !out.is_null() {
            *out = seconds;
        }
        seconds
    }

    @outside(crate::abi::real_clock::timespec_get)
    fn timespec_get(out: *mut timespec, base: c_int) -> c_int {
        const TIME_UTC: c_int = 1;
        if base != TIME_UTC {
            return 0;
        }
        *out = split(read(Clock::Realtime));
        base
    }

    fn clock() -> libc::clock_t {
        read(Clock::Cpu) / 1000 // CLOCKS_PER_SEC is 1,000,000
    }

    fn times(out: *mut libc::tms) -> libc::clock_t {
        const TICK_NS: i64 = 10_000_000; // sysconf(_SC_CLK_TCK) is 100
        if !out.is_null() {
            std::ptr::write_bytes(out, 0, 1);
            (*out).tms_utime = read(Clock::Cpu) / TICK_NS;
        }
        read(Clock::Monotonic) / TICK_NS
    }

    /// The real kernel's idea of time is nobody's business.
    @also(ntp_adjtime)
    fn adjtimex(_buffer: *mut c_void) -> c_int {
        crate::abi::refuse("adjtimex", "read the time with clock_gettime") as c_int
    }
    fn clock_adjtime(_clock: clockid_t, _buffer: *mut c_void) -> c_int {
        crate::abi::refuse("clock_adjtime", "read the time with clock_gettime") as c_int
    }
    @also(ntp_gettimex)
    fn ntp_gettime(_buffer: *mut c_void) -> c_int {
        crate::abi::refuse("ntp_gettime", "read the time with clock_gettime") as c_int
    }

    /// Answers the error itself, not -1 (clock_nanosleep(2)).
    @outside(crate::abi::real_clock::clock_nanosleep)
    fn clock_nanosleep(id: clockid_t, flags: c_int, request: *const timespec, left: *mut timespec) -> c_int {
        let Ok(clock) = Clock::of(id) else { return libc::EINVAL };
        // kernel/time/posix-timers.c: these clocks have no timers.
        let coarse = matches!(id, libc::CLOCK_REALTIME_COARSE | libc::CLOCK_MONOTONIC_COARSE);
        if coarse || id == libc::CLOCK_MONOTONIC_RAW {
            return libc::EOPNOTSUPP;
        }
        let Some(ns) = nanoseconds(&*request) else { return libc::EINVAL };
        if clock == Clock::Cpu {
            return libc::EINVAL;
        }
        let absolute = flags & libc::TIMER_ABSTIME != 0;
        let began = read(Clock::Monotonic);
        let answer = call("clock_nanosleep", |k, me| {
            if absolute {
                let at = k.when(me, clock, ns);
                k.sleep_until(me, at)
            } else {
                k.sleep_for(me, ns as u64)
            }
        });
        if answer == -i64::from(libc::EINTR) && !absolute && !left.is_null() {
            *left = split((began + ns - read(Clock::Monotonic)).max(0));
        }
        -answer as c_int
    }

    @outside(crate::abi::real_clock::nanosleep)
    fn nanosleep(request: *const timespec, left: *mut timespec) -> c_int {
        let Some(ns) = nanoseconds(&*request) else { return answer_int(-i64::from(libc::EINVAL)) };
        let began = read(Clock::Monotonic);
        let answer = sleep_for("nanosleep", ns as u64);
        if answer < 0 && !left.is_null() {
            *left = split((began + ns - read(Clock::Monotonic)).max(0));
        }
        answer_int(answer)
    }

    @outside(crate::abi::real_clock::usleep)
    fn usleep(microseconds: c_uint) -> c_int {
        answer_int(sleep_for("usleep", u64::from(microseconds) * 1000))
    }

    @outside(crate::abi::real_clock::sleep)
    fn sleep(seconds: c_uint) -> c_uint {
        let began = read(Clock::Monotonic);
        if sleep_for("sleep", u64::from(seconds) * 1_000_000_000) < 0 {
            let slept = (read(Clock::Monotonic) - began) / 1_000_000_000;
            return seconds.saturating_sub(slept as c_uint);
        }
        0
    }

    @real(asks())
    fn timerfd_create(clock: c_int, flags: c_int) -> c_int {
        answer_int(call("timerfd_create", |k, me| k.timerfd_create(me, clock, flags)))
    }

    @outside(crate::abi::real_clock::timerfd_settime)
    fn timerfd_settime(fd: c_int, flags: c_int, new: *const libc::itimerspec, old: *mut libc::itimerspec) -> c_int {
        if flags & !(libc::TFD_TIMER_ABSTIME | libc::TFD_TIMER_CANCEL_ON_SET) != 0 {
            return answer_int(-i64::from(libc::EINVAL));
        }
        let (Some(value), Some(interval)) = (nanoseconds(&(*new).it_value), nanoseconds(&(*new).it_interval)) else {
            return answer_int(-i64::from(libc::EINVAL));
        };
        let new = crate::kernel::Setting { interval_ns: interval as u64, value_ns: value as u64 };
        let mut before = crate::kernel::Setting::default();
        let answer = call("timerfd_settime", |k, me| k.timerfd_settime(me, fd, flags, new, &mut before));
        put_setting(old, before);
        answer_int(answer)
    }

    @outside(crate::abi::real_clock::timerfd_gettime)
    fn timerfd_gettime(fd: c_int, out: *mut libc::itimerspec) -> c_int {
        let mut now = crate::kernel::Setting::default();
        let answer = call("timerfd_gettime", |k, me| k.timerfd_gettime(me, fd, &mut now));
        put_setting(out, now);
        answer_int(answer)
    }

    fn timer_create(_clock: clockid_t, _event: *mut c_void, _timer: *mut c_void) -> c_int {
        crate::abi::refuse("timer_create", "use timerfd or a sleeping thread") as c_int
    }

    fn setitimer(_which: c_int, _new: *const c_void, _old: *mut c_void) -> c_int {
        crate::abi::refuse("setitimer", "use timerfd or a sleeping thread") as c_int
    }

    fn alarm(seconds: c_uint) -> c_uint {
        if seconds == 0 { 0 } else { crate::abi::refuse("alarm", "use timerfd or a sleeping thread") as c_uint }
    }
}

unsafe fn put_setting(out: *mut libc::itimerspec, setting: crate::kernel::Setting) {
    if !out.is_null() {
        // SAFETY: the caller's pointer.
        unsafe {
            (*out).it_interval = split(setting.interval_ns as i64);
            (*out).it_value = split(setting.value_ns as i64);
        }
    }
}
