//! Two hosts, `a` and `b`, joined by a switch, and what is sent between them.
#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its part")]

#[path = "../network/mod.rs"]
mod network;
pub mod ruleset;

use network::{Host, network};
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use windtunnel_inject::netlink::in_namespace;
use windtunnel_inject::shape::{Links, Shaper};
use windtunnel_inject::switch::Switch;

/// Both hosts, and what joins them.
pub struct Net {
    pub switch: Switch,
    pub a: Host,
    pub b: Host,
}

impl Net {
    pub fn new() -> Self {
        let (switch, [a, b]) = network();
        Self { switch, a, b }
    }

    /// A shaper of the switch.
    pub fn shaper(&self, seed: u64) -> Shaper {
        Shaper::start_in(self.switch.ns(), seed).unwrap()
    }

    /// Runs something in the switch's network namespace.
    pub fn in_switch<R: Send>(&self, what: impl FnOnce() -> R + Send) -> R {
        in_namespace(self.switch.ns(), what).unwrap()
    }

    /// From `a` to `b`.
    pub fn there(&self) -> Links {
        Links { from: vec![self.a.addresses.into()], to: vec![self.b.addresses.into()], both_ways: false }
    }

    /// The kernel's list of netfilter queues in the switch.
    pub fn queues(&self) -> String {
        self.in_switch(|| std::fs::read_to_string("/proc/thread-self/net/netfilter/nfnetlink_queue").unwrap())
    }

    /// Sends datagrams from `a` to an echo on `b`, so often, and answers how long each took to come back, if it did.
    /// A number at each one's beginning tells them apart.
    pub fn ping(&self, to: IpAddr, count: usize, every: Duration) -> Vec<Option<Duration>> {
        let server = echo(&self.b, to);
        self.a.run(|| {
            let socket = UdpSocket::bind((self.sender_to(to), 0)).unwrap();
            socket.connect((to, server)).unwrap();
            let start = Instant::now();
            thread::scope(|scope| {
                let receiving = scope.spawn(|| {
                    let mut arrived = vec![None; count];
                    let patience = if count == 1 { Duration::from_millis(300) } else { Duration::from_secs(1) };
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

    /// Sends datagrams from `a` to `b`, and answers what has arrived when nothing more does.
    pub fn send(&self, to: IpAddr, datagrams: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let receiver = self.b.run(|| UdpSocket::bind((to, 0)).unwrap());
        let port = receiver.local_addr().unwrap().port();
        let arrived = AtomicUsize::new(0);
        thread::scope(|scope| {
            let receiving = scope.spawn(|| {
                receiver.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
                let (mut all, mut bytes) = (Vec::new(), [0; 2048]);
                while let Ok(length) = receiver.recv(&mut bytes) {
                    all.push(bytes[..length].to_vec());
                    arrived.fetch_add(1, Ordering::Relaxed);
                }
                all
            });
            self.a.run(|| {
                let sender = UdpSocket::bind((self.sender_to(to), 0)).unwrap();
                // Some at a time, lest a buffer overflows when whoever reads from it is not run for a while.
                for some in datagrams.chunks(40) {
                    some.iter().for_each(|datagram| _ = sender.send_to(datagram, (to, port)).unwrap());
                    let mut before = usize::MAX;
                    while std::mem::replace(&mut before, arrived.load(Ordering::Relaxed)) != before {
                        thread::sleep(Duration::from_millis(10));
                    }
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

    fn sender_to(&self, to: IpAddr) -> IpAddr {
        self.a.addresses[usize::from(to.is_ipv6())]
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

/// Sends back whatever comes to an address of a host's, for as long as the process lives; answers the port.
fn echo(host: &Host, address: IpAddr) -> u16 {
    host.run(|| {
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

/// The `q`-quantile of what arrived.
pub fn quantile(times: &[Option<Duration>], q: f64) -> Duration {
    let mut arrived: Vec<Duration> = times.iter().copied().flatten().collect();
    arrived.sort();
    arrived[((arrived.len() - 1) as f64 * q) as usize]
}
