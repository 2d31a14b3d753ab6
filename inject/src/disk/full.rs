//! A disk that is full: what a program may still write is little or nothing, until the fault heals.

use super::ground::Footing;
use super::own::OwnDisk;
use super::space::{self, Space};
use super::store::DiskKind;
use crate::Injection;
use crate::error::{Error, Result};
use crate::mounts;
use crate::step::reached;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// What is left to others on a file system that is not a host's own, however little was asked for: machines without any
/// space fail in ways that nobody asked for.
const RESERVE_BYTES: u64 = 64 << 20;
/// How often the goal may move while it is approached: others write and free, and file systems need space for knowing
/// what is used.
const ATTEMPTS: usize = 64;
/// As much is taken last of all, in one small piece, since a large one takes more than was asked for: the file system
/// writes down where its pieces lie (ext4's extents), a block for some hundreds of them.
const LAST_BLOCKS: u64 = 16;
/// How long it may take against others who free what is being taken.
const CONTEST: Duration = Duration::from_millis(80);

/// A file system on which no more than so many bytes are free.
///
/// On a disk of memory the size is lowered, which costs nothing; elsewhere a balloon is inflated: a file without a
/// name, which is gone with its holder. What the host frees while the fault is in force is taken away as well, each
/// time it is [read back](Injection::read_back).
#[derive(Debug)]
pub struct DiskFull {
    directory: Footing,
    left_bytes: u64,
    /// `None` once healed.
    means: Option<Means>,
    mechanism: &'static str,
    watch: space::Watch,
}

#[derive(Debug)]
enum Means {
    /// The file system's size, which was this many bytes. One page is held, for a tmpfs of size 0 is without limit.
    Size {
        before: u64,
        page: File,
    },
    Balloon(File),
}

impl DiskFull {
    /// Leaves a host this many bytes on its own disk, rounded down to whole blocks.
    ///
    /// As on any full disk not all of it is for what files contain: a directory to which the host writes for the first
    /// time takes a block, one that grows another, and a file in many pieces one for where they lie.
    ///
    /// # Errors
    /// The kernel refuses, or says afterwards that more is free.
    pub fn of(disk: &OwnDisk, left_bytes: u64) -> Result<Self> {
        let directory = disk.ground();
        let file = space::nameless_file(directory.as_fd()).map_err(|error| Error::os("fill a host's disk", error))?;
        let before = space::of(directory.as_fd())?;
        let means = match disk.kind() {
            DiskKind::Memory => {
                fallocate(&file, FallocateFlags::empty(), 0, 1).map_err(|error| Error::os("fill a disk", error))?;
                Means::Size { before: before.bytes, page: file }
            }
            DiskKind::Ext4 => Means::Balloon(file),
        };
        Self::in_force(directory, left_bytes, means)
    }

    /// Leaves this many bytes on the file system of this directory, which is anybody's: at least 64 MiB stay free.
    /// A target's is opened by [`directory_of`](super::directory_of).
    ///
    /// # Errors
    /// The file system cannot set space aside (`fallocate`), or this process may not write there.
    pub fn around(directory: OwnedFd, left_bytes: u64) -> Result<Self> {
        let balloon = space::nameless_file(directory.as_fd()).map_err(|error| Error::os("fill a disk", error))?;
        Self::in_force(Footing::fixed(directory), left_bytes.max(RESERVE_BYTES), Means::Balloon(balloon))
    }

    fn in_force(directory: Footing, left_bytes: u64, means: Means) -> Result<Self> {
        let before = space::of(directory.as_fd())?;
        let mechanism = match means {
            Means::Size { .. } => "tmpfs size",
            Means::Balloon(_) => "balloon without a name",
        };
        let watch = space::Watch::of(space::Taken::Blocks, before);
        let mut full = Self { directory, left_bytes, means: Some(means), mechanism, watch };
        full.take()?;
        let deadline = Instant::now() + CONTEST;
        while let Err(error) = full.confirm() {
            if Instant::now() > deadline {
                return Err(error);
            }
            full.take()?;
            full.contest()?;
        }
        full.watch.rest(full.space()?);
        Ok(full)
    }

    /// What is free now.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn space(&self) -> Result<Space> {
        space::of(self.directory.as_fd())
    }

    /// Tries whether more than was left could be written. Nothing is written.
    ///
    /// # Errors
    /// It could.
    pub fn confirm(&self) -> Result<()> {
        let block = self.space()?.block_bytes;
        let file = space::nameless_file(self.directory.as_fd());
        let length = self.left_bytes + block;
        match file.and_then(|file| Ok(fallocate(file, FallocateFlags::KEEP_SIZE, 0, length)?)) {
            Err(error) if is_full(&error) => Ok(()),
            Err(error) => Err(Error::os("see whether a disk is full", error)),
            Ok(()) => Err(Error::unlike("fill a disk", format!("no room for {length} bytes"), "room")),
        }
    }

    /// After a loss of power: the balloon burst with what it was on.
    fn follow(&mut self) -> Result<()> {
        if self.directory.follow()
            && let Some(Means::Balloon(balloon)) = &mut self.means
        {
            *balloon = space::nameless_file(self.directory.as_fd()).map_err(|error| Error::os("fill a disk", error))?;
            self.watch.rest(space::of(self.directory.as_fd())?);
        }
        Ok(())
    }

    /// Takes what is free beyond what is to be left.
    fn take(&mut self) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let space = self.space()?;
            let excess = space.free_bytes.saturating_sub(self.left_bytes).next_multiple_of(space.block_bytes);
            if excess == 0 {
                return Ok(());
            }
            reached("a disk's space is to be taken");
            let taken = match &self.means {
                None => return Ok(()),
                Some(Means::Size { .. }) => {
                    // Refused if somebody was faster to use it: then there is less to take.
                    let size = (space.bytes - excess).to_string();
                    mounts::change_mount(self.directory.as_fd(), &[("size", &size)])
                }
                Some(Means::Balloon(balloon)) => {
                    let last = LAST_BLOCKS * space.block_bytes;
                    let now = if excess > 2 * last { excess - last } else { excess };
                    inflate(balloon, now, space.block_bytes)
                }
            };
            reached("a disk's space is taken");
            match taken {
                Err(error) if !is_full(&error) && !is_refused(&error) => return Err(Error::os("fill a disk", error)),
                _ => {}
            }
        }
        let free = self.space()?.free_bytes;
        if free <= self.left_bytes { Ok(()) } else { Err(self.unlike(free)) }
    }

    /// Takes a block that others hold whenever one looks, and give back in between: asking for space waits for what is
    /// being freed (`ext4_should_retry_alloc`), which looking at what is free does not.
    fn contest(&self) -> Result<()> {
        let Some(Means::Balloon(balloon)) = &self.means else { return Ok(()) };
        let block = self.space()?.block_bytes;
        match inflate(balloon, block, block) {
            Err(error) if !is_full(&error) => Err(Error::os("fill a disk", error)),
            _ => Ok(()),
        }
    }

    fn unlike(&self, free: u64) -> Error {
        Error::unlike("fill a disk", format!("at most {} bytes free", self.left_bytes), format!("{free} bytes free"))
    }
}

/// Adds to a balloon, or half as much if that is too much: what is free is not all for files.
fn inflate(balloon: &File, excess: u64, block: u64) -> std::io::Result<()> {
    let length = balloon.metadata()?.len();
    let mut more = excess;
    loop {
        match fallocate(balloon, FallocateFlags::empty(), length, more) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::NOSPC) if more > block => more = (more / 2).next_multiple_of(block),
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

fn is_refused(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::InvalidInput
}

impl Injection for DiskFull {
    fn mechanism(&self) -> &'static str {
        self.mechanism
    }

    /// Also takes what was freed since, so that the disk is as full as asked for; all of it after a loss of power.
    fn read_back(&mut self) -> Result<()> {
        if self.means.is_none() {
            return Err(self.unlike(self.space()?.free_bytes));
        }
        self.follow()?;
        self.watch.look(self.space()?);
        self.take()?;
        self.watch.rest(self.space()?);
        Ok(())
    }

    /// Blocks that changed hands since it was applied, as far as they were seen between two looks: what was
    /// written into what was left, what was deleted to make room, and files that were made but could not be filled.
    /// The kernel does not count refused writes, so a program that only appends to a file on a disk without any space
    /// is not seen here.
    fn bit(&mut self) -> Result<u64> {
        self.follow()?;
        if self.means.is_some() {
            self.watch.look(self.space()?);
        }
        Ok(self.watch.changes())
    }

    fn heal(&mut self) -> Result<()> {
        self.follow()?;
        let failed = |error| Error::os("empty a disk that was filled", error);
        if self.means.is_some() {
            self.watch.look(self.space()?);
        }
        reached("a disk is to have its space back");
        match &self.means {
            None => return Ok(()),
            Some(Means::Size { before, page }) => {
                mounts::change_mount(self.directory.as_fd(), &[("size", &before.to_string())]).map_err(failed)?;
                reached("a disk has its size back");
                page.set_len(0).map_err(failed)?;
                let size = self.space()?.bytes;
                if size != *before {
                    return Err(Error::unlike(
                        "empty a disk that was filled",
                        format!("{before} bytes"),
                        size.to_string(),
                    ));
                }
            }
            Some(Means::Balloon(balloon)) => {
                let length = balloon.metadata().map_err(failed)?.len();
                // Not only closed: a child that was forked meanwhile may hold it as well.
                balloon.set_len(0).map_err(failed)?;
                let held = balloon.metadata().map_err(failed)?;
                let blocks = std::os::unix::fs::MetadataExt::blocks(&held);
                if length > 0 && blocks > 0 {
                    let found = format!("{blocks} blocks in the balloon");
                    return Err(Error::unlike("empty a disk that was filled", "an empty balloon", found));
                }
            }
        }
        reached("a disk has its space back");
        self.means = None;
        Ok(())
    }
}

impl Drop for DiskFull {
    fn drop(&mut self) {
        let _ = self.heal(); // Nobody to tell.
    }
}
