//! The machine's files with a host's changes over them: which overlays that takes, and mounting them.
//!
//! An overlay (<https://docs.kernel.org/filesystems/overlayfs.html>) sees one file system and nothing of what is
//! mounted below. So each file system of the machine's gets an overlay of its own, all of which keep the changes on the
//! host's store. As root that is one for `/`, and one for each further disk. In a user namespace the kernel does not
//! let anybody see what is hidden below another's mount (mount_namespaces(7)), so `/` itself is refused; there it is
//! one for each directory without mounts below it: `/etc`, `/usr`, `/var`…
//!
//! What is not the machine's own files does not belong to a host: kernel file systems, `/tmp`, `/run`.

use crate::error::{Error, Result};
use crate::mounts::{self, Mounted, name_of};
use crate::step::reached;
use crate::sys::set_mount_attributes;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, XattrFlags, mkdirat, openat, statat};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// Kernel file systems stand here; each start mounts its own.
pub(super) const OF_THE_KERNEL: [&str; 3] = ["proc", "sys", "dev"];
/// What a machine has to itself from its start: a host finds these empty, also after it has lost its power
/// (systemd's file-hierarchy(7)). With their modes.
const FRESH: [(&str, u32); 2] = [("tmp", 0o1777), ("run", 0o755)];
/// Where services write. In a user namespace the machine's directories belong to a stranger, so these are given to the
/// host. Parents come first.
const WRITABLE: [&str; 18] = [
    "",
    "etc",
    "home",
    "mnt",
    "opt",
    "root",
    "srv",
    "usr",
    "usr/local",
    "usr/local/etc",
    "var",
    "var/cache",
    "var/lib",
    "var/local",
    "var/log",
    "var/opt",
    "var/spool",
    "var/tmp",
];
/// File systems that hold a machine's files. Whatever is not here (`autofs`, `fuse.…`, `cgroup2`, a squashfs per snap)
/// is left out: the host finds an empty directory.
const OF_FILES: [&str; 14] = [
    "9p", "bcachefs", "btrfs", "erofs", "ext2", "ext3", "ext4", "f2fs", "nfs4", "overlay", "tmpfs", "virtiofs", "xfs",
    "zfs",
];

/// An overlay over one directory of the machine's.
#[derive(Debug)]
struct Layer {
    /// Where it stands, from the host's root.
    at: PathBuf,
    lower: OwnedFd,
}

/// What makes up a host's files.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// In the order in which they are mounted. If the first stands at the root, it is the root.
    layers: Vec<Layer>,
    /// What has to be there without being a layer.
    directories: Vec<(PathBuf, u32)>,
    links: Vec<(PathBuf, PathBuf)>,
}

impl Plan {
    /// Looks at the machine's files below `lower`. What is `shown` is there even where hosts start empty.
    pub(super) fn of(lower: &Path, shown: &[PathBuf]) -> Result<Self> {
        let failed = |error| Error::os(format!("look at the files below {}", lower.display()), error);
        let mounts = mounts_below(lower).map_err(failed)?;
        let mut plan = Self::default();
        plan.directories.extend(OF_THE_KERNEL.map(|name| (name.into(), 0o555)));
        plan.directories.extend(FRESH.map(|(name, mode)| (name.into(), mode)));
        if mounts::copy_one(lower).is_ok() {
            plan.add(lower, Path::new("")).map_err(failed)?;
        } else {
            plan.descend(lower, Path::new(""), &mounts).map_err(failed)?;
        }
        for mount in mounts.iter().filter(|mount| is_of_files(mount) && !is_apart(&mount.at)) {
            plan.add_if_possible(lower, &mount.at);
        }
        for path in shown.iter().filter_map(|path| path.strip_prefix(lower).ok()).filter(|path| is_fresh(path)) {
            // The whole of what stands beside it in /tmp, but nothing else of /tmp.
            if path.components().count() > 1 {
                plan.add_if_possible(lower, &path.components().take(2).collect::<PathBuf>());
            }
        }
        Ok(plan)
    }

    fn add(&mut self, lower: &Path, at: &Path) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let lower = openat(CWD, lower.join(at), flags, Mode::empty())?;
        self.layers.push(Layer { at: at.to_path_buf(), lower });
        Ok(())
    }

    /// Not if there is one already, nor for a file that something is mounted on, nor for a directory that is out of
    /// reach or hides mounts.
    fn add_if_possible(&mut self, lower: &Path, at: &Path) {
        let path = lower.join(at);
        let is_new = self.layers.iter().all(|layer| layer.at != at);
        if is_new && is_readable(&path) && mounts::copy_one(&path).is_ok() {
            let _ = self.add(lower, at);
        }
    }

    /// One layer for each directory below which nothing is mounted.
    fn descend(&mut self, lower: &Path, below: &Path, mounts: &[Mounted]) -> io::Result<()> {
        let mut entries: Vec<_> = fs::read_dir(lower.join(below))?.filter_map(io::Result::ok).collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let at = below.join(entry.file_name());
            let Ok(kind) = entry.file_type() else { continue };
            let left_out = mounts.iter().any(|mount| mount.at == at && !is_of_files(mount));
            if is_apart(&at) {
                continue;
            } else if kind.is_symlink() {
                self.links.push((at, fs::read_link(entry.path())?));
            } else if kind.is_dir() && (left_out || !is_readable(&entry.path())) {
                self.directories.push((at, 0o755));
            } else if kind.is_dir() && mounts::copy_one(&entry.path()).is_ok() {
                self.add(lower, &at)?;
            } else if kind.is_dir() {
                self.directories.push((at.clone(), 0o755));
                self.descend(lower, &at, mounts)?;
            }
        }
        Ok(())
    }

    /// Mounts the host's files at `place`, with the changes on `store`, and answers the root. Done again on the same
    /// store, earlier changes are there.
    pub(super) fn mount(&self, store: BorrowedFd<'_>, place: BorrowedFd<'_>, at: &Path) -> Result<OwnedFd> {
        let options = Options::of(store)?;
        make_directories(store, Path::new("layers")).map_err(|error| Error::os("write to a host's disk", error))?;
        let mut root = None;
        if self.layers.first().is_none_or(|layer| layer.at != Path::new("")) {
            root =
                Some(self.mount_skeleton(store, place, at).map_err(|error| Error::os("mount a host's root", error))?);
        }
        for (number, layer) in self.layers.iter().enumerate() {
            let failed = |error| Error::os(format!("lay a host's disk over /{}", layer.at.display()), error);
            match (&root, layer.mount(store, number, &options)) {
                (None, overlay) => {
                    let overlay = overlay.map_err(failed)?;
                    mounts::attach(overlay.as_fd(), place, at).map_err(failed)?;
                    reached("an overlay is a disk's root");
                    root = Some(overlay);
                }
                (Some(root), overlay) => {
                    let mount = overlay.or_else(|error| layer.instead(error)).map_err(failed)?;
                    make_directories(root.as_fd(), &layer.at).map_err(failed)?;
                    mounts::attach(mount.as_fd(), root.as_fd(), &layer.at).map_err(failed)?;
                    reached("an overlay is on a disk");
                }
            }
        }
        Ok(root.expect("either a skeleton or the first layer is the root"))
    }

    /// The directories of the store in which a host's own files lie, and where the host sees them.
    pub(super) fn changes(&self, store: BorrowedFd<'_>) -> io::Result<Vec<(PathBuf, OwnedFd)>> {
        let own = self.layers.iter().enumerate();
        let own = own.map(|(number, layer)| (layer.at.clone(), format!("layers/{number}/upper")));
        let skeleton = (PathBuf::new(), "root".to_owned());
        let mut found = Vec::new();
        for (at, directory) in own.chain([skeleton]) {
            match openat(store, &directory, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
                Ok(opened) => found.push((at, opened)),
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(found)
    }

    /// Leaves nothing in what is empty after a start of the machine. For a store of which nothing is
    /// [mounted](Self::mount).
    pub(super) fn start_afresh(&self, store: BorrowedFd<'_>) -> io::Result<()> {
        for (at, own) in self.changes(store)? {
            for here in FRESH.iter().filter_map(|(name, _)| Path::new(name).strip_prefix(&at).ok()) {
                match openat(&own, here, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
                    Ok(fresh) => remove_all_in(&fresh)?,
                    // The host has removed it, or has something else there.
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// The root where it cannot be a layer: a directory of the store's.
    fn mount_skeleton(&self, store: BorrowedFd<'_>, place: BorrowedFd<'_>, at: &Path) -> io::Result<OwnedFd> {
        let skeleton = Path::new("root");
        make_directories(store, skeleton)?;
        for (path, mode) in &self.directories {
            make_directory(store, &skeleton.join(path), *mode)?;
        }
        for (path, target) in &self.links {
            fine_if_there(rustix::fs::symlinkat(target, store, skeleton.join(path)))?;
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(store, skeleton, flags, Mode::empty())?;
        let root = mounts::copy_all(directory.as_fd())?;
        mounts::attach(root.as_fd(), place, at)?;
        reached("a disk's root is mounted");
        Ok(root)
    }
}

impl Layer {
    fn mount(&self, store: BorrowedFd<'_>, number: usize, options: &Options) -> io::Result<OwnedFd> {
        let own = PathBuf::from(format!("layers/{number}"));
        let (upper, work) = (own.join("upper"), own.join("work"));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if openat(store, &upper, flags, Mode::empty()).is_err() {
            make_directories(store, &work)?;
            make_directories(store, &upper)?;
            self.prepare(openat(store, &upper, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?.as_fd(), options)?;
        }
        let (upper, work) = (openat(store, upper, flags, Mode::empty())?, openat(store, work, flags, Mode::empty())?);
        let (lower, upper, work) = (name_of(&self.lower), name_of(&upper), name_of(&work));
        let mut settings = vec![
            ("source", "windtunnel"),
            ("lowerdir", lower.as_str()),
            ("upperdir", upper.as_str()),
            ("workdir", work.as_str()),
        ];
        settings.extend(options.user_attributes.then_some(("userxattr", "")));
        mounts::new_mount("overlay", &settings, MountAttrFlags::empty())
    }

    /// What the host sees if its disk cannot be laid over this: the machine's files, which it may only read. Overlays
    /// refuse some file systems (two overlays above each other, names without case).
    fn instead(&self, error: io::Error) -> io::Result<OwnedFd> {
        if !matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) {
            return Err(error);
        }
        let copy = mounts::copy_all(self.lower.as_fd())?;
        set_mount_attributes(copy.as_fd(), MountAttrFlags::MOUNT_ATTR_RDONLY)?;
        Ok(copy)
    }

    /// An upper directory decides what its merged directory looks like: mode, owner, and whether the machine's files
    /// are seen below it.
    fn prepare(&self, upper: BorrowedFd<'_>, options: &Options) -> io::Result<()> {
        copy_looks(self.lower.as_fd(), Path::new(""), upper, Path::new(""))?;
        let here = |path: &str| Path::new(path).strip_prefix(&self.at).ok().map(Path::to_path_buf);
        if options.user_attributes {
            for path in WRITABLE.into_iter().filter_map(here).filter(|path| path != Path::new("")) {
                let status = statat(&self.lower, &path, AtFlags::SYMLINK_NOFOLLOW);
                if status.is_ok_and(|status| is_directory(&status)) {
                    fine_if_there(mkdirat(upper, &path, Mode::from_raw_mode(0o755)))?;
                    copy_looks(self.lower.as_fd(), &path, upper, &path)?;
                }
            }
        }
        for (path, mode) in FRESH.into_iter().filter_map(|(path, mode)| Some((here(path)?, mode))) {
            make_directory(upper, &path, mode)?;
            let directory = openat(upper, path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
            // Where attributes cannot be kept the host sees the machine's files there, and still changes none.
            let _ = rustix::fs::fsetxattr(directory, options.opaque, b"y", XattrFlags::empty());
        }
        Ok(())
    }
}

/// How an overlay keeps its own attributes.
struct Options {
    /// `user.overlay.…` rather than `trusted.overlay.…`, which need privilege over the machine.
    user_attributes: bool,
    opaque: &'static str,
}

impl Options {
    fn of(store: BorrowedFd<'_>) -> Result<Self> {
        let user_attributes = takes_user_attributes(store).map_err(|error| Error::os("open a host's disk", error))?;
        let opaque = if user_attributes { "user.overlay.opaque" } else { "trusted.overlay.opaque" };
        Ok(Self { user_attributes, opaque })
    }
}

/// Whether an overlay whose changes are here has to keep its attributes as a user's.
pub(super) fn takes_user_attributes(directory: BorrowedFd<'_>) -> io::Result<bool> {
    let probe = openat(directory, ".", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let trusted = rustix::fs::fsetxattr(probe, "trusted.windtunnel", b"y", XattrFlags::empty());
    Ok(matches!(trusted, Err(Errno::PERM | Errno::ACCESS)))
}

/// Mounts below this directory, by their paths from there; of several on one path the one that is seen.
fn mounts_below(directory: &Path) -> io::Result<Vec<Mounted>> {
    let mut below: Vec<Mounted> = Vec::new();
    for mut mount in mounts::mounted()? {
        let Ok(at) = mount.at.strip_prefix(directory).map(Path::to_path_buf) else { continue };
        if at == Path::new("") {
            continue;
        }
        mount.at = at;
        // What was mounted here or below before cannot be reached any more.
        below.retain(|other| !other.at.starts_with(&mount.at));
        below.push(mount);
    }
    below.sort_by(|one, other| one.at.cmp(&other.at));
    Ok(below)
}

fn is_of_files(mount: &Mounted) -> bool {
    OF_FILES.contains(&mount.kind.as_str())
}

fn is_fresh(path: &Path) -> bool {
    FRESH.iter().any(|(name, _)| path.starts_with(name))
}

/// Whether hosts have something else there than the machine.
fn is_apart(path: &Path) -> bool {
    is_fresh(path) || OF_THE_KERNEL.iter().any(|name| path.starts_with(name))
}

fn is_readable(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok()
}

fn is_directory(status: &Stat) -> bool {
    FileType::from_raw_mode(status.st_mode).is_dir()
}

fn fine_if_there(made: rustix::io::Result<()>) -> io::Result<()> {
    match made {
        Err(error) if error != Errno::EXIST => Err(error.into()),
        _ => Ok(()),
    }
}

fn remove_all_in(directory: &OwnedFd) -> io::Result<()> {
    for entry in fs::read_dir(name_of(directory))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Makes a directory with just this mode, whatever the umask is.
pub(super) fn make_directory(root: BorrowedFd<'_>, path: &Path, mode: u32) -> io::Result<()> {
    let mode = Mode::from_raw_mode(mode);
    match mkdirat(root, path, mode) {
        Ok(()) => Ok(rustix::fs::chmodat(root, path, mode, AtFlags::empty())?),
        made => fine_if_there(made),
    }
}

/// Makes a directory and those above it.
pub(super) fn make_directories(root: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let mut here = PathBuf::new();
    for name in path.components().filter(|part| matches!(part, Component::Normal(_))) {
        here.push(name);
        make_directory(root, &here, 0o755)?;
    }
    Ok(())
}

/// Gives a directory the mode of another, and its owner as far as this process may.
pub(super) fn copy_looks(from: BorrowedFd<'_>, path: &Path, to: BorrowedFd<'_>, own: &Path) -> io::Result<()> {
    let status = statat(from, path, AtFlags::EMPTY_PATH)?;
    let to = openat(to, if own == Path::new("") { Path::new(".") } else { own }, OFlags::DIRECTORY, Mode::empty())?;
    let (user, group) = (rustix::fs::Uid::from_raw(status.st_uid), rustix::fs::Gid::from_raw(status.st_gid));
    // In a user namespace the owner has no number: the directory is the host's.
    let _ = rustix::fs::fchown(&to, Some(user), Some(group));
    Ok(rustix::fs::fchmod(&to, Mode::from_raw_mode(status.st_mode & 0o7777))?)
}
