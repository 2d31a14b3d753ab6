//! Processes of our own that do something to others: burn, hold memory, stop and let go on.
//!
//! A helper ends when whoever wanted it does, by itself: it watches that process by a pidfd. It is written down as
//! well, for the case that the other one is only stopped.

use crate::cgroup::Group;
use crate::error::{Error, Result};
use crate::journal::{Change, Journal, Undo};
use crate::step::reached;
use crate::sys::{self, Forked};
use crate::target::Process;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use std::ffi::CStr;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How long writing a helper down may take. One whose parent was stopped before that does not wait for ever.
const WANTED_WITHIN: Duration = Duration::from_secs(3);

/// A helper that is at work.
#[derive(Debug)]
pub(super) struct Helper {
    process: Process,
    change: Change,
    /// What it counts.
    counter: OwnedFd,
    counted: u64,
    is_waited_for: bool,
}

/// What a helper knows of who wanted it.
pub(super) struct Watch {
    wanted_by: Process,
    counter: OwnedFd,
}

impl Watch {
    /// Waits this long; tells whether the helper is to go on after that.
    pub(super) fn goes_on_after(&self, wait: Duration) -> bool {
        !self.wanted_by.ends_within(wait)
    }

    /// The number of who wanted it.
    pub(super) fn wanted_by(&self) -> u32 {
        self.wanted_by.pid
    }

    /// Counts one more.
    pub(super) fn count(&self) {
        let _ = rustix::io::write(&self.counter, &1_u64.to_ne_bytes());
    }
}

impl Helper {
    /// Starts one, in a group if need be, under a name of at most 15 bytes. It works once it is written down.
    ///
    /// # Errors
    /// No process can be made or moved into the group, or it cannot be written down.
    pub(super) fn start(
        journal: &Journal,
        name: &CStr,
        group: Option<&Group>,
        work: impl FnOnce(&Watch),
    ) -> Result<Self> {
        let os = |error| Error::os(format!("start the helper {}", name.to_string_lossy()), error);
        let wanted_by = Process::open(std::process::id())?;
        let counter = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).map_err(|error| os(error.into()))?;
        let watch = Watch { wanted_by, counter: counter.try_clone().map_err(os)? };
        let (mut ours, theirs) = UnixStream::pair().map_err(os)?;
        // Other processes that were forked meanwhile may keep the other end open, so its end alone says nothing.
        ours.set_read_timeout(Some(WANTED_WITHIN)).map_err(os)?;
        let pid = match sys::fork().map_err(os)? {
            Forked::Child => {
                reached("helper begun");
                run(&watch, theirs, name, work);
                sys::end_now(0)
            }
            Forked::Parent(pid) => pid,
        };
        reached("a helper is forked");
        drop((theirs, watch));
        let mut started = || -> Result<(Process, Change)> {
            let process = Process::open(pid)?;
            // It is out of this process's group by then: what stops or interrupts that does not stop the helper.
            ours.read_exact(&mut [0]).map_err(os)?;
            reached("a helper has said that it is there");
            if let Some(group) = group {
                group.add(pid)?;
            }
            let undo = Undo::Kill { process: process.identity()? };
            let ((), change) = journal.change(undo, || ours.write_all(b"g").map_err(os))?;
            Ok((process, change))
        };
        match started() {
            Ok((process, change)) => Ok(Self { process, change, counter, counted: 0, is_waited_for: false }),
            Err(error) => {
                if let Ok(process) = Process::open(pid) {
                    process.kill()?;
                }
                let _ = sys::wait(pid);
                Err(error)
            }
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.pid
    }

    /// Whether it is at work.
    pub(super) fn is_alive(&self) -> bool {
        self.process.is_alive()
    }

    /// Waits for its own end.
    pub(super) fn ends_within(&self, limit: Duration) -> bool {
        self.process.ends_within(limit)
    }

    /// How often it has counted.
    pub(super) fn counted(&mut self) -> u64 {
        let mut number = [0; 8];
        if rustix::io::read(&self.counter, &mut number).is_ok() {
            self.counted += u64::from_ne_bytes(number);
        }
        self.counted
    }

    /// Ends it. One that has ended stays so.
    ///
    /// # Errors
    /// It cannot be ended.
    pub(super) fn end(&mut self) -> Result<()> {
        self.change.undo()?;
        if !self.is_waited_for {
            // Whoever ignores SIGCHLD, or waits for everybody, has waited for it already.
            let _ = sys::wait(self.process.pid);
            self.is_waited_for = true;
            reached("a helper has ended");
        }
        Ok(())
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn run(watch: &Watch, mut stream: UnixStream, name: &CStr, work: impl FnOnce(&Watch)) {
    sys::stand_alone(&[watch.wanted_by.handle.as_fd(), watch.counter.as_fd(), stream.as_fd()]);
    let _ = rustix::thread::set_name(name);
    let _ = std::env::set_current_dir("/");
    reached("a helper stands alone");
    if rustix::process::setsid().is_err() || stream.write_all(b"r").is_err() {
        return;
    }
    reached("a helper is there");
    let mut fds = [
        PollFd::from_borrowed_fd(watch.wanted_by.handle.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::IN),
    ];
    let limit = Timespec { tv_sec: WANTED_WITHIN.as_secs().cast_signed(), tv_nsec: 0 };
    if poll(&mut fds, Some(&limit)).is_err() || !fds[0].revents().is_empty() || fds[1].revents().is_empty() {
        return;
    }
    let mut word = [0];
    if !matches!(stream.read(&mut word), Ok(1)) {
        return;
    }
    // The thread that made it may end: it is the process that counts, and that is watched.
    let _ = rustix::process::set_parent_process_death_signal(None);
    reached("a helper is to work");
    work(watch);
}
