//! Which descriptors a program finds when it is executed.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};

/// Numbers that no descriptor of a program is given lie above this.
const PARKING_FD: RawFd = 100;

/// Gives these descriptors the numbers 0, 1, 2… and has them stay open in the program.
///
/// # Errors
/// There are too many open files.
pub fn inherit(fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut parked = Vec::with_capacity(fds.len());
    for fd in fds {
        // SAFETY: no pointers.
        match unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, PARKING_FD) } {
            error if error < 0 => return Err(io::Error::last_os_error()),
            place => parked.push(place),
        }
    }
    for (number, place) in (0..).zip(parked) {
        // SAFETY: no pointers. Whoever had the number loses it: this process is about to become another program.
        if unsafe { libc::dup2(place, number) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Closes all descriptors from this number on when the program is executed (close_range(2)).
///
/// # Errors
/// The kernel is older than 5.11.
pub fn keep_from_program(first: u32) -> io::Result<()> {
    // SAFETY: no pointers; nothing is closed yet.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if closed < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
