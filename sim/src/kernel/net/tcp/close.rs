//! Closing: FIN, half-close, RST, TIME_WAIT (RFC 9293 §3.6; shutdown(2), close(2), `SO_LINGER` in socket(7)).

use super::super::link::{Fate, Parcel};
use super::super::{Cx, NetEvent, Network};
use super::CHANGE;
use super::connection::{ConnectionId, Phase, Side};
use crate::kernel::ThreadId;
use libc::{ECONNREFUSED, ECONNRESET, EPIPE};

/// `TCP_TIMEWAIT_LEN` (include/net/tcp.h).
pub(super) const TIME_WAIT_NS: u64 = 60_000_000_000;
/// `tcp_fin_timeout` (tcp(7)).
const FIN_TIMEOUT_NS: u64 = 60_000_000_000;

impl Network {
    /// Says that nothing more will be written.
    pub(in super::super) fn tcp_finish(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side) {
        let connection = &mut self.connections[id];
        if connection.streams[side].fin || connection.ends[side].phase != Phase::Open {
            return;
        }
        connection.ends[side].closes_second = connection.streams[side.other()].finished();
        connection.streams[side].fin = true;
        self.tcp_take_acknowledgements(cx, id, side);
        self.tcp_uncork(cx, id, side);
    }

    /// A connection that came from somebody else's SYN is established: what was shut before is said now (`TCP_SYN_RECV`
    /// in `tcp_rcv_state_process`, net/ipv4/tcp_input.c).
    pub(super) fn tcp_finish_if_shut(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side) {
        if self.connections[id].ends[side].write_shut {
            self.tcp_finish(cx, id, side);
        }
    }

    /// A program has closed its socket: `__tcp_close`, net/ipv4/tcp.c.
    pub(in super::super) fn tcp_close(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side, lingers: bool) {
        let connection = &mut self.connections[id];
        let end = &mut connection.ends[side];
        end.socket = None;
        cx.cancel(&mut end.keepalive);
        match end.phase {
            Phase::Gone => {
                end.holder = None; // the port, if it still has one, is the socket's again
                self.tcp_forget(cx, id);
            }
            Phase::Open if connection.streams[side.other()].readable() > 0 || !lingers => {
                // RFC 2525 §2.17: unread data means that the peer must hear of a reset, and so does a linger of zero.
                self.tcp_reset(cx, id, side);
            }
            Phase::Open => {
                self.tcp_finish(cx, id, side);
                if self.connections.get(id).is_some_and(|c| c.streams[side].fin_acknowledged()) {
                    self.tcp_fin_acknowledged(cx, id, side);
                }
            }
            Phase::SynSent | Phase::SynReceived | Phase::Absent => self.tcp_end(cx, id, side),
        }
    }

    /// Whether a closed end still has something to be acknowledged. If so, whoever lingers is woken when it has not.
    pub(in super::super) fn tcp_linger(
        &mut self,
        cx: &mut Cx<'_>,
        id: ConnectionId,
        side: Side,
        lingerer: ThreadId,
    ) -> bool {
        if self.connections.get(id).is_none_or(|connection| connection.ends[side].phase != Phase::Open) {
            return false;
        }
        self.tcp_take_acknowledgements(cx, id, side);
        let connection = &mut self.connections[id];
        let closing = !connection.streams[side].fin_acknowledged();
        connection.ends[side].lingerer = closing.then_some(lingerer);
        closing
    }

    /// A program lets go of a connection that closes by itself: nobody is told.
    pub(in super::super) fn tcp_leave(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side) {
        self.connections[id].ends[side].socket = None;
        self.tcp_end(cx, id, side);
    }

    /// The FIN of the peer has arrived, and was acknowledged.
    pub(super) fn tcp_fin_arrived(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side) {
        if self.connections[id].streams[side].fin_acknowledged() {
            self.tcp_end_in_time_wait(cx, id, side);
        }
    }

    /// The peer has acknowledged this side's FIN.
    pub(super) fn tcp_fin_acknowledged(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side) {
        let connection = &mut self.connections[id];
        if connection.ends[side].phase != Phase::Open {
            return;
        }
        let finished = connection.streams[side.other()].finished();
        let end = &mut connection.ends[side];
        self.lingered.extend(end.lingerer.take());
        if finished && end.closes_second {
            self.tcp_changed(id, side); // LAST_ACK is over
            self.tcp_end(cx, id, side);
        } else if finished {
            self.tcp_end_in_time_wait(cx, id, side);
        } else if end.orphaned() && end.orphan.is_none() {
            end.orphan = Some(cx.schedule(cx.now + FIN_TIMEOUT_NS, NetEvent::Orphan(id, side)));
        }
    }

    /// An end that nobody owns has waited in FIN_WAIT2 for long enough.
    pub(crate) fn tcp_orphan_expired(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.ends[side].orphan = None;
        self.tcp_end(cx, id, side);
    }

    fn tcp_end_in_time_wait(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side) {
        let connection = &self.connections[id];
        let (end, remote) = (&connection.ends[side], connection.ends[side.other()].local);
        let (host, local, claim) = (end.host, end.local, end.claim);
        self.tcp_changed(id, side);
        self.tcp_end(cx, id, side);
        self.stacks[host.0 as usize].wait(cx.now + TIME_WAIT_NS, (local, remote), claim);
    }

    /// An end forgets the connection; the peer is told nothing.
    pub(super) fn tcp_end(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side) {
        let connection = &mut self.connections[id];
        let remote = connection.ends[side.other()].local;
        let end = &mut connection.ends[side];
        if end.phase == Phase::Gone {
            return;
        }
        self.lingered.extend(end.lingerer.take());
        let had_port = end.phase != Phase::Absent;
        end.phase = Phase::Gone;
        end.stop_timers(cx);
        cx.cancel(&mut connection.streams[side].acknowledged_event);
        let end = &mut connection.ends[side];
        let (host, local, claim) = (end.host, end.local, end.claim);
        let stack = &mut self.stacks[host.0 as usize];
        if stack.connections.get(&(local, remote)) == Some(&Some((id, side))) {
            stack.connections.remove(&(local, remote));
        }
        // A port that the program chose by `bind` stays its own until it closes the socket (SOCK_BINDPORT_LOCK).
        let keeps = end.socket.is_some_and(|socket| self.sockets.get(socket).is_some_and(|s| s.bound_by_program));
        match end.holder {
            Some(holder) if !keeps => {
                end.holder = None;
                stack.tcp.release(local.port, holder);
                if let Some(state) = self.sockets.get_mut(holder) {
                    state.holds_port = false;
                }
            }
            Some(_) => {}
            None if side == Side::Acceptor && had_port => stack.tcp.remove_connection(local.port, &claim),
            None => {}
        }
        self.tcp_forget(cx, id);
    }

    /// The host of an end has lost its power: the end is gone, and so is everything on the host that knew of it.
    pub(in super::super) fn tcp_vanish(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let end = &mut connection.ends[side];
        end.phase = Phase::Gone;
        (end.socket, end.listener, end.holder) = (None, None, None);
        end.stop_timers(cx);
        cx.cancel(&mut connection.streams[side].acknowledged_event);
        self.tcp_forget(cx, id);
    }

    /// Frees a connection that nobody knows any more.
    pub(super) fn tcp_forget(&mut self, cx: &mut Cx<'_>, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if !connection.is_over() {
            return;
        }
        for stream in &mut connection.streams.0 {
            cx.cancel(&mut stream.arrival);
            cx.cancel(&mut stream.acknowledged_event);
        }
        self.connections.remove(id);
    }

    /// An end forgets the connection and tells the peer.
    pub(in super::super) fn tcp_reset(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side) {
        let connection = &mut self.connections[id];
        connection.streams[side].purge();
        let after = connection.streams[side].not_before;
        self.tcp_send_reset(cx, id, side, after);
        self.tcp_end(cx, id, side);
    }

    /// Sends a RST from the host of `side`, not to arrive before `after`. It is not repeated when it gets lost.
    pub(super) fn tcp_send_reset(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side, after: u64) {
        let link = self.connections[id].ends[side].link;
        if let Fate::Arrives(delay) = self.links.fate(link, Parcel::bare(cx.now)) {
            cx.schedule((cx.now + delay).max(after), NetEvent::Reset(id, side.other()));
        }
    }

    /// A segment has reached a host that knows nothing of its connection: RFC 9293 §3.10.7.1.
    pub(super) fn tcp_refuse_segment(&mut self, cx: &mut Cx<'_>, id: ConnectionId, to: Side) {
        let after = self.connections[id].streams[to].not_before;
        let link = self.connections[id].ends[to].link;
        match self.links.fate(link, Parcel::bare(cx.now)) {
            Fate::Arrives(delay) => {
                cx.schedule((cx.now + delay).max(after), NetEvent::Reset(id, to.other()));
                let stream = &mut self.connections[id].streams[to.other()];
                stream.flight.clear();
                stream.lost = 0;
            }
            Fate::Lost => self.tcp_lost_reset(cx, id, to),
        }
    }

    /// The answer to a segment was lost: its sender will send it again.
    fn tcp_lost_reset(&mut self, cx: &mut Cx<'_>, id: ConnectionId, to: Side) {
        match self.connections[id].ends[to.other()].phase {
            Phase::SynSent => self.tcp_await_syn_retry(cx, id),
            Phase::SynReceived => self.tcp_await_syn_ack_retry(cx, id),
            Phase::Open => self.tcp_swallow(cx, id, to),
            Phase::Absent | Phase::Gone => {}
        }
    }

    /// A RST reaches an end.
    pub(crate) fn tcp_reset_arrives(&mut self, cx: &mut Cx<'_>, id: ConnectionId, to: Side) {
        let Some(connection) = self.connections.get(id) else { return };
        let end = &connection.ends[to];
        if self.stacks[end.host.0 as usize].up {
            self.deliveries.push_back((-1, connection.serial << 1 | to.place() as u64));
            self.tcp_handle_reset(cx, id, to);
        }
    }

    /// `tcp_reset`, net/ipv4/tcp_input.c.
    pub(super) fn tcp_handle_reset(&mut self, cx: &mut Cx<'_>, id: ConnectionId, to: Side) {
        let connection = &mut self.connections[id];
        let (end, incoming) = (&mut connection.ends[to], &mut connection.streams[to.other()]);
        match end.phase {
            Phase::Absent | Phase::Gone => return,
            Phase::SynSent => end.error = ECONNREFUSED,
            Phase::SynReceived => {
                if let Some(listener) = end.listener.take()
                    && let Some(listener) = self.listener(listener)
                {
                    listener.requests.remove(&id);
                }
            }
            Phase::Open if incoming.finished() && !connection.streams[to].fin => end.error = EPIPE,
            Phase::Open => end.error = ECONNRESET,
        }
        let connection = &mut self.connections[id];
        connection.streams[to].purge();
        // What was in flight behind the reset reaches nobody.
        let incoming = &mut connection.streams[to.other()];
        incoming.flight.clear();
        incoming.lost = 0;
        cx.cancel(&mut incoming.arrival);
        let socket = connection.ends[to].socket;
        self.tcp_end(cx, id, to);
        if let Some(socket) = socket {
            self.notify(socket, CHANGE);
        }
    }
}
