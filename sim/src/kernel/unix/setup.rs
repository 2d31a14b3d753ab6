//! Making, naming, connecting and closing Unix sockets.

use super::name::{Called, Given, Name};
use super::{CHANGE, DATAGRAMS_MAX, Kind, READABLE, State, UnixSocket, WRITABLE};
use crate::kernel::dispatch::Kernel;
use crate::kernel::net::{
    Fail, Network, Protocol, RawAddress, SOCK_TYPE_MASK, Socket, SocketState, options_of_datagrams,
};
use crate::kernel::{FileId, Step, Stop, ThreadId};
use crate::world::HostId;
use libc::{EADDRINUSE, ECONNREFUSED, ECONNRESET, EINVAL, EISCONN, ENOENT, ENOTCONN, EOPNOTSUPP, EPERM, EPROTOTYPE};
use libc::{SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_SEQPACKET, SOCK_STREAM, c_int};

/// User and group of every simulated program.
const USER: u32 = 1000;

/// Who a process is, for `SO_PEERCRED` and `SCM_CREDENTIALS` (unix(7)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Credentials {
    pub(crate) pid: i32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Credentials {
    /// What the end of a stream says (`scm_cookie` as unix_stream_read_generic clears it).
    pub(super) const ZERO: Credentials = Credentials { pid: 0, uid: 0, gid: 0 };
    /// What a message says that its sender has not signed (`scm_recv`, net/core/scm.c: the overflow ids).
    pub(super) const UNSIGNED: Credentials = Credentials { pid: 0, uid: 65_534, gid: 65_534 };
    /// What a socket without a peer answers.
    pub(crate) const NOBODY: Credentials = Credentials { pid: 0, uid: u32::MAX, gid: u32::MAX };

    /// `struct ucred`.
    pub(crate) fn bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&self.pid.to_ne_bytes());
        bytes[4..8].copy_from_slice(&self.uid.to_ne_bytes());
        bytes[8..].copy_from_slice(&self.gid.to_ne_bytes());
        bytes
    }
}

impl Kernel {
    /// The calling process's credentials.
    pub(crate) fn credentials(&self, me: ThreadId) -> Credentials {
        Credentials { pid: self.processes[self.threads[me].process].pid, uid: USER, gid: USER }
    }

    /// socket(2) with `AF_UNIX`.
    pub(crate) fn new_unix_socket(&mut self, me: ThreadId, kind: c_int, protocol: c_int) -> Result<SocketState, Stop> {
        let kind = match kind {
            SOCK_STREAM => Kind::Stream,
            // unix_create: SOCK_RAW means datagrams, for the sake of BSD.
            SOCK_DGRAM | libc::SOCK_RAW => Kind::Datagram,
            SOCK_SEQPACKET => Kind::SeqPacket,
            _ => return Err(Stop::Errno(libc::ESOCKTNOSUPPORT)),
        };
        if protocol != 0 && protocol != libc::AF_UNIX {
            return Err(Stop::Errno(libc::EPROTONOSUPPORT));
        }
        Ok(unix_state(self.host_id(me), kind))
    }

    /// socketpair(2): answers both descriptors.
    pub(crate) fn socket_pair(
        &mut self,
        me: ThreadId,
        domain: c_int,
        kind: c_int,
        protocol: c_int,
    ) -> Result<(c_int, c_int), Stop> {
        let flags = kind & (SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (kind & !flags) & !SOCK_TYPE_MASK != 0 {
            return Err(Stop::Errno(EINVAL));
        }
        match domain {
            libc::AF_UNIX => {}
            libc::AF_INET | libc::AF_INET6 | libc::AF_NETLINK => return Err(Stop::Errno(EOPNOTSUPP)),
            _ => return Err(Stop::Errno(libc::EAFNOSUPPORT)),
        }
        let credentials = self.credentials(me);
        let (one, other) =
            (self.new_unix_socket(me, kind & !flags, protocol)?, self.new_unix_socket(me, kind & !flags, protocol)?);
        let (first, one) = self.open_socket(me, one, flags)?;
        let (second, other) = match self.open_socket(me, other, flags) {
            Ok(opened) => opened,
            Err(stop) => {
                self.close(me, first)?;
                return Err(stop);
            }
        };
        self.net.unix_join(one, other, Some(credentials));
        self.net.unix_join(other, one, Some(credentials));
        Ok((first, second))
    }

    /// bind(2): a name can be given once, and a path is taken as long as its file would be there.
    pub(crate) fn unix_bind(&mut self, me: ThreadId, socket: Socket, address: &RawAddress) -> Step {
        let given = Given::decode(address)?;
        let file = match &given {
            Given::Named(Name::Path(path)) => Some((self.new_socket_file(me, path)?, path.clone())),
            _ => None,
        };
        self.net.unix_bind(socket, given)?;
        if let Some((file, path)) = file {
            self.add_socket_file(me, &file, &path)?;
        }
        Ok(0)
    }

    /// listen(2).
    pub(crate) fn unix_listen(&mut self, me: ThreadId, socket: Socket, backlog: u32) -> Step {
        let credentials = self.credentials(me);
        let unix = self.net.unix_socket_mut(socket).ok_or(EINVAL)?;
        if !unix.kind.connects() {
            return Err(Stop::Errno(EOPNOTSUPP));
        }
        if unix.name.get().is_none() || unix.state == State::Connected {
            return Err(Stop::Errno(EINVAL));
        }
        unix.state = State::Listening;
        let wider = backlog as usize > unix.backlog;
        unix.backlog = backlog as usize;
        unix.peer_credentials = Some(credentials);
        if wider {
            self.network(|net, _| net.unix_wake_waiting(socket));
        }
        Ok(0)
    }

    /// accept(2).
    pub(crate) fn unix_accept(
        &mut self,
        me: ThreadId,
        (file, socket): (FileId, Socket),
        flags: c_int,
        address: &mut RawAddress,
    ) -> Step {
        let unix = self.net.unix_socket(socket).ok_or(EINVAL)?;
        if !unix.kind.connects() {
            return Err(Stop::Errno(EOPNOTSUPP));
        }
        if unix.state != State::Listening {
            return Err(Stop::Errno(EINVAL));
        }
        let Some(child) = unix.pending.front().copied() else {
            let shut = unix.read_shut;
            let wait = self.receive_waiting(file, socket, 0);
            // Only who would wait learns that nothing will come (`__skb_wait_for_more_packets`, net/core/datagram.c).
            if shut && !wait.never {
                return Err(Stop::Errno(EINVAL));
            }
            return Err(self.stop(me, file, Fail::Wait(READABLE), wait));
        };
        let fd = self.open_existing_socket(me, child, flags)?;
        self.network(|net, _| net.unix_accepted(socket));
        *address = self.net.unix_socket(child).map_or_else(RawAddress::empty, |c| Name::encode(c.peer_name.get()));
        self.log.returned(address.bytes());
        Ok(i64::from(fd))
    }

    /// connect(2).
    pub(crate) fn unix_connect(
        &mut self,
        me: ThreadId,
        (file, socket): (FileId, Socket),
        address: &RawAddress,
    ) -> Step {
        let given = Given::decode(address)?;
        if let Given::Named(_) = given {
            self.net.unix_autobind(socket);
        }
        let given = self.unix_destination(me, given)?;
        let credentials = self.credentials(me);
        let wait = self.send_waiting(file, socket, 0);
        match self.network(|net, _| net.unix_connect(socket, given, credentials)) {
            Ok(()) => Ok(0),
            Err(fail) => Err(self.stop(me, file, fail, wait)),
        }
    }

    /// Whom an address names: a path, however it leads to a socket, becomes the one that the socket was bound to.
    pub(super) fn unix_destination(&self, me: ThreadId, given: Given) -> Result<Given, Stop> {
        Ok(match given {
            Given::Named(Name::Path(path)) => Given::Named(Name::Path(self.socket_file(me, &path)?)),
            other => other,
        })
    }

    /// A host has lost power: no path leads to a socket any more.
    pub(crate) fn unix_forget_paths(&mut self, host: HostId) {
        self.net.unix.names.retain(|(of, name, _), _| *of != host || !matches!(name, Name::Path(_)));
    }

    /// What unlink(2) does to a socket's path.
    pub(crate) fn unix_unlink(&mut self, host: HostId, path: &[u8]) {
        self.net.unix.names.remove(&(host, Name::Path(path.to_vec()), None));
    }
}

/// Under what a name is looked up.
fn key(host: HostId, name: &Name, kind: Kind) -> (HostId, Name, Option<Kind>) {
    (host, name.clone(), matches!(name, Name::Abstract(_)).then_some(kind))
}

fn unix_state(host: HostId, kind: Kind) -> SocketState {
    let protocol = Protocol::Unix(Box::new(UnixSocket::new(kind)));
    SocketState::new(host, crate::kernel::net::Family::V4, options_of_datagrams(), protocol)
}

impl Network {
    /// Makes `peer` the other end of a socket.
    fn unix_join(&mut self, socket: Socket, peer: Socket, credentials: Option<Credentials>) {
        let Some(other) = self.unix_socket_mut(peer) else { return };
        if !other.kind.connects() {
            other.connected_from.insert(socket);
        }
        let name = other.name.clone();
        let Some(unix) = self.unix_socket_mut(socket) else { return };
        unix.peer = Some(peer);
        unix.peer_name = name;
        unix.peer_credentials = credentials.or(unix.peer_credentials);
        if unix.kind.connects() {
            unix.state = State::Connected;
        }
    }

    fn unix_bind(&mut self, socket: Socket, given: Given) -> Result<(), i32> {
        let host = self.sockets[socket].host;
        let unix = self.unix_socket(socket).ok_or(EINVAL)?;
        let (kind, named) = (unix.kind, unix.name.get().is_some());
        let name = match given {
            Given::Unspecified => return Err(EINVAL),
            // unix_autobind: whoever has a name keeps it.
            Given::Nameless if named => return Ok(()),
            Given::Named(_) if named => return Err(EINVAL),
            Given::Named(name) if self.unix.names.contains_key(&key(host, &name, kind)) => return Err(EADDRINUSE),
            Given::Named(name) => name,
            Given::Nameless => self.unix_free_name(host, kind),
        };
        self.unix.names.insert(key(host, &name, kind), Some(socket));
        if let Some(unix) = self.unix_socket(socket) {
            unix.name.give(name);
        }
        Ok(())
    }

    /// A name that nobody has: five hexadecimal digits. Linux starts anywhere, we at the beginning.
    fn unix_free_name(&mut self, host: HostId, kind: Kind) -> Name {
        loop {
            self.unix.named_ever += 1;
            let name = Name::Abstract(format!("{:05x}", self.unix.named_ever & 0xf_ffff).into_bytes());
            if !self.unix.names.contains_key(&key(host, &name, kind)) {
                return name;
            }
        }
    }

    /// Who wants credentials gets a name when it first connects or sends (unix(7), "Autobind feature").
    pub(super) fn unix_autobind(&mut self, socket: Socket) {
        if self.sockets[socket].options.pass_credentials {
            let named = self.unix_bind(socket, Given::Nameless);
            debug_assert!(named.is_ok());
        }
    }

    /// The socket of a name (`unix_find_other`).
    pub(super) fn unix_find(&self, host: HostId, name: &Name, kind: Kind) -> Result<Socket, i32> {
        let found = match (self.unix.names.get(&key(host, name, kind)), name) {
            (Some(Some(found)), _) => *found,
            (Some(None), _) | (None, Name::Abstract(_)) => return Err(ECONNREFUSED),
            (None, Name::Path(_)) => return Err(ENOENT),
        };
        match self.unix_socket(found) {
            Some(unix) if unix.kind == kind => Ok(found),
            Some(_) => Err(EPROTOTYPE),
            None => Err(ECONNREFUSED),
        }
    }

    fn unix_connect(&mut self, socket: Socket, given: Given, credentials: Credentials) -> Result<(), Fail> {
        let host = self.sockets[socket].host;
        let unix = self.unix_socket(socket).ok_or(EINVAL)?;
        let kind = unix.kind;
        let name = match given {
            Given::Named(name) => name,
            Given::Unspecified if kind == Kind::Datagram => {
                self.unix_part(socket, None);
                return Ok(());
            }
            Given::Unspecified | Given::Nameless => return Err(Fail::Errno(EINVAL)),
        };
        let found = self.unix_find(host, &name, kind)?;
        if kind == Kind::Datagram {
            if !self.unix_may_send(socket, found) {
                return Err(Fail::Errno(EPERM));
            }
            self.unix_part(socket, Some(found));
            self.unix_join(socket, found, None);
            return Ok(());
        }
        let state = self.unix_socket(socket).map(|unix| unix.state);
        let listener = self.unix_socket(found).filter(|l| l.state == State::Listening && !l.read_shut);
        let Some(listener) = listener else { return Err(Fail::Errno(ECONNREFUSED)) };
        if listener.pending.len() > listener.backlog {
            if let Some(listener) = self.unix_socket_mut(found) {
                listener.waiting.insert(socket);
            }
            return Err(Fail::Wait(WRITABLE));
        }
        match state {
            Some(State::Idle) => {}
            Some(State::Connected) => return Err(Fail::Errno(EISCONN)),
            Some(State::Listening) | None => return Err(Fail::Errno(EINVAL)),
        }
        let (listener_name, listener_credentials) = (listener.name.clone(), listener.peer_credentials);
        let mut child = unix_state(host, kind);
        child.options.pass_credentials = self.sockets[found].options.pass_credentials;
        let child = self.new_socket(child);
        if let Some(unix) = self.unix_socket_mut(child) {
            unix.name = listener_name;
        }
        self.unix_join(child, socket, Some(credentials));
        self.unix_join(socket, child, listener_credentials);
        if let Some(listener) = self.unix_socket_mut(found) {
            listener.pending.push_back(child);
        }
        self.notify(found, READABLE);
        Ok(())
    }

    /// The first pending connection has been accepted.
    fn unix_accepted(&mut self, listener: Socket) {
        let Some(unix) = self.unix_socket_mut(listener) else { return };
        unix.pending.pop_front();
        self.unix_wake_waiting(listener);
    }

    /// Whoever found a queue full tries again: `peer_wait`.
    pub(super) fn unix_wake_waiting(&mut self, socket: Socket) {
        let Some(unix) = self.unix_socket_mut(socket) else { return };
        let waiting = std::mem::take(&mut unix.waiting);
        waiting.into_iter().for_each(|socket| self.notify(socket, CHANGE));
    }

    /// `unix_may_send`: a datagram socket that is connected hears only its peer.
    pub(super) fn unix_may_send(&self, from: Socket, to: Socket) -> bool {
        self.unix_socket(to).is_some_and(|to| to.peer.is_none_or(|peer| peer == from))
    }

    /// Dissolves a datagram socket's association, for a new one if there is one (`unix_dgram_connect`). What it has
    /// not read is lost then, and if something is, the old peer hears of it when it was connected back
    /// (`unix_dgram_disconnected`).
    pub(super) fn unix_part(&mut self, socket: Socket, new: Option<Socket>) {
        let Some(unix) = self.unix_socket_mut(socket) else { return };
        let Some(old) = unix.peer.take() else { return };
        unix.peer_name = Called::default();
        if let Some(old) = self.unix_socket_mut(old) {
            old.connected_from.remove(&socket);
        }
        self.notify(socket, WRITABLE); // unix_dgram_peer_wake_disconnect_wakeup
        if new == Some(old) {
            return;
        }
        let queue = self.unix_socket_mut(socket).map(|unix| std::mem::take(&mut unix.queue)).unwrap_or_default();
        if queue.is_empty() {
            return;
        }
        queue.into_iter().for_each(|packet| self.unix_drop(packet));
        self.unix_wake_waiting(socket);
        self.unix_wake_connected(socket);
        if self.unix_socket(old).is_some_and(|unix| unix.peer == Some(socket)) {
            self.sockets[old].error = ECONNRESET;
            self.notify(old, CHANGE);
        }
    }

    /// A full queue of datagrams has room again.
    pub(super) fn unix_wake_connected(&mut self, socket: Socket) {
        let Some(unix) = self.unix_socket(socket) else { return };
        let connected: Vec<Socket> = unix.connected_from.iter().copied().collect();
        connected.into_iter().for_each(|socket| self.notify(socket, WRITABLE));
    }

    /// getpeername(2).
    pub(crate) fn unix_peer_name(&self, unix: &UnixSocket) -> Result<RawAddress, i32> {
        match unix.peer {
            Some(_) => Ok(Name::encode(unix.peer_name.get())),
            None => Err(ENOTCONN),
        }
    }

    /// shutdown(2): the peer's opposite direction ends with it.
    pub(crate) fn unix_shutdown(&mut self, socket: Socket, reading: bool, writing: bool) -> Result<(), i32> {
        let unix = self.unix_socket_mut(socket).ok_or(EINVAL)?;
        unix.read_shut |= reading;
        unix.write_shut |= writing;
        let peer = unix.peer.filter(|_| unix.kind.connects());
        if let Some(peer) = peer
            && let Some(unix) = self.unix_socket_mut(peer)
        {
            unix.read_shut |= writing;
            unix.write_shut |= reading;
            self.notify(peer, CHANGE);
        }
        self.notify(socket, CHANGE);
        Ok(())
    }

    /// The last descriptor is closed: `unix_release_sock`.
    pub(crate) fn unix_close(&mut self, socket: Socket) {
        let host = self.sockets[socket].host;
        let Some(unix) = self.unix_socket_mut(socket) else { return };
        // An empty packet at the front does not count: to Linux it looks like an urgent byte that was read.
        let unread = unix.queue.len() > unix.queue.front().map_or(0, |first| usize::from(first.len() == 0));
        let full = unix.queue.len() > DATAGRAMS_MAX;
        let (queue, pending) = (std::mem::take(&mut unix.queue), std::mem::take(&mut unix.pending));
        let (peer, name, kind) = (unix.peer.take(), unix.name.clone(), unix.kind);
        if let Some(name) = name.get() {
            self.unix_release_name(socket, key(host, name, kind));
        }
        self.unix_wake_waiting(socket);
        if full {
            self.unix_wake_connected(socket);
        }
        // A datagram peer learns of it when it sends.
        if let Some(peer) = peer.filter(|_| kind.connects()) {
            self.unix_peer_closed(peer, unread);
        } else if let Some(peer) = peer.and_then(|peer| self.unix_socket_mut(peer)) {
            peer.connected_from.remove(&socket);
        }
        queue.into_iter().for_each(|packet| self.unix_drop(packet));
        pending.into_iter().for_each(|child| self.unix_close_child(child));
    }

    /// A name is free again; a path only when its file is gone. A child of a listener shares its name, which is the
    /// listener's.
    fn unix_release_name(&mut self, socket: Socket, key: (HostId, Name, Option<Kind>)) {
        let Some(holder) = self.unix.names.get_mut(&key) else { return };
        if *holder != Some(socket) {
            return;
        }
        if let Name::Path(_) = key.1 {
            *holder = None;
        } else {
            self.unix.names.remove(&key);
        }
    }

    fn unix_peer_closed(&mut self, peer: Socket, unread: bool) {
        let Some(unix) = self.unix_socket_mut(peer) else { return };
        (unix.read_shut, unix.write_shut) = (true, true);
        if unread {
            self.sockets[peer].error = ECONNRESET;
        }
        self.notify(peer, CHANGE);
    }

    /// A connection that nobody has accepted ends with its listener.
    fn unix_close_child(&mut self, child: Socket) {
        let peer = self.unix_socket(child).and_then(|unix| unix.peer);
        let host = self.sockets[child].host;
        self.unix_close(child);
        if let Some(peer) = peer {
            self.unix_peer_closed(peer, true);
        }
        self.sockets.remove(child);
        self.stack(host).sockets.remove(&child);
    }

    /// Whether a datagram socket's queue is full for a sender that it is not connected to.
    pub(super) fn unix_queue_is_full(&self, to: Socket, from: Socket) -> bool {
        let full = |to: &UnixSocket| to.peer != Some(from) && to.queue.len() > DATAGRAMS_MAX;
        to != from && self.unix_socket(to).is_some_and(full)
    }
}
