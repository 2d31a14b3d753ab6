//! Files of the disk that are mapped for sharing: mmap(2) with `MAP_SHARED`, msync(2).
//!
//! Such a file's bytes are also in a [`Region`], memory that the real kernel shares out: programs map it, and write to
//! it without a call. So whatever looks at the file first takes over what has changed there, and whatever writes to the
//! file writes there as well. What was written to memory is dirty until msync(2) or fsync(2), like any other write.

use super::locks::Owner;
use super::walk::Base;
use crate::carrier::outside::{self, Mapping, Region};
use crate::kernel::disk::{InodeId, PAGE_BYTES};
use crate::kernel::file::FileId;
use crate::kernel::{Kernel, ProcessId, Step, Stop, ThreadId};
use crate::world::HostId;
use libc::c_int;
use std::collections::BTreeMap;

/// A file that is mapped for sharing.
pub(crate) struct Mapped {
    region: Region,
    /// Somebody may write to it in memory.
    writable: bool,
    /// Where it is mapped, as addresses: from, to.
    ranges: Vec<(usize, usize)>,
}

/// Every such file of a world.
pub(crate) type MappedFiles = BTreeMap<(HostId, InodeId), Mapped>;

impl Kernel {
    /// mmap(2) of a file of the disk; what the descriptor allows has been checked.
    pub(super) fn map_disk(&mut self, id: FileId, at: Mapping, offset: u64) -> Result<usize, Stop> {
        let (host, inode) = self.disk_file(id)?;
        self.absorb_mapped(host, inode);
        let (_, _, regular) = self.regular_file(id).map_err(|_| Stop::Errno(libc::ENODEV))?;
        let visible = regular.content().bytes().saturating_sub(offset).min(at.bytes() as u64);
        let mut content = vec![0; visible as usize];
        regular.content().read(offset, &mut content);
        self.log.returned(&content);
        if !at.is_shared() {
            return outside::map_copy(at, &content).map_err(Stop::Errno);
        }
        drop(content);
        if !self.mapped.contains_key(&(host, inode)) {
            let region = Region::new().map_err(Stop::Errno)?;
            self.hosts[host].disk.hold(inode);
            self.mapped.insert((host, inode), Mapped { region, writable: false, ranges: Vec::new() });
            let bytes = self.hosts[host].disk.inode(inode).bytes();
            self.show_mapped(host, inode, 0, bytes);
        }
        let Some(mapped) = self.mapped.get_mut(&(host, inode)) else { return Err(Stop::Errno(libc::ENODEV)) };
        let address = mapped.region.map(at, offset).map_err(Stop::Errno)?;
        // mprotect(2) may make it writable later, if the descriptor allows it.
        mapped.writable |= self.files[id].flags & libc::O_ACCMODE == libc::O_RDWR;
        let (from, to) = (address, address + at.bytes());
        mapped.ranges.retain(|range| range.1 <= from || to <= range.0);
        mapped.ranges.push((from, to));
        Ok(address)
    }

    /// Takes over what programs have written to a mapped file's memory.
    pub(super) fn absorb_mapped(&mut self, host: HostId, inode: InodeId) {
        let Some(mapped) = self.mapped.get(&(host, inode)).filter(|mapped| mapped.writable) else { return };
        let now = self.now;
        let changed = self.hosts[host].disk.change(inode, |regular| {
            let bytes = regular.content().bytes();
            let mut changed = false;
            let (mut there, mut here) = ([0; PAGE_BYTES], [0; PAGE_BYTES]);
            for number in 0..bytes.div_ceil(PAGE_BYTES as u64) {
                let offset = number * PAGE_BYTES as u64;
                let count = (bytes - offset).min(PAGE_BYTES as u64) as usize;
                mapped.region.read(offset, &mut there[..count]);
                regular.content().read(offset, &mut here[..count]);
                if there[..count] != here[..count] {
                    regular.write(now, offset, &there[..count]);
                    changed = true;
                }
            }
            changed
        });
        if changed == Some(true) {
            self.stamp(host, inode, true);
        }
    }

    /// [`Kernel::absorb_mapped`] for all files of a host.
    pub(crate) fn absorb_all_mapped(&mut self, host: HostId) {
        let all: Vec<InodeId> = self.mapped.keys().filter(|key| key.0 == host).map(|key| key.1).collect();
        for inode in all {
            self.absorb_mapped(host, inode);
        }
    }

    /// Shows a stretch that was written to those who have the file mapped.
    pub(super) fn show_mapped(&mut self, host: HostId, inode: InodeId, offset: u64, bytes: u64) {
        let Some(mapped) = self.mapped.get_mut(&(host, inode)) else { return };
        let Some(regular) = self.hosts[host].disk.inode(inode).regular() else { return };
        mapped.region.resize(regular.content().bytes());
        let mut block = [0; PAGE_BYTES];
        let (mut at, end) = (offset, offset + bytes);
        while at < end {
            let want = (end - at).min(PAGE_BYTES as u64) as usize;
            let count = regular.content().read(at, &mut block[..want]);
            if count == 0 {
                break;
            }
            mapped.region.write(at, &block[..count]);
            at += count as u64;
        }
    }

    /// A mapped file has got another size.
    pub(super) fn resize_mapped(&mut self, host: HostId, inode: InodeId) {
        if let Some(mapped) = self.mapped.get_mut(&(host, inode)) {
            mapped.region.resize(self.hosts[host].disk.inode(inode).bytes());
        }
    }

    /// A process ends: what it has of files besides descriptors.
    pub(crate) fn leave_files(&mut self, process: ProcessId) {
        self.forget_locks(|lock| lock.owner == Owner::Process(process));
        let host = self.processes[process].host;
        if let Base::Disk(inode) = self.processes[process].place.directory {
            self.let_go(host, inode);
        }
        self.unmap_all(host);
    }

    fn unmap_all(&mut self, host: HostId) {
        let all: Vec<InodeId> = self.mapped.keys().filter(|key| key.0 == host).map(|key| key.1).collect();
        for inode in all {
            self.absorb_mapped(host, inode);
            self.mapped.remove(&(host, inode));
            self.hosts[host].disk.let_go(inode);
        }
    }

    /// msync(2); `None` when nothing of the disk is mapped there.
    pub(crate) fn sync_mapped(&mut self, me: ThreadId, address: usize, bytes: usize, flags: c_int) -> Option<Step> {
        let end = address.saturating_add(bytes);
        let hit = |mapped: &Mapped| mapped.ranges.iter().any(|range| range.0 < end && address < range.1);
        let (host, inode) = self.mapped.iter().find(|(_, mapped)| hit(mapped)).map(|(key, _)| *key)?;
        if flags & libc::MS_SYNC == 0 {
            self.absorb_mapped(host, inode);
            return Some(Ok(0));
        }
        Some(self.sync_inode(me, host, inode, false).map(|()| 0))
    }
}
