//! Processes made by fork(2), which run this program on.

use std::io;

/// Which side of a fork this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forked {
    /// The new process, which has this thread only.
    Child,
    /// The old one; the child's process id.
    Parent(u32),
}

/// Forks. The child is killed when the calling thread ends.
///
/// With other threads about, the child must not use what these may have locked: in a process of Rust's, the standard
/// output and its relatives. Memory may be allocated (glibc sees to that).
///
/// # Errors
/// As fork(2).
pub fn fork() -> io::Result<Forked> {
    // SAFETY: the child goes on with this thread's stack, of which it has a copy. What it must not do is said above.
    unsafe {
        let parent = libc::getpid();
        match libc::fork() {
            0 => {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                // In a new PID namespace the parent is out of sight, and numbered 0.
                let now = libc::getppid();
                if now != parent && now != 0 {
                    libc::_exit(1); // it ended before the line above
                }
                Ok(Forked::Child)
            }
            pid if pid > 0 => Ok(Forked::Parent(pid.unsigned_abs())),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum End {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl End {
    /// As a shell tells it: the code, or 128 and the signal's number.
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

/// Waits for the end of a child.
///
/// # Errors
/// It is no child of this process.
pub fn wait(pid: u32) -> io::Result<End> {
    loop {
        match wait_for(pid.cast_signed(), 0) {
            Ok(Some((_, end))) => return Ok(end),
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A child that has ended, if there is one; waits for the next if `block`.
///
/// # Errors
/// There are no children (`ECHILD`), or a signal came.
pub fn wait_any(block: bool) -> io::Result<Option<(u32, End)>> {
    wait_for(-1, if block { 0 } else { libc::WNOHANG })
}

fn wait_for(pid: libc::pid_t, options: libc::c_int) -> io::Result<Option<(u32, End)>> {
    let mut status = 0;
    // SAFETY: `status` is valid for writes.
    match unsafe { libc::waitpid(pid, &raw mut status, options) } {
        0 => Ok(None),
        pid if pid > 0 => {
            let end = if libc::WIFEXITED(status) {
                End::Code(libc::WEXITSTATUS(status))
            } else {
                End::Signal(libc::WTERMSIG(status))
            };
            Ok(Some((pid.unsigned_abs(), end)))
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sends SIGKILL to every other process of this PID namespace, whose first process this is (kill(2)).
///
/// # Errors
/// This is not the first process of a namespace, for which that would be everybody: `EPERM`.
pub fn kill_all_others() -> io::Result<()> {
    if std::process::id() != 1 {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    // SAFETY: takes no memory.
    match unsafe { libc::kill(-1, libc::SIGKILL) } {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            nobody if nobody.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            error => Err(error),
        },
    }
}

/// Ends the process at once: no destructors, no handlers.
pub fn end_now(code: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}
