//! Keepalive (RFC 1122 §4.2.3.6; `SO_KEEPALIVE` in socket(7), `TCP_KEEPIDLE` and its relatives in tcp(7)).

use super::super::{Cx, NetEvent, Network};
use super::connection::{ConnectionId, Phase, Side};
use libc::ETIMEDOUT;

const NS_PER_S: u64 = 1_000_000_000;

impl Network {
    /// Starts, restarts or stops an end's keepalive timer, as its socket's options say.
    pub(in super::super) fn tcp_start_keepalive(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side) {
        let end = &mut self.connections[id].ends[side];
        cx.cancel(&mut end.keepalive);
        let Some(options) = end.socket.and_then(|socket| self.sockets.get(socket)).map(|s| &s.options) else { return };
        if options.keepalive && end.phase == Phase::Open {
            let at = cx.now.max(end.heard_at + u64::from(options.keepalive_idle_s) * NS_PER_S);
            end.keepalive = Some(cx.schedule(at, NetEvent::Keepalive(id, side)));
        }
    }

    /// `tcp_keepalive_timer`, net/ipv4/tcp_timer.c.
    pub(crate) fn tcp_keepalive(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.ends[side].keepalive = None;
        if connection.ends[side].phase != Phase::Open {
            return;
        }
        self.tcp_take_acknowledgements(cx, id, side);
        let connection = &self.connections[id];
        let (end, stream) = (&connection.ends[side], &connection.streams[side]);
        let Some(socket) = end.socket.and_then(|socket| self.sockets.get(socket)) else { return };
        let options = &socket.options;
        let idle = u64::from(options.keepalive_idle_s) * NS_PER_S;
        let interval = u64::from(options.keepalive_interval_s) * NS_PER_S;
        let unsent = stream.acknowledged < stream.end();
        let silence = cx.now - end.heard_at.min(cx.now);
        // While data is unacknowledged the retransmission timer is in charge.
        let next = if unsent || silence < idle {
            if unsent { cx.now + idle } else { end.heard_at + idle }
        } else {
            let enough = match end.user_timeout_ns {
                0 => end.keepalive_probes >= options.keepalive_probes_max,
                timeout => silence >= timeout && end.keepalive_probes > 0,
            };
            if enough {
                self.tcp_reset_quietly(cx, id, side);
                return;
            }
            self.connections[id].ends[side].keepalive_probes += 1;
            self.tcp_send_probe(cx, id, side);
            cx.now + interval
        };
        self.connections[id].ends[side].keepalive = Some(cx.schedule(next, NetEvent::Keepalive(id, side)));
    }

    /// The peer has not answered: a RST is sent for good measure, and the program hears `ETIMEDOUT`.
    fn tcp_reset_quietly(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side) {
        let after = self.connections[id].streams[side].not_before;
        self.tcp_send_reset(cx, id, side, after);
        self.tcp_abort(cx, id, side, ETIMEDOUT);
    }
}
