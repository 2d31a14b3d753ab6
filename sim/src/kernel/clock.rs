//! Time as hosts see it, and the end of spinning on it.

use super::dispatch::Kernel;
use super::event::What;
use super::thread::{ThreadId, Woken};
use super::{Step, Stop};
use libc::{EINVAL, clockid_t};

/// The first push that a program gets which only reads the clock; doubled up to `SPIN_DOUBLINGS` times.
const SPIN_PUSH_NS: u64 = 10_000;
const SPIN_DOUBLINGS: u32 = 14;

/// Which of a host's clocks an id names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Clock {
    /// Wall clock: may be stepped.
    Realtime,
    /// Time since an arbitrary point: never steps.
    Monotonic,
    /// CPU time of the process or thread. Virtual time stands in for it: calls are all that costs anything.
    Cpu,
}

impl Clock {
    /// clock_gettime(2).
    ///
    /// # Errors
    /// `EINVAL` for ids that Linux does not know either.
    pub(crate) fn of(id: clockid_t) -> Result<Clock, Stop> {
        match id {
            libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE | libc::CLOCK_REALTIME_ALARM | libc::CLOCK_TAI => {
                Ok(Clock::Realtime)
            }
            libc::CLOCK_MONOTONIC
            | libc::CLOCK_MONOTONIC_RAW
            | libc::CLOCK_MONOTONIC_COARSE
            | libc::CLOCK_BOOTTIME
            | libc::CLOCK_BOOTTIME_ALARM => Ok(Clock::Monotonic),
            libc::CLOCK_PROCESS_CPUTIME_ID | libc::CLOCK_THREAD_CPUTIME_ID => Ok(Clock::Cpu),
            _ => Err(Stop::Errno(EINVAL)),
        }
    }
}

impl Kernel {
    /// The virtual moment at which a host's clock shows `at_ns`: a deadline of the call under way.
    pub(crate) fn when(&mut self, me: ThreadId, clock: Clock, at_ns: i64) -> u64 {
        if clock == Clock::Realtime {
            self.threads[me].progress.wall_ns = Some(at_ns);
            return self.host_of(self.threads[me].process).wall.when(at_ns, self.now);
        }
        let shows_ns = (self.now as i64).saturating_add(self.offset_ns(me, clock));
        match u64::try_from(at_ns.saturating_sub(shows_ns)) {
            Ok(left_ns) if clock == Clock::Monotonic => self.after(me, left_ns),
            Ok(left_ns) => self.now.saturating_add(left_ns),
            Err(_) => self.now,
        }
    }

    /// The virtual moment at which so much time has passed by a host's `CLOCK_MONOTONIC`.
    #[inline]
    pub(crate) fn after(&self, me: ThreadId, ns: u64) -> u64 {
        if !self.clocks_move {
            return self.now.saturating_add(ns);
        }
        self.host_of(self.threads[me].process).beat.after(self.now, ns)
    }

    /// How long ago a host's clock showed `at_ns`, unless that is still to come.
    pub(crate) fn lateness_ns(&self, me: ThreadId, clock: Clock, at_ns: i64) -> Option<u64> {
        let now_ns = (self.now as i64).saturating_add(self.offset_ns(me, clock));
        u64::try_from(now_ns.saturating_sub(at_ns)).ok()
    }

    /// What a host adds to virtual time for a clock.
    fn offset_ns(&self, me: ThreadId, clock: Clock) -> i64 {
        let host = self.host_of(self.threads[me].process);
        match clock {
            Clock::Realtime => host.wall.adds(self.now),
            Clock::Monotonic => host.beat.adds(self.now),
            Clock::Cpu => 0,
        }
    }

    /// Sleeps until a virtual moment.
    pub(crate) fn sleep_until(&mut self, me: ThreadId, at: u64) -> Step {
        self.deadline(me, Some(at));
        if self.threads[me].progress.woken == Woken::Timeout || self.expired(me) {
            return Ok(0);
        }
        Err(Stop::Block)
    }

    /// Sleeps for a length of time. At least a nanosecond passes: sleeping is a scheduling point.
    pub(crate) fn sleep_for(&mut self, me: ThreadId, ns: u64) -> Step {
        let at = self.after(me, ns.max(1));
        self.sleep_until(me, at)
    }

    /// A program has read its clock many times and done nothing else: it waits for time to pass, so it passes.
    pub(crate) fn clock_spin(&mut self, me: ThreadId, round: u32) -> Step {
        self.now += SPIN_PUSH_NS << round.min(SPIN_DOUBLINGS);
        let serial = self.threads[me].serial;
        self.record(serial, What::ClockSpin, i64::from(round), 0);
        Ok(0)
    }
}
