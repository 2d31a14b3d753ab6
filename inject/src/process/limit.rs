//! Soft limits of a process: prlimit(2).

use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Change, Journal, Outcome, Undo};
use crate::process::proc;
use crate::step::reached;
use crate::target::Process;
use rustix::io::Errno;
use rustix::process::{Pid, Rlimit, prlimit};
use serde::{Deserialize, Serialize};

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// `RLIMIT_NOFILE`: one more than the largest number a new descriptor may have.
    Descriptors,
    /// `RLIMIT_NPROC`: how many threads its user may have when it makes another one.
    Threads,
    /// `RLIMIT_DATA`: bytes of private writable memory.
    Memory,
}

impl Resource {
    /// What it is called in `/proc/PID/limits` (proc_pid_limits(5)).
    fn title(self) -> &'static str {
        match self {
            Self::Descriptors => "Max open files",
            Self::Threads => "Max processes",
            Self::Memory => "Max data size",
        }
    }

    fn raw(self) -> rustix::process::Resource {
        match self {
            Self::Descriptors => rustix::process::Resource::Nofile,
            Self::Threads => rustix::process::Resource::Nproc,
            Self::Memory => rustix::process::Resource::Data,
        }
    }

    /// The soft and the hard limit; none if unlimited.
    ///
    /// # Errors
    /// The process has ended.
    pub fn of(self, process: &Process) -> Result<(Option<u64>, Option<u64>)> {
        let text = proc::read(process.pid, "limits")?;
        let found = parse(&text, self.title());
        // One that has ended has limits still, but nothing that they limit.
        let found = found.filter(|_| process.is_alive());
        found.ok_or_else(|| Error::gone(format!("read a limit of process {}", process.pid)))
    }

    /// Sets the soft limit. The hard one stays: lowering it could not be undone without `CAP_SYS_RESOURCE`.
    fn set(self, process: &Process, soft: Option<u64>) -> Result<()> {
        let what = || format!("limit process {}", process.pid);
        let (_, hard) = self.of(process)?;
        let pid = Pid::from_raw(process.pid.cast_signed()).ok_or_else(|| Error::gone(what()))?;
        match prlimit(Some(pid), self.raw(), Rlimit { current: soft, maximum: hard }) {
            Ok(_) => {
                reached("a limit is set");
                Ok(())
            }
            Err(Errno::SRCH) => Err(Error::gone(what())),
            Err(Errno::PERM) => Err(Error::lacking(
                what(),
                "it is another user's, and this process has no CAP_SYS_RESOURCE",
                "run as the target's user, or with that capability",
            )),
            Err(error) => Err(Error::os(what(), error)),
        }
    }

    /// Sets it back to what it was, if it still is what we set.
    pub(crate) fn restore(self, process: &Process, ours: Option<u64>, prior: Option<u64>) -> Outcome {
        let undone = self.of(process).and_then(|(now, _)| match now {
            now if now == prior => Ok(Outcome::Recovered),
            now if now != ours => Ok(Outcome::Foreign { found: format!("{now:?}") }),
            _ => self.set(process, prior).map(|()| Outcome::Recovered),
        });
        match undone {
            Ok(outcome) => outcome,
            Err(Error { kind: ErrorKind::TargetGone, .. }) => Outcome::TargetGone,
            Err(error) => Outcome::failed(error),
        }
    }
}

/// A soft limit that was lowered for a while.
#[derive(Debug)]
pub struct Lowered {
    process: Process,
    resource: Resource,
    ours: u64,
    change: Change,
}

impl Lowered {
    /// Lowers it to this, or leaves it if it is lower already.
    ///
    /// # Errors
    /// The process has ended, is another user's, or this cannot be written down.
    pub fn apply(journal: &Journal, process: &Process, resource: Resource, soft: u64) -> Result<Self> {
        let identity = process.identity()?;
        let (prior, _) = resource.of(process)?;
        let ours = prior.map_or(soft, |prior| prior.min(soft));
        let undo = Undo::Limit { process: identity, resource, ours: Some(ours), prior };
        let ((), change) = journal.change(undo, || resource.set(process, Some(ours)))?;
        let mut lowered = Self { process: process.clone(), resource, ours, change };
        lowered.read_back()?;
        Ok(lowered)
    }

    /// The limit that was set.
    pub fn limit(&self) -> u64 {
        self.ours
    }

    /// Whose limit it is.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Whether the limit is what was set.
    ///
    /// # Errors
    /// It is another one, or the process has ended.
    pub fn read_back(&mut self) -> Result<()> {
        let (soft, _) = self.resource.of(&self.process)?;
        if soft == Some(self.ours) && !self.change.is_undone() {
            return Ok(());
        }
        let found = soft.map_or("unlimited".to_owned(), |soft| soft.to_string());
        Err(Error::unlike(format!("limit process {}", self.process.pid), self.ours.to_string(), found))
    }

    /// Sets it back.
    ///
    /// # Errors
    /// It is still there.
    pub fn heal(&mut self) -> Result<()> {
        self.change.undo().map(|_| ())
    }
}

/// The soft and the hard limit on the line of this title.
fn parse(text: &str, title: &str) -> Option<(Option<u64>, Option<u64>)> {
    let rest = text.lines().find_map(|line| line.strip_prefix(title))?;
    let mut words = rest.split_ascii_whitespace();
    let mut next = || match words.next()? {
        "unlimited" => Some(None),
        number => number.parse().ok().map(Some),
    };
    Some((next()?, next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_by_their_titles() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max data size             unlimited            unlimited            bytes     \n\
                    Max open files            1024                 524288               files     \n";
        assert_eq!(parse(text, "Max open files"), Some((Some(1024), Some(524_288))));
        assert_eq!(parse(text, "Max data size"), Some((None, None)));
        assert_eq!(parse(text, "Max processes"), None);
    }
}
