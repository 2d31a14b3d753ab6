//! What a simulated world asks of the kernel for its own process, to see whether it may.
//!
//! For processes that end at once: none of it is taken back.

use std::io;

fn done(answer: libc::c_int) -> io::Result<()> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Has this process's next programs laid out alike (`ADDR_NO_RANDOMIZE`, personality(2)).
///
/// # Errors
/// Somebody does not let it, as Docker's default filter of system calls.
pub fn fix_addresses() -> io::Result<()> {
    // SAFETY: no pointers; what is executed next is concerned, and nothing is.
    done(unsafe { libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong) })
}

/// Makes reading the time-stamp counter a fault (`PR_SET_TSC`, prctl(2)).
///
/// # Errors
/// The processor cannot.
pub fn fault_on_time_stamps() -> io::Result<()> {
    // SAFETY: no pointers; nothing reads the counter before the process ends, or it ends by that.
    done(unsafe { libc::prctl(libc::PR_SET_TSC, libc::PR_TSC_SIGSEGV) })
}

/// Installs a filter that lets every system call through (seccomp(2)).
///
/// # Errors
/// The kernel has no filters, or somebody does not let it.
pub fn allow_all_calls() -> io::Result<()> {
    /// `BPF_RET | BPF_K` (linux/bpf_common.h).
    const ANSWER: u16 = 0x06;
    let allow = libc::sock_filter { code: ANSWER, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW };
    let mut filter = [allow];
    let program = libc::sock_fprog { len: 1, filter: filter.as_mut_ptr() };
    // SAFETY: `program` and what it points to are valid for the call, which copies them.
    unsafe {
        done(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        done(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program))
    }
}
