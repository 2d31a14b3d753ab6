//! At which of its steps a process is struck by itself: for tests that strike at each one in turn.

#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its part")]

use rustix::process::{Signal, getpid, kill_process};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::time::Duration;

static STEP: AtomicU32 = AtomicU32::new(0);
static DUE: AtomicU32 = AtomicU32::new(0);
static SIGNAL: AtomicI32 = AtomicI32::new(0);

/// Makes the step of this number, counted from 1, the one at which this signal is due.
pub fn at(step: u32, signal: Signal) {
    DUE.store(step, Ordering::Relaxed);
    SIGNAL.store(signal.as_raw(), Ordering::Relaxed);
}

/// Counts a step, and sends the signal that is due at it.
pub fn comes(send: impl FnOnce(Signal)) {
    if STEP.fetch_add(1, Ordering::Relaxed) + 1 == DUE.load(Ordering::Relaxed) {
        send(Signal::from_named_raw(SIGNAL.load(Ordering::Relaxed)).expect("what `at` was told"));
    }
}

/// Sends this process a signal.
pub fn to_itself(signal: Signal) {
    let _ = kill_process(getpid(), signal);
    // It may have gone to another thread first.
    std::thread::sleep(Duration::from_millis(20));
}
