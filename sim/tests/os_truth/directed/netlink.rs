//! netlink(7) and rtnetlink(7): who is called what, what may be asked, and how it is answered.

use crate::calls::Addr;
use crate::calls::netlink::{attribute, request};
use crate::calls::options::Opt;
use crate::compare::{Weathers, script};
use libc::{AF_INET, AF_INET6, AF_NETLINK, MSG_OOB, MSG_PEEK, MSG_TRUNC, SOCK_DGRAM, SOCK_STREAM, c_int};

const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
const GETLINK: u16 = 18;
const GETADDR: u16 = 22;
const GETROUTE: u16 = 26;

const SOL_NETLINK: c_int = 270;

/// `ifinfomsg` that names an interface by its number.
fn link(index: i32) -> Vec<u8> {
    let mut content = vec![0; 16];
    content[4..8].copy_from_slice(&index.to_ne_bytes());
    content
}

/// `rtmsg` that asks for the way to an address.
fn way(family: c_int, octets: &[u8]) -> Vec<u8> {
    let mut content = vec![0; 12];
    content[0] = family as u8;
    content[1] = 8 * octets.len() as u8;
    content.extend(attribute(1, octets));
    content
}

/// A header of so many bytes that begins with a family.
fn of(family: c_int, bytes: usize) -> Vec<u8> {
    let mut content = vec![0; bytes];
    content[0] = family as u8;
    content
}

fn option(name: &'static str, number: c_int) -> Opt {
    Opt { name, level: SOL_NETLINK, number }
}

script! { Weathers::Calm;
    fn sockets_of_netlink_have_names(t) {
        for (kind, protocol) in [(SOCK_STREAM, 0), (SOCK_DGRAM, 0), (libc::SOCK_RAW, 32), (libc::SOCK_RAW, -1)] {
            t.socket(AF_NETLINK, kind, protocol);
        }
        t.socketpair(AF_NETLINK, SOCK_DGRAM);
        let (one, other) = (t.netlink(), t.netlink());
        t.getsockname(one);
        t.getpeername(one);
        t.bind(one, Addr::netlink(0, 0).cut(11));
        t.bind(one, Addr::local(80));
        t.bind(one, Addr::netlink(0, 0));
        let name = t.getsockname(one);
        t.say(name.netlink_port() == std::process::id());
        t.bind(one, Addr::netlink(name.netlink_port() + 1, 0));
        t.bind(one, Addr::netlink(name.netlink_port(), 0x11));
        t.getsockname(one);
        t.bind(other, Addr::netlink(name.netlink_port(), 0));
        t.bind(other, Addr::netlink(0, 0));
        t.say((t.getsockname(other).netlink_port() as i32) < -4096);
        let third = t.netlink();
        t.bind(third, Addr::netlink(4242, 1));
        t.getsockname(third);
        t.close(third);
        let third = t.netlink();
        t.bind(third, Addr::netlink(4242, 1 << 29));
        t.bind(third, Addr::netlink(4242, 0));
        // Connected to the kernel, or to nobody.
        let fourth = t.netlink();
        for address in [
            Addr::netlink(0, 0).cut(1),
            Addr::netlink(0, 0).cut(8),
            Addr::local(80),
            Addr::netlink(1, 0),
            Addr::netlink(0, 1),
            Addr::unspecified(),
            Addr::netlink(0, 0),
        ] {
            t.connect(fourth, address);
        }
        t.say(t.getsockname(fourth).netlink_port() == 0);
        t.getpeername(fourth);
    }

    fn interfaces_are_told(t) {
        let fd = t.netlink();
        t.bind(fd, Addr::netlink(0, 0));
        t.ask(fd, &request(GETLINK, REQUEST | DUMP, 1, &of(0, 16)));
        t.ask(fd, &request(GETLINK, REQUEST | DUMP | ACK, 2, &of(libc::AF_PACKET, 1)));
        t.ask(fd, &request(GETLINK, REQUEST | DUMP, 3, &of(libc::AF_BRIDGE, 16)));
        for index in [1, 0, -1, 4242] {
            t.ask(fd, &request(GETLINK, REQUEST, 4, &link(index)));
        }
        t.ask(fd, &request(GETLINK, REQUEST | ACK, 5, &link(1)));
        for name in ["lo\0", "lo", "lo2\0"] {
            let named = [link(0), attribute(3, name.as_bytes())].concat();
            t.ask(fd, &request(GETLINK, REQUEST, 6, &named));
        }
        t.ask(fd, &request(GETLINK, REQUEST, 7, &of(0, 1)));
    }

    fn addresses_are_told(t) {
        let fd = t.netlink();
        t.bind(fd, Addr::netlink(0, 0));
        for family in [0, AF_INET, AF_INET6] {
            t.ask(fd, &request(GETADDR, REQUEST | DUMP, 1, &of(family, 8)));
        }
        t.ask(fd, &request(GETADDR, REQUEST | libc::NLM_F_MATCH as u16, 2, &of(AF_INET, 8)));
        t.ask(fd, &request(GETADDR, REQUEST, 3, &of(AF_INET, 8)));
        t.ask(fd, &request(GETADDR, REQUEST, 4, &of(0, 8)));
    }

    fn routes_are_told(t) {
        let fd = t.netlink();
        t.bind(fd, Addr::netlink(0, 0));
        for family in [0, AF_INET, AF_INET6] {
            t.ask(fd, &request(GETROUTE, REQUEST | DUMP, 1, &of(family, 12)));
        }
        // RTM_F_CLONED, RTM_F_PREFIX
        let wanted = [(AF_INET, 0x200_u32), (AF_INET, 0x800), (AF_INET6, 0x200), (AF_INET6, 0x800), (0, 0x800)];
        for (family, flags) in wanted {
            let mut content = of(family, 12);
            content[8..].copy_from_slice(&flags.to_ne_bytes());
            t.ask(fd, &request(GETROUTE, REQUEST | DUMP, 2, &content));
        }
        for octets in [[127, 0, 0, 1], [127, 1, 2, 3], [127, 255, 255, 255]] {
            t.ask(fd, &request(GETROUTE, REQUEST, 3, &way(AF_INET, &octets)));
        }
        let mut local = [0; 16];
        local[15] = 1;
        t.ask(fd, &request(GETROUTE, REQUEST, 4, &way(AF_INET6, &local)));
        t.ask(fd, &request(GETROUTE, REQUEST, 6, &way(0, &[127, 0, 0, 1])));
        t.ask(fd, &request(GETROUTE, REQUEST, 7, &of(AF_INET, 8)));
    }

    fn nobody_is_a_neighbour_on_the_loopback(t) {
        let fd = t.netlink();
        t.bind(fd, Addr::netlink(0, 0));
        t.ask(fd, &request(30, REQUEST | DUMP, 1, &of(AF_INET, 12)));
        t.ask(fd, &request(30, REQUEST | DUMP, 2, &of(AF_INET6, 1)));
        t.setopt(fd, option("NETLINK_GET_STRICT_CHK", 12), 1);
        t.ask(fd, &request(30, REQUEST | DUMP, 3, &of(AF_INET, 12)));
        t.ask(fd, &request(30, REQUEST | DUMP, 4, &of(AF_INET, 1)));
    }

    fn changes_are_for_the_privileged(t) {
        let fd = t.netlink();
        t.bind(fd, Addr::netlink(0, 0));
        // Making and removing a link, an address, a route; changing a link.
        for kind in [16, 17, 20, 21, 24, 25, 19] {
            t.ask(fd, &request(kind, REQUEST, 1, &of(0, 16)));
            t.ask(fd, &request(kind, REQUEST | ACK, 2, &of(0, 16)));
        }
    }

    fn what_is_no_request_is_passed_over(t) {
        let fd = t.netlink();
        t.bind(fd, Addr::netlink(0, 0));
        t.ask(fd, &request(GETLINK, DUMP, 1, &of(0, 16)));
        t.ask(fd, &request(GETLINK, DUMP | ACK, 2, &of(0, 16)));
        t.ask(fd, &request(3, REQUEST | ACK, 3, &[]));
        t.ask(fd, &request(3, REQUEST, 4, &[]));
        t.ask(fd, &request(999, REQUEST, 5, &of(0, 16)));
        t.ask(fd, &request(GETLINK, REQUEST, 6, &[]));
        t.ask(fd, &request(GETLINK, REQUEST | ACK, 7, &[]));
        // Two at once, one of which is cut, and one that claims to be more than there is.
        let two = [request(GETLINK, REQUEST, 8, &link(1)), request(GETADDR, REQUEST, 9, &of(AF_INET, 8))].concat();
        t.ask(fd, &two);
        t.ask(fd, &two[..two.len() - 4]);
        t.ask(fd, &two[..8]);
        let mut short = request(GETLINK, REQUEST, 10, &link(1));
        short[0] = 15;
        t.ask(fd, &short);
        t.setopt(fd, option("NETLINK_CAP_ACK", 10), 1);
        t.ask(fd, &request(16, REQUEST, 11, &of(0, 16)));
    }

    fn answers_are_received_piece_by_piece(t) {
        let fd = t.netlink();
        t.recv(fd, 100, 0);
        t.recv(fd, 100, MSG_OOB);
        t.send(fd, b"", 0);
        t.send(fd, &request(GETLINK, REQUEST, 1, &link(1)), MSG_OOB);
        t.sendto(fd, &request(GETADDR, REQUEST, 1, &of(AF_INET, 8)), 0, Addr::netlink(0, 0));
        t.sendto(fd, &request(GETADDR, REQUEST, 1, &of(AF_INET, 8)), 0, Addr::netlink(77, 0));
        t.sendto(fd, &request(GETADDR, REQUEST, 1, &of(AF_INET, 8)), 0, Addr::netlink(0, 2));
        t.sendto(fd, &request(GETADDR, REQUEST, 1, &of(AF_INET, 8)), 0, Addr::netlink(0, 0).cut(8));
        t.sendto(fd, &request(GETADDR, REQUEST, 1, &of(AF_INET, 8)), 0, Addr::local(80));
        // Refused as one that has no answer for one address: 44 bytes.
        t.say(t.recv(fd, 0, MSG_PEEK | MSG_TRUNC));
        let mut from = Addr::room();
        let mut buffer = [0_u8; 64];
        let count = unsafe {
            libc::recvfrom(fd, buffer.as_mut_ptr().cast(), 20, MSG_PEEK, from.pointer_mut(), &raw mut from.len)
        };
        t.say(format_args!("{count} bytes from {}", from.show(t)));
        t.answers(fd);
        t.setopt(fd, option("NETLINK_PKTINFO", 3), 1);
        t.send(fd, &request(3, REQUEST | ACK, 2, &[]), 0);
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: 30 };
        let mut control = [0_u64; 8];
        (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
        (message.msg_control, message.msg_controllen) = (control.as_mut_ptr().cast(), 64);
        let count = unsafe { libc::recvmsg(fd, &raw mut message, 0) };
        let length = message.msg_controllen;
        t.say(format_args!("{count} bytes, flags {:#x}, {length} of control: {control:?}", message.msg_flags));
    }

    /// The end of an answer comes when its beginning is looked at, and until then nothing else can be asked for.
    fn one_question_at_a_time(t) {
        let fd = t.netlink();
        t.bind(fd, Addr::netlink(0, 0));
        t.send(fd, &request(GETADDR, REQUEST | DUMP, 1, &of(AF_INET, 8)), 0);
        t.send(fd, &request(GETADDR, REQUEST | DUMP, 2, &of(AF_INET, 8)), 0);
        t.send(fd, &request(GETLINK, REQUEST, 3, &link(1)), 0);
        t.answers(fd);
        t.send(fd, &request(GETADDR, REQUEST | DUMP, 4, &of(AF_INET, 8)), 0);
        t.recv(fd, 0, MSG_PEEK);
        t.send(fd, &request(GETADDR, REQUEST | DUMP, 5, &of(AF_INET, 8)), 0);
        t.answers(fd);
    }

    fn options_of_netlink(t) {
        let fd = t.netlink();
        let flags = [
            option("NETLINK_PKTINFO", 3),
            option("NETLINK_BROADCAST_ERROR", 4),
            option("NETLINK_NO_ENOBUFS", 5),
            option("NETLINK_CAP_ACK", 10),
            option("NETLINK_EXT_ACK", 11),
            option("NETLINK_GET_STRICT_CHK", 12),
            option("NETLINK_LISTEN_ALL_NSID", 8),
            option("an unknown one", 99),
        ];
        for flag in flags {
            t.getopt(fd, flag);
            t.setopt(fd, flag, 7);
            t.getopt(fd, flag);
            t.setopt_bytes(fd, flag, &[1, 0]);
        }
        let (add, drop) = (option("NETLINK_ADD_MEMBERSHIP", 1), option("NETLINK_DROP_MEMBERSHIP", 2));
        let list = option("NETLINK_LIST_MEMBERSHIPS", 9);
        for group in [0, 1, 5, 9, 30, 31, 33, -1] {
            t.setopt(fd, add, group);
        }
        t.getopt_bytes(fd, list, 8);
        t.getsockname(fd);
        t.setopt(fd, drop, 5);
        t.setopt(fd, drop, 6);
        t.setopt(fd, drop, 0);
        t.getopt_bytes(fd, list, 8);
        t.bind(fd, Addr::netlink(0, 2));
        t.getopt_bytes(fd, list, 8);
        t.getopt(fd, Opt { name: "of another level", level: libc::IPPROTO_TCP, number: 1 });
        t.setopt(fd, Opt { name: "of another level", level: libc::IPPROTO_TCP, number: 1 }, 1);
    }

    fn strict_questions_are_checked_and_filter(t) {
        let fd = t.netlink();
        t.bind(fd, Addr::netlink(0, 0));
        t.setopt(fd, option("NETLINK_GET_STRICT_CHK", 12), 1);
        t.ask(fd, &request(GETLINK, REQUEST | DUMP, 1, &of(0, 16)));
        t.ask(fd, &request(GETLINK, REQUEST | DUMP, 2, &of(0, 1)));
        t.ask(fd, &request(GETLINK, REQUEST | DUMP, 3, &link(1)));
        t.ask(fd, &request(GETADDR, REQUEST | DUMP, 4, &of(AF_INET, 8)));
        t.ask(fd, &request(GETADDR, REQUEST | DUMP, 5, &of(AF_INET, 4)));
        for (at, value) in [(1, 8), (2, 1), (3, 254), (4, 1), (4, 77)] {
            for family in [AF_INET, AF_INET6] {
                let mut content = of(family, 8);
                content[at] = value;
                t.ask(fd, &request(GETADDR, REQUEST | DUMP, 6, &content));
            }
        }
        // By table, protocol, kind and scope; by length.
        let by_routes = [(4, 255), (4, 254), (5, 2), (5, 4), (7, 2), (7, 3), (6, 254), (1, 8)];
        for (at, value) in by_routes.into_iter().chain([(8, 1), (9, 2), (9, 8)]) {
            for family in [AF_INET, AF_INET6] {
                let mut content = of(family, 12);
                content[at] = value;
                t.ask(fd, &request(GETROUTE, REQUEST | DUMP, 7, &content));
            }
        }
        for (kind, number) in [(15, 255_u32), (15, 254), (4, 1)] {
            let content = [of(AF_INET, 12), attribute(kind, &number.to_ne_bytes())].concat();
            t.ask(fd, &request(GETROUTE, REQUEST | DUMP, 8, &content));
        }
    }
}
