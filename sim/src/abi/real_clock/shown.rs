//! What this process's clocks show, and waiting by them.

use super::page::{Hand, Page};
use crate::carrier::real;
use libc::{c_int, clockid_t, timespec};
use std::sync::atomic::{AtomicI64, Ordering};

/// How long a wait goes on without a look at the page, which may have moved the clock that is waited by.
const SLICE_NS: i64 = 50_000_000;
/// The clocks that are tied to `CLOCK_MONOTONIC`.
const TIED: [clockid_t; 4] = [libc::CLOCK_REALTIME, libc::CLOCK_TAI, libc::CLOCK_MONOTONIC_RAW, libc::CLOCK_BOOTTIME];
/// How often a tie is measured. The tightest embrace takes well under a microsecond, unless the thread is preempted in
/// every single one.
const EMBRACES: usize = 64;
/// How far a tie may be off from what is found.
const SLACK_NS: i64 = 1_000;

/// A clock whose readings the page changes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    Monotonic,
    /// `CLOCK_REALTIME`, and the others, by their place in `TIED`.
    Tied(clockid_t, usize),
}

/// What clocks are ahead of the genuine `CLOCK_MONOTONIC` by, as far as is known.
///
/// It changes only when the machine's own clock is set (`wall_to_monotonic`, kernel/time/timekeeping.c). Two reads that
/// follow each other differ by the time between them, so it is known to lie between two bounds, and it is kept for as
/// long as these allow it: readings by one and the same difference go forwards as `CLOCK_MONOTONIC` does, on whatever
/// thread, and wherever that was preempted.
static TIES: [AtomicI64; TIED.len()] = [const { AtomicI64::new(0) }; TIED.len()];

impl Shown {
    /// Coarse clocks are shown as exactly as the others. CPU time is as it is.
    pub(super) fn of(id: clockid_t) -> Option<Shown> {
        match id {
            libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE | libc::CLOCK_REALTIME_ALARM => Some(Shown::WALL),
            libc::CLOCK_TAI => Some(Shown::Tied(libc::CLOCK_TAI, 1)),
            libc::CLOCK_MONOTONIC | libc::CLOCK_MONOTONIC_COARSE => Some(Shown::Monotonic),
            libc::CLOCK_MONOTONIC_RAW => Some(Shown::Tied(libc::CLOCK_MONOTONIC_RAW, 2)),
            libc::CLOCK_BOOTTIME | libc::CLOCK_BOOTTIME_ALARM => Some(Shown::Tied(libc::CLOCK_BOOTTIME, 3)),
            _ => None,
        }
    }

    /// `CLOCK_REALTIME`.
    pub(super) const WALL: Shown = Shown::Tied(libc::CLOCK_REALTIME, 0);

    fn hand(self) -> Hand {
        match self {
            Shown::Tied(libc::CLOCK_REALTIME | libc::CLOCK_TAI, _) => Hand::Wall,
            Shown::Tied(..) | Shown::Monotonic => Hand::Monotonic,
        }
    }

    /// Genuine `CLOCK_MONOTONIC`, and what this clock is ahead of it by.
    pub(super) fn genuine(self) -> (i64, i64) {
        let Shown::Tied(id, index) = self else { return (genuine_monotonic(), 0) };
        let known = TIES[index].load(Ordering::Relaxed);
        let (before, reading, after) = embrace(id);
        // What is not known better than this is not changed for less. The raw clock alone runs at a speed of its own.
        let slack = if id == libc::CLOCK_MONOTONIC_RAW { 0 } else { SLACK_NS };
        let tie = known.clamp(reading - after - slack, reading - before + slack);
        if tie == known {
            return (before, tie);
        }
        // Of those that found out at the same time one is believed.
        let told = TIES[index].compare_exchange(known, tie, Ordering::AcqRel, Ordering::Acquire);
        (before, told.map_or_else(|first| first, |_| tie))
    }

    /// What it shows now. Counted.
    pub(super) fn shows(self, page: &Page) -> i64 {
        let (now, ahead) = self.genuine();
        let (now, line) = page.line_at(self.hand(), now);
        page.count_read(self.hand(), line, now);
        now.saturating_add(ahead).saturating_add(line.adds(now))
    }

    /// Whether it shows this or more.
    fn has_come(self, page: &Page, at_ns: i64) -> bool {
        let (now, ahead) = self.genuine();
        let (now, line) = page.line_at(self.hand(), now);
        now.saturating_add(ahead).saturating_add(line.adds(now)) >= at_ns
    }

    /// Now, and when it will show this, as it is moved now; both in genuine `CLOCK_MONOTONIC`.
    pub(super) fn due(self, page: &Page, at_ns: i64) -> (i64, i64) {
        let (now, ahead) = self.genuine();
        (now, page.when(self.hand(), ahead, at_ns, now))
    }
}

/// Genuine `CLOCK_MONOTONIC`.
pub(in crate::abi) fn genuine_monotonic() -> i64 {
    genuine_ns(libc::CLOCK_MONOTONIC)
}

/// Reads a clock between two reads of `CLOCK_MONOTONIC`.
fn embrace(id: clockid_t) -> (i64, i64, i64) {
    let before = genuine_monotonic();
    let reading = genuine_ns(id);
    (before, reading, genuine_monotonic())
}

/// Finds out what clocks are ahead by, before anybody goes by it.
pub(super) fn tie() {
    for (tie, id) in TIES.iter().zip(TIED) {
        let tightest = (0..EMBRACES).map(|_| embrace(id)).min_by_key(|(before, _, after)| after - before);
        if let Some((before, reading, after)) = tightest {
            tie.store(reading - before - (after - before) / 2, Ordering::Release);
        }
    }
}

/// A genuine clock that exists, in nanoseconds.
fn genuine_ns(id: clockid_t) -> i64 {
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: valid for writes.
    unsafe { real::clock_gettime(id, &raw mut now) };
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// A part of a wait, in genuine `CLOCK_MONOTONIC`.
#[derive(Clone, Copy)]
pub(super) struct Slice {
    pub(super) now_ns: i64,
    pub(super) until_ns: i64,
}

impl Slice {
    /// How long it is.
    pub(super) fn lasts_ns(self) -> i64 {
        (self.until_ns - self.now_ns).max(0)
    }

    /// How long it is, in milliseconds: rounded up, as nothing may be early.
    pub(super) fn lasts_ms(self) -> c_int {
        (self.lasts_ns() as u64).div_ceil(1_000_000) as c_int
    }

    /// Its end on the genuine wall clock.
    pub(super) fn until_wall_ns(self) -> i64 {
        self.until_ns.saturating_add(Shown::WALL.genuine().1)
    }
}

/// Waits until a clock shows this, in slices. `attempt` answers `None` when its slice has passed.
pub(super) fn wait_until<T>(
    page: &Page,
    clock: Shown,
    at_ns: i64,
    mut attempt: impl FnMut(Slice) -> Option<T>,
) -> Option<T> {
    if clock == Shown::WALL {
        clock.shows(page); // whoever waits for a time of day need not look to be struck
    }
    loop {
        let (now_ns, due_ns) = clock.due(page, at_ns);
        let slice = Slice { now_ns, until_ns: due_ns.min(now_ns.saturating_add(SLICE_NS)) };
        if let Some(answer) = attempt(slice) {
            return Some(answer);
        }
        if clock.has_come(page, at_ns) {
            return None;
        }
    }
}

/// Waits for a length of time by this process's `CLOCK_MONOTONIC`, as [`wait_until`].
pub(super) fn wait_for<T>(page: &Page, ns: i64, attempt: impl FnMut(Slice) -> Option<T>) -> Option<T> {
    let until_ns = Shown::Monotonic.shows(page).saturating_add(ns);
    wait_until(page, Shown::Monotonic, until_ns, attempt)
}

/// How much of a length of time is left that began at this reading of `CLOCK_MONOTONIC`.
pub(super) fn left_ns(page: &Page, began_ns: i64, ns: i64) -> i64 {
    began_ns.saturating_add(ns).saturating_sub(Shown::Monotonic.shows(page)).max(0)
}
