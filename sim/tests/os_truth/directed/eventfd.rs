//! eventfd(2): counters, semaphores, overflow.

use super::{at_least, pause};
use crate::calls::readiness::ALL;
use crate::compare::{Weathers, script};
use libc::{EFD_CLOEXEC, EFD_NONBLOCK, EFD_SEMAPHORE};

script! { Weathers::All;
    fn counting(t) {
        let fd = t.eventfd(5, EFD_NONBLOCK);
        t.read_word(fd);
        t.read_word(fd);
        t.write_word(fd, 3);
        t.write_word(fd, 4);
        t.write_word(fd, 0);
        t.read_word(fd);
        t.write_word(fd, 0);
        t.read_word(fd);
        t.poll(fd, ALL, 0);
    }

    fn semaphore(t) {
        let fd = t.eventfd(2, EFD_NONBLOCK | EFD_SEMAPHORE | EFD_CLOEXEC);
        t.fcntl(fd, "F_GETFD", libc::F_GETFD, 0);
        for _ in 0..3 {
            t.read_word(fd);
        }
        t.write_word(fd, 2);
        t.read_word(fd);
        t.poll(fd, ALL, 0);
        t.read_word(fd);
        t.poll(fd, ALL, 0);
    }

    fn overflow(t) {
        let fd = t.eventfd(0, EFD_NONBLOCK);
        t.write_word(fd, u64::MAX);
        t.write_word(fd, u64::MAX - 1);
        t.poll(fd, ALL, 0);
        t.write_word(fd, 1);
        t.write_word(fd, 0);
        t.read_word(fd);
        t.write_word(fd, u64::MAX - 2);
        t.poll(fd, ALL, 0);
        t.write_word(fd, 2);
        t.write_word(fd, 1);
        t.write_word(fd, 1);
        t.read_word(fd);
        t.poll(fd, ALL, 0);
    }

    fn flags_and_sizes(t) {
        t.eventfd(0, 1 << 20);
        t.eventfd(0, libc::O_APPEND);
        let fd = t.eventfd(u32::MAX, 0);
        t.status_flags(fd);
        t.read(fd, 7);
        t.read_word(fd);
        t.write(fd, b"seven..");
        t.set_nonblocking(fd, 1);
        t.read_word(fd);
    }
}

script! { Weathers::Calm;
    fn blocking_both_ways(t) {
        let fd = t.eventfd(0, 0);
        let writer = std::thread::spawn(move || {
            pause(30);
            let value = 7u64;
            // SAFETY: eight bytes.
            unsafe { libc::write(fd, (&raw const value).cast(), 8) };
        });
        at_least(t, 20, || t.read_word(fd));
        let _ = writer.join();
        t.write_word(fd, u64::MAX - 1);
        let reader = std::thread::spawn(move || {
            pause(30);
            let mut value = 0u64;
            // SAFETY: eight bytes.
            unsafe { libc::read(fd, (&raw mut value).cast(), 8) };
            value
        });
        at_least(t, 20, || t.write_word(fd, 5));
        t.say(format_args!("the reader got {:?}", reader.join().ok()));
        t.read_word(fd);
    }
}
