//! The kernel's side of the network: entering it, and passing on what it left behind.

use super::link::{Draws, Harm};
use super::names::Patience;
use super::socket::Protocol;
use super::tcp::{ConnectionId, Phase, Side, Tcp};
use super::{Cx, Fail, NetEvent, Network, Socket};
use crate::kernel::dispatch::Kernel;
use crate::kernel::event::What;
use crate::kernel::file::{FileId, Kind};
use crate::kernel::thread::Woken;
use crate::kernel::{Step, Stop, ThreadId};
use crate::weather::Links;
use crate::world::{FaultId, HostId};
use libc::{EAGAIN, ENOTSOCK, c_int};

impl Kernel {
    /// Enters the network, and afterwards tells everybody concerned.
    #[inline]
    pub(crate) fn network<R>(&mut self, f: impl FnOnce(&mut Network, &mut Cx<'_>) -> R) -> R {
        let mut cx = Cx { now: self.now, timers: &mut self.timers, log: &mut self.log };
        let result = f(&mut self.net, &mut cx);
        self.settle_network();
        result
    }

    #[inline]
    fn settle_network(&mut self) {
        while let Some((value, identity)) = self.net.deliveries.pop_front() {
            self.record(0, What::Deliver, value, identity);
        }
        while let Some((socket, bits)) = self.net.notices.pop_front() {
            if let Some(file) = self.net.sockets.get(socket).and_then(|state| state.file) {
                self.notify(file, bits);
            }
        }
        while let Some(thread) = self.net.lingered.pop() {
            self.wake(thread, Woken::Event);
        }
        while let Some(file) = self.net.released.pop() {
            self.release_file(file);
        }
    }

    /// A future event of the network has come.
    pub(crate) fn net_event(&mut self, event: NetEvent) {
        self.network(|net, cx| net.happen(cx, event));
    }

    /// The socket behind a descriptor, and its file description.
    ///
    /// # Errors
    /// `EBADF`, `ENOTSOCK`.
    pub(crate) fn socket_of(&self, me: ThreadId, fd: c_int) -> Result<(FileId, Socket), Stop> {
        let id = self.raw_file(me, fd)?;
        let file = &self.files[id];
        match &file.kind {
            // No socket is opened with `O_PATH`.
            Kind::Socket(socket) if self.net.sockets.get(*socket).is_some() => Ok((id, *socket)),
            _ if file.flags & libc::O_PATH != 0 => Err(Stop::Errno(libc::EBADF)),
            _ => Err(Stop::Errno(ENOTSOCK)),
        }
    }

    /// The socket that a file description is.
    pub(crate) fn socket_in(&self, file: FileId) -> Result<Socket, Stop> {
        match &self.files[file].kind {
            Kind::Socket(socket) if self.net.sockets.get(*socket).is_some() => Ok(*socket),
            _ => Err(Stop::Errno(ENOTSOCK)),
        }
    }

    /// Turns a failure of the network into the call's answer: waiting, unless that is not wanted or over.
    pub(crate) fn stop(&mut self, me: ThreadId, file: FileId, fail: Fail, wait: Waiting) -> Stop {
        match fail {
            Fail::Errno(errno) => Stop::Errno(errno),
            Fail::Wait(_) if wait.never => Stop::Errno(EAGAIN),
            Fail::Wait(bits) => {
                let at = wait.timeout_ns.map(|timeout| self.after(me, timeout));
                self.deadline(me, at);
                if self.expired(me) {
                    return Stop::Errno(EAGAIN);
                }
                self.wait_for_file(me, file, bits)
            }
        }
    }

    /// As [`Kernel::stop`], for a call that has done this much: that counts when it may not wait any longer.
    pub(crate) fn stop_after(&mut self, me: ThreadId, file: FileId, fail: Fail, wait: Waiting, done: u64) -> Step {
        match self.stop(me, file, fail, wait) {
            Stop::Errno(EAGAIN) if done > 0 => Ok(done as i64),
            stop => Err(stop),
        }
    }

    /// Whether and how long a call on a file may wait to receive.
    pub(crate) fn receive_waiting(&self, file: FileId, socket: Socket, flags: c_int) -> Waiting {
        let never = flags & libc::MSG_DONTWAIT != 0 || self.files[file].nonblocking();
        Waiting { never, timeout_ns: self.net.sockets[socket].options.receive_timeout_ns }
    }

    /// Whether and how long a call on a file may wait to send.
    pub(crate) fn send_waiting(&self, file: FileId, socket: Socket, flags: c_int) -> Waiting {
        let never = flags & libc::MSG_DONTWAIT != 0 || self.files[file].nonblocking();
        Waiting { never, timeout_ns: self.net.sockets[socket].options.send_timeout_ns }
    }

    /// What a socket is ready for.
    #[inline]
    pub(crate) fn socket_readiness(&self, file: FileId) -> u32 {
        match &self.files[file].kind {
            Kind::Socket(socket) => self.net.readiness(*socket),
            _ => 0,
        }
    }

    /// `FIONREAD`: bytes that one read could give.
    ///
    /// # Errors
    /// `EINVAL` for a listener (`tcp_ioctl`).
    pub(crate) fn socket_available(&self, file: FileId) -> Result<usize, Stop> {
        let socket = self.socket_in(file)?;
        match &self.net.sockets[socket].protocol {
            Protocol::Tcp(Tcp::Closed) => Ok(0),
            Protocol::Tcp(Tcp::Listening(_)) => Err(Stop::Errno(libc::EINVAL)),
            Protocol::Tcp(Tcp::Connected { connection, side, .. }) => {
                Ok(self.net.connections[*connection].streams[side.other()].readable())
            }
            Protocol::Udp(udp) => Ok(udp.first_bytes()),
            Protocol::Unix(unix) => Ok(unix.available()?),
            Protocol::Netlink(_) => Err(Stop::Errno(libc::ENOTTY)),
        }
    }

    /// `TIOCOUTQ`: bytes that the peer has not acknowledged.
    pub(crate) fn socket_unsent(&self, me: ThreadId, fd: c_int) -> Step {
        let (_, socket) = self.socket_of(me, fd)?;
        match &self.net.sockets[socket].protocol {
            Protocol::Tcp(Tcp::Connected { connection, side, .. }) => {
                let connection = &self.net.connections[*connection];
                let (end, stream) = (&connection.ends[*side], &connection.streams[*side]);
                Ok(match end.phase {
                    Phase::SynSent | Phase::SynReceived => 0,
                    // A SYN that was refused has never been acknowledged, and nobody has granted a window.
                    Phase::Gone if *side == Side::Opener && stream.edge == 0 => 1,
                    Phase::Absent | Phase::Open | Phase::Gone => stream.queued() as i64,
                })
            }
            Protocol::Tcp(Tcp::Listening(_)) => Err(Stop::Errno(libc::EINVAL)),
            Protocol::Unix(unix) => Ok(unix.unread() as i64),
            Protocol::Netlink(_) => Err(Stop::Errno(libc::ENOTTY)),
            Protocol::Tcp(Tcp::Closed) | Protocol::Udp(_) => Ok(0),
        }
    }

    /// What close(2) will linger over, and for how many seconds: this is the last reference to a TCP socket that has
    /// been told to (`SO_LINGER` in socket(7)).
    pub(crate) fn lingering(&self, file: FileId) -> Option<(ConnectionId, Side, u32)> {
        let file = self.files.get(file).filter(|file| file.references == 1)?;
        let Kind::Socket(socket) = file.kind else { return None };
        let state = self.net.sockets.get(socket)?;
        let seconds = state.options.linger_s.filter(|seconds| *seconds > 0)?;
        match state.protocol {
            Protocol::Tcp(Tcp::Connected { connection, side }) => Some((connection, side, seconds)),
            _ => None,
        }
    }

    /// Waits until the peer has acknowledged all that was written, and the end: `sk_stream_wait_close`,
    /// net/core/stream.c.
    pub(crate) fn linger(&mut self, me: ThreadId) -> Step {
        let Some((connection, side)) = self.threads[me].progress.lingers else { return Ok(0) };
        let closing = self.network(|net, cx| net.tcp_linger(cx, connection, side, me));
        if closing && !self.expired(me) { Err(Stop::Block) } else { Ok(0) }
    }

    /// The last descriptor of a socket is closed.
    pub(crate) fn close_socket(&mut self, file: FileId) {
        let Ok(socket) = self.socket_in(file) else { return };
        let unix = matches!(self.net.sockets[socket].protocol, Protocol::Unix(_));
        self.network(|net, cx| net.close_socket(cx, socket));
        if unix {
            self.unix_collect();
        }
    }

    /// The name server keeps silent, for so long or for ever (0): resolv.conf(5) has it asked twice, for five seconds
    /// each. It may answer by then.
    pub(crate) fn await_name_server(&mut self, me: ThreadId, patience: &mut Patience, late_ns: u64) -> Step {
        const ATTEMPTS: u32 = 2;
        const TIMEOUT_NS: u64 = 5_000_000_000;
        if patience.until.is_none_or(|at| at <= self.now) {
            if patience.attempts == ATTEMPTS {
                return Ok(i64::from(libc::EAI_AGAIN));
            }
            patience.attempts += 1;
            patience.until = Some(self.after(me, TIMEOUT_NS));
        }
        if late_ns > 0 && patience.told.is_none() {
            patience.told = Some(self.now.saturating_add(late_ns));
        }
        // Anew for each attempt.
        self.threads[me].progress.begun = false;
        self.deadline(me, patience.told.into_iter().chain(patience.until).min());
        Err(Stop::Block)
    }

    /// Power loss: everything of the host's network is gone, and nobody is told. What it has sent still arrives.
    pub(crate) fn net_crash(&mut self, host: HostId) {
        self.network(|net, cx| net.crash(cx, host));
    }

    /// The host has power: what nobody listens to is refused rather than swallowed.
    pub(crate) fn net_host_up(&mut self, host: HostId) {
        self.net.stack(host).up = true;
    }

    /// Puts a fault in force on links.
    pub(crate) fn net_harm(&mut self, harm: Harm, links: &Links, draws: Draws) -> FaultId {
        self.net.harm(harm, links, draws)
    }

    /// Ends a fault; answers how many segments and datagrams it swallowed or delayed.
    pub(crate) fn net_heal(&mut self, fault: FaultId) -> u64 {
        self.network(|net, cx| net.heal(cx, fault))
    }

    /// How many segments and datagrams a fault in force has swallowed or delayed so far.
    pub(crate) fn net_affected(&self, fault: FaultId) -> u64 {
        self.net.affected(fault)
    }
}

/// Whether a call may wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Waiting {
    /// The descriptor or the call is non-blocking.
    pub(crate) never: bool,
    /// `SO_RCVTIMEO` or `SO_SNDTIMEO`.
    pub(crate) timeout_ns: Option<u64>,
}

impl Network {
    fn harm(&mut self, harm: Harm, links: &Links, draws: Draws) -> FaultId {
        self.links.harm(harm, &links.from, &links.to, links.both_ways, draws)
    }

    fn affected(&self, fault: FaultId) -> u64 {
        self.links.affected(fault)
    }

    /// Closes a socket for good.
    fn close_socket(&mut self, cx: &mut Cx<'_>, socket: Socket) {
        let state = &self.sockets[socket];
        let host = state.host;
        match &state.protocol {
            Protocol::Tcp(Tcp::Connected { connection, side, .. }) => {
                let (id, side, lingers) = (*connection, *side, state.options.linger_s != Some(0));
                let gone = self.connections[id].ends[side].phase == Phase::Gone;
                self.tcp_close(cx, id, side, lingers);
                if gone {
                    self.tcp_release_port(socket);
                }
            }
            Protocol::Tcp(_) => {
                self.tcp_stop_listening(cx, socket);
                self.tcp_release_port(socket);
            }
            Protocol::Udp(_) => self.udp_close(socket),
            Protocol::Unix(_) => self.unix_close(socket),
            Protocol::Netlink(_) => self.netlink_close(socket),
        }
        self.sockets.remove(socket);
        self.stack(host).sockets.remove(&socket);
    }

    fn crash(&mut self, cx: &mut Cx<'_>, host: HostId) {
        let sockets = std::mem::take(&mut self.stack(host).sockets);
        for socket in sockets {
            match self.sockets[socket].protocol {
                Protocol::Tcp(Tcp::Connected { connection, side, .. }) => {
                    if let Some(connection) = self.connections.get_mut(connection) {
                        connection.ends[side].socket = None;
                        connection.ends[side].holder = None;
                    }
                    self.tcp_vanish(cx, connection, side);
                }
                Protocol::Udp(_) => self.udp_close(socket),
                Protocol::Unix(_) => self.unix_close(socket),
                Protocol::Tcp(_) | Protocol::Netlink(_) => {}
            }
            self.sockets.remove(socket);
        }
        let connections = std::mem::take(&mut self.stack(host).connections);
        for (id, side) in connections.into_values().flatten() {
            self.tcp_vanish(cx, id, side);
        }
        self.stack(host).lose_power();
    }
}
