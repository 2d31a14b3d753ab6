//! Hosts find each other by name, whichever server they ask.

mod common;
mod network;

use common::is_in_force_and_gone_at_once;
use network::{Host, network};
use rustix::mount::mount_bind;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use windtunnel_inject::dns::{Answer, Asker, Responder};
use windtunnel_inject::error::ErrorKind as Kind;
use windtunnel_inject::netlink::route::{LOOPBACK, Routing};
use windtunnel_inject::netlink::{in_namespace, new_namespace};
use windtunnel_inject::switch::Switch;
use windtunnel_inject::{Injection, Target};

/// One attempt of a second, so that silence is over soon.
const RESOLVER: &str = "nameserver 10.0.255.53\noptions timeout:1 attempts:1\n";

/// A question for the A record of kv2, by hand (RFC 1035 §4.1).
const QUESTION: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03kv2\x00\x00\x01\x00\x01";

fn responder<const HOSTS: usize>(switch: &Switch, hosts: &[Host; HOSTS]) -> Responder {
    let responder = Responder::start(switch.ns()).expect("a name server");
    for (host, number) in hosts.iter().zip(1..) {
        let [IpAddr::V4(v4), IpAddr::V6(v6)] = host.addresses else { panic!("IPv4, IPv6") };
        responder.zone().set(&format!("kv{number}"), v4, v6);
    }
    responder
}

/// The name server of all programs in this mount namespace.
fn resolv_conf() {
    let path = std::env::temp_dir().join(format!("resolv.conf-{}", std::process::id()));
    std::fs::write(&path, RESOLVER).expect("a file");
    let mounted = mount_bind(&path, "/etc/resolv.conf");
    std::fs::remove_file(&path).expect("the file");
    mounted.expect("a mount");
}

/// getaddrinfo(3).
fn look_up(host: &Host, name: &str) -> io::Result<Vec<IpAddr>> {
    host.run(|| {
        let found = (name, 80).to_socket_addrs()?;
        let mut addresses: Vec<_> = found.map(|address| address.ip()).collect();
        addresses.sort();
        Ok(addresses)
    })
}

/// One of each kind.
fn answers(host: &Host) -> [Answer; 6] {
    [
        Answer::Addresses(vec!["192.0.2.66".parse().expect("an address")]),
        Answer::Addresses(host.addresses.to_vec()),
        Answer::NoSuchName,
        Answer::Failure,
        Answer::Nothing,
        Answer::Late(Duration::from_millis(300)),
    ]
}

#[test]
fn getaddrinfo_finds_names_and_a_change_at_once() {
    common::in_namespaces(|| {
        resolv_conf();
        let (switch, hosts) = network::<2>();
        let responder = responder(&switch, &hosts);
        let [a, b] = &hosts;
        assert_eq!(look_up(a, "kv2").expect("a name"), b.addresses);
        assert_eq!(look_up(b, "KV1").expect("a name"), a.addresses);
        look_up(a, "kv3").expect_err("nobody's name");
        let (v4, v6) = ("10.0.0.9".parse().expect("an address"), "fd00::9".parse().expect("an address"));
        responder.zone().set("kv2", v4, v6);
        assert_eq!(look_up(a, "kv2").expect("a name"), [IpAddr::V4(v4), IpAddr::V6(v6)]);
        responder.zone().remove("kv2");
        look_up(a, "kv2").expect_err("nobody's name any more");
    });
}

#[test]
fn each_hijack_misleads_getaddrinfo_and_is_over_when_healed() {
    common::in_namespaces(|| {
        resolv_conf();
        let (switch, hosts) = network::<2>();
        let responder = responder(&switch, &hosts);
        let [a, b] = &hosts;
        let asker = Asker { ns: a.ns.as_fd(), addresses: &a.addresses };
        for answer in answers(a) {
            let mut hijack = responder.hijack(&asker, "kv2", answer.clone()).expect("a hijack");
            hijack.read_back().expect("in force");
            assert_eq!(hijack.bit().expect("a count"), 0, "its own question does not count");

            let asked = Instant::now();
            let found = look_up(a, "kv2");
            match &answer {
                Answer::Addresses(wanted) => assert_eq!(&found.expect("a name"), wanted),
                Answer::NoSuchName => assert!(found.expect_err("no name").to_string().contains("not known")),
                // EAI_AGAIN, gai_strerror(3).
                Answer::Failure | Answer::Nothing => {
                    assert!(found.expect_err("no answer").to_string().contains("Temporary failure"));
                }
                Answer::Late(_) => assert_eq!(found.expect("a name"), b.addresses),
            }
            if let Answer::Late(by) = answer {
                assert!(asked.elapsed() >= by);
            }
            assert!(hijack.bit().expect("a count") >= 1);
            assert_eq!(look_up(b, "kv2").expect("a name"), b.addresses, "others are told the truth");

            hijack.heal().expect("gone");
            assert_eq!(look_up(a, "kv2").expect("a name"), b.addresses, "after {answer:?}");
            hijack.heal().expect("nothing to do");
            hijack.read_back().expect_err("healed");
        }
    });
}

#[test]
fn a_target_is_misled_by_the_addresses_of_its_network() {
    common::in_namespaces(|| {
        resolv_conf();
        let (switch, hosts) = network::<2>();
        let responder = responder(&switch, &hosts);
        let [a, b] = &hosts;
        let target = |ns: &std::os::fd::OwnedFd| Target::Namespace(Arc::new(ns.try_clone().expect("a descriptor")));
        for answer in answers(a) {
            let mut hijack = responder.hijack_target(&target(&a.ns), "kv2", answer.clone()).expect("a hijack");
            hijack.read_back().expect("in force");
            let found = look_up(a, "kv2");
            match &answer {
                Answer::Addresses(wanted) => assert_eq!(&found.expect("a name"), wanted),
                Answer::Late(_) => assert_eq!(found.expect("a name"), b.addresses),
                Answer::NoSuchName | Answer::Failure | Answer::Nothing => drop(found.expect_err("misled")),
            }
            assert!(hijack.bit().expect("a count") >= 1);
            assert_eq!(look_up(b, "kv2").expect("a name"), b.addresses, "others are told the truth");
            hijack.heal().expect("gone");
            assert_eq!(look_up(a, "kv2").expect("a name"), b.addresses, "after {answer:?}");
        }
    });
}

#[test]
fn a_target_whose_questions_go_elsewhere_is_refused() {
    common::in_namespaces(|| {
        let (switch, hosts) = network::<1>();
        let responder = responder(&switch, &hosts);
        let alone = new_namespace().expect("a namespace");
        // One without addresses, and one that has some and no way here.
        for has_address in [false, true] {
            if has_address {
                in_namespace(alone.as_fd(), || {
                    let mut routing = Routing::open()?;
                    routing.loopback_up()?;
                    routing.add_address(LOOPBACK, [192, 0, 2, 1].into())
                })
                .expect("the namespace")
                .expect("an address");
            }
            let target = Target::Namespace(Arc::new(alone.try_clone().expect("a descriptor")));
            let refused = responder.hijack_target(&target, "kv1", Answer::Failure).expect_err("nobody hears it");
            assert!(matches!(refused.kind, Kind::Lacking { .. }), "{refused}");
        }
        let group = responder.hijack_target(&Target::Cgroup("/sys/fs/cgroup".into()), "kv1", Answer::Failure);
        assert!(matches!(group.expect_err("no network").kind, Kind::Lacking { .. }));
    });
}

#[test]
fn each_hijack_is_in_force_and_gone_at_once() {
    common::in_namespaces(|| {
        let (switch, hosts) = network::<2>();
        let responder = responder(&switch, &hosts);
        let [a, _] = &hosts;
        let asker = Asker { ns: a.ns.as_fd(), addresses: &a.addresses };
        for answer in answers(a) {
            println!("{answer:?}");
            is_in_force_and_gone_at_once(|| responder.hijack(&asker, "kv2", answer.clone()).expect("a hijack"));
        }
    });
}

#[test]
fn a_hard_wired_server_is_answered_for_in_both_families_and_by_tcp() {
    common::in_namespaces(|| {
        let (switch, hosts) = network::<2>();
        let _responder = responder(&switch, &hosts);
        let [a, b] = &hosts;
        let IpAddr::V4(wanted) = b.addresses[0] else { panic!("IPv4 first") };
        for server in ["8.8.8.8", "2001:4860:4860::8888", "10.0.255.53", "fd00::ffff:53"] {
            let server: IpAddr = server.parse().expect("an address");
            let any: IpAddr = if server.is_ipv4() { "0.0.0.0" } else { "::" }.parse().expect("an address");
            let socket = a.run(|| UdpSocket::bind((any, 0)).expect("a free port"));
            socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout");
            socket.send_to(QUESTION, (server, 53)).expect("a way there");
            let mut answer = [0; 512];
            let (length, from) = socket.recv_from(&mut answer).expect("an answer");
            assert_eq!(from, (server, 53).into(), "from whom was asked");
            assert!(answer[..length].starts_with(&QUESTION[..2]) && answer[..length].ends_with(&wanted.octets()));

            let mut stream = a.run(|| TcpStream::connect((server, 53)).expect("a way there"));
            let framed = [&u16::try_from(QUESTION.len()).expect("short").to_be_bytes(), QUESTION].concat();
            // In two pieces, and two questions.
            stream.write_all(&framed[..5]).expect("room");
            stream.write_all(&[&framed[5..], &framed].concat()).expect("room");
            for _ in 0..2 {
                let mut answer_length = [0; 2];
                stream.read_exact(&mut answer_length).expect("an answer");
                let mut answer = vec![0; usize::from(u16::from_be_bytes(answer_length))];
                stream.read_exact(&mut answer).expect("an answer");
                assert!(answer.ends_with(&wanted.octets()));
            }
        }
    });
}

#[test]
fn a_host_s_own_port_53_and_other_ports_elsewhere_are_left_alone() {
    common::in_namespaces(|| {
        let (switch, hosts) = network::<2>();
        let _responder = responder(&switch, &hosts);
        let [a, b] = &hosts;
        for to in b.addresses {
            let listener = b.run(|| TcpListener::bind((to, 53)).expect("a free port"));
            let stream = a.run(|| TcpStream::connect((to, 53)).expect("a way there"));
            let (_, peer) = listener.accept().expect("the host itself is asked");
            assert_eq!(peer, stream.local_addr().expect("an address"));
        }
        let to = ("8.8.8.8".parse::<IpAddr>().expect("an address"), 80).into();
        let error = a.run(|| TcpStream::connect_timeout(&to, Duration::from_secs(5)).expect_err("nobody is there"));
        assert_eq!(error.kind(), ErrorKind::NetworkUnreachable);
    });
}

#[test]
fn a_later_hijack_covers_an_earlier_one_and_all_names_below_can_be_hijacked() {
    common::in_namespaces(|| {
        resolv_conf();
        let (switch, hosts) = network::<2>();
        let responder = responder(&switch, &hosts);
        let [a, _] = &hosts;
        let asker = Asker { ns: a.ns.as_fd(), addresses: &a.addresses };
        let elsewhere: IpAddr = "192.0.2.66".parse().expect("an address");
        let mut all = responder.hijack(&asker, "*.internal", Answer::Addresses(vec![elsewhere])).expect("a hijack");
        all.read_back().expect("in force");
        assert_eq!(look_up(a, "db.internal").expect("a name"), [elsewhere]);
        look_up(a, "internal").expect_err("not below itself");
        let mut earlier = responder.hijack(&asker, "kv2", Answer::NoSuchName).expect("a hijack");
        let mut later = responder.hijack(&asker, "kv2", Answer::Addresses(vec![elsewhere])).expect("a hijack");
        earlier.read_back().expect("covered");
        later.read_back().expect("in force");
        later.heal().expect("gone");
        earlier.read_back().expect("in force");
        look_up(a, "kv2").expect_err("the earlier one counts again");
        drop(earlier);
        look_up(a, "kv2").expect("a dropped hijack is over");
        assert!(responder.hijack(&asker, "no..name", Answer::Nothing).is_err());
    });
}

#[test]
fn a_hijack_of_a_host_that_has_gone_or_of_a_server_that_has_ended_heals() {
    common::in_namespaces(|| {
        let (mut switch, hosts) = network::<1>();
        let responder = responder(&switch, &hosts);
        let [a] = &hosts;
        let asker = Asker { ns: a.ns.as_fd(), addresses: &a.addresses };
        let mut one = responder.hijack(&asker, "kv1", Answer::Failure).expect("a hijack");
        let mut other = responder.hijack(&asker, "kv1", Answer::Failure).expect("a hijack");
        other.read_back().expect("in force");
        let port = switch.port_of(a.addresses[0]).expect("its port");
        switch.leave(port).expect("its port");
        assert!(matches!(other.read_back().expect_err("nobody can ask").kind, Kind::TargetGone));
        one.heal().expect("nobody is misled");
        drop(responder);
        other.heal().expect("nobody is misled");
        // The next server of the namespace finds what the first has left.
        Responder::start(switch.ns()).expect("a name server");
    });
}
