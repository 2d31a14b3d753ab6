//! What stat(2) says. Of a host's disk, what its inodes say; of what is outside, size and type as they are and
//! everything else made up, so that another checkout or machine says the same.

use super::{Device, Node, access};
use crate::kernel::disk::{Attributes, Inode};
use crate::kernel::file::{FileId, Kind};
use crate::kernel::{Kernel, ThreadId, pipe};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Files outside were last changed this long before the world began.
const AGE_NS: i64 = 86_400 * 1_000_000_000;
const BLOCK_BYTES: u64 = 4096;
/// What eventfds and the like share; below the numbers of pipes and sockets.
const ANONYMOUS_INODE: u64 = 0xfff;

/// Device numbers: `/dev/sda1` for what is outside, anonymous devices as Linux gives them for the rest.
const DISK: u64 = libc::makedev(8, 1);
const PROC: u64 = libc::makedev(0, 21);
const SYS: u64 = libc::makedev(0, 22);
const DEV: u64 = libc::makedev(0, 5);
const ANONYMOUS: u64 = libc::makedev(0, 14);
const RUN: u64 = libc::makedev(0, 24);
const SHARED_MEMORY: u64 = libc::makedev(0, 25);

/// The fields of `struct stat` and `struct statx` that differ from file to file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stat {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) mode: u32,
    pub(crate) links: u64,
    pub(crate) owner: u32,
    pub(crate) group: u32,
    /// What a device file stands for.
    pub(crate) stands_for: u64,
    pub(crate) bytes: u64,
    pub(crate) block_bytes: u64,
    /// Blocks of 512 bytes.
    pub(crate) blocks: u64,
    /// Nanoseconds since the epoch: last read, last written, last changed at all, made.
    pub(crate) read_ns: i64,
    pub(crate) written_ns: i64,
    pub(crate) changed_ns: i64,
    pub(crate) made_ns: i64,
}

impl Stat {
    /// For the digest.
    pub(crate) fn to_bytes(self) -> [u8; 80] {
        let words = [
            self.inode,
            self.bytes,
            u64::from(self.mode),
            self.read_ns as u64,
            self.written_ns as u64,
            self.changed_ns as u64,
            self.made_ns as u64,
            self.links,
            self.blocks,
            u64::from(self.owner) << 32 | u64::from(self.group),
        ];
        let mut bytes = [0; 80];
        for (part, word) in bytes.chunks_exact_mut(8).zip(words) {
            part.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    /// As an inode has them that is made of what this is about.
    pub(super) fn attributes(&self) -> Attributes {
        Attributes {
            mode: self.mode & 0o7777,
            owner: self.owner,
            group: self.group,
            read_ns: self.read_ns,
            written_ns: self.written_ns,
            changed_ns: self.changed_ns,
            made_ns: self.made_ns,
        }
    }
}

/// The device number of the file system that a path is on.
pub(super) fn device(path: &Path) -> u64 {
    let mut parts = path.components().skip(1).map(|part| part.as_os_str().to_str());
    match (parts.next().flatten(), parts.next().flatten()) {
        (Some("proc"), _) => PROC,
        (Some("sys"), _) => SYS,
        (Some("dev"), Some("shm")) => SHARED_MEMORY,
        (Some("dev"), _) => DEV,
        (Some("run"), _) => RUN,
        _ => DISK,
    }
}

/// A path's inode number: its hash, so that one file has one number and another checkout has the same.
pub(super) fn inode(path: &Path) -> u64 {
    xxhash_rust::xxh3::xxh3_64(path.as_os_str().as_bytes()) >> 16 | 1
}

impl Device {
    /// Major and minor numbers (Documentation/admin-guide/devices.txt).
    fn number(self) -> u64 {
        match self {
            Device::Null => libc::makedev(1, 3),
            Device::Zero => libc::makedev(1, 5),
            Device::Full => libc::makedev(1, 7),
            Device::Random => libc::makedev(1, 9),
            Device::Terminal => libc::makedev(5, 0),
        }
    }
}

impl Node {
    /// The type bits of `st_mode`.
    pub(super) fn file_type(&self) -> u32 {
        match self {
            Node::Directory | Node::MadeDirectory => libc::S_IFDIR,
            Node::Regular { .. } | Node::Made(..) => libc::S_IFREG,
            Node::Special(kind) | Node::Own(_, kind) => *kind,
            Node::Link(_) | Node::Handle(_) => libc::S_IFLNK,
            Node::Device(_) => libc::S_IFCHR,
        }
    }

    fn permissions(&self) -> u32 {
        match self {
            Node::Directory | Node::MadeDirectory | Node::Regular { executable: true, .. } => 0o755,
            Node::Regular { .. } => 0o644,
            Node::Made(..) => 0o444,
            Node::Special(_) | Node::Device(_) => 0o666,
            Node::Own(..) => 0, // its inode says so
            Node::Link(_) | Node::Handle(_) => 0o777,
        }
    }
}

/// stat(2) of an inode of a disk.
fn stat_inode(inode: &Inode, device: u64) -> Stat {
    let attributes = &inode.attributes;
    let pages = inode.regular().map_or(0, |regular| regular.content().pages_taken());
    let directory_blocks = u64::from(inode.directory().is_some()) * (BLOCK_BYTES / 512);
    Stat {
        device,
        inode: inode.number,
        mode: inode.what.file_type() | attributes.mode,
        links: inode.link_count(),
        owner: attributes.owner,
        group: attributes.group,
        stands_for: 0,
        bytes: inode.bytes(),
        block_bytes: BLOCK_BYTES,
        blocks: pages * (BLOCK_BYTES / 512) + directory_blocks,
        read_ns: attributes.read_ns,
        written_ns: attributes.written_ns,
        changed_ns: attributes.changed_ns,
        made_ns: attributes.made_ns,
    }
}

impl Kernel {
    /// stat(2) of what a path leads to.
    pub(super) fn stat_node(&self, me: ThreadId, path: &Path, node: &Node) -> Stat {
        match node {
            Node::Handle(file) if self.files.get(*file).is_some() => self.stat_file(me, *file),
            Node::Own(inode, _) => stat_inode(self.hosts[self.host_id(me)].disk.inode(*inode), device(path)),
            _ => self.stat_beneath(path, node),
        }
    }

    /// What the root directory of a host's disk is like.
    pub(crate) fn attributes_of_root(&self) -> Attributes {
        self.attributes_beneath(Path::new("/"), &Node::Directory)
    }

    /// What an inode begins with that takes over what lies beneath.
    pub(super) fn attributes_beneath(&self, path: &Path, node: &Node) -> Attributes {
        self.stat_beneath(path, node).attributes()
    }

    fn stat_beneath(&self, path: &Path, node: &Node) -> Stat {
        let (etc, device) = (path.starts_with("/etc"), device(path));
        let bytes = match node {
            Node::Regular { bytes, .. } => *bytes,
            Node::Link(target) => target.len() as u64,
            Node::Directory if device == DISK => BLOCK_BYTES,
            Node::Made(super::Make::Text(text), _) if etc => text.len() as u64,
            _ => 0,
        };
        let (owner, time_ns) = (access::owner(path), self.start_unix_ns as i64 - AGE_NS);
        Stat {
            device,
            inode: inode(path),
            mode: node.file_type() | if access::is_for_all(path) { 0o1777 } else { node.permissions() },
            links: if node.is_directory() { 2 } else { 1 },
            owner,
            group: owner,
            stands_for: if let Node::Device(device) = node { device.number() } else { 0 },
            bytes,
            block_bytes: BLOCK_BYTES,
            blocks: if device == DISK { bytes.div_ceil(BLOCK_BYTES) * (BLOCK_BYTES / 512) } else { 0 },
            read_ns: time_ns,
            written_ns: time_ns,
            changed_ns: time_ns,
            made_ns: time_ns,
        }
    }

    /// fstat(2).
    pub(super) fn stat_file(&self, me: ThreadId, id: FileId) -> Stat {
        let kind = &self.files[id].kind;
        let (permissions, device) = match kind {
            Kind::Outside(open) => return self.stat_node(me, open.path(), open.node()),
            Kind::Disk(open) if self.hosts[open.host()].disk.has(open.inode()) => {
                return stat_inode(self.hosts[open.host()].disk.inode(open.inode()), device(open.path()));
            }
            Kind::Disk(_) => (0, None),
            Kind::Null => (0o666, Some(Device::Null)),
            Kind::Zero => (0o666, Some(Device::Zero)),
            Kind::Full => (0o666, Some(Device::Full)),
            Kind::Random => (0o666, Some(Device::Random)),
            Kind::Socket(_) => (0o777, None),
            Kind::Console(_) | Kind::Pipe(_) | Kind::Event(_) | Kind::Timer(_) | Kind::Epoll(_) | Kind::Inotify(_) => {
                (0o600, None)
            }
        };
        let anonymous = matches!(kind, Kind::Event(_) | Kind::Timer(_) | Kind::Epoll(_) | Kind::Inotify(_));
        Stat {
            device: if device.is_some() { DEV } else { ANONYMOUS },
            inode: self.handle_number(id),
            mode: self.file_type(id) | permissions,
            links: 1,
            owner: if device.is_some() || anonymous { 0 } else { super::USER_ID },
            group: if device.is_some() || anonymous { 0 } else { super::USER_ID },
            stands_for: device.map_or(0, Device::number),
            bytes: 0,
            block_bytes: BLOCK_BYTES,
            blocks: 0,
            read_ns: self.start_unix_ns as i64,
            written_ns: self.start_unix_ns as i64,
            changed_ns: self.start_unix_ns as i64,
            made_ns: self.start_unix_ns as i64,
        }
    }

    /// The number in `socket:[4711]`: equal for both ends of a pipe, as on Linux.
    pub(super) fn handle_number(&self, id: FileId) -> u64 {
        let one = match &self.files[id].kind {
            // One inode for all of them (fs/anon_inodes.c, `anon_inode_inode`).
            Kind::Event(_) | Kind::Timer(_) | Kind::Epoll(_) | Kind::Inotify(_) => return ANONYMOUS_INODE,
            Kind::Pipe(end) => pipe::reader(end, id),
            _ => id,
        };
        (one.number() >> 32 << 20) + (one.number() & 0xffff_ffff) + 0x1000
    }
}
