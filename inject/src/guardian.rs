//! Who undoes a process's changes when it cannot: a process of its own that waits for its end.
//!
//! It is forked before the journal is made, in its own session, so that neither SIGKILL to the holder nor to its
//! process group meets it. It knows nothing but a directory, a journal's name and a pidfd, and reads the journal only
//! when it has to act: so it has nothing to be kept in step with. It must not end before the holder unless it is
//! dismissed.
//!
//! What ends both, such as the end of their PID namespace or of a service's cgroup, is left to
//! [`recover`](crate::recover::recover).

use crate::error::{Error, Result};
use crate::journal::{Directory, passing};
use crate::process::proc::Stat;
use crate::recover::{self, Undone};
use crate::step::reached;
use crate::sys;
use crate::target::Process;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// How often it looks whether the holder is stopped, when it is to look at all.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long it may take to start.
const START_WITHIN: Duration = Duration::from_secs(5);

/// When what could not be undone is tried again, first and last: a process with much memory, or with a disk to write
/// back, may take its time to end, and its control group stays as long as it does.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(100);
const TRY_AGAIN_AFTER_MAX: Duration = Duration::from_secs(60);

/// What the holder says when it needs no guardian any more. The end of the stream says nothing: the holder may have
/// executed another program, and its forks may keep the stream open after its end.
const DISMISSED: u8 = b'd';

/// The name by which it is found among processes.
pub const NAME: &std::ffi::CStr = c"wt:guardian";

/// The guardian of this process's journal.
#[derive(Debug)]
pub(crate) struct Guardian {
    process: Process,
    stream: UnixStream,
}

impl Guardian {
    /// Starts one.
    ///
    /// # Errors
    /// No process can be made.
    pub(crate) fn start(directory: &Directory, name: &str, stopped_max: Option<Duration>) -> Result<Self> {
        let os = |error| Error::os("start a guardian", error);
        let holder = Process::open(std::process::id())?;
        let (stream, mut theirs) = UnixStream::pair().map_err(os)?;
        let directory = directory.again().map_err(os)?;
        reached("a guardian is to be forked");
        sys::fork_orphan(|| {
            reached("guardian begun");
            sys::stand_alone(&[directory.handle().as_fd(), holder.handle.as_fd(), theirs.as_fd()]);
            // Neither is needed to guard: a name to be found by, and no mount held by standing in it.
            let _ = rustix::thread::set_name(NAME);
            let _ = std::env::set_current_dir("/");
            reached("the guardian stands alone");
            if theirs.write_all(&std::process::id().to_ne_bytes()).is_ok() {
                let (directory, holder) = (&directory, &holder);
                reached("the guardian watches");
                Watch { directory, name, holder, stopped_max, stopped: Stopped::No }.guard(&theirs);
            }
            reached("the guardian is done");
            sys::end_now(0); // no destructor of the holder's runs here
        })
        .map_err(os)?;
        drop(theirs);
        // Other processes that were forked meanwhile may keep the other end open, so its end alone says nothing.
        stream.set_read_timeout(Some(START_WITHIN)).map_err(os)?;
        let mut pid = [0; 4];
        (&stream).read_exact(&mut pid).map_err(os)?;
        Ok(Self { process: Process::open(u32::from_ne_bytes(pid))?, stream })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.process.is_alive()
    }

    /// Lets it end, and waits until it has.
    pub(crate) fn dismiss(mut self) {
        if self.stream.write_all(&[DISMISSED]).is_ok() {
            self.process.ends_within(Duration::from_secs(1));
        }
    }
}

/// What a guardian works with.
struct Watch<'a> {
    directory: &'a Directory,
    name: &'a str,
    holder: &'a Process,
    stopped_max: Option<Duration>,
    stopped: Stopped,
}

/// Whether the holder stands still.
enum Stopped {
    No,
    Since(Instant),
    /// For too long, and its changes are undone.
    Undone,
}

impl Watch<'_> {
    /// Watches until it is dismissed or the holder has ended; then there is nothing left to undo.
    fn guard(&mut self, stream: &UnixStream) {
        loop {
            let mut fds = [
                PollFd::from_borrowed_fd(self.holder.handle.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::IN),
            ];
            let every = Timespec { tv_sec: 0, tv_nsec: LOOK_EVERY.subsec_nanos().into() };
            match poll(&mut fds, self.stopped_max.is_some().then_some(&every)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return,
            }
            let (has_ended, says) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
            if has_ended {
                return undo_for_the_dead(self.directory, self.name);
            }
            if says {
                let mut word = [0];
                let is_dismissed = matches!((&*stream).read(&mut word), Ok(1)) && word[0] == DISMISSED;
                // Otherwise the stream is at its end, which it would say for ever: only the pidfd counts from now on.
                if !is_dismissed {
                    self.guard_the_silent();
                }
                return;
            }
            self.look_whether_stopped();
        }
    }

    /// As [`guard`](Self::guard), for a holder that can no longer say anything.
    fn guard_the_silent(&mut self) {
        while !self.holder.ends_within(LOOK_EVERY) {
            self.look_whether_stopped();
        }
        undo_for_the_dead(self.directory, self.name);
    }

    /// Undoes everything once the holder has been stopped for too long. The journal stays as it is: should the holder
    /// go on, it finds its faults healed, and may have been stopped between writing a change down and making it.
    fn look_whether_stopped(&mut self) {
        let Some(stopped_max) = self.stopped_max else { return };
        if !Stat::of(self.holder.pid).is_ok_and(|stat| stat.state == 'T') {
            self.stopped = Stopped::No;
            return;
        }
        match self.stopped {
            Stopped::No => self.stopped = Stopped::Since(Instant::now()),
            // The lock is the holder's, who is not writing.
            Stopped::Since(since) if since.elapsed() >= stopped_max => {
                reached("the guardian undoes for one that is stopped");
                if let Ok(mut file) = self.directory.file(self.name, rustix::fs::OFlags::empty()) {
                    let _ = recover::undo_outstanding(&mut file, |_, _, _| {});
                }
                self.stopped = Stopped::Undone;
            }
            Stopped::Since(_) | Stopped::Undone => {}
        }
    }
}

fn undo_for_the_dead(directory: &Directory, name: &str) {
    reached("the guardian undoes for the dead");
    // It died while making it, and nothing was done yet.
    let _ = directory.remove(&passing(name));
    let Ok(mut file) = directory.file(name, rustix::fs::OFlags::empty()) else { return };
    // It went with the holder, or somebody who recovers has it and may be done before this returns.
    if fcntl_lock(&file, FlockOperation::LockExclusive).is_err() {
        return;
    }
    let mut pause = TRY_AGAIN_AFTER;
    while recover::finish(directory, name, &mut file).is_ok_and(|undone| !undone.iter().all(is_final)) {
        if pause > TRY_AGAIN_AFTER_MAX {
            return; // Somebody has to look; `recover` tries once more.
        }
        std::thread::sleep(pause);
        pause *= 2;
    }
}

fn is_final(undone: &Undone) -> bool {
    undone.outcome.is_final()
}
