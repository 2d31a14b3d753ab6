//! futex(2), called by number as std and parking_lot do.

use super::{at_least, pause};
use crate::compare::{Weathers, script};
use crate::transcript::{Transcript, outcome};
use libc::{
    CLOCK_MONOTONIC, CLOCK_REALTIME, FUTEX_CLOCK_REALTIME, FUTEX_CMP_REQUEUE, FUTEX_PRIVATE_FLAG, FUTEX_REQUEUE,
    FUTEX_WAIT, FUTEX_WAIT_BITSET, FUTEX_WAKE, FUTEX_WAKE_BITSET, FUTEX_WAKE_OP, SYS_futex, c_int, timespec,
};
use std::ptr::null;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

/// A word that threads wait on.
fn word(value: u32) -> &'static AtomicU32 {
    Box::leak(Box::new(AtomicU32::new(value)))
}

fn time(ns: i64) -> timespec {
    timespec { tv_sec: ns.div_euclid(1_000_000_000), tv_nsec: ns.rem_euclid(1_000_000_000) }
}

/// A moment on a clock, this far from now.
fn moment(clock: c_int, in_ns: i64) -> timespec {
    let mut now = time(0);
    // SAFETY: room for the answer.
    unsafe { libc::clock_gettime(clock, &mut now) };
    time(now.tv_sec * 1_000_000_000 + now.tv_nsec + in_ns)
}

/// The raw call, with two words, and a time limit or a number in the fourth place.
unsafe fn futex(a: &AtomicU32, op: c_int, value: u32, fourth: usize, b: Option<&AtomicU32>, third: u32) -> i64 {
    let b = b.map_or(null(), |b| b.as_ptr().cast_const());
    // SAFETY: words and time limits are alive, as the caller's references show.
    unsafe { libc::syscall(SYS_futex, a.as_ptr(), op, value, fourth, b, third) }
}

fn wait(t: &Transcript, about: &str, a: &AtomicU32, op: c_int, value: u32, limit: Option<timespec>, bits: u32) -> i64 {
    let limit = limit.as_ref().map_or(null(), |limit| limit as *const timespec);
    // SAFETY: the limit lives until the call has returned.
    let (result, errno) = outcome!(unsafe { futex(a, op, value, limit as usize, None, bits) });
    t.returned(format_args!("futex({about})"), result, errno, "");
    result
}

fn wake(t: &Transcript, about: &str, a: &AtomicU32, op: c_int, count: u32, bits: u32) -> i64 {
    // SAFETY: no time limit.
    let (result, errno) = outcome!(unsafe { futex(a, op, count, 0, None, bits) });
    t.returned(format_args!("futex({about})"), result, errno, "");
    result
}

/// A thread that waits without a limit and answers what the call returned.
fn waiter(a: &'static AtomicU32, op: c_int, bits: u32) -> JoinHandle<i64> {
    // SAFETY: no time limit.
    std::thread::spawn(move || unsafe { futex(a, op, a.load(Ordering::SeqCst), 0, None, bits) })
}

fn joined(t: &Transcript, threads: Vec<JoinHandle<i64>>) {
    let results: Vec<i64> = threads.into_iter().map(|thread| thread.join().unwrap_or(-9)).collect();
    t.say(format_args!("waiters returned {results:?}"));
}

const PRIVATE: c_int = FUTEX_PRIVATE_FLAG;

script! { Weathers::Calm;
    fn values_and_limits(t) {
        let a = word(1);
        wait(t, "WAIT, another value", a, FUTEX_WAIT | PRIVATE, 2, None, 0);
        wait(t, "WAIT, another value and a limit", a, FUTEX_WAIT | PRIVATE, 2, Some(time(1)), 0);
        wait(t, "WAIT for a nanosecond", a, FUTEX_WAIT | PRIVATE, 1, Some(time(1)), 0);
        wait(t, "WAIT for no time", a, FUTEX_WAIT | PRIVATE, 1, Some(time(0)), 0);
        at_least(t, 20, || wait(t, "WAIT for 20 ms", a, FUTEX_WAIT, 1, Some(time(20_000_000)), 0));
        wait(t, "WAIT, negative limit", a, FUTEX_WAIT | PRIVATE, 1, Some(timespec { tv_sec: -1, tv_nsec: 0 }), 0);
        let broken = timespec { tv_sec: 0, tv_nsec: 1_000_000_000 };
        wait(t, "WAIT, malformed limit", a, FUTEX_WAIT | PRIVATE, 1, Some(broken), 0);
        wait(t, "WAIT, malformed limit, another value", a, FUTEX_WAIT | PRIVATE, 2, Some(broken), 0);
    }

    fn absolute_limits_on_both_clocks(t) {
        let a = word(1);
        let (bitset, realtime) = (FUTEX_WAIT_BITSET | PRIVATE, FUTEX_CLOCK_REALTIME);
        let past = moment(CLOCK_MONOTONIC, -1_000_000_000);
        wait(t, "WAIT_BITSET until the past", a, bitset, 1, Some(past), u32::MAX);
        wait(t, "WAIT_BITSET until the epoch", a, bitset, 1, Some(time(0)), u32::MAX);
        let soon = moment(CLOCK_MONOTONIC, 25_000_000);
        at_least(t, 20, || wait(t, "WAIT_BITSET, monotonic", a, bitset, 1, Some(soon), u32::MAX));
        let soon = moment(CLOCK_REALTIME, 25_000_000);
        at_least(t, 20, || wait(t, "WAIT_BITSET, realtime", a, bitset | realtime, 1, Some(soon), u32::MAX));
        wait(t, "WAIT_BITSET, no bits", a, bitset, 1, None, 0);
        wait(t, "WAIT_BITSET, no bits, another value", a, bitset, 2, None, 0);
        wake(t, "WAKE_BITSET, no bits", a, FUTEX_WAKE_BITSET | PRIVATE, 1, 0);
    }

    fn waking_counts(t) {
        let a = word(0);
        wake(t, "WAKE nobody", a, FUTEX_WAKE | PRIVATE, 1, 0);
        let threads: Vec<_> = (0..3).map(|_| waiter(a, FUTEX_WAIT | PRIVATE, 0)).collect();
        pause(50);
        wake(t, "WAKE one", a, FUTEX_WAKE | PRIVATE, 1, 0);
        wake(t, "WAKE all", a, FUTEX_WAKE | PRIVATE, i32::MAX as u32, 0);
        wake(t, "WAKE nobody left", a, FUTEX_WAKE | PRIVATE, 1, 0);
        joined(t, threads);
    }

    /// linux/futex: `wake_futex` up to the count, but at least one.
    fn waking_none(t) {
        let a = word(0);
        let threads: Vec<_> = (0..2).map(|_| waiter(a, FUTEX_WAIT | PRIVATE, 0)).collect();
        pause(50);
        wake(t, "WAKE zero", a, FUTEX_WAKE | PRIVATE, 0, 0);
        wake(t, "WAKE all", a, FUTEX_WAKE | PRIVATE, i32::MAX as u32, 0);
        joined(t, threads);
    }

    fn bits_select_waiters(t) {
        let a = word(0);
        let threads = Vec::from([1, 2, 4, 3].map(|bits| waiter(a, FUTEX_WAIT_BITSET | PRIVATE, bits)));
        pause(50);
        wake(t, "WAKE_BITSET 8", a, FUTEX_WAKE_BITSET | PRIVATE, 9, 8);
        wake(t, "WAKE_BITSET 2", a, FUTEX_WAKE_BITSET | PRIVATE, 9, 2);
        wake(t, "WAKE_BITSET 4", a, FUTEX_WAKE_BITSET | PRIVATE, 9, 4);
        wake(t, "WAKE", a, FUTEX_WAKE | PRIVATE, 9, 0);
        joined(t, threads);
    }

    fn requeueing(t) {
        let (a, b) = (word(0), word(0));
        let threads: Vec<_> = (0..4).map(|_| waiter(a, FUTEX_WAIT | PRIVATE, 0)).collect();
        pause(50);
        let requeue = |about: &str, op: c_int, wakes: u32, moves: usize, expected: u32| {
            // SAFETY: the fourth place is a number here.
            let (result, errno) = outcome!(unsafe { futex(a, op | PRIVATE, wakes, moves, Some(b), expected) });
            t.returned(format_args!("futex({about})"), result, errno, "");
        };
        requeue("CMP_REQUEUE, another value", FUTEX_CMP_REQUEUE, 1, 1, 7);
        requeue("CMP_REQUEUE one and one", FUTEX_CMP_REQUEUE, 1, 1, 0);
        requeue("REQUEUE none and one", FUTEX_REQUEUE, 0, 1, 0);
        wake(t, "WAKE a", a, FUTEX_WAKE | PRIVATE, 9, 0);
        wake(t, "WAKE b", b, FUTEX_WAKE | PRIVATE, 9, 0);
        joined(t, threads);
    }

    /// The operation's encoding: futex(2), `FUTEX_OP`.
    fn waking_with_an_operation(t) {
        let (a, b) = (word(0), word(5));
        let threads = Vec::from([a, a, b, b].map(|w| waiter(w, FUTEX_WAIT | PRIVATE, 0)));
        pause(50);
        let op = |about: &str, operation: u32, argument: u32, compare: u32, with: u32, flag: c_int| {
            let code = operation << 28 | compare << 24 | argument << 12 | with;
            // SAFETY: the fourth place is a number here.
            let (result, errno) = outcome!(unsafe { futex(a, FUTEX_WAKE_OP | flag, 1, 1, Some(b), code) });
            let out = format!(", b is {}", b.load(Ordering::SeqCst));
            t.returned(format_args!("futex(WAKE_OP {about})"), result, errno, &out);
        };
        op("set 9, was 4", 0, 9, 0, 4, PRIVATE);
        op("add 2, was 9", 1, 2, 0, 9, PRIVATE);
        op("or 16, was more than 3", 2, 16, 4, 3, PRIVATE);
        op("and not 1, nobody left", 3, 1, 1, 0, PRIVATE);
        op("xor 2", 4, 2, 5, 0, PRIVATE);
        wake(t, "WAKE b", b, FUTEX_WAKE | PRIVATE, 9, 0);
        wake(t, "WAKE a", a, FUTEX_WAKE | PRIVATE, 9, 0);
        joined(t, threads);
    }

    fn unknown_operations(t) {
        let a = word(0);
        wake(t, "operation 99", a, 99, 1, 0);
        wake(t, "WAKE on the realtime clock", a, FUTEX_WAKE | FUTEX_CLOCK_REALTIME, 1, 0);
    }

    /// A signal ends a wait: EINTR with a limit, a restart without.
    fn interrupted(t) {
        let a = word(0);
        super::signals::handle(libc::SIGUSR1, libc::SA_RESTART);
        // SAFETY: no pointer.
        let main = unsafe { libc::pthread_self() } as usize;
        let sender = std::thread::spawn(move || {
            pause(30);
            // SAFETY: the main thread lives.
            unsafe { libc::pthread_kill(main as libc::pthread_t, libc::SIGUSR1) };
            pause(30);
            a.store(1, Ordering::SeqCst);
            // SAFETY: no time limit.
            unsafe { futex(a, FUTEX_WAKE | PRIVATE, 1, 0, None, 0) };
        });
        wait(t, "WAIT without a limit, interrupted", a, FUTEX_WAIT | PRIVATE, 0, None, 0);
        let _ = sender.join();
        t.say(format_args!("handled {}", super::signals::handled()));
        let sender = std::thread::spawn(move || {
            pause(30);
            // SAFETY: the main thread lives.
            unsafe { libc::pthread_kill(main as libc::pthread_t, libc::SIGUSR1) };
        });
        super::signals::handle(libc::SIGUSR1, 0);
        wait(t, "WAIT without a limit or SA_RESTART", a, FUTEX_WAIT | PRIVATE, 1, None, 0);
        let _ = sender.join();
    }
}
