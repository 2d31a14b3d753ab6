//! A world's first process, which starts the others.
//!
//! ```text
//! who runs cases ── waits for ──► outer        in the machine's PID namespace; leaves for the world's namespaces
//!                                   └─ KEEPER   first process of the world's PID namespace: one thread, starts hosts
//!                                        ├─ the case: test body, clients, faults; as many threads as it likes
//!                                        ├─ init of kv0: first process of the host's PID namespace
//!                                        │    └─ kv0's program
//!                                        └─ init of kv1 …
//! ```
//!
//! Whatever happens to one of these, everything below ends with it: the kernel kills what is in a PID namespace when
//! its first process ends (pid_namespaces(7)), and with the last process of a namespace its devices, rules and mounts
//! are gone. Outside of the world's namespaces nothing is left.
//!
//! Hosts are started from here because the case has threads: between fork(2) and exec(2) it could not even allocate.
//!
//! ```text
//! start.rs     what a host's program is started with, and the handle on it
//! protocol.rs  messages with descriptors
//! serve.rs     the keeper's loop
//! init.rs      a host's first process
//! disks.rs     hosts' disks, and what goes wrong with them
//! ```

mod disks;
mod init;
mod protocol;
mod serve;
mod start;

pub use disks::Inodes;
pub use start::{Begins, Child, Keeper, Program, Start, StartFds};

use crate::disk::{DiskKind, OwnDisk};
use crate::error::{Error, Result};
use crate::namespace::leave_for_new;
use crate::step::reached;
use crate::sys::{End, Forked, end_now, fork, wait};
use rustix::mount::MountFlags;
use rustix::thread::UnshareFlags;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

/// How much a case can write on the disk that it is given.
const CASE_BYTES: u64 = 1 << 30;
const CASE_INODES: u64 = 1 << 16;

/// The namespaces of a world.
pub(crate) const WORLD: UnshareFlags = UnshareFlags::NEWNS
    .union(UnshareFlags::NEWPID)
    .union(UnshareFlags::NEWUTS)
    .union(UnshareFlags::NEWIPC)
    .union(UnshareFlags::NEWNET);

/// Runs a world: in namespaces of its own, and in a process of its own in these, calls `case` with what it starts
/// hosts with, and a disk for whoever is not to write on the machine's. Answers how that process ended, when the whole
/// world is gone. What `case` has, its descriptors among it, that process has alone from its beginning.
///
/// Only for processes of one thread. The world dies with the calling thread.
///
/// # Errors
/// The machine does not allow namespaces, or there is no process.
pub fn run_world(case: impl FnOnce(Keeper, OwnDisk) -> i32) -> Result<End> {
    leave_for_new(WORLD)?;
    // What holds the other end is in this process alone: it tells the keeper that this process has ended, also when
    // that was before the keeper could ask the kernel for a signal.
    let (lifeline, held) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|error| Error::os("make a pipe", error))?;
    // An exit code of the keeper's could not tell a signal from a code.
    let (told, tell) = protocol::pair()?;
    match fork().map_err(|error| Error::os("fork the world's first process", error))? {
        Forked::Child => {
            reached("keeper begun");
            drop((held, told));
            let end = first_process(lifeline, case).map_err(|error| error.to_string());
            // Nobody reads it: then whoever ordered the world is gone.
            let is_told = protocol::send(&tell, &end, &[]).is_ok();
            end_now(i32::from(!is_told))
        }
        Forked::Parent(pid) => {
            reached("the keeper is forked");
            drop((lifeline, tell, case));
            let end = wait(pid).map_err(|error| Error::os("wait for the world", error));
            reached("the world has ended");
            drop(held);
            match protocol::receive(&told)? {
                Some((Ok(end), _)) => Ok(end),
                Some((Err::<End, String>(reason), _)) => {
                    Err(Error::os("keep the world", std::io::Error::other(reason)))
                }
                // What ended the keeper has ended the case.
                None => end,
            }
        }
    }
}

fn first_process(lifeline: OwnedFd, case: impl FnOnce(Keeper, OwnDisk) -> i32) -> Result<End> {
    mount_proc()?;
    let disk = OwnDisk::make(Path::new("/"), DiskKind::Memory, CASE_BYTES, CASE_INODES)?;
    let (ours, theirs) = protocol::pair()?;
    match fork().map_err(|error| Error::os("fork the case", error))? {
        Forked::Child => {
            reached("case begun");
            drop((ours, lifeline));
            end_now(case(Keeper::new(theirs), disk))
        }
        Forked::Parent(pid) => {
            reached("the case is forked");
            drop((theirs, case));
            serve::serve(&ours, &lifeline, pid)
        }
    }
}

/// `/proc` of the PID namespace that this is the first process of.
pub(crate) fn mount_proc() -> Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    reached("/proc is to be mounted");
    rustix::mount::mount("proc", "/proc", "proc", flags, None).map_err(|error| Error::os("mount /proc", error))?;
    reached("/proc is mounted");
    Ok(())
}

/// Whether this machine lets this user have worlds: tried, in a process that ends at once.
///
/// # Errors
/// What is lacking, and the remedy.
pub fn is_possible() -> Result<()> {
    in_a_child(|| leave_for_new(WORLD))?
        .map_err(|reason| Error::lacking("make a world", reason, "see `cargo chaos doctor`"))
}

/// Does this in a child that ends at once; what it answers in the place of an error is the error's text.
///
/// # Errors
/// There is no child.
pub(crate) fn in_a_child(work: impl FnOnce() -> Result<()>) -> Result<std::result::Result<(), String>> {
    let (mut told, tell) = std::io::pipe().map_err(|error| Error::os("make a pipe", error))?;
    match fork().map_err(|error| Error::os("make a process", error))? {
        Forked::Child => {
            drop(told);
            if let Err(error) = work() {
                // Nobody reads it: then nobody wants to know.
                let _ = (&tell).write_all(error.to_string().as_bytes());
            }
            end_now(0)
        }
        Forked::Parent(pid) => {
            drop(tell);
            let mut reason = String::new();
            told.read_to_string(&mut reason).map_err(|error| Error::os("hear of a child", error))?;
            wait(pid).map_err(|error| Error::os("wait for a child", error))?;
            Ok(if reason.is_empty() { Ok(()) } else { Err(reason) })
        }
    }
}
