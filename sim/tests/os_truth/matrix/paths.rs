//! Every call about a path on every kind of path.
//!
//! For each call there is one script: it makes [`fixture`] afresh for each path, and looks at the directory afterwards.

use crate::calls::files::{When, enter_a_fresh_directory};
use crate::compare::{Weathers, check};
use crate::transcript::Transcript;
use libc::*;

/// What paths lead to is said by their names.
const PATHS: [&str; 46] = [
    "",
    ".",
    "..",
    "./",
    "/",
    "file",
    "file/",
    "file/.",
    "file/..",
    "file/x",
    "./file",
    "full/../file",
    "full",
    "full/",
    "full/.",
    "full/..",
    "full/one",
    "empty",
    "empty/",
    "empty/.",
    "missing",
    "missing/",
    "missing/.",
    "missing/x",
    "empty/missing",
    "to-file",
    "to-file/",
    "to-full",
    "to-full/",
    "to-full/one",
    "to-full/..",
    "to-empty",
    "to-empty/",
    "to-slash",
    "to-slash/x",
    "dangling",
    "dangling/",
    "loop",
    "loop/",
    "loop/x",
    "hard",
    "unreadable",
    "unwritable/file",
    "unwritable/new",
    "unsearchable/file",
    "unlistable/file",
];

/// One of everything in a fresh directory, which is the working directory then. Without a line.
fn fixture() {
    let nothing = |result: c_int| assert!(result >= 0, "the fixture: {}", std::io::Error::last_os_error());
    let file = |path: &std::ffi::CStr, mode: mode_t| {
        // SAFETY: a C string and a buffer of ten bytes.
        unsafe {
            let fd = open(path.as_ptr(), O_CREAT | O_WRONLY, mode);
            nothing(fd);
            write(fd, c"0123456789".as_ptr().cast(), 10);
            close(fd);
        }
    };
    enter_a_fresh_directory();
    // SAFETY: C strings.
    unsafe {
        for directory in [c"full", c"empty", c"unwritable", c"unsearchable", c"unlistable", c"full/inner"] {
            nothing(mkdir(directory.as_ptr(), 0o755));
        }
        for path in [c"file", c"full/one", c"unwritable/file", c"unsearchable/file", c"unlistable/file"] {
            file(path, 0o644);
        }
        file(c"unreadable", 0o000);
        nothing(link(c"file".as_ptr(), c"hard".as_ptr()));
        let links = [
            (c"file", c"to-file"),
            (c"full", c"to-full"),
            (c"empty", c"to-empty"),
            (c"file/", c"to-slash"),
            (c"missing", c"dangling"),
            (c"loop", c"loop"),
        ];
        for (target, path) in links {
            nothing(symlink(target.as_ptr(), path.as_ptr()));
        }
        nothing(chmod(c"unwritable".as_ptr(), 0o555));
        nothing(chmod(c"unsearchable".as_ptr(), 0o666));
        nothing(chmod(c"unlistable".as_ptr(), 0o333));
    }
}

/// Whether the call goes to the script's own directory, and can do nothing to others.
fn stays_inside(path: &str) -> bool {
    path != ".." && path != "/"
}

/// Makes the call on each path that is wanted.
fn on_each(t: &'static Transcript, wanted: fn(&str) -> bool, call: fn(&Transcript, &str)) {
    for path in PATHS.into_iter().filter(|path| wanted(path)) {
        fixture();
        t.forget_names();
        call(t, path);
        t.close_all();
        t.readdir(".");
    }
}

fn every_path(t: &'static Transcript, call: fn(&Transcript, &str)) {
    on_each(t, |_| true, call);
}

fn every_path_inside(t: &'static Transcript, call: fn(&Transcript, &str)) {
    on_each(t, stays_inside, call);
}

fn opened(t: &Transcript, path: &str, flags: c_int) {
    let fd = t.open(path, flags);
    if fd >= 0 {
        t.fstat(fd);
        t.write(fd, b"w");
        t.close(fd);
    }
}

macro_rules! calls {
    ($each:ident: $($name:ident($t:ident, $path:ident) $body:block)*) => { $(
        #[test]
        fn $name() {
            fn call($t: &Transcript, $path: &str) $body
            check(concat!("matrix::paths::", stringify!($name)), Weathers::Calm, &|t| $each(t, call));
        }
    )* };
}

calls! { every_path:
    opening_to_read(t, path) {
        for flags in [O_RDONLY, O_DIRECTORY, O_NOFOLLOW, O_PATH, O_PATH | O_NOFOLLOW, O_NOATIME] {
            if stays_inside(path) || flags & O_NOATIME == 0 {
                opened(t, path, flags);
            }
        }
    }
}

calls! { every_path_inside:
    asking(t, path) {
        for mode in [F_OK, R_OK, W_OK, X_OK] {
            t.access(path, mode);
        }
        t.stat(path);
        t.lstat(path);
        t.realpath(path);
        t.readlink(path);
    }
    going_there(t, path) {
        t.chdir(path);
        t.stat(".");
    }
    listing(t, path) { t.readdir(path); }
    opening_to_write(t, path) { opened(t, path, O_WRONLY); }
    opening_to_cut(t, path) { opened(t, path, O_RDWR | O_TRUNC); }
    opening_to_make(t, path) { opened(t, path, O_WRONLY | O_CREAT); }
    opening_to_make_alone(t, path) { opened(t, path, O_WRONLY | O_CREAT | O_EXCL); }
    opening_to_make_without_following(t, path) { opened(t, path, O_WRONLY | O_CREAT | O_NOFOLLOW); }
    opening_to_make_for_readers(t, path) { opened(t, path, O_RDONLY | O_CREAT | O_TRUNC); }
    opening_to_make_a_directory(t, path) { opened(t, path, O_RDONLY | O_CREAT | O_DIRECTORY); }
    opening_without_a_name(t, path) { opened(t, path, O_WRONLY | O_TMPFILE); }
    truncating(t, path) { t.truncate(path, 3); }
    truncating_to_less_than_nothing(t, path) { t.truncate(path, -1); }
    making_a_directory(t, path) { t.mkdir(path); }
    removing(t, path) { t.unlink(path); }
    removing_a_directory(t, path) { t.rmdir(path); }
    linking_symbolically(t, path) { t.symlink("target", path); }
    linking_from(t, path) { t.link(path, "new"); }
    linking_from_what_it_leads_to(t, path) { t.linkat((AT_FDCWD, path), (AT_FDCWD, "new"), AT_SYMLINK_FOLLOW); }
    linking_to(t, path) { t.link("file", path); }
    linking_a_directory_to(t, path) { t.link("empty", path); }
    renaming_from(t, path) { t.rename(path, "new"); }
    renaming_from_to_a_slash(t, path) { t.rename(path, "new/"); }
    renaming_over_a_file(t, path) { t.rename(path, "file"); }
    renaming_over_a_full_directory(t, path) { t.rename(path, "full"); }
    renaming_over_an_empty_directory(t, path) { t.rename(path, "empty"); }
    renaming_into_a_directory(t, path) { t.rename(path, "full/new"); }
    renaming_a_file_to(t, path) { t.rename("file", path); }
    renaming_a_link_to(t, path) { t.rename("to-file", path); }
    renaming_a_directory_to(t, path) { t.rename("full", path); }
    renaming_without_replacing(t, path) { t.renameat2((AT_FDCWD, "file"), (AT_FDCWD, path), RENAME_NOREPLACE); }
    exchanging_with_a_file(t, path) { t.renameat2((AT_FDCWD, "file"), (AT_FDCWD, path), RENAME_EXCHANGE); }
    exchanging_with_a_directory(t, path) { t.renameat2((AT_FDCWD, path), (AT_FDCWD, "full"), RENAME_EXCHANGE); }
    renaming_with_flags_that_exclude_each_other(t, path) {
        t.renameat2((AT_FDCWD, path), (AT_FDCWD, "new"), RENAME_EXCHANGE | RENAME_NOREPLACE);
        t.renameat2((AT_FDCWD, path), (AT_FDCWD, "new"), 8);
    }
    changing_the_mode(t, path) {
        t.chmod(path, 0o1700);
        t.lstat(path);
    }
    changing_the_owner(t, path) {
        t.chown(path, 1000, 1000, 0);
        t.chown(path, 1000, -1, AT_SYMLINK_NOFOLLOW);
        t.chown(path, 0, -1, 0);
        t.chown(path, -1, -1, 0);
    }
    changing_the_times(t, path) {
        t.utimensat(path, When::At(5, 6), When::At(7, 8), 0);
        t.utimensat(path, When::Now, When::Now, AT_SYMLINK_NOFOLLOW);
        t.utimensat(path, When::Kept, When::Kept, 0);
        t.utimensat(path, When::At(0, 1_000_000_000), When::Now, 0);
    }
    watching(t, path) {
        let inotify = t.inotify();
        t.watch(inotify, path, IN_ALL_EVENTS);
        t.watch(inotify, path, IN_ALL_EVENTS | IN_DONT_FOLLOW);
        t.watch(inotify, path, IN_ALL_EVENTS | IN_ONLYDIR);
        t.watch(inotify, path, IN_ALL_EVENTS | IN_MASK_CREATE);
        t.events(inotify);
    }
}
