//! A directory of a running process that was not started on a disk of ours: nothing can be written there any more.
//!
//! An overlay whose upper layer has room for nothing is mounted over the directory, in the process's mount namespace.
//! Reading goes on; what would change something answers `ENOSPC`. As nothing can be written there is nothing to be lost
//! when it is unmounted. It is harsher than a full disk: deleting, and opening a file to write, are refused as well.
//! Files that are open already, and a current directory, are beneath the overlay and go on as before.
//!
//! A child process does it and stays in that namespace. It unmounts when it is told to, when the process that applied
//! the fault ends in whatever way, or when the target does; so nothing is left even after `kill -9`.

use crate::error::{Error, Result};
use crate::mounts;
use crate::sys::{Forked, end_now, fork, wait};
use crate::target::Process;
use crate::{Injection, Target};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, XattrFlags, fstatvfs, mkdirat, open, openat, statat, statx};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, UnmountFlags, unmount};
use rustix::process::{PidfdFlags, pidfd_open};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the upper layer stands while the overlay is made; the overlay keeps it afterwards. Every `/proc` has this.
const PLACE: &str = "/proc/driver";
/// Until the child answers.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A directory in which a process finds no room. See [the module](self).
#[derive(Debug)]
pub struct DirectoryFull {
    directory: PathBuf,
    child: u32,
    /// `None` once healed.
    conversation: Option<BufReader<UnixStream>>,
}

impl DirectoryFull {
    /// Lets the target, a process, find no room in a directory, by its absolute path in the target's mount namespace.
    ///
    /// # Errors
    /// The target is no process, or gone; this process may not enter its mount namespace; the directory cannot be
    /// beneath an overlay (it is on two of them already, or mounts are hidden below it).
    pub fn apply(target: &Target, directory: &Path) -> Result<Self> {
        let what = format!("leave no room in {}", directory.display());
        let Some(process) = target.process() else {
            return Err(Error::lacking(what, "the target is no process", "name one of its processes"));
        };
        if !mounts::is_plain(directory) {
            return Err(Error::unlike(what, "an absolute path", directory.display().to_string()));
        }
        let (ours, theirs) = UnixStream::pair().map_err(|error| Error::os(&what, error))?;
        ours.set_read_timeout(Some(TIMEOUT)).map_err(|error| Error::os(&what, error))?;
        let this = pidfd_open(rustix::process::getpid(), PidfdFlags::empty());
        let this = this.map_err(|error| Error::os(&what, error))?;
        let child = match fork().map_err(|error| Error::os(&what, error))? {
            Forked::Child => {
                drop(ours);
                end_now(i32::from(keep_covered(process, directory, &this, theirs).is_err()))
            }
            Forked::Parent(child) => child,
        };
        drop(theirs);
        let mut cover = Self { directory: directory.to_path_buf(), child, conversation: Some(BufReader::new(ours)) };
        let answer = cover.hear();
        if answer.is_err() {
            cover.end();
        }
        answer.map(|()| cover)
    }

    fn ask(&mut self, request: Request) -> Result<()> {
        if let Some(conversation) = &mut self.conversation {
            // If the child is gone, hearing says so.
            let _ = conversation.get_mut().write_all(&[request as u8]);
        }
        self.hear()
    }

    /// The child's answer is a line: nothing if all is well, or a word and a text.
    fn hear(&mut self) -> Result<()> {
        let what = format!("leave no room in {}", self.directory.display());
        let mut line = String::new();
        let heard = self.conversation.as_mut().map(|conversation| conversation.read_line(&mut line));
        match heard {
            Some(Ok(1..)) => {}
            Some(Err(error)) => return Err(Error::os(what, error)),
            Some(Ok(0)) | None => return Err(Error::gone(what)),
        }
        match line.trim_end().split_once(' ') {
            None => Ok(()),
            Some(("gone", _)) => Err(Error::gone(what)),
            Some(("refused", text)) => Err(Error::lacking(
                what,
                text,
                "run as root, or as the user whose user namespace the target is in, on Linux 5.11 or later",
            )),
            Some((_, text)) => Err(Error::unlike(what, "an overlay of ours", text)),
        }
    }

    /// The child ends when nobody talks to it any more.
    fn end(&mut self) {
        if self.conversation.take().is_some() {
            let _ = wait(self.child);
        }
    }
}

impl Injection for DirectoryFull {
    fn mechanism(&self) -> &'static str {
        "overlay without room"
    }

    fn read_back(&mut self) -> Result<()> {
        self.ask(Request::Look)
    }

    /// The kernel does not count what it refuses here, and says so by an error.
    fn bit(&mut self) -> Result<u64> {
        Err(Error::lacking("count refused writes", "the kernel does not count them", "look at the target's own errors"))
    }

    /// If something else has been mounted over it since, it stays, for that would be unmounted instead.
    fn heal(&mut self) -> Result<()> {
        if self.conversation.is_none() {
            return Ok(());
        }
        let answer = match self.ask(Request::Uncover) {
            Err(Error { kind: crate::error::ErrorKind::TargetGone, .. }) => Ok(()),
            answer => answer,
        };
        if answer.is_ok() {
            self.end();
        }
        answer
    }
}

impl Drop for DirectoryFull {
    fn drop(&mut self) {
        let _ = self.heal(); // Nobody to tell.
        self.end();
    }
}

#[derive(Debug, Clone, Copy)]
enum Request {
    Look = b'l' as isize,
    Uncover = b'u' as isize,
}

/// An overlay over a directory, seen from the child.
struct Cover<'a> {
    directory: &'a Path,
    mount: OwnedFd,
    id: u64,
}

/// What the child does: covers, answers, uncovers.
fn keep_covered(process: &Process, directory: &Path, parent: &OwnedFd, mut talk: UnixStream) -> io::Result<()> {
    // It has to outlive its parent, by as long as unmounting takes, also if the whole group is killed.
    rustix::process::set_parent_process_death_signal(None)?;
    rustix::process::setsid()?;
    let cover = match cover(process, directory) {
        Ok(cover) => cover,
        Err(error) => return writeln!(talk, "refused {error}"),
    };
    writeln!(talk)?;
    let target = process.handle.as_fd();
    loop {
        match next_request(&mut talk, parent.as_fd(), target)? {
            Some(request) if request == Request::Look as u8 => writeln!(talk, "{}", cover.found())?,
            Some(request) if request == Request::Uncover as u8 => {
                let found = cover.uncover();
                writeln!(talk, "{found}")?;
                if found.is_empty() {
                    return Ok(());
                }
            }
            _ => {
                cover.uncover();
                return Ok(());
            }
        }
    }
}

/// `None`: somebody is gone, and with them the fault.
fn next_request(talk: &mut UnixStream, parent: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<Option<u8>> {
    let mut interests = [
        PollFd::from_borrowed_fd(parent, PollFlags::IN),
        PollFd::from_borrowed_fd(target, PollFlags::IN),
        PollFd::new(&*talk, PollFlags::IN),
    ];
    match poll(&mut interests, None) {
        Err(Errno::INTR) => return next_request(talk, parent, target),
        polled => polled?,
    };
    // A pidfd is readable once its process has ended (pidfd_open(2)).
    if interests[..2].iter().any(|interest| !interest.revents().is_empty()) {
        return Ok(None);
    }
    let mut request = [0];
    Ok((io::Read::read(talk, &mut request)? == 1).then_some(request[0]))
}

/// Goes to where the process is, and covers the directory there.
fn cover<'a>(process: &Process, directory: &'a Path) -> io::Result<Cover<'a>> {
    let target = process.handle.as_fd();
    let with_user = ThreadNameSpaceType::USER | ThreadNameSpaceType::MOUNT;
    move_into_thread_name_spaces(target, ThreadNameSpaceType::MOUNT)
        .or_else(|_| move_into_thread_name_spaces(target, with_user))?;
    let lower = open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let room = mounts::new_mount("tmpfs", &[("size", "4096"), ("nr_inodes", "64")], MountAttrFlags::empty())?;
    mounts::attach(room.as_fd(), CWD, Path::new(PLACE))?;
    let overlay = overlay_of(lower.as_fd(), room.as_fd());
    // The overlay has its own hold on it.
    unmount(PLACE, UnmountFlags::DETACH)?;
    let overlay = overlay?;
    let id = mount_id(overlay.as_fd(), Path::new(""))?;
    mounts::attach(overlay.as_fd(), CWD, directory)?;
    Ok(Cover { directory, mount: overlay, id })
}

/// An overlay into which nothing can be written. Its parts are named without `/proc/self`, which is not this process's
/// in another PID namespace.
fn overlay_of(lower: BorrowedFd<'_>, room: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    for part in ["upper", "work"] {
        mkdirat(room, part, Mode::RWXU)?;
    }
    let status = statat(lower, "", AtFlags::EMPTY_PATH)?;
    let upper = openat(room, "upper", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let (user, group) = (rustix::fs::Uid::from_raw(status.st_uid), rustix::fs::Gid::from_raw(status.st_gid));
    // In a user namespace a stranger's directory cannot be given to them; nobody can write there anyway.
    let _ = rustix::fs::fchown(&upper, Some(user), Some(group));
    rustix::fs::fchmod(&upper, Mode::from_raw_mode(status.st_mode & 0o7777))?;
    let trusted = rustix::fs::fsetxattr(&upper, "trusted.windtunnel", b"y", XattrFlags::empty());
    let (upper, work) = (format!("{PLACE}/upper"), format!("{PLACE}/work"));
    let mut options =
        vec![("source", "windtunnel"), ("lowerdir", "."), ("upperdir", upper.as_str()), ("workdir", &work)];
    options.extend(matches!(trusted, Err(Errno::PERM | Errno::ACCESS)).then_some(("userxattr", "")));
    rustix::process::fchdir(lower)?;
    let overlay = mounts::new_mount("overlay", &options, MountAttrFlags::empty());
    rustix::process::chdir("/")?;
    let overlay = overlay?;
    // The only page, and the last inode.
    let ballast = openat(room, "ballast", OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::RUSR)?;
    rustix::io::write(&ballast, b"x")?;
    let status = fstatvfs(&ballast)?;
    mounts::change_mount(room, &[("nr_inodes", &(status.f_files - status.f_ffree).to_string())])?;
    Ok(overlay)
}

impl Cover<'_> {
    /// Nothing if all is as it was made, or a line that says what is otherwise.
    fn found(&self) -> String {
        match mount_id(CWD, self.directory) {
            Err(error) => format!("unlike {error}"),
            Ok(id) if id != self.id => "unlike another mount, or none".to_owned(),
            Ok(_) => match fstatvfs(&self.mount) {
                Ok(status) if status.f_bavail == 0 && status.f_ffree == 0 => String::new(),
                Ok(_) => "unlike room".to_owned(),
                Err(error) => format!("unlike {error}"),
            },
        }
    }

    /// Nothing if it is not there any more, whoever has unmounted it.
    fn uncover(&self) -> String {
        match mount_id(CWD, self.directory) {
            Ok(id) if id == self.id => match unmount(self.directory, UnmountFlags::DETACH) {
                Ok(()) => String::new(),
                Err(error) => format!("unlike {error}"),
            },
            // Not on top: unmounted by somebody, or beneath something of somebody's.
            _ if self.is_mounted() => "unlike something mounted over it".to_owned(),
            _ => String::new(),
        }
    }

    /// A mount that has been unmounted is its own parent's no more: `..` stays at its root.
    fn is_mounted(&self) -> bool {
        mount_id(self.mount.as_fd(), Path::new("..")).is_ok_and(|id| id != self.id)
    }
}

/// statx(2), `STATX_MNT_ID`: the mount that is seen at a path.
fn mount_id(directory: impl AsFd, path: &Path) -> io::Result<u64> {
    Ok(statx(directory, path, AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?.stx_mnt_id)
}
