//! Sockets in the tree of files: unix(7). They are what programs may make without a disk, as they hold nothing.
//!
//! A socket's file outlives the program that bound it, as on Linux: whoever binds the path again unlinks it first. A
//! host that loses power comes back with an empty `/run` and `/tmp`.

use super::Node;
use super::walk::{Last, walk};
use crate::kernel::{Kernel, Stop, ThreadId};
use crate::world::HostId;
use libc::{EADDRINUSE, ECONNREFUSED, ENOENT, S_IFSOCK};
use std::path::{Path, PathBuf};

/// What does not outlive a boot (hier(7)).
const VOLATILE: [&str; 2] = ["/run", "/tmp"];

impl Kernel {
    /// Where a socket bound to a path would be.
    ///
    /// # Errors
    /// As bind(2).
    pub(crate) fn new_socket_file(&self, me: ThreadId, path: &[u8]) -> Result<PathBuf, Stop> {
        let base = self.base(me, libc::AT_FDCWD, path)?;
        let found = walk(self, self.who(me), &base, path, Last::Entry).map_err(Stop::Errno)?;
        match found.node {
            Some(_) => Err(Stop::Errno(EADDRINUSE)),
            None if found.slash => Err(Stop::Errno(ENOENT)),
            None => Ok(found.path),
        }
    }

    /// Makes a socket's file; `bound` is the path as bind(2) was given it.
    pub(crate) fn add_socket_file(&mut self, me: ThreadId, path: PathBuf, bound: &[u8]) {
        let host = self.processes[self.threads[me].process].host;
        self.hosts[host].socket_files.insert(path, bound.to_vec());
    }

    /// The path that the socket behind `path` was bound to.
    ///
    /// # Errors
    /// As connect(2).
    pub(crate) fn socket_file(&self, me: ThreadId, path: &[u8]) -> Result<Vec<u8>, Stop> {
        let base = self.base(me, libc::AT_FDCWD, path)?;
        let found = walk(self, self.who(me), &base, path, Last::Follow).map_err(Stop::Errno)?;
        let host = self.processes[self.threads[me].process].host;
        match (found.node, self.hosts[host].socket_files.get(&found.path)) {
            (None, _) => Err(Stop::Errno(ENOENT)),
            (Some(_), Some(bound)) => Ok(bound.clone()),
            (Some(_), None) => Err(Stop::Errno(ECONNREFUSED)),
        }
    }

    /// Removes a socket's file; false when there is none.
    pub(super) fn remove_socket_file(&mut self, me: ThreadId, path: &Path) -> bool {
        let host = self.processes[self.threads[me].process].host;
        let Some(bound) = self.hosts[host].socket_files.remove(path) else { return false };
        self.unix_unlink(host, &bound);
        true
    }

    /// What a boot clears.
    pub(crate) fn forget_volatile_files(&mut self, host: HostId) {
        let gone: Vec<PathBuf> = self.hosts[host].socket_files.keys().cloned().collect();
        for path in gone.into_iter().filter(|path| VOLATILE.iter().any(|top| path.starts_with(top))) {
            if let Some(bound) = self.hosts[host].socket_files.remove(&path) {
                self.unix_unlink(host, &bound);
            }
        }
    }
}

/// What the host itself has made at a path.
pub(super) fn look_up(k: &Kernel, host: HostId, path: &Path) -> Option<Node> {
    k.hosts[host].socket_files.contains_key(path).then_some(Node::Special(S_IFSOCK))
}

/// Names of what the host itself has made in a directory.
pub(super) fn list(k: &Kernel, host: HostId, directory: &Path) -> Vec<(Vec<u8>, u32)> {
    let files = k.hosts[host].socket_files.keys().filter(|path| path.parent() == Some(directory));
    files.filter_map(|path| Some((path.file_name()?.as_encoded_bytes().to_vec(), S_IFSOCK))).collect()
}
