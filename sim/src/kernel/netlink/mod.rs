//! netlink(7): how programs ask which interfaces, addresses and routes there are (rtnetlink(7)).
//!
//! Only `NETLINK_ROUTE`, and only questions. Programs of a world have no privilege, so they may change nothing; and
//! what they may ask about never changes, so whoever joins a group of listeners hears nothing. A partition shows at no
//! interface: the trouble is on the way.
//!
//! | file | what is in it |
//! | --- | --- |
//! | `mod.rs` | the sockets: af_netlink.c |
//! | `options.rs` | their options, and the groups of listeners |
//! | `request.rs` | what a request asks, and the shape of answers: rtnetlink.c |
//! | `filter.rs` | what a question about everything names |
//! | `tables.rs` | a host's interfaces, addresses and routes |
//!
//! What an acknowledgement says beside its number (`NETLINK_EXT_ACK`) is left out, as older kernels do.

mod filter;
mod options;
mod request;
mod tables;

use super::dispatch::Kernel;
use super::file::FileId;
use super::net::control::{self, Message};
use super::net::{Fail, Incoming, Network, Outgoing, Protocol, RawAddress, Socket, SocketState};
use super::net::{Family, options_of_datagrams};
use super::unix::true_size;
use super::{Step, Stop, ThreadId};
use crate::abi::user::{In, Out};
use libc::{AF_NETLINK, EADDRINUSE, EBUSY, EINVAL, EMSGSIZE, ENODATA, EOPNOTSUPP, EPERM, c_int};
use std::collections::VecDeque;

pub(crate) use options::SOL_NETLINK;

/// Something waits to be received.
const DATA: u32 = libc::EPOLLIN as u32;
/// Size of `sockaddr_nl`.
const ADDRESS_BYTES: usize = 12;
/// What the buffer for sending keeps for itself (`netlink_sendmsg`).
const SEND_BUFFER_KEPT: usize = 32;

/// A netlink socket's own state.
#[derive(Default)]
pub(crate) struct Netlink {
    /// Made as `SOCK_RAW`, which is the same as `SOCK_DGRAM` but for `SO_TYPE`.
    raw: bool,
    /// `nl_pid`, by which answers find the socket; 0 while it has none.
    port: u32,
    /// The groups that it listens to, the first in the lowest bit.
    groups: u64,
    /// What the kernel has answered.
    queue: VecDeque<Vec<u8>>,
    queued_bytes: usize,
    /// The end of an answer in several parts, which comes when the part before is looked at.
    rest: Option<Vec<u8>>,
    flags: options::Flags,
}

impl Netlink {
    /// What the socket is ready for.
    pub(crate) fn readiness(&self, error: i32) -> u32 {
        let reading = if self.queue.is_empty() { 0 } else { DATA };
        reading | libc::EPOLLOUT as u32 | if error == 0 { 0 } else { libc::EPOLLERR as u32 }
    }

    /// `SO_TYPE`.
    pub(crate) fn kind(&self) -> c_int {
        if self.raw { libc::SOCK_RAW } else { libc::SOCK_DGRAM }
    }

    /// getsockname(2).
    pub(crate) fn name(&self) -> RawAddress {
        address(self.port, self.groups as u32)
    }

    /// Queues what the kernel has to say; false when there is no room for it.
    fn deliver(&mut self, message: Vec<u8>, room: usize) -> bool {
        let size = true_size(message.len());
        if self.queued_bytes + size > room {
            return false;
        }
        self.queued_bytes += size;
        self.queue.push_back(message);
        true
    }
}

/// The `sockaddr_nl` with this port and these groups.
fn address(port: u32, groups: u32) -> RawAddress {
    let mut raw = RawAddress::empty();
    raw.bytes[..2].copy_from_slice(&(AF_NETLINK as u16).to_ne_bytes());
    raw.bytes[4..8].copy_from_slice(&port.to_ne_bytes());
    raw.bytes[8..12].copy_from_slice(&groups.to_ne_bytes());
    raw.len = ADDRESS_BYTES;
    raw
}

/// What the kernel itself is called, as getpeername(2) and recvmsg(2) tell.
pub(crate) fn kernel_address() -> RawAddress {
    address(0, 0)
}

/// Port and groups.
fn decode(raw: &RawAddress) -> Result<(u32, u32), c_int> {
    if raw.len < ADDRESS_BYTES || raw.family() != Some(AF_NETLINK) {
        return Err(EINVAL);
    }
    Ok((word(raw.bytes(), 4).unwrap_or(0), word(raw.bytes(), 8).unwrap_or(0)))
}

/// The 32-bit number at an offset.
fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// What may come along with a request: nothing but who sends it (`__scm_send`, net/core/scm.c).
///
/// # Errors
/// `EINVAL`.
fn check_control(control: &[u8]) -> Result<(), c_int> {
    let of_sockets = |message: &Message<'_>| message.level == libc::SOL_SOCKET;
    let mut messages = control::parse(control)?.into_iter().filter(of_sockets);
    if messages.any(|message| message.kind != libc::SCM_CREDENTIALS) { Err(EINVAL) } else { Ok(()) }
}

impl Kernel {
    /// socket(2) with `AF_NETLINK`: `netlink_create`.
    pub(crate) fn new_netlink_socket(
        &mut self,
        me: ThreadId,
        kind: c_int,
        protocol: c_int,
    ) -> Result<SocketState, Stop> {
        const PROTOCOLS: std::ops::Range<c_int> = 0..32; // MAX_LINKS
        if kind != libc::SOCK_RAW && kind != libc::SOCK_DGRAM {
            return Err(Stop::Errno(libc::ESOCKTNOSUPPORT));
        }
        if !PROTOCOLS.contains(&protocol) {
            return Err(Stop::Errno(libc::EPROTONOSUPPORT));
        }
        if protocol != libc::NETLINK_ROUTE {
            let remedy = format!("netlink sockets of protocol {protocol} are not simulated: there is NETLINK_ROUTE");
            self.refuse(me, "socket", &remedy);
            return Err(Stop::Block);
        }
        let netlink = Netlink { raw: kind == libc::SOCK_RAW, ..Netlink::default() };
        let protocol = Protocol::Netlink(Box::new(netlink));
        Ok(SocketState::new(self.host_id(me), Family::V4, options_of_datagrams(), protocol))
    }

    /// bind(2): `netlink_bind`.
    pub(crate) fn netlink_bind(&mut self, me: ThreadId, socket: Socket, raw: &RawAddress) -> Step {
        let (port, groups) = decode(raw)?;
        options::may_listen(u64::from(groups))?;
        let own = self.net.netlink(socket)?.port;
        match (own, port) {
            (0, 0) => self.netlink_autobind(me, socket),
            (0, port) => self.net.netlink_take_port(socket, port)?,
            (own, port) if own != port => return Err(Stop::Errno(EINVAL)),
            _ => {}
        }
        let netlink = self.net.netlink(socket)?;
        netlink.groups = netlink.groups >> 32 << 32 | u64::from(groups);
        Ok(0)
    }

    /// `netlink_autobind`: the process's number, or when another socket has that, some number beyond all processes'.
    fn netlink_autobind(&mut self, me: ThreadId, socket: Socket) {
        /// `-4096`, below which numbers are drawn, down to the least.
        const HIGHEST: u32 = 4096_u32.wrapping_neg();
        const COUNT: u64 = (1 << 31) - 4096;
        let mut port = self.processes[self.threads[me].process].pid as u32;
        let host = self.host_id(me);
        while self.net.netlink_take_port(socket, port).is_err() {
            port = HIGHEST - self.net.draw_port(host, COUNT) as u32;
        }
    }

    /// connect(2): `netlink_connect`. There is nobody to connect to but the kernel, which everything goes to anyway.
    pub(crate) fn netlink_connect(&mut self, me: ThreadId, socket: Socket, raw: &RawAddress) -> Step {
        if raw.family() == Some(libc::AF_UNSPEC) {
            return Ok(0);
        }
        if decode(raw)? != (0, 0) {
            return Err(Stop::Errno(EPERM));
        }
        if self.net.netlink(socket)?.port == 0 {
            self.netlink_autobind(me, socket);
        }
        Ok(0)
    }

    /// `netlink_sendmsg`.
    pub(crate) fn netlink_send(
        &mut self,
        me: ThreadId,
        socket: Socket,
        input: &In<'_>,
        outgoing: Outgoing<'_>,
    ) -> Step {
        if outgoing.flags & libc::MSG_OOB != 0 {
            return Err(Stop::Errno(EOPNOTSUPP));
        }
        let bytes = input.len();
        if bytes == 0 {
            return Err(Stop::Errno(ENODATA));
        }
        check_control(outgoing.control)?;
        if let Some(to) = outgoing.to
            && decode(to)? != (0, 0)
        {
            return Err(Stop::Errno(EPERM)); // others than the kernel are for the privileged
        }
        if self.net.netlink(socket)?.port == 0 {
            self.netlink_autobind(me, socket);
        }
        if bytes > self.net.sockets[socket].options.send_buffer as usize - SEND_BUFFER_KEPT {
            return Err(Stop::Errno(EMSGSIZE));
        }
        let uid = self.credentials(me).uid;
        let asked = input.to_vec(0, bytes);
        if let Err(unknown) = self.network(|net, _| net.netlink_ask(socket, &asked, uid)) {
            self.refuse(me, "send", unknown);
            return Err(Stop::Block);
        }
        Ok(bytes as i64)
    }

    /// `netlink_recvmsg`.
    pub(crate) fn netlink_receive(
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
        let wait = self.receive_waiting(file, socket, flags);
        let error = std::mem::take(&mut self.net.sockets[socket].error);
        if error != 0 {
            return Err(Stop::Errno(error));
        }
        let netlink = self.net.netlink(socket)?;
        let Some(first) = netlink.queue.front() else {
            return Err(self.stop(me, file, Fail::Wait(DATA), wait));
        };
        let bytes = first.len();
        let copied = out.write_at(0, first);
        self.log.returned(&first[..copied]);
        let netlink = self.net.netlink(socket)?;
        if flags & libc::MSG_PEEK == 0
            && let Some(first) = netlink.queue.pop_front()
        {
            netlink.queued_bytes -= true_size(first.len());
        }
        incoming.address = kernel_address();
        if let Some(rest) = netlink.rest.take() {
            self.network(|net, _| net.netlink_deliver(socket, rest));
        }
        let netlink = self.net.netlink(socket)?;
        netlink.flags.describe(&mut incoming.control);
        self.log.returned(incoming.address.bytes());
        self.log.returned(&incoming.control.bytes);
        Ok(incoming.length(copied, bytes, flags))
    }
}

impl Network {
    /// The state of a netlink socket.
    fn netlink(&mut self, socket: Socket) -> Result<&mut Netlink, c_int> {
        match self.sockets.get_mut(socket).map(|state| &mut state.protocol) {
            Some(Protocol::Netlink(netlink)) => Ok(netlink),
            _ => Err(EINVAL),
        }
    }

    /// `netlink_insert`.
    fn netlink_take_port(&mut self, socket: Socket, port: u32) -> Result<(), c_int> {
        let host = self.sockets[socket].host;
        if !self.stack(host).netlink_ports.insert(port) {
            return Err(EADDRINUSE);
        }
        self.netlink(socket)?.port = port;
        Ok(())
    }

    /// Gives the port of a socket that is closed back.
    pub(crate) fn netlink_close(&mut self, socket: Socket) {
        let host = self.sockets[socket].host;
        if let Ok(&mut Netlink { port, .. }) = self.netlink(socket) {
            self.stack(host).netlink_ports.remove(&port);
        }
    }

    /// Answers every message of a request: `netlink_rcv_skb`.
    ///
    /// # Errors
    /// One asks for what is not simulated, described here.
    fn netlink_ask(&mut self, socket: Socket, mut requests: &[u8], uid: u32) -> Result<(), &'static str> {
        while let Some(request) = request::first(requests) {
            self.netlink_answer(socket, &request, uid)?;
            requests = requests.get(request.bytes.len().next_multiple_of(request::ALIGNMENT)..).unwrap_or(&[]);
        }
        Ok(())
    }

    fn netlink_answer(&mut self, socket: Socket, request: &request::Request<'_>, uid: u32) -> Result<(), &'static str> {
        let host = self.sockets[socket].host;
        let Ok(netlink) = self.netlink(socket) else { return Ok(()) };
        let (port, flags, busy) = (netlink.port, netlink.flags, netlink.rest.is_some());
        let tables = tables::Tables { host, stack: &self.stacks[host.0 as usize], uid };
        let error = match request.ask(&tables, flags.strict_check, port)? {
            request::Answer::Parts(..) if busy => EBUSY, // __netlink_dump_start
            // Its end is the acknowledgement.
            request::Answer::Parts(content, end) if content.is_empty() => {
                self.netlink_deliver(socket, end);
                return Ok(());
            }
            request::Answer::Parts(content, end) => {
                if let Ok(netlink) = self.netlink(socket) {
                    netlink.rest = Some(end);
                }
                self.netlink_deliver(socket, content);
                return Ok(());
            }
            request::Answer::One(content) => {
                self.netlink_deliver(socket, content);
                0
            }
            request::Answer::Nothing => 0,
            request::Answer::Fails(error) => error,
        };
        if error != 0 || request.wants_acknowledgement() {
            self.netlink_deliver(socket, request.acknowledgement(error, port, flags.short_acknowledgements));
        }
        Ok(())
    }

    /// Puts an answer into a socket's queue. One that overflows is lost, which the next call says (netlink(7)).
    fn netlink_deliver(&mut self, socket: Socket, message: Vec<u8>) {
        let room = self.sockets[socket].options.receive_buffer as usize;
        let Ok(netlink) = self.netlink(socket) else { return };
        if !netlink.deliver(message, room) && !netlink.flags.no_overflow_error {
            self.sockets[socket].error = libc::ENOBUFS;
        }
        self.notify(socket, DATA);
    }
}
