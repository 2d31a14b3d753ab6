//! Calls on files: by path, and on descriptors of files.

use super::{bits, bytes};
use crate::transcript::{Transcript, errno_name, outcome, record};
use libc::{AT_FDCWD, c_int, stat};
use std::ffi::{CStr, CString};

/// The user that scripts run as, and its group.
const OURS: u32 = 1000;

/// Flags of open(2) by name; the access mode is written apart.
const OPENING: [(u32, &str); 11] = [
    (libc::O_PATH as u32, "PATH"),
    (libc::O_TMPFILE as u32, "TMPFILE"),
    (libc::O_CREAT as u32, "CREAT"),
    (libc::O_EXCL as u32, "EXCL"),
    (libc::O_TRUNC as u32, "TRUNC"),
    (libc::O_APPEND as u32, "APPEND"),
    (libc::O_DIRECTORY as u32, "DIRECTORY"),
    (libc::O_NOFOLLOW as u32, "NOFOLLOW"),
    (libc::O_NONBLOCK as u32, "NONBLOCK"),
    (libc::O_CLOEXEC as u32, "CLOEXEC"),
    (libc::O_NOATIME as u32, "NOATIME"),
];
/// Modes of fallocate(2) by name.
const ALLOCATING: [(u32, &str); 5] = [
    (libc::FALLOC_FL_KEEP_SIZE as u32, "KEEP_SIZE"),
    (libc::FALLOC_FL_PUNCH_HOLE as u32, "PUNCH_HOLE"),
    (libc::FALLOC_FL_ZERO_RANGE as u32, "ZERO_RANGE"),
    (libc::FALLOC_FL_COLLAPSE_RANGE as u32, "COLLAPSE_RANGE"),
    (libc::FALLOC_FL_INSERT_RANGE as u32, "INSERT_RANGE"),
];
/// Flags of the `*at` calls by name.
const AT: [(u32, &str); 4] = [
    (libc::AT_SYMLINK_NOFOLLOW as u32, "SYMLINK_NOFOLLOW"),
    (libc::AT_SYMLINK_FOLLOW as u32, "SYMLINK_FOLLOW"),
    (libc::AT_REMOVEDIR as u32, "REMOVEDIR"),
    (libc::AT_EMPTY_PATH as u32, "EMPTY_PATH"),
];
/// Flags of renameat2(2) by name.
const RENAMING: [(u32, &str); 3] =
    [(libc::RENAME_NOREPLACE, "NOREPLACE"), (libc::RENAME_EXCHANGE, "EXCHANGE"), (libc::RENAME_WHITEOUT, "WHITEOUT")];
/// A path for libc.
pub fn c(path: &str) -> CString {
    CString::new(path).expect("no NUL in a path")
}

/// What fstat(2) says, without a line.
pub fn look_at(fd: c_int) -> Option<stat> {
    let mut found: stat = unsafe { std::mem::zeroed() };
    (unsafe { libc::fstat(fd, &mut found) } == 0).then_some(found)
}

/// Whether it is a directory, without a line.
pub fn is_directory(fd: c_int) -> bool {
    look_at(fd).is_some_and(|found| found.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

/// Makes a directory below `/tmp` and goes there, without a line.
pub fn enter_a_fresh_directory() {
    // First of all: an earlier sequence may have left a mask that closes the directory.
    unsafe { libc::umask(0o022) };
    let free = (0..10_000).find(|number| {
        let path = c(&format!("/tmp/{number}"));
        unsafe { libc::mkdir(path.as_ptr(), 0o755) == 0 && libc::chdir(path.as_ptr()) == 0 }
    });
    assert!(free.is_some(), "no name is free");
}

/// Where a `*at` call begins, in words.
fn from(directory: c_int) -> String {
    if directory == AT_FDCWD { "CWD".to_owned() } else { directory.to_string() }
}

pub(super) fn words(value: u32, names: &[(u32, &str)]) -> String {
    if value == 0 { "0".to_owned() } else { bits(value, names) }
}

fn opening(flags: c_int) -> String {
    let mode = ["RDONLY", "WRONLY", "RDWR", "mode 3"][flags as usize & 3];
    let rest = flags as u32 & !3;
    if rest == 0 { mode.to_owned() } else { format!("{mode}|{}", bits(rest, &OPENING)) }
}

/// A file's type.
fn kind(mode: u32) -> &'static str {
    match mode & libc::S_IFMT {
        libc::S_IFIFO => "pipe",
        libc::S_IFCHR => "character device",
        libc::S_IFDIR => "directory",
        libc::S_IFREG => "file",
        libc::S_IFSOCK => "socket",
        libc::S_IFLNK => "link",
        _ => "other",
    }
}

/// A time of utimensat(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    Now,
    Kept,
    At(i64, i64),
}

impl When {
    fn timespec(self) -> libc::timespec {
        let (tv_sec, tv_nsec) = match self {
            When::Now => (0, libc::UTIME_NOW),
            When::Kept => (0, libc::UTIME_OMIT),
            When::At(seconds, ns) => (seconds, ns),
        };
        libc::timespec { tv_sec, tv_nsec }
    }
}

/// What a lock of fcntl(2) is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stretch {
    /// `F_RDLCK`, `F_WRLCK`, `F_UNLCK`.
    pub kind: c_int,
    pub whence: c_int,
    pub start: i64,
    pub bytes: i64,
}

fn lock_name(kind: c_int) -> &'static str {
    match kind {
        libc::F_RDLCK => "RDLCK",
        libc::F_WRLCK => "WRLCK",
        libc::F_UNLCK => "UNLCK",
        _ => "no kind",
    }
}

impl Transcript {
    pub fn openat(&self, directory: c_int, path: &str, flags: c_int, mode: u32) -> c_int {
        let (at, name) = (c(path), opening(flags));
        let call = || unsafe { libc::openat(directory, at.as_ptr(), flags, mode) };
        if flags & libc::O_CREAT != 0 || flags & libc::O_TMPFILE == libc::O_TMPFILE {
            record!(self, call(), "openat({}, {path:?}, {name}, {mode:04o})", from(directory)) as c_int
        } else {
            record!(self, call(), "openat({}, {path:?}, {name})", from(directory)) as c_int
        }
    }

    pub fn open(&self, path: &str, flags: c_int) -> c_int {
        self.openat(AT_FDCWD, path, flags, 0o644)
    }

    /// A new file with this content, open for reading and writing.
    pub fn file(&self, path: &str, content: &[u8]) -> c_int {
        let fd = self.open(path, libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC);
        if !content.is_empty() {
            self.write(fd, content);
        }
        fd
    }

    /// Type, permissions, links, size and owner; sizes and blocks of directories are each file system's own. The inode
    /// has a name, so that it is seen which of them are one.
    fn shown(&self, found: &stat) -> String {
        let mode = found.st_mode & 0o7777;
        let mut text = format!(" {} {mode:04o}", kind(found.st_mode));
        text += &format!(" links {} {}", found.st_nlink, self.name("inode", found.st_ino));
        if found.st_mode & libc::S_IFMT == libc::S_IFREG || found.st_mode & libc::S_IFMT == libc::S_IFLNK {
            text += &format!(" size {}", found.st_size);
        }
        if found.st_mode & libc::S_IFMT == libc::S_IFREG {
            text += &format!(" blocks {}", found.st_blocks);
        }
        if (found.st_uid, found.st_gid) != (OURS, OURS) {
            text += &format!(" of {} and {}", found.st_uid, found.st_gid);
        }
        text
    }

    fn told(&self, call: std::fmt::Arguments<'_>, (result, errno): (i64, i32), found: stat) -> Option<stat> {
        let out = if result == 0 { self.shown(&found) } else { String::new() };
        self.returned(call, result, errno, &out);
        (result == 0).then_some(found)
    }

    pub fn fstatat(&self, directory: c_int, path: &str, flags: c_int) -> Option<stat> {
        let at = c(path);
        let mut found: stat = unsafe { std::mem::zeroed() };
        let came = outcome!(unsafe { libc::fstatat(directory, at.as_ptr(), &mut found, flags) });
        let text = words(flags as u32, &AT);
        self.told(format_args!("fstatat({}, {path:?}, {text})", from(directory)), came, found)
    }

    pub fn stat(&self, path: &str) -> Option<stat> {
        let at = c(path);
        let mut found: stat = unsafe { std::mem::zeroed() };
        let came = outcome!(unsafe { libc::stat(at.as_ptr(), &mut found) });
        self.told(format_args!("stat({path:?})"), came, found)
    }

    pub fn lstat(&self, path: &str) -> Option<stat> {
        let at = c(path);
        let mut found: stat = unsafe { std::mem::zeroed() };
        let came = outcome!(unsafe { libc::lstat(at.as_ptr(), &mut found) });
        self.told(format_args!("lstat({path:?})"), came, found)
    }

    /// fstat(2) with everything; [`Transcript::fstat`] tells the type only.
    pub fn fstat_all(&self, fd: c_int) -> Option<stat> {
        let mut found: stat = unsafe { std::mem::zeroed() };
        let came = outcome!(unsafe { libc::fstat(fd, &mut found) });
        self.told(format_args!("fstat({fd})"), came, found)
    }

    /// Says which times of a file have changed between two looks.
    pub fn times(&self, what: &str, before: Option<stat>, after: Option<stat>) {
        let (Some(before), Some(after)) = (before, after) else { return self.say(format_args!("{what}: not there")) };
        let one = |was: (i64, i64), is: (i64, i64)| match is.cmp(&was) {
            std::cmp::Ordering::Less => "earlier",
            std::cmp::Ordering::Equal => "same",
            std::cmp::Ordering::Greater => "later",
        };
        self.say(format_args!(
            "{what}: read {}, written {}, changed {}",
            one((before.st_atime, before.st_atime_nsec), (after.st_atime, after.st_atime_nsec)),
            one((before.st_mtime, before.st_mtime_nsec), (after.st_mtime, after.st_mtime_nsec)),
            one((before.st_ctime, before.st_ctime_nsec), (after.st_ctime, after.st_ctime_nsec)),
        ));
    }

    pub fn truncate(&self, path: &str, bytes: i64) -> c_int {
        let at = c(path);
        record!(self, unsafe { libc::truncate(at.as_ptr(), bytes) }, "truncate({path:?}, {bytes})") as c_int
    }

    pub fn fallocate(&self, fd: c_int, mode: c_int, offset: i64, bytes: i64) -> c_int {
        let text = words(mode as u32, &ALLOCATING);
        let call = || unsafe { libc::fallocate(fd, mode, offset, bytes) };
        record!(self, call(), "fallocate({fd}, {text}, {offset}, {bytes})") as c_int
    }

    pub fn fdatasync(&self, fd: c_int) -> c_int {
        record!(self, unsafe { libc::fdatasync(fd) }, "fdatasync({fd})") as c_int
    }

    pub fn mkdirat(&self, directory: c_int, path: &str, mode: u32) -> c_int {
        let at = c(path);
        let call = || unsafe { libc::mkdirat(directory, at.as_ptr(), mode) };
        record!(self, call(), "mkdirat({}, {path:?}, {mode:04o})", from(directory)) as c_int
    }

    pub fn mkdir(&self, path: &str) -> c_int {
        self.mkdirat(AT_FDCWD, path, 0o755)
    }

    pub fn unlinkat(&self, directory: c_int, path: &str, flags: c_int) -> c_int {
        let at = c(path);
        let text = words(flags as u32, &AT);
        let call = || unsafe { libc::unlinkat(directory, at.as_ptr(), flags) };
        record!(self, call(), "unlinkat({}, {path:?}, {text})", from(directory)) as c_int
    }

    pub fn unlink(&self, path: &str) -> c_int {
        let at = c(path);
        record!(self, unsafe { libc::unlink(at.as_ptr()) }, "unlink({path:?})") as c_int
    }

    pub fn rmdir(&self, path: &str) -> c_int {
        let at = c(path);
        record!(self, unsafe { libc::rmdir(at.as_ptr()) }, "rmdir({path:?})") as c_int
    }

    pub fn rename(&self, old: &str, new: &str) -> c_int {
        let (a, b) = (c(old), c(new));
        record!(self, unsafe { libc::rename(a.as_ptr(), b.as_ptr()) }, "rename({old:?}, {new:?})") as c_int
    }

    pub fn renameat2(&self, (from_fd, old): (c_int, &str), (to_fd, new): (c_int, &str), flags: u32) -> c_int {
        let (a, b) = (c(old), c(new));
        let text = (from(from_fd), from(to_fd), words(flags, &RENAMING));
        let call = || unsafe { libc::renameat2(from_fd, a.as_ptr(), to_fd, b.as_ptr(), flags) };
        record!(self, call(), "renameat2({}, {old:?}, {}, {new:?}, {})", text.0, text.1, text.2) as c_int
    }

    pub fn link(&self, old: &str, new: &str) -> c_int {
        let (a, b) = (c(old), c(new));
        record!(self, unsafe { libc::link(a.as_ptr(), b.as_ptr()) }, "link({old:?}, {new:?})") as c_int
    }

    pub fn linkat(&self, (from_fd, old): (c_int, &str), (to_fd, new): (c_int, &str), flags: c_int) -> c_int {
        let (a, b) = (c(old), c(new));
        let text = (from(from_fd), from(to_fd), words(flags as u32, &AT));
        let call = || unsafe { libc::linkat(from_fd, a.as_ptr(), to_fd, b.as_ptr(), flags) };
        record!(self, call(), "linkat({}, {old:?}, {}, {new:?}, {})", text.0, text.1, text.2) as c_int
    }

    pub fn symlink(&self, target: &str, path: &str) -> c_int {
        let (a, b) = (c(target), c(path));
        record!(self, unsafe { libc::symlink(a.as_ptr(), b.as_ptr()) }, "symlink({target:?}, {path:?})") as c_int
    }

    fn link_read(&self, call: std::fmt::Arguments<'_>, (result, errno): (i64, i32), buffer: &[u8]) {
        let target = &buffer[..usize::try_from(result).unwrap_or(0)];
        self.returned(call, result, errno, &format!(" {:?}", String::from_utf8_lossy(target)));
    }

    pub fn readlinkat(&self, directory: c_int, path: &str, room: usize) {
        let (at, mut buffer) = (c(path), vec![0u8; room.max(1)]);
        let came = outcome!(unsafe { libc::readlinkat(directory, at.as_ptr(), buffer.as_mut_ptr().cast(), room) });
        self.link_read(format_args!("readlinkat({}, {path:?}, {room})", from(directory)), came, &buffer);
    }

    pub fn readlink(&self, path: &str) {
        self.readlinkat(AT_FDCWD, path, 256);
    }

    /// The link in `/proc/self/fd`.
    pub fn name_of(&self, fd: c_int) {
        let (at, mut buffer) = (c(&format!("/proc/self/fd/{fd}")), [0u8; 256]);
        let (result, errno) = outcome!(unsafe { libc::readlink(at.as_ptr(), buffer.as_mut_ptr().cast(), 256) });
        let target = String::from_utf8_lossy(&buffer[..usize::try_from(result).unwrap_or(0)]).into_owned();
        let target = self.with_name_of_unnamed(&target);
        self.returned(format_args!("readlink(/proc/self/fd/{fd})"), result.min(0), errno, &format!(" {target:?}"));
    }

    /// Of a file that has never had a name, the number of its inode is the name.
    pub(super) fn with_name_of_unnamed(&self, path: &str) -> String {
        let number = |rest: &str| rest.split(' ').next().and_then(|number| number.parse().ok());
        match path.rsplit_once('#').and_then(|(above, rest)| Some((above, number(rest)?))) {
            Some((above, number)) => format!("{above}#{}", self.name("inode", number)),
            None => path.to_owned(),
        }
    }

    pub fn realpath(&self, path: &str) {
        let (at, mut buffer) = (c(path), [0u8; 4096]);
        let (found, errno) = outcome!(unsafe { libc::realpath(at.as_ptr(), buffer.as_mut_ptr().cast()) } as usize);
        let real = CStr::from_bytes_until_nul(&buffer).unwrap_or_default().to_string_lossy().into_owned();
        let real = if found == 0 { errno_name(errno) } else { format!("{real:?}") };
        self.say(format_args!("realpath({path:?}) = {real}"));
    }

    pub fn fchmodat(&self, directory: c_int, path: &str, mode: u32) -> c_int {
        let at = c(path);
        let call = || unsafe { libc::fchmodat(directory, at.as_ptr(), mode, 0) };
        record!(self, call(), "fchmodat({}, {path:?}, {mode:04o})", from(directory)) as c_int
    }

    pub fn chmod(&self, path: &str, mode: u32) -> c_int {
        let at = c(path);
        record!(self, unsafe { libc::chmod(at.as_ptr(), mode) }, "chmod({path:?}, {mode:04o})") as c_int
    }

    pub fn fchmod(&self, fd: c_int, mode: u32) -> c_int {
        record!(self, unsafe { libc::fchmod(fd, mode) }, "fchmod({fd}, {mode:04o})") as c_int
    }

    /// chown(2), and lchown(2) for `AT_SYMLINK_NOFOLLOW`; -1 leaves what is there.
    pub fn chown(&self, path: &str, user: i32, group: i32, flags: c_int) -> c_int {
        let (at, text) = (c(path), words(flags as u32, &AT));
        let call = || unsafe { libc::fchownat(AT_FDCWD, at.as_ptr(), user as u32, group as u32, flags) };
        record!(self, call(), "fchownat(CWD, {path:?}, {user}, {group}, {text})") as c_int
    }

    pub fn fchown(&self, fd: c_int, user: i32, group: i32) -> c_int {
        record!(self, unsafe { libc::fchown(fd, user as u32, group as u32) }, "fchown({fd}, {user}, {group})") as c_int
    }

    pub fn utimensat(&self, path: &str, read: When, written: When, flags: c_int) -> c_int {
        let (at, times) = (c(path), [read.timespec(), written.timespec()]);
        let call = || unsafe { libc::utimensat(AT_FDCWD, at.as_ptr(), times.as_ptr(), flags) };
        let text = words(flags as u32, &AT);
        record!(self, call(), "utimensat(CWD, {path:?}, {read:?}, {written:?}, {text})") as c_int
    }

    pub fn futimens(&self, fd: c_int, read: When, written: When) -> c_int {
        let times = [read.timespec(), written.timespec()];
        let call = || unsafe { libc::futimens(fd, times.as_ptr()) };
        record!(self, call(), "futimens({fd}, {read:?}, {written:?})") as c_int
    }

    pub fn access(&self, path: &str, mode: c_int) -> c_int {
        let at = c(path);
        record!(self, unsafe { libc::access(at.as_ptr(), mode) }, "access({path:?}, {mode})") as c_int
    }

    pub fn umask(&self, mask: u32) {
        let before = unsafe { libc::umask(mask) };
        self.say(format_args!("umask({mask:03o}) = {before:03o}"));
    }

    pub fn flock(&self, fd: c_int, operation: c_int) -> c_int {
        let names = [(libc::LOCK_SH, "SH"), (libc::LOCK_EX, "EX"), (libc::LOCK_UN, "UN"), (libc::LOCK_NB, "NB")];
        let text = words(operation as u32, &names.map(|(bit, name)| (bit as u32, name)));
        record!(self, unsafe { libc::flock(fd, operation) }, "flock({fd}, {text})") as c_int
    }

    /// A lock of fcntl(2), and for a question what stands in its way and whose that is.
    pub fn lock(&self, fd: c_int, (name, command): (&str, c_int), asked: Stretch) -> c_int {
        let mut lock: libc::flock = unsafe { std::mem::zeroed() };
        (lock.l_type, lock.l_whence) = (asked.kind as i16, asked.whence as i16);
        (lock.l_start, lock.l_len) = (asked.start, asked.bytes);
        let (result, errno) = outcome!(unsafe { libc::fcntl(fd, command, &raw mut lock) });
        let out = if matches!(command, libc::F_GETLK | libc::F_OFD_GETLK) {
            let whose = match lock.l_pid {
                -1 => "a file's".to_owned(),
                0 => "nobody's".to_owned(),
                pid if pid == unsafe { libc::getpid() } => "ours".to_owned(),
                pid => pid.to_string(),
            };
            let kind = lock_name(c_int::from(lock.l_type));
            format!(" {kind} whence {} {}+{} {whose}", lock.l_whence, lock.l_start, lock.l_len)
        } else {
            String::new()
        };
        let text = format!("{} whence {} {}+{}", lock_name(asked.kind), asked.whence, asked.start, asked.bytes);
        self.returned(format_args!("fcntl({fd}, {name}, {text})"), result, errno, &out);
        result as c_int
    }

    /// What a directory stream gives, by name: the order is each file system's own.
    pub fn readdir(&self, path: &str) {
        let at = c(path);
        let (stream, errno) = outcome!(unsafe { libc::opendir(at.as_ptr()) } as usize);
        if stream == 0 {
            return self.say(format_args!("opendir({path:?}) = {}", errno_name(errno)));
        }
        let stream = stream as *mut libc::DIR;
        let mut names = Vec::new();
        unsafe {
            loop {
                *libc::__errno_location() = 0;
                let entry = libc::readdir64(stream);
                if entry.is_null() {
                    break;
                }
                names.push(entry_shown(entry));
            }
            let errno = *libc::__errno_location();
            libc::closedir(stream);
            names.sort();
            let end = if errno == 0 { String::new() } else { format!(", then {}", errno_name(errno)) };
            self.say(format_args!("readdir({path:?}) = {}{end}", names.join(" ")));
        }
    }

    /// getdents64(2): the names, sorted.
    pub fn getdents(&self, fd: c_int, room: usize) -> i64 {
        let mut room_for = vec![0u64; room.div_ceil(8).max(1)];
        let (result, errno) = outcome!(unsafe { libc::syscall(libc::SYS_getdents64, fd, room_for.as_mut_ptr(), room) });
        if result < 0 {
            self.returned(format_args!("getdents64({fd}, {room})"), result, errno, "");
            return result;
        }
        let (mut at, mut names) = (0, Vec::new());
        while at < result as usize {
            // SAFETY: records begin where the one before ends, aligned to eight bytes.
            unsafe {
                let entry = room_for.as_ptr().cast::<u8>().add(at).cast::<libc::dirent64>();
                names.push(entry_shown(entry));
                at += usize::from((*entry).d_reclen);
            }
        }
        names.sort();
        self.say(format_args!("getdents64({fd}, {room}) = {}", names.join(" ")));
        result
    }

    pub fn chdir(&self, path: &str) -> c_int {
        let at = c(path);
        record!(self, unsafe { libc::chdir(at.as_ptr()) }, "chdir({path:?})") as c_int
    }

    pub fn fchdir(&self, fd: c_int) -> c_int {
        record!(self, unsafe { libc::fchdir(fd) }, "fchdir({fd})") as c_int
    }

    pub fn getcwd(&self) {
        let mut buffer = [0u8; 4096];
        let (found, errno) = outcome!(unsafe { libc::getcwd(buffer.as_mut_ptr().cast(), 4096) } as usize);
        let path = CStr::from_bytes_until_nul(&buffer).unwrap_or_default().to_string_lossy().into_owned();
        let path = if found == 0 { errno_name(errno) } else { format!("{path:?}") };
        self.say(format_args!("getcwd() = {path}"));
    }

    /// sendfile(2), from an offset or from the file's own.
    pub fn sendfile(&self, to: c_int, from: c_int, offset: Option<i64>, bytes: usize) -> i64 {
        let mut at = offset.unwrap_or(0);
        let pointer = if offset.is_some() { &raw mut at } else { std::ptr::null_mut() };
        let (result, errno) = outcome!(unsafe { libc::sendfile(to, from, pointer, bytes) });
        let out = if offset.is_some() { format!(", offset {at}") } else { String::new() };
        self.returned(format_args!("sendfile({to}, {from}, {offset:?}, {bytes})"), result, errno, &out);
        result
    }

    /// copy_file_range(2), from the beginning to the beginning.
    pub fn copy_file_range(&self, from: c_int, to: c_int, bytes: usize) -> i64 {
        let (mut at, mut there) = (0i64, 0i64);
        let mut call = || unsafe { libc::copy_file_range(from, &raw mut at, to, &raw mut there, bytes, 0) };
        let (result, errno) = outcome!(call());
        self.returned(format_args!("copy_file_range({from}, {to}, {bytes})"), result, errno, "");
        result
    }

    /// mmap(2) of a file: the address, or null.
    pub fn mmap(&self, fd: c_int, bytes: usize, protection: c_int, flags: c_int, offset: i64) -> *mut u8 {
        let call = || unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, fd, offset) };
        let (address, errno) = outcome!(call());
        let failed = address == libc::MAP_FAILED as i64;
        let text = words(protection as u32, &[(1, "READ"), (2, "WRITE"), (4, "EXEC")]);
        let sharing = words(flags as u32, &[(3, "SHARED_VALIDATE"), (1, "SHARED"), (2, "PRIVATE")]);
        let result = if failed { -1 } else { 0 };
        self.returned(format_args!("mmap({bytes}, {text}, {sharing}, {fd}, {offset})"), result, errno, "");
        if failed { std::ptr::null_mut() } else { address as *mut u8 }
    }

    pub fn msync(&self, address: *mut u8, bytes: usize, flags: c_int) -> c_int {
        let text = words(flags as u32, &[(1, "ASYNC"), (2, "INVALIDATE"), (4, "SYNC")]);
        record!(self, unsafe { libc::msync(address.cast(), bytes, flags) }, "msync({bytes}, {text})") as c_int
    }

    pub fn munmap(&self, address: *mut u8, bytes: usize) -> c_int {
        record!(self, unsafe { libc::munmap(address.cast(), bytes) }, "munmap({bytes})") as c_int
    }

    /// What memory that a file is mapped to shows.
    pub fn memory(&self, address: *mut u8, from: usize, count: usize) {
        if !address.is_null() {
            let content = unsafe { std::slice::from_raw_parts(address.add(from), count) };
            self.say(format_args!("memory at {from}:{}", bytes(content)));
        }
    }

    pub fn set_memory(&self, address: *mut u8, at: usize, content: &[u8]) {
        if !address.is_null() {
            unsafe { std::ptr::copy_nonoverlapping(content.as_ptr(), address.add(at), content.len()) };
            self.say(format_args!("memory at {at} becomes{}", bytes(content)));
        }
    }

    /// posix_fadvise(3) answers the error itself.
    pub fn advise(&self, fd: c_int) {
        let error = unsafe { libc::posix_fadvise(fd, 0, 0, libc::POSIX_FADV_SEQUENTIAL) };
        let text = if error == 0 { "0".to_owned() } else { errno_name(error) };
        self.say(format_args!("posix_fadvise({fd}) = {text}"));
    }

    pub fn readahead(&self, fd: c_int) -> c_int {
        record!(self, unsafe { libc::readahead(fd, 0, 10) }, "readahead({fd}, 0, 10)") as c_int
    }

    pub fn sync_file_range(&self, fd: c_int) -> c_int {
        record!(self, unsafe { libc::sync_file_range(fd, 0, 10, 2) }, "sync_file_range({fd}, 0, 10, WRITE)") as c_int
    }

    pub fn syncfs(&self, fd: c_int) -> c_int {
        record!(self, unsafe { libc::syncfs(fd) }, "syncfs({fd})") as c_int
    }
}

/// An entry of a directory as it is written down: name and type.
unsafe fn entry_shown(entry: *const libc::dirent64) -> String {
    // SAFETY: the name ends with a NUL, within the record, which is shorter than the type.
    let (name, d_type) = unsafe { (CStr::from_ptr((&raw const (*entry).d_name).cast()), (*entry).d_type) };
    format!("{}:{}", name.to_string_lossy(), kind(u32::from(d_type) << 12))
}
