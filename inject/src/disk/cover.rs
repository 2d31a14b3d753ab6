//! A directory of a running process that was not started on a disk of ours: nothing can be written there any more.
//!
//! An overlay whose upper layer has room for nothing is mounted over the directory, in the process's mount namespace.
//! Reading goes on; what would change something answers `ENOSPC`. As nothing can be written there is nothing to be lost
//! when it is unmounted. It is harsher than a full disk: deleting, and opening a file to write, are refused as well.
//! Files that are open already, and a current directory, are beneath the overlay and go on as before.
//!
//! A child process does it and stays in that namespace: by it the fault is read back, and when it is told to, when the
//! process that applied the fault ends in whatever way, or when the target does, it unmounts. Should it be killed as
//! well, or whoever applied the fault be stopped, the [journal](crate::journal) tells what is to be unmounted.

use super::layers::{copy_looks, takes_user_attributes};
use super::space;
use super::uncover::{Covered, go_to, mount_id};
use crate::error::{Error, Result};
use crate::journal::{Change, Journal, Undo};
use crate::mounts;
use crate::namespace::leave_for_copy_of_mounts;
use crate::process::identity::Identity;
use crate::process::proc;
use crate::step::reached;
use crate::sys::{Forked, end_now, fork, wait};
use crate::target::Process;
use crate::{Injection, Target};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, Mode, OFlags, fstatvfs, mkdirat, open, openat};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, UnmountFlags, unmount};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Where the upper layer stands while the overlay is made; the overlay keeps it afterwards. Every `/proc` has this.
const PLACE: &str = "/proc/driver";
/// Until the child answers.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A directory in which a process finds no room. See the module.
#[derive(Debug)]
pub struct DirectoryFull {
    child: Child,
    change: Change,
}

impl DirectoryFull {
    /// Lets the target, a process, find no room in a directory, by its absolute path in the target's mount namespace.
    ///
    /// # Errors
    /// The target is no process, or gone; this process may not enter its mount namespace; the directory cannot be
    /// beneath an overlay (it is on two of them already, or mounts are hidden below it); it cannot be written down.
    pub fn apply(journal: &Journal, target: &Target, directory: &Path) -> Result<Self> {
        let what = format!("leave no room in {}", directory.display());
        let Some(process) = target.process() else {
            return Err(Error::lacking(what, "the target is no process", "name one of its processes"));
        };
        if !mounts::is_plain(directory) {
            return Err(Error::unlike(what, "an absolute path", directory.display().to_string()));
        }
        let namespace = proc::namespace(process.pid, "mnt")?;
        let mut covered =
            Covered { namespace, directory: directory.to_owned(), mount: 0, source: source(&journal.holder()) };
        let mut child = Child::start(process, &covered, what)?;
        covered.mount = child.hear()?;
        let (_, change) = journal.change(Undo::Uncover(covered), || child.ask(Request::Cover))?;
        Ok(Self { child, change })
    }
}

/// A name for a mount that no other has.
fn source(holder: &Identity) -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("windtunnel-{}-{number}", holder.name())
}

impl Injection for DirectoryFull {
    fn mechanism(&self) -> &'static str {
        "overlay without room"
    }

    fn read_back(&mut self) -> Result<()> {
        self.child.ask(Request::Look).map(drop)
    }

    /// The kernel does not count what it refuses here, and says so by an error.
    fn bit(&mut self) -> Result<u64> {
        Err(Error::lacking("count refused writes", "the kernel does not count them", "look at the target's own errors"))
    }

    /// If something else has been mounted over it since, it stays, for that would be unmounted instead.
    fn heal(&mut self) -> Result<()> {
        self.change.undo()?;
        self.child.end();
        Ok(())
    }
}

/// The process that covers, as seen from the one that asks it to. It is killed when this is dropped.
#[derive(Debug)]
struct Child {
    what: String,
    process: Process,
    /// `None` once it has ended.
    conversation: Option<BufReader<UnixStream>>,
    /// It did not answer in time, and what it says later would be taken for an answer to something else.
    deaf: bool,
}

impl Child {
    fn start(target: &Process, covered: &Covered, what: String) -> Result<Self> {
        let (ours, theirs) = UnixStream::pair().map_err(|error| Error::os(&what, error))?;
        ours.set_read_timeout(Some(TIMEOUT)).map_err(|error| Error::os(&what, error))?;
        let this = Process::open(std::process::id())?;
        let process = match fork().map_err(|error| Error::os(&what, error))? {
            Forked::Child => {
                reached("helper begun");
                drop(ours);
                end_now(i32::from(keep_covered(target, covered.clone(), &this, theirs).is_err()))
            }
            // Without anybody to talk to it ends.
            Forked::Parent(child) => Process::open(child)?,
        };
        reached("who covers a directory is forked");
        Ok(Self { what, process, conversation: Some(BufReader::new(ours)), deaf: false })
    }

    fn ask(&mut self, request: Request) -> Result<u64> {
        if self.deaf {
            return Err(Error::gone(&self.what));
        }
        if let Some(conversation) = &mut self.conversation {
            // If the child is gone, hearing says so.
            let _ = conversation.get_mut().write_all(&[request as u8]);
        }
        self.hear()
    }

    /// Its answer is a line of a word and a text: the mount's number if all is well.
    fn hear(&mut self) -> Result<u64> {
        let mut line = String::new();
        let heard = self.conversation.as_mut().map(|conversation| conversation.read_line(&mut line));
        match heard {
            Some(Ok(1..)) => {}
            Some(Err(error)) => {
                self.deaf = true;
                return Err(Error::os(&self.what, error));
            }
            Some(Ok(0)) | None => return Err(Error::gone(&self.what)),
        }
        let (word, text) = line.trim_end().split_once(' ').unwrap_or_default();
        match (word, text.parse()) {
            ("yes", Ok(id)) => Ok(id),
            ("refused", _) => Err(Error::lacking(
                &self.what,
                text,
                "run as root, or as the user whose user namespace the target is in, on Linux 5.11 or later",
            )),
            _ => Err(Error::unlike(&self.what, "an overlay of ours", text)),
        }
    }

    /// Nothing is left for it to do: what it has mounted is unmounted, or written down.
    fn end(&mut self) {
        if self.conversation.take().is_some() {
            let _ = self.process.kill();
            let _ = wait(self.process.pid);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}

#[derive(Debug, Clone, Copy)]
enum Request {
    Cover = b'c' as isize,
    Look = b'l' as isize,
}

/// An overlay for a directory, seen from the child.
struct Overlay {
    covered: Covered,
    mount: OwnedFd,
    /// This process's directory in `/proc`.
    itself: OwnedFd,
}

/// What the child does: makes an overlay, covers when it is told that this is written down, answers, uncovers.
fn keep_covered(process: &Process, covered: Covered, parent: &Process, mut talk: UnixStream) -> io::Result<()> {
    // It has to outlive its parent, by as long as unmounting takes, also if the whole group is killed.
    rustix::process::set_parent_process_death_signal(None)?;
    rustix::process::setsid()?;
    let overlay = match make(process, covered) {
        Ok(overlay) => overlay,
        Err(error) => return writeln!(talk, "refused {error}"),
    };
    let id = overlay.covered.mount;
    reached("an overlay is made");
    answer(&mut talk, id, &Ok(()))?;
    loop {
        match next_request(&mut talk, parent.handle.as_fd(), process.handle.as_fd())? {
            Some(request) if request == Request::Look as u8 => answer(&mut talk, id, &overlay.look())?,
            Some(request) if request == Request::Cover as u8 => match overlay.cover() {
                Ok(()) => answer(&mut talk, id, &Ok(()))?,
                Err(error) => return writeln!(talk, "refused {error}"),
            },
            _ => return overlay.covered.uncover(&overlay.itself).map_err(io::Error::other),
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

/// Goes to where the process is, and makes an overlay for the directory there. What has to be mounted for that is
/// mounted in a copy of that mount namespace, which nobody else sees.
fn make(process: &Process, mut covered: Covered) -> io::Result<Overlay> {
    let itself = go_to(process)?;
    leave_for_copy_of_mounts().map_err(io::Error::other)?;
    reached("who covers a directory is in a copy of its namespace");
    let lower = open(&covered.directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let room = mounts::new_mount("tmpfs", &[("size", "4096"), ("nr_inodes", "64")], MountAttrFlags::empty())?;
    let mount = overlay_of(lower.as_fd(), room.as_fd(), &covered.source)?;
    // The only page, and the last inode.
    let ballast = openat(&room, "ballast", OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::RUSR)?;
    rustix::io::write(&ballast, b"x")?;
    let status = fstatvfs(&ballast)?;
    mounts::change_mount(room.as_fd(), &[("nr_inodes", &(status.f_files - status.f_ffree).to_string())])?;
    covered.mount = mount_id(mount.as_fd(), Path::new(""))?;
    drop(lower);
    go_to(process)?;
    Ok(Overlay { covered, mount, itself })
}

/// An overlay whose changes are kept in `room`.
fn overlay_of(lower: BorrowedFd<'_>, room: BorrowedFd<'_>, source: &str) -> io::Result<OwnedFd> {
    for part in ["upper", "work"] {
        mkdirat(room, part, Mode::RWXU)?;
    }
    let open = |part: &str| openat(room, part, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let (upper, work) = (open("upper")?, open("work")?);
    copy_looks(lower, Path::new(""), upper.as_fd(), Path::new(""))?;
    let attributes = takes_user_attributes(upper.as_fd())?.then_some(("userxattr", ""));
    let options: Vec<_> = attributes.into_iter().chain([("source", source)]).collect();
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
    reached("the room of an overlay is mounted");
    let overlay = rustix::process::fchdir(lower)
        .map_err(io::Error::from)
        .and_then(|()| mounts::new_mount("overlay", &options, MountAttrFlags::empty()));
    rustix::process::chdir("/")?;
    // The overlay has its own hold on it.
    unmount(PLACE, UnmountFlags::DETACH)?;
    overlay
}

impl Overlay {
    /// Attaches it.
    fn cover(&self) -> io::Result<()> {
        mounts::attach(self.mount.as_fd(), CWD, &self.covered.directory)?;
        reached("a directory is covered");
        Ok(())
    }

    /// Whether all is as it was made; if not, what is otherwise.
    fn look(&self) -> std::result::Result<(), String> {
        let seen = mount_id(CWD, &self.covered.directory).map_err(|error| error.to_string())?;
        if seen != self.covered.mount {
            return Err("another mount, or none".to_owned());
        }
        match space::nameless_file(self.mount.as_fd()) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(()),
            Err(error) => Err(error.to_string()),
            Ok(_) => Err("room for a file".to_owned()),
        }
    }
}
