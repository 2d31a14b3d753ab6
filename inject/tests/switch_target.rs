//! Targets that are on no switch, as far as the fault knows, are cut off within their own network.

mod common;
mod network;

use common::is_in_force_and_gone_at_once;
use network::{Host, held_by_a_child, network};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::io::{Read, Write};
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use windtunnel_inject::error::ErrorKind;
use windtunnel_inject::netlink::in_namespace;
use windtunnel_inject::netlink::nft::{is_there, names};
use windtunnel_inject::switch::{Lost, Partition};
use windtunnel_inject::sys::{Forked, fork, wait};
use windtunnel_inject::target::Process;
use windtunnel_inject::{Injection, Target};

/// How long what is lost is waited for.
const A_WHILE: Duration = Duration::from_millis(100);

fn target(host: &Host) -> Target {
    Target::Namespace(Arc::new(host.ns.try_clone().expect("a descriptor")))
}

/// A socket of a host, for both directions.
fn socket(host: &Host, family: usize) -> UdpSocket {
    let socket = host.run(|| UdpSocket::bind((host.addresses[family], 7)).expect("a free port"));
    socket.set_read_timeout(Some(A_WHILE)).expect("a timeout");
    socket
}

/// Whether a datagram arrives. Sending it works in any case.
fn arrives(from: &UdpSocket, to: &UdpSocket) -> bool {
    from.send_to(b"?", to.local_addr().expect("an address")).expect("senders hear nothing");
    to.recv(&mut [0; 8]).is_ok()
}

fn both_ways(one: &UdpSocket, other: &UdpSocket) -> (bool, bool) {
    (arrives(one, other), arrives(other, one))
}

#[test]
fn a_namespace_is_cut_off_silently_in_each_direction_and_from_its_peers_only() {
    common::in_namespaces(|| {
        let (_switch, [a, b, c]) = network();
        for family in [0, 1] {
            let [mine, theirs, others] = [&a, &b, &c].map(|host| socket(host, family));
            let cuts = [
                (Lost::Both, (false, false), 2),
                (Lost::Leaving, (false, true), 1),
                (Lost::Arriving, (true, false), 1),
            ];
            for (lost, gets_through, bit) in cuts {
                assert_eq!(both_ways(&mine, &theirs), (true, true), "good weather");
                let mut cut_off = Partition::of_target(&target(&a), &b.addresses, lost).expect("a partition");
                cut_off.read_back().expect("in force");
                assert_eq!(both_ways(&mine, &theirs), gets_through, "{lost:?}");
                assert_eq!(cut_off.bit().expect("a count"), bit, "{lost:?}");
                assert_eq!(both_ways(&mine, &others), (true, true), "others are not cut off");
                cut_off.heal().expect("gone");
                assert_eq!(both_ways(&mine, &theirs), (true, true), "{lost:?}, healed");
                assert_eq!(cut_off.bit().expect("the last count"), bit);
                assert!(matches!(cut_off.read_back().expect_err("healed").kind, ErrorKind::Unlike { .. }));
            }
        }
        assert!(a.run(|| names().expect("tables")).is_empty());
    });
}

#[test]
fn a_connection_begins_once_its_target_is_cut_off_no_more() {
    common::in_namespaces(|| {
        let (_switch, [a, b]) = network();
        let to = (b.addresses[0], 80).into();
        let _listener = b.run(|| std::net::TcpListener::bind(to).expect("a free port"));
        let connect = |within| a.run(|| std::net::TcpStream::connect_timeout(&to, within).map(drop));
        for lost in [Lost::Both, Lost::Arriving, Lost::Leaving] {
            let mut cut_off = Partition::of_target(&target(&a), &b.addresses, lost).expect("a partition");
            let refused = connect(A_WHILE).expect_err("cut off");
            assert_eq!(refused.kind(), std::io::ErrorKind::TimedOut, "{lost:?}");
            cut_off.heal().expect("gone");
            connect(Duration::from_secs(10)).expect("a way there");
        }
    });
}

#[test]
fn a_partition_of_a_target_is_in_force_and_gone_at_once() {
    common::in_namespaces(|| {
        let (_switch, [a, b]) = network();
        let target = target(&a);
        let begin = || Partition::of_target(&target, &b.addresses, Lost::Both).expect("a partition");
        is_in_force_and_gone_at_once(begin);
    });
}

/// A process in a host's network that has nothing to do with us otherwise.
fn process_in(host: &Host) -> u32 {
    let (mut said, says) = std::io::pipe().expect("a pipe");
    match fork().expect("a process") {
        Forked::Child => {
            move_into_link_name_space(host.ns.as_fd(), Some(LinkNameSpaceType::Network)).expect("its network");
            (&says).write_all(b".").expect("a reader");
            loop {
                std::thread::park();
            }
        }
        Forked::Parent(pid) => {
            drop(says);
            said.read_exact(&mut [0]).expect("it is there");
            pid
        }
    }
}

#[test]
fn a_process_is_cut_off_with_whatever_else_is_in_its_network() {
    common::in_namespaces(|| {
        let (_switch, [a, b]) = network();
        let (mine, theirs) = (socket(&a, 0), socket(&b, 0));
        let pid = process_in(&a);
        let process = Process::open(pid).expect("a child");
        let target = Target::Process(process.clone());
        let mut cut_off = Partition::of_target(&target, &b.addresses, Lost::Both).expect("a partition");
        assert_eq!(both_ways(&mine, &theirs), (false, false));
        process.kill().expect("ours");
        wait(pid).expect("a child");
        cut_off.read_back().expect("in force as long as its network is there");
        cut_off.heal().expect("gone");
        assert_eq!(both_ways(&mine, &theirs), (true, true));
        let gone = Partition::of_target(&target, &b.addresses, Lost::Both).expect_err("it has ended");
        assert!(matches!(gone.kind, ErrorKind::TargetGone), "{gone}");
    });
}

#[test]
fn what_has_no_network_of_its_own_is_refused() {
    common::in_namespaces(|| {
        let (_switch, [a]) = network();
        let peers: [IpAddr; 1] = [[192, 0, 2, 1].into()];
        let group = Partition::of_target(&Target::Cgroup("/sys/fs/cgroup".into()), &peers, Lost::Both);
        assert!(matches!(group.expect_err("no network").kind, ErrorKind::Lacking { .. }));
        let names = std::fs::File::open("/proc/self/ns/uts").expect("a namespace");
        let names = Target::Namespace(Arc::new(names.into()));
        Partition::of_target(&names, &peers, Lost::Both).expect_err("no network");
        let nobody = Partition::of_target(&target(&a), &[], Lost::Both);
        assert!(matches!(nobody.expect_err("no peers").kind, ErrorKind::Lacking { .. }));
    });
}

#[test]
fn a_killed_holder_takes_its_partition_of_a_target_along() {
    common::in_namespaces(|| {
        let (_switch, [a, b]) = network();
        let (mine, theirs) = (socket(&a, 0), socket(&b, 0));
        let (holder, name) =
            held_by_a_child(|| Partition::of_target(&target(&a), &b.addresses, Lost::Both).expect("a partition"));
        let there = || in_namespace(a.ns.as_fd(), || is_there(&name).expect("an answer")).expect("its network");
        assert!(there());
        assert_eq!(both_ways(&mine, &theirs), (false, false));
        Process::open(holder).expect("a child").kill().expect("ours");
        wait(holder).expect("a child");
        let killed = Instant::now();
        while there() {
            assert!(killed.elapsed() < Duration::from_secs(5), "it outlives its holder");
        }
        assert_eq!(both_ways(&mine, &theirs), (true, true));
    });
}
