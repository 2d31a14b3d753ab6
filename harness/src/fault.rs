//! Faults by hand: each begins with a call on [`Chaos`](crate::Chaos) and ends with its guard, or with the storm.

use crate::blackbox::Progress;
use crate::chaos::Shared;
use crate::hosts::Host;
use std::fmt::{self, Debug, Formatter};
use std::sync::{Arc, Weak};
use std::time::Duration;
use windtunnel_sim::world::{FaultId, HostId};

/// A fault in force. It heals when it is dropped, unless it is [kept](Self::keep).
///
/// ```no_run
/// # async fn example(cx: windtunnel::Chaos, kv: windtunnel::Hosts) {
/// let cut = cx.partition(&kv[0], &kv[1..]);
/// // …
/// let lost = cut.heal();
/// assert!(lost > 0, "nobody tried to talk across the cut");
/// # }
/// ```
#[must_use = "the fault heals at once when its guard is dropped: keep the guard, or call `.keep()`"]
pub struct Fault {
    id: FaultId,
    shared: Weak<Shared>,
}

/// What a fault does to links.
pub(crate) enum FaultKind {
    Partition { both_ways: bool },
    Slow { latency: Duration, jitter: Duration },
    Lossy { probability: f64 },
}

impl Fault {
    pub(crate) fn begin(shared: &Arc<Shared>, from: &[HostId], to: &[HostId], kind: &FaultKind) -> Self {
        let id = match *kind {
            FaultKind::Partition { both_ways } => crate::world::partition(from, to, both_ways),
            FaultKind::Slow { latency, jitter } => crate::world::slow(from, to, true, latency, jitter),
            FaultKind::Lossy { probability } => crate::world::lossy(from, to, true, probability),
        };
        shared.state().faults.links.push(id);
        Self { id, shared: Arc::downgrade(shared) }
    }

    /// Ends the fault. Returns how many segments and datagrams it bit on: 0 means that it made no difference.
    pub fn heal(self) -> u64 {
        self.end()
    }

    /// Leaves it in force until the storm ends; outside a storm, until the case ends.
    pub fn keep(mut self) {
        self.shared = Weak::new();
    }

    fn end(&self) -> u64 {
        let Some(shared) = self.shared.upgrade() else {
            return 0;
        };
        let mut state = shared.state();
        let links = &mut state.faults.links;
        // Not there when the storm's end has healed it.
        let Some(place) = links.iter().position(|id| *id == self.id) else {
            return 0;
        };
        links.remove(place);
        let affected = crate::world::heal(self.id).affected;
        shared.blackbox.progress().fault_ended(affected);
        affected
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        self.end();
    }
}

impl Debug for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fault").field(&self.id.0).finish()
    }
}

/// Every fault in force that was begun by hand.
#[derive(Default)]
pub(crate) struct Faults {
    links: Vec<FaultId>,
    felled: Vec<Host>,
    paused: Vec<Host>,
}

impl Faults {
    /// A host was crashed or killed, or is no longer to be started again.
    pub(crate) fn felled(&mut self, host: &Host, felled: bool) {
        note(&mut self.felled, host, felled);
    }

    /// A host was paused or resumed.
    pub(crate) fn paused(&mut self, host: &Host, paused: bool) {
        note(&mut self.paused, host, paused);
    }

    /// Heals links.
    pub(crate) fn heal_links(&mut self, progress: Progress<'_>) {
        for id in self.links.drain(..) {
            progress.fault_ended(crate::world::heal(id).affected);
        }
    }

    /// Heals links and resumes hosts; returns the hosts that are to be started again.
    pub(crate) fn heal(&mut self, progress: Progress<'_>) -> Vec<Host> {
        self.heal_links(progress);
        for host in self.paused.drain(..) {
            crate::world::resume(host.id());
        }
        std::mem::take(&mut self.felled)
    }
}

fn note(hosts: &mut Vec<Host>, host: &Host, add: bool) {
    hosts.retain(|other| other.id() != host.id());
    if add {
        hosts.push(host.clone());
    }
}
