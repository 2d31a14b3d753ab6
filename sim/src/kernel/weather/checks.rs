//! What faults are possible, and what a fault is to those whom it harms.

use super::TEST;
use crate::kernel::dispatch::Kernel;
use crate::kernel::host::UPTIME_NS;
use crate::kernel::net::{Harm, delay_ns};
use crate::weather::{DiskTrouble, FaultKind, Lack, LinkTrouble, NameAnswer};
use crate::world::HostState;

/// What may wait before a narrow link: 1,000 packets of 1,500 bytes.
const QUEUE_BYTES: u64 = 1_500_000;

/// 200 years: what a clock shows has to fit into 63 bits of nanoseconds.
const SKEW_NS_MAX: u64 = 200 * 365 * 86_400 * 1_000_000_000;

/// Half or one and a half times its speed: what no crystal does.
const DRIFT_PPM_MAX: i64 = 500_000;

impl Kernel {
    /// Whether a fault is possible at all.
    ///
    /// # Errors
    /// A sentence that says why not.
    pub(super) fn check_fault(&self, kind: &FaultKind) -> Result<(), String> {
        let links = kind.links().into_iter().flat_map(|links| links.from.iter().chain(&links.to)).copied();
        let answer = match kind {
            FaultKind::Hijack { answer: NameAnswer::Host(host), .. } => Some(*host),
            _ => None,
        };
        if let Some(unknown) = links.chain(kind.host()).chain(answer).find(|host| host.0 as usize >= self.hosts.len()) {
            return Err(format!("there is no host {}; add it before the weather begins", unknown.0));
        }
        let fells = matches!(kind, FaultKind::Crash { .. } | FaultKind::Kill { .. } | FaultKind::Pause { .. });
        if kind.host() == Some(TEST) && fells {
            return Err("host `test` runs the test itself; choose another host to fall or pause".to_owned());
        }
        match kind {
            FaultKind::Burn { load: share, .. } | FaultKind::Lack { lack: Lack::Memory { share }, .. }
                if !(0.0..=1.0).contains(share) =>
            {
                Err(format!("{share} is no share; it would be from 0 to 1"))
            }
            FaultKind::Links { trouble, .. } => check_trouble(trouble),
            FaultKind::Drift { ppm, .. } if !(-DRIFT_PPM_MAX..=DRIFT_PPM_MAX).contains(ppm) => {
                Err(format!("no clock drifts by {ppm} ppm; it would be at most {DRIFT_PPM_MAX}"))
            }
            FaultKind::Skew { by_ns, .. } if self.start_unix_ns as i64 + by_ns.min(&0) < UPTIME_NS => {
                Err("no clock can show a time before 1970, or less than the time since it was booted".to_owned())
            }
            FaultKind::Skew { by_ns, .. } if by_ns.unsigned_abs() > SKEW_NS_MAX => {
                Err("no clock can be moved by more than 200 years".to_owned())
            }
            FaultKind::Disk { trouble: DiskTrouble::Failing { reads, syncs }, .. }
                if ![reads, syncs].into_iter().all(|share| (0.0..=1.0).contains(share)) =>
            {
                Err(format!("{reads} and {syncs} are no probabilities; they would be from 0 to 1"))
            }
            FaultKind::Disk { trouble: DiskTrouble::Slow { bytes_per_second: 0, .. }, .. } => {
                Err("nothing would ever be on a disk of 0 bytes per second".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Whether a fault would make a difference now, as far as can be known.
    pub(super) fn is_vulnerable(&self, kind: &FaultKind) -> bool {
        match kind {
            FaultKind::Links { .. }
            | FaultKind::Skew { .. }
            | FaultKind::Drift { .. }
            | FaultKind::Hijack { .. }
            | FaultKind::Burn { .. }
            | FaultKind::Disk { .. } => true,
            FaultKind::Lack { lack: Lack::Memory { .. } | Lack::Tasks { .. }, host } => self.runs_program(*host),
            FaultKind::Lack { host, .. } | FaultKind::Crash { host } | FaultKind::Kill { host } => {
                !matches!(self.host_state(*host), HostState::Down(_))
            }
            FaultKind::Pause { host } => self.host_state(*host) == HostState::Up,
        }
    }
}

/// Whether links can have this trouble.
fn check_trouble(trouble: &LinkTrouble) -> Result<(), String> {
    match trouble {
        LinkTrouble::Lossy { probability: share, .. }
        | LinkTrouble::Doubling { probability: share }
        | LinkTrouble::Overtaking { probability: share, .. }
        | LinkTrouble::Flipping { probability: share }
            if !(0.0..=1.0).contains(share) =>
        {
            Err(format!("{share} is no probability; it would be from 0 to 1"))
        }
        LinkTrouble::Lossy { correlation: share, .. } if !(0.0..=1.0).contains(share) => {
            Err(format!("{share} is no correlation; it would be from 0 to 1"))
        }
        LinkTrouble::Narrow { bytes_per_second: 0, .. } => {
            Err("nothing would get through a link of 0 bytes per second: that is a partition".to_owned())
        }
        _ => Ok(()),
    }
}

/// What a trouble of links does to segments.
pub(super) fn harm(trouble: &LinkTrouble) -> Harm {
    match *trouble {
        LinkTrouble::Partition => Harm::Cut,
        LinkTrouble::Slow { latency, ref or, jitter, spread } => {
            let or_ns = or.iter().copied().map(delay_ns).collect();
            Harm::Slow { latency_ns: delay_ns(latency), or_ns, jitter_ns: delay_ns(jitter), spread }
        }
        LinkTrouble::Lossy { probability, correlation } => Harm::Lossy { probability, correlation },
        LinkTrouble::Doubling { probability } => Harm::Doubling { probability },
        LinkTrouble::Overtaking { probability, by } => Harm::Overtaking { probability, by_ns: delay_ns(by) },
        LinkTrouble::Flipping { probability } => Harm::Flipping { probability },
        LinkTrouble::Narrow { bytes_per_second, queue_bytes } => {
            Harm::Narrow { bytes_per_second, queue_bytes: queue_bytes.unwrap_or(QUEUE_BYTES) }
        }
    }
}
