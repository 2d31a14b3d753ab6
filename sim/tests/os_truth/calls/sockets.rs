//! Socket calls.

use super::{Addr, bits, bytes};
use crate::transcript::{Transcript, outcome, record};
use libc::{
    AF_INET, AF_INET6, AF_UNIX, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_SEQPACKET, SOCK_STREAM, c_int, msghdr, socklen_t,
};

/// Message flags by name (recv(2), send(2)).
const FLAGS: [(u32, &str); 12] = [
    (libc::MSG_PEEK as u32, "PEEK"),
    (libc::MSG_TRUNC as u32, "TRUNC"),
    (libc::MSG_CTRUNC as u32, "CTRUNC"),
    (libc::MSG_DONTWAIT as u32, "DONTWAIT"),
    (libc::MSG_WAITALL as u32, "WAITALL"),
    (libc::MSG_OOB as u32, "OOB"),
    (libc::MSG_NOSIGNAL as u32, "NOSIGNAL"),
    (libc::MSG_MORE as u32, "MORE"),
    (libc::MSG_EOR as u32, "EOR"),
    (libc::MSG_ERRQUEUE as u32, "ERRQUEUE"),
    (libc::MSG_DONTROUTE as u32, "DONTROUTE"),
    (libc::MSG_CMSG_CLOEXEC as u32, "CMSG_CLOEXEC"),
];

/// Message flags in words.
pub fn flags(value: c_int) -> String {
    if value == 0 { "0".to_owned() } else { bits(value as u32, &FLAGS) }
}

fn kind(value: c_int) -> String {
    let base = match value & 0xf {
        SOCK_STREAM => "STREAM",
        SOCK_DGRAM => "DGRAM",
        SOCK_SEQPACKET => "SEQPACKET",
        libc::SOCK_RAW => "RAW",
        _ => "?",
    };
    let nonblocking = if value & SOCK_NONBLOCK != 0 { "|NONBLOCK" } else { "" };
    let close = if value & libc::SOCK_CLOEXEC != 0 { "|CLOEXEC" } else { "" };
    format!("{base}{nonblocking}{close}")
}

fn family(value: c_int) -> String {
    match value {
        AF_INET => "INET".to_owned(),
        AF_INET6 => "INET6".to_owned(),
        AF_UNIX => "UNIX".to_owned(),
        libc::AF_NETLINK => "NETLINK".to_owned(),
        other => other.to_string(),
    }
}

impl Transcript {
    pub fn socket(&self, domain: c_int, socket_type: c_int, protocol: c_int) -> c_int {
        let text = (family(domain), kind(socket_type));
        let call = || unsafe { libc::socket(domain, socket_type, protocol) };
        record!(self, call(), "socket({}, {}, {protocol})", text.0, text.1) as c_int
    }

    pub fn tcp(&self) -> c_int {
        self.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)
    }

    pub fn tcp6(&self) -> c_int {
        self.socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0)
    }

    pub fn udp(&self) -> c_int {
        self.socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0)
    }

    pub fn udp6(&self) -> c_int {
        self.socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, 0)
    }

    pub fn unix(&self, socket_type: c_int) -> c_int {
        self.socket(AF_UNIX, socket_type | SOCK_NONBLOCK, 0)
    }

    pub fn socketpair(&self, domain: c_int, socket_type: c_int) -> (c_int, c_int) {
        let mut ends = [-1; 2];
        let (result, errno) = outcome!(unsafe { libc::socketpair(domain, socket_type, 0, ends.as_mut_ptr()) });
        let text = (family(domain), kind(socket_type));
        self.returned(format_args!("socketpair({}, {})", text.0, text.1), result, errno, &format!(" {ends:?}"));
        (ends[0], ends[1])
    }

    pub fn bind(&self, fd: c_int, address: Addr) -> c_int {
        let shown = address.show(self);
        record!(self, unsafe { libc::bind(fd, address.pointer(), address.len) }, "bind({fd}, {shown})") as c_int
    }

    pub fn listen(&self, fd: c_int, backlog: c_int) -> c_int {
        record!(self, unsafe { libc::listen(fd, backlog) }, "listen({fd}, {backlog})") as c_int
    }

    pub fn connect(&self, fd: c_int, address: Addr) -> c_int {
        let shown = address.show(self);
        record!(self, unsafe { libc::connect(fd, address.pointer(), address.len) }, "connect({fd}, {shown})") as c_int
    }

    pub fn accept(&self, fd: c_int) -> c_int {
        self.accept4(fd, SOCK_NONBLOCK)
    }

    pub fn accept4(&self, fd: c_int, socket_flags: c_int) -> c_int {
        let mut peer = Addr::room();
        let mut len = peer.len;
        let (result, errno) = outcome!(unsafe { libc::accept4(fd, peer.pointer_mut(), &mut len, socket_flags) });
        peer.len = len;
        let out = if result < 0 { String::new() } else { format!(" from {}", peer.show(self)) };
        self.returned(format_args!("accept4({fd}, {socket_flags:#x})"), result, errno, &out);
        result as c_int
    }

    pub fn shutdown(&self, fd: c_int, how: c_int) -> c_int {
        let names = ["RD", "WR", "RDWR"];
        let name = names.get(how as usize).copied().unwrap_or("?");
        record!(self, unsafe { libc::shutdown(fd, how) }, "shutdown({fd}, {name})") as c_int
    }

    /// getsockname(2); answers the address.
    pub fn getsockname(&self, fd: c_int) -> Addr {
        let mut name = Addr::room();
        let mut len = name.len;
        let (result, errno) = outcome!(unsafe { libc::getsockname(fd, name.pointer_mut(), &mut len) });
        name.len = len;
        let out = if result < 0 { String::new() } else { format!(" {} ({len} bytes)", name.show(self)) };
        self.returned(format_args!("getsockname({fd})"), result, errno, &out);
        name
    }

    pub fn getpeername(&self, fd: c_int) -> Addr {
        let mut name = Addr::room();
        let mut len = name.len;
        let (result, errno) = outcome!(unsafe { libc::getpeername(fd, name.pointer_mut(), &mut len) });
        name.len = len;
        let out = if result < 0 { String::new() } else { format!(" {} ({len} bytes)", name.show(self)) };
        self.returned(format_args!("getpeername({fd})"), result, errno, &out);
        name
    }

    /// The address conventions of getsockname(2): a buffer too small, and a negative length.
    pub fn getsockname_cut(&self, fd: c_int, room: i32) -> c_int {
        let mut name = Addr::room();
        let mut len = room as socklen_t;
        let (result, errno) = outcome!(unsafe { libc::getsockname(fd, name.pointer_mut(), &mut len) });
        self.returned(format_args!("getsockname({fd}, room for {room})"), result, errno, &format!(" {len} bytes"));
        result as c_int
    }

    pub fn recv(&self, fd: c_int, room: usize, how: c_int) -> i64 {
        let mut buffer = vec![0u8; room];
        let (result, errno) = outcome!(unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), room, how) });
        let out = if result > 0 { bytes(&buffer[..(result as usize).min(room)]) } else { String::new() };
        self.returned(format_args!("recv({fd}, {room}, {})", flags(how)), result, errno, &out);
        result
    }

    pub fn recvfrom(&self, fd: c_int, room: usize, how: c_int) -> i64 {
        let mut buffer = vec![0u8; room];
        let mut from = Addr::room();
        let mut len = from.len;
        let call =
            || unsafe { libc::recvfrom(fd, buffer.as_mut_ptr().cast(), room, how, from.pointer_mut(), &mut len) };
        let (result, errno) = outcome!({
            let mut call = call;
            call()
        });
        from.len = len;
        let mut out = String::new();
        if result >= 0 {
            let sender = if len == 0 { "nobody".to_owned() } else { from.show(self) };
            out = format!("{} from {sender}", bytes(&buffer[..(result as usize).min(room)]));
        }
        self.returned(format_args!("recvfrom({fd}, {room}, {})", flags(how)), result, errno, &out);
        result
    }

    pub fn send(&self, fd: c_int, content: &[u8], how: c_int) -> i64 {
        let shown = (bytes(content), flags(how));
        let call = || unsafe { libc::send(fd, content.as_ptr().cast(), content.len(), how) };
        record!(self, call(), "send({fd},{}, {})", shown.0, shown.1) as i64
    }

    pub fn sendto(&self, fd: c_int, content: &[u8], how: c_int, to: Addr) -> i64 {
        let shown = (bytes(content), flags(how), to.show(self));
        let (base, count) = (content.as_ptr().cast(), content.len());
        let call = || unsafe { libc::sendto(fd, base, count, how, to.pointer(), to.len) };
        record!(self, call(), "sendto({fd},{}, {}, {})", shown.0, shown.1, shown.2) as i64
    }

    /// recvmsg(2) with a name and room for control messages, written down by level, type and content.
    pub fn recvmsg(&self, fd: c_int, room: usize, control_room: usize, how: c_int) -> (i64, Vec<c_int>) {
        let mut buffer = vec![0u8; room];
        let mut control = vec![0u64; control_room.div_ceil(8)];
        let mut from = Addr::room();
        let mut list = super::descriptors::parts(&mut buffer, 4);
        let mut message: msghdr = unsafe { std::mem::zeroed() };
        message.msg_name = from.bytes.as_mut_ptr().cast();
        message.msg_namelen = from.len;
        message.msg_iov = list.as_mut_ptr();
        message.msg_iovlen = list.len();
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = control_room;
        let (result, errno) = outcome!(unsafe { libc::recvmsg(fd, &mut message, how) });
        let mut out = String::new();
        let mut passed = Vec::new();
        if result >= 0 {
            from.len = message.msg_namelen;
            let sender = if from.len == 0 { "nobody".to_owned() } else { from.show(self) };
            let content = bytes(&buffer[..(result as usize).min(room)]);
            let (controls, fds) = self.controls(&message);
            passed = fds;
            out = format!("{content} from {sender}, flags {}{controls}", flags(message.msg_flags));
        }
        self.returned(
            format_args!("recvmsg({fd}, {room}, control {control_room}, {})", flags(how)),
            result,
            errno,
            &out,
        );
        (result, passed)
    }

    fn controls(&self, message: &msghdr) -> (String, Vec<c_int>) {
        let mut text = String::new();
        let mut passed = Vec::new();
        let mut at = unsafe { libc::CMSG_FIRSTHDR(message) };
        while let Some(header) = unsafe { at.as_ref() } {
            let payload = unsafe { libc::CMSG_DATA(at) };
            let count = header.cmsg_len - (payload as usize - at as usize);
            let payload = unsafe { std::slice::from_raw_parts(payload, count) };
            match (header.cmsg_level, header.cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                    let fds = payload.chunks_exact(4).map(|c| c_int::from_ne_bytes([c[0], c[1], c[2], c[3]]));
                    passed.extend(fds);
                    text.push_str(&format!(", rights {passed:?}"));
                }
                (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) => {
                    let word = |i: usize| u32::from_ne_bytes(payload[4 * i..4 * i + 4].try_into().unwrap_or_default());
                    let pid = if word(0) == std::process::id() { "own pid".to_owned() } else { word(0).to_string() };
                    let same = unsafe { word(1) == libc::getuid() && word(2) == libc::getgid() };
                    let who = if same { "own user and group".to_owned() } else { format!("{} {}", word(1), word(2)) };
                    text.push_str(&format!(", credentials {pid} {who}"));
                }
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMP | libc::SCM_TIMESTAMPNS) => {
                    // The seconds since 1970 are many; what comes after them is less than one.
                    let word = |i: usize| i64::from_ne_bytes(payload[8 * i..8 * i + 8].try_into().unwrap_or_default());
                    let (kind, most) = match header.cmsg_type {
                        libc::SCM_TIMESTAMP => ("microseconds", 1_000_000),
                        _ => ("nanoseconds", 1_000_000_000),
                    };
                    let sane = word(0) > 900_000_000 && (0..most).contains(&word(1));
                    text.push_str(&format!(", arrived at {kind}, sane {sane}"));
                }
                (level, kind) => text.push_str(&format!(", control {level}/{kind} {payload:?}")),
            }
            at = unsafe { libc::CMSG_NXTHDR(message, at) };
        }
        (text, passed)
    }

    /// sendmsg(2) with an address, perhaps, and descriptors to pass, perhaps.
    pub fn sendmsg(&self, fd: c_int, content: &[u8], to: Option<Addr>, rights: &[c_int], how: c_int) -> i64 {
        let shown = bytes(content);
        let mut content = content.to_vec();
        let mut list = super::descriptors::parts(&mut content, 3);
        let mut message: msghdr = unsafe { std::mem::zeroed() };
        let mut to = to;
        let mut target = "nobody".to_owned();
        if let Some(to) = &mut to {
            target = to.show(self);
            message.msg_name = to.bytes.as_mut_ptr().cast();
            message.msg_namelen = to.len;
        }
        message.msg_iov = list.as_mut_ptr();
        message.msg_iovlen = list.len();
        let mut control = [0u64; 32];
        if !rights.is_empty() {
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = unsafe { libc::CMSG_SPACE(size_of_val(rights) as u32) } as usize;
            unsafe {
                let header = libc::CMSG_FIRSTHDR(&message);
                (*header).cmsg_level = libc::SOL_SOCKET;
                (*header).cmsg_type = libc::SCM_RIGHTS;
                (*header).cmsg_len = libc::CMSG_LEN(size_of_val(rights) as u32) as usize;
                std::ptr::copy_nonoverlapping(rights.as_ptr(), libc::CMSG_DATA(header).cast(), rights.len());
            }
        }
        let (result, errno) = outcome!(unsafe { libc::sendmsg(fd, &message, how) });
        let text = format_args!("sendmsg({fd},{shown} to {target}, rights {rights:?}, {})", flags(how)).to_string();
        self.returned(format_args!("{text}"), result, errno, "");
        result
    }

    /// recvmmsg(2) of up to three messages, without waiting.
    pub fn recvmmsg(&self, fd: c_int) -> i64 {
        let mut buffers = [[0u8; 16]; 3];
        let mut lists = buffers.each_mut().map(|b| libc::iovec { iov_base: b.as_mut_ptr().cast(), iov_len: 16 });
        let mut messages = lists.each_mut().map(|list| {
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            message.msg_hdr.msg_iov = list;
            message.msg_hdr.msg_iovlen = 1;
            message
        });
        let call = || unsafe { libc::recvmmsg(fd, messages.as_mut_ptr(), 3, libc::MSG_DONTWAIT, std::ptr::null_mut()) };
        let (result, errno) = outcome!({
            let mut call = call;
            call()
        });
        let got = messages.iter().take(usize::try_from(result).unwrap_or(0));
        let out: String = got.map(|m| format!(" {}/{}", m.msg_len, flags(m.msg_hdr.msg_flags))).collect();
        self.returned(format_args!("recvmmsg({fd}, 3)"), result, errno, &out);
        result
    }

    /// sendmmsg(2) of two messages to where the socket is connected.
    pub fn sendmmsg(&self, fd: c_int) -> i64 {
        let mut buffers = [*b"one", *b"two"];
        let mut lists = buffers.each_mut().map(|b| libc::iovec { iov_base: b.as_mut_ptr().cast(), iov_len: 3 });
        let mut messages = lists.each_mut().map(|list| {
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            message.msg_hdr.msg_iov = list;
            message.msg_hdr.msg_iovlen = 1;
            message
        });
        let call = || unsafe { libc::sendmmsg(fd, messages.as_mut_ptr(), 2, libc::MSG_NOSIGNAL) };
        let (result, errno) = outcome!({
            let mut call = call;
            call()
        });
        let sent = messages.iter().take(usize::try_from(result).unwrap_or(0));
        let out: String = sent.map(|m| format!(" {}", m.msg_len)).collect();
        self.returned(format_args!("sendmmsg({fd}, 2)"), result, errno, &out);
        result
    }

    /// A socket that listens on a loopback address with a port that the kernel chose; answers it and the address.
    pub fn listener(&self, domain: c_int, backlog: c_int) -> (c_int, Addr) {
        let fd = self.socket(domain, SOCK_STREAM | SOCK_NONBLOCK, 0);
        self.bind(fd, Addr::loopback(domain, 0));
        self.listen(fd, backlog);
        (fd, self.getsockname(fd))
    }

    /// An established connection: `(listener, client, server)`.
    pub fn connection(&self, domain: c_int) -> (c_int, c_int, c_int) {
        let (listener, address) = self.listener(domain, 8);
        let client = self.socket(domain, SOCK_STREAM | SOCK_NONBLOCK, 0);
        self.connect(client, address);
        self.settle();
        let server = self.accept(listener);
        (listener, client, server)
    }

    /// A port of the loopback address that nobody listens on.
    pub fn closed_port(&self) -> u16 {
        let fd = self.tcp();
        self.bind(fd, Addr::local(0));
        let port = self.getsockname(fd).port();
        self.close(fd);
        port
    }
}
