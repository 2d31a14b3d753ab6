//! Entropy: getrandom(2), getentropy(3), arc4random(3) and the bytes that the loader passes to programs.

use super::user::{Out, single};
use super::{answer, answer_int, call, hooks};
use libc::{c_int, c_uint, c_ulong, c_void};

/// Fills a buffer. A length of zero is a probe: it draws nothing and leaves no trace.
pub(super) unsafe fn fill(buffer: *mut c_void, bytes: usize) -> i64 {
    if bytes == 0 {
        return 0;
    }
    let part = single(buffer, bytes);
    call("getrandom", |k, me| {
        // SAFETY: the caller's buffer.
        let mut out = unsafe { Out::new(&part, 1) };
        Ok(k.random_fill(me, &mut out))
    })
}

hooks! {
    entropy;

    @outside(crate::abi::pristine::getrandom)
    fn getrandom(buffer: *mut c_void, bytes: usize, flags: c_uint) -> isize {
        // getrandom(2): unknown flags, or both pools at once.
        let known = libc::GRND_NONBLOCK | libc::GRND_RANDOM | libc::GRND_INSECURE;
        if flags & !known != 0 || flags & libc::GRND_RANDOM != 0 && flags & libc::GRND_INSECURE != 0 {
            return answer(-i64::from(libc::EINVAL)) as isize;
        }
        answer(fill(buffer, bytes)) as isize
    }

    @outside(crate::abi::pristine::getentropy)
    fn getentropy(buffer: *mut c_void, bytes: usize) -> c_int {
        if bytes > 256 {
            return answer_int(-i64::from(libc::EIO));
        }
        answer_int(fill(buffer, bytes).min(0))
    }

    fn arc4random() -> u32 {
        let mut value = 0u32;
        fill((&raw mut value).cast(), 4);
        value
    }

    fn arc4random_buf(buffer: *mut c_void, bytes: usize) {
        fill(buffer, bytes);
    }

    fn arc4random_uniform(bound: u32) -> u32 {
        if bound < 2 {
            return 0;
        }
        let mut value = 0u64;
        fill((&raw mut value).cast(), 8);
        ((u128::from(value) * u128::from(bound)) >> 64) as u32
    }

    /// `AT_RANDOM` points to 16 random bytes that the real kernel made (getauxval(3)). And there is no vDSO (vdso(7)),
    /// whose functions would tell the real time: whoever looks for it falls back to calls. Who runs the test, and by
    /// which path, is the machine's business.
    fn getauxval(kind: c_ulong) -> c_ulong {
        static FIXED: [u8; 16] = *b"windtunnel-fixed";
        match kind {
            libc::AT_SYSINFO_EHDR | libc::AT_EXECFN => 0,
            libc::AT_RANDOM => FIXED.as_ptr() as c_ulong,
            libc::AT_UID | libc::AT_EUID => c_ulong::from(libc::getuid()),
            libc::AT_GID | libc::AT_EGID => c_ulong::from(libc::getgid()),
            _ => crate::carrier::real::getauxval(kind),
        }
    }
}
