//! Sending: segments leave as windows and Nagle's algorithm allow, and acknowledgements come back.

use super::super::link::{Fate, LinkId, Parcel, Passage};
use super::super::{Cx, Fail, NetEvent, Network};
use super::connection::{ConnectionId, End, LOST, Phase, Side, Streamed};
use super::{CHANGE, SPACE};
use crate::abi::user::In;
use libc::EPIPE;

/// How long `TCP_CORK` holds a segment that is not full (tcp(7)).
const CORK_NS: u64 = 200_000_000;

/// What to do next with what was written.
enum Next {
    /// Send a segment that ends here.
    Send(u64),
    /// Hold a small segment back until more comes.
    Cork,
    /// Nothing can be sent.
    Nothing,
}

/// Cuts the next segment, if one may leave.
#[inline]
fn next_segment(end: &End, stream: &mut Streamed, more: bool) -> Next {
    if stream.sent > stream.written {
        return Next::Nothing;
    }
    let full = end.segment_bytes_max;
    let bytes = stream.written.min(stream.edge).saturating_sub(stream.sent).min(full);
    let fin = stream.fin && stream.sent + bytes == stream.written;
    if bytes == 0 && !fin {
        return Next::Nothing;
    }
    if bytes < full && !fin {
        if more || end.cork {
            return Next::Cork;
        }
        // RFC 896 as `tcp_nagle_check` (net/ipv4/tcp_output.c) has it: one small segment at a time.
        if end.nagle && stream.small_until > stream.acknowledged {
            return Next::Nothing;
        }
        stream.small_until = stream.sent + bytes;
    }
    Next::Send(stream.sent + bytes + u64::from(fin))
}

impl Network {
    /// Writes as much as the send buffer takes: `tcp_sendmsg_locked`, net/ipv4/tcp.c.
    pub(in super::super) fn tcp_write(
        &mut self,
        cx: &mut Cx<'_>,
        (id, side): (ConnectionId, Side),
        (input, offset, count): (&In<'_>, usize, usize),
        more: bool,
    ) -> Result<usize, Fail> {
        self.tcp_take_acknowledgements(cx, id, side);
        let connection = &mut self.connections[id];
        let (end, stream) = (&mut connection.ends[side], &mut connection.streams[side]);
        if end.error != 0 {
            return Err(Fail::Errno(std::mem::take(&mut end.error)));
        }
        match end.phase {
            Phase::Open if !stream.fin && !end.write_shut => {}
            Phase::SynSent => return Err(Fail::Wait(SPACE)),
            Phase::Open | Phase::Gone | Phase::Absent | Phase::SynReceived => return Err(Fail::Errno(EPIPE)),
        }
        let taken = count.min(end.send_capacity.saturating_sub(stream.queued()) as usize);
        stream.append(input, offset, taken);
        stream.starved |= !stream.writable(end.send_capacity);
        if taken == 0 && count > 0 {
            self.tcp_sent(cx, id, side);
            return Err(Fail::Wait(SPACE));
        }
        self.tcp_transmit(cx, id, side, more);
        Ok(taken)
    }

    /// Sends what may be sent now. With `more`, a last segment that is not full waits (`MSG_MORE`).
    pub(super) fn tcp_transmit(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side, more: bool) {
        self.tcp_send(cx, id, side, more, false);
    }

    /// As [`tcp_transmit`](Self::tcp_transmit), perhaps for one whose turn it is on a narrow link.
    fn tcp_send(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side, more: bool, mut turn: bool) {
        if self.connections[id].ends[side].phase != Phase::Open {
            return;
        }
        loop {
            let connection = &mut self.connections[id];
            let (end, stream) = (&mut connection.ends[side], &mut connection.streams[side]);
            let crowded = !turn && (self.links.anybody_waits(end.link) || self.links.crowded(end.link, cx.now));
            if crowded && stream.sent < stream.end() {
                break self.tcp_await_turn(cx, id, side);
            }
            let until = match next_segment(end, stream, more) {
                Next::Send(until) => until,
                Next::Cork => break self.tcp_cork(cx, id, side),
                Next::Nothing => break,
            };
            turn = false;
            match self.links.passage(end.link, Parcel::stream(cx.now, until - stream.sent)) {
                Some(Passage { delay, leaves, flipped: None, .. }) => {
                    let at = (cx.now + delay).max(stream.not_before);
                    stream.launch(until, (cx.now, at), leaves);
                    let (overtakes, owes) = (stream.lost > 0, end.acknowledgement_lost);
                    if overtakes {
                        self.tcp_hasten(cx, id, side, at);
                    } else if end.user_timeout_ns > 0 {
                        self.tcp_watch(cx, id, side, at);
                    }
                    if owes {
                        self.tcp_acknowledge_along(cx, id, side, at);
                    }
                }
                Some(_) | None => {
                    stream.launch(until, (cx.now, LOST), 0);
                    self.tcp_arm(cx, id, side);
                }
            }
        }
        self.tcp_sent(cx, id, side);
    }

    /// Arranges for what comes after sending: the arrival, and the acknowledgement if the writer waits for it.
    fn tcp_sent(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side) {
        self.tcp_schedule_arrival(cx, id, side);
        let stream = &self.connections[id].streams[side];
        if stream.stuck() {
            self.tcp_arm(cx, id, side);
        }
        if self.connections[id].streams[side].wants_acknowledgements() {
            self.tcp_schedule_acknowledged(cx, id, side);
        }
    }

    /// Makes the first segment in flight of `side`'s stream an event.
    pub(in super::super) fn tcp_schedule_arrival(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side) {
        let stream = &mut self.connections[id].streams[side];
        if stream.arrival.is_none()
            && let Some(first) = stream.flight.front()
            && first.at != LOST
        {
            stream.arrival = Some(cx.schedule(first.at, NetEvent::Arrival(id, side.other())));
        }
    }

    /// Makes the first acknowledgement for `side` an event.
    pub(super) fn tcp_schedule_acknowledged(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side) {
        let stream = &mut self.connections[id].streams[side];
        if stream.acknowledged_event.is_none()
            && let Some(first) = stream.acknowledgements.front()
        {
            stream.acknowledged_event = Some(cx.schedule(first.at, NetEvent::Acknowledged(id, side)));
        }
    }

    /// A narrow link has enough to do: what is to be sent waits for its turn.
    fn tcp_await_turn(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side) {
        let end = &mut self.connections[id].ends[side];
        if std::mem::replace(&mut end.waits, true) {
            return;
        }
        let link = end.link;
        if let Some(at) = self.links.wait(link, cx.now, (id, side)) {
            let turn = cx.schedule(at, NetEvent::Turn(link));
            self.links.set_turn(link, Some(turn));
        }
    }

    /// A narrow link has room: those who wait for it send a segment each, in turn, until it has none.
    pub(in super::super) fn tcp_turns(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        self.links.set_turn(link, None);
        while !self.links.crowded(link, cx.now) {
            let Some((id, side)) = self.links.next_waiting(link) else { return };
            if let Some(connection) = self.connections.get_mut(id) {
                let end = &mut connection.ends[side];
                end.waits = false;
                let (cork, nagle) = (end.cork, end.nagle);
                if std::mem::take(&mut end.uncorked) {
                    (end.cork, end.nagle) = (false, false);
                }
                self.tcp_send(cx, id, side, false, true);
                let end = &mut self.connections[id].ends[side];
                (end.cork, end.nagle) = (cork, nagle);
            }
        }
        if self.links.anybody_waits(link)
            && let Some(at) = self.links.crowded_until(link, cx.now)
        {
            let turn = cx.schedule(at, NetEvent::Turn(link));
            if let Some(other) = self.links.set_turn(link, Some(turn)) {
                cx.timers.cancel(other); // whoever sent asked for one as well
            }
        }
    }

    /// Something that was written stays back until more comes, for a while.
    fn tcp_cork(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side) {
        let end = &mut self.connections[id].ends[side];
        if end.uncork.is_none() {
            end.uncork = Some(cx.schedule(cx.now + CORK_NS, NetEvent::Uncork(id, side)));
        }
    }

    /// The cork has held for long enough, or was taken off: what waits is sent, small as it is.
    pub(crate) fn tcp_uncork(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let end = &mut connection.ends[side];
        cx.cancel(&mut end.uncork);
        let (cork, nagle) = (end.cork, end.nagle);
        (end.cork, end.nagle) = (false, false);
        self.tcp_transmit(cx, id, side, false);
        let end = &mut self.connections[id].ends[side];
        (end.cork, end.nagle) = (cork, nagle);
        end.uncorked = end.waits;
    }

    /// `by` acknowledges what has arrived, and says how much room there is.
    pub(super) fn tcp_acknowledge(&mut self, cx: &mut Cx<'_>, id: ConnectionId, by: Side) {
        let connection = &mut self.connections[id];
        let (end, stream) = (&mut connection.ends[by], &mut connection.streams[by.other()]);
        // RFC 9293 §3.8.6: a receiver should not shrink its window.
        stream.advertised = stream.advertised.max(stream.read + end.window);
        match self.links.fate_of_acknowledgement(end.link, cx.now) {
            Fate::Arrives(delay) => {
                end.acknowledgement_lost = false;
                stream.acknowledge_at(cx.now + delay);
                if stream.wants_acknowledgements() {
                    self.tcp_schedule_acknowledged(cx, id, by.other());
                }
            }
            Fate::Lost => {
                end.acknowledgement_lost = true;
                self.tcp_miss_acknowledgement(cx, id, by.other());
            }
        }
    }

    /// An acknowledgement for `side` was lost. If no other is on its way its timer will find out.
    #[cold]
    fn tcp_miss_acknowledgement(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side) {
        self.tcp_take_acknowledgements(cx, id, side);
        let stream = &self.connections[id].streams[side];
        if stream.stuck() {
            self.tcp_arm(cx, id, side);
        } else if stream.flight.is_empty() {
            self.tcp_schedule_acknowledged(cx, id, side); // and look again when that has come
        }
    }

    /// The acknowledgement of `by` that was lost arrives with a segment: each carries the latest (RFC 9293 §3.4).
    #[cold]
    fn tcp_acknowledge_along(&mut self, cx: &mut Cx<'_>, id: ConnectionId, by: Side, at: u64) {
        let connection = &mut self.connections[id];
        connection.ends[by].acknowledgement_lost = false;
        let stream = &mut connection.streams[by.other()];
        stream.acknowledge_at(at);
        if stream.wants_acknowledgements() {
            self.tcp_schedule_acknowledged(cx, id, by.other());
        }
    }

    /// Takes note of the acknowledgements that have come by now.
    #[inline]
    pub(in super::super) fn tcp_take_acknowledgements(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side) {
        let connection = &mut self.connections[id];
        let (end, stream) = (&mut connection.ends[side], &mut connection.streams[side]);
        let (mut heard, mut progress) = (false, false);
        while let Some(first) = stream.acknowledgements.front()
            && first.at <= cx.now
        {
            if first.position > stream.acknowledged {
                stream.acknowledged = first.position;
                end.answered_at = first.at;
                end.round_trip.sample(first.at - first.sent_at, first.position, stream.sent);
                progress = true;
            }
            if first.edge > stream.edge {
                stream.edge = first.edge;
                progress |= !stream.outstanding(); // the window was closed
            }
            end.heard_at = first.at;
            heard = true;
            end.recovery.probes = 0;
            end.keepalive_probes = 0;
            stream.acknowledgements.pop_front();
        }
        if heard && end.recovery.is_troubled() {
            self.tcp_answered(cx, id, side, progress);
        }
    }

    /// Acknowledgements have come that the writer waits for.
    pub(crate) fn tcp_acknowledged(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.streams[side].acknowledged_event = None;
        if connection.ends[side].phase != Phase::Open {
            return;
        }
        self.tcp_take_acknowledgements(cx, id, side);
        self.tcp_transmit(cx, id, side, false);
        let connection = &mut self.connections[id];
        let (end, stream) = (&mut connection.ends[side], &mut connection.streams[side]);
        if stream.starved && stream.writable(end.send_capacity) {
            stream.starved = false;
            if let Some(socket) = end.socket {
                self.notify(socket, SPACE);
            }
        }
        let stream = &self.connections[id].streams[side];
        if stream.wants_acknowledgements() {
            self.tcp_schedule_acknowledged(cx, id, side);
        }
        if self.connections[id].streams[side].fin_acknowledged() {
            self.tcp_fin_acknowledged(cx, id, side);
        }
    }

    /// Tells the program at an end that everything about its connection may have changed.
    pub(super) fn tcp_changed(&mut self, id: ConnectionId, side: Side) {
        if let Some(socket) = self.connections[id].ends[side].socket {
            self.notify(socket, CHANGE);
        }
    }
}
