//! A connection: two ends, and a stream of bytes from each to the other.

use super::super::link::LinkId;
use super::super::ports::Claim;
use super::super::{Cx, Endpoint, Socket};
use super::loss::Recovery;
use super::round_trip::RoundTrip;
use crate::abi::user::{In, Out};
use crate::kernel::ThreadId;
use crate::kernel::event::EventLog;
use crate::kernel::slots::Id;
use crate::kernel::timers::TimerKey;
use crate::world::HostId;
use std::collections::VecDeque;
use std::ops::{Index, IndexMut};

/// Names a connection: stale once both ends have forgotten it, so no segment reaches a later one.
pub(crate) type ConnectionId = Id<Connection>;

/// Arrival time of a segment that was lost and waits for its retransmission.
pub(crate) const LOST: u64 = u64::MAX;
/// A stream's empty buffer is given back when it has grown beyond this.
const KEPT_BUFFER_BYTES: usize = 1 << 18;

/// One of a connection's two ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Side {
    /// The one that called `connect`.
    Opener,
    /// The one that listened.
    Acceptor,
    /// The only one, of a socket that is connected to itself (RFC 9293 §3.5, simultaneous open): what it sends is what
    /// it gets. The first end and the first stream are its own, the others are idle.
    Itself,
}

impl Side {
    /// The other one.
    #[inline]
    pub(crate) fn other(self) -> Side {
        match self {
            Side::Opener => Side::Acceptor,
            Side::Acceptor => Side::Opener,
            Side::Itself => Side::Itself,
        }
    }

    /// Which of the two ends and streams are its own.
    #[inline]
    pub(crate) fn place(self) -> usize {
        self as usize & 1
    }
}

/// One value for each side.
pub(crate) struct Both<T>(pub(crate) [T; 2]);

impl<T> Index<Side> for Both<T> {
    type Output = T;
    #[inline]
    fn index(&self, side: Side) -> &T {
        &self.0[side.place()]
    }
}

impl<T> IndexMut<Side> for Both<T> {
    #[inline]
    fn index_mut(&mut self, side: Side) -> &mut T {
        &mut self.0[side.place()]
    }
}

/// What an end knows of the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// The acceptor before the first SYN has arrived.
    Absent,
    /// SYN sent, nothing heard yet.
    SynSent,
    /// SYN-ACK sent; not yet in the accept queue.
    SynReceived,
    /// Established, or closing.
    Open,
    /// Nothing any more: segments that arrive are answered with RST.
    Gone,
}

/// One end.
pub(crate) struct End {
    pub(crate) host: HostId,
    pub(crate) local: Endpoint,
    /// How the port is accounted for on the host.
    pub(crate) claim: Claim,
    /// The name under which the opener's port is held; outlives the socket itself.
    pub(crate) holder: Option<Socket>,
    /// The program's socket; none before `accept` and after `close`.
    pub(crate) socket: Option<Socket>,
    /// The listener whose accept queue or requests this is in.
    pub(crate) listener: Option<Socket>,
    pub(crate) phase: Phase,
    /// The way to the other end.
    pub(crate) link: LinkId,
    /// `sk_err`: what the next call reports.
    pub(crate) error: i32,
    /// `shutdown(SHUT_RD)`.
    pub(crate) read_shut: bool,
    /// `shutdown(SHUT_WR)`, perhaps before there was a connection that could have been told.
    pub(crate) write_shut: bool,
    /// The other end had closed first: no TIME_WAIT here.
    pub(crate) closes_second: bool,
    /// Nagle's algorithm is on.
    pub(crate) nagle: bool,
    /// `TCP_CORK`.
    pub(crate) cork: bool,
    pub(crate) uncork: Option<TimerKey>,
    /// It waits for its turn on a narrow link.
    pub(crate) waits: bool,
    /// Its cork is off for that turn.
    pub(crate) uncorked: bool,
    pub(crate) segment_bytes_max: u64,
    /// Bytes that may be written and not acknowledged.
    pub(crate) send_capacity: u64,
    /// Bytes that may have arrived and not been read.
    pub(crate) window: u64,
    pub(crate) recovery: Recovery,
    pub(crate) round_trip: RoundTrip,
    /// What had been sent when a tail loss probe was last needed; zero is never.
    pub(crate) tail_probed_until: u64,
    /// Segments that were sent again, ever.
    pub(crate) retransmissions: u32,
    /// `TCP_USER_TIMEOUT`, which stays when the program has closed the socket; zero is none.
    pub(crate) user_timeout_ns: u64,
    /// When the last SYN or SYN-ACK was sent.
    pub(crate) handshake_at: u64,
    /// When the peer was heard last.
    pub(crate) heard_at: u64,
    /// When the peer last acknowledged something new.
    pub(crate) answered_at: u64,
    /// Its last acknowledgement was lost: its next segment carries it.
    pub(crate) acknowledgement_lost: bool,
    pub(crate) keepalive: Option<TimerKey>,
    /// Keepalive probes since the peer was heard.
    pub(crate) keepalive_probes: u32,
    pub(crate) orphan: Option<TimerKey>,
    /// Whose close(2) waits for what was written to be acknowledged.
    pub(crate) lingerer: Option<ThreadId>,
}

impl End {
    /// An end before the handshake.
    pub(crate) fn new(host: HostId, local: Endpoint, claim: Claim, link: LinkId, phase: Phase) -> End {
        End {
            host,
            local,
            claim,
            holder: None,
            socket: None,
            listener: None,
            phase,
            link,
            error: 0,
            read_shut: false,
            write_shut: false,
            closes_second: false,
            nagle: true,
            cork: false,
            uncork: None,
            waits: false,
            uncorked: false,
            segment_bytes_max: 1,
            send_capacity: 0,
            window: 0,
            recovery: Recovery::default(),
            round_trip: RoundTrip::default(),
            tail_probed_until: 0,
            retransmissions: 0,
            user_timeout_ns: 0,
            handshake_at: 0,
            heard_at: 0,
            answered_at: 0,
            acknowledgement_lost: false,
            keepalive: None,
            keepalive_probes: 0,
            orphan: None,
            lingerer: None,
        }
    }

    /// The handshake is over: its last message has come, which is the first round trip that was measured.
    pub(super) fn greeted(&mut self, cx: &mut Cx<'_>) {
        self.phase = Phase::Open;
        self.heard_at = cx.now;
        self.answered_at = cx.now;
        self.round_trip.sample(cx.now - self.handshake_at, 0, 0);
        if let Some(alarm) = std::mem::take(&mut self.recovery).alarm {
            cx.timers.cancel(alarm.key);
        }
    }

    /// No timer of this end fires any more.
    pub(super) fn stop_timers(&mut self, cx: &mut Cx<'_>) {
        if let Some(alarm) = self.recovery.alarm.take() {
            cx.timers.cancel(alarm.key);
        }
        cx.cancel(&mut self.keepalive);
        cx.cancel(&mut self.orphan);
        cx.cancel(&mut self.uncork);
    }

    /// Whether no program will ever read from this end again.
    pub(crate) fn orphaned(&self) -> bool {
        self.socket.is_none() && self.listener.is_none()
    }
}

/// A range of a stream on its way: it ends here, and starts where the one before it ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Segment {
    pub(crate) end: u64,
    /// When it arrives, or [`LOST`].
    pub(crate) at: u64,
    /// When it was sent last.
    pub(crate) sent_at: u64,
    /// When it has left a narrow link's queue.
    pub(crate) leaves: u64,
}

/// An acknowledgement on its way back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Acknowledgement {
    pub(crate) at: u64,
    pub(crate) position: u64,
    /// Right edge of the advertised window.
    pub(crate) edge: u64,
    /// When what it answers was sent: the timestamp that it echoes (RFC 7323 §3).
    pub(crate) sent_at: u64,
}

/// Bytes from one end to the other. Positions count from the connection's beginning; a FIN takes the position after
/// the last byte, as in the protocol.
#[derive(Default)]
pub(crate) struct Streamed {
    /// The bytes from `read` to `written`.
    buffer: VecDeque<u8>,
    pub(crate) read: u64,
    pub(crate) arrived: u64,
    /// When the first of the segments that arrived last was sent.
    pub(crate) arrived_sent_at: u64,
    pub(crate) acknowledged: u64,
    pub(crate) sent: u64,
    pub(crate) written: u64,
    /// The writer has said that nothing follows.
    pub(crate) fin: bool,
    /// End of the last segment that was not full, for Nagle's algorithm in Minshall's form (`tcp_minshall_check`).
    pub(crate) small_until: u64,
    /// Right edge of the window as far as the writer knows.
    pub(crate) edge: u64,
    /// Right edge of the window as the reader advertised it last.
    pub(crate) advertised: u64,
    pub(crate) flight: VecDeque<Segment>,
    /// Segments in `flight` that are lost.
    pub(crate) lost: u32,
    /// Nothing may arrive before this: segments of one connection keep their order.
    pub(crate) not_before: u64,
    pub(crate) arrival: Option<TimerKey>,
    pub(crate) acknowledgements: VecDeque<Acknowledgement>,
    pub(crate) acknowledged_event: Option<TimerKey>,
    /// The writer found no room and wants to hear when there is some (`SOCK_NOSPACE`).
    pub(crate) starved: bool,
}

impl Streamed {
    /// The position after everything, the FIN included.
    pub(crate) fn end(&self) -> u64 {
        self.written + u64::from(self.fin)
    }

    /// Sends an acknowledgement of what has arrived, which comes at this time, in order.
    #[inline]
    pub(crate) fn acknowledge_at(&mut self, at: u64) {
        let at = at.max(self.acknowledgements.back().map_or(0, |last| last.at));
        let (position, edge, sent_at) = (self.arrived, self.advertised, self.arrived_sent_at);
        self.acknowledgements.push_back(Acknowledgement { at, position, edge, sent_at });
    }

    /// Bytes that have arrived and are not read.
    #[inline]
    pub(crate) fn readable(&self) -> usize {
        (self.arrived.min(self.written) - self.read) as usize
    }

    /// Whether the FIN has arrived.
    #[inline]
    pub(crate) fn finished(&self) -> bool {
        self.fin && self.arrived > self.written
    }

    /// Whether the FIN is acknowledged.
    pub(crate) fn fin_acknowledged(&self) -> bool {
        self.fin && self.acknowledged > self.written
    }

    /// Bytes that occupy the writer's send buffer.
    #[inline]
    pub(crate) fn queued(&self) -> u64 {
        self.written - self.acknowledged.min(self.written)
    }

    /// `sk_stream_is_writeable` (include/net/sock.h): at least a third of the buffer is free.
    #[inline]
    pub(crate) fn writable(&self, capacity: u64) -> bool {
        let queued = self.queued();
        capacity.saturating_sub(queued) >= queued / 2
    }

    /// Takes bytes from the writer.
    pub(crate) fn append(&mut self, bytes: &In<'_>, offset: usize, count: usize) {
        let buffer = &mut self.buffer;
        bytes.pieces(offset, count, |piece| buffer.extend(piece));
        self.written += count as u64;
    }

    /// Copies up to `count` bytes that have arrived, without taking them; they enter the digest.
    pub(crate) fn peek(&self, out: &mut Out<'_>, offset: usize, count: usize, log: &mut EventLog) -> usize {
        let count = count.min(self.readable());
        let (first, second) = self.buffer.as_slices();
        let first = &first[..first.len().min(count)];
        let second = &second[..count - first.len()];
        for (at, piece) in [(offset, first), (offset + first.len(), second)] {
            if !piece.is_empty() {
                out.write_at(at, piece);
                log.returned(piece);
            }
        }
        count
    }

    /// Takes bytes that have been read.
    pub(crate) fn consume(&mut self, count: usize) {
        if count == self.buffer.len() {
            self.buffer.clear();
            if self.buffer.capacity() > KEPT_BUFFER_BYTES {
                self.buffer = VecDeque::new();
            }
        } else {
            self.buffer.drain(..count);
        }
        self.read += count as u64;
    }

    /// Forgets what was written and not sent, and what was sent and lost.
    pub(crate) fn purge(&mut self) {
        if let Some(first) = self.flight.iter().position(|segment| segment.at == LOST) {
            self.flight.truncate(first);
        }
        self.lost = 0;
        let end = self.flight.back().map_or(self.arrived, |segment| segment.end);
        let kept = end.min(self.written).max(self.read);
        self.buffer.truncate((kept - self.read) as usize);
        self.fin = end > self.written; // it is among what travels
        self.written = kept;
        self.sent = self.sent.min(end);
    }

    /// Whether the reader should announce that its window has opened: `tcp_cleanup_rbuf` (net/ipv4/tcp.c) does when
    /// what it advertised has at most half the buffer left and can be doubled.
    #[inline]
    pub(crate) fn window_update_due(&self, window: u64) -> bool {
        let left = self.advertised.saturating_sub(self.arrived);
        2 * left <= window && {
            let now = (self.read + window).saturating_sub(self.arrived);
            now > 0 && now >= 2 * left
        }
    }

    /// Whether something was sent that is not acknowledged as far as the writer knows.
    #[inline]
    pub(crate) fn outstanding(&self) -> bool {
        self.acknowledged < self.sent
    }

    /// When the first outstanding segment was sent last.
    pub(crate) fn first_sent_at(&self) -> u64 {
        match self.flight.front() {
            Some(first) if self.acknowledged >= self.arrived => first.sent_at,
            Some(_) | None => self.arrived_sent_at,
        }
    }

    /// When the last outstanding segment was sent last.
    pub(crate) fn last_sent_at(&self) -> u64 {
        self.flight.back().map_or(self.arrived_sent_at, |last| last.sent_at)
    }

    /// How many segments are outstanding, at least.
    pub(crate) fn segments_out(&self, segment_bytes_max: u64) -> u64 {
        let pieces = self.flight.len() as u64 + u64::from(self.acknowledged < self.arrived);
        pieces.max((self.sent - self.acknowledged).div_ceil(segment_bytes_max.max(1)))
    }

    /// Whether bytes wait that the window does not let out.
    pub(crate) fn window_closed(&self) -> bool {
        self.sent < self.written && self.edge <= self.sent
    }

    /// Whether nothing will move without a timer: something is lost, or unacknowledged with no acknowledgement coming,
    /// or the window is closed and nothing on its way that could open it.
    pub(crate) fn stuck(&self) -> bool {
        self.lost > 0
            || self.flight.is_empty()
                && self.acknowledgements.is_empty()
                && (self.acknowledged < self.arrived || self.window_closed())
    }

    /// Whether the writer has to act when acknowledgements come.
    #[inline]
    pub(crate) fn wants_acknowledgements(&self) -> bool {
        self.starved || self.sent < self.end() || self.fin && self.acknowledged <= self.written
    }

    /// Puts a segment in flight.
    #[inline]
    pub(crate) fn launch(&mut self, end: u64, (sent_at, at): (u64, u64), leaves: u64) {
        self.sent = end;
        if at == LOST {
            self.lost += 1;
        } else {
            self.not_before = at;
            if let Some(last) = self.flight.back_mut()
                && last.at == at
            {
                (last.end, last.leaves) = (end, last.leaves.max(leaves));
                return;
            }
        }
        self.flight.push_back(Segment { end, at, sent_at, leaves });
    }
}

/// A connection.
pub(crate) struct Connection {
    /// Number in the event stream.
    pub(crate) serial: u64,
    pub(crate) ends: Both<End>,
    /// Each side's outgoing bytes.
    pub(crate) streams: Both<Streamed>,
}

impl Connection {
    /// Whether both ends have forgotten it and no program holds it.
    pub(crate) fn is_over(&self) -> bool {
        self.ends.0.iter().all(|end| matches!(end.phase, Phase::Gone | Phase::Absent) && end.orphaned())
    }
}

#[cfg(test)]
mod tests {
    use super::{LOST, Segment, Streamed};
    use crate::abi::user::testing::{with_in, with_out};
    use crate::kernel::event::EventLog;

    fn write(stream: &mut Streamed, bytes: &[u8]) {
        with_in(bytes, |view| stream.append(&view, 0, bytes.len()));
    }

    fn read(stream: &mut Streamed, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        let got = with_out(&mut bytes, |mut view| stream.peek(&mut view, 0, count, &mut EventLog::new(1)));
        stream.consume(got);
        bytes.truncate(got);
        bytes
    }

    #[test]
    fn only_what_has_arrived_can_be_read() {
        let mut stream = Streamed::default();
        write(&mut stream, b"hello world");
        stream.launch(5, (0, 10), 0);
        stream.launch(11, (0, 20), 0);
        assert_eq!(read(&mut stream, 100), b"");
        stream.arrived = 5;
        assert_eq!(read(&mut stream, 3), b"hel");
        assert_eq!(read(&mut stream, 100), b"lo");
        stream.arrived = 11;
        assert_eq!(read(&mut stream, 100), b" world");
    }

    #[test]
    fn the_fin_takes_a_position_of_its_own() {
        let mut stream = Streamed::default();
        write(&mut stream, b"x");
        stream.fin = true;
        stream.arrived = 1;
        assert!(!stream.finished());
        stream.arrived = 2;
        assert!(stream.finished());
        assert_eq!(stream.readable(), 1);
    }

    #[test]
    fn a_third_free_is_writable() {
        let mut stream = Streamed::default();
        write(&mut stream, &[0; 60]);
        assert!(stream.writable(90));
        write(&mut stream, &[0; 2]);
        assert!(!stream.writable(90));
    }

    #[test]
    fn segments_that_arrive_together_are_one() {
        let mut stream = Streamed::default();
        for (end, at) in [(10, 5), (20, 5), (30, LOST), (40, LOST), (50, 6)] {
            stream.launch(end, (0, at), 0);
        }
        let expected =
            [(20, 5), (30, LOST), (40, LOST), (50, 6)].map(|(end, at)| Segment { end, at, sent_at: 0, leaves: 0 });
        assert_eq!(stream.flight, expected);
        assert_eq!(stream.lost, 2);
    }

    #[test]
    fn purging_keeps_what_still_travels() {
        let mut stream = Streamed::default();
        write(&mut stream, &[7; 50]);
        stream.launch(10, (0, 5), 0);
        stream.launch(20, (0, LOST), 0);
        stream.launch(30, (0, 6), 0);
        stream.fin = true;
        stream.purge();
        assert_eq!((stream.written, stream.sent, stream.lost, stream.fin), (10, 10, 0, false));
        stream.arrived = 10;
        assert_eq!(read(&mut stream, 100), [7; 10]);
    }

    #[test]
    fn the_window_is_announced_when_it_can_be_doubled() {
        let mut stream = Streamed { advertised: 100, edge: 100, ..Streamed::default() };
        write(&mut stream, &[0; 100]);
        stream.arrived = 40;
        assert!(!stream.window_update_due(100), "more than half is left");
        stream.arrived = 100;
        assert!(!stream.window_update_due(100), "nothing was read");
        stream.consume(1);
        assert!(stream.window_update_due(100), "zero window");
    }
}
