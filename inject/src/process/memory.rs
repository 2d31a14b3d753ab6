//! Memory is taken by something else.

use super::helper::{Helper, Watch};
use super::limit::{Lowered, Resource};
use super::proc;
use crate::cgroup::{Group, Limit, Limited, is_below_use};
use crate::error::{Error, Result};
use crate::injection::Injection;
use crate::journal::Journal;
use crate::target::{Process, Target};
use std::time::Duration;

/// How often somebody may be faster to take memory than it is to limit it; and how much more it is left each time.
const ATTEMPTS: u64 = 32;
const STEP_BYTES: u64 = 64 << 10;

/// How often a watcher looks how much memory a process has; and once that is half of what it may have.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const LOOK_CLOSELY_EVERY: Duration = Duration::from_millis(1);

/// Only so much memory is left: what needs more gets the kernel's answer, be it the OOM kill.
#[derive(Debug)]
pub struct MemoryPressure {
    how: How,
    _around: Option<Group>,
}

#[derive(Debug)]
enum How {
    Group(Limited),
    Process { limit: Lowered, peak_bytes: u64 },
}

impl MemoryPressure {
    /// Leaves the target this much more than it uses: by a limit of its group where it can have one, where the kernel
    /// reclaims, and kills if that is not enough; else by a limit of the process's private memory, where allocations
    /// fail (ENOMEM).
    ///
    /// # Errors
    /// The target has ended, or is a cgroup without a controller for memory.
    pub fn apply(journal: &Journal, target: &Target, left_bytes: u64) -> Result<Self> {
        // What a process has used stays charged to the group it was in then: in a new one, all that it has counts as
        // nothing, and only what it allocates from now on counts.
        let by_group = |group: &Group| Self::in_group(group, left_bytes);
        let (pressure, around) =
            Group::strike(journal, target, by_group, |process| Self::of_process(journal, process, left_bytes))?;
        Ok(Self { _around: around, ..pressure })
    }

    /// Leaves a group this much more than it uses.
    ///
    /// # Errors
    /// As [`Limited::apply`].
    pub fn in_group(group: &Group, left_bytes: u64) -> Result<Self> {
        for attempt in 1_u64.. {
            let bytes =
                group.memory_used_bytes()?.saturating_add(left_bytes).saturating_add((attempt - 1) * STEP_BYTES);
            match Limited::apply(group, &Limit::Memory { bytes }) {
                // It has taken more meanwhile, and version 1 refuses a limit below what is used.
                Err(error) if is_below_use(&error) && attempt < ATTEMPTS => {}
                limited => return Ok(Self { how: How::Group(limited?), _around: None }),
            }
        }
        unreachable!("the loop ends by returning")
    }

    /// Leaves a process this much more private memory than it has (`RLIMIT_DATA`, setrlimit(2)). Needs no privilege.
    ///
    /// # Errors
    /// It has ended, or is another user's.
    pub fn of_process(journal: &Journal, process: &Process, left_bytes: u64) -> Result<Self> {
        let bytes = proc::status_bytes(process.pid, "VmData")?.saturating_add(left_bytes);
        let limit = Lowered::apply(journal, process, Resource::Memory, bytes)?;
        Ok(Self { how: How::Process { limit, peak_bytes: 0 }, _around: None })
    }
}

impl Injection for MemoryPressure {
    fn mechanism(&self) -> &'static str {
        match &self.how {
            How::Group(limit) => limit.mechanism(),
            How::Process { .. } => "RLIMIT_DATA",
        }
    }

    fn read_back(&mut self) -> Result<()> {
        match &mut self.how {
            How::Group(limit) => limit.read_back(),
            How::Process { limit, .. } => limit.read_back(),
        }
    }

    /// Times that memory did not fit in the group. For a process, nobody counts: one, if it was seen within a page of
    /// its limit or within a sixteenth of it.
    fn bit(&mut self) -> Result<u64> {
        match &mut self.how {
            How::Group(limit) => limit.bit(),
            How::Process { limit, peak_bytes } => {
                let now = proc::status_bytes(limit.process().pid, "VmData").unwrap_or(0);
                *peak_bytes = now.max(*peak_bytes);
                Ok(u64::from(*peak_bytes >= limit.limit() - limit.limit() / 16))
            }
        }
    }

    fn heal(&mut self) -> Result<()> {
        match &mut self.how {
            How::Group(limit) => limit.heal(),
            How::Process { limit, .. } => limit.heal(),
        }
    }
}

/// Memory that a process of our own takes within a group. It is the first to be killed when that is too much.
#[derive(Debug)]
pub struct Balloon {
    helper: Helper,
    bytes: u64,
}

impl Balloon {
    /// Takes this much in a group, and waits until it is taken.
    ///
    /// # Errors
    /// No process can be made there, or it does not get that much.
    pub fn apply(group: &Group, bytes: u64) -> Result<Self> {
        let mut helper = Helper::start(group.journal(), c"wt:balloon", Some(group), |watch| {
            // As likely a victim as there is (proc_pid_oom_score_adj(5)): the pressure is wanted, not a kill.
            let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
            hold(watch, bytes);
        })?;
        let is_full = |helper: &mut Helper| helper.counted() > 0 || helper.ends_within(LOOK_EVERY);
        while !is_full(&mut helper) {}
        let mut balloon = Self { helper, bytes };
        balloon.read_back()?;
        Ok(balloon)
    }
}

impl Injection for Balloon {
    fn mechanism(&self) -> &'static str {
        "balloon in the group"
    }

    fn read_back(&mut self) -> Result<()> {
        if self.helper.is_alive() {
            return Ok(());
        }
        let wanted = format!("{} bytes", self.bytes);
        Err(Error::unlike("hold memory", wanted, "that the balloon ended: killed for want of memory, or ENOMEM"))
    }

    /// Bytes that are taken.
    fn bit(&mut self) -> Result<u64> {
        Ok(if self.helper.is_alive() { self.bytes } else { 0 })
    }

    fn heal(&mut self) -> Result<()> {
        self.helper.end()
    }
}

fn hold(watch: &Watch, bytes: u64) {
    let Ok(size) = usize::try_from(bytes) else { return };
    // Fresh pages are the kernel's zeros, and count once they are written to.
    let mut memory = vec![0_u8; size];
    memory.iter_mut().step_by(rustix::param::page_size()).for_each(|byte| *byte = 1);
    std::hint::black_box(&memory);
    watch.count();
    while watch.goes_on_after(Duration::from_secs(60)) {}
}

/// A process is killed as soon as it has more than so much memory: what the OOM killer does, done by hand. Needs no
/// privilege for processes of one's own.
#[derive(Debug)]
pub struct MemoryWatch {
    helper: Helper,
    process: Process,
}

impl MemoryWatch {
    /// Watches a process; kills it within a millisecond or so of its having more than this resident. One that takes all
    /// of it within 10 ms may have more for so long.
    ///
    /// # Errors
    /// It has ended, or no process can be made.
    pub fn apply(journal: &Journal, process: &Process, bytes: u64) -> Result<Self> {
        let identity = process.identity()?;
        let helper = Helper::start(journal, c"wt:memwatch", None, move |watch| {
            // Descriptors of the parent were closed: it is found again by what tells it from all others.
            let Ok(Some(process)) = identity.open() else { return };
            let mut look_after = LOOK_EVERY;
            while watch.goes_on_after(look_after) && process.is_alive() {
                let Ok(resident) = proc::resident_bytes(process.pid) else { continue };
                if resident > bytes {
                    if process.kill().is_ok() {
                        watch.count();
                    }
                    return;
                }
                look_after = if resident > bytes / 2 { LOOK_CLOSELY_EVERY } else { LOOK_EVERY };
            }
        })?;
        Ok(Self { helper, process: process.clone() })
    }
}

impl Injection for MemoryWatch {
    fn mechanism(&self) -> &'static str {
        "SIGKILL above a limit of resident memory"
    }

    fn read_back(&mut self) -> Result<()> {
        let what = || format!("watch the memory of process {}", self.process.pid);
        if !self.process.is_alive() {
            return Err(Error::gone(what()));
        }
        if self.helper.is_alive() { Ok(()) } else { Err(Error::unlike(what(), "a watcher", "that it ended")) }
    }

    /// One, if it has killed.
    fn bit(&mut self) -> Result<u64> {
        Ok(self.helper.counted())
    }

    fn heal(&mut self) -> Result<()> {
        self.helper.end()
    }
}
