//! Processes that live on when the one that made them does not.

use crate::step::reached;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs this in a process of its own that is nobody's child here and in a session of its own, so that neither the death
/// of the caller nor a signal to its process group ends it. (The end of its PID namespace does.)
///
/// The same holds for what it may touch as for [`fork`](super::fork).
///
/// # Errors
/// As fork(2).
pub fn fork_orphan(work: impl FnOnce()) -> io::Result<()> {
    // SAFETY: both children go on with a copy of this thread's stack and never return from here. What they must not
    // touch is said above.
    let child = unsafe {
        match libc::fork() {
            0 => {
                // Should somebody stop this one and the caller end, it would stay. Its own child forgets this.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                // The session comes before the second fork: a signal to the caller's group never meets the orphan.
                libc::setsid();
                reached("go-between begun");
                match libc::fork() {
                    0 => libc::_exit(i32::from(catch_unwind(AssertUnwindSafe(work)).is_err())),
                    orphan => libc::_exit(i32::from(orphan < 0)),
                }
            }
            child => child,
        }
    };
    if child < 0 {
        return Err(io::Error::last_os_error());
    }
    match super::wait(child.unsigned_abs()) {
        // ECHILD: the program ignores SIGCHLD, so that children are never waited for (wait(2), NOTES).
        Ok(super::End::Code(0)) => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Ok(()),
        Ok(_) => Err(io::Error::from_raw_os_error(libc::EAGAIN)),
        Err(error) => Err(error),
    }
}

/// For a process that has just been forked: closes all descriptors but these, has nothing for standard input and
/// output, and lets no signal but SIGKILL and SIGSTOP disturb it.
///
/// Whoever keeps an inherited pipe open keeps its reader waiting: cargo and nextest read a test's output to its end.
pub fn stand_alone(keep: &[BorrowedFd<'_>]) {
    let mut keep: Vec<u32> = keep.iter().map(|fd| fd.as_raw_fd().unsigned_abs()).collect();
    keep.sort_unstable();
    // SAFETY: the caller is the only thread of a forked process and uses no descriptor but those it keeps; nothing it
    // inherited will be dropped, since it ends by _exit(2). `set` is valid for reads and writes.
    unsafe {
        let nothing = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
        for standard in 0..3 {
            libc::dup2(nothing, standard);
        }
        let mut from = 3;
        for fd in keep.into_iter().filter(|&fd| fd > 2) {
            if fd > from {
                libc::syscall(libc::SYS_close_range, from, fd - 1, 0);
            }
            from = fd + 1;
        }
        libc::syscall(libc::SYS_close_range, from, u32::MAX, 0);
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
    }
}
