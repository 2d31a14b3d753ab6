//! Open files and directories of a host's disk: reading, writing, listing.

use super::trouble::Operation;
use super::{Whence, access, stat};
use crate::abi::user::{In, Out};
use crate::kernel::disk::{Directory, Disk, Entry, Inode, InodeId, Regular, What};
use crate::kernel::file::{FileId, Kind};
use crate::kernel::{Kernel, Step, Stop, ThreadId};
use crate::world::HostId;
use libc::{EACCES, EBADF, EFBIG, EINVAL, EIO, EISDIR, ENOSPC, ENOTDIR, c_int};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Bytes that one call moves at most: what read(2) and write(2) do on Linux.
pub(super) const MOVED_BYTES_MAX: usize = 0x7fff_f000;
/// Bytes that are moved at a time.
pub(super) const BLOCK_BYTES: usize = 1 << 16;
/// ext4's largest file with blocks of 4 KiB: their numbers have 32 bits (fs/ext4/super.c, ext4_max_size).
pub(super) const FILE_BYTES_MAX: u64 = (16 << 40) - 4096;
/// relatime (mount(8)): an access time is kept up to date once a day.
const DAY_NS: i64 = 86_400 * 1_000_000_000;
/// `ktime_get_coarse_real_ts64`: files are stamped with the time of the last tick, at 250 Hz.
const TICK_NS: i64 = 4_000_000;

/// A file or directory of a disk that is open.
pub(crate) struct DiskFile {
    host: HostId,
    inode: InodeId,
    /// As it was opened, or where it was when it lost the name that it was opened by.
    path: PathBuf,
    /// The name that it was opened by. None of a directory, which has one name only.
    name: Option<OpenName>,
    pub(super) position: u64,
    /// Name, type bits and inode number of each entry, once somebody has asked.
    listing: Option<Vec<Listed>>,
}

/// A name: a directory of the disk, and an entry of it.
pub(super) type Place = (InodeId, Vec<u8>);

/// The name that a file was opened by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct OpenName {
    pub(super) place: Place,
    /// It still leads there.
    pub(super) linked: bool,
}

impl OpenName {
    /// The path that it is now, or was last.
    pub(super) fn path(&self, disk: &Disk) -> Option<PathBuf> {
        let (above, name) = &self.place;
        Some(disk.path_of(*above)?.join(OsStr::from_bytes(name)))
    }
}

/// Open files that have a name, by what they are.
pub(crate) type OpenNames = BTreeMap<(HostId, InodeId), Vec<FileId>>;

/// An entry of a directory as it is listed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Listed {
    pub(super) name: Vec<u8>,
    pub(super) kind: u32,
    pub(super) inode: u64,
}

impl DiskFile {
    /// Whose disk it is on.
    pub(crate) fn host(&self) -> HostId {
        self.host
    }

    /// What is open.
    pub(crate) fn inode(&self) -> InodeId {
        self.inode
    }

    /// As it was opened, or where it was when it lost that name.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The name that it was opened by, unless it is a directory.
    pub(super) fn name(&self) -> Option<&OpenName> {
        self.name.as_ref()
    }
}

impl Kernel {
    /// The disk that a thread's paths are on.
    pub(super) fn disk(&mut self, me: ThreadId) -> &mut Disk {
        let host = self.host_id(me);
        &mut self.hosts[host].disk
    }

    /// What files are stamped with on a host now.
    pub(super) fn file_time(&self, host: HostId) -> i64 {
        let now = (self.now as i64).saturating_add(self.hosts[host].wall.adds(self.now));
        now - now.rem_euclid(TICK_NS)
    }

    /// Stamps an inode as written to, or only as changed.
    pub(super) fn stamp(&mut self, host: HostId, inode: InodeId, written: bool) {
        let time = self.file_time(host);
        let attributes = &mut self.hosts[host].disk.inode_mut(inode).attributes;
        attributes.changed_ns = time;
        if written {
            attributes.written_ns = time;
        }
    }

    /// Somebody has changed what is in a file: it runs as nobody else any more (`setattr_should_drop_suidgid`,
    /// fs/attr.c). Answers whether it did.
    pub(super) fn drop_set_id(&mut self, host: HostId, inode: InodeId) -> bool {
        let mode = &mut self.hosts[host].disk.inode_mut(inode).attributes.mode;
        let bits = super::attributes::set_id_bits(*mode);
        *mode &= !bits;
        bits != 0
    }

    /// The open file of the disk behind a file.
    ///
    /// # Errors
    /// `EINVAL` when it is something else; `EIO` when its disk has lost power since.
    pub(super) fn disk_file(&self, id: FileId) -> Result<(HostId, InodeId), Stop> {
        match &self.files[id].kind {
            Kind::Disk(open) if self.hosts[open.host].disk.has(open.inode) => Ok((open.host, open.inode)),
            Kind::Disk(_) => Err(Stop::Errno(EIO)),
            _ => Err(Stop::Errno(EINVAL)),
        }
    }

    /// The inode of a descriptor, to look up names on the calling thread's own disk.
    ///
    /// # Errors
    /// `EXDEV` for another host's: clients share the test's descriptors, but not its disk.
    pub(super) fn own_inode(&self, me: ThreadId, id: FileId) -> Result<InodeId, Stop> {
        let (host, inode) = self.disk_file(id)?;
        if host == self.host_id(me) { Ok(inode) } else { Err(Stop::Errno(libc::EXDEV)) }
    }

    /// As [`Kernel::disk_file`], for a regular file.
    pub(super) fn regular_file(&mut self, id: FileId) -> Result<(HostId, InodeId, &mut Regular), Stop> {
        let (host, inode) = self.disk_file(id)?;
        match &mut self.hosts[host].disk.inode_mut(inode).what {
            What::Regular(regular) => Ok((host, inode, regular)),
            What::Directory(_) => Err(Stop::Errno(EISDIR)),
            What::Link(_) | What::Socket(_) => Err(Stop::Errno(EBADF)),
        }
    }

    /// Opens an inode that a path has led to.
    pub(super) fn open_inode(&mut self, me: ThreadId, inode: InodeId, path: PathBuf) -> Kind {
        let host = self.host_id(me);
        self.hosts[host].disk.hold(inode);
        let disk = &self.hosts[host].disk;
        let is_directory = disk.inode(inode).directory().is_some();
        let named = |place| OpenName { linked: disk.leads_to(&place, inode), place };
        let name = if is_directory { None } else { disk.place_of(&path).map(named) };
        // Who has a file open has the directory that it is in (fs/dcache.c: a dentry holds its parent).
        if let Some(name) = &name {
            self.hosts[host].disk.hold(name.place.0);
        }
        Kind::Disk(DiskFile { host, inode, path, name, position: 0, listing: None })
    }

    /// A file of a disk is open, in the order of `do_open` (fs/namei.c). Notes what it is called, so that it follows
    /// when that changes.
    pub(super) fn now_open(&mut self, id: FileId, flags: c_int) {
        let Kind::Disk(open) = &self.files[id].kind else { return };
        let (host, inode) = (open.host, open.inode);
        if open.name.is_some() {
            self.open_names.entry((host, inode)).or_default().push(id);
        }
        self.notice_open(id, libc::IN_OPEN);
        if flags & libc::O_TRUNC != 0 && flags & libc::O_PATH == 0 {
            let told = self.set_size(host, inode, 0);
            self.notice_open(id, told);
        }
    }

    /// What an inode was called is now another name of it, or none: its open files follow.
    pub(super) fn follow_name(&mut self, host: HostId, inode: InodeId, old: &Place, new: Option<&Place>) {
        let Some(open) = self.open_names.get(&(host, inode)) else { return };
        let disk = &mut self.hosts[host].disk;
        let was = disk.path_of(old.0).unwrap_or_default().join(OsStr::from_bytes(&old.1));
        for id in open {
            if let Kind::Disk(open) = &mut self.files[*id].kind
                && let Some(name) = open.name.as_mut().filter(|name| name.linked && name.place == *old)
            {
                match new {
                    Some(new) => {
                        disk.hold(new.0);
                        disk.let_go(name.place.0);
                        name.place.clone_from(new);
                    }
                    None => (name.linked, open.path) = (false, was.clone()),
                }
            }
        }
    }

    /// Whether somebody has an inode open by a name.
    pub(super) fn is_open_as(&self, host: HostId, inode: InodeId, place: &Place) -> bool {
        let open = self.open_names.get(&(host, inode)).into_iter().flatten();
        let mut names = open.filter_map(|id| match &self.files[*id].kind {
            Kind::Disk(open) => open.name.as_ref(),
            _ => None,
        });
        names.any(|name| name.place == *place)
    }

    /// The last descriptor of an open file is closed.
    pub(crate) fn close_disk_file(&mut self, id: FileId) {
        let written = self.files[id].flags & libc::O_ACCMODE != libc::O_RDONLY;
        self.notice_open(id, if written { libc::IN_CLOSE_WRITE } else { libc::IN_CLOSE_NOWRITE });
        if let Kind::Disk(open) = &self.files[id].kind {
            let (host, inode) = (open.host, open.inode);
            let name = open.name.clone();
            if let Some(named) = self.open_names.get_mut(&(host, inode)) {
                named.retain(|file| *file != id);
                if named.is_empty() {
                    self.open_names.remove(&(host, inode));
                }
            }
            let ends = |disk: &Disk| disk.has(inode) && disk.inode(inode).links == 0;
            if let Some(OpenName { place, linked: false }) = &name
                && ends(&self.hosts[host].disk)
                && !self.is_open_as(host, inode, place)
            {
                self.notice_end(host, inode);
            }
            self.let_go(host, inode);
            if let Some(name) = name {
                self.let_go(host, name.place.0);
            }
        }
    }

    /// Somebody leaves a directory, or a file is open once less.
    pub(super) fn let_go(&mut self, host: HostId, inode: InodeId) {
        let disk = &self.hosts[host].disk;
        let ends = |found: &Inode| found.directory().is_some() && found.links == 0 && found.opens == 1;
        if disk.has(inode) && ends(disk.inode(inode)) {
            self.notice_end(host, inode);
        }
        self.hosts[host].disk.let_go(inode);
    }

    /// read(2) and pread(2).
    pub(crate) fn disk_read(&mut self, id: FileId, out: &mut Out<'_>, offset: Option<u64>) -> Step {
        let from = match (offset, &self.files[id].kind) {
            (Some(offset), _) if i64::try_from(offset).is_err() => return Err(Stop::Errno(EINVAL)),
            (Some(offset), _) => offset,
            (None, Kind::Disk(open)) => open.position,
            (None, _) => return Err(Stop::Errno(EINVAL)),
        };
        let (host, inode, _) = self.regular_file(id)?;
        self.absorb_mapped(host, inode);
        if self.disk_fails(host, Operation::Read) {
            return Err(Stop::Errno(EIO));
        }
        let total = out.len().min(MOVED_BYTES_MAX);
        let mut buffer = [0; 4096];
        let mut done = 0;
        while done < total {
            let want = (total - done).min(buffer.len());
            let Kernel { hosts, log, .. } = self;
            let Some(regular) = hosts[host].disk.inode(inode).regular() else { break };
            let count = regular.content().read(from + done as u64, &mut buffer[..want]);
            log.returned(&buffer[..count]);
            done += out.write_at(done, &buffer[..count]);
            if count < want {
                break;
            }
        }
        if let (None, Kind::Disk(open)) = (offset, &mut self.files[id].kind) {
            open.position = from + done as u64;
        }
        self.note_read(id, host, inode);
        if done > 0 {
            self.notice_open(id, libc::IN_ACCESS);
        }
        Ok(done as i64)
    }

    /// Something of a file has been read in another way than by read(2).
    pub(super) fn was_read(&mut self, id: FileId) {
        if let Ok((host, inode)) = self.disk_file(id) {
            self.note_read(id, host, inode);
            self.notice_open(id, libc::IN_ACCESS);
        }
    }

    /// relatime: mount(8).
    fn note_read(&mut self, id: FileId, host: HostId, inode: InodeId) {
        if self.files[id].flags & libc::O_NOATIME != 0 {
            return;
        }
        let time = self.file_time(host);
        let attributes = &mut self.hosts[host].disk.inode_mut(inode).attributes;
        let stale = attributes.read_ns <= attributes.written_ns.max(attributes.changed_ns);
        if stale || time - attributes.read_ns >= DAY_NS {
            attributes.read_ns = time;
        }
    }

    /// write(2) and pwrite(2).
    pub(crate) fn disk_write(&mut self, me: ThreadId, id: FileId, input: &In<'_>, offset: Option<u64>) -> Step {
        let synchronous = self.files[id].flags & (libc::O_SYNC | libc::O_DSYNC) != 0;
        if self.threads[me].progress.begun {
            // The bytes are in the cache: only their way to the disk is waited for.
            if synchronous {
                self.finish_sync(me, id, self.files[id].flags & libc::O_SYNC == libc::O_SYNC)?;
            } else if !self.expired(me) {
                return Err(Stop::Block);
            }
            return Ok(self.threads[me].progress.done as i64);
        }
        let (host, inode, regular) = self.regular_file(id)?;
        let end = regular.content().bytes();
        let (position, at) = match &self.files[id].kind {
            // pwrite(2), BUGS: with O_APPEND, Linux appends whatever the offset.
            Kind::Disk(_) if self.files[id].flags & libc::O_APPEND != 0 => (offset.is_none(), end),
            Kind::Disk(open) => (offset.is_none(), offset.unwrap_or(open.position)),
            _ => return Err(Stop::Errno(EINVAL)),
        };
        let total = input.len().min(MOVED_BYTES_MAX);
        if total == 0 {
            return Ok(0);
        }
        if at.saturating_add(total as u64) > i64::MAX as u64 {
            return Err(Stop::Errno(EINVAL)); // write(2): no offset is as large
        }
        if at >= FILE_BYTES_MAX {
            return Err(Stop::Errno(EFBIG));
        }
        self.absorb_mapped(host, inode);
        let total = total.min((FILE_BYTES_MAX - at) as usize);
        let Kernel { hosts, now, .. } = self;
        let disk = &mut hosts[host].disk;
        let wanted = total as u64;
        let total = disk.room_for(inode, at, wanted);
        disk.space.refused_pages += u64::from(total < wanted);
        if total == 0 {
            return Err(Stop::Errno(ENOSPC));
        }
        let mut to = at;
        disk.change(inode, |regular| {
            input.pieces(0, total as usize, |bytes| {
                regular.write(*now, to, bytes);
                to += bytes.len() as u64;
            });
        });
        self.show_mapped(host, inode, at, total);
        if let (true, Kind::Disk(open)) = (position, &mut self.files[id].kind) {
            open.position = to;
        }
        self.stamp(host, inode, true);
        if self.drop_set_id(host, inode) {
            self.notice_open(id, libc::IN_ATTRIB);
        }
        self.notice_open(id, libc::IN_MODIFY);
        self.threads[me].progress.done = total;
        if synchronous {
            self.pin(me, id);
            self.finish_sync(me, id, self.files[id].flags & libc::O_SYNC == libc::O_SYNC)?;
        } else if let Err(stop) = self.wait_for_writeback(me, host, total) {
            self.pin(me, id);
            return Err(stop);
        }
        Ok(total as i64)
    }

    /// Sets a file's size, and gives back what it does not need any more. Answers what to tell those who watch it.
    pub(super) fn set_size(&mut self, host: HostId, inode: InodeId, bytes: u64) -> u32 {
        self.absorb_mapped(host, inode);
        let now = self.now;
        self.hosts[host].disk.change(inode, |regular| regular.resize(now, bytes));
        self.resize_mapped(host, inode);
        self.stamp(host, inode, true);
        let changed = self.drop_set_id(host, inode);
        libc::IN_MODIFY | if changed { libc::IN_ATTRIB } else { 0 } // `fsnotify_change`: one change, one event
    }

    /// A directory of the disk, given its path: taken over from what lies beneath where need be.
    ///
    /// # Errors
    /// `ENOTDIR`: something else is there.
    pub(super) fn directory_at(&mut self, me: ThreadId, path: &Path) -> Result<InodeId, Stop> {
        let host = self.host_id(me);
        let mut here = self.hosts[host].disk.root();
        let mut so_far = PathBuf::from("/");
        for part in path.components().skip(1) {
            so_far.push(part);
            let name = part.as_os_str().as_bytes();
            here = match self.hosts[host].disk.entry(here, name) {
                Some(Entry::Inode(next)) => next,
                Some(Entry::Gone) => return Err(Stop::Errno(libc::ENOENT)),
                None => {
                    let what = What::Directory(Directory::over(so_far.clone()));
                    let attributes = self.attributes_beneath(&so_far, &super::Node::Directory);
                    self.hosts[host].disk.adopt(here, name, stat::inode(&so_far), what, attributes)
                }
            };
        }
        if self.hosts[host].disk.inode(here).directory().is_none() {
            return Err(Stop::Errno(ENOTDIR));
        }
        Ok(here)
    }

    /// The directory that a name is to be made in, changed in or removed from.
    ///
    /// # Errors
    /// `EACCES` and its like.
    pub(super) fn directory_to_change(&mut self, me: ThreadId, path: &Path) -> Result<InodeId, Stop> {
        if access::is_systems(path) {
            return Err(Stop::Errno(access::refusal(path)));
        }
        let directory = self.directory_at(me, path)?;
        let may = access::may(self.disk(me).inode(directory), libc::W_OK | libc::X_OK);
        if may { Ok(directory) } else { Err(Stop::Errno(EACCES)) }
    }

    /// What a directory holds, in the order in which it is listed: `.`, `..`, then by name.
    pub(super) fn list_disk(&self, me: ThreadId, inode: InodeId) -> Result<Vec<Listed>, i32> {
        let disk = &self.hosts[self.host_id(me)].disk;
        let Some(directory) = disk.inode(inode).directory() else { return Err(ENOTDIR) };
        let beneath = match &directory.beneath {
            Some(beneath) => self.list_beneath(self.who(me), beneath)?,
            None => Vec::new(),
        };
        let mut all: Vec<Listed> =
            beneath.into_iter().filter(|listed| !directory.current.contains_key(&listed.name)).collect();
        for (name, entry) in &directory.current {
            if let Entry::Inode(inode) = entry {
                let Inode { number, what, .. } = disk.inode(*inode);
                all.push(Listed { name: name.clone(), kind: what.file_type(), inode: *number });
            }
        }
        all.sort();
        let number = |inode: InodeId| disk.inode(inode).number;
        let above = directory.above.as_ref().map_or(inode, |(above, _)| *above);
        let dot = |name: &[u8], inode| Listed { name: name.to_vec(), kind: libc::S_IFDIR, inode: number(inode) };
        Ok([dot(b".", inode), dot(b"..", above)].into_iter().chain(all).collect())
    }

    /// lseek(2).
    pub(super) fn seek_on_disk(&mut self, id: FileId, offset: i64, whence: Whence) -> Step {
        let (host, inode) = self.disk_file(id)?;
        let Kind::Disk(open) = &self.files[id].kind else { return Err(Stop::Errno(EINVAL)) };
        let inode = self.hosts[host].disk.inode(inode);
        let content = inode.regular().map(Regular::content);
        let end = content.map_or(0, |content| content.bytes());
        let within = || u64::try_from(offset).ok().filter(|offset| *offset < end).ok_or(Stop::Errno(libc::ENXIO));
        let to = match (whence, content) {
            (Whence::Start, _) => Some(offset),
            (Whence::Current, _) => (open.position as i64).checked_add(offset),
            (Whence::End, _) => (end as i64).checked_add(offset),
            (Whence::Data, Some(content)) => Some(content.next_data(within()?).ok_or(Stop::Errno(libc::ENXIO))? as i64),
            (Whence::Hole, Some(content)) => Some(content.next_hole(within()?) as i64),
            (Whence::Data | Whence::Hole, None) => return Err(Stop::Errno(EINVAL)),
        };
        let fits = |to: &i64| u64::try_from(*to).is_ok_and(|to| to <= FILE_BYTES_MAX);
        let to = to.filter(fits).ok_or(Stop::Errno(EINVAL))?;
        if let Kind::Disk(open) = &mut self.files[id].kind {
            open.position = to as u64;
        }
        Ok(to)
    }

    /// getdents64(2).
    pub(crate) fn disk_entries(&mut self, me: ThreadId, id: FileId, out: &mut Out<'_>) -> Step {
        let (host, inode) = (self.host_id(me), self.own_inode(me, id)?);
        let Kind::Disk(open) = &self.files[id].kind else { return Err(Stop::Errno(ENOTDIR)) };
        if self.hosts[host].disk.inode(inode).directory().is_none() {
            return Err(Stop::Errno(ENOTDIR));
        }
        if self.hosts[host].disk.inode(inode).links == 0 {
            return Err(Stop::Errno(libc::ENOENT)); // fs/readdir.c, iterate_dir
        }
        if open.position == 0 || open.listing.is_none() {
            let listing = self.list_disk(me, inode).map_err(Stop::Errno)?;
            if let Kind::Disk(open) = &mut self.files[id].kind {
                open.listing = Some(listing);
            }
        }
        let Kind::Disk(open) = &mut self.files[id].kind else { return Err(Stop::Errno(ENOTDIR)) };
        let step = super::outside::put_entries(open.listing.as_deref().unwrap_or_default(), open.position, out)?;
        open.position = step.position;
        self.log.returned(&step.records);
        out.write_at(0, &step.records);
        self.note_read(id, host, inode);
        self.notice_open(id, libc::IN_ACCESS);
        Ok(step.records.len() as i64)
    }

    /// Whether a descriptor is of a file of the disk.
    pub(crate) fn is_on_disk(&self, me: ThreadId, fd: c_int) -> bool {
        self.file(me, fd).is_ok_and(|id| matches!(self.files[id].kind, Kind::Disk(_)))
    }

    /// Bytes from a regular file's position to its end, less than none behind it (`FIONREAD`; fs/ioctl.c, file_ioctl).
    pub(crate) fn left_on_disk(&self, id: FileId) -> Option<i64> {
        let Kind::Disk(open) = &self.files[id].kind else { return None };
        Some(self.hosts[open.host].disk.get(open.inode)?.regular()?.content().bytes() as i64 - open.position as i64)
    }

    /// The bytes of an open file from a position on, without moving it.
    pub(super) fn peek_disk(&mut self, id: FileId, offset: Option<u64>, bytes: usize) -> Result<Vec<u8>, Stop> {
        let from = match &self.files[id].kind {
            Kind::Disk(open) => offset.unwrap_or(open.position),
            _ => return Err(Stop::Errno(EINVAL)),
        };
        let (host, inode) = self.disk_file(id)?;
        self.absorb_mapped(host, inode);
        // A directory has no `splice_read` (fs/splice.c).
        let (_, _, regular) = self.regular_file(id).map_err(|_| Stop::Errno(EINVAL))?;
        let mut buffer = vec![0; bytes.min(BLOCK_BYTES)];
        let count = regular.content().read(from, &mut buffer);
        buffer.truncate(count);
        Ok(buffer)
    }
}
