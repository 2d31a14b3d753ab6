//! Watching files: inotify(7). What is outside never changes, so only what is on the disk is ever reported.

use super::change::At;
use super::disk_file::{OpenName, Place};
use super::walk::Last;
use super::{Node, access};
use crate::abi::user::Out;
use crate::kernel::disk::{Disk, InodeId};
use crate::kernel::file::{FileId, Kind};
use crate::kernel::{Kernel, Step, Stop, ThreadId};
use crate::world::HostId;
use libc::{EAGAIN, EINVAL, EPOLLIN, c_int};
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

/// `/proc/sys/fs/inotify/max_queued_events`.
const EVENTS_MAX: usize = 16_384;

/// Where `cookie` and `len` are in a `struct inotify_event`.
const COOKIE_AT: usize = 8;
const LENGTH_AT: usize = 12;
/// What inotify_add_watch(2) can be asked for (`ALL_INOTIFY_BITS`, include/linux/inotify.h).
const KNOWN: u32 = libc::IN_ALL_EVENTS
    | libc::IN_UNMOUNT
    | libc::IN_Q_OVERFLOW
    | libc::IN_IGNORED
    | libc::IN_ONLYDIR
    | libc::IN_DONT_FOLLOW
    | libc::IN_EXCL_UNLINK
    | libc::IN_MASK_ADD
    | libc::IN_MASK_CREATE
    | libc::IN_ISDIR
    | libc::IN_ONESHOT;

/// An inotify descriptor.
#[derive(Default)]
pub(crate) struct Inotify {
    /// By watch descriptor: what is watched, if it can change, and for what.
    watches: BTreeMap<c_int, (Option<(HostId, InodeId)>, u32)>,
    last: c_int,
    /// Events as read(2) gives them.
    events: VecDeque<Vec<u8>>,
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

    /// Queues an event, unless it is the same as the last one (inotify(7)), whatever its cookie; the end of a watch
    /// is always told (`event_compare`, fs/notify/inotify/inotify_fsnotify.c).
    fn queue(&mut self, watch: c_int, mask: u32, cookie: u32, name: &[u8]) {
        let event = event(watch, mask, cookie, name);
        let same = |last: &Vec<u8>| last[..COOKIE_AT] == event[..COOKIE_AT] && last[LENGTH_AT..] == event[LENGTH_AT..];
        let told = mask & libc::IN_IGNORED == 0 && self.events.back().is_some_and(same);
        if told || self.events.len() > EVENTS_MAX {
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
#[derive(Default)]
pub(crate) struct Watched {
    by_inode: BTreeMap<(HostId, InodeId), Vec<(FileId, c_int)>>,
    /// What the two events of the last rename(2) that somebody watched have in common.
    rename_cookie: u32,
}

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
        if mask & KNOWN == 0 || mask & !KNOWN != 0 {
            return Err(Stop::Errno(EINVAL));
        }
        self.file(me, fd)?;
        if mask & libc::IN_MASK_ADD != 0 && mask & libc::IN_MASK_CREATE != 0 {
            return Err(Stop::Errno(EINVAL));
        }
        self.watches(me, fd)?;
        let last = if mask & libc::IN_DONT_FOLLOW != 0 { Last::Keep } else { Last::Follow };
        let (path, node) = self.existing(me, at, last)?;
        if mask & libc::IN_ONLYDIR != 0 && !node.is_directory() {
            return Err(Stop::Errno(libc::ENOTDIR));
        }
        self.check_writable(me, &node, libc::R_OK)?; // inotify_add_watch(2), EACCES
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
            self.watched.by_inode.entry(target).or_default().push((id, watch));
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
            && let Some(watchers) = self.watched.by_inode.get_mut(&target)
        {
            watchers.retain(|watcher| *watcher != (id, watch));
            if watchers.is_empty() {
                self.watched.by_inode.remove(&target);
            }
        }
        self.notify(id, EPOLLIN as u32);
    }

    /// An inotify descriptor is closed.
    pub(crate) fn close_inotify(&mut self, id: FileId) {
        let Kind::Inotify(inotify) = &mut self.files[id].kind else { return };
        for target in std::mem::take(&mut inotify.watches).into_values().filter_map(|(target, _)| target) {
            if let Some(watchers) = self.watched.by_inode.get_mut(&target) {
                watchers.retain(|watcher| watcher.0 != id);
                if watchers.is_empty() {
                    self.watched.by_inode.remove(&target);
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

    /// Tells those who watch a directory what has happened to a name in it.
    pub(super) fn notice_name(&mut self, host: HostId, (directory, name): &Place, inode: InodeId, what: u32) {
        if self.watched.by_inode.is_empty() {
            return;
        }
        let event = Event { what: what | self.is_directory_bit(host, inode), cookie: 0, unlinked: false };
        self.tell_watchers((host, *directory), event, name);
    }

    /// Tells those who watch an inode what has happened to it.
    pub(super) fn notice_itself(&mut self, host: HostId, inode: InodeId, what: u32) {
        if self.watched.by_inode.is_empty() {
            return;
        }
        // Compatibility (fs/notify/inotify, `inotify_handle_inode_event`).
        let of_itself = what & (libc::IN_DELETE_SELF | libc::IN_MOVE_SELF) != 0;
        let kind = if of_itself { 0 } else { self.is_directory_bit(host, inode) };
        self.tell_watchers((host, inode), Event { what: what | kind, cookie: 0, unlinked: false }, b"");
    }

    /// Tells both: those who watch the directory of the name by which something was done, then those who watch what it
    /// was done to (`__fsnotify_parent`, fs/notify/fsnotify.c).
    fn notice_both(&mut self, host: HostId, name: Option<&OpenName>, inode: InodeId, what: u32) {
        if let Some(OpenName { place: (directory, name), linked }) = name {
            let what = what | self.is_directory_bit(host, inode);
            self.tell_watchers((host, *directory), Event { what, cookie: 0, unlinked: !linked }, name);
        }
        self.notice_itself(host, inode, what);
    }

    /// [`Kernel::notice_both`] for a file that is open, by the name that it was opened by.
    pub(super) fn notice_open(&mut self, id: FileId, what: u32) {
        if self.watched.by_inode.is_empty() || self.files[id].flags & libc::O_PATH != 0 {
            return;
        }
        let Kind::Disk(open) = &self.files[id].kind else { return };
        let (host, inode, name) = (open.host(), open.inode(), open.name().cloned());
        let disk = &self.hosts[host].disk;
        if disk.has(inode) {
            let name = name.or_else(|| name_of_directory(disk, inode));
            self.notice_both(host, name.as_ref(), inode, what);
        }
    }

    /// [`Kernel::notice_both`] for what a path has led to.
    pub(super) fn notice_at(&mut self, host: HostId, path: &Path, inode: InodeId, what: u32) {
        if self.watched.by_inode.is_empty() {
            return;
        }
        let disk = &self.hosts[host].disk;
        let name = match disk.inode(inode).directory() {
            Some(_) => name_of_directory(disk, inode),
            None => disk.place_of(path).map(|place| OpenName { place, linked: true }),
        };
        self.notice_both(host, name.as_ref(), inode, what);
    }

    /// A rename(2), in the order of `fsnotify_move` (include/linux/fsnotify.h).
    pub(super) fn notice_move(
        &mut self,
        host: HostId,
        inode: InodeId,
        (old, new): (&Place, &Place),
        replaced: Option<InodeId>,
    ) {
        if self.watched.by_inode.is_empty() {
            return;
        }
        self.watched.rename_cookie += 1;
        let (kind, cookie) = (self.is_directory_bit(host, inode), self.watched.rename_cookie);
        for ((directory, name), what) in [(old, libc::IN_MOVED_FROM), (new, libc::IN_MOVED_TO)] {
            self.tell_watchers((host, *directory), Event { what: what | kind, cookie, unlinked: false }, name);
        }
        if let Some(replaced) = replaced {
            self.notice_itself(host, replaced, libc::IN_ATTRIB);
        }
        self.notice_itself(host, inode, libc::IN_MOVE_SELF);
    }

    /// The last name of an inode is gone, and nobody has it open by that.
    pub(super) fn notice_end(&mut self, host: HostId, inode: InodeId) {
        self.notice_itself(host, inode, libc::IN_DELETE_SELF);
        for (id, watch) in self.watched.by_inode.get(&(host, inode)).cloned().unwrap_or_default() {
            self.end_watch(id, watch);
        }
    }

    fn is_directory_bit(&self, host: HostId, inode: InodeId) -> u32 {
        let is_directory = self.hosts[host].disk.inode(inode).directory().is_some();
        if is_directory { libc::IN_ISDIR } else { 0 }
    }

    fn tell_watchers(&mut self, target: (HostId, InodeId), event: Event, name: &[u8]) {
        let Some(watchers) = self.watched.by_inode.get(&target).cloned() else { return };
        for (id, watch) in watchers {
            let Kind::Inotify(inotify) = &mut self.files[id].kind else { continue };
            let mask = inotify.watches.get(&watch).map_or(0, |(_, mask)| *mask);
            if mask & event.what & libc::IN_ALL_EVENTS == 0 || event.unlinked && mask & libc::IN_EXCL_UNLINK != 0 {
                continue;
            }
            inotify.queue(watch, event.what, event.cookie, name);
            self.notify(id, EPOLLIN as u32);
            if mask & libc::IN_ONESHOT != 0 {
                self.end_watch(id, watch);
            }
        }
    }
}

/// What is told.
#[derive(Clone, Copy)]
struct Event {
    what: u32,
    /// The two halves of a rename share one (inotify(7)).
    cookie: u32,
    /// It is about a name that is gone (`IN_EXCL_UNLINK`).
    unlinked: bool,
}

/// The one name of a directory, or the last that it had.
fn name_of_directory(disk: &Disk, inode: InodeId) -> Option<OpenName> {
    let directory = disk.inode(inode).directory()?;
    match (&directory.above, &directory.was) {
        (Some(place), _) => Some(OpenName { place: place.clone(), linked: true }),
        (None, Some(was)) => Some(OpenName { place: was.place.clone(), linked: false }),
        (None, None) => None,
    }
}
