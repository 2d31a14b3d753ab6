//! Descriptors: read(2), write(2), close(2), dup(2), fcntl(2), ioctl(2), pipe(2), eventfd(2).

use super::user::{In, Out, single};
use super::{answer, answer_int, call, hooks, look};
use crate::kernel::{DupTo, Stop};
use libc::{c_int, c_uint, c_ulong, c_void, iovec, off_t};

/// readv(2): more than `IOV_MAX` parts are refused.
const IOV_MAX: c_int = 1024;

/// The memory that a call names: one buffer, or a vector of them.
#[derive(Clone, Copy)]
struct Memory {
    parts: *const iovec,
    count: c_int,
}

impl Memory {
    /// How many parts there are. Checked after the descriptor (fs/read_write.c, `vfs_readv`).
    fn parts(self) -> Result<usize, Stop> {
        if (0..=IOV_MAX).contains(&self.count) { Ok(self.count as usize) } else { Err(Stop::Errno(libc::EINVAL)) }
    }
}

/// An offset of a positioned call. Checked before the descriptor (fs/read_write.c, `ksys_pread64`).
fn position(offset: off_t) -> Result<Option<u64>, isize> {
    u64::try_from(offset).map(Some).map_err(|_| answer(-i64::from(libc::EINVAL)) as isize)
}

unsafe fn read_into(name: &'static str, fd: c_int, buffer: iovec, at: Option<u64>) -> isize {
    answer(call(name, |k, me| {
        // SAFETY: the caller's buffer.
        let mut out = unsafe { Out::new(&buffer, 1) };
        k.read(me, fd, &mut out, at)
    })) as isize
}

/// With no room at all the answer is 0, whatever the descriptor would say of a plain read of nothing.
unsafe fn readv_into(name: &'static str, fd: c_int, memory: Memory, at: Option<u64>) -> isize {
    answer(call(name, |k, me| {
        k.check_read(me, fd, at)?;
        // SAFETY: the caller's buffers.
        let mut out = unsafe { Out::new(memory.parts, memory.parts()?) };
        if out.len() == 0 { Ok(0) } else { k.read(me, fd, &mut out, at) }
    })) as isize
}

unsafe fn write_from(name: &'static str, fd: c_int, buffer: iovec, at: Option<u64>) -> isize {
    answer(call(name, |k, me| {
        // SAFETY: the caller's buffer.
        let input = unsafe { In::new(&buffer, 1) };
        k.write(me, fd, &input, at)
    })) as isize
}

unsafe fn writev_from(name: &'static str, fd: c_int, memory: Memory, at: Option<u64>) -> isize {
    answer(call(name, |k, me| {
        k.check_write(me, fd, at)?;
        // SAFETY: the caller's buffers.
        let input = unsafe { In::new(memory.parts, memory.parts()?) };
        if input.len() == 0 { Ok(0) } else { k.write(me, fd, &input, at) }
    })) as isize
}

hooks! {
    io;

    @real(reads(fd))
    fn read(fd: c_int, buffer: *mut c_void, bytes: usize) -> isize {
        read_into("read", fd, single(buffer, bytes), None)
    }
    @real(reads(fd))
    fn __read_chk(fd: c_int, buffer: *mut c_void, bytes: usize, _room: usize) -> isize {
        read_into("read", fd, single(buffer, bytes), None)
    }
    @real(reads(fd))
    fn readv(fd: c_int, parts: *const iovec, count: c_int) -> isize {
        readv_into("readv", fd, Memory { parts, count }, None)
    }
    @also(pread64)
    @real(reads(fd))
    fn pread(fd: c_int, buffer: *mut c_void, bytes: usize, offset: off_t) -> isize {
        position(offset).map_or_else(|e| e, |at| read_into("pread", fd, single(buffer, bytes), at))
    }
    @also(preadv64)
    @real(reads(fd))
    fn preadv(fd: c_int, parts: *const iovec, count: c_int, offset: off_t) -> isize {
        position(offset).map_or_else(|e| e, |at| readv_into("preadv", fd, Memory { parts, count }, at))
    }
    @real(writes(fd))
    fn write(fd: c_int, buffer: *const c_void, bytes: usize) -> isize {
        write_from("write", fd, single(buffer, bytes), None)
    }
    @real(writes(fd))
    fn writev(fd: c_int, parts: *const iovec, count: c_int) -> isize {
        writev_from("writev", fd, Memory { parts, count }, None)
    }
    @also(pwrite64)
    @real(writes(fd))
    fn pwrite(fd: c_int, buffer: *const c_void, bytes: usize, offset: off_t) -> isize {
        position(offset).map_or_else(|e| e, |at| write_from("pwrite", fd, single(buffer, bytes), at))
    }
    @also(pwritev64)
    @real(writes(fd))
    fn pwritev(fd: c_int, parts: *const iovec, count: c_int, offset: off_t) -> isize {
        position(offset).map_or_else(|e| e, |at| writev_from("pwritev", fd, Memory { parts, count }, at))
    }

    /// Flags ask for what is not simulated (preadv2(2), `EOPNOTSUPP`); an offset of -1 is the file's own position.
    @also(preadv64v2)
    @real(reads(fd))
    fn preadv2(fd: c_int, parts: *const iovec, count: c_int, offset: off_t, flags: c_int) -> isize {
        if flags != 0 {
            return answer(-i64::from(libc::EOPNOTSUPP)) as isize;
        }
        let memory = Memory { parts, count };
        if offset == -1 {
            return readv_into("preadv2", fd, memory, None);
        }
        position(offset).map_or_else(|e| e, |at| readv_into("preadv2", fd, memory, at))
    }
    @also(pwritev64v2)
    @real(writes(fd))
    fn pwritev2(fd: c_int, parts: *const iovec, count: c_int, offset: off_t, flags: c_int) -> isize {
        if flags != 0 {
            return answer(-i64::from(libc::EOPNOTSUPP)) as isize;
        }
        let memory = Memory { parts, count };
        if offset == -1 {
            return writev_from("pwritev2", fd, memory, None);
        }
        position(offset).map_or_else(|e| e, |at| writev_from("pwritev2", fd, memory, at))
    }

    fn close(fd: c_int) -> c_int { answer_int(call("close", |k, me| k.close(me, fd))) }
    fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
        answer_int(call("close_range", |k, me| k.close_range(me, first, last, flags)))
    }
    fn closefrom(first: c_int) {
        call("close_range", |k, me| k.close_range(me, first.max(0) as c_uint, c_uint::MAX, 0));
    }
    @real(asks())
    fn dup(fd: c_int) -> c_int { answer_int(call("dup", |k, me| k.dup(me, fd, DupTo::Least(0), false))) }
    fn dup2(old: c_int, new: c_int) -> c_int {
        answer_int(call("dup2", |k, me| {
            k.raw_file(me, old)?;
            if old == new { Ok(i64::from(new)) } else { k.dup(me, old, DupTo::Exactly(new), false) }
        }))
    }
    @real(asks())
    fn dup3(old: c_int, new: c_int, flags: c_int) -> c_int {
        answer_int(call("dup3", |k, me| {
            if old == new || flags & !libc::O_CLOEXEC != 0 {
                return Err(Stop::Errno(libc::EINVAL));
            }
            k.dup(me, old, DupTo::Exactly(new), flags & libc::O_CLOEXEC != 0)
        }))
    }

    @also(fcntl64)
    @real(asks())
    fn fcntl(fd: c_int, command: c_int, argument: usize) -> c_int {
        if matches!(command, libc::F_GETLK | libc::F_SETLK | libc::F_SETLKW)
            || matches!(command, libc::F_OFD_GETLK | libc::F_OFD_SETLK | libc::F_OFD_SETLKW)
        {
            let lock = &mut *(argument as *mut libc::flock);
            return answer_int(call("fcntl", |k, me| k.lock_range(me, fd, command, lock)));
        }
        answer_int(call("fcntl", |k, me| k.fcntl(me, fd, command, argument as c_int)))
    }

    fn ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int {
        let value = argument.cast::<c_int>();
        answer_int(call("ioctl", |k, me| match request {
            libc::FIONBIO => k.set_nonblocking(me, fd, *value != 0),
            libc::FIOCLEX => k.set_close_on_exec(me, fd, true),
            libc::FIONCLEX => k.set_close_on_exec(me, fd, false),
            libc::FIONREAD => {
                *value = k.available(me, fd)? as c_int;
                Ok(0)
            }
            libc::TIOCOUTQ if k.is_socket(me, fd) => {
                *value = k.socket_unsent(me, fd)? as c_int;
                Ok(0)
            }
            _ => k.unknown_ioctl(me, fd),
        }))
    }

    fn isatty(fd: c_int) -> c_int {
        answer_int(look("isatty", |k, me| k.unknown_ioctl(me, fd))).max(0)
    }

    @real(asks())
    fn pipe(fds: *mut c_int) -> c_int { open_pipe(fds, 0) }
    @real(asks())
    fn pipe2(fds: *mut c_int, flags: c_int) -> c_int { open_pipe(fds, flags) }

    @real(asks())
    fn eventfd(counter: c_uint, flags: c_int) -> c_int {
        answer_int(call("eventfd", |k, me| k.eventfd(me, counter, flags)))
    }
    fn eventfd_read(fd: c_int, value: *mut u64) -> c_int {
        if libc::read(fd, value.cast(), 8) == 8 { 0 } else { -1 }
    }
    fn eventfd_write(fd: c_int, value: u64) -> c_int {
        if libc::write(fd, (&raw const value).cast(), 8) == 8 { 0 } else { -1 }
    }
}

unsafe fn open_pipe(fds: *mut c_int, flags: c_int) -> c_int {
    let mut ends = (0, 0);
    let result = call("pipe2", |k, me| {
        ends = k.pipe(me, flags)?;
        Ok(0)
    });
    if result == 0 {
        // SAFETY: room for two descriptors, as pipe(2) asks.
        unsafe {
            *fds = ends.0;
            *fds.add(1) = ends.1;
        }
    }
    answer_int(result)
}
