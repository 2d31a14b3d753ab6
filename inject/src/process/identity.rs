//! A process that can be found again, also after a restart of the one that looks for it.

use super::proc::{self, Stat};
use crate::error::{Error, ErrorKind, Result};
use crate::step::reached;
use crate::target::Process;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

/// What tells a process from every other one of this boot: its number may be given again, but not with the same start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its number, in the PID namespace below.
    pub pid: u32,
    /// When it started, in clock ticks after boot, as the time namespace below counts.
    pub start_ticks: u64,
    /// The PID namespace that numbers it: its inode.
    pub pid_namespace: u64,
    /// The time namespace in which its start was read: its inode, or 0 on a kernel without them.
    pub time_namespace: u64,
}

impl Identity {
    /// Of the process that has this number now.
    ///
    /// # Errors
    /// There is none.
    pub fn of(pid: u32) -> Result<Self> {
        let start_ticks = Stat::of(pid)?.start_ticks;
        let own = std::process::id();
        let pid_namespace = proc::namespace(own, "pid")?;
        Ok(Self { pid, start_ticks, pid_namespace, time_namespace: proc::namespace(own, "time").unwrap_or(0) })
    }

    /// A name that no other process of this boot has, of whatever PID namespace: `PID-START-NAMESPACE`.
    pub(crate) fn name(&self) -> String {
        format!("{}-{}-{}", self.pid, self.start_ticks, self.pid_namespace)
    }

    /// Whether its number and start mean the same to the calling process as to the one that wrote them down.
    pub fn is_comparable(&self) -> bool {
        let own = std::process::id();
        let namespace = |kind| proc::namespace(own, kind).unwrap_or(0);
        self.pid_namespace == namespace("pid") && self.time_namespace == namespace("time")
    }

    /// Holds the process, if it still runs. `None` if it ended, be its number another's by now or not.
    ///
    /// # Errors
    /// It is numbered by another PID namespace, or counted by another time namespace, so that nobody can tell.
    pub fn open(&self) -> Result<Option<Process>> {
        let what = || format!("find process {}", self.pid);
        if !self.is_comparable() {
            return Err(Error::lacking(
                what(),
                "it is known by its number in another namespace",
                "run this in the PID and time namespaces in which the fault was applied",
            ));
        }
        let process = match Process::open(self.pid) {
            Ok(process) => process,
            Err(Error { kind: ErrorKind::TargetGone, .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok((process.identity().is_ok_and(|found| found == *self)).then_some(process))
    }
}

impl Process {
    /// Holds the process that has this number now.
    ///
    /// # Errors
    /// There is none.
    pub fn open(pid: u32) -> Result<Self> {
        let what = || format!("hold process {pid}");
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let raw = raw.ok_or_else(|| Error::gone(what()))?;
        match pidfd_open(raw, PidfdFlags::empty()) {
            Ok(handle) => Ok(Self { pid, handle: Arc::new(handle) }),
            Err(Errno::SRCH) => Err(Error::gone(what())),
            Err(error) => Err(Error::os(what(), error)),
        }
    }

    /// What to write down, to find it again later.
    ///
    /// # Errors
    /// It has ended.
    pub fn identity(&self) -> Result<Identity> {
        let identity = Identity::of(self.pid)?;
        // As long as it has not ended, its number is its own: what was read was about it.
        if self.is_alive() { Ok(identity) } else { Err(Error::gone(format!("identify process {}", self.pid))) }
    }

    /// Whether it has not ended yet. One that waits for its parent to know has.
    pub fn is_alive(&self) -> bool {
        !self.ends_within(Duration::ZERO)
    }

    /// Waits for its end, but not longer than this; tells whether it ended. A pidfd is readable from then on.
    pub fn ends_within(&self, limit: Duration) -> bool {
        let limit = Timespec { tv_sec: limit.as_secs().cast_signed(), tv_nsec: limit.subsec_nanos().into() };
        let mut fds = [PollFd::from_borrowed_fd(self.handle.as_fd(), PollFlags::IN)];
        poll(&mut fds, Some(&limit)).is_ok_and(|ready| ready > 0)
    }

    /// Sends a signal to it, and to nobody who has its number later.
    ///
    /// # Errors
    /// It has ended, or is another user's.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let what = || format!("send {signal:?} to process {}", self.pid);
        reached("a signal is to be sent");
        match pidfd_send_signal(&self.handle, signal) {
            Ok(()) => {
                reached("a signal is sent");
                Ok(())
            }
            Err(Errno::SRCH) => Err(Error::gone(what())),
            Err(Errno::PERM) => Err(Error::lacking(
                what(),
                "it is another user's",
                "run as that user, or as root in its user namespace",
            )),
            Err(error) => Err(Error::os(what(), error)),
        }
    }

    /// Ends it at once: SIGKILL. One that has ended stays so.
    ///
    /// # Errors
    /// It is another user's.
    pub fn kill(&self) -> Result<()> {
        match self.signal(Signal::KILL) {
            Err(Error { kind: ErrorKind::TargetGone, .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
