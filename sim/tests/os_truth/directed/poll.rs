//! poll(2), select(2) and their relatives with signal masks.

use super::signals::{block, handle, handled};
use super::{at_least, pause};
use crate::calls::readiness::{ALL, IN, OUT};
use crate::compare::{Weathers, script};
use crate::transcript::{Transcript, outcome, record};
use libc::{SA_RESTART, SIGUSR1, c_int, epoll_event, fd_set, pollfd, sigset_t, timespec, timeval};
use std::ptr::null_mut;

/// A set without signals.
fn nothing_blocked() -> sigset_t {
    unsafe {
        let mut set: sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        set
    }
}

fn milliseconds(ms: i64) -> timespec {
    timespec { tv_sec: ms / 1000, tv_nsec: ms % 1000 * 1_000_000 }
}

/// The three calls that bring a mask, on one descriptor with everything unblocked.
fn with_masks(t: &Transcript, fd: c_int, ms: i64) {
    let mask = nothing_blocked();
    let mut entry = pollfd { fd, events: libc::POLLIN, revents: 0 };
    let epoll = t.epoll();
    t.epoll_add(epoll, fd, IN);
    for call in ["ppoll", "pselect", "epoll_pwait"] {
        unsafe { libc::raise(SIGUSR1) };
        let (result, errno) = match call {
            "ppoll" => outcome!(unsafe { libc::ppoll(&mut entry, 1, &milliseconds(ms), &mask) }),
            "pselect" => outcome!(unsafe {
                let mut set: fd_set = std::mem::zeroed();
                libc::FD_SET(fd, &mut set);
                libc::pselect(fd + 1, &mut set, null_mut(), null_mut(), &milliseconds(ms), &mask)
            }),
            _ => outcome!(unsafe {
                let mut event = epoll_event { events: 0, u64: 0 };
                libc::epoll_pwait(epoll, &mut event, 1, ms as c_int, &mask)
            }),
        };
        t.returned(format_args!("{call}({fd}, {ms} ms)"), result, errno, "");
        t.say(format_args!("handled {}", handled()));
    }
}

fn select_raw(t: &Transcript, about: &str, count: c_int, fds: &[c_int], limit: Option<(i64, i64)>) {
    let mut limit = limit.map(|(tv_sec, tv_usec)| timeval { tv_sec, tv_usec });
    let pointer = limit.as_mut().map_or(null_mut(), |limit| limit as *mut timeval);
    let (result, errno) = outcome!(unsafe {
        let mut set: fd_set = std::mem::zeroed();
        fds.iter().for_each(|fd| libc::FD_SET(*fd, &mut set));
        libc::select(count, &mut set, null_mut(), null_mut(), pointer)
    });
    let left = limit.map_or(String::new(), |l| format!(", left: {}", l.tv_sec > 0 || l.tv_usec > 0));
    t.returned(format_args!("select({about})"), result, errno, &left);
}

script! { Weathers::All;
    fn lists(t) {
        let ((reader, writer), event) = (t.pipe(libc::O_NONBLOCK), t.eventfd(1, 0));
        t.poll_list(&[], 0);
        t.poll_list(&[(-5, ALL), (-1, ALL)], 0);
        t.poll_list(&[(reader, IN), (writer, OUT), (event, IN | OUT)], 0);
        t.poll_list(&[(reader, IN), (reader, IN), (99, IN), (99, 0)], 0);
        t.write(writer, b"x");
        t.poll_list(&[(reader, IN), (reader, OUT), (reader, 0), (writer, IN)], 0);
        t.close(writer);
        t.poll_list(&[(reader, IN), (reader, 0), (writer, 0)], 0);
        at_least(t, 10, || t.poll_list(&[(-1, IN)], 10));
        at_least(t, 10, || t.poll_list(&[], 10));
    }

    fn numbers_and_limits_of_select(t) {
        let (reader, writer) = t.pipe(libc::O_NONBLOCK);
        select_raw(t, "nothing, 5 ms", 0, &[], Some((0, 5_000)));
        select_raw(t, "negative count", -1, &[], Some((0, 0)));
        select_raw(t, "closed number", 60, &[50], Some((0, 0)));
        select_raw(t, "number beyond the count", reader, &[reader], Some((0, 5_000)));
        select_raw(t, "negative limit", 1, &[], Some((-1, 0)));
        select_raw(t, "negative microseconds", 1, &[], Some((0, -1)));
        select_raw(t, "more than a million microseconds", 1, &[], Some((0, 1_000_001 - 1_000_000)));
        t.write(writer, b"x");
        select_raw(t, "ready", reader + 1, &[reader], Some((50, 0)));
        select_raw(t, "ready, no limit", reader + 1, &[reader], None);
        t.select(reader, 0);
        t.select(writer, 0);
        t.close(writer);
        t.select(reader, 0);
    }
}

script! { Weathers::Calm;
    fn signals_that_the_call_lets_in(t) {
        handle(SIGUSR1, SA_RESTART);
        block(SIGUSR1);
        let (reader, writer) = t.pipe(libc::O_NONBLOCK);
        with_masks(t, reader, 10_000);
        t.write(writer, b"x");
        with_masks(t, reader, 10_000);
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &nothing_blocked(), null_mut()) };
        t.say(format_args!("handled afterwards {}", handled()));
    }

    fn polling_with_a_pending_signal_and_no_time(t) {
        handle(SIGUSR1, 0);
        block(SIGUSR1);
        let (reader, _writer) = t.pipe(libc::O_NONBLOCK);
        let mask = nothing_blocked();
        let mut entry = pollfd { fd: reader, events: libc::POLLIN, revents: 0 };
        unsafe { libc::raise(SIGUSR1) };
        record!(t, unsafe { libc::ppoll(&mut entry, 1, &milliseconds(0), &mask) }, "ppoll(0 ms)");
        t.say(format_args!("handled {}", handled()));
        record!(t, unsafe { libc::ppoll(&mut entry, 1, &milliseconds(0), &mask) }, "ppoll(0 ms)");
    }

    /// close(2): a call under way keeps the file that it began with.
    fn a_number_that_is_closed_while_a_thread_waits(t) {
        let (reader, writer) = t.pipe(0);
        let waiter = std::thread::spawn(move || {
            let mut room = [0u8; 8];
            unsafe { libc::read(reader, room.as_mut_ptr().cast(), 8) }
        });
        pause(20);
        t.close(reader);
        let other = t.eventfd(9, libc::EFD_NONBLOCK);
        pause(20);
        t.write(writer, b"abc");
        t.say(format_args!("the waiting thread read {:?}", waiter.join().ok()));
        t.read_word(other);
        t.write(writer, b"nobody");
        let epoll = t.epoll();
        t.epoll_add(epoll, other, IN);
        let waiter = std::thread::spawn(move || {
            let mut event = epoll_event { events: 0, u64: 0 };
            unsafe { libc::epoll_wait(epoll, &mut event, 1, 5_000) }
        });
        pause(20);
        t.close(epoll);
        t.write_word(other, 1);
        t.say(format_args!("the waiting thread was told of {:?}", waiter.join().ok()));
        let (reader, writer) = t.pipe(0);
        t.write(writer, &[b'f'; 65_536]);
        let waiter = std::thread::spawn(move || unsafe { libc::write(writer, b"late".as_ptr().cast(), 4) });
        pause(20);
        t.dup2(0, writer);
        t.read(reader, 70_000);
        t.say(format_args!("the waiting thread wrote {:?}", waiter.join().ok()));
        t.read(reader, 64);
        t.read(reader, 64);
    }
}
