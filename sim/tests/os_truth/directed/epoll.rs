//! epoll(7): level, edge, oneshot, exclusive, nested.

use super::pause;
use crate::calls::readiness::{ALL, ET, EXCLUSIVE, IN, ONESHOT, OUT};
use crate::compare::{Weathers, script};
use libc::EFD_NONBLOCK;

script! { Weathers::All;
    /// Reported as long as it is ready.
    fn level_triggered_is_reported_until_read(t) {
        let (epoll, (reader, writer)) = (t.epoll(), t.pipe(libc::O_NONBLOCK));
        t.epoll_add(epoll, reader, IN);
        t.epoll_wait(epoll, 4, 0);
        t.write(writer, b"abcdef");
        t.epoll_wait(epoll, 4, 0);
        t.read(reader, 3);
        t.epoll_wait(epoll, 4, 0);
        t.read(reader, 3);
        t.epoll_wait(epoll, 4, 0);
        t.close(writer);
        t.epoll_wait(epoll, 4, 0);
        t.epoll_wait(epoll, 4, 0);
        t.close(reader);
        t.epoll_wait(epoll, 4, 0);
    }

    /// Polling an epoll makes it forget what is not ready after all; that comes last when it is ready again.
    fn a_polled_epoll_forgets_what_is_not_ready(t) {
        for polled in [false, true] {
            let (epoll, first, second) = (t.epoll(), t.eventfd(1, EFD_NONBLOCK), t.eventfd(1, EFD_NONBLOCK));
            t.epoll_add(epoll, first, IN | ET);
            t.read(first, 8);
            if polled {
                t.poll(epoll, IN, 0);
            }
            t.epoll_add(epoll, second, IN | ET);
            t.write_word(first, 1);
            t.epoll_wait(epoll, 4, 0);
            t.close_all();
        }
    }

    /// Reported once for each change, whether anything was read or not.
    fn edge_triggered_is_reported_at_each_change(t) {
        let (epoll, (reader, writer)) = (t.epoll(), t.pipe(libc::O_NONBLOCK));
        t.write(writer, b"before");
        t.epoll_add(epoll, reader, IN | ET);
        t.epoll_wait(epoll, 4, 0);
        t.epoll_wait(epoll, 4, 0);
        t.write(writer, b"one");
        t.epoll_wait(epoll, 4, 0);
        t.write(writer, b"two");
        t.write(writer, b"three");
        t.epoll_wait(epoll, 4, 0);
        t.epoll_wait(epoll, 4, 0);
        t.read(reader, 2);
        t.epoll_wait(epoll, 4, 0);
        t.read(reader, 64);
        t.epoll_wait(epoll, 4, 0);
        t.write(writer, b"four");
        t.epoll_wait(epoll, 4, 0);
        t.epoll_mod(epoll, reader, IN | ET);
        t.epoll_wait(epoll, 4, 0);
        t.close(writer);
        t.epoll_wait(epoll, 4, 0);
        t.epoll_wait(epoll, 4, 0);
    }

    /// What is ready no more when asked for is not reported, and the next change is.
    fn an_edge_that_is_gone_is_not_reported(t) {
        let (epoll, (reader, writer)) = (t.epoll(), t.pipe(libc::O_NONBLOCK));
        t.epoll_add(epoll, reader, IN | ET);
        t.write(writer, b"x");
        t.read(reader, 1);
        t.epoll_wait(epoll, 4, 0);
        t.write(writer, b"y");
        t.epoll_wait(epoll, 4, 0);
    }

    fn edge_triggered_output_of_an_eventfd(t) {
        let (epoll, event) = (t.epoll(), t.eventfd(0, EFD_NONBLOCK));
        t.epoll_add(epoll, event, IN | OUT | ET);
        t.epoll_wait(epoll, 4, 0);
        t.epoll_wait(epoll, 4, 0);
        t.write_word(event, 1);
        t.epoll_wait(epoll, 4, 0);
        t.write_word(event, 1);
        t.epoll_wait(epoll, 4, 0);
        t.read_word(event);
        t.epoll_wait(epoll, 4, 0);
        t.read_word(event);
        t.epoll_wait(epoll, 4, 0);
        t.write_word(event, u64::MAX - 1);
        t.epoll_wait(epoll, 4, 0);
        t.read_word(event);
        t.epoll_wait(epoll, 4, 0);
    }

    fn edge_triggered_output_of_a_pipe(t) {
        let (epoll, (reader, writer)) = (t.epoll(), t.pipe(libc::O_NONBLOCK));
        t.epoll_add(epoll, writer, OUT | ET);
        t.epoll_wait(epoll, 4, 0);
        t.write(writer, &[b'a'; 65_536]);
        t.epoll_wait(epoll, 4, 0);
        t.write(writer, b"b");
        t.epoll_wait(epoll, 4, 0);
        t.read(reader, 65_536);
        t.epoll_wait(epoll, 4, 0);
        t.epoll_wait(epoll, 4, 0);
    }

    fn oneshot_is_silent_until_armed_again(t) {
        let (epoll, (reader, writer)) = (t.epoll(), t.pipe(libc::O_NONBLOCK));
        t.epoll_add(epoll, reader, IN | ONESHOT);
        t.write(writer, b"one");
        t.epoll_wait(epoll, 4, 0);
        t.write(writer, b"two");
        t.epoll_wait(epoll, 4, 0);
        t.close(writer);
        t.epoll_wait(epoll, 4, 0);
        t.epoll_mod(epoll, reader, IN | ONESHOT | ET);
        t.epoll_wait(epoll, 4, 0);
        t.epoll_wait(epoll, 4, 0);
        t.epoll_mod(epoll, reader, 0);
        t.epoll_wait(epoll, 4, 0);
    }

    /// Fair in turns: what does not fit now comes first next time.
    fn more_ready_than_there_is_room_for(t) {
        let epoll = t.epoll();
        let events = [0; 5].map(|_| t.eventfd(1, EFD_NONBLOCK));
        for event in events {
            t.epoll_add(epoll, event, IN);
        }
        t.epoll_wait(epoll, 2, 0);
        t.epoll_wait(epoll, 2, 0);
        t.epoll_wait(epoll, 2, 0);
        t.read_word(events[1]);
        t.epoll_wait(epoll, 9, 0);
        t.epoll_del(epoll, events[2]);
        t.epoll_wait(epoll, 9, 0);
        t.close(events[3]);
        t.epoll_wait(epoll, 9, 0);
    }

    /// In the order in which they became ready.
    fn readiness_is_reported_in_order(t) {
        let epoll = t.epoll();
        let events = [0; 4].map(|_| t.eventfd(0, EFD_NONBLOCK));
        for event in events {
            t.epoll_add(epoll, event, IN | ET);
        }
        for at in [2, 0, 3, 1, 0] {
            t.write_word(events[at], 1);
        }
        t.epoll_wait(epoll, 9, 0);
        for at in [3, 1] {
            t.write_word(events[at], 1);
        }
        t.epoll_wait(epoll, 9, 0);
    }

    fn changing_interest(t) {
        let (epoll, event) = (t.epoll(), t.eventfd(1, EFD_NONBLOCK));
        t.epoll_add(epoll, event, 0);
        t.epoll_wait(epoll, 4, 0);
        t.epoll_mod(epoll, event, OUT);
        t.epoll_wait(epoll, 4, 0);
        t.epoll_mod(epoll, event, IN);
        t.epoll_wait(epoll, 4, 0);
        t.read_word(event);
        t.epoll_mod(epoll, event, IN | OUT);
        t.epoll_wait(epoll, 4, 0);
        t.epoll_mod(epoll, event, IN | ET);
        t.epoll_wait(epoll, 4, 0);
        t.write_word(event, 1);
        t.epoll_wait(epoll, 4, 0);
        t.epoll_wait(epoll, 4, 0);
        t.epoll_mod(epoll, event, IN);
        t.epoll_wait(epoll, 4, 0);
        t.epoll_wait(epoll, 4, 0);
    }

    /// epoll(7), question 6: the description, not the number, is what is watched.
    fn a_closed_number_with_a_copy_is_still_reported(t) {
        let (epoll, (reader, writer)) = (t.epoll(), t.pipe(libc::O_NONBLOCK));
        t.epoll_add(epoll, reader, IN);
        let copy = t.dup(reader);
        t.close(reader);
        t.write(writer, b"x");
        t.epoll_wait(epoll, 4, 0);
        t.epoll_del(epoll, reader);
        t.epoll_del(epoll, copy);
        t.epoll_add(epoll, copy, IN | ET);
        t.epoll_wait(epoll, 4, 0);
        let again = t.dup(copy);
        t.epoll_wait(epoll, 4, 0);
        t.epoll_del(epoll, again);
        t.close(copy);
        t.close(again);
        t.epoll_wait(epoll, 4, 0);
    }

    fn a_number_that_is_used_again_is_another_file(t) {
        let (epoll, first) = (t.epoll(), t.eventfd(1, EFD_NONBLOCK));
        t.epoll_add(epoll, first, IN);
        t.close(first);
        let second = t.eventfd(0, EFD_NONBLOCK);
        t.epoll_wait(epoll, 4, 0);
        t.epoll_mod(epoll, second, IN);
        t.epoll_add(epoll, second, IN);
        t.write_word(second, 3);
        t.epoll_wait(epoll, 4, 0);
        let (reader, _) = t.pipe(libc::O_NONBLOCK);
        t.dup2(reader, second);
        t.epoll_wait(epoll, 4, 0);
        t.epoll_add(epoll, second, IN);
    }

    fn nested(t) {
        let (outer, inner, event) = (t.epoll(), t.epoll(), t.eventfd(0, EFD_NONBLOCK));
        t.epoll_add(outer, inner, IN);
        t.epoll_add(inner, event, IN);
        t.epoll_wait(outer, 4, 0);
        t.write_word(event, 1);
        t.poll(inner, ALL, 0);
        t.poll(outer, ALL, 0);
        t.epoll_wait(outer, 4, 0);
        t.epoll_wait(inner, 4, 0);
        t.epoll_wait(outer, 4, 0);
        t.read_word(event);
        t.epoll_wait(outer, 4, 0);
        t.epoll_mod(outer, inner, IN | ET);
        t.epoll_wait(outer, 4, 0);
        t.write_word(event, 1);
        t.epoll_wait(outer, 4, 0);
        t.epoll_wait(outer, 4, 0);
        t.write_word(event, 1);
        t.epoll_wait(outer, 4, 0);
        t.epoll_wait(inner, 4, 0);
        t.close(event);
        t.epoll_wait(outer, 4, 0);
        t.epoll_wait(inner, 4, 0);
        t.close(inner);
        t.epoll_wait(outer, 4, 0);
    }

    fn nested_edges(t) {
        let (outer, inner, event) = (t.epoll(), t.epoll(), t.eventfd(0, EFD_NONBLOCK));
        t.epoll_add(inner, event, IN | ET);
        t.epoll_add(outer, inner, IN | ET);
        t.write_word(event, 1);
        t.epoll_wait(outer, 4, 0);
        t.epoll_wait(inner, 4, 0);
        t.epoll_wait(inner, 4, 0);
        t.epoll_wait(outer, 4, 0);
        t.write_word(event, 1);
        t.poll(outer, ALL, 0);
        t.epoll_wait(outer, 4, 0);
    }

    /// epoll_ctl(2), `ELOOP`: neither circles nor more than five levels.
    fn circles_and_depth(t) {
        let epolls = [0; 9].map(|_| t.epoll());
        t.epoll_add(epolls[7], epolls[8], IN);
        t.epoll_add(epolls[8], epolls[7], IN);
        t.epoll_add(epolls[6], epolls[7], IN);
        t.epoll_add(epolls[8], epolls[6], IN);
        t.epoll_add(epolls[5], epolls[6], IN);
        t.epoll_add(epolls[4], epolls[4], IN);
        // The exact depth has changed between versions of Linux.
        let mut event = libc::epoll_event { events: IN, u64: 0 };
        // SAFETY: a valid event.
        let refused = (0..5).rev().any(|at| unsafe {
            libc::epoll_ctl(epolls[at], libc::EPOLL_CTL_ADD, epolls[at + 1], &mut event) != 0
        });
        t.say(format_args!("eight levels are too deep: {refused}"));
    }

    fn a_closed_epoll_watches_no_more(t) {
        let (epoll, event) = (t.epoll(), t.eventfd(1, EFD_NONBLOCK));
        t.epoll_add(epoll, event, IN);
        let copy = t.dup(epoll);
        t.close(epoll);
        t.epoll_wait(copy, 4, 0);
        t.epoll_wait(epoll, 4, 0);
        t.epoll_add(epoll, event, IN);
        t.close(copy);
        let other = t.epoll();
        t.epoll_wait(other, 4, 0);
        t.epoll_add(other, event, IN);
        t.epoll_wait(other, 4, 0);
    }
}

script! { Weathers::Calm;
    /// A waiting thread is woken by what happens, also by what is added meanwhile.
    fn waiting_ends_with_the_event(t) {
        let (epoll, event) = (t.epoll(), t.eventfd(0, 0));
        t.epoll_add(epoll, event, IN | ET);
        super::at_least(t, 30, || t.epoll_wait(epoll, 4, 30));
        let writer = std::thread::spawn(move || {
            pause(20);
            let one = 1u64;
            // SAFETY: eight bytes.
            unsafe { libc::write(event, (&raw const one).cast(), 8) };
        });
        t.epoll_wait(epoll, 4, 10_000);
        let _ = writer.join();
        let late = t.eventfd(1, 0);
        let adder = std::thread::spawn(move || {
            pause(20);
            let mut interest = libc::epoll_event { events: IN, u64: late as u64 };
            // SAFETY: a valid event.
            unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, late, &mut interest) };
        });
        t.poll(epoll, IN, 10_000);
        let _ = adder.join();
        t.epoll_wait(epoll, 4, 10_000);
    }

    /// Two threads wait on one epoll: a oneshot event goes to one of them.
    fn a_oneshot_event_goes_to_one_thread(t) {
        let (epoll, event) = (t.epoll(), t.eventfd(0, EFD_NONBLOCK));
        t.epoll_add(epoll, event, IN | ONESHOT);
        let waiters = [0; 2].map(|_| {
            std::thread::spawn(move || {
                let mut room = [libc::epoll_event { events: 0, u64: 0 }];
                // SAFETY: room for one.
                unsafe { libc::epoll_wait(epoll, room.as_mut_ptr(), 1, 100) }
            })
        });
        pause(20);
        t.write_word(event, 1);
        let sum: i32 = waiters.into_iter().map(|w| w.join().unwrap_or(-9)).sum();
        t.say(format_args!("reported to {sum} threads"));
    }

    /// Level-triggered, and nobody reads: each of two threads hears of it.
    fn a_level_goes_to_every_thread(t) {
        let (epoll, event) = (t.epoll(), t.eventfd(0, EFD_NONBLOCK));
        t.epoll_add(epoll, event, IN);
        let waiters = [0; 2].map(|_| {
            std::thread::spawn(move || {
                let mut room = [libc::epoll_event { events: 0, u64: 0 }];
                // SAFETY: room for one.
                unsafe { libc::epoll_wait(epoll, room.as_mut_ptr(), 1, 2_000) }
            })
        });
        pause(20);
        t.write_word(event, 1);
        let sum: i32 = waiters.into_iter().map(|w| w.join().unwrap_or(-9)).sum();
        t.say(format_args!("reported to {sum} threads"));
    }

    /// At least one of the epolls that watch exclusively is told.
    fn exclusive_interest_wakes_somebody(t) {
        let event = t.eventfd(0, EFD_NONBLOCK);
        let epolls = [0; 2].map(|_| t.epoll());
        for epoll in epolls {
            t.epoll_add(epoll, event, IN | EXCLUSIVE);
        }
        let waiters = epolls.map(|epoll| {
            std::thread::spawn(move || {
                let mut room = [libc::epoll_event { events: 0, u64: 0 }];
                // SAFETY: room for one.
                unsafe { libc::epoll_wait(epoll, room.as_mut_ptr(), 1, 200) }
            })
        });
        pause(20);
        t.write_word(event, 1);
        let sum: i32 = waiters.into_iter().map(|w| w.join().unwrap_or(-9)).sum();
        t.say(format_args!("somebody was told: {}", sum >= 1));
        for epoll in epolls {
            t.epoll_wait(epoll, 4, 0);
        }
    }
}
