//! Simulated threads: what they wait for, and how they are woken.

use super::Stop;
use super::dispatch::Kernel;
use super::file::{FileId, TableId};
use super::net::{ConnectionId, Side};
use super::process::ProcessId;
use super::slots::Id;
use super::timers::TimerKey;
use crate::abi::PendingRef;
use crate::carrier::lent::LentRef;
use libc::c_int;
use std::cell::Cell;

/// Names a simulated thread.
pub(crate) type ThreadId = Id<Thread>;

/// Whether a thread can run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Runs now: the carrier is on its stack, or in the kernel on its behalf.
    Running,
    /// Could run; the scheduler has it, or its paused process keeps it.
    Ready,
    /// Waits for what `waits` says.
    Blocked,
    /// Has ended and waits to be joined.
    Zombie,
}

/// What a blocked thread is registered with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WaitsOn {
    /// Readiness of a file.
    File(FileId),
    /// A word of memory: futex, mutex, condition.
    Address(usize),
    /// The end of another thread.
    Thread(ThreadId),
    /// A lock of a file, by host and inode number.
    Lock(crate::world::HostId, u64),
}

/// Why a blocked thread was woken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Woken {
    /// It has not been.
    #[default]
    No,
    /// By what it waited for.
    Event,
    /// By its deadline.
    Timeout,
}

/// What a call keeps from one try to the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// When the call gives up, in virtual nanoseconds; set by its first try.
    pub(crate) deadline: Option<u64>,
    /// What the host's wall clock shows then, if that is how the deadline was given.
    pub(crate) wall_ns: Option<i64>,
    /// Whether the first try is over.
    pub(crate) begun: bool,
    /// No signal ends its wait: it waits for a disk.
    pub(crate) uninterruptible: bool,
    /// Why it was woken last.
    pub(crate) woken: Woken,
    /// Bytes done, stages passed: as the call likes.
    pub(crate) done: u64,
    /// Bytes moved by earlier tries: what the call answers when a signal ends its wait (read(2), write(2)).
    pub(crate) partial: u64,
    /// A signal has ended the wait of a call with a partial result.
    pub(crate) cut_short: bool,
    /// The descriptor that the call waits for, and the file that it was when the wait began: it stays that file when
    /// another thread closes the number or gives it to another file (close(2), "Multithreaded processes and close()").
    pub(crate) pinned: Option<(c_int, FileId)>,
    /// What of a file was written when its fsync(2) began.
    pub(crate) sync_mark: Option<u64>,
    /// The end of a connection that has been closed, and that close(2) lingers over.
    pub(crate) lingers: Option<(ConnectionId, Side)>,
    /// Signals that the call waits for, in sigwait(3) and its like.
    pub(crate) signals_awaited: u64,
}

impl Progress {
    /// Nothing yet.
    pub(crate) const NONE: Progress = Progress {
        deadline: None,
        wall_ns: None,
        begun: false,
        uninterruptible: false,
        woken: Woken::No,
        done: 0,
        partial: 0,
        cut_short: false,
        pinned: None,
        sync_mark: None,
        lingers: None,
        signals_awaited: 0,
    };
}

/// A simulated thread.
pub(crate) struct Thread {
    pub(crate) lent: LentRef,
    pub(crate) process: ProcessId,
    /// Its process's descriptors, which nearly every call asks for.
    pub(crate) table: TableId,
    /// Number in the event stream: the creation order in the world.
    pub(crate) serial: u32,
    pub(crate) tid: i32,
    pub(crate) name: String,
    pub(crate) state: State,
    pub(crate) priority: u64,
    /// Calls that did work, for the preemption hash.
    pub(crate) calls: u64,
    /// Nothing rare happens to it: see `Quiet::calls`.
    pub(crate) hushed: bool,
    pub(crate) pending: Option<PendingRef>,
    pub(crate) progress: Progress,
    pub(crate) waits: Vec<WaitsOn>,
    /// The descriptor looked up last, and its file.
    pub(crate) resolved: Cell<Option<(c_int, FileId)>>,
    pub(crate) timer: Option<TimerKey>,
    /// When it is eligible, if it is ready and waits for its turn: `burn.rs`.
    pub(crate) turn: Option<TimerKey>,
    pub(crate) detached: bool,
    pub(crate) joiner: Option<ThreadId>,
    /// What the start routine returned, as a number.
    pub(crate) result: usize,
    /// Blocked signals, bit n-1 for signal n.
    pub(crate) signal_mask: u64,
    /// Signals directed at this thread and not handled yet.
    pub(crate) signals: u64,
    /// The mask to restore when an interrupted `sigsuspend`-like call returns.
    pub(crate) saved_mask: Option<u64>,
}

impl Kernel {
    /// Blocks the calling thread until a file's readiness changes in one of `bits` (`EPOLLIN`…).
    pub(crate) fn wait_for_file(&mut self, me: ThreadId, file: FileId, bits: u32) -> Stop {
        self.files[file].waiters.push((me, bits));
        self.threads[me].waits.push(WaitsOn::File(file));
        self.pin(me, file);
        Stop::Block
    }

    /// Lets the call under way keep the file that its descriptor was, while it waits.
    #[inline]
    pub(crate) fn pin(&mut self, me: ThreadId, file: FileId) {
        let thread = &mut self.threads[me];
        if thread.progress.pinned.is_none() {
            thread.progress.pinned = thread.resolved.get().filter(|(_, resolved)| *resolved == file);
            self.files[file].references += u32::from(thread.progress.pinned.is_some());
        }
    }

    /// Lets go of the file that an ended call has waited for.
    pub(crate) fn unpin(&mut self, thread: ThreadId) {
        if let Some((_, file)) = self.threads[thread].progress.pinned.take() {
            self.release_file(file);
        }
    }

    /// Blocks the calling thread on a word of memory.
    pub(crate) fn wait_for_address(&mut self, me: ThreadId, address: usize) -> Stop {
        self.threads[me].waits.push(WaitsOn::Address(address));
        Stop::Block
    }

    /// Gives the call under way a deadline, unless an earlier try has set it.
    #[inline]
    pub(crate) fn deadline(&mut self, me: ThreadId, at: Option<u64>) {
        let progress = &mut self.threads[me].progress;
        if !progress.begun {
            progress.begun = true;
            progress.deadline = at;
        }
    }

    /// Whether the call's deadline has passed.
    #[inline]
    pub(crate) fn expired(&self, me: ThreadId) -> bool {
        self.threads[me].progress.deadline.is_some_and(|at| at <= self.now)
    }

    /// Makes a blocked thread try its call again.
    #[inline]
    pub(crate) fn wake(&mut self, thread: ThreadId, why: Woken) {
        let Some(t) = self.threads.get_mut(thread) else { return };
        if t.state != State::Blocked {
            return;
        }
        t.state = State::Ready;
        t.progress.woken = why;
        if let Some(key) = t.timer.take() {
            self.timers.cancel(key);
        }
        if !t.waits.is_empty() {
            self.forget_waits(thread);
        }
        if self.burning > 0 && self.waits_for_its_turn(thread) {
            return;
        }
        self.make_eligible(thread);
    }

    /// Hands a ready thread to the scheduler, or to its paused process.
    #[inline]
    pub(crate) fn make_eligible(&mut self, thread: ThreadId) {
        let (process, priority) = (self.threads[thread].process, self.threads[thread].priority);
        match &mut self.processes[process].held {
            Some(held) => held.push(thread),
            None => self.sched.push(thread, priority),
        }
    }

    /// Unregisters a thread from everything it waits for.
    pub(crate) fn forget_waits(&mut self, thread: ThreadId) {
        let mut waits = std::mem::take(&mut self.threads[thread].waits);
        for wait in waits.drain(..) {
            match wait {
                WaitsOn::File(file) => {
                    if let Some(file) = self.files.get_mut(file) {
                        file.waiters.retain(|(t, _)| *t != thread);
                    }
                }
                WaitsOn::Address(address) => self.futexes.forget(address, thread),
                WaitsOn::Lock(host, inode) => self.forget_locker((host, inode), thread),
                WaitsOn::Thread(target) => {
                    if let Some(target) = self.threads.get_mut(target) {
                        target.joiner = None;
                    }
                }
            }
        }
        // Keeps the vector's capacity: a thread that waits again allocates nothing.
        self.threads[thread].waits = waits;
    }

    /// What a thread waits for, in words.
    pub(crate) fn waits_for(&self, thread: ThreadId) -> String {
        let t = &self.threads[thread];
        let call = t.pending.as_ref().map_or("nothing", |pending| pending.call().name);
        let mut text = match t.state {
            State::Running => return "runs".to_owned(),
            State::Ready => return "could run".to_owned(),
            State::Zombie => return "has ended, not joined".to_owned(),
            State::Blocked => call.to_owned(),
        };
        for wait in &t.waits {
            text.push_str(&match wait {
                WaitsOn::File(file) if self.files.get(*file).is_some() => format!(" {}", self.describe_file(*file)),
                WaitsOn::File(_) => String::new(),
                WaitsOn::Address(_) => String::new(),
                WaitsOn::Lock(..) => " for a lock of a file".to_owned(),
                WaitsOn::Thread(other) => match self.threads.get(*other) {
                    Some(other) => format!(" thread {} {}", other.tid, other.name),
                    None => String::new(),
                },
            });
        }
        if let Some(at) = t.progress.deadline {
            text.push_str(&format!(" until {:.3} s", at as f64 / 1e9));
        }
        text
    }
}
