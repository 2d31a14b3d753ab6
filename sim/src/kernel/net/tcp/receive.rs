//! Receiving: segments arrive, programs read.

use super::super::{Cx, Fail, Network};
use super::connection::{ConnectionId, Phase, Side};
use super::{CHANGE, DATA};
use crate::abi::user::Out;
use libc::{ECONNRESET, c_int};

impl Network {
    /// Segments reach the host of `to`.
    pub(crate) fn tcp_arrival(&mut self, cx: &mut Cx<'_>, id: ConnectionId, to: Side) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.streams[to.other()].arrival = None;
        let end = &connection.ends[to];
        if !self.stacks[end.host.0 as usize].up {
            return self.tcp_swallow(cx, id, to);
        }
        match end.phase {
            Phase::Open => {}
            Phase::SynReceived => {
                // A segment with data acknowledges the SYN-ACK, too.
                if !self.tcp_establish(cx, id, true) {
                    return self.tcp_swallow(cx, id, to);
                }
            }
            Phase::Gone | Phase::Absent | Phase::SynSent => return self.tcp_refuse_segment(cx, id, to),
        }
        let connection = &mut self.connections[id];
        let (end, stream) = (&mut connection.ends[to], &mut connection.streams[to.other()]);
        let (arrived, before, finished_before) =
            (stream.arrived, stream.arrived.min(stream.written), stream.finished());
        while let Some(first) = stream.flight.front()
            && first.at <= cx.now
        {
            if stream.arrived == arrived {
                stream.arrived_sent_at = first.sent_at;
            }
            stream.arrived = first.end;
            stream.flight.pop_front();
        }
        let bytes = stream.arrived.min(stream.written) - before;
        let finished = stream.finished() && !finished_before;
        end.heard_at = cx.now;
        end.keepalive_probes = 0;
        self.deliveries.push_back((bytes as i64, connection.serial << 1 | to.place() as u64));
        if bytes > 0 && end.orphaned() {
            // RFC 1122 §4.2.2.13 and `tcp_rcv_state_process`: data for a closed socket is answered with RST. The data
            // is never acknowledged, so its sender repeats it until a RST gets through.
            self.tcp_reset(cx, id, to);
            if self.connections.get(id).is_some() {
                self.tcp_arm(cx, id, to.other());
            }
            return;
        }
        let refused = end.read_shut && bytes > 0 && connection.streams[to].fin;
        let socket = connection.ends[to].socket;
        if refused {
            // The same for an end that has been shut in both directions, and the data is not to be read.
            connection.ends[to].error = ECONNRESET;
            connection.streams[to.other()].arrived = arrived;
            self.tcp_reset(cx, id, to);
            if let Some(socket) = socket {
                self.notify(socket, CHANGE);
            }
            return;
        }
        if let Some(socket) = socket {
            self.notify(socket, if finished { CHANGE } else { DATA });
        }
        self.tcp_acknowledge(cx, id, to);
        self.tcp_schedule_arrival(cx, id, to.other());
        if finished {
            self.tcp_fin_arrived(cx, id, to);
        }
    }

    /// Reads what has arrived: `tcp_recvmsg_locked`, net/ipv4/tcp.c. Answers how many bytes were put at `offset`; zero
    /// is the end of the stream.
    pub(in super::super) fn tcp_read(
        &mut self,
        cx: &mut Cx<'_>,
        (id, side): (ConnectionId, Side),
        (out, offset, count): (&mut Out<'_>, usize, usize),
        flags: c_int,
    ) -> Result<usize, Fail> {
        let connection = &mut self.connections[id];
        let (end, stream) = (&mut connection.ends[side], &mut connection.streams[side.other()]);
        let readable = stream.readable();
        if readable > 0 {
            let count = count.min(readable);
            // recv(2), tcp(7): MSG_TRUNC on a stream throws bytes away.
            if flags & libc::MSG_TRUNC == 0 {
                stream.peek(out, offset, count, cx.log);
            }
            if flags & libc::MSG_PEEK == 0 {
                stream.consume(count);
                if stream.window_update_due(end.window) && end.phase == Phase::Open {
                    self.tcp_acknowledge(cx, id, side);
                }
            }
            return Ok(count);
        }
        if stream.finished() {
            return Ok(0);
        }
        if end.error != 0 {
            return Err(Fail::Errno(std::mem::take(&mut end.error)));
        }
        if end.read_shut || end.phase == Phase::Gone {
            return Ok(0);
        }
        Err(Fail::Wait(DATA))
    }
}
