//! What happens when segments get lost: retransmission with backoff, window probes, and giving up (RFC 6298; tcp(7)).
//!
//! Nothing here runs while all goes well. A timer is set when a segment or an acknowledgement is known to be lost,
//! for the time at which the sender would find out by itself.

use super::super::link::{Fate, Parcel, Passage};
use super::super::{Cx, NetEvent, Network};
use super::connection::{ConnectionId, LOST, Phase, Side};
use libc::ETIMEDOUT;

/// `TCP_RTO_MIN` (include/net/tcp.h). Linux adds it to the measured round trip.
const TIMEOUT_NS_MIN: u64 = 200_000_000;
/// `TCP_RTO_MAX`.
pub(super) const TIMEOUT_NS_MAX: u64 = 120_000_000_000;
/// `tcp_retries2` (tcp(7)): with 200 ms to begin with, a connection gives up after about 924 s.
const RETRIES_MAX: u32 = 15;
/// What `tcp_orphan_retries` = 0 means (`tcp_orphan_retries`, net/ipv4/tcp_timer.c).
const ORPHAN_RETRIES_MAX: u32 = 8;

impl Network {
    /// The retransmission timeout of an end, without backoff.
    fn tcp_timeout_ns(&mut self, now: u64, id: ConnectionId, side: Side) -> u64 {
        let (there, back) = (self.connections[id].ends[side].link, self.connections[id].ends[side.other()].link);
        TIMEOUT_NS_MIN + self.links.one_way_ns(there, now) + self.links.one_way_ns(back, now)
    }

    /// Sets the retransmission timer, unless it runs.
    pub(super) fn tcp_arm(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side) {
        let end = &self.connections[id].ends[side];
        if end.timer.is_some() || end.phase != Phase::Open {
            return;
        }
        let timeout = self.tcp_timeout_ns(cx.now, id, side);
        let end = &mut self.connections[id].ends[side];
        end.stalled_since.get_or_insert(cx.now);
        let at = cx.now + (timeout << end.backoff.min(20)).min(TIMEOUT_NS_MAX);
        end.timer = Some((cx.schedule(at, NetEvent::Retransmit(id, side)), at));
    }

    /// A segment behind a lost one arrives: its selective acknowledgement makes the sender retransmit at once (RACK,
    /// RFC 8985), a quarter of a round trip after it has come.
    pub(super) fn tcp_hasten(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side, arrives: u64) {
        let back = self.connections[id].ends[side.other()].link;
        let back = self.links.one_way_ns(back, cx.now);
        let at = arrives + back + back / 2;
        let end = &mut self.connections[id].ends[side];
        if let Some((key, scheduled)) = end.timer
            && at < scheduled
        {
            cx.timers.cancel(key);
            end.timer = Some((cx.schedule(at, NetEvent::Retransmit(id, side)), at));
        }
    }

    /// The retransmission timer fires.
    pub(crate) fn tcp_retransmit(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.ends[side].timer = None;
        match connection.ends[side].phase {
            Phase::SynSent => return self.tcp_retry_syn(cx, id),
            Phase::SynReceived => return self.tcp_retry_syn_ack(cx, id),
            Phase::Absent | Phase::Gone => return,
            Phase::Open => {}
        }
        self.tcp_take_acknowledgements(cx, id, side);
        if !self.connections[id].streams[side].stuck() {
            return; // all is on its way; whatever is lost later sets the timer again
        }
        if self.tcp_gives_up(cx, id, side) {
            return self.tcp_abort(cx, id, side, ETIMEDOUT);
        }
        let end = &mut self.connections[id].ends[side];
        end.backoff += 1;
        end.unanswered += 1;
        if self.connections[id].streams[side].lost > 0 {
            self.tcp_resend(cx, id, side);
        } else {
            self.tcp_send_probe(cx, id, side);
        }
        self.tcp_arm(cx, id, side);
    }

    /// Whether an end has tried for long enough (`tcp_write_timeout` and `tcp_probe_timer`, net/ipv4/tcp_timer.c).
    fn tcp_gives_up(&self, cx: &Cx<'_>, id: ConnectionId, side: Side) -> bool {
        let end = &self.connections[id].ends[side];
        let user_timeout = end.socket.map_or(0, |socket| self.sockets[socket].options.user_timeout_ms);
        if user_timeout > 0 && end.unanswered > 0 {
            let stalled = cx.now - end.stalled_since.unwrap_or(cx.now);
            return stalled >= u64::from(user_timeout) * 1_000_000;
        }
        end.unanswered >= if end.orphaned() { ORPHAN_RETRIES_MAX } else { RETRIES_MAX }
    }

    /// Sends again what was lost.
    ///
    /// Linux sends the first lost segment and, once it is acknowledged, the others in growing bursts; here all of them
    /// leave together, since there is no congestion to probe for yet.
    fn tcp_resend(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side) {
        let connection = &mut self.connections[id];
        let (link, stream) = (connection.ends[side].link, &mut connection.streams[side]);
        let mut begin = stream.arrived;
        for segment in &mut stream.flight {
            let parcel = Parcel::stream(cx.now, segment.end - std::mem::replace(&mut begin, segment.end));
            if segment.at != LOST {
                continue;
            }
            if let Some(Passage { delay, leaves, flipped: None, .. }) = self.links.passage(link, parcel) {
                segment.leaves = leaves;
                segment.at = (cx.now + delay).max(stream.not_before);
                stream.not_before = segment.at;
                stream.lost -= 1;
            }
        }
        self.tcp_schedule_arrival(cx, id, side);
    }

    /// Asks the peer for an acknowledgement.
    pub(super) fn tcp_send_probe(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side) {
        let link = self.connections[id].ends[side].link;
        if let Fate::Arrives(delay) = self.links.fate(link, Parcel::bare(cx.now)) {
            cx.schedule(cx.now + delay, NetEvent::Probe(id, side.other()));
        }
    }

    /// A probe arrives.
    pub(crate) fn tcp_probe(&mut self, cx: &mut Cx<'_>, id: ConnectionId, to: Side) {
        let Some(connection) = self.connections.get(id) else { return };
        let end = &connection.ends[to];
        if !self.stacks[end.host.0 as usize].up {
            return;
        }
        match end.phase {
            Phase::Open => self.tcp_acknowledge(cx, id, to),
            Phase::Gone | Phase::Absent => self.tcp_refuse_segment(cx, id, to),
            Phase::SynSent | Phase::SynReceived => {}
        }
    }

    /// Nothing that is on its way to `to` reaches anybody.
    pub(super) fn tcp_swallow(&mut self, cx: &mut Cx<'_>, id: ConnectionId, to: Side) {
        let stream = &mut self.connections[id].streams[to.other()];
        let now = cx.now;
        let mut swallowed = 0;
        for segment in stream.flight.iter_mut().filter(|segment| segment.at <= now) {
            segment.at = LOST;
            swallowed += 1;
        }
        stream.lost += swallowed;
        self.tcp_arm(cx, id, to.other());
    }
}
