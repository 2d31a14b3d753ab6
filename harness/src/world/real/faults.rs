//! Faults: what the simulated kernel decides by itself is done to genuine processes here.

use super::hosts::Pages;
use super::{World, lock};
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use windtunnel_inject::Injection;
use windtunnel_inject::boundary::Refusal as Refused;
use windtunnel_inject::error::{Error, ErrorKind};
use windtunnel_sim::control::FaultAccount;
use windtunnel_sim::holds::Plight;
use windtunnel_sim::weather::{DiskTrouble, FaultKind, Lack, LinkTrouble, Links, Spread};
use windtunnel_sim::world::{FaultId, HostId, HostState};

/// Faults that were begun by hand, by number.
#[derive(Default)]
pub(super) struct ByHand {
    faults: Mutex<(u64, BTreeMap<u64, Begun>)>,
    distances: Mutex<BTreeMap<(HostId, HostId), Box<dyn Injection>>>,
}

/// A fault in force.
pub(super) enum Begun {
    /// The host's program was felled or suspended. Who undoes that goes by [`Holds`](windtunnel_sim::holds::Holds).
    Struck { host: HostId, plight: Plight },
    /// The host's program may be killed for want of memory.
    Starved { host: HostId, injection: Box<dyn Injection> },
    /// The world's name server says something else. Reading that back takes a question, so it is not done all the time.
    Asked(Box<dyn Injection>),
    /// The kernel's.
    Injected(Box<dyn Injection>),
    /// It strikes a program, and that is down, or suspended already.
    OnNobody,
}

impl Begun {
    /// What it has bitten on so far.
    pub(super) fn bit(&mut self) -> u64 {
        match self {
            Self::Struck { .. } => 1,
            // What cannot be counted has bitten on nothing that is known.
            Self::Starved { injection, .. } | Self::Asked(injection) | Self::Injected(injection) => {
                injection.bit().unwrap_or(0)
            }
            Self::OnNobody => 0,
        }
    }
}

/// Why a fault is not to be had.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Not in the real world at all.
    NotHere(&'static str),
    /// The kernel, or this user's privilege, lacks something.
    Failed(windtunnel_inject::Error),
    /// The same, found out before.
    Lacking(String),
}

impl Display for Refusal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHere(reason) => f.write_str(reason),
            Self::Failed(error) => error.fmt(f),
            Self::Lacking(reason) => f.write_str(reason),
        }
    }
}

impl From<windtunnel_inject::Error> for Refusal {
    fn from(error: windtunnel_inject::Error) -> Self {
        Self::Failed(error)
    }
}

impl World {
    /// Begins a fault, which has a number if a plan has it; when this returns, it is in force. What strikes a program
    /// bites on nothing when that is down.
    pub(super) fn begin_fault(&'static self, kind: &FaultKind, number: Option<usize>) -> Result<Begun, Refusal> {
        let begun = match self.put_in_force(kind) {
            Err(Refusal::Failed(Error { kind: ErrorKind::TargetGone, .. })) => Begun::OnNobody,
            begun => begun?,
        };
        let more = match &begun {
            Begun::Injected(injection) => format!(", by {}", injection.mechanism()),
            Begun::OnNobody => ", on nobody".to_owned(),
            Begun::Struck { .. } | Begun::Starved { .. } | Begun::Asked(_) => String::new(),
        };
        self.note_fault(kind, number, "begins", &more);
        Ok(begun)
    }

    fn put_in_force(&'static self, kind: &FaultKind) -> Result<Begun, Refusal> {
        Ok(match kind {
            FaultKind::Links { links, trouble } => Begun::Injected(self.begin_on_links(links, trouble)?),
            FaultKind::Crash { host } | FaultKind::Kill { host } => {
                if self.child(*host).is_none() {
                    return Ok(Begun::OnNobody);
                }
                match kind {
                    FaultKind::Crash { .. } => self.crash(*host),
                    _ => self.kill(*host),
                }
                Begun::Struck { host: *host, plight: Plight::Felled { startable: true } }
            }
            FaultKind::Pause { host } => {
                if self.state(*host) != HostState::Up {
                    return Ok(Begun::OnNobody);
                }
                self.pause(*host);
                Begun::Struck { host: *host, plight: Plight::Paused }
            }
            FaultKind::Disk { host, trouble } => Begun::Injected(self.begin_on_disk(*host, trouble)?),
            FaultKind::Skew { host, by_ns, slewed } => Begun::Injected(self.skew(*host, *by_ns, *slewed)?),
            FaultKind::Drift { host, ppm, stepped } => Begun::Injected(self.drift(*host, *ppm, *stepped)?),
            FaultKind::Hijack { host, name, answer } => Begun::Asked(self.hijack(*host, name, answer)?),
            FaultKind::Burn { host, load } => self.begin_burn(*host, *load)?,
            FaultKind::Lack { host, lack } => self.begin_lack(*host, *lack)?,
        })
    }

    /// Ends a fault, and says what it has bitten on.
    pub(super) fn end_fault(&'static self, mut begun: Begun) -> u64 {
        let bit = begun.bit();
        match begun {
            Begun::Struck { .. } | Begun::OnNobody => {}
            Begun::Starved { host, mut injection } => return self.end_starving(host, &mut *injection),
            Begun::Asked(mut injection) | Begun::Injected(mut injection) => self.heal_injection(&mut *injection),
        }
        bit
    }

    pub(super) fn heal_injection(&'static self, injection: &mut dyn Injection) {
        if let Err(error) = injection.heal() {
            // A fault that stays would be blamed on the service.
            self.broken(&format!("a fault could not be healed: {error}"));
        }
    }

    /// Asks whether a fault is still in force, and ends the case if somebody else has ended it: the test would believe
    /// in a fault that is none. One that was a process's own has ended with it.
    pub(super) fn look_after(&'static self, begun: &mut Begun, kind: &FaultKind) {
        if let Begun::Injected(injection) = begun {
            match injection.read_back() {
                Ok(()) | Err(Error { kind: ErrorKind::TargetGone, .. }) => {}
                Err(error) => self.broken(&format!("{} is no longer in force: {error}", self.fault_name(kind))),
            }
        }
    }

    fn pages_of(&self, host: HostId) -> Result<Arc<Pages>, Refusal> {
        const COMMAND: &str = "it is done at the boundary to libc, which is windtunnel's in hosts that run a function \
             (`.main(..)`, `.run(..)`) and the program's own in those that run a `.command(..)`: strike such a host, \
             leave the kind out of `faults`, or fill this host's disk instead (`disk::full()`)";
        self.pages(host).ok_or(Refusal::NotHere(COMMAND))
    }

    /// Begins what has a host's calls be refused something, and has them counted where they can be: commands make
    /// their own.
    pub(super) fn accounted<E>(
        &self,
        host: HostId,
        refused: Refused,
        begin: impl FnOnce() -> Result<Box<dyn Injection>, E>,
    ) -> Result<Box<dyn Injection>, E> {
        let account = self.pages(host).map(|pages| pages.calls.account(refused));
        let fault = begin()?;
        Ok(match account {
            Some(account) => account.of(fault),
            None => fault,
        })
    }

    /// Whether what a fault of this kind refuses a host is counted by nobody: of a command neither the kernel nor its
    /// own libc tells.
    pub(super) fn counts_no_refusals_of(&self, kind: &FaultKind) -> bool {
        let host = match kind {
            FaultKind::Disk { host, trouble: DiskTrouble::Full { .. } | DiskTrouble::NoInodes { .. } }
            | FaultKind::Lack { host, lack: Lack::Descriptors { .. } } => *host,
            _ => return false,
        };
        self.pages(host).is_none()
    }

    fn begin_on_disk(&self, host: HostId, trouble: &DiskTrouble) -> Result<Box<dyn Injection>, Refusal> {
        let name = self.name(host);
        Ok(match *trouble {
            DiskTrouble::Full { free_bytes } => {
                self.accounted(host, Refused::Space, || self.keeper.fill_disk(&name, free_bytes))?
            }
            DiskTrouble::NoInodes { free } => {
                self.accounted(host, Refused::Space, || self.keeper.take_inodes(&name, free))?
            }
            DiskTrouble::Slow { bytes_per_second, delay } => self.slow_disk(host, bytes_per_second, delay)?,
            DiskTrouble::Failing { reads, syncs } => {
                Box::new(self.pages_of(host)?.calls.fail_io(reads, syncs, self.random_u64("disk errors"))?)
            }
            DiskTrouble::Rotting { bits } => self.keeper.rot_disk(&name, bits, self.random_u64("bit rot"))?,
        })
    }

    /// A control group slows what reaches the device; where there is none, or each sync is to take longer, the host's
    /// own calls wait.
    fn slow_disk(&self, host: HostId, bytes_per_second: u64, delay: Duration) -> Result<Box<dyn Injection>, Refusal> {
        let throttled = delay.is_zero().then(|| self.throttle(host, bytes_per_second));
        match (throttled, self.pages(host)) {
            (Some(Ok(throttle)), _) => Ok(throttle),
            (_, Some(pages)) => Ok(Box::new(pages.calls.slow(bytes_per_second, delay)?)),
            (Some(Err(refusal)), None) => Err(refusal),
            (None, None) => Err(Refusal::NotHere(
                "a command's disk is throttled by a control group, which knows no delay: say `io-throttle` with a rate \
                 alone",
            )),
        }
    }

    /// Says that a fault begins or ends: one of a plan as the simulated world says it, with its number there.
    pub(super) fn note_fault(&self, kind: &FaultKind, number: Option<usize>, turn: &str, more: &str) {
        let name = self.fault_name(kind);
        self.note(
            "test",
            &match number {
                Some(number) => format!("fault {number} {turn}: {name}{more}"),
                None => format!("{name} {turn}{more}"),
            },
        );
    }

    /// A fault in a few words, for the log.
    pub(super) fn fault_name(&self, kind: &FaultKind) -> String {
        let of = |what: &str, host: &HostId| format!("{what} of {}", self.name(*host));
        match kind {
            FaultKind::Links { links, trouble } => {
                let names = |ids: &[HostId]| ids.iter().map(|id| self.name(*id)).collect::<Vec<_>>().join(",");
                let what = match trouble {
                    LinkTrouble::Partition => "partition",
                    LinkTrouble::Slow { .. } => "latency",
                    LinkTrouble::Lossy { .. } => "loss",
                    LinkTrouble::Doubling { .. } => "duplication",
                    LinkTrouble::Overtaking { .. } => "reordering",
                    LinkTrouble::Flipping { .. } => "corruption",
                    LinkTrouble::Narrow { .. } => "bandwidth",
                };
                let arrow = if links.both_ways { "<->" } else { "->" };
                format!("{what} {}{arrow}{}", names(&links.from), names(&links.to))
            }
            FaultKind::Skew { host, .. } => of("clock skew", host),
            FaultKind::Drift { host, .. } => of("clock drift", host),
            FaultKind::Hijack { host, name, .. } => format!("hijack of {name} for {}", self.name(*host)),
            FaultKind::Burn { host, .. } => of("cpu burn", host),
            FaultKind::Lack { host, lack } => {
                let what = match lack {
                    Lack::Memory { .. } => "lack of memory",
                    Lack::Tasks { .. } => "leak of tasks",
                    Lack::Threads { .. } => "leak of threads",
                    Lack::Descriptors { .. } => "leak of descriptors",
                };
                of(what, host)
            }
            FaultKind::Disk { host, trouble } => {
                let what = match trouble {
                    DiskTrouble::Full { .. } => "full disk",
                    DiskTrouble::NoInodes { .. } => "lack of inodes",
                    DiskTrouble::Slow { .. } => "slow disk",
                    DiskTrouble::Failing { .. } => "failing disk",
                    DiskTrouble::Rotting { .. } => "rotting disk",
                };
                of(what, host)
            }
            FaultKind::Crash { host } => of("crash", host),
            FaultKind::Kill { host } => of("kill", host),
            FaultKind::Pause { host } => of("pause", host),
        }
    }

    /// Links that take their time in good weather, until the end or until somebody says something else.
    pub(crate) fn distance(&'static self, from: HostId, to: HostId, one_way: Duration) {
        let links = Links { from: vec![from], to: vec![to], both_ways: false };
        let trouble =
            LinkTrouble::Slow { latency: one_way, or: Vec::new(), jitter: Duration::ZERO, spread: Spread::Uniform };
        let laid = match self.begin_on_links(&links, &trouble) {
            Ok(laid) => laid,
            Err(refusal) => panic!("{} and {} cannot be apart: {refusal}", self.name(from), self.name(to)),
        };
        // The old one heals when it is dropped.
        lock(&self.by_hand.distances).insert((from, to), laid);
    }

    pub(crate) fn partition(&'static self, from: &[HostId], to: &[HostId], both_ways: bool) -> FaultId {
        self.by_hand(Links { from: from.to_vec(), to: to.to_vec(), both_ways }, LinkTrouble::Partition)
    }

    pub(crate) fn slow(
        &'static self,
        from: &[HostId],
        to: &[HostId],
        both_ways: bool,
        latency: Duration,
        jitter: Duration,
    ) -> FaultId {
        let trouble = LinkTrouble::Slow { latency, or: Vec::new(), jitter, spread: Spread::Uniform };
        self.by_hand(Links { from: from.to_vec(), to: to.to_vec(), both_ways }, trouble)
    }

    pub(crate) fn lossy(&'static self, from: &[HostId], to: &[HostId], both_ways: bool, probability: f64) -> FaultId {
        let trouble = LinkTrouble::Lossy { probability, correlation: 0.0 };
        self.by_hand(Links { from: from.to_vec(), to: to.to_vec(), both_ways }, trouble)
    }

    /// Begins a fault of links. A test that asks for what this machine cannot do must not go on as if it were there.
    fn by_hand(&'static self, links: Links, trouble: LinkTrouble) -> FaultId {
        let kind = FaultKind::Links { links, trouble };
        let begun = match self.begin_fault(&kind, None) {
            Ok(begun) => begun,
            Err(refusal) => panic!("{}: {refusal}", self.fault_name(&kind)),
        };
        let mut faults = lock(&self.by_hand.faults);
        faults.0 += 1;
        let number = faults.0;
        faults.1.insert(number, begun);
        FaultId(number)
    }

    /// Ends a fault that was begun by hand. Healing twice is harmless.
    pub(crate) fn heal(&'static self, fault: FaultId) -> FaultAccount {
        let begun = lock(&self.by_hand.faults).1.remove(&fault.0);
        FaultAccount { affected: begun.map_or(0, |begun| self.end_fault(begun)) }
    }
}
