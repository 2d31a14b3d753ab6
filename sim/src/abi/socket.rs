//! Sockets: socket(2), bind(2), listen(2), accept(2), connect(2), shutdown(2), send(2), recv(2), getsockname(2),
//! getpeername(2), getsockopt(2), setsockopt(2), socketpair(2), and their relatives.

use super::handed::Handed;
use super::user::{In, Out, put_counted, single};
use super::{answer, answer_int, call, hooks};
use crate::kernel::Stop;
use crate::kernel::net::address::ADDRESS_BYTES_MAX;
use crate::kernel::net::{Incoming, Outgoing, RawAddress};
use libc::{c_int, c_uint, c_void, iovec, mmsghdr, msghdr, sockaddr, socklen_t, ssize_t, timespec};

/// recvmsg(2): more than `UIO_MAXIOV` parts are `EMSGSIZE`.
const PARTS_MAX: usize = 1024;
/// `optmem_max` (socket(7)), with room to spare: more ancillary bytes are `ENOBUFS`.
const CONTROL_BYTES_MAX: usize = 131_072;

/// Reads a `sockaddr`.
///
/// # Safety
/// `address` names `length` bytes, or is null.
unsafe fn read_address(address: *const sockaddr, length: socklen_t) -> Result<RawAddress, Stop> {
    let mut raw = RawAddress::empty();
    let length = length as usize;
    if length > ADDRESS_BYTES_MAX {
        return Err(Stop::Errno(libc::EINVAL)); // move_addr_to_kernel; a negative length is very large here
    }
    if address.is_null() {
        return if length == 0 { Ok(raw) } else { Err(Stop::Errno(libc::EFAULT)) };
    }
    // SAFETY: as promised; the length fits.
    unsafe { std::ptr::copy_nonoverlapping(address.cast::<u8>(), raw.bytes.as_mut_ptr(), length) };
    raw.len = length;
    Ok(raw)
}

/// An address that a call may come without.
///
/// # Safety
/// As for [`read_address`].
unsafe fn read_optional_address(address: *const sockaddr, length: socklen_t) -> Result<Option<RawAddress>, Stop> {
    if address.is_null() {
        return Ok(None);
    }
    // SAFETY: as promised.
    unsafe { read_address(address, length) }.map(Some)
}

/// Sends the parts.
///
/// # Safety
/// Everything named is valid for the call.
unsafe fn send_parts(
    name: &'static str,
    fd: c_int,
    (parts, count): (*const iovec, usize),
    (to, to_bytes): (*const sockaddr, socklen_t),
    control: &[u8],
    flags: c_int,
) -> i64 {
    call(name, |k, me| {
        // SAFETY: as promised.
        let (input, to) = unsafe { (In::new(parts, count), read_optional_address(to, to_bytes)?) };
        k.send(me, fd, &input, Outgoing { to: to.as_ref(), control, flags })
    })
}

/// Receives into the parts.
///
/// # Safety
/// Everything named is valid for the call.
unsafe fn receive_parts(
    name: &'static str,
    fd: c_int,
    (parts, count): (*const iovec, usize),
    control_room: usize,
    flags: c_int,
) -> (i64, Incoming) {
    let mut incoming = Incoming::new(control_room);
    let result = call(name, |k, me| {
        // SAFETY: as promised.
        let mut out = unsafe { Out::new(parts, count) };
        k.receive(me, fd, &mut out, flags, &mut incoming)
    });
    (result, incoming)
}

/// sendmsg(2).
///
/// # Safety
/// `message` and what it names are valid for the call.
unsafe fn send_message(name: &'static str, fd: c_int, message: *const msghdr, flags: c_int) -> i64 {
    // SAFETY: as promised.
    unsafe {
        let m = &*message;
        if m.msg_iovlen > PARTS_MAX {
            return -i64::from(libc::EMSGSIZE);
        }
        if m.msg_controllen > CONTROL_BYTES_MAX {
            return -i64::from(libc::ENOBUFS);
        }
        let control = match m.msg_control.is_null() || m.msg_controllen == 0 {
            true => &[],
            false => std::slice::from_raw_parts(m.msg_control.cast::<u8>(), m.msg_controllen),
        };
        let to = if m.msg_namelen == 0 { std::ptr::null() } else { m.msg_name.cast() };
        send_parts(name, fd, (m.msg_iov, m.msg_iovlen), (to, m.msg_namelen), control, flags)
    }
}

/// recvmsg(2).
///
/// # Safety
/// `message` and what it names are valid for the call.
unsafe fn receive_message(name: &'static str, fd: c_int, message: *mut msghdr, flags: c_int) -> i64 {
    // SAFETY: as promised.
    unsafe {
        let m = &mut *message;
        if m.msg_iovlen > PARTS_MAX {
            return -i64::from(libc::EMSGSIZE);
        }
        let room = if m.msg_control.is_null() { 0 } else { m.msg_controllen };
        let (result, incoming) = receive_parts(name, fd, (m.msg_iov, m.msg_iovlen), room, flags);
        if result >= 0 {
            put_counted(incoming.address.bytes(), m.msg_name, &raw mut m.msg_namelen);
            let control = &incoming.control.bytes;
            std::ptr::copy_nonoverlapping(control.as_ptr(), m.msg_control.cast(), control.len());
            m.msg_controllen = control.len();
            let cut = if incoming.control.truncated { libc::MSG_CTRUNC } else { 0 };
            m.msg_flags = incoming.flags | cut | flags & libc::MSG_CMSG_CLOEXEC;
        }
        result
    }
}

/// A call that answers an address.
///
/// # Safety
/// `address` has room for `*length` bytes; both are valid for the call.
unsafe fn name_call(
    name: &'static str,
    (address, length): (*mut sockaddr, *mut socklen_t),
    mut f: impl FnMut(&mut crate::kernel::Kernel, crate::kernel::ThreadId, &mut RawAddress) -> crate::kernel::Step,
) -> c_int {
    let mut raw = RawAddress::empty();
    let result = call(name, |k, me| f(k, me, &mut raw));
    if result >= 0 {
        // SAFETY: as promised.
        unsafe {
            if !address.is_null() && !length.is_null() && (*length).cast_signed() < 0 {
                return answer_int(-i64::from(libc::EINVAL)); // move_addr_to_user, net/socket.c
            }
            put_counted(raw.bytes(), address.cast(), length);
        }
    }
    answer_int(result)
}

/// A negative length is refused once the address is known (move_addr_to_user, net/socket.c).
///
/// # Safety
/// `length` is valid, or null.
unsafe fn room(length: *const socklen_t) -> crate::kernel::Step {
    // SAFETY: as promised.
    let negative = !length.is_null() && unsafe { *length }.cast_signed() < 0;
    if negative { Err(Stop::Errno(libc::EINVAL)) } else { Ok(0) }
}

hooks! {
    socket;

    @real(asks())
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
        answer_int(call("socket", |k, me| k.socket(me, domain, kind, protocol)))
    }
    @real(asks())
    fn socketpair(domain: c_int, kind: c_int, protocol: c_int, fds: *mut c_int) -> c_int {
        let mut ends = (0, 0);
        let result = call("socketpair", |k, me| {
            ends = k.socket_pair(me, domain, kind, protocol)?;
            Ok(0)
        });
        if result == 0 {
            *fds = ends.0;
            *fds.add(1) = ends.1;
        }
        answer_int(result)
    }
    fn bind(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
        answer_int(call("bind", |k, me| k.bind(me, fd, &read_address(address, length)?)))
    }
    fn listen(fd: c_int, backlog: c_int) -> c_int {
        answer_int(call("listen", |k, me| k.listen(me, fd, backlog)))
    }
    @real(asks())
    fn accept(fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int {
        name_call("accept", (address, length), |k, me, raw| k.accept(me, fd, 0, raw))
    }
    @real(asks())
    fn accept4(fd: c_int, address: *mut sockaddr, length: *mut socklen_t, flags: c_int) -> c_int {
        name_call("accept4", (address, length), |k, me, raw| k.accept(me, fd, flags, raw))
    }
    fn connect(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
        answer_int(call("connect", |k, me| k.connect(me, fd, &read_address(address, length)?)))
    }
    fn shutdown(fd: c_int, how: c_int) -> c_int {
        answer_int(call("shutdown", |k, me| k.shutdown(me, fd, how)))
    }
    fn getsockname(fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int {
        name_call("getsockname", (address, length), |k, me, raw| k.socket_name(me, fd, raw).and(room(length)))
    }
    fn getpeername(fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int {
        name_call("getpeername", (address, length), |k, me, raw| k.peer_name(me, fd, raw).and(room(length)))
    }
    fn sockatmark(fd: c_int) -> c_int {
        answer_int(call("sockatmark", |k, me| k.at_mark(me, fd)))
    }

    fn send(fd: c_int, buffer: *const c_void, bytes: usize, flags: c_int) -> ssize_t {
        let part = single(buffer, bytes);
        answer(send_parts("send", fd, (&raw const part, 1), (std::ptr::null(), 0), &[], flags)) as ssize_t
    }
    fn sendto(
        fd: c_int, buffer: *const c_void, bytes: usize, flags: c_int, address: *const sockaddr, length: socklen_t,
    ) -> ssize_t {
        let part = single(buffer, bytes);
        answer(send_parts("sendto", fd, (&raw const part, 1), (address, length), &[], flags)) as ssize_t
    }
    fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
        answer(send_message("sendmsg", fd, message, flags)) as ssize_t
    }
    fn sendmmsg(fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int) -> c_int {
        let count = count.min(PARTS_MAX as c_uint) as usize;
        for at in 0..count {
            let message = &mut *messages.add(at);
            match send_message("sendmmsg", fd, &raw const message.msg_hdr, flags) {
                sent @ 0.. => message.msg_len = sent as c_uint,
                // sendmmsg(2): an error is answered only when nothing was sent.
                error => return if at == 0 { answer_int(error) } else { at as c_int },
            }
        }
        count as c_int
    }

    fn recv(fd: c_int, buffer: *mut c_void, bytes: usize, flags: c_int) -> ssize_t {
        let part = single(buffer, bytes);
        answer(receive_parts("recv", fd, (&raw const part, 1), 0, flags).0) as ssize_t
    }
    fn __recv_chk(fd: c_int, buffer: *mut c_void, bytes: usize, _room: usize, flags: c_int) -> ssize_t {
        let part = single(buffer, bytes);
        answer(receive_parts("recv", fd, (&raw const part, 1), 0, flags).0) as ssize_t
    }
    fn recvfrom(
        fd: c_int, buffer: *mut c_void, bytes: usize, flags: c_int, address: *mut sockaddr, length: *mut socklen_t,
    ) -> ssize_t {
        receive_from(fd, single(buffer, bytes), flags, address, length)
    }
    fn __recvfrom_chk(
        fd: c_int, buffer: *mut c_void, bytes: usize, _room: usize, flags: c_int, address: *mut sockaddr,
        length: *mut socklen_t,
    ) -> ssize_t {
        receive_from(fd, single(buffer, bytes), flags, address, length)
    }
    fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
        answer(receive_message("recvmsg", fd, message, flags)) as ssize_t
    }
    fn recvmmsg(fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int, _timeout: *mut timespec) -> c_int {
        // The timeout is looked at between datagrams only (recvmmsg(2), BUGS), when no time passes here.
        let count = count.min(PARTS_MAX as c_uint) as usize;
        for at in 0..count {
            let message = &mut *messages.add(at);
            let waits = if at > 0 && flags & libc::MSG_WAITFORONE != 0 { libc::MSG_DONTWAIT } else { 0 };
            let flags = flags & !libc::MSG_WAITFORONE | waits;
            match receive_message("recvmmsg", fd, &raw mut message.msg_hdr, flags) {
                received @ 0.. => message.msg_len = received as c_uint,
                error => return if at == 0 { answer_int(error) } else { at as c_int },
            }
        }
        count as c_int
    }

    fn getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, length: *mut socklen_t) -> c_int {
        let mut bytes: Handed<Vec<u8>> = Handed::nothing();
        let result = call("getsockopt", |k, me| k.socket_option(me, fd, (level, name), &mut bytes));
        if result == 0 {
            if (*length).cast_signed() < 0 {
                return answer_int(-i64::from(libc::EINVAL));
            }
            // Unlike an address, an option is said to be as long as what was copied.
            let count = bytes.len().min(*length as usize);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), value.cast(), count);
            *length = count as socklen_t;
        }
        answer_int(result)
    }
    fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, length: socklen_t) -> c_int {
        let bytes = match value.is_null() {
            true => &[],
            false => std::slice::from_raw_parts(value.cast::<u8>(), (length as usize).min(4096)),
        };
        answer_int(call("setsockopt", |k, me| k.set_socket_option(me, fd, (level, name), bytes)))
    }
}

/// recvfrom(2).
///
/// # Safety
/// Everything named is valid for the call.
unsafe fn receive_from(
    fd: c_int,
    part: iovec,
    flags: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
) -> ssize_t {
    // SAFETY: as promised.
    unsafe {
        let (result, incoming) = receive_parts("recvfrom", fd, (&raw const part, 1), 0, flags);
        if result >= 0 {
            put_counted(incoming.address.bytes(), address.cast(), length);
        }
        answer(result) as ssize_t
    }
}
