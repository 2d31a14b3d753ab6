//! Which file systems there are: statfs(2).

use super::change::At;
use super::walk::Last;
use super::{FileSystem, facts};
use crate::kernel::disk::Space;
use crate::kernel::file::Kind;
use crate::kernel::{Kernel, Stop, ThreadId};
use libc::c_int;
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

/// What statfs(2) says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Volume {
    pub(crate) kind: FileSystem,
    pub(crate) read_only: bool,
    /// All blocks of 4 KiB, and the free ones.
    pub(crate) blocks: [u64; 2],
    /// All inodes, and the free ones.
    pub(crate) inodes: [u64; 2],
}

impl Kernel {
    /// statfs(2).
    pub(crate) fn file_system(&mut self, me: ThreadId, at: At<'_>) -> Result<Volume, Stop> {
        let path = self.existing(me, at, Last::Follow)?.0;
        Ok(self.volume(me, FileSystem::of(&path)))
    }

    /// fstatfs(2).
    pub(crate) fn file_system_of(&mut self, me: ThreadId, fd: c_int) -> Result<Volume, Stop> {
        let id = self.raw_file(me, fd)?;
        let kind = match &self.files[id].kind {
            Kind::Outside(open) => FileSystem::of(open.path()),
            Kind::Disk(open) => FileSystem::of(open.path()),
            Kind::Null | Kind::Zero | Kind::Full | Kind::Random => FileSystem::Memory,
            Kind::Pipe(_) | Kind::Console(_) => FileSystem::Pipe,
            Kind::Socket(_) => FileSystem::Socket,
            Kind::Event(_) | Kind::Timer(_) | Kind::Epoll(_) | Kind::Inotify(_) => FileSystem::Anonymous,
        };
        Ok(self.volume(me, kind))
    }

    fn volume(&mut self, me: ThreadId, kind: FileSystem) -> Volume {
        let space = self.disk(me).space;
        let (blocks, inodes) = match kind {
            // What is left is the disk's, as that is where it is kept.
            FileSystem::Disk | FileSystem::Memory => {
                ([Space::pages_total(), space.pages_free()], [Space::inodes_total(), space.inodes_free()])
            }
            _ => ([0; 2], [0; 2]),
        };
        let volume = Volume { kind, read_only: matches!(kind, FileSystem::Sys | FileSystem::Cgroup), blocks, inodes };
        self.log.returned_word(volume.blocks[1] ^ volume.inodes[1] << 32);
        volume
    }

    /// For sysinfo(2).
    pub(crate) fn uptime_seconds(&self, me: ThreadId) -> u64 {
        facts::uptime_ns(self, self.who(me)) / 1_000_000_000
    }
}
