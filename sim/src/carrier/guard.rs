//! The guard: notices system calls that programs make without libc, by instructions of their own.
//!
//! Such a call would reach the real kernel unseen, and what it answers would be no part of the case. A seccomp filter
//! (seccomp(2)) looks where each call comes from: libc, the loader, and this crate's own place are let through;
//! anything else becomes SIGSYS before it happens, and the handler names the call. The filter costs each real call a
//! little, and stays until the process ends, so only checking runs have it.

use super::outside;
use super::real::{raw_syscall, syscall_made};
use libc::{sock_filter, sock_fprog};
use std::ops::Range;

/// linux/bpf_common.h, linux/seccomp.h: the few instructions that are needed.
const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const JUMP_ABOVE: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
const ANSWER: u16 = 0x06; // BPF_RET | BPF_K
/// Offsets in `struct seccomp_data`: the call's number, and the instruction pointer behind the call.
const NUMBER: u32 = 0;
const POINTER_LOW: u32 = 8;
const POINTER_HIGH: u32 = 12;
const SECCOMP_RET_ALLOW: u32 = 0x7fff_0000;
const SECCOMP_RET_TRAP: u32 = 0x0003_0000;

/// `SYS_SECCOMP`, the code of a SIGSYS that a filter sends (asm-generic/siginfo.h).
pub(crate) const SYS_SECCOMP: i32 = 1;

fn instruction(code: u16, k: u32, yes: u8, no: u8) -> sock_filter {
    sock_filter { code, jt: yes, jf: no, k }
}

/// Instructions that let calls from a range of addresses through.
fn allow(range: &Range<usize>) -> Vec<sock_filter> {
    // A range that crosses a multiple of 4 GiB is two.
    let border = (range.start | 0xffff_ffff) + 1;
    if range.end > border {
        return [allow(&(range.start..border)), allow(&(border..range.end))].concat();
    }
    let (high, low, last) = ((range.start >> 32) as u32, range.start as u32, (range.end - 1) as u32);
    vec![
        instruction(LOAD, POINTER_HIGH, 0, 0),
        instruction(JUMP_EQUAL, high, 0, 4),
        instruction(LOAD, POINTER_LOW, 0, 0),
        instruction(JUMP_AT_LEAST, low, 0, 2),
        instruction(JUMP_ABOVE, last, 1, 0),
        instruction(ANSWER, SECCOMP_RET_ALLOW, 0, 0),
    ]
}

/// Code of libc and of the loader, as it is mapped.
fn libc_code() -> Vec<Range<usize>> {
    let maps = outside::mappings();
    let lines = maps.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    let of_libc = |line: &&str| {
        let name = line.rsplit('/').next().unwrap_or_default();
        line.contains(" r-xp ") && (name.starts_with("libc.so") || name.starts_with("libc-") || name.starts_with("ld-"))
    };
    let range = |line: &str| {
        let (start, end) = line.split_once(' ')?.0.split_once('-')?;
        Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
    };
    lines.filter(of_libc).filter_map(range).collect()
}

/// Watches this process from now on; false when the system does not let it.
pub(crate) fn watch() -> bool {
    let mut ranges = libc_code();
    if ranges.is_empty() {
        return false;
    }
    ranges.push(syscall_made()..syscall_made() + 1);
    let mut program = vec![
        instruction(LOAD, NUMBER, 0, 0),
        instruction(JUMP_EQUAL, libc::SYS_arch_prctl as u32, 0, 1), // the switch's own
        instruction(ANSWER, SECCOMP_RET_ALLOW, 0, 0),
    ];
    program.extend(ranges.iter().flat_map(allow));
    program.push(instruction(ANSWER, SECCOMP_RET_TRAP, 0, 0));
    let filter = sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the filter is alive for the call, which copies it.
    unsafe {
        raw_syscall(libc::SYS_prctl, [libc::PR_SET_NO_NEW_PRIVS as usize, 1, 0, 0, 0, 0]);
        let mode = libc::SECCOMP_MODE_FILTER as usize;
        let at = (&raw const filter) as usize;
        raw_syscall(libc::SYS_prctl, [libc::PR_SET_SECCOMP as usize, mode, at, 0, 0, 0]) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a program of the filter answers a call from this address.
    fn answer(program: &[sock_filter], pointer: usize) -> u32 {
        let (mut at, mut loaded) = (0, 0u32);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            match code {
                LOAD if k == POINTER_HIGH => loaded = (pointer >> 32) as u32,
                LOAD if k == POINTER_LOW => loaded = pointer as u32,
                JUMP_EQUAL => at += usize::from(if loaded == k { jt } else { jf }),
                JUMP_AT_LEAST => at += usize::from(if loaded >= k { jt } else { jf }),
                JUMP_ABOVE => at += usize::from(if loaded > k { jt } else { jf }),
                ANSWER => return k,
                other => panic!("{other}"),
            }
        }
    }

    #[test]
    fn calls_from_a_range_pass_and_others_do_not() {
        for range in [0x7fff_1000..0x7fff_2000, 0x1_ffff_f000..0x2_0000_1000, 0x5555_0000_0000..0x5555_0000_0001] {
            let mut program = allow(&range);
            program.push(instruction(ANSWER, SECCOMP_RET_TRAP, 0, 0));
            for (pointer, expected) in [
                (range.start - 1, SECCOMP_RET_TRAP),
                (range.start, SECCOMP_RET_ALLOW),
                (range.end - 1, SECCOMP_RET_ALLOW),
                (range.end, SECCOMP_RET_TRAP),
                (range.start + (1 << 33), SECCOMP_RET_TRAP),
            ] {
                assert_eq!(answer(&program, pointer), expected, "{pointer:#x} of {range:x?}");
            }
        }
    }

    #[test]
    fn libc_is_found() {
        let code = libc_code();
        // Of libc and of the loader; what `libc::free` names is this crate's own.
        assert!(code.len() >= 2 && code.iter().all(|range| range.start < range.end), "{code:x?}");
    }
}
