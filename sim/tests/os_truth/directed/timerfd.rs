//! timerfd_create(2): one-shot, interval, absolute. Times are coarse, as the real side has to keep them.

use super::pause;
use crate::calls::readiness::{ALL, ET, IN};
use crate::compare::{Weathers, script};
use crate::transcript::{Transcript, outcome};
use libc::{CLOCK_BOOTTIME, CLOCK_MONOTONIC, CLOCK_REALTIME, TFD_NONBLOCK, TFD_TIMER_ABSTIME, c_int};

const MS: i64 = 1_000_000;

/// A clock's time in nanoseconds.
fn now(clock: c_int) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: room for the answer.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// timerfd_settime(2) at an absolute time, said relative to now.
fn set_absolute(t: &Transcript, fd: c_int, clock: c_int, in_ns: i64, interval_ns: i64) {
    let at = now(clock) + in_ns;
    let time = |ns: i64| libc::timespec { tv_sec: ns / 1_000_000_000, tv_nsec: ns % 1_000_000_000 };
    let new = libc::itimerspec { it_value: time(at), it_interval: time(interval_ns) };
    // SAFETY: a valid setting.
    let (result, errno) = outcome!(unsafe { libc::timerfd_settime(fd, TFD_TIMER_ABSTIME, &new, std::ptr::null_mut()) });
    let text = format!("timerfd_settime({fd}, ABSTIME, now + {in_ns} ns, every {interval_ns} ns)");
    t.returned(format_args!("{text}"), result, errno, "");
}

script! { Weathers::Calm;
    fn one_shot(t) {
        let fd = t.timerfd(CLOCK_MONOTONIC, TFD_NONBLOCK);
        t.timerfd_get(fd);
        t.poll(fd, ALL, 0);
        t.timerfd_set(fd, 0, 30 * MS, 0);
        t.timerfd_get(fd);
        t.read_word(fd);
        super::at_least(t, 29, || t.poll(fd, ALL, 10_000));
        t.timerfd_get(fd);
        t.read_word(fd);
        t.read_word(fd);
        t.poll(fd, ALL, 20);
    }

    fn intervals_are_counted(t) {
        let fd = t.timerfd(CLOCK_MONOTONIC, 0);
        t.timerfd_set(fd, 0, 10 * MS, 200 * MS);
        t.timerfd_get(fd);
        t.read_word(fd);
        t.timerfd_get(fd);
        pause(470);
        t.read_word(fd);
        t.read_word(fd);
        t.timerfd_set(fd, 0, 0, 0);
        t.timerfd_get(fd);
        t.poll(fd, ALL, 20);
    }

    fn setting_again_forgets_expirations(t) {
        let fd = t.timerfd(CLOCK_MONOTONIC, TFD_NONBLOCK);
        t.timerfd_set(fd, 0, 1, 0);
        t.poll(fd, ALL, 10_000);
        t.timerfd_set(fd, 0, 10_000 * MS, 0);
        t.poll(fd, ALL, 0);
        t.read_word(fd);
        t.timerfd_set(fd, 0, 1, 0);
        t.poll(fd, ALL, 10_000);
        t.timerfd_set(fd, 0, 0, 5);
        t.poll(fd, ALL, 0);
        t.timerfd_get(fd);
        t.read_word(fd);
    }

    fn absolute_times_of_three_clocks(t) {
        for clock in [CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME] {
            let fd = t.timerfd(clock, TFD_NONBLOCK);
            set_absolute(t, fd, clock, -5 * MS, 0);
            t.poll(fd, ALL, 10_000);
            t.read_word(fd);
            set_absolute(t, fd, clock, 20 * MS, 0);
            t.read_word(fd);
            super::at_least(t, 15, || t.poll(fd, ALL, 10_000));
            t.read_word(fd);
            t.close(fd);
        }
    }

    /// An absolute time in the past with an interval: every expiration since then counts.
    fn a_past_beginning_counts_what_was_missed(t) {
        let fd = t.timerfd(CLOCK_MONOTONIC, TFD_NONBLOCK);
        set_absolute(t, fd, CLOCK_MONOTONIC, -1050 * MS, 500 * MS);
        t.poll(fd, ALL, 10_000);
        t.read_word(fd);
        t.timerfd_get(fd);
    }

    fn bad_arguments(t) {
        t.timerfd(CLOCK_MONOTONIC, 1);
        t.timerfd(libc::CLOCK_PROCESS_CPUTIME_ID, 0);
        t.timerfd(libc::CLOCK_THREAD_CPUTIME_ID, 0);
        t.timerfd(libc::CLOCK_MONOTONIC_RAW, 0);
        t.timerfd(libc::CLOCK_MONOTONIC_COARSE, 0);
        t.timerfd(libc::CLOCK_REALTIME_COARSE, 0);
        t.timerfd(libc::CLOCK_TAI, 0);
        t.timerfd(99, 0);
        t.timerfd(-1, 0);
        let fd = t.timerfd(CLOCK_MONOTONIC, TFD_NONBLOCK);
        t.status_flags(fd);
        t.timerfd_set(fd, 4, 1, 0);
        t.timerfd_set(fd, 0, -1, 0);
        t.read(fd, 7);
        t.timerfd_set(fd, 0, 1, 0);
        t.poll(fd, ALL, 10_000);
        t.read(fd, 4);
        t.readv(fd, 4, 2);
        t.read_word(fd);
    }

    fn edges_of_an_interval(t) {
        let (epoll, fd) = (t.epoll(), t.timerfd(CLOCK_MONOTONIC, TFD_NONBLOCK));
        t.epoll_add(epoll, fd, IN | ET);
        t.timerfd_set(fd, 0, 20 * MS, 300 * MS);
        t.epoll_wait(epoll, 4, 10_000);
        t.epoll_wait(epoll, 4, 0);
        t.read_word(fd);
        t.epoll_wait(epoll, 4, 10_000);
        t.read_word(fd);
        t.epoll_wait(epoll, 4, 0);
    }
}
