//! Two hosts, `a` and `b`, and a switch that routes between them: three network namespaces and two pairs of devices.
#![expect(dead_code, reason = "each test uses what it needs")]

pub mod ruleset;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};
use windtunnel_inject::shape::{Endpoint, Links};

/// A host.
pub struct Host {
    namespace: OwnedFd,
    pub v4: IpAddr,
    pub v6: IpAddr,
}

/// Both hosts; the calling thread's network namespace is their switch.
pub struct Net {
    pub a: Host,
    pub b: Host,
}

impl Net {
    /// Makes the calling thread's network namespace, which has to be new, a switch with two hosts.
    pub fn new() -> Self {
        let [a, b] = [1, 2].map(|number| {
            let namespace = new_namespace();
            let (v4, v6) = (format!("10.9.{number}.2"), format!("fd09:{number}::2"));
            Host { namespace, v4: v4.parse().unwrap(), v6: v6.parse().unwrap() }
        });
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
        for (number, host) in (1..).zip([&a, &b]) {
            let gateways: [IpAddr; 2] =
                [format!("10.9.{number}.1").parse().unwrap(), format!("fd09:{number}::1").parse().unwrap()];
            let name = format!("port{number}");
            add_pair(&name, host.namespace.as_fd());
            settle(&name, &gateways, &[]);
            host.run(|| {
                settle("lo", &[], &[]);
                settle("eth0", &[host.v4, host.v6], &gateways);
            });
        }
        let net = Self { a, b };
        // Devices that have just been set up drop what comes until the kernel has noticed (net/core/link_watch.c).
        for to in [net.b.v4, net.b.v6] {
            let answered = (0..50).any(|_| net.ping(to, 1, Duration::ZERO)[0].is_some());
            assert!(answered, "no way to {to}");
        }
        net
    }

    /// From `a` to `b`.
    pub fn there(&self) -> Links {
        Links { from: vec![self.a.endpoint()], to: vec![self.b.endpoint()], both_ways: false }
    }

    /// Sends datagrams from `a` to an echo on `b`, so often, and answers how long each took to come back, if it did.
    /// A number at each one's beginning tells them apart.
    pub fn ping(&self, to: IpAddr, count: usize, every: Duration) -> Vec<Option<Duration>> {
        let server = self.b.echo(to);
        self.a.run(|| {
            let socket = UdpSocket::bind((if to.is_ipv4() { self.a.v4 } else { self.a.v6 }, 0)).unwrap();
            socket.connect((to, server)).unwrap();
            let start = Instant::now();
            thread::scope(|scope| {
                let receiving = scope.spawn(|| {
                    let mut arrived = vec![None; count];
                    let patience = if count == 1 { Duration::from_millis(100) } else { Duration::from_secs(1) };
                    socket.set_read_timeout(Some(patience)).unwrap();
                    let mut bytes = [0; 64];
                    while let Ok(64) = socket.recv(&mut bytes) {
                        let at = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
                        arrived[at].get_or_insert_with(|| start.elapsed());
                        if at + 1 == count && arrived.iter().all(Option::is_some) {
                            break;
                        }
                    }
                    arrived
                });
                let mut sent = Vec::new();
                for number in 0..count as u64 {
                    thread::sleep((every * number as u32).saturating_sub(start.elapsed()));
                    let mut bytes = [0; 64];
                    bytes[..8].copy_from_slice(&number.to_le_bytes());
                    sent.push(start.elapsed());
                    socket.send(&bytes).unwrap();
                }
                let arrived = receiving.join().unwrap();
                arrived.into_iter().zip(sent).map(|(arrived, sent)| arrived.map(|arrived| arrived - sent)).collect()
            })
        })
    }
}

impl Net {
    /// Sends datagrams from `a` to `b`, and answers what has arrived when nothing more does.
    pub fn send(&self, to: IpAddr, datagrams: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let receiver = self.b.run(|| UdpSocket::bind((to, 0)).unwrap());
        let port = receiver.local_addr().unwrap().port();
        thread::scope(|scope| {
            let receiving = scope.spawn(move || {
                receiver.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
                let (mut all, mut bytes) = (Vec::new(), [0; 2048]);
                while let Ok(length) = receiver.recv(&mut bytes) {
                    all.push(bytes[..length].to_vec());
                }
                all
            });
            self.a.run(|| {
                let sender = UdpSocket::bind((if to.is_ipv4() { self.a.v4 } else { self.a.v6 }, 0)).unwrap();
                for datagram in datagrams {
                    sender.send_to(datagram, (to, port)).unwrap();
                    thread::sleep(Duration::from_micros(200));
                }
            });
            receiving.join().unwrap()
        })
    }

    /// Sends a stream from `a` to `b`; answers how long it took until all of it had arrived as it was sent.
    pub fn stream(&self, to: IpAddr, bytes: usize) -> Duration {
        let listener = self.b.run(|| TcpListener::bind((to, 0)).unwrap());
        let port = listener.local_addr().unwrap().port();
        let byte = |at: usize| (at % 251) as u8;
        let sent: Vec<u8> = (0..bytes).map(byte).collect();
        thread::scope(|scope| {
            let receiving = scope.spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let (mut all, start) = (Vec::with_capacity(bytes), Instant::now());
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                stream.read_to_end(&mut all).unwrap();
                let elapsed = start.elapsed();
                assert!(all.len() == bytes && all.iter().enumerate().all(|(at, it)| *it == byte(at)), "another stream");
                elapsed
            });
            self.a.run(|| TcpStream::connect((to, port)).unwrap().write_all(&sent).unwrap());
            receiving.join().unwrap()
        })
    }
}

/// Whether so many hits of so many are within what this probability gives in 99.9 of 100 cases: neither tail of the
/// binomial distribution is below 0.05 %.
pub fn is_plausible(hits: usize, of: usize, probability: f64) -> bool {
    let (n, odds) = (of as f64, (probability / (1.0 - probability)).ln());
    let mut log = n * (1.0 - probability).ln();
    let (mut below, mut above) = (0.0, 0.0);
    for k in 0..=of {
        let mass = log.exp();
        below += if k <= hits { mass } else { 0.0 };
        above += if k >= hits { mass } else { 0.0 };
        log += ((n - k as f64) / (k as f64 + 1.0)).ln() + odds;
    }
    below.min(above) >= 0.0005
}

impl Host {
    /// All its addresses.
    pub fn endpoint(&self) -> Endpoint {
        [self.v4, self.v6].into()
    }

    /// Runs something on a thread that is in the host's network namespace.
    pub fn run<R: Send>(&self, what: impl FnOnce() -> R + Send) -> R {
        thread::scope(|scope| {
            let running = scope.spawn(|| {
                self.enter();
                what()
            });
            running.join().expect("what ran in a host's namespace")
        })
    }

    /// The calling thread enters the host's network namespace.
    pub fn enter(&self) {
        move_into_link_name_space(self.namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    }

    /// Sends back whatever comes, for as long as the process lives; answers the port.
    pub fn echo(&self, address: IpAddr) -> u16 {
        self.run(|| {
            let socket = UdpSocket::bind((address, 0)).unwrap();
            let port = socket.local_addr().unwrap().port();
            thread::spawn(move || {
                let mut bytes = [0; 2048];
                while let Ok((length, from)) = socket.recv_from(&mut bytes) {
                    let _ = socket.send_to(&bytes[..length], from);
                }
            });
            port
        })
    }
}

/// The `q`-quantile of what arrived.
pub fn quantile(times: &[Option<Duration>], q: f64) -> Duration {
    let mut arrived: Vec<Duration> = times.iter().copied().flatten().collect();
    arrived.sort();
    arrived[((arrived.len() - 1) as f64 * q) as usize]
}

fn new_namespace() -> OwnedFd {
    thread::spawn(|| {
        windtunnel_inject::namespace::leave_for_new(UnshareFlags::NEWNET).unwrap();
        File::open("/proc/thread-self/ns/net").unwrap().into()
    })
    .join()
    .unwrap()
}

/// Makes a pair of devices: one here, and `eth0` there.
fn add_pair(here: &str, there: BorrowedFd<'_>) {
    let mut peer = LinkMessage::default();
    peer.attributes = vec![LinkAttribute::IfName("eth0".to_owned()), LinkAttribute::NetNsFd(there.as_raw_fd())];
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(here.to_owned()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]),
    ];
    tell(RouteNetlinkMessage::NewLink(message));
}

/// Sets a device up, gives it addresses, and sends by it what these routers take.
fn settle(device: &str, addresses: &[IpAddr], routers: &[IpAddr]) {
    let index = rustix::net::netdevice::name_to_index(rustix_socket(), device).unwrap();
    for address in addresses {
        let mut message = AddressMessage::default();
        message.header.family = family(*address);
        message.header.prefix_len = if address.is_ipv4() { 24 } else { 64 };
        message.header.index = index;
        message.header.flags = if address.is_ipv6() { AddressHeaderFlags::Nodad } else { AddressHeaderFlags::empty() };
        message.attributes = vec![AddressAttribute::Local(*address), AddressAttribute::Address(*address)];
        tell(RouteNetlinkMessage::NewAddress(message));
    }
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    tell(RouteNetlinkMessage::SetLink(message));
    for router in routers {
        let mut message = RouteMessage::default();
        message.header.address_family = family(*router);
        message.header.table = 254; // RT_TABLE_MAIN
        message.header.protocol = RouteProtocol::Static;
        message.header.scope = RouteScope::Universe;
        message.header.kind = RouteType::Unicast;
        message.attributes = vec![RouteAttribute::Gateway(RouteAddress::from(*router)), RouteAttribute::Oif(index)];
        tell(RouteNetlinkMessage::NewRoute(message));
    }
}

fn rustix_socket() -> OwnedFd {
    rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None).unwrap()
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn tell(message: RouteNetlinkMessage) {
    let mut socket = Socket::new(NETLINK_ROUTE).unwrap();
    socket.bind_auto().unwrap();
    socket.connect(&SocketAddr::new(0, 0)).unwrap();
    let text = format!("{message:?}");
    let mut message = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(message));
    message.header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0).unwrap();
    let (answer, _) = socket.recv_from_full().unwrap();
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).unwrap();
    if let NetlinkPayload::Error(error) = answer.payload
        && let Some(code) = error.code
    {
        panic!("{text}: {}", std::io::Error::from_raw_os_error(-code.get()));
    }
}
