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

/// Waits for the end of a child: its exit code, or 128 and the signal's number.
///
/// # Errors
/// It is no child of this process.
pub fn wait(pid: u32) -> io::Result<i32> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is valid for writes.
        let waited = unsafe { libc::waitpid(pid.cast_signed(), &raw mut status, 0) };
        if waited >= 0 {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) })
}

/// Ends the process at once: no destructors, no handlers.
pub fn end_now(code: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}
