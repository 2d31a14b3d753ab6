//! What hosts see of files: those outside, read-only, and those that describe a machine, made up.
//!
//! A path is resolved component by component ([`walk`]), and each component is looked for in this order:
//!
//! | path | what a host sees |
//! | --- | --- |
//! | on the host's own [`disk`](super::disk), which lies over all the rest | what was made or changed there |
//! | named in [`tree`] | made up: from the world's configuration, the host and its process, never from the machine |
//! | anything else in `/proc`, `/sys`, `/dev`, `/run`; `/.dockerenv`, `/etc/hostname` and the like | nothing: `ENOENT` |
//! | `/usr/local/bin/PROGRAM` | the real executable, which is also `/proc/self/exe` |
//! | `/workspace/…` | the checkout (nearest `Cargo.lock` above the real working directory); programs start in it, at the place where the test was started |
//! | anything else | the file of that path outside |
//!
//! A host can write wherever a service may that runs as a user: not to `/etc`, `/usr` and the like ([`access`]). What
//! it writes is its own; whatever it changes of what is outside, it changes for itself alone. `/tmp`, `/run` and
//! `/dev/shm` are empty after each boot.
//!
//! **Files outside** can be read and mapped, never changed. Content, size and type are real and enter the digest;
//! owner, mode, times, inode and device numbers are made up, and directories are listed in order of names, so that a
//! replay on another checkout is equal. They do not change while a world runs.
//!
//! **The program's own code** ([`own`]: executable, loaded libraries, `/proc/self/maps`) is part of the case, not of
//! the outside: looking at it leaves no trace, so that printing a backtrace does not change the run.
//!
//! Of open files, those of the disk are in [`disk_file`], all others in [`outside`]. What is asked of files otherwise:
//! [`change`] has what makes and removes names, [`attributes`], [`sync`], [`locks`], [`mapped`], [`watch`].

mod access;
mod attributes;
mod calls;
mod change;
mod disk_file;
mod etc;
mod facts;
mod filesystem;
mod locks;
mod mapped;
mod outside;
mod own;
mod process;
mod sockets;
mod stat;
mod sync;
mod tree;
mod trouble;
mod walk;
mod watch;

pub(crate) use access::{TEMPORARY_FILES, VOLATILE};
pub(crate) use attributes::{Attribute, Time};
pub(crate) use change::{At, Doomed, Made};
pub(crate) use disk_file::{DiskFile, OpenNames};
pub(crate) use etc::{Account, USER, USER_ID, accounts};
pub(crate) use filesystem::Volume;
pub(crate) use locks::LockTable;
pub(crate) use mapped::MappedFiles;
pub(crate) use outside::{Outside, Whence};
pub(crate) use own::Own;
pub(crate) use stat::Stat;
pub(crate) use sync::Device as DiskDevice;
pub(crate) use trouble::Troubles;
pub(crate) use walk::{Last, Place};
pub(crate) use watch::{Inotify, Watched};

use super::disk::InodeId;
use super::dispatch::Kernel;
use super::file::FileId;
use super::process::ProcessId;
use super::thread::ThreadId;
use crate::carrier::outside::Seen;

/// Whom a made-up file is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Who {
    pub(crate) process: ProcessId,
    pub(crate) thread: ThreadId,
}

/// How the content of a made-up file comes about.
#[derive(Clone, Copy)]
pub(crate) enum Make {
    /// It is always the same.
    Text(&'static str),
    /// It is made whenever it is read from its beginning, as `/proc` does.
    By(fn(&mut Kernel, Who) -> Vec<u8>),
}

/// Devices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Device {
    Null,
    Zero,
    Full,
    Random,
    /// `/dev/tty` of a process without a terminal.
    Terminal,
}

/// What a file or path belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FileSystem {
    Disk,
    Proc,
    Sys,
    Cgroup,
    Memory,
    Pipe,
    Socket,
    Anonymous,
}

/// What a path leads to.
#[derive(Clone)]
pub(crate) enum Node {
    /// A directory outside.
    Directory,
    /// A directory of the made-up tree only.
    MadeDirectory,
    /// A regular file outside.
    Regular {
        bytes: u64,
        executable: bool,
    },
    /// A FIFO, socket or device outside: the bits of its type.
    Special(u32),
    /// A symbolic link.
    Link(Vec<u8>),
    /// A made-up file.
    Made(Make, Who),
    Device(Device),
    /// A link of `/proc/self/fd`: leads to the open file itself.
    Handle(FileId),
    /// Something of the host's disk, with the bits of its type.
    Own(InodeId, u32),
}

impl From<Seen> for Node {
    fn from(seen: Seen) -> Node {
        match seen {
            Seen::Directory => Node::Directory,
            Seen::Regular { bytes, executable } => Node::Regular { bytes, executable },
            Seen::Special(kind) => Node::Special(kind),
            Seen::Link(target) => Node::Link(target),
        }
    }
}

impl Node {
    pub(super) fn is_directory(&self) -> bool {
        matches!(self, Node::Directory | Node::MadeDirectory | Node::Own(_, libc::S_IFDIR))
    }
}
