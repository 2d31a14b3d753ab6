//! Stopping all threads of a process, making sure where they are, and lending one of them for a system call.

use super::stub::process_error;
use super::vdso::lacking;
use crate::error::{Error, Result};
use crate::step::reached;
use crate::sys::{Asked, Registers, Stopped, USER_CS, read_memory};
use std::fs;
use std::io;
use std::ops::Range;
use std::thread;
use std::time::Duration;

/// How much of a stack is searched for the address of an interrupted instruction: several frames of signal handlers.
const STACK_BYTES: usize = 1 << 16;
const TRIES_MAX: usize = 50;
const BETWEEN_TRIES: Duration = Duration::from_millis(2);

/// Does this on a thread of its own, at whose end the kernel lets go of everything that it has stopped.
pub(super) fn session<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| match scope.spawn(work).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

fn cannot_stop(tid: u32, error: io::Error) -> Error {
    process_error("stop", &format!("thread {tid}"), error)
}

/// Stops all threads of a process.
fn stop_all(pid: u32) -> Result<Vec<Stopped>> {
    let path = format!("/proc/{pid}/task");
    // It has ended meanwhile, or it is a leader whose other threads go on: a zombie cannot be traced.
    let is_over = |tid: u32| is_over(&format!("{path}/{tid}"));
    let mut stopped: Vec<Stopped> = Vec::new();
    loop {
        let tasks = fs::read_dir(&path).map_err(|error| process_error("list the threads of", &path, error))?;
        let tids = tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse::<u32>().ok());
        // All are asked before the first is waited for: those that have stopped leave the processors to the others.
        let mut asked = Vec::new();
        for tid in tids.filter(|tid| stopped.iter().all(|thread| thread.tid() != *tid)) {
            match Asked::to_stop(tid) {
                Ok(thread) => asked.push(thread),
                Err(_) if is_over(tid) => {}
                Err(error) => return Err(cannot_stop(tid, error)),
            }
        }
        // A thread that was not stopped yet may have made another; nobody can once a round finds no new one.
        if asked.is_empty() {
            return if stopped.is_empty() { Err(Error::gone("stop a process")) } else { Ok(stopped) };
        }
        for thread in asked {
            let tid = thread.tid();
            match thread.wait() {
                Ok(thread) => stopped.push(thread),
                Err(_) if is_over(tid) => {}
                Err(error) => return Err(cannot_stop(tid, error)),
            }
        }
    }
}

/// Whether a task is a zombie, or gone.
fn is_over(task: &str) -> bool {
    let stat = fs::read_to_string(format!("{task}/stat")).unwrap_or_default();
    // proc(5): the state follows the name, which ends with the last parenthesis.
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

/// Stops all threads at a moment at which none of them is, or will return to, anywhere in these ranges.
pub(super) fn stop_outside(pid: u32, ranges: &[Range<u64>]) -> Result<Vec<Stopped>> {
    for _ in 0..TRIES_MAX {
        let stopped = stop_all(pid)?;
        if are_outside(pid, &stopped, ranges)? {
            reached("all threads of another process are stopped");
            return Ok(stopped);
        }
        drop(stopped);
        thread::sleep(BETWEEN_TRIES);
    }
    Err(Error::os("catch a process outside of its clock", io::Error::from(io::ErrorKind::TimedOut)))
}

/// Whether none of these threads is, or will return to, anywhere in these ranges.
pub(super) fn are_outside(pid: u32, stopped: &[Stopped], ranges: &[Range<u64>]) -> Result<bool> {
    for thread in stopped {
        if is_inside(pid, thread, ranges)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn registers(thread: &Stopped) -> Result<Registers> {
    thread.registers().map_err(|error| process_error("read the registers of", "a thread", error))
}

/// Whether a thread is there, or a signal's handler on its stack returns there. Whatever looks like an address counts.
fn is_inside(pid: u32, thread: &Stopped, ranges: &[Range<u64>]) -> Result<bool> {
    let registers = registers(thread)?;
    let is_there = |address: u64| ranges.iter().any(|range| range.contains(&address));
    let mut stack = vec![0; STACK_BYTES];
    // Less can be read where the stack begins; none at all of a thread that has none left.
    let count = read_memory(pid, registers.rsp & !7, &mut stack).unwrap_or(0);
    let words = stack[..count].chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")));
    Ok(is_there(registers.rip) || words.into_iter().any(is_there))
}

/// With what a thread goes on that was stopped like this: a system call that was interrupted by that is made again, as
/// the kernel would have seen to (arch/x86/kernel/signal.c, `handle_signal`; include/linux/errno.h).
fn going_on(stopped: Registers) -> Registers {
    const ERESTARTSYS: i64 = -512;
    const ERESTARTNOINTR: i64 = -513;
    const ERESTARTNOHAND: i64 = -514;
    const ERESTART_RESTARTBLOCK: i64 = -516;
    const SYSCALL_BYTES: u64 = 2;
    let mut next = stopped;
    next.orig_rax = u64::MAX; // in no system call
    if stopped.orig_rax.cast_signed() >= 0 {
        let number = match stopped.rax.cast_signed() {
            ERESTARTSYS | ERESTARTNOINTR | ERESTARTNOHAND => stopped.orig_rax,
            ERESTART_RESTARTBLOCK => libc::SYS_restart_syscall.cast_unsigned(),
            _ => return next,
        };
        (next.rax, next.rip) = (number, stopped.rip - SYSCALL_BYTES);
    }
    next
}

/// Bytes of a [`detour`].
pub(super) const DETOUR_BYTES: u64 = 112;

/// Code that makes a system call, puts all registers back as they shall be and goes on where it shall. It needs nobody
/// to see to the rest: a thread may be left in it at any time.
fn detour(back: &Registers) -> Vec<u8> {
    let mut code = vec![0x0f, 0x05]; // syscall
    let moves: [(&[u8], u64); 9] = [
        (&[0x48, 0xb8], back.rax),
        (&[0x48, 0xbf], back.rdi),
        (&[0x48, 0xbe], back.rsi),
        (&[0x48, 0xba], back.rdx),
        (&[0x49, 0xba], back.r10),
        (&[0x49, 0xb8], back.r8),
        (&[0x49, 0xb9], back.r9),
        (&[0x48, 0xb9], back.rcx),
        (&[0x49, 0xbb], back.r11),
    ];
    for (register, value) in moves {
        code.extend(register);
        code.extend(value.to_le_bytes());
    }
    code.extend([0xff, 0x25, 0, 0, 0, 0]); // jmp [rip]
    code.extend(back.rip.to_le_bytes());
    code.resize(DETOUR_BYTES as usize, 0);
    code
}

/// Has a stopped thread make a system call by a detour through this room, which is zeros before and after.
///
/// At every moment the thread's registers are such that it goes on as it would have without us.
pub(super) fn call_in(thread: &mut Stopped, room: u64, number: i64, arguments: [u64; 6]) -> Result<i64> {
    let failed = |error| process_error("make a system call in", "a thread", error);
    let stopped = registers(thread)?;
    if stopped.cs != USER_CS {
        return Err(lacking("a 64-bit process"));
    }
    let back = going_on(stopped);
    poke_all(thread, room, &detour(&back))?;
    reached("there is a detour in another process");
    let [rdi, rsi, rdx, r10, r8, r9] = arguments;
    let there = Registers { rip: room, rax: number.cast_unsigned(), rdi, rsi, rdx, r10, r8, r9, ..back };
    thread.set_registers(&there).map_err(failed)?;
    reached("another process's thread is to make a detour");
    let answer = thread.run_call(room + 2).map_err(failed)?;
    reached("another process's thread is on a detour");
    thread.set_registers(&back).map_err(failed)?;
    reached("another process's thread is on its way again");
    poke_all(thread, room, &[0; DETOUR_BYTES as usize])?;
    Ok(answer)
}

/// Writes whole words wherever they are.
pub(super) fn poke_all(thread: &Stopped, address: u64, bytes: &[u8]) -> Result<()> {
    for (word, at) in bytes.chunks(8).zip((address..).step_by(8)) {
        let mut whole = [0; 8];
        whole[..word.len()].copy_from_slice(word);
        thread.poke(at, whole).map_err(|error| process_error("write into", "the vDSO", error))?;
        reached("a word of another process's vDSO is written");
    }
    Ok(())
}

/// Stops one thread, which is not on the way to a signal's handler: the first, or if that has ended any other.
pub(super) fn stop_one(pid: u32) -> Result<Stopped> {
    for _ in 0..TRIES_MAX {
        let first = Asked::to_stop(pid).and_then(Asked::wait);
        let thread = match first {
            Ok(thread) => Some(thread),
            Err(_) if is_over(&format!("/proc/{pid}/task/{pid}")) => stop_all(pid)?.pop(),
            Err(error) => return Err(cannot_stop(pid, error)),
        };
        if let Some(thread) = thread.filter(|thread| !thread.is_signalled()) {
            reached("a thread of another process is stopped");
            return Ok(thread);
        }
        thread::sleep(BETWEEN_TRIES);
    }
    Err(Error::os("borrow a thread", io::Error::from(io::ErrorKind::TimedOut)))
}
