//! What would change files. Hosts have no disk yet, so that none of these succeeds; which of them fail as on Linux and
//! which end the case is the kernel's to say.

use super::file::{call_at, last};
use super::{answer_int, call, hooks};
use crate::kernel::machine::{At, Doomed, Last};
use libc::{AT_FDCWD, c_char, c_int, c_uint, c_void, dev_t, gid_t, mode_t, off_t, uid_t};

unsafe fn make(name: &'static str, directory: c_int, path: *const c_char) -> c_int {
    // SAFETY: the caller's path.
    answer_int(unsafe { call_at(name, directory, path, |k, me, at| k.make_entry(me, name, at)) })
}

unsafe fn change(name: &'static str, directory: c_int, path: *const c_char, last: Last) -> c_int {
    // SAFETY: the caller's path.
    answer_int(unsafe { call_at(name, directory, path, |k, me, at| k.change_entry(me, name, at, last)) })
}

unsafe fn take_away(name: &'static str, directory: c_int, path: *const c_char, what: Doomed) -> c_int {
    // SAFETY: the caller's path.
    answer_int(unsafe { call_at(name, directory, path, |k, me, at| k.remove_entry(me, name, at, what)) })
}

/// A directory to begin from, and a path.
type Place = (c_int, *const c_char);

unsafe fn rename_to(from: Place, to: Place) -> c_int {
    // SAFETY: the caller's paths.
    unsafe {
        let Some(target) = super::file::bytes(to.1) else { return answer_int(-i64::from(libc::EFAULT)) };
        let target = At { directory: to.0, path: target };
        answer_int(call_at("rename", from.0, from.1, |k, me, at| k.rename_entry(me, at, target)))
    }
}

unsafe fn link_to(from: Place, to: Place) -> c_int {
    // SAFETY: the caller's paths.
    unsafe {
        let Some(target) = super::file::bytes(to.1) else { return answer_int(-i64::from(libc::EFAULT)) };
        let target = At { directory: to.0, path: target };
        answer_int(call_at("link", from.0, from.1, |k, me, at| k.link_entry(me, at, target)))
    }
}

fn change_open(name: &'static str, fd: c_int) -> c_int {
    answer_int(call(name, |k, me| k.change_open(me, name, fd)))
}

/// Reports on the template of mkstemp(3) and its relatives, which make a file inside libc.
unsafe fn temporary(name: &'static str, template: *const c_char) -> c_int {
    // SAFETY: the caller's string.
    unsafe { make(name, AT_FDCWD, template) }
}

hooks! {
    change;

    fn mkdir(path: *const c_char, _mode: mode_t) -> c_int { make("mkdir", AT_FDCWD, path) }
    fn mkdirat(fd: c_int, path: *const c_char, _mode: mode_t) -> c_int { make("mkdir", fd, path) }
    fn mknod(path: *const c_char, _mode: mode_t, _device: dev_t) -> c_int { make("mknod", AT_FDCWD, path) }
    fn mknodat(fd: c_int, path: *const c_char, _mode: mode_t, _device: dev_t) -> c_int { make("mknod", fd, path) }
    fn mkfifo(path: *const c_char, _mode: mode_t) -> c_int { make("mkfifo", AT_FDCWD, path) }
    fn mkfifoat(fd: c_int, path: *const c_char, _mode: mode_t) -> c_int { make("mkfifo", fd, path) }
    fn symlink(_target: *const c_char, path: *const c_char) -> c_int { make("symlink", AT_FDCWD, path) }
    fn symlinkat(_target: *const c_char, fd: c_int, path: *const c_char) -> c_int { make("symlink", fd, path) }
    @also(mkstemp64)
    fn mkstemp(template: *const c_char) -> c_int { temporary("mkstemp", template) }
    fn mkdtemp(template: *mut c_char) -> *mut c_char {
        temporary("mkdtemp", template);
        std::ptr::null_mut()
    }
    @also(mkostemp64)
    fn mkostemp(template: *const c_char, _flags: c_int) -> c_int { temporary("mkostemp", template) }
    @also(mkstemps64)
    fn mkstemps(template: *const c_char, _suffix: c_int) -> c_int { temporary("mkstemps", template) }

    fn link(from: *const c_char, to: *const c_char) -> c_int { link_to((AT_FDCWD, from), (AT_FDCWD, to)) }
    fn linkat(from_fd: c_int, from: *const c_char, to_fd: c_int, to: *const c_char, _flags: c_int) -> c_int {
        link_to((from_fd, from), (to_fd, to))
    }
    fn rename(from: *const c_char, to: *const c_char) -> c_int { rename_to((AT_FDCWD, from), (AT_FDCWD, to)) }
    fn renameat(from_fd: c_int, from: *const c_char, to_fd: c_int, to: *const c_char) -> c_int {
        rename_to((from_fd, from), (to_fd, to))
    }
    fn renameat2(from_fd: c_int, from: *const c_char, to_fd: c_int, to: *const c_char, _flags: c_uint) -> c_int {
        rename_to((from_fd, from), (to_fd, to))
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

    fn chmod(path: *const c_char, _mode: mode_t) -> c_int { change("chmod", AT_FDCWD, path, Last::Follow) }
    fn fchmodat(fd: c_int, path: *const c_char, _mode: mode_t, flags: c_int) -> c_int {
        change("chmod", fd, path, last(flags))
    }
    fn fchmod(fd: c_int, _mode: mode_t) -> c_int { change_open("fchmod", fd) }
    fn chown(path: *const c_char, _owner: uid_t, _group: gid_t) -> c_int {
        change("chown", AT_FDCWD, path, Last::Follow)
    }
    fn lchown(path: *const c_char, _owner: uid_t, _group: gid_t) -> c_int {
        change("lchown", AT_FDCWD, path, Last::Keep)
    }
    fn fchownat(fd: c_int, path: *const c_char, _owner: uid_t, _group: gid_t, flags: c_int) -> c_int {
        change("chown", fd, path, last(flags))
    }
    fn fchown(fd: c_int, _owner: uid_t, _group: gid_t) -> c_int { change_open("fchown", fd) }

    @also(utimes)
    fn utime(path: *const c_char, _times: *const c_void) -> c_int { change("utime", AT_FDCWD, path, Last::Follow) }
    fn lutimes(path: *const c_char, _times: *const c_void) -> c_int { change("lutimes", AT_FDCWD, path, Last::Keep) }
    fn futimesat(fd: c_int, path: *const c_char, _times: *const c_void) -> c_int {
        change("futimesat", fd, path, Last::Follow)
    }
    fn utimensat(fd: c_int, path: *const c_char, _times: *const c_void, flags: c_int) -> c_int {
        if path.is_null() { change_open("utimensat", fd) } else { change("utimensat", fd, path, last(flags)) }
    }
    @also(futimes)
    fn futimens(fd: c_int, _times: *const c_void) -> c_int { change_open("futimens", fd) }

    @also(truncate64)
    fn truncate(path: *const c_char, bytes: off_t) -> c_int {
        if bytes < 0 {
            return answer_int(-i64::from(libc::EINVAL));
        }
        change("truncate", AT_FDCWD, path, Last::Follow)
    }
    @also(ftruncate64)
    fn ftruncate(fd: c_int, bytes: off_t) -> c_int {
        if bytes < 0 {
            return answer_int(-i64::from(libc::EINVAL)); // before the descriptor (fs/open.c, do_sys_ftruncate)
        }
        // ftruncate(2): EINVAL when the file is not open for writing.
        answer_int(call("ftruncate", |k, me| k.resize_open(me, fd, libc::EINVAL)))
    }
    @also(fallocate64)
    fn fallocate(fd: c_int, _mode: c_int, _offset: off_t, _bytes: off_t) -> c_int {
        // fallocate(2): EBADF when the file is not open for writing.
        answer_int(call("fallocate", |k, me| k.resize_open(me, fd, libc::EBADF)))
    }
    /// Answers the error itself, not -1 (posix_fallocate(3)).
    @also(posix_fallocate64)
    fn posix_fallocate(fd: c_int, _offset: off_t, _bytes: off_t) -> c_int {
        -call("posix_fallocate", |k, me| k.resize_open(me, fd, libc::EBADF)) as c_int
    }

    @also(fdatasync)
    fn fsync(fd: c_int) -> c_int { answer_int(call("fsync", |k, me| k.sync_open(me, fd))) }
    fn sync_file_range(fd: c_int, _offset: off_t, _bytes: off_t, _flags: c_uint) -> c_int {
        answer_int(call("sync_file_range", |k, me| k.sync_open(me, fd)))
    }
    fn syncfs(fd: c_int) -> c_int { answer_int(call("syncfs", |k, me| k.file(me, fd).map(|_| 0))) }
    fn sync() {}
}
