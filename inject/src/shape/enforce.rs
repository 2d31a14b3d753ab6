//! The thread that enforces: takes packets from the queue, has the engine judge them, holds them until it is time.

use super::diversion::RENEWAL;
use super::engine::{Fate, Passage};
use super::packet;
use super::queue::{Queue, Received};
use super::rule::MARK;
use super::shaper::{Shared, lock};
use crate::error::{Error, Result};
use crate::sys::set_mark;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, sendto, socket_with};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

/// The longest packet (RFC 791 §3.1) and what netlink adds.
const MESSAGE_BYTES_MAX: usize = 68 << 10;
/// How many packets are read before those that are due are sent.
const READ_MAX: usize = 64;

/// Runs until `stop` can be read. What is held then is let go at once.
pub(super) fn enforce(queue: Queue, shared: &Shared, stop: BorrowedFd<'_>) -> Result<()> {
    // Otherwise timers may be 50 µs late (PR_SET_TIMERSLACK, prctl(2)). Without that it is less exact, but right.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let mut line = Line { queue, held: BinaryHeap::new(), arrivals: 0, copies: Copies::default() };
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    let mut renew_at_ns = now_ns() + RENEWAL.as_nanos() as u64;
    loop {
        line.release(now_ns())?;
        if line.held.is_empty() {
            shared.is_empty_now();
        }
        if renew_at_ns <= now_ns() {
            // If that fails, packets pass, and whoever reads the rule back is told.
            let _ = lock(&shared.diversion).renew();
            renew_at_ns = now_ns() + RENEWAL.as_nanos() as u64;
        }
        let next_ns = line.next_due_ns().unwrap_or(u64::MAX).min(renew_at_ns);
        let mut watched = [PollFd::new(&line.queue, PollFlags::IN), PollFd::from_borrowed_fd(stop, PollFlags::IN)];
        match poll(&mut watched, Some(&timespec(next_ns.saturating_sub(now_ns())))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::os("wait for packets", error)),
        }
        let [asked, stopped] = watched.map(|it| !it.revents().is_empty());
        if stopped {
            return line.release(u64::MAX);
        }
        if asked {
            line.take_in(shared, &mut buffer)?;
        }
    }
}

/// The queue, and the packets that are held.
struct Line {
    queue: Queue,
    /// The next first; of those that are due at the same time, whichever came first.
    held: BinaryHeap<Reverse<Held>>,
    arrivals: u64,
    copies: Copies,
}

/// A packet that is held.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    due_ns: u64,
    arrival: u64,
    id: u32,
    then: Then,
}

/// What is done with a packet in the end.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Then {
    Accept,
    AcceptChanged(Vec<u8>),
    /// What it is now, whether that has changed, and whom it goes to.
    AcceptTwice(Vec<u8>, bool, IpAddr),
}

impl Line {
    fn next_due_ns(&self) -> Option<u64> {
        self.held.peek().map(|Reverse(held)| held.due_ns)
    }

    /// Reads what is there, but not more than a batch.
    fn take_in(&mut self, shared: &Shared, buffer: &mut [u8]) -> Result<()> {
        let mut engine = lock(&shared.engine);
        for _ in 0..READ_MAX {
            match self.queue.receive(buffer)? {
                Received::Packet { id, bytes } => {
                    let now_ns = now_ns();
                    let Some(packet) = packet::read(bytes) else {
                        self.queue.accept(id, None)?;
                        continue;
                    };
                    match engine.judge(now_ns, packet) {
                        Fate::Lost => self.queue.drop(id)?,
                        Fate::Arrives(passage) => self.hold(now_ns, id, bytes, packet.to, passage),
                    }
                }
                Received::Overrun => {
                    shared.overruns.fetch_add(1, Ordering::Relaxed);
                }
                Received::Other => {}
                Received::Nothing => break,
            }
        }
        Ok(())
    }

    fn hold(&mut self, now_ns: u64, id: u32, bytes: &[u8], to: IpAddr, passage: Passage) {
        let changed = passage.flipped.map(|which| {
            let mut bytes = bytes.to_vec();
            packet::flip(&mut bytes, which);
            bytes
        });
        let then = match (passage.twice, changed) {
            (false, None) => Then::Accept,
            (false, Some(bytes)) => Then::AcceptChanged(bytes),
            (true, None) => Then::AcceptTwice(bytes.to_vec(), false, to),
            (true, Some(bytes)) => Then::AcceptTwice(bytes, true, to),
        };
        self.arrivals += 1;
        let due_ns = now_ns.saturating_add(passage.delay_ns);
        self.held.push(Reverse(Held { due_ns, arrival: self.arrivals, id, then }));
    }

    /// Lets go what is due by then, in order.
    fn release(&mut self, by_ns: u64) -> Result<()> {
        while self.next_due_ns().is_some_and(|due_ns| due_ns <= by_ns) {
            let Some(Reverse(held)) = self.held.pop() else { break };
            match held.then {
                Then::Accept => self.queue.accept(held.id, None)?,
                Then::AcceptChanged(bytes) => self.queue.accept(held.id, Some(&bytes))?,
                Then::AcceptTwice(bytes, is_changed, to) => {
                    self.queue.accept(held.id, is_changed.then_some(&bytes[..]))?;
                    self.queue.flush()?;
                    self.copies.send(&bytes, to);
                }
            }
        }
        self.queue.flush()
    }
}

/// Sockets that send whole packets (raw(7): `IPPROTO_RAW` implies `IP_HDRINCL`), as they are needed.
#[derive(Default)]
struct Copies {
    v4: Option<OwnedFd>,
    v6: Option<OwnedFd>,
}

impl Copies {
    /// Sends a packet again. One that cannot be sent is lost, as a second one may be.
    fn send(&mut self, bytes: &[u8], to: IpAddr) {
        let (socket, family) = match to {
            IpAddr::V4(_) => (&mut self.v4, AddressFamily::INET),
            IpAddr::V6(_) => (&mut self.v6, AddressFamily::INET6),
        };
        if socket.is_none() {
            *socket = open(family).ok();
        }
        if let Some(socket) = socket {
            let _ = sendto(socket, bytes, SendFlags::DONTWAIT, &SocketAddr::new(to, 0));
        }
    }
}

fn open(family: AddressFamily) -> std::io::Result<OwnedFd> {
    use std::os::fd::AsFd;
    let socket = socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::RAW))?;
    set_mark(socket.as_fd(), MARK)?;
    Ok(socket)
}

fn timespec(ns: u64) -> Timespec {
    const SECOND_NS: u64 = 1_000_000_000;
    // Both fit: at most 584 years, and less than a second.
    Timespec { tv_sec: (ns / SECOND_NS) as i64, tv_nsec: (ns % SECOND_NS) as i64 }
}

fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // The time since boot, which is not negative.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
