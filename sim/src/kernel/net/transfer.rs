//! Moving bytes: send(2), sendto(2), sendmsg(2), recv(2), recvfrom(2), recvmsg(2), and read(2) and write(2) on sockets.

use super::address::RawAddress;
use super::control::{self, Builder, Sent};
use super::socket::Protocol;
use super::tcp::{SPACE, Tcp};
use super::{Fail, Socket};
use crate::abi::user::{In, Out};
use crate::kernel::dispatch::Kernel;
use crate::kernel::file::FileId;
use crate::kernel::{Step, Stop, ThreadId};
use crate::world::HostId;
use libc::{EAGAIN, EINVAL, EOPNOTSUPP, EPIPE, c_int};

/// What a receiving call leaves beside the bytes.
pub(crate) struct Incoming {
    /// Where they came from; empty for streams.
    pub(crate) address: RawAddress,
    pub(crate) control: Builder,
    /// `msg_flags`.
    pub(crate) flags: c_int,
}

impl Incoming {
    /// For a call that has this much room for control messages.
    pub(crate) fn new(control_room: usize) -> Incoming {
        let control = Builder { room: control_room, ..Builder::default() };
        Incoming { address: RawAddress::empty(), control, flags: 0 }
    }

    /// How long a datagram is of which so many bytes were copied, as the call answers it (recv(2), `MSG_TRUNC`).
    pub(crate) fn length(&mut self, copied: usize, bytes: usize, flags: c_int) -> i64 {
        if copied < bytes {
            self.flags |= libc::MSG_TRUNC;
        }
        if flags & libc::MSG_TRUNC != 0 { bytes as i64 } else { copied as i64 }
    }
}

/// What a sending call brings beside the bytes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Outgoing<'a> {
    pub(crate) to: Option<&'a RawAddress>,
    pub(crate) control: &'a [u8],
    pub(crate) flags: c_int,
}

impl Kernel {
    /// read(2) on a socket.
    pub(crate) fn socket_read(&mut self, me: ThreadId, file: FileId, out: &mut Out<'_>) -> Step {
        let socket = self.socket_in(file)?;
        if out.len() == 0 {
            return Ok(0); // sock_read_iter, net/socket.c
        }
        if let Protocol::Tcp(_) = self.net.sockets[socket].protocol {
            return self.receive_stream(me, (file, socket), out, 0);
        }
        self.receive_on(me, (file, socket), out, 0, &mut Incoming::new(0))
    }

    /// write(2) on a socket.
    pub(crate) fn socket_write(&mut self, me: ThreadId, file: FileId, input: &In<'_>) -> Step {
        let socket = self.socket_in(file)?;
        self.send_on(me, (file, socket), input, Outgoing::default())
    }

    /// recvmsg(2) and its relatives.
    pub(crate) fn receive(
        &mut self,
        me: ThreadId,
        fd: c_int,
        out: &mut Out<'_>,
        flags: c_int,
        incoming: &mut Incoming,
    ) -> Step {
        let at = self.socket_of(me, fd)?;
        self.receive_on(me, at, out, flags, incoming)
    }

    /// sendmsg(2) and its relatives.
    pub(crate) fn send(&mut self, me: ThreadId, fd: c_int, input: &In<'_>, outgoing: Outgoing<'_>) -> Step {
        let at = self.socket_of(me, fd)?;
        self.send_on(me, at, input, outgoing)
    }

    fn receive_on(
        &mut self,
        me: ThreadId,
        at: (FileId, Socket),
        out: &mut Out<'_>,
        flags: c_int,
        incoming: &mut Incoming,
    ) -> Step {
        if flags & libc::MSG_ERRQUEUE != 0
            && !matches!(self.net.sockets[at.1].protocol, Protocol::Unix(_) | Protocol::Netlink(_))
        {
            // Errors are reported by calls, not queued. The others know no such flag (net/unix/af_unix.c).
            return Err(Stop::Errno(EAGAIN));
        }
        match self.net.sockets[at.1].protocol {
            Protocol::Tcp(_) => self.receive_stream(me, at, out, flags),
            Protocol::Udp(_) => self.receive_datagram(me, at, out, flags, incoming),
            Protocol::Unix(_) => self.unix_receive(me, at, out, flags, incoming),
            Protocol::Netlink(_) => self.netlink_receive(me, at, out, flags, incoming),
        }
    }

    fn send_on(&mut self, me: ThreadId, at: (FileId, Socket), input: &In<'_>, outgoing: Outgoing<'_>) -> Step {
        match self.net.sockets[at.1].protocol {
            Protocol::Tcp(_) => self.send_stream(me, at, input, outgoing.flags),
            Protocol::Udp(_) => self.send_datagram(me, at, input, outgoing),
            Protocol::Unix(_) => self.unix_send(me, at, input, outgoing),
            Protocol::Netlink(_) => self.netlink_send(me, at.1, input, outgoing),
        }
    }

    /// `tcp_recvmsg`. Bytes copied by earlier tries are in `progress.done`.
    fn receive_stream(
        &mut self,
        me: ThreadId,
        (file, socket): (FileId, Socket),
        out: &mut Out<'_>,
        flags: c_int,
    ) -> Step {
        if flags & libc::MSG_OOB != 0 && !self.net.is_listening(socket) {
            return Err(Stop::Errno(EINVAL)); // no urgent data
        }
        let Protocol::Tcp(Tcp::Connected { connection, side }) = self.net.sockets[socket].protocol else {
            return self.net.tcp_read_closed(socket).map_err(Stop::Errno);
        };
        let total = out.len();
        let wait = self.receive_waiting(file, socket, flags);
        let done = self.threads[me].progress.done as usize;
        let all = flags & libc::MSG_WAITALL != 0;
        let low_water = self.net.sockets[socket].options.receive_low_water as usize;
        let target = if all { total } else { low_water.min(total).max(1) };
        let host = self.net.sockets[socket].host;
        let count = if all { total - done } else { self.shorten(file, host, total - done, libc::EPOLLIN) };
        let read = self.network(|net, cx| net.tcp_read(cx, (connection, side), (out, done, count), flags));
        let fail = match read {
            Ok(0) => return Ok(done as i64),
            Ok(count) if done + count >= target || wait.never => return Ok((done + count) as i64),
            Ok(count) => {
                if flags & libc::MSG_PEEK == 0 {
                    self.threads[me].progress.done += count as u64;
                }
                Fail::Wait(super::tcp::DATA)
            }
            Err(Fail::Errno(error)) if done > 0 => {
                self.net.connections[connection].ends[side].error = error; // for the next call
                return Ok(done as i64);
            }
            Err(fail) => fail,
        };
        let done = self.threads[me].progress.done;
        self.stop_after(me, file, fail, wait, done)
    }

    /// How much of a transfer takes place, where the seed likes short ones.
    ///
    /// A short transfer tells users of edge-triggered epoll that the buffer is drained or full (epoll(7), question 9;
    /// tokio relies on it), so a short one must be followed by an edge: as if the rest arrived, or room was made, just
    /// after it.
    pub(crate) fn shorten(&mut self, file: FileId, host: HostId, bytes: usize, edge: c_int) -> usize {
        let count = self.net.shorten(host, bytes);
        if count < bytes {
            self.notify(file, edge as u32);
        }
        count
    }

    /// `tcp_sendmsg`. Bytes taken by earlier tries are in `progress.done`.
    fn send_stream(&mut self, me: ThreadId, (file, socket): (FileId, Socket), input: &In<'_>, flags: c_int) -> Step {
        if flags & libc::MSG_OOB != 0 {
            self.refuse(me, "send", "urgent data (MSG_OOB) is not simulated");
            return Err(Stop::Block);
        }
        if flags & libc::MSG_FASTOPEN != 0 {
            return Err(Stop::Errno(EOPNOTSUPP)); // as with net.ipv4.tcp_fastopen = 0
        }
        let Protocol::Tcp(Tcp::Connected { connection, side }) = self.net.sockets[socket].protocol else {
            return Err(match std::mem::take(&mut self.net.sockets[socket].error) {
                0 => self.broken_pipe(me, flags),
                error => Stop::Errno(error), // sk_stream_error, net/core/stream.c
            });
        };
        let (total, done) = (input.len(), self.threads[me].progress.done as usize);
        if done > 0 && self.net.connections[connection].ends[side].error != 0 {
            return Ok(done as i64); // the error is for the next call: `do_error` in tcp_sendmsg_locked
        }
        let wait = self.send_waiting(file, socket, flags);
        let host = self.net.sockets[socket].host;
        let more = flags & libc::MSG_MORE != 0;
        let left = total - done;
        let count = if wait.never { self.shorten(file, host, left, libc::EPOLLOUT) } else { left };
        let written = self.network(|net, cx| net.tcp_write(cx, (connection, side), (input, done, count), more));
        let fail = match written {
            Ok(count) if done + count == total || wait.never => return Ok((done + count) as i64),
            Ok(count) => {
                self.threads[me].progress.done += count as u64;
                Fail::Wait(SPACE)
            }
            Err(Fail::Errno(_)) if done > 0 => return Ok(done as i64),
            Err(Fail::Errno(EPIPE)) => return Err(self.broken_pipe(me, flags)),
            Err(fail) => fail,
        };
        let done = self.threads[me].progress.done;
        self.stop_after(me, file, fail, wait, done)
    }

    /// Writing where nothing can be written: SIGPIPE unless unwanted, and `EPIPE` (send(2)).
    pub(crate) fn broken_pipe(&mut self, me: ThreadId, flags: c_int) -> Stop {
        if flags & libc::MSG_NOSIGNAL == 0 {
            self.raise_sigpipe(me);
        }
        Stop::Errno(EPIPE)
    }

    fn receive_datagram(
        &mut self,
        me: ThreadId,
        (file, socket): (FileId, Socket),
        out: &mut Out<'_>,
        flags: c_int,
        incoming: &mut Incoming,
    ) -> Step {
        let wait = self.receive_waiting(file, socket, flags);
        let taken = match self.network(|net, cx| net.udp_receive(cx, socket, out, flags)) {
            Ok(Some(taken)) => taken,
            Ok(None) if wait.never => return Err(Stop::Errno(EAGAIN)),
            Ok(None) => return Ok(0),
            Err(fail) => return Err(self.stop(me, file, fail, wait)),
        };
        let state = &self.net.sockets[socket];
        incoming.address = taken.from.encode(state.family);
        let stack = &self.net.stacks[state.host.0 as usize];
        let own = if stack.owns(taken.to) { taken.to } else { stack.source_for(taken.to) };
        let beside = (taken.to, own, taken.from.ip.is_loopback());
        if let Some(unit) = state.options.timestamps {
            let shows_ns = self.hosts[state.host].wall.shows(taken.arrived);
            control::put_timestamp(&mut incoming.control, unit, shows_ns);
        }
        control::describe_datagram(&mut incoming.control, &state.options, state.family, beside, taken.tos);
        self.log.returned(incoming.address.bytes());
        self.log.returned(&incoming.control.bytes);
        Ok(incoming.length(taken.copied, taken.bytes, flags))
    }

    fn send_datagram(
        &mut self,
        me: ThreadId,
        (file, socket): (FileId, Socket),
        input: &In<'_>,
        outgoing: Outgoing<'_>,
    ) -> Step {
        let (sent, to) = (Sent::read(outgoing.control), (outgoing.to, outgoing.flags));
        match self.network(|net, cx| net.udp_send(cx, socket, input, to, sent)) {
            Ok(count) => Ok(count as i64),
            Err(Fail::Errno(EPIPE)) => Err(self.broken_pipe(me, outgoing.flags)),
            Err(fail) => {
                let wait = self.send_waiting(file, socket, outgoing.flags);
                Err(self.stop(me, file, fail, wait))
            }
        }
    }
}
