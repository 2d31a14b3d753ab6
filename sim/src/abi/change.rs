//! What changes files: names, attributes, sizes; and what brings them to the disk.

use super::file::{call_at, last};
use super::{answer_int, call, hooks};
use crate::kernel::machine::{At, Attribute, Doomed, Last, Made, Time};
use libc::{AT_FDCWD, c_char, c_int, c_uint, dev_t, gid_t, mode_t, off_t, timespec, timeval, uid_t, utimbuf};

unsafe fn make(name: &'static str, directory: c_int, path: *const c_char, made: Made<'_>) -> c_int {
    // SAFETY: the caller's path.
    answer_int(unsafe { call_at(name, directory, path, |k, me, at| k.make_entry(me, at, made)) })
}

unsafe fn link_symbolically(target: *const c_char, directory: c_int, path: *const c_char) -> c_int {
    // SAFETY: the caller's paths.
    unsafe {
        match super::file::bytes(target) {
            Some(target) => make("symlink", directory, path, Made::Link(target)),
            None => answer_int(-i64::from(libc::EFAULT)),
        }
    }
}

unsafe fn change(
    name: &'static str,
    directory: c_int,
    path: *const c_char,
    last: Last,
    attribute: Result<Attribute, c_int>,
) -> c_int {
    match attribute {
        // SAFETY: the caller's path.
        Ok(attribute) => answer_int(unsafe {
            call_at(name, directory, path, |k, me, at| k.change_attribute(me, at, last, attribute))
        }),
        Err(errno) => answer_int(-i64::from(errno)),
    }
}

fn change_open(name: &'static str, fd: c_int, attribute: Result<Attribute, c_int>) -> c_int {
    match attribute {
        Ok(attribute) => answer_int(call(name, |k, me| k.change_open_attribute(me, fd, attribute))),
        Err(errno) => answer_int(-i64::from(errno)),
    }
}

unsafe fn take_away(name: &'static str, directory: c_int, path: *const c_char, what: Doomed) -> c_int {
    // SAFETY: the caller's path.
    answer_int(unsafe { call_at(name, directory, path, |k, me, at| k.remove_entry(me, at, what)) })
}

/// A directory to begin from, and a path.
type Place = (c_int, *const c_char);

unsafe fn rename_to(from: Place, to: Place, flags: c_uint) -> c_int {
    // SAFETY: the caller's paths.
    unsafe {
        let Some(target) = super::file::bytes(to.1) else { return answer_int(-i64::from(libc::EFAULT)) };
        let target = At { directory: to.0, path: target };
        answer_int(call_at("rename", from.0, from.1, |k, me, at| k.rename_entry(me, at, target, flags)))
    }
}

unsafe fn link_to(from: Place, to: Place, flags: c_int) -> c_int {
    // SAFETY: the caller's paths.
    unsafe {
        let Some(target) = super::file::bytes(to.1) else { return answer_int(-i64::from(libc::EFAULT)) };
        let target = At { directory: to.0, path: target };
        answer_int(call_at("link", from.0, from.1, |k, me, at| k.link_entry(me, at, target, flags)))
    }
}

/// The times of utimensat(2); none are now.
unsafe fn times_of(times: *const timespec) -> Attribute {
    if times.is_null() {
        return Attribute::Times(Time::Now, Time::Now);
    }
    let time = |given: timespec| match given.tv_nsec {
        libc::UTIME_NOW => Time::Now,
        libc::UTIME_OMIT => Time::Kept,
        ns @ 0..1_000_000_000 => Time::Set(given.tv_sec.saturating_mul(1_000_000_000).saturating_add(ns)),
        _ => Time::Never,
    };
    // SAFETY: two of them, as utimensat(2) asks.
    unsafe { Attribute::Times(time(*times), time(*times.add(1))) }
}

/// "Nothing to do, we must not even check the path" (fs/utimes.c, utimensat).
const NOTHING: Attribute = Attribute::Times(Time::Kept, Time::Kept);

/// The times of utimes(2).
unsafe fn times_in_microseconds(times: *const timeval) -> Result<Attribute, c_int> {
    if times.is_null() {
        return Ok(Attribute::Times(Time::Now, Time::Now));
    }
    let time = |given: timeval| match given.tv_usec {
        us @ 0..1_000_000 => Ok(Time::Set(given.tv_sec.saturating_mul(1_000_000_000).saturating_add(us * 1000))),
        _ => Err(libc::EINVAL),
    };
    // SAFETY: two of them, as utimes(2) asks.
    unsafe { Ok(Attribute::Times(time(*times)?, time(*times.add(1))?)) }
}

/// Letters of mkstemp(3)'s names (sysdeps/posix/tempname.c).
const LETTERS: &[u8; 62] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
/// How many it puts in place of the `X`s, and how often it tries (`TMP_MAX`).
const PLACES: usize = 6;
const TRIES: u32 = 238_328;

/// mkstemp(3) and its relatives: fills a template in until `attempt` finds a name that is free.
unsafe fn temporary(template: *mut c_char, suffix: c_int, mut attempt: impl FnMut(*const c_char) -> c_int) -> c_int {
    // SAFETY: the caller's string, which is written to in place of its `X`s only.
    unsafe {
        let bytes = libc::strlen(template);
        let end = bytes.checked_sub(usize::try_from(suffix).unwrap_or(usize::MAX));
        let Some(start) = end.and_then(|end| end.checked_sub(PLACES)) else {
            return answer_int(-i64::from(libc::EINVAL));
        };
        let places = template.add(start).cast::<u8>();
        if (0..PLACES).any(|place| *places.add(place) != b'X') {
            return answer_int(-i64::from(libc::EINVAL));
        }
        for _ in 0..TRIES {
            let mut random = [0u8; PLACES];
            libc::getrandom(random.as_mut_ptr().cast(), PLACES, 0);
            for (place, byte) in random.iter().enumerate() {
                *places.add(place) = LETTERS[usize::from(*byte) % LETTERS.len()];
            }
            let result = attempt(template);
            if result >= 0 || *libc::__errno_location() != libc::EEXIST {
                return result;
            }
        }
        answer_int(-i64::from(libc::EEXIST))
    }
}

unsafe fn temporary_file(template: *mut c_char, suffix: c_int, flags: c_int) -> c_int {
    const MODE: mode_t = 0o600;
    let flags = flags & !libc::O_ACCMODE | libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
    // SAFETY: the caller's template.
    unsafe { temporary(template, suffix, |path| libc::open(path, flags, MODE)) }
}

hooks! {
    change;

    @real(asks())
    fn mkdir(path: *const c_char, mode: mode_t) -> c_int { make("mkdir", AT_FDCWD, path, Made::Directory(mode)) }
    @real(asks())
    fn mkdirat(fd: c_int, path: *const c_char, mode: mode_t) -> c_int { make("mkdir", fd, path, Made::Directory(mode)) }
    @real(asks())
    fn mknod(path: *const c_char, mode: mode_t, _device: dev_t) -> c_int {
        make("mknod", AT_FDCWD, path, Made::Node(mode))
    }
    @real(asks())
    fn mknodat(fd: c_int, path: *const c_char, mode: mode_t, _device: dev_t) -> c_int {
        make("mknod", fd, path, Made::Node(mode))
    }
    @real(asks())
    fn mkfifo(path: *const c_char, mode: mode_t) -> c_int {
        make("mkfifo", AT_FDCWD, path, Made::Node(libc::S_IFIFO | mode))
    }
    @real(asks())
    fn mkfifoat(fd: c_int, path: *const c_char, mode: mode_t) -> c_int {
        make("mkfifo", fd, path, Made::Node(libc::S_IFIFO | mode))
    }
    @real(asks())
    fn symlink(target: *const c_char, path: *const c_char) -> c_int { link_symbolically(target, AT_FDCWD, path) }
    @real(asks())
    fn symlinkat(target: *const c_char, fd: c_int, path: *const c_char) -> c_int { link_symbolically(target, fd, path) }
    @also(mkstemp64)
    @real(asks())
    fn mkstemp(template: *mut c_char) -> c_int { temporary_file(template, 0, 0) }
    @real(asks())
    fn mkdtemp(template: *mut c_char) -> *mut c_char {
        if temporary(template, 0, |path| libc::mkdir(path, 0o700)) < 0 { std::ptr::null_mut() } else { template }
    }
    @also(mkostemp64)
    @real(asks())
    fn mkostemp(template: *mut c_char, flags: c_int) -> c_int { temporary_file(template, 0, flags) }
    @also(mkstemps64)
    @real(asks())
    fn mkstemps(template: *mut c_char, suffix: c_int) -> c_int { temporary_file(template, suffix, 0) }
    @also(mkostemps64)
    @real(asks())
    fn mkostemps(template: *mut c_char, suffix: c_int, flags: c_int) -> c_int {
        temporary_file(template, suffix, flags)
    }

    @real(asks())
    fn link(from: *const c_char, to: *const c_char) -> c_int { link_to((AT_FDCWD, from), (AT_FDCWD, to), 0) }
    @real(asks())
    fn linkat(from_fd: c_int, from: *const c_char, to_fd: c_int, to: *const c_char, flags: c_int) -> c_int {
        link_to((from_fd, from), (to_fd, to), flags)
    }
    @real(asks())
    fn rename(from: *const c_char, to: *const c_char) -> c_int { rename_to((AT_FDCWD, from), (AT_FDCWD, to), 0) }
    @real(asks())
    fn renameat(from_fd: c_int, from: *const c_char, to_fd: c_int, to: *const c_char) -> c_int {
        rename_to((from_fd, from), (to_fd, to), 0)
    }
    @real(asks())
    fn renameat2(from_fd: c_int, from: *const c_char, to_fd: c_int, to: *const c_char, flags: c_uint) -> c_int {
        rename_to((from_fd, from), (to_fd, to), flags)
    }

    fn unlink(path: *const c_char) -> c_int { take_away("unlink", AT_FDCWD, path, Doomed::Other) }
    fn unlinkat(fd: c_int, path: *const c_char, flags: c_int) -> c_int {
        match flags {
            0 => take_away("unlink", fd, path, Doomed::Other),
            libc::AT_REMOVEDIR => take_away("rmdir", fd, path, Doomed::Directory),
            _ => answer_int(-i64::from(libc::EINVAL)),
        }
    }
    fn rmdir(path: *const c_char) -> c_int { take_away("rmdir", AT_FDCWD, path, Doomed::Directory) }
    fn remove(path: *const c_char) -> c_int {
        let result = libc::unlink(path);
        // remove(3): rmdir(2) for directories.
        if result < 0 && *libc::__errno_location() == libc::EISDIR { libc::rmdir(path) } else { result }
    }

    fn chmod(path: *const c_char, mode: mode_t) -> c_int {
        change("chmod", AT_FDCWD, path, Last::Follow, Ok(Attribute::Mode(mode)))
    }
    fn lchmod(path: *const c_char, mode: mode_t) -> c_int {
        change("chmod", AT_FDCWD, path, Last::Keep, Ok(Attribute::Mode(mode)))
    }
    fn fchmodat(fd: c_int, path: *const c_char, mode: mode_t, flags: c_int) -> c_int {
        change("chmod", fd, path, last(flags), Ok(Attribute::Mode(mode)))
    }
    fn fchmod(fd: c_int, mode: mode_t) -> c_int { change_open("fchmod", fd, Ok(Attribute::Mode(mode))) }
    fn chown(path: *const c_char, owner: uid_t, group: gid_t) -> c_int {
        change("chown", AT_FDCWD, path, Last::Follow, Ok(Attribute::Owner(owner, group)))
    }
    fn lchown(path: *const c_char, owner: uid_t, group: gid_t) -> c_int {
        change("lchown", AT_FDCWD, path, Last::Keep, Ok(Attribute::Owner(owner, group)))
    }
    fn fchownat(fd: c_int, path: *const c_char, owner: uid_t, group: gid_t, flags: c_int) -> c_int {
        change("chown", fd, path, last(flags), Ok(Attribute::Owner(owner, group)))
    }
    fn fchown(fd: c_int, owner: uid_t, group: gid_t) -> c_int {
        change_open("fchown", fd, Ok(Attribute::Owner(owner, group)))
    }

    fn utime(path: *const c_char, times: *const utimbuf) -> c_int {
        let set = |seconds: i64| Time::Set(seconds.saturating_mul(1_000_000_000));
        let times = times.as_ref().map_or((Time::Now, Time::Now), |times| (set(times.actime), set(times.modtime)));
        change("utime", AT_FDCWD, path, Last::Follow, Ok(Attribute::Times(times.0, times.1)))
    }
    fn utimes(path: *const c_char, times: *const timeval) -> c_int {
        change("utimes", AT_FDCWD, path, Last::Follow, times_in_microseconds(times))
    }
    fn lutimes(path: *const c_char, times: *const timeval) -> c_int {
        change("lutimes", AT_FDCWD, path, Last::Keep, times_in_microseconds(times))
    }
    fn futimesat(fd: c_int, path: *const c_char, times: *const timeval) -> c_int {
        change("futimesat", fd, path, Last::Follow, times_in_microseconds(times))
    }
    fn futimes(fd: c_int, times: *const timeval) -> c_int { change_open("futimes", fd, times_in_microseconds(times)) }
    fn utimensat(fd: c_int, path: *const c_char, times: *const timespec, flags: c_int) -> c_int {
        match times_of(times) {
            NOTHING => 0,
            _ if flags & !(libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH) != 0 => {
                answer_int(-i64::from(libc::EINVAL))
            }
            attribute if path.is_null() => change_open("utimensat", fd, Ok(attribute)),
            attribute => change("utimensat", fd, path, last(flags), Ok(attribute)),
        }
    }
    fn futimens(fd: c_int, times: *const timespec) -> c_int {
        match times_of(times) {
            NOTHING => 0,
            attribute => change_open("futimens", fd, Ok(attribute)),
        }
    }

    @also(truncate64)
    @real(asks())
    fn truncate(path: *const c_char, bytes: off_t) -> c_int {
        match u64::try_from(bytes) {
            Ok(bytes) => answer_int(call_at("truncate", AT_FDCWD, path, |k, me, at| k.truncate(me, at, bytes))),
            Err(_) => answer_int(-i64::from(libc::EINVAL)),
        }
    }
    @also(ftruncate64)
    @real(makes(fd))
    fn ftruncate(fd: c_int, bytes: off_t) -> c_int {
        match u64::try_from(bytes) {
            Ok(bytes) => answer_int(call("ftruncate", |k, me| k.truncate_open(me, fd, bytes))),
            // Before the descriptor (fs/open.c, do_sys_ftruncate).
            Err(_) => answer_int(-i64::from(libc::EINVAL)),
        }
    }
    @also(fallocate64)
    @real(makes(fd))
    fn fallocate(fd: c_int, mode: c_int, offset: off_t, bytes: off_t) -> c_int {
        answer_int(call("fallocate", |k, me| k.allocate_open(me, fd, mode, offset, bytes)))
    }
    /// Answers the error itself, not -1 (posix_fallocate(3)).
    @also(posix_fallocate64)
    @real(asks_for_error())
    fn posix_fallocate(fd: c_int, offset: off_t, bytes: off_t) -> c_int {
        -call("posix_fallocate", |k, me| k.allocate_open(me, fd, 0, offset, bytes)) as c_int
    }

    @real(syncs(fd))
    fn fsync(fd: c_int) -> c_int { answer_int(call("fsync", |k, me| k.sync_open(me, fd, true))) }
    @real(syncs(fd))
    fn fdatasync(fd: c_int) -> c_int { answer_int(call("fdatasync", |k, me| k.sync_open(me, fd, false))) }
    /// Starts or awaits writeback of pages, and promises nothing of a crash (sync_file_range(2), "Warning").
    @real(asks())
    fn sync_file_range(fd: c_int, _offset: off_t, _bytes: off_t, _flags: c_uint) -> c_int {
        answer_int(call("sync_file_range", |k, me| k.check_sync_range(me, fd)))
    }
    @real(syncs_all())
    fn syncfs(fd: c_int) -> c_int { answer_int(call("syncfs", |k, me| k.sync_disk(me, Some(fd)))) }
    @real(syncs_all())
    fn sync() { call("sync", |k, me| k.sync_disk(me, None)); }
}
