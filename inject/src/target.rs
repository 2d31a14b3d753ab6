//! What a fault strikes.

use crate::cgroup::read_members;
use crate::error::{Error, Result};
use crate::process::proc;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a fault strikes: not only hosts of a test, so nothing here knows of hosts.
///
/// A process is held by a pidfd, never by its number, which may be another's by the time it is used.
#[derive(Debug, Clone)]
pub enum Target {
    /// A process.
    Process(Process),
    /// All processes of a cgroup, by its directory.
    Cgroup(PathBuf),
    /// Whatever is in a namespace (`/proc/PID/ns/…`, opened).
    Namespace(Arc<OwnedFd>),
}

/// A process, held so that its number cannot become another's unnoticed.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its number in this process's PID namespace.
    pub pid: u32,
    /// Its pidfd (pidfd_open(2)).
    pub handle: Arc<OwnedFd>,
}

impl Target {
    /// The cgroup's directory, if it is one.
    pub fn cgroup(&self) -> Option<&Path> {
        match self {
            Self::Cgroup(path) => Some(path),
            _ => None,
        }
    }

    /// The process, if it is one.
    pub fn process(&self) -> Option<&Process> {
        match self {
            Self::Process(process) => Some(process),
            _ => None,
        }
    }

    /// The namespace, if it is one.
    pub fn namespace(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Namespace(fd) => Some(fd.as_fd()),
            _ => None,
        }
    }

    /// The network namespace that it is, or that a process is in.
    ///
    /// # Errors
    /// The process has ended or is another user's, or it is a cgroup: its members may be in several. That a namespace
    /// is no network shows when it is entered.
    pub fn network(&self) -> Result<OwnedFd> {
        const WHAT: &str = "find the network of a target";
        match self {
            Self::Namespace(ns) => ns.try_clone().map_err(|error| Error::os(WHAT, error)),
            Self::Process(process) => {
                let opened = File::open(format!("/proc/{}/ns/net", process.pid));
                // By now the number may be another's, unless the process still runs.
                if !process.is_alive() {
                    return Err(Error::gone(WHAT));
                }
                opened.map(OwnedFd::from).map_err(|error| Error::os(WHAT, error))
            }
            Self::Cgroup(_) => Err(Error::lacking(
                WHAT,
                "processes of one cgroup may be in many networks",
                "name one of its processes, or a network namespace",
            )),
        }
    }

    /// The numbers of all processes that belong to it now, in this process's PID namespace: a process and all that
    /// descend from it, as far as no process between them has ended; the members of a cgroup and of those below it; or
    /// whoever is in a namespace, of whatever kind that is. None, if it is gone.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn processes(&self) -> Result<Vec<u32>> {
        match self {
            Self::Process(process) => {
                let tree = proc::tree(process.pid);
                Ok(if process.is_alive() { tree } else { Vec::new() })
            }
            Self::Cgroup(directory) => members(directory),
            Self::Namespace(ns) => {
                let found = fs::metadata(format!("/proc/self/fd/{}", ns.as_raw_fd()));
                let found = found.map_err(|error| Error::os("look at a namespace", error))?;
                let all = proc::all().into_iter();
                Ok(all.filter(|pid| is_in(*pid, (found.dev(), found.ino()))).collect())
            }
        }
    }
}

/// Whether a process is in a namespace: all are inodes of one file system (namespaces(7)).
fn is_in(pid: u32, namespace: (u64, u64)) -> bool {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/ns")) else { return false };
    let found = entries.filter_map(|entry| fs::metadata(entry.ok()?.path()).ok());
    let mut found = found.map(|found| (found.dev(), found.ino()));
    found.any(|found| found == namespace)
}

/// Members of a cgroup and of those below it (cgroups(7)). Those that are out of this process's sight have no number
/// here.
fn members(directory: &Path) -> Result<Vec<u32>> {
    let failed = |error| Error::os(format!("list the members of {}", directory.display()), error);
    let listed = read_members(directory).and_then(|pids| Ok((pids, fs::read_dir(directory)?)));
    let (mut pids, entries) = match listed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.map_err(failed)?,
    };
    for below in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        pids.extend(members(&below.path())?);
    }
    Ok(pids)
}
