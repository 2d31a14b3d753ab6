//! What a file system says is free, and what changed: statvfs(3).

use crate::error::{Error, Result};
use rustix::fs::{AtFlags, Mode, OFlags, fstatvfs, openat, unlinkat};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a file system says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// The unit in which space is given out.
    pub block_bytes: u64,
    /// All of it, used or not.
    pub bytes: u64,
    /// What programs without privilege can still use.
    pub free_bytes: u64,
    /// All inodes, used or not. 0 where the file system does not count them.
    pub inodes: u64,
    /// Inodes that can still be made.
    pub free_inodes: u64,
}

/// Asks the file system of this directory.
pub(super) fn of(directory: BorrowedFd<'_>) -> Result<Space> {
    let status = fstatvfs(directory).map_err(|error| Error::os("ask a file system what is free", error))?;
    Ok(Space {
        block_bytes: status.f_frsize,
        bytes: status.f_blocks * status.f_frsize,
        free_bytes: status.f_bavail * status.f_frsize,
        inodes: status.f_files,
        free_inodes: status.f_ffree,
    })
}

/// How much changed between looks, apart from what the fault itself did.
#[derive(Debug)]
pub(super) struct Watch {
    last: Space,
    changes: u64,
}

impl Watch {
    pub(super) fn of(space: Space) -> Self {
        Self { last: space, changes: 0 }
    }

    /// Counts what others did since the last look.
    pub(super) fn look(&mut self, now: Space) {
        let blocks = now.free_bytes.abs_diff(self.last.free_bytes) / now.block_bytes.max(1);
        self.changes += blocks + now.free_inodes.abs_diff(self.last.free_inodes);
        self.last = now;
    }

    /// Takes note of what the fault itself changed.
    pub(super) fn rest(&mut self, now: Space) {
        self.last = now;
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes
    }
}

/// A file that is gone with its descriptor, whatever becomes of its holder: `O_TMPFILE` of open(2), or one whose name
/// is removed at once where the file system knows no such thing (9p, overlays before Linux 6.1).
pub(super) fn nameless_file(directory: BorrowedFd<'_>) -> io::Result<File> {
    let (flags, mode) = (OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR);
    match openat(directory, ".", flags | OFlags::TMPFILE, mode) {
        Ok(file) => return Ok(file.into()),
        // A kernel or file system without it takes it for opening a directory to write.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {}
        Err(error) => return Err(error.into()),
    }
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!(".windtunnel-{}-{number}", std::process::id());
    let file = openat(directory, &name, flags | OFlags::CREATE | OFlags::EXCL, mode)?;
    unlinkat(directory, &name, AtFlags::empty())?;
    Ok(file.into())
}
