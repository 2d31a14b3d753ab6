//! Attributes: chmod(2), chown(2), utimensat(2).

use super::change::At;
use super::walk::Last;
use super::{Node, USER_ID, access};
use crate::kernel::disk::InodeId;
use crate::kernel::{Kernel, Step, Stop, ThreadId};
use crate::world::HostId;
use libc::{EACCES, EINVAL, EPERM, c_int};

/// What utimensat(2) does to a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Time {
    /// `UTIME_NOW`.
    Now,
    /// `UTIME_OMIT`.
    Kept,
    /// Nanoseconds since the epoch.
    Set(i64),
    /// None that there is: `EINVAL`, once the file is found (`vfs_utimes`, fs/utimes.c).
    Never,
}

/// A change of attributes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Attribute {
    /// chmod(2).
    Mode(u32),
    /// chown(2): user and group, `u32::MAX` for the one that is there.
    Owner(u32, u32),
    /// Last read and last written.
    Times(Time, Time),
}

/// Whether chown(2) lets a program give this: what it is itself, or what is there.
fn is_own(id: u32) -> bool {
    id == u32::MAX || id == USER_ID
}

/// The bits of a mode that go when a file changes: set-group-ID without execution for the group means something else
/// (`setattr_should_drop_suidgid`, fs/attr.c).
pub(super) fn set_id_bits(mode: u32) -> u32 {
    mode & if mode & libc::S_IXGRP != 0 { libc::S_ISUID | libc::S_ISGID } else { libc::S_ISUID }
}

impl Kernel {
    /// By path.
    pub(crate) fn change_attribute(&mut self, me: ThreadId, at: At<'_>, last: Last, change: Attribute) -> Step {
        let (path, node) = self.existing(me, at, last)?;
        if let Node::Handle(file) = node {
            return self.change_file_attribute(me, file, change);
        }
        if access::is_systems(&path) {
            // Of the system's, and programs are not root (chmod(2), utimensat(2)).
            let only_touches = matches!(change, Attribute::Times(Time::Now, Time::Now));
            return Err(Stop::Errno(match change {
                Attribute::Times(Time::Kept, Time::Kept) => return Ok(0),
                _ if matches!(node, Node::Device(_)) && only_touches => return Ok(0),
                _ if only_touches => EACCES,
                _ => EPERM,
            }));
        }
        let inode = self.inode_at(me, &path, &node)?;
        let host = self.host_id(me);
        let told = self.apply_attribute(host, inode, change)?;
        self.notice_at(host, &path, inode, told);
        Ok(0)
    }

    /// By descriptor.
    pub(crate) fn change_open_attribute(&mut self, me: ThreadId, fd: c_int, change: Attribute) -> Step {
        let id = self.file(me, fd)?;
        self.change_file_attribute(me, id, change)
    }

    fn change_file_attribute(&mut self, me: ThreadId, id: crate::kernel::FileId, change: Attribute) -> Step {
        use crate::kernel::file::Kind;
        match &self.files[id].kind {
            Kind::Disk(_) => {
                let (host, inode) = self.disk_file(id)?;
                let told = self.apply_attribute(host, inode, change)?;
                self.notice_open(id, told);
                Ok(0)
            }
            Kind::Outside(open) if access::is_systems(open.path()) => Err(Stop::Errno(EPERM)),
            Kind::Outside(open) => {
                let (path, node) = (open.path().to_owned(), open.node().clone());
                let inode = self.disk(me).at(&path).map_or_else(|| self.inode_at(me, &path, &node), Ok)?;
                let host = self.host_id(me);
                self.apply_attribute(host, inode, change).map(|_| 0)
            }
            Kind::Null | Kind::Zero | Kind::Full | Kind::Random => Err(Stop::Errno(EPERM)),
            // What has no name belongs to its process, and nobody asks again.
            _ => match change {
                Attribute::Owner(user, group) if !is_own(user) || !is_own(group) => Err(Stop::Errno(EPERM)),
                Attribute::Times(Time::Never, _) | Attribute::Times(_, Time::Never) => Err(Stop::Errno(EINVAL)),
                Attribute::Mode(_) | Attribute::Owner(..) | Attribute::Times(..) => Ok(0),
            },
        }
    }

    /// Answers what those who watch it are to be told (`fsnotify_change`, include/linux/fsnotify.h).
    fn apply_attribute(&mut self, host: HostId, inode: InodeId, change: Attribute) -> Result<u32, Stop> {
        let now = self.file_time(host);
        let inode = self.hosts[host].disk.inode_mut(inode);
        let attributes = &mut inode.attributes;
        let mode_before = attributes.mode;
        // Of somebody else's, only the times may be set, and only to now (`setattr_prepare`, fs/attr.c).
        let others = attributes.owner != USER_ID;
        match change {
            Attribute::Times(Time::Never, _) | Attribute::Times(_, Time::Never) => return Err(Stop::Errno(EINVAL)),
            Attribute::Times(Time::Kept, Time::Kept) | Attribute::Times(Time::Now, Time::Now) => {}
            _ if others => return Err(Stop::Errno(EPERM)),
            Attribute::Mode(_) | Attribute::Owner(..) | Attribute::Times(..) => {}
        }
        match change {
            Attribute::Mode(_) if inode.what.file_type() == libc::S_IFLNK => {
                return Err(Stop::Errno(libc::EOPNOTSUPP));
            }
            Attribute::Mode(mode) => attributes.mode = mode & 0o7777,
            Attribute::Owner(user, group) => {
                if !is_own(user) || !is_own(group) {
                    return Err(Stop::Errno(EPERM));
                }
                // chown(2); `chown_common` (fs/open.c).
                if inode.what.file_type() != libc::S_IFDIR {
                    attributes.mode &= !set_id_bits(attributes.mode);
                }
            }
            Attribute::Times(read, written) => {
                for (time, field) in [(read, &mut attributes.read_ns), (written, &mut attributes.written_ns)] {
                    match time {
                        Time::Now => *field = now,
                        Time::Kept | Time::Never => {}
                        Time::Set(ns) => *field = ns,
                    }
                }
            }
        }
        attributes.changed_ns = now;
        Ok(match change {
            Attribute::Owner(u32::MAX, u32::MAX) if attributes.mode == mode_before => 0,
            Attribute::Times(Time::Kept, _) => libc::IN_MODIFY,
            Attribute::Times(_, Time::Kept) => libc::IN_ACCESS,
            Attribute::Mode(_) | Attribute::Owner(..) | Attribute::Times(..) => libc::IN_ATTRIB,
        })
    }
}
