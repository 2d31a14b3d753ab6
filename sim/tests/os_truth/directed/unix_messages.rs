//! unix(7) further on: what messages carry and who holds it, names that come late, and peers that change.

use super::pause;
use crate::calls::Addr;
use crate::calls::options::Opt;
use crate::calls::readiness::{ALL, ET, IN, OUT};
use crate::compare::{Weathers, script};
use crate::transcript::Transcript;
use libc::{
    AF_UNIX, MSG_NOSIGNAL, MSG_PEEK, MSG_WAITALL, SHUT_RD, SHUT_WR, SIGPIPE, SO_PASSCRED, SO_RCVLOWAT, SOCK_DGRAM,
    SOCK_NONBLOCK, SOCK_SEQPACKET, SOCK_STREAM, SOL_SOCKET, c_int, sigset_t,
};

const PASSCRED: Opt = Opt { name: "SO_PASSCRED", level: SOL_SOCKET, number: SO_PASSCRED };
const RCVLOWAT: Opt = Opt { name: "SO_RCVLOWAT", level: SOL_SOCKET, number: SO_RCVLOWAT };

fn pair(t: &Transcript, kind: c_int) -> (c_int, c_int) {
    t.socketpair(AF_UNIX, kind | SOCK_NONBLOCK)
}

script! { Weathers::Calm;
    /// Linux notices when another Unix socket is closed, and takes its time: net/unix/garbage.c.
    fn sockets_that_only_messages_hold(t) {
        let (a, b) = pair(t, SOCK_STREAM);
        t.bind(b, Addr::name("ring"));
        t.sendmsg(a, b"into itself", None, &[b], 0);
        t.close(b);
        let (c, d) = pair(t, SOCK_DGRAM);
        let (e, f) = pair(t, SOCK_DGRAM);
        t.sendmsg(c, b"one in the other", None, &[f], 0);
        t.sendmsg(e, b"and the other way round", None, &[d], 0);
        t.close(d);
        t.close(f);
        // A listener whose connection, which nobody has accepted, is sent the listener.
        let listener = t.unix(SOCK_STREAM);
        t.bind(listener, Addr::name("held"));
        t.listen(listener, 1);
        let client = t.unix(SOCK_STREAM);
        t.connect(client, Addr::name("held"));
        t.sendmsg(client, b"yourself", None, &[listener], 0);
        t.close(listener);
        // This one can still be received.
        let (g, h) = pair(t, SOCK_STREAM);
        let (kept, peer_of_kept) = pair(t, SOCK_STREAM);
        t.sendmsg(g, b"safe", None, &[kept], 0);
        t.close(kept);
        for _ in 0..2 {
            t.close(t.unix(SOCK_DGRAM));
            pause(150);
        }
        t.send(a, b"x", MSG_NOSIGNAL);
        t.poll(a, ALL, 0);
        t.send(c, b"x", MSG_NOSIGNAL);
        t.send(e, b"x", MSG_NOSIGNAL);
        t.send(client, b"x", MSG_NOSIGNAL);
        t.recv(client, 8, 0);
        t.send(peer_of_kept, b"x", MSG_NOSIGNAL);
        t.recvmsg(h, 8, 64, 0);
        let again = t.unix(SOCK_STREAM);
        t.bind(again, Addr::name("ring"));
    }

    /// Who only looks gets descriptors, too, and a copy each time; a stream shows those of later messages.
    fn looking_at_descriptors(t) {
        for kind in [SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET] {
            let (a, b) = pair(t, kind);
            let (reader, writer) = t.pipe(libc::O_NONBLOCK);
            t.send(a, b"plain", 0);
            t.sendmsg(a, b"with", None, &[writer], 0);
            t.close(writer);
            t.recvmsg(b, 3, 64, MSG_PEEK);
            t.recv(b, 5, 0);
            let (_, passed) = t.recvmsg(b, 64, 64, MSG_PEEK);
            passed.iter().for_each(|fd| { t.write(*fd, b"looked"); t.close(*fd); });
            let (_, passed) = t.recvmsg(b, 0, 64, 0);
            passed.iter().for_each(|fd| { t.close(*fd); });
            t.recvmsg(b, 64, 64, 0);
            t.read(reader, 64);
            t.read(reader, 64);
            t.close_all();
        }
    }

    fn credentials_asked_for_late(t) {
        for kind in [SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET] {
            let (a, b) = pair(t, kind);
            t.send(a, b"early", 0);
            t.setopt(b, PASSCRED, 1);
            t.send(a, b"late", 0);
            t.recvmsg(b, 64, 64, 0);
            t.recvmsg(b, 64, 64, 0);
            t.getsockname(b);
            t.send(b, b"named by sending", 0);
            t.getsockname(b);
            t.recvfrom(a, 64, 0);
            t.shutdown(a, SHUT_WR);
            t.recvmsg(b, 64, 64, 0);
        }
        let server = t.unix(SOCK_STREAM);
        t.bind(server, Addr::name("asks"));
        t.listen(server, 4);
        t.setopt(server, PASSCRED, 1);
        let client = t.unix(SOCK_STREAM);
        t.connect(client, Addr::name("asks"));
        t.send(client, b"hello", 0);
        let accepted = t.accept(server);
        t.getopt(accepted, PASSCRED);
        t.recvmsg(accepted, 64, 64, 0);
    }

    /// A name is known to whoever knows the socket, when it comes and after the socket is gone.
    fn names_that_come_late(t) {
        for kind in [SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET] {
            let (a, b) = pair(t, kind);
            t.send(a, b"before", 0);
            t.getpeername(b);
            t.bind(a, Addr::name("late"));
            t.getpeername(b);
            t.bind(a, Addr::family_only(AF_UNIX));
            t.bind(a, Addr::name("later"));
            t.close(a);
            t.recvfrom(b, 64, 0);
            t.getpeername(b);
        }
        let types = [SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET].map(|kind| t.unix(kind));
        types.iter().for_each(|fd| { t.bind(*fd, Addr::name("same")); });
        for kind in [SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET] {
            t.connect(t.unix(kind), Addr::name("same"));
        }
    }

    /// What waits from the old peer is lost, and the old peer hears of it.
    fn a_datagram_socket_changes_its_peer(t) {
        let (a, b) = pair(t, SOCK_DGRAM);
        let other = t.unix(SOCK_DGRAM);
        t.bind(other, Addr::name("other"));
        let epoll = t.epoll();
        t.epoll_add(epoll, b, IN | OUT | ET);
        t.epoll_wait(epoll, 4, 0);
        t.send(b, b"unread", 0);
        t.connect(a, Addr::name("other"));
        t.epoll_wait(epoll, 4, 0);
        t.recv(a, 64, 0);
        t.send(b, b"x", 0);
        t.send(b, b"x", 0);
        t.error_of(b);
        let (c, d) = pair(t, SOCK_DGRAM);
        t.connect(c, Addr::unspecified());
        t.error_of(d);
        t.send(d, b"to one that has left", 0);
        t.recvfrom(c, 64, 0);
        t.shutdown(c, SHUT_RD);
        t.send(d, b"x", MSG_NOSIGNAL);
    }

    /// `SO_RCVLOWAT` and `MSG_WAITALL` let a read wait for more than a byte.
    fn reads_that_want_more(t) {
        let (a, b) = t.socketpair(AF_UNIX, SOCK_STREAM);
        t.setopt(b, RCVLOWAT, 6);
        let sender = std::thread::spawn(move || unsafe {
            for part in [c"one", c"two", c"three", c"four"] {
                pause(30);
                libc::send(a, part.as_ptr().cast(), part.count_bytes(), 0);
            }
            pause(30);
            libc::close(a);
        });
        t.recv(b, 64, 0);
        t.recv(b, 7, MSG_WAITALL);
        t.recv(b, 64, 0);
        t.recv(b, 64, MSG_WAITALL);
        let _ = sender.join();
    }

    /// Only streams raise `SIGPIPE`.
    fn broken_pipes(t) {
        for kind in [SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET] {
            let (a, _) = pair(t, kind);
            t.shutdown(a, SHUT_WR);
            unsafe {
                let mut set: sigset_t = std::mem::zeroed();
                libc::sigemptyset(&mut set);
                libc::sigaddset(&mut set, SIGPIPE);
                libc::signal(SIGPIPE, libc::SIG_DFL);
                libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
                t.send(a, b"x", 0);
                t.send(a, b"", 0);
                let none = libc::timespec { tv_sec: 0, tv_nsec: 0 };
                let signal = libc::sigtimedwait(&set, std::ptr::null_mut(), &none);
                t.say(format_args!("signal {signal}"));
            }
        }
    }

    /// An empty packet is not what makes a close a reset.
    fn closed_with_something_unread(t) {
        for kind in [SOCK_STREAM, SOCK_SEQPACKET] {
            for unread in [&[][..], &[&b""[..]], &[&b"x"[..]], &[&b""[..], b""], &[&b""[..], b"x"]] {
                let (a, b) = pair(t, kind);
                unread.iter().for_each(|part| { t.send(a, part, 0); });
                t.close(b);
                t.poll(a, ALL, 0);
                t.send(a, b"x", MSG_NOSIGNAL);
                t.recv(a, 8, 0);
                t.recv(a, 8, 0);
            }
        }
    }

    /// How much fits depends on the size of what is sent: memory is accounted for, not bytes.
    fn full_queues(t) {
        for kind in [SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET] {
            for size in [1, 100, 200, 500, 1000, 1500, 4000, 4096, 10_000, 16_000, 17_000, 40_000, 65_536, 200_000] {
                let (a, b) = pair(t, kind);
                let content = vec![b'x'; size];
                let (mut calls, mut total) = (0, 0);
                loop {
                    let sent = unsafe { libc::send(a, content.as_ptr().cast(), size, MSG_NOSIGNAL) };
                    if sent <= 0 {
                        break;
                    }
                    (calls, total) = (calls + 1, total + sent);
                }
                t.ioctl_get(a, "TIOCOUTQ", libc::TIOCOUTQ);
                t.say(format_args!("{size} bytes each: {calls} calls, {total} bytes"));
                t.recv(b, 1, 0);
                t.ioctl_get(a, "TIOCOUTQ", libc::TIOCOUTQ);
                t.close_all();
            }
        }
    }
}
