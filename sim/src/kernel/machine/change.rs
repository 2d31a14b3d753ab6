//! What would change a file: refused, unless it fails on every disk.

use super::Node;
use super::walk::{Found, Last, walk};
use crate::kernel::{Kernel, Step, Stop, ThreadId};
use libc::{EBUSY, EEXIST, EINVAL, EISDIR, ENOENT, ENOTDIR, ENOTEMPTY, EPERM, c_int};
use std::path::Path;

/// What to do instead.
const NO_DISK: &str = "hosts have no disk yet: files can be read but not written; keep state in memory, send logs to \
    the console (stdout or stderr), or make the path configurable and leave it unset in this test";

/// A path of a `*at` call.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) directory: c_int,
    pub(crate) path: &'a [u8],
}

/// What a call removes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Doomed {
    /// An empty directory.
    Directory,
    /// Anything else.
    Other,
}

impl Kernel {
    /// Ends the case because a file would have to be changed.
    pub(super) fn refuse_change(&mut self, me: ThreadId, call: &str, path: &[u8]) -> Stop {
        let call = format!("{call}({:?})", String::from_utf8_lossy(path));
        self.refuse(me, &call, NO_DISK);
        Stop::Block
    }

    fn target(&self, me: ThreadId, at: At<'_>, last: Last) -> Result<Found, Stop> {
        let base = self.base(me, at.directory, at.path)?;
        walk(self, self.who(me), &base, at.path, last).map_err(Stop::Errno)
    }

    /// mkdir(2), mknod(2), symlink(2): something new.
    pub(crate) fn make_entry(&mut self, me: ThreadId, call: &str, at: At<'_>) -> Step {
        let found = self.target(me, at, Last::Entry)?;
        if found.node.is_some() {
            return Err(Stop::Errno(EEXIST));
        }
        if found.slash && call != "mkdir" {
            return Err(Stop::Errno(ENOENT)); // only a directory can have a slash behind it
        }
        Err(self.refuse_change(me, call, at.path))
    }

    /// chmod(2), chown(2), utimensat(2), truncate(2), setxattr(2): something that is there.
    pub(crate) fn change_entry(&mut self, me: ThreadId, call: &str, at: At<'_>, last: Last) -> Step {
        let found = self.target(me, at, last)?;
        match found.node {
            None => Err(Stop::Errno(ENOENT)),
            Some(Node::Special(libc::S_IFSOCK)) => Ok(0), // unix(7): owner and mode say who may connect; here all may
            Some(node) if call == "truncate" && node.is_directory() => Err(Stop::Errno(EISDIR)),
            Some(_) => Err(self.refuse_change(me, call, at.path)),
        }
    }

    /// unlink(2) and rmdir(2).
    pub(crate) fn remove_entry(&mut self, me: ThreadId, call: &str, at: At<'_>, what: Doomed) -> Step {
        let name = at.path.trim_ascii_end().rsplit(|b| *b == b'/').find(|part| !part.is_empty());
        let found = self.target(me, at, Last::Entry)?;
        let Some(node) = found.node else { return Err(Stop::Errno(ENOENT)) };
        match (what, node.is_directory()) {
            (Doomed::Directory, _) if name.is_none() => return Err(Stop::Errno(EBUSY)),
            (Doomed::Directory, _) if name == Some(b".") => return Err(Stop::Errno(EINVAL)),
            (Doomed::Directory, _) if name == Some(b"..") => return Err(Stop::Errno(ENOTEMPTY)),
            (Doomed::Directory, false) => return Err(Stop::Errno(ENOTDIR)),
            (Doomed::Other, true) => return Err(Stop::Errno(EISDIR)),
            (Doomed::Other, false) if found.slash => return Err(Stop::Errno(ENOTDIR)),
            (Doomed::Directory, true) if !self.is_empty_directory(me, &found.path)? => {
                return Err(Stop::Errno(ENOTEMPTY));
            }
            (Doomed::Directory, true) => {}
            (Doomed::Other, false) if self.remove_socket_file(me, &found.path) => return Ok(0),
            (Doomed::Other, false) => {}
        }
        Err(self.refuse_change(me, call, at.path))
    }

    /// link(2).
    pub(crate) fn link_entry(&mut self, me: ThreadId, from: At<'_>, to: At<'_>) -> Step {
        let node = self.target(me, from, Last::Keep)?.node.ok_or(Stop::Errno(ENOENT))?;
        let target = self.target(me, to, Last::Entry)?;
        match target.node {
            Some(_) => Err(Stop::Errno(EEXIST)),
            None if target.slash => Err(Stop::Errno(ENOENT)),
            None if node.is_directory() => Err(Stop::Errno(EPERM)),
            None => Err(self.refuse_change(me, "link", to.path)),
        }
    }

    /// rename(2), in the order of checks of `do_renameat2` and `vfs_rename` (fs/namei.c).
    pub(crate) fn rename_entry(&mut self, me: ThreadId, from: At<'_>, to: At<'_>) -> Step {
        let (source, target) = (self.target(me, from, Last::Entry)?, self.target(me, to, Last::Entry)?);
        let dots = |path: &[u8]| matches!(path.rsplit(|b| *b == b'/').next(), Some(b"." | b".."));
        if dots(from.path) || dots(to.path) {
            return Err(Stop::Errno(EBUSY));
        }
        let node = source.node.ok_or(Stop::Errno(ENOENT))?;
        if !node.is_directory() && (source.slash || target.slash) {
            return Err(Stop::Errno(ENOTDIR));
        }
        if node.is_directory() && target.path.starts_with(&source.path) && target.path != source.path {
            return Err(Stop::Errno(EINVAL)); // into itself
        }
        if source.path.starts_with(&target.path) && target.path != source.path {
            return Err(Stop::Errno(ENOTEMPTY));
        }
        let full = match &target.node {
            Some(there) if there.is_directory() => !self.is_empty_directory(me, &target.path)?,
            _ => false,
        };
        match target.node {
            _ if source.path == target.path => return Ok(0),
            Some(there) if there.is_directory() && !node.is_directory() => return Err(Stop::Errno(EISDIR)),
            Some(there) if node.is_directory() && !there.is_directory() => return Err(Stop::Errno(ENOTDIR)),
            Some(_) if full => return Err(Stop::Errno(ENOTEMPTY)),
            _ => {}
        }
        Err(self.refuse_change(me, "rename", to.path))
    }

    /// Whether nothing but `.` and `..` is in a directory.
    fn is_empty_directory(&self, me: ThreadId, path: &Path) -> Result<bool, Stop> {
        Ok(self.list(self.who(me), path).map_err(Stop::Errno)?.len() <= 2)
    }

    /// fchmod(2), fchown(2), futimens(3): through a descriptor.
    pub(crate) fn change_open(&mut self, me: ThreadId, call: &str, fd: c_int) -> Step {
        let id = self.file(me, fd)?;
        let described = super::tree::describe_handle(self, id);
        Err(self.refuse_change(me, call, &described))
    }

    /// ftruncate(2), fallocate(2): nothing is ever open for writing that could change its size.
    pub(crate) fn resize_open(&self, me: ThreadId, fd: c_int, otherwise: c_int) -> Step {
        let id = self.file(me, fd)?;
        let path_only = self.files[id].flags & libc::O_PATH != 0;
        Err(Stop::Errno(if path_only { libc::EBADF } else { otherwise }))
    }

    /// fsync(2), fdatasync(2), sync_file_range(2).
    pub(crate) fn sync_open(&mut self, me: ThreadId, fd: c_int) -> Step {
        use crate::kernel::file::Kind;
        let id = self.file(me, fd)?;
        self.unseen_if_own(id);
        match &self.files[id].kind {
            Kind::Outside(_) if self.files[id].flags & libc::O_PATH != 0 => Err(Stop::Errno(libc::EBADF)),
            Kind::Outside(open) if !open.is_setting() => Ok(0),
            _ => Err(Stop::Errno(EINVAL)),
        }
    }
}
