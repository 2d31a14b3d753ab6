//! A disk without inodes: no file can be made on it, whatever space is left.

use super::ground::Footing;
use super::own::OwnDisk;
use super::space::{self, Space};
use super::store::DiskKind;
use crate::Injection;
use crate::error::{Error, Result};
use crate::mounts;
use crate::step::reached;
use crate::sys::{Forked, end_now, fork, wait};
use crate::target::Process;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// What stays free on a file system that is not a host's own.
const RESERVE: u64 = 1000;
/// How often the goal may move while it is approached, by files that others make and remove.
const ATTEMPTS: usize = 64;
/// Until a holder has its files. A million of them take some seconds.
const HOLDER_TIMEOUT: Duration = Duration::from_secs(30);
/// How many holders open files at the same time: as many as there are likely to be processors for.
const TOGETHER: u64 = 2;
/// Fewer files than these are not worth a second process.
const ALONE: u64 = 512;
/// What a holder has open beside files.
const OTHER_DESCRIPTORS: u64 = 64;

/// A file system on which no more than so many files can be made.
///
/// On a disk of memory its count is lowered; elsewhere a child process holds as many files without names, which are
/// gone with it; several do for speed, or where one may not have so many open. They end with the thread that applied
/// the fault.
#[derive(Debug)]
pub struct InodeExhaustion {
    directory: Footing,
    left: u64,
    means: Means,
    watch: space::Watch,
    healed: bool,
}

#[derive(Debug)]
enum Means {
    /// The file system's count, which was this.
    Count {
        before: u64,
    },
    Held(Vec<Holder>),
}

impl InodeExhaustion {
    /// Leaves a host this many inodes on its own disk.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn of(disk: &OwnDisk, left: u64) -> Result<Self> {
        let directory = disk.ground();
        let means = match disk.kind() {
            DiskKind::Memory => Means::Count { before: space::of(directory.as_fd())?.inodes },
            DiskKind::Ext4 => Means::Held(Vec::new()),
        };
        Self::in_force(directory, left, means)
    }

    /// Leaves this many inodes on the file system of this directory, which is anybody's: at least 1000 stay free. A
    /// target's is opened by [`directory_of`](super::directory_of).
    ///
    /// # Errors
    /// The file system has no count of inodes (btrfs), or of more than 128 processes may have open.
    pub fn around(directory: OwnedFd, left: u64) -> Result<Self> {
        Self::in_force(Footing::fixed(directory), left.max(RESERVE), Means::Held(Vec::new()))
    }

    fn in_force(directory: Footing, left: u64, means: Means) -> Result<Self> {
        let before = space::of(directory.as_fd())?;
        if before.inodes == 0 {
            let remedy = "take a file system that counts inodes: ext4, xfs, tmpfs";
            return Err(Error::lacking("use up inodes", "the file system does not count them", remedy));
        }
        let mut exhaustion =
            Self { directory, left, means, watch: space::Watch::of(space::Taken::Inodes, before), healed: false };
        exhaustion.take()?;
        exhaustion.watch.rest(exhaustion.space()?);
        Ok(exhaustion)
    }

    /// What is free now.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn space(&self) -> Result<Space> {
        space::of(self.directory.as_fd())
    }

    /// Tries whether more files than were left can be made. They have no names and are gone at once.
    ///
    /// # Errors
    /// They can. So many that were left that trying is no use: more than 1000.
    pub fn confirm(&self) -> Result<()> {
        if self.left > RESERVE {
            let missing = format!("{} files were left, which is too many to try", self.left);
            return Err(Error::lacking(
                "see whether files can be made",
                missing,
                "leave fewer, or read back the count",
            ));
        }
        let mut files = Vec::new();
        for _ in 0..=self.left {
            match space::nameless_file(self.directory.as_fd()) {
                Ok(file) => files.push(file),
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(Error::os("see whether files can be made", error)),
            }
        }
        Err(Error::unlike("use up inodes", format!("room for {} files", self.left), "room for more"))
    }

    /// After a loss of power: the files that were held are gone with what they were on.
    fn follow(&mut self) -> Result<()> {
        if self.directory.follow()
            && let Means::Held(holders) = &mut self.means
        {
            Holder::end_all(holders);
            self.watch.rest(space::of(self.directory.as_fd())?);
        }
        Ok(())
    }

    /// Takes what is free beyond what is to be left.
    fn take(&mut self) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let space = self.space()?;
            let excess = space.free_inodes.saturating_sub(self.left);
            if excess == 0 {
                return Ok(());
            }
            reached("a disk's inodes are to be taken");
            match &mut self.means {
                Means::Count { .. } => {
                    let count = (space.inodes - excess).to_string();
                    match mounts::change_mount(self.directory.as_fd(), &[("nr_inodes", &count)]) {
                        // Somebody was faster to use them: then there are fewer to take.
                        Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => {}
                        changed => changed.map_err(|error| Error::os("use up inodes", error))?,
                    }
                }
                Means::Held(holders) => holders.extend(Holder::of_all(self.directory.as_fd(), excess)?),
            }
            reached("a disk's inodes are taken");
        }
        let found = format!("{} free", self.space()?.free_inodes);
        Err(Error::unlike("use up inodes", format!("at most {} free", self.left), found))
    }
}

impl Injection for InodeExhaustion {
    fn mechanism(&self) -> &'static str {
        match self.means {
            Means::Count { .. } => "tmpfs nr_inodes",
            Means::Held(_) => "files without names",
        }
    }

    /// Also takes what was freed since; all of it after a loss of power.
    fn read_back(&mut self) -> Result<()> {
        if self.healed {
            return Err(Error::unlike("use up inodes", format!("at most {} free", self.left), "healed"));
        }
        self.follow()?;
        self.watch.look(self.space()?);
        self.take()?;
        self.watch.rest(self.space()?);
        Ok(())
    }

    /// Inodes that changed hands since it was applied, as far as they were seen between two looks. The
    /// kernel does not count files that could not be made.
    fn bit(&mut self) -> Result<u64> {
        if !self.healed {
            self.follow()?;
            self.watch.look(self.space()?);
        }
        Ok(self.watch.changes())
    }

    fn heal(&mut self) -> Result<()> {
        if self.healed {
            return Ok(());
        }
        self.follow()?;
        self.watch.look(self.space()?);
        reached("a disk is to have its inodes back");
        match &mut self.means {
            Means::Count { before } => {
                let failed = |error| Error::os("give inodes back", error);
                mounts::change_mount(self.directory.as_fd(), &[("nr_inodes", &before.to_string())]).map_err(failed)?;
                let wanted = *before;
                let found = self.space()?.inodes;
                if found != wanted {
                    return Err(Error::unlike("give inodes back", wanted.to_string(), found.to_string()));
                }
            }
            Means::Held(holders) => Holder::end_all(holders),
        }
        self.healed = true;
        reached("a disk has its inodes back");
        Ok(())
    }
}

impl Drop for InodeExhaustion {
    fn drop(&mut self) {
        let _ = self.heal(); // Nobody to tell.
    }
}

/// A child process that has files open which have no names.
#[derive(Debug)]
struct Holder(Process);

impl Holder {
    /// How many files one can hold (`RLIMIT_NOFILE`, getrlimit(2)); further ones are held by further processes.
    fn most() -> u64 {
        getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX).saturating_sub(OTHER_DESCRIPTORS).max(1)
    }

    /// Has so many files open, or as many as some of these can.
    fn of_all(directory: BorrowedFd<'_>, count: u64) -> Result<Vec<Self>> {
        let holders = if count < ALONE { 1 } else { TOGETHER };
        let share = |holder: u64| ((count + holder) / holders).min(Self::most());
        let starting = (0..holders).map(|holder| Self::start(directory, share(holder))).collect::<Result<Vec<_>>>()?;
        starting.into_iter().map(|(holder, told)| holder.wait_for(told)).collect()
    }

    fn start(directory: BorrowedFd<'_>, count: u64) -> Result<(Self, UnixStream)> {
        let failed = |error| Error::os("hold files without names", error);
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        ours.set_read_timeout(Some(HOLDER_TIMEOUT)).map_err(failed)?;
        match fork().map_err(failed)? {
            Forked::Child => {
                reached("holder begun");
                drop(ours);
                let held = hold(directory, count, theirs);
                end_now(i32::from(held.is_err()))
            }
            // Without anybody to tell it ends.
            Forked::Parent(pid) => {
                reached("a holder is forked");
                Ok((Self(Process::open(pid)?), ours))
            }
        }
    }

    /// Returns when it has its files.
    fn wait_for(self, mut told: UnixStream) -> Result<Self> {
        told.read_exact(&mut [0]).map_err(|error| Error::os("hold files without names", error))?;
        Ok(self)
    }

    /// They give their files back at the same time.
    fn end_all(holders: &mut Vec<Self>) {
        for Self(holder) in &*holders {
            let _ = holder.kill();
        }
        reached("holders are killed");
        // A holder has ended when it is dropped, and its files with it.
        holders.clear();
    }
}

/// Opens as many files as there are inodes, says so, and stays until it is killed.
fn hold(directory: BorrowedFd<'_>, count: u64, mut parent: UnixStream) -> std::io::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    let mut files = Vec::new();
    for _ in 0..count {
        match space::nameless_file(directory) {
            Ok(file) => files.push(file),
            // Somebody else took the last one, which is as good.
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
            Err(error) => return Err(error),
        }
    }
    reached("a holder has its files");
    parent.write_all(b"y")?;
    reached("a holder has told");
    loop {
        std::thread::park();
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = wait(self.0.pid);
    }
}
