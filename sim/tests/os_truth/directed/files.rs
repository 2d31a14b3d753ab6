//! Names of files: rename(2), link counts, what is removed while it is open, directories, permissions.

use crate::calls::files::When;
use crate::compare::{Weathers, script};
use libc::*;

script! { Weathers::All;
    fn rename_of_files(t) {
        t.chdir("/tmp");
        let old = t.file("a", b"first");
        t.file("b", b"second");
        t.stat("a");
        t.stat("b");
        t.rename("a", "b");
        t.stat("a");
        t.stat("b");
        t.fstat_all(old);
        t.fstat_all(4);
        t.name_of(old);
        t.name_of(4);
        t.rename("b", "b");
        t.link("b", "c");
        t.rename("b", "c");
        t.stat("b");
        t.stat("c");
        t.renameat2((AT_FDCWD, "b"), (AT_FDCWD, "c"), RENAME_EXCHANGE);
        t.renameat2((AT_FDCWD, "b"), (AT_FDCWD, "c"), RENAME_NOREPLACE);
        t.renameat2((AT_FDCWD, "b"), (AT_FDCWD, "d"), RENAME_NOREPLACE);
        t.readdir(".");
    }

    fn rename_of_directories(t) {
        t.chdir("/tmp");
        for path in ["full", "full/in", "empty", "other"] {
            t.mkdir(path);
        }
        t.file("file", b"x");
        t.file("other/file", b"y");
        t.rename("full", "full/in/deeper");
        t.rename("full/in", "full");
        t.rename("full", "full/in");
        t.rename("file", "empty");
        t.rename("empty", "file");
        t.rename("empty", "other");
        t.rename("other", "empty");
        t.stat("empty/file");
        t.rename("full/in", "empty/in");
        t.stat("full");
        t.stat("empty");
        t.stat("empty/in/..");
        t.rename("empty", "new/");
        t.rename("file", "newer/");
        t.renameat2((AT_FDCWD, "file"), (AT_FDCWD, "new"), RENAME_EXCHANGE);
        t.stat("file/in");
        t.readdir("file");
        t.stat("new");
        t.renameat2((AT_FDCWD, "file"), (AT_FDCWD, "file/in"), RENAME_EXCHANGE);
        t.renameat2((AT_FDCWD, "file/in"), (AT_FDCWD, "file"), RENAME_EXCHANGE);
        t.rename("file", ".");
        t.rename("file/..", "x");
    }

    fn rename_of_links(t) {
        t.chdir("/tmp");
        t.mkdir("d");
        t.symlink("d", "to-d");
        t.symlink("nowhere", "dangling");
        t.rename("to-d", "moved");
        t.readlink("moved");
        t.rename("d", "moved");
        t.file("f", b"f");
        t.rename("f", "dangling");
        t.lstat("dangling");
        t.rename("moved/", "d2");
        t.rename("moved", "d/moved");
        t.stat("d/moved");
        t.readlink("d/moved");
    }

    fn link_counts(t) {
        t.chdir("/tmp");
        let fd = t.file("a", b"text");
        t.link("a", "b");
        t.mkdir("d");
        t.link("b", "d/c");
        t.fstat_all(fd);
        t.unlink("a");
        t.fstat_all(fd);
        t.name_of(fd);
        t.unlink("d/c");
        t.unlink("b");
        t.fstat_all(fd);
        t.pread(fd, 8, 0);
        t.write(fd, b" and more");
        t.fstat_all(fd);
        t.linkat((AT_FDCWD, &format!("/proc/self/fd/{fd}")), (AT_FDCWD, "again"), AT_SYMLINK_FOLLOW);
        t.mkdir("d/e");
        t.mkdir("d/f");
        t.stat("d");
        t.rmdir("d/e");
        t.stat("d");
        t.rename("d/f", "f");
        t.stat("d");
        t.link("d", "dd");
        t.unlink("d");
        t.rmdir("a");
    }

    /// open(2): a file without a name may get one, unless that was excluded.
    fn files_without_names(t) {
        t.chdir("/tmp");
        let fd = t.openat(AT_FDCWD, ".", O_TMPFILE | O_RDWR, 0o640);
        t.write(fd, b"unnamed");
        t.fstat_all(fd);
        t.name_of(fd);
        let link = format!("/proc/self/fd/{fd}");
        t.linkat((AT_FDCWD, &link), (AT_FDCWD, "named"), AT_SYMLINK_FOLLOW);
        t.stat("named");
        t.name_of(fd);
        t.unlink("named");
        t.linkat((AT_FDCWD, &link), (AT_FDCWD, "named"), AT_SYMLINK_FOLLOW);
        let alone = t.openat(AT_FDCWD, ".", O_TMPFILE | O_RDWR | O_EXCL, 0o640);
        t.linkat((AT_FDCWD, &format!("/proc/self/fd/{alone}")), (AT_FDCWD, "never"), AT_SYMLINK_FOLLOW);
        t.openat(AT_FDCWD, ".", O_TMPFILE | O_RDONLY, 0o640);
        t.openat(AT_FDCWD, "named", O_TMPFILE | O_RDWR, 0o640);
        t.readdir(".");
    }

    fn a_directory_that_was_removed(t) {
        t.chdir("/tmp");
        t.mkdir("d");
        let fd = t.open("d", O_RDONLY | O_DIRECTORY);
        t.chdir("d");
        t.rmdir("../d");
        t.getcwd();
        t.readlink("/proc/self/cwd");
        t.name_of(fd);
        t.fstat_all(fd);
        t.stat(".");
        t.stat("..");
        t.readdir(".");
        t.getdents(fd, 4096);
        t.open("new", O_CREAT | O_WRONLY);
        t.mkdir("new");
        t.symlink("x", "new");
        t.openat(fd, "new", O_CREAT | O_WRONLY, 0o644);
        t.file("/tmp/f", b"");
        t.rename("/tmp/f", "f");
        t.link("/tmp/f", "f");
        t.mkdir("/tmp/d");
        t.getcwd();
        t.open("new", O_CREAT | O_WRONLY);
        t.chdir("..");
        t.getcwd();
    }

    fn a_directory_that_moved(t) {
        t.chdir("/tmp");
        t.mkdir("d");
        t.mkdir("e");
        t.file("d/f", b"1");
        let fd = t.open("d", O_RDONLY | O_DIRECTORY);
        t.chdir("d");
        t.rename("/tmp/d", "/tmp/e/g");
        t.getcwd();
        t.name_of(fd);
        t.name_of(3);
        t.openat(fd, "f", O_RDONLY, 0);
        t.openat(fd, "new", O_CREAT | O_WRONLY, 0o644);
        t.fstatat(fd, "..", 0);
        t.stat("/tmp/e");
        t.readdir("/tmp/e/g");
        t.unlinkat(fd, "f", 0);
        t.name_of(3);
        t.rename("/tmp/e", "/tmp/h");
        t.name_of(3);
        t.name_of(fd);
    }

    /// What is removed while a directory is read is told or not, but nothing twice, and what stays is told.
    fn entries_that_vanish(t) {
        t.chdir("/tmp");
        t.mkdir("d");
        let names: Vec<String> = (0..200).map(|n| format!("d/{n:03}")).collect();
        for name in &names {
            let path = crate::calls::files::c(name);
            unsafe { close(open(path.as_ptr(), O_CREAT | O_WRONLY, 0o644)) };
        }
        let path = c"d".as_ptr();
        let mut seen = Vec::new();
        unsafe {
            let stream = opendir(path);
            while let Some(entry) = readdir64(stream).as_ref() {
                let name = std::ffi::CStr::from_ptr(entry.d_name.as_ptr()).to_string_lossy().into_owned();
                if let Ok(number) = name.parse::<u32>() {
                    unlink(crate::calls::files::c(&format!("d/{name}")).as_ptr());
                    seen.push(number);
                }
            }
            closedir(stream);
        }
        seen.sort_unstable();
        t.say(format_args!("{} names, each once: {}", seen.len(), seen.windows(2).all(|pair| pair[0] < pair[1])));
        t.readdir("d");
        t.rmdir("d");
    }

    fn permissions_of_files(t) {
        t.chdir("/tmp");
        let fd = t.file("f", b"text");
        t.chmod("f", 0o000);
        for flags in [O_RDONLY, O_WRONLY, O_RDWR, O_RDONLY | O_TRUNC, O_PATH, O_WRONLY | O_CREAT] {
            t.open("f", flags);
        }
        t.pread(fd, 8, 0);
        t.write(fd, b"!");
        t.truncate("f", 0);
        t.ftruncate(fd, 2);
        t.access("f", R_OK);
        t.access("f", F_OK);
        t.stat("f");
        t.chmod("f", 0o444);
        t.open("f", O_WRONLY);
        t.open("f", O_RDONLY);
        t.open("f", O_RDONLY | O_TRUNC);
        t.access("f", R_OK | W_OK);
        t.chmod("f", 0o200);
        t.open("f", O_RDONLY);
        t.open("f", O_WRONLY);
        t.utimensat("f", When::Now, When::Now, 0);
        t.fchmod(fd, 0o755);
        t.access("f", X_OK);
        for path in ["/usr/bin/env", "/usr/bin", "/dev/null", "f"] {
            t.open(path, O_RDONLY | O_NOATIME);
        }
        // The last permissions are those of what was made: they do not concern who makes it.
        let made = t.openat(AT_FDCWD, "g", O_CREAT | O_RDWR, 0o000);
        t.write(made, b"x");
        t.open("g", O_RDONLY);
    }

    fn permissions_of_directories(t) {
        t.chdir("/tmp");
        t.mkdir("d");
        t.mkdir("d/e");
        t.file("d/f", b"text");
        let fd = t.open("d", O_RDONLY);
        for mode in [0o600, 0o500, 0o300, 0o000] {
            t.chmod("d", mode);
            t.readdir("d");
            t.stat("d/f");
            t.stat("d/missing");
            t.open("d/f", O_RDONLY);
            t.open("d/new", O_CREAT | O_WRONLY);
            t.mkdir("d/newer");
            t.unlink("d/f2");
            t.rename("d/f", "d/g");
            t.rename("d/g", "d/f");
            t.rename("d/e", "e");
            t.rename("e", "d/e");
            t.fstatat(fd, "f", 0);
            t.chdir("d");
            t.chdir("/tmp");
            t.fchdir(fd);
            t.chdir("/tmp");
        }
        t.chmod("d", 0o755);
        t.readdir("d");
        // A directory that moves has another `..`, which needs to be written.
        t.chmod("d/e", 0o555);
        t.rename("d/e", "e");
        t.rename("d/e", "d/ee");
    }

    fn umask_and_modes(t) {
        t.chdir("/tmp");
        for mask in [0o000, 0o022, 0o077, 0o777, 0o1777] {
            t.umask(mask);
            t.openat(AT_FDCWD, &format!("f{mask:o}"), O_CREAT | O_WRONLY, 0o7777);
            t.mkdirat(AT_FDCWD, &format!("d{mask:o}"), 0o7777);
            t.symlink("x", &format!("l{mask:o}"));
            for kind in ["f", "d", "l"] {
                t.lstat(&format!("{kind}{mask:o}"));
            }
        }
        t.umask(0o022);
        t.chmod("f0", 0o1777);
        t.stat("f0");
    }

    /// chown(2): to itself only; and what that and others do to set-id bits.
    fn owners_and_set_id_bits(t) {
        t.chdir("/tmp");
        let fd = t.file("f", b"text");
        t.mkdir("d");
        for mode in [0o6755, 0o6744, 0o2745, 0o4644] {
            t.chmod("f", mode);
            t.chown("f", -1, -1, 0);
            t.stat("f");
            t.chmod("f", mode);
            t.write(fd, b"w");
            t.stat("f");
            t.chmod("f", mode);
            t.ftruncate(fd, 1);
            t.stat("f");
        }
        t.chmod("d", 0o6755);
        t.chown("d", 1000, 1000, 0);
        t.stat("d");
        for (user, group) in [(0, -1), (-1, 0), (1000, 0), (1001, 1000)] {
            t.chown("f", user, group, 0);
            t.fchown(fd, user, group);
        }
        t.symlink("nowhere", "l");
        t.chown("l", 1000, 1000, AT_SYMLINK_NOFOLLOW);
        t.chown("l", 1000, 1000, 0);
        t.fchmodat(AT_FDCWD, "l", 0o644);
    }
}
