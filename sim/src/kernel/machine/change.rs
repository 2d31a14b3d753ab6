//! What would change a file: refused, unless it fails on every disk.

use super::Node;
use super::walk::{Found, Last, walk};
use crate::kernel::{Kernel, Step, Stop, ThreadId};
use libc::{EEXIST, EINVAL, EISDIR, ENOENT, ENOTDIR, ENOTEMPTY, c_int};

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
        let found = self.target(me, at, Last::Keep)?;
        if found.node.is_some() {
            return Err(Stop::Errno(EEXIST));
        }
        Err(self.refuse_change(me, call, at.path))
    }

    /// chmod(2), chown(2), utimensat(2), truncate(2), setxattr(2): something that is there.
    pub(crate) fn change_entry(&mut self, me: ThreadId, call: &str, at: At<'_>, last: Last) -> Step {
        let found = self.target(me, at, last)?;
        match found.node {
            None => Err(Stop::Errno(ENOENT)),
            Some(node) if call == "truncate" && node.is_directory() => Err(Stop::Errno(EISDIR)),
            Some(_) => Err(self.refuse_change(me, call, at.path)),
        }
    }

    /// unlink(2) and rmdir(2).
    pub(crate) fn remove_entry(&mut self, me: ThreadId, call: &str, at: At<'_>, what: Doomed) -> Step {
        if what == Doomed::Directory && matches!(at.path.rsplit(|b| *b == b'/').next(), Some(b".")) {
            return Err(Stop::Errno(EINVAL));
        }
        let found = self.target(me, at, Last::Keep)?;
        let Some(node) = found.node else { return Err(Stop::Errno(ENOENT)) };
        match (what == Doomed::Directory, node.is_directory()) {
            (true, false) => return Err(Stop::Errno(ENOTDIR)),
            (false, true) => return Err(Stop::Errno(EISDIR)),
            (true, true) => {
                let entries = self.list(self.who(me), &found.path).map_err(Stop::Errno)?;
                if entries.len() > 2 {
                    return Err(Stop::Errno(ENOTEMPTY)); // more than `.` and `..`
                }
            }
            (false, false) => {}
        }
        Err(self.refuse_change(me, call, at.path))
    }

    /// rename(2) and link(2).
    pub(crate) fn move_entry(&mut self, me: ThreadId, call: &str, from: At<'_>, to: At<'_>) -> Step {
        let source = self.target(me, from, Last::Keep)?;
        let Some(node) = source.node else { return Err(Stop::Errno(ENOENT)) };
        let target = self.target(me, to, Last::Keep)?;
        match target.node {
            Some(_) if call == "link" => return Err(Stop::Errno(EEXIST)),
            Some(Node::Directory | Node::MadeDirectory) if !node.is_directory() => return Err(Stop::Errno(EISDIR)),
            Some(there) if node.is_directory() && !there.is_directory() => return Err(Stop::Errno(ENOTDIR)),
            _ => {}
        }
        Err(self.refuse_change(me, call, to.path))
    }

    /// fchmod(2), fchown(2), futimens(3): through a descriptor.
    pub(crate) fn change_open(&mut self, me: ThreadId, call: &str, fd: c_int) -> Step {
        let id = self.file(me, fd)?;
        let described = super::tree::describe_handle(self, id);
        Err(self.refuse_change(me, call, &described))
    }

    /// ftruncate(2), fallocate(2): nothing is ever open for writing that could change its size.
    pub(crate) fn resize_open(&self, me: ThreadId, fd: c_int, otherwise: c_int) -> Step {
        self.file(me, fd)?;
        Err(Stop::Errno(otherwise))
    }

    /// fsync(2), fdatasync(2), sync_file_range(2).
    pub(crate) fn sync_open(&mut self, me: ThreadId, fd: c_int) -> Step {
        use crate::kernel::file::Kind;
        let id = self.file(me, fd)?;
        self.unseen_if_own(id);
        match self.files[id].kind {
            Kind::Outside(_) if self.files[id].flags & libc::O_PATH != 0 => Err(Stop::Errno(libc::EBADF)),
            Kind::Outside(_) => Ok(0),
            _ => Err(Stop::Errno(EINVAL)),
        }
    }
}
