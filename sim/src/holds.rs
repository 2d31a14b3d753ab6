//! Which fault has which host's program in its grip, for whoever carries a plan of faults out.

use crate::world::HostId;
use std::collections::{BTreeMap, BTreeSet};

/// What a fault has done to a host's program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plight {
    /// It was crashed or killed.
    Felled {
        /// It was a program, which can be started again, rather than a client.
        startable: bool,
    },
    /// It was suspended.
    Paused,
}

/// What becomes of the hosts that a fault has felled when it ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Felled {
    /// They are started again.
    StartAgain,
    /// They are left to the caller.
    LeaveDown,
}

#[derive(Clone, Copy)]
struct Hold {
    fault: usize,
    /// Which start of the host it concerns.
    starts: u32,
    plight: Plight,
}

/// For each host the fault that has it in its grip: the last that bit. What was started or resumed by hand meanwhile,
/// or fell to another fault, is no longer an earlier fault's to undo.
///
/// ```
/// use windtunnel_sim::holds::{Holds, Plight};
/// use windtunnel_sim::world::HostId;
///
/// let host = HostId(1);
/// let mut holds = Holds::default();
/// holds.take(0, host, 1, Plight::Paused);
/// holds.take(1, host, 1, Plight::Felled { startable: true });
/// assert_eq!(holds.of(0, host, 1), None, "it fell to another fault");
/// assert_eq!(holds.of(1, host, 1), Some(Plight::Felled { startable: true }));
/// assert_eq!(holds.of(1, host, 2), None, "it was started by hand");
/// ```
#[derive(Default)]
pub struct Holds {
    holds: BTreeMap<HostId, Hold>,
    restarted: BTreeSet<HostId>,
}

impl Holds {
    /// Fault number `fault` has bitten on the start number `starts` of a host.
    pub fn take(&mut self, fault: usize, host: HostId, starts: u32, plight: Plight) {
        self.holds.insert(host, Hold { fault, starts, plight });
    }

    /// What is still this fault's to undo, on a host that has been started `starts` times. A hold on an earlier start
    /// is let go.
    pub fn of(&mut self, fault: usize, host: HostId, starts: u32) -> Option<Plight> {
        let hold = self.holds.get(&host).filter(|hold| hold.fault == fault)?;
        if hold.starts == starts {
            return Some(hold.plight);
        }
        self.holds.remove(&host);
        None
    }

    /// A host was resumed: nobody has it in its grip any more.
    pub fn resumed(&mut self, host: HostId) {
        self.holds.remove(&host);
    }

    /// A host was started again because its fault has ended.
    pub fn restarted(&mut self, host: HostId) {
        self.holds.remove(&host);
        self.restarted.insert(host);
    }

    /// Hosts that were felled and have not been started since, in order; `starts` says how often each has been.
    pub fn left_down(&self, starts: impl Fn(HostId) -> u32) -> Vec<HostId> {
        let down = |(host, hold): &(&HostId, &Hold)| {
            matches!(hold.plight, Plight::Felled { .. }) && hold.starts == starts(**host)
        };
        self.holds.iter().filter(down).map(|(host, _)| *host).collect()
    }

    /// Hosts that were started again when a fault ended, each once, in order.
    pub fn all_restarted(&self) -> Vec<HostId> {
        self.restarted.iter().copied().collect()
    }
}
