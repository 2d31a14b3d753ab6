//! inotify(7): what is told of files and directories, in which order.

use crate::calls::files::When;
use crate::calls::readiness::ALL;
use crate::compare::{Weathers, script};
use libc::*;

script! { Weathers::All;
    fn a_directory_and_what_happens_in_it(t) {
        t.chdir("/tmp");
        t.mkdir("d");
        let inotify = t.inotify();
        t.watch(inotify, "d", IN_ALL_EVENTS);
        t.poll(inotify, ALL, 0);
        let fd = t.file("d/f", b"text");
        t.events(inotify);
        t.pread(fd, 4, 0);
        t.pread(fd, 4, 10);
        t.events(inotify);
        t.write(fd, b"");
        t.ftruncate(fd, 1);
        t.fchmod(fd, 0o600);
        t.futimens(fd, When::Now, When::Now);
        t.futimens(fd, When::Kept, When::Now);
        t.events(inotify);
        t.close(fd);
        t.mkdir("d/e");
        t.symlink("f", "d/l");
        t.link("d/f", "d/g");
        t.rename("d/g", "d/h");
        t.rename("d/h", "h");
        t.rename("h", "d/f");
        t.unlink("d/l");
        t.rmdir("d/e");
        t.ioctl_get(inotify, "FIONREAD", FIONREAD);
        t.events(inotify);
        t.readdir("d");
        t.events(inotify);
        t.poll(inotify, ALL, 0);
    }

    fn a_file_and_its_end(t) {
        t.chdir("/tmp");
        let fd = t.file("f", b"text");
        let inotify = t.inotify();
        t.watch(inotify, "f", IN_ALL_EVENTS);
        t.link("f", "g");
        t.rename("g", "h");
        t.unlink("f");
        t.events(inotify);
        t.unlink("h");
        t.events(inotify);
        t.write(fd, b"x");
        t.close(fd);
        t.events(inotify);
        t.unwatch(inotify, 1);
        t.file("f", b"");
        t.watch(inotify, "f", IN_ALL_EVENTS);
        t.close_all();
    }

    fn a_file_that_is_replaced(t) {
        t.chdir("/tmp");
        t.close(t.file("old", b""));
        t.close(t.file("new", b""));
        let inotify = t.inotify();
        t.watch(inotify, ".", IN_ALL_EVENTS);
        t.watch(inotify, "old", IN_ALL_EVENTS);
        t.watch(inotify, "new", IN_ALL_EVENTS);
        t.rename("new", "old");
        t.events(inotify);
        t.close(t.file("other", b""));
        t.events(inotify);
        t.renameat2((AT_FDCWD, "other"), (AT_FDCWD, "old"), RENAME_EXCHANGE);
        t.events(inotify);
    }

    fn directories_that_end(t) {
        t.chdir("/tmp");
        t.mkdir("d");
        t.mkdir("d/e");
        let inotify = t.inotify();
        t.watch(inotify, "d", IN_ALL_EVENTS);
        t.watch(inotify, "d/e", IN_ALL_EVENTS);
        let fd = t.open("d/e", O_RDONLY);
        t.rmdir("d/e");
        t.events(inotify);
        t.close(fd);
        t.events(inotify);
        t.chdir("d");
        t.rmdir("../d");
        t.events(inotify);
        t.chdir("/tmp");
        t.events(inotify);
    }

    fn masks(t) {
        t.chdir("/tmp");
        t.close(t.file("f", b"text"));
        t.mkdir("d");
        let inotify = t.inotify();
        t.watch(inotify, "f", IN_OPEN);
        t.watch(inotify, "f", IN_MODIFY | IN_MASK_ADD);
        t.close(t.open("f", O_RDWR | O_TRUNC));
        t.events(inotify);
        t.watch(inotify, "f", IN_CLOSE_WRITE);
        t.close(t.open("f", O_RDWR));
        t.events(inotify);
        t.watch(inotify, "f", IN_OPEN | IN_MASK_CREATE);
        t.watch(inotify, "f", IN_OPEN | IN_MASK_CREATE | IN_MASK_ADD);
        t.watch(inotify, "d", IN_OPEN | IN_ONESHOT);
        t.close(t.open("d", O_RDONLY));
        t.close(t.open("d", O_RDONLY));
        t.events(inotify);
        t.watch(inotify, "f", IN_OPEN | IN_ONLYDIR);
        t.watch(inotify, "d", IN_OPEN | IN_ONLYDIR);
        t.watch(inotify, "f", IN_ISDIR);
        t.watch(inotify, "f", 0x0001_0000);
        t.unwatch(inotify, 99);
        t.unwatch(inotify, 1);
        t.events(inotify);
    }

    /// By default there is word of what has lost its name in the directory that it was in, too.
    fn what_has_no_name_any_more(t) {
        t.chdir("/tmp");
        for (directory, mask) in [("a", IN_ALL_EVENTS), ("b", IN_ALL_EVENTS | IN_EXCL_UNLINK)] {
            t.mkdir(directory);
            let inotify = t.inotify();
            t.watch(inotify, directory, mask);
            let fd = t.file(&format!("{directory}/f"), b"");
            t.unlink(&format!("{directory}/f"));
            t.events(inotify);
            t.write(fd, b"x");
            t.close(fd);
            t.events(inotify);
        }
    }

    fn rooms_for_events(t) {
        t.chdir("/tmp");
        let inotify = t.inotify();
        t.watch(inotify, ".", IN_CREATE | IN_DELETE);
        t.mkdir("a-name-that-is-longer-than-sixteen");
        t.read(inotify, 15);
        t.read(inotify, 16);
        t.read(inotify, 64);
        t.rmdir("a-name-that-is-longer-than-sixteen");
        t.mkdir("d");
        t.rmdir("d");
        t.ioctl_get(inotify, "FIONREAD", FIONREAD);
        t.events(inotify);
        t.read(inotify, 64);
        // One after the other the same is told once.
        for _ in 0..3 {
            t.mkdir("d");
            t.chmod("d", 0o700);
        }
        t.events(inotify);
        t.write(inotify, b"x");
        t.pread(inotify, 64, 0);
        t.lseek(inotify, 0, SEEK_SET);
    }
}
