//! tcp(7): connecting, backlog, shutting down one side or both, resets.

use super::{at_least, pause};
use crate::calls::Addr;
use crate::calls::readiness::{ALL, ET, IN, OUT, RDHUP};
use crate::compare::{Weathers, script};
use crate::transcript::Transcript;
use libc::{
    AF_INET, AF_INET6, MSG_DONTWAIT, MSG_NOSIGNAL, MSG_PEEK, MSG_TRUNC, MSG_WAITALL, SHUT_RD, SHUT_RDWR, SHUT_WR,
    SO_RCVTIMEO, SOCK_STREAM, c_int,
};

/// Everything that can be said of a socket without changing it.
fn look(t: &Transcript, fd: c_int) {
    t.poll(fd, ALL, 0);
    t.getsockname(fd);
    t.getpeername(fd);
}

script! { Weathers::Calm;
    fn a_connection_from_end_to_end(t) {
        let (listener, address) = t.listener(AF_INET, 8);
        look(t, listener);
        let client = t.tcp();
        look(t, client);
        t.connect(client, address);
        t.settle();
        look(t, client);
        t.error_of(client);
        t.connect(client, address);
        t.connect(client, address);
        look(t, listener);
        let server = t.accept(listener);
        look(t, server);
        t.accept(listener);
        t.send(client, b"question", 0);
        t.settle();
        t.poll(server, ALL, 0);
        t.ioctl_get(server, "FIONREAD", libc::FIONREAD);
        t.recv(server, 64, 0);
        t.send(server, b"ans", 0);
        t.send(server, b"wer", 0);
        t.settle();
        t.recv(client, 64, 0);
        t.close(client);
        t.settle();
        look(t, server);
        t.recv(server, 64, 0);
        t.close(server);
        t.close(listener);
    }

    fn the_same_over_v6(t) {
        let (listener, client, server) = t.connection(AF_INET6);
        look(t, client);
        look(t, server);
        t.send(client, b"six", 0);
        t.settle();
        t.recvfrom(server, 64, 0);
        t.close(listener);
        look(t, server);
    }

    fn refused(t) {
        let port = t.closed_port();
        let fd = t.tcp();
        t.connect(fd, Addr::local(port));
        t.settle();
        t.poll(fd, ALL, 0);
        t.error_of(fd);
        t.poll(fd, ALL, 0);
        t.error_of(fd);
        t.send(fd, b"x", MSG_NOSIGNAL);
        t.recv(fd, 1, 0);
        let again = t.tcp();
        t.connect(again, Addr::local(port));
        t.settle();
        t.connect(again, Addr::local(port));
        t.settle();
        t.recv(again, 1, 0);
        t.recv(again, 1, 0);
        let third = t.tcp();
        t.connect(third, Addr::local(port));
        t.settle();
        t.send(third, b"x", MSG_NOSIGNAL);
        t.send(third, b"x", MSG_NOSIGNAL);
    }

    fn refused_while_blocking(t) {
        let port = t.closed_port();
        let fd = t.socket(AF_INET, SOCK_STREAM, 0);
        t.connect(fd, Addr::local(port));
        t.error_of(fd);
        t.connect(fd, Addr::local(port));
        let (listener, address) = t.listener(AF_INET, 8);
        t.connect(fd, address);
        t.connect(fd, address);
        t.settle();
        t.accept(listener);
    }

    fn blocking_calls_wait(t) {
        let (listener, address) = t.listener(AF_INET, 8);
        t.set_nonblocking(listener, 0);
        let fd = t.socket(AF_INET, SOCK_STREAM, 0);
        let connector = std::thread::spawn(move || unsafe {
            pause(30);
            let result = libc::connect(fd, address.pointer(), address.len);
            pause(30);
            libc::send(fd, b"hello".as_ptr().cast(), 5, 0);
            pause(30);
            libc::shutdown(fd, SHUT_WR);
            result
        });
        let server = t.accept4(listener, 0);
        t.recv(server, 64, 0);
        t.recv(server, 64, 0);
        t.say(format_args!("connected: {:?}", connector.join().ok()));
        t.timeout_of(server, "SO_RCVTIMEO", SO_RCVTIMEO, 20);
        t.timeout_of(listener, "SO_RCVTIMEO", SO_RCVTIMEO, 20);
        at_least(t, 18, || t.accept(listener));
    }

    /// The number is taken before the wait (net/socket.c, `__sys_accept4_file`).
    fn a_blocking_accept_and_its_number(t) {
        let (listener, address) = t.listener(AF_INET, 8);
        t.set_nonblocking(listener, 0);
        let fd = t.socket(AF_INET, SOCK_STREAM, 0);
        let opener = std::thread::spawn(move || unsafe {
            pause(30);
            let event = libc::eventfd(0, 0);
            libc::connect(fd, address.pointer(), address.len);
            event
        });
        let server = unsafe { libc::accept(listener, std::ptr::null_mut(), std::ptr::null_mut()) };
        let before = opener.join().is_ok_and(|event| server < event);
        t.say(format_args!("the number of accept(2) is taken before it waits: {before}"));
    }

    fn shutting_down_wakes_those_who_wait(t) {
        let (listener, client, server) = t.connection(AF_INET);
        t.set_nonblocking(listener, 0);
        t.set_nonblocking(client, 0);
        for (fd, how) in [(client, SHUT_RD), (listener, SHUT_RD)] {
            let closer = std::thread::spawn(move || unsafe {
                pause(30);
                libc::shutdown(fd, how)
            });
            if fd == client {
                t.recv(client, 64, 0);
            } else {
                t.accept(listener);
            }
            let _ = closer.join();
        }
        t.close(server);
    }

    fn time_limits_of_blocking_calls(t) {
        let (_listener, client, server) = t.connection(AF_INET);
        t.set_nonblocking(client, 0);
        t.timeout_of(client, "SO_RCVTIMEO", SO_RCVTIMEO, 20);
        at_least(t, 18, || t.recv(client, 64, 0));
        t.recv(client, 64, MSG_DONTWAIT);
        t.send(server, b"abc", 0);
        t.settle();
        at_least(t, 18, || t.recv(client, 64, MSG_WAITALL));
    }

    /// MSG_WAITALL waits for all of it, MSG_PEEK leaves it, MSG_TRUNC throws it away (tcp(7)).
    fn flags_of_recv(t) {
        let (_listener, client, server) = t.connection(AF_INET);
        t.set_nonblocking(client, 0);
        let sender = std::thread::spawn(move || unsafe {
            for part in [b"one", b"two", b"six"] {
                pause(20);
                libc::send(server, part.as_ptr().cast(), 3, 0);
            }
        });
        t.recv(client, 9, MSG_WAITALL);
        let _ = sender.join();
        t.send(server, b"0123456789", 0);
        t.settle();
        t.recv(client, 4, MSG_PEEK);
        t.recv(client, 64, MSG_PEEK);
        t.recv(client, 4, MSG_TRUNC);
        t.recv(client, 2, MSG_PEEK | MSG_TRUNC);
        t.recv(client, 3, 0);
        t.recvmsg(client, 2, 64, 0);
        t.recv(client, 64, MSG_DONTWAIT);
        t.recv(client, 64, MSG_DONTWAIT);
    }

    fn half_closed_by_the_client(t) {
        let (_listener, client, server) = t.connection(AF_INET);
        t.send(client, b"request", 0);
        t.shutdown(client, SHUT_WR);
        t.settle();
        look(t, client);
        look(t, server);
        t.send(client, b"more", MSG_NOSIGNAL);
        t.recv(server, 64, 0);
        t.recv(server, 64, 0);
        t.send(server, b"response", 0);
        t.settle();
        t.recv(client, 64, 0);
        t.recv(client, 64, 0);
        t.shutdown(server, SHUT_WR);
        t.settle();
        look(t, client);
        t.recv(client, 64, 0);
        look(t, server);
        t.shutdown(client, SHUT_RDWR);
        t.shutdown(server, SHUT_RD);
    }

    /// SHUT_RD is told to nobody: bytes still arrive, and are read (tcp.c, `RCV_SHUTDOWN`).
    fn reading_side_shut(t) {
        let (_listener, client, server) = t.connection(AF_INET);
        t.shutdown(client, SHUT_RD);
        look(t, client);
        t.recv(client, 64, 0);
        t.send(server, b"still", 0);
        t.settle();
        look(t, client);
        look(t, server);
        t.recv(client, 64, 0);
        t.recv(client, 64, 0);
        t.send(client, b"fine", 0);
        t.settle();
        t.recv(server, 64, 0);
    }

    /// Sending to an end that is closed: the first send succeeds and is answered by a reset, the second fails.
    fn sending_to_a_closed_end(t) {
        let (_listener, client, server) = t.connection(AF_INET);
        t.close(server);
        t.settle();
        t.poll(client, ALL, 0);
        t.send(client, b"first", MSG_NOSIGNAL);
        t.settle();
        t.poll(client, ALL, 0);
        t.send(client, b"second", MSG_NOSIGNAL);
        t.poll(client, ALL, 0);
        t.error_of(client);
        t.recv(client, 64, 0);
        t.getpeername(client);
        t.shutdown(client, SHUT_WR);
    }

    fn reset_by_linger(t) {
        let (_listener, client, server) = t.connection(AF_INET);
        t.send(server, b"unread", 0);
        t.settle();
        t.linger(server, 1, 0);
        t.close(server);
        t.settle();
        t.poll(client, ALL, 0);
        t.recv(client, 64, 0);
        t.recv(client, 64, 0);
        t.error_of(client);
        t.poll(client, ALL, 0);
        t.send(client, b"x", MSG_NOSIGNAL);
        t.getpeername(client);
        t.getsockname(client);
    }

    fn the_error_of_a_reset_comes_once(t) {
        for first in ["SO_ERROR", "recv", "send"] {
            let (listener, client, server) = t.connection(AF_INET);
            t.linger(server, 1, 0);
            t.close(server);
            t.settle();
            match first {
                "SO_ERROR" => t.error_of(client),
                "recv" => t.recv(client, 1, 0) as c_int,
                _ => t.send(client, b"x", MSG_NOSIGNAL) as c_int,
            };
            t.error_of(client);
            t.recv(client, 1, 0);
            t.send(client, b"x", MSG_NOSIGNAL);
            t.poll(client, ALL, 0);
            t.close(client);
            t.close(listener);
        }
    }

    /// RFC 2525, 2.17: closing with unread bytes resets.
    fn reset_by_unread_bytes(t) {
        let (_listener, client, server) = t.connection(AF_INET);
        t.send(client, b"never read", 0);
        t.settle();
        t.close(server);
        t.settle();
        t.poll(client, ALL, 0);
        t.recv(client, 64, 0);
        t.recv(client, 64, 0);
        t.send(client, b"x", MSG_NOSIGNAL);
    }

    fn bytes_before_a_reset_are_lost_and_before_a_close_are_not(t) {
        let (_listener, client, server) = t.connection(AF_INET);
        t.send(server, b"kept", 0);
        t.close(server);
        t.settle();
        t.poll(client, ALL, 0);
        t.recv(client, 2, 0);
        t.recv(client, 64, 0);
        t.recv(client, 64, 0);
    }

    fn a_listener_that_closes_resets_its_backlog(t) {
        let (listener, address) = t.listener(AF_INET, 8);
        let client = t.tcp();
        t.connect(client, address);
        t.settle();
        t.send(client, b"early", 0);
        t.settle();
        t.close(listener);
        t.settle();
        t.poll(client, ALL, 0);
        t.recv(client, 64, 0);
        t.recv(client, 64, 0);
        let late = t.tcp();
        t.connect(late, address);
        t.settle();
        t.error_of(late);
    }

    /// A client that goes away before it is accepted: accept still gives the connection.
    fn gone_before_it_was_accepted(t) {
        let (listener, address) = t.listener(AF_INET, 8);
        let (fine, abrupt) = (t.tcp(), t.tcp());
        t.connect(fine, address);
        t.connect(abrupt, address);
        t.settle();
        t.send(fine, b"bye", 0);
        t.close(fine);
        t.linger(abrupt, 1, 0);
        t.close(abrupt);
        t.settle();
        t.poll(listener, ALL, 0);
        let first = t.accept(listener);
        t.recv(first, 64, 0);
        t.recv(first, 64, 0);
        let second = t.accept(listener);
        t.getpeername(second);
        t.recv(second, 64, 0);
        t.accept(listener);
    }

    /// listen(2): one more than the backlog is queued; what finds no room is retried later.
    fn backlog(t) {
        let (listener, address) = t.listener(AF_INET, 1);
        let clients = [0; 3].map(|_| t.tcp());
        for client in clients {
            t.connect(client, address);
            t.settle();
        }
        for client in clients {
            t.poll(client, OUT, 0);
        }
        let accepted = [0; 3].map(|_| t.accept(listener));
        for server in accepted.into_iter().filter(|server| *server >= 0) {
            t.getpeername(server);
        }
        // The third asks again after a second (RFC 6298).
        pause(1_500);
        t.poll(clients[2], OUT, 0);
        t.accept(listener);
    }

    fn edges_of_a_connection(t) {
        let (listener, address) = t.listener(AF_INET, 8);
        let epoll = t.epoll();
        t.epoll_add(epoll, listener, IN | ET);
        let client = t.tcp();
        t.epoll_add(epoll, client, IN | OUT | RDHUP | ET);
        t.epoll_wait(epoll, 4, 0);
        t.connect(client, address);
        t.settle();
        t.epoll_wait(epoll, 4, 0);
        t.epoll_wait(epoll, 4, 0);
        let server = t.accept(listener);
        t.send(server, b"one", 0);
        t.settle();
        t.epoll_wait(epoll, 4, 0);
        t.epoll_wait(epoll, 4, 0);
        t.send(server, b"two", 0);
        t.settle();
        t.epoll_wait(epoll, 4, 0);
        t.recv(client, 64, 0);
        t.epoll_wait(epoll, 4, 0);
        t.send(client, b"three", 0);
        t.settle();
        t.epoll_wait(epoll, 4, 0);
        t.shutdown(server, SHUT_WR);
        t.settle();
        t.epoll_wait(epoll, 4, 0);
        t.epoll_wait(epoll, 4, 0);
        t.shutdown(client, SHUT_WR);
        t.settle();
        t.epoll_wait(epoll, 4, 0);
        t.epoll_wait(epoll, 4, 0);
    }

    fn edges_of_a_full_window(t) {
        let (_listener, client, server) = t.connection(AF_INET);
        let epoll = t.epoll();
        t.epoll_add(epoll, client, OUT | ET);
        t.epoll_wait(epoll, 4, 0);
        let block = [b'w'; 65_536];
        let mut sent = 0;
        loop {
            let count = unsafe { libc::send(client, block.as_ptr().cast(), block.len(), MSG_NOSIGNAL) };
            if count < 0 {
                break;
            }
            sent += count;
        }
        t.say(format_args!("a window and a buffer hold something: {}", sent > 10_000));
        t.settle();
        t.poll(client, ALL, 0);
        t.epoll_wait(epoll, 4, 0);
        let mut room = vec![0u8; 1 << 20];
        let mut received = 0;
        loop {
            t.settle();
            let count = unsafe { libc::recv(server, room.as_mut_ptr().cast(), room.len(), MSG_DONTWAIT) };
            if count <= 0 {
                break;
            }
            received += count;
        }
        t.say(format_args!("all of it arrives: {}", received == sent));
        t.poll(client, ALL, 0);
        t.epoll_wait(epoll, 4, 0);
        t.epoll_wait(epoll, 4, 0);
    }

    fn dissolved_and_connected_again(t) {
        let (listener, address) = t.listener(AF_INET, 8);
        let client = t.tcp();
        t.connect(client, address);
        t.settle();
        let server = t.accept(listener);
        t.connect(client, Addr::unspecified());
        t.settle();
        t.recv(server, 64, 0);
        t.getpeername(client);
        t.connect(client, address);
        t.settle();
        t.error_of(client);
        t.getpeername(client);
        let again = t.accept(listener);
        t.send(again, b"hello again", 0);
        t.settle();
        t.recv(client, 64, 0);
    }

    fn both_sides_shut_at_once(t) {
        let (_listener, client, server) = t.connection(AF_INET);
        t.shutdown(client, SHUT_RDWR);
        t.settle();
        look(t, client);
        look(t, server);
        t.recv(server, 64, 0);
        t.send(server, b"into the void", MSG_NOSIGNAL);
        t.settle();
        look(t, server);
        t.error_of(server);
        t.send(server, b"again", MSG_NOSIGNAL);
        t.recv(client, 64, 0);
        t.send(client, b"x", MSG_NOSIGNAL);
    }

    /// The listener's queue is full, so the SYN gets no answer and the call waits.
    fn shut_down_while_it_connects(t) {
        let (_listener, address) = t.listener(AF_INET, 0);
        let first = t.tcp();
        t.connect(first, address);
        t.settle();
        let fd = t.socket(AF_INET, SOCK_STREAM, 0);
        let connector = std::thread::spawn(move || unsafe {
            let result = libc::connect(fd, address.pointer(), address.len);
            (result, *libc::__errno_location())
        });
        pause(30);
        t.shutdown(fd, SHUT_RDWR);
        t.say(format_args!("connect: {:?}", connector.join().ok()));
        look(t, fd);
        t.error_of(fd);
    }

    fn a_listener_that_is_shut_down(t) {
        let (listener, address) = t.listener(AF_INET, 8);
        let client = t.tcp();
        t.connect(client, address);
        t.settle();
        t.shutdown(listener, SHUT_RD);
        t.settle();
        t.poll(listener, ALL, 0);
        t.poll(client, ALL, 0);
        t.error_of(client);
        t.accept(listener);
        t.getsockname(listener);
        let late = t.tcp();
        t.connect(late, address);
        t.settle();
        t.error_of(late);
        t.listen(listener, 3);
        t.connect(late, address);
        t.settle();
        t.error_of(late);
        t.accept(listener);
    }

    /// A connection to itself: RFC 9293, 3.5, simultaneous open.
    fn connected_to_itself(t) {
        let fd = t.tcp();
        t.bind(fd, Addr::local(0));
        let address = t.getsockname(fd);
        t.connect(fd, address);
        t.settle();
        t.error_of(fd);
        look(t, fd);
        t.send(fd, b"echo", 0);
        t.settle();
        t.recv(fd, 64, 0);
        t.shutdown(fd, SHUT_WR);
        t.settle();
        t.recv(fd, 64, 0);
    }
}
