//! Whose what is, and who may do what: path_resolution(7), inode(7).
//!
//! Programs run as one user, as a service does, and their host's disk belongs to them; what belongs to the system is
//! root's, so that they can read it and not change it.

use super::{Node, Stat, USER_ID};
use crate::kernel::disk::Inode;
use libc::{EACCES, ENOENT, c_int};
use std::path::Path;

/// Where everything is root's (hier(7)).
const SYSTEM: [&str; 13] =
    ["/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/root", "/sbin", "/sys", "/usr"];
/// What lies there and is for everybody.
const EVERYBODYS: &str = "/dev/shm";
/// stdio.h, `P_tmpdir`.
pub(crate) const TEMPORARY_FILES: &[u8] = b"/tmp";
/// What does not outlive a boot (hier(7)).
pub(crate) const VOLATILE: [&str; 3] = ["/run", "/tmp", EVERYBODYS];

/// Whether a path lies where everything is root's.
pub(super) fn is_systems(path: &Path) -> bool {
    !path.starts_with(EVERYBODYS) && SYSTEM.iter().any(|top| path.starts_with(top))
}

/// Who owns what was found at a path.
pub(super) fn owner(path: &Path) -> u32 {
    if is_systems(path) || is_for_all(path) { 0 } else { USER_ID }
}

/// Whether a path is a directory of root's in which everybody makes files (hier(7): mode 1777).
pub(super) fn is_for_all(path: &Path) -> bool {
    path == Path::new("/tmp") || path == Path::new(EVERYBODYS)
}

/// Why nothing can be made, changed or removed in a directory of the system's.
pub(super) fn refusal(directory: &Path) -> c_int {
    // proc(5): a file system that knows only its own names.
    if directory.starts_with("/proc") { ENOENT } else { EACCES }
}

/// Whether programs may do this with an inode of the disk: `R_OK`, `W_OK`, `X_OK`.
pub(super) fn may(inode: &Inode, wanted: c_int) -> bool {
    let attributes = &inode.attributes;
    allows(attributes.mode, attributes.owner, attributes.group, wanted)
}

/// Whether programs may do this with what stat(2) says so of.
pub(super) fn stat_allows(stat: &Stat, wanted: c_int) -> bool {
    allows(stat.mode, stat.owner, stat.group, wanted)
}

/// inode(7): of the three sets of permissions the first that concerns one counts.
fn allows(mode: u32, owner: u32, group: u32, wanted: c_int) -> bool {
    let set = if owner == USER_ID {
        mode >> 6
    } else if group == USER_ID {
        mode >> 3
    } else {
        mode
    };
    wanted as u32 & !set & 7 == 0
}

impl Node {
    /// Whether it is a regular file of the disk, or one outside that could become one.
    pub(super) fn is_regular(&self) -> bool {
        matches!(self, Node::Regular { .. } | Node::Own(_, libc::S_IFREG))
    }
}
