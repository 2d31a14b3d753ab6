//! One worker: started with a fixed layout, given orders, watched.

use super::environment::arguments;
use crate::blackbox::{BlackBox, Finding, Orders, Verdict};
use crate::definition::{TestDefinition, World};
use crate::system::{self, End, ExecPlan, Executed};
use crate::worker::Role;
use crate::worker::protocol::{ANSWERS_FD, BLACKBOX_FD, EXECUTABLE_FD, MESSAGE_BYTES, Message, ORDERS_FD};
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read as _, Seek as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};
use thiserror::Error;
use windtunnel_sim::worker::DUMP_SIGNAL;

/// How long a case that is asked where it stands may take to answer.
const DUMP_TIME: Duration = Duration::from_secs(5);
/// How often what hosts write is looked at while a case runs.
const LIVE_INTERVAL: Duration = Duration::from_millis(20);
/// How long a worker may take to become ready, or to fork. It executes and relocates a binary: milliseconds.
const START_TIME: Duration = Duration::from_secs(60);
/// How long it may take to say that a case that was killed has ended. It does nothing but wait for that.
const KILL_TIME: Duration = Duration::from_secs(10);

/// There is no worker, or no longer.
#[derive(Debug, Error)]
pub(crate) enum WorkerError {
    #[error("failed to {what}: {source}")]
    Io { what: &'static str, source: io::Error },
    #[error("failed to execute the test binary again: {source}")]
    NotExecuted { source: io::Error },
    #[error("the worker ended{}", words(.last_words))]
    Died { last_words: String },
    #[error("{reason}")]
    Unfit { reason: String },
    #[error("the worker does not answer, as if it were stopped")]
    Silent,
    #[error("failed to fork a process for the case: {source}")]
    NotForked { source: io::Error },
}

impl WorkerError {
    /// A worker could not be started; its own error went with its thread.
    pub(super) fn none() -> Self {
        Self::Unfit { reason: "a further worker could not be started; run with CHAOS_JOBS=1".to_owned() }
    }
}

fn words(last_words: &str) -> String {
    match last_words.trim() {
        "" => " without a word".to_owned(),
        words => format!(", saying:\n{words}"),
    }
}

/// How a case's process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProcessEnd {
    pub(super) end: End,
    /// It was ended by us because it took too long.
    pub(super) timed_out: bool,
    /// What was written past the simulation: libc's own messages.
    pub(super) last_words: String,
}

/// A worker.
pub(super) struct Worker {
    /// Kills it when dropped; its own child dies with it.
    _process: Executed,
    blackbox: BlackBox,
    orders: PipeWriter,
    answers: PipeReader,
    words: File,
}

impl Worker {
    /// Starts a worker for a test and waits until it is ready.
    pub(super) fn start(definition: &TestDefinition) -> Result<Self, WorkerError> {
        let failed = |what: &'static str| move |source: io::Error| WorkerError::Io { what, source };
        let (blackbox, blackbox_file) = BlackBox::create().map_err(failed("make the flight recorder"))?;
        let (orders_there, orders) = io::pipe().map_err(failed("make a pipe"))?;
        let (answers, answers_there) = io::pipe().map_err(failed("make a pipe"))?;
        let words = system::unnamed_file(c"windtunnel-words").map_err(failed("make a file for last words"))?;
        let nothing = File::open("/dev/null").map_err(failed("open /dev/null"))?;
        let role = match definition.world {
            World::Sim => Role::Worker,
            World::Real => Role::Real,
        };
        let arguments = arguments(definition.name(), role).map_err(|error| failed("name the test")(error.into()))?;
        let fds = vec![
            (nothing.as_raw_fd(), 0),
            (words.as_raw_fd(), 1),
            (words.as_raw_fd(), 2),
            (blackbox_file.as_raw_fd(), BLACKBOX_FD),
            (orders_there.as_raw_fd(), ORDERS_FD),
            (answers_there.as_raw_fd(), ANSWERS_FD),
        ];
        let plan = ExecPlan::new(arguments, fds, EXECUTABLE_FD, blackbox.progress().refusals());
        let process = plan.map_err(failed("open the test binary"))?.spawn().map_err(failed("fork"))?;
        let mut worker = Self { _process: process, blackbox, orders, answers, words };
        drop((orders_there, answers_there));
        worker.wait_ready()?;
        Ok(worker)
    }

    fn wait_ready(&mut self) -> Result<(), WorkerError> {
        match self.message(Instant::now() + START_TIME) {
            Ok(Some(Message::Ready)) => Ok(()),
            Ok(Some(Message::Unfit)) => {
                let reason = self.blackbox.findings().read().into_iter().find_map(|finding| match finding {
                    Finding::Verdict(Verdict::Impossible(reason)) => Some(reason.into_owned()),
                    _ => None,
                });
                Err(WorkerError::Unfit { reason: reason.unwrap_or_else(|| "it does not say why".to_owned()) })
            }
            Ok(_) | Err(_) => Err(self.death()),
        }
    }

    /// Why there is no answer.
    fn death(&mut self) -> WorkerError {
        match self.blackbox.progress().execution_refusal() {
            Some(source) => WorkerError::NotExecuted { source },
            None => WorkerError::Died { last_words: self.take_words() },
        }
    }

    /// What the worker writes into.
    pub(super) fn blackbox(&self) -> &BlackBox {
        &self.blackbox
    }

    /// Why the kernel refused to fix addresses, if it did.
    pub(super) fn layout_refusal(&self) -> Option<String> {
        self.blackbox.progress().layout_refusal().map(|error| error.to_string())
    }

    /// Runs one case to the end of its process. `look` is called now and then while it runs, when there is one.
    pub(super) fn run(
        &mut self,
        orders: &Orders,
        wall_timeout: Duration,
        mut look: Option<&mut dyn FnMut(&BlackBox)>,
    ) -> Result<ProcessEnd, WorkerError> {
        self.blackbox.prepare(orders);
        self.take_words();
        if self.orders.write_all(&[0]).is_err() {
            return Err(self.death());
        }
        let deadline = Instant::now() + wall_timeout;
        let pid = match self.message(Instant::now() + START_TIME)? {
            Some(Message::Started(pid)) => pid,
            None => return Err(WorkerError::Silent),
            Some(Message::NotForked(errno)) => {
                return Err(WorkerError::NotForked { source: io::Error::from_raw_os_error(errno) });
            }
            _ => return Err(self.death()),
        };
        loop {
            let until = match look.as_mut() {
                Some(look) => {
                    look(&self.blackbox);
                    deadline.min(Instant::now() + LIVE_INTERVAL)
                }
                None => deadline,
            };
            if let Some(message) = self.message(until)? {
                return self.ended(message, false);
            }
            if Instant::now() >= deadline {
                let message = self.end(pid)?;
                return self.ended(message, true);
            }
        }
    }

    fn ended(&mut self, message: Message, timed_out: bool) -> Result<ProcessEnd, WorkerError> {
        match message {
            Message::Ended(end) => Ok(ProcessEnd { end, timed_out, last_words: self.take_words() }),
            _ => Err(self.death()),
        }
    }

    /// Asks a case where it stands, and ends it.
    fn end(&mut self, pid: libc::pid_t) -> Result<Message, WorkerError> {
        // The pid is the case's: the worker does not give it back before the next orders.
        system::signal(pid, DUMP_SIGNAL);
        if let Some(message) = self.message(Instant::now() + DUMP_TIME)? {
            return Ok(message);
        }
        system::signal(pid, libc::SIGKILL);
        self.message(Instant::now() + KILL_TIME)?.ok_or(WorkerError::Silent)
    }

    /// The worker's next answer, or nothing when the time is over.
    fn message(&mut self, until: Instant) -> Result<Option<Message>, WorkerError> {
        let failed = |source| WorkerError::Io { what: "wait for the worker", source };
        if !system::readable(&self.answers, until).map_err(failed)? {
            return Ok(None);
        }
        let mut bytes = [0; MESSAGE_BYTES];
        match self.answers.read_exact(&mut bytes) {
            Ok(()) => Message::from_bytes(bytes).map(Some).ok_or_else(|| self.death()),
            Err(_) => Err(self.death()),
        }
    }

    /// What was written past the simulation since this was last asked. What cannot be read is no loss.
    fn take_words(&mut self) -> String {
        let mut bytes = Vec::new();
        let read = self.words.rewind().and_then(|()| (&self.words).take(64 << 10).read_to_end(&mut bytes));
        if read.is_ok() {
            // The worker shares the offset.
            let _: io::Result<()> = self.words.set_len(0).and_then(|()| self.words.rewind());
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
