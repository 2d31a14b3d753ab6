//! Processors that are busy with something else: whoever becomes ready to run waits for its turn.
//!
//! Work itself takes no virtual time but the cost of its calls, so what other programs take from a host is felt where a
//! program waits: each time that one of its threads is woken. Linux's scheduler gives a thread that wakes its turn
//! after those that run now have had their slices (sched(7); EEVDF, kernel/sched/fair.c).

use super::dispatch::{Event, Kernel};
use super::thread::{State, ThreadId};
use crate::world::HostId;

/// A slice on four processors: `base_slice_ns`, 0.75 ms times 1 + log2 of their number (kernel/sched/fair.c, 6.12).
const SLICE_NS: f64 = 2_250_000.0;
/// However busy processors are, a thread waits no longer.
const WAIT_NS_MAX: f64 = 100_000_000.0;

/// What a host's processors are busy with.
#[derive(Default)]
pub(crate) struct Burn {
    /// The longest that a thread waits for its turn, by all faults together.
    wait_ns: u64,
    /// How many have waited.
    waited: u64,
}

/// The longest that a thread waits where this share of the processors' time is taken.
fn wait_ns(load: f64) -> u64 {
    let busy = load.clamp(0.0, 0.999);
    (SLICE_NS * busy / (1.0 - busy)).min(WAIT_NS_MAX) as u64
}

impl Kernel {
    /// Takes a share of a host's processors; answers how many threads had waited before.
    pub(crate) fn burn(&mut self, host: HostId, load: f64) -> u64 {
        self.burning += 1;
        self.hosts[host].burn.wait_ns += wait_ns(load);
        self.hosts[host].burn.waited
    }

    /// Gives it back.
    pub(crate) fn end_burn(&mut self, host: HostId, load: f64) {
        self.burning -= 1;
        self.hosts[host].burn.wait_ns -= wait_ns(load);
    }

    /// How many threads have waited on a host so far.
    pub(crate) fn waited(&self, host: HostId) -> u64 {
        self.hosts[host].burn.waited
    }

    /// Makes a thread that was woken wait for its turn, if its host is busy; whether it does.
    #[cold]
    pub(crate) fn waits_for_its_turn(&mut self, id: ThreadId) -> bool {
        let thread = &self.threads[id];
        let host = self.processes[thread.process].host;
        let burn = &mut self.hosts[host].burn;
        if burn.wait_ns == 0 {
            return false;
        }
        burn.waited += 1;
        let at = self.now.saturating_add(self.buggify.turn_ns(thread, burn.waited, burn.wait_ns));
        let key = self.timers.schedule(at, Event::Turn(id));
        self.threads[id].turn = Some(key);
        true
    }

    /// A thread's turn has come.
    pub(crate) fn turn_comes(&mut self, id: ThreadId) {
        let Some(thread) = self.threads.get_mut(id) else { return };
        if thread.turn.take().is_some() && thread.state == State::Ready {
            self.make_eligible(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::wait_ns;

    #[test]
    fn the_busier_the_longer_and_never_for_ever() {
        assert_eq!([0.0, 0.5, 0.9].map(wait_ns), [0, 2_250_000, 20_250_000]);
        assert_eq!([0.99, 1.0, 7.0].map(wait_ns), [100_000_000; 3]);
    }
}
