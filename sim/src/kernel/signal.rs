//! Signals: dispositions, masks, and which thread handles what (signal(7)).
//!
//! Handlers run where programs call the kernel, never between two instructions of the program itself.

use super::dispatch::Kernel;
use super::event::What;
use super::process::{Disposition, ProcessId};
use super::thread::{State, ThreadId, Woken};
use super::{Step, Stop};
use crate::world::Exit;
use libc::{EINVAL, ESRCH, SIG_BLOCK, SIG_DFL, SIG_IGN, SIG_SETMASK, SIG_UNBLOCK, SIGKILL, SIGSTOP, c_int};

/// The bit of a signal in a set.
pub(crate) fn bit(signal: c_int) -> u64 {
    1 << (signal - 1)
}

/// Signals whose default action is to do nothing (signal(7), "Standard signals").
fn ignored_by_default(signal: c_int) -> bool {
    matches!(signal, libc::SIGCHLD | libc::SIGURG | libc::SIGWINCH | libc::SIGCONT)
}

/// A signal to be handled now, on the calling thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivery {
    pub(crate) signal: c_int,
    pub(crate) disposition: Disposition,
    /// The mask to restore after the handler.
    pub(crate) old_mask: u64,
}

impl Kernel {
    fn checked(signal: c_int) -> Result<c_int, Stop> {
        if (1..=64).contains(&signal) { Ok(signal) } else { Err(Stop::Errno(EINVAL)) }
    }

    /// sigaction(2).
    pub(crate) fn sigaction(&mut self, me: ThreadId, signal: c_int, new: Option<Disposition>, old: &mut Disposition) -> Step {
        let signal = Self::checked(signal)?;
        let process = self.threads[me].process;
        let slot = &mut self.processes[process].dispositions[signal as usize];
        *old = *slot;
        if let Some(new) = new {
            if matches!(signal, SIGKILL | SIGSTOP) {
                return Err(Stop::Errno(EINVAL));
            }
            *slot = new;
        }
        Ok(0)
    }

    /// pthread_sigmask(3).
    pub(crate) fn sigmask(&mut self, me: ThreadId, how: c_int, set: Option<u64>, old: &mut u64) -> Step {
        let mask = self.threads[me].signal_mask;
        *old = mask;
        if let Some(set) = set {
            let unmaskable = bit(SIGKILL) | bit(SIGSTOP);
            let new = match how {
                SIG_BLOCK => mask | set,
                SIG_UNBLOCK => mask & !set,
                SIG_SETMASK => set,
                _ => return Err(Stop::Errno(EINVAL)),
            };
            self.threads[me].signal_mask = new & !unmaskable;
            let signalled = self.has_deliverable_signal(me);
            self.threads[me].lent.set_signalled(signalled);
        }
        Ok(0)
    }

    /// sigpending(2).
    pub(crate) fn sigpending(&self, me: ThreadId) -> u64 {
        let thread = &self.threads[me];
        (thread.signals | self.processes[thread.process].signals) & thread.signal_mask
    }

    /// Whether a thread should interrupt its call for a handler.
    pub(crate) fn has_deliverable_signal(&self, thread: ThreadId) -> bool {
        let t = &self.threads[thread];
        (t.signals | self.processes[t.process].signals) & !t.signal_mask != 0
    }

    /// kill(2) of a process of this host.
    pub(crate) fn kill(&mut self, me: ThreadId, pid: c_int, signal: c_int) -> Step {
        let process = self.threads[me].process;
        let own = self.processes[process].pid;
        if pid != own && pid != 0 && pid != -1 && pid != -own {
            return Err(Stop::Errno(ESRCH));
        }
        if signal != 0 {
            self.signal_process(process, Self::checked(signal)?);
        }
        Ok(0)
    }

    /// tgkill(2), pthread_kill(3).
    pub(crate) fn kill_thread(&mut self, target: ThreadId, signal: c_int) -> Step {
        if signal != 0 {
            let signal = Self::checked(signal)?;
            let process = self.threads[target].process;
            if self.acts_by_default(process, signal) {
                return Ok(0);
            }
            self.threads[target].signals |= bit(signal);
            self.nudge(target);
        }
        Ok(0)
    }

    /// The thread of the caller's process that has this id.
    pub(crate) fn by_tid(&self, me: ThreadId, tid: c_int) -> Result<ThreadId, Stop> {
        let process = &self.processes[self.threads[me].process];
        process.threads.iter().copied().find(|t| self.threads[*t].tid == tid).ok_or(Stop::Errno(ESRCH))
    }

    /// Sends a signal to a process: its main thread handles it unless it blocks the signal, else any that does not.
    pub(crate) fn signal_process(&mut self, process: ProcessId, signal: c_int) {
        if self.acts_by_default(process, signal) {
            return;
        }
        let p = &mut self.processes[process];
        p.signals |= bit(signal);
        let main = p.main;
        let candidates = main.into_iter().chain(p.threads.iter().copied()).collect::<Vec<_>>();
        let takes = |t: &ThreadId| {
            self.threads.get(*t).is_some_and(|t| t.state != State::Zombie && t.signal_mask & bit(signal) == 0)
        };
        if let Some(thread) = candidates.into_iter().find(takes) {
            self.nudge(thread);
        }
    }

    /// Does what a signal without a handler does; false when there is a handler.
    fn acts_by_default(&mut self, process: ProcessId, signal: c_int) -> bool {
        match self.processes[process].dispositions[signal as usize].handler {
            _ if signal == SIGKILL => self.exit_by_itself(process, Exit::Signal(signal)),
            SIG_IGN => {}
            SIG_DFL if ignored_by_default(signal) => {}
            SIG_DFL if matches!(signal, SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU) => {
                let host = self.processes[process].host;
                self.pause_host(host);
            }
            SIG_DFL => self.exit_by_itself(process, Exit::Signal(signal)),
            _ => return false,
        }
        true
    }

    /// Makes a thread notice its signal: at the end of the call under way, or by interrupting a blocking one.
    fn nudge(&mut self, thread: ThreadId) {
        self.threads[thread].lent.set_signalled(true);
        if self.threads[thread].state == State::Blocked && self.has_deliverable_signal(thread) {
            self.interrupt(thread);
            self.wake(thread, Woken::Event);
        }
    }

    /// The next signal that the calling thread has to handle now; its mask is already the handler's.
    pub(crate) fn take_signal(&mut self, me: ThreadId) -> Option<Delivery> {
        let (process, mask) = (self.threads[me].process, self.threads[me].signal_mask);
        let own = self.threads[me].signals & !mask;
        let shared = self.processes[process].signals & !mask;
        let set = own | shared;
        if set == 0 {
            self.threads[me].lent.set_signalled(false);
            return None;
        }
        let signal = set.trailing_zeros() as c_int + 1;
        if own & bit(signal) != 0 {
            self.threads[me].signals &= !bit(signal);
        } else {
            self.processes[process].signals &= !bit(signal);
        }
        let slot = &mut self.processes[process].dispositions[signal as usize];
        let disposition = *slot;
        if disposition.flags & libc::SA_RESETHAND != 0 {
            *slot = Disposition::default();
        }
        let old_mask = self.threads[me].saved_mask.take().unwrap_or(mask);
        let own_bit = if disposition.flags & libc::SA_NODEFER != 0 { 0 } else { bit(signal) };
        self.threads[me].signal_mask = mask | disposition.mask | own_bit;
        let serial = self.threads[me].serial;
        self.record(serial, What::Signal, i64::from(signal), 0);
        Some(Delivery { signal, disposition, old_mask })
    }

    /// pause(2), sigsuspend(2): waits for a handler to run.
    pub(crate) fn suspend(&mut self, me: ThreadId, mask: Option<u64>) -> Step {
        if let Some(mask) = mask
            && self.threads[me].saved_mask.is_none()
        {
            self.threads[me].saved_mask = Some(self.threads[me].signal_mask);
            self.threads[me].signal_mask = mask;
        }
        Err(Stop::Block)
    }

    /// sigwait(3), sigtimedwait(2): takes a pending signal of a set without running a handler.
    pub(crate) fn sigwait(&mut self, me: ThreadId, set: u64, until: Option<u64>) -> Step {
        self.deadline(me, until);
        let process = self.threads[me].process;
        let own = self.threads[me].signals & set;
        let shared = self.processes[process].signals & set;
        if own | shared != 0 {
            let signal = (own | shared).trailing_zeros() as c_int + 1;
            self.threads[me].signals &= !bit(signal);
            self.processes[process].signals &= !bit(signal);
            return Ok(i64::from(signal));
        }
        if self.expired(me) {
            return Err(Stop::Errno(libc::EAGAIN));
        }
        // A signal that everybody blocks does not interrupt; poll at the pace of a timer tick instead.
        let at = self.now + 1_000_000;
        let until = self.threads[me].progress.deadline.map_or(at, |d| d.min(at));
        let key = self.timers.schedule(until, super::dispatch::Event::Deadline(me));
        self.threads[me].timer = Some(key);
        Err(Stop::Block)
    }
}
