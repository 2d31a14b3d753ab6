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
    pub(crate) fn sigaction(
        &mut self,
        me: ThreadId,
        signal: c_int,
        new: Option<Disposition>,
        old: &mut Disposition,
    ) -> Step {
        let signal = Self::checked(signal)?;
        let process = self.threads[me].process;
        let slot = &mut self.processes[process].dispositions[signal as usize];
        *old = *slot;
        if let Some(new) = new {
            if matches!(signal, SIGKILL | SIGSTOP) {
                return Err(Stop::Errno(EINVAL));
            }
            *slot = new;
            if new.handler == SIG_IGN || new.handler == SIG_DFL && ignored_by_default(signal) {
                self.forget_signal(process, signal);
            }
        }
        Ok(0)
    }

    /// Ignoring a signal discards what is pending of it (sigaction(2), "Ignoring SIGCHLD" aside).
    fn forget_signal(&mut self, process: ProcessId, signal: c_int) {
        self.processes[process].signals &= !bit(signal);
        for thread in self.processes[process].threads.clone() {
            self.threads[thread].signals &= !bit(signal);
        }
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
            if !self.blocks(target, signal) && self.acts_by_default(process, signal) {
                return Ok(0);
            }
            self.threads[target].signals |= bit(signal);
            self.nudge(target, signal);
        }
        Ok(0)
    }

    /// Whether a signal has to wait at this thread. Such a signal is never ignored, as its handler may change meanwhile
    /// (kernel/signal.c, `sig_ignored`).
    fn blocks(&self, thread: ThreadId, signal: c_int) -> bool {
        let t = &self.threads[thread];
        (t.signal_mask | t.progress.signals_awaited) & bit(signal) != 0
    }

    /// The thread of the caller's process that has these ids; `None` stands for the caller's process.
    pub(crate) fn by_tid(&self, me: ThreadId, pid: Option<c_int>, tid: c_int) -> Result<ThreadId, Stop> {
        let process = &self.processes[self.threads[me].process];
        if tid <= 0 || pid.is_some_and(|pid| pid <= 0) {
            return Err(Stop::Errno(EINVAL)); // tgkill(2)
        }
        if pid.is_some_and(|pid| pid != process.pid) {
            return Err(Stop::Errno(ESRCH));
        }
        process.threads.iter().copied().find(|t| self.threads[*t].tid == tid).ok_or(Stop::Errno(ESRCH))
    }

    /// Sends a signal to a process: its main thread handles it unless it blocks the signal, else any that does not.
    pub(crate) fn signal_process(&mut self, process: ProcessId, signal: c_int) {
        let p = &self.processes[process];
        let candidates = p.main.into_iter().chain(p.threads.iter().copied());
        let alive = |t: &ThreadId| self.threads.get(*t).is_some_and(|t| t.state != State::Zombie);
        let candidates: Vec<ThreadId> = candidates.filter(alive).collect();
        // kernel/signal.c, `wants_signal`: one that waits for the signal takes it, too.
        let awaits = |t: &ThreadId| self.threads[*t].progress.signals_awaited & bit(signal) != 0;
        let takes = |t: &ThreadId| !self.blocks(*t, signal) || awaits(t);
        let taker = candidates.iter().copied().find(takes);
        let waits = taker.is_none_or(|thread| self.blocks(thread, signal));
        if (signal == SIGKILL || !waits) && self.acts_by_default(process, signal) {
            return;
        }
        self.processes[process].signals |= bit(signal);
        if let Some(thread) = taker {
            self.nudge(thread, signal);
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
    fn nudge(&mut self, thread: ThreadId, signal: c_int) {
        self.threads[thread].lent.set_signalled(true);
        if self.threads[thread].state != State::Blocked {
            return;
        }
        if self.threads[thread].progress.signals_awaited & bit(signal) != 0 {
            self.wake(thread, Woken::Event);
        } else if !self.threads[thread].progress.uninterruptible && self.has_deliverable_signal(thread) {
            self.interrupt(thread);
        }
    }

    /// Takes one of a thread's signals out of a set: its own before the process's, the lowest number first
    /// (kernel/signal.c, `dequeue_signal`).
    fn dequeue_signal(&mut self, me: ThreadId, set: u64) -> Option<c_int> {
        let process = self.threads[me].process;
        let queues = [&mut self.threads[me].signals, &mut self.processes[process].signals];
        for queue in queues {
            let eligible = *queue & set;
            if eligible != 0 {
                let signal = eligible.trailing_zeros() as c_int + 1;
                *queue &= !bit(signal);
                return Some(signal);
            }
        }
        None
    }

    /// The next signal that the calling thread has to handle now; its mask is already the handler's.
    pub(crate) fn take_signal(&mut self, me: ThreadId) -> Option<Delivery> {
        let (process, mask) = (self.threads[me].process, self.threads[me].signal_mask);
        let signal = loop {
            let Some(signal) = self.dequeue_signal(me, !mask) else {
                self.threads[me].lent.set_signalled(false);
                return None;
            };
            if !self.acts_by_default(process, signal) {
                break signal;
            }
            self.threads.get(me)?; // it may have ended
        };
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

    /// Gives a call that waits its own signal mask, until it ends (sigsuspend(2), ppoll(2), epoll_pwait(2)).
    pub(crate) fn wait_with_mask(&mut self, me: ThreadId, mask: Option<u64>) {
        if let Some(mask) = mask
            && self.threads[me].saved_mask.is_none()
        {
            self.threads[me].saved_mask = Some(self.threads[me].signal_mask);
            self.threads[me].signal_mask = mask & !(bit(SIGKILL) | bit(SIGSTOP));
        }
    }

    /// pause(2), sigsuspend(2): waits for a handler to run.
    pub(crate) fn suspend(&mut self, me: ThreadId, mask: Option<u64>) -> Step {
        self.wait_with_mask(me, mask);
        Err(Stop::Block)
    }

    /// sigwait(3), sigtimedwait(2): takes a pending signal of a set without running a handler.
    pub(crate) fn sigwait(&mut self, me: ThreadId, set: u64, until: Option<u64>) -> Step {
        self.deadline(me, until);
        if let Some(signal) = self.dequeue_signal(me, set & !(bit(SIGKILL) | bit(SIGSTOP))) {
            return Ok(i64::from(signal));
        }
        if self.expired(me) {
            return Err(Stop::Errno(libc::EAGAIN));
        }
        self.threads[me].progress.signals_awaited = set;
        Err(Stop::Block)
    }
}
