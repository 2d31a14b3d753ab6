//! C's streams. Inside libc `fopen` opens files itself, and `printf` writes to the real descriptor 1, where no hook
//! sees either; so streams are made with fopencookie(3), over functions of this file.
//!
//! A stream's functions never wait in the kernel: a thread that lost its turn inside libc's lock of a stream would stop
//! every other thread that wants it, and with it the world. Files of the host's disk are read and written by looks,
//! which take no turn; what is outside a stream holds from its opening on, with its whole content.

use super::file::bytes;
use super::user::{In, Out, single};
use super::{answer, answer_int, call, hooks, look, refuse};
use crate::carrier::lent::current;
use crate::carrier::real;
use crate::kernel::machine::{At, TEMPORARY_FILES, Whence};
use crate::kernel::{Kernel, Step, Stop, ThreadId};
use libc::{AT_FDCWD, FILE, c_char, c_int, c_void, off64_t};
use std::ptr;
use std::sync::atomic::AtomicPtr;

/// `cookie_io_functions_t`.
#[repr(C)]
struct Functions {
    read: Option<unsafe extern "C" fn(*mut c_void, *mut c_char, usize) -> isize>,
    write: Option<unsafe extern "C" fn(*mut c_void, *const c_char, usize) -> isize>,
    seek: Option<unsafe extern "C" fn(*mut c_void, *mut off64_t, c_int) -> c_int>,
    close: Option<unsafe extern "C" fn(*mut c_void) -> c_int>,
}

unsafe extern "C" {
    fn fopencookie(cookie: *mut c_void, mode: *const c_char, functions: Functions) -> *mut FILE;
    fn setvbuf(stream: *mut FILE, buffer: *mut c_char, mode: c_int, bytes: usize) -> c_int;
    static mut stdout: *mut FILE;
    static mut stderr: *mut FILE;
}

const FUNCTIONS: Functions = Functions { read: Some(read), write: Some(write), seek: Some(seek), close: Some(close) };

/// What a stream reads and where its writes go. In memory of libc's: a program's own allocator has one state for each
/// image, and this code runs in one image only.
struct Cookie {
    fd: c_int,
    content: *mut u8,
    bytes: usize,
    position: usize,
    /// It is a file of the disk, whose bytes and position the kernel has.
    on_disk: bool,
    /// What `fileno` finds it by.
    stream: *mut FILE,
}

unsafe extern "C" fn read(cookie: *mut c_void, buffer: *mut c_char, room: usize) -> isize {
    // SAFETY: here and below, libc passes the cookie that the stream was made with, and buffers of its own.
    unsafe {
        let cookie = &mut *cookie.cast::<Cookie>();
        if cookie.on_disk {
            let (fd, part) = (cookie.fd, single(buffer.cast(), room));
            let read = look("fread", |k, me| k.read(me, fd, &mut Out::new(&part, 1), None));
            return answer(read) as isize;
        }
        let count = cookie.bytes.saturating_sub(cookie.position).min(room);
        ptr::copy_nonoverlapping(cookie.content.wrapping_add(cookie.position), buffer.cast(), count);
        cookie.position += count;
        count as isize
    }
}

unsafe extern "C" fn write(cookie: *mut c_void, buffer: *const c_char, count: usize) -> isize {
    // SAFETY: as above; 0 is how a cookie's write tells of an error (fopencookie(3)).
    unsafe { write_out((*cookie.cast::<Cookie>()).fd, buffer, count).max(0) as isize }
}

unsafe fn write_out(fd: c_int, buffer: *const c_char, count: usize) -> i64 {
    if current().is_null() {
        // SAFETY: outside of worlds the descriptor is a real one.
        return unsafe { real::raw_syscall(libc::SYS_write, [fd as usize, buffer as usize, count, 0, 0, 0]) as i64 };
    }
    let part = single(buffer.cast(), count);
    look("fwrite", |k, me| {
        // SAFETY: as above.
        let input = unsafe { In::new(&part, 1) };
        k.write(me, fd, &input, None)
    })
}

unsafe extern "C" fn seek(cookie: *mut c_void, position: *mut off64_t, whence: c_int) -> c_int {
    // SAFETY: as above.
    unsafe {
        let cookie = &mut *cookie.cast::<Cookie>();
        if cookie.on_disk {
            let (fd, offset) = (cookie.fd, *position);
            let to = answer(look("fseek", |k, me| k.seek(me, fd, offset, Whence::of(whence))));
            *position = to;
            return if to < 0 { -1 } else { 0 };
        }
        let from = match whence {
            libc::SEEK_SET => 0,
            libc::SEEK_CUR => cookie.position as i64,
            _ => cookie.bytes as i64,
        };
        match usize::try_from(from.saturating_add(*position)) {
            Ok(to) => {
                (cookie.position, *position) = (to, to as i64);
                0
            }
            Err(_) => answer_int(-i64::from(libc::EINVAL)),
        }
    }
}

unsafe extern "C" fn close(cookie: *mut c_void) -> c_int {
    // SAFETY: as above; the stream is not used any more.
    let (fd, stream) = unsafe {
        let Cookie { fd, content, stream, .. } = cookie.cast::<Cookie>().read();
        libc::free(content.cast());
        libc::free(cookie);
        (fd, stream as usize)
    };
    answer_int(look("fclose", |k, me| {
        k.forget_stream(me, stream);
        k.close(me, fd)
    }))
}

/// Flags of open(2) for a mode of fopen(3).
fn flags(mode: &[u8]) -> Option<c_int> {
    let updates = mode.contains(&b'+');
    let access = |only| if updates { libc::O_RDWR } else { only };
    let flags = match mode.first()? {
        b'r' => access(libc::O_RDONLY),
        b'w' => access(libc::O_WRONLY) | libc::O_CREAT | libc::O_TRUNC,
        b'a' => access(libc::O_WRONLY) | libc::O_CREAT | libc::O_APPEND,
        _ => return None,
    };
    let exclusive = if mode.contains(&b'x') { libc::O_EXCL } else { 0 };
    let close_on_exec = if mode.contains(&b'e') { libc::O_CLOEXEC } else { 0 };
    Some(flags | exclusive | close_on_exec)
}

/// Reads the rest of an open file.
fn content(k: &mut Kernel, me: ThreadId, fd: c_int) -> Result<Vec<u8>, Stop> {
    let mut all = Vec::new();
    if !k.has_content(me, fd) {
        return Ok(all); // a device: nothing is read from it ahead
    }
    let mut block = vec![0u8; 1 << 16];
    loop {
        let part = single(block.as_mut_ptr().cast(), block.len());
        // SAFETY: the block above.
        let count = k.read(me, fd, &mut unsafe { Out::new(&part, 1) }, None)?;
        if count == 0 {
            return Ok(all);
        }
        all.extend_from_slice(&block[..count as usize]);
    }
}

impl Cookie {
    fn new(fd: c_int, content: &[u8], on_disk: bool) -> Result<*mut Cookie, Stop> {
        // SAFETY: fresh blocks of the sizes that are written.
        unsafe {
            let (cookie, copy) = (libc::malloc(size_of::<Cookie>()), libc::malloc(content.len().max(1)));
            if cookie.is_null() || copy.is_null() {
                return Err(Stop::Errno(libc::ENOMEM));
            }
            ptr::copy_nonoverlapping(content.as_ptr(), copy.cast(), content.len());
            let (content, bytes) = (copy.cast(), content.len());
            let made = Cookie { fd, content, bytes, position: 0, on_disk, stream: ptr::null_mut() };
            cookie.cast::<Cookie>().write(made);
            Ok(cookie.cast())
        }
    }
}

/// Makes a stream of what `open` gives.
unsafe fn stream<F>(name: &'static str, mode: *const c_char, mut open: F) -> *mut FILE
where
    F: FnMut(&mut Kernel, ThreadId, c_int) -> Step,
{
    // SAFETY: the caller's mode.
    let Some(flags) = unsafe { bytes(mode) }.and_then(flags) else {
        answer_int(-i64::from(libc::EINVAL));
        return ptr::null_mut();
    };
    let mut cookie = ptr::null_mut();
    let fd = answer_int(call(name, |k, me| {
        let fd = open(k, me, flags)?;
        let (fd, on_disk) = (fd as c_int, k.is_on_disk(me, fd as c_int));
        let writes_only = flags & libc::O_ACCMODE == libc::O_WRONLY;
        let found = if writes_only || on_disk { Vec::new() } else { content(k, me, fd)? };
        cookie = Cookie::new(fd, &found, on_disk)?;
        let fd = i64::from(fd);
        Ok(fd)
    }));
    if fd < 0 {
        return ptr::null_mut();
    }
    // SAFETY: the functions above fit the cookie; the stream frees it when it is closed.
    unsafe {
        let stream = fopencookie(cookie.cast(), mode, FUNCTIONS);
        if stream.is_null() {
            close(cookie.cast());
            return stream;
        }
        (*cookie).stream = stream;
        look("fopen", |k, me| {
            k.remember_stream(me, stream as usize, fd);
            Ok(0)
        });
        stream
    }
}

/// Makes `stdout` and `stderr` of the process write to the console of whichever host uses them.
pub(super) fn redirect() {
    // SAFETY: before any world's thread runs, on the only kernel thread; the cookies live as long as the process.
    unsafe {
        for (fd, variable, mode) in [(1, &raw mut stdout, libc::_IOLBF), (2, &raw mut stderr, libc::_IONBF)] {
            let Ok(cookie) = Cookie::new(fd, &[], false) else { continue };
            let functions = Functions { read: None, seek: None, close: None, ..FUNCTIONS };
            let stream = fopencookie(cookie.cast(), c"w".as_ptr(), functions);
            if !stream.is_null() {
                setvbuf(stream, ptr::null_mut(), mode, 0);
                *variable = stream;
            }
        }
    }
}

const REOPEN: &str = "write to the console directly, or open a stream of its own with fopen";
const TEMPORARY: &str = "its names are not safe from others: use mkstemp, or in Rust the crate tempfile";
const SYSTEM_LOG: &str = "there is no system log: log to the console";

hooks! {
    stdio;

    @also(fopen64)
    @real(asks())
    fn fopen(path: *const c_char, mode: *const c_char) -> *mut FILE {
        let Some(path) = bytes(path) else {
            answer_int(-i64::from(libc::EFAULT));
            return ptr::null_mut();
        };
        stream("fopen", mode, |k, me, flags| k.open(me, At { directory: AT_FDCWD, path }, flags, 0o666))
    }
    fn fdopen(fd: c_int, mode: *const c_char) -> *mut FILE {
        let known = look("fdopen", |k, me| {
            let id = k.file(me, fd)?;
            Ok(i64::from(k.never_waits(id)))
        });
        match known {
            1 => stream("fdopen", mode, |_, _, _| Ok(i64::from(fd))),
            0 => refuse("fdopen", "of pipes and sockets is not simulated: use read and write") as *mut FILE,
            errno => {
                answer_int(errno);
                ptr::null_mut()
            }
        }
    }
    @also(fileno_unlocked)
    fn fileno(stream: *mut FILE) -> c_int {
        if stream == stdout || stream == stderr {
            return if stream == stdout { 1 } else { 2 };
        }
        let fd = look("fileno", |k, me| k.stream(me, stream as usize));
        if fd >= 0 {
            return fd as c_int;
        }
        static GENUINE: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
        let genuine = real::lookup(c"fileno", &GENUINE);
        let genuine: unsafe extern "C" fn(*mut FILE) -> c_int = std::mem::transmute(genuine);
        genuine(stream)
    }
    @also(freopen64)
    fn freopen(_path: *const c_char, _mode: *const c_char, _stream: *mut FILE) -> *mut FILE {
        refuse("freopen", REOPEN) as *mut FILE
    }
    @also(tmpfile64)
    fn tmpfile() -> *mut FILE {
        let at = At { directory: AT_FDCWD, path: TEMPORARY_FILES };
        stream("tmpfile", c"w+".as_ptr(), |k, me, _| k.open(me, at, libc::O_TMPFILE | libc::O_RDWR, 0o600))
    }
    fn tmpnam(_buffer: *mut c_char) -> *mut c_char { refuse("tmpnam", TEMPORARY) as *mut c_char }
    fn tempnam(_directory: *const c_char, _prefix: *const c_char) -> *mut c_char {
        refuse("tempnam", TEMPORARY) as *mut c_char
    }
    fn mktemp(_template: *mut c_char) -> *mut c_char { refuse("mktemp", TEMPORARY) as *mut c_char }
    fn setmntent(path: *const c_char, mode: *const c_char) -> *mut FILE { libc::fopen(path, mode) }

    fn openlog(_name: *const c_char, _options: c_int, _facility: c_int) {}
    fn closelog() {}
    fn syslog(_priority: c_int, _format: *const c_char) { refuse("syslog", SYSTEM_LOG); }
    fn vsyslog(_priority: c_int, _format: *const c_char, _arguments: *mut c_void) { refuse("vsyslog", SYSTEM_LOG); }
}
