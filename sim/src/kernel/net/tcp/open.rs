//! Opening connections: the handshake and its retries (RFC 9293 §3.5; connect(2), tcp(7)).

use super::super::link::{Fate, Parcel};
use super::super::stack::{DeadEnd, Route};
use super::super::{Cx, Endpoint, NetEvent, Network, Socket};
use super::connection::{Both, Connection, ConnectionId, End, Phase, Side, Streamed};
use super::loss::{Expiry, TIMEOUT_NS_MAX};
use super::{CHANGE, Standing, Tcp};
use crate::kernel::entropy::mix;
use crate::kernel::net::ports::Claim;
use libc::ETIMEDOUT;

/// `TCP_TIMEOUT_INIT` (include/net/tcp.h): before a round trip has been measured.
const HANDSHAKE_TIMEOUT_NS: u64 = 1_000_000_000;
/// `tcp_syn_linear_timeouts` and `tcp_syn_retries` (Linux 6.5; networking/ip-sysctl): SYNs after 1, 2, 3, 4, 5, 7, 11,
/// 19, 35 and 67 s, `ETIMEDOUT` after 131 s.
const SYN_LINEAR_TIMEOUTS: u32 = 4;
/// `tcp_syn_retries`: those with doubling timeouts.
const SYN_RETRIES: u32 = 6;
/// `tcp_synack_retries`.
const SYN_ACK_RETRIES: u32 = 5;
/// Bytes of data in a segment: Ethernet's 1,500 less 40 for IPv4 and TCP.
const SEGMENT_BYTES: u64 = 1460;
/// The same on loopback, whose segments Linux makes as long as a datagram can be.
const LOOPBACK_SEGMENT_BYTES: u64 = 65_483;

/// How long after a SYN the next one is sent; `tries` counts those before.
fn syn_timeout_ns(tries: u32) -> u64 {
    (HANDSHAKE_TIMEOUT_NS << tries.saturating_sub(SYN_LINEAR_TIMEOUTS)).min(TIMEOUT_NS_MAX)
}

impl Network {
    /// Sends the first SYN of a connection from a socket that holds its port.
    pub(in super::super) fn tcp_open(
        &mut self,
        cx: &mut Cx<'_>,
        socket: Socket,
        claim: Claim,
        (local, remote): (Endpoint, Endpoint),
        route: Route,
    ) {
        let host = self.sockets[socket].host;
        let peer = match route {
            Route::Host(peer) => peer,
            Route::NameServer | Route::DeadEnd(_) => host,
        };
        let (there, back) = (self.links.between(host, peer), self.links.between(peer, host));
        self.connections_ever += 1;
        let acceptor = Claim { ip: remote.ip, v6_only: false, reuse_address: false, reuse_port: false };
        let side = if local == remote { Side::Itself } else { Side::Opener };
        let connection = Connection {
            serial: self.connections_ever,
            ends: Both([
                End::new(host, local, claim, there, Phase::SynSent),
                End::new(peer, remote, acceptor, back, Phase::Absent),
            ]),
            streams: Both([Streamed::default(), Streamed::default()]),
        };
        let id = self.connections.insert(connection);
        self.tcp_adopt(id, side, socket);
        let state = &mut self.sockets[socket];
        (state.error, state.standing) = (0, Standing::Connecting); // tcp_connect_init, __inet_stream_connect
        let end = &mut self.connections[id].ends[side];
        (end.read_shut, end.write_shut) = (state.read_shut, state.write_shut);
        end.holder = Some(socket);
        self.stacks[host.0 as usize].connections.insert((local, remote), Some((id, side)));
        state.set_tcp(Tcp::Connected { connection: id, side });
        match route {
            Route::Host(_) => self.tcp_send_syn(cx, id),
            // The name server answers datagrams only.
            Route::NameServer => {
                let link = self.links.between(host, host);
                let Fate::Arrives(delay) = self.links.fate(link, Parcel::bare(cx.now)) else { return };
                cx.schedule(cx.now + delay, NetEvent::Reset(id, Side::Opener));
            }
            Route::DeadEnd(end) => {
                cx.schedule(cx.now + end.told_after_ns(), NetEvent::Unreachable(id));
            }
        }
    }

    /// Ties an end to a program's socket and takes over the socket's options.
    pub(super) fn tcp_adopt(&mut self, id: ConnectionId, side: Side, socket: Socket) {
        let loopback = self.links.is_loopback(self.connections[id].ends[side].link);
        let host = self.sockets[socket].host;
        let rarities = self.stack(host).rarities;
        let options = &mut self.sockets[socket].options;
        options.connected(loopback, rarities);
        let segment = if loopback { LOOPBACK_SEGMENT_BYTES } else { SEGMENT_BYTES };
        let end = &mut self.connections[id].ends[side];
        end.socket = Some(socket);
        end.listener = None;
        end.nagle = !options.no_delay;
        end.cork = options.cork;
        end.user_timeout_ns = options.user_timeout_ns();
        end.segment_bytes_max = match options.segment_bytes_max {
            0 => segment,
            asked => segment.min(u64::from(asked)),
        };
        end.send_capacity = u64::from(options.send_buffer);
        end.window = options.window();
        self.tcp_grant_window(id, side);
    }

    /// Tells the peer of `side` the window, as the handshake does.
    pub(super) fn tcp_grant_window(&mut self, id: ConnectionId, side: Side) {
        let connection = &mut self.connections[id];
        let window = connection.ends[side].window;
        let stream = &mut connection.streams[side.other()];
        stream.advertised = stream.advertised.max(stream.read + window);
        stream.edge = stream.edge.max(stream.advertised);
    }

    fn tcp_send_syn(&mut self, cx: &mut Cx<'_>, id: ConnectionId) {
        let end = &mut self.connections[id].ends[Side::Opener];
        end.handshake_at = cx.now;
        match self.links.fate(end.link, Parcel::bare(cx.now)) {
            Fate::Arrives(delay) => {
                cx.schedule(cx.now + delay, NetEvent::Syn(id));
            }
            Fate::Lost => self.tcp_await_syn_retry(cx, id),
        }
    }

    /// A SYN or its answer was lost: the opener will send another.
    pub(super) fn tcp_await_syn_retry(&mut self, cx: &mut Cx<'_>, id: ConnectionId) {
        let end = &mut self.connections[id].ends[Side::Opener];
        if end.phase == Phase::SynSent && end.recovery.alarm.is_none() {
            let at = (end.handshake_at + syn_timeout_ns(end.recovery.backoff)).max(cx.now);
            self.tcp_set_alarm(cx, id, Side::Opener, at, Expiry::Timeout);
        }
    }

    /// The opener's SYN timer fires.
    pub(super) fn tcp_retry_syn(&mut self, cx: &mut Cx<'_>, id: ConnectionId) {
        let end = &mut self.connections[id].ends[Side::Opener];
        let asked = end.socket.map_or(0, |socket| self.sockets[socket].options.syn_retries);
        let retries = if asked == 0 { SYN_RETRIES } else { asked } + SYN_LINEAR_TIMEOUTS;
        if end.recovery.backoff >= retries {
            return self.tcp_abort(cx, id, Side::Opener, ETIMEDOUT);
        }
        end.recovery.backoff += 1;
        end.retransmissions += 1;
        self.tcp_send_syn(cx, id);
    }

    /// A SYN reaches the acceptor's host.
    pub(crate) fn tcp_syn(&mut self, cx: &mut Cx<'_>, id: ConnectionId) {
        let Some(connection) = self.connections.get(id) else { return };
        let (local, remote) = (connection.ends[Side::Acceptor].local, connection.ends[Side::Opener].local);
        let host = connection.ends[Side::Acceptor].host;
        let stack = &self.stacks[host.0 as usize];
        if !stack.up {
            return self.tcp_await_syn_retry(cx, id);
        }
        self.deliveries.push_back((0, connection.serial << 1));
        if local == remote {
            return self.tcp_open_itself(cx, id);
        }
        match connection.ends[Side::Acceptor].phase {
            Phase::SynReceived => return self.tcp_send_syn_ack(cx, id),
            Phase::Open => return self.tcp_acknowledge(cx, id, Side::Acceptor),
            Phase::Gone => return self.tcp_refuse_segment(cx, id, Side::Acceptor),
            Phase::Absent | Phase::SynSent => {}
        }
        if let Some(Some((old, side))) = stack.connections.get(&(local, remote)).copied()
            && old != id
        {
            // RFC 5961 §4: the old connection answers with a challenge, whose RST ends it; the next SYN gets through.
            self.tcp_handle_reset(cx, old, side);
            return self.tcp_await_syn_retry(cx, id);
        }
        let hash = mix(connection.serial);
        let Some(listener) = stack.tcp.listener(local.ip, local.port, hash) else {
            return self.tcp_refuse_segment(cx, id, Side::Acceptor);
        };
        if !self.tcp_request(cx, id, listener) {
            return self.tcp_await_syn_retry(cx, id);
        }
        self.tcp_send_syn_ack(cx, id);
    }

    fn tcp_send_syn_ack(&mut self, cx: &mut Cx<'_>, id: ConnectionId) {
        let end = &mut self.connections[id].ends[Side::Acceptor];
        end.handshake_at = cx.now;
        match self.links.fate(end.link, Parcel::bare(cx.now)) {
            Fate::Arrives(delay) => {
                cx.schedule(cx.now + delay, NetEvent::SynAck(id));
            }
            Fate::Lost => {
                self.tcp_await_syn_ack_retry(cx, id);
                self.tcp_await_syn_retry(cx, id);
            }
        }
    }

    /// The acceptor will hear nothing: it sends its SYN-ACK again.
    pub(super) fn tcp_await_syn_ack_retry(&mut self, cx: &mut Cx<'_>, id: ConnectionId) {
        let end = &mut self.connections[id].ends[Side::Acceptor];
        if end.phase == Phase::SynReceived && end.recovery.alarm.is_none() {
            let timeout = (HANDSHAKE_TIMEOUT_NS << end.recovery.backoff).min(TIMEOUT_NS_MAX);
            let at = (end.handshake_at + timeout).max(cx.now);
            self.tcp_set_alarm(cx, id, Side::Acceptor, at, Expiry::Timeout);
        }
    }

    /// The acceptor's SYN-ACK timer fires.
    pub(super) fn tcp_retry_syn_ack(&mut self, cx: &mut Cx<'_>, id: ConnectionId) {
        let end = &mut self.connections[id].ends[Side::Acceptor];
        if end.recovery.backoff >= SYN_ACK_RETRIES {
            return self.tcp_end(cx, id, Side::Acceptor); // silently: the opener finds out when it sends
        }
        end.recovery.backoff += 1;
        self.tcp_send_syn_ack(cx, id);
        self.tcp_await_syn_ack_retry(cx, id);
    }

    /// A SYN-ACK reaches the opener's host.
    pub(crate) fn tcp_syn_ack(&mut self, cx: &mut Cx<'_>, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let end = &mut connection.ends[Side::Opener];
        if !self.stacks[end.host.0 as usize].up {
            return self.tcp_await_syn_ack_retry(cx, id);
        }
        match end.phase {
            Phase::Gone | Phase::Absent | Phase::SynReceived => {
                return self.tcp_refuse_segment(cx, id, Side::Opener);
            }
            Phase::SynSent => {
                end.greeted(cx);
                self.deliveries.push_back((0, connection.serial << 1 | 1));
                self.tcp_changed(id, Side::Opener);
                self.tcp_start_keepalive(cx, id, Side::Opener);
            }
            Phase::Open => {}
        }
        let link = self.connections[id].ends[Side::Opener].link;
        match self.links.fate(link, Parcel::bare(cx.now)) {
            Fate::Arrives(delay) => {
                let stream = &mut self.connections[id].streams[Side::Opener];
                let at = cx.now + delay;
                if stream.sent == 0 {
                    stream.not_before = at;
                }
                cx.schedule(at, NetEvent::Confirm(id));
            }
            Fate::Lost => self.tcp_await_syn_ack_retry(cx, id),
        }
    }

    /// The SYN of a socket that connects to itself reaches it: RFC 9293 §3.5, simultaneous open.
    fn tcp_open_itself(&mut self, cx: &mut Cx<'_>, id: ConnectionId) {
        let end = &mut self.connections[id].ends[Side::Itself];
        if end.phase == Phase::SynSent {
            end.greeted(cx);
            self.tcp_changed(id, Side::Itself);
            self.tcp_start_keepalive(cx, id, Side::Itself);
            self.tcp_finish_if_shut(cx, id, Side::Itself);
        }
    }

    /// Nobody answers to the address: what ICMP or the neighbour table report.
    pub(crate) fn tcp_unreachable(&mut self, cx: &mut Cx<'_>, id: ConnectionId) {
        let Some(connection) = self.connections.get(id) else { return };
        let (opener, to) = (&connection.ends[Side::Opener], connection.ends[Side::Acceptor].local.ip);
        if opener.phase == Phase::SynSent {
            let end = match self.route(opener.host, to) {
                Route::DeadEnd(end) => end,
                Route::Host(_) | Route::NameServer => DeadEnd::Nobody, // the address is somebody's by now
            };
            self.tcp_abort(cx, id, Side::Opener, end.errno());
        }
    }

    /// An end gives up: the program hears `error`, the peer hears nothing.
    pub(super) fn tcp_abort(&mut self, cx: &mut Cx<'_>, id: ConnectionId, side: Side, error: i32) {
        let connection = &mut self.connections[id];
        connection.ends[side].error = error;
        connection.streams[side].purge();
        let socket = connection.ends[side].socket;
        self.tcp_end(cx, id, side);
        if let Some(socket) = socket {
            self.notify(socket, CHANGE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{SYN_LINEAR_TIMEOUTS, SYN_RETRIES, syn_timeout_ns};

    #[test]
    fn syns_follow_linux_s_schedule() {
        let mut at = 0;
        let mut times = Vec::new();
        for tries in 0..=SYN_LINEAR_TIMEOUTS + SYN_RETRIES {
            at += syn_timeout_ns(tries) / 1_000_000_000;
            times.push(at);
        }
        assert_eq!(times, [1, 2, 3, 4, 5, 7, 11, 19, 35, 67, 131]);
    }
}
