//! The server: one thread for datagrams and whatever is late, one for each stream.

use super::hijack::{Asker, Hijack};
use super::wire::{Reply, answer};
use super::zone::{Answer, Knowledge, Zone};
use crate::error::{Error, ErrorKind, Result};
use crate::netlink::in_namespace;
use crate::netlink::route::{PortRule, Protocol, Route, Routing, Way};
use crate::step::reached;
use crate::sys::datagram::{self, Received};
use crate::{Injection, Target};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// RFC 1035 §4.2.
const PORT: u16 = 53;
/// After the main table (32766), which knows the way to every host, so that a host's port 53 is its own.
const RULE: PortRule = PortRule { priority: 40_000, table: 53 };
/// A datagram with a question is never longer (RFC 6891 §6.2.5).
const QUERY_BYTES_MAX: usize = 4096;
/// RFC 7766 §6.2.3: how long a stream may be idle, "on the order of seconds".
const IDLE: Duration = Duration::from_secs(10);
/// Streams at a time; resolvers use one each, if any.
const STREAMS_MAX: usize = 256;

/// A name server. It ends when it is dropped, or with this process; hijacks end with it.
#[derive(Debug)]
pub struct Responder {
    known: Arc<Knowledge>,
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Responder {
    /// Begins to answer in the namespace of a [switch](crate::switch::Switch).
    ///
    /// # Errors
    /// The kernel has no routing rules for ports (`CONFIG_IP_MULTIPLE_TABLES`), another server has the port, or the
    /// namespace is not this user's.
    pub fn start(switch: BorrowedFd<'_>) -> Result<Self> {
        let (datagrams, streams) = in_namespace(switch, || {
            reached("name servers are to be answered for");
            answer_for_all_servers()?;
            reached("name servers are answered for");
            listen().map_err(|error| Error::os("listen for questions for names", error))
        })??;
        let stop = eventfd(0, EventfdFlags::CLOEXEC).map_err(|error| Error::os("make an eventfd", error))?;
        let (known, stop) = (Arc::<Knowledge>::default(), Arc::new(stop));
        let server = Server {
            known: Arc::clone(&known),
            stop: Arc::clone(&stop),
            datagrams,
            streams,
            late: BTreeMap::new(),
            answered: 0,
        };
        let thread = thread::Builder::new()
            .name("name server".to_owned())
            .spawn(move || server.run())
            .map_err(|error| Error::os("start a thread", error))?;
        reached("names are served");
        Ok(Self { known, stop, thread: Some(thread) })
    }

    /// The names that it knows.
    pub fn zone(&self) -> &Zone {
        &self.known.zone
    }

    /// Misleads those who ask for a name on a host; `*.internal` stands for all names below `internal`. Of several for
    /// a name the last that began counts. It is in force when this returns.
    ///
    /// # Errors
    /// It is no name.
    pub fn hijack(&self, asker: &Asker<'_>, name: &str, answer: Answer) -> Result<Hijack> {
        Hijack::begin(Arc::clone(&self.known), asker, name, answer)
    }

    /// Misleads those who ask for a name in the network namespace that a target is in, or is. It has to be one whose
    /// questions come to this server: joined to the switch, or routed to it. That has been tried when this returns.
    ///
    /// # Errors
    /// It is no name. The target is a cgroup, or gone; its network has no addresses, or another server.
    pub fn hijack_target(&self, target: &Target, name: &str, answer: Answer) -> Result<Hijack> {
        let what = || format!("hijack the name {name} for a target");
        let ns = target.network()?;
        let mut addresses = in_namespace(ns.as_fd(), || Routing::open()?.addresses())??;
        addresses.retain(|address| !address.is_loopback());
        let elsewhere = || {
            let missing = "a network whose questions for names come to this server";
            Error::lacking(what(), missing, "join it to the switch, or strike its own name server")
        };
        if addresses.is_empty() {
            return Err(elsewhere());
        }
        let mut hijack = self.hijack(&Asker { ns: ns.as_fd(), addresses: &addresses }, name, answer)?;
        match hijack.read_back() {
            Ok(()) => Ok(hijack),
            Err(Error { kind: ErrorKind::Os(_) | ErrorKind::TargetGone, .. }) => Err(elsewhere()),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        // An eventfd takes a one unless it is full of them (eventfd(2)).
        let _ = rustix::io::write(&*self.stop, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            // It does not panic; and if it did, there is nobody to tell.
            let _ = thread.join();
        }
    }
}

/// Routes questions for servers outside of the world here. No address translation, whose table of connections would
/// hold every stream of the world, and lose one of two questions that a socket asks at the same moment.
fn answer_for_all_servers() -> Result<()> {
    let mut routing = Routing::open()?;
    let existing = |error: Error| if error.is_os(libc::EEXIST) { Ok(()) } else { Err(error) };
    for any in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
        // What an earlier server of this namespace has left serves the next.
        let here = Route { table: RULE.table, ..Route::default(any, Way::Here) };
        routing.add_route(&here).or_else(existing)?;
        for protocol in [Protocol::Udp, Protocol::Tcp] {
            routing.add_port_rule(any, protocol, PORT, RULE).or_else(existing).map_err(|error| {
                if error.is_os(libc::EOPNOTSUPP) || error.is_os(libc::EAFNOSUPPORT) {
                    let remedy = "use a kernel with CONFIG_IP_MULTIPLE_TABLES and CONFIG_IPV6_MULTIPLE_TABLES";
                    Error::lacking("answer for all name servers", "the kernel has no routing rules", remedy)
                } else {
                    error
                }
            })?;
        }
    }
    Ok(())
}

/// Sockets for both families.
fn listen() -> io::Result<(UdpSocket, TcpListener)> {
    let datagrams = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, PORT))?;
    let streams = TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT))?;
    datagram::serve_any_address(datagrams.as_fd())?;
    datagram::serve_any_address(streams.as_fd())?;
    streams.set_nonblocking(true)?;
    Ok((datagrams, streams))
}

struct Server {
    known: Arc<Knowledge>,
    stop: Arc<OwnedFd>,
    datagrams: UdpSocket,
    streams: TcpListener,
    /// Answers by when they are due, and by number among those.
    late: BTreeMap<(Instant, u64), (Vec<u8>, Received)>,
    answered: u64,
}

impl Server {
    fn run(mut self) {
        let open = Arc::new(AtomicUsize::new(0));
        loop {
            let wait = self.late.keys().next().map(|(due, _)| due.saturating_duration_since(Instant::now()));
            // A wait that is longer than a `time_t` holds is for ever.
            let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());
            let mut ready = [self.stop.as_fd(), self.datagrams.as_fd(), self.streams.as_fd()]
                .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
            match poll(&mut ready, wait.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return,
            }
            let [stop, datagrams, streams] = ready.map(|fd| !fd.revents().is_empty());
            if stop {
                return;
            }
            if datagrams {
                self.take_datagrams();
            }
            if streams {
                self.take_streams(&open);
            }
            self.send_what_is_due();
        }
    }

    fn take_datagrams(&mut self) {
        let mut buffer = [0; QUERY_BYTES_MAX];
        // An error belongs to an earlier answer (ICMP), or says that there are no more.
        while let Ok(received) = datagram::receive(self.datagrams.as_fd(), &mut buffer) {
            let Some(Reply { bytes, late }) = answer(&self.known, received.from, &buffer[..received.length]) else {
                continue;
            };
            if late.is_zero() {
                self.send(&bytes, &received);
            } else if let Some(due) = Instant::now().checked_add(late) {
                self.answered += 1;
                self.late.insert((due, self.answered), (bytes, received));
            } // or it would come in centuries
        }
    }

    fn send_what_is_due(&mut self) {
        while let Some(first) = self.late.first_entry().filter(|first| first.key().0 <= Instant::now()) {
            let (bytes, received) = first.remove();
            self.send(&bytes, &received);
        }
    }

    /// Answers under the address that was asked. Who has gone does not hear it.
    fn send(&self, bytes: &[u8], to: &Received) {
        let _ = datagram::send(self.datagrams.as_fd(), bytes, to.to, to.from);
    }

    fn take_streams(&self, open: &Arc<AtomicUsize>) {
        while let Ok((stream, from)) = self.streams.accept() {
            if open.fetch_add(1, Ordering::Relaxed) >= STREAMS_MAX {
                open.fetch_sub(1, Ordering::Relaxed);
                continue; // and so closes it
            }
            let (known, open) = (Arc::clone(&self.known), Arc::clone(open));
            let serve = move || {
                let _ = serve_stream(&known, stream, from);
                open.fetch_sub(1, Ordering::Relaxed);
            };
            // Without a thread the stream is closed, as by a server that has too much to do.
            let _ = thread::Builder::new().name("name server".to_owned()).spawn(serve);
        }
    }
}

/// Answers the questions of a stream, each with its length before it (RFC 1035 §4.2.2), until it ends.
fn serve_stream(known: &Knowledge, mut stream: TcpStream, from: SocketAddr) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_write_timeout(Some(IDLE))?;
    let from = SocketAddr::new(from.ip().to_canonical(), from.port());
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut query)?;
        let Some(Reply { bytes, late }) = answer(known, from, &query) else { continue };
        thread::sleep(late);
        let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend(bytes);
        stream.write_all(&framed)?;
    }
}
