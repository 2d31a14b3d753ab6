//! Which file systems there are, and inotify(7).

use super::change::At;
use super::walk::Last;
use super::{FileSystem, facts};
use crate::kernel::file::{FileId, Kind};
use crate::kernel::{Kernel, Step, Stop, ThreadId};
use libc::{EAGAIN, EINVAL, EPOLLIN, c_int};
use std::collections::BTreeSet;
use std::path::Path;

impl FileSystem {
    /// `f_type` of statfs(2).
    pub(crate) fn magic(self) -> i64 {
        match self {
            FileSystem::Disk => libc::EXT4_SUPER_MAGIC,
            FileSystem::Proc => libc::PROC_SUPER_MAGIC,
            FileSystem::Sys => libc::SYSFS_MAGIC,
            FileSystem::Cgroup => libc::CGROUP2_SUPER_MAGIC,
            FileSystem::Memory => libc::TMPFS_MAGIC,
            FileSystem::Pipe => 0x5049_5045,      // PIPEFS_MAGIC, linux/magic.h
            FileSystem::Socket => 0x534f_434b,    // SOCKFS_MAGIC
            FileSystem::Anonymous => 0x0904_1934, // ANON_INODE_FS_MAGIC
        }
    }

    /// Of a path that is there.
    pub(super) fn of(path: &Path) -> FileSystem {
        if path.starts_with("/sys/fs/cgroup") {
            return FileSystem::Cgroup;
        }
        match path.components().nth(1).and_then(|c| c.as_os_str().to_str()) {
            Some("proc") => FileSystem::Proc,
            Some("sys") => FileSystem::Sys,
            Some("dev" | "run") => FileSystem::Memory,
            _ => FileSystem::Disk,
        }
    }
}

/// An inotify descriptor, on which nothing is ever reported.
#[derive(Default)]
pub(crate) struct Inotify {
    watches: BTreeSet<c_int>,
    last: c_int,
}

impl Kernel {
    /// statfs(2).
    pub(crate) fn file_system(&mut self, me: ThreadId, at: At<'_>) -> Result<FileSystem, Stop> {
        let path = self.existing(me, at, Last::Follow)?.0;
        Ok(FileSystem::of(&path))
    }

    /// fstatfs(2).
    pub(crate) fn file_system_of(&mut self, me: ThreadId, fd: c_int) -> Result<FileSystem, Stop> {
        let id = self.file(me, fd)?;
        Ok(match &self.files[id].kind {
            Kind::Outside(open) => FileSystem::of(open.path()),
            Kind::Null | Kind::Zero | Kind::Full | Kind::Random => FileSystem::Memory,
            Kind::Pipe(_) | Kind::Console(_) => FileSystem::Pipe,
            Kind::Socket(_) => FileSystem::Socket,
            Kind::Event(_) | Kind::Timer(_) | Kind::Epoll(_) | Kind::Inotify(_) => FileSystem::Anonymous,
        })
    }

    /// inotify_init1(2).
    pub(crate) fn inotify(&mut self, me: ThreadId, flags: c_int) -> Step {
        if flags & !(libc::IN_NONBLOCK | libc::IN_CLOEXEC) != 0 {
            return Err(Stop::Errno(EINVAL));
        }
        self.open_new(me, Kind::Inotify(Inotify::default()), flags).map(i64::from)
    }

    fn watches(&mut self, me: ThreadId, fd: c_int) -> Result<&mut Inotify, Stop> {
        let id = self.file(me, fd)?;
        match &mut self.files[id].kind {
            Kind::Inotify(inotify) => Ok(inotify),
            _ => Err(Stop::Errno(EINVAL)),
        }
    }

    /// inotify_add_watch(2).
    pub(crate) fn inotify_add(&mut self, me: ThreadId, fd: c_int, at: At<'_>, mask: u32) -> Step {
        if mask & (libc::IN_ALL_EVENTS) == 0 {
            return Err(Stop::Errno(EINVAL));
        }
        self.watches(me, fd)?;
        let last = if mask & libc::IN_DONT_FOLLOW != 0 { Last::Keep } else { Last::Follow };
        let (_, node) = self.existing(me, at, last)?;
        if mask & libc::IN_ONLYDIR != 0 && !node.is_directory() {
            return Err(Stop::Errno(libc::ENOTDIR));
        }
        let inotify = self.watches(me, fd)?;
        inotify.last += 1;
        inotify.watches.insert(inotify.last);
        Ok(i64::from(inotify.last))
    }

    /// inotify_rm_watch(2).
    pub(crate) fn inotify_remove(&mut self, me: ThreadId, fd: c_int, watch: c_int) -> Step {
        if self.watches(me, fd)?.watches.remove(&watch) { Ok(0) } else { Err(Stop::Errno(EINVAL)) }
    }

    /// read(2) of an inotify descriptor.
    pub(crate) fn inotify_read(&mut self, me: ThreadId, id: FileId) -> Step {
        if self.files[id].nonblocking() {
            return Err(Stop::Errno(EAGAIN));
        }
        Err(self.wait_for_file(me, id, EPOLLIN as u32))
    }

    /// For sysinfo(2).
    pub(crate) fn uptime_seconds(&self, me: ThreadId) -> u64 {
        facts::uptime_ns(self, self.who(me)) / 1_000_000_000
    }
}
