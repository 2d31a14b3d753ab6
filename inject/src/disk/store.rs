//! The file system on which what a host writes is kept: memory, or ext4 on a loop device.
//!
//! Nothing of it has a name outside: the image of an ext4 is memory without a name (memfd_create(2)) and its loop
//! device clears itself after its last user (loop(4)), so both are gone with the mount.

use super::mkfs;
use crate::cgroup::Device;
use crate::error::{Error, Result};
use crate::mounts;
use crate::step::reached;
use crate::sys::{attach_loop_device, free_loop_device};
use rustix::fs::{MemfdFlags, Mode, OFlags, memfd_create, open, openat};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// What a host's disk is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum DiskKind {
    /// tmpfs: works without privilege. What is written is there at once, whether synced or not.
    Memory,
    /// ext4 on a loop device over memory: has a page cache and a journal, so that power can be lost, and a device, so
    /// that it can be throttled. Needs root.
    Ext4,
}

/// The file system, mounted nowhere by itself.
#[derive(Debug)]
pub(super) struct Store {
    mount: OwnedFd,
    /// Its root, opened: a mount's own descriptor is good for paths only (`O_PATH`).
    directory: Arc<OwnedFd>,
    image: Option<Image>,
}

/// What is beneath an ext4.
#[derive(Debug)]
struct Image {
    memory: OwnedFd,
    device: Device,
}

/// How often another may be faster in taking the loop device that was free.
const LOOP_ATTEMPTS: usize = 32;

impl Store {
    /// Makes an empty one on which `bytes` and `inodes` can be used.
    pub(super) fn make(kind: DiskKind, bytes: u64, inodes: u64) -> Result<Self> {
        match kind {
            DiskKind::Memory => {
                // tmpfs(5): a size of 0 would be no limit.
                let (bytes, inodes) = (bytes.max(4096).to_string(), inodes.max(16).to_string());
                let options = [("size", bytes.as_str()), ("nr_inodes", &inodes), ("mode", "0755")];
                let mount = mounts::new_mount("tmpfs", &options, MountAttrFlags::empty())
                    .map_err(|error| Error::os("make a host's disk of memory", error))?;
                Self::of(mount, None)
            }
            DiskKind::Ext4 => {
                let memory = memfd_create("windtunnel-disk", MemfdFlags::CLOEXEC)
                    .map_err(|error| Error::os("have memory for a host's disk", error))?;
                let image = File::from(memory);
                mkfs::ext4(&image, bytes, inodes).map_err(|error| Error::os("write an empty ext4", error))?;
                Self::mount_image(image.into())
            }
        }
    }

    /// Mounts what is in the memory of an ext4, which recovers its journal.
    fn mount_image(memory: OwnedFd) -> Result<Self> {
        reached("a loop device is to be bound");
        let (path, device, held) = loop_device(memory.as_fd())?;
        reached("a loop device is bound");
        let mount = mounts::new_mount("ext4", &[("source", &path)], MountAttrFlags::empty()).map_err(|error| {
            if error.kind() == io::ErrorKind::PermissionDenied {
                no_ext4(format!("ext4 may not be mounted ({error})"))
            } else {
                Error::os("mount a host's disk of ext4", error)
            }
        })?;
        reached("a loop device is mounted");
        drop(held); // The mount uses the device now.
        Self::of(mount, Some(Image { memory, device }))
    }

    fn of(mount: OwnedFd, image: Option<Image>) -> Result<Self> {
        let directory = openat(&mount, ".", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| Error::os("open a host's disk", error))?;
        Ok(Self { mount, directory: Arc::new(directory), image })
    }

    /// Another mount of what has reached the device of an ext4. `None` if there is no device.
    pub(super) fn as_on_the_device(&self) -> Result<Option<Self>> {
        let Some(image) = &self.image else { return Ok(None) };
        let memory = image.memory.try_clone().map_err(|error| Error::os("hold a disk's image", error))?;
        Self::mount_image(memory).map(Some)
    }

    pub(super) fn directory(&self) -> &Arc<OwnedFd> {
        &self.directory
    }

    pub(super) fn mount(&self) -> BorrowedFd<'_> {
        self.mount.as_fd()
    }

    pub(super) fn device(&self) -> Option<Device> {
        self.image.as_ref().map(|image| image.device)
    }

    pub(super) fn kind(&self) -> DiskKind {
        if self.image.is_some() { DiskKind::Ext4 } else { DiskKind::Memory }
    }
}

/// A loop device that shows this memory for as long as it is held: its path, its number and its descriptor.
fn loop_device(memory: BorrowedFd<'_>) -> Result<(String, Device, OwnedFd)> {
    let open = |path: &str| open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    let control =
        open("/dev/loop-control").map_err(|error| no_ext4(format!("/dev/loop-control cannot be opened ({error})")))?;
    for _ in 0..LOOP_ATTEMPTS {
        let number =
            free_loop_device(control.as_fd()).map_err(|error| no_ext4(format!("no loop device is free ({error})")))?;
        let path = format!("/dev/loop{number}");
        let device = open(&path).map_err(|error| no_ext4(format!("{path} cannot be opened ({error})")))?;
        match attach_loop_device(device.as_fd(), memory) {
            Ok(()) => {
                let status = rustix::fs::fstat(&device).map_err(|error| Error::os(format!("look at {path}"), error))?;
                let (major, minor) = (rustix::fs::major(status.st_rdev), rustix::fs::minor(status.st_rdev));
                return Ok((path, Device { major, minor }, device));
            }
            Err(error) if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => {}
            Err(error) => return Err(no_ext4(format!("{path} cannot be set up ({error})"))),
        }
    }
    Err(no_ext4(format!("in {LOOP_ATTEMPTS} attempts somebody else took the free loop device")))
}

fn no_ext4(missing: String) -> Error {
    Error::lacking("make a host's disk of ext4", missing, "run as root, or take a disk of memory")
}
