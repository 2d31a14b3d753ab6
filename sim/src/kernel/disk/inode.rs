//! Inodes: what a name of a directory leads to.

use super::regular::Regular;
use crate::kernel::slots::Id;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Names an inode of one disk.
pub(crate) type InodeId = Id<Inode>;

/// What stat(2) tells besides type and size, and fsync(2) keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Attributes {
    /// Permissions and the set-id and sticky bits.
    pub(crate) mode: u32,
    pub(crate) owner: u32,
    pub(crate) group: u32,
    /// Nanoseconds since the epoch by the host's clock: last read, last written, last changed at all, made.
    pub(crate) read_ns: i64,
    pub(crate) written_ns: i64,
    pub(crate) changed_ns: i64,
    pub(crate) made_ns: i64,
}

/// What a name in a directory stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Entry {
    Inode(InodeId),
    /// What lies beneath is gone: a whiteout.
    Gone,
}

/// The names in a directory.
pub(crate) type Names = BTreeMap<Vec<u8>, Entry>;

/// A directory.
#[derive(Clone)]
pub(crate) struct Directory {
    pub(crate) current: Names,
    pub(super) durable: Names,
    /// The directory outside that shows through, by its path as hosts see it.
    pub(crate) beneath: Option<PathBuf>,
    /// The directory that it is in, and its name there; `None` for the root, and for one that was removed.
    pub(crate) above: Option<(InodeId, Vec<u8>)>,
    /// Where it was when it was removed.
    pub(crate) was: Option<Was>,
    /// How many of its names are directories.
    pub(super) directories: u64,
}

/// Where something was.
#[derive(Clone)]
pub(crate) struct Was {
    pub(crate) place: (InodeId, Vec<u8>),
    pub(crate) path: PathBuf,
}

impl Directory {
    /// A new one, with nothing in it.
    pub(crate) fn empty() -> Directory {
        Directory {
            current: Names::new(),
            durable: Names::new(),
            beneath: None,
            above: None,
            was: None,
            directories: 0,
        }
    }

    /// One that shows a directory outside as long as nothing in it is changed.
    pub(crate) fn over(beneath: PathBuf) -> Directory {
        Directory { beneath: Some(beneath), ..Directory::empty() }
    }
}

/// What an inode is.
#[derive(Clone)]
pub(crate) enum What {
    Regular(Regular),
    Directory(Directory),
    Link(Vec<u8>),
    /// A socket's name: the path that it was bound to.
    Socket(Vec<u8>),
}

impl What {
    /// The type bits of `st_mode`.
    pub(crate) fn file_type(&self) -> u32 {
        match self {
            What::Regular(_) => libc::S_IFREG,
            What::Directory(_) => libc::S_IFDIR,
            What::Link(_) => libc::S_IFLNK,
            What::Socket(_) => libc::S_IFSOCK,
        }
    }
}

/// An inode.
#[derive(Clone)]
pub(crate) struct Inode {
    /// `st_ino`.
    pub(crate) number: u64,
    pub(crate) what: What,
    pub(crate) attributes: Attributes,
    pub(super) durable: Attributes,
    /// Names that lead to it, for a directory without the dots.
    pub(crate) links: u32,
    /// Open files and working directories.
    pub(crate) opens: u32,
    /// It has never had a name and may get one: made with `O_TMPFILE` and without `O_EXCL` (open(2)).
    pub(crate) linkable: bool,
}

impl Inode {
    /// One that is on the disk as it is.
    pub(super) fn new(number: u64, what: What, attributes: Attributes, links: u32) -> Inode {
        Inode { number, what, attributes, durable: attributes, links, opens: 0, linkable: false }
    }

    /// What `st_nlink` says: a directory has `.`, and `..` of each directory in it.
    pub(crate) fn link_count(&self) -> u64 {
        match &self.what {
            What::Directory(_) if self.links == 0 => 0,
            What::Directory(directory) => 2 + directory.directories,
            What::Regular(_) | What::Link(_) | What::Socket(_) => u64::from(self.links),
        }
    }

    /// Its size, as stat(2) says it.
    pub(crate) fn bytes(&self) -> u64 {
        match &self.what {
            What::Regular(regular) => regular.content().bytes(),
            What::Directory(_) => super::PAGE_BYTES as u64,
            What::Link(target) => target.len() as u64,
            What::Socket(_) => 0,
        }
    }

    /// As a directory.
    pub(crate) fn directory(&self) -> Option<&Directory> {
        match &self.what {
            What::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    /// As a directory.
    pub(crate) fn directory_mut(&mut self) -> Option<&mut Directory> {
        match &mut self.what {
            What::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    /// As a regular file.
    pub(crate) fn regular(&self) -> Option<&Regular> {
        match &self.what {
            What::Regular(regular) => Some(regular),
            _ => None,
        }
    }

    /// As a regular file.
    pub(crate) fn regular_mut(&mut self) -> Option<&mut Regular> {
        match &mut self.what {
            What::Regular(regular) => Some(regular),
            _ => None,
        }
    }
}
