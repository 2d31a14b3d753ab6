//! What a program is told about itself: host name, user, processors, locale-free facts.
//!
//! The environment needs no hooks: `environ` is the process's own (see `carrier::environment`).

use super::{answer_int, hooks, look};
use libc::{c_char, c_int, c_long};

/// The longest host name (`HOST_NAME_MAX`, bits/local_lim.h).
const NAME_BYTES: usize = 64;

/// The calling thread's host name and its length, on the stack: hooks allocate nothing on a program's thread.
fn host_name() -> ([u8; NAME_BYTES], usize) {
    let mut name = [0; NAME_BYTES];
    let count = look("gethostname", |k, me| {
        let known = k.host_of(k.threads[me].process).name.as_bytes();
        let count = known.len().min(NAME_BYTES);
        name[..count].copy_from_slice(&known[..count]);
        Ok(count as i64)
    });
    (name, count as usize)
}

fn cpus() -> c_long {
    look("sysconf", |k, _| Ok(i64::from(k.cpus)))
}

hooks! {
    env;

    fn gethostname(buffer: *mut c_char, bytes: usize) -> c_int {
        let (name, length) = host_name();
        let count = length.min(bytes);
        std::ptr::copy_nonoverlapping(name.as_ptr(), buffer.cast(), count);
        if count == bytes {
            return answer_int(-i64::from(libc::ENAMETOOLONG));
        }
        *buffer.add(count) = 0;
        0
    }

    fn uname(out: *mut libc::utsname) -> c_int {
        let (name, length) = host_name();
        let put = |to: *mut c_char, text: &[u8]| {
            std::ptr::write_bytes(to, 0, 65);
            std::ptr::copy_nonoverlapping(text.as_ptr(), to.cast(), text.len().min(64));
        };
        put((&raw mut (*out).sysname).cast(), b"Linux");
        put((&raw mut (*out).nodename).cast(), &name[..length]);
        put((&raw mut (*out).release).cast(), b"6.1.0-windtunnel");
        put((&raw mut (*out).version).cast(), b"#1 SMP PREEMPT_DYNAMIC");
        put((&raw mut (*out).machine).cast(), b"x86_64");
        put((&raw mut (*out).domainname).cast(), b"(none)");
        0
    }

    @outside(crate::abi::pristine::sysconf)
    fn sysconf(name: c_int) -> c_long {
        match name {
            libc::_SC_NPROCESSORS_ONLN | libc::_SC_NPROCESSORS_CONF => cpus(),
            libc::_SC_PHYS_PAGES => look("sysconf", |k, me| Ok(k.memory_of(me).0 as i64 / 4096)),
            libc::_SC_AVPHYS_PAGES => look("sysconf", |k, me| Ok(k.memory_of(me).1 as i64 / 4096)),
            libc::_SC_OPEN_MAX => 1024 * 1024,
            _ => crate::carrier::real::sysconf(name),
        }
    }

    fn get_phys_pages() -> c_long { libc::sysconf(libc::_SC_PHYS_PAGES) }
    fn get_avphys_pages() -> c_long { libc::sysconf(libc::_SC_AVPHYS_PAGES) }
    /// Inside libc it would resolve the host's name (gethostid(3)).
    fn gethostid() -> c_long { 0x0a00_0001 }
    fn sethostname(_name: *const c_char, _bytes: usize) -> c_int { answer_int(-i64::from(libc::EPERM)) }

    @outside(crate::abi::pristine::get_nprocs)
    fn get_nprocs() -> c_int {
        cpus() as c_int
    }

    @outside(crate::abi::pristine::get_nprocs_conf)
    fn get_nprocs_conf() -> c_int {
        cpus() as c_int
    }

    fn getloadavg(out: *mut f64, count: c_int) -> c_int {
        let count = count.clamp(0, 3);
        (0..count as usize).for_each(|i| *out.add(i) = 0.0);
        count
    }

    fn getuid() -> libc::uid_t { 1000 }
    fn geteuid() -> libc::uid_t { 1000 }
    fn getgid() -> libc::gid_t { 1000 }
    fn getegid() -> libc::gid_t { 1000 }
    fn secure_getenv(name: *const c_char) -> *mut c_char { crate::carrier::real::getenv(name) }
}
