//! ip(7), socket(7): who may bind what while somebody else has it.

use crate::calls::Addr;
use crate::compare::{Weathers, script};
use crate::transcript::Transcript;
use libc::{AF_INET, AF_INET6, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_STREAM, c_int};
use std::net::Ipv6Addr;

/// An address of the table below.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Any4,
    Local4,
    Other4,
    Any6,
    Any6Only,
    Local6,
    Mapped,
}

const PLACES: [Place; 7] =
    [Place::Any4, Place::Local4, Place::Other4, Place::Any6, Place::Any6Only, Place::Local6, Place::Mapped];

impl Place {
    fn domain(self) -> c_int {
        if matches!(self, Place::Any4 | Place::Local4 | Place::Other4) { AF_INET } else { AF_INET6 }
    }

    fn address(self, port: u16) -> Addr {
        match self {
            Place::Any4 => Addr::v4([0; 4], port),
            Place::Local4 => Addr::local(port),
            Place::Other4 => Addr::v4([127, 0, 0, 2], port),
            Place::Any6 | Place::Any6Only => Addr::v6(Ipv6Addr::UNSPECIFIED, port),
            Place::Local6 => Addr::local6(port),
            Place::Mapped => Addr::v6(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0x7f00, 1), port),
        }
    }
}

/// A port that is free on every address, found without a line.
fn free_port() -> u16 {
    unsafe {
        let fd = libc::socket(AF_INET6, SOCK_STREAM, 0);
        let mut address = Place::Any6.address(0);
        libc::bind(fd, address.pointer(), address.len);
        let mut len = address.len;
        libc::getsockname(fd, address.pointer_mut(), &mut len);
        libc::close(fd);
        address.port()
    }
}

/// A socket with the options of a case, bound perhaps; the line says what bind answered.
fn bind(t: &Transcript, kind: c_int, place: Place, options: &[&str], port: u16) -> c_int {
    t.about("  making: ");
    let fd = t.socket(place.domain(), kind | SOCK_NONBLOCK, 0);
    if place == Place::Any6Only {
        t.switch(fd, "IPV6_V6ONLY", 1);
    }
    for option in options {
        t.switch(fd, option, 1);
    }
    t.about("");
    let result = t.bind(fd, place.address(port));
    if result == 0 { fd } else { -1 }
}

/// Every pair of addresses with the same options on both.
fn every_pair(t: &Transcript, kind: c_int, options: &[&str], listening: bool) {
    for first in PLACES {
        for second in PLACES {
            t.close_all();
            t.forget_names();
            let port = free_port();
            t.say(format_args!("{first:?} then {second:?}"));
            let holder = bind(t, kind, first, options, port);
            if listening {
                t.listen(holder, 4);
            }
            let other = bind(t, kind, second, options, port);
            if listening && other >= 0 {
                t.listen(other, 4);
            }
        }
    }
}

script! { Weathers::All;
    fn streams_bound_twice(t) {
        every_pair(t, SOCK_STREAM, &[], false);
    }

    fn listeners_twice(t) {
        every_pair(t, SOCK_STREAM, &[], true);
    }

    fn streams_that_reuse_addresses(t) {
        every_pair(t, SOCK_STREAM, &["SO_REUSEADDR"], false);
    }

    fn listeners_that_reuse_addresses(t) {
        every_pair(t, SOCK_STREAM, &["SO_REUSEADDR"], true);
    }

    fn listeners_that_reuse_ports(t) {
        every_pair(t, SOCK_STREAM, &["SO_REUSEPORT"], true);
    }

    fn datagram_sockets_bound_twice(t) {
        every_pair(t, SOCK_DGRAM, &[], false);
    }

    fn datagram_sockets_that_reuse_addresses(t) {
        every_pair(t, SOCK_DGRAM, &["SO_REUSEADDR"], false);
    }

    fn datagram_sockets_that_reuse_ports(t) {
        every_pair(t, SOCK_DGRAM, &["SO_REUSEPORT"], false);
    }

    /// The options have to be on both sockets.
    fn options_of_one_side_only(t) {
        for kind in [SOCK_STREAM, SOCK_DGRAM] {
            for option in ["SO_REUSEADDR", "SO_REUSEPORT"] {
                for on_the_first in [true, false] {
                    t.close_all();
                    t.forget_names();
                    let port = free_port();
                    let lists: [&[&str]; 2] = if on_the_first { [&[option], &[]] } else { [&[], &[option]] };
                    t.say(format_args!("{kind} {option}, on the first: {on_the_first}"));
                    bind(t, kind, Place::Local4, lists[0], port);
                    bind(t, kind, Place::Local4, lists[1], port);
                    bind(t, kind, Place::Any4, lists[1], port);
                }
            }
        }
    }

    /// socket(7), `SO_REUSEADDR`: what is left of connections does not keep a listener from its address.
    fn a_listener_restarts(t) {
        for reuse in [false, true] {
            t.close_all();
            t.forget_names();
            t.say(format_args!("SO_REUSEADDR {reuse}"));
            let options: &[&str] = if reuse { &["SO_REUSEADDR"] } else { &[] };
            let port = free_port();
            let listener = bind(t, SOCK_STREAM, Place::Local4, options, port);
            t.listen(listener, 8);
            let client = t.tcp();
            t.connect(client, Addr::local(port));
            t.settle();
            let server = t.accept(listener);
            t.close(listener);
            let second = bind(t, SOCK_STREAM, Place::Local4, options, port);
            t.close(second);
            // The server closes first: its side waits (TIME_WAIT).
            t.close(server);
            t.settle();
            t.close(client);
            t.settle();
            let third = bind(t, SOCK_STREAM, Place::Local4, options, port);
            t.listen(third, 8);
        }
    }

    fn a_port_is_free_after_close(t) {
        let port = free_port();
        for kind in [SOCK_STREAM, SOCK_DGRAM] {
            for _ in 0..2 {
                let fd = bind(t, kind, Place::Any4, &[], port);
                t.close(fd);
            }
        }
        let stream = bind(t, SOCK_STREAM, Place::Any4, &[], port);
        let datagrams = bind(t, SOCK_DGRAM, Place::Any4, &[], port);
        t.getsockname(stream);
        t.getsockname(datagrams);
    }

    fn chosen_ports(t) {
        let fd = t.tcp();
        t.listen(fd, 4);
        let name = t.getsockname(fd);
        t.say(format_args!("unprivileged: {}", name.port() >= 1024));
        let udp = t.udp();
        t.sendto(udp, b"x", 0, Addr::local(name.port()));
        t.getsockname(udp);
        let connected = t.udp();
        t.connect(connected, Addr::local(name.port()));
        t.getsockname(connected);
        let six = t.tcp6();
        t.listen(six, 4);
        t.getsockname(six);
    }

    /// ipv6(7): a v6 wildcard hears v4 clients, with mapped addresses.
    fn dual_stack(t) {
        for only in [0, 1] {
            t.close_all();
            t.forget_names();
            let listener = t.tcp6();
            t.switch(listener, "IPV6_V6ONLY", only);
            t.bind(listener, Place::Any6.address(0));
            t.listen(listener, 8);
            let port = t.getsockname(listener).port();
            let four = t.tcp();
            t.connect(four, Addr::local(port));
            t.settle();
            t.error_of(four);
            let server = t.accept(listener);
            if server >= 0 {
                t.getsockname(server);
                t.getpeername(server);
            }
            let six = t.tcp6();
            t.connect(six, Addr::local6(port));
            t.settle();
            t.error_of(six);
            t.accept(listener);
            let mapped = t.tcp6();
            t.connect(mapped, Place::Mapped.address(port));
            t.settle();
            t.error_of(mapped);
            t.getsockname(mapped);
            t.accept(listener);
            let strict = t.tcp6();
            t.switch(strict, "IPV6_V6ONLY", 1);
            t.connect(strict, Place::Mapped.address(port));
        }
    }

    fn which_listener_gets_it(t) {
        let port = free_port();
        let any = bind(t, SOCK_STREAM, Place::Any4, &["SO_REUSEADDR"], port);
        let local = bind(t, SOCK_STREAM, Place::Local4, &["SO_REUSEADDR"], port);
        t.listen(any, 8);
        t.listen(local, 8);
        let other = bind(t, SOCK_DGRAM, Place::Any4, &[], port);
        t.sendto(other, b"not a stream", 0, Addr::local(port));
        t.settle();
        t.recv(other, 64, 0);
        let client = t.tcp();
        t.connect(client, Addr::local(port));
        t.settle();
        t.error_of(client);
        t.accept(any);
        t.accept(local);
        let elsewhere = t.tcp();
        t.connect(elsewhere, Addr::v4([127, 0, 0, 2], port));
        t.settle();
        t.error_of(elsewhere);
        let server = t.accept(any);
        t.getsockname(server);
    }
}
