//! Running a sequence of calls.

use super::generator::{New, Op, To};
use crate::calls::Addr;
use crate::calls::readiness::ALL;
use crate::transcript::Transcript;
use libc::{AF_INET, AF_INET6, AF_UNIX, MSG_NOSIGNAL, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_SEQPACKET, SOCK_STREAM, c_int};
use std::net::Ipv6Addr;

/// Descriptors that a sequence may have open.
const OPEN_MAX: usize = 24;
/// Options that sequences switch.
const SWITCHES: [&str; 7] =
    ["SO_REUSEADDR", "SO_REUSEPORT", "IPV6_V6ONLY", "SO_BROADCAST", "TCP_NODELAY", "SO_PASSCRED", "SO_RCVLOWAT"];
/// Paths that sequences give to sockets.
const PATHS: [&str; 2] = ["/tmp/truth-east.sock", "/tmp/truth-west.sock"];

/// Runs a sequence and closes what it has left open.
pub fn run(ops: &[Op], t: &Transcript) {
    let mut open = Open { t, fds: Vec::new(), counters: Vec::new(), written: 0, mapped: false };
    t.forget_names();
    for op in ops {
        open.step(*op);
    }
    t.close_all();
    for path in PATHS {
        let _ = std::fs::remove_file(path); // without a line
    }
    t.settle();
}

/// Turns Nagle's algorithm off, without a line: on Linux it may wait for an acknowledgement that is delayed by 40 ms or
/// more (RFC 1122 §4.2.3.2); worlds acknowledge at once.
fn without_delay(fd: c_int) -> c_int {
    let on: c_int = 1;
    // SAFETY: names an integer and its size.
    unsafe { libc::setsockopt(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, (&raw const on).cast(), 4) };
    fd
}

struct Open<'a> {
    t: &'a Transcript,
    /// In the order of opening.
    fds: Vec<c_int>,
    /// The eventfds among them. Linux 6.9 changed what it thinks of writing more than a word to one, so nobody does.
    counters: Vec<c_int>,
    /// Counts bytes, so that each has its own value.
    written: u8,
    /// An IPv6 socket has connected over IPv4. From then on Linux sends everything over IPv4 from it, also the SYN to
    /// an IPv6 address, which reaches nobody (`ipv6_mapped`, net/ipv6/tcp_ipv6.c, is never undone): so nobody connects
    /// to one any more.
    mapped: bool,
}

impl Open<'_> {
    fn fd(&self, place: usize) -> c_int {
        // Without any, something that is not open.
        if self.fds.is_empty() { 50 } else { self.fds[place % self.fds.len()] }
    }

    fn add(&mut self, fd: c_int) {
        if fd >= 0 && !self.fds.contains(&fd) {
            self.fds.push(fd);
        }
    }

    /// `new` is now what `old` is.
    fn copied(&mut self, old: c_int, new: c_int) {
        let counts = self.counters.contains(&old);
        self.counters.retain(|fd| *fd != new || *fd == old);
        if counts && new >= 0 && new != old {
            self.counters.push(new);
        }
        self.add(new);
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let first = self.written;
        self.written = self.written.wrapping_add(count as u8);
        (0..count).map(|i| b'a' + (first.wrapping_add(i as u8) % 26)).collect()
    }

    /// A descriptor's own name, without a line.
    fn name(&self, fd: c_int) -> Addr {
        let mut name = Addr::room();
        let mut len = name.len;
        // SAFETY: room for any address.
        let result = unsafe { libc::getsockname(fd, name.pointer_mut(), &mut len) };
        name.len = if result == 0 { len } else { 0 };
        name
    }

    /// The address that `to` stands for, in the family of the socket that asks.
    fn address(&self, fd: c_int, to: To) -> Addr {
        let own = self.name(fd);
        let six = own.len > 2 && own.family() == AF_INET6;
        let port = |place: usize| {
            let name = self.name(self.fd(place));
            if name.len >= 16 && matches!(name.family(), AF_INET | AF_INET6) { name.port() } else { 0 }
        };
        let local = |port| if six { Addr::local6(port) } else { Addr::local(port) };
        let any = |port| if six { Addr::v6(Ipv6Addr::UNSPECIFIED, port) } else { Addr::v4([0; 4], port) };
        match to {
            To::Any => any(0),
            To::Local => local(0),
            To::AnyAt(place) => any(port(place)),
            To::MappedAt(place) => Addr::v6(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0x7f00, 1), port(place)),
            To::AllAt(place) if six => Addr::v6(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0x7fff, 0xffff), port(place)),
            To::AllAt(place) => Addr::v4([127, 255, 255, 255], port(place)),
            To::Unspecified => Addr::unspecified(),
            To::Name(number) => Addr::name(["red", "green", "blue"][number % 3]),
            To::Path(number) => Addr::path(PATHS[number % 2]),
            To::Nameless => Addr::family_only(AF_UNIX),
            To::NameOf(place) => {
                let name = self.name(self.fd(place));
                if name.len > 2 && name.family() == AF_UNIX { name } else { local(port(place)) }
            }
        }
    }

    /// An address to connect to, of the one kind that is left once a socket has connected over IPv4.
    fn unmixed(&mut self, address: Addr) -> Addr {
        if address.len < 24 || address.family() != AF_INET6 {
            return address;
        }
        let mapped = |port| Addr::v6(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0x7f00, 1), port);
        self.mapped |= address.bytes[18..20] == [0xff, 0xff];
        if self.mapped { mapped(address.port()) } else { address }
    }

    fn open(&mut self, new: New) {
        if self.fds.len() >= OPEN_MAX {
            return;
        }
        let t = self.t;
        let pair = |kind| t.socketpair(AF_UNIX, kind | SOCK_NONBLOCK);
        let (first, second) = match new {
            New::Pipe => t.pipe(libc::O_NONBLOCK),
            New::Eventfd => (t.eventfd(0, libc::EFD_NONBLOCK), -1),
            New::Semaphore => (t.eventfd(2, libc::EFD_NONBLOCK | libc::EFD_SEMAPHORE), -1),
            New::Epoll => (t.epoll(), -1),
            New::Tcp => (without_delay(t.tcp()), -1),
            New::Tcp6 => (without_delay(t.tcp6()), -1),
            New::Listener => (without_delay(t.listener(AF_INET, 8).0), -1),
            New::Connection => {
                let (listener, client, server) = t.connection(AF_INET);
                self.add(without_delay(listener));
                (without_delay(client), without_delay(server))
            }
            New::Udp => (t.udp(), -1),
            New::Udp6 => (t.udp6(), -1),
            New::UdpPair => {
                let ends = [t.udp(), t.udp()];
                let names = ends.map(|fd| {
                    t.bind(fd, Addr::local(0));
                    t.getsockname(fd)
                });
                t.connect(ends[0], names[1]);
                t.connect(ends[1], names[0]);
                (ends[0], ends[1])
            }
            New::UnixStream => (t.unix(SOCK_STREAM), -1),
            New::UnixDgram => (t.unix(SOCK_DGRAM), -1),
            New::UnixSeqpacket => (t.unix(SOCK_SEQPACKET), -1),
            New::StreamPair => pair(SOCK_STREAM),
            New::DgramPair => pair(SOCK_DGRAM),
            New::SeqpacketPair => pair(SOCK_SEQPACKET),
        };
        if matches!(new, New::Eventfd | New::Semaphore) {
            self.counters.push(first);
        }
        self.add(first);
        self.add(second);
    }

    fn step(&mut self, op: Op) {
        let t = self.t;
        match op {
            Op::Open(new) => self.open(new),
            Op::Close(place) => {
                let fd = self.fd(place);
                t.close(fd);
                self.fds.retain(|open| *open != fd);
                self.counters.retain(|open| *open != fd);
                t.settle();
            }
            Op::Dup(place) => {
                if self.fds.len() < OPEN_MAX {
                    let old = self.fd(place);
                    self.copied(old, t.dup(old));
                }
            }
            Op::Dup2(from, over) => {
                let (old, new) = (self.fd(from), self.fd(over));
                self.copied(old, t.dup2(old, new));
                t.settle();
            }
            Op::Read(place, room) => {
                t.read(self.fd(place), room);
            }
            Op::Write(place, count) => {
                let fd = self.fd(place);
                let content = self.bytes(if self.counters.contains(&fd) { count.min(7) } else { count });
                t.write(fd, &content);
                t.settle();
            }
            Op::WriteWord(place, value) => {
                t.write_word(self.fd(place), value);
                t.settle();
            }
            Op::Available(place) => {
                t.ioctl_get(self.fd(place), "FIONREAD", libc::FIONREAD);
            }
            Op::Poll(place) => {
                t.poll(self.fd(place), ALL, 0);
            }
            Op::PollAll => {
                let list: Vec<_> = self.fds.iter().map(|fd| (*fd, ALL)).collect();
                t.poll_list(&list, 0);
            }
            Op::EpollAdd(epoll, place, interest) => {
                t.epoll_add(self.fd(epoll), self.fd(place), interest);
            }
            Op::EpollMod(epoll, place, interest) => {
                t.epoll_mod(self.fd(epoll), self.fd(place), interest);
            }
            Op::EpollDel(epoll, place) => {
                t.epoll_del(self.fd(epoll), self.fd(place));
            }
            Op::EpollWait(epoll, room) => {
                t.epoll_wait(self.fd(epoll), room, 0);
            }
            other => self.socket_step(other),
        }
    }

    fn socket_step(&mut self, op: Op) {
        let t = self.t;
        match op {
            Op::Bind(place, to) => {
                let fd = self.fd(place);
                t.bind(fd, self.address(fd, to));
            }
            Op::Listen(place, backlog) => {
                t.listen(self.fd(place), backlog);
            }
            Op::Connect(place, to) => {
                let fd = self.fd(place);
                let address = self.address(fd, to);
                t.connect(fd, self.unmixed(address));
                t.settle();
            }
            Op::Accept(place) => {
                if self.fds.len() < OPEN_MAX {
                    let fd = t.accept(self.fd(place));
                    self.add(fd);
                }
            }
            Op::Send(place, count, how) => {
                let content = self.bytes(count);
                t.send(self.fd(place), &content, how | MSG_NOSIGNAL);
                t.settle();
            }
            Op::SendTo(place, count, to) => {
                let content = self.bytes(count);
                let fd = self.fd(place);
                t.sendto(fd, &content, MSG_NOSIGNAL, self.address(fd, to));
                t.settle();
            }
            Op::Shutdown(place, how) => {
                t.shutdown(self.fd(place), how);
                t.settle();
            }
            Op::Names(place) => {
                t.getsockname(self.fd(place));
                t.getpeername(self.fd(place));
            }
            Op::Error(place) => {
                t.error_of(self.fd(place));
            }
            Op::Switch(place, option, on) => {
                let on = if SWITCHES[option] == "TCP_NODELAY" { 1 } else { on }; // as `without_delay` has it
                t.switch(self.fd(place), SWITCHES[option], on);
            }
            Op::Linger(place, seconds) => {
                t.linger(self.fd(place), 1, seconds);
            }
            other => self.message_step(other),
        }
    }

    fn message_step(&mut self, op: Op) {
        let t = self.t;
        match op {
            Op::SendRights(place, passed) => {
                let passed = self.fd(passed);
                // Sockets that hold each other by messages are closed by Linux in its own time (net/unix/garbage.c), so
                // none travel here: directed::unix_messages has them.
                let unix = self.name(passed).family() == AF_UNIX;
                let passed = if unix || self.counters.contains(&passed) { 0 } else { passed };
                t.sendmsg(self.fd(place), b"rights", None, &[passed], MSG_NOSIGNAL);
                t.settle();
            }
            Op::SendMany(place) => {
                let fd = self.fd(place);
                for _ in 0..13 {
                    t.send(fd, b"x", MSG_NOSIGNAL);
                }
                t.settle();
            }
            Op::Recv(place, room, how) => {
                t.recv(self.fd(place), room, how);
            }
            Op::RecvFrom(place, room) => {
                t.recvfrom(self.fd(place), room, 0);
            }
            Op::RecvMsg(place, room) => {
                let (_, passed) = t.recvmsg(self.fd(place), room, 64, 0);
                passed.into_iter().for_each(|fd| self.add(fd));
            }
            Op::PeekMsg(place, room) => {
                let (_, passed) = t.recvmsg(self.fd(place), room, 64, libc::MSG_PEEK);
                passed.into_iter().for_each(|fd| self.add(fd));
            }
            Op::Unlink(number) => {
                t.unlink(PATHS[number % 2]);
            }
            other => t.say(format_args!("{other:?} is no socket's")),
        }
    }
}
