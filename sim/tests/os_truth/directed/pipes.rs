//! pipe(7): capacity, atomic writes, hang-ups.

use super::{at_least, pause};
use crate::calls::readiness::ALL;
use crate::compare::{Weathers, script};
use libc::{O_CLOEXEC, O_NONBLOCK, PIPE_BUF};

script! { Weathers::All;
    fn capacity(t) {
        let (reader, writer) = t.pipe(O_NONBLOCK | O_CLOEXEC);
        t.fcntl(writer, "F_GETPIPE_SZ", libc::F_GETPIPE_SZ, 0);
        t.write(writer, &[b'a'; 65_535]);
        t.poll(writer, ALL, 0);
        t.write(writer, b"b");
        t.write(writer, b"c");
        t.poll(writer, ALL, 0);
        t.ioctl_get(reader, "FIONREAD", libc::FIONREAD);
        t.read(reader, 4096);
        t.poll(writer, ALL, 0);
        t.write(writer, &[b'd'; 4096]);
        t.write(writer, b"e");
        t.read(reader, 70_000);
        t.read(reader, 1);
        t.poll_list(&[(reader, ALL), (writer, ALL)], 0);
    }

    /// At most `PIPE_BUF` bytes go in whole or not at all; more may go in part.
    fn atomicity(t) {
        let (reader, writer) = t.pipe(O_NONBLOCK);
        t.write(writer, &[b'a'; 65_536 - 4096]);
        t.write(writer, &[b'b'; PIPE_BUF]);
        t.write(writer, b"x");
        t.read(reader, 4096);
        t.write(writer, &[b'c'; PIPE_BUF + 1]);
        t.write(writer, &[b'd'; 3 * PIPE_BUF]);
        t.read(reader, 8192);
        t.write(writer, &[b'e'; 3 * PIPE_BUF]);
        t.ioctl_get(writer, "FIONREAD", libc::FIONREAD);
    }

    fn a_write_larger_than_the_pipe(t) {
        let (reader, writer) = t.pipe(O_NONBLOCK);
        t.write(writer, &[b'a'; 100_000]);
        t.write(writer, &[b'b'; 100_000]);
        t.read(reader, 200_000);
    }

    fn end_of_file(t) {
        let (reader, writer) = t.pipe(O_NONBLOCK);
        t.read(reader, 8);
        let copy = t.dup(writer);
        t.write(copy, b"last");
        t.close(writer);
        t.poll(reader, ALL, 0);
        t.close(copy);
        t.poll(reader, ALL, 0);
        t.read(reader, 2);
        t.poll(reader, ALL, 0);
        t.read(reader, 8);
        t.read(reader, 8);
        t.poll(reader, ALL, 0);
        t.ioctl_get(reader, "FIONREAD", libc::FIONREAD);
    }

    fn broken(t) {
        let (reader, writer) = t.pipe(O_NONBLOCK);
        t.write(writer, b"lost");
        t.close(reader);
        t.poll(writer, ALL, 0);
        t.write(writer, b"x");
        t.writev(writer, b"more", 2);
        t.write(writer, b"");
        t.ioctl_get(writer, "FIONREAD", libc::FIONREAD);
    }

    fn wrong_ends(t) {
        let (reader, writer) = t.pipe(0);
        t.write(reader, b"x");
        t.read(writer, 1);
        t.status_flags(reader);
        t.status_flags(writer);
        t.pipe(libc::O_APPEND);
        t.pipe(1 << 30);
        t.pipe(libc::O_RDWR);
    }

    fn order_and_partial_reads(t) {
        let (reader, writer) = t.pipe(O_NONBLOCK);
        t.write(writer, b"abc");
        t.write(writer, b"defg");
        t.writev(writer, b"hijklm", 4);
        t.read(reader, 5);
        t.readv(reader, 6, 2);
        t.read(reader, 64);
        t.read(reader, 0);
        t.read(reader, 64);
    }

    fn resizing(t) {
        let (_, writer) = t.pipe(O_NONBLOCK);
        t.fcntl(writer, "F_SETPIPE_SZ", libc::F_SETPIPE_SZ, 4096);
        t.fcntl(writer, "F_GETPIPE_SZ", libc::F_GETPIPE_SZ, 0);
        t.write(writer, &[b'a'; 5000]);
        t.fcntl(writer, "F_SETPIPE_SZ", libc::F_SETPIPE_SZ, 10_000);
        t.fcntl(writer, "F_GETPIPE_SZ", libc::F_GETPIPE_SZ, 0);
        t.write(writer, &[b'b'; 20_000]);
        t.fcntl(writer, "F_SETPIPE_SZ", libc::F_SETPIPE_SZ, 4096);
        t.fcntl(writer, "F_SETPIPE_SZ", libc::F_SETPIPE_SZ, 1 << 30);
        t.fcntl(writer, "F_SETPIPE_SZ", libc::F_SETPIPE_SZ, 0);
        t.fcntl(writer, "F_GETPIPE_SZ", libc::F_GETPIPE_SZ, 0);
    }
}

script! { Weathers::Calm;
    fn blocking_reads_and_writes(t) {
        let (reader, writer) = t.pipe(0);
        let late = std::thread::spawn(move || {
            pause(30);
            // SAFETY: two bytes.
            unsafe { libc::write(writer, b"ok".as_ptr().cast(), 2) };
        });
        at_least(t, 20, || t.read(reader, 8));
        let _ = late.join();
        let drain = std::thread::spawn(move || {
            let mut total = 0;
            let mut block = [0u8; 7000];
            while total < 150_000 {
                pause(1);
                // SAFETY: a buffer of that size.
                total += unsafe { libc::read(reader, block.as_mut_ptr().cast(), block.len()) };
            }
            total
        });
        t.write(writer, &[b'w'; 150_000]);
        t.say(format_args!("read {:?}", drain.join().ok()));
        t.ioctl_get(reader, "FIONREAD", libc::FIONREAD);
    }

    /// The last writer goes while a reader waits, and the last reader while a writer waits.
    fn hang_ups_while_waiting(t) {
        let (reader, writer) = t.pipe(0);
        let close = std::thread::spawn(move || {
            pause(30);
            // SAFETY: no pointer.
            unsafe { libc::close(writer) };
        });
        t.read(reader, 8);
        let _ = close.join();
        t.close(reader);
        let (reader, writer) = t.pipe(0);
        t.write(writer, &[b'f'; 65_536]);
        let close = std::thread::spawn(move || {
            pause(30);
            // SAFETY: no pointer.
            unsafe { libc::close(reader) };
        });
        t.write(writer, b"never");
        let _ = close.join();
        t.poll(writer, ALL, 0);
        let (reader, writer) = t.pipe(0);
        let close = std::thread::spawn(move || {
            pause(30);
            // SAFETY: no pointer.
            unsafe { libc::close(reader) };
        });
        t.write(writer, &[b'p'; 70_000]);
        let _ = close.join();
    }
}
