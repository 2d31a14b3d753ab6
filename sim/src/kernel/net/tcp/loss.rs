//! What happens when segments get lost: retransmission with backoff, probes of the tail and of a closed window, and
//! giving up (RFC 6298, RFC 8985; tcp(7); net/ipv4/tcp_timer.c).
//!
//! Nothing here runs while all goes well. A timer is set when a segment or an acknowledgement is known to be lost, for
//! the time at which the sender would find out by itself.

use super::super::link::{Fate, Parcel, Passage};
use super::super::{Cx, NetEvent, Network};
use super::connection::{Connection, ConnectionId, End, LOST, Phase, Side, Streamed};
use super::round_trip::VARIATION_NS_MIN;
use crate::kernel::timers::TimerKey;
use libc::ETIMEDOUT;

/// `TCP_RTO_MAX` (include/net/tcp.h).
pub(super) const TIMEOUT_NS_MAX: u64 = 120_000_000_000;
/// `tcp_retries2` (tcp(7)).
const RETRIES_MAX: u32 = 15;
/// What `tcp_orphan_retries` = 0 means while the timeout is not at its longest (`tcp_orphan_retries`).
const ORPHAN_RETRIES_MAX: u32 = 8;
/// Doublings after which every timeout is at its longest.
const DOUBLINGS_MAX: u32 = 20;
/// Doublings of the shortest timeout below the longest: `ilog2(rto_max / rto_base)` in `tcp_model_timeout`.
const MODEL_DOUBLINGS: u32 = (TIMEOUT_NS_MAX / VARIATION_NS_MIN).ilog2();

/// What the timer of an end is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Expiry {
    /// Nothing was heard for a retransmission timeout, or the window has been closed for one. A handshake's retry.
    Timeout,
    /// The end of what was sent may be lost: it is sent again, once, before the timeout (RFC 8985 §7).
    TailProbe,
    /// A later segment has been acknowledged, so an earlier one is lost (RACK, RFC 8985 §6).
    Overtaken,
}

/// The timer of an end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alarm {
    pub(crate) key: TimerKey,
    pub(crate) at: u64,
    pub(crate) expiry: Expiry,
}

/// What an end does about what stays unanswered; as new whenever something is answered.
#[derive(Default, Debug)]
pub(crate) struct Recovery {
    pub(crate) alarm: Option<Alarm>,
    /// The timer was set since there was progress.
    troubled: bool,
    /// Doublings of the timeout.
    pub(crate) backoff: u32,
    /// `icsk_retransmits`: retransmissions for a timeout.
    pub(crate) timeouts: u32,
    /// `icsk_probes_out`: window probes since the peer was heard.
    pub(crate) probes: u32,
    /// When the first of those retransmissions or probes left (`retrans_stamp`, `icsk_probes_tstamp`).
    since: Option<u64>,
    /// Something was sent again, so no tail loss probe follows.
    resent: bool,
    /// When something was last sent again.
    resent_at: u64,
}

impl Recovery {
    /// Whether the timer was set since the peer answered something.
    #[inline]
    pub(super) fn is_troubled(&self) -> bool {
        self.troubled
    }

    /// A timeout, doubled as often as was tried.
    pub(crate) fn timeout_ns(&self, once_ns: u64) -> u64 {
        (once_ns << self.backoff.min(DOUBLINGS_MAX)).min(TIMEOUT_NS_MAX)
    }
}

/// How long a sender whose round trips are the shortest takes for so many retransmissions: `tcp_model_timeout`. It is
/// the measure for all, however long their own round trips are.
fn model_timeout_ns(retries: u32) -> u64 {
    let doubled = retries.min(MODEL_DOUBLINGS);
    ((2 << doubled) - 1) * VARIATION_NS_MIN + u64::from(retries - doubled) * TIMEOUT_NS_MAX
}

/// When the timer of an end should fire, and what for.
fn next_alarm(end: &End, stream: &Streamed, now: u64) -> (u64, Expiry) {
    let (recovery, timeout) = (&end.recovery, end.round_trip.timeout_ns());
    if !stream.outstanding() {
        return (now + recovery.timeout_ns(timeout), Expiry::Timeout); // the window is closed
    }
    let first = stream.first_sent_at().max(end.answered_at).max(recovery.resent_at);
    // As long as nothing is acknowledged beyond the last tail loss probe there is no other (`tlp_high_seq`).
    let probed = end.tail_probed_until > 0 && stream.acknowledged <= end.tail_probed_until;
    if recovery.resent || probed {
        return (first + recovery.timeout_ns(timeout), Expiry::Timeout);
    }
    let last = stream.last_sent_at().max(end.answered_at);
    let single = stream.segments_out(end.segment_bytes_max) == 1;
    ((last + end.round_trip.tail_probe_ns(single)).min(first + timeout), Expiry::TailProbe)
}

impl Network {
    /// Sets the timer of an end, unless it runs. A tail loss probe is put off by whatever is sent before it.
    pub(super) fn tcp_arm(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side) {
        let Connection { ends, streams, .. } = &mut self.connections[id];
        let (end, stream) = (&mut ends[side], &streams[side]);
        let runs = end.recovery.alarm.is_some_and(|alarm| alarm.expiry != Expiry::TailProbe);
        if runs || end.phase != Phase::Open {
            return;
        }
        let (mut at, expiry) = next_alarm(end, stream, cx.now);
        if let Some(since) = end.recovery.since
            && end.user_timeout_ns > 0
        {
            at = at.min(since + end.user_timeout_ns); // tcp_clamp_rto_to_user_timeout
        }
        end.recovery.troubled = true;
        self.tcp_set_alarm(cx, id, side, at.max(cx.now), expiry);
    }

    /// Has the timer of an end fire then.
    pub(super) fn tcp_set_alarm(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side, at: u64, expiry: Expiry) {
        let recovery = &mut self.connections[id].ends[side].recovery;
        if let Some(alarm) = &mut recovery.alarm {
            if alarm.at == at {
                alarm.expiry = expiry;
                return;
            }
            cx.timers.cancel(alarm.key);
        }
        let key = cx.schedule(at, NetEvent::Retransmit(id, side));
        recovery.alarm = Some(Alarm { key, at, expiry });
    }

    /// A segment arrives, but its acknowledgement will come later than the sender waits for it: with `TCP_USER_TIMEOUT`
    /// that may end the connection. Without, all it makes is duplicates.
    pub(super) fn tcp_watch(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side, arrives: u64) {
        let ends = &self.connections[id].ends;
        let (end, back) = (&ends[side], ends[side.other()].link);
        let answered = arrives + self.links.one_way_ns(back, cx.now);
        if end.recovery.alarm.is_none() && answered > cx.now + end.round_trip.timeout_ns() {
            self.tcp_arm(cx, id, side);
        }
    }

    /// A segment behind a lost one arrives: its selective acknowledgement makes the sender retransmit at once, a
    /// quarter of the shortest round trip after it has come (`tcp_rack_reo_wnd`, net/ipv4/tcp_recovery.c).
    pub(super) fn tcp_hasten(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side, arrives: u64) {
        let ends = &self.connections[id].ends;
        let end = &ends[side];
        let back = self.links.one_way_ns(ends[side.other()].link, cx.now);
        let at = arrives + back + end.round_trip.shortest_ns() / 4;
        if end.recovery.alarm.is_some_and(|alarm| at < alarm.at) {
            self.tcp_set_alarm(cx, id, side, at, Expiry::Overtaken);
        }
    }

    /// The timer of an end fires.
    pub(crate) fn tcp_retransmit(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let Some(alarm) = connection.ends[side].recovery.alarm.take() else { return };
        match connection.ends[side].phase {
            Phase::SynSent => return self.tcp_retry_syn(cx, id),
            Phase::SynReceived => return self.tcp_retry_syn_ack(cx, id),
            Phase::Absent | Phase::Gone => return,
            Phase::Open => {}
        }
        self.tcp_take_acknowledgements(cx, id, side);
        let Connection { ends, streams, .. } = &mut self.connections[id];
        let (end, stream) = (&mut ends[side], &mut streams[side]);
        if end.recovery.alarm.is_some() {
            return; // what came has set it anew
        }
        let (stuck, outstanding) = (stream.stuck(), stream.outstanding());
        if !(stuck || outstanding && end.user_timeout_ns > 0) {
            return; // all is on its way; whatever is lost later sets the timer again
        }
        if alarm.expiry == Expiry::Timeout && gives_up(end, outstanding, cx.now) {
            return self.tcp_abort(cx, id, side, ETIMEDOUT);
        }
        let recovery = &mut end.recovery;
        recovery.resent_at = cx.now;
        if alarm.expiry == Expiry::Timeout {
            recovery.backoff += 1;
            recovery.since.get_or_insert(cx.now);
            *(if outstanding { &mut recovery.timeouts } else { &mut recovery.probes }) += 1;
        }
        if outstanding {
            recovery.resent = true;
            end.retransmissions += 1;
        }
        if stream.lost > 0 {
            let is_probe = alarm.expiry == Expiry::TailProbe;
            if is_probe {
                end.tail_probed_until = stream.sent;
            }
            self.tcp_resend(cx, id, side, is_probe);
        } else if stuck {
            self.tcp_send_probe(cx, id, side);
        }
        let end = &self.connections[id].ends[side];
        if self.connections[id].streams[side].stuck() || end.user_timeout_ns > 0 {
            self.tcp_arm(cx, id, side);
        }
    }

    /// Sends again what was lost: only the last segment if it is to show whether others are.
    ///
    /// Linux sends the first lost segment and, once it is acknowledged, the others in growing bursts; here all of them
    /// leave together, since there is no congestion to probe for yet.
    fn tcp_resend(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side, tail: bool) {
        let connection = &mut self.connections[id];
        let (link, stream) = (connection.ends[side].link, &mut connection.streams[side]);
        let last = stream.flight.len() - 1;
        let only_last = tail && stream.flight[last].at == LOST;
        let mut begin = stream.arrived;
        let (mut hole, mut overtaken_at) = (false, None);
        for (place, segment) in stream.flight.iter_mut().enumerate() {
            let parcel = Parcel::stream(cx.now, segment.end - std::mem::replace(&mut begin, segment.end));
            if segment.at != LOST {
                continue;
            }
            if only_last && place != last {
                hole = true;
                continue;
            }
            segment.sent_at = cx.now;
            let Some(Passage { delay, leaves, flipped: None, .. }) = self.links.passage(link, parcel) else {
                hole = true;
                continue;
            };
            segment.leaves = leaves;
            segment.at = (cx.now + delay).max(stream.not_before);
            stream.not_before = segment.at;
            stream.lost -= 1;
            if hole {
                overtaken_at = Some(segment.at);
            }
        }
        self.tcp_schedule_arrival(cx, id, side);
        if let Some(at) = overtaken_at {
            self.tcp_arm(cx, id, side);
            self.tcp_hasten(cx, id, side, at);
        }
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
        let Some(connection) = self.connections.get_mut(id) else { return };
        let end = &connection.ends[to];
        if !self.stacks[end.host.0 as usize].up {
            return;
        }
        match end.phase {
            Phase::Open => {
                let asked_at = connection.ends[to.other()].recovery.resent_at;
                let stream = &mut connection.streams[to.other()];
                stream.arrived_sent_at = stream.arrived_sent_at.max(asked_at);
                self.tcp_acknowledge(cx, id, to);
            }
            Phase::Gone | Phase::Absent => self.tcp_refuse_segment(cx, id, to),
            Phase::SynSent | Phase::SynReceived => {}
        }
    }

    /// Something was answered that `side` had waited for, or the window is still closed: its timer is set anew.
    #[cold]
    pub(super) fn tcp_answered(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side, progress: bool) {
        let connection = &mut self.connections[id];
        let (end, stream) = (&mut connection.ends[side], &connection.streams[side]);
        if !progress {
            // tcp_ack_probe: the next window probe counts from the answer to the last.
            if !stream.outstanding()
                && stream.window_closed()
                && let Some(alarm) = end.recovery.alarm.take()
            {
                cx.timers.cancel(alarm.key);
                self.tcp_arm(cx, id, side);
            }
            return;
        }
        let alarm = end.recovery.alarm.take();
        end.recovery = Recovery::default();
        match alarm {
            // It is for what is still lost.
            Some(alarm) if alarm.expiry == Expiry::Overtaken && stream.lost > 0 => {
                end.recovery = Recovery { alarm: Some(alarm), troubled: true, resent: true, ..Recovery::default() };
            }
            Some(alarm) => {
                cx.timers.cancel(alarm.key);
            }
            None => {}
        }
        if stream.stuck() {
            self.tcp_arm(cx, id, side);
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

/// Whether an end has tried for long enough: `tcp_write_timeout` for what was sent, `tcp_probe_timer` for a closed
/// window.
fn gives_up(end: &End, outstanding: bool, now: u64) -> bool {
    let recovery = &end.recovery;
    let tried_ns = recovery.since.map(|since| now - since);
    if end.user_timeout_ns > 0 {
        return tried_ns.is_some_and(|tried| tried >= end.user_timeout_ns);
    }
    let alive = recovery.timeout_ns(end.round_trip.timeout_ns()) < TIMEOUT_NS_MAX;
    let retries = match (end.orphaned(), alive) {
        (false, _) => RETRIES_MAX,
        (true, true) => ORPHAN_RETRIES_MAX,
        (true, false) => 0,
    };
    if outstanding {
        tried_ns.is_some_and(|tried| tried >= model_timeout_ns(retries))
    } else {
        recovery.probes >= retries
    }
}

#[cfg(test)]
mod tests {
    use super::model_timeout_ns;

    /// networking/ip-sysctl: 15 retries are 924.6 s; 8 of an orphan are "more than 100 seconds".
    #[test]
    fn giving_up_takes_as_long_as_linux_says() {
        assert_eq!([0, 8, 15].map(|retries| model_timeout_ns(retries) / 1_000_000), [200, 102_200, 924_600]);
    }
}
