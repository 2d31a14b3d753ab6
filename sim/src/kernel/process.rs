//! Processes: one per start of a host, with its image, descriptors, threads and environment.

use super::dispatch::Kernel;
use super::event::What;
use super::file::{Descriptor, Descriptors, Kind, TableId};
use super::machine::Place;
use super::slots::Id;
use super::thread::{Progress, State, Thread, ThreadId, Woken};
use super::{Step, Stop};
use crate::abi::{StartThread, TABLE};
use crate::carrier::environment::Environment;
use crate::carrier::heap::{self, Heap};
use crate::carrier::image::{self, Image};
use crate::carrier::lend::{self, Birth};
use crate::carrier::lent::LentRef;
use crate::world::{Exit, HostId, HostState, OnExit, Program};
use libc::{EDEADLK, EINVAL, ESRCH, c_int, pthread_attr_t, pthread_t};
use std::cell::Cell;

/// Names a process.
pub(crate) type ProcessId = Id<Process>;

/// Stack of a program's main thread: the usual `RLIMIT_STACK`.
const MAIN_STACK_BYTES: usize = 8 << 20;
const SIGNALS: usize = 65;
/// The host `test`: its end is the world's.
pub(crate) const TEST: HostId = HostId(0);

/// How a program is to handle a signal.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Disposition {
    /// `SIG_DFL`, `SIG_IGN` or the handler's address.
    pub(crate) handler: usize,
    pub(crate) flags: c_int,
    pub(crate) mask: u64,
}

/// A running program.
pub(crate) struct Process {
    pub(crate) host: HostId,
    pub(crate) pid: i32,
    /// Its own copy of the executable; clients share the original.
    pub(crate) image: Option<Image>,
    /// What its `malloc` takes from: its image's heap.
    pub(crate) heap: Option<Heap>,
    pub(crate) main: Option<ThreadId>,
    pub(crate) threads: Vec<ThreadId>,
    pub(crate) next_tid: i32,
    pub(crate) table: TableId,
    pub(crate) limits: super::limits::Limits,
    /// While paused: threads that could run.
    pub(crate) held: Option<Vec<ThreadId>>,
    pub(crate) dispositions: [Disposition; SIGNALS],
    /// Signals directed at the process and not handled yet.
    pub(crate) signals: u64,
    pub(crate) environment: Environment,
    /// Handlers of `atexit` and `__cxa_atexit`: function, argument.
    pub(crate) at_exit: Vec<(usize, usize)>,
    pub(crate) args: Vec<String>,
    /// Where it stands in the tree of files.
    pub(crate) place: Place,
}

/// What a process begins with.
pub(crate) struct Start {
    pub(crate) image: Option<Image>,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) thread: StartThread,
}

impl Kernel {
    /// Starts the host `test`, which runs the world's main function in the original image.
    pub(crate) fn boot(&mut self, main: Box<dyn FnOnce()>) {
        let env = std::mem::take(&mut self.test_env);
        let started = self.add_host("test").and_then(|host| {
            let thread = StartThread::Client { run: main, ends_world: true };
            self.start_process(host, Start { image: None, args: vec!["test".to_owned()], env, thread })
        });
        if let Err(problem) = started {
            let at = self.position();
            self.sink.fatal(at, &problem);
            self.end(crate::world::Outcome::Deadlock);
        }
    }

    /// Starts a program on a host, in a fresh image.
    ///
    /// # Errors
    /// A sentence when the host is up already or resources are lacking.
    pub(crate) fn start_program(&mut self, host: HostId, program: Program) -> Result<(), String> {
        if !matches!(self.host_state(host), HostState::Down(_)) {
            return Err(format!("host {} is running already; stop, kill or crash it first", self.hosts[host].name));
        }
        let image = self.original.map().map_err(|e| format!("no memory for an image of the program (errno {e})"))?;
        image::register(self.original, image);
        let thread = StartThread::Program {
            constructors: self.original.constructors(&image),
            entry: image.translate(self.original, program.entry as usize),
            user: image.translate(self.original, program.user),
            payload: program.payload.clone(),
        };
        let (args, env) = (program.args.clone(), program.env.clone());
        self.hosts[host].program = Some(program);
        self.start_process(host, Start { image: Some(image), args, env, thread })
    }

    /// Runs a closure of the test's as a host's program, in the original image.
    ///
    /// # Errors
    /// As [`Kernel::start_program`].
    pub(crate) fn start_client(&mut self, host: HostId, run: Box<dyn FnOnce()>) -> Result<(), String> {
        if !matches!(self.host_state(host), HostState::Down(_)) {
            return Err(format!("client {} is running already", self.hosts[host].name));
        }
        let env = self.hosts[TEST].process.map(|p| self.processes[p].environment.pairs()).unwrap_or_default();
        let args = vec![self.hosts[host].name.clone()];
        let thread = StartThread::Client { run, ends_world: false };
        self.start_process(host, Start { image: None, args, env, thread })
    }

    fn start_process(&mut self, host: HostId, start: Start) -> Result<(), String> {
        self.hosts[host].starts += 1;
        self.hosts[host].dark = false;
        self.hosts[host].asked_to_stop = false;
        self.reseed_host(host);
        self.net_host_up(host);
        let pid = self.hosts[host].next_pid;
        self.hosts[host].next_pid += 1;
        let env = with_defaults(start.env);
        let limits = super::limits::Limits::of(&self.hosts[host].lacks.limits);
        let shared = if start.image.is_none() { self.hosts[TEST].process.filter(|_| host != TEST) } else { None };
        let table = match shared {
            Some(test) => self.processes[test].table,
            None => self.tables.insert(Descriptors::new(limits.descriptors())),
        };
        // Processes of the original image share what is in it, and so its heap, which is as old as the test.
        let test = self.hosts[TEST].process.filter(|_| start.image.is_none() && host != TEST);
        let heap = test.map_or_else(heap::create, |test| self.processes[test].heap);
        let process = self.processes.insert(Process {
            host,
            pid,
            image: start.image,
            heap,
            main: None,
            threads: Vec::new(),
            next_tid: pid,
            table,
            limits,
            held: None,
            dispositions: initial_dispositions(),
            signals: 0,
            environment: Environment::new(&start.args, &env),
            at_exit: Vec::new(),
            args: start.args,
            place: Place::new(&self.own, self.now, env),
        });
        self.hosts[host].process = Some(process);
        self.limit_memory(host);
        if shared.is_none() {
            self.open_console(process);
        }
        let attributes = lend::attributes_with_stack(MAIN_STACK_BYTES);
        let thread = self.new_thread(process, start.thread, Some(&attributes), 0);
        let thread = thread.map_err(|e| format!("no resources for a thread (errno {e})"))?;
        self.processes[process].main = Some(thread);
        self.note_host(host, 1, "started");
        Ok(())
    }

    /// Descriptors 0 to 2, as a service manager gives them.
    fn open_console(&mut self, process: ProcessId) {
        for (fd, kind) in [Kind::Null, Kind::Console(1), Kind::Console(2)].into_iter().enumerate() {
            let flags = if fd == 0 { libc::O_RDONLY | LARGE_FILE } else { libc::O_WRONLY };
            let file = self.new_file(process, kind, flags);
            self.files[file].references = 1;
            let table = self.processes[process].table;
            self.tables[table].put(fd, Descriptor { file, close_on_exec: false });
        }
    }

    /// Creates a thread; it is eligible at once.
    pub(crate) fn new_thread(
        &mut self,
        process: ProcessId,
        start: StartThread,
        attributes: Option<&pthread_attr_t>,
        signal_mask: u64,
    ) -> Result<ThreadId, c_int> {
        let detached = attributes.is_some_and(lend::is_detached);
        let priority = self.sched.new_priority();
        let p = &mut self.processes[process];
        let tid = p.next_tid;
        p.next_tid += 1;
        self.threads_created += 1;
        let serial = self.threads_created as u32;
        let id = self.threads.insert(Thread {
            lent: LentRef::new(std::ptr::null_mut()),
            process,
            table: self.processes[process].table,
            serial,
            tid,
            name: self.hosts[self.processes[process].host].name.clone(),
            state: State::Ready,
            priority,
            calls: 0,
            hushed: self.hosts[self.processes[process].host].hushed,
            pending: None,
            progress: Progress::NONE,
            waits: Vec::new(),
            resolved: Cell::new(None),
            timer: None,
            turn: None,
            detached,
            joiner: None,
            result: 0,
            signal_mask,
            signals: 0,
            saved_mask: None,
        });
        let thread_locals = self.processes[process].image.and_then(|image| self.original.thread_locals(&image));
        let start = start.into_raw();
        let birth = Birth {
            thread: id,
            tid: serial as i32,
            table: &TABLE,
            kernel_rsp: self.kernel_rsp,
            start,
            thread_locals,
            keys: self.keys.shared(),
            attributes,
            heap: self.processes[process].heap,
            code: self.processes[process].image.map_or_else(|| self.original.code(), |image| image.code()),
        };
        match lend::create(birth) {
            Ok(lent) => {
                let lent = LentRef::new(lent);
                self.threads[id].lent = lent;
                self.by_pthread.insert(lent.pthread(), id);
                self.processes[process].threads.push(id);
                self.show_clocks(id);
                self.record(serial, What::ThreadStart, i64::from(tid), 0);
                self.make_eligible(id);
                Ok(id)
            }
            Err(errno) => {
                StartThread::drop_raw(start);
                self.threads.remove(id);
                Err(errno)
            }
        }
    }

    /// pthread_create(3): the new thread inherits the creator's signal mask.
    pub(crate) fn spawn(
        &mut self,
        me: ThreadId,
        start: StartThread,
        attributes: Option<&pthread_attr_t>,
    ) -> Result<pthread_t, Stop> {
        let (process, mask) = (self.threads[me].process, self.threads[me].signal_mask);
        self.check_threads(process)?;
        let id = self.new_thread(process, start, attributes, mask)?;
        // pthread_setname_np(3): a new thread starts with its creator's name.
        self.threads[id].name = self.threads[me].name.clone();
        Ok(self.threads[id].lent.pthread())
    }

    /// The end of a thread's own code.
    pub(crate) fn thread_exit(&mut self, me: ThreadId, result: usize) -> Step {
        self.forget_waits(me);
        let process = self.threads[me].process;
        self.threads[me].result = result;
        self.threads[me].pending = None;
        let lives = |id: &ThreadId| self.threads[*id].state != State::Zombie;
        if !self.processes[process].threads.iter().any(|id| *id != me && lives(id)) {
            // pthread_exit(3): the last thread's end is the process's, with status 0.
            return self.exit_process(me, 0);
        }
        if self.threads[me].detached {
            self.remove_thread(me);
        } else {
            self.threads[me].state = State::Zombie;
            if let Some(joiner) = self.threads[me].joiner {
                self.wake(joiner, Woken::Event);
            }
        }
        self.never()
    }

    fn remove_thread(&mut self, id: ThreadId) {
        self.unpin(id);
        let Some(thread) = self.threads.remove(id) else { return };
        self.note_wall_reads(&thread);
        for key in [thread.timer, thread.turn].into_iter().flatten() {
            self.timers.cancel(key);
        }
        self.by_pthread.remove(&thread.lent.pthread());
        if let Some(process) = self.processes.get_mut(thread.process) {
            process.threads.retain(|t| *t != id);
            if let Some(held) = &mut process.held {
                held.retain(|t| *t != id);
            }
        }
        self.dead_threads.push(thread.lent);
    }

    /// The image that a thread runs in, by its address.
    pub(crate) fn image_of(&self, thread: ThreadId) -> super::keys::Owner {
        self.processes[self.threads[thread].process].image.map(|image| image.base)
    }

    /// The thread of this process behind a `pthread_t`.
    pub(crate) fn by_pthread(&self, pthread: pthread_t) -> Result<ThreadId, Stop> {
        self.by_pthread.get(&pthread).copied().ok_or(Stop::Errno(ESRCH))
    }

    /// pthread_join(3), pthread_tryjoin_np(3), pthread_timedjoin_np(3).
    pub(crate) fn join(
        &mut self,
        me: ThreadId,
        pthread: pthread_t,
        result: &mut usize,
        wait: bool,
        until: Option<u64>,
    ) -> Step {
        let target = self.by_pthread(pthread)?;
        if target == me {
            return Err(Stop::Errno(EDEADLK));
        }
        self.deadline(me, until);
        let thread = &mut self.threads[target];
        if thread.detached || thread.joiner.is_some_and(|joiner| joiner != me) {
            return Err(Stop::Errno(EINVAL));
        }
        if thread.state == State::Zombie {
            *result = thread.result;
            self.remove_thread(target);
            return Ok(0);
        }
        if !wait {
            return Err(Stop::Errno(libc::EBUSY));
        }
        if self.expired(me) {
            self.threads[target].joiner = None;
            return Err(Stop::Errno(libc::ETIMEDOUT));
        }
        self.threads[target].joiner = Some(me);
        self.threads[me].waits.push(super::thread::WaitsOn::Thread(target));
        Err(Stop::Block)
    }

    /// pthread_detach(3).
    pub(crate) fn detach(&mut self, pthread: pthread_t) -> Step {
        let target = self.by_pthread(pthread)?;
        let thread = &mut self.threads[target];
        if thread.detached {
            return Err(Stop::Errno(EINVAL));
        }
        thread.detached = true;
        if thread.state == State::Zombie {
            self.remove_thread(target);
        }
        Ok(0)
    }

    /// `_exit(2)`: ends the calling process.
    pub(crate) fn exit_process(&mut self, me: ThreadId, code: i32) -> Step {
        self.exit_by_itself(self.threads[me].process, Exit::Code(code & 0xff));
        self.never()
    }

    /// A process ends without anybody having asked for it.
    pub(crate) fn exit_by_itself(&mut self, process: ProcessId, exit: Exit) {
        let host = self.processes[process].host;
        let client = self.processes[process].image.is_none();
        if client && host != TEST && exit == Exit::Code(0) {
            self.leave_open(process);
        }
        self.end_process(process, exit);
        if host == TEST {
            let host = self.hosts[host].name.clone();
            return self.end(crate::world::Outcome::HostFailed { host, exit });
        }
        if client && exit == Exit::Code(0) {
            return; // a client that is done is done
        }
        if client {
            self.hosts[host].program = None;
        }
        let stop_asked = self.hosts[host].program.as_ref().is_some_and(|p| p.on_exit == OnExit::Fail)
            && self.asked_to_stop(host)
            && matches!(exit, Exit::Code(0) | Exit::Signal(libc::SIGTERM));
        if stop_asked {
            let text = format!("stopped ({exit:?})");
            self.note_host(host, 2, &text);
            return;
        }
        self.process_ended_by_itself(host, exit);
    }

    /// Removes a process: its threads never run again, its files are closed, its image is unmapped.
    pub(crate) fn end_process(&mut self, id: ProcessId, exit: Exit) {
        let Some(process) = self.processes.get(id) else { return };
        let (host, image, pid) = (process.host, process.image, process.pid);
        let heap = process.heap.filter(|_| image.is_some());
        self.record(0, What::ProcessEnd, i64::from(pid), u64::from(host.0));
        for thread in self.processes[id].threads.clone() {
            self.forget_waits(thread);
            let t = &self.threads[thread];
            if t.state == State::Ready && t.turn.is_none() && self.processes[id].held.is_none() {
                self.sched.remove(thread, t.priority);
            }
            self.remove_thread(thread);
        }
        self.leave_files(id);
        self.close_all(id);
        if let Some(image) = image {
            self.keys.forget(Some(image.base));
        }
        self.processes.remove(id);
        if self.environ_of == Some(id) {
            self.environ_of = None;
        }
        self.hosts[host].process = None;
        self.hosts[host].last_exit = Some(exit);
        self.dead_images.extend(image);
        self.dead_heaps.extend(heap);
    }

    /// What a client has opened is the test's when it is done: clients share what the test has, and the test what they
    /// have given to it or put into a static.
    fn leave_open(&mut self, client: ProcessId) {
        let (table, Some(test)) = (self.processes[client].table, self.hosts[TEST].process) else { return };
        for fd in self.tables[table].open() {
            let file = self.tables[table].get(fd).and_then(|descriptor| self.files.get_mut(descriptor.file));
            file.filter(|file| file.owner == client).into_iter().for_each(|file| file.owner = test);
        }
    }

    /// Closes what a process has open: its table, or of a shared one what it opened itself.
    fn close_all(&mut self, id: ProcessId) {
        let table = self.processes[id].table;
        let shared = self.processes[id].image.is_none() && self.processes[id].host != TEST;
        for fd in self.tables[table].open().collect::<Vec<_>>() {
            let file = self.tables[table].get(fd).map(|descriptor| descriptor.file);
            if !shared || file.is_some_and(|file| self.files[file].owner == id) {
                self.tables[table].take(fd);
                file.inspect(|file| self.release_file(*file));
            }
        }
        if !shared {
            self.tables.remove(table);
        }
    }

    /// Makes libc's `environ` the process's own.
    pub(crate) fn swap_environment(&mut self, process: ProcessId) {
        if let Some(old) = self.environ_of.and_then(|old| self.processes.get_mut(old)) {
            old.environment.leave();
        }
        self.processes[process].environment.enter();
        self.environ_of = Some(process);
    }

    /// Tells a thread its host's clocks.
    pub(crate) fn show_clocks(&mut self, id: ThreadId) {
        let host = &self.hosts[self.processes[self.threads[id].process].host];
        self.threads[id].lent.set_clocks(host.wall.adds(self.now), host.beat.adds(self.now));
    }
}

/// Variables that every program has unless its own environment says otherwise: without them something of the machine
/// outside would show.
const UNLESS_SET: [(&str, &str); 2] = [
    // Hosts live in UTC. A zone without a name of a file, so that libc reads none.
    ("TZ", "UTC0"),
    // aws-lc, OpenSSL: use no RDRAND, which gives each process other bytes (bit 62 of the first capability word,
    // OPENSSL_ia32cap(3)). Each image looks anew, in its own environment.
    ("OPENSSL_ia32cap", "~0x4000000000000000"),
];

fn with_defaults(mut env: Vec<(String, String)>) -> Vec<(String, String)> {
    for (name, value) in UNLESS_SET {
        if !env.iter().any(|(key, _)| key == name) {
            env.push((name.to_owned(), value.to_owned()));
        }
    }
    env
}

/// `O_LARGEFILE`, which open(2) sets by itself on 64-bit machines and `F_GETFL` shows; libc defines it as 0 there.
const LARGE_FILE: c_int = 0o100_000;

/// Dispositions of a fresh Rust program: `SIGPIPE` is ignored by std's start-up, which images do not run.
fn initial_dispositions() -> [Disposition; SIGNALS] {
    let mut dispositions = [Disposition::default(); SIGNALS];
    dispositions[libc::SIGPIPE as usize] =
        Disposition { handler: libc::SIG_IGN, flags: libc::SA_RESTART, mask: super::signal::bit(libc::SIGPIPE) };
    dispositions
}

impl Thread {
    /// Whether it has run at all: otherwise its stack holds nothing to report.
    pub(crate) fn started(&self) -> bool {
        self.calls > 0 || self.pending.is_some()
    }
}
