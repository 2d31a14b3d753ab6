//! Running a sequence of calls on files.

use super::files::{Op, PATHS, TARGETS};
use crate::calls::files::{Stretch, When, c, enter_a_fresh_directory, is_directory, look_at};
use crate::calls::readiness::ALL;
use crate::differences::linux_version;
use crate::transcript::Transcript;
use libc::{AT_FDCWD, c_int};
use std::collections::{BTreeMap, BTreeSet};

/// Descriptors that a sequence may have open.
const OPEN_MAX: usize = 16;
/// Since this Linux each change of a file that somebody has looked at has a time of its own (multigrain timestamps);
/// before, what happens within one tick is not told apart.
const FINE_TIMES_SINCE: (u32, u32) = (6, 13);
const PAGE_BYTES: usize = 4096;

const LOCKS: [(&str, c_int); 4] = [
    ("F_SETLK", libc::F_SETLK),
    ("F_GETLK", libc::F_GETLK),
    ("F_OFD_SETLK", libc::F_OFD_SETLK),
    ("F_OFD_GETLK", libc::F_OFD_GETLK),
];

/// Runs a sequence in a directory of its own, and closes what it has left open.
pub fn run(ops: &[Op], t: &Transcript) {
    t.forget_names();
    enter_a_deep_directory();
    let mut open = Open {
        t,
        fds: Vec::new(),
        watchers: Vec::new(),
        seen: BTreeMap::new(),
        allocated: BTreeSet::new(),
        written: 0,
        times: linux_version() >= FINE_TIMES_SINCE,
    };
    for op in ops {
        open.step(*op);
    }
    t.close_all();
}

/// Without a line; `..` leads out of it and stays below `/tmp`.
fn enter_a_deep_directory() {
    enter_a_fresh_directory();
    for _ in 0..3 {
        // SAFETY: C strings.
        unsafe {
            libc::mkdir(c"base".as_ptr(), 0o755);
            libc::chdir(c"base".as_ptr());
        }
    }
}

struct Open<'a> {
    t: &'a Transcript,
    /// In the order of opening.
    fds: Vec<c_int>,
    /// The inotifies among them.
    watchers: Vec<c_int>,
    /// When each inode was written and changed, when it was last looked at.
    seen: BTreeMap<u64, [(i64, i64); 2]>,
    /// Inodes that fallocate(2) was called for.
    allocated: BTreeSet<u64>,
    /// Counts bytes, so that each has its own value.
    written: u8,
    /// Whether times are looked at.
    times: bool,
}

fn path(number: usize) -> &'static str {
    PATHS[number % PATHS.len()]
}

/// Times of utimensat(2), by number.
fn times(number: u32) -> (When, When) {
    match number {
        0 => (When::Now, When::Now),
        1 => (When::At(1000, 5), When::At(2000, 6)),
        2 => (When::Kept, When::At(3000, 0)),
        3 => (When::Kept, When::Kept),
        _ => (When::Now, When::At(1, 1_000_000_000)),
    }
}

impl Open<'_> {
    fn fd(&self, place: usize) -> c_int {
        // Without any, something that is not open.
        if self.fds.is_empty() { 50 } else { self.fds[place % self.fds.len()] }
    }

    fn watcher(&self, place: usize) -> c_int {
        if self.watchers.is_empty() { self.fd(place) } else { self.watchers[place % self.watchers.len()] }
    }

    fn is_full(&self) -> bool {
        self.fds.len() >= OPEN_MAX
    }

    fn add(&mut self, fd: c_int) {
        if fd >= 0 && !self.fds.contains(&fd) {
            self.fds.push(fd);
        }
    }

    /// `new` is now what `old` is.
    fn copied(&mut self, old: c_int, new: c_int) {
        if self.watchers.contains(&old) && !self.watchers.contains(&new) && new >= 0 {
            self.watchers.push(new);
        }
        self.add(new);
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let first = self.written;
        self.written = self.written.wrapping_add(count as u8);
        (0..count).map(|i| b'a' + (first.wrapping_add(i as u8) % 26)).collect()
    }

    /// Says which times of an inode have changed since it was last looked at. Not of a directory: tmpfs stamps it with
    /// the time of what is removed from it, on which nobody may have looked (mm/shmem.c, shmem_unlink).
    fn look(&mut self, found: Option<libc::stat>) {
        let Some(found) = found else { return };
        let now = [(found.st_mtime, found.st_mtime_nsec), (found.st_ctime, found.st_ctime_nsec)];
        let before = self.seen.insert(found.st_ino, now).filter(|_| found.st_mode & libc::S_IFMT != libc::S_IFDIR);
        if let (true, Some(before)) = (self.times, before) {
            let word = |at: usize| if before[at] == now[at] { "same" } else { "other" };
            self.t.say(format_args!("  written {}, changed {}", word(0), word(1)));
        }
        self.t.settle();
    }

    fn step(&mut self, op: Op) {
        let t = self.t;
        match op {
            Op::Open(at, flags, mode) => {
                if !self.is_full() {
                    self.add(t.openat(AT_FDCWD, path(at), flags, mode));
                }
            }
            Op::OpenAt(place, at, flags) => {
                if !self.is_full() {
                    self.add(t.openat(self.fd(place), path(at), flags, 0o640));
                }
            }
            Op::Unnamed(at, flags) => {
                if !self.is_full() {
                    self.add(t.openat(AT_FDCWD, path(at), flags | libc::O_TMPFILE, 0o644));
                }
            }
            Op::Close(place) => {
                let fd = self.fd(place);
                t.close(fd);
                self.fds.retain(|open| *open != fd);
                self.watchers.retain(|open| *open != fd);
            }
            Op::Dup(place) => {
                if !self.is_full() {
                    let old = self.fd(place);
                    self.copied(old, t.dup(old));
                }
            }
            Op::Dup2(from, over) => {
                let (old, new) = (self.fd(from), self.fd(over));
                if !self.watchers.contains(&new) {
                    self.copied(old, t.dup2(old, new));
                }
            }
            Op::Umask(mask) => t.umask(mask),
            other => self.content_step(other),
        }
    }

    /// Calls about what is in files.
    fn content_step(&mut self, op: Op) {
        let t = self.t;
        match op {
            Op::Read(place, room) => {
                let fd = self.fd(place);
                if !self.watchers.contains(&fd) {
                    t.read(fd, room);
                }
            }
            Op::Pread(place, room, offset) => {
                t.pread(self.fd(place), room, offset);
            }
            Op::Write(place, count) => {
                let content = self.bytes(count);
                t.write(self.fd(place), &content);
            }
            Op::Pwrite(place, count, offset) => {
                let content = self.bytes(count);
                t.pwrite(self.fd(place), &content, offset);
            }
            Op::Seek(place, offset, whence) => self.seek(place, offset, whence),
            Op::Truncate(at, bytes) => {
                // tmpfs takes no notice where nothing is given back (mm/shmem.c, shmem_setattr); ext4 does.
                if !is_empty(path(at)) {
                    t.truncate(path(at), bytes);
                }
            }
            Op::TruncateOpen(place, bytes) => {
                t.ftruncate(self.fd(place), bytes);
            }
            Op::Allocate(place, mode, offset, bytes) => {
                let fd = self.fd(place);
                self.allocated.extend(inode(fd));
                t.fallocate(fd, mode, offset, bytes);
            }
            Op::Send(to, from, offset, count) => {
                let (to, from) = (self.fd(to), self.fd(from));
                // What a file sends to itself depends on the pages that are under way.
                if inode(to) != inode(from) {
                    t.sendfile(to, from, offset, count);
                }
            }
            Op::MapWrite(place, count, shared) => self.map_write(self.fd(place), count, shared),
            Op::MapRead(place, shared) => self.map_read(self.fd(place), shared),
            Op::Sync(place) => {
                t.fsync(self.fd(place));
            }
            Op::SyncData(place) => {
                t.fdatasync(self.fd(place));
            }
            other => self.look_step(other),
        }
    }

    /// Questions.
    fn look_step(&mut self, op: Op) {
        let t = self.t;
        match op {
            Op::Stat(at) => self.look(t.stat(path(at))),
            Op::LinkStat(at) => self.look(t.lstat(path(at))),
            Op::OpenStat(place) => self.open_stat(place),
            Op::StatAt(place, at, flags) => {
                let fd = self.fd(place);
                if !self.watchers.contains(&fd) {
                    self.look(t.fstatat(fd, path(at), flags));
                }
            }
            Op::Available(place) => {
                t.ioctl_get(self.fd(place), "FIONREAD", libc::FIONREAD);
            }
            Op::Poll(place) => {
                t.poll(self.fd(place), ALL, 0);
            }
            Op::Flags(place) => {
                t.status_flags(self.fd(place));
            }
            Op::SetFlags(place, flags) => {
                let fd = self.fd(place);
                if !self.watchers.contains(&fd) {
                    t.fcntl(fd, "F_SETFL", libc::F_SETFL, flags);
                }
            }
            Op::Inotify => {
                if !self.is_full() {
                    let fd = t.inotify();
                    self.watchers.push(fd);
                    self.add(fd);
                }
            }
            Op::Watch(place, at, mask) => {
                t.watch(self.watcher(place), path(at), mask);
            }
            Op::Unwatch(place, watch) => {
                t.unwatch(self.watcher(place), watch);
            }
            Op::Events(place) => {
                if !self.watchers.is_empty() {
                    t.events(self.watcher(place));
                }
            }
            other => self.name_step(other),
        }
    }

    /// Calls about names.
    fn name_step(&mut self, op: Op) {
        let t = self.t;
        match op {
            Op::MakeDirectory(at, mode) => drop(t.mkdirat(AT_FDCWD, path(at), mode)),
            Op::MakeDirectoryAt(place, at) => drop(t.mkdirat(self.fd(place), path(at), 0o755)),
            Op::Remove(at) => drop(t.unlink(path(at))),
            Op::RemoveDirectory(at) => drop(t.rmdir(path(at))),
            Op::RemoveAt(place, at, flags) => drop(t.unlinkat(self.fd(place), path(at), flags)),
            Op::Rename(at, to) => drop(t.rename(path(at), path(to))),
            Op::RenameWith(at, to, flags) => drop(t.renameat2((AT_FDCWD, path(at)), (AT_FDCWD, path(to)), flags)),
            Op::RenameAt(from, at, over, to) => {
                t.renameat2((self.fd(from), path(at)), (self.fd(over), path(to)), 0);
            }
            Op::Link(at, to) => drop(t.link(path(at), path(to))),
            Op::LinkFollowing(at, to) => {
                t.linkat((AT_FDCWD, path(at)), (AT_FDCWD, path(to)), libc::AT_SYMLINK_FOLLOW);
            }
            Op::LinkOpen(place, to) => {
                let fd = self.fd(place);
                if !self.watchers.contains(&fd) {
                    let open = format!("/proc/self/fd/{fd}");
                    t.linkat((AT_FDCWD, &open), (AT_FDCWD, path(to)), libc::AT_SYMLINK_FOLLOW);
                }
            }
            Op::Symlink(target, at) => drop(t.symlink(TARGETS[target % TARGETS.len()], path(at))),
            Op::ReadLink(at) => t.readlink(path(at)),
            Op::RealPath(at) => t.realpath(path(at)),
            other => self.attribute_step(other),
        }
    }

    /// Calls about attributes, locks and directories.
    fn attribute_step(&mut self, op: Op) {
        let t = self.t;
        match op {
            Op::Mode(at, mode) => drop(t.chmod(path(at), mode)),
            Op::OpenMode(place, mode) => {
                let fd = self.fd(place);
                if !self.watchers.contains(&fd) {
                    t.fchmod(fd, mode);
                }
            }
            Op::Owner(at, user, group, flags) => drop(t.chown(path(at), user, group, flags)),
            Op::OpenOwner(place, user, group) => {
                let fd = self.fd(place);
                if !self.watchers.contains(&fd) {
                    t.fchown(fd, user, group);
                }
            }
            Op::Times(at, number, flags) => {
                let (read, written) = times(number);
                t.utimensat(path(at), read, written, flags);
            }
            Op::OpenTimes(place, number) => {
                let (fd, (read, written)) = (self.fd(place), times(number));
                if !self.watchers.contains(&fd) {
                    t.futimens(fd, read, written);
                }
            }
            Op::Access(at, mode) => drop(t.access(path(at), mode)),
            Op::Lock(place, how) => {
                let fd = self.fd(place);
                if !self.watchers.contains(&fd) {
                    t.flock(fd, how);
                }
            }
            Op::LockRange(place, command, kind, start, bytes) => {
                let fd = self.fd(place);
                if !self.watchers.contains(&fd) {
                    t.lock(fd, LOCKS[command % LOCKS.len()], Stretch { kind, whence: libc::SEEK_SET, start, bytes });
                }
            }
            Op::List(at) => t.readdir(path(at)),
            Op::Entries(place) => drop(t.getdents(self.fd(place), 4096)),
            Op::WorkIn(at) => drop(t.chdir(path(at))),
            Op::WorkInOpen(place) => drop(t.fchdir(self.fd(place))),
            Op::WhereAmI => self.where_am_i(),
            Op::NameOf(place) => t.name_of(self.fd(place)),
            other => t.say(format_args!("{other:?} is none of a name")),
        }
    }

    fn where_am_i(&self) {
        self.t.getcwd();
        self.t.readlink("/proc/self/cwd");
    }

    fn open_stat(&mut self, place: usize) {
        let fd = self.fd(place);
        if !self.watchers.contains(&fd) {
            self.look(self.t.fstat_all(fd));
        }
    }

    /// A directory's positions are each file system's own. So is where holes are once space was taken: a page that
    /// was taken twice, or looked at in memory, is none for tmpfs (mm/shmem.c) and one for ext4.
    fn seek(&self, place: usize, offset: i64, whence: c_int) {
        let fd = self.fd(place);
        if is_directory(fd) {
            self.t.lseek(fd, 0, libc::SEEK_SET);
        } else if whence < libc::SEEK_DATA || inode(fd).is_none_or(|inode| !self.allocated.contains(&inode)) {
            self.t.lseek(fd, offset, whence);
        }
    }

    /// Maps a file, writes to what it has, and looks whether the file says so.
    fn map_write(&mut self, fd: c_int, count: usize, shared: bool) {
        let t = self.t;
        let Some(size) = self.whole(fd) else { return };
        let room = size.next_multiple_of(PAGE_BYTES).max(PAGE_BYTES);
        let how = if shared { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
        let memory = t.mmap(fd, room, libc::PROT_READ | libc::PROT_WRITE, how, 0);
        let count = count.min(size);
        if !memory.is_null() && count > 0 {
            // Other bytes than there are: a world sees of memory that it was written to only when it shows. They are
            // not read from memory: tmpfs takes notice of a write only when it is the first that touches a page.
            let mut there = vec![0u8; count];
            // SAFETY: a buffer of that size.
            unsafe { libc::pread(fd, there.as_mut_ptr().cast(), count, (size - count) as i64) };
            let content: Vec<u8> = there.iter().map(|byte| byte ^ 1).collect();
            t.set_memory(memory, size - count, &content);
            t.pread(fd, 16, (size - count) as i64);
            if shared {
                t.msync(memory, room, libc::MS_SYNC);
            }
            t.memory(memory, size - count, count.min(16));
        }
        if !memory.is_null() {
            t.munmap(memory, room);
        }
    }

    /// The size of what has no holes, without a line: tmpfs gives a hole a page as soon as it is looked at in memory,
    /// which ext4 does not.
    fn whole(&self, fd: c_int) -> Option<usize> {
        let found = look_at(fd)?;
        if found.st_mode & libc::S_IFMT != libc::S_IFREG {
            return Some(0);
        }
        let size = found.st_size as usize;
        (found.st_blocks as usize * 512 >= size && !self.allocated.contains(&found.st_ino)).then_some(size)
    }

    fn map_read(&self, fd: c_int, shared: bool) {
        let t = self.t;
        let Some(size) = self.whole(fd) else { return };
        let room = size.next_multiple_of(PAGE_BYTES).max(PAGE_BYTES);
        let how = if shared { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
        let memory = t.mmap(fd, room, libc::PROT_READ, how, 0);
        if !memory.is_null() {
            t.memory(memory, 0, size.min(5000));
            t.munmap(memory, room);
        }
    }
}

/// Whether a path leads to a file that takes no space, without a line.
fn is_empty(path: &str) -> bool {
    let path = c(path);
    // SAFETY: a C string, and room for the answer, all zeros at first.
    unsafe {
        let mut found: libc::stat = std::mem::zeroed();
        let known = libc::stat(path.as_ptr(), &mut found) == 0;
        known && found.st_mode & libc::S_IFMT == libc::S_IFREG && found.st_blocks == 0
    }
}

/// The inode behind a descriptor, without a line.
fn inode(fd: c_int) -> Option<u64> {
    look_at(fd).map(|found| found.st_ino)
}
