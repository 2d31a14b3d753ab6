//! Partitions: silent, at once, there and back.

mod common;
mod network;

use common::is_in_force_and_gone_at_once;
use network::{Host, network};
use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};
use windtunnel_inject::Injection;
use windtunnel_inject::error::ErrorKind as Kind;
use windtunnel_inject::netlink::in_namespace;
use windtunnel_inject::netlink::nft::{
    Chain, Change, Direction, Expression, Family, Hold, Hook, Rule, Set, Table, TableDescription, Watch, is_there,
};
use windtunnel_inject::switch::{Cut, Partition, Ways};

/// Long enough for a packet that is not dropped.
const A_WHILE: Duration = Duration::from_millis(50);

fn cut(from: &Host, to: &Host, ways: Ways) -> [Cut; 1] {
    [Cut { from: from.addresses.to_vec(), to: to.addresses.to_vec(), ways }]
}

fn in_switch<R: Send>(switch: BorrowedFd<'_>, look: impl FnOnce() -> R + Send) -> R {
    in_namespace(switch, look).expect("the switch's namespace")
}

/// A socket of each host, of one family.
struct Pair(UdpSocket, UdpSocket);

impl Pair {
    fn new(a: &Host, b: &Host, family: usize) -> Self {
        let [one, other] = [a, b].map(|host| {
            let socket = host.run(|| UdpSocket::bind((host.addresses[family], 7)).expect("a free port"));
            socket.set_read_timeout(Some(A_WHILE)).expect("a timeout");
            socket
        });
        Self(one, other)
    }

    /// Whether datagrams arrive there, and back. Sending never fails.
    fn arrive(&self) -> (bool, bool) {
        (arrives(&self.0, &self.1), arrives(&self.1, &self.0))
    }
}

fn arrives(from: &UdpSocket, to: &UdpSocket) -> bool {
    from.send_to(b"?", to.local_addr().expect("an address")).expect("senders hear nothing");
    let mut byte = [0];
    match to.recv(&mut byte) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_partition_is_silent_and_over_when_healed() {
    common::in_namespaces(|| {
        let (switch, [a, b, c]) = network();
        let pairs = [0, 1].map(|family| Pair::new(&a, &b, family));
        let bystander = c.run(|| UdpSocket::bind((c.addresses[0], 7)).expect("a free port"));
        bystander.set_read_timeout(Some(A_WHILE)).expect("a timeout");
        for pair in &pairs {
            assert_eq!(pair.arrive(), (true, true), "good weather");
        }

        let mut partition = Partition::begin(switch.ns(), &cut(&a, &b, Ways::Both)).expect("a partition");
        partition.read_back().expect("in force");
        for pair in &pairs {
            assert_eq!(pair.arrive(), (false, false));
        }
        assert!(arrives(&pairs[0].0, &bystander) && arrives(&bystander, &pairs[0].1), "others are not cut off");
        assert_eq!(partition.bit().expect("a count"), 4);
        assert_eq!(partition.mechanism(), "nft owner table");

        partition.heal().expect("gone");
        for pair in &pairs {
            assert_eq!(pair.arrive(), (true, true));
        }
        partition.heal().expect("nothing to do");
        assert_eq!(partition.bit().expect("the last count"), 4);
        assert!(matches!(partition.read_back().expect_err("healed").kind, Kind::Unlike { .. }));
    });
}

#[test]
fn a_partition_is_in_force_and_gone_at_once() {
    common::in_namespaces(|| {
        let (switch, [a, b]) = network();
        let cuts = cut(&a, &b, Ways::Both);
        is_in_force_and_gone_at_once(|| Partition::begin(switch.ns(), &cuts).expect("a partition"));
    });
}

#[test]
fn one_way_is_one_way() {
    common::in_namespaces(|| {
        let (switch, [a, b]) = network();
        let pairs = [0, 1].map(|family| Pair::new(&a, &b, family));
        let _partition = Partition::begin(switch.ns(), &cut(&a, &b, Ways::One)).expect("a partition");
        for pair in &pairs {
            assert_eq!(pair.arrive(), (false, true));
        }
    });
}

#[test]
fn a_ring_lets_neighbours_through_only() {
    common::in_namespaces(|| {
        let (switch, hosts) = network::<4>();
        let cuts = [(0, 2), (1, 3)].map(|(one, other)| {
            let [one, other]: [&Host; 2] = [&hosts[one], &hosts[other]];
            Cut { from: one.addresses.to_vec(), to: other.addresses.to_vec(), ways: Ways::Both }
        });
        let mut partition = Partition::begin(switch.ns(), &cuts).expect("a partition");
        partition.read_back().expect("in force");
        let sockets = hosts.each_ref().map(|host| {
            let socket = host.run(|| UdpSocket::bind((host.addresses[0], 7)).expect("a free port"));
            socket.set_read_timeout(Some(A_WHILE)).expect("a timeout");
            socket
        });
        for one in 0..4 {
            for other in (0..4).filter(|other| *other != one) {
                let opposite = (one + 2) % 4 == other;
                assert_eq!(arrives(&sockets[one], &sockets[other]), !opposite, "{one} to {other}");
            }
        }
    });
}

#[test]
fn a_stream_goes_on_after_a_partition() {
    common::in_namespaces(|| {
        let (switch, [a, b]) = network();
        for (mine, other) in a.addresses.into_iter().zip(b.addresses) {
            let listener = b.run(|| TcpListener::bind((other, 80)).expect("a free port"));
            let mut stream = a.run(|| TcpStream::connect((other, 80)).expect("a way there"));
            let (mut accepted, _) = listener.accept().expect("a connection");
            let mut partition = Partition::begin(switch.ns(), &cut(&a, &b, Ways::Both)).expect("a partition");
            stream.write_all(b"hello").expect("room in the socket's buffer");
            accepted.set_read_timeout(Some(A_WHILE)).expect("a timeout");
            let mut bytes = [0; 5];
            assert_eq!(accepted.read(&mut bytes).expect_err("cut off").kind(), ErrorKind::WouldBlock);
            let refused = a.run(|| TcpStream::connect_timeout(&(other, 80).into(), A_WHILE).expect_err("cut off"));
            assert_eq!(refused.kind(), ErrorKind::TimedOut, "from {mine}");
            partition.heal().expect("gone");
            // The sender's next retransmission.
            accepted.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
            accepted.read_exact(&mut bytes).expect("what was sent before");
            assert_eq!(&bytes, b"hello");
        }
    });
}

#[test]
fn many_hosts_make_no_more_rules() {
    common::in_namespaces(|| {
        let (switch, [a, b]) = network();
        let crowd = |host: &Host, third: u8| -> Vec<IpAddr> {
            let others = (0..1_000u16).map(|n| {
                let [high, low] = n.to_be_bytes();
                IpAddr::from([10, third, high, low])
            });
            others.chain(host.addresses).collect()
        };
        let cuts = [Cut { from: crowd(&a, 1), to: crowd(&b, 2), ways: Ways::Both }];
        let asked = Instant::now();
        let mut partition = Partition::begin(switch.ns(), &cuts).expect("a partition");
        partition.read_back().expect("in force");
        println!("2,000 addresses in {:?}", asked.elapsed());
        assert_eq!(Pair::new(&a, &b, 0).arrive(), (false, false));
        assert_eq!(Pair::new(&a, &b, 1).arrive(), (false, false));
    });
}

/// A table that another program has in the switch's namespace: it drops what goes to a.
fn foreign(name: &str, host: &Host) -> Table {
    let set = Set { name: "s".to_owned(), family: Family::V4, addresses: BTreeSet::from([host.addresses[0]]) };
    let rule = Rule(vec![
        Expression::Is(Family::V4),
        Expression::Among { direction: Direction::Destination, family: Family::V4, set: "s".to_owned() },
        Expression::Count,
        Expression::Drop,
    ]);
    let chain = Chain { name: "c".to_owned(), hook: Hook::Passage, priority: 0, rules: vec![rule] };
    let description = TableDescription { name: name.to_owned(), sets: vec![set], chains: vec![chain], lease: None };
    Table::held_by(Hold::Namespace, description).expect("a table")
}

#[test]
fn somebody_else_s_table_stays_and_nobody_else_can_remove_ours() {
    common::in_namespaces(|| {
        let (switch, [a, b]) = network();
        let mut theirs = in_switch(switch.ns(), || foreign("theirs", &a));
        let pair = Pair::new(&a, &b, 0);
        assert_eq!(pair.arrive(), (true, false));
        let mut partition = Partition::begin(switch.ns(), &cut(&a, &b, Ways::Both)).expect("a partition");
        assert_eq!(pair.arrive(), (false, false));
        theirs.read_back().expect("as it was");

        // Their program tries to remove ours, and to have its name.
        let description =
            TableDescription { name: partition.table().to_owned(), sets: vec![], chains: vec![], lease: None };
        in_switch(switch.ns(), || {
            let removed = Table::adopt(description.clone()).and_then(|mut ours| ours.remove());
            assert!(removed.expect_err("it has an owner").is_os(libc::EPERM));
            let made = Table::held_by(Hold::Namespace, description);
            assert!(made.expect_err("it has an owner").is_os(libc::EPERM));
        });
        partition.read_back().expect("still in force");

        partition.heal().expect("gone");
        assert_eq!(pair.arrive(), (true, false));
        theirs.read_back().expect("as it was");
        assert_eq!(theirs.counted().expect("a count"), 2, "what we dropped never came to it");
        theirs.remove().expect("theirs to remove");
    });
}

#[test]
fn what_somebody_else_removes_is_noticed() {
    common::in_namespaces(|| {
        let (switch, [a, b]) = network();
        let mut watch = in_switch(switch.ns(), || Watch::new().expect("notifications"));
        // As on a kernel without owners.
        let cuts = cut(&a, &b, Ways::Both);
        let mut partition = Partition::begin_held_by(switch.ns(), &cuts, Hold::Namespace).expect("a partition");
        assert_eq!(partition.mechanism(), "nft table");
        let name = partition.table().to_owned();
        let made = watch.changes().expect("notifications");
        assert!(!made.is_empty() && made.iter().all(|change| *change == Change::Made(name.clone())), "{made:?}");
        assert_eq!(Pair::new(&a, &b, 0).arrive(), (false, false));
        assert_eq!(partition.bit().expect("a count"), 2);

        in_switch(switch.ns(), || {
            let mut impostor =
                Table::adopt(TableDescription { name: name.clone(), sets: vec![], chains: vec![], lease: None })
                    .expect("a socket");
            impostor.remove().expect("anybody can");
        });
        let removed = watch.changes().expect("notifications");
        assert!(removed.contains(&Change::Removed(name)), "{removed:?}");
        let noticed = partition.read_back().expect_err("it is gone");
        assert!(noticed.to_string().contains("somebody has removed it"), "{noticed}");
        partition.heal().expect("nothing is left to heal");
        assert_eq!(partition.bit().expect("the last count"), 2);
    });
}

#[test]
fn a_dropped_partition_leaves_nothing_whatever_keeps_it() {
    common::in_namespaces(|| {
        let (switch, [a, b]) = network();
        for hold in [Hold::Socket, Hold::Namespace] {
            let partition = Partition::begin_held_by(switch.ns(), &cut(&a, &b, Ways::Both), hold).expect("a partition");
            let name = partition.table().to_owned();
            assert!(in_switch(switch.ns(), || is_there(&name).expect("an answer")));
            drop(partition);
            assert!(!in_switch(switch.ns(), || is_there(&name).expect("an answer")));
        }
    });
}
