//! Open files, descriptor tables, and the readiness that both `poll` and `epoll` look at.
//!
//! A [`File`] is an open file description (open(2)): what descriptors in one or several processes refer to.

use super::dispatch::Kernel;
use super::epoll::{Epoll, Watch};
use super::process::ProcessId;
use super::slots::Id;
use super::thread::{ThreadId, Woken};
use super::{Step, Stop, eventfd, machine, pipe, timerfd};
use libc::{EBADF, EMFILE, c_int};

/// Names an open file description.
pub(crate) type FileId = Id<File>;

/// What a file is.
pub(crate) enum Kind {
    /// Console output; 1 or 2.
    Console(u8),
    /// `/dev/null`, which is also every host's standard input.
    Null,
    /// `/dev/zero`.
    Zero,
    /// `/dev/full`.
    Full,
    /// `/dev/urandom` and `/dev/random`.
    Random,
    /// A file outside, or one that the kernel makes up: read-only.
    Outside(machine::Outside),
    /// A file or directory of the host's disk.
    Disk(machine::DiskFile),
    Inotify(machine::Inotify),
    Event(eventfd::Event),
    Timer(timerfd::Timer),
    Epoll(Epoll),
    Pipe(pipe::End),
    Socket(super::net::Socket),
}

impl Kind {
    /// What it is, in reports.
    pub(crate) fn describe(&self) -> String {
        match self {
            Kind::Console(_) => "the console".to_owned(),
            Kind::Null | Kind::Zero | Kind::Full | Kind::Random => "a device".to_owned(),
            Kind::Outside(outside) => outside.path().display().to_string(),
            Kind::Disk(open) => open.path().display().to_string(),
            Kind::Inotify(_) => "an inotify descriptor".to_owned(),
            Kind::Event(_) => "an eventfd".to_owned(),
            Kind::Timer(_) => "a timerfd".to_owned(),
            Kind::Epoll(epoll) => format!("an epoll of {}", epoll.len()),
            Kind::Pipe(_) => "a pipe".to_owned(),
            Kind::Socket(_) => "a socket".to_owned(),
        }
    }
}

/// An open file description.
pub(crate) struct File {
    pub(crate) kind: Kind,
    /// `O_NONBLOCK`, `O_APPEND` and the access mode.
    pub(crate) flags: c_int,
    /// Descriptors and messages in flight that refer to it.
    pub(crate) references: u32,
    /// Whose it is for accounting: the process that made it.
    pub(crate) owner: ProcessId,
    pub(crate) waiters: Vec<(ThreadId, u32)>,
    pub(crate) watches: Vec<Watch>,
}

impl File {
    /// Whether positioned calls work on it: not on streams (pread(2), `ESPIPE`).
    pub(crate) fn has_positions(&self) -> bool {
        let on_disk = matches!(self.kind, Kind::Outside(_) | Kind::Disk(_));
        on_disk || matches!(self.kind, Kind::Null | Kind::Zero | Kind::Full | Kind::Random)
    }

    /// Whether epoll can watch it: not what is always ready because its driver has no poll (epoll_ctl(2), `EPERM`).
    pub(crate) fn can_be_watched(&self) -> bool {
        !self.has_positions()
    }

    /// The readiness of the normal band, which goes with `EPOLLIN` and `EPOLLOUT` (poll(2), `POLLRDNORM`), except where
    /// the driver speaks of nothing else (fs/eventfd.c, fs/timerfd.c).
    fn with_bands(&self, bits: u32) -> u32 {
        let read = if bits & libc::EPOLLIN as u32 != 0 { libc::EPOLLRDNORM as u32 } else { 0 };
        let write = if bits & libc::EPOLLOUT as u32 != 0 { libc::EPOLLWRNORM as u32 } else { 0 };
        match self.kind {
            Kind::Event(_) | Kind::Timer(_) => bits,
            _ => bits | read | write,
        }
    }

    /// Whether calls on it must not block.
    pub(crate) fn nonblocking(&self) -> bool {
        self.flags & libc::O_NONBLOCK != 0
    }
}

/// Names a descriptor table. Each process has its own, but for clients: they share the test's, as threads of one
/// process would that live in network namespaces of their own. They share its code and statics, and so tokio's
/// wakers, which write to the eventfd of whatever runtime they wake.
pub(crate) type TableId = Id<Descriptors>;

/// A table of descriptors: the lowest free number first, as POSIX asks.
pub(crate) struct Descriptors {
    /// Numbers from here on are refused (`RLIMIT_NOFILE`).
    pub(crate) limit: usize,
    entries: Vec<Option<Descriptor>>,
    /// Nothing below is free.
    lowest_free: usize,
}

/// One entry of a descriptor table.
#[derive(Clone, Copy)]
pub(crate) struct Descriptor {
    pub(crate) file: FileId,
    pub(crate) close_on_exec: bool,
}

impl Descriptors {
    /// An empty table.
    pub(crate) fn new(limit: usize) -> Descriptors {
        Descriptors { limit, entries: Vec::new(), lowest_free: 0 }
    }

    /// The file behind a descriptor.
    #[inline]
    pub(crate) fn get(&self, fd: c_int) -> Option<Descriptor> {
        *self.entries.get(usize::try_from(fd).ok()?)?
    }

    /// Installs a file at the lowest free number not below `least`.
    ///
    /// # Errors
    /// `EMFILE` when the limit is reached.
    pub(crate) fn install(&mut self, descriptor: Descriptor, least: usize) -> Result<c_int, Stop> {
        let mut fd = least.max(self.lowest_free);
        while self.entries.get(fd).is_some_and(Option::is_some) {
            fd += 1;
        }
        if fd >= self.limit {
            return Err(Stop::Errno(EMFILE));
        }
        if least <= self.lowest_free {
            self.lowest_free = fd + 1;
        }
        self.put(fd, descriptor);
        Ok(fd as c_int)
    }

    /// Installs a file at a number, answering what was there.
    pub(crate) fn put(&mut self, fd: usize, descriptor: Descriptor) -> Option<Descriptor> {
        if self.entries.len() <= fd {
            self.entries.resize(fd + 1, None);
        }
        self.entries[fd].replace(descriptor)
    }

    /// Takes a descriptor out.
    pub(crate) fn take(&mut self, fd: c_int) -> Option<Descriptor> {
        let index = usize::try_from(fd).ok()?;
        let taken = self.entries.get_mut(index)?.take()?;
        self.lowest_free = self.lowest_free.min(index);
        Some(taken)
    }

    /// The entry itself, to change its flag.
    pub(crate) fn get_mut(&mut self, fd: c_int) -> Option<&mut Descriptor> {
        self.entries.get_mut(usize::try_from(fd).ok()?)?.as_mut()
    }

    /// Whether no number below the limit is free.
    pub(crate) fn is_full(&self) -> bool {
        self.entries.len() >= self.limit
            && self.entries[self.lowest_free.min(self.limit)..self.limit].iter().all(Option::is_some)
    }

    /// Every open number.
    pub(crate) fn open(&self) -> impl Iterator<Item = c_int> + '_ {
        self.entries.iter().enumerate().filter(|(_, e)| e.is_some()).map(|(fd, _)| fd as c_int)
    }
}

impl Kernel {
    /// What an open file is, in reports.
    pub(crate) fn describe_file(&self, file: FileId) -> String {
        match &self.files[file].kind {
            Kind::Socket(socket) => self.net.describe(*socket),
            kind => kind.describe(),
        }
    }

    /// Makes a file description that nothing refers to yet.
    pub(crate) fn new_file(&mut self, owner: ProcessId, kind: Kind, flags: c_int) -> FileId {
        self.files.insert(File { kind, flags, references: 0, owner, waiters: Vec::new(), watches: Vec::new() })
    }

    /// Gives a file a descriptor in the calling thread's process.
    ///
    /// # Errors
    /// `EMFILE`; the file is then closed, unless something else refers to it.
    pub(crate) fn new_descriptor(&mut self, me: ThreadId, file: FileId, close_on_exec: bool) -> Result<c_int, Stop> {
        self.files[file].references += 1;
        let installed = self.table(me).install(Descriptor { file, close_on_exec }, 0);
        if installed.is_err() {
            self.note_refused_descriptor(me);
            self.release_file(file);
        }
        installed
    }

    /// Whether there is room for one more descriptor, for who makes nothing that could not have one.
    ///
    /// # Errors
    /// `EMFILE`.
    pub(crate) fn check_descriptor_room(&mut self, me: ThreadId) -> Result<(), Stop> {
        if self.table(me).is_full() {
            self.note_refused_descriptor(me);
            return Err(Stop::Errno(EMFILE));
        }
        Ok(())
    }

    /// Makes a file and gives it a descriptor; `flags` may hold `O_NONBLOCK` and `O_CLOEXEC`.
    ///
    /// # Errors
    /// `EMFILE`.
    pub(crate) fn open_new(&mut self, me: ThreadId, kind: Kind, flags: c_int) -> Result<c_int, Stop> {
        let owner = self.threads[me].process;
        let file = self.new_file(owner, kind, flags & !libc::O_CLOEXEC);
        self.new_descriptor(me, file, flags & libc::O_CLOEXEC != 0)
    }

    /// The calling thread's descriptors.
    #[inline]
    pub(crate) fn table(&mut self, me: ThreadId) -> &mut Descriptors {
        let table = self.threads[me].table;
        &mut self.tables[table]
    }

    /// The file behind a descriptor of the calling thread's process, for all that `O_PATH` does not allow (open(2)).
    ///
    /// # Errors
    /// `EBADF`.
    #[inline]
    pub(crate) fn file(&self, me: ThreadId, fd: c_int) -> Result<FileId, Stop> {
        self.opened(me, fd).map(|(id, _)| id)
    }

    /// As [`Kernel::file`], with what it is.
    #[inline]
    pub(crate) fn opened(&self, me: ThreadId, fd: c_int) -> Result<(FileId, &File), Stop> {
        let id = self.raw_file(me, fd)?;
        let file = &self.files[id];
        if file.flags & libc::O_PATH == 0 { Ok((id, file)) } else { Err(Stop::Errno(EBADF)) }
    }

    /// As [`Kernel::file`], for what can be done with `O_PATH`, too (fs/file.c, `fdget_raw`).
    #[inline]
    pub(crate) fn raw_file(&self, me: ThreadId, fd: c_int) -> Result<FileId, Stop> {
        let thread = &self.threads[me];
        if let Some((_, file)) = thread.progress.pinned.filter(|(pinned, _)| *pinned == fd) {
            return Ok(file);
        }
        let file = self.tables[thread.table].get(fd).ok_or(Stop::Errno(EBADF))?.file;
        thread.resolved.set(Some((fd, file)));
        Ok(file)
    }

    /// close(2). The last descriptor of a TCP socket with `SO_LINGER` waits, even of one that does not block
    /// (`inet_release`, net/ipv4/af_inet.c).
    pub(crate) fn close(&mut self, me: ThreadId, fd: c_int) -> Step {
        if self.threads[me].progress.lingers.is_some() {
            return self.linger(me);
        }
        let file = self.table(me).get(fd).ok_or(EBADF)?.file;
        let lingering = self.lingering(file);
        self.close_at_once(me, fd)?;
        match lingering {
            Some((connection, side, seconds)) => {
                self.threads[me].progress.lingers = Some((connection, side));
                let until = self.after(me, u64::from(seconds) * 1_000_000_000);
                self.deadline(me, Some(until));
                self.linger(me)
            }
            None => Ok(0),
        }
    }

    /// As close(2), of a socket that does not linger or a descriptor that is closed by the way.
    fn close_at_once(&mut self, me: ThreadId, fd: c_int) -> Step {
        let descriptor = self.table(me).take(fd).ok_or(EBADF)?;
        self.unseen_if_own(descriptor.file);
        self.close_gives_up_locks(me, descriptor.file);
        self.release_file(descriptor.file);
        Ok(0)
    }

    /// close_range(2).
    pub(crate) fn close_range(&mut self, me: ThreadId, first: u32, last: u32, flags: c_int) -> Step {
        const UNSHARE: c_int = libc::CLOSE_RANGE_UNSHARE as c_int; // a process's table is its own
        const CLOEXEC: c_int = libc::CLOSE_RANGE_CLOEXEC as c_int;
        if flags & !(UNSHARE | CLOEXEC) != 0 || first > last {
            return Err(Stop::Errno(libc::EINVAL));
        }
        let inside = |fd: &c_int| (first..=last).contains(&(*fd as u32));
        for fd in self.table(me).open().filter(inside).collect::<Vec<_>>() {
            if flags & CLOEXEC != 0 {
                self.set_close_on_exec(me, fd, true)?;
            } else {
                self.close_at_once(me, fd)?;
            }
        }
        Ok(0)
    }

    /// dup(2), dup2(2), dup3(2) and `F_DUPFD`: `at` is the exact number, or the least one.
    pub(crate) fn dup(&mut self, me: ThreadId, fd: c_int, at: DupTo, close_on_exec: bool) -> Step {
        let file = self.raw_file(me, fd)?;
        let limit = self.table(me).limit;
        let new = match at {
            DupTo::Least(least) => {
                let least = usize::try_from(least).ok().filter(|least| *least < limit).ok_or(libc::EINVAL)?;
                let entry = Descriptor { file, close_on_exec };
                let installed = self.table(me).install(entry, least);
                if installed.is_err() {
                    self.note_refused_descriptor(me);
                }
                installed?
            }
            DupTo::Exactly(new) => {
                let index = usize::try_from(new).ok().filter(|index| *index < limit).ok_or(EBADF)?;
                let entry = Descriptor { file, close_on_exec };
                let old = self.table(me).put(index, entry);
                if let Some(old) = old {
                    self.files[file].references += 1; // before the release: both may be the same file
                    self.close_gives_up_locks(me, old.file); // dup2(2) closes it (fs/file.c, do_dup2)
                    self.release_file(old.file);
                    return Ok(i64::from(new));
                }
                new
            }
        };
        self.files[file].references += 1;
        Ok(i64::from(new))
    }

    /// Drops one reference; the last one closes the file for good.
    pub(crate) fn release_file(&mut self, id: FileId) {
        let Some(file) = self.files.get_mut(id) else { return };
        file.references = file.references.saturating_sub(1);
        if file.references > 0 {
            return;
        }
        self.close_kind(id);
        let Some(file) = self.files.remove(id) else { return };
        for watch in &file.watches {
            self.forget_watch(*watch);
        }
        for (thread, _) in &file.waiters {
            self.wake(*thread, Woken::Event);
        }
    }

    /// What closing means for each kind, while the file is still there.
    fn close_kind(&mut self, id: FileId) {
        match &mut self.files[id].kind {
            Kind::Console(_) | Kind::Null | Kind::Zero | Kind::Full | Kind::Random | Kind::Event(_) => {}
            Kind::Inotify(_) => self.close_inotify(id),
            Kind::Outside(outside) => {
                outside.close();
                self.forget_file_locks(id);
            }
            Kind::Disk(_) => {
                self.forget_file_locks(id);
                self.close_disk_file(id);
            }
            Kind::Timer(timer) => {
                if let Some(key) = timer.disarm() {
                    self.timers.cancel(key);
                }
            }
            Kind::Epoll(_) => self.close_epoll(id),
            Kind::Pipe(_) => self.close_pipe(id),
            Kind::Socket(_) => self.close_socket(id),
        }
    }

    /// What a file is ready for, as `EPOLL*` bits.
    pub(crate) fn readiness(&self, id: FileId) -> u32 {
        let (read, write) = (libc::EPOLLIN as u32, libc::EPOLLOUT as u32);
        let bits = match &self.files[id].kind {
            Kind::Console(_) => write,
            Kind::Null | Kind::Zero | Kind::Full | Kind::Random | Kind::Outside(_) | Kind::Disk(_) => read | write,
            Kind::Inotify(inotify) => inotify.readiness(),
            Kind::Event(event) => event.readiness(),
            Kind::Timer(timer) => timer.readiness(),
            Kind::Epoll(_) => self.epoll_readiness(id),
            Kind::Pipe(end) => self.pipe_readiness(end),
            Kind::Socket(_) => self.socket_readiness(id),
        };
        self.files[id].with_bands(bits | self.wide_band(id, bits))
    }

    /// The band that datagram and Unix sockets are ready for together with `EPOLLOUT` (net/core/datagram.c,
    /// net/unix/af_unix.c), and TCP is not.
    fn wide_band(&self, id: FileId, bits: u32) -> u32 {
        match &self.files[id].kind {
            Kind::Socket(socket) if bits & libc::EPOLLOUT as u32 != 0 => match self.net.sockets[*socket].protocol {
                super::net::Protocol::Tcp(_) => 0,
                _ => libc::EPOLLWRBAND as u32,
            },
            _ => 0,
        }
    }

    /// Tells everybody who watches a file that it may have become ready in `bits`.
    pub(crate) fn notify(&mut self, id: FileId, bits: u32) {
        let always = (libc::EPOLLERR | libc::EPOLLHUP) as u32;
        let file = &mut self.files[id];
        let bits = file.with_bands(bits);
        if let [(thread, wanted)] = file.waiters[..] {
            if bits & (wanted | always) != 0 {
                file.waiters.clear();
                self.wake(thread, Woken::Event);
            }
        } else if !file.waiters.is_empty() {
            let mut waiters = std::mem::take(&mut file.waiters);
            waiters.retain(|(thread, wanted)| {
                let hit = bits & (wanted | always) != 0;
                if hit {
                    self.wake(*thread, Woken::Event);
                }
                !hit
            });
            let file = &mut self.files[id];
            waiters.append(&mut file.waiters);
            file.waiters = waiters;
        }
        // EPOLLEXCLUSIVE (epoll_ctl(2)): of those who watch so, the first with a waiting thread is the last one told.
        if let [watch] = self.files[id].watches[..] {
            self.epoll_notify(watch, bits);
            return;
        }
        let mut told_one = false;
        for at in 0..self.files[id].watches.len() {
            let watch = self.files[id].watches[at];
            let exclusive = self.watches_exclusively(watch);
            if !(exclusive && told_one) {
                told_one |= self.epoll_notify(watch, bits) && exclusive;
            }
        }
    }
}

/// Where `dup` puts the copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DupTo {
    /// The lowest free number not below this.
    Least(c_int),
    /// This number, closing what is there.
    Exactly(c_int),
}
