//! inotify(7).

use super::files::{c, words};
use crate::transcript::{Transcript, outcome, record};
use libc::c_int;

/// Events of inotify(7) by name.
const EVENTS: [(u32, &str); 18] = [
    (libc::IN_ACCESS, "ACCESS"),
    (libc::IN_MODIFY, "MODIFY"),
    (libc::IN_ATTRIB, "ATTRIB"),
    (libc::IN_CLOSE_WRITE, "CLOSE_WRITE"),
    (libc::IN_CLOSE_NOWRITE, "CLOSE_NOWRITE"),
    (libc::IN_OPEN, "OPEN"),
    (libc::IN_MOVED_FROM, "MOVED_FROM"),
    (libc::IN_MOVED_TO, "MOVED_TO"),
    (libc::IN_CREATE, "CREATE"),
    (libc::IN_DELETE, "DELETE"),
    (libc::IN_DELETE_SELF, "DELETE_SELF"),
    (libc::IN_MOVE_SELF, "MOVE_SELF"),
    (libc::IN_UNMOUNT, "UNMOUNT"),
    (libc::IN_Q_OVERFLOW, "Q_OVERFLOW"),
    (libc::IN_IGNORED, "IGNORED"),
    (libc::IN_ISDIR, "ISDIR"),
    (libc::IN_ONESHOT, "ONESHOT"),
    (libc::IN_DONT_FOLLOW, "DONT_FOLLOW"),
];

impl Transcript {
    pub fn inotify(&self) -> c_int {
        record!(self, unsafe { libc::inotify_init1(libc::IN_NONBLOCK) }, "inotify_init1(NONBLOCK)") as c_int
    }

    pub fn watch(&self, fd: c_int, path: &str, mask: u32) -> c_int {
        let (at, text) = (c(path), words(mask, &EVENTS));
        let call = || unsafe { libc::inotify_add_watch(fd, at.as_ptr(), mask) };
        record!(self, call(), "inotify_add_watch({fd}, {path:?}, {text})") as c_int
    }

    pub fn unwatch(&self, fd: c_int, watch: c_int) -> c_int {
        record!(self, unsafe { libc::inotify_rm_watch(fd, watch) }, "inotify_rm_watch({fd}, {watch})") as c_int
    }

    /// What an inotify has to tell, event by event; cookies have names.
    pub fn events(&self, fd: c_int) {
        const HEADER_BYTES: usize = 16;
        let mut buffer = [0u64; 1024];
        let (result, errno) = outcome!(unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), size_of_val(&buffer)) });
        if result < 0 {
            return self.returned(format_args!("events of {fd}"), result, errno, "");
        }
        let all: Vec<u8> = buffer.iter().flat_map(|word| word.to_ne_bytes()).take(result as usize).collect();
        let word = |at: usize| u32::from_ne_bytes([all[at], all[at + 1], all[at + 2], all[at + 3]]);
        let mut at = 0;
        while at + HEADER_BYTES <= all.len() {
            let name_bytes = word(at + 12) as usize;
            let name = &all[at + HEADER_BYTES..at + HEADER_BYTES + name_bytes];
            let name = self.with_name_of_unnamed(String::from_utf8_lossy(name).trim_end_matches('\0'));
            let cookie = self.name("cookie", u64::from(word(at + 8)));
            let mask = words(word(at + 4), &EVENTS);
            self.say(format_args!("event of {fd}: watch {} {mask} {cookie} {name:?}", word(at) as i32));
            at += HEADER_BYTES + name_bytes;
        }
    }
}
