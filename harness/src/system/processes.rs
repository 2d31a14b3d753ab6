//! Signalling and waiting.

use libc::{c_int, pid_t};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// With this code.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

/// Sends a signal to a process that is known to exist: one whose pid has not been given back.
pub(crate) fn signal(pid: pid_t, signal: c_int) {
    // SAFETY: no pointers.
    unsafe { libc::kill(pid, signal) };
}

/// Waits until a child has ended, and leaves its pid taken. Does not allocate.
pub(crate) fn wait_for_end(pid: pid_t) -> End {
    // SAFETY: `siginfo_t` is plain memory for which zeros are valid.
    let mut end: libc::siginfo_t = unsafe { std::mem::zeroed() };
    loop {
        let flags = libc::WEXITED | libc::WNOWAIT;
        // SAFETY: `end` is a `siginfo_t`.
        let waited = unsafe { libc::waitid(libc::P_PID, pid.cast_unsigned(), &raw mut end, flags) };
        if waited == 0 {
            break;
        }
    }
    // SAFETY: filled by `waitid` for SIGCHLD, hence with a status.
    let status = unsafe { end.si_status() };
    if end.si_code == libc::CLD_EXITED { End::Exited(status) } else { End::Killed(status) }
}

/// Waits for a child and gives its pid back.
pub(crate) fn reap(pid: pid_t) {
    // SAFETY: no status is asked for.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
}
