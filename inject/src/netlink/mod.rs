//! Netlink, spoken synchronously: netlink(7).
//!
//! A socket belongs for life to the network namespace of the thread that opened it, wherever it is used afterwards. So
//! sockets are opened on a thread that has entered the namespace ([`in_namespace`]), and no other thread ever changes
//! its own.

pub mod nft;
pub mod route;
mod socket;

pub use socket::{Socket, bind, widen};

use crate::step::reached;
use crate::{Error, Result, namespace};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use std::fs::File;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::panic::resume_unwind;
use std::thread;

/// Runs this on a thread of its own that has entered the network namespace (setns(2) concerns one thread only).
///
/// # Errors
/// It is no network namespace, or not one of this user's.
///
/// # Panics
/// As what it runs.
pub fn in_namespace<R: Send>(ns: BorrowedFd<'_>, work: impl FnOnce() -> R + Send) -> Result<R> {
    let entered = || {
        move_into_link_name_space(ns, Some(LinkNameSpaceType::Network))
            .map_err(|error| Error::os("enter a network namespace", error))?;
        reached("a network is entered");
        Ok(work())
    };
    thread::scope(|scope| scope.spawn(entered).join()).unwrap_or_else(|panic| resume_unwind(panic))
}

/// Makes a network namespace, with nothing but a loopback that is down, in the caller's user namespace. It ends when it
/// is not held any more: by this, a process in it, or a socket.
///
/// # Errors
/// This user may not ([`namespace::leave_for_new`]).
pub fn new_namespace() -> Result<OwnedFd> {
    let make = || {
        namespace::leave_for_new(UnshareFlags::NEWNET)?;
        reached("a network is made");
        let ns = File::open("/proc/thread-self/ns/net").map_err(|error| Error::os("hold a namespace", error))?;
        Ok(ns.into())
    };
    // The thread, which has left its namespace, ends with this.
    thread::scope(|scope| scope.spawn(make).join()).unwrap_or_else(|panic| resume_unwind(panic))
}
