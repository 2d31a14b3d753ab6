//! Sockets in the tree of files: unix(7).
//!
//! A socket's file outlives the program that bound it, as on Linux: whoever binds the path again unlinks it first.

use super::walk::Last;
use super::{At, Node, access};
use crate::kernel::disk::What;
use crate::kernel::{Kernel, Stop, ThreadId};
use libc::{EACCES, EADDRINUSE, ECONNREFUSED, ENOENT};
use std::path::{Path, PathBuf};

/// Permissions of a socket's file before the umask (net/unix/af_unix.c, `unix_bind_bsd`).
const MODE: u32 = 0o777;

impl Kernel {
    /// Where a socket bound to a path would be.
    ///
    /// # Errors
    /// As bind(2).
    pub(crate) fn new_socket_file(&mut self, me: ThreadId, path: &[u8]) -> Result<PathBuf, Stop> {
        let found = self.target(me, At { directory: libc::AT_FDCWD, path }, Last::Entry)?;
        match found.node {
            Some(_) => Err(Stop::Errno(EADDRINUSE)),
            None if found.slash => Err(Stop::Errno(ENOENT)),
            None => {
                found.check_alive()?;
                self.directory_to_change(me, found.path.parent().unwrap_or(Path::new("/")))?;
                Ok(found.path)
            }
        }
    }

    /// Makes a socket's file; `bound` is the path as bind(2) was given it.
    ///
    /// # Errors
    /// As bind(2).
    pub(crate) fn add_socket_file(&mut self, me: ThreadId, path: &Path, bound: &[u8]) -> Result<(), Stop> {
        self.make_at(me, path, What::Socket(bound.to_vec()), MODE).map(drop)
    }

    /// The path that the socket behind `path` was bound to.
    ///
    /// # Errors
    /// As connect(2).
    pub(crate) fn socket_file(&self, me: ThreadId, path: &[u8]) -> Result<Vec<u8>, Stop> {
        let found = self.target(me, At { directory: libc::AT_FDCWD, path }, Last::Follow)?;
        match found.node {
            None => Err(Stop::Errno(ENOENT)),
            Some(Node::Own(inode, _)) => {
                let inode = self.hosts[self.host_id(me)].disk.inode(inode);
                match &inode.what {
                    _ if !access::may(inode, libc::W_OK) => Err(Stop::Errno(EACCES)),
                    What::Socket(bound) => Ok(bound.clone()),
                    What::Regular(_) | What::Directory(_) | What::Link(_) => Err(Stop::Errno(ECONNREFUSED)),
                }
            }
            Some(_) => Err(Stop::Errno(ECONNREFUSED)),
        }
    }
}
