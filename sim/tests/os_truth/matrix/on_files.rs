//! The calls of the matrix that are about files; descriptors that are none answer with an error.

use super::operations::{Operation, operations};
use crate::calls::files::{Stretch, When, is_directory, look_at};
use libc::*;

const WHOLE: Stretch = Stretch { kind: F_WRLCK, whence: SEEK_SET, start: 0, bytes: 0 };
const SHARED: Stretch = Stretch { kind: F_RDLCK, ..WHOLE };

operations! {
    /// Calls that reach files, and that the rest answers with an error.
    FILES(t, fd) {
        "lseek" {
            t.lseek(fd, 0, SEEK_CUR);
            t.lseek(fd, 3, SEEK_SET);
            t.lseek(fd, 2, SEEK_CUR);
            t.lseek(fd, -100_000, SEEK_CUR);
            if !is_directory(fd) {
                t.lseek(fd, 0, SEEK_END); // each file system has its own idea of a directory's end
            }
            t.lseek(fd, 0, 9);
        }
        "lseek to data and holes" {
            if !is_directory(fd) {
                t.lseek(fd, 2, SEEK_DATA);
                t.lseek(fd, 2, SEEK_HOLE);
                t.lseek(fd, -1, SEEK_DATA);
                t.lseek(fd, 1 << 40, SEEK_HOLE);
            }
        }
        "fstat" { t.fstat(fd); }
        "fsync" { t.fsync(fd); }
        "fdatasync" { t.fdatasync(fd); }
        "ftruncate" { t.ftruncate(fd, 0); }
        "ftruncate to less than nothing" { t.ftruncate(fd, -1); }
        "ftruncate, then read" {
            t.ftruncate(fd, 4);
            t.pread(fd, 16, 0);
            t.ftruncate(fd, 8);
            t.pread(fd, 16, 0);
        }
        "fallocate" {
            t.fallocate(fd, 0, 0, 100);
            t.fallocate(fd, 0, 0, 0);
            t.fallocate(fd, 0, -1, 10);
            t.fallocate(fd, 0, 10, -10);
            t.fallocate(fd, 0, i64::MAX, 1);
            t.pread(fd, 16, 0);
        }
        "fallocate KEEP_SIZE" {
            t.fallocate(fd, FALLOC_FL_KEEP_SIZE, 5000, 100);
            t.pread(fd, 16, 0);
        }
        "fallocate PUNCH_HOLE" {
            t.fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 100);
            t.fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2, 3);
            t.pread(fd, 16, 0);
        }
        "fallocate of unknown modes" {
            t.fallocate(fd, 0x4000, 0, 100);
            t.fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 0, 100);
        }
        "write, then read it back" {
            t.write(fd, b"xyz");
            t.lseek(fd, 0, SEEK_CUR);
            t.pread(fd, 32, 0);
        }
        "pwrite behind the end" {
            t.pwrite(fd, b"far", 20);
            t.pread(fd, 32, 0);
            t.lseek(fd, 0, SEEK_CUR);
        }
        "writev appends or not" {
            t.lseek(fd, 2, SEEK_SET);
            t.writev(fd, b"12345", 2);
            t.pread(fd, 32, 0);
        }
        "status APPEND, then write" {
            t.fcntl(fd, "F_SETFL", F_SETFL, O_APPEND | O_NONBLOCK);
            t.write(fd, b"end\n");
            t.pread(fd, 32, 0);
        }
        "getdents64" {
            t.getdents(fd, 1 << 20);
            t.getdents(fd, 1 << 20);
        }
        "getdents64 without room" { t.getdents(fd, 8); }
        "fchmod" {
            if ours(fd) {
                t.fchmod(fd, 0o600);
                t.fchmod(fd, 0o7777);
            }
        }
        "fchown" {
            if ours(fd) {
                t.fchown(fd, -1, -1);
                t.fchown(fd, 1000, 1000);
                t.fchown(fd, 0, -1);
                t.fchown(fd, -1, 0);
            }
        }
        "futimens" {
            if ours(fd) {
                t.futimens(fd, When::At(5, 6), When::At(7, 8));
                t.futimens(fd, When::Now, When::Kept);
                t.futimens(fd, When::Kept, When::Kept);
                t.futimens(fd, When::At(1, -1), When::Now);
            }
        }
        "flock" {
            t.flock(fd, LOCK_SH | LOCK_NB);
            t.flock(fd, LOCK_EX | LOCK_NB);
            t.flock(fd, LOCK_UN);
            t.flock(fd, 0);
            t.flock(fd, LOCK_SH | LOCK_EX);
        }
        "fcntl F_SETLK" {
            t.lock(fd, ("F_SETLK", F_SETLK), SHARED);
            t.lock(fd, ("F_SETLK", F_SETLK), WHOLE);
            t.lock(fd, ("F_GETLK", F_GETLK), WHOLE);
            t.lock(fd, ("F_SETLK", F_SETLK), Stretch { kind: 9, ..WHOLE });
            t.lock(fd, ("F_SETLK", F_SETLK), Stretch { whence: 9, ..WHOLE });
            t.lock(fd, ("F_SETLK", F_SETLK), Stretch { start: -5, ..WHOLE });
            t.lock(fd, ("F_SETLK", F_SETLK), Stretch { start: 5, bytes: -5, ..WHOLE });
            t.lock(fd, ("F_SETLK", F_SETLK), Stretch { kind: F_UNLCK, ..WHOLE });
            t.lock(fd, ("F_GETLK", F_GETLK), Stretch { kind: F_UNLCK, ..WHOLE });
        }
        "fcntl F_OFD_SETLK" {
            t.lock(fd, ("F_OFD_SETLK", F_OFD_SETLK), SHARED);
            t.lock(fd, ("F_OFD_SETLK", F_OFD_SETLK), WHOLE);
            t.lock(fd, ("F_OFD_GETLK", F_OFD_GETLK), WHOLE);
            t.lock(fd, ("F_GETLK", F_GETLK), WHOLE);
        }
        "link of /proc" {
            if own_file(fd) {
                t.name_of(fd);
            }
        }
        "mmap SHARED" {
            for protection in [PROT_READ, PROT_WRITE, PROT_READ | PROT_WRITE] {
                let memory = t.mmap(fd, 4096, protection, MAP_SHARED, 0);
                if !memory.is_null() {
                    t.munmap(memory, 4096);
                }
            }
        }
        "mmap PRIVATE" {
            let memory = t.mmap(fd, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0);
            if !memory.is_null() {
                t.munmap(memory, 4096);
            }
            t.mmap(fd, 0, PROT_READ, MAP_PRIVATE, 0);
            t.mmap(fd, 4096, PROT_READ, MAP_PRIVATE, 1);
            t.mmap(fd, 4096, PROT_READ, 0, 0);
        }
        "fchdir" {
            t.fchdir(fd);
            t.chdir("/tmp");
        }
        "as a directory to begin from" {
            if own_file(fd) {
                t.openat(fd, "inner", O_RDONLY | O_CREAT, 0o644);
                t.fstatat(fd, "inner", 0);
                t.fstatat(fd, "..", 0);
                t.mkdirat(fd, "more", 0o755);
                t.renameat2((fd, "inner"), (fd, "more/inner"), 0);
                t.unlinkat(fd, "more/inner", 0);
                t.unlinkat(fd, "more", AT_REMOVEDIR);
                t.fstatat(fd, "", 0);
                t.readlinkat(fd, "inner", 16);
            }
        }
        "as itself" {
            if own_file(fd) {
                t.fstatat(fd, "", AT_EMPTY_PATH);
                t.fstat_all(fd);
                t.readlinkat(fd, "", 16);
            }
        }
        "opened again" {
            if own_file(fd) {
                for flags in [O_RDONLY, O_WRONLY, O_RDWR | O_TRUNC, O_PATH, O_RDONLY | O_DIRECTORY] {
                    let again = t.open(&format!("/proc/self/fd/{fd}"), flags);
                    t.read(again, 4);
                    t.fstat_all(again);
                    t.close(again);
                }
            }
        }
        "linked again" {
            if own_file(fd) {
                let name = format!("/proc/self/fd/{fd}");
                t.linkat((AT_FDCWD, &name), (AT_FDCWD, "/tmp/again"), AT_SYMLINK_FOLLOW);
                t.lstat("/tmp/again");
                t.unlink("/tmp/again");
            }
        }
        "sendfile to it" {
            let source = t.file("/tmp/source", b"to be sent");
            t.sendfile(fd, source, Some(3), 4);
            t.sendfile(fd, source, None, 4);
            t.lseek(source, 0, SEEK_CUR);
            t.sendfile(fd, source, Some(-1), 4);
        }
        "sendfile from it" {
            let target = t.file("/tmp/target", b"");
            if own_file(fd) {
                t.sendfile(target, fd, Some(3), 4);
                t.sendfile(target, fd, None, 4);
                t.lseek(fd, 0, SEEK_CUR);
                t.sendfile(target, fd, None, 0);
                t.pread(target, 32, 0);
            }
        }
        "advice" {
            t.advise(fd);
            t.readahead(fd);
        }
        "sync_file_range and syncfs" {
            t.sync_file_range(fd);
            t.syncfs(fd);
        }
        "watched" {
            if own_file(fd) && fd != 1 {
                let inotify = t.inotify();
                t.watch(inotify, &format!("/proc/self/fd/{fd}"), IN_ALL_EVENTS);
                t.write(fd, b"12345678");
                t.read(fd, 1);
                t.close(fd);
                t.events(inotify);
            }
        }
        "inotify calls" {
            t.watch(fd, "/tmp", IN_ALL_EVENTS);
            t.watch(fd, "/tmp", 0);
            t.watch(fd, "", IN_ALL_EVENTS);
            t.watch(fd, "/tmp/nowhere", IN_ALL_EVENTS);
            t.unwatch(fd, 1);
            t.unwatch(fd, 1);
        }
    }
}

/// Whether it is of the script's own making, without a line: whose it is, is the same on both sides then.
fn ours(fd: c_int) -> bool {
    look_at(fd).is_some_and(|found| found.st_uid == 1000) && fd > 2
}

/// Whether it is a file of the script's own making: what it is called is the same on both sides, too.
fn own_file(fd: c_int) -> bool {
    ours(fd) && look_at(fd).is_some_and(|found| matches!(found.st_mode & S_IFMT, S_IFREG | S_IFDIR | S_IFLNK))
}
