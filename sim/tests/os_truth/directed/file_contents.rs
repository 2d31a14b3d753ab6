//! What is in files: positions, holes, truncation, memory that they are mapped to; times; locks.

use super::{at_least, pause};
use crate::calls::files::{Stretch, When};
use crate::compare::{Weathers, script};
use libc::*;

const WHOLE: Stretch = Stretch { kind: F_WRLCK, whence: SEEK_SET, start: 0, bytes: 0 };

fn stretch(kind: c_int, start: i64, bytes: i64) -> Stretch {
    Stretch { kind, whence: SEEK_SET, start, bytes }
}

script! { Weathers::All;
    fn appending(t) {
        t.chdir("/tmp");
        let plain = t.file("f", b"0123456789");
        let end = t.open("f", O_RDWR | O_APPEND);
        t.write(end, b"ab");
        t.lseek(end, 0, SEEK_CUR);
        t.lseek(end, 3, SEEK_SET);
        t.read(end, 2);
        t.write(end, b"cd");
        t.lseek(end, 0, SEEK_CUR);
        // pwrite(2), BUGS: it appends all the same.
        t.pwrite(end, b"ef", 0);
        t.pread(plain, 32, 0);
        t.ftruncate(plain, 4);
        t.write(end, b"gh");
        t.pread(plain, 32, 0);
        t.fcntl(end, "F_SETFL", F_SETFL, 0);
        t.lseek(end, 0, SEEK_SET);
        t.write(end, b"--");
        t.pread(plain, 32, 0);
        t.write(plain, b"far");
        t.pread(plain, 32, 0);
    }

    fn copies_share_a_position(t) {
        t.chdir("/tmp");
        let fd = t.file("f", b"0123456789");
        let copy = t.dup(fd);
        let other = t.open("/proc/self/fd/3", O_RDONLY);
        t.open("/proc/self/fd/3", O_RDONLY | O_NOFOLLOW);
        t.lseek(copy, 2, SEEK_SET);
        t.read(fd, 3);
        t.lseek(copy, 0, SEEK_CUR);
        t.read(other, 3);
        t.lseek(fd, 0, SEEK_CUR);
    }

    fn holes(t) {
        t.chdir("/tmp");
        let fd = t.file("f", b"");
        t.pwrite(fd, b"x", 10 * 4096);
        t.fstat_all(fd);
        t.lseek(fd, 0, SEEK_DATA);
        t.lseek(fd, 0, SEEK_HOLE);
        t.lseek(fd, 10 * 4096, SEEK_HOLE);
        t.lseek(fd, 10 * 4096 + 1, SEEK_DATA);
        t.pread(fd, 9000, 9 * 4096);
        t.ftruncate(fd, 1 << 30);
        t.fstat_all(fd);
        t.lseek(fd, 11 * 4096, SEEK_DATA);
        t.fallocate(fd, 0, 4096, 8192);
        t.fstat_all(fd);
        t.lseek(fd, 0, SEEK_DATA);
        t.pwrite(fd, &[b'y'; 8192], 4096);
        t.lseek(fd, 0, SEEK_DATA);
        t.fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096 + 100, 8192 - 200);
        t.pread(fd, 8192, 4096);
        t.fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 8192);
        t.fstat_all(fd);
        t.ftruncate(fd, 100);
        t.fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 3 * 4096);
        t.fstat_all(fd);
    }

    fn sizes_beyond_the_limit(t) {
        t.chdir("/tmp");
        let fd = t.file("f", b"x");
        t.ftruncate(fd, 1 << 62);
        t.truncate("f", 1);
        t.pwrite(fd, b"x", i64::MAX);
        t.lseek(fd, i64::MAX, SEEK_SET);
        t.lseek(fd, i64::MAX, SEEK_CUR);
    }

    /// What was cut off is gone, whoever cut it, and comes back as zeros.
    fn truncation_by_somebody_else(t) {
        t.chdir("/tmp");
        let fd = t.file("f", b"0123456789");
        let other = t.open("f", O_RDWR);
        t.read(fd, 8);
        t.lseek(fd, 0, SEEK_END);
        t.ftruncate(other, 4);
        t.read(fd, 8);
        t.ioctl_get(fd, "FIONREAD", FIONREAD);
        t.write(fd, b"ab");
        t.pread(other, 32, 0);
        t.truncate("f", 2);
        t.truncate("f", 6);
        t.pread(other, 32, 0);
        t.open("f", O_WRONLY | O_TRUNC);
        t.fstat_all(fd);
        t.unlink("f");
        t.ftruncate(fd, 3);
        t.pread(other, 32, 0);
    }

    fn memory_and_file(t) {
        t.chdir("/tmp");
        let fd = t.file("f", b"0123456789");
        let both = PROT_READ | PROT_WRITE;
        let shared = t.mmap(fd, 4096, both, MAP_SHARED, 0);
        let again = t.mmap(fd, 4096, PROT_READ, MAP_SHARED, 0);
        let private = t.mmap(fd, 4096, both, MAP_PRIVATE, 0);
        t.set_memory(private, 0, b"private");
        t.pread(fd, 16, 0);
        t.set_memory(shared, 2, b"shared");
        t.pread(fd, 16, 0);
        t.memory(again, 0, 12);
        t.memory(private, 0, 8);
        t.pwrite(fd, b"written", 1);
        t.memory(shared, 0, 12);
        t.memory(again, 0, 12);
        t.msync(shared, 4096, MS_SYNC);
        t.msync(shared, 4096, MS_ASYNC);
        t.msync(shared, 4096, MS_SYNC | MS_ASYNC);
        t.msync(unsafe { shared.add(1) }, 4096, MS_SYNC);
        // What is behind the end is not the file's.
        t.set_memory(shared, 20, b"behind");
        t.fstat_all(fd);
        t.pread(fd, 32, 0);
        t.ftruncate(fd, 15);
        t.pread(fd, 32, 0);
        t.unlink("f");
        t.close(fd);
        t.memory(shared, 0, 10);
        t.set_memory(shared, 0, b"still");
        t.memory(again, 0, 10);
        t.munmap(shared, 4096);
        t.memory(again, 0, 10);
    }

    fn one_file_by_two_names(t) {
        t.chdir("/tmp");
        let one = t.file("a", b"");
        t.link("a", "b");
        let other = t.open("b", O_RDWR);
        t.write(one, b"through a");
        t.read(other, 16);
        t.fchmod(other, 0o600);
        t.fstat_all(one);
        t.unlink("a");
        t.write(other, b", through b");
        t.pread(one, 32, 0);
        t.name_of(one);
        t.name_of(other);
    }

    fn sending_between_files(t) {
        t.chdir("/tmp");
        let from = t.file("from", b"0123456789");
        let to = t.file("to", b"");
        t.sendfile(to, from, Some(2), 5);
        t.lseek(from, 0, SEEK_CUR);
        t.lseek(from, 4, SEEK_SET);
        t.sendfile(to, from, None, 100);
        t.lseek(from, 0, SEEK_CUR);
        t.sendfile(to, from, None, 100);
        t.sendfile(to, from, Some(100), 5);
        t.pread(to, 32, 0);
        t.lseek(to, 0, SEEK_CUR);
        let end = t.open("to", O_WRONLY | O_APPEND);
        t.sendfile(end, from, Some(0), 5);
        let (reader, writer) = t.pipe(O_NONBLOCK);
        t.sendfile(writer, from, Some(0), 5);
        t.read(reader, 8);
        t.sendfile(to, reader, None, 5);
    }

    fn copying_without_a_buffer(t) {
        t.chdir("/tmp");
        let (from, to) = (t.file("from", b"0123456789"), t.file("to", b""));
        t.copy_file_range(from, to, 5);
    }

    fn what_changes_which_time(t) {
        t.chdir("/tmp");
        t.mkdir("d");
        let fd = t.file("d/f", b"text");
        let look = |what: &str, before: &mut (Option<stat>, Option<stat>)| {
            let now = (t.fstat_all(fd), t.stat("d"));
            t.times(&format!("file after {what}"), before.0, now.0);
            t.times(&format!("directory after {what}"), before.1, now.1);
            *before = now;
            pause(20);
        };
        let mut before = (None, None);
        look("nothing", &mut before);
        t.pread(fd, 4, 0);
        look("a read", &mut before);
        t.pread(fd, 4, 0);
        look("another read", &mut before);
        t.write(fd, b"more");
        look("a write", &mut before);
        t.write(fd, b"");
        look("a write of nothing", &mut before);
        t.chmod("d/f", 0o600);
        look("chmod", &mut before);
        t.link("d/f", "d/g");
        look("link", &mut before);
        t.rename("d/g", "d/h");
        look("rename of the other name", &mut before);
        t.unlink("d/h");
        look("unlink", &mut before);
        t.ftruncate(fd, 8);
        look("truncation to the same size", &mut before);
        t.truncate("d/f", 8);
        look("truncation by path to the same size", &mut before);
        t.truncate("d/f", 3);
        look("truncation", &mut before);
        t.fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 100);
        look("fallocate", &mut before);
        t.readdir("d");
        look("readdir", &mut before);
        t.readdir("d");
        look("another readdir", &mut before);
        t.fsync(fd);
        look("fsync", &mut before);
        t.open("d/f", O_RDONLY | O_CREAT);
        look("open", &mut before);
        t.open("d/f", O_RDWR | O_TRUNC);
        look("open to cut", &mut before);
        t.rename("d", "e");
        t.rename("e", "d");
        look("rename of the directory", &mut before);
        t.fchown(fd, -1, -1);
        look("chown of nothing", &mut before);
        t.futimens(fd, When::Kept, When::Now);
        look("touch", &mut before);
        t.futimens(fd, When::At(1000, 0), When::Kept);
        look("an old time of reading", &mut before);
        t.pread(fd, 4, 0);
        look("a read", &mut before);
    }

    fn times_as_they_were_set(t) {
        t.chdir("/tmp");
        let fd = t.file("f", b"");
        t.symlink("f", "l");
        let shown = |path: &str| {
            if let Some(found) = t.lstat(path) {
                let (read, written) = ((found.st_atime, found.st_atime_nsec), (found.st_mtime, found.st_mtime_nsec));
                t.say(format_args!("{path}: read {read:?}, written {written:?}"));
            }
        };
        t.utimensat("f", When::At(1, 2), When::At(-3, 4), 0);
        shown("f");
        t.utimensat("l", When::At(5, 999_999_999), When::At(0, 0), AT_SYMLINK_NOFOLLOW);
        shown("f");
        shown("l");
        t.utimensat("l", When::At(7, 0), When::Kept, 0);
        shown("f");
        t.futimens(fd, When::At(8, 1_000_000_000), When::Now);
        t.futimens(fd, When::At(8, -1), When::Now);
        t.utimensat("f", When::Now, When::Now, 0x4000);
        shown("f");
    }

    /// flock(2): locks belong to what was opened, and so to its copies.
    fn locks_of_whole_files(t) {
        t.chdir("/tmp");
        let first = t.file("f", b"");
        let copy = t.dup(first);
        let other = t.open("f", O_RDONLY);
        t.flock(first, LOCK_EX);
        t.flock(copy, LOCK_EX | LOCK_NB);
        t.flock(other, LOCK_EX | LOCK_NB);
        t.flock(other, LOCK_SH | LOCK_NB);
        t.close(first);
        t.flock(other, LOCK_SH | LOCK_NB);
        t.flock(copy, LOCK_SH);
        t.flock(other, LOCK_SH | LOCK_NB);
        // A conversion that fails gives up what there was.
        t.flock(copy, LOCK_EX | LOCK_NB);
        t.flock(other, LOCK_EX | LOCK_NB);
        t.flock(copy, LOCK_SH | LOCK_NB);
        t.close(other);
        t.flock(copy, LOCK_EX | LOCK_NB);
        let by_path = t.open("f", O_PATH);
        t.flock(by_path, LOCK_SH);
        t.mkdir("d");
        let directory = t.open("d", O_RDONLY);
        t.flock(directory, LOCK_EX);
    }

    /// fcntl(2): locks of a process do not see each other; closing any descriptor of the file gives them up.
    fn locks_of_stretches(t) {
        t.chdir("/tmp");
        let one = t.file("f", b"0123456789");
        let other = t.open("f", O_RDWR);
        let (set, ask) = (("F_SETLK", F_SETLK), ("F_GETLK", F_GETLK));
        let (set_file, ask_file) = (("F_OFD_SETLK", F_OFD_SETLK), ("F_OFD_GETLK", F_OFD_GETLK));
        t.lock(one, set, stretch(F_WRLCK, 2, 4));
        t.lock(other, set, stretch(F_WRLCK, 4, 4));
        t.lock(other, ask, WHOLE);
        t.lock(other, ask_file, WHOLE);
        t.lock(other, set_file, stretch(F_RDLCK, 0, 2));
        t.lock(other, set_file, stretch(F_RDLCK, 0, 3));
        t.lock(one, ask, stretch(F_WRLCK, 0, 1));
        t.lock(one, set, stretch(F_UNLCK, 3, 1));
        t.lock(other, ask_file, stretch(F_RDLCK, 3, 1));
        t.lock(other, ask_file, stretch(F_RDLCK, 3, 0));
        t.lseek(one, 5, SEEK_SET);
        t.lock(one, set, Stretch { whence: SEEK_CUR, start: -5, bytes: 2, kind: F_RDLCK });
        t.lock(one, set, Stretch { whence: SEEK_END, start: -1, bytes: 0, kind: F_RDLCK });
        t.lock(other, ask_file, stretch(F_WRLCK, 9, 1));
        let third = t.open("f", O_RDONLY);
        t.lock(third, set, stretch(F_WRLCK, 20, 1));
        t.close(third);
        t.lock(other, ask_file, WHOLE);
        t.lock(one, set_file, WHOLE);
        t.lock(one, set, stretch(F_RDLCK, 30, 1));
        t.dup2(one, 20);
        t.dup2(one, 20);
        t.lock(other, ask_file, stretch(F_WRLCK, 30, 1));
        t.close(other);
        t.lock(one, set_file, WHOLE);
        t.lock(one, ask, WHOLE);
        t.flock(one, LOCK_EX | LOCK_NB);
    }

    fn a_lock_that_is_waited_for(t) {
        t.chdir("/tmp");
        let holder = t.file("f", b"");
        let waiter = t.open("f", O_RDWR);
        t.flock(holder, LOCK_EX);
        let closer = std::thread::spawn(move || {
            pause(60);
            unsafe { close(holder) };
        });
        at_least(t, 20, || t.flock(waiter, LOCK_EX));
        let _ = closer.join();
        t.flock(waiter, LOCK_UN);
        let holder = t.open("f", O_RDWR);
        t.lock(holder, ("F_OFD_SETLK", F_OFD_SETLK), WHOLE);
        let closer = std::thread::spawn(move || {
            pause(60);
            unsafe { close(holder) };
        });
        at_least(t, 20, || t.lock(waiter, ("F_OFD_SETLKW", F_OFD_SETLKW), WHOLE));
        let _ = closer.join();
    }

    /// statvfs(3): a disk that is neither read-only nor full.
    fn the_volume(t) {
        t.chdir("/tmp");
        let mut found = std::mem::MaybeUninit::<statvfs>::zeroed();
        let result = unsafe { statvfs(c"/tmp".as_ptr(), found.as_mut_ptr()) };
        let found = unsafe { found.assume_init() };
        let sizes = found.f_bfree <= found.f_blocks && found.f_bavail > 0 && found.f_ffree <= found.f_files;
        t.say(format_args!("statvfs = {result}, block {} name {} {sizes}", found.f_bsize, found.f_namemax));
        t.say(format_args!("read-only: {}", found.f_flag & ST_RDONLY != 0));
        let long = "n".repeat(255);
        t.mkdir(&long);
        t.mkdir(&format!("{long}n"));
        t.stat(&format!("{long}/{}", "x/".repeat(2000)));
    }
}
