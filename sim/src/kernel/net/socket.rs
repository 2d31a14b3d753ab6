//! Sockets: what a file description of kind socket refers to.

use super::address::Family;
use super::options::Options;
use super::tcp::{Standing, Tcp};
use super::udp::Udp;
use super::{Endpoint, Network, Socket};
use crate::kernel::FileId;
use crate::kernel::netlink::Netlink;
use crate::kernel::unix::UnixSocket;
use crate::world::HostId;
use libc::{AF_UNIX, SOCK_STREAM, c_int};

/// What a socket speaks, and its state in that.
pub(crate) enum Protocol {
    /// TCP over IPv4 or IPv6.
    Tcp(Tcp),
    /// UDP over IPv4 or IPv6.
    Udp(Box<Udp>),
    /// Unix domain, of any type.
    Unix(Box<UnixSocket>),
    /// Questions to the kernel.
    Netlink(Box<Netlink>),
}

/// A socket.
pub(crate) struct SocketState {
    pub(crate) host: HostId,
    /// The file description, once it exists.
    pub(crate) file: Option<FileId>,
    /// Address family of an internet socket.
    pub(crate) family: Family,
    /// Own address; port 0 while there was none. A TCP socket that has lost its port still names it.
    pub(crate) local: Endpoint,
    /// The program chose the port with `bind` (`SOCK_BINDPORT_LOCK`).
    pub(crate) bound_by_program: bool,
    /// The program chose the address with `bind` (`SOCK_BINDADDR_LOCK`).
    pub(crate) bound_address: bool,
    /// Whether the socket itself holds its port.
    pub(crate) holds_port: bool,
    /// `sk_err`, except for connections, which keep their own.
    pub(crate) error: i32,
    /// `sk_shutdown` of a TCP socket that is not connected; connections keep their own.
    pub(crate) read_shut: bool,
    pub(crate) write_shut: bool,
    /// What a TCP socket thinks of `connect`.
    pub(crate) standing: Standing,
    pub(crate) options: Options,
    pub(crate) protocol: Protocol,
}

impl SocketState {
    /// A fresh socket.
    pub(crate) fn new(host: HostId, family: Family, options: Options, protocol: Protocol) -> SocketState {
        SocketState {
            host,
            file: None,
            family,
            local: Endpoint::new(family.any(), 0),
            bound_by_program: false,
            bound_address: false,
            holds_port: false,
            error: 0,
            read_shut: false,
            write_shut: false,
            standing: Standing::Unconnected,
            options,
            protocol,
        }
    }

    /// The TCP state, if it is a TCP socket.
    pub(crate) fn tcp_mut(&mut self) -> Option<&mut Tcp> {
        match &mut self.protocol {
            Protocol::Tcp(tcp) => Some(tcp),
            Protocol::Udp(_) | Protocol::Unix(_) | Protocol::Netlink(_) => None,
        }
    }

    /// Changes the TCP state.
    pub(crate) fn set_tcp(&mut self, state: Tcp) {
        self.protocol = Protocol::Tcp(state);
    }

    /// `SO_DOMAIN`.
    pub(crate) fn domain(&self) -> c_int {
        match self.protocol {
            Protocol::Unix(_) => AF_UNIX,
            Protocol::Netlink(_) => libc::AF_NETLINK,
            Protocol::Tcp(_) | Protocol::Udp(_) => self.family.number(),
        }
    }

    /// `SO_TYPE`.
    pub(crate) fn kind(&self) -> c_int {
        match &self.protocol {
            Protocol::Tcp(_) => SOCK_STREAM,
            Protocol::Udp(_) => libc::SOCK_DGRAM,
            Protocol::Unix(unix) => unix.kind.number(),
            Protocol::Netlink(netlink) => netlink.kind(),
        }
    }
}

impl Network {
    /// Makes a socket.
    pub(crate) fn new_socket(&mut self, state: SocketState) -> Socket {
        let host = state.host;
        let socket = self.sockets.insert(state);
        self.stack(host).sockets.insert(socket);
        socket
    }

    /// What a socket is ready for, as `EPOLL*` bits.
    #[inline]
    pub(crate) fn readiness(&self, socket: Socket) -> u32 {
        let Some(state) = self.sockets.get(socket) else { return 0 };
        match &state.protocol {
            Protocol::Tcp(tcp) => self.tcp_readiness(socket, tcp),
            Protocol::Udp(udp) => udp.readiness(state.error),
            Protocol::Unix(unix) => self.unix_readiness(socket, (state.error, state.options.send_buffer), unix),
            Protocol::Netlink(netlink) => netlink.readiness(state.error),
        }
    }

    /// What a socket is, in reports.
    pub(crate) fn describe(&self, socket: Socket) -> String {
        let Some(state) = self.sockets.get(socket) else { return "a socket of a host that crashed".to_owned() };
        let address = |endpoint: Endpoint| match endpoint.ip {
            ip if endpoint.port == 0 && ip.is_unspecified() => "no address".to_owned(),
            ip => std::net::SocketAddr::new(ip, endpoint.port).to_string(),
        };
        match &state.protocol {
            Protocol::Tcp(Tcp::Closed) => format!("a TCP socket at {}", address(state.local)),
            Protocol::Tcp(Tcp::Listening(_)) => format!("a TCP listener at {}", address(state.local)),
            Protocol::Tcp(Tcp::Connected { connection, side, .. }) => {
                let ends = &self.connections[*connection].ends;
                let (local, remote) = (ends[*side].local, ends[side.other()].local);
                let remote_name = &self.stacks[ends[side.other()].host.0 as usize].name;
                format!("a TCP connection {} to {} ({remote_name})", address(local), address(remote))
            }
            Protocol::Udp(_) => format!("a UDP socket at {}", address(state.local)),
            Protocol::Unix(unix) => unix.describe(),
            Protocol::Netlink(_) => "a netlink socket".to_owned(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Family, Options, Protocol, SocketState, Tcp};
    use crate::world::HostId;

    /// A socket for tests that need one and no more.
    pub(crate) fn any() -> SocketState {
        SocketState::new(HostId(0), Family::V4, Options::stream(), Protocol::Tcp(Tcp::Closed))
    }
}
