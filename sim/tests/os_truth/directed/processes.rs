//! What a process can ask about itself.

use crate::compare::{Weathers, script};
use crate::transcript::{Transcript, outcome, record};
use libc::*;

script! { Weathers::All;
    fn identity(t) {
        // SAFETY (all): no pointers.
        let (pid, tid) = unsafe { (getpid(), gettid()) };
        t.say(format_args!("positive: {}, the first thread's: {}", pid > 1, pid == tid));
        let other = std::thread::spawn(|| unsafe { (getpid(), gettid()) }).join().unwrap_or((0, 0));
        t.say(format_args!("same process: {}, other thread: {}", other.0 == pid, other.1 != tid));
        let (user, group) = unsafe { (getuid(), getgid()) };
        t.say(format_args!("nobody special: {}", user != 0 && group != 0));
        t.say(format_args!("in effect: {}", unsafe { geteuid() == user && getegid() == group }));
        record!(t, unsafe { sched_yield() }, "sched_yield()");
    }

    fn limits(t) {
        let kinds = [("NOFILE", RLIMIT_NOFILE), ("STACK", RLIMIT_STACK), ("AS", RLIMIT_AS), ("CPU", RLIMIT_CPU)];
        for (name, which) in kinds {
            let mut limit = rlimit { rlim_cur: 0, rlim_max: 0 };
            let (result, errno) = outcome!(unsafe { getrlimit(which, &mut limit) });
            let sane = limit.rlim_cur <= limit.rlim_max && limit.rlim_cur > 0;
            t.returned(format_args!("getrlimit({name})"), result, errno, &format!(" sane: {sane}"));
        }
        let mut limit = rlimit { rlim_cur: 0, rlim_max: 0 };
        record!(t, unsafe { getrlimit(99, &mut limit) }, "getrlimit(99)");
        record!(t, unsafe { setrlimit(99, &limit) }, "setrlimit(99)");
    }

    /// getrlimit(2), `RLIMIT_NOFILE`: numbers stay below the limit, what is open above it stays open.
    fn descriptor_limit(t) {
        let mut limit = rlimit { rlim_cur: 0, rlim_max: 0 };
        record!(t, unsafe { getrlimit(RLIMIT_NOFILE, &mut limit) }, "getrlimit(NOFILE)");
        t.dup2(0, 20);
        let lower = rlimit { rlim_cur: 8, rlim_max: limit.rlim_max };
        record!(t, unsafe { setrlimit(RLIMIT_NOFILE, &lower) }, "setrlimit(NOFILE, 8)");
        for _ in 0..6 {
            t.dup(0);
        }
        t.eventfd(0, 0);
        t.epoll();
        t.close(5);
        t.pipe(0);
        t.dup(0);
        t.dup2(0, 7);
        t.dup2(0, 8);
        t.dup2(0, 20);
        t.dup2(20, 20);
        t.dup3(0, 9, 0);
        t.fcntl(20, "F_DUPFD", F_DUPFD, 0);
        t.fcntl(20, "F_DUPFD", F_DUPFD, 7);
        t.fcntl(20, "F_DUPFD", F_DUPFD, 8);
        t.read(20, 1);
        t.close(20);
        let crooked = rlimit { rlim_cur: 9, rlim_max: 8 };
        record!(t, unsafe { setrlimit(RLIMIT_NOFILE, &crooked) }, "setrlimit(NOFILE, 9 of 8)");
        let lower = rlimit { rlim_cur: 8, rlim_max: 16 };
        record!(t, unsafe { setrlimit(RLIMIT_NOFILE, &lower) }, "setrlimit(NOFILE, 8 of 16)");
        let higher = rlimit { rlim_cur: 8, rlim_max: 32 };
        record!(t, unsafe { setrlimit(RLIMIT_NOFILE, &higher) }, "setrlimit(NOFILE, 8 of 32)");
        record!(t, unsafe { getrlimit(RLIMIT_NOFILE, &mut limit) }, "getrlimit(NOFILE)");
        t.say(format_args!("{} of {}", limit.rlim_cur, limit.rlim_max));
    }

    fn processors(t) {
        // SAFETY (all): a set of that size.
        let mut set: cpu_set_t = unsafe { std::mem::zeroed() };
        record!(t, unsafe { sched_getaffinity(0, size_of::<cpu_set_t>(), &mut set) }, "sched_getaffinity(0)");
        let count = unsafe { CPU_COUNT(&set) };
        let online = unsafe { sysconf(_SC_NPROCESSORS_ONLN) };
        t.say(format_args!("at least one: {}, no more than online: {}", count >= 1, i64::from(count) <= online));
        let same = std::thread::available_parallelism().is_ok_and(|n| n.get() as i32 <= count);
        t.say(format_args!("std agrees: {same}"));
        record!(t, unsafe { sched_getaffinity(0, 3, &mut set) }, "sched_getaffinity(3 bytes)");
        let mut raw = || unsafe { syscall(SYS_sched_getaffinity, 0, size_of::<cpu_set_t>(), &raw mut set) };
        t.say(format_args!("the system call answers words: {}", matches!(raw(), 8..) && raw() % 8 == 0));
    }

    fn closing_ranges(t) {
        let open = |t: &Transcript| {
            let list: Vec<c_int> = (0..40).filter(|fd| unsafe { fcntl(*fd, F_GETFD) } >= 0).collect();
            let close: Vec<c_int> = list.iter().copied().filter(|fd| unsafe { fcntl(*fd, F_GETFD) } == 1).collect();
            t.say(format_args!("open {list:?}, of them close-on-exec {close:?}"));
        };
        let range = |t: &Transcript, first: c_uint, last: c_uint, flags: c_int| {
            record!(t, unsafe { close_range(first, last, flags) }, "close_range({first}, {last}, {flags:#x})");
        };
        for fd in [5, 6, 7, 9, 12, 20, 30] {
            unsafe { dup2(0, fd) };
        }
        open(t);
        range(t, 6, 9, CLOSE_RANGE_CLOEXEC as c_int);
        open(t);
        range(t, 8, 12, 0);
        open(t);
        range(t, 13, 19, 0);
        range(t, 9, 8, 0);
        range(t, 30, 30, 1);
        range(t, 20, 30, CLOSE_RANGE_UNSHARE as c_int);
        open(t);
        t.dup(0);
        unsafe extern "C" {
            fn closefrom(first: c_int);
        }
        unsafe { closefrom(6) };
        open(t);
        range(t, 3, c_uint::MAX, 0);
        open(t);
        t.dup(0);
    }

    fn vectors_with_flags(t) {
        let (reader, writer) = t.pipe(O_NONBLOCK);
        let mut room = [0u8; 8];
        let part = iovec { iov_base: room.as_mut_ptr().cast(), iov_len: 8 };
        for offset in [-1, 0, -2] {
            record!(t, unsafe { pwritev2(writer, &part, 1, offset, 0) }, "pwritev2({offset})");
            record!(t, unsafe { preadv2(reader, &part, 1, offset, 0) }, "preadv2({offset})");
        }
        record!(t, unsafe { preadv2(40, &part, 1, -1, 0) }, "preadv2(closed)");
    }

    fn children_and_sessions(t) {
        record!(t, unsafe { waitpid(-1, std::ptr::null_mut(), WNOHANG) }, "waitpid(-1)");
        record!(t, unsafe { waitpid(0x3fff_fff0, std::ptr::null_mut(), 0) }, "waitpid(nobody)");
    }

    fn thread_names(t) {
        let mut name = [0u8; 16];
        record!(t, unsafe { prctl(PR_SET_NAME, c"a rather long name".as_ptr()) }, "prctl(SET_NAME)");
        record!(t, unsafe { prctl(PR_GET_NAME, name.as_mut_ptr()) }, "prctl(GET_NAME)");
        t.say(format_args!("{}", name.escape_ascii()));
        record!(t, unsafe { prctl(99_999, 0, 0, 0, 0) }, "prctl(99999)");
    }
}
