//! Memory mappings: mmap(2), msync(2). Anonymous memory is the real kernel's business, and so are munmap(2),
//! mprotect(2) and madvise(2), which need no hook.

use super::{answer, call, hooks, refuse};
use crate::carrier::outside::Mapping;
use crate::carrier::real::raw_syscall;
use libc::{c_char, c_int, c_uint, c_void, mode_t, off_t};

const SHARED: &str = "hosts share no memory: use an anonymous mapping inside one process, or a socket between hosts";

hooks! {
    memory;

    @also(mmap64)
    fn mmap(
        address: *mut c_void, bytes: usize, protection: c_int, flags: c_int, fd: c_int, offset: off_t
    ) -> *mut c_void {
        if flags & libc::MAP_ANONYMOUS != 0 {
            let arguments =
                [address as usize, bytes, protection as usize, flags as usize, fd as usize, offset as usize];
            return answer(raw_syscall(libc::SYS_mmap, arguments) as i64) as *mut c_void;
        }
        if offset % 4096 != 0 {
            return answer(-i64::from(libc::EINVAL)) as *mut c_void;
        }
        let at = Mapping::new(address as usize, bytes, protection, flags);
        let mut mapped = 0;
        let result = call("mmap", |k, me| {
            mapped = k.map_file(me, fd, at, offset as u64)?;
            Ok(0)
        });
        if answer(result) < 0 { libc::MAP_FAILED } else { mapped as *mut c_void }
    }

    @real(syncs_memory(flags))
    fn msync(address: *mut c_void, bytes: usize, flags: c_int) -> c_int {
        const KNOWN: c_int = libc::MS_ASYNC | libc::MS_INVALIDATE | libc::MS_SYNC;
        let both = libc::MS_ASYNC | libc::MS_SYNC;
        if !(address as usize).is_multiple_of(4096) || flags & !KNOWN != 0 || flags & both == both {
            return answer(-i64::from(libc::EINVAL)) as c_int;
        }
        answer(call("msync", |k, me| match k.sync_mapped(me, address as usize, bytes, flags) {
            Some(step) => step,
            // Nothing of a disk: whether it is mapped at all is the real kernel's to say.
            None => Ok(raw_syscall(libc::SYS_msync, [address as usize, bytes, flags as usize, 0, 0, 0]) as i64),
        })) as c_int
    }

    @real(asks())
    fn memfd_create(_name: *const c_char, _flags: c_uint) -> c_int { refuse("memfd_create", SHARED) as c_int }
    fn shm_open(_name: *const c_char, _flags: c_int, _mode: mode_t) -> c_int { refuse("shm_open", SHARED) as c_int }
    fn shm_unlink(_name: *const c_char) -> c_int { refuse("shm_unlink", SHARED) as c_int }
    fn sem_open(_name: *const c_char, _flags: c_int, _mode: mode_t, _value: c_uint) -> usize {
        refuse("sem_open", SHARED) as usize
    }
    fn mq_open(_name: *const c_char, _flags: c_int, _mode: mode_t, _attributes: usize) -> c_int {
        refuse("mq_open", SHARED) as c_int
    }
    fn semget(_key: c_int, _count: c_int, _flags: c_int) -> c_int { refuse("semget", SHARED) as c_int }
    fn msgget(_key: c_int, _flags: c_int) -> c_int { refuse("msgget", SHARED) as c_int }
    fn shmget(_key: c_int, _bytes: usize, _flags: c_int) -> c_int { refuse("shmget", SHARED) as c_int }
}
