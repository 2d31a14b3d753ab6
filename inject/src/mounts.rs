//! What is mounted, and new mounts held by descriptors: proc_pid_mountinfo(5), fsopen(2), open_tree(2).
//!
//! A mount that is not attached anywhere is seen by nobody, and is gone with its descriptor.

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_reconfigure, fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, fspick, move_mount,
    open_tree,
};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// A line of `/proc/PID/mountinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// Unique while it is mounted; used again afterwards.
    pub id: u64,
    /// The mount it is attached to.
    pub parent: u64,
    /// Where, as seen from the process's root.
    pub at: PathBuf,
    /// The file system's type: `ext4`, `tmpfs`.
    pub kind: String,
    /// What it is a mount of: a device, or whatever whoever mounted it says.
    pub source: String,
}

/// The mounts this process sees, in the order in which they were made.
///
/// # Errors
/// `/proc` is not mounted.
pub fn mounted() -> io::Result<Vec<Mounted>> {
    Ok(parse(&std::fs::read("/proc/self/mountinfo")?))
}

/// Reads what is in a `mountinfo`. A line that does not have the documented form is left out.
pub fn parse(mountinfo: &[u8]) -> Vec<Mounted> {
    mountinfo.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<Mounted> {
    let mut words = line.split(|byte| *byte == b' ');
    let number = |word: &[u8]| std::str::from_utf8(word).ok()?.parse().ok();
    let id = number(words.next()?)?;
    let parent = number(words.next()?)?;
    let at = unescape(words.nth(2)?);
    // Optional fields end with a lone hyphen; the type follows.
    let mut words = words.skip_while(|word| *word != b"-").skip(1);
    let mut text = || Some(String::from_utf8_lossy(words.next()?).into_owned());
    Some(Mounted { id, parent, at, kind: text()?, source: text()? })
}

/// Blank, tab, newline and backslash are written as three octal digits.
fn unescape(word: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((first, others)) = rest.split_first() {
        let code = others.get(..3).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match code {
            Some(code) if *first == b'\\' => {
                bytes.push(code);
                rest = &others[3..];
            }
            _ => {
                bytes.push(*first);
                rest = others;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// A new file system, mounted nowhere yet.
///
/// # Errors
/// What the kernel said about it, if it said anything: the errno's own words are of little use for mounts.
pub fn new_mount(kind: &str, options: &[(&str, &str)], attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    new_mount_of(kind, options, &[], attributes)
}

/// As [`new_mount`], with directories as options, which overlays take since Linux 6.13.
///
/// # Errors
/// As [`new_mount`].
pub fn new_mount_of(
    kind: &str,
    options: &[(&str, &str)],
    directories: &[(&str, BorrowedFd<'_>)],
    attributes: MountAttrFlags,
) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    set(&context, options)
        .and_then(|()| directories.iter().try_for_each(|(key, directory)| fsconfig_set_fd(&context, *key, directory)))
        .and_then(|()| fsconfig_create(&context))
        .map_err(|errno| said(&context, errno))?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(|errno| said(&context, errno))
}

/// Changes options of the file system that is mounted at this descriptor.
///
/// # Errors
/// What the kernel said about it, if it said anything.
pub fn change_mount(mount: BorrowedFd<'_>, options: &[(&str, &str)]) -> io::Result<()> {
    let context = fspick(mount, "", FsPickFlags::FSPICK_EMPTY_PATH | FsPickFlags::FSPICK_CLOEXEC)?;
    set(&context, options).and_then(|()| fsconfig_reconfigure(&context)).map_err(|errno| said(&context, errno))
}

/// An option without a value is a flag.
fn set(context: &OwnedFd, options: &[(&str, &str)]) -> rustix::io::Result<()> {
    for (key, value) in options {
        if value.is_empty() {
            fsconfig_set_flag(context, *key)?;
        } else {
            fsconfig_set_string(context, *key, *value)?;
        }
    }
    Ok(())
}

/// The kernel leaves its messages in the context, each read by itself, the first error being what matters.
fn said(context: &OwnedFd, errno: Errno) -> io::Error {
    let mut buffer = [0; 512];
    while let Ok(length) = rustix::io::read(context, &mut buffer) {
        let message = String::from_utf8_lossy(&buffer[..length]);
        if let Some(error) = message.strip_prefix("e ") {
            let error = error.trim_end();
            return io::Error::new(io::Error::from(errno).kind(), format!("{errno} ({error})"));
        }
    }
    errno.into()
}

/// A copy of the mount at this path, without what is mounted below it, attached nowhere.
///
/// # Errors
/// `EINVAL`: mounts below it hide what a less privileged user namespace must not see (mount_namespaces(7)), or it is of
/// another mount namespace.
pub fn copy_one(path: &Path) -> io::Result<OwnedFd> {
    Ok(open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?)
}

/// A copy of the mounts at and below this descriptor, attached nowhere.
///
/// # Errors
/// `EINVAL`: it is of another mount namespace.
pub fn copy_all(tree: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    Ok(open_tree(tree, "", flags)?)
}

/// Attaches a mount at a path below a directory, or at the directory if the path is empty.
///
/// # Errors
/// As move_mount(2).
pub fn attach(mount: BorrowedFd<'_>, directory: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount, "", directory, path, flags)?)
}

/// A name for what a descriptor is of, for calls that take none.
pub(crate) fn name_of(descriptor: impl AsFd) -> String {
    format!("/proc/self/fd/{}", descriptor.as_fd().as_raw_fd())
}

/// Whether a path needs no thought about `..` and links: absolute, of plain names.
pub(crate) fn is_plain(path: &Path) -> bool {
    path.is_absolute() && !path.as_os_str().as_bytes().split(|byte| *byte == b'/').any(|name| name == b"..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_with_and_without_optional_fields() {
        let text = b"36 35 98:0 /mnt1 /mnt2\\040x rw,noatime master:1 propagate_from:2 - ext3 /dev/root rw\n\
                     22 27 0:21 / /proc rw - proc proc rw\nbroken\n";
        let read = parse(text);
        assert_eq!(read.len(), 2);
        let (at, kind, source) = ("/mnt2 x".into(), "ext3".into(), "/dev/root".into());
        assert_eq!(read[0], Mounted { id: 36, parent: 35, at, kind, source });
        assert_eq!(read[1].kind, "proc");
    }

    #[test]
    fn what_hides_its_ancestors_is_not_plain() {
        assert!(is_plain(Path::new("/etc/hosts")));
        assert!(!is_plain(Path::new("etc/hosts")));
        assert!(!is_plain(Path::new("/etc/../hosts")));
    }
}
