//! What a worker process needs before its worlds exist: a pristine picture of the executable, and forks.

use crate::abi::entry;
use crate::carrier::real::raw_syscall;
use std::io;

/// When this variable is set at the process's start, `pthread_create` outside a world answers `EAGAIN`, so that libtest
/// runs the test on its main thread and the worker stays a process of one thread; and clocks, entropy and the number of
/// processors are made up outside of worlds as well.
pub const ENV: &str = "CHAOS_WORKER";

/// How many processors a worker sees, and hosts with it: enough for a multi-thread runtime to be one, few enough to
/// keep cases short.
pub const CPUS: u32 = 4;

/// [`ENV`] for C.
pub(crate) const ENV_C: &std::ffi::CStr = c"CHAOS_WORKER";

/// Sent to a case's process, makes it report the running thread's stack and end with code 124.
pub const DUMP_SIGNAL: i32 = libc::SIGUSR2;

/// Reads the executable for images. Call once, before any test code has run.
///
/// # Errors
/// A sentence for the user: an executable that is static or not position-independent has no images.
pub fn prepare() -> Result<(), String> {
    entry::read_original()
}

/// Which side of a fork this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forked {
    /// The new process.
    Child,
    /// The old one; the child's process id.
    Parent(i32),
}

/// Forks without libc's handlers: the child is a copy of a process of one thread, and dies with its parent.
///
/// # Errors
/// As fork(2).
pub fn fork() -> io::Result<Forked> {
    // SAFETY: the process has one thread, so no lock is held by anybody else.
    unsafe {
        let parent = raw_syscall(libc::SYS_getpid, [0; 6]);
        let pid = raw_syscall(libc::SYS_clone, [libc::SIGCHLD as usize, 0, 0, 0, 0, 0]);
        match pid {
            0 => {
                let kill = libc::SIGKILL as usize;
                raw_syscall(libc::SYS_prctl, [libc::PR_SET_PDEATHSIG as usize, kill, 0, 0, 0, 0]);
                if raw_syscall(libc::SYS_getppid, [0; 6]) != parent {
                    exit(1); // the parent died before the line above
                }
                Ok(Forked::Child)
            }
            pid if pid > 0 => Ok(Forked::Parent(pid as i32)),
            error => Err(io::Error::from_raw_os_error(-error as i32)),
        }
    }
}

/// Ends the process at once, without any handler.
pub fn exit(code: i32) -> ! {
    loop {
        // SAFETY: ends the process.
        unsafe { raw_syscall(libc::SYS_exit_group, [code as usize, 0, 0, 0, 0, 0]) };
    }
}
