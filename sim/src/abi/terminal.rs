//! Terminals: hosts have none. These calls ask the real kernel about real descriptors, inside libc.

use super::{answer_int, hooks, look, refuse};
use libc::{c_char, c_int, c_void, pid_t};
use std::ptr;

/// No descriptor is a terminal.
fn no_terminal(fd: c_int) -> c_int {
    let known = look("ioctl", |k, me| k.file(me, fd).map(|_| 0));
    answer_int(if known < 0 { known } else { -i64::from(libc::ENOTTY) })
}

const PSEUDO: &str = "hosts have no terminals: use pipes or sockets";

hooks! {
    terminal;

    fn tcgetattr(fd: c_int, _out: *mut c_void) -> c_int { no_terminal(fd) }
    fn tcsetattr(fd: c_int, _actions: c_int, _new: *const c_void) -> c_int { no_terminal(fd) }
    @also(tcflush, tcflow, tcsendbreak)
    fn tcdrain(fd: c_int) -> c_int { no_terminal(fd) }
    @also(tcgetsid)
    fn tcgetpgrp(fd: c_int) -> pid_t { no_terminal(fd) }
    fn tcsetpgrp(fd: c_int, _group: pid_t) -> c_int { no_terminal(fd) }
    fn ttyname(fd: c_int) -> *mut c_char {
        no_terminal(fd);
        ptr::null_mut()
    }
    /// Answers the error itself, not -1 (ttyname(3)).
    fn ttyname_r(fd: c_int, _buffer: *mut c_char, _room: usize) -> c_int {
        no_terminal(fd);
        *libc::__errno_location()
    }
    @also(getpt)
    fn posix_openpt(_flags: c_int) -> c_int { refuse("posix_openpt", PSEUDO) as c_int }
    fn openpty(_a: usize, _b: usize, _c: usize, _d: usize, _e: usize) -> c_int { refuse("openpty", PSEUDO) as c_int }
    fn forkpty(_a: usize, _b: usize, _c: usize, _d: usize) -> c_int { refuse("forkpty", PSEUDO) as c_int }
}
