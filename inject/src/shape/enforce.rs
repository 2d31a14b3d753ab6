//! The thread that enforces: takes packets from the queue, has the engine judge them, holds them until it is time.

use super::diversion::RENEWAL;
use super::engine::{Fate, Passage};
use super::packet;
use super::queue::{PACKETS_MAX, Queue, Received};
use super::rule::MARK;
use super::shaper::Shared;
use crate::error::{Error, Result};
use crate::lock::lock;
use crate::netlink::nft::Renewed;
use crate::sys::set_mark;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, sendto, socket_with};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

/// The longest packet (RFC 791 §3.1) and what netlink adds.
const MESSAGE_BYTES_MAX: usize = 68 << 10;
/// How many packets are remembered after they have been let go, should there never be nothing to read: more than fit
/// into the [buffer](super::queue) of what waits to be read.
const LET_GO_MAX: usize = 16_384;
/// How many packets are read before those that are due are sent.
const READ_MAX: usize = 64;

/// The highest priority among threads that share their processors fairly (sched(7)).
const NICE_LEAST: i32 = -20;

/// Runs until `stop` can be read. What is held then is let go at once.
pub(super) fn enforce(queue: Queue, shared: &Shared, stop: BorrowedFd<'_>) -> Result<()> {
    // Otherwise timers may be 50 µs late (PR_SET_TIMERSLACK, prctl(2)). Without that it is less exact, but right.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    // Of this thread alone (setpriority(2), "C library/kernel differences"): packets are late when it has to wait for a
    // processor. Who may not has it wait.
    let _ = rustix::process::setpriority_process(None, NICE_LEAST);
    let mut line = Line::new(queue);
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    let mut renew_at_ns = now_ns() + RENEWAL.as_nanos() as u64;
    loop {
        line.release(now_ns())?;
        if renew_at_ns <= now_ns() {
            // If that fails, packets pass, and whoever reads the rule back is told.
            if let Ok(Renewed::TooLate) = lock(&shared.diversion).renew() {
                shared.lapses.fetch_add(1, Ordering::Relaxed);
            }
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
            // What has come meanwhile is no concern of any trouble's: all of them have ended.
            line.release(u64::MAX)?;
            line.take_in(shared, &mut buffer)?;
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
    /// What has been let go, by the kernel's numbers, until the kernel has had the chance to say that it does not have
    /// it any more.
    let_go: BTreeMap<u32, Held>,
    sender: Sender,
}

/// A packet that is held.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    due_ns: u64,
    arrival: u64,
    id: u32,
    to: IpAddr,
    /// What is to arrive. Of what is not held for any time, nothing.
    bytes: Vec<u8>,
    is_changed: bool,
    is_twice: bool,
}

impl Line {
    fn new(queue: Queue) -> Self {
        let (held, let_go, sender) = (BinaryHeap::new(), BTreeMap::new(), Sender::default());
        Self { queue, held, arrivals: 0, let_go, sender }
    }

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
                        Fate::Arrives(passage) => {
                            self.hold(now_ns, id, bytes, packet.to, passage);
                            if self.held.len() == PACKETS_MAX as usize {
                                // The kernel tells nobody of packets for which there is no room.
                                shared.overruns.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                }
                // When anybody removes a hook of netfilter's, the kernel drops whatever is queued in the network
                // namespace (`nfqnl_nf_hook_drop`, nfnetlink_queue.c), and says so only when it is let go.
                Received::Unknown { id } => {
                    if let Some(held) = self.let_go.remove(&id) {
                        self.sender.send(&held.bytes, held.to);
                    }
                }
                Received::Overrun => {
                    shared.overruns.fetch_add(1, Ordering::Relaxed);
                }
                Received::Other => {}
                Received::Nothing => {
                    self.let_go.clear();
                    break;
                }
            }
        }
        Ok(())
    }

    fn hold(&mut self, now_ns: u64, id: u32, bytes: &[u8], to: IpAddr, passage: Passage) {
        let Passage { delay_ns, twice: is_twice, flipped } = passage;
        let is_changed = flipped.is_some();
        let mut bytes = if delay_ns > 0 || is_twice || is_changed { bytes.to_vec() } else { Vec::new() };
        if let Some(which) = flipped {
            packet::flip(&mut bytes, which);
        }
        self.arrivals += 1;
        let (due_ns, arrival) = (now_ns.saturating_add(delay_ns), self.arrivals);
        self.held.push(Reverse(Held { due_ns, arrival, id, to, bytes, is_changed, is_twice }));
    }

    /// Lets go what is due by then, in order.
    fn release(&mut self, by_ns: u64) -> Result<()> {
        while self.next_due_ns().is_some_and(|due_ns| due_ns <= by_ns) {
            let Some(Reverse(held)) = self.held.pop() else { break };
            self.queue.accept(held.id, held.is_changed.then_some(&held.bytes[..]))?;
            if held.is_twice {
                self.queue.flush()?;
                self.sender.send(&held.bytes, held.to);
            }
            if !held.bytes.is_empty() {
                self.let_go.insert(held.id, held);
                if self.let_go.len() > LET_GO_MAX {
                    self.let_go.pop_first();
                }
            }
        }
        self.queue.flush()
    }
}

/// Sends whole packets (raw(7): `IPPROTO_RAW` implies `IP_HDRINCL`), by sockets that are opened when they are needed.
#[derive(Default)]
struct Sender {
    v4: Option<OwnedFd>,
    v6: Option<OwnedFd>,
}

impl Sender {
    /// Sends a packet. One that cannot be sent is lost, as packets are.
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
