//! Files by path: open(2), stat(2), access(2), readlink(2), realpath(3), getcwd(3), and positions: lseek(2).

use super::user::{In, Out, single};
use super::{answer, answer_int, call, hooks, look};
use crate::kernel::machine::{At, Last, Stat, Whence};
use crate::kernel::{Kernel, Stop, ThreadId};
use libc::{AT_FDCWD, c_char, c_int, c_uint, c_void, mode_t, off_t};
use std::ffi::CStr;

/// The bytes of a path; none for a null pointer.
pub(super) unsafe fn bytes<'a>(path: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: null or a C string, as each call's man page asks.
    (!path.is_null()).then(|| unsafe { CStr::from_ptr(path) }.to_bytes())
}

/// Makes a call about a path. A null path is `EFAULT` without an event: std asks so whether statx(2) exists.
pub(super) unsafe fn call_at<F>(name: &'static str, directory: c_int, path: *const c_char, mut f: F) -> i64
where
    F: FnMut(&mut Kernel, ThreadId, At<'_>) -> Result<i64, Stop>,
{
    // SAFETY: the caller's path.
    match unsafe { bytes(path) } {
        Some(path) => call(name, |k, me| f(k, me, At { directory, path })),
        None => -i64::from(libc::EFAULT),
    }
}

unsafe fn open_at(directory: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the caller's path.
    answer_int(unsafe { call_at("open", directory, path, |k, me, at| k.open(me, at, flags, mode)) })
}

/// Which link a path's last component names, by `AT_SYMLINK_NOFOLLOW`.
pub(super) fn last(flags: c_int) -> Last {
    if flags & libc::AT_SYMLINK_NOFOLLOW != 0 { Last::Keep } else { Last::Follow }
}

unsafe fn stat_at(directory: c_int, path: *const c_char, flags: c_int, out: *mut libc::stat) -> c_int {
    const KNOWN: c_int = libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH | libc::AT_NO_AUTOMOUNT;
    if flags & !KNOWN != 0 {
        return answer_int(-i64::from(libc::EINVAL));
    }
    // SAFETY: the caller's path and struct.
    answer_int(unsafe {
        call_at("stat", directory, path, |k, me, at| {
            put_stat(out, k.stat(me, at, flags)?);
            Ok(0)
        })
    })
}

/// # Safety
/// `out` is a `struct stat` of the caller's.
unsafe fn put_stat(out: *mut libc::stat, stat: Stat) {
    let seconds = |ns: i64| ns.div_euclid(1_000_000_000);
    let rest = |ns: i64| ns.rem_euclid(1_000_000_000);
    // SAFETY: as promised.
    unsafe {
        std::ptr::write_bytes(out, 0, 1);
        let out = &mut *out;
        out.st_dev = stat.device;
        out.st_ino = stat.inode;
        out.st_mode = stat.mode;
        out.st_nlink = stat.links;
        out.st_uid = stat.owner;
        out.st_gid = stat.group;
        out.st_rdev = stat.stands_for;
        out.st_size = stat.bytes as i64;
        out.st_blksize = stat.block_bytes as i64;
        out.st_blocks = stat.blocks as i64;
        (out.st_atime, out.st_atime_nsec) = (seconds(stat.read_ns), rest(stat.read_ns));
        (out.st_mtime, out.st_mtime_nsec) = (seconds(stat.written_ns), rest(stat.written_ns));
        (out.st_ctime, out.st_ctime_nsec) = (seconds(stat.changed_ns), rest(stat.changed_ns));
    }
}

/// # Safety
/// `out` is a `struct statx` of the caller's.
unsafe fn put_statx(out: *mut libc::statx, stat: Stat) {
    // SAFETY: as promised; a timestamp is plain numbers.
    unsafe {
        std::ptr::write_bytes(out, 0, 1);
        let out = &mut *out;
        let time = |ns: i64| {
            let mut time: libc::statx_timestamp = std::mem::zeroed();
            time.tv_sec = ns.div_euclid(1_000_000_000);
            time.tv_nsec = ns.rem_euclid(1_000_000_000) as u32;
            time
        };
        out.stx_mask = libc::STATX_BASIC_STATS | libc::STATX_BTIME;
        out.stx_blksize = stat.block_bytes as u32;
        out.stx_nlink = stat.links as u32;
        out.stx_uid = stat.owner;
        out.stx_gid = stat.group;
        out.stx_mode = stat.mode as u16;
        out.stx_ino = stat.inode;
        out.stx_size = stat.bytes;
        out.stx_blocks = stat.blocks;
        (out.stx_atime, out.stx_mtime) = (time(stat.read_ns), time(stat.written_ns));
        (out.stx_ctime, out.stx_btime) = (time(stat.changed_ns), time(stat.made_ns));
        (out.stx_dev_major, out.stx_dev_minor) = (libc::major(stat.device), libc::minor(stat.device));
        (out.stx_rdev_major, out.stx_rdev_minor) = (libc::major(stat.stands_for), libc::minor(stat.stands_for));
    }
}

unsafe fn access_at(directory: c_int, path: *const c_char, mode: c_int, flags: c_int) -> c_int {
    const KNOWN: c_int = libc::AT_EACCESS | libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH;
    if flags & !KNOWN != 0 {
        return answer_int(-i64::from(libc::EINVAL));
    }
    // SAFETY: the caller's path.
    answer_int(unsafe { call_at("access", directory, path, |k, me, at| k.access(me, at, mode, flags)) })
}

unsafe fn read_link_at(directory: c_int, path: *const c_char, buffer: *mut c_char, room: usize) -> isize {
    if room == 0 {
        return answer(-i64::from(libc::EINVAL)) as isize;
    }
    // SAFETY: the caller's path and buffer.
    answer(unsafe {
        call_at("readlink", directory, path, |k, me, at| {
            let target = k.read_link(me, at)?;
            // readlink(2): cut to the buffer, without a NUL.
            Ok(Out::new(&single(buffer.cast(), room), 1).write_at(0, &target) as i64)
        })
    }) as isize
}

/// Puts a C string into a buffer of the caller's, or for a null pointer into one from malloc(3).
unsafe fn give_string(text: &[u8], buffer: *mut c_char, room: usize) -> Result<*mut c_char, Stop> {
    // SAFETY: `buffer` has that much room; a fresh block has as much as is asked for.
    unsafe {
        let buffer = if buffer.is_null() { libc::malloc(room.max(text.len() + 1)).cast() } else { buffer };
        if buffer.is_null() {
            return Err(Stop::Errno(libc::ENOMEM));
        }
        std::ptr::copy_nonoverlapping(text.as_ptr(), buffer.cast(), text.len());
        *buffer.add(text.len()) = 0;
        Ok(buffer)
    }
}

unsafe fn resolve(path: *const c_char, resolved: *mut c_char) -> *mut c_char {
    let mut given = std::ptr::null_mut();
    // SAFETY: the caller's path, and a buffer of PATH_MAX bytes or null.
    unsafe {
        let Some(path) = bytes(path) else {
            answer_int(-i64::from(libc::EINVAL));
            return given;
        };
        let result = call("realpath", |k, me| {
            given = give_string(&k.real_path(me, path)?, resolved, 0)?;
            Ok(0)
        });
        if answer_int(result) < 0 { std::ptr::null_mut() } else { given }
    }
}

/// getcwd(3): with room for `room` bytes, or as many as are needed.
unsafe fn working_directory(buffer: *mut c_char, room: Option<usize>) -> *mut c_char {
    let mut given = std::ptr::null_mut();
    let result = look("getcwd", |k, me| {
        let path = k.working_directory(me)?;
        if room.is_some_and(|room| room <= path.len()) {
            return Err(Stop::Errno(if room == Some(0) { libc::EINVAL } else { libc::ERANGE }));
        }
        // SAFETY: the caller's buffer has that room.
        given = unsafe { give_string(&path, buffer, room.unwrap_or(0))? };
        Ok(0)
    });
    if answer_int(result) < 0 { std::ptr::null_mut() } else { given }
}

hooks! {
    file;

    @also(open64)
    @real(asks())
    fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int { open_at(AT_FDCWD, path, flags, mode) }
    @also(__open64_2)
    @real(asks())
    fn __open_2(path: *const c_char, flags: c_int) -> c_int { open_at(AT_FDCWD, path, flags, 0) }
    @also(openat64)
    @real(asks())
    fn openat(directory: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
        open_at(directory, path, flags, mode)
    }
    @also(__openat64_2)
    @real(asks())
    fn __openat_2(directory: c_int, path: *const c_char, flags: c_int) -> c_int { open_at(directory, path, flags, 0) }
    @also(creat64)
    @real(asks())
    fn creat(path: *const c_char, mode: mode_t) -> c_int {
        open_at(AT_FDCWD, path, libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC, mode)
    }

    @also(stat64)
    fn stat(path: *const c_char, out: *mut libc::stat) -> c_int { stat_at(AT_FDCWD, path, 0, out) }
    @also(lstat64)
    fn lstat(path: *const c_char, out: *mut libc::stat) -> c_int {
        stat_at(AT_FDCWD, path, libc::AT_SYMLINK_NOFOLLOW, out)
    }
    @also(fstatat64)
    fn fstatat(directory: c_int, path: *const c_char, out: *mut libc::stat, flags: c_int) -> c_int {
        stat_at(directory, path, flags, out)
    }
    @also(fstat64)
    fn fstat(fd: c_int, out: *mut libc::stat) -> c_int {
        answer_int(call("fstat", |k, me| {
            put_stat(out, k.stat_open(me, fd)?);
            Ok(0)
        }))
    }
    fn statx(directory: c_int, path: *const c_char, flags: c_int, _mask: c_uint, out: *mut libc::statx) -> c_int {
        const KNOWN: c_int = libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH | libc::AT_NO_AUTOMOUNT
            | libc::AT_STATX_SYNC_TYPE;
        if flags & !KNOWN != 0 {
            return answer_int(-i64::from(libc::EINVAL));
        }
        answer_int(call_at("statx", directory, path, |k, me, at| {
            put_statx(out, k.stat(me, at, flags)?);
            Ok(0)
        }))
    }

    fn access(path: *const c_char, mode: c_int) -> c_int { access_at(AT_FDCWD, path, mode, 0) }
    @also(euidaccess)
    fn eaccess(path: *const c_char, mode: c_int) -> c_int { access_at(AT_FDCWD, path, mode, libc::AT_EACCESS) }
    fn faccessat(directory: c_int, path: *const c_char, mode: c_int, flags: c_int) -> c_int {
        access_at(directory, path, mode, flags)
    }

    fn readlink(path: *const c_char, buffer: *mut c_char, room: usize) -> isize {
        read_link_at(AT_FDCWD, path, buffer, room)
    }
    fn readlinkat(directory: c_int, path: *const c_char, buffer: *mut c_char, room: usize) -> isize {
        read_link_at(directory, path, buffer, room)
    }
    fn __readlink_chk(path: *const c_char, buffer: *mut c_char, room: usize, _size: usize) -> isize {
        read_link_at(AT_FDCWD, path, buffer, room)
    }

    fn realpath(path: *const c_char, resolved: *mut c_char) -> *mut c_char { resolve(path, resolved) }
    fn __realpath_chk(path: *const c_char, resolved: *mut c_char, _size: usize) -> *mut c_char {
        resolve(path, resolved)
    }
    fn canonicalize_file_name(path: *const c_char) -> *mut c_char { resolve(path, std::ptr::null_mut()) }

    fn getcwd(buffer: *mut c_char, room: usize) -> *mut c_char {
        let grows = buffer.is_null() && room == 0;
        working_directory(buffer, (!grows).then_some(room))
    }
    fn __getcwd_chk(buffer: *mut c_char, room: usize, _size: usize) -> *mut c_char { libc::getcwd(buffer, room) }
    fn get_current_dir_name() -> *mut c_char { working_directory(std::ptr::null_mut(), None) }
    fn chdir(path: *const c_char) -> c_int {
        answer_int(call_at("chdir", AT_FDCWD, path, |k, me, at| k.change_directory(me, at.path)))
    }
    fn fchdir(fd: c_int) -> c_int { answer_int(call("fchdir", |k, me| k.change_directory_to(me, fd))) }
    fn umask(mask: mode_t) -> mode_t {
        look("umask", |k, me| Ok(i64::from(k.set_umask(me, mask)))) as mode_t
    }

    @also(lseek64)
    fn lseek(fd: c_int, offset: off_t, whence: c_int) -> off_t {
        answer(call("lseek", |k, me| k.seek(me, fd, offset, Whence::of(whence))))
    }

    fn flock(fd: c_int, operation: c_int) -> c_int {
        if !matches!(operation & !libc::LOCK_NB, libc::LOCK_SH | libc::LOCK_EX | libc::LOCK_UN) {
            return answer_int(-i64::from(libc::EINVAL));
        }
        answer_int(call("flock", |k, me| k.lock_file(me, fd, operation)))
    }
    /// lockf(3) is fcntl(2) with fewer words (io/lockf.c).
    @also(lockf64)
    fn lockf(fd: c_int, command: c_int, bytes: off_t) -> c_int {
        let (kind, how) = match command {
            libc::F_ULOCK => (libc::F_UNLCK, libc::F_SETLK),
            libc::F_LOCK => (libc::F_WRLCK, libc::F_SETLKW),
            libc::F_TLOCK => (libc::F_WRLCK, libc::F_SETLK),
            libc::F_TEST => (libc::F_WRLCK, libc::F_GETLK),
            _ => return answer_int(-i64::from(libc::EINVAL)),
        };
        let mut lock: libc::flock = std::mem::zeroed();
        (lock.l_type, lock.l_whence, lock.l_len) = (kind as i16, libc::SEEK_CUR as i16, bytes);
        let result = call("lockf", |k, me| k.lock_range(me, fd, how, &mut lock));
        let taken = command == libc::F_TEST && result == 0 && c_int::from(lock.l_type) != libc::F_UNLCK;
        answer_int(if taken { -i64::from(libc::EACCES) } else { result })
    }

    /// Answers the error itself, not -1 (posix_fadvise(2)).
    @also(posix_fadvise64)
    fn posix_fadvise(fd: c_int, _offset: off_t, _bytes: off_t, _advice: c_int) -> c_int {
        -look("posix_fadvise", |k, me| k.advise(me, fd)) as c_int
    }
    fn readahead(fd: c_int, _offset: off_t, _count: usize) -> isize {
        answer(look("readahead", |k, me| k.read_ahead(me, fd))) as isize
    }

    @also(sendfile64)
    @real(copies(from, to))
    fn sendfile(to: c_int, from: c_int, offset: *mut off_t, bytes: usize) -> isize {
        answer(call("sendfile", |k, me| {
            let block = k.peek_to_send(me, (to, from), offset.as_ref().copied(), bytes)?;
            let part = single(block.as_ptr().cast::<c_void>(), block.len());
            if block.is_empty() {
                return k.send_nothing(me, to, bytes);
            }
            let sent = k.write(me, to, &In::new(&part, 1), None)?;
            k.sent_from_file(me, (to, from), if offset.is_null() { sent as u64 } else { 0 });
            if let Some(offset) = offset.as_mut() {
                *offset += sent;
            }
            Ok(sent)
        })) as isize
    }

    // Callers have another way for kernels or files without these: `std::io::copy` reads and writes.
    @real(copies(_from, _to))
    fn copy_file_range(
        _from: c_int, _at: *mut off_t, _to: c_int, _there: *mut off_t, _bytes: usize, _flags: c_uint
    ) -> isize {
        answer(-i64::from(libc::ENOSYS)) as isize
    }
    fn splice(
        _from: c_int, _at: *mut off_t, _to: c_int, _there: *mut off_t, _bytes: usize, _flags: c_uint
    ) -> isize {
        answer(-i64::from(libc::EINVAL)) as isize
    }
    fn tee(_from: c_int, _to: c_int, _bytes: usize, _flags: c_uint) -> isize {
        answer(-i64::from(libc::EINVAL)) as isize
    }
    fn vmsplice(_fd: c_int, _parts: *const c_void, _count: usize, _flags: c_uint) -> isize {
        answer(-i64::from(libc::EINVAL)) as isize
    }
}
