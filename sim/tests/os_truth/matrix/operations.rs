//! The calls of the matrix. Each runs on a fresh descriptor; descriptors never block.

use super::on_files::FILES;
use crate::calls::options::{IP, IPV6, Opt, SOCKET, TCP, UDP};
use crate::calls::{Addr, readiness};
use crate::transcript::Transcript;
use libc::*;

/// A call, or a few that belong together, on one descriptor.
pub type Operation = (&'static str, fn(&Transcript, c_int));

/// All of them.
pub fn all() -> impl Iterator<Item = &'static Operation> {
    [DESCRIPTORS, FILES, SOCKETS].into_iter().flatten()
}

macro_rules! operations {
    ($($(#[$doc:meta])* $list:ident($t:ident, $fd:ident) { $($name:literal $body:block)* })*) => {
        $($(#[$doc])* pub const $list: &[Operation] = &[$(($name, |$t, $fd| $body),)*];)*
    };
}

pub(super) use operations;

operations! {
    DESCRIPTORS(t, fd) {
        "read nothing" { t.read(fd, 0); }
        "read a little" {
            t.read(fd, 4);
            t.read(fd, 4);
        }
        "read a word" {
            t.read(fd, 8);
            t.read(fd, 8);
        }
        "read much" {
            t.read(fd, 64);
            t.read(fd, 64);
        }
        "readv" { t.readv(fd, 9, 3); }
        "readv of a short word" { t.readv(fd, 6, 3); }
        "readv of no part" { t.readv_count(fd, 0); }
        "readv of a negative count" { t.readv_count(fd, -1); }
        "readv of too many parts" { t.readv_count(fd, 1025); }
        "pread" { t.pread(fd, 8, 0); }
        "pread nothing" { t.pread(fd, 0, 0); }
        "pread further on" { t.pread(fd, 5, 3); }
        "pread before the beginning" { t.pread(fd, 8, -1); }
        "preadv" { t.preadv(fd, 8, 0); }
        "write nothing" { t.write(fd, b""); }
        "write a little" { t.write(fd, b"ab\n"); }
        "write a word" { t.write_word(fd, 1); }
        "write the largest word" { t.write_word(fd, u64::MAX); }
        "write the largest value" { t.write_word(fd, u64::MAX - 1); }
        "write less than a word" { t.write(fd, b"\x01\0\0\0\0\n"); }
        "writev" { t.writev(fd, b"\x02\0\0\0\0\0\0\0", 4); }
        "writev of no part" { t.writev_count(fd, 0); }
        "writev of a negative count" { t.writev_count(fd, -1); }
        "writev of too many parts" { t.writev_count(fd, 1025); }
        "pwrite" { t.pwrite(fd, b"p\n", 0); }
        "pwrite before the beginning" { t.pwrite(fd, b"p\n", -1); }
        "dup" {
            let new = t.dup(fd);
            if new >= 0 {
                t.fcntl(new, "F_GETFD", F_GETFD, 0);
                t.status_flags(new);
                t.close(new);
                t.read(fd, 0);
            }
        }
        "dup2 to itself" { t.dup2(fd, fd); }
        "dup2 to a free number" {
            t.dup2(fd, 45);
            t.fcntl(45, "F_GETFD", F_GETFD, 0);
            t.dup(0);
        }
        "dup2 to one in use" {
            let event = t.eventfd(0, 0);
            t.dup2(fd, event);
            t.poll(event, readiness::ALL, 0);
        }
        "dup2 to a negative number" { t.dup2(fd, -1); }
        "dup2 beyond the limit" { t.dup2(fd, c_int::MAX); }
        "dup3" {
            t.dup3(fd, 45, O_CLOEXEC);
            t.fcntl(45, "F_GETFD", F_GETFD, 0);
        }
        "dup3 to itself" { t.dup3(fd, fd, 0); }
        "dup3 with other flags" { t.dup3(fd, 45, O_NONBLOCK); }
        "dup3 to a negative number" { t.dup3(fd, -1, 0); }
        "close-on-exec" {
            t.fcntl(fd, "F_GETFD", F_GETFD, 0);
            t.fcntl(fd, "F_SETFD", F_SETFD, FD_CLOEXEC);
            t.fcntl(fd, "F_GETFD", F_GETFD, 0);
            t.fcntl(fd, "F_SETFD", F_SETFD, 6);
            t.fcntl(fd, "F_GETFD", F_GETFD, 0);
            t.ioctl_get(fd, "FIOCLEX", FIOCLEX);
            t.fcntl(fd, "F_GETFD", F_GETFD, 0);
            t.ioctl_get(fd, "FIONCLEX", FIONCLEX);
            t.fcntl(fd, "F_GETFD", F_GETFD, 0);
        }
        "status flags" {
            let flags = t.status_flags(fd);
            if fd > 2 && flags >= 0 {
                t.fcntl(fd, "F_SETFL", F_SETFL, 0);
                t.status_flags(fd);
                t.fcntl(fd, "F_SETFL", F_SETFL, O_NONBLOCK | O_APPEND);
                t.status_flags(fd);
                t.fcntl(fd, "F_SETFL", F_SETFL, O_NONBLOCK | O_RDWR | O_CREAT | O_EXCL);
                t.status_flags(fd);
            }
        }
        "fcntl F_DUPFD" {
            t.fcntl(fd, "F_DUPFD", F_DUPFD, 30);
            t.fcntl(fd, "F_DUPFD", F_DUPFD, 30);
            t.fcntl(30, "F_GETFD", F_GETFD, 0);
            t.fcntl(fd, "F_DUPFD", F_DUPFD, 0);
            t.fcntl(fd, "F_DUPFD", F_DUPFD, -1);
            t.fcntl(fd, "F_DUPFD", F_DUPFD, c_int::MAX);
        }
        "fcntl F_DUPFD_CLOEXEC" {
            t.fcntl(fd, "F_DUPFD_CLOEXEC", F_DUPFD_CLOEXEC, 30);
            t.fcntl(30, "F_GETFD", F_GETFD, 0);
        }
        "fcntl of an unknown command" { t.fcntl(fd, "4711", 4711, 0); }
        "fcntl F_GETPIPE_SZ" {
            if fd != 1 {
                t.fcntl(fd, "F_GETPIPE_SZ", F_GETPIPE_SZ, 0);
            }
        }
        "ioctl FIONREAD" {
            if fd != 1 {
                t.ioctl_get(fd, "FIONREAD", FIONREAD);
            }
        }
        "ioctl TIOCOUTQ" { t.ioctl_get(fd, "TIOCOUTQ", TIOCOUTQ); }
        "ioctl FIONBIO" {
            if fd > 2 {
                t.set_nonblocking(fd, 0);
                t.status_flags(fd);
                t.set_nonblocking(fd, 1);
                t.status_flags(fd);
            }
        }
        "ioctl TCGETS" { t.ioctl(fd, "TCGETS", TCGETS); }
        "ioctl TIOCGWINSZ" { t.ioctl(fd, "TIOCGWINSZ", TIOCGWINSZ); }
        "ioctl of an unknown request" { t.ioctl(fd, "0x4711", 0x4711); }
        "isatty" { t.isatty(fd); }
        "poll for everything" { t.poll(fd, readiness::ALL, 0); }
        "poll for nothing" { t.poll(fd, 0, 0); }
        "poll for input" { t.poll(fd, readiness::IN, 0); }
        "poll for output" { t.poll(fd, readiness::OUT, 0); }
        "poll for normal bands" { t.poll(fd, 0x3c0, 0); }
        "poll with others" { t.poll_list(&[(-1, 1), (fd, readiness::ALL), (44, 1), (0, 1)], 0); }
        "select" { t.select(fd, 0); }
        "epoll level" {
            let epoll = t.epoll();
            t.epoll_add(epoll, fd, readiness::ALL);
            t.epoll_wait(epoll, 4, 0);
            t.epoll_wait(epoll, 4, 0);
            t.epoll_add(epoll, fd, readiness::IN);
            t.epoll_mod(epoll, fd, readiness::OUT);
            t.epoll_wait(epoll, 4, 0);
            t.epoll_mod(epoll, fd, 0);
            t.epoll_wait(epoll, 4, 0);
            t.epoll_del(epoll, fd);
            t.epoll_del(epoll, fd);
            t.epoll_mod(epoll, fd, readiness::IN);
        }
        "epoll of bands" {
            let epoll = t.epoll();
            t.epoll_add(epoll, fd, 0x3c0);
            t.epoll_wait(epoll, 4, 0);
        }
        "epoll edge" {
            let epoll = t.epoll();
            t.epoll_add(epoll, fd, readiness::ALL | readiness::ET);
            t.epoll_wait(epoll, 4, 0);
            t.epoll_wait(epoll, 4, 0);
            t.epoll_mod(epoll, fd, readiness::ALL | readiness::ET);
            t.epoll_wait(epoll, 4, 0);
        }
        "epoll oneshot" {
            let epoll = t.epoll();
            t.epoll_add(epoll, fd, readiness::ALL | readiness::ONESHOT);
            t.epoll_wait(epoll, 4, 0);
            t.epoll_wait(epoll, 4, 0);
            t.epoll_mod(epoll, fd, readiness::ALL | readiness::ONESHOT);
            t.epoll_wait(epoll, 4, 0);
        }
        "epoll exclusive" {
            let epoll = t.epoll();
            t.epoll_add(epoll, fd, readiness::IN | readiness::EXCLUSIVE);
            t.epoll_wait(epoll, 4, 0);
            t.epoll_mod(epoll, fd, readiness::IN);
            t.epoll_del(epoll, fd);
            t.epoll_add(epoll, fd, readiness::IN | readiness::EXCLUSIVE | readiness::RDHUP);
            t.epoll_add(epoll, fd, readiness::IN | readiness::EXCLUSIVE | readiness::ONESHOT);
        }
        "epoll_ctl of an unknown operation" {
            let epoll = t.epoll();
            t.epoll_op(epoll, 9, fd, readiness::IN);
        }
        "epoll_ctl on it" {
            let event = t.eventfd(0, 0);
            t.epoll_add(fd, event, readiness::IN);
            t.epoll_add(fd, 44, readiness::IN);
            t.epoll_add(fd, fd, readiness::IN);
        }
        "epoll_wait on it" {
            t.epoll_wait(fd, 4, 0);
            t.epoll_wait(fd, 0, 0);
        }
        "watched by two epolls and one number twice" {
            let (a, b) = (t.epoll(), t.epoll());
            t.epoll_add(a, fd, readiness::ALL);
            t.epoll_add(b, fd, readiness::ALL | readiness::ET);
            let copy = t.dup(fd);
            t.epoll_add(a, copy, readiness::ALL);
            t.epoll_wait(a, 4, 0);
            t.epoll_wait(b, 4, 0);
            t.close(copy);
            t.epoll_wait(a, 4, 0);
        }
        "timerfd calls" {
            t.timerfd_get(fd);
            t.timerfd_set(fd, 0, 3_600_000_000_000, 7);
            t.timerfd_get(fd);
            t.timerfd_set(fd, 64, 1, 0);
            t.poll(fd, readiness::IN, 0);
        }
        "close" {
            if !(0..=2).contains(&fd) {
                t.close(fd);
                t.close(fd);
                t.read(fd, 1);
                t.eventfd(0, 0);
            }
        }
    }

    /// Calls that reach sockets, and that the rest answers with `ENOTSOCK`.
    SOCKETS(t, fd) {
        "recv nothing" { t.recv(fd, 0, 0); }
        "recv" {
            t.recv(fd, 5, 0);
            t.recv(fd, 64, 0);
            t.recv(fd, 64, 0);
            t.recv(fd, 64, 0);
            t.recv(fd, 64, 0);
        }
        "recv PEEK" {
            t.recv(fd, 3, MSG_PEEK);
            t.recv(fd, 64, MSG_PEEK);
            t.recv(fd, 64, 0);
        }
        "recv TRUNC" {
            t.recv(fd, 3, MSG_TRUNC);
            t.recv(fd, 64, 0);
        }
        "recv PEEK|TRUNC" { t.recv(fd, 3, MSG_PEEK | MSG_TRUNC); }
        "recv DONTWAIT" { t.recv(fd, 64, MSG_DONTWAIT); }
        "recv WAITALL" { t.recv(fd, 64, MSG_WAITALL); }
        "recv OOB" { t.recv(fd, 1, MSG_OOB); }
        "recv ERRQUEUE" { t.recv(fd, 64, MSG_ERRQUEUE); }
        "recvfrom" {
            t.recvfrom(fd, 64, 0);
            t.recvfrom(fd, 64, 0);
        }
        "recvmsg" {
            t.recvmsg(fd, 64, 0, 0);
            t.recvmsg(fd, 64, 64, 0);
        }
        "recvmsg cut" {
            t.recvmsg(fd, 3, 64, 0);
            t.recvmsg(fd, 64, 64, 0);
        }
        "recvmsg TRUNC" { t.recvmsg(fd, 3, 64, MSG_TRUNC); }
        "recvmsg PEEK" { t.recvmsg(fd, 3, 64, MSG_PEEK); }
        "recvmmsg" { t.recvmmsg(fd); }
        "send" {
            t.send(fd, b"hi", 0);
            t.settle();
            t.send(fd, b"again", 0);
            t.settle();
            t.poll(fd, readiness::ALL, 0);
        }
        "send nothing" { t.send(fd, b"", 0); }
        "send NOSIGNAL" { t.send(fd, b"hi", MSG_NOSIGNAL); }
        "send DONTWAIT" { t.send(fd, b"hi", MSG_DONTWAIT); }
        "send MORE" { t.send(fd, b"hi", MSG_MORE); }
        "send EOR" { t.send(fd, b"hi", MSG_EOR); }
        "send too much for a datagram" {
            if fd > 2 && t.getopt(fd, TYPE) == 0 && !is_stream(fd) {
                t.send(fd, &[b'x'; 65_508], 0);
            }
        }
        "sendto a name" { t.sendto(fd, b"hi", 0, Addr::local(9)); }
        "sendto a v6 name" { t.sendto(fd, b"hi", 0, Addr::local6(9)); }
        "sendto port 0" { t.sendto(fd, b"hi", 0, Addr::local(0)); }
        "sendto a short name" { t.sendto(fd, b"hi", 0, Addr::local(9).cut(8)); }
        "sendto a unix name" { t.sendto(fd, b"hi", 0, Addr::name("nobody")); }
        "sendto no family" { t.sendto(fd, b"hi", 0, Addr::unspecified()); }
        "sendto broadcast" { t.sendto(fd, b"hi", 0, Addr::v4([127, 255, 255, 255], 9)); }
        "sendmsg" { t.sendmsg(fd, b"message", None, &[], 0); }
        "sendmsg to a name" { t.sendmsg(fd, b"message", Some(Addr::local(9)), &[], 0); }
        "sendmsg with rights" { t.sendmsg(fd, b"message", None, &[0], 0); }
        "sendmmsg" { t.sendmmsg(fd); }
        "accept4" {
            let new = t.accept(fd);
            if new >= 0 {
                t.status_flags(new);
                t.fcntl(new, "F_GETFD", F_GETFD, 0);
                t.getsockname(new);
                t.getpeername(new);
            }
            t.accept(fd);
        }
        "accept4 CLOEXEC" {
            let new = t.accept4(fd, SOCK_CLOEXEC);
            if new >= 0 {
                t.status_flags(new);
                t.fcntl(new, "F_GETFD", F_GETFD, 0);
            }
        }
        "accept4 with other flags" { t.accept4(fd, 1); }
        "bind v4" {
            t.bind(fd, Addr::local(0));
            t.getsockname(fd);
            t.bind(fd, Addr::local(0));
        }
        "bind v6" {
            t.bind(fd, Addr::local6(0));
            t.getsockname(fd);
        }
        "bind any v4" { t.bind(fd, Addr::v4([0; 4], 0)); }
        "bind a stranger's address" { t.bind(fd, Addr::v4([192, 0, 2, 1], 0)); }
        "bind a privileged port" { t.bind(fd, Addr::local(80)); }
        "bind a short name" { t.bind(fd, Addr::local(0).cut(8)); }
        "bind no family" { t.bind(fd, Addr::unspecified()); }
        "bind no family with a short name" { t.bind(fd, Addr::unspecified().cut(8)); }
        "bind a unix name" {
            t.bind(fd, Addr::name("other"));
            t.getsockname(fd);
        }
        "bind nothing" {
            t.bind(fd, Addr::family_only(AF_UNIX));
            t.getsockname(fd);
        }
        "listen" {
            t.listen(fd, 1);
            t.getsockname(fd);
            t.poll(fd, readiness::ALL, 0);
            t.listen(fd, 0);
            t.listen(fd, -1);
        }
        "connect to a closed port" {
            let port = t.closed_port();
            t.connect(fd, Addr::local(port));
            t.settle();
            t.poll(fd, readiness::ALL, 0);
            t.error_of(fd);
            t.getpeername(fd);
            t.connect(fd, Addr::local(port));
        }
        "connect to port 0" {
            t.connect(fd, Addr::local(0));
            t.settle();
            t.error_of(fd);
        }
        "connect to v6" { t.connect(fd, Addr::local6(9)); }
        "connect to a short name" { t.connect(fd, Addr::local(9).cut(8)); }
        "connect to broadcast" { t.connect(fd, Addr::v4([127, 255, 255, 255], 9)); }
        "connect to a unix name" { t.connect(fd, Addr::name("nobody")); }
        "connect to a unix path" { t.connect(fd, Addr::path("/tmp/truth-nobody")); }
        "connect to no family" {
            t.connect(fd, Addr::unspecified());
            t.settle();
            t.getsockname(fd);
            t.getpeername(fd);
            t.poll(fd, readiness::ALL, 0);
        }
        "shutdown RD" {
            t.shutdown(fd, SHUT_RD);
            t.settle();
            t.poll(fd, readiness::ALL, 0);
            t.recv(fd, 64, 0);
            t.recv(fd, 64, 0);
        }
        "shutdown WR" {
            t.shutdown(fd, SHUT_WR);
            t.settle();
            t.poll(fd, readiness::ALL, 0);
            t.send(fd, b"late", 0);
            t.shutdown(fd, SHUT_WR);
        }
        "shutdown RDWR" {
            t.shutdown(fd, SHUT_RDWR);
            t.settle();
            t.poll(fd, readiness::ALL, 0);
            t.recv(fd, 64, 0);
            t.send(fd, b"late", 0);
            t.getpeername(fd);
        }
        "shutdown of neither" {
            t.shutdown(fd, 3);
            t.shutdown(fd, -1);
        }
        "names" {
            t.getsockname(fd);
            t.getpeername(fd);
        }
        "names cut" {
            t.getsockname_cut(fd, 4);
            t.getsockname_cut(fd, 0);
            t.getsockname_cut(fd, -1);
        }
        "options of sockets" { read_and_set(t, fd, SOCKET); }
        "options of TCP" { read_and_set(t, fd, TCP); }
        "options of IP" { read_and_set(t, fd, IP); }
        "options of IPv6" { read_and_set(t, fd, IPV6); }
        "options of UDP" { read_and_set(t, fd, UDP); }
        "option lengths" {
            t.getopt_bytes(fd, TYPE, 0);
            t.getopt_bytes(fd, TYPE, 2);
            t.getopt_bytes(fd, TYPE, 8);
            t.setopt_bytes(fd, KEEPALIVE, &[]);
            t.setopt_bytes(fd, KEEPALIVE, &[1, 0]);
            t.setopt_bytes(fd, KEEPALIVE, &[1, 0, 0, 0, 9, 9, 9, 9]);
            t.getopt(fd, KEEPALIVE);
            t.setopt(fd, TYPE, 1);
        }
        "unknown options" {
            t.getopt(fd, Opt { name: "socket 4711", level: SOL_SOCKET, number: 4711 });
            t.setopt(fd, Opt { name: "socket 4711", level: SOL_SOCKET, number: 4711 }, 1);
            t.getopt(fd, Opt { name: "level 4711", level: 4711, number: 1 });
            t.setopt(fd, Opt { name: "level 4711", level: 4711, number: 1 }, 1);
            t.getopt(fd, Opt { name: "tcp 4711", level: IPPROTO_TCP, number: 4711 });
            t.setopt(fd, Opt { name: "tcp 4711", level: IPPROTO_TCP, number: 4711 }, 1);
        }
        "linger" {
            let linger = Opt { name: "SO_LINGER", level: SOL_SOCKET, number: SO_LINGER };
            t.getopt_bytes(fd, linger, 8);
            t.linger(fd, 1, 5);
            t.getopt_bytes(fd, linger, 8);
            t.linger(fd, 0, 9);
            t.getopt_bytes(fd, linger, 8);
            t.setopt(fd, linger, 1);
        }
        "time limits" {
            let limit = Opt { name: "SO_RCVTIMEO", level: SOL_SOCKET, number: SO_RCVTIMEO };
            t.getopt_bytes(fd, limit, 16);
            t.timeout_of(fd, "SO_RCVTIMEO", SO_RCVTIMEO, 1600);
            t.getopt_bytes(fd, limit, 16);
            t.timeout_of(fd, "SO_SNDTIMEO", SO_SNDTIMEO, 400);
            t.getopt_bytes(fd, Opt { name: "SO_SNDTIMEO", level: SOL_SOCKET, number: SO_SNDTIMEO }, 16);
            t.setopt(fd, limit, 1);
            t.setopt_bytes(fd, limit, &[1, 0, 0, 0, 0, 0, 0, 0, 0x40, 0x42, 0x0f, 0, 0, 0, 0, 0]);
        }
        "buffer sizes" {
            for name in [("SO_SNDBUF", SO_SNDBUF), ("SO_RCVBUF", SO_RCVBUF)] {
                let option = Opt { name: name.0, level: SOL_SOCKET, number: name.1 };
                t.setopt(fd, option, 10_000);
                t.getopt(fd, option);
                t.setopt(fd, option, 1);
                t.getopt(fd, option);
                t.setopt(fd, option, 100_000);
                t.getopt(fd, option);
            }
        }
        "default buffer sizes" {
            if !is_stream(fd) {
                t.getopt(fd, Opt { name: "SO_SNDBUF", level: SOL_SOCKET, number: SO_SNDBUF });
                t.getopt(fd, Opt { name: "SO_RCVBUF", level: SOL_SOCKET, number: SO_RCVBUF });
            }
        }
        "congestion control" {
            let option = Opt { name: "TCP_CONGESTION", level: IPPROTO_TCP, number: TCP_CONGESTION };
            t.setopt_bytes(fd, option, b"nonsense");
        }
        "bind to a device" {
            let option = Opt { name: "SO_BINDTODEVICE", level: SOL_SOCKET, number: SO_BINDTODEVICE };
            t.getopt_bytes(fd, option, 16);
            t.setopt_bytes(fd, option, b"nosuch0\0");
        }
        "listen, then options that accepted sockets inherit" {
            t.switch(fd, "TCP_NODELAY", 1);
            t.switch(fd, "SO_KEEPALIVE", 1);
            t.listen(fd, 4);
            let name = t.getsockname(fd);
            if name.len >= 16 && name.family() == AF_INET {
                let client = t.tcp();
                t.connect(client, Addr::local(name.port()));
                t.settle();
                let new = t.accept(fd);
                t.getopt(new, KEEPALIVE);
                t.getopt(new, Opt { name: "TCP_NODELAY", level: IPPROTO_TCP, number: TCP_NODELAY });
            }
        }
        "close with a copy left" {
            let copy = t.dup(fd);
            if fd > 2 {
                t.close(fd);
                t.getsockname(copy);
                t.poll(copy, readiness::ALL, 0);
                t.close(copy);
                t.getsockname(copy);
            }
        }
    }
}

const TYPE: Opt = Opt { name: "SO_TYPE", level: SOL_SOCKET, number: SO_TYPE };
const KEEPALIVE: Opt = Opt { name: "SO_KEEPALIVE", level: SOL_SOCKET, number: SO_KEEPALIVE };

/// Whether a socket is a stream, without a line: sizes of streams' buffers adapt to the machine.
fn is_stream(fd: c_int) -> bool {
    let (mut value, mut len): (c_int, socklen_t) = (0, 4);
    // SAFETY: an int and its size.
    unsafe { getsockopt(fd, SOL_SOCKET, SO_TYPE, (&raw mut value).cast(), &mut len) == 0 && value == SOCK_STREAM }
}

/// Reads each option, sets it to a few values and reads what became of that.
fn read_and_set(t: &Transcript, fd: c_int, list: &[Opt]) {
    for option in list {
        t.getopt(fd, *option);
        for value in [1, 7, 0, -1] {
            t.setopt(fd, *option, value);
            t.getopt(fd, *option);
        }
    }
}
