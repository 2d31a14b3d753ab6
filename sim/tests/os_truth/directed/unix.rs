//! unix(7): names, streams, datagrams, descriptors and credentials in messages.

use super::pause;
use crate::calls::Addr;
use crate::calls::options::Opt;
use crate::calls::readiness::{ALL, ET, IN, OUT, RDHUP};
use crate::compare::{Weathers, script};
use crate::transcript::Transcript;
use libc::{
    AF_UNIX, MSG_CMSG_CLOEXEC, MSG_DONTWAIT, MSG_NOSIGNAL, MSG_PEEK, MSG_TRUNC, SHUT_RD, SHUT_RDWR, SHUT_WR,
    SO_PASSCRED, SO_PEERCRED, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_SEQPACKET, SOCK_STREAM, SOL_SOCKET, c_int,
};

fn pair(t: &Transcript, kind: c_int) -> (c_int, c_int) {
    t.socketpair(AF_UNIX, kind | SOCK_NONBLOCK)
}

/// A listening stream socket with a name.
fn listener(t: &Transcript, address: Addr, backlog: c_int) -> c_int {
    let fd = t.unix(SOCK_STREAM);
    t.bind(fd, address);
    t.listen(fd, backlog);
    fd
}

script! { Weathers::Calm;
    fn abstract_names(t) {
        let server = listener(t, Addr::name("service"), 8);
        t.getsockname(server);
        let twin = t.unix(SOCK_STREAM);
        t.bind(twin, Addr::name("service"));
        t.bind(twin, Addr::name("service\0"));
        t.bind(twin, Addr::name("third"));
        let client = t.unix(SOCK_STREAM);
        t.connect(client, Addr::name("servic"));
        t.connect(client, Addr::name("service"));
        t.connect(client, Addr::name("service"));
        t.getpeername(client);
        t.getsockname(client);
        let accepted = t.accept(server);
        t.getsockname(accepted);
        t.getpeername(accepted);
        t.send(client, b"hello", 0);
        t.recvfrom(accepted, 64, 0);
        t.close(server);
        let late = t.unix(SOCK_STREAM);
        t.connect(late, Addr::name("service"));
        let again = t.unix(SOCK_STREAM);
        t.bind(again, Addr::name("service"));
        t.connect(late, Addr::name("service"));
        let wrong = t.unix(SOCK_DGRAM);
        t.connect(wrong, Addr::name("service"));
    }

    fn stream_pairs(t) {
        let (a, b) = pair(t, SOCK_STREAM);
        t.getsockname(a);
        t.getpeername(a);
        t.poll(a, ALL, 0);
        t.send(a, b"one", 0);
        t.send(a, b"two", 0);
        t.ioctl_get(b, "FIONREAD", libc::FIONREAD);
        t.recv(b, 4, MSG_PEEK);
        t.recv(b, 4, 0);
        t.recv(b, 1, MSG_TRUNC);
        t.recv(b, 64, 0);
        t.recv(b, 64, 0);
        t.send(a, b"", 0);
        t.recv(b, 64, 0);
        t.shutdown(a, SHUT_WR);
        t.poll(a, ALL, 0);
        t.poll(b, ALL, 0);
        t.recv(b, 64, 0);
        t.send(a, b"x", MSG_NOSIGNAL);
        t.send(b, b"back", 0);
        t.recv(a, 64, 0);
        t.shutdown(b, SHUT_RD);
        t.shutdown(b, SHUT_RDWR);
        t.poll(a, ALL, 0);
        t.recv(a, 64, 0);
    }

    fn a_stream_whose_peer_is_gone(t) {
        let (a, b) = pair(t, SOCK_STREAM);
        t.send(b, b"left", 0);
        t.close(b);
        t.poll(a, ALL, 0);
        t.recv(a, 2, 0);
        t.recv(a, 64, 0);
        t.recv(a, 64, 0);
        t.send(a, b"x", MSG_NOSIGNAL);
        t.error_of(a);
        t.getpeername(a);
        let (c, d) = pair(t, SOCK_STREAM);
        t.send(c, b"never read", 0);
        t.close(d);
        t.poll(c, ALL, 0);
        t.recv(c, 64, 0);
        t.recv(c, 64, 0);
        t.send(c, b"x", MSG_NOSIGNAL);
    }

    fn sequenced_packets(t) {
        let (a, b) = pair(t, SOCK_SEQPACKET);
        t.send(a, b"one", 0);
        t.send(a, b"two and more", 0);
        t.recvmsg(b, 64, 0, 0);
        t.recvmsg(b, 4, 0, 0);
        t.recv(b, 64, 0);
        t.shutdown(a, SHUT_WR);
        t.poll(b, ALL, 0);
        t.recv(b, 64, 0);
        t.close(a);
        t.poll(b, ALL, 0);
        t.recv(b, 64, 0);
        t.send(b, b"x", MSG_NOSIGNAL);
    }

    fn closed_with_a_backlog(t) {
        let server = listener(t, Addr::name("closing"), 4);
        let client = t.unix(SOCK_STREAM);
        t.connect(client, Addr::name("closing"));
        t.send(client, b"early", 0);
        t.close(server);
        t.poll(client, ALL, 0);
        t.recv(client, 64, 0);
        t.send(client, b"x", MSG_NOSIGNAL);
        t.recv(client, 64, 0);
    }

    fn descriptors_in_messages(t) {
        let (a, b) = pair(t, SOCK_STREAM);
        let (reader, writer) = t.pipe(libc::O_NONBLOCK);
        t.sendmsg(a, b"take these", None, &[reader, writer], 0);
        t.close(reader);
        let (_, passed) = t.recvmsg(b, 64, 64, MSG_CMSG_CLOEXEC);
        for fd in &passed {
            t.fcntl(*fd, "F_GETFD", libc::F_GETFD, 0);
            t.status_flags(*fd);
        }
        t.write(writer, b"through");
        t.close(writer);
        if let [new_reader, new_writer] = passed[..] {
            t.read(new_reader, 64);
            t.close(new_writer);
            t.read(new_reader, 64);
        }
        t.sendmsg(a, b"bad", None, &[99], 0);
        t.sendmsg(a, b"nothing", None, &[], 0);
        t.recvmsg(b, 64, 64, 0);
        // No room for it: it is closed and the message says so.
        t.sendmsg(a, b"cut", None, &[0], 0);
        t.recvmsg(b, 64, 0, 0);
        t.sendmsg(a, b"two", None, &[0, 0], 0);
        t.recvmsg(b, 64, 24, 0);
        t.dup(0);
    }

    /// What descriptors in flight keep open is closed when the message is thrown away.
    fn descriptors_in_a_closed_socket(t) {
        let (a, b) = pair(t, SOCK_STREAM);
        let (reader, writer) = t.pipe(libc::O_NONBLOCK);
        t.sendmsg(a, b"in flight", None, &[writer], 0);
        t.close(writer);
        t.poll(reader, ALL, 0);
        t.recv(b, 4, 0);
        t.poll(reader, ALL, 0);
        t.sendmsg(a, b"again", None, &[reader], 0);
        t.close(b);
        t.poll(reader, ALL, 0);
        t.close(a);
        t.poll(reader, ALL, 0);
    }

    fn credentials(t) {
        let (a, b) = pair(t, SOCK_STREAM);
        let peer = Opt { name: "SO_PEERCRED", level: SOL_SOCKET, number: SO_PEERCRED };
        let mut who = libc::ucred { pid: -1, uid: 0, gid: 0 };
        let mut len = size_of::<libc::ucred>() as libc::socklen_t;
        let call = || unsafe { libc::getsockopt(a, SOL_SOCKET, SO_PEERCRED, (&raw mut who).cast(), &mut len) };
        crate::transcript::record!(t, { let mut call = call; call() }, "getsockopt(SO_PEERCRED)");
        let own = who.pid == std::process::id() as i32;
        let same = unsafe { who.uid == libc::getuid() && who.gid == libc::getgid() };
        t.say(format_args!("{len} bytes, own pid: {own}, own user and group: {same}"));
        let lonely = t.unix(SOCK_STREAM);
        t.getopt_bytes(lonely, peer, 12);
        t.setopt(b, Opt { name: "SO_PASSCRED", level: SOL_SOCKET, number: SO_PASSCRED }, 1);
        t.send(a, b"who am I", 0);
        t.recvmsg(b, 64, 64, 0);
        t.send(a, b"cut", 0);
        t.recvmsg(b, 64, 0, 0);
        let (c, d) = pair(t, SOCK_DGRAM);
        t.setopt(d, Opt { name: "SO_PASSCRED", level: SOL_SOCKET, number: SO_PASSCRED }, 1);
        t.send(c, b"datagram", 0);
        t.recvmsg(d, 64, 64, 0);
    }

    fn edges(t) {
        let (a, b) = pair(t, SOCK_STREAM);
        let epoll = t.epoll();
        t.epoll_add(epoll, b, IN | OUT | RDHUP | ET);
        t.epoll_wait(epoll, 4, 0);
        t.send(a, b"one", 0);
        t.epoll_wait(epoll, 4, 0);
        t.epoll_wait(epoll, 4, 0);
        t.send(a, b"two", 0);
        t.epoll_wait(epoll, 4, 0);
        t.recv(b, 64, 0);
        t.epoll_wait(epoll, 4, 0);
        t.send(b, b"x", 0);
        t.epoll_wait(epoll, 4, 0);
        t.recv(a, 64, 0);
        t.epoll_wait(epoll, 4, 0);
        t.shutdown(a, SHUT_WR);
        t.epoll_wait(epoll, 4, 0);
        t.close(a);
        t.epoll_wait(epoll, 4, 0);
    }

    fn blocking(t) {
        let (a, b) = t.socketpair(AF_UNIX, SOCK_STREAM);
        let sender = std::thread::spawn(move || unsafe {
            pause(30);
            libc::send(a, b"late".as_ptr().cast(), 4, 0);
            pause(30);
            libc::close(a);
        });
        t.recv(b, 64, 0);
        t.recv(b, 64, 0);
        let _ = sender.join();
        let server = t.socket(AF_UNIX, SOCK_STREAM, 0);
        t.bind(server, Addr::name("waits"));
        t.listen(server, 1);
        let fd = t.socket(AF_UNIX, SOCK_STREAM, 0);
        let connector = std::thread::spawn(move || unsafe {
            pause(30);
            let name = Addr::name("waits");
            let result = libc::connect(fd, name.pointer(), name.len);
            pause(30);
            libc::close(fd);
            result
        });
        let accepted = t.accept4(server, 0);
        t.recv(accepted, 64, 0);
        t.say(format_args!("connected: {:?}", connector.join().ok()));
    }
}

script! { Weathers::All;
    fn automatic_names(t) {
        for kind in [SOCK_STREAM, SOCK_DGRAM] {
            let fd = t.unix(kind);
            t.bind(fd, Addr::family_only(AF_UNIX));
            t.getsockname(fd);
            let other = t.unix(kind);
            t.bind(other, Addr::family_only(AF_UNIX));
            t.getsockname(other);
        }
    }

    fn path_names(t) {
        let path = "/tmp/windtunnel-truth.sock";
        let server = listener(t, Addr::path(path), 8);
        t.getsockname(server);
        let twin = t.unix(SOCK_STREAM);
        t.bind(twin, Addr::path(path));
        t.bind(twin, Addr::path("/tmp/no-such-directory/x.sock"));
        t.bind(twin, Addr::path(""));
        let client = t.unix(SOCK_STREAM);
        t.connect(client, Addr::path("/tmp/windtunnel-nobody.sock"));
        t.connect(client, Addr::path(path));
        t.getpeername(client);
        t.accept(server);
        t.close(server);
        let late = t.unix(SOCK_STREAM);
        t.connect(late, Addr::path(path));
        let again = t.unix(SOCK_STREAM);
        t.bind(again, Addr::path(path));
        let c_path = std::ffi::CString::new(path).expect("no NUL");
        crate::transcript::record!(t, unsafe { libc::unlink(c_path.as_ptr()) }, "unlink()");
        crate::transcript::record!(t, unsafe { libc::unlink(c_path.as_ptr()) }, "unlink()");
        t.bind(again, Addr::path(path));
        t.connect(late, Addr::path(path));
        t.listen(again, 1);
        t.connect(late, Addr::path(path));
        crate::transcript::record!(t, unsafe { libc::unlink(c_path.as_ptr()) }, "unlink()");
    }

    fn datagram_pairs(t) {
        let (a, b) = pair(t, SOCK_DGRAM);
        t.send(a, b"one", 0);
        t.send(a, b"", 0);
        t.send(a, b"a longer one", 0);
        t.recvfrom(b, 64, 0);
        t.recvfrom(b, 64, 0);
        t.recv(b, 4, MSG_PEEK | MSG_TRUNC);
        t.recvmsg(b, 4, 0, 0);
        t.recv(b, 64, 0);
        t.close(b);
        t.poll(a, ALL, 0);
        t.send(a, b"x", MSG_NOSIGNAL);
        t.send(a, b"x", MSG_NOSIGNAL);
        t.recv(a, 64, 0);
        t.error_of(a);
    }

    fn datagrams_by_name(t) {
        let (a, b) = (t.unix(SOCK_DGRAM), t.unix(SOCK_DGRAM));
        t.sendto(a, b"early", 0, Addr::name("b"));
        t.bind(b, Addr::name("b"));
        t.sendto(a, b"anonymous", 0, Addr::name("b"));
        t.recvfrom(b, 64, 0);
        t.bind(a, Addr::name("a"));
        t.sendto(a, b"named", 0, Addr::name("b"));
        t.recvfrom(b, 64, 0);
        t.connect(a, Addr::name("b"));
        t.send(a, b"connected", 0);
        t.recvfrom(b, 64, 0);
        t.sendto(b, b"back", 0, Addr::name("a"));
        t.recvfrom(a, 64, 0);
        let c = t.unix(SOCK_DGRAM);
        t.sendto(c, b"to a connected one", 0, Addr::name("a"));
        t.connect(c, Addr::name("a"));
        t.close(b);
        t.send(a, b"gone", MSG_NOSIGNAL);
        t.send(a, b"gone", MSG_NOSIGNAL);
        t.poll(a, ALL, 0);
        let new = t.unix(SOCK_DGRAM);
        t.bind(new, Addr::name("b"));
        t.send(a, b"not the same", MSG_NOSIGNAL);
        t.connect(a, Addr::name("b"));
        t.send(a, b"now", 0);
        t.recv(new, 64, 0);
    }

    /// net.unix.max_dgram_qlen is 10 in a fresh namespace: the eleventh finds no room.
    fn a_full_queue_of_datagrams(t) {
        let (a, b) = pair(t, SOCK_DGRAM);
        let mut sent = 0;
        while unsafe { libc::send(a, b"x".as_ptr().cast(), 1, MSG_DONTWAIT | MSG_NOSIGNAL) } == 1 && sent < 10_000 {
            sent += 1;
        }
        t.say(format_args!("some, but not any number: {}", (2..10_000).contains(&sent)));
        t.send(a, b"y", 0);
        t.poll(a, ALL, 0);
        t.recv(b, 64, 0);
        t.poll(a, OUT, 0);
        t.send(a, b"y", 0);
    }

    /// unix(7): connecting blocks, or fails with EAGAIN, when the backlog is full.
    fn backlog(t) {
        let server = listener(t, Addr::name("queue"), 1);
        for _ in 0..4 {
            let client = t.unix(SOCK_STREAM);
            t.connect(client, Addr::name("queue"));
        }
        t.accept(server);
        let client = t.unix(SOCK_STREAM);
        t.connect(client, Addr::name("queue"));
        let zero = listener(t, Addr::name("zero"), 0);
        for _ in 0..2 {
            let client = t.unix(SOCK_STREAM);
            t.connect(client, Addr::name("zero"));
        }
        t.accept(zero);
    }
}

script! { Weathers::Calm;
    /// A read goes on until it has descriptors, and not beyond them.
    fn messages_with_descriptors_stay_apart(t) {
        let (a, b) = pair(t, SOCK_STREAM);
        t.send(a, b"plain ", 0);
        t.sendmsg(a, b"with one ", None, &[0], 0);
        t.send(a, b"plain again", 0);
        t.recvmsg(b, 64, 64, 0);
        t.recvmsg(b, 64, 64, 0);
        t.recvmsg(b, 64, 64, 0);
        t.sendmsg(a, b"first", None, &[0], 0);
        t.sendmsg(a, b"second", None, &[1], 0);
        t.recvmsg(b, 3, 64, 0);
        t.recvmsg(b, 64, 64, 0);
        t.recvmsg(b, 64, 64, 0);
        t.recvmsg(b, 64, 64, 0);
    }

    fn odd_requests(t) {
        t.socketpair(libc::AF_INET, SOCK_STREAM);
        t.socketpair(AF_UNIX, 99);
        t.socket(AF_UNIX, SOCK_STREAM, 1);
        t.socket(AF_UNIX, SOCK_STREAM, 2);
        t.socket(99, SOCK_STREAM, 0);
        t.socket(libc::AF_INET, SOCK_SEQPACKET, 0);
        t.socket(libc::AF_INET, SOCK_STREAM, libc::IPPROTO_UDP);
        t.socket(libc::AF_INET, SOCK_STREAM, libc::IPPROTO_TCP);
        t.socket(libc::AF_INET, SOCK_DGRAM, libc::IPPROTO_TCP);
        t.socket(libc::AF_INET, SOCK_STREAM, 255);
        t.socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP);
        t.socket(libc::AF_INET, SOCK_STREAM | 0x20, 0);
    }
}
