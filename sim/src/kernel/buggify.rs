//! Buggify at the boundary: legal behaviour that Linux rarely shows, switched on by the seed (after FoundationDB).
//!
//! Everything here is a hash of seed, thread and the thread's own counter, so that one thread's rarities do not move
//! another's. A feature is on in a share of the seeds (swarm testing), and then bites now and then.

use super::entropy::{Purpose, Stream, mix};
use super::thread::Thread;

/// Default timer slack, prctl(2) `PR_SET_TIMERSLACK`: how late a timer may fire on an idle machine.
const TIMER_SLACK_NS: u64 = 50_000;
/// How late a timer may fire on a busy one.
const BUSY_SLACK_NS: u64 = 5_000_000;

/// What a seed switched on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buggify {
    seed: u64,
    /// Timers fire late by up to this.
    slack_ns: u64,
    /// One blocking `epoll_wait` in 2^n ends with `EINTR`, as after a stop and continue (signal(7)); 0 is never.
    interrupt_shift: u32,
    /// One `FUTEX_WAIT` in 2^n returns 0 without a wake-up, which futex(2) allows; 0 is never.
    spurious_shift: u32,
}

impl Buggify {
    /// The features of a seed.
    pub(crate) fn new(seed: u64) -> Buggify {
        let mut stream = Stream::new(seed, Purpose::Swarm, 1);
        let slack_ns = if stream.below(4) == 0 { BUSY_SLACK_NS } else { TIMER_SLACK_NS };
        let mut shift = || if stream.below(4) == 0 { 3 + stream.below(6) as u32 } else { 0 };
        Buggify { seed, slack_ns, interrupt_shift: shift(), spurious_shift: shift() }
    }

    fn roll(&self, salt: u64, thread: &Thread) -> u64 {
        mix(self.seed ^ mix(salt ^ u64::from(thread.serial)) ^ thread.calls.wrapping_mul(0xd6e8_feb8_6659_fd93))
    }

    fn hits(&self, shift: u32, salt: u64, thread: &Thread) -> bool {
        shift > 0 && !thread.hushed && self.roll(salt, thread) >> (64 - shift) == 0
    }

    /// How late a timer fires that is due then. A thread that only sleeps makes no call that counts, but each of its
    /// deadlines is another.
    #[inline]
    pub(crate) fn lateness_ns(&self, thread: &Thread, at: u64) -> u64 {
        if thread.hushed { 0 } else { mix(self.roll(1, thread) ^ at) % self.slack_ns }
    }

    /// How long a thread waits for its turn, at most this; for the so-manieth time on its host.
    pub(crate) fn turn_ns(&self, thread: &Thread, turn: u64, most_ns: u64) -> u64 {
        mix(self.roll(4, thread) ^ turn) % most_ns.max(1)
    }

    /// Whether this `epoll_wait` is interrupted when it would block.
    pub(crate) fn interrupts(&self, thread: &Thread) -> bool {
        self.hits(self.interrupt_shift, 2, thread)
    }

    /// Whether this futex wait returns at once.
    pub(crate) fn wakes_spuriously(&self, thread: &Thread) -> bool {
        self.hits(self.spurious_shift, 3, thread)
    }
}
