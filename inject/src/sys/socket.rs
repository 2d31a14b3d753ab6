//! Socket options that have no safe wrapper elsewhere.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Marks everything that a socket sends (`SO_MARK`, socket(7)): rules can tell it from the rest by that.
///
/// # Errors
/// It needs `CAP_NET_ADMIN`, or since Linux 5.17 `CAP_NET_RAW`, in the socket's network namespace.
pub fn set_mark(socket: BorrowedFd<'_>, mark: u32) -> io::Result<()> {
    let length = size_of::<u32>() as libc::socklen_t;
    // SAFETY: the option's value is an int, which `mark` is valid for reads of.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_MARK, (&raw const mark).cast(), length)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
