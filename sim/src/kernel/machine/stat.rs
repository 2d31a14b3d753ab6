//! What stat(2) says: size and type as they are, everything else made up, so that another checkout or machine says the
//! same.

use super::{Device, Node};
use crate::kernel::Kernel;
use crate::kernel::file::{FileId, Kind};
use crate::kernel::pipe;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Files outside were last changed this long before the world began.
const AGE_NS: i64 = 86_400 * 1_000_000_000;
const BLOCK_BYTES: u64 = 4096;

/// Device numbers: `/dev/sda1` for what is outside, anonymous devices as Linux gives them for the rest.
const DISK: u64 = libc::makedev(8, 1);
const PROC: u64 = libc::makedev(0, 21);
const SYS: u64 = libc::makedev(0, 22);
const DEV: u64 = libc::makedev(0, 5);
const ANONYMOUS: u64 = libc::makedev(0, 14);

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
    /// Of last access, change and birth alike, in nanoseconds since the epoch.
    pub(crate) time_ns: i64,
}

impl Stat {
    /// For the digest.
    pub(crate) fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.inode.to_ne_bytes());
        bytes[8..16].copy_from_slice(&self.bytes.to_ne_bytes());
        bytes[16..20].copy_from_slice(&self.mode.to_ne_bytes());
        bytes[20..28].copy_from_slice(&self.time_ns.to_ne_bytes());
        bytes
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
            Node::Special(kind) => *kind,
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
            Node::Link(_) | Node::Handle(_) => 0o777,
        }
    }
}

impl Kernel {
    /// stat(2) of what a path leads to.
    pub(super) fn stat_node(&self, path: &Path, node: &Node) -> Stat {
        if let Node::Handle(file) = node
            && self.files.get(*file).is_some()
        {
            return self.stat_file(*file);
        }
        let (etc, first) = (path.starts_with("/etc"), path.components().nth(1));
        let device = match first.and_then(|c| c.as_os_str().to_str()) {
            Some("proc") => PROC,
            Some("sys") => SYS,
            Some("dev") => DEV,
            _ => DISK,
        };
        let bytes = match node {
            Node::Regular { bytes, .. } => *bytes,
            Node::Link(target) => target.len() as u64,
            Node::Directory if device == DISK => BLOCK_BYTES,
            Node::Made(super::Make::Text(text), _) if etc => text.len() as u64,
            _ => 0,
        };
        Stat {
            device,
            inode: inode(path),
            mode: node.file_type() | node.permissions(),
            links: if node.is_directory() { 2 } else { 1 },
            owner: 0,
            group: 0,
            stands_for: if let Node::Device(device) = node { device.number() } else { 0 },
            bytes,
            block_bytes: BLOCK_BYTES,
            blocks: if device == DISK { bytes.div_ceil(BLOCK_BYTES) * (BLOCK_BYTES / 512) } else { 0 },
            time_ns: self.start_unix_ns as i64 - AGE_NS,
        }
    }

    /// fstat(2).
    pub(super) fn stat_file(&self, id: FileId) -> Stat {
        let kind = &self.files[id].kind;
        let (permissions, device) = match kind {
            Kind::Outside(open) => return self.stat_node(open.path(), open.node()),
            Kind::Null => (0o666, Some(Device::Null)),
            Kind::Zero => (0o666, Some(Device::Zero)),
            Kind::Full => (0o666, Some(Device::Full)),
            Kind::Random => (0o666, Some(Device::Random)),
            Kind::Socket(_) => (0o777, None),
            Kind::Console(_) | Kind::Pipe(_) | Kind::Event(_) | Kind::Timer(_) | Kind::Epoll(_) => (0o600, None),
        };
        Stat {
            device: if device.is_some() { DEV } else { ANONYMOUS },
            inode: self.handle_number(id),
            mode: self.file_type(id) | permissions,
            links: 1,
            owner: if device.is_some() { 0 } else { super::USER_ID },
            group: if device.is_some() { 0 } else { super::USER_ID },
            stands_for: device.map_or(0, Device::number),
            bytes: 0,
            block_bytes: BLOCK_BYTES,
            blocks: 0,
            time_ns: self.start_unix_ns as i64,
        }
    }

    /// The number in `socket:[4711]`: equal for both ends of a pipe, as on Linux.
    pub(super) fn handle_number(&self, id: FileId) -> u64 {
        let one = match &self.files[id].kind {
            Kind::Pipe(end) => pipe::reader(end, id),
            _ => id,
        };
        (one.number() >> 32 << 20) + (one.number() & 0xffff_ffff) + 0x1000
    }
}
