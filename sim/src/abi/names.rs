//! Names and interfaces: getaddrinfo(3), getnameinfo(3), getifaddrs(3), if_nametoindex(3).
//!
//! What is handed out is laid out as glibc lays it out (one block per address, the whole interface list in one block),
//! so that either `free` function could free it.

use super::handed::Handed;
use super::{answer_int, call, hooks, look, refuse};
use crate::kernel::net::interfaces::{self, INTERFACES, LOOPBACK};
use crate::kernel::net::names::{Answer, Patience, Query, SILENCE};
use crate::kernel::net::{Endpoint, Family, RawAddress};
use libc::{addrinfo, c_char, c_int, c_uint, c_void, ifaddrs, sockaddr, socklen_t};
use std::ffi::CStr;
use std::mem::{align_of, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr;

/// No code of getaddrinfo(3)'s that is answered here: `EAI_FAIL` has this number and never comes.
const INTERRUPTED: i64 = -(libc::EINTR as i64);
const RESOLVER: &str = "use getaddrinfo, or send a query to the name server in /etc/resolv.conf";

/// A C string, if there is one. For the kernel's closures only, as it allocates.
///
/// # Safety
/// `text` is null or a C string.
unsafe fn text(text: *const c_char) -> Option<String> {
    // SAFETY: as promised.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

/// Memory of the program's own, zeroed; aborts as Rust does when there is none.
fn allocate(bytes: usize) -> *mut u8 {
    // SAFETY: no conditions.
    let memory: *mut u8 = unsafe { libc::calloc(1, bytes) }.cast();
    if memory.is_null() {
        std::alloc::handle_alloc_error(std::alloc::Layout::new::<addrinfo>());
    }
    memory
}

/// An `addrinfo` with its address behind it.
fn node(answer: &Answer, flags: c_int) -> *mut addrinfo {
    let family = if answer.family == libc::AF_INET { Family::V4 } else { Family::V6 };
    let raw = answer.at.encode(family);
    let node: *mut addrinfo = allocate(size_of::<addrinfo>() + raw.len).cast();
    // SAFETY: freshly allocated, with room for both.
    unsafe {
        let address = node.add(1).cast::<u8>();
        ptr::copy_nonoverlapping(raw.bytes.as_ptr(), address, raw.len);
        node.write(addrinfo {
            ai_flags: flags,
            ai_family: answer.family,
            ai_socktype: answer.kind,
            ai_protocol: answer.protocol,
            ai_addrlen: raw.len as socklen_t,
            ai_addr: address.cast(),
            ai_canonname: ptr::null_mut(),
            ai_next: ptr::null_mut(),
        });
    }
    node
}

/// Copies text with its terminating zero; false when it does not fit.
///
/// # Safety
/// `to` has room for `room` bytes.
unsafe fn put_text(value: &str, to: *mut c_char, room: usize) -> bool {
    let fits = value.len() < room;
    if fits {
        // SAFETY: as promised.
        unsafe {
            ptr::copy_nonoverlapping(value.as_ptr(), to.cast(), value.len());
            *to.add(value.len()) = 0;
        }
    }
    fits
}

/// The calling thread's addresses.
fn own_addresses() -> (Ipv4Addr, Ipv6Addr) {
    let mut own = (Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED);
    look("getifaddrs", |k, me| {
        own = k.net.addresses_of_host(k.host_id(me));
        Ok(0)
    });
    own
}

/// One entry of an interface list: `ifaddrs` and the addresses that it points to.
#[repr(C)]
struct Interface {
    entry: ifaddrs,
    address: [u8; 32],
    mask: [u8; 32],
    broadcast: [u8; 32],
}

/// Fills in an address; answers a pointer to it.
fn place(to: &mut [u8; 32], ip: IpAddr) -> *mut sockaddr {
    let family = if ip.is_ipv4() { Family::V4 } else { Family::V6 };
    let raw: RawAddress = Endpoint::new(ip, 0).encode(family);
    to[..raw.len].copy_from_slice(raw.bytes());
    to.as_mut_ptr().cast()
}

hooks! {
    names;

    fn getaddrinfo(
        node_name: *const c_char, service: *const c_char, hints: *const addrinfo, result: *mut *mut addrinfo,
    ) -> c_int {
        // getaddrinfo(3): what a null pointer stands for.
        let (mut flags, mut family, mut kind, mut protocol) = (libc::AI_V4MAPPED | libc::AI_ADDRCONFIG, 0, 0, 0);
        if let Some(hints) = hints.as_ref() {
            (flags, family) = (hints.ai_flags, hints.ai_family);
            (kind, protocol) = (hints.ai_socktype, hints.ai_protocol);
        }
        let mut answers: Handed<(Vec<Answer>, Option<String>)> = Handed::nothing();
        // What a signal interrupts is asked again, as poll(2) is in glibc's resolver (resolv/res_send.c).
        let mut patience = Patience::default();
        let mut ask = |answers: &mut Handed<(Vec<Answer>, Option<String>)>| call("getaddrinfo", |k, me| {
            let told = patience.told.is_some_and(|at| at <= k.now);
            let query = Query { node: text(node_name), service: text(service), flags, family, kind, protocol, told };
            let host = k.host_id(me);
            match k.net.look_up(host, &query) {
                Err(SILENCE) => {
                    let late_ns = query.node.map_or(0, |name| k.net.late_ns(host, &name));
                    k.await_name_server(me, &mut patience, late_ns)
                }
                Ok(found) => {
                    found.0.iter().for_each(|answer| {
                        let raw = answer.at.encode(if answer.at.ip.is_ipv4() { Family::V4 } else { Family::V6 });
                        k.log.returned(raw.bytes());
                    });
                    **answers = found;
                    Ok(0)
                }
                Err(code) => Ok(i64::from(code)),
            }
        });
        let code = loop {
            match ask(&mut answers) {
                INTERRUPTED => {}
                code => break code,
            }
        };
        if code != 0 {
            return code as c_int;
        }
        let mut head = ptr::null_mut();
        for answer in answers.0.iter().rev() {
            let node = node(answer, flags);
            (*node).ai_next = head;
            head = node;
        }
        if let (Some(name), false) = (&answers.1, head.is_null()) {
            let copy = allocate(name.len() + 1);
            ptr::copy_nonoverlapping(name.as_ptr(), copy, name.len());
            (*head).ai_canonname = copy.cast();
        }
        *result = head;
        0
    }

    fn freeaddrinfo(list: *mut addrinfo) {
        let mut next = list;
        while !next.is_null() {
            let node = next;
            next = (*node).ai_next;
            libc::free((*node).ai_canonname.cast());
            libc::free(node.cast());
        }
    }

    fn getnameinfo(
        address: *const sockaddr, length: socklen_t, host: *mut c_char, host_bytes: socklen_t, service: *mut c_char,
        service_bytes: socklen_t, flags: c_int,
    ) -> c_int {
        let mut raw = RawAddress::empty();
        let count = (length as usize).min(raw.bytes.len());
        ptr::copy_nonoverlapping(address.cast::<u8>(), raw.bytes.as_mut_ptr(), count);
        raw.len = count;
        let family = match raw.family() {
            Some(libc::AF_INET) => Family::V4,
            Some(libc::AF_INET6) => Family::V6,
            _ => return libc::EAI_FAMILY,
        };
        let Ok(Some(at)) = raw.decode(family) else { return libc::EAI_FAMILY };
        let want = |to: *mut c_char, bytes: socklen_t| !to.is_null() && bytes > 0;
        let mut found: Handed<(String, String)> = Handed::nothing();
        let code = call("getnameinfo", |k, _| match k.net.look_up_name(at, flags) {
            Ok(names) => {
                k.log.returned(names.0.as_bytes());
                *found = names;
                Ok(0)
            }
            Err(code) => Ok(i64::from(code)),
        });
        if code != 0 {
            return code as c_int;
        }
        if !want(host, host_bytes) && !want(service, service_bytes) {
            return libc::EAI_NONAME;
        }
        let host_fits = !want(host, host_bytes) || put_text(&found.0, host, host_bytes as usize);
        let service_fits = !want(service, service_bytes) || put_text(&found.1, service, service_bytes as usize);
        if host_fits && service_fits { 0 } else { libc::EAI_OVERFLOW }
    }

    fn getifaddrs(result: *mut *mut ifaddrs) -> c_int {
        let (v4, v6) = own_addresses();
        let up = (libc::IFF_UP | libc::IFF_RUNNING) as c_uint;
        let lo = up | libc::IFF_LOOPBACK as c_uint;
        let eth = up | (libc::IFF_BROADCAST | libc::IFF_MULTICAST) as c_uint;
        let list = interfaces::addresses(v4, v6);
        const { assert!(align_of::<Interface>() <= 16) };
        let block: *mut Interface = allocate(list.len() * size_of::<Interface>()).cast();
        for (at, address) in list.iter().enumerate() {
            let this = &mut *block.add(at);
            this.entry.ifa_next = if at + 1 < list.len() { block.add(at + 1).cast() } else { ptr::null_mut() };
            this.entry.ifa_name = address.interface.name.as_ptr().cast_mut();
            this.entry.ifa_flags = if address.interface == LOOPBACK { lo } else { eth };
            this.entry.ifa_addr = place(&mut this.address, address.ip);
            this.entry.ifa_netmask = place(&mut this.mask, address.mask());
            this.entry.ifa_ifu = match address.broadcast {
                Some(ip) => place(&mut this.broadcast, ip.into()),
                None => ptr::null_mut(),
            };
        }
        *result = block.cast();
        0
    }
    fn freeifaddrs(list: *mut ifaddrs) { libc::free(list.cast()) }

    fn if_nametoindex(name: *const c_char) -> c_uint {
        let name = CStr::from_ptr(name);
        let known = INTERFACES.iter().find(|interface| interface.name == name);
        known.map(|interface| interface.index).unwrap_or_else(|| {
            answer_int(-i64::from(libc::ENODEV));
            0
        })
    }
    fn if_indextoname(index: c_uint, name: *mut c_char) -> *mut c_char {
        match INTERFACES.iter().find(|interface| interface.index == index) {
            Some(known) => {
                ptr::copy_nonoverlapping(known.name.as_ptr(), name, known.name.count_bytes() + 1);
                name
            }
            None => {
                answer_int(-i64::from(libc::ENXIO));
                ptr::null_mut()
            }
        }
    }
    fn if_nameindex() -> *mut libc::if_nameindex {
        // And one of zeros at the end.
        let bytes = (INTERFACES.len() + 1) * size_of::<libc::if_nameindex>();
        let block: *mut libc::if_nameindex = allocate(bytes).cast();
        for (at, interface) in INTERFACES.iter().enumerate() {
            (*block.add(at)).if_index = interface.index;
            (*block.add(at)).if_name = interface.name.as_ptr().cast_mut();
        }
        block
    }
    fn if_freenameindex(list: *mut libc::if_nameindex) { libc::free(list.cast()) }

    fn gethostbyname(_name: *const c_char) -> *mut c_void {
        refuse("gethostbyname", RESOLVER) as *mut c_void
    }
    fn gethostbyname2(_name: *const c_char, _family: c_int) -> *mut c_void {
        refuse("gethostbyname2", RESOLVER) as *mut c_void
    }
    fn gethostbyname_r(
        _name: *const c_char, _result: *mut c_void, _buffer: *mut c_char, _bytes: usize, _answer: *mut *mut c_void,
        _error: *mut c_int,
    ) -> c_int {
        refuse("gethostbyname_r", RESOLVER) as c_int
    }
    fn gethostbyname2_r(
        _name: *const c_char, _family: c_int, _result: *mut c_void, _buffer: *mut c_char, _bytes: usize,
        _answer: *mut *mut c_void, _error: *mut c_int,
    ) -> c_int {
        refuse("gethostbyname2_r", RESOLVER) as c_int
    }
    fn gethostbyaddr(_address: *const c_void, _length: socklen_t, _family: c_int) -> *mut c_void {
        refuse("gethostbyaddr", "use getnameinfo") as *mut c_void
    }
    fn getaddrinfo_a(_mode: c_int, _list: *mut c_void, _count: c_int, _event: *mut c_void) -> c_int {
        refuse("getaddrinfo_a", RESOLVER) as c_int
    }
    @also(__res_query)
    fn res_query(_name: *const c_char, _class: c_int, _kind: c_int, _answer: *mut u8, _bytes: c_int) -> c_int {
        refuse("res_query", RESOLVER) as c_int
    }
    @also(__res_search)
    fn res_search(_name: *const c_char, _class: c_int, _kind: c_int, _answer: *mut u8, _bytes: c_int) -> c_int {
        refuse("res_search", RESOLVER) as c_int
    }
    @also(__res_nquery)
    fn res_nquery(
        _state: *mut c_void, _name: *const c_char, _class: c_int, _kind: c_int, _answer: *mut u8, _bytes: c_int,
    ) -> c_int {
        refuse("res_nquery", RESOLVER) as c_int
    }
    @also(__res_nsearch)
    fn res_nsearch(
        _state: *mut c_void, _name: *const c_char, _class: c_int, _kind: c_int, _answer: *mut u8, _bytes: c_int,
    ) -> c_int {
        refuse("res_nsearch", RESOLVER) as c_int
    }
}
