//! Pages on their way to a disk: sync_file_range(2).

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Has dirty pages of this range of a file be written, and waits for nothing. What the file system knows of the file
/// stays where it is.
///
/// # Errors
/// As sync_file_range(2).
pub fn start_writeback(file: BorrowedFd<'_>, offset: u64, bytes: u64) -> io::Result<()> {
    let failed = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let (offset, bytes) = (i64::try_from(offset).map_err(failed)?, i64::try_from(bytes).map_err(failed)?);
    // SAFETY: no pointers.
    match unsafe { libc::sync_file_range(file.as_raw_fd(), offset, bytes, libc::SYNC_FILE_RANGE_WRITE) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
