//! Clocks, sleeping and entropy.

use super::at_least;
use crate::compare::{Weathers, script};
use crate::transcript::{Transcript, outcome, record};
use libc::*;
use std::ptr::null_mut;

fn time(ns: i64) -> timespec {
    timespec { tv_sec: ns.div_euclid(1_000_000_000), tv_nsec: ns.rem_euclid(1_000_000_000) }
}

fn now(clock: clockid_t) -> i64 {
    let mut now = time(0);
    // SAFETY: room for the answer.
    unsafe { clock_gettime(clock, &mut now) };
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

const CLOCKS: [(&str, clockid_t); 9] = [
    ("REALTIME", CLOCK_REALTIME),
    ("MONOTONIC", CLOCK_MONOTONIC),
    ("PROCESS_CPUTIME", CLOCK_PROCESS_CPUTIME_ID),
    ("THREAD_CPUTIME", CLOCK_THREAD_CPUTIME_ID),
    ("MONOTONIC_RAW", CLOCK_MONOTONIC_RAW),
    ("REALTIME_COARSE", CLOCK_REALTIME_COARSE),
    ("MONOTONIC_COARSE", CLOCK_MONOTONIC_COARSE),
    ("BOOTTIME", CLOCK_BOOTTIME),
    ("TAI", CLOCK_TAI),
];

fn sleep_on(t: &Transcript, clock: (&str, clockid_t), flags: c_int, request: timespec) -> i32 {
    // SAFETY: a valid request.
    let error = unsafe { clock_nanosleep(clock.1, flags, &request, null_mut()) };
    let name = if error == 0 { "0".to_owned() } else { crate::transcript::errno_name(error) };
    t.say(format_args!("clock_nanosleep({}, {flags}, {} s {} ns) = {name}", clock.0, request.tv_sec, request.tv_nsec));
    error
}

script! { Weathers::All;
    fn reading(t) {
        for (name, clock) in CLOCKS {
            let mut at = time(-1);
            record!(t, unsafe { clock_gettime(clock, &mut at) }, "clock_gettime({name})");
            let sane = at.tv_sec >= 0 && (0..1_000_000_000).contains(&at.tv_nsec);
            t.say(format_args!("sane: {sane}, never back: {}", (0..200).all(|_| now(clock) <= now(clock))));
        }
        for clock in [12, 99, i32::MAX] {
            record!(t, unsafe { clock_gettime(clock, &mut time(0)) }, "clock_gettime({clock})");
            record!(t, unsafe { clock_getres(clock, null_mut()) }, "clock_getres({clock})");
        }
        t.say(format_args!("realtime is past 2020: {}", now(CLOCK_REALTIME) > 1_577_836_800_000_000_000));
        let monotonic = now(CLOCK_MONOTONIC);
        t.say(format_args!("boottime is no less than monotonic: {}", now(CLOCK_BOOTTIME) >= monotonic));
        let mut of_day = timeval { tv_sec: 0, tv_usec: -1 };
        record!(t, unsafe { gettimeofday(&mut of_day, null_mut()) }, "gettimeofday()");
        // SAFETY: null is allowed.
        let seconds = unsafe { libc::time(null_mut()) };
        t.say(format_args!("time() agrees: {}", (seconds - of_day.tv_sec).abs() <= 1));
    }

    fn resolutions(t) {
        for (name, clock) in CLOCKS {
            let mut resolution = time(-1);
            let (result, errno) = outcome!(unsafe { clock_getres(clock, &mut resolution) });
            let coarse = resolution.tv_nsec >= 1_000_000;
            let shown = if coarse { "a tick".to_owned() } else { format!("{} ns", resolution.tv_nsec) };
            let out = format!(" {} s {shown}", resolution.tv_sec);
            t.returned(format_args!("clock_getres({name})"), result, errno, &out);
        }
    }

    fn sleeping(t) {
        at_least(t, 15, || {
            record!(t, unsafe { nanosleep(&time(15_000_000), null_mut()) }, "nanosleep(15 ms)");
        });
        record!(t, unsafe { nanosleep(&time(0), null_mut()) }, "nanosleep(0)");
        for (seconds, ns) in [(-1, 0), (0, -1), (0, 1_000_000_000), (0, i64::MAX), (i64::MIN, 0)] {
            let request = timespec { tv_sec: seconds, tv_nsec: ns };
            record!(t, unsafe { nanosleep(&request, null_mut()) }, "nanosleep({seconds} s {ns} ns)");
        }
        at_least(t, 15, || {
            record!(t, unsafe { usleep(15_000) }, "usleep(15000)");
        });
        record!(t, unsafe { sleep(0) }, "sleep(0)");
    }

    fn sleeping_on_a_clock(t) {
        let (monotonic, realtime) = (("MONOTONIC", CLOCK_MONOTONIC), ("REALTIME", CLOCK_REALTIME));
        at_least(t, 15, || sleep_on(t, monotonic, 0, time(15_000_000)));
        at_least(t, 15, || sleep_on(t, realtime, 0, time(15_000_000)));
        for clock in [monotonic, realtime, ("BOOTTIME", CLOCK_BOOTTIME)] {
            at_least(t, 10, || {
                let until = time(now(clock.1) + 15_000_000);
                // SAFETY: a valid request.
                let error = unsafe { clock_nanosleep(clock.1, TIMER_ABSTIME, &until, null_mut()) };
                t.say(format_args!("clock_nanosleep({}, ABSTIME, now + 15 ms) = {error}", clock.0));
            });
        }
        sleep_on(t, monotonic, TIMER_ABSTIME, time(0));
        sleep_on(t, monotonic, TIMER_ABSTIME, timespec { tv_sec: -1, tv_nsec: 0 });
        sleep_on(t, monotonic, 0, timespec { tv_sec: 0, tv_nsec: -1 });
        sleep_on(t, monotonic, 0, timespec { tv_sec: 0, tv_nsec: 1_000_000_000 });
        sleep_on(t, ("THREAD_CPUTIME", CLOCK_THREAD_CPUTIME_ID), 0, time(1));
        sleep_on(t, ("MONOTONIC_RAW", CLOCK_MONOTONIC_RAW), 0, time(1));
        sleep_on(t, ("MONOTONIC_COARSE", CLOCK_MONOTONIC_COARSE), 0, time(1));
        sleep_on(t, ("REALTIME_COARSE", CLOCK_REALTIME_COARSE), 0, time(1));
        sleep_on(t, ("TAI", CLOCK_TAI), 0, time(1));
        sleep_on(t, ("99", 99), 0, time(1));
    }

    fn setting_is_forbidden(t) {
        record!(t, unsafe { clock_settime(CLOCK_REALTIME, &time(0)) }, "clock_settime(REALTIME)");
        record!(t, unsafe { clock_settime(CLOCK_MONOTONIC, &time(0)) }, "clock_settime(MONOTONIC)");
        record!(t, unsafe { clock_settime(99, &time(0)) }, "clock_settime(99)");
        let broken = timespec { tv_sec: 0, tv_nsec: -1 };
        record!(t, unsafe { clock_settime(CLOCK_REALTIME, &broken) }, "clock_settime(malformed)");
    }

    fn random_numbers(t) {
        let mut buffer = [0u8; 300];
        let flags = [0, GRND_NONBLOCK, GRND_RANDOM, GRND_INSECURE, GRND_RANDOM | GRND_INSECURE, 8, 1 << 31];
        for flag in flags {
            let fill = || unsafe { getrandom(buffer.as_mut_ptr().cast(), 32, flag) };
            let (result, errno) = outcome!({ let mut fill = fill; fill() });
            t.returned(format_args!("getrandom(32, {flag:#x})"), result, errno, "");
        }
        for bytes in [0, 1, 256, 300] {
            record!(t, unsafe { getrandom(buffer.as_mut_ptr().cast(), bytes, 0) }, "getrandom({bytes})");
        }
        for bytes in [0, 16, 256, 257] {
            record!(t, unsafe { getentropy(buffer.as_mut_ptr().cast(), bytes) }, "getentropy({bytes})");
        }
        let mut other = [0u8; 32];
        buffer[..32].fill(0);
        // SAFETY: buffers of that size.
        unsafe {
            getrandom(buffer.as_mut_ptr().cast(), 32, 0);
            getrandom(other.as_mut_ptr().cast(), 32, 0);
        }
        t.say(format_args!("two draws differ: {}", buffer[..32] != other));
    }
}
