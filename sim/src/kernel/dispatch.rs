//! The kernel's heart: a call comes in, is tried, and some thread goes on.

use super::buggify::Buggify;
use super::disk::Syncs;
use super::event::{EventLog, What};
use super::file::File;
use super::futex::Futexes;
use super::host::{Host, Hosts};
use super::keys::Keys;
use super::machine::{LockTable, MappedFiles, OpenNames, Own, Watched};
use super::net::Network;
use super::process::Process;
use super::sched::{Preemption, Scheduler};
use super::slots::Slots;
use super::thread::{Progress, State, Thread, ThreadId, Woken};
use super::timers::Timers;
use super::weather::Weather;
use super::{Call, Step, Stop};
use crate::abi::PendingRef;
use crate::carrier::heap::{self, Heap};
use crate::carrier::image::{Image, Original};
use crate::carrier::lent::{LentRef, Resume};
use crate::world::{Config, Ending, HostId, Hush, Outcome, Position, Sink};
use std::collections::{BTreeMap, VecDeque};

/// Virtual nanoseconds that a call costs which does work: about what a system call costs on a real machine.
const CALL_COST_NS: u64 = 200;
/// After this many calls in a row that brought nobody anything, each costs twice as much as before, up to
/// `2^BARREN_DOUBLINGS` times: a program that spins makes virtual time pass until something happens.
const BARREN_STEP: u64 = 256;
const BARREN_DOUBLINGS: u64 = 26;
/// That many barren calls in a row at the time limit are a livelock rather than a long test.
const LIVELOCK_BARREN_CALLS: u64 = 8 * BARREN_STEP;
/// Events between two signs of life.
const PROGRESS_EVENTS: u64 = 4096;

/// What a call begins with. Copied from memory: a value made up on the stack, field by field, would be read back in
/// larger pieces before it has left the store buffer, and each call would wait for that.
static FRESH: Progress = Progress::NONE;

/// Something that happens at a time of its own.
pub(crate) enum Event {
    /// A blocked thread's deadline.
    Deadline(ThreadId),
    /// A timerfd expires.
    TimerFd(super::FileId),
    /// The network's.
    Net(super::net::NetEvent),
    /// A host starts its program again, if this start of it was its last.
    Restart(HostId, u32),
    /// Faults begin or end.
    Weather,
    /// A thread that is ready has its turn on a busy processor.
    Turn(ThreadId),
}

/// Who runs when the kernel is left.
pub(crate) enum Next {
    /// The thread that entered.
    Same,
    /// This thread.
    Thread(LentRef),
    /// The carrier's own flow: the world is over.
    Carrier,
}

/// The simulated kernel.
pub(crate) struct Kernel {
    /// Virtual nanoseconds since the world's beginning.
    pub(crate) now: u64,
    pub(crate) log: EventLog,
    pub(crate) timers: Timers<Event>,
    pub(crate) sched: Scheduler,
    pub(crate) threads: Slots<Thread>,
    pub(crate) processes: Slots<Process>,
    pub(crate) files: Slots<File>,
    pub(crate) tables: Slots<super::file::Descriptors>,
    pub(crate) hosts: Hosts,
    pub(crate) futexes: Futexes,
    pub(crate) net: Network,
    pub(crate) streams: BTreeMap<u64, super::entropy::Stream>,
    pub(crate) by_pthread: BTreeMap<libc::pthread_t, ThreadId>,
    /// Thread-specific data keys with destructors.
    pub(crate) keys: Keys,
    pub(crate) sink: Box<dyn Sink>,
    pub(crate) seed: u64,
    pub(crate) buggify: Buggify,
    /// Hosts without any of it.
    pub(crate) hushed_calls: Hush,
    /// Hosts that get other random numbers than the seed's.
    pub(crate) hushed_entropy: Hush,
    /// Some clock has been moved, so what they show is looked up whenever a thread goes on.
    pub(crate) clocks_move: bool,
    /// How many faults keep processors busy.
    pub(crate) burning: u32,
    pub(crate) cpus: u32,
    pub(crate) start_unix_ns: u64,
    pub(crate) original: &'static Original,
    pub(crate) kernel_rsp: u64,
    pub(crate) threads_created: u64,
    /// Whose `environ` libc sees now.
    pub(crate) environ_of: Option<super::ProcessId>,
    pub(crate) dead_threads: Vec<LentRef>,
    pub(crate) dead_images: Vec<Image>,
    pub(crate) dead_heaps: Vec<Heap>,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) own: Own,
    /// What fsync(2) is worth.
    pub(crate) syncs: Syncs,
    pub(crate) locks: LockTable,
    pub(crate) mapped: MappedFiles,
    pub(crate) watched: Watched,
    /// Open files of disks by what they are called.
    pub(crate) open_names: OpenNames,
    /// The plan of faults that is being carried out.
    pub(crate) weather: Option<Box<Weather>>,
    /// The call under way leaves no trace, although it was not made as a look.
    no_trace: bool,
    virtual_limit: u64,
    barren: u64,
    next_progress: u64,
    /// No event before this one is recorded, disturbed or told: one comparison for all of them.
    next_rarity: u64,
    record: bool,
    perturb: Option<u64>,
    /// The event after which a fault begins, and that it has happened.
    fault_event: u64,
    fault_due: bool,
    reporting: Option<VecDeque<ThreadId>>,
    /// What the thread that reports now waited for when the world ended.
    pub(super) reported_wait: String,
    pub(super) running: Option<ThreadId>,
    /// Config of the host `test`, until `boot` takes it.
    pub(crate) test_env: Vec<(String, String)>,
}

impl Kernel {
    /// A kernel without hosts.
    pub(crate) fn new(config: Config, original: &'static Original, kernel_rsp: u64) -> Kernel {
        let hushed = |hush: Hush| if config.calm { Hush::Everything } else { hush };
        Kernel {
            now: 0,
            log: EventLog::new(config.seed ^ u64::from(config.calm)),
            timers: Timers::default(),
            sched: Scheduler::new(config.seed, config.calm || config.quiet.scheduling),
            threads: Slots::default(),
            processes: Slots::default(),
            files: Slots::default(),
            tables: Slots::default(),
            hosts: Hosts::default(),
            futexes: Futexes::default(),
            net: Network::new(config.seed, hushed(config.quiet.links)),
            streams: BTreeMap::new(),
            by_pthread: BTreeMap::new(),
            keys: Keys::new(crate::abi::keys_outside()),
            sink: config.sink,
            seed: config.seed,
            buggify: Buggify::new(config.seed),
            hushed_calls: hushed(config.quiet.calls),
            hushed_entropy: config.quiet.entropy,
            clocks_move: false,
            burning: 0,
            cpus: config.cpus,
            start_unix_ns: config.start_unix_ns,
            original,
            kernel_rsp,
            threads_created: 0,
            environ_of: None,
            dead_threads: Vec::new(),
            dead_images: Vec::new(),
            dead_heaps: Vec::new(),
            outcome: None,
            own: Own::find(),
            syncs: config.syncs,
            locks: LockTable::new(),
            mapped: MappedFiles::new(),
            watched: Watched::default(),
            open_names: OpenNames::new(),
            weather: None,
            no_trace: false,
            virtual_limit: u64::try_from(config.virtual_timeout.as_nanos()).unwrap_or(u64::MAX),
            barren: 0,
            next_progress: 0,
            next_rarity: 0,
            record: config.record,
            perturb: config.perturb,
            fault_event: u64::MAX,
            fault_due: false,
            reporting: None,
            reported_wait: String::new(),
            running: None,
            test_env: config.test_env,
        }
    }

    /// Where the world stands.
    pub(crate) fn position(&self) -> Position {
        self.log.position(self.now)
    }

    /// How the world ended.
    pub(crate) fn ending(&self) -> Ending {
        Ending {
            outcome: self.outcome.clone().unwrap_or(Outcome::Finished),
            digest: self.log.digest(),
            at: self.position(),
            threads: self.threads_created,
            weather: self.weather_so_far(),
        }
    }

    /// A thread makes a call.
    pub(crate) fn enter(&mut self, me: ThreadId, pending: PendingRef) -> Next {
        if self.outcome.is_some() {
            return self.enter_late(me, pending);
        }
        let thread = &mut self.threads[me];
        thread.pending = Some(pending);
        thread.progress = FRESH;
        let answered = self.attempt(me, pending);
        self.fault_if_due();
        if answered && self.outcome.is_none() && self.goes_on(me, pending) { Next::Same } else { self.dispatch() }
    }

    /// A thread that captures its stack at the world's end may still ask (for its image, say).
    #[cold]
    fn enter_late(&mut self, me: ThreadId, pending: PendingRef) -> Next {
        if pending.looking() && self.reporting.is_some() && self.attempt(me, pending) {
            return Next::Thread(self.resume(me));
        }
        self.dispatch()
    }

    /// Whether the running thread keeps running after a call. If not, the scheduler has it, unless it has ended.
    #[inline]
    fn goes_on(&mut self, me: ThreadId, pending: PendingRef) -> bool {
        let looked = pending.looking() || self.no_trace;
        if !looked {
            self.fire_due();
        }
        if self.threads.get(me).is_none_or(|thread| thread.state != State::Running) {
            return false;
        }
        if !looked && !self.keeps_its_turn(me) {
            self.threads[me].state = State::Ready;
            self.make_eligible(me);
            return false;
        }
        self.threads[me].lent.set_now(self.now);
        if self.clocks_move {
            self.show_clocks(me);
        }
        true
    }

    /// Whether a thread that could go on is neither paused nor preempted.
    #[inline]
    fn keeps_its_turn(&mut self, me: ThreadId) -> bool {
        let thread = &mut self.threads[me];
        if self.processes[thread.process].held.is_some() {
            return false;
        }
        thread.calls += 1;
        match self.sched.preempts(u64::from(thread.serial), thread.calls) {
            Preemption::No => true,
            _ if self.sched.is_empty() => true,
            Preemption::Yield => self.sched.outranks(thread.priority, me),
            Preemption::Demote => {
                thread.priority = self.sched.lowest_priority();
                false
            }
        }
    }

    /// Tries a thread's pending call; true when it is answered.
    fn attempt(&mut self, me: ThreadId, pending: PendingRef) -> bool {
        self.running = Some(me);
        self.no_trace = false;
        self.threads[me].state = State::Running;
        let progress = &self.threads[me].progress;
        let step = if progress.cut_short { Ok(progress.partial as i64) } else { pending.attempt(self, me) };
        let Some(thread) = self.threads.get_mut(me) else {
            self.log.take_returned();
            return true; // the call ended its own thread
        };
        match step {
            Ok(value) => self.finish_call(me, pending, value),
            Err(Stop::Errno(errno)) => self.finish_call(me, pending, -i64::from(errno)),
            Err(Stop::Block) => {
                self.log.take_returned();
                if thread.state != State::Running {
                    return false; // it has been held meanwhile, or is a zombie
                }
                thread.state = State::Blocked;
                if let (None, Some(at)) = (thread.timer, thread.progress.deadline) {
                    let late = self.buggify.lateness_ns(thread, at);
                    let key = self.timers.schedule(at.saturating_add(late), Event::Deadline(me));
                    self.threads[me].timer = Some(key);
                }
                if !self.threads[me].progress.uninterruptible && self.has_deliverable_signal(me) {
                    self.interrupt(me);
                }
                return false;
            }
        }
        true
    }

    #[inline]
    fn finish_call(&mut self, me: ThreadId, pending: PendingRef, value: i64) {
        let returned = self.log.take_returned();
        let mut thread = &mut self.threads[me];
        if !thread.waits.is_empty() {
            self.forget_waits(me);
            thread = &mut self.threads[me];
        }
        thread.pending = None;
        thread.lent.answer(value);
        if let Some(key) = thread.timer.take() {
            self.timers.cancel(key);
        }
        if thread.progress.pinned.is_some() {
            self.unpin(me);
        }
        if pending.looking() || self.no_trace {
            return;
        }
        let thread = &mut self.threads[me];
        if value != -i64::from(libc::EINTR)
            && let Some(mask) = thread.saved_mask.take()
        {
            thread.signal_mask = mask; // the call brought its own, which ends with it (ppoll(2))
        }
        thread.lent.did_work();
        let serial = thread.serial;
        self.charge(pending.call(), value);
        self.record(serial, What::Call(pending.call()), value, returned);
        if self.now > self.virtual_limit {
            self.time_is_up();
        }
    }

    /// Makes the call under way one that only looks: it costs no time, is no scheduling point and no event.
    pub(crate) fn leave_no_trace(&mut self) {
        self.no_trace = true;
    }

    /// Lets time pass for a call that did work.
    #[inline]
    fn charge(&mut self, call: Call, value: i64) {
        let fruitless = value == -i64::from(libc::EAGAIN) || (value == 0 && self.log.idles(call));
        self.barren = if fruitless { self.barren + 1 } else { 0 };
        self.now += CALL_COST_NS << (self.barren / BARREN_STEP).min(BARREN_DOUBLINGS);
    }

    /// Appends to the event stream.
    #[inline]
    pub(crate) fn record(&mut self, who: u32, what: What, value: i64, extra: u64) {
        let number = self.log.append(self.now, who, what, value, extra);
        if number >= self.next_rarity {
            self.rarity(number, who, what, value, extra);
        }
    }

    /// What only some events bring with them; sets the number of the next such event.
    #[cold]
    fn rarity(&mut self, number: u64, who: u32, what: What, value: i64, extra: u64) {
        if self.record {
            self.describe_event(who, what, value, extra);
        }
        if self.perturb == Some(number) {
            self.now += 1;
        }
        if number >= self.fault_event {
            (self.fault_due, self.fault_event) = (true, u64::MAX); // at the next safe point: this may be amid a change
        }
        if number >= self.next_progress {
            self.next_progress = number + PROGRESS_EVENTS;
            let (host, thread) = self.names_of_running();
            let at = self.position();
            self.sink.progress(at, &host, &thread);
        }
        let every = if self.record { number + 1 } else { u64::MAX };
        let special = [every, self.next_progress, self.perturb.unwrap_or(u64::MAX), self.fault_event];
        self.next_rarity = special.into_iter().filter(|at| *at > number).min().unwrap_or(u64::MAX);
    }

    /// Has a fault begin after the event of this number.
    pub(crate) fn await_event(&mut self, number: u64) {
        if number <= self.log.position(self.now).event {
            self.fault_due = true;
        } else {
            self.fault_event = number;
            self.next_rarity = self.next_rarity.min(number);
        }
    }

    /// Lets a fault begin whose event has happened.
    #[inline]
    fn fault_if_due(&mut self) {
        if self.fault_due {
            self.fault_due = false;
            self.weather_reached();
        }
    }

    /// Chooses who runs next.
    pub(crate) fn dispatch(&mut self) -> Next {
        loop {
            self.bury();
            if self.outcome.is_some() {
                return self.wind_up();
            }
            self.fire_due();
            self.fault_if_due();
            let Some(thread) = self.sched.pop() else {
                self.advance();
                continue;
            };
            if self.threads[thread].lent.pointer().is_null() {
                continue;
            }
            if let Some(next) = self.go_on(thread) {
                return next;
            }
        }
    }

    /// Gives a chosen thread its turn: a retry of its call, a signal, or its own code.
    fn go_on(&mut self, thread: ThreadId) -> Option<Next> {
        let Some(pending) = self.threads[thread].pending else {
            return Some(Next::Thread(self.resume(thread)));
        };
        let answered = self.attempt(thread, pending);
        self.fault_if_due();
        if answered {
            let alive = self.threads.get(thread).is_some_and(|t| t.state == State::Running);
            return (alive && self.outcome.is_none()).then(|| Next::Thread(self.resume(thread)));
        }
        None
    }

    /// Leaves the kernel for a thread.
    #[inline(always)]
    fn resume(&mut self, thread: ThreadId) -> LentRef {
        self.running = Some(thread);
        let t = &mut self.threads[thread];
        t.state = State::Running;
        let (lent, process) = (t.lent, t.process);
        lent.set_now(self.now);
        if self.clocks_move {
            self.show_clocks(thread);
        }
        if self.environ_of != Some(process) {
            self.swap_environment(process);
        }
        lent
    }

    /// Ends a blocked call so that its thread can run a signal handler: with what it has done, or as interrupted.
    pub(crate) fn interrupt(&mut self, thread: ThreadId) {
        let t = &mut self.threads[thread];
        if t.progress.partial > 0 || t.progress.lingers.is_some() {
            t.progress.cut_short = true;
        } else {
            // signal(7): what waits for a limited time only is not restarted, whatever the handler asks for.
            let restart = t.progress.deadline.is_none() && t.pending.is_some_and(|p| super::restartable(p.call()));
            t.lent.resume_for(Resume::Signal { restart });
            t.pending = None;
            self.unpin(thread);
        }
        self.wake(thread, Woken::Event);
    }

    /// Fires what is due.
    #[inline]
    pub(crate) fn fire_due(&mut self) {
        if self.timers.next_at().is_some_and(|at| at <= self.now) {
            self.fire_all_due();
        }
    }

    #[inline(never)]
    fn fire_all_due(&mut self) {
        while let Some((_, event)) = self.timers.take_due(self.now) {
            self.fire(event);
        }
    }

    fn fire(&mut self, event: Event) {
        self.barren = 0;
        match event {
            Event::Deadline(thread) => {
                if let Some(t) = self.threads.get_mut(thread) {
                    t.timer = None;
                    self.wake(thread, Woken::Timeout);
                }
            }
            Event::TimerFd(file) => self.timerfd_expired(file),
            Event::Net(event) => self.net_event(event),
            Event::Restart(host, starts) => self.restart_after_exit(host, starts),
            Event::Weather => self.weather_due(),
            Event::Turn(thread) => self.turn_comes(thread),
        }
    }

    /// Nobody can run: time moves to the next event, or the world is stuck.
    fn advance(&mut self) {
        let Some(next) = self.timers.next_at() else {
            return self.end_stuck(Outcome::Deadlock);
        };
        if next > self.virtual_limit {
            self.now = self.now.max(self.virtual_limit);
            return self.time_is_up();
        }
        self.now = self.now.max(next);
    }

    /// The virtual clock has reached its limit.
    fn time_is_up(&mut self) {
        let livelock = self.barren > LIVELOCK_BARREN_CALLS;
        self.end_stuck(if livelock { Outcome::Livelock } else { Outcome::VirtualTimeout });
    }

    /// Ends the world.
    pub(crate) fn end(&mut self, outcome: Outcome) {
        if self.outcome.is_none() {
            self.outcome = Some(outcome);
        }
    }

    /// Ends the world with a report of every thread's stack.
    fn end_stuck(&mut self, outcome: Outcome) {
        if self.outcome.is_some() {
            return;
        }
        self.end(outcome);
        self.reporting = Some(self.threads.iter().map(|(id, _)| id).collect());
    }

    /// Asks each thread for its stack, then leaves for the carrier.
    fn wind_up(&mut self) -> Next {
        while let Some(thread) = self.reporting.as_mut().and_then(VecDeque::pop_front) {
            let Some(t) = self.threads.get(thread) else { continue };
            if t.state == State::Zombie {
                continue;
            }
            let (started, lent, process) = (t.started(), t.lent, t.process);
            self.reported_wait = self.waits_for(thread);
            if !started {
                self.report_stack(thread, &[]);
                continue;
            }
            lent.resume_for(Resume::Backtrace);
            self.swap_environment(process);
            return Next::Thread(lent);
        }
        Next::Carrier
    }

    /// Frees threads and images that ended since the last switch; nothing of them is in use now.
    #[inline]
    fn bury(&mut self) {
        while let Some(lent) = self.dead_threads.pop() {
            lent.release();
        }
        while let Some(image) = self.dead_images.pop() {
            crate::carrier::image::unregister(image);
            image.unmap(self.original);
        }
        while let Some(heap) = self.dead_heaps.pop() {
            heap::destroy(heap);
        }
    }

    /// A call that is not simulated ends the world.
    pub(crate) fn refuse(&mut self, me: ThreadId, call: &str, remedy: &str) {
        let host = self.host_of(self.threads[me].process).name.clone();
        self.end(Outcome::Refused { host, call: call.to_owned(), remedy: remedy.to_owned() });
        self.reporting = Some(VecDeque::from([me]));
    }

    /// The host that a process runs on.
    pub(crate) fn host_of(&self, process: super::ProcessId) -> &Host {
        &self.hosts[self.processes[process].host]
    }

    /// Answers when a call that never returns is wanted.
    pub(crate) fn never(&self) -> Step {
        Err(Stop::Block)
    }
}
