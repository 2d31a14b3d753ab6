//! One worker: started with a fixed layout, given orders, watched.

use super::environment::Arguments;
use super::exec::Plan;
use crate::blackbox::{BlackBox, Finding, Orders, Refusal, Verdict};
use crate::worker::Role;
use crate::worker::protocol::{ANSWERS_FD, BLACKBOX_FD, MESSAGE_BYTES, Message, ORDERS_FD};
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read as _, Seek as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::time::{Duration, Instant};
use thiserror::Error;
use windtunnel_sim::worker::DUMP_SIGNAL;

/// How long a case that is asked where it stands may take to answer.
const DUMP_TIME: Duration = Duration::from_secs(5);
/// How often what hosts write is looked at while a case runs.
const LIVE_INTERVAL: Duration = Duration::from_millis(20);
/// How long a worker may take to become ready. It executes and relocates a binary: milliseconds.
const START_TIME: Duration = Duration::from_secs(60);

/// There is no worker, or no longer.
#[derive(Debug, Error)]
pub(crate) enum WorkerError {
    #[error("failed to {what}: {source}")]
    Io {
        what: &'static str,
        source: io::Error,
    },
    #[error("failed to execute the test binary again: {source}")]
    NotExecuted { source: io::Error },
    #[error("the worker ended{}", words(.last_words))]
    Died { last_words: String },
    #[error("{reason}")]
    Unfit { reason: String },
    #[error("failed to fork a process for the case: {source}")]
    NotForked { source: io::Error },
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
    /// [`Message::Exited`] or [`Message::Killed`].
    pub(super) message: Message,
    /// It was ended by us because it took too long.
    pub(super) timed_out: bool,
    /// What was written past the simulation: libc's own messages.
    pub(super) last_words: String,
}

/// A worker.
pub(super) struct Worker {
    pid: libc::pid_t,
    blackbox: BlackBox,
    orders: PipeWriter,
    answers: PipeReader,
    words: File,
}

impl Worker {
    /// Starts a worker for a test and waits until it is ready.
    pub(super) fn start(test: &str) -> Result<Self, WorkerError> {
        let failed = |what: &'static str| move |source: io::Error| WorkerError::Io { what, source };
        let (blackbox, blackbox_fd) =
            BlackBox::create().map_err(failed("make the flight recorder"))?;
        let (orders_there, orders) = io::pipe().map_err(failed("make a pipe"))?;
        let (answers, answers_there) = io::pipe().map_err(failed("make a pipe"))?;
        let words = words_file().map_err(failed("make a file for last words"))?;
        let nothing = File::open("/dev/null").map_err(failed("open /dev/null"))?;
        let arguments = Arguments::new(test, Role::Worker)
            .map_err(|error| failed("name the test")(error.into()))?;
        let fds = vec![
            (nothing.as_raw_fd(), 0),
            (words.as_raw_fd(), 1),
            (words.as_raw_fd(), 2),
            (blackbox_fd.as_raw_fd(), BLACKBOX_FD),
            (orders_there.as_raw_fd(), ORDERS_FD),
            (answers_there.as_raw_fd(), ANSWERS_FD),
        ];
        // SAFETY: no pointers.
        let parent = unsafe { libc::getpid() };
        let plan = Plan::new(arguments, fds, Some(parent), blackbox.progress())
            .map_err(failed("open the test binary"))?;
        // SAFETY: the child only makes calls that are allowed after a fork of a process with threads.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            plan.execute();
            // SAFETY: ends the child.
            unsafe { libc::_exit(127) };
        }
        drop(plan);
        if pid < 0 {
            return Err(failed("fork")(io::Error::last_os_error()));
        }
        let mut worker = Self {
            pid,
            blackbox,
            orders,
            answers,
            words,
        };
        drop((orders_there, answers_there));
        worker.wait_ready()?;
        Ok(worker)
    }

    fn wait_ready(&mut self) -> Result<(), WorkerError> {
        match self.message(Some(Instant::now() + START_TIME)) {
            Ok(Some(Message::Ready)) => Ok(()),
            Ok(Some(Message::Unfit)) => {
                let reason = self
                    .blackbox
                    .findings()
                    .read()
                    .into_iter()
                    .find_map(|finding| match finding {
                        Finding::Verdict(Verdict::Impossible(reason)) => Some(reason.into_owned()),
                        _ => None,
                    });
                Err(WorkerError::Unfit {
                    reason: reason.unwrap_or_else(|| "it does not say why".to_owned()),
                })
            }
            Ok(_) | Err(_) => Err(self.death()),
        }
    }

    /// Why there is no answer.
    fn death(&mut self) -> WorkerError {
        match self.blackbox.progress().refusal(Refusal::Execution) {
            Some(errno) => WorkerError::NotExecuted {
                source: io::Error::from_raw_os_error(errno),
            },
            None => WorkerError::Died {
                last_words: self.take_words(),
            },
        }
    }

    /// What the worker writes into.
    pub(super) fn blackbox(&self) -> &BlackBox {
        &self.blackbox
    }

    /// The errno with which the kernel refused to fix addresses, if it did.
    pub(super) fn layout_refusal(&self) -> Option<i32> {
        self.blackbox.progress().refusal(Refusal::Layout)
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
        let pid = match self.message(None)? {
            Some(Message::Started(pid)) => pid,
            Some(Message::NotForked(errno)) => {
                return Err(WorkerError::NotForked {
                    source: io::Error::from_raw_os_error(errno),
                });
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
            if let Some(message) = self.message(Some(until))? {
                return Ok(ProcessEnd {
                    message,
                    timed_out: false,
                    last_words: self.take_words(),
                });
            }
            if Instant::now() >= deadline {
                let message = self.end(pid)?;
                return Ok(ProcessEnd {
                    message,
                    timed_out: true,
                    last_words: self.take_words(),
                });
            }
        }
    }

    /// Asks a case where it stands, and ends it.
    fn end(&mut self, pid: libc::pid_t) -> Result<Message, WorkerError> {
        // SAFETY: the pid is the case's: the worker does not give it back before the next orders.
        unsafe { libc::kill(pid, DUMP_SIGNAL) };
        if let Some(message) = self.message(Some(Instant::now() + DUMP_TIME))? {
            return Ok(message);
        }
        // SAFETY: as above.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        self.message(None)?.ok_or_else(|| self.death())
    }

    /// The worker's next answer, or nothing when the time is over.
    fn message(&mut self, until: Option<Instant>) -> Result<Option<Message>, WorkerError> {
        if let Some(until) = until
            && !self.readable(until)?
        {
            return Ok(None);
        }
        let mut bytes = [0; MESSAGE_BYTES];
        match self.answers.read_exact(&mut bytes) {
            Ok(()) => Message::from_bytes(bytes)
                .map(Some)
                .ok_or_else(|| self.death()),
            Err(_) => Err(self.death()),
        }
    }

    fn readable(&self, until: Instant) -> Result<bool, WorkerError> {
        let mut poll = libc::pollfd {
            fd: self.answers.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        loop {
            let left = until.saturating_duration_since(Instant::now());
            // Rounded up, so that a poll does not end before its time again and again.
            let milliseconds = i32::try_from(left.as_millis() + 1).unwrap_or(i32::MAX);
            // SAFETY: one valid `pollfd`.
            match unsafe { libc::poll(&raw mut poll, 1, milliseconds) } {
                0 if Instant::now() >= until => return Ok(false),
                0 => {}
                1.. => return Ok(true),
                _ => {
                    let source = io::Error::last_os_error();
                    if source.kind() != io::ErrorKind::Interrupted {
                        return Err(WorkerError::Io {
                            what: "wait for the worker",
                            source,
                        });
                    }
                }
            }
        }
    }

    /// What was written past the simulation since this was last asked. What cannot be read is no loss.
    fn take_words(&mut self) -> String {
        let mut bytes = Vec::new();
        let read = self
            .words
            .rewind()
            .and_then(|()| (&self.words).take(64 << 10).read_to_end(&mut bytes));
        if read.is_ok() {
            // The worker shares the offset.
            let _: io::Result<()> = self.words.set_len(0).and_then(|()| self.words.rewind());
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // SAFETY: our child, which nobody else waits for. Its own child dies with it.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, std::ptr::null_mut(), 0);
        }
    }
}

/// A file without a name, for what a worker writes to its genuine standard output and error: loader errors, libc's last
/// words before an abort.
fn words_file() -> io::Result<File> {
    // SAFETY: a new descriptor, owned by nobody else.
    unsafe {
        let fd = libc::memfd_create(c"windtunnel-words".as_ptr(), libc::MFD_CLOEXEC);
        if fd < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(File::from_raw_fd(fd))
        }
    }
}
