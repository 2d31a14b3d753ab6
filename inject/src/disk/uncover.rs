//! Taking an overlay away that hides a directory of somebody else's, whoever mounted it.

use crate::journal::Outcome;
use crate::mounts::{self, Mounted};
use crate::process::proc;
use crate::step::reached;
use crate::sys::{End, Forked, end_now, fork, wait};
use crate::target::Process;
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, open, openat, statx};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::fchdir;
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A mount over a directory, to be written down before it is there. A detached mount has its number already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Covered {
    /// The mount namespace in which it is: its inode.
    pub namespace: u64,
    /// The directory, as seen from there.
    pub directory: PathBuf,
    /// The mount's number. Once it is unmounted another one may have that.
    pub mount: u64,
    /// What it is a mount of, which no other one is.
    pub source: String,
}

/// How long unmounting may take.
const UNCOVER_WITHIN: Duration = Duration::from_secs(2);
/// How often somebody may end who was in the namespace when he was looked for.
const SOMEBODY_TRIES_MAX: usize = 100;
/// How a process ends that went to where a mount was.
const GONE: i32 = 0;
const FAILED: i32 = 1;
const HIDDEN: i32 = 2;
const NOWHERE: i32 = 3;

impl Covered {
    /// Unmounts it. Should something else be mounted over it, it stays, for that would be unmounted instead.
    pub(crate) fn undo(&self) -> Outcome {
        for _ in 0..SOMEBODY_TRIES_MAX {
            let Some(process) = self.somebody_there() else { return Outcome::TargetGone };
            // Another process, as this one may have threads, and is to stay where it is.
            let code = match fork() {
                Err(error) => return self.failed(&error.to_string()),
                Ok(Forked::Child) => end_now(self.uncover_there(&process)),
                Ok(Forked::Parent(child)) => end_of(child),
            };
            match code {
                GONE => return Outcome::Recovered,
                NOWHERE if !process.is_alive() => {} // Somebody else may be there.
                NOWHERE => return self.failed("this user may not enter its mount namespace"),
                HIDDEN => return self.failed("something is mounted over it"),
                _ => return self.failed("it cannot be unmounted"),
            }
        }
        self.failed("whoever is there ends")
    }

    fn failed(&self, reason: &str) -> Outcome {
        Outcome::failed(format!("uncover {}: {reason}", self.directory.display()))
    }

    /// A process in the namespace. A namespace of which none is left has gone, and the mount with it.
    fn somebody_there(&self) -> Option<Process> {
        let is_there = |pid: &u32| proc::namespace(*pid, "mnt").is_ok_and(|inode| inode == self.namespace);
        proc::all().into_iter().find_map(|pid| {
            let process = Process::open(pid).ok().filter(|_| is_there(&pid))?;
            process.is_alive().then_some(process)
        })
    }

    fn uncover_there(&self, process: &Process) -> i32 {
        let Ok(itself) = go_to(process) else { return NOWHERE };
        match self.uncover(&itself) {
            Ok(()) => GONE,
            Err(Refused::Hidden) => HIDDEN,
            Err(Refused::Os(_)) => FAILED,
        }
    }

    /// Unmounts it, from within its namespace. It is well, too, if it is not there any more. `itself` is this process's
    /// directory in `/proc`, where it goes.
    pub(super) fn uncover(&self, itself: &OwnedFd) -> Result<(), Refused> {
        // Unmounted by somebody, whose mount may have its number by now.
        if !self.is_there(itself)? {
            return Ok(());
        }
        let top = open(&self.directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        // Beneath something of somebody's, which is not to be unmounted instead.
        if mount_id(&top, Path::new(""))? != self.mount {
            return Err(Refused::Hidden);
        }
        reached("an overlay is to be unmounted");
        // By its descriptor: others may unmount it at the same time, and then its place is another mount's.
        fchdir(itself)?;
        match unmount(format!("fd/{}", top.as_raw_fd()), UnmountFlags::DETACH) {
            Err(error) if self.is_there(itself)? => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
        reached("an overlay is unmounted");
        Ok(())
    }

    fn is_there(&self, itself: &OwnedFd) -> Result<bool, Refused> {
        let mut mountinfo = Vec::new();
        let file = openat(itself, "mountinfo", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        File::from(file).read_to_end(&mut mountinfo)?;
        let is_it = |mount: &Mounted| mount.id == self.mount && mount.source == self.source;
        Ok(mounts::parse(&mountinfo).iter().any(is_it))
    }
}

/// How a child ends. One that somebody has stopped is killed: whoever undoes waits for nobody.
fn end_of(child: u32) -> i32 {
    if let Ok(process) = Process::open(child)
        && !process.ends_within(UNCOVER_WITHIN)
    {
        let _ = process.kill();
    }
    wait(child).map_or(FAILED, End::code)
}

/// Why it stays.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("something mounted over it")]
    Hidden,
    #[error(transparent)]
    Os(#[from] io::Error),
}

impl From<Errno> for Refused {
    fn from(error: Errno) -> Self {
        Self::Os(error.into())
    }
}

/// Enters the process's mount namespace, and its user namespace if it takes that. Answers this process's own directory
/// in `/proc`, because the one there may be of another PID namespace.
pub(super) fn go_to(process: &Process) -> io::Result<OwnedFd> {
    let itself = open("/proc/self", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let with_user = ThreadNameSpaceType::USER | ThreadNameSpaceType::MOUNT;
    move_into_thread_name_spaces(process.handle.as_fd(), ThreadNameSpaceType::MOUNT)
        .or_else(|_| move_into_thread_name_spaces(process.handle.as_fd(), with_user))?;
    Ok(itself)
}

/// statx(2), `STATX_MNT_ID`: the mount that is seen at a path.
pub(super) fn mount_id(directory: impl AsFd, path: &Path) -> io::Result<u64> {
    Ok(statx(directory, path, AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?.stx_mnt_id)
}
