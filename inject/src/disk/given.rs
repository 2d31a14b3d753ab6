//! Files of a host that are its world's rather than its own: `/etc/hosts`, `/etc/resolv.conf`.
//!
//! They are mounted over whatever stands in their place, each from memory, as containers' are. So a start needs no room
//! on the host's disk for them, and neither a loss of power nor the host's program can take them away: what is mounted
//! on cannot be removed or replaced (`EBUSY`), and what is written to it is gone with the start.

use super::layers::make_directories;
use crate::error::{Error, Result};
use crate::mounts::{self, name_of};
use crate::step::reached;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, openat, statat, unlinkat};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, UnmountFlags, unmount};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// What a start may write to these files in all.
const BYTES_MAX: &str = "1m";
/// Stands in every host's root, and is covered afterwards.
const MEANWHILE: &str = "dev";
const FLAGS: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC);

/// Mounts each of these files, by absolute path, over what is mounted at `root`. The first start makes what they are
/// mounted over, and has it on the device of `store` before any program runs: later ones write nothing.
pub(super) fn mount_given(root: BorrowedFd<'_>, store: BorrowedFd<'_>, files: &[(&Path, &[u8])]) -> Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    let failed = |error| Error::os("have memory for a host's given files", error);
    let memory = mounts::new_mount("tmpfs", &[("mode", "0755"), ("size", BYTES_MAX)], MountAttrFlags::empty());
    let memory = memory.map_err(failed)?;
    // Before Linux 6.15 what is mounted nowhere cannot be copied from.
    mounts::attach(memory.as_fd(), root, Path::new(MEANWHILE)).map_err(failed)?;
    reached("memory for a host's files is mounted");
    let mut is_new = false;
    for (number, (path, contents)) in files.iter().enumerate() {
        reached("a host's file is to be mounted");
        let name = number.to_string();
        let mounted = make_place(root, path).and_then(|made| {
            is_new |= made;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | FLAGS;
            File::from(openat(&memory, &name, flags, Mode::from_raw_mode(0o644))?).write_all(contents)?;
            let file = mounts::copy_one(&Path::new(&name_of(&memory)).join(&name))?;
            mounts::attach(file.as_fd(), root, below(path)?)
        });
        mounted.map_err(|error| Error::os(format!("give a host its {}", path.display()), error))?;
    }
    unmount(format!("{}/{MEANWHILE}", name_of(root)), UnmountFlags::DETACH).map_err(|errno| failed(errno.into()))?;
    reached("a host's files are mounted");
    if is_new {
        rustix::fs::syncfs(store).map_err(|error| Error::os("sync a host's disk", error))?;
    }
    Ok(())
}

/// Has a plain file stand there, whatever it says. Whether it had to be made.
fn make_place(root: BorrowedFd<'_>, path: &Path) -> io::Result<bool> {
    let path = below(path)?;
    match statat(root, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(status) if FileType::from_raw_mode(status.st_mode) == FileType::RegularFile => return Ok(false),
        // The machine's may be a link, to what hosts do not have.
        Ok(_) => unlinkat(root, path, AtFlags::empty())?,
        Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    if let Some(parent) = path.parent() {
        make_directories(root, parent)?;
    }
    openat(root, path, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | FLAGS, Mode::from_raw_mode(0o644))?;
    Ok(true)
}

/// An absolute path, from the host's root.
fn below(path: &Path) -> io::Result<&Path> {
    let below = path.strip_prefix("/").ok().filter(|_| mounts::is_plain(path));
    below.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no absolute path"))
}
