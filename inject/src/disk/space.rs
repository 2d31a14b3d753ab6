//! What a file system says is free, and what changed: statvfs(3).

use crate::Target;
use crate::error::{Error, Result};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, fstatvfs, open, openat, openat2, unlinkat};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// A directory of a target, opened: by its absolute path as the target sees it.
///
/// # Errors
/// The target is no process, or gone; there is no such directory; this process may not look there (proc_pid_root(5)).
pub fn directory_of(target: &Target, path: &Path) -> Result<OwnedFd> {
    let what = format!("open {} of a target", path.display());
    let Some(process) = target.process() else {
        return Err(Error::lacking(what, "the target is no process", "name one of its processes"));
    };
    let root = format!("/proc/{}/root", process.pid);
    let root = open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    // By now the number may be another's, unless the process still runs.
    if !process.is_alive() {
        return Err(Error::gone(what));
    }
    // Links of the target's are resolved from its root, not from this process's.
    let path = path.strip_prefix("/").unwrap_or(path);
    let path = if path == Path::new("") { Path::new(".") } else { path };
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    root.and_then(|root| openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT))
        .map_err(|error| Error::os(what, error))
}

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
        free_bytes: left(status.f_bavail) * status.f_frsize,
        inodes: status.f_files,
        free_inodes: left(status.f_ffree),
    })
}

/// What is left, by what statvfs(3) says. While somebody writes, a tmpfs may have counted more used than there is, and
/// then says less than nothing (`shmem_statfs`, mm/shmem.c).
fn left(count: u64) -> u64 {
    u64::try_from(count.cast_signed()).unwrap_or(0)
}

/// What a fault takes, and a [`Watch`] counts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Taken {
    Blocks,
    Inodes,
}

/// How much changed between looks, apart from what the fault itself did.
#[derive(Debug)]
pub(super) struct Watch {
    taken: Taken,
    last: Space,
    changes: u64,
}

impl Watch {
    pub(super) fn of(taken: Taken, space: Space) -> Self {
        Self { taken, last: space, changes: 0 }
    }

    /// Counts what others did since the last look.
    pub(super) fn look(&mut self, now: Space) {
        self.changes += match self.taken {
            Taken::Blocks => now.free_bytes.abs_diff(self.last.free_bytes) / now.block_bytes.max(1),
            Taken::Inodes => now.free_inodes.abs_diff(self.last.free_inodes),
        };
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

#[cfg(test)]
mod tests {
    use super::left;

    #[test]
    fn less_than_nothing_is_nothing() {
        assert_eq!((left(3), left(3_u64.wrapping_sub(4))), (3, 0));
    }
}
