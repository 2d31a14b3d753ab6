//! A world that is there for one trial only, with what a real world gives its hosts.

use super::trial::{Verdict, attempt_telling};
use crate::cgroup::{Group, join};
use crate::disk::OwnDisk;
use crate::error::{Error, Result};
use crate::journal::Journal;
use crate::keeper::{Keeper, run_world};
use crate::netlink::new_namespace;
use crate::switch::Switch;
use crate::sys::{Forked, fork};
use crate::target::Process;
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What is said when something fails that says nothing of a remedy itself.
const REMEDY: &str = "see above what a real world takes";

/// A world without hosts.
pub(super) struct Scratch {
    pub(super) keeper: Arc<Keeper>,
    /// Nobody is on it.
    pub(super) disk: OwnDisk,
    pub(super) journal: Journal,
    has_groups: bool,
}

/// Two hosts' networks, and the switch between them.
pub(super) struct Wire {
    pub(super) switch: Switch,
    pub(super) hosts: [OwnedFd; 2],
}

/// The addresses of the hosts on a [`Wire`].
pub(super) const ADDRESSES: [[IpAddr; 2]; 2] = [both(addresses(1)), both(addresses(2))];

const fn addresses(number: u8) -> (Ipv4Addr, Ipv6Addr) {
    (Ipv4Addr::new(10, 0, 0, number), Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number as u16))
}

const fn both((v4, v6): (Ipv4Addr, Ipv6Addr)) -> [IpAddr; 2] {
    [IpAddr::V4(v4), IpAddr::V6(v6)]
}

/// Whether hosts are to have control groups, if this user may have any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Groups {
    Wanted,
    Spared,
}

/// Tries something as the case of a world of its own.
pub(super) fn attempt_in_world(groups: Groups, trial: impl FnOnce(&Scratch) -> Result<String>) -> Verdict {
    attempt_telling(REMEDY, |teller| {
        let group = match groups {
            Groups::Wanted => Journal::open().and_then(|journal| Group::make_for_groups(&journal, "doctor")).ok(),
            Groups::Spared => None,
        };
        let directories: Vec<PathBuf> = group.iter().flat_map(Group::entrances).collect();
        let ended = run_world(|keeper, disk| {
            teller.tell(Scratch::new(keeper, disk, &directories).and_then(|scratch| trial(&scratch)));
            0
        });
        group.map_or(Ok(()), Group::remove)?;
        ended.map(drop)
    })
}

impl Scratch {
    fn new(keeper: Keeper, disk: OwnDisk, groups: &[PathBuf]) -> Result<Self> {
        join(groups)?;
        Ok(Self { keeper: Arc::new(keeper), disk, journal: Journal::of_world()?, has_groups: !groups.is_empty() })
    }

    /// A group as hosts have it, where this user may have groups.
    pub(super) fn group(&self) -> Option<Group> {
        self.has_groups.then(|| Group::make(&self.journal, "host").ok()).flatten()
    }

    /// A program as a host runs it, in this group if there is one: it sleeps. It ends with the trial.
    pub(super) fn program(&self, group: Option<&Group>) -> Result<Process> {
        match fork().map_err(|error| Error::os("start a program", error))? {
            Forked::Child => {
                let none = CapabilitySet::empty();
                // It could keep them only if it never had any.
                let _ = set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none });
                loop {
                    std::thread::sleep(Duration::from_secs(60));
                }
            }
            Forked::Parent(pid) => {
                let process = Process::open(pid)?;
                group.map_or(Ok(()), |group| group.add(pid))?;
                Ok(process)
            }
        }
    }
}

impl Wire {
    /// Lays it in the caller's user namespace.
    pub(super) fn lay() -> Result<Self> {
        let mut switch = Switch::new()?;
        let hosts = [new_namespace()?, new_namespace()?];
        for ((name, number), host) in [("one", 1), ("two", 2)].into_iter().zip(&hosts) {
            let (v4, v6) = addresses(number);
            switch.join(host.as_fd(), name, v4, v6)?;
        }
        Ok(Self { switch, hosts })
    }
}
