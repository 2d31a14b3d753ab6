//! udp(7): datagrams are whole or cut, from whom one is connected to, and errors come later.

use crate::calls::Addr;
use crate::calls::options::{self, Opt};
use crate::calls::readiness::{ALL, ET, IN, OUT};
use crate::compare::{Weathers, script};
use crate::transcript::Transcript;
use libc::{
    AF_INET, AF_INET6, MSG_DONTWAIT, MSG_MORE, MSG_PEEK, MSG_TRUNC, SHUT_RD, SHUT_WR, SO_RCVTIMEO, SOCK_DGRAM,
    SOCK_NONBLOCK, c_int,
};

/// A bound socket and its address.
fn bound(t: &Transcript, domain: c_int) -> (c_int, Addr) {
    let fd = t.socket(domain, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    t.bind(fd, Addr::loopback(domain, 0));
    (fd, t.getsockname(fd))
}

script! { Weathers::All;
    fn datagrams_stay_apart(t) {
        for domain in [AF_INET, AF_INET6] {
            let ((a, from), (b, to)) = (bound(t, domain), bound(t, domain));
            t.sendto(a, b"one", 0, to);
            t.sendto(a, b"", 0, to);
            t.sendto(a, b"three", 0, to);
            t.settle();
            t.poll(b, ALL, 0);
            t.ioctl_get(b, "FIONREAD", libc::FIONREAD);
            t.recvfrom(b, 64, 0);
            t.ioctl_get(b, "FIONREAD", libc::FIONREAD);
            t.recvfrom(b, 64, 0);
            t.recvfrom(b, 64, 0);
            t.recvfrom(b, 64, 0);
            t.sendto(b, b"back", 0, from);
            t.settle();
            t.recvfrom(a, 64, 0);
            t.close(a);
            t.close(b);
        }
    }

    fn cut_datagrams(t) {
        let ((a, _), (b, to)) = (bound(t, AF_INET), bound(t, AF_INET));
        for _ in 0..6 {
            t.sendto(a, b"0123456789", 0, to);
        }
        t.settle();
        t.recv(b, 4, 0);
        t.recv(b, 4, MSG_TRUNC);
        t.recv(b, 4, MSG_PEEK);
        t.recv(b, 4, MSG_PEEK | MSG_TRUNC);
        t.recvmsg(b, 4, 64, 0);
        t.recvmsg(b, 4, 64, MSG_TRUNC);
        t.recv(b, 0, 0);
        t.recvmsg(b, 64, 0, 0);
        t.recv(b, 64, 0);
    }

    fn sizes(t) {
        let ((a, _), (b, to)) = (bound(t, AF_INET), bound(t, AF_INET));
        t.sendto(a, &[b'x'; 65_507], 0, to);
        t.settle();
        t.recv(b, 70_000, 0);
        t.sendto(a, &[b'x'; 65_508], 0, to);
        t.sendto(a, &[b'x'; 70_000], 0, to);
        let ((c, _), (d, to)) = (bound(t, AF_INET6), bound(t, AF_INET6));
        t.sendto(c, &[b'y'; 65_527], 0, to);
        t.settle();
        t.recv(d, 70_000, 0);
        t.sendto(c, &[b'y'; 65_528], 0, to);
    }

    /// A connected socket hears its peer only.
    fn connected_sockets_filter(t) {
        let ((a, first), (b, second), (c, third)) = (bound(t, AF_INET), bound(t, AF_INET), bound(t, AF_INET));
        t.sendto(c, b"before", 0, first);
        t.settle();
        t.connect(a, second);
        t.getpeername(a);
        t.sendto(c, b"stranger", 0, first);
        t.sendto(b, b"friend", 0, first);
        t.settle();
        t.recvfrom(a, 64, 0);
        t.recvfrom(a, 64, 0);
        t.recvfrom(a, 64, 0);
        t.send(a, b"to the friend", 0);
        t.sendto(a, b"to the stranger", 0, third);
        t.settle();
        t.recvfrom(b, 64, 0);
        t.recvfrom(c, 64, 0);
        t.connect(a, third);
        t.getpeername(a);
        t.sendto(b, b"no friend now", 0, first);
        t.sendto(c, b"friend", 0, first);
        t.settle();
        t.recvfrom(a, 64, 0);
        t.recvfrom(a, 64, 0);
        t.connect(a, Addr::unspecified());
        t.getpeername(a);
        t.send(a, b"whom to", 0);
        t.sendto(b, b"anybody", 0, first);
        t.settle();
        t.recvfrom(a, 64, 0);
    }

    /// udp(7): an unreachable port is told to connected sockets, once, by the next call.
    fn refused_datagrams(t) {
        for by in ["send", "recv", "SO_ERROR", "poll"] {
            let port = t.closed_port();
            let fd = t.udp();
            t.connect(fd, Addr::local(port));
            t.send(fd, b"anybody?", 0);
            t.settle();
            match by {
                "send" => t.send(fd, b"again", 0) as c_int,
                "recv" => t.recv(fd, 64, 0) as c_int,
                "SO_ERROR" => t.error_of(fd),
                _ => t.poll(fd, ALL, 0),
            };
            t.poll(fd, ALL, 0);
            t.settle();
            t.recv(fd, 64, 0);
            t.error_of(fd);
            t.poll(fd, ALL, 0);
            t.close(fd);
        }
        let port = t.closed_port();
        let (fd, _) = bound(t, AF_INET);
        t.sendto(fd, b"unconnected", 0, Addr::local(port));
        t.settle();
        t.poll(fd, ALL, 0);
        t.error_of(fd);
        t.recv(fd, 64, 0);
    }

    fn edges(t) {
        let ((a, _), (b, to)) = (bound(t, AF_INET), bound(t, AF_INET));
        let epoll = t.epoll();
        t.epoll_add(epoll, b, IN | OUT | ET);
        t.epoll_wait(epoll, 4, 0);
        t.sendto(a, b"one", 0, to);
        t.settle();
        t.epoll_wait(epoll, 4, 0);
        t.sendto(a, b"two", 0, to);
        t.settle();
        t.epoll_wait(epoll, 4, 0);
        t.recv(b, 64, 0);
        t.epoll_wait(epoll, 4, 0);
        t.recv(b, 64, 0);
        t.recv(b, 64, 0);
        t.epoll_wait(epoll, 4, 0);
    }

    fn shut_down(t) {
        let ((a, _), (b, to)) = (bound(t, AF_INET), bound(t, AF_INET));
        t.shutdown(a, SHUT_WR);
        t.connect(a, to);
        t.shutdown(a, SHUT_WR);
        t.poll(a, ALL, 0);
        t.send(a, b"x", libc::MSG_NOSIGNAL);
        t.sendto(b, b"x", 0, t.getsockname(a));
        t.settle();
        t.shutdown(a, SHUT_RD);
        t.poll(a, ALL, 0);
        t.recv(a, 64, 0);
        t.recv(a, 64, 0);
    }

    fn blocking(t) {
        let ((a, _), (b, to)) = (bound(t, AF_INET), bound(t, AF_INET));
        t.set_nonblocking(b, 0);
        t.timeout_of(b, "SO_RCVTIMEO", SO_RCVTIMEO, 20);
        super::at_least(t, 18, || t.recv(b, 64, 0));
        t.timeout_of(b, "SO_RCVTIMEO", SO_RCVTIMEO, 0);
        let sender = std::thread::spawn(move || unsafe {
            super::pause(30);
            libc::sendto(a, b"late".as_ptr().cast(), 4, 0, to.pointer(), to.len)
        });
        t.recv(b, 64, 0);
        let _ = sender.join();
        t.recv(b, 64, MSG_DONTWAIT);
    }

    fn many_at_once(t) {
        let ((a, _), (b, to)) = (bound(t, AF_INET), bound(t, AF_INET));
        t.sendmmsg(a);
        t.connect(a, to);
        t.sendmmsg(a);
        t.sendmmsg(a);
        t.settle();
        t.recvmmsg(b);
        t.recvmmsg(b);
        t.recvmmsg(b);
    }

    /// A dual-stack socket speaks with both families (ipv6(7)).
    fn mapped_addresses(t) {
        let six = t.udp6();
        t.bind(six, Addr::v6(std::net::Ipv6Addr::UNSPECIFIED, 0));
        let port = t.getsockname(six).port();
        let (four, back) = bound(t, AF_INET);
        t.sendto(four, b"from four", 0, Addr::local(port));
        t.settle();
        t.recvfrom(six, 64, 0);
        let mapped = Addr::v6(std::net::Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0x7f00, 1), back.port());
        t.sendto(six, b"to four", 0, mapped);
        t.settle();
        t.recvfrom(four, 64, 0);
        let (other, _) = bound(t, AF_INET6);
        t.sendto(other, b"from six", 0, Addr::local6(port));
        t.settle();
        t.recvfrom(six, 64, 0);
    }

    /// A dual-stack socket has options for its own packets, and others for those of IPv4 (`struct ipv6_pinfo`, `struct
    /// inet_sock`).
    fn options_of_each_family(t) {
        let listed = options::IP.iter().chain(options::IPV6);
        let option = |name: &str| *listed.clone().find(|option| option.name == name).expect("it is listed");
        let pairs = [
            ("IP_TTL", "IPV6_UNICAST_HOPS"),
            ("IP_TOS", "IPV6_TCLASS"),
            ("IP_MTU_DISCOVER", "IPV6_MTU_DISCOVER"),
            ("IP_RECVERR", "IPV6_RECVERR"),
            ("IP_MULTICAST_TTL", "IPV6_MULTICAST_HOPS"),
        ];
        for (four, six) in pairs.map(|(four, six)| (option(four), option(six))) {
            for fd in [t.udp6(), t.socket(AF_INET6, libc::SOCK_STREAM, 0)] {
                for (set, value) in [(four, 1), (six, 2), (four, 3)] {
                    t.setopt(fd, set, value);
                    t.getopt(fd, four);
                    t.getopt(fd, six);
                }
                t.close(fd);
            }
        }
        // Who hears that nobody listens, without a connection.
        for hears in [None, Some("IP_RECVERR"), Some("IPV6_RECVERR")] {
            for to in ["four", "six"] {
                let (fd, port) = (t.udp6(), t.closed_port());
                if let Some(hears) = hears {
                    t.setopt(fd, option(hears), 1);
                }
                let mapped = Addr::v6(std::net::Ipv4Addr::LOCALHOST.to_ipv6_mapped(), port);
                t.sendto(fd, b"anybody?", 0, if to == "four" { mapped } else { Addr::local6(port) });
                t.settle();
                t.error_of(fd);
                t.close(fd);
            }
        }
    }
}

script! { Weathers::All;
    fn broadcasts_need_permission(t) {
        let (fd, _) = bound(t, AF_INET);
        let everybody = Addr::v4([127, 255, 255, 255], 4711);
        t.sendto(fd, b"all", 0, everybody);
        t.connect(fd, everybody);
        t.switch(fd, "SO_BROADCAST", 1);
        t.sendto(fd, b"all", 0, everybody);
        t.connect(fd, everybody);
    }

    /// Everybody on the host who listens at the port hears a broadcast, also to 127.255.255.255.
    fn broadcasts_reach_all(t) {
        let fds = [0, 1, 2].map(|_| {
            let fd = t.udp();
            t.switch(fd, "SO_REUSEADDR", 1);
            fd
        });
        t.bind(fds[0], Addr::v4([0; 4], 0));
        let port = t.getsockname(fds[0]).port();
        t.bind(fds[1], Addr::v4([0; 4], port));
        t.bind(fds[2], Addr::local(port));
        let sender = t.udp();
        t.switch(sender, "SO_BROADCAST", 1);
        t.sendto(sender, b"all", 0, Addr::v4([127, 255, 255, 255], port));
        t.settle();
        for fd in fds {
            t.recvfrom(fd, 64, 0);
        }
    }

    /// udp(7), `UDP_CORK`, and send(2), `MSG_MORE`: several calls make one datagram.
    fn corked(t) {
        for domain in [AF_INET, AF_INET6] {
            let ((a, _), (b, to)) = (bound(t, domain), bound(t, domain));
            let (_, elsewhere) = bound(t, domain);
            t.sendto(a, b"one ", MSG_MORE, to);
            t.sendto(a, b"datagram", MSG_MORE, elsewhere);
            t.settle();
            t.recv(b, 64, 0);
            t.send(a, b"", 0);
            t.settle();
            t.recvfrom(b, 64, 0);
            t.setopt(a, CORK, 1);
            t.sendto(a, b"an", 0, to);
            t.sendto(a, b"other", 0, to);
            t.settle();
            t.recv(b, 64, 0);
            t.setopt(a, CORK, 0);
            t.settle();
            t.recv(b, 64, 0);
            t.sendto(a, &[b'x'; 60_000], MSG_MORE, to);
            t.sendto(a, &[b'x'; 6_000], 0, to);
            t.sendto(a, b"fresh", 0, to);
            t.settle();
            t.recv(b, 64, 0);
            t.recv(b, 64, 0);
            t.sendto(a, b"never sent", MSG_MORE, to);
            t.close(a);
            t.settle();
            t.recv(b, 64, 0);
        }
    }

    /// Connecting in the middle of a datagram sends the whole of it to the new peer.
    fn corked_and_connected(t) {
        for domain in [AF_INET, AF_INET6] {
            let ((a, _), (b, first), (c, second)) = (bound(t, domain), bound(t, domain), bound(t, domain));
            t.sendto(a, b"for ", MSG_MORE, first);
            t.connect(a, second);
            t.send(a, b"whom", 0);
            t.settle();
            t.recvfrom(b, 64, 0);
            t.recvfrom(c, 64, 0);
        }
    }

    /// An unreachable port is told to whom an answer from there would reach, not to a socket with another peer.
    fn refused_by_a_stranger(t) {
        let ((a, _), (b, friend)) = (bound(t, AF_INET), bound(t, AF_INET));
        t.connect(a, friend);
        t.sendto(a, b"anybody?", 0, Addr::local(t.closed_port()));
        t.settle();
        t.poll(a, ALL, 0);
        t.error_of(a);
        t.close(b);
        t.send(a, b"gone", 0);
        t.settle();
        t.connect(a, Addr::unspecified());
        t.poll(a, ALL, 0);
        t.error_of(a);
    }

    /// What has left makes room, an edge of writability.
    fn edges_of_sending(t) {
        let ((a, _), (_, to)) = (bound(t, AF_INET), bound(t, AF_INET));
        let epoll = t.epoll();
        t.epoll_add(epoll, a, OUT | ET);
        t.epoll_wait(epoll, 4, 0);
        t.epoll_wait(epoll, 4, 0);
        t.sendto(a, b"one", 0, to);
        t.settle();
        t.epoll_wait(epoll, 4, 0);
        t.epoll_wait(epoll, 4, 0);
    }

    /// socket(7), `SO_TIMESTAMP`: when a datagram arrived comes beside it.
    fn timestamps(t) {
        let ((a, _), (b, to)) = (bound(t, AF_INET), bound(t, AF_INET));
        for option in [TIMESTAMP, TIMESTAMP_NS, TIMESTAMP] {
            t.setopt(b, option, 1);
            t.getopt(b, TIMESTAMP);
            t.getopt(b, TIMESTAMP_NS);
            t.sendto(a, b"when", 0, to);
            t.settle();
            t.recvmsg(b, 64, 64, 0);
        }
        t.setopt(b, TIMESTAMP_NS, 0);
        t.sendto(a, b"when", 0, to);
        t.settle();
        t.recvmsg(b, 64, 64, 0);
    }

    /// What `connect` chose is given back, what `bind` named is kept.
    fn connected_and_free_again(t) {
        for (domain, peer) in [(AF_INET, AF_INET), (AF_INET6, AF_INET6)] {
            let (_, to) = bound(t, peer);
            let fresh = t.socket(domain, SOCK_DGRAM | SOCK_NONBLOCK, 0);
            let named = t.socket(domain, SOCK_DGRAM | SOCK_NONBLOCK, 0);
            t.bind(named, Addr::loopback(domain, 0));
            for fd in [fresh, named] {
                t.connect(fd, to);
                t.getsockname(fd);
                t.connect(fd, Addr::unspecified());
                t.getsockname(fd);
                t.send(fd, b"whom to", 0);
                t.getsockname(fd);
                t.connect(fd, Addr::loopback(domain, 0));
                t.getpeername(fd);
                t.send(fd, b"port 0", 0);
                t.settle();
                t.error_of(fd);
            }
        }
    }
}

const CORK: Opt = Opt { name: "UDP_CORK", level: libc::IPPROTO_UDP, number: libc::UDP_CORK };
const TIMESTAMP: Opt = Opt { name: "SO_TIMESTAMP", level: libc::SOL_SOCKET, number: libc::SO_TIMESTAMP };
const TIMESTAMP_NS: Opt = Opt { name: "SO_TIMESTAMPNS", level: libc::SOL_SOCKET, number: libc::SO_TIMESTAMPNS };
