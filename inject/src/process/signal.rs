//! A process that stands still.

use super::identity::Identity;
use super::proc::Stat;
use crate::error::{Error, Result};
use crate::injection::Injection;
use crate::journal::{Change, Journal, Undo};
use crate::target::Process;
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// How long a process may take to stop or go on. One in uninterruptible sleep stops after it.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// A process that was stopped with SIGSTOP, with all its threads.
///
/// Its parent can see that (waitpid(2), `WUNTRACED`), and anybody who may send it SIGCONT can end it. A
/// [frozen](crate::cgroup::Frozen) group has neither flaw, where there are groups.
#[derive(Debug)]
pub struct Paused {
    process: Process,
    identity: Identity,
    change: Change,
}

impl Paused {
    /// Stops a process, and waits until it stands still.
    ///
    /// # Errors
    /// It has ended, is another user's, or stands still already: somebody else wants it so.
    pub fn apply(journal: &Journal, process: &Process) -> Result<Self> {
        let identity = process.identity()?;
        let state = Stat::of(process.pid)?.state;
        if matches!(state, 'T' | 't') {
            let found = format!("it in state {state} already");
            return Err(Error::unlike(format!("stop process {}", process.pid), "a process that runs", found));
        }
        let ((), change) = journal.change(Undo::Continue { process: identity }, || process.signal(Signal::STOP))?;
        let mut paused = Self { process: process.clone(), identity, change };
        wait_until(|| paused.read_back())?;
        Ok(paused)
    }
}

impl Injection for Paused {
    fn mechanism(&self) -> &'static str {
        "SIGSTOP"
    }

    fn read_back(&mut self) -> Result<()> {
        let what = || format!("keep process {} stopped", self.process.pid);
        let stat = Stat::of(self.process.pid)?;
        if stat.start_ticks != self.identity.start_ticks || stat.has_ended() {
            return Err(Error::gone(what()));
        }
        if stat.state == 'T' { Ok(()) } else { Err(Error::unlike(what(), "state T", format!("state {}", stat.state))) }
    }

    /// One, if it stands still.
    fn bit(&mut self) -> Result<u64> {
        Ok(u64::from(self.read_back().is_ok()))
    }

    fn heal(&mut self) -> Result<()> {
        if self.change.is_undone() {
            return Ok(());
        }
        self.change.undo()?;
        wait_until(|| match self.read_back() {
            Ok(()) => Err(Error::unlike("let a process go on", "any other state", "state T")),
            Err(_) => Ok(()),
        })
    }
}

/// Tries until it works, but not for ever.
pub(super) fn wait_until(mut attempt: impl FnMut() -> Result<()>) -> Result<()> {
    let deadline = Instant::now() + ANSWER_WITHIN;
    loop {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_micros(200)),
        }
    }
}
