//! What brings files to the disk, and how long that takes: fsync(2), fdatasync(2), sync(2), O_SYNC; and their sizes:
//! ftruncate(2), fallocate(2).

use super::access;
use super::disk_file::FILE_BYTES_MAX;
use super::trouble::Operation;
use super::walk::Last;
use super::{At, Node};
use crate::kernel::disk::InodeId;
use crate::kernel::file::{FileId, Kind};
use crate::kernel::{Kernel, Step, Stop, ThreadId};
use crate::world::HostId;
use libc::{EACCES, EBADF, EFBIG, EINVAL, EIO, EISDIR, ENODEV, ENOSPC, EOPNOTSUPP, ESPIPE, c_int};

/// What flushing a solid-state disk's cache takes, and how fast it writes: 200 us and 1 GB/s, between what consumer
/// and datacentre NVMe disks show.
const FLUSH_NS: u64 = 200_000;
const BYTES_PER_US: u64 = 1000;
/// A disk that collects garbage.
const STALL_NS: u64 = 20_000_000;

/// How a disk works off what it is given: one thing at a time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Device {
    /// When it has done all that it was given so far.
    pub(crate) free_at: u64,
    /// Faults: how fast it is at most, and how long each operation takes more.
    throttle: Throttle,
    /// What was written under a limit will have been written back by then.
    written_back_at: u64,
    /// How many operations faults have made slower.
    pub(crate) throttled: u64,
}

/// What makes a disk slow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Throttle {
    /// 0 for no limit.
    pub(crate) bytes_per_second: u64,
    pub(crate) delay_ns: u64,
}

/// How much of a slow disk's time the page cache holds before those who write to it wait (`balance_dirty_pages`).
const WRITEBACK_AHEAD_NS: u64 = 1_000_000_000;

impl Device {
    /// Sets what slows it down.
    pub(crate) fn throttle(&mut self, throttle: Throttle) {
        self.throttle = throttle;
    }

    fn at_rate_ns(&self, bytes: u64) -> u64 {
        match self.throttle.bytes_per_second {
            0 => 0,
            rate => u64::try_from(u128::from(bytes) * 1_000_000_000 / u128::from(rate)).unwrap_or(u64::MAX),
        }
    }

    /// Notes a write to the page cache; answers until when its writer waits, if it does.
    fn write(&mut self, now: u64, bytes: u64) -> Option<u64> {
        if self.throttle.bytes_per_second == 0 {
            return None;
        }
        self.written_back_at = self.written_back_at.max(now).saturating_add(self.at_rate_ns(bytes));
        let waits_until = self.written_back_at.saturating_sub(WRITEBACK_AHEAD_NS);
        self.throttled += u64::from(waits_until > now);
        (waits_until > now).then_some(waits_until)
    }

    /// Gives it an operation that would take so long by itself; answers when it is done.
    fn take(&mut self, now: u64, bytes: u64, alone_ns: u64) -> u64 {
        if self.throttle != Throttle::default() {
            self.throttled += 1;
        }
        let takes_ns = alone_ns.max(self.at_rate_ns(bytes)).saturating_add(self.throttle.delay_ns);
        self.free_at = self.free_at.max(now).saturating_add(takes_ns);
        self.free_at
    }
}

impl Kernel {
    /// Waits until the disk has done its work for the call under way.
    fn wait_for_disk(&mut self, me: ThreadId, host: HostId, bytes: u64) -> Result<(), Stop> {
        if !self.threads[me].progress.begun {
            let varies = self.varied_flush_ns(host);
            let alone_ns = varies.saturating_add(bytes.saturating_mul(1000) / BYTES_PER_US);
            let done = self.hosts[host].device.take(self.now, bytes, alone_ns);
            self.deadline(me, Some(done));
            // uninterruptible: a signal waits for the disk (signal(7) speaks of slow devices only).
            self.threads[me].progress.uninterruptible = true;
        }
        if self.expired(me) { Ok(()) } else { Err(Stop::Block) }
    }

    /// Waits, after a write to the page cache of a slow disk, until enough of it has been written back. A look waits
    /// for nothing.
    pub(super) fn wait_for_writeback(&mut self, me: ThreadId, host: HostId, bytes: u64) -> Result<(), Stop> {
        let looks = self.threads[me].pending.is_some_and(|pending| pending.looking());
        match self.hosts[host].device.write(self.now, bytes) {
            Some(until) if !looks => {
                self.deadline(me, Some(until));
                self.threads[me].progress.uninterruptible = true;
                Err(Stop::Block)
            }
            _ => Ok(()),
        }
    }

    /// What one flush takes: now and then much longer.
    fn varied_flush_ns(&mut self, host: HostId) -> u64 {
        let host = &mut self.hosts[host];
        if host.hushed {
            return FLUSH_NS;
        }
        match host.disk_pace.below(256) {
            0 => FLUSH_NS + host.disk_pace.below(STALL_NS),
            _ => FLUSH_NS / 2 + host.disk_pace.below(2 * FLUSH_NS),
        }
    }

    /// fsync(2) of something of the disk: waits, then it is there.
    pub(super) fn finish_sync(&mut self, me: ThreadId, id: FileId, attributes_too: bool) -> Result<(), Stop> {
        let (host, inode) = self.disk_file(id)?;
        self.sync_inode(me, host, inode, attributes_too)
    }

    /// As [`Kernel::finish_sync`], of an inode.
    pub(super) fn sync_inode(
        &mut self,
        me: ThreadId,
        host: HostId,
        inode: InodeId,
        attributes_too: bool,
    ) -> Result<(), Stop> {
        self.absorb_mapped(host, inode);
        let bytes = self.hosts[host].disk.unsynced_bytes(inode);
        // What others write while this call waits is not its business, however late it ends.
        let now = self.hosts[host].disk.mark(inode);
        let mark = *self.threads[me].progress.sync_mark.get_or_insert(now);
        self.wait_for_disk(me, host, bytes)?;
        if !self.hosts[host].disk.has_failed_to_sync(inode) && self.disk_fails(host, Operation::Sync) {
            self.hosts[host].disk.fail_sync(inode, mark);
            return Err(Stop::Errno(EIO));
        }
        self.hosts[host].disk.sync(inode, mark, attributes_too);
        Ok(())
    }

    /// fsync(2), fdatasync(2).
    pub(crate) fn sync_open(&mut self, me: ThreadId, fd: c_int, attributes_too: bool) -> Step {
        self.check_sync(me, fd)?;
        let id = self.file(me, fd)?;
        if matches!(self.files[id].kind, Kind::Disk(_)) {
            self.pin(me, id);
            self.finish_sync(me, id, attributes_too)?;
        }
        Ok(0)
    }

    /// sync_file_range(2), which starts or awaits writeback: of files and directories only.
    pub(crate) fn check_sync_range(&mut self, me: ThreadId, fd: c_int) -> Step {
        let id = self.file(me, fd)?;
        self.unseen_if_own(id);
        let kind = self.file_type(id);
        if matches!(kind, libc::S_IFREG | libc::S_IFDIR | libc::S_IFLNK) { Ok(0) } else { Err(Stop::Errno(ESPIPE)) }
    }

    /// Whether a descriptor can be synced.
    pub(crate) fn check_sync(&mut self, me: ThreadId, fd: c_int) -> Step {
        let id = self.file(me, fd)?;
        self.unseen_if_own(id);
        match &self.files[id].kind {
            Kind::Outside(open) if !open.is_setting() => Ok(0),
            Kind::Disk(_) => Ok(0),
            _ => Err(Stop::Errno(EINVAL)),
        }
    }

    /// sync(2), and syncfs(2), which names the disk by a file.
    pub(crate) fn sync_disk(&mut self, me: ThreadId, fd: Option<c_int>) -> Step {
        if let Some(fd) = fd {
            self.file(me, fd)?;
        }
        let host = self.host_id(me);
        let bytes = if self.threads[me].progress.begun {
            0
        } else {
            self.absorb_all_mapped(host);
            let disk = &self.hosts[host].disk;
            disk.files().map(|inode| disk.unsynced_bytes(inode)).sum()
        };
        self.wait_for_disk(me, host, bytes)?;
        self.absorb_all_mapped(host);
        self.hosts[host].disk.sync_all();
        Ok(0)
    }

    /// truncate(2).
    pub(crate) fn truncate(&mut self, me: ThreadId, at: At<'_>, bytes: u64) -> Step {
        let (path, node) = self.existing(me, at, Last::Follow)?;
        if node.is_directory() {
            return Err(Stop::Errno(EISDIR));
        }
        if !node.is_regular() {
            return Err(Stop::Errno(EINVAL));
        }
        if access::is_systems(&path) {
            return Err(Stop::Errno(EACCES));
        }
        let inode = self.inode_at(me, &path, &node)?;
        if !access::may(self.disk(me).inode(inode), libc::W_OK) {
            return Err(Stop::Errno(EACCES));
        }
        if bytes > FILE_BYTES_MAX {
            return Err(Stop::Errno(EFBIG));
        }
        let host = self.host_id(me);
        let told = self.set_size(host, inode, bytes);
        self.notice_at(host, &path, inode, told);
        Ok(0)
    }

    /// ftruncate(2).
    pub(crate) fn truncate_open(&mut self, me: ThreadId, fd: c_int, bytes: u64) -> Step {
        let id = self.file(me, fd)?;
        if self.files[id].flags & libc::O_ACCMODE == libc::O_RDONLY {
            return Err(Stop::Errno(EINVAL));
        }
        let (host, inode, _) = self.regular_file(id).map_err(|_| Stop::Errno(EINVAL))?;
        if bytes > FILE_BYTES_MAX {
            return Err(Stop::Errno(EFBIG));
        }
        let told = self.set_size(host, inode, bytes);
        self.notice_open(id, told);
        Ok(0)
    }

    /// fallocate(2), in the order of checks of `vfs_fallocate` (fs/open.c).
    pub(crate) fn allocate_open(&mut self, me: ThreadId, fd: c_int, mode: c_int, offset: i64, bytes: i64) -> Step {
        const SUPPORTED: c_int = libc::FALLOC_FL_KEEP_SIZE | libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE;
        const KNOWN: c_int =
            SUPPORTED | libc::FALLOC_FL_COLLAPSE_RANGE | libc::FALLOC_FL_INSERT_RANGE | libc::FALLOC_FL_UNSHARE_RANGE;
        let id = self.file(me, fd)?;
        let (punches, zeros) = (mode & libc::FALLOC_FL_PUNCH_HOLE != 0, mode & libc::FALLOC_FL_ZERO_RANGE != 0);
        let keeps_size = mode & libc::FALLOC_FL_KEEP_SIZE != 0;
        if offset < 0 || bytes <= 0 {
            return Err(Stop::Errno(EINVAL));
        }
        if mode & !KNOWN != 0 || punches && (zeros || !keeps_size) {
            return Err(Stop::Errno(EOPNOTSUPP));
        }
        if self.files[id].flags & libc::O_ACCMODE == libc::O_RDONLY {
            return Err(Stop::Errno(EBADF));
        }
        match &self.files[id].kind {
            Kind::Disk(_) => {}
            Kind::Pipe(_) | Kind::Console(_) => return Err(Stop::Errno(ESPIPE)),
            _ => return Err(Stop::Errno(ENODEV)),
        }
        if mode & !SUPPORTED != 0 {
            return Err(Stop::Errno(EOPNOTSUPP));
        }
        let (offset, bytes) = (offset as u64, bytes as u64);
        if offset.saturating_add(bytes) > FILE_BYTES_MAX {
            return Err(Stop::Errno(EFBIG));
        }
        let (host, inode, regular) = self.regular_file(id)?;
        let size = regular.content().bytes();
        let changed = self.drop_set_id(host, inode);
        if punches || zeros {
            self.clear_stretch(host, inode, offset, bytes);
        }
        if !punches {
            let disk = &mut self.hosts[host].disk;
            if disk.room_for(inode, offset, bytes) < bytes {
                disk.space.refused_pages += 1;
                return Err(Stop::Errno(ENOSPC));
            }
            disk.change(inode, |regular| regular.take_pages(offset, bytes));
            if !keeps_size && offset + bytes > size {
                self.set_size(host, inode, offset + bytes);
            }
        }
        self.stamp(host, inode, true);
        if changed {
            self.notice_open(id, libc::IN_ATTRIB);
        }
        self.notice_open(id, libc::IN_MODIFY);
        Ok(0)
    }

    fn clear_stretch(&mut self, host: HostId, inode: InodeId, offset: u64, bytes: u64) {
        self.absorb_mapped(host, inode);
        let now = self.now;
        let size = self.hosts[host].disk.inode(inode).bytes();
        self.hosts[host].disk.change(inode, |regular| regular.clear(now, offset, bytes));
        self.show_mapped(host, inode, offset, bytes.min(size.saturating_sub(offset)));
    }

    /// Whether programs may do this with what a path has led to.
    pub(super) fn check_writable(&mut self, me: ThreadId, node: &Node, wanted: c_int) -> Result<(), Stop> {
        match node {
            Node::Own(inode, _) if !access::may(self.disk(me).inode(*inode), wanted) => Err(Stop::Errno(EACCES)),
            _ => Ok(()),
        }
    }
}
