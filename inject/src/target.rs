//! What a fault strikes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
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
}
