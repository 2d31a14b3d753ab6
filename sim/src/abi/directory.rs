//! Directories: opendir(3), readdir(3) and their relatives, over getdents64(2).

use super::file::call_at;
use super::user::{Out, single};
use super::{answer, answer_int, call, hooks, refuse};
use crate::kernel::machine::Whence;
use libc::{AT_FDCWD, DIR, c_char, c_int, c_long, c_void, dirent64};

/// Bytes of entries that are fetched at a time: what glibc's opendir(3) allocates.
const BUFFER_BYTES: usize = 32768;

/// What a program's `DIR *` points to.
struct Stream {
    fd: c_int,
    filled: usize,
    next: usize,
    /// `d_off` of the last entry that was given out.
    position: i64,
    /// The entries.
    buffer: [u64; BUFFER_BYTES / 8],
}

/// getdents64(2).
unsafe fn entries(fd: c_int, buffer: *mut c_void, bytes: usize) -> i64 {
    let part = single(buffer, bytes);
    call("getdents64", |k, me| {
        // SAFETY: the caller's buffer.
        let mut out = unsafe { Out::new(&part, 1) };
        k.directory_entries(me, fd, &mut out)
    })
}

/// getdents64(2) by number.
pub(super) unsafe fn getdents64(fd: c_int, buffer: *mut c_void, bytes: usize) -> i64 {
    // SAFETY: the caller's buffer.
    answer(unsafe { entries(fd, buffer, bytes) })
}

impl Stream {
    /// Memory of libc's: a program's own allocator has one state for each image, and this code runs in one image only.
    fn open(fd: c_int) -> *mut DIR {
        // SAFETY: a stream is plain numbers, so that zeros make one.
        unsafe {
            let stream = libc::calloc(1, size_of::<Stream>()).cast::<Stream>();
            match stream.as_mut() {
                Some(stream) => stream.fd = fd,
                None => {
                    answer_int(-i64::from(libc::ENOMEM));
                }
            }
            stream.cast()
        }
    }

    /// The next entry; null at the end, or with errno set.
    unsafe fn read(&mut self) -> *mut dirent64 {
        if self.next >= self.filled {
            // SAFETY: the stream's own buffer.
            let got = unsafe { entries(self.fd, self.buffer.as_mut_ptr().cast(), BUFFER_BYTES) };
            if got <= 0 {
                // readdir(3): the end of the stream leaves errno alone, and a directory that was removed is at its end
                // (sysdeps/unix/sysv/linux/readdir64.c).
                answer_int(if got == -i64::from(libc::ENOENT) { 0 } else { got.min(0) });
                return std::ptr::null_mut();
            }
            (self.filled, self.next) = (got as usize, 0);
        }
        // SAFETY: records are aligned and begin where the one before ends; `linux_dirent64` is glibc's `dirent64`.
        unsafe {
            let entry = self.buffer.as_mut_ptr().cast::<u8>().add(self.next).cast::<dirent64>();
            self.next += usize::from((*entry).d_reclen);
            self.position = (*entry).d_off;
            entry
        }
    }

    fn seek(&mut self, position: i64) {
        (self.filled, self.next, self.position) = (0, 0, position);
        let fd = self.fd;
        call("lseek", |k, me| k.seek(me, fd, position, Some(Whence::Start)));
    }
}

unsafe fn stream<'a>(directory: *mut DIR) -> &'a mut Stream {
    // SAFETY: made by `Stream::open`; a program that uses one stream in two threads at a time locks it (readdir(3)).
    unsafe { &mut *directory.cast::<Stream>() }
}

const GLOB: &str = "libc would read the real directories: walk them with opendir, or in Rust with std::fs::read_dir";

hooks! {
    directory;

    @real(asks())
    fn opendir(path: *const c_char) -> *mut DIR {
        let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_DIRECTORY | libc::O_CLOEXEC;
        let fd = answer_int(call_at("open", AT_FDCWD, path, |k, me, at| k.open(me, at, flags, 0)));
        if fd < 0 { std::ptr::null_mut() } else { Stream::open(fd) }
    }
    fn fdopendir(fd: c_int) -> *mut DIR {
        let known = answer_int(call("fstat", |k, me| {
            let directory = k.stat_open(me, fd)?.mode & libc::S_IFMT == libc::S_IFDIR;
            if directory { Ok(0) } else { Err(crate::kernel::Stop::Errno(libc::ENOTDIR)) }
        }));
        if known < 0 { std::ptr::null_mut() } else { Stream::open(fd) }
    }
    @also(readdir)
    fn readdir64(directory: *mut DIR) -> *mut dirent64 { stream(directory).read() }
    /// Answers the error itself, not -1 (readdir_r(3)).
    @also(readdir_r)
    fn readdir64_r(directory: *mut DIR, entry: *mut dirent64, result: *mut *mut dirent64) -> c_int {
        let errno = libc::__errno_location();
        let before = std::mem::take(&mut *errno);
        let found = stream(directory).read();
        let error = std::mem::replace(&mut *errno, before);
        *result = std::ptr::null_mut();
        if !found.is_null() {
            std::ptr::copy_nonoverlapping(found.cast::<u8>(), entry.cast(), usize::from((*found).d_reclen));
            *result = entry;
        }
        error
    }
    fn closedir(directory: *mut DIR) -> c_int {
        let fd = stream(directory).fd;
        libc::free(directory.cast());
        libc::close(fd)
    }
    fn dirfd(directory: *mut DIR) -> c_int { stream(directory).fd }
    fn rewinddir(directory: *mut DIR) { stream(directory).seek(0) }
    fn seekdir(directory: *mut DIR, position: c_long) { stream(directory).seek(position) }
    fn telldir(directory: *mut DIR) -> c_long { stream(directory).position }

    // These walk inside libc, where no hook sees them.
    @also(scandir64)
    fn scandir(_path: *const c_char, _names: usize, _filter: usize, _compare: usize) -> c_int {
        refuse("scandir", GLOB) as c_int
    }
    @also(scandirat64)
    fn scandirat(_fd: c_int, _path: *const c_char, _names: usize, _filter: usize, _compare: usize) -> c_int {
        refuse("scandirat", GLOB) as c_int
    }
    @also(glob64)
    fn glob(_pattern: *const c_char, _flags: c_int, _error: usize, _out: usize) -> c_int {
        refuse("glob", GLOB) as c_int
    }
    @also(ftw64)
    fn ftw(_path: *const c_char, _visit: usize, _fds: c_int) -> c_int { refuse("ftw", GLOB) as c_int }
    @also(nftw64)
    fn nftw(_path: *const c_char, _visit: usize, _fds: c_int, _flags: c_int) -> c_int { refuse("nftw", GLOB) as c_int }
    @also(fts64_open)
    fn fts_open(_paths: usize, _options: c_int, _compare: usize) -> usize { refuse("fts_open", GLOB) as usize }
}
