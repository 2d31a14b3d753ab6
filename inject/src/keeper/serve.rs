//! The keeper's loop: it starts hosts, reaps whom they leave, and ends with the case or with whoever ordered it.

use super::disks::Disks;
use super::init;
use super::protocol::{self, Answer, Order};
use super::start::Start;
use crate::disk::OwnDisk;
use crate::error::{Error, Result};
use crate::step::reached;
use crate::sys::{End, Forked, clone_into, end_now, wait_any};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::UnshareFlags;
use std::os::fd::OwnedFd;

/// How often children that have ended are looked for when nothing happens.
const REAP_INTERVAL: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Serves until the case ends, and answers how.
pub(super) fn serve(socket: &OwnedFd, lifeline: &OwnedFd, case: u32) -> Result<End> {
    let mut disks = Disks::default();
    loop {
        // Children of hosts' first processes come here when these end, since this is their namespace's first process.
        while let Ok(Some((pid, end))) = wait_any(false) {
            if pid == case {
                reached("the case has ended");
                return Ok(end);
            }
        }
        let mut fds = [PollFd::new(socket, PollFlags::IN), PollFd::new(lifeline, PollFlags::IN)];
        match poll(&mut fds, Some(&REAP_INTERVAL)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::os("wait for orders", error)),
        }
        let [orders, life] = fds.map(|fd| fd.revents());
        if !life.is_empty() {
            // Whoever ordered the world is gone; with this process, so is the rest.
            return Ok(End::Code(1));
        }
        if orders.contains(PollFlags::IN) {
            let answer = match protocol::receive(socket) {
                Ok(Some((Order::Start(start), fds))) => {
                    reached("a host is to be started");
                    disks.of(&start.host).and_then(|disk| begin(&start, disk, fds))
                }
                Ok(Some((Order::Disk(order), _))) => disks.carry_out(order),
                Ok(None) => continue,
                Err(error) => Err(error),
            };
            let answer = answer.unwrap_or_else(|error| Answer::Refused(error.to_string()));
            reached("the keeper is to answer");
            protocol::send(socket, &answer, &[])?;
            reached("the keeper has answered");
        } else if !orders.is_empty() {
            // The case has closed its end, so it is about to be reaped.
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}

fn begin(start: &Start, disk: &OwnDisk, fds: Vec<OwnedFd>) -> Result<Answer> {
    // Mounts are for later: a disk can be entered from its maker's mount namespace only.
    let kinds = UnshareFlags::NEWPID | UnshareFlags::NEWUTS | UnshareFlags::NEWIPC;
    match clone_into(kinds).map_err(|error| Error::os("fork a host's first process", error))? {
        Forked::Child => {
            reached("init begun");
            end_now(init::run(start, disk, fds))
        }
        Forked::Parent(_) => {
            reached("init is forked");
            Ok(Answer::Started)
        }
    }
}
