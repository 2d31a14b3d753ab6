//! read, write, fcntl and ioctl: what works on every descriptor, routed to what is behind it.

use super::dispatch::Kernel;
use super::file::{DupTo, FileId, Kind};
use super::thread::ThreadId;
use super::{Step, Stop};
use crate::abi::user::{In, Out};
use crate::world::Console;
use libc::{EBADF, EINVAL, ENOTTY, ESPIPE, c_int};

/// Status flags that `F_SETFL` may change (fcntl(2)).
const SETTABLE: c_int = libc::O_APPEND | libc::O_ASYNC | libc::O_DIRECT | libc::O_NOATIME | libc::O_NONBLOCK;

impl Kernel {
    /// Whether a descriptor can be read at all, checked in Linux's order (fs/read_write.c).
    pub(crate) fn check_read(&self, me: ThreadId, fd: c_int, offset: Option<u64>) -> Result<FileId, Stop> {
        let (id, file) = self.opened(me, fd)?;
        if offset.is_some() && !file.has_positions() {
            return Err(Stop::Errno(ESPIPE));
        }
        match file.kind {
            _ if file.flags & libc::O_ACCMODE == libc::O_WRONLY => Err(Stop::Errno(EBADF)),
            Kind::Epoll(_) => Err(Stop::Errno(EINVAL)),
            _ => Ok(id),
        }
    }

    /// Whether a descriptor can be written to at all.
    pub(crate) fn check_write(&self, me: ThreadId, fd: c_int, offset: Option<u64>) -> Result<FileId, Stop> {
        let (id, file) = self.opened(me, fd)?;
        if offset.is_some() && !file.has_positions() {
            return Err(Stop::Errno(ESPIPE));
        }
        match file.kind {
            _ if file.flags & libc::O_ACCMODE == libc::O_RDONLY => Err(Stop::Errno(EBADF)),
            Kind::Epoll(_) | Kind::Timer(_) => Err(Stop::Errno(EINVAL)),
            _ => Ok(id),
        }
    }

    /// read(2), readv(2), and with an offset pread(2), preadv(2).
    pub(crate) fn read(&mut self, me: ThreadId, fd: c_int, out: &mut Out<'_>, offset: Option<u64>) -> Step {
        let id = self.check_read(me, fd, offset)?;
        let mut value = 0u64;
        let room = out.len();
        match &mut self.files[id].kind {
            Kind::Null => Ok(0),
            Kind::Zero | Kind::Full => Ok(fill_with_zeros(out)),
            Kind::Random => Ok(self.random_fill(me, out)),
            Kind::Outside(_) => self.outside_read(me, id, out, offset),
            Kind::Disk(_) => self.disk_read(id, out, offset),
            Kind::Event(_) => {
                let step = self.eventfd_read(me, id, room, &mut value);
                deliver_word(step, value, out)
            }
            Kind::Timer(_) => {
                let step = self.timerfd_read(me, id, room, &mut value);
                deliver_word(step, value, out)
            }
            Kind::Inotify(_) => self.inotify_read(me, id, out),
            Kind::Pipe(_) => self.pipe_read(me, id, out),
            Kind::Socket(_) => self.socket_read(me, id, out),
            Kind::Console(_) => Err(Stop::Errno(EBADF)),
            Kind::Epoll(_) => Err(Stop::Errno(EINVAL)),
        }
    }

    /// write(2), writev(2), pwrite(2).
    pub(crate) fn write(&mut self, me: ThreadId, fd: c_int, input: &In<'_>, offset: Option<u64>) -> Step {
        let id = self.check_write(me, fd, offset)?;
        match &self.files[id].kind {
            Kind::Null | Kind::Zero | Kind::Random => Ok(input.len() as i64),
            Kind::Full => Err(Stop::Errno(libc::ENOSPC)),
            Kind::Console(stream) => {
                let stream = *stream;
                Ok(self.console_write(me, stream, input))
            }
            Kind::Event(_) => {
                let input = input.first(); // fs/eventfd.c has no `write_iter`
                let bytes = input.to_vec(0, input.len().min(8));
                let value = bytes.try_into().map_or(0, u64::from_ne_bytes);
                self.eventfd_write(me, id, input.len(), value)
            }
            Kind::Pipe(_) => self.pipe_write(me, id, input),
            Kind::Socket(_) => self.socket_write(me, id, input),
            Kind::Disk(_) => self.disk_write(me, id, input, offset),
            Kind::Outside(_) | Kind::Inotify(_) => Err(Stop::Errno(EBADF)),
            Kind::Timer(_) | Kind::Epoll(_) => Err(Stop::Errno(EINVAL)),
        }
    }

    /// Console output leaves the world; always whole, never blocking.
    fn console_write(&mut self, me: ThreadId, stream: u8, input: &In<'_>) -> i64 {
        self.leave_no_trace();
        let at = self.position();
        let host = self.host_id(me);
        let (hosts, sink) = (&self.hosts, &mut self.sink);
        input.pieces(0, input.len(), |bytes| {
            sink.console(Console { at, host: &hosts[host].name, stream, bytes });
        });
        input.len() as i64
    }

    /// fcntl(2).
    pub(crate) fn fcntl(&mut self, me: ThreadId, fd: c_int, command: c_int, argument: c_int) -> Step {
        let id = self.raw_file(me, fd)?;
        if matches!(command, libc::F_GETFD | libc::F_GETFL) {
            self.leave_no_trace(); // a question: debug builds ask it of each descriptor that is dropped
        }
        match command {
            libc::F_DUPFD => self.dup(me, fd, DupTo::Least(argument), false),
            libc::F_DUPFD_CLOEXEC => self.dup(me, fd, DupTo::Least(argument), true),
            libc::F_GETFD | libc::F_SETFD => {
                let entry = self.table(me).get_mut(fd).ok_or(EBADF)?;
                if command == libc::F_SETFD {
                    entry.close_on_exec = argument & libc::FD_CLOEXEC != 0;
                    return Ok(0);
                }
                Ok(if entry.close_on_exec { i64::from(libc::FD_CLOEXEC) } else { 0 })
            }
            libc::F_GETFL => Ok(i64::from(self.files[id].flags)),
            // fs/fcntl.c, check_fcntl_cmd
            _ if self.files[id].flags & libc::O_PATH != 0 => Err(Stop::Errno(EBADF)),
            libc::F_SETFL => {
                let file = &mut self.files[id];
                file.flags = file.flags & !SETTABLE | argument & SETTABLE;
                Ok(0)
            }
            libc::F_GETPIPE_SZ => self.pipe_size(id),
            libc::F_SETPIPE_SZ => self.set_pipe_size(id, argument),
            _ => Err(Stop::Errno(EINVAL)),
        }
    }

    /// Sets or clears a file's `O_NONBLOCK` (`FIONBIO`).
    pub(crate) fn set_nonblocking(&mut self, me: ThreadId, fd: c_int, on: bool) -> Step {
        let id = self.file(me, fd)?;
        let file = &mut self.files[id];
        file.flags = if on { file.flags | libc::O_NONBLOCK } else { file.flags & !libc::O_NONBLOCK };
        Ok(0)
    }

    /// Sets or clears a descriptor's close-on-exec flag (`FIOCLEX`, `FIONCLEX`).
    pub(crate) fn set_close_on_exec(&mut self, me: ThreadId, fd: c_int, on: bool) -> Step {
        self.file(me, fd)?;
        self.table(me).get_mut(fd).ok_or(EBADF)?.close_on_exec = on;
        Ok(0)
    }

    /// `FIONREAD`: bytes that could be read now.
    pub(crate) fn available(&self, me: ThreadId, fd: c_int) -> Step {
        let id = self.file(me, fd)?;
        match &self.files[id].kind {
            Kind::Pipe(end) => Ok(self.pipe_available(end) as i64),
            Kind::Console(_) => Ok(0),
            Kind::Socket(_) => self.socket_available(id).map(|bytes| bytes as i64),
            Kind::Outside(outside) if outside.file_type() == libc::S_IFREG => Ok(outside.left() as i64),
            Kind::Disk(_) => self.left_on_disk(id).map_or_else(|| self.unknown_ioctl(me, fd), Ok),
            Kind::Inotify(inotify) => Ok(inotify.available() as i64),
            _ => self.unknown_ioctl(me, fd),
        }
    }

    /// Whether a descriptor is a socket.
    pub(crate) fn is_socket(&self, me: ThreadId, fd: c_int) -> bool {
        self.file(me, fd).is_ok_and(|id| matches!(self.files[id].kind, Kind::Socket(_)))
    }

    /// ioctl(2): no terminal is anywhere. drivers/char/random.c has its own word for what it does not know.
    pub(crate) fn unknown_ioctl(&self, me: ThreadId, fd: c_int) -> Step {
        let id = self.file(me, fd)?;
        Err(Stop::Errno(if matches!(self.files[id].kind, Kind::Random) { EINVAL } else { ENOTTY }))
    }

    /// What is behind a descriptor, for stat(2): the file type bits of `st_mode`.
    pub(crate) fn file_type(&self, id: FileId) -> u32 {
        match &self.files[id].kind {
            Kind::Console(_) | Kind::Pipe(_) => libc::S_IFIFO,
            Kind::Null | Kind::Zero | Kind::Full | Kind::Random => libc::S_IFCHR,
            Kind::Socket(_) => libc::S_IFSOCK,
            Kind::Outside(outside) => outside.file_type(),
            Kind::Disk(open) if self.hosts[open.host()].disk.has(open.inode()) => {
                self.hosts[open.host()].disk.inode(open.inode()).what.file_type()
            }
            Kind::Disk(_) => 0,
            Kind::Event(_) | Kind::Timer(_) | Kind::Epoll(_) | Kind::Inotify(_) => 0,
        }
    }
}

fn fill_with_zeros(out: &mut Out<'_>) -> i64 {
    let (total, block) = (out.len(), [0u8; 256]);
    let mut done = 0;
    while done < total {
        done += out.write_at(done, &block[..(total - done).min(256)]);
    }
    total as i64
}

/// Copies the eight bytes that eventfd and timerfd give.
fn deliver_word(step: Step, value: u64, out: &mut Out<'_>) -> Step {
    step.inspect(|_| {
        out.write_at(0, &value.to_ne_bytes());
    })
}
