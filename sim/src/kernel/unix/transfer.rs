//! Sending and receiving on Unix sockets, with files and credentials along (unix(7), "Ancillary messages").

use super::name::{Given, Name};
use super::queue::{Packet, true_size};
use super::setup::Credentials;
use super::{CHANGE, Kind, READABLE, State, WRITABLE};
use crate::abi::user::{In, Out};
use crate::kernel::dispatch::Kernel;
use crate::kernel::file::Descriptor;
use crate::kernel::net::control;
use crate::kernel::net::{Cx, Fail, Incoming, Network, Outgoing, Socket};
use crate::kernel::{FileId, Step, Stop, ThreadId};
use libc::{EAGAIN, ECONNREFUSED, EINVAL, EISCONN, EMSGSIZE, ENOTCONN, EOPNOTSUPP, EPERM, EPIPE, SOL_SOCKET, c_int};

/// The largest piece of a stream that is queued as one (`unix_stream_sendmsg`: `SKB_MAX_ALLOC + UNIX_SKB_FRAGS_SZ`).
const PIECE_BYTES_MAX: usize = 48_832;
/// `SCM_MAX_FD` (include/net/scm.h).
const RIGHTS_MAX: usize = 253;

/// What was taken from a queue.
#[derive(Default)]
struct Taken {
    copied: usize,
    /// Bytes of the packet, for `MSG_TRUNC`.
    bytes: usize,
    from: Option<Name>,
    credentials: Option<Credentials>,
    /// Files, each with a reference that is the receiver's now.
    rights: Vec<FileId>,
}

impl Kernel {
    /// Reads `SCM_RIGHTS` and `SCM_CREDENTIALS` (`__scm_send`, net/core/scm.c). Files get a reference each.
    fn unix_control(&mut self, me: ThreadId, bytes: &[u8]) -> Result<(Vec<FileId>, Option<Credentials>), Stop> {
        let (mut rights, mut credentials) = (Vec::new(), None);
        for message in control::parse(bytes)? {
            match (message.level, message.kind) {
                (SOL_SOCKET, libc::SCM_RIGHTS) => {
                    for fd in message.bytes.chunks_exact(4) {
                        let fd = c_int::from_ne_bytes([fd[0], fd[1], fd[2], fd[3]]);
                        rights.push(self.raw_file(me, fd)?);
                    }
                }
                (SOL_SOCKET, libc::SCM_CREDENTIALS) => {
                    let own = self.credentials(me);
                    if message.bytes != own.bytes() {
                        // Only a privileged process may claim to be another.
                        return Err(Stop::Errno(if message.bytes.len() == 12 { EPERM } else { EINVAL }));
                    }
                    credentials = Some(own);
                }
                (SOL_SOCKET, _) => return Err(Stop::Errno(EINVAL)),
                _ => {}
            }
        }
        if rights.len() > RIGHTS_MAX {
            return Err(Stop::Errno(EINVAL));
        }
        Ok((rights, credentials))
    }

    /// sendmsg(2) on a Unix socket.
    pub(crate) fn unix_send(
        &mut self,
        me: ThreadId,
        (file, socket): (FileId, Socket),
        input: &In<'_>,
        outgoing: Outgoing<'_>,
    ) -> Step {
        if outgoing.flags & libc::MSG_OOB != 0 {
            return Err(Stop::Errno(EOPNOTSUPP));
        }
        let done = self.threads[me].progress.done as usize;
        // Files travel with the first bytes only.
        let (rights, _) = if done == 0 { self.unix_control(me, outgoing.control)? } else { Default::default() };
        let credentials = self.credentials(me);
        let wait = self.send_waiting(file, socket, outgoing.flags);
        let kind = self.net.unix_socket(socket).map(|unix| unix.kind).ok_or(EINVAL)?;
        let letter = Letter { rights: &rights, credentials };
        let sent = if kind == Kind::Stream {
            let host = self.net.sockets[socket].host;
            let left = input.len() - done;
            let count = if wait.never { self.shorten(file, host, left, libc::EPOLLOUT) } else { left };
            let connected = self.net.unix_socket(socket).is_some_and(|unix| unix.peer.is_some());
            match outgoing.to {
                Some(_) if connected => Err(Fail::Errno(EISCONN)),
                Some(_) => Err(Fail::Errno(EOPNOTSUPP)),
                None => self.network(|net, _| net.unix_write(socket, (input, done, count), letter)),
            }
        } else {
            let to = match outgoing.to {
                Some(address) if kind == Kind::Datagram => match self.unix_destination(me, address)? {
                    Given::Named(name) => Some(name),
                    Given::Nameless | Given::Unspecified => return Err(Stop::Errno(EINVAL)),
                },
                // A connected packet socket ignores the address.
                Some(_) | None => None,
            };
            self.network(|net, _| net.unix_post(socket, input, to.as_ref(), letter))
        };
        if let Ok(count) = sent
            && (count > 0 || kind != Kind::Stream)
        {
            rights.iter().for_each(|file| self.files[*file].references += 1);
        }
        let fail = match sent {
            Ok(count) if done + count == input.len() || wait.never => return Ok((done + count) as i64),
            Ok(count) => {
                self.threads[me].progress.done += count as u64;
                Fail::Wait(WRITABLE)
            }
            Err(Fail::Errno(_)) if done > 0 => return Ok(done as i64),
            Err(Fail::Errno(EPIPE)) if kind == Kind::Datagram => return Err(Stop::Errno(EPIPE)),
            Err(Fail::Errno(EPIPE)) => return Err(self.broken_pipe(me, outgoing.flags)),
            Err(fail) => fail,
        };
        let done = self.threads[me].progress.done;
        match self.stop(me, file, fail, wait) {
            Stop::Errno(EAGAIN) if done > 0 => Ok(done as i64),
            stop => Err(stop),
        }
    }

    /// recvmsg(2) on a Unix socket.
    pub(crate) fn unix_receive(
        &mut self,
        me: ThreadId,
        (file, socket): (FileId, Socket),
        out: &mut Out<'_>,
        flags: c_int,
        incoming: &mut Incoming,
    ) -> Step {
        if flags & libc::MSG_OOB != 0 {
            return Err(Stop::Errno(EOPNOTSUPP));
        }
        let kind = self.net.unix_socket(socket).map(|unix| unix.kind).ok_or(EINVAL)?;
        let done = self.threads[me].progress.done as usize;
        let wait = self.receive_waiting(file, socket, flags);
        let host = self.net.sockets[socket].host;
        let taken = if kind == Kind::Stream {
            if out.len() == 0 {
                return Ok(0);
            }
            let all = flags & libc::MSG_WAITALL != 0;
            let left = out.len() - done;
            let count = if all { left } else { self.shorten(file, host, left, libc::EPOLLIN) };
            self.network(|net, cx| net.unix_read(cx, socket, (out, done, count), flags))
        } else {
            self.network(|net, cx| net.unix_take(cx, socket, out, flags, wait.never))
        };
        let taken = match taken {
            Ok(taken) => taken,
            Err(Fail::Errno(_)) if done > 0 => return Ok(done as i64),
            Err(fail) => match self.stop(me, file, fail, wait) {
                Stop::Errno(EAGAIN) if done > 0 => return Ok(done as i64),
                stop => return Err(stop),
            },
        };
        let (copied, bytes, from) = (taken.copied, taken.bytes, taken.from.clone());
        let carried_files = !taken.rights.is_empty();
        self.unix_deliver_control(me, socket, taken, flags, incoming);
        if kind == Kind::Stream {
            let total = done + copied;
            let more = flags & libc::MSG_WAITALL != 0 && flags & libc::MSG_PEEK == 0 && total < out.len();
            if more && copied > 0 && !wait.never && !carried_files {
                self.threads[me].progress.done = total as u64;
                return match self.stop(me, file, Fail::Wait(READABLE), wait) {
                    Stop::Errno(EAGAIN) => Ok(total as i64),
                    stop => Err(stop),
                };
            }
            return Ok(total as i64);
        }
        if kind == Kind::Datagram {
            incoming.address = if from.is_some() { Name::encode(from.as_ref()) } else { incoming.address };
            self.log.returned(incoming.address.bytes());
        }
        if copied < bytes {
            incoming.flags |= libc::MSG_TRUNC;
        }
        Ok(if flags & libc::MSG_TRUNC != 0 { bytes } else { copied } as i64)
    }

    /// Hands credentials and files to the receiver (`scm_recv`, `scm_detach_fds`, net/core/scm.c).
    fn unix_deliver_control(
        &mut self,
        me: ThreadId,
        socket: Socket,
        taken: Taken,
        flags: c_int,
        incoming: &mut Incoming,
    ) {
        let wanted = self.net.sockets[socket].options.pass_credentials;
        if let Some(credentials) = taken.credentials.filter(|_| wanted) {
            incoming.control.put(SOL_SOCKET, libc::SCM_CREDENTIALS, &credentials.bytes());
        }
        if taken.rights.is_empty() {
            return;
        }
        let close_on_exec = flags & libc::MSG_CMSG_CLOEXEC != 0;
        let fitting = (incoming.control.space() / 4).min(taken.rights.len());
        let mut numbers = Vec::with_capacity(4 * fitting);
        for file in &taken.rights[..fitting] {
            let entry = Descriptor { file: *file, close_on_exec };
            let Ok(fd) = self.table(me).install(entry, 0) else { break };
            numbers.extend_from_slice(&fd.to_ne_bytes()); // the message's reference is the descriptor's now
        }
        let installed = numbers.len() / 4;
        if installed > 0 {
            incoming.control.put(SOL_SOCKET, libc::SCM_RIGHTS, &numbers);
        }
        if installed < taken.rights.len() {
            incoming.control.truncated = true;
            taken.rights[installed..].iter().for_each(|file| self.release_file(*file));
        }
        self.log.returned(&numbers);
    }
}

/// What travels beside the bytes.
#[derive(Clone, Copy)]
struct Letter<'a> {
    rights: &'a [FileId],
    credentials: Credentials,
}

impl Network {
    fn unix_pack(
        &mut self,
        socket: Socket,
        (input, offset, count): (&In<'_>, usize, usize),
        letter: Letter<'_>,
    ) -> Packet {
        let mut bytes = self.spare_buffer();
        input.pieces(offset, count, |piece| bytes.extend_from_slice(piece));
        let charge = true_size(count);
        let from = match self.unix_socket_mut(socket) {
            Some(unix) => {
                unix.sent_bytes += charge;
                if unix.kind == Kind::Datagram { unix.name.clone() } else { None }
            }
            None => None,
        };
        let rights = letter.rights.to_vec();
        Packet { bytes, read: 0, from, credentials: letter.credentials, rights, sender: socket, charge }
    }

    /// Writes to a stream as much as fits: `unix_stream_sendmsg`.
    fn unix_write(
        &mut self,
        socket: Socket,
        (input, offset, count): (&In<'_>, usize, usize),
        letter: Letter<'_>,
    ) -> Result<usize, Fail> {
        let capacity = self.sockets[socket].options.send_buffer as usize;
        let unix = self.unix_socket(socket).ok_or(EINVAL)?;
        if unix.state != State::Connected {
            return Err(Fail::Errno(ENOTCONN));
        }
        let Some(peer) = unix.peer.filter(|peer| !unix.write_shut && self.unix_socket(*peer).is_some()) else {
            return Err(Fail::Errno(EPIPE));
        };
        let mut done = 0;
        while done < count && self.unix_socket(socket).is_some_and(|unix| unix.sent_bytes < capacity) {
            let piece = (count - done).min(PIECE_BYTES_MAX).min(capacity / 2);
            let letter = Letter { rights: if done == 0 { letter.rights } else { &[] }, ..letter };
            let packet = self.unix_pack(socket, (input, offset + done, piece), letter);
            self.unix_enqueue(peer, packet);
            done += piece;
        }
        if done == 0 && count > 0 { Err(Fail::Wait(WRITABLE)) } else { Ok(done) }
    }

    /// Sends a datagram or packet: `unix_dgram_sendmsg`.
    fn unix_post(
        &mut self,
        socket: Socket,
        input: &In<'_>,
        to: Option<&Name>,
        letter: Letter<'_>,
    ) -> Result<usize, Fail> {
        let (host, capacity) = (self.sockets[socket].host, self.sockets[socket].options.send_buffer as usize);
        let unix = self.unix_socket(socket).ok_or(EINVAL)?;
        let (kind, peer, write_shut, used) = (unix.kind, unix.peer, unix.write_shut, unix.sent_bytes);
        if to.is_none() && peer.is_none() || kind == Kind::SeqPacket && unix.state != State::Connected {
            return Err(Fail::Errno(ENOTCONN));
        }
        if input.len() > capacity - 32 {
            return Err(Fail::Errno(EMSGSIZE));
        }
        if write_shut {
            return Err(Fail::Errno(EPIPE));
        }
        let target = match to {
            Some(name) => self.unix_find(host, name, kind)?,
            None => peer.ok_or(ENOTCONN)?,
        };
        if self.unix_socket(target).is_none() {
            // A closed peer is forgotten, and the next call says so.
            self.unix_part(socket);
            return Err(Fail::Errno(if kind == Kind::Datagram { ECONNREFUSED } else { EPIPE }));
        }
        if kind == Kind::Datagram && !self.unix_may_send(socket, target) {
            return Err(Fail::Errno(EPERM));
        }
        if self.unix_socket(target).is_some_and(|target| target.read_shut) {
            return Err(Fail::Errno(EPIPE));
        }
        let full = kind == Kind::Datagram && self.unix_queue_is_full(target, socket);
        if used >= capacity || full {
            if full && let Some(target) = self.unix_socket_mut(target) {
                target.waiting.insert(socket);
            }
            return Err(Fail::Wait(WRITABLE));
        }
        let packet = self.unix_pack(socket, (input, 0, input.len()), letter);
        self.unix_enqueue(target, packet);
        Ok(input.len())
    }

    fn unix_enqueue(&mut self, target: Socket, packet: Packet) {
        if let Some(unix) = self.unix_socket_mut(target) {
            unix.queue.push_back(packet);
        }
        self.notify(target, READABLE);
    }

    /// Reads from a stream: `unix_stream_read_generic`. Stops before and after a packet that carries files.
    fn unix_read(
        &mut self,
        cx: &mut Cx<'_>,
        socket: Socket,
        (out, offset, count): (&mut Out<'_>, usize, usize),
        flags: c_int,
    ) -> Result<Taken, Fail> {
        let unix = self.unix_socket(socket).ok_or(EINVAL)?;
        if unix.state != State::Connected {
            return Err(Fail::Errno(EINVAL));
        }
        let mut taken = Taken::default();
        let mut whole = 0;
        for packet in &unix.queue {
            let other_sender = taken.credentials.is_some_and(|known| known != packet.credentials);
            if taken.copied == count || taken.copied > 0 && (!packet.rights.is_empty() || other_sender) {
                break;
            }
            let piece = &packet.bytes[packet.read..];
            let piece = &piece[..piece.len().min(count - taken.copied)];
            out.write_at(offset + taken.copied, piece);
            cx.log.returned(piece);
            taken.copied += piece.len();
            taken.credentials = Some(packet.credentials);
            if piece.len() == packet.len() {
                whole += 1;
            }
            if !packet.rights.is_empty() {
                taken.rights.clone_from(&packet.rights);
                break;
            }
        }
        if taken.copied == 0 {
            return self.unix_nothing_to_read(socket).map(|()| taken);
        }
        if flags & libc::MSG_PEEK != 0 {
            taken.rights.clear(); // files are handed out once, with the bytes
        } else {
            self.unix_consume(socket, whole, taken.copied);
        }
        Ok(taken)
    }

    /// Why a stream has no bytes: an error, its end, or none yet.
    fn unix_nothing_to_read(&mut self, socket: Socket) -> Result<(), Fail> {
        let error = std::mem::take(&mut self.sockets[socket].error);
        if error != 0 {
            return Err(Fail::Errno(error));
        }
        let shut = self.unix_socket(socket).is_some_and(|unix| unix.read_shut);
        if shut { Ok(()) } else { Err(Fail::Wait(READABLE)) }
    }

    /// Takes `whole` packets off a stream's queue, and of the next what is left of `bytes`.
    fn unix_consume(&mut self, socket: Socket, whole: usize, mut bytes: usize) {
        for _ in 0..whole {
            let Some(packet) = self.unix_socket_mut(socket).and_then(|unix| unix.queue.pop_front()) else { return };
            bytes -= packet.len();
            self.unix_paid(packet.sender, packet.charge);
            self.recycle(packet.bytes); // its files are the receiver's
        }
        if let Some(packet) = self.unix_socket_mut(socket).and_then(|unix| unix.queue.front_mut())
            && bytes > 0
        {
            packet.read += bytes;
            packet.rights.clear();
        }
    }

    /// Takes, or looks at, the first packet: `__unix_dgram_recvmsg`.
    fn unix_take(
        &mut self,
        cx: &mut Cx<'_>,
        socket: Socket,
        out: &mut Out<'_>,
        flags: c_int,
        nonblocking: bool,
    ) -> Result<Taken, Fail> {
        let error = std::mem::take(&mut self.sockets[socket].error);
        if error != 0 {
            return Err(Fail::Errno(error));
        }
        let unix = self.unix_socket_mut(socket).ok_or(EINVAL)?;
        if unix.kind == Kind::SeqPacket && unix.state != State::Connected {
            return Err(Fail::Errno(ENOTCONN));
        }
        let Some(packet) = unix.queue.front_mut() else {
            // Datagram sockets at their end answer EAGAIN rather than zero when they must not wait.
            let ended = unix.read_shut && (unix.kind == Kind::SeqPacket || !nonblocking);
            return if ended { Ok(Taken::default()) } else { Err(Fail::Wait(READABLE)) };
        };
        let copied = out.write_at(0, &packet.bytes);
        cx.log.returned(&packet.bytes[..copied]);
        let peek = flags & libc::MSG_PEEK != 0;
        let taken = Taken {
            copied,
            bytes: packet.bytes.len(),
            from: packet.from.clone(),
            credentials: Some(packet.credentials),
            rights: if peek { Vec::new() } else { std::mem::take(&mut packet.rights) },
        };
        if !peek && let Some(packet) = unix.queue.pop_front() {
            let waiting = std::mem::take(&mut unix.waiting);
            self.unix_drop(packet);
            waiting.into_iter().for_each(|sender| self.notify(sender, CHANGE));
        }
        Ok(taken)
    }

    /// A packet is gone, and with it the files that nobody received.
    pub(super) fn unix_drop(&mut self, packet: Packet) {
        self.released.extend(packet.rights);
        self.unix_paid(packet.sender, packet.charge);
        self.recycle(packet.bytes);
    }

    /// A sender's memory is free again: `sock_wfree`, `unix_write_space`.
    fn unix_paid(&mut self, sender: Socket, charge: usize) {
        let Some(state) = self.sockets.get(sender) else { return };
        let capacity = state.options.send_buffer as usize;
        let Some(unix) = self.unix_socket_mut(sender) else { return };
        unix.sent_bytes -= charge;
        if unix.sent_bytes * 4 <= capacity {
            self.notify(sender, WRITABLE);
        }
    }
}
