//! Who runs next: a choice made by the seed at every blocking point and, with a probability the seed chooses, at any
//! call that does work.
//!
//! The seed also picks the strategy (swarm testing): uniform choice finds shallow races quickly, *sticky* choice lets
//! threads run long, and PCT (Burckhardt et al., ASPLOS 2010) gives a bound for races of any depth.

use super::ThreadId;
use super::entropy::{Purpose, Stream, mix};
use std::collections::{BinaryHeap, VecDeque};

/// How a world chooses among runnable threads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Strategy {
    /// First come, first served; never preempts. Good weather.
    Fair,
    /// Any runnable thread, equally likely; preempts one call in 2^`preempt_shift`.
    Uniform {
        /// Preemption probability as a power of two.
        preempt_shift: u32,
    },
    /// As uniform, but a running thread keeps running until it blocks.
    Sticky,
    /// Random priorities, the highest runs; at a few random steps the running thread drops to the lowest.
    Pct,
}

/// Largest number of priority change points: races of depth up to one more are bounded.
const PCT_CHANGES_MAX: u64 = 4;

enum Ready {
    Queue(VecDeque<ThreadId>),
    Bag(Vec<ThreadId>),
    Priorities(BinaryHeap<(u64, ThreadId)>),
}

/// The scheduler's state.
pub(crate) struct Scheduler {
    pub(crate) strategy: Strategy,
    seed: u64,
    stream: Stream,
    ready: Ready,
    step: u64,
    changes: Vec<u64>,
    lowest: u64,
}

impl Scheduler {
    /// The scheduler that a seed stands for.
    pub(crate) fn new(seed: u64, calm: bool) -> Scheduler {
        let mut stream = Stream::new(seed, Purpose::Scheduler, 0);
        let strategy = match stream.below(8) {
            _ if calm => Strategy::Fair,
            0..=3 => Strategy::Uniform { preempt_shift: 1 + stream.below(6) as u32 },
            4 => Strategy::Sticky,
            _ => Strategy::Pct,
        };
        let ready = match strategy {
            Strategy::Fair => Ready::Queue(VecDeque::new()),
            Strategy::Uniform { .. } | Strategy::Sticky => Ready::Bag(Vec::new()),
            Strategy::Pct => Ready::Priorities(BinaryHeap::new()),
        };
        // The length of a run is unknown beforehand: the change points are spread over a random power of two of steps.
        let horizon = 1 << (3 + stream.below(14));
        let mut changes: Vec<u64> = (0..stream.below(PCT_CHANGES_MAX + 1)).map(|_| stream.below(horizon)).collect();
        changes.sort_unstable_by(|a, b| b.cmp(a));
        Scheduler { strategy, seed, stream, ready, step: 0, changes, lowest: 1 << 62 }
    }

    /// A new thread's priority; only PCT looks at it.
    pub(crate) fn new_priority(&mut self) -> u64 {
        match self.strategy {
            Strategy::Pct => (1 << 62) + self.stream.below(1 << 62),
            _ => 0,
        }
    }

    /// The priority of a thread that has yielded, which has no claim on the one it had: a new one, as for the sake of
    /// other interleavings, or the last, half of the time. Who spins until another has done something would never see
    /// it happen if that other had been put last by a change point.
    pub(crate) fn yielded_priority(&mut self) -> u64 {
        match self.strategy {
            Strategy::Pct if self.stream.below(2) == 0 => self.lowest_priority(),
            _ => self.new_priority(),
        }
    }

    /// A priority below all others, for threads that reach a change point.
    pub(crate) fn lowest_priority(&mut self) -> u64 {
        self.lowest -= 1;
        self.lowest
    }

    /// Makes a thread eligible.
    #[inline]
    pub(crate) fn push(&mut self, thread: ThreadId, priority: u64) {
        match &mut self.ready {
            Ready::Queue(queue) => queue.push_back(thread),
            Ready::Bag(bag) => bag.push(thread),
            Ready::Priorities(heap) => heap.push((priority, thread)),
        }
    }

    /// Takes back a thread that died or was paused while eligible. Rare, so a search is fine.
    pub(crate) fn remove(&mut self, thread: ThreadId, priority: u64) {
        match &mut self.ready {
            Ready::Queue(queue) => queue.retain(|t| *t != thread),
            Ready::Bag(bag) => bag.retain(|t| *t != thread),
            Ready::Priorities(heap) => heap.retain(|entry| *entry != (priority, thread)),
        }
    }

    /// Chooses the next thread.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<ThreadId> {
        match &mut self.ready {
            Ready::Queue(queue) => queue.pop_front(),
            Ready::Bag(bag) => match bag.len() {
                0 => None,
                1 => bag.pop(),
                n => Some(bag.swap_remove(self.stream.below(n as u64) as usize)),
            },
            Ready::Priorities(heap) => heap.pop().map(|(_, thread)| thread),
        }
    }

    /// Whether nobody is eligible.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        match &self.ready {
            Ready::Queue(queue) => queue.is_empty(),
            Ready::Bag(bag) => bag.is_empty(),
            Ready::Priorities(heap) => heap.is_empty(),
        }
    }

    /// Whether a thread that competed with all that are eligible would certainly be chosen.
    #[inline]
    pub(crate) fn outranks(&self, priority: u64, thread: ThreadId) -> bool {
        match &self.ready {
            Ready::Queue(_) | Ready::Bag(_) => false,
            Ready::Priorities(heap) => heap.peek().is_none_or(|highest| *highest < (priority, thread)),
        }
    }

    /// Whether another thread gets its turn although the running one could go on, after a call that did work.
    ///
    /// A hash of seed, thread and that thread's own counter, not a draw: what other threads do does not move it.
    #[inline]
    pub(crate) fn preempts(&mut self, thread: u64, calls: u64) -> Preemption {
        match self.strategy {
            Strategy::Fair | Strategy::Sticky => Preemption::No,
            Strategy::Uniform { preempt_shift } => {
                let hash = mix(self.seed ^ mix(thread) ^ calls.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                if hash >> (64 - preempt_shift) == 0 { Preemption::Yield } else { Preemption::No }
            }
            Strategy::Pct => {
                self.step += 1;
                if self.changes.last().is_some_and(|at| *at < self.step) {
                    self.changes.pop();
                    return Preemption::Demote;
                }
                // A thread of higher priority that has become eligible takes over at once: that is the algorithm.
                Preemption::Yield
            }
        }
    }
}

/// The answer of [`Scheduler::preempts`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Preemption {
    /// It goes on.
    No,
    /// It competes with the others again.
    Yield,
    /// It competes with the lowest priority.
    Demote,
}
