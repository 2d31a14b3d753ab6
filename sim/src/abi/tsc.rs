//! The processor's time-stamp counter: rdtsc and rdtscp, which programs read without asking anybody.
//!
//! quanta, minstant and others take the time from it. Linux can make both instructions faults (PR_SET_TSC(2const)); the
//! handler puts the simulated host's clock in the place of the counter and goes on behind the instruction.

use super::{clock, pristine};
use crate::carrier::lent::current;
use crate::carrier::real::raw_syscall;
use libc::{c_int, c_void};

/// 2 GHz, as `/proc/cpuinfo` says (`kernel/machine/facts.rs`).
const TICKS_PER_NS: u64 = 2;

/// prctl.h. A system that refuses leaves the counter readable, as it was.
const PR_SET_TSC: usize = 26;
const PR_TSC_SIGSEGV: usize = 2;

/// Not about an address: among others, an instruction that is not allowed (asm-generic/siginfo.h).
const SI_KERNEL: c_int = 0x80;

/// Makes the counter's instructions faults, on this kernel thread and its children.
pub(super) fn trap() {
    // SAFETY: no pointer.
    unsafe { raw_syscall(libc::SYS_prctl, [PR_SET_TSC, PR_TSC_SIGSEGV, 0, 0, 0, 0]) };
}

/// Answers the counter, if that is what a fault is about.
///
/// This runs on the one stack that all handlers share, so it must not enter the kernel: a thread that reads the
/// counter and nothing else for ever is a thread that spins.
///
/// # Safety
/// Called by the fault's handler, with its arguments.
pub(super) unsafe fn answer(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) -> bool {
    const RDTSC: [u8; 2] = [0x0f, 0x31];
    const RDTSCP: [u8; 3] = [0x0f, 0x01, 0xf9];
    // SAFETY: the kernel's arguments to a handler; with this code, the instruction that they name was executed.
    unsafe {
        if signal != libc::SIGSEGV || (*info).si_code != SI_KERNEL {
            return false;
        }
        let registers = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
        let at = registers[libc::REG_RIP as usize] as *const u8;
        let length = match at.cast::<[u8; 2]>().read() {
            RDTSC => RDTSC.len(),
            [0x0f, 0x01] if at.cast::<[u8; 3]>().read() == RDTSCP => RDTSCP.len(),
            _ => return false,
        };
        let ns = if current().is_null() { pristine::now_ns() } else { clock::now_ns() };
        let ticks = ns.wrapping_mul(TICKS_PER_NS);
        registers[libc::REG_RAX as usize] = (ticks & 0xffff_ffff) as i64;
        registers[libc::REG_RDX as usize] = (ticks >> 32) as i64;
        if length == RDTSCP.len() {
            registers[libc::REG_RCX as usize] = 0; // node 0, processor 0 (arch/x86/include/asm/segment.h)
        }
        registers[libc::REG_RIP as usize] += length as i64;
        true
    }
}
