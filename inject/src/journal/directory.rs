//! Where journals are kept.

use crate::error::{Error, Result};
use crate::step::reached;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// A directory that only this user can write in, held open so that nobody can put another in its place.
#[derive(Debug)]
pub struct Directory {
    handle: OwnedFd,
    path: PathBuf,
}

/// Where this user's journals are unless said otherwise: `/run/windtunnel` for root,
/// `$XDG_RUNTIME_DIR/windtunnel` for others, `/tmp/windtunnel-UID` where neither is there.
///
/// All three are empty after a boot or may be: what survives a boot is no longer in force either.
pub fn default_path() -> PathBuf {
    let user = outer_user();
    if user == 0 {
        return PathBuf::from("/run/windtunnel");
    }
    let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_dir());
    runtime.map_or_else(|| PathBuf::from(format!("/tmp/windtunnel-{user}")), |path| path.join("windtunnel"))
}

/// This user's number outside of its user namespace, so that root of one finds the directory of who it was before.
fn outer_user() -> u32 {
    let inner = rustix::process::geteuid().as_raw();
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let ranges = map.lines().filter_map(|line| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?))
    });
    let mut found = ranges.filter(|(first, _, count)| (*first..first.saturating_add(*count)).contains(&inner));
    found.next().map_or(inner, |(first, outer, _)| outer + (inner - first))
}

impl Directory {
    /// Opens it, and makes it if need be.
    ///
    /// # Errors
    /// It cannot be made, is not this user's, or others can write in it.
    pub fn open(path: &Path) -> Result<Self> {
        let what = || format!("keep a journal in {}", path.display());
        reached("a place for journals is to be made");
        match rustix::fs::mkdir(path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(Error::os(what(), error)),
        }
        reached("there is a place for journals");
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        let handle = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| Error::os(what(), error))?;
        let stat = rustix::fs::fstat(&handle).map_err(|error| Error::os(what(), error))?;
        let (owner, user) = (stat.st_uid, rustix::process::geteuid().as_raw());
        if owner != user || stat.st_mode & 0o077 != 0 {
            return Err(Error::lacking(
                what(),
                format!("it belongs to user {owner} with mode {:o}, not to user {user} alone", stat.st_mode & 0o7777),
                "remove it, or set XDG_RUNTIME_DIR to a directory of this user's",
            ));
        }
        Ok(Self { handle, path: path.to_owned() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a file in it, for reading and appending.
    pub(crate) fn file(&self, name: &str, more: OFlags) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW | more;
        Ok(rustix::fs::openat(&self.handle, name, flags, Mode::RUSR | Mode::WUSR)?.into())
    }

    /// Gives a file its name for good, and sees to it that the name is on disk.
    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        rustix::fs::renameat(&self.handle, from, &self.handle, to)?;
        reached("journal has its name");
        Ok(rustix::fs::fsync(&self.handle)?)
    }

    /// Removes a file; one that is gone already is no error.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.handle, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The names of what is in it, in order.
    pub(crate) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.handle)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Another handle to the same directory.
    pub(crate) fn again(&self) -> io::Result<Self> {
        Ok(Self { handle: self.handle.try_clone()?, path: self.path.clone() })
    }

    pub(crate) fn handle(&self) -> &OwnedFd {
        &self.handle
    }
}
