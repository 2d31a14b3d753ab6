//! A directory of a running process that was not started on a disk of ours: nothing can be written there any more.
//!
//! An overlay whose upper layer has room for nothing is mounted over the directory, in the process's mount namespace.
//! Reading goes on; what would change something answers `ENOSPC`. As nothing can be written there is nothing to be lost
//! when it is unmounted. It is harsher than a full disk: deleting, and opening a file to write, are refused as well.
//! Files that are open already, and a current directory, are beneath the overlay and go on as before.
//!
//! A child process does it and stays in that namespace. It unmounts when it is told to, when the process that applied
//! the fault ends in whatever way, or when the target does; so nothing is left even after `kill -9`.

use super::layers::{copy_looks, takes_user_attributes};
use super::space;
use crate::error::{Error, ErrorKind, Result};
use crate::mounts;
use crate::sys::{Forked, end_now, fork, wait};
use crate::target::Process;
use crate::{Injection, Target};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, fstatvfs, mkdirat, open, openat, statx};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, UnmountFlags, unmount};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the upper layer stands while the overlay is made; the overlay keeps it afterwards. Every `/proc` has this.
const PLACE: &str = "/proc/driver";
/// Until the child answers.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A directory in which a process finds no room. See the module.
#[derive(Debug)]
pub struct DirectoryFull {
    directory: PathBuf,
    process: Process,
    child: Process,
    /// The mount's number, for when the child has been killed.
    id: u64,
    /// `None` once healed.
    conversation: Option<BufReader<UnixStream>>,
    /// It did not answer in time, and what it says later would be taken for an answer to something else.
    deaf: bool,
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
        let this = Process::open(std::process::id())?;
        let child = match fork().map_err(|error| Error::os(&what, error))? {
            Forked::Child => {
                drop(ours);
                end_now(i32::from(keep_covered(process, directory, &this, theirs).is_err()))
            }
            // Without anybody to talk to it ends.
            Forked::Parent(child) => Process::open(child)?,
        };
        drop(theirs);
        let conversation = Some(BufReader::new(ours));
        let mut cover = Self {
            directory: directory.to_path_buf(),
            process: process.clone(),
            child,
            id: 0,
            conversation,
            deaf: false,
        };
        let answer = cover.hear();
        if answer.is_err() {
            cover.end();
        }
        cover.id = answer?;
        Ok(cover)
    }

    fn ask(&mut self, request: Request) -> Result<u64> {
        if self.deaf {
            return Err(Error::gone(format!("leave no room in {}", self.directory.display())));
        }
        if let Some(conversation) = &mut self.conversation {
            // If the child is gone, hearing says so.
            let _ = conversation.get_mut().write_all(&[request as u8]);
        }
        self.hear()
    }

    /// The child's answer is a line of a word and a text: the mount's number if all is well.
    fn hear(&mut self) -> Result<u64> {
        let what = format!("leave no room in {}", self.directory.display());
        let mut line = String::new();
        let heard = self.conversation.as_mut().map(|conversation| conversation.read_line(&mut line));
        match heard {
            Some(Ok(1..)) => {}
            Some(Err(error)) => {
                self.deaf = true;
                return Err(Error::os(what, error));
            }
            Some(Ok(0)) | None => return Err(Error::gone(what)),
        }
        let (word, text) = line.trim_end().split_once(' ').unwrap_or_default();
        match (word, text.parse()) {
            ("yes", Ok(id)) => Ok(id),
            ("refused", _) => Err(Error::lacking(
                what,
                text,
                "run as root, or as the user whose user namespace the target is in, on Linux 5.11 or later",
            )),
            _ => Err(Error::unlike(what, "an overlay of ours", text)),
        }
    }

    /// The child ends when nobody talks to it any more.
    fn end(&mut self) {
        if self.conversation.take().is_some() {
            let _ = wait(self.child.pid);
        }
    }

    /// Somebody has killed the child, or stopped it: another one does what it should have done.
    fn uncover_without_child(&mut self) -> Result<()> {
        let what = format!("uncover {}", self.directory.display());
        let _ = self.child.kill();
        self.conversation = None;
        if wait(self.child.pid).map_err(|error| Error::os(&what, error))?.code() == 0 {
            return Ok(()); // It has uncovered, because the target ended.
        }
        match fork().map_err(|error| Error::os(&what, error))? {
            Forked::Child => end_now(match go_to(&self.process) {
                Ok(itself) => i32::from(uncover(&self.directory, self.id, &itself).is_err()),
                Err(_) => 0, // Nothing is there to go to any more.
            }),
            Forked::Parent(child) => match wait(child).map_err(|error| Error::os(&what, error))?.code() {
                0 => Ok(()),
                _ => Err(Error::unlike(what, "an overlay of ours on top", "something else")),
            },
        }
    }
}

impl Injection for DirectoryFull {
    fn mechanism(&self) -> &'static str {
        "overlay without room"
    }

    fn read_back(&mut self) -> Result<()> {
        self.ask(Request::Look).map(drop)
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
        if self.deaf {
            return self.uncover_without_child();
        }
        match self.ask(Request::Uncover) {
            Ok(_) => {
                self.end();
                Ok(())
            }
            Err(error) if matches!(error.kind, ErrorKind::Unlike { .. }) => Err(error),
            Err(_) => self.uncover_without_child(),
        }
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
    /// This process's directory in `/proc`.
    itself: OwnedFd,
}

/// What the child does: covers, answers, uncovers.
fn keep_covered(process: &Process, directory: &Path, parent: &Process, mut talk: UnixStream) -> io::Result<()> {
    // It has to outlive its parent, by as long as unmounting takes, also if the whole group is killed.
    rustix::process::set_parent_process_death_signal(None)?;
    rustix::process::setsid()?;
    let cover = match cover(process, directory) {
        Ok(cover) => cover,
        Err(error) => return writeln!(talk, "refused {error}"),
    };
    answer(&mut talk, cover.id, &Ok(()))?;
    loop {
        match next_request(&mut talk, parent.handle.as_fd(), process.handle.as_fd())? {
            Some(request) if request == Request::Look as u8 => answer(&mut talk, cover.id, &cover.look())?,
            Some(request) if request == Request::Uncover as u8 => {
                let done = uncover(directory, cover.id, &cover.itself);
                answer(&mut talk, cover.id, &done)?;
                if done.is_ok() {
                    return Ok(());
                }
            }
            _ => return uncover(directory, cover.id, &cover.itself).map_err(io::Error::other),
        }
    }
}

fn answer(talk: &mut UnixStream, id: u64, found: &std::result::Result<(), String>) -> io::Result<()> {
    match found {
        Ok(()) => writeln!(talk, "yes {id}"),
        Err(text) => writeln!(talk, "no {text}"),
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
    Ok((talk.read(&mut request)? == 1).then_some(request[0]))
}

/// Goes to where the process is, and covers the directory there.
fn cover<'a>(process: &Process, directory: &'a Path) -> io::Result<Cover<'a>> {
    let itself = go_to(process)?;
    let lower = open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let room = mounts::new_mount("tmpfs", &[("size", "4096"), ("nr_inodes", "64")], MountAttrFlags::empty())?;
    let mount = overlay_of(lower.as_fd(), room.as_fd())?;
    // The only page, and the last inode.
    let ballast = openat(&room, "ballast", OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::RUSR)?;
    rustix::io::write(&ballast, b"x")?;
    let status = fstatvfs(&ballast)?;
    mounts::change_mount(room.as_fd(), &[("nr_inodes", &(status.f_files - status.f_ffree).to_string())])?;
    let id = mount_id(mount.as_fd(), Path::new(""))?;
    mounts::attach(mount.as_fd(), CWD, directory)?;
    Ok(Cover { directory, mount, id, itself })
}

/// Enters the process's mount namespace, and its user namespace if it takes that. Answers this process's own directory
/// in `/proc`, because the one there may be of another PID namespace.
fn go_to(process: &Process) -> io::Result<OwnedFd> {
    let itself = open("/proc/self", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let with_user = ThreadNameSpaceType::USER | ThreadNameSpaceType::MOUNT;
    move_into_thread_name_spaces(process.handle.as_fd(), ThreadNameSpaceType::MOUNT)
        .or_else(|_| move_into_thread_name_spaces(process.handle.as_fd(), with_user))?;
    Ok(itself)
}

/// An overlay whose changes are kept in `room`.
fn overlay_of(lower: BorrowedFd<'_>, room: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    for part in ["upper", "work"] {
        mkdirat(room, part, Mode::RWXU)?;
    }
    let open = |part: &str| openat(room, part, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let (upper, work) = (open("upper")?, open("work")?);
    copy_looks(lower, Path::new(""), upper.as_fd(), Path::new(""))?;
    let attributes = takes_user_attributes(upper.as_fd())?.then_some(("userxattr", ""));
    let options: Vec<_> = attributes.into_iter().chain([("source", "windtunnel")]).collect();
    let parts = [("lowerdir+", lower), ("upperdir", upper.as_fd()), ("workdir", work.as_fd())];
    mounts::new_mount_of("overlay", &options, &parts, MountAttrFlags::empty())
        .or_else(|_| overlay_by_paths(lower, room, &options))
}

/// Before Linux 6.15 an overlay's parts have to be mounted, and be named by paths. These avoid `/proc/self`, which is
/// not this process's in another PID namespace.
fn overlay_by_paths(lower: BorrowedFd<'_>, room: BorrowedFd<'_>, options: &[(&str, &str)]) -> io::Result<OwnedFd> {
    mounts::attach(room, CWD, Path::new(PLACE))?;
    let (upper, work) = (format!("{PLACE}/upper"), format!("{PLACE}/work"));
    let parts = [("lowerdir", "."), ("upperdir", upper.as_str()), ("workdir", work.as_str())];
    let options: Vec<_> = options.iter().copied().chain(parts).collect();
    let overlay = rustix::process::fchdir(lower)
        .map_err(io::Error::from)
        .and_then(|()| mounts::new_mount("overlay", &options, MountAttrFlags::empty()));
    rustix::process::chdir("/")?;
    // The overlay has its own hold on it.
    unmount(PLACE, UnmountFlags::DETACH)?;
    overlay
}

impl Cover<'_> {
    /// Whether all is as it was made; if not, what is otherwise.
    fn look(&self) -> std::result::Result<(), String> {
        let seen = mount_id(CWD, self.directory).map_err(|error| error.to_string())?;
        if seen != self.id {
            return Err("another mount, or none".to_owned());
        }
        match space::nameless_file(self.mount.as_fd()) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(()),
            Err(error) => Err(error.to_string()),
            Ok(_) => Err("room for a file".to_owned()),
        }
    }
}

/// Unmounts the mount of this number. It is well, too, if it is not there any more.
fn uncover(directory: &Path, id: u64, itself: &OwnedFd) -> std::result::Result<(), String> {
    if mount_id(CWD, directory).is_ok_and(|seen| seen == id) {
        return unmount(directory, UnmountFlags::DETACH).map_err(|error| error.to_string());
    }
    // Unmounted by somebody, or beneath something of somebody's, which is not to be unmounted instead.
    let mut mountinfo = Vec::new();
    openat(itself, "mountinfo", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(io::Error::from)
        .and_then(|file| File::from(file).read_to_end(&mut mountinfo))
        .map_err(|error| error.to_string())?;
    let is_there = mounts::parse(&mountinfo).iter().any(|mount| mount.id == id);
    if is_there { Err("something mounted over it".to_owned()) } else { Ok(()) }
}

/// statx(2), `STATX_MNT_ID`: the mount that is seen at a path.
fn mount_id(directory: impl AsFd, path: &Path) -> io::Result<u64> {
    Ok(statx(directory, path, AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?.stx_mnt_id)
}
