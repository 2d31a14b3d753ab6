//! What is asked of file systems rather than files: statfs(2), xattr(7), inotify(7), mount(2); and sysinfo(2).

use super::file::call_at;
use super::{answer, answer_int, call, hooks, look, refuse};
use crate::kernel::machine::{Last, Volume};
use crate::kernel::{Kernel, Stop, ThreadId};
use libc::{AT_FDCWD, c_char, c_int, c_ulong, c_void};

const BLOCK_BYTES: u64 = 4096;
const NAME_BYTES: u64 = 255;

/// `f_flags` and `f_flag`.
fn mount_flags(found: Volume) -> u64 {
    if found.read_only { libc::ST_RDONLY | libc::ST_RELATIME } else { libc::ST_RELATIME }
}

unsafe fn put_statfs(out: *mut libc::statfs, found: Volume) {
    // SAFETY: the caller's struct, which is plain numbers.
    unsafe {
        std::ptr::write_bytes(out, 0, 1);
        let out = &mut *out;
        out.f_type = found.kind.magic() as libc::__fsword_t;
        out.f_bsize = BLOCK_BYTES as libc::__fsword_t;
        out.f_frsize = BLOCK_BYTES as libc::__fsword_t;
        out.f_namelen = NAME_BYTES as libc::__fsword_t;
        // `f_flags`, which the libc crate counts among the spare words behind `f_frsize`.
        (&raw mut out.f_frsize).add(1).write(mount_flags(found) as libc::__fsword_t);
        (out.f_blocks, out.f_bfree, out.f_bavail) = (found.blocks[0], found.blocks[1], found.blocks[1]);
        (out.f_files, out.f_ffree) = (found.inodes[0], found.inodes[1]);
    }
}

unsafe fn put_statvfs(out: *mut libc::statvfs, found: Volume) {
    // SAFETY: as above.
    unsafe {
        std::ptr::write_bytes(out, 0, 1);
        let out = &mut *out;
        (out.f_bsize, out.f_frsize) = (BLOCK_BYTES, BLOCK_BYTES);
        (out.f_namemax, out.f_flag) = (NAME_BYTES, mount_flags(found));
        (out.f_blocks, out.f_bfree, out.f_bavail) = (found.blocks[0], found.blocks[1], found.blocks[1]);
        (out.f_files, out.f_ffree, out.f_favail) = (found.inodes[0], found.inodes[1], found.inodes[1]);
    }
}

/// Extended attributes: a file system without them (xattr(7)), for paths and descriptors that exist.
unsafe fn no_attributes(name: &'static str, path: *const c_char, last: Last) -> i64 {
    // SAFETY: the caller's path.
    answer(unsafe { call_at(name, AT_FDCWD, path, |k, me, at| unsupported(k.must_exist(me, at, last))) })
}

fn unsupported(exists: Result<i64, Stop>) -> Result<i64, Stop> {
    exists.and(Err(Stop::Errno(libc::ENOTSUP)))
}

fn no_attributes_of(name: &'static str, fd: c_int) -> i64 {
    answer(call(name, |k, me| unsupported(k.file(me, fd).map(|_| 0))))
}

fn privileged() -> c_int {
    answer_int(-i64::from(libc::EPERM))
}

hooks! {
    filesystem;

    @also(statfs64)
    fn statfs(path: *const c_char, out: *mut libc::statfs) -> c_int {
        answer_int(call_at("statfs", AT_FDCWD, path, |k, me, at| {
            put_statfs(out, k.file_system(me, at)?);
            Ok(0)
        }))
    }
    @also(fstatfs64)
    fn fstatfs(fd: c_int, out: *mut libc::statfs) -> c_int {
        answer_int(call("fstatfs", |k, me| {
            put_statfs(out, k.file_system_of(me, fd)?);
            Ok(0)
        }))
    }
    @also(statvfs64)
    fn statvfs(path: *const c_char, out: *mut libc::statvfs) -> c_int {
        answer_int(call_at("statvfs", AT_FDCWD, path, |k, me, at| {
            put_statvfs(out, k.file_system(me, at)?);
            Ok(0)
        }))
    }
    @also(fstatvfs64)
    fn fstatvfs(fd: c_int, out: *mut libc::statvfs) -> c_int {
        answer_int(call("fstatvfs", |k, me| {
            put_statvfs(out, k.file_system_of(me, fd)?);
            Ok(0)
        }))
    }

    fn getxattr(path: *const c_char, _name: *const c_char, _value: *mut c_void, _room: usize) -> isize {
        no_attributes("getxattr", path, Last::Follow) as isize
    }
    fn lgetxattr(path: *const c_char, _name: *const c_char, _value: *mut c_void, _room: usize) -> isize {
        no_attributes("lgetxattr", path, Last::Keep) as isize
    }
    fn fgetxattr(fd: c_int, _name: *const c_char, _value: *mut c_void, _room: usize) -> isize {
        no_attributes_of("fgetxattr", fd) as isize
    }
    fn listxattr(path: *const c_char, _list: *mut c_char, _room: usize) -> isize {
        no_attributes("listxattr", path, Last::Follow) as isize
    }
    fn llistxattr(path: *const c_char, _list: *mut c_char, _room: usize) -> isize {
        no_attributes("llistxattr", path, Last::Keep) as isize
    }
    fn flistxattr(fd: c_int, _list: *mut c_char, _room: usize) -> isize {
        no_attributes_of("flistxattr", fd) as isize
    }
    @real(asks())
    fn setxattr(path: *const c_char, _name: *const c_char, _value: *const c_void, _n: usize, _flags: c_int) -> c_int {
        no_attributes("setxattr", path, Last::Follow) as c_int
    }
    @real(asks())
    fn lsetxattr(path: *const c_char, _name: *const c_char, _value: *const c_void, _n: usize, _flags: c_int) -> c_int {
        no_attributes("lsetxattr", path, Last::Keep) as c_int
    }
    @real(asks())
    fn fsetxattr(fd: c_int, _name: *const c_char, _value: *const c_void, _n: usize, _flags: c_int) -> c_int {
        no_attributes_of("fsetxattr", fd) as c_int
    }
    fn removexattr(path: *const c_char, _name: *const c_char) -> c_int {
        no_attributes("removexattr", path, Last::Follow) as c_int
    }
    fn lremovexattr(path: *const c_char, _name: *const c_char) -> c_int {
        no_attributes("lremovexattr", path, Last::Keep) as c_int
    }
    fn fremovexattr(fd: c_int, _name: *const c_char) -> c_int { no_attributes_of("fremovexattr", fd) as c_int }

    @real(asks())
    fn inotify_init() -> c_int { answer_int(call("inotify_init", |k, me| k.inotify(me, 0))) }
    @real(asks())
    fn inotify_init1(flags: c_int) -> c_int { answer_int(call("inotify_init", |k, me| k.inotify(me, flags))) }
    fn inotify_add_watch(fd: c_int, path: *const c_char, mask: u32) -> c_int {
        answer_int(call_at("inotify_add_watch", AT_FDCWD, path, |k, me, at| k.inotify_add(me, fd, at, mask)))
    }
    fn inotify_rm_watch(fd: c_int, watch: c_int) -> c_int {
        answer_int(call("inotify_rm_watch", |k, me| k.inotify_remove(me, fd, watch)))
    }
    fn fanotify_init(_flags: u32, _event_flags: u32) -> c_int { privileged() }
    fn fanotify_mark(_fd: c_int, _flags: u32, _mask: u64, _at: c_int, _path: *const c_char) -> c_int { privileged() }

    fn chroot(_path: *const c_char) -> c_int { privileged() }
    fn mount(_s: *const c_char, _t: *const c_char, _k: *const c_char, _f: c_ulong, _d: *const c_void) -> c_int {
        privileged()
    }
    fn umount(_target: *const c_char) -> c_int { privileged() }
    fn umount2(_target: *const c_char, _flags: c_int) -> c_int { privileged() }
    fn swapon(_path: *const c_char, _flags: c_int) -> c_int { privileged() }
    fn acct(_path: *const c_char) -> c_int { privileged() }
    fn name_to_handle_at(_fd: c_int, _path: *const c_char, _handle: usize, _id: usize, _flags: c_int) -> c_int {
        answer_int(-i64::from(libc::EOPNOTSUPP))
    }
    fn quotactl(_command: c_int, _special: *const c_char, _id: c_int, _address: usize) -> c_int {
        refuse("quotactl", "simulated hosts have no quotas") as c_int
    }

    fn sysinfo(out: *mut libc::sysinfo) -> c_int {
        let (mut facts, mut memory) = ((0, 0), (0, 0));
        look("sysinfo", |k: &mut Kernel, me: ThreadId| {
            facts = (k.uptime_seconds(me), k.processes[k.threads[me].process].threads.len());
            memory = k.memory_of(me);
            Ok(0)
        });
        std::ptr::write_bytes(out, 0, 1);
        let out = &mut *out;
        out.uptime = facts.0 as libc::c_long;
        // The sizes of `/proc/meminfo` and of sysconf(3).
        (out.totalram, out.freeram, out.bufferram) = (memory.0, memory.1, memory.0 / 32);
        (out.procs, out.mem_unit) = (facts.1 as u16, 1);
        0
    }
}

/// System calls about files that programs make by number; `None` for any other number.
pub(super) unsafe fn by_number(number: libc::c_long, a: [usize; 6]) -> Option<libc::c_long> {
    use libc::*;
    let (first, path, second_path) = (a[0] as c_int, a[0] as *const c_char, a[1] as *const c_char);
    // SAFETY: the arguments are those of the named call, which the caller promises to be right.
    Some(unsafe {
        match number {
            libc::SYS_open => c_long::from(open(path, a[1] as c_int, a[2] as c_uint)),
            libc::SYS_openat => c_long::from(openat(first, second_path, a[2] as c_int, a[3] as c_uint)),
            libc::SYS_lseek => lseek(first, a[1] as off_t, a[2] as c_int),
            libc::SYS_pwrite64 => pwrite(first, a[1] as *const c_void, a[2], a[3] as off_t) as c_long,
            libc::SYS_ftruncate => c_long::from(ftruncate(first, a[1] as off_t)),
            libc::SYS_fallocate => c_long::from(fallocate(first, a[1] as c_int, a[2] as off_t, a[3] as off_t)),
            libc::SYS_flock => c_long::from(flock(first, a[1] as c_int)),
            libc::SYS_mkdir => c_long::from(mkdir(path, a[1] as mode_t)),
            libc::SYS_mkdirat => c_long::from(mkdirat(first, second_path, a[2] as mode_t)),
            libc::SYS_rmdir => c_long::from(rmdir(path)),
            libc::SYS_unlink => c_long::from(unlink(path)),
            libc::SYS_unlinkat => c_long::from(unlinkat(first, second_path, a[2] as c_int)),
            libc::SYS_rename => c_long::from(rename(path, second_path)),
            libc::SYS_syncfs => c_long::from(syncfs(first)),
            libc::SYS_pread64 => pread(first, a[1] as *mut c_void, a[2], a[3] as off_t) as c_long,
            libc::SYS_access => c_long::from(access(path, a[1] as c_int)),
            libc::SYS_faccessat => c_long::from(faccessat(first, second_path, a[2] as c_int, 0)),
            libc::SYS_faccessat2 => c_long::from(faccessat(first, second_path, a[2] as c_int, a[3] as c_int)),
            libc::SYS_stat => c_long::from(stat(path, a[1] as *mut libc::stat)),
            libc::SYS_lstat => c_long::from(lstat(path, a[1] as *mut libc::stat)),
            libc::SYS_fstat => c_long::from(fstat(first, a[1] as *mut libc::stat)),
            libc::SYS_newfstatat => c_long::from(fstatat(first, second_path, a[2] as *mut libc::stat, a[3] as c_int)),
            libc::SYS_readlink => readlink(path, a[1] as *mut c_char, a[2]) as c_long,
            libc::SYS_readlinkat => readlinkat(first, second_path, a[2] as *mut c_char, a[3]) as c_long,
            libc::SYS_getdents64 => super::directory::getdents64(first, a[1] as *mut c_void, a[2]),
            libc::SYS_mmap => {
                mmap(a[0] as *mut c_void, a[1], a[2] as c_int, a[3] as c_int, a[4] as c_int, a[5] as off_t) as c_long
            }
            libc::SYS_renameat2 => {
                c_long::from(renameat2(first, second_path, a[2] as c_int, a[3] as *const c_char, a[4] as u32))
            }
            libc::SYS_memfd_create => c_long::from(memfd_create(path, a[1] as c_uint)),
            libc::SYS_fsync => c_long::from(fsync(first)),
            libc::SYS_fdatasync => c_long::from(fdatasync(first)),
            _ => return None,
        }
    })
}
