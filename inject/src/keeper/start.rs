//! What a host's program is started with, and the handle on it.

use super::disks::DiskOrder;
use super::protocol::{self, Answer, Order};
use crate::error::{Error, Result};
use crate::lock::lock;
use crate::step::reached;
use crate::sys::End;
use crate::target::Process;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// What a host executes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Program {
    /// The executable that the keeper runs itself.
    This,
    /// A program, searched for in `PATH` unless it has a slash.
    Command(String),
}

/// How a program begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Begins {
    /// At once.
    #[default]
    AtOnce,
    /// When it is let go on (SIGCONT): it is stopped before its first instruction, so that it can be changed before it
    /// does anything. That takes ptrace(2).
    Stopped,
}

/// What a host's program is started with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The host's name, for uname(2).
    pub host: String,
    /// What is executed.
    pub program: Program,
    /// `argv`, the program's name first.
    pub args: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Directories of cgroups that the program is put into.
    pub cgroups: Vec<PathBuf>,
    /// Files whose content is another on this host, by path: `/etc/resolv.conf`…
    pub files: Vec<(PathBuf, String)>,
    /// `RLIMIT_NOFILE`. If not said, 1,048,576, as services have on current distributions, or what this user may have.
    pub descriptors: Option<u64>,
    /// How it begins.
    pub begins: Begins,
}

/// Descriptors that a program is started with.
#[derive(Debug, Clone, Copy)]
pub struct StartFds<'a> {
    /// The network namespace that it is in.
    pub network: BorrowedFd<'a>,
    /// Its standard output.
    pub output: BorrowedFd<'a>,
    /// Its standard error.
    pub error_output: BorrowedFd<'a>,
    /// Its descriptors from 3 on.
    pub more: &'a [BorrowedFd<'a>],
}

/// What a host's first process says of the program.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// It runs; its pidfd comes along. Waits until that has been taken over.
    Started,
    /// It could not be executed.
    Failed(String),
    /// It has ended so, and nothing of the host is left.
    Ended(End),
}

/// Starts hosts' programs. Any thread may.
#[derive(Debug)]
pub struct Keeper {
    socket: Mutex<OwnedFd>,
}

impl Keeper {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket: Mutex::new(socket) }
    }

    /// Has something be done, and waits for the answer; `refused` says what it means if it is a reason why not.
    fn order(&self, order: &Order, fds: &[BorrowedFd<'_>], refused: impl FnOnce(String) -> Error) -> Result<Answer> {
        let socket = lock(&self.socket);
        protocol::send(&*socket, order, fds)?;
        match protocol::receive(&*socket)? {
            Some((Answer::Refused(reason), _)) => Err(refused(reason)),
            Some((answer, _)) => Ok(answer),
            None => Err(Error::gone("talk to the keeper")),
        }
    }

    pub(super) fn order_disk(&self, order: DiskOrder) -> Result<Answer> {
        self.order(&Order::Disk(order), &[], |reason| {
            Error::os("do something to a host's disk", std::io::Error::other(reason))
        })
    }

    /// Starts a program in namespaces of its own, on the disk that was [made](Self::make_disk) for its host.
    ///
    /// # Errors
    /// There is no disk. It could not be executed, or a namespace, mount or cgroup could not be had.
    pub fn start(&self, start: &Start, fds: StartFds<'_>) -> Result<Child> {
        let (reports, theirs) = protocol::pair()?;
        let own = [fds.network, fds.output, fds.error_output, theirs.as_fd()];
        let order = Order::Start(start.clone());
        reached("a host is to be ordered");
        match self.order(&order, &[&own, fds.more].concat(), |reason| refused(start, reason))? {
            Answer::Started => {}
            other => return Err(other.unexpected()),
        }
        drop(theirs);
        reached("a host is ordered");
        match protocol::receive(&reports)? {
            Some((Report::Started, fds)) => match fds.into_iter().next() {
                Some(handle) => {
                    let pid = pid_of(&handle)?;
                    protocol::send(&reports, &(), &[])?;
                    Ok(Child { process: Process { pid, handle: Arc::new(handle) }, reports })
                }
                None => Err(Error::gone("take over the program's pidfd")),
            },
            Some((Report::Failed(reason), _)) => Err(refused(start, reason)),
            Some((Report::Ended(end), _)) => Err(refused(start, format!("it ended at once ({end:?})"))),
            None => Err(refused(start, "its first process ended without a word".to_owned())),
        }
    }
}

fn refused(start: &Start, reason: String) -> Error {
    Error::os(
        format!("start {} on {}", start.args.first().map_or("a program", String::as_str), start.host),
        std::io::Error::other(reason),
    )
}

/// The number that the process behind a pidfd has in this PID namespace (`/proc/PID/fdinfo`, proc(5)).
fn pid_of(handle: &OwnedFd) -> Result<u32> {
    use std::os::fd::AsRawFd as _;
    let path = format!("/proc/self/fdinfo/{}", handle.as_raw_fd());
    let text = std::fs::read_to_string(&path).map_err(|error| Error::os(format!("read {path}"), error))?;
    let pid = text.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok());
    pid.ok_or_else(|| Error::gone("find the program's process id"))
}

/// A program that was started. Dropping it changes nothing.
#[derive(Debug)]
pub struct Child {
    process: Process,
    reports: OwnedFd,
}

impl Child {
    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Becomes readable when it ends: for poll(2).
    pub fn reports(&self) -> BorrowedFd<'_> {
        self.reports.as_fd()
    }

    /// Sends a signal to it.
    ///
    /// # Errors
    /// As [`Process::signal`].
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Waits for its end, and that of whatever it has left on its host. SIGKILL when its whole host was ended.
    ///
    /// # Errors
    /// The report cannot be read.
    pub fn wait(&self) -> Result<End> {
        loop {
            match protocol::receive(&self.reports)? {
                Some((Report::Ended(end), _)) => return Ok(end),
                Some(_) => {}
                None => return Ok(End::Signal(libc::SIGKILL)),
            }
        }
    }
}
