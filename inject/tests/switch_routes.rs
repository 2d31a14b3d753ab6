//! The switch: every host reaches every other, and nobody else.

mod common;
mod network;

use network::network;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};
use windtunnel_inject::netlink::new_namespace;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn hosts_reach_each_other_by_tcp_and_udp_in_both_families() {
    common::in_namespaces(|| {
        let (_switch, [a, b]) = network();
        for (mine, other) in a.addresses.into_iter().zip(b.addresses) {
            let listener = b.run(|| TcpListener::bind((other, 80)).expect("a free port"));
            let mut stream = a.run(|| TcpStream::connect((other, 80)).expect("a way there"));
            let (mut accepted, peer) = listener.accept().expect("a connection");
            assert_eq!(peer.ip(), mine, "nobody translates addresses");
            // More than fits in one packet, and in one receive window.
            let much: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_be_bytes).collect();
            let mut got = vec![0; much.len()];
            std::thread::scope(|scope| {
                scope.spawn(|| stream.write_all(&much).expect("room"));
                accepted.read_exact(&mut got).expect("as much");
            });
            assert!(got == much, "it arrives as it was sent");

            let receiver = b.run(|| UdpSocket::bind((other, 53)).expect("a free port"));
            let sender = a.run(|| UdpSocket::bind((mine, 0)).expect("a free port"));
            receiver.set_read_timeout(Some(SECOND)).expect("a timeout");
            sender.send_to(b"hello", (other, 53)).expect("a way there");
            let mut bytes = [0; 16];
            let (length, from) = receiver.recv_from(&mut bytes).expect("a datagram");
            assert_eq!((&bytes[..length], from), (&b"hello"[..], sender.local_addr().expect("an address")));
        }
    });
}

#[test]
fn a_host_reaches_itself_and_its_loopback() {
    common::in_namespaces(|| {
        let (_switch, [a]) = network();
        a.run(|| {
            let [v4, v6] = a.addresses;
            for ip in [v4, v6, "127.0.0.1".parse().expect("an address"), "::1".parse().expect("an address")] {
                let listener = TcpListener::bind((ip, 0)).expect("its address");
                TcpStream::connect(listener.local_addr().expect("an address")).expect("itself");
            }
        });
    });
}

#[test]
fn where_nobody_is_there_is_no_way_and_a_host_that_has_left_cannot_be_reached() {
    common::in_namespaces(|| {
        let (mut switch, [a]) = network();
        let connect = &|to: &str| {
            let to: SocketAddr = to.parse().expect("an address");
            // The answer may come while the kernel is still busy with the first SYN, and then counts when that is sent
            // again, after a second or two more (tcp_ipv6.c, `tcp_v6_err`: `sk_err_soft`).
            a.run(|| TcpStream::connect_timeout(&to, 15 * SECOND).expect_err("nobody is there").kind())
        };
        assert_eq!(connect("192.0.2.1:80"), ErrorKind::NetworkUnreachable);
        assert_eq!(connect("[2001:db8::1]:80"), ErrorKind::NetworkUnreachable);

        // Its last process has ended; the switch has not been told.
        let other = new_namespace().expect("a namespace");
        let (v4, v6) = ("10.0.0.9".parse().expect("an address"), "fd00::9".parse().expect("an address"));
        let port = switch.join(other.as_fd(), "kv9", v4, v6).expect("a port");
        assert_eq!(connect("10.0.0.9:80"), ErrorKind::ConnectionRefused);
        drop(other);
        let deadline = Instant::now() + 5 * SECOND;
        while connect("10.0.0.9:80") == ErrorKind::ConnectionRefused {
            assert!(Instant::now() < deadline, "a namespace ends soon after its last holder");
        }
        switch.leave(port).expect("it has left already");
        switch.leave(port).expect("nothing to do");
        std::thread::scope(|scope| {
            for address in ["10.0.0.9:80", "[fd00::9]:80"] {
                scope.spawn(move || {
                    let asked = Instant::now();
                    assert_eq!(connect(address), ErrorKind::HostUnreachable);
                    let silent = asked.elapsed();
                    assert!(silent > SECOND, "said only after a while, not after {silent:?}");
                });
            }
        });
        // On again, in another namespace, at once: nothing is remembered of the time between.
        let again = new_namespace().expect("a namespace");
        switch.join(again.as_fd(), "kv9", v4, v6).expect("a port");
        assert_eq!(connect("10.0.0.9:80"), ErrorKind::ConnectionRefused);
        assert_eq!(connect("[fd00::9]:80"), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn an_address_is_had_by_one_host_only_and_a_refusal_leaves_nothing() {
    common::in_namespaces(|| {
        let (mut switch, [_a, b]) = network();
        let other = new_namespace().expect("a namespace");
        let v6 = "fd00::9".parse().expect("an address");
        let refused = switch.join(other.as_fd(), "kv9", "10.0.0.1".parse().expect("an address"), v6);
        assert!(refused.expect_err("kv1 has it").is_os(libc::EEXIST));
        let refused = switch.join(b.ns.as_fd(), "kv9", "10.0.0.9".parse().expect("an address"), v6);
        let refused = refused.expect_err("kv2 has an eth0");
        assert!(refused.is_os(libc::EEXIST), "{refused}");
        switch.join(other.as_fd(), "kv9", "10.0.0.9".parse().expect("an address"), v6).expect("both are free");
    });
}

#[test]
fn a_hundred_hosts_join_in_no_time() {
    common::in_namespaces(|| {
        let begun = Instant::now();
        let (_switch, hosts) = network::<100>();
        println!("{:?} for each host and its namespace", begun.elapsed() / 100);
        let (first, last) = (&hosts[0], &hosts[99]);
        let listener = last.run(|| TcpListener::bind((last.addresses[1], 80)).expect("a free port"));
        first.run(|| TcpStream::connect(listener.local_addr().expect("an address")).expect("a way there"));
        assert!(begun.elapsed() < 30 * SECOND);
    });
}
