//! Locks of files: flock(2), and of stretches: fcntl(2), `F_SETLK` and `F_OFD_SETLK`.
//!
//! A host runs one process, so the locks that belong to a process never stand in its own way; those that belong to an
//! open file do.

use crate::kernel::file::{FileId, Kind};
use crate::kernel::thread::{ThreadId, WaitsOn, Woken};
use crate::kernel::{Kernel, ProcessId, Step, Stop};
use crate::world::HostId;
use libc::{EAGAIN, EBADF, EINVAL, c_int};
use std::collections::BTreeMap;

/// Whose a lock is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Owner {
    /// flock(2): an open file, of the whole file. These and the others do not see each other.
    Whole(FileId),
    /// `F_OFD_SETLK`: an open file.
    File(FileId),
    /// `F_SETLK`: a process.
    Process(ProcessId),
}

impl Owner {
    /// Whether both are of a kind that stand in each other's way.
    fn sees(self, other: Owner) -> bool {
        matches!(self, Owner::Whole(_)) == matches!(other, Owner::Whole(_)) && self != other
    }
}

/// A lock of a stretch, `from..to`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Lock {
    pub(crate) owner: Owner,
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// Nobody else may have one; or else nobody else may have such a one.
    pub(crate) exclusive: bool,
}

/// Locks of one file, and who waits for one of them.
#[derive(Default)]
pub(crate) struct Locks {
    held: Vec<Lock>,
    waiters: Vec<ThreadId>,
}

/// The locks of a world, by host and inode number.
pub(crate) type LockTable = BTreeMap<(HostId, u64), Locks>;

impl Locks {
    /// A lock that stands in this one's way: the first, by where it begins.
    fn conflict(&self, wanted: &Lock) -> Option<&Lock> {
        let stands = |held: &&Lock| {
            held.owner.sees(wanted.owner)
                && (held.exclusive || wanted.exclusive)
                && held.from < wanted.to
                && wanted.from < held.to
        };
        self.held.iter().filter(stands).min_by_key(|held| held.from)
    }

    /// Takes a stretch out of what an owner holds.
    fn release(&mut self, owner: Owner, from: u64, to: u64) {
        let mut rest = Vec::new();
        self.held.retain(|held| {
            if held.owner != owner || held.from >= to || from >= held.to {
                return true;
            }
            if held.from < from {
                rest.push(Lock { to: from, ..*held });
            }
            if to < held.to {
                rest.push(Lock { from: to, ..*held });
            }
            false
        });
        self.held.append(&mut rest);
    }

    /// Adds a lock, in place of what its owner holds there; it grows together with such locks beside it (fcntl(2)).
    fn take(&mut self, mut lock: Lock) {
        self.release(lock.owner, lock.from, lock.to);
        self.held.retain(|held| {
            let beside = held.to == lock.from || lock.to == held.from;
            let joins = beside && held.owner == lock.owner && held.exclusive == lock.exclusive;
            if joins {
                (lock.from, lock.to) = (lock.from.min(held.from), lock.to.max(held.to));
            }
            !joins
        });
        self.held.push(lock);
    }
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Request {
    /// A lock, now or never.
    Try(Lock),
    /// A lock, however long it takes.
    Wait(Lock),
    /// No lock any more.
    Release(Owner, u64, u64),
}

impl Kernel {
    fn lock_key(&self, me: ThreadId, id: FileId) -> (HostId, u64) {
        let host = match &self.files[id].kind {
            Kind::Disk(open) => open.host(),
            _ => self.host_id(me),
        };
        (host, self.stat_file(me, id).inode)
    }

    fn lock(&mut self, me: ThreadId, id: FileId, request: Request) -> Step {
        let key = self.lock_key(me, id);
        let locks = self.locks.entry(key).or_default();
        let (lock, waits) = match request {
            Request::Release(owner, from, to) => {
                locks.release(owner, from, to);
                self.wake_lockers(key);
                return Ok(0);
            }
            Request::Try(lock) => (lock, false),
            Request::Wait(lock) => (lock, true),
        };
        if locks.conflict(&lock).is_none() {
            locks.take(lock);
            self.wake_lockers(key); // an exclusive lock may have become a shared one
            return Ok(0);
        }
        if matches!(lock.owner, Owner::Whole(_)) {
            // flock(2): a conversion gives up the old lock first, whether or not it gets the new one.
            locks.release(lock.owner, lock.from, lock.to);
            self.wake_lockers(key);
        }
        if !waits {
            return Err(Stop::Errno(EAGAIN));
        }
        self.locks.entry(key).or_default().waiters.push(me);
        self.threads[me].waits.push(WaitsOn::Lock(key.0, key.1));
        Err(Stop::Block)
    }

    /// Lets whoever waits for a lock of a file try again.
    fn wake_lockers(&mut self, key: (HostId, u64)) {
        let Some(locks) = self.locks.get_mut(&key) else { return };
        let waiters = std::mem::take(&mut locks.waiters);
        if locks.held.is_empty() {
            self.locks.remove(&key);
        }
        for waiter in waiters {
            self.wake(waiter, Woken::Event);
        }
    }

    /// A thread no longer waits for a lock.
    pub(crate) fn forget_locker(&mut self, key: (HostId, u64), thread: ThreadId) {
        if let Some(locks) = self.locks.get_mut(&key) {
            locks.waiters.retain(|waiter| *waiter != thread);
            if locks.held.is_empty() && locks.waiters.is_empty() {
                self.locks.remove(&key);
            }
        }
    }

    /// flock(2).
    pub(crate) fn lock_file(&mut self, me: ThreadId, fd: c_int, operation: c_int) -> Step {
        let id = self.file(me, fd)?;
        let owner = Owner::Whole(id);
        let lock = |exclusive| Lock { owner, from: 0, to: u64::MAX, exclusive };
        let wanted = match operation & !libc::LOCK_NB {
            libc::LOCK_SH => lock(false),
            libc::LOCK_EX => lock(true),
            libc::LOCK_UN => return self.lock(me, id, Request::Release(owner, 0, u64::MAX)),
            _ => return Err(Stop::Errno(EINVAL)),
        };
        let waits = operation & libc::LOCK_NB == 0;
        self.lock(me, id, if waits { Request::Wait(wanted) } else { Request::Try(wanted) })
    }

    /// The stretch that a `struct flock` names (fcntl(2)).
    fn stretch(&self, id: FileId, whence: c_int, start: i64, length: i64) -> Result<(u64, u64), Stop> {
        let base = match (whence, &self.files[id].kind) {
            (libc::SEEK_SET, _) => 0,
            (libc::SEEK_CUR, Kind::Disk(open)) => open.position as i64,
            (libc::SEEK_CUR, Kind::Outside(open)) => open.position as i64,
            (libc::SEEK_CUR, _) => 0,
            (libc::SEEK_END, Kind::Disk(_)) => {
                let (host, inode) = self.disk_file(id)?;
                self.hosts[host].disk.inode(inode).bytes() as i64
            }
            (libc::SEEK_END, _) => 0,
            _ => return Err(Stop::Errno(EINVAL)),
        };
        let start = base.checked_add(start).filter(|start| *start >= 0).ok_or(Stop::Errno(EINVAL))?;
        match length {
            0 => Ok((start as u64, u64::MAX)),
            1.. => Ok((start as u64, (start as u64).saturating_add(length as u64))),
            _ => {
                let from = start.checked_add(length).filter(|from| *from >= 0).ok_or(Stop::Errno(EINVAL))?;
                Ok((from as u64, start as u64))
            }
        }
    }

    /// fcntl(2), `F_SETLK`, `F_SETLKW`, `F_GETLK` and their `F_OFD_` relatives. For the last, what stands in the way is
    /// written into `asked`.
    pub(crate) fn lock_range(&mut self, me: ThreadId, fd: c_int, command: c_int, asked: &mut libc::flock) -> Step {
        let id = self.file(me, fd)?;
        let (kind, mode) = (c_int::from(asked.l_type), self.files[id].flags & libc::O_ACCMODE);
        let by_file = matches!(command, libc::F_OFD_GETLK | libc::F_OFD_SETLK | libc::F_OFD_SETLKW);
        if by_file && asked.l_pid != 0 {
            return Err(Stop::Errno(EINVAL));
        }
        let asks = matches!(command, libc::F_GETLK | libc::F_OFD_GETLK);
        if !matches!(kind, libc::F_RDLCK | libc::F_WRLCK | libc::F_UNLCK) || asks && kind == libc::F_UNLCK {
            return Err(Stop::Errno(EINVAL));
        }
        let (from, to) = self.stretch(id, c_int::from(asked.l_whence), asked.l_start, asked.l_len)?;
        match kind {
            libc::F_RDLCK if !asks && mode == libc::O_WRONLY => return Err(Stop::Errno(EBADF)),
            libc::F_WRLCK if !asks && mode == libc::O_RDONLY => return Err(Stop::Errno(EBADF)),
            _ => {}
        }
        let owner = if by_file { Owner::File(id) } else { Owner::Process(self.threads[me].process) };
        let lock = Lock { owner, from, to, exclusive: kind == libc::F_WRLCK };
        if asks {
            let key = self.lock_key(me, id);
            let found = self.locks.get(&key).and_then(|locks| locks.conflict(&lock)).copied();
            let pid = self.processes[self.threads[me].process].pid;
            match found {
                None => asked.l_type = libc::F_UNLCK as i16,
                Some(held) => {
                    asked.l_type = if held.exclusive { libc::F_WRLCK } else { libc::F_RDLCK } as i16;
                    asked.l_whence = libc::SEEK_SET as i16;
                    asked.l_start = held.from as i64;
                    asked.l_len = if held.to == u64::MAX { 0 } else { (held.to - held.from) as i64 };
                    asked.l_pid = if matches!(held.owner, Owner::Process(_)) { pid } else { -1 };
                }
            }
            return Ok(0);
        }
        let waits = matches!(command, libc::F_SETLKW | libc::F_OFD_SETLKW);
        self.lock(
            me,
            id,
            match kind {
                libc::F_UNLCK => Request::Release(owner, from, to),
                _ if waits => Request::Wait(lock),
                _ => Request::Try(lock),
            },
        )
    }

    /// An open file is closed for good: its locks go.
    pub(crate) fn forget_file_locks(&mut self, id: FileId) {
        if self.locks.is_empty() {
            return;
        }
        let owned = |lock: &Lock| matches!(lock.owner, Owner::Whole(file) | Owner::File(file) if file == id);
        self.forget_locks(owned);
    }

    /// close(2) of any descriptor of a file gives up the process's locks of it (fcntl(2)); so does its end.
    fn forget_process_locks(&mut self, process: ProcessId, key: (HostId, u64)) {
        let Some(locks) = self.locks.get_mut(&key) else { return };
        let before = locks.held.len();
        locks.held.retain(|lock| lock.owner != Owner::Process(process));
        if locks.held.len() < before {
            self.wake_lockers(key);
        }
    }

    /// What close(2) of a descriptor means for the process's locks.
    pub(crate) fn close_gives_up_locks(&mut self, me: ThreadId, id: FileId) {
        if !self.locks.is_empty() && matches!(self.files[id].kind, Kind::Disk(_) | Kind::Outside(_)) {
            let key = self.lock_key(me, id);
            self.forget_process_locks(self.threads[me].process, key);
        }
    }

    pub(super) fn forget_locks(&mut self, gone: impl Fn(&Lock) -> bool) {
        let keys: Vec<(HostId, u64)> =
            self.locks.iter().filter(|(_, locks)| locks.held.iter().any(&gone)).map(|(key, _)| *key).collect();
        for key in keys {
            if let Some(locks) = self.locks.get_mut(&key) {
                locks.held.retain(|lock| !gone(lock));
            }
            self.wake_lockers(key);
        }
    }
}
