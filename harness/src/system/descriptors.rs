//! Reading and writing descriptors without allocating, and files without names.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, RawFd};
use std::time::Instant;

/// A file in memory that has no name and ends with its last descriptor (memfd_create(2)).
pub(crate) fn unnamed_file(name: &CStr) -> io::Result<File> {
    // SAFETY: a text; the descriptor is new and owned by nobody else.
    unsafe {
        let fd = libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(File::from_raw_fd(fd)) }
    }
}

/// Has a number of this process's be the same as another descriptor; what the number was is closed.
pub(crate) fn become_descriptor(from: &impl AsFd, number: RawFd) -> io::Result<()> {
    // SAFETY: no pointers; the number stays open.
    if unsafe { libc::dup2(from.as_fd().as_raw_fd(), number) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Writes everything at once; whether that succeeded.
pub(crate) fn write_whole(fd: RawFd, bytes: &[u8]) -> bool {
    // SAFETY: a buffer of this length.
    let written = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
    usize::try_from(written) == Ok(bytes.len())
}

/// Waits for a byte; false at the end, and on errors.
pub(crate) fn read_byte(fd: RawFd) -> bool {
    let mut byte = 0_u8;
    loop {
        // SAFETY: a buffer of one byte.
        let read = unsafe { libc::read(fd, (&raw mut byte).cast(), 1) };
        let interrupted = read < 0 && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted;
        if !interrupted {
            return read == 1;
        }
    }
}

/// Waits until there is something to read, or the other end is gone; false when the time is over.
pub(crate) fn readable(file: &impl AsFd, until: Instant) -> io::Result<bool> {
    let mut poll = libc::pollfd { fd: file.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
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
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}
