//! Tasks or descriptors are used up, as by a leak.
//!
//! Nothing is leaked: the limit comes down to where a leak would have brought the use.

use super::limit::{Lowered, Resource};
use super::proc::{self, Stat};
use crate::cgroup::{Group, Limit, Limited};
use crate::error::{Error, Result};
use crate::injection::Injection;
use crate::journal::Journal;
use crate::target::{Process, Target};

/// CAP_SYS_ADMIN and CAP_SYS_RESOURCE (linux/capability.h), either of which is above the limit of threads.
const ABOVE_LIMITS: u64 = 1 << 21 | 1 << 24;

/// Only so many more tasks or descriptors can be had.
#[derive(Debug)]
pub struct TaskLeak {
    how: How,
    _around: Option<Group>,
}

#[derive(Debug)]
enum How {
    Group(Limited),
    Process { limit: Lowered, resource: Resource, was_full: bool },
}

impl TaskLeak {
    /// Leaves the target so many more processes and threads: by a limit of its group where it can have one, else by one
    /// of its user. What needs more gets EAGAIN (fork(2), pthread_create(3)).
    ///
    /// # Errors
    /// The target has ended, or is a cgroup without a controller for tasks; or neither limit holds for it.
    pub fn tasks(journal: &Journal, target: &Target, left: u64) -> Result<Self> {
        let by_group = |group: &Group| Self::tasks_in_group(group, left);
        let (leak, around) =
            Group::strike(journal, target, by_group, |process| Self::threads_of_user(journal, process, left))?;
        Ok(Self { _around: around, ..leak })
    }

    /// Leaves a group so many more processes and threads.
    ///
    /// # Errors
    /// As [`Limited::apply`].
    pub fn tasks_in_group(group: &Group, left: u64) -> Result<Self> {
        Self::tasks_of_group(group, group.tasks_used()?.saturating_add(left))
    }

    /// Leaves a group so many processes and threads in all, however many it has.
    ///
    /// # Errors
    /// As [`Limited::apply`].
    pub fn tasks_of_group(group: &Group, most: u64) -> Result<Self> {
        Ok(Self { how: How::Group(Limited::apply(group, &Limit::Tasks { count: most })?), _around: None })
    }

    /// Leaves a process so many more threads or children (`RLIMIT_NPROC`). All of its user's threads in its user
    /// namespace count, as far as they are in sight; whoever of them has no such limit can still have more.
    ///
    /// # Errors
    /// It has ended, is another user's, or is root, whom this limit does not hold for.
    pub fn threads_of_user(journal: &Journal, process: &Process, left: u64) -> Result<Self> {
        Self::threads_of(journal, process, counted(process.pid, |_| true)?.saturating_add(left))
    }

    /// Leaves a process so many threads in all, however many it has, and no children. Else as
    /// [`threads_of_user`](Self::threads_of_user).
    ///
    /// # Errors
    /// As there.
    pub fn threads_of_process(journal: &Journal, process: &Process, most: u64) -> Result<Self> {
        Self::threads_of(journal, process, counted(process.pid, |other| other != process.pid)?.saturating_add(most))
    }

    fn threads_of(journal: &Journal, process: &Process, count: u64) -> Result<Self> {
        if is_above_limits(process.pid)? {
            return Err(Error::lacking(
                format!("limit the threads of process {}", process.pid),
                "it is root or privileged, whom RLIMIT_NPROC does not hold for",
                "run it as another user, or where it can have a control group",
            ));
        }
        let limit = Lowered::apply(journal, process, Resource::Threads, count)?;
        Ok(Self { how: How::Process { limit, resource: Resource::Threads, was_full: false }, _around: None })
    }

    /// Leaves a process so many more descriptors; what needs more gets EMFILE (`RLIMIT_NOFILE`, getrlimit(2)).
    ///
    /// # Errors
    /// It has ended, or is another user's.
    pub fn descriptors(journal: &Journal, process: &Process, left: u64) -> Result<Self> {
        Self::descriptors_beside(journal, process, &proc::descriptors(process.pid)?, left)
    }

    /// Leaves a process as many more descriptors as if it had so many open that it never closes.
    ///
    /// # Errors
    /// It has ended, or is another user's.
    pub fn descriptors_taken(journal: &Journal, process: &Process, count: u64) -> Result<Self> {
        let (limit, _) = Resource::Descriptors.of(process)?;
        let open = proc::descriptors(process.pid)?;
        let left = limit.unwrap_or(u64::MAX).saturating_sub(open.len() as u64).saturating_sub(count);
        Self::descriptors_beside(journal, process, &open, left)
    }

    fn descriptors_beside(journal: &Journal, process: &Process, open: &[u64], left: u64) -> Result<Self> {
        let limit = first_refused(open, left);
        let limit = Lowered::apply(journal, process, Resource::Descriptors, limit)?;
        Ok(Self { how: How::Process { limit, resource: Resource::Descriptors, was_full: false }, _around: None })
    }
}

impl Injection for TaskLeak {
    fn mechanism(&self) -> &'static str {
        match &self.how {
            How::Group(limit) => limit.mechanism(),
            How::Process { resource: Resource::Descriptors, .. } => "RLIMIT_NOFILE",
            How::Process { .. } => "RLIMIT_NPROC",
        }
    }

    fn read_back(&mut self) -> Result<()> {
        match &mut self.how {
            How::Group(limit) => limit.read_back(),
            How::Process { limit, .. } => limit.read_back(),
        }
    }

    /// Times that the group was refused a task. For a process, nobody counts: one, if it was seen at its limit.
    fn bit(&mut self) -> Result<u64> {
        match &mut self.how {
            How::Group(limit) => limit.bit(),
            How::Process { limit, resource, was_full } => {
                let pid = limit.process().pid;
                *was_full |= match resource {
                    Resource::Descriptors => {
                        proc::descriptors(pid).is_ok_and(|open| first_refused(&open, 0) >= limit.limit())
                    }
                    Resource::Threads | Resource::Memory => {
                        counted(pid, |_| true).is_ok_and(|threads| threads >= limit.limit())
                    }
                };
                Ok(u64::from(*was_full))
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

/// The number that a descriptor would have after so many more: the lowest free ones are given (open(2)). With it as the
/// limit, that is the first to be refused.
fn first_refused(open: &[u64], left: u64) -> u64 {
    let mut free = (0..).filter(|number| open.binary_search(number).is_err());
    let after = usize::try_from(left).unwrap_or(usize::MAX);
    free.nth(after).unwrap_or(u64::MAX)
}

/// The user and the effective capabilities on the lines of `/proc/PID/status`.
fn credentials(pid: u32) -> Result<(u64, u64)> {
    let text = proc::read(pid, "status")?;
    let word = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.split_ascii_whitespace().next());
    let user = word("Uid:").and_then(|user| user.parse().ok());
    let capabilities = word("CapEff:").and_then(|hex| u64::from_str_radix(hex, 16).ok());
    user.zip(capabilities).ok_or_else(|| Error::gone(format!("read the user of process {pid}")))
}

/// Whether the limit of threads does not hold for it (copy_process(), kernel/fork.c). Root of a user namespace is not
/// above it: the kernel asks for capabilities in the first one, whose map is the whole range.
fn is_above_limits(pid: u32) -> Result<bool> {
    let (user, capabilities) = credentials(pid)?;
    let map = proc::read(pid, "uid_map")?;
    let is_first = map.split_ascii_whitespace().eq(["0", "0", "4294967295"]);
    Ok(is_first && (user == 0 || capabilities & ABOVE_LIMITS != 0))
}

/// Threads of these of the processes that count together with this one: of its user, in its user namespace.
fn counted(pid: u32, which: impl Fn(u32) -> bool) -> Result<u64> {
    let (user, _) = credentials(pid)?;
    let namespace = proc::namespace(pid, "user")?;
    let counts = |other: &u32| {
        credentials(*other).is_ok_and(|(found, _)| found == user)
            && proc::namespace(*other, "user").is_ok_and(|found| found == namespace)
    };
    let threads = |other| Stat::of(other).map_or(0, |stat| stat.threads);
    Ok(proc::all().into_iter().filter(|other| which(*other) && counts(other)).map(threads).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_numbers_between_open_ones_are_given_first() {
        assert_eq!(first_refused(&[0, 1, 2, 5], 0), 3);
        assert_eq!(first_refused(&[0, 1, 2, 5], 2), 6);
        assert_eq!(first_refused(&[0, 1, 2, 5], 3), 7);
    }
}
