//! Sending and receiving on Unix sockets, with files and credentials along (unix(7), "Ancillary messages").

use super::name::{Called, Given, Name};
use super::queue::{PIECE_BYTES_MAX, Packet, true_size, true_size_of_piece};
use super::setup::Credentials;
use super::{DATAGRAMS_MAX, Kind, READABLE, State, WRITABLE};
use crate::abi::user::{In, Out};
use crate::kernel::dispatch::Kernel;
use crate::kernel::file::Descriptor;
use crate::kernel::net::control;
use crate::kernel::net::{Cx, Fail, Incoming, Network, Outgoing, RawAddress, Socket};
use crate::kernel::{FileId, Step, Stop, ThreadId};
use libc::{ECONNREFUSED, EINVAL, EISCONN, EMSGSIZE, ENOTCONN, EOPNOTSUPP, EPERM, EPIPE, SOL_SOCKET, c_int};

/// `SCM_MAX_FD` (include/net/scm.h).
const RIGHTS_MAX: usize = 253;

/// What was taken from a queue.
#[derive(Default)]
struct Taken {
    copied: usize,
    /// Bytes of the packet, for `MSG_TRUNC`.
    bytes: usize,
    /// Whether there was a packet at all, of whatever size.
    found: bool,
    /// Of a stream: whether more waits that does not belong to this read.
    stopped: bool,
    from: Called,
    credentials: Option<Credentials>,
    /// Files, each with a reference that is the receiver's; one that only looks gets references of its own.
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
        let done = self.threads[me].progress.done as usize;
        // Files travel with the first bytes only.
        let (rights, signed) = if done == 0 { self.unix_control(me, outgoing.control)? } else { Default::default() };
        if outgoing.flags & libc::MSG_OOB != 0 {
            return Err(Stop::Errno(EOPNOTSUPP));
        }
        let wait = self.send_waiting(file, socket, outgoing.flags);
        let kind = self.net.unix_socket(socket).map(|unix| unix.kind).ok_or(EINVAL)?;
        let letter = Letter { rights: &rights, signed, own: self.credentials(me) };
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
            // A connected packet socket ignores the address.
            let to = outgoing.to.filter(|_| kind == Kind::Datagram);
            self.unix_send_packet(me, socket, input, (to, letter))?
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
            // unix_dgram_sendmsg, which serves packets as well, raises no signal.
            Err(Fail::Errno(EPIPE)) if kind == Kind::Stream => return Err(self.broken_pipe(me, outgoing.flags)),
            Err(fail) => fail,
        };
        let done = self.threads[me].progress.done;
        self.stop_after(me, file, fail, wait, done)
    }

    /// Sends a datagram or packet: `unix_dgram_sendmsg`, whose order of complaints is kept.
    fn unix_send_packet(
        &mut self,
        me: ThreadId,
        socket: Socket,
        input: &In<'_>,
        (to, letter): (Option<&RawAddress>, Letter<'_>),
    ) -> Result<Result<usize, Fail>, Stop> {
        let given = to.map(Given::decode).transpose()?;
        if matches!(given, Some(Given::Nameless | Given::Unspecified)) {
            return Err(Stop::Errno(EINVAL));
        }
        if let Err(fail) = self.net.unix_may_post(socket, input.len()) {
            return Ok(Err(fail));
        }
        let to = match given.map(|given| self.unix_destination(me, given)).transpose() {
            Ok(Some(Given::Named(name))) => Some(name),
            Ok(Some(Given::Nameless | Given::Unspecified) | None) => None,
            Err(stop) => {
                self.network(|net, _| net.unix_paid(socket, 0));
                return Err(stop);
            }
        };
        Ok(self.network(|net, _| {
            let sent = net.unix_post(socket, input, to.as_ref(), letter);
            if let Err(Fail::Errno(_)) = sent {
                net.unix_paid(socket, 0); // what was allocated for it is freed
            }
            sent
        }))
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
        let unix = self.net.unix_socket(socket).ok_or(EINVAL)?;
        let kind = unix.kind;
        match kind {
            Kind::Stream if unix.state != State::Connected => return Err(Stop::Errno(EINVAL)),
            Kind::SeqPacket if unix.state != State::Connected => return Err(Stop::Errno(ENOTCONN)),
            // unix_stream_recv_urg: there is no urgent byte.
            Kind::Stream if flags & libc::MSG_OOB != 0 => return Err(Stop::Errno(EINVAL)),
            Kind::SeqPacket | Kind::Datagram if flags & libc::MSG_OOB != 0 => return Err(Stop::Errno(EOPNOTSUPP)),
            Kind::Stream => return self.unix_receive_stream(me, (file, socket), out, flags, incoming),
            Kind::SeqPacket | Kind::Datagram => {}
        }
        let wait = self.receive_waiting(file, socket, flags);
        let taken = match self.network(|net, cx| net.unix_take(cx, socket, out, flags, wait.never)) {
            Ok(taken) => taken,
            Err(fail) => return Err(self.stop(me, file, fail, wait)),
        };
        let (copied, bytes) = (taken.copied, taken.bytes);
        if taken.found {
            self.unix_deliver_control(me, socket, taken, flags, incoming);
        }
        Ok(incoming.length(copied, bytes, flags))
    }

    /// Reads from a stream, and goes on while fewer bytes came than are wanted. Bytes copied by earlier tries are in
    /// `progress.done`.
    fn unix_receive_stream(
        &mut self,
        me: ThreadId,
        (file, socket): (FileId, Socket),
        out: &mut Out<'_>,
        flags: c_int,
        incoming: &mut Incoming,
    ) -> Step {
        let done = self.threads[me].progress.done as usize;
        let wait = self.receive_waiting(file, socket, flags);
        let state = &self.net.sockets[socket];
        let (host, low_water) = (state.host, state.options.receive_low_water as usize);
        let all = flags & libc::MSG_WAITALL != 0;
        let left = out.len() - done;
        let count = if all { left } else { self.shorten(file, host, left, libc::EPOLLIN) };
        // sock_rcvlowat, include/net/sock.h
        let target = if all { out.len() } else { low_water.min(done + count) };
        let taken = match self.network(|net, cx| net.unix_read(cx, socket, (out, done, count), flags)) {
            Ok(taken) => taken,
            Err(Fail::Errno(_)) if done > 0 => return Ok(done as i64),
            Err(fail) => return self.stop_after(me, file, fail, wait, done as u64),
        };
        let total = done + taken.copied;
        let more = taken.found && !taken.stopped && total < target && flags & libc::MSG_PEEK == 0;
        if taken.found {
            self.unix_deliver_control(me, socket, taken, flags, incoming);
        } else {
            // At the end of a stream they are all zeros.
            let nobody = Taken { credentials: Some(Credentials::ZERO), ..Taken::default() };
            self.unix_deliver_control(me, socket, nobody, flags, incoming);
        }
        if more && let Err(fail @ Fail::Wait(_)) = self.net.unix_nothing_to_read(socket) {
            self.threads[me].progress.done = total as u64;
            return self.stop_after(me, file, fail, wait, total as u64);
        }
        Ok(total as i64)
    }

    /// Hands the sender's name, credentials and files to the receiver (`scm_recv`, `scm_detach_fds`, net/core/scm.c).
    fn unix_deliver_control(
        &mut self,
        me: ThreadId,
        socket: Socket,
        taken: Taken,
        flags: c_int,
        incoming: &mut Incoming,
    ) {
        if let Some(name) = taken.from.get() {
            incoming.address = Name::encode(Some(name));
        }
        self.log.returned(incoming.address.bytes());
        // A read that waited for more says it once.
        if self.net.sockets[socket].options.pass_credentials && incoming.control.bytes.is_empty() {
            let credentials = taken.credentials.unwrap_or(Credentials::UNSIGNED);
            incoming.control.put(SOL_SOCKET, libc::SCM_CREDENTIALS, &credentials.bytes());
        }
        if taken.rights.is_empty() {
            return;
        }
        if flags & libc::MSG_PEEK != 0 {
            taken.rights.iter().for_each(|file| self.files[*file].references += 1); // unix_peek_fds
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
    /// Credentials that the sender names (`SCM_CREDENTIALS`).
    signed: Option<Credentials>,
    /// Those it has.
    own: Credentials,
}

impl Network {
    fn unix_pack(
        &mut self,
        (socket, target): (Socket, Socket),
        (input, offset, count): (&In<'_>, usize, usize),
        letter: Letter<'_>,
    ) -> Packet {
        // unix_maybe_add_creds
        let wanted = [socket, target].iter().any(|socket| self.sockets[*socket].options.pass_credentials);
        let credentials = letter.signed.or(wanted.then_some(letter.own));
        let mut bytes = self.spare_buffer();
        input.pieces(offset, count, |piece| bytes.extend_from_slice(piece));
        let (from, charge) = match self.unix_socket_mut(socket) {
            Some(unix) => {
                let charge = if unix.kind == Kind::Stream { true_size_of_piece(count) } else { true_size(count) };
                unix.sent_bytes += charge;
                (unix.name.clone(), charge)
            }
            None => (Called::default(), true_size(count)),
        };
        self.unix.in_flight += letter.rights.len();
        Packet { bytes, read: 0, from, credentials, rights: letter.rights.to_vec(), sender: socket, charge }
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
            let piece = (count - done).min(PIECE_BYTES_MAX).min(capacity / 2 - 64);
            let letter = Letter { rights: if done == 0 { letter.rights } else { &[] }, ..letter };
            let packet = self.unix_pack((socket, peer), (input, offset + done, piece), letter);
            self.unix_enqueue(peer, packet);
            done += piece;
        }
        if done == 0 && count > 0 { Err(Fail::Wait(WRITABLE)) } else { Ok(done) }
    }

    /// Whether a socket may send a packet of this size, whoever gets it: what comes before the receiver is looked up.
    fn unix_may_post(&mut self, socket: Socket, bytes: usize) -> Result<(), Fail> {
        let unix = self.unix_socket(socket).ok_or(EINVAL)?;
        let (kind, state, write_shut, used) = (unix.kind, unix.state, unix.write_shut, unix.sent_bytes);
        let capacity = self.sockets[socket].options.send_buffer as usize;
        if kind == Kind::SeqPacket {
            self.unix_take_error(socket)?;
            if state != State::Connected {
                return Err(Fail::Errno(ENOTCONN));
            }
        }
        self.unix_autobind(socket);
        if bytes > capacity - 32 {
            return Err(Fail::Errno(EMSGSIZE));
        }
        // sock_alloc_send_pskb, net/core/sock.c
        self.unix_take_error(socket)?;
        if write_shut {
            return Err(Fail::Errno(EPIPE));
        }
        if used >= capacity { Err(Fail::Wait(WRITABLE)) } else { Ok(()) }
    }

    /// Sends a datagram or packet that may be sent.
    fn unix_post(
        &mut self,
        socket: Socket,
        input: &In<'_>,
        to: Option<&Name>,
        letter: Letter<'_>,
    ) -> Result<usize, Fail> {
        let host = self.sockets[socket].host;
        let unix = self.unix_socket(socket).ok_or(EINVAL)?;
        let (kind, peer) = (unix.kind, unix.peer);
        let target = match to {
            Some(name) => self.unix_find(host, name, kind)?,
            None => peer.ok_or(ENOTCONN)?,
        };
        if self.unix_socket(target).is_none() {
            // A closed peer is forgotten, and the next call says so.
            if kind == Kind::Datagram {
                self.unix_part(socket, None);
            }
            return Err(Fail::Errno(if kind == Kind::Datagram { ECONNREFUSED } else { EPIPE }));
        }
        if kind == Kind::Datagram && !self.unix_may_send(socket, target) {
            return Err(Fail::Errno(EPERM));
        }
        if self.unix_socket(target).is_some_and(|target| target.read_shut) {
            return Err(Fail::Errno(EPIPE));
        }
        if self.unix_queue_is_full(target, socket) {
            if let Some(target) = self.unix_socket_mut(target) {
                target.waiting.insert(socket);
            }
            return Err(Fail::Wait(WRITABLE));
        }
        let packet = self.unix_pack((socket, target), (input, 0, input.len()), letter);
        self.unix_enqueue(target, packet);
        Ok(input.len())
    }

    fn unix_enqueue(&mut self, target: Socket, packet: Packet) {
        if let Some(unix) = self.unix_socket_mut(target) {
            unix.queue.push_back(packet);
        }
        self.notify(target, READABLE);
    }

    /// Reads from a stream: `unix_stream_read_generic`. Goes on to the next packet unless this one carries files or
    /// comes from somebody else; who only looks goes on even when nothing more fits, and sees the files there.
    fn unix_read(
        &mut self,
        cx: &mut Cx<'_>,
        socket: Socket,
        (out, offset, count): (&mut Out<'_>, usize, usize),
        flags: c_int,
    ) -> Result<Taken, Fail> {
        let peek = flags & libc::MSG_PEEK != 0;
        let apart = self.sockets[socket].options.pass_credentials;
        let unix = self.unix_socket_mut(socket).ok_or(EINVAL)?;
        let mut taken = Taken::default();
        let mut whole = 0;
        for packet in &mut unix.queue {
            let other_sender = apart && taken.found && taken.credentials != packet.credentials;
            if other_sender || taken.found && taken.copied == count && !peek {
                taken.stopped = true;
                break;
            }
            let piece = &packet.bytes[packet.read..];
            let piece = &piece[..piece.len().min(count - taken.copied)];
            out.write_at(offset + taken.copied, piece);
            cx.log.returned(piece);
            taken.copied += piece.len();
            (taken.found, taken.credentials) = (true, packet.credentials);
            if packet.from.get().is_some() {
                taken.from = packet.from.clone();
            }
            let entire = piece.len() == packet.len();
            whole += usize::from(entire);
            let carries = !packet.rights.is_empty();
            if carries {
                taken.rights = if peek { packet.rights.clone() } else { std::mem::take(&mut packet.rights) };
            }
            if carries || !peek && !entire {
                taken.stopped = true;
                break;
            }
        }
        if !taken.found {
            return self.unix_nothing_to_read(socket).map(|()| taken);
        }
        if !peek {
            self.unix.in_flight -= taken.rights.len();
            self.unix_consume(socket, whole, taken.copied);
        }
        Ok(taken)
    }

    /// Why a stream has no bytes: an error, its end, or none yet.
    fn unix_nothing_to_read(&mut self, socket: Socket) -> Result<(), Fail> {
        self.unix_take_error(socket)?;
        let shut = self.unix_socket(socket).is_some_and(|unix| unix.read_shut);
        if shut { Ok(()) } else { Err(Fail::Wait(READABLE)) }
    }

    /// A pending error is reported once (`sock_error`).
    fn unix_take_error(&mut self, socket: Socket) -> Result<(), Fail> {
        match std::mem::take(&mut self.sockets[socket].error) {
            0 => Ok(()),
            error => Err(Fail::Errno(error)),
        }
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
        self.unix_take_error(socket)?;
        let unix = self.unix_socket_mut(socket).ok_or(EINVAL)?;
        let full = unix.queue.len() > DATAGRAMS_MAX;
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
            found: true,
            stopped: false,
            from: packet.from.clone(),
            credentials: packet.credentials,
            rights: if peek { packet.rights.clone() } else { std::mem::take(&mut packet.rights) },
        };
        if !peek && let Some(packet) = unix.queue.pop_front() {
            self.unix.in_flight -= taken.rights.len();
            self.unix_wake_waiting(socket);
            if full {
                self.unix_wake_connected(socket);
            }
            self.unix_drop(packet);
        }
        Ok(taken)
    }

    /// A packet is gone, and with it the files that nobody received.
    pub(super) fn unix_drop(&mut self, packet: Packet) {
        self.unix.in_flight -= packet.rights.len();
        self.released.extend(packet.rights);
        self.unix_paid(packet.sender, packet.charge);
        self.recycle(packet.bytes);
    }

    /// A sender's memory is free again: `sock_wfree`, `unix_write_space`.
    fn unix_paid(&mut self, sender: Socket, charge: usize) {
        let Some(state) = self.sockets.get(sender) else { return };
        let capacity = state.options.send_buffer;
        let Some(unix) = self.unix_socket_mut(sender) else { return };
        unix.sent_bytes -= charge;
        if unix.has_room(capacity) {
            self.notify(sender, WRITABLE);
        }
    }
}
