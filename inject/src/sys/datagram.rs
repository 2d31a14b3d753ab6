//! Datagrams whose receiver matters: for a server that answers under whatever address it was asked at. Sockets are IPv6
//! ones that take IPv4 as well, so that one way of saying it serves both (RFC 3493 §3.7).

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

/// linux/in6.h; the libc crate has it for some targets only.
const IPV6_TRANSPARENT: libc::c_int = 75;
/// Room for one control message with a `struct in6_pktinfo`, and more than that.
const CONTROL_BYTES: usize = 128;

/// A datagram that has come.
#[derive(Debug, Clone, Copy)]
pub struct Received {
    /// How many bytes.
    pub length: usize,
    /// Who sent it.
    pub from: SocketAddr,
    /// Which address it was sent to.
    pub to: IpAddr,
}

/// Control messages are aligned like their header (cmsg(3)).
#[repr(C)]
union Control {
    bytes: [u8; CONTROL_BYTES],
    _aligned: libc::cmsghdr,
}

/// Lets an IPv6 socket speak under addresses that are not this machine's, once packets for them are routed to it
/// (ip(7), `IP_TRANSPARENT`), and lets [`receive`] know which one it was.
///
/// # Errors
/// The caller lacks `CAP_NET_ADMIN` in the socket's network namespace.
pub fn serve_any_address(socket: BorrowedFd<'_>) -> io::Result<()> {
    for option in [IPV6_TRANSPARENT, libc::IPV6_RECVPKTINFO] {
        let on: libc::c_int = 1;
        let size = mem::size_of_val(&on) as libc::socklen_t;
        // SAFETY: `on` is an int of this size, which is what both options take.
        let set =
            unsafe { libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_IPV6, option, (&raw const on).cast(), size) };
        if set != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Receives a datagram, without waiting.
///
/// # Errors
/// As recvmsg(2); `WouldBlock` if none is there.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    let mut control = Control { bytes: [0; CONTROL_BYTES] };
    let mut from = MaybeUninit::<libc::sockaddr_in6>::zeroed();
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all zeros is a valid `msghdr`: null pointers and lengths of zero.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = from.as_mut_ptr().cast();
    message.msg_namelen = mem::size_of::<libc::sockaddr_in6>() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = CONTROL_BYTES;
    // SAFETY: `message` points to a name, a buffer and a control area, each of the length it says and alive.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: it was zeroed, and any bytes are a valid `sockaddr_in6`.
    let from = unsafe { from.assume_init() };
    let to = destination(&message).ok_or_else(|| io::Error::other("a datagram without its destination"))?;
    let from = SocketAddr::new(canonical(from.sin6_addr), u16::from_be(from.sin6_port));
    Ok(Received { length, from, to })
}

/// Sends a datagram from an address which need not be this machine's.
///
/// # Errors
/// As sendmsg(2).
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], from: IpAddr, to: SocketAddr) -> io::Result<()> {
    // SAFETY: all zeros is a valid `sockaddr_in6`.
    let mut name: libc::sockaddr_in6 = unsafe { mem::zeroed() };
    name.sin6_family = libc::AF_INET6 as libc::sa_family_t;
    name.sin6_port = to.port().to_be();
    name.sin6_addr = mapped(to.ip());
    let source = libc::in6_pktinfo { ipi6_addr: mapped(from), ipi6_ifindex: 0 };
    let size = mem::size_of_val(&source) as libc::c_uint;
    let mut control = Control { bytes: [0; CONTROL_BYTES] };
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: all zeros is a valid `msghdr`.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = (&raw mut name).cast();
    message.msg_namelen = mem::size_of_val(&name) as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    // SAFETY: computes lengths; the first header of a control area that is long enough for one is its beginning, which
    // `Control` aligns; the content that follows it fits, and is written unaligned.
    unsafe {
        message.msg_controllen = libc::CMSG_SPACE(size) as usize;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::IPPROTO_IPV6;
        (*header).cmsg_type = libc::IPV6_PKTINFO;
        (*header).cmsg_len = libc::CMSG_LEN(size) as usize;
        libc::CMSG_DATA(header).cast::<libc::in6_pktinfo>().write_unaligned(source);
    }
    // SAFETY: as in `receive`; nothing is written to what is sent.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_DONTWAIT) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Which address a datagram was sent to.
fn destination(message: &libc::msghdr) -> Option<IpAddr> {
    // SAFETY: the kernel has filled in `message`, whose control area is alive: cmsg(3) walks it within its length. An
    // `in6_pktinfo` is read where a message says that it is one, unaligned.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::IPPROTO_IPV6 && (*header).cmsg_type == libc::IPV6_PKTINFO {
                let packet = libc::CMSG_DATA(header).cast::<libc::in6_pktinfo>().read_unaligned();
                return Some(canonical(packet.ipi6_addr));
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    None
}

/// `::ffff:a.b.c.d` is IPv4 (RFC 4291 §2.5.5.2).
fn canonical(address: libc::in6_addr) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(address.s6_addr)).to_canonical()
}

fn mapped(address: IpAddr) -> libc::in6_addr {
    let address = match address {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    libc::in6_addr { s6_addr: address.octets() }
}
