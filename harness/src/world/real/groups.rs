//! Control groups: one for the world, made and written down outside of it, and one below for each host.

use super::World;
use super::faults::{Begun, Refusal};
use super::hosts::KILLED_WITHIN;
use super::throttle::Throttle;
use std::path::PathBuf;
use std::sync::Arc;
use windtunnel_inject::boundary::Refusal as Refused;
use windtunnel_inject::cgroup::{Group, Rates};
use windtunnel_inject::journal::Journal;
use windtunnel_inject::process::proc;
use windtunnel_inject::process::{CpuBurn, MemoryPressure, MemoryWatch, OomKill, TaskLeak};
use windtunnel_inject::{Injection, Result};
use windtunnel_sim::weather::Lack;
use windtunnel_sim::world::{HostId, HostState, TASK_BYTES};

/// Some time is always left: without, nothing would ever come of the rest.
const LOAD_PPM_MAX: f64 = 990_000.0;

/// The group of a world, held by the process outside of it which waits for its end.
pub(crate) struct WorldGroup {
    group: Option<Group>,
}

impl WorldGroup {
    /// Makes one, if this user may have groups. Without, hosts are limited and struck process by process.
    pub(crate) fn make() -> Self {
        let group = Journal::open().and_then(|journal| Group::make_for_groups(&journal, "world"));
        Self { group: group.ok() }
    }

    /// For the world's own process, at its beginning: puts it into the group, and with it all that it starts.
    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        self.group.iter().flat_map(Group::entrances).collect()
    }

    /// Ends it, and whoever is still in it.
    pub(crate) fn remove(self) -> Result<()> {
        self.group.map_or(Ok(()), Group::remove)
    }
}

impl World {
    /// A group for a host, where this user may have one.
    pub(super) fn group_for(&self, name: &str) -> Option<Group> {
        if !self.has_groups {
            return None;
        }
        Group::make(&self.journal, name).ok()
    }

    pub(super) fn begin_burn(&self, host: HostId, load: f64) -> std::result::Result<Begun, Refusal> {
        let load_ppm = (load * 1e6).clamp(1.0, LOAD_PPM_MAX) as u32;
        let burn = self.with_group(host, |group| match group {
            Some(group) => CpuBurn::by_freezing(group, load_ppm),
            None => CpuBurn::by_stopping(&self.journal, self.child_of(host)?.process(), load_ppm),
        })?;
        Ok(Begun::Injected(Box::new(burn)))
    }

    /// Takes something from a host's program.
    pub(super) fn begin_lack(&self, host: HostId, lack: Lack) -> std::result::Result<Begun, Refusal> {
        let limits = self.limits(host);
        let total = limits.memory();
        match lack {
            Lack::Memory { share } if share >= 1.0 => self.starve(host, || {
                self.with_group(host, |group| match group {
                    Some(group) => Ok(Box::new(OomKill::in_group(group)?) as Box<dyn Injection>),
                    None => Ok(Box::new(OomKill::by_hand(self.child_of(host)?.process())?) as _),
                })
            }),
            Lack::Memory { share } => self.begin_starving(host, (total as f64 * (1.0 - share)) as u64),
            Lack::Tasks { count } => self.begin_starving(host, total.saturating_sub(u64::from(count) * TASK_BYTES)),
            Lack::Threads { count } => {
                // Its group has nobody but the program and what that starts.
                let most = limits.threads_max().saturating_sub(count).into();
                let begin = || {
                    let leak = self.with_group(host, |group| match group {
                        Some(group) => TaskLeak::tasks_of_group(group, most),
                        None => TaskLeak::threads_of_process(&self.journal, self.child_of(host)?.process(), most),
                    });
                    leak.map(|leak| Box::new(leak) as Box<dyn Injection>)
                };
                Ok(Begun::Injected(self.accounted(host, Refused::Tasks, begin)?))
            }
            Lack::Descriptors { count } => {
                let child = self.child_of(host)?;
                let begin = || {
                    let leak = TaskLeak::descriptors_taken(&self.journal, child.process(), count.into());
                    leak.map(|leak| Box::new(leak) as Box<dyn Injection>)
                };
                Ok(Begun::Injected(self.accounted(host, Refused::Descriptors, begin)?))
            }
        }
    }

    /// Holds a host's reads from and writes to its disk to a rate.
    pub(super) fn throttle(
        &self,
        host: HostId,
        bytes_per_second: u64,
    ) -> std::result::Result<Box<dyn Injection>, Refusal> {
        const NO_DEVICE: &str = "its disk is memory, which cannot be throttled: run as root, for a disk of ext4";
        const NO_GROUP: &str = "a disk is throttled by a control group, which this user cannot make: run as root";
        let device = self.device(host).ok_or(Refusal::NotHere(NO_DEVICE))?;
        let group = self.group(host).ok_or(Refusal::NotHere(NO_GROUP))?;
        let rates = Rates {
            read_bytes_per_s: Some(bytes_per_second),
            write_bytes_per_s: Some(bytes_per_second),
            ..Rates::default()
        };
        let throttle = Throttle::begin(group, device, rates)?;
        if let Some(now) = self.follows_disk(host, throttle.rule()) {
            // It may have lost its power meanwhile.
            throttle.rule().follow(now)?;
        }
        Ok(Box::new(throttle))
    }

    /// Leaves a host's program so much memory: one that has more, or takes more, is killed.
    fn begin_starving(&self, host: HostId, bytes: u64) -> std::result::Result<Begun, Refusal> {
        self.starve(host, || {
            self.with_group(host, |group| match group {
                Some(group) => {
                    let left = bytes.saturating_sub(group.memory_used_bytes()?);
                    Ok(Box::new(MemoryPressure::in_group(group, left)?) as Box<dyn Injection>)
                }
                None => Ok(Box::new(MemoryWatch::apply(&self.journal, self.child_of(host)?.process(), bytes)?) as _),
            })
        })
    }

    /// Begins a fault for which a host's program may be killed: from before it is in force.
    fn starve(
        &self,
        host: HostId,
        begin: impl FnOnce() -> Result<Box<dyn Injection>>,
    ) -> std::result::Result<Begun, Refusal> {
        self.may_be_killed(host, true);
        match begin() {
            Ok(injection) => Ok(Begun::Starved { host, injection }),
            Err(error) => {
                self.may_be_killed(host, false);
                Err(error.into())
            }
        }
    }

    /// Ends a lack of memory: how many programs were killed for it.
    pub(super) fn end_starving(&'static self, host: HostId, injection: &mut dyn Injection) -> u64 {
        let bit = injection.bit().unwrap_or(0);
        self.heal_injection(injection);
        // Who was killed for it takes a moment to end, and has not ended by itself.
        if self.pid(host).is_some_and(proc::is_ending) {
            Self::until(KILLED_WITHIN, || matches!(self.state(host), HostState::Down(_)));
        }
        self.may_be_killed(host, false);
        bit.max(u64::from(self.has_starved(host)))
    }

    fn with_group<T>(&self, host: HostId, f: impl FnOnce(Option<&Group>) -> Result<T>) -> Result<T> {
        let group = self.group(host);
        f(group.as_deref())
    }

    fn child_of(&self, host: HostId) -> Result<Arc<windtunnel_inject::keeper::Child>> {
        self.child(host).ok_or_else(|| windtunnel_inject::Error::gone("strike a host's program"))
    }
}
