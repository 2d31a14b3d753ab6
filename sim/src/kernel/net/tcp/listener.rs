//! Listening: requests, the accept queue, and what happens when it is full (listen(2), accept(2)).

use super::super::options::Options;
use super::super::ports::Claim;
use super::super::socket::Protocol;
use super::super::{Cx, Network, Socket};
use super::connection::{ConnectionId, Phase, Side};
use super::{DATA, Standing, Tcp};
use std::collections::{BTreeSet, VecDeque};

/// `somaxconn` (listen(2)).
pub(crate) const BACKLOG_MAX: u32 = 4096;

/// What a listening socket has.
pub(crate) struct Listener {
    /// Established connections that nobody has accepted, each with the options that the listener had when it came: what
    /// is set later is for later ones (`sk_clone`, net/core/sock.c).
    pub(crate) queue: VecDeque<(ConnectionId, Options)>,
    /// Connections whose handshake is under way.
    pub(crate) requests: BTreeSet<ConnectionId>,
    /// As given to `listen`, at most [`BACKLOG_MAX`].
    pub(crate) backlog: u32,
}

impl Listener {
    /// A listener with an empty queue.
    pub(crate) fn new(backlog: u32) -> Listener {
        Listener { queue: VecDeque::new(), requests: BTreeSet::new(), backlog }
    }

    /// `sk_acceptq_is_full` (include/net/sock.h): one more than the backlog fits.
    fn is_full(&self) -> bool {
        self.queue.len() > self.backlog as usize
    }
}

impl Network {
    /// The listener behind a socket.
    pub(super) fn listener(&mut self, socket: Socket) -> Option<&mut Listener> {
        match self.sockets.get_mut(socket)?.tcp_mut()? {
            Tcp::Listening(listener) => Some(listener),
            Tcp::Closed | Tcp::Connected { .. } => None,
        }
    }

    /// A listener gets a SYN; false when its queue is full and the SYN is dropped (`tcp_conn_request`,
    /// net/ipv4/tcp_input.c).
    pub(super) fn tcp_request(&mut self, cx: &mut Cx<'_>, id: ConnectionId, listener: Socket) -> bool {
        let options = &self.sockets[listener].options;
        let (v6_only, reuse_address, reuse_port) = (options.v6_only, options.reuse_address, options.reuse_port);
        let window = options.window();
        let shut = (self.sockets[listener].read_shut, self.sockets[listener].write_shut);
        let Some(state) = self.listener(listener) else { return false };
        if state.is_full() {
            return false;
        }
        state.requests.insert(id);
        let connection = &mut self.connections[id];
        let remote = connection.ends[Side::Opener].local;
        let end = &mut connection.ends[Side::Acceptor];
        let claim = Claim { ip: end.local.ip, v6_only, reuse_address, reuse_port };
        end.phase = Phase::SynReceived;
        (end.read_shut, end.write_shut) = shut; // sk_clone (net/core/sock.c) copies it
        end.listener = Some(listener);
        end.claim = claim;
        end.window = window;
        end.heard_at = cx.now;
        let (host, local) = (end.host, end.local);
        let stack = &mut self.stacks[host.0 as usize];
        stack.connections.insert((local, remote), Some((id, Side::Acceptor)));
        stack.tcp.add_connection(local.port, claim);
        self.tcp_grant_window(id, Side::Acceptor);
        true
    }

    /// The handshake's last ACK arrives.
    pub(crate) fn tcp_confirm(&mut self, cx: &mut Cx<'_>, id: ConnectionId) {
        let Some(connection) = self.connections.get(id) else { return };
        let end = &connection.ends[Side::Acceptor];
        if !self.stacks[end.host.0 as usize].up {
            return;
        }
        match end.phase {
            Phase::SynReceived => {
                self.tcp_establish(cx, id, false);
            }
            Phase::Gone | Phase::Absent => self.tcp_refuse_segment(cx, id, Side::Acceptor),
            Phase::Open | Phase::SynSent => {}
        }
    }

    /// A request becomes a connection, unless the accept queue is full, or the listener wants data first
    /// (`TCP_DEFER_ACCEPT`): then the ACK is ignored and the SYN-ACK will be sent again (`tcp_check_req`,
    /// net/ipv4/tcp_minisocks.c).
    pub(super) fn tcp_establish(&mut self, cx: &mut Cx<'_>, id: ConnectionId, with_data: bool) -> bool {
        let Some(listener) = self.connections[id].ends[Side::Acceptor].listener else { return false };
        let tried = self.connections[id].ends[Side::Acceptor].recovery.backoff > 0;
        let state = &mut self.sockets[listener];
        let deferred = state.options.defer_accept_s > 0 && !with_data;
        let Protocol::Tcp(Tcp::Listening(queue)) = &mut state.protocol else { return false };
        if queue.is_full() || deferred && !tried {
            self.tcp_await_syn_ack_retry(cx, id);
            return false;
        }
        queue.requests.remove(&id);
        queue.queue.push_back((id, state.options.clone()));
        let connection = &mut self.connections[id];
        let end = &mut connection.ends[Side::Acceptor];
        end.greeted(cx);
        self.deliveries.push_back((0, connection.serial << 1));
        self.notify(listener, DATA);
        self.tcp_finish_if_shut(cx, id, Side::Acceptor);
        true
    }

    /// Takes the oldest connection off the accept queue.
    pub(in super::super) fn tcp_accept(&mut self, listener: Socket) -> Option<(ConnectionId, Options)> {
        self.listener(listener)?.queue.pop_front()
    }

    /// Makes an accepted connection a socket's own.
    pub(in super::super) fn tcp_accepted(&mut self, cx: &mut Cx<'_>, id: ConnectionId, socket: Socket) {
        self.tcp_adopt(id, Side::Acceptor, socket);
        let local = self.connections[id].ends[Side::Acceptor].local;
        let state = &mut self.sockets[socket];
        state.local = local;
        state.standing = Standing::Connected;
        state.set_tcp(Tcp::Connected { connection: id, side: Side::Acceptor });
        self.tcp_start_keepalive(cx, id, Side::Acceptor);
    }

    /// A listener closes: requests are forgotten, connections that nobody accepted are reset (`inet_csk_listen_stop`,
    /// net/ipv4/inet_connection_sock.c).
    pub(in super::super) fn tcp_stop_listening(&mut self, cx: &mut Cx<'_>, socket: Socket) {
        let Some(listener) = self.listener(socket) else { return };
        let (requests, queue) = (std::mem::take(&mut listener.requests), std::mem::take(&mut listener.queue));
        for id in requests {
            if self.connections.get(id).is_some() {
                self.connections[id].ends[Side::Acceptor].listener = None;
                self.tcp_end(cx, id, Side::Acceptor);
            }
        }
        for (id, _) in queue {
            self.connections[id].ends[Side::Acceptor].listener = None;
            if self.connections[id].ends[Side::Acceptor].phase == Phase::Open {
                self.tcp_reset(cx, id, Side::Acceptor);
            } else {
                self.tcp_forget(cx, id);
            }
        }
    }
}
