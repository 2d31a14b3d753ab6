//! mount_setattr(2), which rustix does not have yet.

use rustix::mount::MountAttrFlags;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `struct mount_attr`, linux/mount.h.
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// Sets attributes of the mount a descriptor is of, and of all mounts below it.
///
/// # Errors
/// As mount_setattr(2): `ENOSYS` before Linux 5.12.
pub fn set_mount_attributes(tree: BorrowedFd<'_>, set: MountAttrFlags) -> io::Result<()> {
    let attributes = MountAttributes { set: set.bits().into(), clear: 0, propagation: 0, user_namespace: 0 };
    // SAFETY: the path is a literal, and the kernel only reads the attributes, of whose size it is told.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<MountAttributes>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
