//! A host's own disk: made once by whoever keeps the world, entered by each start of the host.

use super::ground::{Footing, Ground};
use super::layers::{OF_THE_KERNEL, Plan, make_directory};
use super::store::{DiskKind, Store};
use crate::cgroup::Device;
use crate::error::{Error, Result};
use crate::mounts::{self, is_plain, name_of};
use crate::step::reached;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, statat};
use rustix::mount::{MountAttrFlags, UnmountFlags, unmount};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Directories over which the maker's mounts may stand, in its own mount namespace only. Overlays want their parts
/// mounted, and before Linux 6.15 mounts of no namespace cannot be copied, so they have to stand somewhere. Every
/// `/proc` has these, nobody misses them, and no machine keeps files there.
const PLACES: [&str; 3] = ["/proc/driver", "/proc/fs", "/mnt"];

/// A host's own disk. See [the module](super).
///
/// The host is root on it, but in a user namespace the machine's own files are a stranger's: there it can replace and
/// delete them in the usual places (`/etc`, `/var/lib`, `/usr/local`…), not open them to write, and what only root of
/// the machine can read is not there. Names then cannot be moved between top-level directories (`EXDEV`).
///
/// It is made in a mount namespace which is not shared with others, by a process with `CAP_SYS_ADMIN` there, and is
/// gone with that namespace or when dropped, whichever is first; a process that has [entered](Self::enter) keeps it.
///
/// ```no_run
/// use rustix::thread::UnshareFlags;
/// use std::path::Path;
/// use windtunnel_inject::Injection;
/// use windtunnel_inject::disk::{DiskFull, DiskKind, OwnDisk};
/// use windtunnel_inject::namespace::leave_for_new;
/// use windtunnel_inject::sys::{Forked, end_now, fork, wait};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // Who keeps the world: a process of one thread.
/// leave_for_new(UnshareFlags::NEWNS)?;
/// let disk = OwnDisk::make(Path::new("/"), DiskKind::Memory, 64 << 20, 10_000)?;
/// let mut full = DiskFull::of(&disk, 0)?;
/// // Each start of the host.
/// match fork()? {
///     Forked::Child => {
///         disk.enter(&[(Path::new("/etc/hostname"), b"kv1\n")])?;
///         end_now(i32::from(std::fs::write("/var/lib/x", "no space is left").is_ok()));
///     }
///     Forked::Parent(host) => assert_eq!(wait(host)?.code(), 0),
/// }
/// full.heal()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct OwnDisk {
    plan: Plan,
    pub(super) store: Store,
    /// What the host sees, as mounted in the maker's namespace.
    root: OwnedFd,
    ground: Arc<Ground>,
    /// Where store and root are mounted.
    shelf: Shelf,
}

impl OwnDisk {
    /// Makes a disk over the machine's files below `lower`, usually `/`, on which a host can write this much.
    ///
    /// The programs that run now, their directory and the current directory are seen by hosts even below `/tmp` and
    /// `/run`, which are empty for them otherwise.
    ///
    /// # Errors
    /// The machine lacks something (privilege for ext4; overlayfs), or the kernel refuses.
    pub fn make(lower: &Path, kind: DiskKind, bytes: u64, inodes: u64) -> Result<Self> {
        if !is_plain(lower) {
            return Err(Error::unlike("make a host's disk", "an absolute path", lower.display().to_string()));
        }
        // Before the shelf stands, which hides what is below its place.
        reached("a disk's store is to be made");
        let store = Store::make(kind, bytes, inodes)?;
        reached("a disk's store is made");
        let plan = Plan::of(lower, &shown())?;
        let shelf = Shelf::make()?;
        let root = shelf.fill(&store, &plan)?;
        for name in OF_THE_KERNEL {
            make_directory(root.as_fd(), Path::new(name), 0o555)
                .map_err(|error| Error::os(format!("make a host's /{name}"), error))?;
        }
        // The disk as it is delivered is on the disk, also if power is lost at once.
        reached("a disk is mounted");
        rustix::fs::syncfs(store.directory()).map_err(|error| Error::os("sync a host's disk", error))?;
        reached("a disk is made");
        let ground = Arc::new(Ground::of(store.directory()));
        Ok(Self { plan, store, root, ground, shelf })
    }

    /// What it is made of.
    pub fn kind(&self) -> DiskKind {
        self.store.kind()
    }

    /// The block device beneath, if there is one.
    pub fn device(&self) -> Option<Device> {
        self.store.device()
    }

    /// The root directory as the host sees it.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The file system that keeps what the host writes. What stands in its root directory is out of the host's sight.
    pub fn store(&self) -> BorrowedFd<'_> {
        self.store.directory().as_fd()
    }

    /// Mounts what reached the device, but for what is temporary, in place of what there was.
    pub(super) fn mount_again(&mut self) -> Result<()> {
        self.shelf.empty();
        reached("a disk is unmounted");
        let Some(store) = self.store.as_on_the_device()? else { return Ok(()) };
        reached("a disk is on the device again");
        self.plan
            .start_afresh(store.directory().as_fd())
            .map_err(|error| Error::os("empty what a host finds empty after a start", error))?;
        self.root = self.shelf.fill(&store, &self.plan)?;
        self.ground.move_to(store.directory());
        reached("a disk is mounted again");
        self.store = store;
        Ok(())
    }

    /// The directories in which what the host has written lies, and where the host sees them.
    pub(super) fn changes(&self) -> std::io::Result<Vec<(PathBuf, OwnedFd)>> {
        self.plan.changes(self.store.directory().as_fd())
    }

    /// For faults, which stay in force when the disk is mounted again.
    pub(super) fn ground(&self) -> Footing {
        Footing::on(&self.ground)
    }
}

/// What has to be seen for this program to be started again.
fn shown() -> Vec<PathBuf> {
    [std::env::current_exe(), std::env::current_dir()].into_iter().filter_map(std::result::Result::ok).collect()
}

/// A small tmpfs in which a disk's parts are mounted.
///
/// All is done by descriptor, because the next disk's shelf may stand over this one.
#[derive(Debug)]
struct Shelf {
    mount: OwnedFd,
    place: &'static str,
    /// A child of its maker may drop its copy of this, and must not unmount its parent's disk.
    maker: u32,
}

impl Shelf {
    fn make() -> Result<Self> {
        let failed = |error| Error::os("have a place for a host's disk", error);
        let options = [("size", "64k"), ("nr_inodes", "16"), ("mode", "0700")];
        let mount = mounts::new_mount("tmpfs", &options, MountAttrFlags::empty()).map_err(failed)?;
        let place = PLACES.into_iter().find_map(|place| {
            let directory = openat(CWD, place, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
            let attached = mounts::attach(mount.as_fd(), directory.ok()?.as_fd(), Path::new(""));
            attached.is_ok().then_some(place)
        });
        reached("a disk's shelf is mounted");
        let place = place.ok_or_else(|| {
            Error::lacking(
                "have a place for a host's disk",
                format!("none of {} can be mounted on", PLACES.join(", ")),
                "mount /proc, or make /mnt",
            )
        })?;
        for part in ["store", "root"] {
            make_directory(mount.as_fd(), Path::new(part), 0o755).map_err(failed)?;
        }
        Ok(Self { mount, place, maker: std::process::id() })
    }

    /// Mounts a store, and a host's root made of it.
    fn fill(&self, store: &Store, plan: &Plan) -> Result<OwnedFd> {
        mounts::attach(store.mount(), self.mount.as_fd(), Path::new("store"))
            .map_err(|error| Error::os("mount a host's disk", error))?;
        reached("a disk's store is mounted");
        plan.mount(store.directory().as_fd(), self.mount.as_fd(), Path::new("root"))
    }

    fn empty(&self) {
        for part in ["root", "store"] {
            // Fails if it was not mounted, which is what is wanted.
            let _ = unmount(format!("{}/{part}", name_of(&self.mount)), UnmountFlags::DETACH);
        }
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        if self.maker != std::process::id() {
            return;
        }
        self.empty();
        // If another shelf stands over this one, an empty tmpfs stays until the namespace ends.
        let device = |status: rustix::fs::Stat| status.st_dev;
        let mine = rustix::fs::fstat(&self.mount).map(device);
        let seen = statat(CWD, self.place, AtFlags::empty()).map(device);
        if mine.is_ok() && mine == seen {
            let _ = unmount(self.place, UnmountFlags::DETACH);
        }
    }
}
