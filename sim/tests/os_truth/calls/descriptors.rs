//! Calls on any descriptor.

use super::{bits, bytes};
use crate::transcript::{Transcript, outcome, record};
use libc::{c_int, c_void, iovec};

/// Status flags by name (fcntl(2)); the access mode is written apart.
const STATUS: [(u32, &str); 9] = [
    (libc::O_NONBLOCK as u32, "NONBLOCK"),
    (libc::O_APPEND as u32, "APPEND"),
    (libc::O_ASYNC as u32, "ASYNC"),
    (libc::O_DIRECTORY as u32, "DIRECTORY"),
    (libc::O_DIRECT as u32, "DIRECT"),
    (libc::O_SYNC as u32, "SYNC"),
    (libc::O_DSYNC as u32, "DSYNC"),
    (libc::O_NOATIME as u32, "NOATIME"),
    (0o100_000, "LARGEFILE"),
];

/// Parts of a buffer, `count` of `bytes` each.
pub fn parts(buffer: &mut [u8], bytes: usize) -> Vec<iovec> {
    buffer.chunks_mut(bytes.max(1)).map(|c| iovec { iov_base: c.as_mut_ptr().cast(), iov_len: c.len() }).collect()
}

impl Transcript {
    fn came(&self, call: std::fmt::Arguments<'_>, (result, errno): (i64, i32), buffer: &[u8]) -> i64 {
        let out = if result > 0 { self.content(&buffer[..(result as usize).min(buffer.len())]) } else { String::new() };
        self.returned(call, result, errno, &out);
        result
    }

    pub fn read(&self, fd: c_int, room: usize) -> i64 {
        let mut buffer = vec![0u8; room];
        let came = outcome!(unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), room) });
        self.came(format_args!("read({fd}, {room})"), came, &buffer)
    }

    /// Into parts of `part` bytes.
    pub fn readv(&self, fd: c_int, room: usize, part: usize) -> i64 {
        let mut buffer = vec![0u8; room];
        let list = parts(&mut buffer, part);
        let came = outcome!(unsafe { libc::readv(fd, list.as_ptr(), list.len() as c_int) });
        self.came(format_args!("readv({fd}, {room} in parts of {part})"), came, &buffer)
    }

    /// With a count of parts that is not the list's.
    pub fn readv_count(&self, fd: c_int, count: c_int) -> i64 {
        let mut buffer = [0u8; 8];
        let list = parts(&mut buffer, 8);
        record!(self, unsafe { libc::readv(fd, list.as_ptr(), count) }, "readv({fd}, count {count})")
    }

    pub fn pread(&self, fd: c_int, room: usize, offset: i64) -> i64 {
        let mut buffer = vec![0u8; room];
        let came = outcome!(unsafe { libc::pread(fd, buffer.as_mut_ptr().cast(), room, offset) });
        self.came(format_args!("pread({fd}, {room}, {offset})"), came, &buffer)
    }

    pub fn preadv(&self, fd: c_int, room: usize, offset: i64) -> i64 {
        let mut buffer = vec![0u8; room];
        let list = parts(&mut buffer, 2);
        let came = outcome!(unsafe { libc::preadv(fd, list.as_ptr(), list.len() as c_int, offset) });
        self.came(format_args!("preadv({fd}, {room}, {offset})"), came, &buffer)
    }

    pub fn write(&self, fd: c_int, content: &[u8]) -> i64 {
        let shown = bytes(content);
        record!(self, unsafe { libc::write(fd, content.as_ptr().cast(), content.len()) }, "write({fd},{shown})")
    }

    pub fn writev(&self, fd: c_int, content: &[u8], part: usize) -> i64 {
        let mut content = content.to_vec();
        let shown = bytes(&content);
        let list = parts(&mut content, part);
        let count = list.len() as c_int;
        record!(self, unsafe { libc::writev(fd, list.as_ptr(), count) }, "writev({fd},{shown} in parts of {part})")
    }

    pub fn writev_count(&self, fd: c_int, count: c_int) -> i64 {
        let mut content = [b'v'; 8];
        let list = parts(&mut content, 8);
        record!(self, unsafe { libc::writev(fd, list.as_ptr(), count) }, "writev({fd}, count {count})")
    }

    pub fn pwrite(&self, fd: c_int, content: &[u8], offset: i64) -> i64 {
        let shown = bytes(content);
        let call = || unsafe { libc::pwrite(fd, content.as_ptr().cast(), content.len(), offset) };
        record!(self, call(), "pwrite({fd},{shown}, {offset})") as i64
    }

    /// An eventfd's or timerfd's value.
    pub fn read_word(&self, fd: c_int) -> i64 {
        let mut value = 0u64;
        let (result, errno) = outcome!(unsafe { libc::read(fd, (&raw mut value).cast(), 8) });
        self.returned(format_args!("read({fd}, 8)"), result, errno, &format!(" {value}"));
        result
    }

    pub fn write_word(&self, fd: c_int, value: u64) -> i64 {
        record!(self, unsafe { libc::write(fd, (&raw const value).cast(), 8) }, "write({fd}, {value})")
    }

    pub fn close(&self, fd: c_int) -> c_int {
        record!(self, unsafe { libc::close(fd) }, "close({fd})") as c_int
    }

    pub fn dup(&self, fd: c_int) -> c_int {
        record!(self, unsafe { libc::dup(fd) }, "dup({fd})") as c_int
    }

    pub fn dup2(&self, fd: c_int, new: c_int) -> c_int {
        record!(self, unsafe { libc::dup2(fd, new) }, "dup2({fd}, {new})") as c_int
    }

    pub fn dup3(&self, fd: c_int, new: c_int, flags: c_int) -> c_int {
        record!(self, unsafe { libc::dup3(fd, new, flags) }, "dup3({fd}, {new}, {flags:#x})") as c_int
    }

    pub fn fcntl(&self, fd: c_int, name: &str, command: c_int, argument: c_int) -> c_int {
        record!(self, unsafe { libc::fcntl(fd, command, argument) }, "fcntl({fd}, {name}, {argument:#x})") as c_int
    }

    /// `F_GETFL`, in words.
    pub fn status_flags(&self, fd: c_int) -> c_int {
        let (flags, errno) = outcome!(unsafe { libc::fcntl(fd, libc::F_GETFL) });
        if flags < 0 {
            self.returned(format_args!("fcntl({fd}, F_GETFL)"), flags, errno, "");
        } else {
            let mode = ["RDONLY", "WRONLY", "RDWR", "mode 3"][flags as usize & 3];
            let rest = flags as u32 & !3;
            let rest = if rest == 0 { String::new() } else { format!("|{}", bits(rest, &STATUS)) };
            self.say(format_args!("fcntl({fd}, F_GETFL) = {mode}{rest}"));
        }
        flags as c_int
    }

    pub fn set_nonblocking(&self, fd: c_int, on: c_int) -> c_int {
        let mut on = on;
        record!(self, unsafe { libc::ioctl(fd, libc::FIONBIO, &raw mut on) }, "ioctl({fd}, FIONBIO, {on})") as c_int
    }

    /// An ioctl that answers an integer.
    pub fn ioctl_get(&self, fd: c_int, name: &str, request: libc::c_ulong) -> c_int {
        let mut value: c_int = 0;
        let (result, errno) = outcome!(unsafe { libc::ioctl(fd, request, &raw mut value) });
        self.returned(format_args!("ioctl({fd}, {name})"), result, errno, &format!(" {value}"));
        result as c_int
    }

    /// An ioctl whose room is large and whose answer does not matter.
    pub fn ioctl(&self, fd: c_int, name: &str, request: libc::c_ulong) -> c_int {
        let mut room = [0u64; 32];
        let room: *mut c_void = room.as_mut_ptr().cast();
        record!(self, unsafe { libc::ioctl(fd, request, room) }, "ioctl({fd}, {name})") as c_int
    }

    pub fn lseek(&self, fd: c_int, offset: i64, whence: c_int) -> i64 {
        let names = ["SEEK_SET", "SEEK_CUR", "SEEK_END", "SEEK_DATA", "SEEK_HOLE"];
        let name = names.get(whence as usize).copied().unwrap_or("?");
        record!(self, unsafe { libc::lseek(fd, offset, whence) }, "lseek({fd}, {offset}, {name})")
    }

    /// fstat(2): the file's type.
    pub fn fstat(&self, fd: c_int) -> c_int {
        let mut stat = std::mem::MaybeUninit::<libc::stat>::zeroed();
        let (result, errno) = outcome!(unsafe { libc::fstat(fd, stat.as_mut_ptr()) });
        let mode = unsafe { stat.assume_init() }.st_mode & libc::S_IFMT;
        let kind = match mode {
            libc::S_IFIFO => " pipe",
            libc::S_IFCHR => " character device",
            libc::S_IFDIR => " directory",
            libc::S_IFREG => " regular file",
            libc::S_IFSOCK => " socket",
            0 => " no type",
            _ => " other",
        };
        self.returned(format_args!("fstat({fd})"), result, errno, kind);
        result as c_int
    }

    pub fn isatty(&self, fd: c_int) -> c_int {
        let (result, errno) = outcome!(unsafe { libc::isatty(fd) });
        let why = if result == 0 { format!(" {}", crate::transcript::errno_name(errno)) } else { String::new() };
        self.say(format_args!("isatty({fd}) = {result}{why}"));
        result as c_int
    }

    pub fn fsync(&self, fd: c_int) -> c_int {
        record!(self, unsafe { libc::fsync(fd) }, "fsync({fd})") as c_int
    }

    pub fn ftruncate(&self, fd: c_int, len: i64) -> c_int {
        record!(self, unsafe { libc::ftruncate(fd, len) }, "ftruncate({fd}, {len})") as c_int
    }

    /// Makes a pipe; the numbers are part of the line.
    pub fn pipe(&self, flags: c_int) -> (c_int, c_int) {
        let mut ends = [-1; 2];
        let (result, errno) = outcome!(unsafe { libc::pipe2(ends.as_mut_ptr(), flags) });
        self.returned(format_args!("pipe2({flags:#x})"), result, errno, &format!(" {ends:?}"));
        (ends[0], ends[1])
    }

    pub fn eventfd(&self, counter: u32, flags: c_int) -> c_int {
        record!(self, unsafe { libc::eventfd(counter, flags) }, "eventfd({counter}, {flags:#x})") as c_int
    }

    pub fn timerfd(&self, clock: c_int, flags: c_int) -> c_int {
        record!(self, unsafe { libc::timerfd_create(clock, flags) }, "timerfd_create({clock}, {flags:#x})") as c_int
    }

    /// timerfd_settime(2).
    pub fn timerfd_set(&self, fd: c_int, flags: c_int, value_ns: i64, interval_ns: i64) -> c_int {
        let time =
            |ns: i64| libc::timespec { tv_sec: ns.div_euclid(1_000_000_000), tv_nsec: ns.rem_euclid(1_000_000_000) };
        let new = libc::itimerspec { it_value: time(value_ns), it_interval: time(interval_ns) };
        let call = || unsafe { libc::timerfd_settime(fd, flags, &new, std::ptr::null_mut()) };
        record!(self, call(), "timerfd_settime({fd}, {flags:#x}, {value_ns} ns, every {interval_ns} ns)") as c_int
    }

    /// timerfd_gettime(2): whether armed, and the interval.
    pub fn timerfd_get(&self, fd: c_int) -> c_int {
        let mut now = std::mem::MaybeUninit::<libc::itimerspec>::zeroed();
        let (result, errno) = outcome!(unsafe { libc::timerfd_gettime(fd, now.as_mut_ptr()) });
        let now = unsafe { now.assume_init() };
        let armed = now.it_value.tv_sec != 0 || now.it_value.tv_nsec != 0;
        let interval = now.it_interval.tv_sec * 1_000_000_000 + now.it_interval.tv_nsec;
        let armed = if armed { "armed" } else { "disarmed" };
        self.returned(format_args!("timerfd_gettime({fd})"), result, errno, &format!(" {armed}, every {interval} ns"));
        result as c_int
    }

    /// Closes every descriptor from 3 on, without a word.
    pub fn close_all(&self) {
        for fd in 3..64 {
            unsafe { libc::close(fd) };
        }
    }
}
