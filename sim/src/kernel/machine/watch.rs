//! Watching files: inotify(7). What is outside never changes, so only what is on the disk is ever reported.

use super::change::At;
use super::walk::Last;
use super::{Node, access};
use crate::abi::user::Out;
use crate::kernel::disk::{Entry, InodeId};
use crate::kernel::file::{FileId, Kind};
use crate::kernel::{Kernel, Step, Stop, ThreadId};
use crate::world::HostId;
use libc::{EAGAIN, EINVAL, EPOLLIN, c_int};
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

/// `/proc/sys/fs/inotify/max_queued_events`.
const EVENTS_MAX: usize = 16_384;

/// An inotify descriptor.
#[derive(Default)]
pub(crate) struct Inotify {
    /// By watch descriptor: what is watched, if it can change, and for what.
    watches: BTreeMap<c_int, (Option<(HostId, InodeId)>, u32)>,
    last: c_int,
    /// Events as read(2) gives them.
    events: VecDeque<Vec<u8>>,
    cookie: u32,
}

impl Inotify {
    /// Whether there is anything to read.
    pub(crate) fn readiness(&self) -> u32 {
        if self.events.is_empty() { 0 } else { EPOLLIN as u32 }
    }

    /// Bytes that could be read (inotify(7), `FIONREAD`).
    pub(crate) fn available(&self) -> usize {
        self.events.iter().map(Vec::len).sum()
    }

    /// Queues an event, unless it is the same as the last one (inotify(7)).
    fn queue(&mut self, watch: c_int, mask: u32, cookie: u32, name: &[u8]) {
        let event = event(watch, mask, cookie, name);
        if self.events.back() == Some(&event) || self.events.len() > EVENTS_MAX {
            return;
        }
        if self.events.len() == EVENTS_MAX {
            self.events.push_back(self::event(-1, libc::IN_Q_OVERFLOW, 0, b""));
        } else {
            self.events.push_back(event);
        }
    }
}

/// `struct inotify_event`: watch, mask, cookie, length, name; the name with NULs up to a multiple of 16 bytes.
fn event(watch: c_int, mask: u32, cookie: u32, name: &[u8]) -> Vec<u8> {
    const HEADER_BYTES: usize = 16;
    let name_bytes = if name.is_empty() { 0 } else { (name.len() + 1).next_multiple_of(16) };
    let mut bytes = Vec::with_capacity(HEADER_BYTES + name_bytes);
    bytes.extend_from_slice(&watch.to_ne_bytes());
    bytes.extend_from_slice(&mask.to_ne_bytes());
    bytes.extend_from_slice(&cookie.to_ne_bytes());
    bytes.extend_from_slice(&(name_bytes as u32).to_ne_bytes());
    bytes.extend_from_slice(name);
    bytes.resize(HEADER_BYTES + name_bytes, 0);
    bytes
}

/// Who watches which inodes of a world.
pub(crate) type Watched = BTreeMap<(HostId, InodeId), Vec<(FileId, c_int)>>;

impl Kernel {
    /// inotify_init1(2).
    pub(crate) fn inotify(&mut self, me: ThreadId, flags: c_int) -> Step {
        if flags & !(libc::IN_NONBLOCK | libc::IN_CLOEXEC) != 0 {
            return Err(Stop::Errno(EINVAL));
        }
        self.open_new(me, Kind::Inotify(Inotify::default()), flags).map(i64::from)
    }

    fn watches(&mut self, me: ThreadId, fd: c_int) -> Result<(FileId, &mut Inotify), Stop> {
        let id = self.file(me, fd)?;
        match &mut self.files[id].kind {
            Kind::Inotify(inotify) => Ok((id, inotify)),
            _ => Err(Stop::Errno(EINVAL)),
        }
    }

    /// inotify_add_watch(2).
    pub(crate) fn inotify_add(&mut self, me: ThreadId, fd: c_int, at: At<'_>, mask: u32) -> Step {
        if mask & libc::IN_ALL_EVENTS == 0 {
            return Err(Stop::Errno(EINVAL));
        }
        self.watches(me, fd)?;
        let last = if mask & libc::IN_DONT_FOLLOW != 0 { Last::Keep } else { Last::Follow };
        let (path, node) = self.existing(me, at, last)?;
        if mask & libc::IN_ONLYDIR != 0 && !node.is_directory() {
            return Err(Stop::Errno(libc::ENOTDIR));
        }
        let changes = matches!(node, Node::Own(..) | Node::Directory | Node::Regular { .. });
        let target = if changes && !access::is_systems(&path) {
            Some((self.host_id(me), self.inode_at(me, &path, &node)?))
        } else {
            None
        };
        let (id, inotify) = self.watches(me, fd)?;
        let known = inotify.watches.iter_mut().find(|(_, (known, _))| target.is_some() && *known == target);
        if let Some((watch, (_, old))) = known {
            if mask & libc::IN_MASK_CREATE != 0 {
                return Err(Stop::Errno(libc::EEXIST));
            }
            *old = if mask & libc::IN_MASK_ADD != 0 { *old | mask } else { mask };
            return Ok(i64::from(*watch));
        }
        inotify.last += 1;
        let watch = inotify.last;
        inotify.watches.insert(watch, (target, mask));
        if let Some(target) = target {
            self.watched.entry(target).or_default().push((id, watch));
        }
        Ok(i64::from(watch))
    }

    /// inotify_rm_watch(2).
    pub(crate) fn inotify_remove(&mut self, me: ThreadId, fd: c_int, watch: c_int) -> Step {
        let (id, inotify) = self.watches(me, fd)?;
        if !inotify.watches.contains_key(&watch) {
            return Err(Stop::Errno(EINVAL));
        }
        self.end_watch(id, watch);
        Ok(0)
    }

    fn end_watch(&mut self, id: FileId, watch: c_int) {
        let Kind::Inotify(inotify) = &mut self.files[id].kind else { return };
        let Some((target, _)) = inotify.watches.remove(&watch) else { return };
        inotify.queue(watch, libc::IN_IGNORED, 0, b"");
        if let Some(target) = target
            && let Some(watchers) = self.watched.get_mut(&target)
        {
            watchers.retain(|watcher| *watcher != (id, watch));
            if watchers.is_empty() {
                self.watched.remove(&target);
            }
        }
        self.notify(id, EPOLLIN as u32);
    }

    /// An inotify descriptor is closed.
    pub(crate) fn close_inotify(&mut self, id: FileId) {
        let Kind::Inotify(inotify) = &mut self.files[id].kind else { return };
        for target in std::mem::take(&mut inotify.watches).into_values().filter_map(|(target, _)| target) {
            if let Some(watchers) = self.watched.get_mut(&target) {
                watchers.retain(|watcher| watcher.0 != id);
                if watchers.is_empty() {
                    self.watched.remove(&target);
                }
            }
        }
    }

    /// read(2) of an inotify descriptor.
    pub(crate) fn inotify_read(&mut self, me: ThreadId, id: FileId, out: &mut Out<'_>) -> Step {
        let Kind::Inotify(inotify) = &mut self.files[id].kind else { return Err(Stop::Errno(EINVAL)) };
        let mut done = 0;
        while let Some(event) = inotify.events.front().filter(|event| done + event.len() <= out.len()) {
            self.log.returned(event);
            done += out.write_at(done, event);
            inotify.events.pop_front();
        }
        if done > 0 {
            return Ok(done as i64);
        }
        if !inotify.events.is_empty() {
            return Err(Stop::Errno(EINVAL)); // inotify(7): the buffer is too small for the next event
        }
        if self.files[id].nonblocking() {
            return Err(Stop::Errno(EAGAIN));
        }
        Err(self.wait_for_file(me, id, EPOLLIN as u32))
    }

    /// Tells those who watch a directory, or what a name in it stands for, what has happened.
    pub(super) fn notice(&mut self, host: HostId, inode: InodeId, name: &[u8], directory: InodeId, what: u32) {
        if self.watched.is_empty() {
            return;
        }
        let is_directory = self.hosts[host].disk.inode(inode).directory().is_some();
        let kind = if is_directory { libc::IN_ISDIR } else { 0 };
        self.tell_watchers((host, directory), what | kind, name);
        let of_itself = match what {
            libc::IN_DELETE if self.hosts[host].disk.inode(inode).links > 0 => libc::IN_ATTRIB,
            libc::IN_DELETE => libc::IN_DELETE_SELF,
            libc::IN_MOVED_TO => libc::IN_MOVE_SELF,
            libc::IN_CREATE | libc::IN_MOVED_FROM => return,
            other => other,
        };
        self.tell_watchers((host, inode), of_itself | if of_itself == what { kind } else { 0 }, b"");
        if of_itself == libc::IN_DELETE_SELF {
            for (id, watch) in self.watched.get(&(host, inode)).cloned().unwrap_or_default() {
                self.end_watch(id, watch);
            }
        }
    }

    /// [`Kernel::notice`] for a file that is open, by the path that it was opened by.
    pub(super) fn notice_open(&mut self, id: FileId, what: u32) {
        if self.watched.is_empty() {
            return;
        }
        let Kind::Disk(open) = &self.files[id].kind else { return };
        let (host, inode) = (open.host(), open.inode());
        let disk = &self.hosts[host].disk;
        if !disk.has(inode) {
            return;
        }
        let place = named(disk, open.path()).filter(|(_, _, found)| *found == inode);
        match place {
            Some((directory, name, _)) => self.notice(host, inode, &name, directory, what),
            None => self.tell_watchers((host, inode), what, b""),
        }
    }

    fn tell_watchers(&mut self, target: (HostId, InodeId), what: u32, name: &[u8]) {
        let Some(watchers) = self.watched.get(&target).cloned() else { return };
        for (id, watch) in watchers {
            let Kind::Inotify(inotify) = &mut self.files[id].kind else { continue };
            let mask = inotify.watches.get(&watch).map_or(0, |(_, mask)| *mask);
            if mask & what == 0 {
                continue;
            }
            // inotify(7): the two halves of a rename share a number.
            let cookie = match what & (libc::IN_MOVED_FROM | libc::IN_MOVED_TO) {
                0 => 0,
                libc::IN_MOVED_FROM => {
                    inotify.cookie += 1;
                    inotify.cookie
                }
                _ => inotify.cookie,
            };
            inotify.queue(watch, what, cookie, name);
            self.notify(id, EPOLLIN as u32);
            if mask & libc::IN_ONESHOT != 0 {
                self.end_watch(id, watch);
            }
        }
    }
}

/// The directory, name and inode of a path on a disk.
fn named(disk: &crate::kernel::disk::Disk, path: &Path) -> Option<(InodeId, Vec<u8>, InodeId)> {
    use std::os::unix::ffi::OsStrExt;
    let (directory, name) = (disk.at(path.parent()?)?, path.file_name()?.as_bytes());
    match disk.entry(directory, name)? {
        Entry::Inode(inode) => Some((directory, name.to_vec(), inode)),
        Entry::Gone => None,
    }
}
