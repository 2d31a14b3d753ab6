//! Waiting on words of memory: futex(2), and beneath it whatever libc would have waited for in the real kernel.
//!
//! Waiters of a word are woken first come, first served (as `kernel/futex/waitwake.c` does for equal priorities); who
//! of the woken runs first is the scheduler's choice.

use super::dispatch::Kernel;
use super::entropy::mix;
use super::thread::{ThreadId, Woken};
use super::{Step, Stop};
use libc::{EAGAIN, EINVAL, ETIMEDOUT};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

/// `FUTEX_BITSET_MATCH_ANY`, linux/futex.h.
pub(crate) const MATCH_ANY: u32 = u32::MAX;

/// Hashes addresses the same way in every process. The table is looked up in, never iterated.
#[derive(Default)]
pub(crate) struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = mix(self.0 ^ u64::from(*byte)));
    }
    fn write_usize(&mut self, value: usize) {
        self.0 = mix(value as u64);
    }
}

#[derive(Clone, Copy)]
struct Waiter {
    thread: ThreadId,
    bitset: u32,
}

/// Who waits on which word. Images share the address space, so an address names a word of the world.
#[derive(Default)]
pub(crate) struct Futexes {
    queues: HashMap<usize, VecDeque<Waiter>, BuildHasherDefault<AddressHasher>>,
    /// Emptied queues, so that waiting allocates nothing in the long run.
    spare: Vec<VecDeque<Waiter>>,
}

const SPARE_QUEUES_MAX: usize = 64;

impl Futexes {
    fn push(&mut self, address: usize, thread: ThreadId, bitset: u32) {
        let spare = &mut self.spare;
        let queue = self.queues.entry(address).or_insert_with(|| spare.pop().unwrap_or_default());
        queue.push_back(Waiter { thread, bitset });
    }

    /// Takes the first waiter whose bits match.
    fn pop(&mut self, address: usize, bitset: u32) -> Option<ThreadId> {
        let queue = self.queues.get_mut(&address)?;
        let at = queue.iter().position(|waiter| waiter.bitset & bitset != 0)?;
        let waiter = queue.remove(at)?;
        self.recycle(address);
        Some(waiter.thread)
    }

    fn recycle(&mut self, address: usize) {
        if self.queues.get(&address).is_some_and(VecDeque::is_empty)
            && let Some(queue) = self.queues.remove(&address)
            && self.spare.len() < SPARE_QUEUES_MAX
        {
            self.spare.push(queue);
        }
    }

    /// A thread waits there no longer.
    pub(crate) fn forget(&mut self, address: usize, thread: ThreadId) {
        if let Some(queue) = self.queues.get_mut(&address) {
            queue.retain(|waiter| waiter.thread != thread);
            self.recycle(address);
        }
    }
}

impl Kernel {
    /// FUTEX_WAIT and FUTEX_WAIT_BITSET. `matches` says whether the word holds the expected value, `until` is virtual.
    pub(crate) fn futex_wait(
        &mut self,
        me: ThreadId,
        address: usize,
        matches: bool,
        bitset: u32,
        until: Option<u64>,
    ) -> Step {
        if bitset == 0 {
            return Err(Stop::Errno(EINVAL));
        }
        if self.threads[me].progress.begun {
            return match self.threads[me].progress.woken {
                Woken::Timeout => Err(Stop::Errno(ETIMEDOUT)),
                _ => Ok(0),
            };
        }
        if !matches {
            return Err(Stop::Errno(EAGAIN));
        }
        self.deadline(me, until);
        if self.expired(me) {
            return Err(Stop::Errno(ETIMEDOUT));
        }
        let thread = &self.threads[me];
        if self.buggify.wakes_spuriously(thread) {
            return Ok(0);
        }
        self.futexes.push(address, me, bitset);
        Err(self.wait_for_address(me, address))
    }

    /// FUTEX_WAKE and FUTEX_WAKE_BITSET: wakes at most `count` waiters, answers how many. A count of zero counts as one
    /// (kernel/futex/waitwake.c, `futex_wake`).
    pub(crate) fn futex_wake(&mut self, address: usize, count: usize, bitset: u32) -> i64 {
        let mut woken = 0;
        while (woken as usize) < count.max(1) {
            let Some(thread) = self.futexes.pop(address, bitset) else { break };
            self.wake(thread, Woken::Event);
            woken += 1;
        }
        woken
    }

    /// FUTEX_REQUEUE: after the wakes, moves at most `limit` waiters to another word; answers how many it moved.
    pub(crate) fn futex_requeue(&mut self, from: usize, to: usize, limit: usize) -> i64 {
        let mut moved = 0;
        while (moved as usize) < limit {
            let Some(thread) = self.futexes.pop(from, MATCH_ANY) else { break };
            self.futexes.push(to, thread, MATCH_ANY);
            for wait in &mut self.threads[thread].waits {
                if *wait == super::thread::WaitsOn::Address(from) {
                    *wait = super::thread::WaitsOn::Address(to);
                }
            }
            moved += 1;
        }
        moved
    }
}

impl Futexes {
    /// Whether anybody waits on the word.
    pub(crate) fn waited_for(&self, address: usize) -> bool {
        self.queues.contains_key(&address)
    }
}
