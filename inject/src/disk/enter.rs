//! What a start of a host does to be on its disk: a root of its own, with fresh kernel file systems.

use super::given::mount_given;
use super::layers::make_directory;
use super::own::OwnDisk;
use crate::error::{Error, Result};
use crate::mounts;
use crate::namespace::leave_for_new;
use crate::step::reached;
use crate::sys::set_mount_attributes;
use rustix::fs::{CWD, Mode, OFlags, openat, symlinkat};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, UnmountFlags, unmount};
use rustix::thread::UnshareFlags;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// What programs expect in `/dev`, and what the machine may well lend (null(4), full(4), random(4), tty(4)).
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

impl OwnDisk {
    /// Leaves the maker's mount namespace for one in which this disk is the root, and nothing else of the machine is
    /// mounted. The current directory is `/` afterwards.
    ///
    /// To be called by a process of one thread, a child of the disk's maker, which is still in the maker's mount
    /// namespace. `/proc` is of its PID namespace and `/sys` of its network namespace, so it enters these before.
    ///
    /// The files given, by absolute path, are mounted over what is there: `/etc/hosts`, `/etc/resolv.conf`. What they
    /// are mounted over is made on the disk where there is no plain file, and stays: later starts need no room on it.
    ///
    /// # Errors
    /// The kernel refuses; the disk is full, and such a place has still to be made. The process is of no use then.
    pub fn enter(&self, files: &[(&Path, &[u8])]) -> Result<()> {
        let failed = |error| Error::os("enter a host's disk", error);
        let tree = mounts::copy_all(self.root()).map_err(|error| {
            if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) {
                Error::unlike("enter a host's disk", "a process in the mount namespace of its maker", "another one")
            } else {
                failed(error)
            }
        })?;
        reached("a disk is to be entered");
        leave_for_new(UnshareFlags::NEWNS)?;
        // Over the machine's root, where only this process's descriptor finds it.
        reached("the host's root is to be mounted");
        mounts::attach(tree.as_fd(), CWD, Path::new("/")).map_err(failed)?;
        reached("the host's root is mounted");
        mount_given(tree.as_fd(), self.store(), files)?;
        mount_kernel_file_systems(tree.as_fd())?;
        mount_devices(tree.as_fd()).map_err(|error| Error::os("mount a host's /dev", error))?;
        reached("the host's /dev is mounted");
        change_root(&tree).map_err(failed)
    }
}

/// pivot_root(2), "pivot_root(".", ".")": the old root is over the new one then, from where it is unmounted.
fn change_root(tree: &OwnedFd) -> io::Result<()> {
    rustix::process::fchdir(tree)?;
    rustix::process::pivot_root(".", ".")?;
    reached("the root is changed");
    unmount(".", UnmountFlags::DETACH)?;
    reached("the old root is gone");
    Ok(rustix::process::chdir("/")?)
}

/// A fresh one of this process's namespaces, or the machine's where the kernel does not allow that: in a user namespace
/// a new `/proc` must not show more than the machine's does, and containers hide parts of it (mount_namespaces(7)).
fn mount_kernel_file_systems(tree: BorrowedFd<'_>) -> Result<()> {
    for (kind, path, attributes) in
        [("proc", "proc", MountAttrFlags::empty()), ("sysfs", "sys", MountAttrFlags::MOUNT_ATTR_RDONLY)]
    {
        let failed = |error| Error::os(format!("mount a host's /{path}"), error);
        let hardened = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC
            | attributes;
        let mount = mounts::new_mount(kind, &[], hardened)
            .or_else(|_| copy_with(&Path::new("/").join(path), attributes))
            .map_err(failed)?;
        mounts::attach(mount.as_fd(), tree, Path::new(path)).map_err(failed)?;
        reached("a kernel file system of the host's is mounted");
    }
    // Programs read their limits there. A machine without it has none.
    if let Ok(groups) = copy_with(Path::new("/sys/fs/cgroup"), MountAttrFlags::MOUNT_ATTR_RDONLY) {
        let _ = mounts::attach(groups.as_fd(), tree, Path::new("sys/fs/cgroup"));
        reached("the host's groups are mounted");
    }
    Ok(())
}

/// A copy of what is mounted at and below a path, with these attributes.
fn copy_with(path: &Path, attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    let directory = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let copy = mounts::copy_all(directory.as_fd())?;
    if !attributes.is_empty() {
        set_mount_attributes(copy.as_fd(), attributes)?;
    }
    Ok(copy)
}

/// A `/dev` with what every program expects, terminals and shared memory of the host's own, and no disk.
fn mount_devices(tree: BorrowedFd<'_>) -> io::Result<()> {
    let none = MountAttrFlags::empty();
    let dev = mounts::new_mount("tmpfs", &[("mode", "0755"), ("size", "64k"), ("nr_inodes", "64")], none)?;
    mounts::attach(dev.as_fd(), tree, Path::new("dev"))?;
    reached("the host's /dev is empty");
    for name in DEVICES {
        // A machine without this one (containers have no tty) gives none to the host either.
        let Ok(device) = mounts::copy_one(&Path::new("/dev").join(name)) else { continue };
        openat(&dev, name, OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::RUSR)?;
        mounts::attach(device.as_fd(), dev.as_fd(), Path::new(name))?;
    }
    for (name, target) in DEVICE_LINKS {
        symlinkat(target, &dev, name)?;
    }
    make_directory(dev.as_fd(), Path::new("shm"), 0o1777)?;
    let shared = mounts::new_mount("tmpfs", &[("mode", "1777")], none)?;
    mounts::attach(shared.as_fd(), dev.as_fd(), Path::new("shm"))?;
    make_directory(dev.as_fd(), Path::new("pts"), 0o755)?;
    // devpts(5). Without it there are no pseudo-terminals, which services do without.
    if let Ok(terminals) = mounts::new_mount("devpts", &[("ptmxmode", "0666"), ("mode", "0620")], none) {
        mounts::attach(terminals.as_fd(), dev.as_fd(), Path::new("pts"))?;
    }
    Ok(())
}
