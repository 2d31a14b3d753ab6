//! A process in namespaces of its own, made in one step: clone(2).

use super::Forked;
use rustix::thread::UnshareFlags;
use std::io;

/// As [`fork`](super::fork), but the child is in new namespaces of these kinds, and the first of its PID namespace if
/// that is among them. It does not die with the calling thread: with a PID namespace's first process all others end.
///
/// Only for processes of one thread: libc's handlers for forks are not run, so nobody may hold a lock.
///
/// # Errors
/// As clone(2).
pub fn clone_into(kinds: UnshareFlags) -> io::Result<Forked> {
    let flags = i64::from(kinds.bits()) | i64::from(libc::SIGCHLD);
    // SAFETY: without a stack of its own and without CLONE_VM the child goes on with a copy of everything, as after
    // fork(2).
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match pid {
        0 => Ok(Forked::Child),
        pid if pid > 0 => Ok(Forked::Parent(u32::try_from(pid).unwrap_or(0))),
        _ => Err(io::Error::last_os_error()),
    }
}
